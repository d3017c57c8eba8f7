"""Processes that are marked as part of an attempt which runs no more; and spools that nobody keeps any more."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.driver import PATIENCE_S, SOURCE, Driver, Local, new_key, spec
from tests.contract.jobs import let_go, strangers, until, wait_for_file
from tests.e2e import rig
from tests.e2e.rig import User, wait_for
from wq.node import shepherd

pytestmark = pytest.mark.xdist_group("orphans")

Row = dict[str, Any]
DAYS_31 = 31 * 86400.0


def ask(user: User, what: str) -> dict[str, list[Row]]:
    """`list` or `kill`."""
    size = len(SOURCE)
    boot = f"import sys;s=sys.stdin.buffer.read({size});WQ_BOOT={{'orphans':'{what}','source':s}};exec(s)"
    process = Local(user=user).connect(boot)
    out, _ = process.communicate(SOURCE, timeout=PATIENCE_S)
    assert process.returncode == 0
    nothing, greeting, answer = out.partition(b"\n" + shepherd.GREETING)
    assert (nothing, greeting) == (b"", b"\n" + shepherd.GREETING)
    found: dict[str, list[Row]] = json.loads(answer)
    return found


def of(driver: Driver, rows: list[Row]) -> list[Row]:
    """Of these, the ones that are the jobs' of this driver. (Where we are not root, others of ours may be there.)"""
    return [row for row in rows if driver.long in row["command"] or driver.key in row["command"]]


@pytest.fixture
def lonely(user: User, key: str, work: Path) -> Iterator[Driver]:
    """A queue without shepherd and keeper, whose job 1.1 runs, and has a child that is deaf to TERM."""
    driver = Driver(Local(user=user), key)
    driver.open()
    deaf = f"setsid sh -c 'trap \"\" TERM; echo x >{work}/ready; exec sleep {driver.long}' &"
    driver.start("1.1", spec(user, f"{deaf} sleep {driver.long}"))
    wait_for_file(work / "ready")
    driver.kill("wq-keeper", "wq-shepherd")
    driver.hang_up()
    yield driver
    for pid in driver.left():
        if driver.is_of_spool(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(driver.spool, ignore_errors=True)


@pytest.fixture
def other(lonely: Driver, user: User) -> Iterator[Driver]:
    """A living shepherd of another queue of the same user, whose job runs."""
    with Driver(Local(user=user), new_key()) as driver:
        driver.bystanders.update(lonely.left())
        driver.open()
        driver.start("1.1", spec(user, f"setsid sleep {driver.long} & sleep {driver.long}"))
        wait_for(lambda: len([t for t in strangers(driver) if t == f"sleep {driver.long}"]) >= 2, PATIENCE_S, "both")
        yield driver
        assert driver.query("1.1") == "running"
        driver.stop("1.1", 0.0)
        driver.wait_for_end("1.1")


class TestOrphans:
    def test_what_a_journal_says_to_run_is_none(self, lonely: Driver, other: Driver, user: User) -> None:
        rows = ask(user, "list")["orphans"]
        assert of(lonely, rows) == of(other, rows) == []

    def test_they_are_listed_and_ended_and_nothing_else_is(
        self, lonely: Driver, other: Driver, user: User, bystander: int
    ) -> None:
        other.bystanders.add(bystander)
        (lonely.spool / "journal").unlink()
        rows = of(lonely, ask(user, "list")["orphans"])
        assert len(rows) == 3
        assert {row["command"] for row in rows} == {f"sleep {lonely.long}", f"sh {lonely.spool}/1.1.sh"}
        assert all(row["queue"] is row["att"] is None and row["age_s"] >= 0 for row in rows)
        assert all(rig.is_alive(row["pid"]) for row in rows)
        answer = ask(user, "kill")
        assert answer["left"] == []
        assert {row["pid"] for row in of(lonely, answer["ended"])} == {row["pid"] for row in rows}
        assert not any(rig.is_alive(row["pid"]) for row in rows)
        assert of(lonely, ask(user, "list")["orphans"]) == []
        assert of(other, answer["ended"]) == []

    def test_one_of_an_attempt_that_is_known_to_be_over_is_named(self, lonely: Driver, user: User) -> None:
        with (lonely.spool / "journal").open("a") as journal:
            journal.write('{"r":"exit","att":"1.1","end":{"exit":0}}\n')
        assert of(lonely, ask(user, "list")["orphans"]) == []  # a shepherd may be sweeping
        with (lonely.spool / "journal").open("a") as journal:
            journal.write('{"r":"gone","att":"1.1","used":{}}\n')
        rows = of(lonely, ask(user, "list")["orphans"])
        assert {(row["queue"], row["att"]) for row in rows} == {(lonely.key, "1.1")}

    def test_a_journal_that_cannot_be_understood_makes_none(self, lonely: Driver, user: User) -> None:
        user.write(lonely.spool / "journal", '{"s":"a newer version"}\n', 0o600)
        with pytest.raises(AssertionError):
            ask(user, "kill")
        assert strangers(lonely)


class TestDeadSpools:
    def old(self, driver: Driver) -> None:
        long_ago = time.time() - DAYS_31
        os.utime(driver.spool / "journal", (long_ago, long_ago))

    def start_another(self, user: User) -> None:
        with Driver(Local(user=user), new_key()) as driver:
            driver.bystanders.update(driver.left())
            driver.open()

    def test_one_that_nobody_keeps_goes_when_it_is_old_and_nothing_of_it_runs(self, lonely: Driver, user: User) -> None:
        self.start_another(user)
        assert lonely.spool.exists()
        self.old(lonely)
        self.start_another(user)
        assert lonely.spool.exists()
        pids = [pid for pid in lonely.left() if lonely.is_of_spool(pid)]
        rig.signal_all(pids)
        lonely.wait_for_pids(*pids)
        self.start_another(user)
        assert not lonely.spool.exists()

    def test_the_rest_of_one_that_was_half_taken_away_goes_too(self, lonely: Driver, user: User) -> None:
        pids = [pid for pid in lonely.left() if lonely.is_of_spool(pid)]
        rig.signal_all(pids)
        lonely.wait_for_pids(*pids)
        (lonely.spool / "journal").unlink()
        self.start_another(user)
        assert lonely.spool.exists()
        long_ago = time.time() - DAYS_31
        os.utime(lonely.spool, (long_ago, long_ago))
        self.start_another(user)
        assert not lonely.spool.exists()

    def test_one_that_is_kept_stays_however_old(self, local: Driver, user: User) -> None:
        local.run("1.1", spec(user, "exit 3"))
        self.old(local)
        self.start_another(user)
        assert local.query("1.1") == "ended"
        assert (local.spool / "journal").exists()


def test_ends_that_nobody_asks_for_go_while_another_job_runs(user: User, key: str, work: Path) -> None:
    source = SOURCE.replace(b"HOUSEKEEPING_S = 6 * 3600.0", b"HOUSEKEEPING_S = 0.1")
    source = source.replace(b"UNASKED_S = 30 * 86400.0", b"UNASKED_S = 0.3")
    with Driver(Local(user=user), key, source=source) as driver:
        driver.open()
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 5"))
        driver.run("2.1", spec(user, "echo x; exit 1"))
        driver.query("3.1")
        driver.hang_up()
        wait_for(lambda: not (driver.spool / "2.1.out").exists(), PATIENCE_S, "its files to go")
        driver.open()
        assert [view["att"] for view in driver.here["attempts"]] == ["1.1"]
        del driver.seen["2.1"], driver.seen["3.1"]
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 5
