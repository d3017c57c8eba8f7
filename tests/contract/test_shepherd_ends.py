"""The end of a job is the end of all that it started, and of nothing else; then the spool goes too. Any Python does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.driver import PATIENCE_S, SOURCE, SYSTEM_PYTHON, Driver, Local, spec, task
from tests.contract.jobs import let_go, mark, marks, strangers, until, wait_for_file
from tests.e2e import rig
from tests.e2e.rig import User, popen_as, wait_for

pytestmark = pytest.mark.xdist_group("shepherd-ends")

ESCAPES = [
    "sleep LONG &",
    "setsid sleep LONG &",
    "(setsid sh -c 'sleep LONG & exec sleep LONG' &) &",
    "env -i setsid sh -c 'exec <&- >&- 2>&-; sleep LONG & exec sleep LONG' &",
    "setsid sh -c 'trap \"\" TERM HUP INT; sleep LONG; sleep LONG' &",
    "setsid sh -c 'kill -STOP $$; exec sleep LONG' &",
    "(cd / && setsid nohup sleep LONG >/dev/null 2>&1 &)",
]
DEAF = "trap '' TERM; while :; do sleep 1; done"


def escaped(driver: Driver) -> list[str]:
    return [title for title in strangers(driver) if f"{driver.long}1" in title]


class TestLeftovers:
    @pytest.mark.parametrize("killed", [(), ("wq-shepherd",), ("wq-keeper",), ("wq-keeper", "wq-shepherd")])
    def test_nothing_that_a_job_left_behind_outlives_it(
        self, driver: Driver, user: User, work: Path, bystander: int, killed: tuple[str, ...]
    ) -> None:
        driver.bystanders.add(bystander)
        other = f"setsid sleep {driver.long}2 & {until(work / 'go on')}; exit 4"
        driver.start("0.1", spec(user, other))
        script = "\n".join([*ESCAPES, until(work / "go"), "exit 3"]).replace("LONG", f"{driver.long}1")
        driver.start("1.1", spec(user, script))
        wait_for(lambda: len(escaped(driver)) >= 10, PATIENCE_S, "all of them")
        if killed:
            driver.kill(*killed)
            driver.open()
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 3
        assert escaped(driver) == []
        assert f"sleep {driver.long}2" in strangers(driver)  # the other job and what is its own go on
        let_go(user, work / "go on")
        driver.wait_for_end("0.1")
        assert strangers(driver) == []

    def test_not_even_where_the_keeper_is_gone_before_the_shepherd_has_seen_the_end(
        self, local: Driver, user: User, work: Path
    ) -> None:
        local.start("1.1", spec(user, f"setsid sleep {local.long}1 & {until(work / 'go')}; exit 3"))
        pid = local.wait_for_start("1.1")
        wait_for(lambda: escaped(local), PATIENCE_S, "what escapes")
        local.kill("wq-shepherd")
        local.open()
        with rig.stopped(local.pid("wq-shepherd")):
            let_go(user, work / "go")
            local.wait_for_pids(pid)
            local.kill("wq-keeper")
        assert local.wait_for_end("1.1")["exit"] == 3
        assert escaped(local) == []

    def test_one_that_has_lost_its_mark_goes_with_the_last_job(self, local: Driver, user: User) -> None:
        unmarked = "import os, resource\nresource.setrlimit(15, (7, resource.RLIM_INFINITY))\n"
        unmarked += f"os.fork() and os._exit(0)\nos.setsid()\nos.execvp('sleep', ['sleep', '{local.long}'])"
        local.run("1.1", spec(user, "", argv=["python3", "-c", unmarked]))
        assert strangers(local) == []


class TestStop:
    @pytest.mark.parametrize("killed", [(), ("wq-shepherd",), ("wq-keeper",)])
    def test_it_gives_the_job_its_time(self, driver: Driver, user: User, work: Path, killed: tuple[str, ...]) -> None:
        script = f"trap 'echo saved; exit 5' TERM; echo here >{work}/ready; while :; do sleep 0.1; done"
        driver.start("1.1", spec(user, script))
        wait_for_file(work / "ready")
        if killed:
            driver.kill(*killed)
            driver.open()
        driver.stop("1.1", 60.0)
        assert driver.wait_for_end("1.1")["exit"] == 5
        assert driver.output("1.1").splitlines()[-1] == "saved"

    def test_the_grace_is_for_the_whole_tree_and_each_has_one_warning(
        self, driver: Driver, user: User, work: Path
    ) -> None:
        """A shell dies of TERM at once; the program below it has the time that it was promised to save its work."""
        script = "n=0; i=0; trap 'n=$((n+1))' TERM\n"
        script += f"echo here >{work}/ready; while [ $i -lt 20 ]; do [ $n -gt 0 ] && i=$((i+1)); sleep 0.1; done\n"
        script += f"echo saved after $n >{work}/saved"
        program = user.write(work / "program", script)
        driver.start("1.1", spec(user, f"sh {program}; exit 3"))
        wait_for_file(work / "ready")
        driver.stop("1.1", 60.0)
        assert driver.wait_for_end("1.1")["signal"] == signal.SIGTERM
        assert wait_for_file(work / "saved") == "saved after 1"

    def test_a_deaf_job_is_killed_after_its_grace(self, driver: Driver, user: User, work: Path) -> None:
        deaf = f"setsid sh -c 'echo $$ >{work}/child; {DEAF.replace(chr(39), chr(34))}' & "
        driver.start("1.1", spec(user, deaf + f"echo $$ >{work}/parent; {DEAF}"))
        pids = int(wait_for_file(work / "parent")), int(wait_for_file(work / "child"))
        driver.stop("1.1", 0.3)
        assert driver.wait_for_end("1.1")["signal"] == signal.SIGKILL
        driver.wait_for_pids(*pids)

    def test_a_second_stop_may_shorten_the_grace(self, driver: Driver, user: User, work: Path) -> None:
        deaf = f"setsid sh -c 'trap \"\" TERM; echo $$ >{work}/child; while :; do sleep 1; done' & "
        driver.start("1.1", spec(user, deaf + f"trap 'exit 5' TERM; {until(work / 'never')}"))
        wait_for_file(work / "child")
        driver.stop("1.1", 600.0)
        wait_for(lambda: driver.query("1.1") == "sweeping", PATIENCE_S, "the child alone to be left")
        driver.stop("1.1", 0.0)
        assert driver.wait_for_end("1.1")["exit"] == 5

    def test_it_ends_what_is_suspended(self, local: Driver, user: User, work: Path) -> None:
        local.start("1.1", spec(user, f"echo $$ >{work}/pid; kill -STOP $$; exit 1"))
        wait_for_file(work / "pid")
        local.stop("1.1", 60.0)
        assert local.wait_for_end("1.1")["signal"] == signal.SIGTERM

    def test_a_job_whose_terminal_never_came_is_over(self, user: User, key: str, work: Path) -> None:
        source = SOURCE.replace(b"SIDE_WAIT_S = 90.0", b"SIDE_WAIT_S = 0.2")
        with Driver(Local(user=user), key, source=source) as driver:
            driver.open()
            end = driver.run("1.1", spec(user, mark(work, "ran"), io="tty"))
            assert end == {"error": "the connection for its terminal or display did not come"}
            assert driver["1.1"].wants_side
            assert marks(work, "ran") == 0


@contextlib.contextmanager
def terminal_of(driver: Driver, att: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """(the side connection of a job that waits for its terminal, the other end of that)"""
    driver.wait(lambda: driver[att].wants_side, "the job to want its terminal")
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    argv = [SYSTEM_PYTHON, "-I", "-S", f"{driver.spool}/shepherd.py", "side", att]
    side = popen_as(driver.user, argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        yield side, master
    finally:
        side.kill()
        side.wait()
        os.close(master)


def read_until(master: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(master, 4096)


class TestTerminal:
    def test_a_job_on_a_terminal_ends_truly_and_its_shepherd_goes_on(self, local: Driver, user: User) -> None:
        shepherd = local.pid("wq-shepherd")
        for number in range(5):
            att = f"{number}.1"
            local.start(att, spec(user, "stty size; read line; echo got $line; exit 4", io="tty"))
            with terminal_of(local, att) as (side, master):
                read_until(master, b"33 77")
                os.write(master, b"hello\r")
                read_until(master, b"got hello\r\n")
                assert local.wait_for_end(att)["exit"] == 4
                assert side.wait(PATIENCE_S) == 0
        assert local.pid("wq-shepherd") == shepherd

    def test_a_job_may_let_go_of_its_terminal(self, local: Driver, user: User, work: Path) -> None:
        local.start(
            "1.1", spec(user, f"exec <&- >&- 2>&-; echo $$ >{work}/pid; {until(work / 'go')}; exit 5", io="tty")
        )
        with terminal_of(local, "1.1") as (side, _):
            wait_for_file(work / "pid")
            assert local.run("2.1", spec(user, "sleep 0.3"))["exit"] == 0
            let_go(user, work / "go")
            assert local.wait_for_end("1.1")["exit"] == 5
            assert side.wait(PATIENCE_S) == 0

    def test_a_job_whose_terminal_is_taken_away_ends(self, local: Driver, user: User) -> None:
        local.start("1.1", spec(user, f"echo here; sleep {local.long}", io="tty"))
        with terminal_of(local, "1.1") as (side, master):
            read_until(master, b"here")
            side.kill()
            assert local.wait_for_end("1.1")["signal"] == signal.SIGHUP
        assert strangers(local) == []


class TestSpool:
    def test_what_nobody_asks_for_any_more_goes_in_the_end(self, user: User, key: str, work: Path) -> None:
        source = SOURCE.replace(b"HOUSEKEEPING_S = 6 * 3600.0", b"HOUSEKEEPING_S = 0.1")
        source = source.replace(b"UNASKED_S = 30 * 86400.0", b"UNASKED_S = 0.3")
        with Driver(Local(user=user), key, source=source) as driver:
            driver.open()
            driver.start("1.1", spec(user, until(work / "go")))
            driver.run("2.1", spec(user, "exit 1"))
            driver.query("3.1")
            old = (driver.spool / "journal").stat().st_mtime - 1000
            os.utime(driver.spool / "lock", (old, old))
            wait_for(lambda: (driver.spool / "lock").stat().st_mtime > old, PATIENCE_S, "the lock to be kept fresh")
            driver.hang_up()
            driver.open()
            assert driver["1.1"].state == "running"
            driver.hang_up()
            let_go(user, work / "go")
            driver.wait_until_gone()
            driver.seen.clear()
            driver.open()

    def test_a_spool_that_is_not_private_is_refused_in_a_sentence(self, user: User, key: str) -> None:
        driver = Driver(Local(user=user), key)
        driver.spool.parent.mkdir(exist_ok=True)
        user.own(driver.spool.parent, 0o700)
        driver.spool.mkdir()
        user.own(driver.spool, 0o755)
        try:
            with pytest.raises(ConnectionError, match=f"{driver.spool} is not a private directory of uid {user.uid}"):
                driver.open()
            assert driver.noise.startswith(b"\nwq-shepherd/1 error ")
        finally:
            driver.spool.rmdir()


def pythons() -> list[str]:
    """One of each version that is here."""
    versions = Path.home() / ".pyenv" / "versions"  # where pyenv has them
    found = sorted(versions.glob("3.*/bin/python3")) if os.access(versions, os.X_OK) else []
    return [SYSTEM_PYTHON, *map(str, found)]


@pytest.mark.parametrize("python", pythons())
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_any_python_from_3_6_on_and_any_locale(python: str, locale: str, key: str, base: rig.Base) -> None:
    me = rig.current_user()
    mine = {"KEY": key}  # by which the driver knows the processes
    with Driver(Local(user=me, python=python, env={"LC_ALL": locale, "LANG": locale}), key) as driver:
        work = base.directory("käse") / "žabe"
        work.mkdir()
        (work / "out").write_text("wq 1")
        driver.open()
        environment = {"NAME": "Čuk \udcff", **mine}
        driver.start("1.1", spec(me, "echo žž $NAME; cat; exit 3", io="stream", cwd=str(work), env=environment))
        driver.feed("1.1", 0, b"in\n")
        driver.end_input("1.1")
        assert driver.wait_for_end("1.1")["exit"] == 3
        assert driver["1.1"].out[1] == "žž Čuk ".encode() + b"\xff\nin\n"
        job = spec(me, f"{until(work / 'go')}; echo žž; pwd; exit 4", cwd=str(work), env=mine)
        driver.start("2.1", job)
        driver.start("3.1", {**job, "out": str(work / "out"), "probe": "wq 1"})
        driver.wait_for_start("3.1")
        driver.kill("wq-shepherd")
        driver.open()
        (work / "go").touch()
        assert driver.wait_for_end("2.1")["exit"] == 4
        assert driver.wait_for_end("3.1")["exit"] == 4
        assert driver.output("2.1") == (work / "out").read_text() == f"žž\n{work}\n"
        assert driver.run("4.1", spec(me, "true", cwd=str(work / "č")))["error"].startswith("the directory ")
        assert driver.run("5.1", spec(me, "", argv=["printf", "%s", "č č"]))["exit"] == 0
        assert driver.output("5.1") == "č č"
        driver.template("t", spec(me, "echo žž $TASK; exit 3", cwd=str(work), env=environment))
        driver.batch(1, "t", [task(f"7_{number}.1", set={"TASK": f"č{number}"}) for number in range(3)])
        driver.template("u", spec(me, "", cwd=str(work), env=environment, argv=["printenv", "NAME"]))
        driver.batch(2, "u", [task("8_1.1", out=str(work / "þ")), task("8_2.1", script="true")])
        for number in range(3):
            assert driver.wait_for_end(f"7_{number}.1")["exit"] == 3
            assert driver.output(f"7_{number}.1") == f"žž č{number}\n"
        assert driver.wait_for_end("8_2.1")["exit"] == 0
        assert driver["8_1.1"].out[1] == "Čuk ".encode() + b"\xff\n"
        driver.start("6.1", spec(me, f"trap '' TERM; echo $$ >{work}/pid; {DEAF}", env=mine))
        wait_for_file(work / "pid")
        driver.stop("6.1", 0.2)
        assert driver.wait_for_end("6.1")["signal"] == signal.SIGKILL
