"""Disks that are full: nothing that was accepted is lost, what runs goes on, and all is well when there is room."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import FOUR_NODES, PATIENCE_S, Queue, read, until
from tests.e2e.rig import Nodes, User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-disks")

SIZE_BYTES = 6 << 20
MOST_TRIES = 400
BULK = ": " + "x" * 4000  # what is stored of a job is not to fit into what a file has free


class Disk:
    """A small file system that can be filled, and emptied again. at: whose mounts it is among (default: ours)."""

    def __init__(self, path: Path, owner: User, at: rig.Machine | None = None) -> None:
        self.path = Path(f"/proc/{at.init}/root{path}") if at is not None else path
        self.enter = ["nsenter", f"--target={at.init}", "--mount"] if at is not None else []
        self.stuffing = self.path / "stuffing"
        options = f"size={SIZE_BYTES},mode=0755,uid={owner.uid},gid={owner.gid}"
        argv = [*self.enter, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system of our own can be mounted: {done.stderr.strip()}")

    def fill(self) -> None:
        """To the last page."""
        fd = os.open(self.stuffing, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for size in (1 << 16, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(fd, bytes(size))
        finally:
            os.close(fd)

    def make_room(self) -> None:
        self.stuffing.unlink()

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.path)], check=True)

    def close(self) -> None:
        where = str(self.path) if not self.enter else re.sub("^/proc/[0-9]+/root", "", str(self.path))
        subprocess.run([*self.enter, "umount", "-l", where], check=True)


@pytest.fixture
def spool_disk(base: rig.Base, cene: User) -> Iterator[Disk]:
    """Where the server has its spool."""
    disk = Disk(base.directory("spool"), cene)
    yield disk
    disk.close()


@pytest.fixture
def state_disk(base: rig.Base, dana: User) -> Iterator[Disk]:
    """Where dana's launcher has its ledger."""
    disk = Disk(base.directory("state"), dana)
    yield disk
    disk.close()


@pytest.fixture
def work_disk(base: rig.Base, dana: User) -> Iterator[Disk]:
    """Where dana's jobs write."""
    disk = Disk(base.directory("work"), dana)
    yield disk
    disk.close()


@pytest.fixture
def full(
    base: rig.Base, four: Nodes, public_wq: Path, cene: User, dana: User, erin: User, spool_disk: Disk
) -> Iterator[Queue]:
    """A queue whose spool is on a disk of its own."""
    cluster = cene.write(base.directory("queue") / "cluster.txt", FOUR_NODES)
    with Queue(wq=public_wq, owner=cene, users=[dana, erin], cluster=cluster, serve=False) as made:
        made.serve("-s", str(spool_disk.path / "spool"))
        made.greet()
        yield made
        made.print_logs()


@pytest.fixture(scope="module")
def net_queue(base: rig.Base, net: rig.NetNodes, public_wq: Path, anze: User, bine: User) -> Iterator[Queue]:
    """Served by anze for bine, from the head."""
    cluster = anze.write(base.directory("queue") / "cluster.txt", "n1 2 8\n")
    with Queue(wq=public_wq, owner=anze, users=[bine], cluster=cluster, at=net.head) as made:
        yield made
        made.print_logs()


class Submitter:
    """Submits bulky jobs as a user, and knows which were accepted."""

    def __init__(self, queue: Queue, user: User, env: dict[str, str] | None = None) -> None:
        self.queue, self.user, self.env = queue, user, env
        self.work = queue.directory(user)
        self.accepted: list[int] = []

    def submit(self) -> str:
        """One job. Empty if it was accepted, else the one line that it was refused with."""
        words = ["sub", "-b", "-q", "-c", f"echo x >>ran; {BULK}"]
        done = self.queue.wq(self.user, *words, cwd=self.work, env=self.env, status=None)
        if done.returncode == 0:
            self.accepted.append(int(done.stdout))
            return ""
        assert (done.returncode, done.stdout) == (1, "")
        [line] = done.stderr.splitlines()
        return line

    def until_refused(self) -> str:
        """A file has some room in itself, also where the disk has none."""
        for _ in range(MOST_TRIES):
            if line := self.submit():
                return line
        raise AssertionError(f"{MOST_TRIES} jobs were accepted on a full disk")

    def until_accepted(self) -> None:
        wait_for(lambda: not self.submit(), PATIENCE_S, "a job to be accepted")

    def check(self) -> None:
        """All that was accepted has run, once, and nothing else has."""
        for job in self.accepted:
            assert self.queue.wait_for_end(job)["exit_status"] == 0
        assert read(self.work / "ran") == "x\n" * len(self.accepted)


