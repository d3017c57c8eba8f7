"""Time limits: kept by the shepherd itself, whoever is connected, and whoever of the shepherds was killed meanwhile."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.contract.driver import SOURCE, Driver, Local, Word, spec, task
from tests.contract.jobs import let_go, until, wait_for_file
from tests.e2e.rig import User

pytestmark = pytest.mark.xdist_group("shepherd-limits")

SHORT_S = 0.3
# With little grace, so that nobody waits for those that ignore the TERM.
HASTY = SOURCE.replace(b"LIMIT_GRACE_S = 5.0", b"LIMIT_GRACE_S = 0.2")
FOR_EVER = "while :; do sleep 0.05; done 2>/dev/null"


@pytest.fixture(params=[True, False], ids=["fast", "slow"])
def each(request: pytest.FixtureRequest, user: User, key: str) -> Driver:
    """A driver for shepherds that start tasks in one way or the other."""
    slow = HASTY.replace(b'FAST = hasattr(os, "posix_spawn")', b"FAST = False")
    return Driver(Local(user=user), key, source=HASTY if request.param else slow)


def limited(end: Word) -> float | None:
    value = end.get("limit_s")
    assert value is None or isinstance(value, float)
    return value


class TestTheEnd:
    def test_its_time_is_over_and_its_end_says_so(self, driver: Driver, user: User) -> None:
        assert "limit" in driver.here["features"]
        driver.start("1.1", spec(user, f"echo on; sleep {driver.long}", time_s=SHORT_S))
        end = driver.wait_for_end("1.1")
        assert (end["signal"], limited(end)) == (signal.SIGTERM, SHORT_S)
        assert driver.output("1.1") == "on\n"

    def test_what_catches_the_term_may_end_as_it_likes(self, local: Driver, user: User) -> None:
        script = f"trap 'echo saved; exit 3' TERM; {FOR_EVER}"
        local.start("1.1", spec(user, script, time_s=SHORT_S))
        end = local.wait_for_end("1.1")
        assert (end["exit"], limited(end), local.output("1.1")) == (3, SHORT_S, "saved\n")

    def test_what_ignores_it_is_killed_and_all_below_it(self, user: User, key: str) -> None:
        with Driver(Local(user=user), key, source=HASTY) as driver:
            driver.open()
            script = f"trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep {driver.long}' & {FOR_EVER}"
            driver.start("1.1", spec(user, script, time_s=SHORT_S))
            end = driver.wait_for_end("1.1")
            assert (end["signal"], limited(end)) == (signal.SIGKILL, SHORT_S)

    def test_one_that_ends_before_ends_as_always(self, local: Driver, user: User) -> None:
        local.start("1.1", spec(user, "exit 4", time_s=60.0))
        end = local.wait_for_end("1.1")
        assert (end["exit"], limited(end)) == (4, None)

    def test_it_counts_from_the_start_of_each_task_not_while_that_waits(self, each: Driver, user: User) -> None:
        with each:
            each.open()
            each.template("t", spec(user, FOR_EVER))
            tasks = [task(f"1_{n}.1", time_s=SHORT_S) for n in range(2)]
            each.batch(1, "t", [*tasks, task("1_2.1", time_s=60.0, script="exit 5"), task("1_3.1", script="exit 6")])
            ends = [each.wait_for_end(f"1_{n}.1") for n in range(4)]
            assert [end.get("exit") for end in ends] == [None, None, 5, 6]
            assert [limited(end) for end in ends] == [SHORT_S, SHORT_S, None, None]
            assert (each["1_1.1"].run_s or 0.0) >= SHORT_S


class TestNobodyIsThere:
    def test_it_is_kept_while_the_link_is_cut(self, driver: Driver, user: User, work: Path) -> None:
        script = f"trap 'echo over >{work}/over; exit 1' TERM; {FOR_EVER}"
        driver.start("1.1", spec(user, script, time_s=SHORT_S))
        driver.wait_for_start("1.1")
        driver.hang_up()
        assert wait_for_file(work / "over") == "over"
        driver.open()
        assert limited(driver.wait_for_end("1.1")) == SHORT_S

    @pytest.mark.parametrize("killed", [("wq-shepherd",), ("wq-keeper", "wq-shepherd")])
    def test_the_next_shepherd_keeps_it_too(self, local: Driver, user: User, killed: tuple[str, ...]) -> None:
        local.start("1.1", spec(user, FOR_EVER, time_s=3.0))
        local.template("t", spec(user, FOR_EVER))
        local.batch(1, "t", [task("2_0.1", time_s=3.0)])
        for att in ("1.1", "2_0.1"):
            local.wait_for_start(att)
        local.kill(*killed)
        local.open()
        for att in ("1.1", "2_0.1"):
            end = local.wait_for_end(att)
            # (If the keeper is gone too, nobody is left to see by what signal it ended.)
            assert limited(end) == 3.0 or (len(killed) == 2 and "lost" in end)


class TestTheWarning:
    @pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
    def test_who_heeds_the_signal_has_it_before_the_end(self, local: Driver, user: User, shell: str) -> None:
        script = f"trap 'echo soon' USR1; trap 'echo over; exit 2' TERM; {FOR_EVER}"
        local.start("1.1", spec(user, script, shell=shell, time_s=3.0, warn=[int(signal.SIGUSR1), 0.5]))
        assert local.wait_for_end("1.1")["exit"] == 2
        assert local.output("1.1") == "soon\nover\n"

    @pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
    def test_a_shell_that_does_not_is_not_killed_by_what_is_meant_for_its_program(
        self, local: Driver, user: User, work: Path, shell: str
    ) -> None:
        user.write(work / "sim.sh", f"trap 'echo soon; exit 0' USR1\n{FOR_EVER}\n")
        script = f"sh {work}/sim.sh; echo 'saved, says the shell'"
        local.start("1.1", spec(user, script, shell=shell, time_s=60.0, warn=[int(signal.SIGUSR1), 59.0]))
        assert local.wait_for_end("1.1")["exit"] == 0
        assert local.output("1.1") == "soon\nsaved, says the shell\n"


class TestItChanges:
    def test_it_is_made_shorter_than_it_has_run_already(self, local: Driver, user: User) -> None:
        local.start("1.1", spec(user, FOR_EVER, time_s=600.0))
        local.wait_for_start("1.1")
        local.limit("1.1", 0.01)
        assert limited(local.wait_for_end("1.1")) == 0.01

    def test_it_gets_one_and_another_shepherd_knows(self, local: Driver, user: User) -> None:
        local.start("1.1", spec(user, FOR_EVER))
        local.wait_for_start("1.1")
        local.limit("1.1", 2.0)
        assert local.query("1.1") == "running"  # the word before has been heard
        local.kill("wq-shepherd")
        local.open()
        assert limited(local.wait_for_end("1.1")) == 2.0

    def test_it_is_lifted(self, local: Driver, user: User, work: Path) -> None:
        script = f"trap 'echo soon' USR1; trap 'exit 9' TERM; {until(work / 'go')}"
        local.start("1.1", spec(user, script, time_s=4.0, warn=[int(signal.SIGUSR1), 0.5]))
        local.wait_for_start("1.1")
        local.limit("1.1", None)
        local.start("2.1", spec(user, FOR_EVER, time_s=4.5))
        assert limited(local.wait_for_end("2.1")) == 4.5  # which began later, and had more time
        let_go(user, work / "go")
        end = local.wait_for_end("1.1")
        assert (end["exit"], limited(end), local.output("1.1")) == (0, None, "")

    def test_that_of_a_task_which_waits_for_its_turn(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, FOR_EVER))
        local.batch(1, "t", [task("1_0.1", script=until(work / "go")), task("1_1.1", time_s=600.0)])
        local.wait_for_start("1_0.1")
        local.limit("1_1.1", SHORT_S)
        let_go(user, work / "go")
        assert limited(local.wait_for_end("1_1.1")) == SHORT_S
