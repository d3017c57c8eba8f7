"""`-r "X:1"`: a job's windows come to the display of its user, over ssh: in the foreground, on a terminal, in batch."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, read
from tests.e2e.rig import User, popen_as, run_as, wait_for
from tests.e2e.terminal import Terminal
from tests.e2e.users import title_of

MISSING = rig.missing_program("Xvfb", "xauth", "xdpyinfo")
pytestmark = [
    pytest.mark.x11,
    pytest.mark.xdist_group("e2e-x11"),
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]

LOOK = "echo $DISPLAY; xdpyinfo | grep -o '[0-9]*x[0-9]* pixels'"
SEEN = "640x333 pixels"


@pytest.fixture(scope="module")
def display(dana: User) -> Iterator[dict[str, str]]:
    """DISPLAY and XAUTHORITY of a screen of dana's, which nobody can use without its cookie."""
    authority = dana.home / "x-authority"
    xvfb: subprocess.Popen[bytes] | None = None
    try:
        cookie = os.urandom(16).hex()
        # The number is not known yet, but X looks only at the cookie.
        run_as(dana, ["xauth", "-f", authority, "add", ":0", "MIT-MAGIC-COOKIE-1", cookie], check=True)
        argv = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x333x24", "-nolisten", "tcp", "-auth", str(authority)]
        xvfb = popen_as(dana, argv, stderr=subprocess.DEVNULL)
        assert xvfb.stdout is not None
        number = xvfb.stdout.readline().decode().strip()
        run_as(dana, ["xauth", "-f", authority, "add", f":{number}", "MIT-MAGIC-COOKIE-1", cookie], check=True)
        env = {"DISPLAY": f":{number}", "XAUTHORITY": str(authority)}
        assert SEEN in run_as(dana, ["xdpyinfo"], env=env, check=True).stdout
        assert run_as(dana, ["xdpyinfo"], env={"DISPLAY": f":{number}"}).returncode != 0
        yield env
    finally:
        if xvfb is not None:
            xvfb.kill()
            xvfb.communicate()


def check(output: str) -> None:
    """The job had a display that ssh made for it, and it was dana's screen."""
    where, what = output.splitlines()
    assert where.startswith("localhost:1")
    assert what.startswith(SEEN)


def test_in_the_foreground_with_its_streams(queue: Queue, dana: User, display: dict[str, str]) -> None:
    done = queue.wq(dana, "sub", "-r", "X:1", "-c", f"cat; {LOOK}; exit 3", env=display, stdin="in\n", status=3)
    assert done.stdout.startswith("in\n")
    check(done.stdout.removeprefix("in\n"))
    assert done.stderr == ""


def test_on_a_terminal(queue: Queue, dana: User, display: dict[str, str]) -> None:
    if reason := rig.missing_program("tmux"):
        pytest.skip(reason)
    with Terminal(dana, env=queue.env(display), cwd=queue.directory(dana)) as terminal:
        words = shlex.join(["wq", "sub", "-r", "X:1", "-c", f"tty; {LOOK}; exit 4"])
        terminal.type(f"clear; {words}; echo status $?")
        terminal.wait_for("status 4")
        at = next(number for number, line in enumerate(terminal.lines) if line.startswith("/dev/pts/"))
        check("\n".join(terminal.lines[at + 1 : at + 3]))


def test_in_a_batch(queue: Queue, dana: User, display: dict[str, str]) -> None:
    work = queue.directory(dana)
    done = queue.wq(
        dana, "sub", "-b", "-q", "-r", "X:1; job_name: look", "-c", f"{LOOK}; exit 5", cwd=work, env=display
    )
    job = int(done.stdout)
    assert queue.wait_for_end(job)["exit_status"] == 5
    check(read(work / f"look-{job}.wqlog"))


def test_from_another_host(queue: Queue, dana: User, display: dict[str, str]) -> None:
    """Through the server's host: from here to there, and from there to the node."""
    config = dana.home / ".wqrc"
    dana.write(config, f"server: node4\nremote_command: {queue.path}/wq\n")
    try:
        done = queue.wq(dana, "sub", "-r", "X:1", "-c", f"cat; {LOOK}; exit 3", env=display, stdin="in\n", status=3)
    finally:
        config.unlink()
    check(done.stdout.removeprefix("in\n"))


def test_a_window_stays_open_as_long_as_the_job_and_its_connection_no_longer(
    queue: Queue, dana: User, display: dict[str, str]
) -> None:
    if reason := rig.missing_program("xev"):
        pytest.skip(reason)
    work = queue.directory(dana)
    words = ["sub", "-b", "-q", "-r", "X:1", "-c", "xev >/dev/null & echo here >here; wait"]
    job = int(queue.wq(dana, *words, cwd=work, env=display).stdout)
    wait_for(lambda: read(work / "here"), PATIENCE_S, "the window to be there")
    assert [pid for pid in rig.processes_of(dana.uid) if " side " in title_of(pid)]
    queue.wq(dana, "rm", "--grace", "0", str(job))
    queue.wait_for_state(job, "done")
    wait_for(
        lambda: not [pid for pid in rig.processes_of(dana.uid) if " side " in title_of(pid)],
        PATIENCE_S,
        "the side connection to go",
    )


def test_without_asking_there_is_no_display(queue: Queue, dana: User, display: dict[str, str]) -> None:
    done = queue.wq(dana, "sub", "-c", 'echo "<$DISPLAY>"', env=display)
    assert done.stdout == "<>\n"


def test_without_a_display_of_ones_own_the_job_says_so(queue: Queue, erin: User) -> None:
    done = queue.wq(erin, "sub", "-r", "X:1", "-c", "xdpyinfo", status=1)
    assert "display" in done.stderr
