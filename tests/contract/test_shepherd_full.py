"""A full disk, a quota, a disk that fails: nothing starts that cannot be written down, and no end is lost."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.driver import PATIENCE_S, SOURCE, Driver, Local, spec
from tests.contract.faults import failing
from tests.contract.jobs import let_go, mark, marks, strangers, until
from tests.e2e import rig
from tests.e2e.rig import User, wait_for
from tests.e2e.users import title_of

pytestmark = pytest.mark.xdist_group("shepherd-full")

REFUSED = "no room in the spool on this node: "


def failures(flag: Path) -> int:
    return flag.stat().st_size


class TestNoRoom:
    """The journal finds none for certain records as long as a flag is there."""

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
    @pytest.mark.parametrize("io", ["file", "stream"])
    def test_a_process_whose_start_cannot_be_written_down_never_runs(
        self, user: User, key: str, work: Path, code: int, io: str
    ) -> None:
        flag = work / "flag"
        with Driver(Local(user=user), key, source=failing("write", code, flag, having=b'"r":"start"')) as driver:
            driver.open()
            user.write(flag, "")
            driver.start("1.1", spec(user, mark(work, "ran"), io=io))
            driver.wait(lambda: driver["1.1"].state, "an answer")
            assert (driver["1.1"].state, driver["1.1"].why) == ("never", REFUSED + os.strerror(code))
            assert driver["1.1"].times_started == 0
            driver.wait(lambda: not strangers(driver), "the process to go")
            flag.unlink()
            driver.start("1.1", spec(user, mark(work, "ran")))
            assert driver.run("2.1", spec(user, mark(work, "ran")))["exit"] == 0
            assert driver.query("1.1") == "never"
            driver.kill("wq-shepherd")
            driver.open()
            assert (driver["1.1"].state, driver["2.1"].state) == ("never", "ended")
            assert marks(work, "ran") == 1

    def test_nothing_is_told_before_it_is_on_disk(self, user: User, key: str, work: Path) -> None:
        flag = work / "flag"
        source = failing("write", errno.ENOSPC, flag, having=b'"r":"never"')
        with Driver(Local(user=user), key, source=source) as driver:
            driver.open()
            user.write(flag, "")
            driver.send({"do": "query", "att": "1.1"})
            driver.wait(lambda: failures(flag) > 3, "some tries")
            driver.send({"do": "ping"})
            driver.wait(lambda: driver.log[-1] == "{'say': 'pong'}", "an answer")
            assert driver["1.1"].state == ""
            driver.connect()
            driver.here = {}
            driver.wait(lambda: driver.up, "the greeting")
            driver.send({"do": "ping"})
            driver.wait(lambda: driver.log[-1] == "{'say': 'pong'}", "an answer")
            assert driver.here == {}
            flag.unlink()
            driver.wait(lambda: driver.here, "what is there")
            assert driver["1.1"].state == "never"

    @pytest.mark.parametrize("killed", [(), ("wq-shepherd",)])
    def test_the_kernel_keeps_an_end_that_cannot_be_written_down(
        self, user: User, key: str, work: Path, killed: tuple[str, ...]
    ) -> None:
        flag = work / "flag"
        source = failing("write", errno.ENOSPC, flag, having=b'"r":"exit"')
        with Driver(Local(user=user), key, source=source) as driver:
            driver.open()
            driver.start("1.1", spec(user, f"{until(work / 'go')}; exec sh -c 'exit 5'"))
            driver.wait_for_start("1.1")
            user.write(flag, "")
            let_go(user, work / "go")
            driver.wait(lambda: failures(flag) > 3, "some tries")
            assert driver["1.1"].end is None
            if killed:
                driver.kill(*killed)
                wait_for(lambda: driver.pids("wq-shepherd"), PATIENCE_S, "the next one")
            flag.unlink()
            if killed:
                driver.open()
            assert driver.wait_for_end("1.1")["exit"] == 5

    @pytest.mark.parametrize("killed", [(), ("wq-shepherd",)])
    def test_a_keeper_that_cannot_write_waits_and_still_starts_the_next_shepherd(
        self, user: User, key: str, work: Path, killed: tuple[str, ...]
    ) -> None:
        """Its notes begin with an empty line, because the one before may be torn."""
        flag = work / "flag"
        with Driver(Local(user=user), key, source=failing("write", errno.ENOSPC, flag, having=b"\n")) as driver:
            driver.open()
            driver.start("1.1", spec(user, f"{until(work / 'go')}; exec sh -c 'exit 5'"))
            driver.wait_for_start("1.1")
            driver.kill("wq-shepherd")
            driver.open()
            user.write(flag, "")
            let_go(user, work / "go")
            driver.wait(lambda: failures(flag) > 3, "some tries")
            if killed:
                driver.kill(*killed)
                assert driver.pid("wq-shepherd")
            assert not driver["1.1"].end
            flag.unlink()
            driver.open(tries=3)
            assert driver.how_it_ended("1.1") == {"exit": 5}


class TestFailure:
    @pytest.mark.parametrize("io", ["file", "stream"])
    def test_a_process_that_cannot_be_made_is_an_end_in_a_sentence(
        self, user: User, key: str, work: Path, io: str
    ) -> None:
        flag = work / "flag"
        with Driver(Local(user=user), key, source=failing("fork", errno.EAGAIN, flag, once=True)) as driver:
            driver.open()
            user.write(flag, "")
            end = driver.run("1.1", spec(user, mark(work, "ran"), io=io))
            assert end == {"error": f"cannot start it here: {os.strerror(errno.EAGAIN)}"}
            assert driver.run("2.1", spec(user, mark(work, "ran"), io=io))["exit"] == 0
            assert marks(work, "ran") == 1

    @pytest.mark.parametrize("call", ["fsync", "write"])
    def test_a_disk_that_fails_ends_the_shepherd_and_the_next_one_knows_what_is_true(
        self, user: User, key: str, work: Path, call: str
    ) -> None:
        flag = work / "flag"
        having = b"" if call == "fsync" else b'"r":"intent"'
        source = failing(call, errno.EIO, flag, having=having, once=True)
        with Driver(Local(user=user), key, source=source) as driver:
            driver.open()
            driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
            driver.wait_for_start("1.1")
            shepherd = driver.pid("wq-shepherd")
            user.write(flag, "")
            driver.start("2.1", spec(user, mark(work, "ran")))
            with pytest.raises(ConnectionError):
                driver.wait(lambda: False, "the shepherd to end")
            driver.open()
            assert driver.pid("wq-shepherd") != shepherd
            assert "Input/output error" in (driver.spool / "log").read_text()
            driver.send({"do": "query", "att": "2.1"})
            driver.wait(lambda: driver["2.1"].state in ("never", "ended"), "it to be sure of that")
            known = driver["2.1"].state
            let_go(user, work / "go")
            assert driver.wait_for_end("1.1")["exit"] == 5
            assert known == "never" or call == "fsync"  # one that could not be written down never was
            assert marks(work, "ran") == (1 if known == "ended" else 0)


class SmallDisk:
    """A disk of 256 kB that a process has as its /var/tmp; filled by what others leave there."""

    def __init__(self, holder: int) -> None:
        self.enter = ["nsenter", f"--target={holder}", "--mount"]
        self.place = Path("/proc", str(holder), "root", "var", "tmp")
        self.fillers = 0

    def backend(self, user: User) -> Local:
        before = [*self.enter, "setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
        return Local(user=rig.current_user(), before=before, env=user.environment())

    def spool(self, driver: Driver) -> Path:
        return self.place / driver.spool.relative_to("/var/tmp")

    def fill(self) -> None:
        self.fillers += 1
        filler = (self.place / f"filler{self.fillers}").open("wb", buffering=0)
        with filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(512))
        assert os.statvfs(self.place).f_bavail == 0

    def clear(self) -> None:
        for filler in self.place.glob("filler*"):
            filler.unlink()


@pytest.fixture
def disk(small_disk: int) -> SmallDisk:
    return SmallDisk(small_disk)


@pytest.fixture
def small(disk: SmallDisk, user: User, key: str) -> Iterator[Driver]:
    """Connected to a shepherd whose spool is on it."""
    with Driver(disk.backend(user), key, user=user) as driver:
        driver.may_crash = True  # its log is not where the driver looks for it
        driver.open()
        yield driver
        assert "Traceback" not in (disk.spool(driver) / "log").read_text()
        disk.clear()


def shepherd_of(driver: Driver) -> int:
    """A new process of a job has the same title for a moment."""

    def found() -> list[int]:
        return [pid for pid in driver.left() if title_of(pid).startswith("wq-shepherd")]

    return wait_for(lambda: found() if len(found()) == 1 else [], PATIENCE_S, "one shepherd")[0]


class TestFullDisk:
    def test_it_starts_nothing_and_loses_no_end_and_goes_on_when_there_is_room(
        self, small: Driver, disk: SmallDisk, user: User, work: Path
    ) -> None:
        small.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
        small.wait_for_start("1.1")
        shepherd = shepherd_of(small)
        disk.fill()
        small.start("2.1", spec(user, mark(work, "ran")))
        small.wait(lambda: small["2.1"].state, "an answer")
        assert (small["2.1"].state, small["2.1"].why) == ("never", REFUSED + os.strerror(errno.ENOSPC))
        assert (disk.spool(small) / "reserve").exists()
        for number in range(200):
            small.query(f"{number}.9")  # the journal grows
        assert not (disk.spool(small) / "reserve").exists()
        small.start("3.1", spec(user, mark(work, "ran"), io="stream"))
        small.wait(lambda: small["3.1"].state, "an answer")
        assert (small["3.1"].state, small["3.1"].why) == ("never", REFUSED + os.strerror(errno.ENOSPC))
        let_go(user, work / "go")
        assert small.wait_for_end("1.1")["exit"] == 5
        disk.clear()
        assert small.run("4.1", spec(user, "exit 6"))["exit"] == 6
        assert (disk.spool(small) / "reserve").exists()
        assert shepherd_of(small) == shepherd
        assert marks(work, "ran") == 0

    @pytest.mark.parametrize("killed", [False, True])
    def test_without_its_reserve_it_waits_for_room(
        self, small: Driver, disk: SmallDisk, user: User, work: Path, killed: bool
    ) -> None:
        small.start("1.1", spec(user, f"{until(work / 'go')}; exec sh -c 'exit 5'"))
        pid = small.wait_for_start("1.1")
        (disk.spool(small) / "reserve").unlink()
        disk.fill()
        for number in range(200):
            small.send({"do": "query", "att": f"{number}.9"})
        small.send({"do": "ping"})
        small.wait(lambda: "{'say': 'pong'}" in small.log, "an answer")
        assert not all(small[f"{number}.9"].state for number in range(200))
        let_go(user, work / "go")
        small.wait_for_pids(pid)
        if killed:
            os.kill(shepherd_of(small), 9)
        disk.clear()
        if killed:
            small.open(tries=3)
        assert small.wait_for_end("1.1")["exit"] == 5
        for number in range(200):
            assert small.query(f"{number}.9") == "never"

    def test_whoever_comes_first_is_told_in_one_line_and_nothing_stays(
        self, disk: SmallDisk, user: User, key: str
    ) -> None:
        driver = Driver(disk.backend(user), key, user=user)
        disk.fill()
        with pytest.raises(ConnectionError):
            driver.open()
        line = f"no room in the spool on this node ({driver.spool}): {os.strerror(errno.ENOSPC)}"
        assert driver.noise == b"\nwq-shepherd/1 error " + line.encode() + b"\n"
        assert not disk.spool(driver).parent.exists()
        disk.clear()
        with driver:
            driver.may_crash = True
            driver.open()
            assert driver.run("1.1", spec(user, "exit 5"))["exit"] == 5


def test_a_spool_stays_where_it_is_when_that_is_read_only(disk: SmallDisk, user: User, key: str, work: Path) -> None:
    """Whoever looked for it elsewhere would find that its jobs had never been started."""
    with Driver(disk.backend(user), key, user=user) as driver:
        driver.may_crash = True
        driver.open()
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
        driver.wait_for_start("1.1")
        driver.hang_up()
        disk.place.chmod(0o755)  # as good as read-only: nothing new can be made there
        driver.open()
        assert driver["1.1"].state == "running"
        disk.place.chmod(0o1777)
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 5


class TestJournal:
    def test_the_next_shepherd_begins_a_short_one(self, local: Driver, user: User, work: Path) -> None:
        for number in range(20):
            local.run(f"{number}.1", spec(user, "exit 3"))
            local.ack(f"{number}.1")
            local.seen.clear()
        local.start("20.1", spec(user, f"{until(work / 'go')}; exit 5"))
        local.run("21.1", spec(user, "exit 6"))
        local.query("22.1")
        local.wait_for_start("20.1")
        local.kill("wq-shepherd")
        local.open()
        names = ["boot", "intent", "start", "intent", "start", "exit", "gone", "never"]
        lines = (local.spool / "journal").read_text().splitlines()
        assert [line.split('"')[3] for line in lines] == names
        local.kill("wq-keeper", "wq-shepherd")
        local.open()
        assert [local[att].state for att in ("20.1", "21.1", "22.1")] == ["running", "ended", "never"]
        let_go(user, work / "go")
        assert local.how_it_ended("20.1") == {"exit": 5}

    def test_one_that_is_never_idle_keeps_it_short(self, user: User, key: str, work: Path) -> None:
        source = SOURCE.replace(b"COMPACT_BYTES = 1 << 20", b"COMPACT_BYTES = 2000")
        with Driver(Local(user=user), key, source=source) as driver:
            driver.open()
            driver.start("0.1", spec(user, f"{until(work / 'go')}; exit 5"))
            for number in range(1, 50):
                driver.run(f"{number}.1", spec(user, "exit 3"))
                driver.ack(f"{number}.1")
                del driver.seen[f"{number}.1"]
                assert (driver.spool / "journal").stat().st_size < 3000
            driver.kill("wq-shepherd")
            driver.open()
            let_go(user, work / "go")
            assert driver.wait_for_end("0.1")["exit"] == 5

    def test_without_room_for_a_new_one_the_old_one_serves(self, user: User, key: str, work: Path) -> None:
        flag = work / "flag"
        source = failing("write", errno.ENOSPC, flag, having=b'"scattered"')
        with Driver(Local(user=user), key, source=source) as driver:
            driver.open()
            driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
            driver.wait_for_start("1.1")
            user.write(flag, "")
            driver.kill("wq-shepherd")
            wait_for(lambda: failures(flag), PATIENCE_S, "a try")
            flag.unlink()
            driver.open()
            let_go(user, work / "go")
            assert driver.wait_for_end("1.1")["exit"] == 5
