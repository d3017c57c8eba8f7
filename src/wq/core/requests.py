"""What can be asked of the queue or reported to it, what it answers, and what it orders.

Requests come from users' commands, reports from their launchers. Each arrives with the uid that the
kernel gave for the connection; nothing in a message says who sent it.
"""

from __future__ import annotations

from msgspec import Struct, field

from wq.core.cluster import Node
from wq.core.job import Allocation, ArraySpec, AttemptNo, HostName, JobId, JobSpec, Outcome, Requirement, Uid
from wq.core.ranges import Ranges

# --- requests of users


class Became(Struct, frozen=True, kw_only=True):
    """What became of a job. ok: None if it is not over.

    tasks, bad: of an array, its tasks, and the places of those that have failed so far.
    """

    ok: bool | None = None
    tasks: ArraySpec | None = None
    bad: Ranges = ()


class Submit(Struct, frozen=True, kw_only=True):
    """Queue these jobs, all or none. token: a repeated submission with the same one gives the same ids.

    past: of jobs that these name. accepted: the ids that are left of this submission, where the queue has forgotten its
    token. Only the server's own loop fills these in, from its database.
    """

    token: str
    jobs: tuple[JobSpec, ...]
    past: dict[int, Became] = field(default_factory=dict)
    accepted: tuple[int, ...] = ()


class Remove(Struct, frozen=True, kw_only=True):
    """Remove jobs by ranges of ids (first, last), tasks of arrays (job, first, last), or all of one's own.

    lost: the owner's word that what ran there is gone; frees the cores without evidence.
    grace_s: seconds between TERM and KILL. reason: why, for those who look at the outcome.
    """

    ids: tuple[tuple[int, int], ...] = ()
    tasks: tuple[tuple[int, int, int], ...] = ()
    all: bool = False
    lost: bool = False
    grace_s: float = 5.0
    reason: str = ""


class RemoveRest(Struct, frozen=True, kw_only=True):
    """What was left for later turns of a removal of very many jobs."""

    jobs: tuple[tuple[int, int], ...]  # (id, task or NO_TASK)
    lost: bool
    grace_s: float
    reason: str = ""


class SetHold(Struct, frozen=True, kw_only=True):
    """Take jobs that wait out of the line, or let them back in: by ranges of ids, or all of one's own."""

    held: bool
    ids: tuple[tuple[int, int], ...] = ()
    all: bool = False


class HoldRest(Struct, frozen=True, kw_only=True):
    """What is left of a SetHold. all: as there. Only the server itself says this."""

    jobs: tuple[JobId, ...]
    held: bool
    all: bool = False


class Edit(Struct, frozen=True, kw_only=True):
    """Change a job that waits. What is None stays as it is. begin_s: 0 is now. command: for listings."""

    id: JobId
    name: str | None = None
    command: str | None = None
    requirement: Requirement | None = None
    begin_s: float | None = None
    max_fails: int | None = None


class Top(Struct, frozen=True, kw_only=True):
    """Put jobs that wait to the front of their users' own, in this order. ids: ranges (first, last)."""

    ids: tuple[tuple[int, int], ...]


class TopRest(Struct, frozen=True, kw_only=True):
    """What is left of that. Only the server itself says this."""

    jobs: tuple[JobId, ...]


class SetAtMost(Struct, frozen=True, kw_only=True):
    """How many tasks of an array may run at one time from now on; None: as many as fit."""

    id: JobId
    at_most: int | None = None


class SetTime(Struct, frozen=True, kw_only=True):
    """The time limit of a job, or of each task of an array, from now on, in seconds; None: it has none."""

    id: JobId
    time_s: float | None = None


class SetSuspended(Struct, frozen=True, kw_only=True):
    """Suspend what runs of these jobs, tasks, or all of one's own (as of Remove), or have it go on."""

    ids: tuple[tuple[int, int], ...] = ()
    tasks: tuple[tuple[int, int, int], ...] = ()
    all: bool = False
    suspended: bool


