"""What attempts used: at least so much, of all their processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.driver import SOURCE, Driver, Local, spec, task
from tests.contract.jobs import let_go, until, wait_for_file
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("shepherd-use")

MB = 1 << 20
HUNGRY = "import sys, time; kept = bytearray({size}); open({ready!r}, 'w').write('x'); time.sleep(1000)"
# It is looked at all the time, and says so in the spool.
EAGER = (
    SOURCE.replace(b"USE_AT_S = (0.5, 1.0, 2.0)", b"USE_AT_S = (0.02,)")
    .replace(b"USE_EVERY_S = 5.0", b"USE_EVERY_S = 0.05")
    .replace(b"USE_SLACK_S = 0.25", b"USE_SLACK_S = 0.01")
)
COUNTED = EAGER.replace(
    b"        for attempt in attempts:\n            pids = tree_below([attempt.pid] + strays",
    b"        open('passes', 'a').write('x')\n"
    b"        for attempt in attempts:\n            pids = tree_below([attempt.pid] + strays",
)


@pytest.fixture
def eager(user: User, key: str) -> Driver:
    assert COUNTED.count(b"'passes'") == 1
    return Driver(Local(user=user), key, source=COUNTED)


def passes(driver: Driver) -> int:
    path = driver.spool / "passes"
    return path.stat().st_size if path.exists() else 0


def wait_for_passes(driver: Driver, count: int) -> None:
    before = passes(driver)
    wait_for(lambda: passes(driver) >= before + count, 30.0, "the shepherd to look at what runs")


def hungry(work: Path, name: str, size: int) -> str:
    return f'python3 -c "{HUNGRY.format(size=size, ready=str(work / name))}"'


class TestMemory:
    def test_it_is_that_of_all_processes_together_also_of_those_that_have_left_the_tree(
        self, eager: Driver, user: User, work: Path
    ) -> None:
        with eager:
            eager.open()
            script = f"{hungry(work, 'a', 60 * MB)} & setsid {hungry(work, 'b', 50 * MB)} & {until(work / 'go')}"
            eager.start("1.1", spec(user, script))
            for name in ("a", "b"):
                wait_for_file(work / name)
            wait_for_passes(eager, 2)
            let_go(user, work / "go")
            end = eager.wait_for_end("1.1")
            assert 110 * MB <= end["peak_mem_bytes"] < 300 * MB
            (eager.spool / "passes").unlink()

    def test_of_one_that_nobody_has_looked_at_the_kernel_knows_the_largest_process(
        self, local: Driver, user: User
    ) -> None:
        local.start("1.1", spec(user, f'python3 -c "bytearray({100 * MB})"'))
        assert local.wait_for_end("1.1")["peak_mem_bytes"] >= 100 * MB

    def test_that_of_the_shepherd_is_not_taken_for_that_of_what_it_starts(self, local: Driver, user: User) -> None:
        """(The kernel counts it to what is started from it.)"""
        local.template("t", spec(user, "", argv=["true"]))
        local.batch(1, "t", [task("1_0.1")])
        assert local.wait_for_end("1_0.1").get("peak_mem_bytes", 0) < 5 * MB


class TestTheRest:
    def test_time_and_bytes_and_what_children_have_read_and_written(
        self, eager: Driver, user: User, work: Path
    ) -> None:
        with eager:
            eager.open()
            write = f"dd if=/dev/zero of={work}/big bs=1M count=8 conv=fsync 2>/dev/null"
            eager.start("1.1", spec(user, f"{write}; rm {work}/big; {until(work / 'go')}; {write}; exit 3"))
            eager.wait_for_start("1.1")
            wait_for_passes(eager, 2)
            let_go(user, work / "go")
            end = eager.wait_for_end("1.1")
            assert end["exit"] == 3
            assert end["wall_s"] > 0
            assert end["cpu_s"] > 0
            assert end["io_read_bytes"] >= 0
            # (On a file system in memory nothing is written to storage.)
            assert end["io_write_bytes"] == 0 or end["io_write_bytes"] >= 16 * MB
            (eager.spool / "passes").unlink()

    def test_it_is_the_same_when_it_is_told_again(self, driver: Driver, user: User) -> None:
        driver.start("1.1", spec(user, "exit 3"))
        end = driver.wait_for_end("1.1")
        driver.kill("wq-shepherd")
        driver.open()  # (the driver compares)
        assert driver["1.1"].end == end
        assert end["wall_s"] >= 0

    def test_the_next_shepherd_looks_at_what_runs_too(self, eager: Driver, user: User, work: Path) -> None:
        with eager:
            eager.open()
            eager.start("1.1", spec(user, f"{hungry(work, 'a', 60 * MB)} & {until(work / 'go')}"))
            wait_for_file(work / "a")
            eager.kill("wq-shepherd")
            eager.open()
            wait_for_passes(eager, 2)
            let_go(user, work / "go")
            end = eager.wait_for_end("1.1")
            assert end["peak_mem_bytes"] >= 60 * MB
            (eager.spool / "passes").unlink()

    def test_while_nothing_runs_nothing_is_looked_at(self, eager: Driver, user: User) -> None:
        with eager:
            eager.open()
            eager.start("1.1", spec(user, "sleep 0.2"))
            eager.wait_for_end("1.1")
            after = passes(eager)
            for number in range(2, 12):  # (some turns of the loop)
                eager.query(f"{number}.1")
            assert passes(eager) == after
            (eager.spool / "passes").unlink(missing_ok=True)


def test_what_was_killed_by_nobody_that_is_known_says_how_much_memory_there_is(local: Driver, user: User) -> None:
    local.start("1.1", spec(user, "kill -9 $$"))
    local.start("2.1", spec(user, "while :; do sleep 0.05; done"))
    local.wait_for_start("2.1")
    local.stop("2.1", 0.0)
    assert local.wait_for_end("1.1")["node_mem_bytes"] > 0
    assert "node_mem_bytes" not in local.wait_for_end("2.1")
