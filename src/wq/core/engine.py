"""The queue as a function: tick(queue, inbox, now) -> events, orders, answers, and when to wake.

A tick never changes the queue that it is given: what happens in it lies in a draft, which the caller
settles once it is on disk, or drops. Orders are derived from the state, so that after a restart, or
when a launcher comes back, they are derived again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from wq.core.admit import MOST_CORES, admit
from wq.core.cluster import Node, NodeState
from wq.core.job import AttemptNo, HostName, Job, JobId, Outcome, OutcomeKind, Priority, Requirement, State, Uid
from wq.core.layered import Layered
from wq.core.lifecycle import Ended, Granted, JobEvent, Requeued, Started, StopRequested, Submitted, advance
from wq.core.plan import Limit, Plan, plan
from wq.core.policies.fifo import Fifo
from wq.core.requests import (
    Answer,
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    ClusterRead,
    Gone,
    Incoming,
    LauncherGone,
    LauncherHere,
    NodeLooked,
    Order,
    Refresh,
    Refusal,
    Remove,
    Request,
    SetLimit,
    SetNode,
    Start,
    Stop,
    Submit,
    Who,
)

ROOT = Uid(0)
PAUSE_FIRST_S = 5.0
PAUSE_MOST_S = 300.0
MOST_JOBS_OF_A_USER = 30_000  # unfinished ones; their launcher names them all in one message
LONGEST_TOKEN = 100
LONGEST_SENTENCE = 1000
MOST_RANGES = 200


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
    """The owner's look at a node failed. since_s: when it first did, in seconds since 1970, only shown."""

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
        for layer in (*jobs, self.tokens, self.limits, self.users, self.unseen, self.pauses):
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


def tick(queue: Queue, inbox: Sequence[Incoming], now: Now) -> Draft:
    """Handle all that has arrived, then start whoever can start. The queue stays as it was until `settle`."""
    draft = Draft(queue, now)
    for item in inbox:
        answer = handle(draft, item.who, item.request)
        if answer is not None and item.reply_to:
            draft.answers.append((item.reply_to, answer))
    start_jobs(draft)
    draft.wake_s = min((p.until_s for p in draft.pauses.values() if p.until_s > now.boot_s), default=None)
    return draft


def start_jobs(draft: Draft) -> None:
    """Grant what the plan says."""
    if not draft.queued:
        return
    for start in planned(draft, draft.now).starts:
        job = draft.queued[start.job]
        draft.apply(Granted(id=job.id, attempt=AttemptNo(job.attempt + 1), allocation=start.allocation))


def planned(view: Draft | Queue, now: Now) -> Plan:
    """The plan for the queue as it is; it also knows why each other job waits."""
    paused: dict[Uid, dict[HostName, str]] = {}
    for (uid, host), pause in view.pauses.items():
        if pause.until_s > now.boot_s:
            paused.setdefault(uid, {})[host] = pause.why
    layers: dict[Uid, list[Limit]] = {}
    for (uid, _), limit in view.limits.items():
        layers.setdefault(uid, []).append(limit)
    return plan(
        queue=Fifo().order(view.queued.values()),
        active=list(view.active.values()),
        nodes=with_looks(view.nodes, view.unseen),
        limits={uid: effective_limit(limits) for uid, limits in layers.items()},
        present=view.present,
        paused=paused,
    )


def handle(draft: Draft, who: Who, request: Request) -> Answer | Refusal | None:
    """One request or report."""
    if not who.is_self:
        draft.users[who.uid] = who.user
    match request:
        case Submit():
            return submit(draft, who, request)
        case Remove():
            return remove(draft, who, request)
        case SetLimit():
            return set_limit(draft, who, request)
        case SetNode():
            return set_node(draft, who, request)
        case Refresh():
            return refresh(draft, who)
        case LauncherHere():
            return launcher_here(draft, who, request)
        case LauncherGone():
            draft.present -= {who.uid}
        case AttemptStarted() | AttemptEnded() | AttemptTakenBack():
            report(draft, who, request)
        case ClusterRead():
            cluster_read(draft, request.nodes)
        case NodeLooked():
            if request.ok:
                draft.unseen.pop(request.host, None)
            else:
                old = draft.unseen.get(request.host)
                since_s = draft.now.wall_s if old is None else old.since_s
                draft.unseen[request.host] = Unseen(why=request.why, since_s=since_s)
        case _:
            assert_never(request)
    return None


