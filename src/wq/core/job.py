"""What a job is: its requirement, its allocation, its outcome, and the types of its ids."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NewType, TypeAlias

from msgspec import Struct

from wq.core.requirement import PRIORITY_RANK, Mode, Priority, Requirement

__all__ = ["PRIORITY_RANK", "Mode", "Priority", "Requirement"]

JobId = NewType("JobId", int)
Uid = NewType("Uid", int)
AttemptNo = NewType("AttemptNo", int)
HostName = NewType("HostName", str)
Key: TypeAlias = JobId | tuple[JobId, int]
"""A job, or one task of an array."""


class Slice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of an allocation that lies on one node: cores are indices from 0."""

    host: HostName
    cores: tuple[int, ...]


class Allocation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The cores on nodes that an attempt holds, in the order of the cluster file."""

    slices: tuple[Slice, ...]

    @property
    def ncores(self) -> int:
        return sum(len(part.cores) for part in self.slices)

    @property
    def nhosts(self) -> int:
        return len(self.slices)

    @property
    def hosts(self) -> tuple[HostName, ...]:
        return tuple([part.host for part in self.slices])


TIMED_OUT = 124  # the status that a shell shows of what ran into a time limit, as of timeout(1)


class OutcomeKind(StrEnum):
    """How a job ended. `exited` and `signalled` are the program's own end."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    REMOVED = "removed"
    TIME_LIMIT = "time_limit"  # its time was over; exit_status and signal say how it went then
    FAILED = "failed"  # it could not be started as asked (say: directory missing on the node)
    LOST = "lost"  # it ran, and how it ended cannot be known


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a job ended.

    exit_status: 0 to 255 if the program exited; signal: its number if one ended it.
    by: who removed it, and reason: why, in his words, if he gave any; message: a sentence for a human.
    What it used, as far as is known, over all its nodes. cpu_s: user and system time of its processes that were waited
    for; wall_s: from its start to its end; peak_mem_bytes, io_read_bytes, io_write_bytes: at least so much.
    """

    kind: OutcomeKind
    exit_status: int | None = None
    signal: int | None = None
    by: str | None = None
    message: str | None = None
    cpu_s: float | None = None
    wall_s: float | None = None
    peak_mem_bytes: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    reason: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it ended as it should: by itself, with exit status 0."""
        return self.kind is OutcomeKind.EXITED and self.exit_status == 0

    @property
    def shell_status(self) -> int:
        """The status a shell would show: the exit status, or 128 plus the signal's number; 124 at a time limit."""
        if self.kind is OutcomeKind.TIME_LIMIT:
            return TIMED_OUT
        if self.exit_status is not None:
            return self.exit_status
        if self.signal is not None:
            return 128 + self.signal
        return 1


class State(StrEnum):
    """Where a job is in its life; the moves between them are in lifecycle.TABLE."""

    HELD = "held"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUSPENDED = "suspended"
    STOPPING = "stopping"
    DONE = "done"


class ArraySpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tasks of an array: pieces (first, last, step), ascending. at_most: so many run at one time."""

    pieces: tuple[tuple[int, int, int], ...]
    at_most: int | None = None

    @property
    def size(self) -> int:
        """How many tasks there are."""
        return sum((last - first) // step + 1 for first, last, step in self.pieces)

    def number(self, place: int) -> int:
        """The number of the task at a place, from 0. Raises IndexError."""
        for first, last, step in self.pieces:
            size = (last - first) // step + 1
            if place < size:
                return first + place * step
            place -= size
        raise IndexError("the array has no such place")

    def places(self, low: int, high: int) -> tuple[tuple[int, int], ...]:
        """The places of the tasks with numbers from low to high, as ranges."""
        found: list[tuple[int, int]] = []
        before = 0
        for first, last, step in self.pieces:
            start = max(0, -((first - low) // step))
            end = min((last - first) // step, (high - first) // step)
            if start <= end:
                found.append((before + start, before + end))
            before += (last - first) // step + 1
        return tuple(found)

    def places_of(self, numbers: Iterable[int]) -> list[int]:
        """The places of the tasks with these numbers; what is none of its tasks is passed over."""
        found: list[int] = []
        rest = iter(sorted(numbers))
        number = next(rest, None)
        before = 0
        for first, last, step in self.pieces:
            while number is not None and number <= last:
                if number >= first and not (number - first) % step:
                    found.append(before + (number - first) // step)
                number = next(rest, None)
            if number is None:
                break
            before += (last - first) // step + 1
        return found


class AfterKind(StrEnum):
    """How the other job must end: with success, otherwise, or in any way."""

    OK = "ok"
    NOTOK = "notok"
    ANY = "any"


class After(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job waits for the end of another one. job: its id; -k: the k-th job of the same submission, from 1.

    each: both are arrays, and each task waits for the one of the same number.
    """

    job: int
    kind: AfterKind = AfterKind.OK
    each: bool = False


