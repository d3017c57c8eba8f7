"""kill -9 of the shepherd, of its keeper, of both; a torn journal, a reboot: ends are true or lost."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.contract.driver import PATIENCE_S, Driver, spec
from tests.contract.jobs import ALL_LINES, COUNTS, let_go, mark, marks, until
from tests.e2e import rig
from tests.e2e.rig import User

pytestmark = pytest.mark.xdist_group("shepherd-killed")

LOST = {"lost": "the shepherd was killed, and its keeper too"}
REBOOTED = {"lost": "the node was rebooted while it ran", "rebooted": True}


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

    def test_files_of_a_start_that_did_not_reach_the_journal_are_in_nobodys_way(
        self, driver: Driver, user: User
    ) -> None:
        for suffix in ("out", "sh", "hosts", "rc"):
            user.write(driver.spool / f"1.1.{suffix}", "left")
        driver.kill("wq-shepherd")
        driver.open()
        assert driver.run("1.1", spec(user, "echo a; exit 5"))["exit"] == 5
        assert driver.output("1.1") == "a\n"

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
        assert driver.how_it_ended("1.1") == end

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
    @pytest.mark.parametrize(("last", "end"), [("exit 5", {"exit": 5}), ("exec sh -c 'exit 5'", LOST)])
    def test_without_both_only_the_shell_can_tell_the_end_and_nothing_runs_twice(
        self, driver: Driver, user: User, work: Path, order: tuple[str, str], ends: str, last: str, end: dict[str, int]
    ) -> None:
        job = spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; echo whole; {last}")
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
        assert driver.how_it_ended("1.1") == end
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
        records = rebooted(driver)
        kept = [record for record in records if (record["r"], record.get("att")) != ("gone", "3.1")]  # cut short there
        kept.append({"r": "intent", "att": "4.1", "tag": 1 << 51, "io": "file", "rank": False, "shared": False})
        write_journal(driver, kept)
        driver["3.1"].end = None  # without the time that it used
        driver.open()
        driver.start("1.1", spec(user, mark(work, "ran")))
        assert driver.how_it_ended("1.1") == REBOOTED
        assert driver.wait_for_end("2.1")["exit"] == 6
        assert driver.output("2.1") == "two\n"
        assert driver.wait_for_end("3.1")["exit"] == 7
        assert driver["4.1"].state == "never"  # its gate cannot have been opened
        assert marks(work, "ran") == 1
        driver.kill("wq-shepherd")
        driver.open()
        assert {att: seen.state for att, seen in driver.seen.items()} == {
            "1.1": "ended",
            "2.1": "ended",
            "3.1": "ended",
            "4.1": "never",
        }

    @pytest.mark.parametrize(("status", "end"), [(0, {"exit": 0}), (5, REBOOTED)])
    def test_that_a_job_succeeded_before_the_reboot_its_shell_may_say(
        self, driver: Driver, user: User, work: Path, status: int, end: dict[str, Any]
    ) -> None:
        """Another status that nobody saw may be what the shutdown made of it."""
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit {status}"))
        pid = driver.wait_for_start("1.1")
        driver.kill("wq-keeper", "wq-shepherd")
        let_go(user, work / "go")
        driver.wait_for_pids(pid)
        write_journal(driver, rebooted(driver))
        driver.open()
        assert driver.how_it_ended("1.1") == end

    @pytest.mark.parametrize("script", ["exec sleep 1000", "trap 'exit 3' TERM; while :; do sleep 0.1; done"])
    def test_a_shutdown_of_the_node_is_no_end_of_a_job(self, driver: Driver, user: User, script: str) -> None:
        """First all processes get a TERM, then, a minute later, a KILL."""
        driver.start("1.1", spec(user, script))
        pid = driver.wait_for_start("1.1")
        os.kill(pid, signal.SIGTERM)
        os.kill(driver.pid("wq-shepherd"), signal.SIGTERM)
        driver.wait_for_pids(pid)
        driver.wait(lambda: driver.query("1.1") == "sweeping", "it to be seen")
        driver.kill("wq-keeper", "wq-shepherd", "attach")
        write_journal(driver, rebooted(driver))
        driver.open()
        assert driver.how_it_ended("1.1") == REBOOTED

    def test_unless_it_succeeded(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 0"))
        driver.wait_for_start("1.1")
        os.kill(driver.pid("wq-shepherd"), signal.SIGTERM)
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 0

    def test_an_end_by_a_signal_is_told_when_the_node_goes_on(self, driver: Driver, user: User) -> None:
        driver.start("1.1", spec(user, "exec sleep 1000"))
        os.kill(driver.wait_for_start("1.1"), signal.SIGTERM)
        assert driver.wait_for_end("1.1")["signal"] == signal.SIGTERM

    def test_also_by_the_next_shepherd(self, driver: Driver, user: User) -> None:
        driver.start("1.1", spec(user, "exec sleep 1000"))
        pid = driver.wait_for_start("1.1")
        os.kill(driver.pid("wq-shepherd"), signal.SIGTERM)
        os.kill(pid, signal.SIGTERM)
        driver.wait_for_pids(pid)
        driver.kill("wq-shepherd")
        driver.open()
        assert driver.wait_for_end("1.1")["signal"] == signal.SIGTERM

    def test_what_the_keeper_wrote_down_before_the_reboot_counts(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; kill -USR1 $$"))
        pid = driver.wait_for_start("1.1")
        driver.kill("wq-shepherd")
        next_one = driver.pid("wq-shepherd")
        with rig.stopped(next_one):
            let_go(user, work / "go")
            driver.wait_for_pids(pid)
            rig.wait_for(lambda: f"{pid} 2" in (driver.spool / "notes").read_text(), PATIENCE_S, "the note")
            driver.kill("wq-keeper", "wq-shepherd")
        write_journal(driver, rebooted(driver))
        driver.open()
        assert driver.how_it_ended("1.1") == {"signal": signal.SIGUSR1}


def rebooted(driver: Driver) -> list[dict[str, Any]]:
    """The records of the journal, as if the node had been rebooted since."""
    records: list[dict[str, Any]] = [json.loads(line) for line in (driver.spool / "journal").read_text().splitlines()]
    return [{**record, "id": "another"} if record["r"] == "boot" else record for record in records]


def write_journal(driver: Driver, records: list[dict[str, Any]]) -> None:
    driver.user.write(driver.spool / "journal", "".join(json.dumps(record) + "\n" for record in records), 0o600)