def may_change(draft: Draft, who: Who, uid: Uid) -> bool:
    """The job's user, the server's owner, and root."""
    return who.uid in (uid, draft.owner, ROOT)


def is_owner(draft: Draft, who: Who) -> bool:
    return who.uid in (draft.owner, ROOT)


def owner_name(draft: Draft) -> str:
    return draft.users.get(draft.owner, f"uid {draft.owner}")


def submit(draft: Draft, who: Who, request: Submit) -> Answer | Refusal:
    """Queue jobs, all or none."""
    key = (who.uid, request.token)
    if len(request.token) > LONGEST_TOKEN:
        return Refusal(error=f"a token has at most {LONGEST_TOKEN} characters")
    if request.token and key in draft.tokens:
        if len(draft.tokens[key]) != len(request.jobs):
            return Refusal(error="this submission was accepted long ago, and some of its jobs are forgotten")
        for job_id in draft.tokens[key]:
            remind(draft, who.uid, job_id)
        return Answer(facts={"ids": list(draft.tokens[key])})
    own = own_jobs(draft, who) if len(draft.queued) + len(draft.active) + len(request.jobs) > MOST_JOBS_OF_A_USER else 0
    if own + len(request.jobs) > MOST_JOBS_OF_A_USER:
        return Refusal(error=f"you have {own} unfinished jobs here; {MOST_JOBS_OF_A_USER} are allowed", status=1)
    possible: set[Requirement] = set()
    for spec in request.jobs:
        trouble = admit(spec, draft.nodes, possible)
        if trouble is None and spec.requirement.priority is Priority.BLOCK and not draft.queue.block_allowed:
            trouble = "priority: block is not allowed in this queue; low, med or high are"
        if trouble is not None:
            return Refusal(error=f"{spec.name}: {trouble}" if len(request.jobs) > 1 else trouble)
    ids = []
    for index, spec in enumerate(request.jobs):
        job_id = JobId(draft.next_id)
        draft.next_id += 1
        spec = replace(spec, uid=who.uid, user=who.user, token=request.token, index=index)
        draft.apply(Submitted(job=Job(id=job_id, spec=spec, state=State.QUEUED, submitted_s=draft.now.wall_s)))
        ids.append(job_id)
    if request.token:
        draft.tokens[key] = tuple(ids)
    return Answer(facts={"ids": list(ids)})


def own_jobs(draft: Draft, who: Who) -> int:
    """How many jobs of the sender are not over."""
    return sum(job.spec.uid == who.uid for jobs in (draft.queued, draft.active, draft.held) for job in jobs.values())


def remove(draft: Draft, who: Who, request: Remove) -> Answer | Refusal:
    """Remove jobs; running ones are ended first. Answers which were, and why others were not."""
    if len(request.ids) > MOST_RANGES:
        return Refusal(error=f"{len(request.ids)} ids and ranges are too many at once; at most {MOST_RANGES}")
    if request.lost and not is_owner(draft, who):
        return Refusal(error=f"only the server's owner ({owner_name(draft)}) and root may declare a job lost")
    live = [*draft.active.values(), *draft.queued.values(), *draft.held.values()]
    if request.all:
        chosen = [job for job in live if job.spec.uid == who.uid]
        missing: list[int] = []
    else:
        chosen = [job for job in live if any(low <= job.id <= high for low, high in request.ids)]
        found = {int(job.id) for job in chosen}
        missing = [low for low, high in request.ids if low == high and low not in found]
    facts: dict[str, list[object]] = {"removed": [], "ending": [], "refused": [], "missing": list(missing)}
    for job in sorted(chosen, key=lambda job: job.id):
        if not may_change(draft, who, job.spec.uid):
            user, owner = job.spec.user, owner_name(draft)
            why = f"it belongs to {user}; only {user}, the server's owner ({owner}) and root may"
            facts["refused"].append({"id": job.id, "why": why})
        else:
            facts[remove_one(draft, who, job, request)].append(int(job.id))
    return Answer(facts=dict(facts))


