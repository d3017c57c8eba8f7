"""The shepherd and its keeper alone: exactly one start, the true end, the whole output, and nothing left behind.

Each test ends with Driver.leave(): everything is acknowledged and let go, and no process and no file may remain.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.contract.driver import PATIENCE_S, SOURCE, SYSTEM_PYTHON, Backend, Driver, Local, Ssh, spec, until
from tests.e2e import rig
from tests.e2e.rig import User, popen_as, wait_for
from tests.e2e.sshnodes import Nodes

pytestmark = pytest.mark.xdist_group("shepherd")

KEYS = (f"contract{os.getpid()}-{number}" for number in count())
LINES = 3000
COUNTS = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done"
ALL_LINES = "".join(f"line {number}\n" for number in range(1, LINES + 1))


@pytest.fixture
def key() -> str:
    return next(KEYS)


@pytest.fixture
def driver(backend: Backend, key: str) -> Iterator[Driver]:
    """Connected to a new shepherd."""
    with Driver(backend, key) as made:
        made.open()
        yield made


@pytest.fixture
def local(user: User, key: str) -> Iterator[Driver]:
    """The same, where the way there does not matter."""
    with Driver(Local(user=user), key) as made:
        made.open()
        yield made


@pytest.fixture
def work(base: rig.Base, user: User) -> Path:
    """A directory where jobs leave their marks."""
    path = base.directory("work")
    user.own(path, 0o755)
    return path


@pytest.fixture
def bystander(user: User, key: str) -> Iterator[int]:
    """A process of the same user that is nobody's job."""
    process = popen_as(user, ["sleep", "5000"], start_new_session=True)
    yield process.pid
    assert process.poll() is None, "a process that has nothing to do with it was ended"
    process.kill()
    process.communicate()


def mark(work: Path, name: str) -> str:
    """A piece of shell that leaves a line there each time that it runs."""
    return f"echo x >>{shlex.quote(str(work / name))}"


def marks(work: Path, name: str) -> int:
    """How often it did."""
    with contextlib.suppress(FileNotFoundError):
        return len((work / name).read_text().splitlines())
    return 0


def let_go(user: User, path: Path) -> None:
    user.write(path, "")


def pid_in(path: Path) -> int:
    """The pid that a job writes there."""

    def there() -> int:
        with contextlib.suppress(FileNotFoundError):
            return int(path.read_text() or 0)
        return 0

    return wait_for(there, PATIENCE_S, f"a pid in {path}")


# ---- a start is a start


class TestStart:
    def test_a_job_runs_and_its_end_and_output_come(self, driver: Driver, user: User) -> None:
        end = driver.run("1.1", spec(user, "echo out; echo err >&2; exit 3"))
        assert end["exit"] == 3
        assert end["cpu_s"] >= 0
        assert driver.output("1.1") == "out\nerr\n"
        assert driver["1.1"].times_started == driver["1.1"].times_ended == 1

    def test_a_start_sent_a_hundred_times_is_one_start(self, driver: Driver, user: User, work: Path) -> None:
        job = spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; exit 4")
        for _ in range(50):
            driver.start("1.1", job)
        driver.wait_for_start("1.1")
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 4
        for _ in range(50):
            driver.start("1.1", job)
        assert driver.query("1.1") == "ended"
        assert marks(work, "ran") == 1
        assert driver["1.1"].times_started == 1

    def test_a_start_repeated_after_the_shepherd_was_killed_is_one_start(
        self, driver: Driver, user: User, work: Path
    ) -> None:
        job = spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; exit 4")
        driver.start("1.1", job)
        driver.wait_for_start("1.1")
        driver.kill("wq-shepherd")
        driver.open()
        driver.start("1.1", job)
        assert driver.query("1.1") == "running"
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 4
        assert marks(work, "ran") == 1

    def test_a_query_that_finds_nothing_forbids_the_start(self, driver: Driver, user: User, work: Path) -> None:
        job = spec(user, mark(work, "ran"))
        assert driver.query("1.1") == "never"
        driver.start("1.1", job)
        assert driver.query("1.1") == "never"
        driver.kill("wq-shepherd")
        driver.open()
        driver.start("1.1", job)
        assert driver.query("1.1") == "never"
        assert driver.run("1.2", job)["exit"] == 0
        assert marks(work, "ran") == 1

    def test_many_at_once(self, driver: Driver, user: User) -> None:
        for number in range(100):
            driver.start(f"{number}.1", spec(user, f"echo {number}; exit {number}"))
        for number in range(100):
            assert driver.wait_for_end(f"{number}.1")["exit"] == number
            assert driver.output(f"{number}.1") == f"{number}\n"

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
    def test_a_signal_that_ended_it_is_named(self, local: Driver, user: User, number: signal.Signals) -> None:
        assert local.run("1.1", spec(user, f"kill -{int(number)} $$"))["signal"] == number

    def test_a_directory_that_is_not_there_is_said_and_nothing_runs(
        self, driver: Driver, user: User, work: Path
    ) -> None:
        end = driver.run("1.1", spec(user, mark(work, "ran"), cwd="/no/such/place"))
        assert end == {"error": "the directory /no/such/place is not usable here: No such file or directory"}
        assert driver["1.1"].times_started == 0
        assert marks(work, "ran") == 0

    def test_a_program_that_is_not_there_ends_as_in_a_shell(self, local: Driver, user: User) -> None:
        assert local.run("1.1", spec(user, "", argv=["/no/such/program", "x"]))["exit"] == 127
        assert local.output("1.1") == "wq: /no/such/program: No such file or directory\n"

    def test_a_job_has_three_descriptors_a_session_of_its_own_and_default_signals(
        self, driver: Driver, user: User
    ) -> None:
        look = "ls /proc/self/fd | tr '\\n' ' '; echo; grep -E 'Sig(Blk|Ign)' /proc/self/status; "
        look += "[ $(ps -o sid= -p $$) = $$ ] && echo own session"
        for io in ("file", "stream"):
            att = f"{io}.1"
            driver.start(att, spec(user, look, io=io))
            driver.end_input(att)
            assert driver.wait_for_end(att)["exit"] == 0
            descriptors, blocked, ignored, session = driver.output(att).splitlines()
            assert descriptors.split() == ["0", "1", "2", "3"]  # the last is the directory that ls reads
            assert int(blocked.split()[1], 16) == int(ignored.split()[1], 16) == 0
            assert session == "own session"
