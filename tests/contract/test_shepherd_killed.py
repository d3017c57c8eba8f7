"""kill -9 of the shepherd, of its keeper, of both; a torn journal, a reboot, a full disk: ends are true or lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from tests.contract.driver import Driver, Local, spec
from tests.contract.jobs import ALL_LINES, COUNTS, let_go, mark, marks, until
from tests.e2e import rig
from tests.e2e.rig import User

pytestmark = pytest.mark.xdist_group("shepherd-killed")

LOST = {"lost": "the shepherd was killed, and its keeper too"}
REBOOTED = {"lost": "the node was rebooted while it ran"}


class TestShepherd:
    def test_a_job_outlives_it(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{mark(work, 'ran')}; echo a; {until(work / 'go')}; {COUNTS}; exit 5"))
        pid = driver.wait_for_start("1.1")
        driver.kill("wq-shepherd")
        driver.open()
        assert (driver["1.1"].state, driver["1.1"].pid) == ("running", pid)
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 5
        assert driver.output("1.1") == "a\n" + ALL_LINES
        assert marks(work, "ran") == 1

    @pytest.mark.parametrize(("last", "end"), [("exit 5", {"exit": 5}), ("kill -USR1 $$", {"signal": signal.SIGUSR1})])
    def test_an_end_while_there_is_none_is_learnt_truly(
        self, driver: Driver, user: User, work: Path, last: str, end: dict[str, int]
    ) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; {last}"))
        pid = driver.wait_for_start("1.1")
        with rig.stopped(driver.pid("wq-keeper")):  # so that it cannot start the next one
            driver.kill("wq-shepherd")
            let_go(user, work / "go")
            driver.wait_for_pids(pid)
        driver.open()
        assert driver.wait_for_end("1.1") == end

    def test_a_start_that_is_not_in_the_journal_never_was(self, driver: Driver, user: User, work: Path) -> None:
        """A new process waits until its start is on disk; if that cannot be any more, it never becomes the job."""
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 1"))
        pid = driver.wait_for_start("1.1")
        with rig.stopped(driver.pid("wq-keeper")):
            driver.kill("wq-shepherd")
            records = (driver.spool / "journal").read_text().splitlines(keepends=True)
            intents = [line for line in records if '"r":"start"' not in line]
            user.write(driver.spool / "journal", "".join(intents), 0o600)
            os.kill(pid, signal.SIGKILL)
        driver.open()
        assert driver["1.1"].state == "never"
        driver.start("1.1", spec(user, mark(work, "ran")))
        assert driver.query("1.1") == "never"
        assert marks(work, "ran") == 0

    def test_a_status_of_a_reused_process_id_is_nobody_elses(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
        pid = driver.wait_for_start("1.1")
        with (driver.spool / "notes").open("a") as notes:
            notes.write(f"{pid} 1 0 12345\n12 1\n\nrubbish 1 1 1\n")
        driver.kill("wq-shepherd")
        driver.open()
        assert driver["1.1"].state == "running"
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 5

    def test_a_torn_last_line_of_the_journal_does_no_harm(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
        driver.run("2.1", spec(user, "exit 6"))
        with rig.stopped(driver.pid("wq-keeper")):
            driver.kill("wq-shepherd")
            with (driver.spool / "journal").open("a") as journal:
                journal.write('{"r":"exit","att":"1.1","end":{"ex')
        driver.open()
        assert driver["1.1"].state == "running"
        assert driver.wait_for_end("2.1")["exit"] == 6
        driver.kill("wq-shepherd")  # the journal was cut off there, and goes on
        driver.open()
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 5


class TestKeeper:
    def test_a_job_outlives_it_and_others_start(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; exit 5"))
        driver.wait_for_start("1.1")
        driver.kill("wq-keeper")
        assert driver.run("2.1", spec(user, "exit 6"))["exit"] == 6
        driver.kill_client()
        driver.open()
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 5
        assert marks(work, "ran") == 1

    def test_one_that_is_slow_makes_no_end_untrue(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
        pid = driver.wait_for_start("1.1")
        driver.kill("wq-shepherd")
        driver.open()
        with rig.stopped(driver.pid("wq-keeper")):
            let_go(user, work / "go")
            driver.wait_for_pids(pid)
            assert driver.run("2.1", spec(user, "sleep 0.5"))["exit"] == 0
            assert driver.query("1.1") == "running"
        assert driver.wait_for_end("1.1")["exit"] == 5

    @pytest.mark.parametrize("ends", ["before", "after"])
    @pytest.mark.parametrize("order", [("wq-keeper", "wq-shepherd"), ("wq-shepherd", "wq-keeper")])
    def test_without_both_the_end_is_lost_but_nothing_runs_twice(
        self, driver: Driver, user: User, work: Path, order: tuple[str, str], ends: str
    ) -> None:
        job = spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; echo whole; exit 5")
        driver.start("1.1", job)
        pid = driver.wait_for_start("1.1")
        driver.kill(*order)
        if ends == "before":
            let_go(user, work / "go")
            driver.wait_for_pids(pid)
        driver.open()
        driver.start("1.1", job)
        if ends == "after":
            assert driver.query("1.1") == "running"
            let_go(user, work / "go")
        assert driver.wait_for_end("1.1") == LOST
        assert driver.output("1.1") == "whole\n"
        assert marks(work, "ran") == 1
        assert driver.run("2.1", spec(user, "exit 6"))["exit"] == 6


class TestNode:
    def test_after_a_reboot_what_ran_is_lost_and_the_rest_is_known(
        self, driver: Driver, user: User, work: Path
    ) -> None:
        driver.start("1.1", spec(user, f"{mark(work, 'ran')}; exec sleep 1000"))
        driver.run("2.1", spec(user, "echo two; exit 6"))
        driver.run("3.1", spec(user, "exit 7"))
        driver.wait(lambda: marks(work, "ran"), "the job to run")
        driver.kill("wq-keeper", "wq-shepherd", "attach")
        os.kill(driver["1.1"].pid, signal.SIGKILL)
        driver.wait_for_pids(driver["1.1"].pid)
        records = [json.loads(line) for line in (driver.spool / "journal").read_text().splitlines()]
        for record in records:
            if record["r"] == "boot":
                record["id"] = "another"
        kept = [record for record in records if (record["r"], record.get("att")) != ("gone", "3.1")]  # cut short there
        kept.append({"r": "intent", "att": "4.1", "tag": 1 << 51, "io": "file", "rank": False, "shared": False})
        user.write(driver.spool / "journal", "".join(json.dumps(record) + "\n" for record in kept), 0o600)
        driver["3.1"].end = None  # without the time that it used
        driver.open()
        driver.start("1.1", spec(user, mark(work, "ran")))
        assert driver.wait_for_end("1.1") == driver.wait_for_end("4.1") == REBOOTED
        assert driver.wait_for_end("2.1")["exit"] == 6
        assert driver.output("2.1") == "two\n"
        assert driver.wait_for_end("3.1")["exit"] == 7
        assert marks(work, "ran") == 1
        driver.kill("wq-shepherd")
        driver.open()
        assert {att: seen.state for att, seen in driver.seen.items()} == dict.fromkeys(driver.seen, "ended")

    def test_a_full_disk_loses_no_status(self, user: User, key: str, small_disk: int, work: Path) -> None:
        enter = ["nsenter", f"--target={small_disk}", "--mount"]
        enter += ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
        root = Local(user=rig.current_user(), before=enter, env=user.environment())
        with Driver(root, key, user=user) as driver:
            driver.may_crash = True
            driver.open()
            driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
            pid = driver.wait_for_start("1.1")
            filler = Path(f"/proc/{small_disk}/root/var/tmp/filler")
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as disk:
                while True:
                    disk.write(bytes(512))
            driver.start("2.1", spec(user, mark(work, "ran")))
            assert driver.wait_for_end("2.1") == {"error": "cannot start it here: No space left on device"}
            for number in range(200):
                driver.send({"do": "query", "att": f"{number}.9"})
            with pytest.raises(ConnectionError):
                driver.wait(lambda: False, "the shepherd to stop: the journal cannot grow")
            let_go(user, work / "go")
            driver.wait_for_pids(pid)
            filler.unlink()
            driver.open()
            assert driver.wait_for_end("1.1")["exit"] == 5
            assert marks(work, "ran") == 0
