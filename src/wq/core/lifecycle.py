"""The life of a job: the events, and one table that says what each does in each state.

`advance` is the only place where a job changes. An event that does not fit raises and changes
nothing: it is our bug, for reports of others are checked before they become events.
How a job ended is not a state but an Outcome; why it waits is data that the plan makes.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from wq.core.job import Allocation, AttemptNo, Job, JobId, Outcome, State, Waits


class Submitted(Struct, frozen=True, kw_only=True):
    """A job was accepted. The only event without a state before it."""

    job: Job


class Held(Struct, frozen=True, kw_only=True):
    """It leaves the line until there is nothing left to wait for; said again when that changes."""

    id: JobId
    task: int | None = None
    waits: Waits


class Released(Struct, frozen=True, kw_only=True):
    id: JobId
    task: int | None = None


class Granted(Struct, frozen=True, kw_only=True):
    """An attempt was given its cores; the order to start it follows from this.

    lane: it has them after those that are in this lane already.
    """

    id: JobId
    task: int | None = None
    attempt: AttemptNo
    allocation: Allocation
    lane: str | None = None


class Started(Struct, frozen=True, kw_only=True):
    id: JobId
    task: int | None = None
    at_s: float


class Suspended(Struct, frozen=True, kw_only=True):
    """Its processes are to be stopped where they are; it keeps its cores."""

    id: JobId
    task: int | None = None


class Resumed(Struct, frozen=True, kw_only=True):
    """They are to go on."""

    id: JobId
    task: int | None = None


class StopRequested(Struct, frozen=True, kw_only=True):
    """Somebody wants it ended: TERM now, KILL after the grace. reason: in his words, if he gave one."""

    id: JobId
    task: int | None = None
    by: str
    grace_s: float
    reason: str = ""


class TimeSet(Struct, frozen=True, kw_only=True):
    """Its time limit is another one from now on, in seconds; 0: none."""

    id: JobId
    task: int | None = None
    time_s: float


class Requeued(Struct, frozen=True, kw_only=True):
    """The attempt is provably not running and waits for another turn."""

    id: JobId
    task: int | None = None
    why: str


class Ended(Struct, frozen=True, kw_only=True):
    """The job is over: its cores are free and nothing of it runs. started_s: if that was not told before."""

    id: JobId
    task: int | None = None
    outcome: Outcome
    at_s: float
    started_s: float | None = None


JobEvent = (
    Submitted | Held | Released | Granted | Started | Suspended | Resumed | StopRequested | TimeSet | Requeued | Ended
)

TABLE: dict[State, dict[type, State]] = {
    State.HELD: {Held: State.HELD, Released: State.QUEUED, TimeSet: State.HELD, Ended: State.DONE},
    State.QUEUED: {Held: State.HELD, TimeSet: State.QUEUED, Granted: State.STARTING, Ended: State.DONE},
    State.STARTING: {
        Started: State.RUNNING,
        TimeSet: State.STARTING,
        StopRequested: State.STOPPING,
        Requeued: State.QUEUED,
        Ended: State.DONE,
    },
    State.RUNNING: {
        Suspended: State.SUSPENDED,
        TimeSet: State.RUNNING,
        StopRequested: State.STOPPING,
        Requeued: State.QUEUED,
        Ended: State.DONE,
    },
    State.SUSPENDED: {
        Resumed: State.RUNNING,
        TimeSet: State.SUSPENDED,
        StopRequested: State.STOPPING,
        Requeued: State.QUEUED,
        Ended: State.DONE,
    },
    State.STOPPING: {Requeued: State.QUEUED, Ended: State.DONE},
    State.DONE: {},
}

HOLDING_CORES = frozenset({State.STARTING, State.RUNNING, State.SUSPENDED, State.STOPPING})


class IllegalEvent(Exception):
    """An event that the state of the job does not allow."""

    def __init__(self, state: State, event: object) -> None:
        super().__init__(f"{type(event).__name__} does not fit a job that is {state.value}")


def advance(job: Job, event: JobEvent) -> Job:
    """The job after the event. Raises IllegalEvent, changing nothing, if the table has no such move."""
    state = TABLE[job.state].get(type(event))
    if state is None:
        raise IllegalEvent(job.state, event)
    match event:
        case Granted():
            return replace(job, state=state, attempt=event.attempt, allocation=event.allocation, lane=event.lane)
        case Started():
            return replace(job, state=state, started_s=event.at_s)
        case StopRequested():
            return replace(
                job, state=state, stop_by=event.by, stop_grace_s=event.grace_s, stop_reason=event.reason or None
            )
        case Suspended():
            return replace(job, state=state, suspensions=job.suspensions + 1)
        case TimeSet():
            return replace(job, state=state, time_s=event.time_s)
        case Requeued():
            gone = replace(
                job, state=state, allocation=None, lane=None, started_s=None, stop_by=None, stop_grace_s=None
            )
            return replace(gone, requeued_why=event.why or None, stop_reason=None, suspensions=0)
        case Ended():
            started_s = job.started_s if job.started_s is not None else event.started_s
            return replace(job, state=state, outcome=event.outcome, ended_s=event.at_s, started_s=started_s)
        case Held():
            return replace(job, state=state, waits=event.waits)
        case Released():
            return replace(job, state=state, waits=None)
        case Submitted() | Resumed():
            return replace(job, state=state)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation; what changes no state is left out."""
    lines = ["stateDiagram-v2", "    [*] --> queued: Submitted"]
    for state, moves in TABLE.items():
        moved = [(event, to) for event, to in moves.items() if to is not state]
        lines += [f"    {state.value} --> {to.value}: {event.__name__}" for event, to in moved]
    lines.append("    done --> [*]")
    return "\n".join(lines)