class SendSignal(Struct, frozen=True, kw_only=True):
    """Send a signal to what runs of these jobs, tasks, or all of one's own (as of Remove)."""

    ids: tuple[tuple[int, int], ...] = ()
    tasks: tuple[tuple[int, int, int], ...] = ()
    all: bool = False
    number: int


class SetLimit(Struct, frozen=True, kw_only=True):
    """Limit a user (oneself if target is None). A key left None stays as it is; -1 lifts it; clear lifts all."""

    target: Uid | None = None
    target_name: str = ""
    run: int | None = None
    cores: int | None = None
    clear: bool = False


class SetNode(Struct, frozen=True, kw_only=True):
    """Take nodes online, offline, to drain, or declare what ran there lost."""

    hosts: tuple[str, ...]
    state: str
    reason: str = ""


class Refresh(Struct, frozen=True, kw_only=True):
    """Look again now: forgets why nodes were avoided; the shell reads the cluster file and looks at the nodes."""


# --- reports


class LauncherHere(Struct, frozen=True, kw_only=True):
    """A launcher is connected; its ledger has these jobs, as ranges of ids.

    tasks: of arrays, those that it has split off: (job, first, last).
    tokens: submissions that it has not had an answer to, and will repeat.
    more: another such word follows, and they count together.
    """

    ids: Ranges = ()
    tasks: tuple[tuple[int, int, int], ...] = ()
    tokens: tuple[str, ...] = ()
    more: bool = False
    strangers: bool = True  # tell it which of these are over; else that follows in parts


class LostRest(Struct, frozen=True, kw_only=True):
    """What was left for later turns of very many jobs that a launcher has lost."""

    jobs: tuple[tuple[int, int], ...]  # (id, task or NO_TASK)


class Named(Struct, frozen=True, kw_only=True):
    """Jobs, and tasks of arrays (job, first, last), that a launcher has: it is told which of them are over."""

    ids: tuple[tuple[int, int], ...] = ()
    tasks: tuple[tuple[int, int, int], ...] = ()


class LauncherGone(Struct, frozen=True, kw_only=True):
    """The launcher's connection is closed."""


class AttemptStarted(Struct, frozen=True, kw_only=True):
    id: JobId
    task: int | None = None
    attempt: AttemptNo


class AttemptEnded(Struct, frozen=True, kw_only=True):
    """The attempt is over. again: the job is to have another one, after wait_s seconds.

    (A node was rebooted, or its user wants it tried again.)
    run_s: seconds from its start to its end, as the node measured them.
    """

    id: JobId
    task: int | None = None
    attempt: AttemptNo
    outcome: Outcome
    again: bool = False
    run_s: float | None = None
    wait_s: float = 0.0


class Sight(Struct, frozen=True, kw_only=True):
    """The nodes of running attempts that the launcher cannot see just now, all of them, each with the reason."""

    unseen: dict[HostName, str]


class AttemptTakenBack(Struct, frozen=True, kw_only=True):
    """The attempt provably never ran. host: the node to avoid for this user for a while, and why."""

    id: JobId
    task: int | None = None
    attempt: AttemptNo
    host: HostName | None = None
    why: str = ""


class Reports(Struct, frozen=True, kw_only=True):
    """News of many attempts at once."""

    news: tuple[AttemptStarted | AttemptEnded | AttemptTakenBack, ...]


class ClusterRead(Struct, frozen=True, kw_only=True):
    """The cluster file was read. Only the server's own loop says this."""

    nodes: tuple[Node, ...]


class NodeLooked(Struct, frozen=True, kw_only=True):
    """The owner's own look at a node. Only the server's own loop says this."""

    host: HostName
    ok: bool
    why: str = ""


