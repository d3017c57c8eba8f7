"""What a job is: its requirement, its allocation, its outcome, and the types of its ids."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

JobId = NewType("JobId", int)
Uid = NewType("Uid", int)
AttemptNo = NewType("AttemptNo", int)
HostName = NewType("HostName", str)


class Mode(StrEnum):
    """How the nodes of a job are chosen; the unit of N depends on it."""

    BYCORE = "bycore"
    BYCORE1 = "bycore1"
    BYNODE = "bynode"
    BYHOST = "byhost"
    BYGROUP = "bygroup"


class Priority(StrEnum):
    """The classes of the queue; `block` is served first and holds others back while it waits."""

    LOW = "low"
    MED = "med"
    HIGH = "high"
    BLOCK = "block"


PRIORITY_RANK: dict[Priority, int] = {
    Priority.BLOCK: 0,
    Priority.HIGH: 1,
    Priority.MED: 2,
    Priority.LOW: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a job needs of the cluster.

    n: cores (bycore, bycore1, byhost) or nodes (bynode); unused by bygroup.
    groups: nodes in any of them; notgroups: nodes in none of them.
    min_cores: cores installed; min_mem_gb: gigabytes installed.
    threads: cores per MPI rank; cores come in multiples of it on each node.
    """

    mode: Mode = Mode.BYCORE
    n: int = 1
    groups: tuple[str, ...] = ()
    notgroups: tuple[str, ...] = ()
    host: str | None = None
    min_cores: int = 0
    min_mem_gb: float = 0.0
    threads: int | None = None
    priority: Priority = Priority.MED


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The part of an allocation that lies on one node: cores are indices from 0."""

    host: HostName
    cores: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
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
        return tuple(part.host for part in self.slices)


class OutcomeKind(StrEnum):
    """How a job ended. `exited` and `signalled` are the program's own end."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    REMOVED = "removed"
    FAILED = "failed"  # it could not be started as asked (say: directory missing on the node)
    LOST = "lost"  # it ran, and how it ended cannot be known


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended.

    exit_status: 0 to 255 if the program exited; signal: its number if one ended it.
    by: who removed it; message: a sentence for a human.
    cpu_s: user and system time of the job's processes that were waited for.
    """

    kind: OutcomeKind
    exit_status: int | None = None
    signal: int | None = None
    by: str | None = None
    message: str | None = None
    cpu_s: float | None = None

    @property
    def shell_status(self) -> int:
        """The status a shell would show: the exit status, or 128 plus the signal's number."""
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
    STOPPING = "stopping"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the server knows of a job: enough to place and to list it, nothing to run it.

    command: for listings only; never executed by anybody (empty if the user keeps it private).
    token, index: the submission it came with, so that a repeated one gives the same id.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job in the queue. Times are seconds since 1970, for display only."""

    id: JobId
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
    requeued_why: str | None = None  # what became of the attempt before this one