def remove_one(draft: Draft, who: Who, job: Job, request: Remove) -> str:
    """End one job; says whether it is gone (removed) or going (ending)."""
    if job.state in (State.QUEUED, State.HELD):
        outcome = Outcome(kind=OutcomeKind.REMOVED, by=who.user, message="removed before it started")
    elif request.lost:
        outcome = Outcome(kind=OutcomeKind.LOST, by=who.user, message=f"declared lost by {who.user}")
    else:
        if job.state is not State.STOPPING:
            draft.apply(StopRequested(id=job.id, by=who.user, grace_s=min(max(request.grace_s, 0.0), 3600.0)))
        return "ending"
    draft.apply(Ended(id=job.id, outcome=outcome, at_s=draft.now.wall_s))
    return "removed"


def set_limit(draft: Draft, who: Who, request: SetLimit) -> Answer | Refusal:
    """Limit oneself, or (the owner) anyone."""
    by_owner = request.target is not None
    if max(request.run or 0, request.cores or 0) > MOST_CORES:
        return Refusal(error=f"a limit is at most {MOST_CORES}")
    if by_owner and not is_owner(draft, who):
        return Refusal(error=f"only the server's owner ({owner_name(draft)}) and root may limit others", status=1)
    uid = request.target if request.target is not None else who.uid
    name = request.target_name if by_owner else who.user
    old = Limit() if request.clear else draft.limits.get((uid, by_owner), Limit())
    limit = Limit(run=changed(old.run, request.run), cores=changed(old.cores, request.cores))
    draft.users[uid] = name
    draft.limits[(uid, by_owner)] = limit
    draft.events.append(LimitSet(uid=uid, user=name, by_owner=by_owner, limit=limit))
    return Answer(facts={"user": name, "run": limit.run, "cores": limit.cores})


def changed(old: int | None, new: int | None) -> int | None:
    """A limit after a word about it: None leaves it, -1 lifts it."""
    if new is None:
        return old
    return None if new < 0 else new


def set_node(draft: Draft, who: Who, request: SetNode) -> Answer | Refusal:
    """The owner's word about nodes."""
    if not is_owner(draft, who):
        return Refusal(error=f"only the server's owner ({owner_name(draft)}) and root may change nodes", status=1)
    known = {node.host for node in draft.nodes}
    strangers = [host for host in request.hosts if host not in known]
    if strangers:
        return Refusal(error=f"no node is called {strangers[0]!r}; there are: {', '.join(sorted(known))}")
    lost = request.state == "lost"
    if not lost and request.state not in frozenset(NodeState):
        return Refusal(error=f"state: {request.state[:40]!r} is none; online, offline, drain and lost are")
    state = NodeState.OFFLINE if lost else NodeState(request.state)
    nodes = []
    for node in draft.nodes:
        if node.host in request.hosts:
            node = replace(node, state=state, reason=request.reason, since_s=draft.now.wall_s, by=who.user)
            draft.events.append(NodeMarked(node=node))
            if state is NodeState.ONLINE:
                draft.unseen.pop(node.host, None)
        nodes.append(node)
    draft.nodes = tuple(nodes)
    gone = declare_lost(draft, who, frozenset(request.hosts)) if lost else []
    return Answer(facts={"nodes": list(request.hosts), "state": request.state, "lost": gone})


def declare_lost(draft: Draft, who: Who, hosts: frozenset[str]) -> list[JobId]:
    """What ran on these nodes is gone, says the owner: batch jobs wait for another turn, foreground ones end."""
    gone = [job for job in draft.active.values() if any(host in hosts for host in held_hosts(job))]
    for job in gone:
        why = f"{who.user} declared its node lost"
        if job.spec.foreground or job.state is State.STOPPING:
            outcome = Outcome(kind=OutcomeKind.LOST, by=who.user, message=why)
            draft.apply(Ended(id=job.id, outcome=outcome, at_s=draft.now.wall_s))
        else:
            draft.apply(Requeued(id=job.id, why=why))
    return [job.id for job in gone]


def refresh(draft: Draft, who: Who) -> Answer:
    """Forget why nodes were avoided: for oneself, or (the owner) for everybody."""
    for uid, host in list(draft.pauses):
        if uid == who.uid or is_owner(draft, who):
            del draft.pauses[(uid, host)]
    return Answer()


