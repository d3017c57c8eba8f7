"""The launcher's memory of what it was told and did: the protocol's rules (P3 to P9), one sentence each."""

from __future__ import annotations

from typing import Any

import pytest

from wq.core.job import Allocation, AttemptNo, HostName, JobId, OutcomeKind, Slice, Uid
from wq.core.requests import AttemptEnded, AttemptStarted, AttemptTakenBack, Start, Stop
from wq.launcher.ledger import Action, Entry, Finished, Ledger, Phase, Send, SendStart, Tell, outcome_of
from wq.launcher.task import Task

A, B = HostName("a"), HostName("b")
JOB = JobId(7)


def order(attempt: int = 1, *hosts: HostName) -> Start:
    slices = tuple(Slice(host=host, cores=(0,)) for host in hosts or (A,))
    allocation = Allocation(slices=slices)
    return Start(uid=Uid(1), id=JOB, attempt=AttemptNo(attempt), allocation=allocation, declared=(4,) * len(slices))


def stop(attempt: int = 1) -> Stop:
    return Stop(uid=Uid(1), id=JOB, attempt=AttemptNo(attempt), grace_s=2.0, by="anze")


def running(att: str = "7.1") -> dict[str, Any]:
    return {"att": att, "state": "running", "pid": 1, "shared": True, "chs": []}


def ended(att: str = "7.1", **end: Any) -> dict[str, Any]:
    return {**running(att), "state": "ended", "end": end or {"exit": 0}}


@pytest.fixture
def ledger() -> Ledger:
    """One accepted job, nothing connected."""
    made = Ledger()
    made.add(Entry(token="t", index=0, task=Task(command="true", output="out")))
    made.accepted("t", [JOB])
    made.dirty = {}
    return made


def entry(ledger: Ledger) -> Entry:
    return ledger.by_id[JOB]


def starts(actions: list[Action]) -> int:
    return sum(isinstance(action, SendStart) for action in actions)


def told(actions: list[Action]) -> list[Any]:
    return [action.report for action in actions if isinstance(action, Tell)]


def words(actions: list[Action]) -> list[str]:
    return [action.word["do"] for action in actions if isinstance(action, Send)]


def test_the_intent_is_to_be_stored_before_the_start_is_sent(ledger: Ledger) -> None:
    ledger.node_up(A, [])
    assert starts(ledger.ordered_start(order())) == 1
    stored = ledger.dirty[("t", 0)]
    assert stored is not None
    assert (stored.phase, stored.attempt) == (Phase.INTENDED, 1)


def test_a_start_waits_for_all_nodes_of_the_attempt(ledger: Ledger) -> None:
    assert starts(ledger.ordered_start(order(1, A, B))) == 0
    assert starts(ledger.node_up(A, [])) == 0
    assert starts(ledger.node_up(B, [])) == 1


def test_one_start_per_attempt_whatever_the_server_repeats(ledger: Ledger) -> None:
    ledger.node_up(A, [])
    assert sum(starts(ledger.ordered_start(order())) for _ in range(100)) == 1


def test_a_node_that_cannot_be_reached_gives_the_start_back(ledger: Ledger) -> None:
    ledger.ordered_start(order(1, A, B))
    (report,) = told(ledger.node_failed(B, "b refuses your key"))
    assert report == AttemptTakenBack(id=JOB, attempt=AttemptNo(1), host=B, why="b refuses your key")
    assert entry(ledger).phase is Phase.WAITING


def test_a_lost_connection_after_the_start_means_unknown(ledger: Ledger) -> None:
    ledger.node_up(A, [])
    ledger.ordered_start(order())
    assert told(ledger.node_failed(A, "cut")) == []
    assert entry(ledger).phase is Phase.INTENDED


def test_on_the_next_connection_it_asks_and_never_starts_again(ledger: Ledger) -> None:
    ledger.node_up(A, [])
    ledger.ordered_start(order())
    ledger.node_failed(A, "cut")
    actions = ledger.node_up(A, [])
    assert starts(actions) == 0
    assert words(actions) == ["query"]


