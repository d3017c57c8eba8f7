"""Calls of the remote-shell agent, on the caller's side, while connections come and go."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from tests.contract.driver import SOURCE, Driver, Local, Word, spec, task
from tests.contract.jobs import let_go, mark, marks, until
from tests.e2e.rig import User

pytestmark = pytest.mark.xdist_group("shepherd-agents")


def job(user: User, script: str) -> Word:
    """In its script $AGENT is the agent."""
    hosts: Word = {"text": "node1\nnode2\n", "path": None, "mpi_hostfile": [], "mpi_agent": {"AGENT": "{agent}"}}
    return spec(user, script, hostfile=hosts)


def answer(driver: Driver, rank: str, status: int) -> None:
    driver.send({"do": "rank_report", "rank": rank, "ch": 1, "data": "from afar\n"})
    driver.send({"do": "rank_report", "rank": rank, "end": {"exit": status}})


def test_a_call_is_told_at_once_and_again_on_each_link_until_it_is_answered(local: Driver, user: User) -> None:
    local.start("1.1", job(user, "$AGENT -x anze@node2 prog 'a b'; echo status $?"))
    local.wait(lambda: "'say': 'rank'" in local.log[-1], "the call")
    told = local.log[-1]
    local.open()
    (call,) = local.here["agents"]
    assert call.pop("told")
    assert told == str({**call, "say": "rank"})
    assert {**call, "rank": ""} == {"rank": "", "att": "1.1", "host": "node2", "command": "prog a b"}
    local.kill_client()
    local.open()
    assert local.here["agents"] == [{**call, "told": True}]
    answer(local, call["rank"], 7)
    local.wait_for_end("1.1")
    assert local.output("1.1") == "from afar\nstatus 7\n"
    local.open()
    assert local.here["agents"] == []


def test_tasks_of_batches_can_call_it_too(local: Driver, user: User) -> None:
    local.template("t", job(user, "$AGENT node2 prog; echo status $?"))
    local.batch(1, "t", [task("1_1.1"), task("1_2.1")])
    for number, att in enumerate(["1_1.1", "1_2.1"]):
        local.wait(lambda n=number: sum("'say': 'rank'" in line for line in local.log) > n, "the call")  # type: ignore[misc]
        (call,) = [line for line in local.log if "'say': 'rank'" in line and f"'att': '{att}'" in line]
        answer(local, call.partition("'rank': '")[2].partition("'")[0], 7)
        local.wait_for_end(att)
        assert local.output(att) == "from afar\nstatus 7\n"


def connections(driver: Driver) -> int:
    """How many its shepherd has: the link, and calls."""
    sockets = 0
    for fd in Path(f"/proc/{driver.pid('wq-shepherd')}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets += os.readlink(fd).startswith("socket:")
    return sockets - 1  # it listens on one


def call_without_link(driver: Driver, user: User, work: Path) -> None:
    """A job calls the agent while there is no connection; then there is one."""
    driver.start("1.1", job(user, f"{until(work / 'go')}; $AGENT node2 prog; echo status $?"))
    driver.wait_for_start("1.1")
    driver.hang_up()
    driver.wait(lambda: connections(driver) == 0, "the link to be gone")
    let_go(user, work / "go")
    driver.wait(lambda: connections(driver) == 1, "the call")
    driver.open()
    assert [call["told"] for call in driver.here["agents"]] == [False]


def test_a_call_while_there_is_no_link_is_told_on_the_next(local: Driver, user: User, work: Path) -> None:
    call_without_link(local, user, work)
    answer(local, local.here["agents"][0]["rank"], 7)
    local.wait_for_end("1.1")
    assert local.output("1.1") == "from afar\nstatus 7\n"


def test_a_call_that_nobody_hears_of_ends_with_a_sentence(user: User, key: str, work: Path) -> None:
    source = SOURCE.replace(b"AGENT_WAIT_S = 90.0", b"AGENT_WAIT_S = 0.3")
    with Driver(Local(user=user), key, source=source) as driver:
        driver.open()
        call = "(sh -c '$AGENT node2 prog 2>&1; true'; echo over)"  # the agent ends its caller, as MPICH needs it
        driver.start("1.1", job(user, f"{until(work / 'go')}; {call}; {mark(work, 'over')}"))
        driver.wait_for_start("1.1")
        driver.hang_up()
        let_go(user, work / "go")
        driver.wait(lambda: marks(work, "over"), "the call to end")
        driver.open()
        driver.wait_for_end("1.1")
        lines = driver.output("1.1").splitlines()
        sentence = "wq: cannot start a process on node2: no connection from the submitting host for 0 s"
        assert sentence in lines
        assert lines[-1] == "over"


def test_a_call_that_was_heard_of_may_take_its_time(user: User, key: str, work: Path) -> None:
    source = SOURCE.replace(b"AGENT_WAIT_S = 90.0", b"AGENT_WAIT_S = 0.3")
    with Driver(Local(user=user), key, source=source) as driver:
        driver.open()
        call_without_link(driver, user, work)
        driver.run("2.1", spec(user, "sleep 0.5"))
        answer(driver, driver.here["agents"][0]["rank"], 7)
        driver.wait_for_end("1.1")
        assert driver.output("1.1") == "from afar\nstatus 7\n"
