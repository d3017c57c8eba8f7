"""The queue: all that the server knows; and the draft of it that a tick works on, until it is on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from wq.core.cluster import Node, NodeState
from wq.core.job import HostName, Job, JobId, State, Uid
from wq.core.layered import Layered
from wq.core.lifecycle import Ended, JobEvent, Requeued, Submitted, advance
from wq.core.plan import Limit
from wq.core.requests import Answer, Gone, Order, Refusal, Start, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """wall_s: seconds since 1970, only shown; boot_s: seconds since boot, for what is waited for."""

    wall_s: float
    boot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One user's starts avoid one node. until_s: on the boot clock."""

    why: str
    until_s: float
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """A node does not answer somebody: the owner's look, or a user's launcher.

    since_s: when that was first so, in seconds since 1970, only shown.
    """

    why: str
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSet:
    """A limit was set. by_owner: the server's owner's layer; else the user's own."""

    uid: Uid
    user: str
    by_owner: bool
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMarked:
    """Somebody said something of a node that outlives the server."""

    node: Node


Event = JobEvent | LimitSet | NodeMarked


@dataclass(slots=True, kw_only=True)
class Queue:
    """All that the server knows: the sum of the events, and (below the line) who is there just now.

    A job is in exactly one of queued, held and active, by its state; finished ones are on disk only.
    """

    owner: Uid
    next_id: int = 1
    queued: dict[JobId, Job] = field(default_factory=dict)
    held: dict[JobId, Job] = field(default_factory=dict)
    active: dict[JobId, Job] = field(default_factory=dict)
    tokens: dict[tuple[Uid, str], tuple[JobId, ...]] = field(default_factory=dict)
    limits: dict[tuple[Uid, bool], Limit] = field(default_factory=dict)
    users: dict[Uid, str] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    block_allowed: bool = True
    # --- not stored
    unseen: dict[HostName, Unseen] = field(default_factory=dict)
    present: frozenset[Uid] = frozenset()  # their launchers are connected
    absent: dict[Uid, float] = field(default_factory=dict)  # since when others' are not, in seconds since 1970
    out_of_sight: dict[tuple[Uid, HostName], Unseen] = field(default_factory=dict)  # of these users' launchers
    pauses: dict[tuple[Uid, HostName], Pause] = field(default_factory=dict)

    def find(self, job: JobId) -> Job | None:
        return self.active.get(job) or self.queued.get(job) or self.held.get(job)


def with_looks(nodes: Iterable[Node], unseen: Mapping[HostName, Unseen]) -> tuple[Node, ...]:
    """The nodes as they are to be used and shown: offline, too, where the owner's own look failed."""
    shown = []
    for node in nodes:
        look = unseen.get(node.host)
        if look is not None and node.state is not NodeState.OFFLINE:
            node = replace(node, state=NodeState.OFFLINE, reason=look.why, since_s=look.since_s, by="look")
        shown.append(node)
    return tuple(shown)


def effective_limit(limits: Iterable[Limit]) -> Limit:
    """The smaller of all that are set."""
    runs = [limit.run for limit in limits if limit.run is not None]
    cores = [limit.cores for limit in limits if limit.cores is not None]
    return Limit(run=min(runs, default=None), cores=min(cores, default=None))


class Draft:
    """A tick in the making: the queue as it would be, the events that make it so, and what follows."""

    def __init__(self, queue: Queue, now: Now) -> None:
        self.queue = queue
        self.now = now
        self.owner = queue.owner
        self.next_id = queue.next_id
        self.queued = Layered(queue.queued)
        self.held = Layered(queue.held)
        self.active = Layered(queue.active)
        self.tokens = Layered(queue.tokens)
        self.limits = Layered(queue.limits)
        self.users = Layered(queue.users)
        self.unseen = Layered(queue.unseen)
        self.absent = Layered(queue.absent)
        self.out_of_sight = Layered(queue.out_of_sight)
        self.pauses = Layered(queue.pauses)
        self.nodes = queue.nodes
        self.present = queue.present
        self.changed: dict[JobId, Job] = {}
        self.events: list[Event] = []
        self.orders: list[Order] = []
        self.answers: list[tuple[int, Answer | Refusal]] = []
        self.wake_s: float | None = None

    def find(self, job: JobId) -> Job | None:
        return self.active.get(job) or self.queued.get(job) or self.held.get(job)

    def place_of(self, state: State) -> Layered[JobId, Job] | None:
        """The mapping in which a job of this state lies."""
        match state:
            case State.QUEUED:
                return self.queued
            case State.HELD:
                return self.held
            case State.STARTING | State.RUNNING | State.STOPPING:
                return self.active
            case State.DONE:
                return None
            case _:
                assert_never(state)

    def apply(self, event: JobEvent) -> Job:
        """Let a job's event happen: the one way in which a job changes."""
        if isinstance(event, Submitted):
            job = event.job
        else:
            old = self.find(event.id)
            if old is None:
                raise LookupError(f"{event} for a job that is not in the queue")
            job = advance(old, event)
            before = self.place_of(old.state)
            assert before is not None
            if before is not self.place_of(job.state):
                del before[job.id]
        after = self.place_of(job.state)
        if after is not None:
            after[job.id] = job
        self.changed[job.id] = job
        self.events.append(event)
        self.follow_up(job, event)
        return job

    def follow_up(self, job: Job, event: JobEvent) -> None:
        """The order that follows from an event."""
        if isinstance(event, Ended | Requeued) and any(node.leaving for node in self.nodes):
            busy = {host for other in self.active.values() for host in held_hosts(other)}
            self.nodes = tuple(node for node in self.nodes if not node.leaving or node.host in busy)
        if isinstance(event, Ended):
            self.orders.append(Gone(uid=job.spec.uid, id=job.id, outcome=job.outcome))
        else:
            order = order_for(job, self.nodes)
            if order is not None:
                self.orders.append(order)

    def settle(self) -> None:
        """Make the draft the queue; to be called when the events are on disk."""
        queue = self.queue
        jobs = (self.queued, self.held, self.active)
        seen = (self.unseen, self.absent, self.out_of_sight, self.pauses)
        for layer in (*jobs, self.tokens, self.limits, self.users, *seen):
            layer.settle()
        queue.next_id, queue.nodes, queue.present = self.next_id, self.nodes, self.present


def held_hosts(job: Job) -> tuple[HostName, ...]:
    return job.allocation.hosts if job.allocation is not None else ()


def order_for(job: Job, nodes: Sequence[Node]) -> Order | None:
    """What the state of a job calls for; the same however often it is asked."""
    if job.state is State.STARTING:
        assert job.allocation is not None
        installed = {node.host: node.ncores for node in nodes}
        declared = tuple(installed.get(host, 0) for host in job.allocation.hosts)
        return Start(uid=job.spec.uid, id=job.id, attempt=job.attempt, allocation=job.allocation, declared=declared)
    if job.state is State.STOPPING:
        grace_s = job.stop_grace_s if job.stop_grace_s is not None else 5.0
        return Stop(uid=job.spec.uid, id=job.id, attempt=job.attempt, grace_s=grace_s, by=job.stop_by or "")
    return None
