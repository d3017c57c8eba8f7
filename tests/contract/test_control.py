"""Suspension and signals: for all processes of an attempt, wherever they are, and whoever was killed meanwhile."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest

from tests.contract.driver import PATIENCE_S, Driver, spec, task
from tests.contract.jobs import let_go, strangers, until, wait_for_file
from tests.e2e import rig
from tests.e2e.rig import User, wait_for
from tests.e2e.users import title_of

pytestmark = pytest.mark.xdist_group("shepherd-control")

FOR_EVER = "while :; do sleep 0.05; done"


def states(driver: Driver) -> set[str]:
    """Those of the processes of jobs. (A parent that is stopped does not wait for the dead.)"""
    found = set()
    for pid in driver.left():
        title = title_of(pid)
        if not title.startswith(("wq-", "ssh")) and "WQ_BOOT" not in title:
            with contextlib.suppress(OSError):
                found.add(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    return found - {"Z", "X"}


def halted(driver: Driver) -> bool:
    """Whether all of them are. (D: who waits for a child that was stopped before it had become another program.)"""
    found = states(driver)
    return bool(found) and found <= {"T", "D"}


class TestSuspension:
    def test_all_of_its_processes_are_stopped_and_go_on(self, driver: Driver, user: User, work: Path) -> None:
        assert "control" in driver.here["features"]
        script = f"setsid sh -c '{until(work / 'go')}; echo escaped' & sh -c 'echo ready >{work}/ready; exec sleep "
        driver.start("1.1", spec(user, f"{script}{driver.long}' & {until(work / 'go')}; wait %1; exit 3"))
        wait_for_file(work / "ready")
        driver.suspend("1.1")
        wait_for(lambda: halted(driver), PATIENCE_S, "all of them to be stopped")
        let_go(user, work / "go")
        assert driver.query("1.1") == "running"
        assert halted(driver)
        driver.carry_on("1.1")
        assert driver.wait_for_end("1.1")["exit"] == 3
        assert driver.output("1.1") == "escaped\n"

    def test_nobody_forks_faster_than_it_is_stopped(self, local: Driver, user: User, work: Path) -> None:
        local.start("1.1", spec(user, f"echo x >{work}/ready; while :; do /bin/true; done"))
        wait_for_file(work / "ready")
        local.suspend("1.1")
        wait_for(lambda: halted(local), PATIENCE_S, "all of them to be stopped")
        local.stop("1.1", 5.0)
        assert local.wait_for_end("1.1")["signal"] == signal.SIGTERM

    def test_one_that_is_to_end_gets_the_term_and_may_heed_it(self, local: Driver, user: User, work: Path) -> None:
        script = f"trap 'echo over; exit 5' TERM; echo x >{work}/ready; {FOR_EVER} 2>/dev/null"
        local.start("1.1", spec(user, script))
        wait_for_file(work / "ready")
        local.suspend("1.1")
        wait_for(lambda: halted(local), PATIENCE_S, "all of them to be stopped")
        local.stop("1.1", 60.0)
        assert local.wait_for_end("1.1")["exit"] == 5
        assert local.output("1.1") == "over\n"
        local.suspend("1.1")  # too late, and no harm
        assert strangers(local) == []

    @pytest.mark.parametrize("killed", [("wq-shepherd",), ("wq-keeper", "wq-shepherd")])
    def test_it_outlives_the_shepherd(self, local: Driver, user: User, work: Path, killed: tuple[str, ...]) -> None:
        local.start("1.1", spec(user, f"echo x >{work}/ready; {until(work / 'go')}; exit 4"))
        wait_for_file(work / "ready")
        local.suspend("1.1")
        wait_for(lambda: halted(local), PATIENCE_S, "all of them to be stopped")
        local.kill(*killed)
        local.open()
        let_go(user, work / "go")
        assert halted(local)
        local.carry_on("1.1")
        assert local.wait_for_end("1.1")["exit"] == 4

    def test_its_time_does_not_go_on(self, local: Driver, user: User, work: Path) -> None:
        local.start("1.1", spec(user, f"echo x >{work}/ready; {FOR_EVER}", time_s=4.0))
        wait_for_file(work / "ready")
        local.suspend("1.1")
        local.start("2.1", spec(user, FOR_EVER, time_s=4.5))
        assert local.wait_for_end("2.1")["limit_s"] == 4.5
        assert local.query("1.1") == "running"
        local.kill("wq-shepherd")
        local.open()
        assert local.query("1.1") == "running"
        local.carry_on("1.1")
        end = local.wait_for_end("1.1")
        assert end["limit_s"] == 4.0
        assert end["wall_s"] >= 4.5  # (this one does go on)

    def test_a_lane_waits(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, until(work / "go")))
        local.batch(1, "t", [task("1_0.1"), task("1_1.1")])
        local.wait_for_start("1_0.1")
        local.suspend("1_0.1")
        let_go(user, work / "go")
        assert local.query("1_1.1") == "intent"
        local.carry_on("1_0.1")
        assert local.wait_for_end("1_1.1")["exit"] == 0

    def test_what_does_not_run_is_not_suspended(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, until(work / "go")))
        local.batch(1, "t", [task("1_0.1"), task("1_1.1")])
        local.wait_for_start("1_0.1")
        local.suspend("1_1.1")
        let_go(user, work / "go")
        assert local.wait_for_end("1_1.1")["exit"] == 0


class TestSignals:
    def test_who_catches_it_has_it_also_outside_of_the_tree(self, local: Driver, user: User, work: Path) -> None:
        catch = f"trap 'echo caught; exit' USR2; echo x >>{work}/ready; {FOR_EVER} 2>/dev/null"
        user.write(work / "catch.sh", catch)
        local.start("1.1", spec(user, f"setsid sh {work}/catch.sh & sh {work}/catch.sh; echo on; wait; exit 6"))
        wait_for(lambda: wait_for_file(work / "ready").count("x") == 2, PATIENCE_S, "both to be ready")
        local.signal("1.1", signal.SIGUSR2)
        assert local.wait_for_end("1.1")["exit"] == 6
        assert sorted(local.output("1.1").split()) == ["caught", "caught", "on"]

    def test_others_are_for_all(self, local: Driver, user: User, work: Path) -> None:
        local.start("1.1", spec(user, f"sleep {local.long} & echo x >{work}/ready; {FOR_EVER}"))
        wait_for_file(work / "ready")
        local.signal("1.1", signal.SIGKILL)
        assert local.wait_for_end("1.1")["signal"] == signal.SIGKILL
        assert strangers(local) == []

    def test_what_is_over_or_never_was_gets_none(self, local: Driver, user: User) -> None:
        local.start("1.1", spec(user, "true"))
        local.wait_for_end("1.1")
        local.signal("1.1", signal.SIGKILL)
        local.signal("9.1", signal.SIGKILL)
        assert local.query("1.1") == "ended"
        assert rig.is_alive(local.pid("wq-shepherd"))