class TestTheServersSpool:
    def test_when_full_takes_ends_and_nothing_new_until_there_is_room(
        self, full: Queue, dana: User, erin: User, spool_disk: Disk
    ) -> None:
        work = full.directory(erin)
        jobs = [full.batch(erin, f"{until(work / 'go')}; exit {status}") for status in (5, 6)]
        for job in jobs:
            full.wait_for_state(job, "running")
        pid = full.server_pid
        spool_disk.fill()
        submitter = Submitter(full, dana)
        assert "no room" in submitter.until_refused()
        erin.write(work / "go", "")
        assert [full.wait_for_end(job)["exit_status"] for job in jobs] == [5, 6]
        full.wait_until_free()
        assert "no room" in submitter.submit()
        spool_disk.make_room()
        submitter.until_accepted()
        submitter.check()
        assert full.server_pid == pid
        full.wait_until_acknowledged()

    def test_when_full_is_started_on_again_after_a_crash(self, full: Queue, dana: User, spool_disk: Disk) -> None:
        work = full.directory(dana)
        job = full.batch(dana, f"{until(work / 'go')}; exit 7")
        full.wait_for_state(job, "running")
        spool_disk.fill()
        submitter = Submitter(full, dana)
        submitter.until_refused()
        pid = full.server_pid
        assert pid is not None
        rig.signal_all([pid])
        wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "the server to be gone")
        full.serve("-s", str(spool_disk.path / "spool"))
        dana.write(work / "go", "")
        assert full.wait_for_end(job)["exit_status"] == 7
        spool_disk.make_room()
        submitter.until_accepted()
        submitter.check()

    def test_when_read_only_is_no_place_to_start_on(self, full: Queue, dana: User, spool_disk: Disk) -> None:
        work = full.directory(dana)
        job = full.batch(dana, f"{until(work / 'go')}; exit 8")
        full.wait_for_state(job, "running")
        full.shutdown()
        spool_disk.remount("ro")
        spool = str(spool_disk.path / "spool")
        done = full.wq(full.owner, "serve", full.cluster, "-s", spool, "--detach", status=1)
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
        dana.write(work / "go", "")
        spool_disk.remount("rw")
        full.serve("-s", spool)
        assert full.wait_for_end(job)["exit_status"] == 8


def test_a_launchers_full_disk_takes_ends_and_nothing_new_until_there_is_room(
    queue: Queue, dana: User, erin: User, state_disk: Disk
) -> None:
    env = {"XDG_STATE_HOME": str(state_disk.path)}
    queue.wq(dana, "ls")
    if (pid := queue.launcher_pid(dana)) is not None:  # its state is elsewhere
        rig.signal_all([pid])
        wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "the launcher to be gone")
    queue.wq(dana, "ls", env=env)
    work = queue.directory(dana)
    words = ["sub", "-b", "-q", "-c", f"{until(work / 'go')}; echo last words; exit 5"]
    job = int(queue.wq(dana, *words, cwd=work, env=env).stdout)
    queue.wait_for_state(job, "running")
    launcher = queue.launcher_pid(dana)
    state_disk.fill()
    submitter = Submitter(queue, dana, env)
    assert "no room for your jobs" in submitter.until_refused()
    queue.wait_for_end(queue.batch(erin, "true"))  # which is nobody else's trouble
    dana.write(work / "go", "")
    assert queue.wait_for_end(job)["exit_status"] == 5
    [output] = work.glob("*.wqlog")
    assert read(output) == "last words\n"
    assert "no room for your jobs" in submitter.until_refused()
    state_disk.make_room()
    submitter.until_accepted()
    submitter.check()
    assert queue.launcher_pid(dana) == launcher
    unfinished = state_disk.path.glob(f"wq/*/launcher-*-{queue.port}/unfinished")
    wait_for(lambda: not list(unfinished), PATIENCE_S, "all ends to be acknowledged")
    assert launcher is not None
    rig.signal_all([launcher])
    wait_for(lambda: not rig.is_alive(launcher), PATIENCE_S, "the launcher to be gone")


class TestTheOutput:
    def test_of_a_job_on_a_full_disk_is_the_jobs_own_business(self, queue: Queue, dana: User, work_disk: Disk) -> None:
        command = f"{until(work_disk.path / 'go')}; head -c 100000 /dev/zero || exit 9"
        job = queue.batch(dana, command, cwd=work_disk.path)
        queue.wait_for_state(job, "running")
        work_disk.fill()
        dana.write(work_disk.path / "go", "")
        outcome = queue.wait_for_end(job)
        assert (outcome["kind"], outcome["exit_status"]) == ("exited", 9)

    def test_that_cannot_even_be_begun_is_waited_for(self, queue: Queue, dana: User, work_disk: Disk) -> None:
        work_disk.fill()
        job = queue.batch(dana, "echo hello; exit 4", "host: node1", cwd=work_disk.path)
        wait_for(lambda: queue.why(job), PATIENCE_S, "it to wait")
        assert queue.state(job) == "queued"
        work_disk.make_room()
        queue.wq(dana, "refresh")
        assert queue.wait_for_end(job)["exit_status"] == 4
        [output] = work_disk.path.glob("*.wqlog")
        assert read(output) == "hello\n"

    def test_that_comes_home_from_a_node_waits_there_for_room(
        self, net_queue: Queue, net: rig.NetNodes, bine: User
    ) -> None:
        work = net_queue.directory(bine)
        disk = Disk(work, bine, at=net.head)  # the nodes see the directory below it
        try:
            command = f"echo begin; {until(work / 'go')}; head -c 300000 /dev/zero | tr '\\0' x; exit 6"
            job = net_queue.batch(bine, command, cwd=work)
            [output] = wait_for(lambda: list(disk.path.glob("*.wqlog")), PATIENCE_S, "its file")
            wait_for(lambda: read(output) == "begin\n", PATIENCE_S, "its first words")
            disk.fill()
            bine.write(work / "go", "")
            assert net_queue.wait_for_end(job)["exit_status"] == 6
            assert output.stat().st_size < 300_000
            disk.make_room()
            wait_for(lambda: output.stat().st_size == 300_006, PATIENCE_S, "the rest of its output")
            assert read(output) == "begin\n" + "x" * 300_000
            net_queue.wait_until_acknowledged()
        finally:
            disk.close()
