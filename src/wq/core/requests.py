"""What can be asked of the queue or reported to it, what it answers, and what it orders.

Requests come from users' commands, reports from their launchers. Each arrives with the uid that the
kernel gave for the connection; nothing in a message says who sent it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wq.core.cluster import Node
from wq.core.job import Allocation, AttemptNo, HostName, JobId, JobSpec, Outcome, Uid

# --- requests of users


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Queue these jobs, all or none. token: a repeated submission with the same one gives the same ids."""

    token: str
    jobs: tuple[JobSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove jobs by ranges of ids (first, last), or all of one's own.

    lost: the owner's word that what ran there is gone; frees the cores without evidence.
    grace_s: seconds between TERM and KILL.
    """

    ids: tuple[tuple[int, int], ...] = ()
    all: bool = False
    lost: bool = False
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLimit:
    """Limit a user (oneself if target is None). A key left None stays as it is; -1 lifts it; clear lifts all."""

    target: Uid | None = None
    target_name: str = ""
    run: int | None = None
    cores: int | None = None
    clear: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNode:
    """Take nodes online, offline, to drain, or declare what ran there lost."""

    hosts: tuple[str, ...]
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """Look again now: forgets why nodes were avoided; the shell reads the cluster file and looks at the nodes."""


# --- reports


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldJob:
    """One job in a launcher's ledger."""

    id: JobId
    attempt: AttemptNo = AttemptNo(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherHere:
    """A launcher is connected; its ledger has these jobs.

    tokens: submissions that it has not had an answer to, and will repeat.
    """

    jobs: tuple[HeldJob, ...] = ()
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherGone:
    """The launcher's connection is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    id: JobId
    attempt: AttemptNo


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """The attempt is over. again: not by itself, and the job is to have another one (a node was rebooted)."""

    id: JobId
    attempt: AttemptNo
    outcome: Outcome
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The nodes of running attempts that the launcher cannot see just now, all of them, each with the reason."""

    unseen: dict[HostName, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTakenBack:
    """The attempt provably never ran. host: the node to avoid for this user for a while, and why."""

    id: JobId
    attempt: AttemptNo
    host: HostName | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRead:
    """The cluster file was read. Only the server's own loop says this."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLooked:
    """The owner's own look at a node. Only the server's own loop says this."""

    host: HostName
    ok: bool
    why: str = ""


Request = (
    Submit
    | Remove
    | SetLimit
    | SetNode
    | Refresh
    | LauncherHere
    | LauncherGone
    | AttemptStarted
    | AttemptEnded
    | AttemptTakenBack
    | Sight
    | ClusterRead
    | NodeLooked
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """The sender, as the kernel says. is_self: the server's own loop."""

    uid: Uid
    user: str
    is_self: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A request in the inbox. reply_to: an opaque mark for whom to answer; 0 for nobody."""

    who: Who
    request: Request
    reply_to: int = 0


# --- answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Done: lines for a human, and facts for a program."""

    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Not done: one clear line, and the exit status for it (2: bad input)."""

    error: str
    status: int = 2


# --- orders to launchers; each is derived from the state and can be derived again


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    uid: Uid
    id: JobId
    attempt: AttemptNo
    allocation: Allocation
    declared: tuple[int, ...]  # cores installed, as the cluster file has it, for each node of the allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    uid: Uid
    id: JobId
    attempt: AttemptNo
    grace_s: float
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """This job is over, and on the server's disk: the launcher may forget it."""

    uid: Uid
    id: JobId
    outcome: Outcome | None


Order = Start | Stop | Gone