class Waits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job waits for before it may stand in the line: a word (held_by: whose), others' ends, a time.

    by_owner: the server's owner said so, and the job's user cannot undo it. begin_s: seconds since 1970.
    """

    held_by: str | None = None
    by_owner: bool = False
    after: tuple[After, ...] = ()
    begin_s: float | None = None

    @property
    def over(self) -> bool:
        """There is nothing left to wait for."""
        return self.held_by is None and not self.after and self.begin_s is None


class JobSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the server knows of a job: enough to place and to list it, nothing to run it.

    command: for listings only; never executed by anybody (empty if the user keeps it private).
    token, index: the submission it came with, so that a repeated one gives the same id.
    after, begin_s, hold: what it waits for at first. max_fails: with more failed tasks an array is stopped.
    time_s: its time limit as it was submitted.
    """

    uid: Uid
    user: str
    name: str
    command: str
    requirement: Requirement
    foreground: bool = False
    submit_dir: str = ""
    x: bool = False
    requeue: bool = True
    token: str = ""
    index: int = 0
    array: ArraySpec | None = None
    after: tuple[After, ...] = ()
    begin_s: float | None = None
    hold: bool = False
    max_fails: int | None = None
    time_s: float | None = None


def limit_of(spec: JobSpec, time_s: float | None) -> float | None:
    """A time limit in seconds, or None. time_s: to what it was changed since the submission; 0: to none."""
    return spec.time_s if time_s is None else time_s or None


class Job(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job in the queue, or one task of an array there. Times are seconds since 1970, for display only.

    lane: the name of the lane where it runs or waits for its turn, if that is not its own.
    waits: what it waits for while it is held.
    time_s: its time limit, where that was changed since the submission; 0: it has none.
    suspensions: how often its present attempt was suspended.
    turn: whose turn it has among the jobs of its user (the number of a job), if not its own.
    """

    id: JobId
    task: int | None = None
    spec: JobSpec
    state: State
    submitted_s: float
    attempt: AttemptNo = AttemptNo(0)
    allocation: Allocation | None = None
    started_s: float | None = None
    ended_s: float | None = None
    outcome: Outcome | None = None
    stop_by: str | None = None
    stop_grace_s: float | None = None
    stop_reason: str | None = None
    requeued_why: str | None = None  # what became of the attempt before this one
    lane: str | None = None
    waits: Waits | None = None
    time_s: float | None = None
    suspensions: int = 0
    turn: int | None = None

    @property
    def limit_s(self) -> float | None:
        """Its time limit in seconds."""
        return limit_of(self.spec, self.time_s)

    @property
    def key(self) -> Key:
        return self.id if self.task is None else (self.id, self.task)

    @property
    def runs_in(self) -> str:
        """The name of its lane: that of the attempt that opened it."""
        return self.lane if self.lane is not None else lane_name(self.id, self.task, self.attempt)


def lane_name(job: JobId, task: int | None, attempt: AttemptNo) -> str:
    """The name of the lane that an attempt opens."""
    return f"{job}.{attempt}" if task is None else f"{job}_{task}.{attempt}"


def opener_of(lane: str) -> JobId:
    """The job of the attempt that opened a lane."""
    return JobId(int(lane.partition(".")[0].partition("_")[0]))
