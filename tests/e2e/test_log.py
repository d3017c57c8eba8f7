"""Output in reach: `wq log`, and files that users name, in directories that the node sees, and in others."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.netnodes import NetNodes
from tests.e2e.queues import PATIENCE_S, Queue, Running, read, until
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-log")


@pytest.fixture(scope="module")
def apart(base: rig.Base) -> Path:
    """Another directory here than on the node."""
    return base.directory("apart", 0o1777)


@pytest.fixture(scope="module")
def hana(accounts: rig.Users) -> User:
    """Whose jobs these are."""
    return accounts.create()


@pytest.fixture(scope="module")
def ivan(accounts: rig.Users) -> User:
    """Another one."""
    return accounts.create()


@pytest.fixture(scope="module")
def far(base: rig.Base, public_wq: Path, hana: User, ivan: User, apart: Path) -> Iterator[Queue]:
    """The queue of a node that has the homes of the head, and a directory of its own."""
    if reason := rig.no_namespaces():
        pytest.skip(reason)
    with NetNodes(base, ["n1"], users=[hana, ivan], private=[apart]) as net:
        cluster = hana.write(base.directory("queue") / "cluster.txt", "n1 4 8\n")
        with Queue(wq=public_wq, owner=hana, users=[hana, ivan], cluster=cluster, at=net.head) as queue:
            yield queue
            queue.print_logs()
            queue.wait_until_acknowledged()


@pytest.fixture(params=["shared", "apart"])
def work(request: pytest.FixtureRequest, far: Queue, hana: User, apart: Path) -> Path:
    """A directory that the node sees, or one of which it has its own."""
    if request.param == "shared":
        return far.directory(hana)
    path = apart / f"work{len(os.listdir(apart))}"
    far.run(hana, ["mkdir", path])
    far.run(hana, ["ssh", "n1", f"mkdir {shlex.quote(str(path))}"])
    return path


def sub(far: Queue, user: User, work: Path, *words: str) -> int:
    return int(far.wq(user, "sub", "-b", "-q", *words, cwd=work).stdout)


def log(far: Queue, user: User, *words: str, status: int = 0) -> str:
    return far.wq(user, "log", *words, status=status).stdout


def saying(running: Running, text: str) -> None:
    wait_for(lambda: text in running.out, PATIENCE_S, f"{text!r} in {running.out!r}")


def sentence(far: Queue, user: User, *words: str) -> str:
    done = far.wq(user, "log", *words, status=1)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


class TestLog:
    def test_shows_all_the_last_lines_and_where_it_is(self, far: Queue, hana: User, work: Path) -> None:
        job = sub(far, hana, work, "-c", "seq 2000; echo aside >&2")
        assert far.wait_for_end(job)["exit_status"] == 0
        far.wait_until_acknowledged()
        expected = "".join(f"{number}\n" for number in range(1, 2001)) + "aside\n"
        assert log(far, hana, str(job)) == log(far, hana) == log(far, hana, "last") == expected
        assert log(far, hana, "-n", "2", str(job)) == "2000\naside\n"
        [row] = json.loads(log(far, hana, "--json", str(job)))
        assert (row["state"], row["attempt"], row["output_bytes"]) == ("ended", 1, len(expected))
        assert row["output"] == str(work / f"seq-{job}.wqlog")

    def test_follows_from_before_the_start_to_the_end(self, far: Queue, hana: User, work: Path) -> None:
        """It is shown as it grows, wherever it grows; a kill of the launcher meanwhile takes nothing away."""
        blocker = far.batch(hana, "sleep 1000", "N: 4")
        go = hana.home / f"go-{os.urandom(4).hex()}"
        job = sub(far, hana, work, "-r", "N: 4", "-c", f"echo first; {until(go)}; echo second; exit 3")
        with far.start(hana, "log", "-f", str(job)) as following:
            wait_for(lambda: "has not started yet" in following.err, PATIENCE_S, "word that it waits")
            far.remove(blocker)
            saying(following, "first\n")
            launcher = far.launcher_pid(hana)
            assert launcher is not None
            os.kill(launcher, signal.SIGKILL)
            hana.write(go, "")
            assert following.wait() == 0
            assert following.out == "first\nsecond\n"
            assert f"job {job} has ended: exit status 3" in following.err

    def test_ctrl_c_ends_the_looking_and_not_the_job(self, far: Queue, hana: User, work: Path) -> None:
        go = hana.home / f"go-{os.urandom(4).hex()}"
        job = sub(far, hana, work, "-c", f"echo first; {until(go)}; echo second")
        with far.start(hana, "log", "-f", str(job)) as following:
            saying(following, "first\n")
            far.run(hana, ["kill", "-INT", str(following.pid)])
            assert following.wait() == 130
        assert far.state(job) == "running"
        hana.write(go, "")
        assert far.wait_for_end(job)["exit_status"] == 0

    def test_what_belongs_to_others_stays_theirs(self, far: Queue, hana: User, ivan: User) -> None:
        job = sub(far, hana, far.directory(hana), "-c", "echo secret")
        far.wait_for_end(job)
        assert f"job {job} is {hana.name}'s" in sentence(far, ivan, str(job))
        assert f"job {job} is {hana.name}'s" in sentence(far, ivan, "-f", str(job))
        assert "no batch job of yours" in sentence(far, ivan)
        assert "no job 999999 is known" in sentence(far, hana, "999999")

    def test_a_job_that_waits_or_was_removed_before_it_ran(self, far: Queue, hana: User) -> None:
        blocker = far.batch(hana, "sleep 1000", "N: 4")
        job = sub(far, hana, far.directory(hana), "-r", "N: 3", "-c", "echo never")  # (unlike the other: not fed ahead)
        assert "has not started yet" in sentence(far, hana, str(job))
        with far.start(hana, "log", "-f", str(job)) as following:
            wait_for(lambda: "has not started yet" in following.err, PATIENCE_S, "word that it waits")
            far.remove(job)
            assert following.wait() == 0
            assert "was removed before it ran" in following.err
        far.remove(blocker)
        assert "no output of job" in sentence(far, hana, str(job))


class TestNames:
    def test_output_and_errors_go_where_their_user_says(self, far: Queue, hana: User, work: Path) -> None:
        far.run(hana, ["mkdir", work / "logs"])
        words = (
            "-o",
            "logs/%x-%j-%u-%N.log",
            "-e",
            "logs/%x%%.err",
            "-r",
            "job_name: a/b",
            "-c",
            "echo out; echo err >&2",
        )
        job = sub(far, hana, work, *words)
        assert far.wait_for_end(job)["exit_status"] == 0
        far.wait_until_acknowledged()
        assert read(work / f"logs/b-{job}-{hana.name}-n1.log") == log(far, hana, str(job)) == "out\n"
        assert read(work / "logs/b%.err") == log(far, hana, "--err", str(job)) == "err\n"

    def test_each_task_has_its_files_from_its_start(self, far: Queue, hana: User, work: Path) -> None:
        """Those that were fed ahead, too: before they have written a byte."""
        go = hana.home / f"go-{os.urandom(4).hex()}"
        words = ("-o", "t%a", "-e", "e%a", "--array", "0-5", "-r", "N: 2")
        command = f"[ %task% -lt 2 ] || {until(go)}; echo out %task%; echo err %task% >&2"
        job = sub(far, hana, work, *words, "-c", command)
        wait_for(lambda: read(work / "e1") == "err 1\n", PATIENCE_S, "the second task")
        wait_for(lambda: (work / "t2").exists() and (work / "e3").exists(), PATIENCE_S, "the files of silent tasks")
        assert "0\n" in log(far, hana, f"{job}.0")
        hana.write(go, "")
        wait_for(lambda: {row["state"] for row in far.ls(str(job))} == {"done"}, PATIENCE_S, "the array to be over")
        far.wait_until_acknowledged()
        assert log(far, hana, str(job)) == "".join(f"out {number}\n" for number in range(6))
        assert log(far, hana, "--err", f"{job}.4-5") == "err 4\nerr 5\n"
        assert {name[0] for name in os.listdir(work)} == {"t", "e"}

    def test_nowhere_and_only_if_it_failed(self, far: Queue, hana: User, work: Path) -> None:
        far.wq(hana, "sub", "-b", "-o", "/dev/null", "-c", "echo nothing", cwd=work)
        good = sub(far, hana, work, "-r", "keep_output: failed; output: good; error: good.err", "-c", "echo good")
        bad = sub(far, hana, work, "-r", "keep_output: failed; output: bad; error: bad.err", "-c", "echo bad; exit 1")
        for job in (good, bad):
            far.wait_for_end(job)
        far.wait_until_acknowledged()
        wait_for(lambda: not (work / "good").exists(), PATIENCE_S, "the output to go")
        assert sorted(os.listdir(work)) == ["bad", "bad.err"]
        assert "keep_output: failed" in sentence(far, hana, str(good))
        assert "/dev/null" in sentence(far, hana, str(good - 1))

    def test_two_jobs_at_a_time_never_write_to_one_file(self, far: Queue, hana: User, work: Path) -> None:
        go = hana.home / f"go-{os.urandom(4).hex()}"
        jobs = [sub(far, hana, work, "-o", "same.log", "-c", f"{until(go)}; echo $WQ_JOB_ID") for _ in range(2)]
        hana.write(go, "")
        for job in jobs:
            far.wait_for_end(job)
            assert log(far, hana, str(job)) == f"{job}\n"
        assert sorted(os.listdir(work)) == ["same.log", f"same.log-{jobs[1]}"]