def test_what_the_node_never_got_is_taken_back(ledger: Ledger) -> None:
    ledger.node_up(A, [], "boot 1")
    ledger.ordered_start(order())
    ledger.node_failed(A, "cut")
    ledger.node_up(A, [], "boot 1")
    (report,) = told(ledger.state_said(entry(ledger), {**running(), "state": "never"}))
    assert isinstance(report, AttemptTakenBack)


def test_after_a_reboot_of_the_node_never_is_no_proof(ledger: Ledger) -> None:
    ledger.node_up(A, [], "boot 1")
    ledger.ordered_start(order())
    ledger.node_failed(A, "cut")
    ledger.node_up(A, [], "boot 2")
    actions = ledger.state_said(entry(ledger), {**running(), "state": "never"})
    assert told(actions) == []
    assert any(isinstance(action, Finished) for action in actions)
    assert entry(ledger).outcome == outcome_of({"lost": "the node was rebooted while it ran"})


def test_a_running_attempt_is_adopted(ledger: Ledger) -> None:
    ledger.ordered_start(order())
    entry(ledger).maybe_sent = True  # as after a restart of the launcher
    assert told(ledger.node_up(A, [running()])) == [AttemptStarted(id=JOB, attempt=AttemptNo(1))]


def test_an_end_is_stored_and_told_until_the_server_has_it(ledger: Ledger) -> None:
    ledger.node_up(A, [])
    ledger.ordered_start(order())
    (finished,) = ledger.main_ended(entry(ledger), {"exit": 3})
    assert isinstance(finished, Finished)
    assert entry(ledger).phase is Phase.ENDED
    assert not entry(ledger).over
    (report,) = told(ledger.ordered_start(order()))
    assert isinstance(report, AttemptEnded)
    assert report.outcome.exit_status == 3
    ledger.gone(JOB)
    entry(ledger).node_done = True
    assert entry(ledger).over


def test_a_job_on_several_nodes_ends_when_nothing_of_it_runs_on_any(ledger: Ledger) -> None:
    ledger.node_up(A, [])
    ledger.node_up(B, [])
    ledger.ordered_start(order(1, A, B))
    ledger.rank_started(entry(ledger), "7.1/1", B)
    actions = ledger.main_ended(entry(ledger), {"exit": 0})
    assert "stop" in words(actions)
    assert entry(ledger).phase is Phase.INTENDED
    assert any(isinstance(action, Finished) for action in ledger.rank_ended(entry(ledger), "7.1/1", B))


def test_a_stop_before_the_start_was_sent_takes_it_back(ledger: Ledger) -> None:
    ledger.ordered_start(order())
    (report,) = told(ledger.ordered_stop(stop()))
    assert isinstance(report, AttemptTakenBack)


def test_a_stop_is_said_again_on_the_next_connection(ledger: Ledger) -> None:
    ledger.node_up(A, [])
    ledger.ordered_start(order())
    assert words(ledger.ordered_stop(stop())) == ["stop"]
    ledger.node_failed(A, "cut")
    assert words(ledger.node_up(A, [running()])) == ["stop"]


def test_a_stop_of_an_attempt_that_never_was_is_answered(ledger: Ledger) -> None:
    assert told(ledger.ordered_stop(stop(4))) == [AttemptTakenBack(id=JOB, attempt=AttemptNo(4))]


def test_the_output_of_an_earlier_attempt_is_not_written_over(ledger: Ledger) -> None:
    ledger.node_up(A, [])
    ledger.ordered_start(order(1))
    assert entry(ledger).output == "out"
    ledger.ordered_start(order(2))
    assert entry(ledger).output == "out.2.wqlog"


def test_what_a_node_still_has_of_no_job_of_ours_goes(ledger: Ledger) -> None:
    assert words(ledger.node_up(A, [ended("3.1")])) == ["ack"]
    assert words(ledger.node_up(A, [running("3.1")])) == ["stop"]


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ({"exit": 0}, OutcomeKind.EXITED),
        ({"signal": 9}, OutcomeKind.SIGNALLED),
        ({"error": "no such directory"}, OutcomeKind.FAILED),
        ({"lost": "rebooted"}, OutcomeKind.LOST),
    ],
)
def test_an_end_is_an_outcome(end: dict[str, Any], kind: OutcomeKind) -> None:
    assert outcome_of(end).kind is kind