def launcher_here(draft: Draft, who: Who, request: LauncherHere) -> Answer:
    """A launcher came (back): tell it what is over, order again what is due, and note what it has lost."""
    draft.present |= {who.uid}
    theirs = {held.id for held in request.jobs}
    for held in request.jobs:
        remind(draft, who.uid, held.id)
    mine = [*draft.active.values(), *draft.queued.values(), *draft.held.values()]
    for job in [job for job in mine if job.spec.uid == who.uid]:
        if job.id not in theirs and job.spec.token not in request.tokens:
            outcome = Outcome(kind=OutcomeKind.LOST, message="its launcher no longer knows it")
            draft.apply(Ended(id=job.id, outcome=outcome, at_s=draft.now.wall_s))
    return Answer()


def remind(draft: Draft, uid: Uid, job_id: JobId) -> None:
    """Order again what is due for a job that a launcher names, or tell it that the job is over."""
    job = draft.find(job_id)
    if job is None or job.spec.uid != uid:
        draft.orders.append(Gone(uid=uid, id=job_id, outcome=None))
    elif (order := order_for(job, draft.nodes)) is not None:
        draft.orders.append(order)


def report(draft: Draft, who: Who, news: AttemptStarted | AttemptEnded | AttemptTakenBack) -> None:
    """News of an attempt. Late news, and news of others' jobs, change nothing; an end is always acknowledged."""
    job = draft.active.get(news.id)
    if job is None or job.spec.uid != who.uid or job.attempt != news.attempt:
        if draft.find(news.id) is None:
            draft.orders.append(Gone(uid=who.uid, id=news.id, outcome=None))
        return
    match news:
        case AttemptStarted():
            for host in held_hosts(job):
                draft.pauses.pop((who.uid, host), None)
            if job.state is State.STARTING:
                draft.apply(Started(id=job.id, at_s=draft.now.wall_s))
        case AttemptEnded():
            outcome = replace(news.outcome, by=None, message=cut(news.outcome.message))
            if job.state is State.STOPPING:
                outcome = replace(outcome, kind=OutcomeKind.REMOVED, by=job.stop_by)
            draft.apply(Ended(id=job.id, outcome=outcome, at_s=draft.now.wall_s))
        case AttemptTakenBack():
            if news.host is not None and news.host in held_hosts(job):
                pause(draft, who.uid, news.host, cut(news.why) or "")
            if job.state is State.STOPPING:
                outcome = Outcome(kind=OutcomeKind.REMOVED, by=job.stop_by, message="removed before it started")
                draft.apply(Ended(id=job.id, outcome=outcome, at_s=draft.now.wall_s))
            else:
                draft.apply(Requeued(id=job.id, why=cut(news.why) or ""))


def cut(text: str | None) -> str | None:
    """A sentence from a launcher, at the length of a sentence: others' listings carry it."""
    return text if text is None or len(text) <= LONGEST_SENTENCE else text[: LONGEST_SENTENCE - 3] + "..."


def pause(draft: Draft, uid: Uid, host: HostName, why: str) -> None:
    """This user's starts avoid this node for a while, twice as long each time."""
    old = draft.pauses.get((uid, host))
    failures = old.failures + 1 if old is not None else 1
    wait_s = min(PAUSE_FIRST_S * 2.0 ** min(failures - 1, 16), PAUSE_MOST_S)  # (2.0 ** 1024 is an error)
    draft.pauses[(uid, host)] = Pause(why=why, until_s=draft.now.boot_s + wait_s, failures=failures)


def cluster_read(draft: Draft, nodes: Sequence[Node]) -> None:
    """A new list of nodes: what the owner said of a node stays said; a node with jobs leaves when they end."""
    old = {node.host: node for node in draft.nodes}
    new = []
    for node in nodes:
        was = old.get(node.host)
        if was is not None:
            node = replace(node, state=was.state, reason=was.reason, since_s=was.since_s, by=was.by)
        new.append(node)
    names = {node.host for node in nodes}
    busy = {host for job in draft.active.values() for host in held_hosts(job)}
    leaving = [replace(node, leaving=True) for node in draft.nodes if node.host not in names and node.host in busy]
    draft.nodes = (*new, *leaving)
    for host in [host for host in draft.unseen if host not in names]:
        del draft.unseen[host]
