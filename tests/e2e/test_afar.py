"""Clients on another host: what is typed on a laptop happens on the server's host, through a real sshd."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, Running, read, until
from tests.e2e.rig import User, run_as, wait_for
from tests.e2e.terminal import PROMPT, Terminal
from tests.e2e.users import title_of

pytestmark = pytest.mark.xdist_group("e2e-afar")

THERE = "there$"


class Laptops:
    """A machine without any queue, from which users reach that of the host `queen`."""

    def __init__(self, queue: Queue, net: rig.NetNodes) -> None:
        self.queue, self.net, self.machine = queue, net, net.machines["laptop"]

    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.queue.path}:{rig.SYSTEM_PATH}", "WQ_PORT": str(self.queue.port)}

    def wq(
        self, user: User, *words: str | Path, status: int = 0, stdin: str = "", cwd: Path | None = None, **env: str
    ) -> str:
        """What `wq WORDS`, typed there, prints."""
        argv = ["wq", *words]
        done = run_as(user, argv, cwd=cwd, env={**self.env(), **env}, stdin=stdin, at=self.machine)
        assert "Traceback" not in done.stderr
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if status == 0 else done.stdout + done.stderr

    def start(self, user: User, *words: str | Path, cwd: Path) -> Running:
        process = rig.popen_as(user, ["wq", *words], cwd=cwd, env=self.env(), at=self.machine, start_new_session=True)
        return Running(process)

    def write(self, user: User, name: str, text: str) -> Path:
        """A file that is on that machine alone."""
        run_as(user, ["sh", "-c", 'cat >"$0"', f"/tmp/{name}"], at=self.machine, stdin=text, check=True)
        return Path("/tmp") / name


@pytest.fixture(scope="module")
def afar_net(base: rig.Base, anze: User, bine: User) -> Iterator[rig.NetNodes]:
    if reason := rig.no_namespaces():
        pytest.skip(reason)
    with rig.NetNodes(base, ["queen", "laptop", "n1"], users=[anze, bine], private=["/srv"]) as made:
        yield made


@pytest.fixture(scope="module")
def afar_queue(base: rig.Base, afar_net: rig.NetNodes, public_wq: Path, anze: User, bine: User) -> Iterator[Queue]:
    """Served by anze on queen, for bine; both know it from everywhere by their configuration."""
    cluster = anze.write(base.directory("queue") / "cluster.txt", "n1 4 8\n")
    for user in (anze, bine):
        where = user.home / ".config" / "wq"
        where.mkdir(parents=True)
        for path in (where.parent, where):
            user.own(path, 0o755)
        user.write(where / "config.yaml", f"server: queen\nremote_command: {public_wq}/wq\n")
    with Queue(wq=public_wq, owner=anze, users=[bine], cluster=cluster, at=afar_net.machines["queen"]) as made:
        yield made
    for user in (anze, bine):
        (user.home / ".config" / "wq" / "config.yaml").unlink()


@pytest.fixture
def laptop(afar_queue: Queue, afar_net: rig.NetNodes) -> Iterator[Laptops]:
    yield Laptops(afar_queue, afar_net)
    afar_queue.print_logs()
    afar_queue.reset()


def test_foreground(laptop: Laptops, bine: User) -> None:
    work = laptop.queue.directory(bine)
    said = laptop.wq(bine, "sub", "-c", "hostname; pwd; cat; echo err >&2; exit 7", status=7, stdin="in\n", cwd=work)
    assert said.splitlines()[:3] == ["n1", str(work), "in"]
    assert said.splitlines()[3:] == ["err"]
    assert laptop.wq(bine, "sub", "--", "printf", "%s|", "a b", "$HOME", "'", cwd=work) == "a b|$HOME|'|"
    laptop.wq(bine, "sub", "-c", "exit 255", status=255, cwd=work)


def test_files_of_the_laptop(laptop: Laptops, bine: User) -> None:
    work = laptop.queue.directory(bine)
    job = laptop.write(bine, "fit.yaml", "job_name: fit\ncommand: cat; echo fitted\n")
    assert laptop.wq(bine, "sub", job, stdin="in\n", cwd=work) == "in\nfitted\n"
    rows = laptop.write(bine, "rows", "r1\nr2\nr3\n")
    number = int(laptop.wq(bine, "sub", "-b", "-q", "--each-line", rows, "-c", "echo %line%", cwd=work))
    laptop.queue.wait_for_state(number, "done")
    laptop.queue.wait_until_acknowledged()
    assert sorted(read(path) for path in work.glob("*.wqlog")) == ["r1\n", "r2\n", "r3\n"]
    number = int(laptop.wq(bine, "sub", "-b", "-q", "-", stdin="command: exit 5\n", cwd=work))
    assert laptop.queue.wait_for_end(number)["exit_status"] == 5
    assert "nosuch.yaml: No such file" in laptop.wq(bine, "sub", "-b", "nosuch.yaml", status=2, cwd=work)
    broken = laptop.write(bine, "broken.yaml", "command: x\nN: none\n")
    assert f"{broken}:2" in laptop.wq(bine, "sub", "-b", broken, status=2, cwd=work)


def test_a_directory_that_is_not_there(laptop: Laptops, bine: User) -> None:
    run_as(bine, ["mkdir", "/tmp/mine"], at=laptop.machine, check=True)
    said = laptop.wq(bine, "sub", "-b", "-c", "true", status=2, cwd=Path("/tmp/mine"))
    assert said == "wq: the directory /tmp/mine is not there on queen\n"


def test_listings(laptop: Laptops, bine: User) -> None:
    number = laptop.queue.batch(bine, "sleep 1000", "N: 4; job_name: held")
    laptop.queue.wait_for_state(number, "running")
    assert f"{number}" in laptop.wq(bine, "ls")
    assert "name: held" in laptop.wq(bine, "ls", "-f", str(number))
    assert '"held"' in laptop.wq(bine, "ls", "--json")
    laptop.wq(bine, "rm", "--grace", "0", str(number))
    laptop.queue.wait_for_end(number)


def test_output_is_followed_from_the_laptop_and_nobody_follows_when_that_has_gone(laptop: Laptops, bine: User) -> None:
    work = laptop.queue.directory(bine)

    def followers() -> list[int]:
        return [pid for pid in rig.processes_of(bine.uid) if " afar " in title_of(pid)]

    command = f"echo first; {until(work / 'go')}; echo second"
    for leaves in (False, True):
        job = laptop.wq(bine, "sub", "-b", "-q", "-c", command, cwd=work).strip()
        with laptop.start(bine, "log", "-f", job, cwd=work) as client:
            wait_for(lambda: "first\n" in client.out, PATIENCE_S, "the first line")
            if leaves:
                assert followers()
                rig.signal_all(rig.descendants_of(client.pid))
                wait_for(lambda: not followers(), PATIENCE_S, "what followed for it to go")
                assert laptop.queue.state(int(job)) == "running"
            bine.write(work / "go", "")
            client.wait()
            assert leaves or client.out == "first\nsecond\n"
        laptop.queue.wait_for_end(int(job))
        (work / "go").unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_whoever_leaves_ends_his_foreground_job(laptop: Laptops, bine: User, number: signal.Signals) -> None:
    work = laptop.queue.directory(bine)
    with laptop.start(bine, "sub", "-c", "echo started >here; sleep 1000", cwd=work) as client:
        wait_for(lambda: read(work / "here"), PATIENCE_S, "the job to run")
        job = laptop.queue.foreground(bine)
        inside = rig.descendants_of(client.pid)[0]  # (what we started is the door to that machine)
        if number == signal.SIGINT:  # as a terminal does it: for the whole group
            os.killpg(os.getpgid(inside), number)
        else:
            os.kill(inside, number)
        laptop.queue.wait_for_state(job, "done")
    laptop.queue.wait_until_free()
    wait_for(lambda: not laptop.queue.job_processes(), PATIENCE_S, "its processes to be gone")


def test_a_shell_on_a_terminal(laptop: Laptops, bine: User) -> None:
    work = laptop.queue.directory(bine)
    with Terminal(bine, env=laptop.env(), cwd=work, columns=100, rows=30, at=laptop.machine) as window:
        before = window.settings()
        window.type(f"wq sub -c \"PS1='{THERE} ' bash --norc --noprofile\"")
        window.wait_for_line(THERE)
        window.type("hostname; stty size")
        window.wait_for("30 100")
        assert "n1" in window.lines
        window.resize(120, 40)
        window.type("stty size")
        window.wait_for("40 120")
        window.type("sleep 1000")
        window.press("C-c")
        window.wait_for_line(THERE)
        window.type("exit 5")
        window.wait_for_line(PROMPT)
        window.type("echo rc=$?")
        window.wait_for("rc=5")
        assert window.settings() == before


def test_a_listing_that_goes_on(laptop: Laptops, bine: User) -> None:
    number = laptop.queue.batch(bine, "sleep 1000", f"N: 4; job_name: {'long_' * 30}")
    laptop.queue.wait_for_state(number, "running")
    work = laptop.queue.directory(bine)
    with Terminal(bine, env=laptop.env(), cwd=work, columns=90, rows=20, at=laptop.machine) as window:
        before = window.settings()
        window.type("wq ls -w 0.2")
        window.wait_for("Jobs: 1 Running: 1")
        assert len(window.lines[0]) == 90
        window.resize(110, 20)
        wait_for(lambda: len(window.lines[0]) == 110, PATIENCE_S, "it to follow the window")
        laptop.queue.remove(number)
        window.wait_for("Jobs: 0 ")
        window.press("q")
        window.wait_for_line(PROMPT)
        window.type("echo rc=$?")
        window.wait_for("rc=0")
        assert window.settings() == before


def test_a_window_that_is_closed_ends_its_job(laptop: Laptops, bine: User) -> None:
    work = laptop.queue.directory(bine)
    with Terminal(bine, env=laptop.env(), cwd=work, at=laptop.machine) as window:
        window.type("wq sub -c 'echo started >here; sleep 1000'")
        wait_for(lambda: read(work / "here"), PATIENCE_S, "the job to run")
        job = laptop.queue.foreground(bine)
        window.press("C-c")
        window.wait_for_line(PROMPT)
        laptop.queue.wait_for_state(job, "done")
        window.type("wq sub -c 'echo again >there; sleep 1000'")
        wait_for(lambda: read(work / "there"), PATIENCE_S, "the job to run")
        job = laptop.queue.foreground(bine)
    laptop.queue.wait_for_state(job, "done")
    laptop.queue.wait_until_free()


def test_colour_as_on_this_terminal(laptop: Laptops, bine: User) -> None:
    number = laptop.queue.batch(bine, "sleep 1000")
    laptop.queue.wait_for_state(number, "running")
    seen = laptop.queue.directory(bine) / "seen"
    argv = ["script", "-qec", "wq ls", str(seen)]
    run_as(bine, argv, env={**laptop.env(), "TERM": "xterm"}, at=laptop.machine, check=True)
    assert "\x1b[32mR\x1b[0m" in read(seen)


def test_a_head_that_cannot_be_reached_is_a_server_that_is_away(laptop: Laptops, bine: User) -> None:
    laptop.net.nodes["queen"].stop()
    try:
        for words in (["ls"], ["sub", "-c", "true"], ["sub", "-b", "-c", "true"]):
            said = laptop.wq(bine, *words, status=75)
            assert "wq: the server's host queen cannot be reached" in said
    finally:
        laptop.net.nodes["queen"].start()


def test_a_job_goes_on_when_its_laptop_is_closed(laptop: Laptops, bine: User) -> None:
    work = laptop.queue.directory(bine)
    number = int(laptop.wq(bine, "sub", "-b", "-q", "-c", f"{until(work / 'go')}; exit 4", cwd=work))
    laptop.queue.wait_for_state(number, "running")
    laptop.net.crash("laptop")
    laptop.net.boot("laptop")
    bine.write(work / "go", "")
    assert laptop.queue.wait_for_end(number)["exit_status"] == 4