Request = (
    Submit
    | Remove
    | RemoveRest
    | SetHold
    | HoldRest
    | Edit
    | Top
    | TopRest
    | SetAtMost
    | SetTime
    | SetSuspended
    | SendSignal
    | SetLimit
    | SetNode
    | Refresh
    | LauncherHere
    | LauncherGone
    | LostRest
    | Named
    | AttemptStarted
    | AttemptEnded
    | AttemptTakenBack
    | Reports
    | Sight
    | ClusterRead
    | NodeLooked
)


class Who(Struct, frozen=True, kw_only=True):
    """The sender, as the kernel says. is_self: the server's own loop."""

    uid: Uid
    user: str
    is_self: bool = False


class Incoming(Struct, frozen=True, kw_only=True):
    """A request in the inbox. reply_to: an opaque mark for whom to answer; 0 for nobody."""

    who: Who
    request: Request
    reply_to: int = 0


# --- answers


class Answer(Struct, frozen=True, kw_only=True):
    """Done: lines for a human, and facts for a program."""

    facts: dict[str, object] = field(default_factory=dict)


class Unfinished(Struct, frozen=True, kw_only=True):
    """A part is done; the rest is to come back as the sender's next request. facts: of this part of the answer."""

    facts: dict[str, object]
    rest: Request


class Refusal(Struct, frozen=True, kw_only=True):
    """Not done: one clear line, and the exit status for it (2: bad input)."""

    error: str
    status: int = 2


NO_TASK = -1  # where a word has a number for a task, and there is none

# --- orders to launchers; each is derived from the state and can be derived again


class Start(Struct, frozen=True, kw_only=True):
    """Start an attempt: on these cores, or (lane) after those that were given them before.

    declared: cores installed, as the cluster file has it, for each node of the allocation.
    patience_s: it comes back if its turn has not come after so long.
    time_s: its time limit, where that is not what its user submitted; 0: none.
    """

    uid: Uid
    id: JobId
    task: int | None = None
    attempt: AttemptNo
    allocation: Allocation
    declared: tuple[int, ...]
    lane: str | None = None
    patience_s: float | None = None
    time_s: float | None = None


class Starts(Struct, frozen=True, kw_only=True):
    """Start attempts on these cores one after another, in this order, after those that are in the lane already.

    tasks: (job, task or NO_TASK, attempt). Each is as a Start of its own.
    """

    uid: Uid
    lane: str
    allocation: Allocation
    declared: tuple[int, ...]
    patience_s: float | None
    tasks: tuple[tuple[int, int, int], ...]
    time_s: float | None = None


class Steer(Struct, frozen=True, kw_only=True):
    """What a running attempt is to be like from now on; None: as it is.

    time_s: its time limit in seconds; 0: none. suspended: its processes are stopped, or go on.
    """

    uid: Uid
    id: JobId
    task: int | None = None
    attempt: AttemptNo
    time_s: float | None = None
    suspended: bool | None = None


class Signal(Struct, frozen=True, kw_only=True):
    """Send a signal to the processes of a running attempt: once, now, or not at all."""

    uid: Uid
    id: JobId
    task: int | None = None
    attempt: AttemptNo
    number: int


class Stop(Struct, frozen=True, kw_only=True):
    """End an attempt. unsent: only if no start of it was sent yet, for the job is to have another one."""

    uid: Uid
    id: JobId
    task: int | None = None
    attempt: AttemptNo
    grace_s: float
    by: str
    unsent: bool = False


class Gone(Struct, frozen=True, kw_only=True):
    """This job is over, and on the server's disk: the launcher may forget it."""

    uid: Uid
    id: JobId
    task: int | None = None
    outcome: Outcome | None


class Gones(Struct, frozen=True, kw_only=True):
    """These batch jobs and tasks, (job, task or NO_TASK), are over: each is as a Gone of its own."""

    uid: Uid
    tasks: tuple[tuple[int, int], ...]


Order = Start | Starts | Steer | Signal | Stop | Gone | Gones
