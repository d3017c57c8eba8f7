"""The life of a job: every state meets every event, and the documentation shows the same table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.core.worlds import grant, job
from wq.core import lifecycle
from wq.core.job import AttemptNo, Job, JobId, Outcome, OutcomeKind, State, Waits
from wq.core.lifecycle import (
    HOLDING_CORES,
    TABLE,
    Ended,
    Granted,
    Held,
    IllegalEvent,
    JobEvent,
    Released,
    Requeued,
    Resumed,
    Started,
    StopRequested,
    Submitted,
    Suspended,
    TimeSet,
    advance,
    diagram,
)

PAGE = Path(__file__).parents[3] / "docs" / "lifecycle.md"
OUTCOME = Outcome(kind=OutcomeKind.EXITED, exit_status=3)
EVENTS: tuple[JobEvent, ...] = (
    Submitted(job=job(1)),
    Held(id=JobId(1), waits=Waits(held_by="anze")),
    Released(id=JobId(1)),
    Granted(id=JobId(1), attempt=AttemptNo(2), allocation=grant("a:0,1")),
    Started(id=JobId(1), at_s=7.0),
    StopRequested(id=JobId(1), by="bine", grace_s=4.0),
    Requeued(id=JobId(1), why="the node was lost"),
    Ended(id=JobId(1), outcome=OUTCOME, at_s=9.0),
    TimeSet(id=JobId(1), time_s=60.0),
    Suspended(id=JobId(1)),
    Resumed(id=JobId(1)),
)


def a_job(state: State) -> Job:
    """A job as it is when it has come to this state by the shortest way."""
    ways: dict[State, tuple[JobEvent, ...]] = {
        State.QUEUED: (),
        State.HELD: (EVENTS[1],),
        State.STARTING: (EVENTS[3],),
        State.RUNNING: (EVENTS[3], EVENTS[4]),
        State.SUSPENDED: (EVENTS[3], EVENTS[4], EVENTS[9]),
        State.STOPPING: (EVENTS[3], EVENTS[4], EVENTS[5]),
        State.DONE: (EVENTS[7],),
    }
    found = job(1)
    for event in ways[state]:
        found = advance(found, event)
    assert found.state is state
    return found


def pairs(*, legal: bool) -> list[tuple[State, JobEvent]]:
    return [(state, event) for state in State for event in EVENTS if (type(event) in TABLE[state]) is legal]


def name_of(value: object) -> str:
    return value.value if isinstance(value, State) else type(value).__name__


class TestTheTable:
    def test_has_all_states_and_no_event_twice(self) -> None:
        assert set(TABLE) == set(State)
        assert {type(event) for event in EVENTS} == set(lifecycle.JobEvent.__args__)

    @pytest.mark.parametrize(("state", "event"), pairs(legal=True), ids=name_of)
    def test_says_where_each_event_leads(self, state: State, event: JobEvent) -> None:
        assert advance(a_job(state), event).state is TABLE[state][type(event)]

    @pytest.mark.parametrize(("state", "event"), pairs(legal=False), ids=name_of)
    def test_has_no_other_moves_and_changes_nothing(self, state: State, event: JobEvent) -> None:
        before = a_job(state)
        copy = a_job(state)
        with pytest.raises(IllegalEvent, match=f"{type(event).__name__} does not fit a job that is {state.value}"):
            advance(before, event)
        assert before == copy

    def test_every_state_can_be_reached_and_every_state_leads_to_the_end(self) -> None:
        reached = {State.QUEUED}
        for _ in State:
            reached |= {to for state in reached for to in TABLE[state].values()}
        assert reached == set(State)
        assert all(Ended in moves for state, moves in TABLE.items() if state is not State.DONE)

    def test_nothing_happens_to_a_job_that_is_done(self) -> None:
        assert TABLE[State.DONE] == {}


class TestWhatAnEventBrings:
    def test_a_grant_brings_the_attempt_and_its_cores(self) -> None:
        started = a_job(State.STARTING)
        assert (started.attempt, started.allocation) == (2, grant("a:0,1"))

    def test_a_start_brings_its_time(self) -> None:
        assert a_job(State.RUNNING).started_s == 7.0

    def test_a_wish_to_stop_brings_who_and_how_long(self) -> None:
        stopping = a_job(State.STOPPING)
        assert (stopping.stop_by, stopping.stop_grace_s) == ("bine", 4.0)

    @pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.STOPPING])
    def test_whoever_waits_again_holds_nothing_and_keeps_the_number_of_the_attempt(self, state: State) -> None:
        again = advance(a_job(state), Requeued(id=JobId(1), why="so"))
        assert (again.allocation, again.started_s, again.stop_by, again.stop_grace_s) == (None, None, None, None)
        assert again.attempt == 2

    @pytest.mark.parametrize("state", [state for state in State if state is not State.DONE])
    def test_an_end_brings_outcome_and_time(self, state: State) -> None:
        done = advance(a_job(state), Ended(id=JobId(1), outcome=OUTCOME, at_s=9.0))
        assert (done.outcome, done.ended_s) == (OUTCOME, 9.0)

    @pytest.mark.parametrize("state", State)
    def test_cores_are_held_exactly_from_the_grant_to_the_end(self, state: State) -> None:
        assert (a_job(state).allocation is not None) == (state in HOLDING_CORES)


class TestTheDocumentation:
    def test_shows_this_very_table(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        _, begin, rest = text.partition("<!-- made by wq.core.lifecycle.diagram() -->\n```mermaid\n")
        shown, end, _ = rest.partition("\n```\n<!-- end -->")
        assert begin, "no marker before the diagram"
        assert end, "no marker after the diagram"
        assert shown == diagram(), "docs/lifecycle.md is old; put lifecycle.diagram() between its markers"

    @pytest.mark.parametrize("state", State)
    def test_explains_every_state(self, state: State) -> None:
        assert f"**{state.value}**" in PAGE.read_text(encoding="utf-8")

    @pytest.mark.parametrize("kind", OutcomeKind)
    def test_explains_every_way_to_end(self, kind: OutcomeKind) -> None:
        assert f"`{kind.value}`" in PAGE.read_text(encoding="utf-8")
