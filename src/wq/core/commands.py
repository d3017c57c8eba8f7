"""What users' commands ask of the queue: submit, remove, limit, mark nodes, refresh."""

from __future__ import annotations

from dataclasses import replace

from wq.core.admit import MOST_CORES, admit
from wq.core.cluster import NodeState
from wq.core.job import Job, JobId, Outcome, OutcomeKind, Priority, Requirement, State, Uid
from wq.core.lifecycle import Ended, Requeued, StopRequested, Submitted
from wq.core.news import remind
from wq.core.plan import Limit
from wq.core.queue import Draft, LimitSet, NodeMarked, held_hosts
from wq.core.requests import Answer, Refusal, Remove, SetLimit, SetNode, Submit, Who

ROOT = Uid(0)
MOST_JOBS_OF_A_USER = 30_000  # unfinished ones; their launcher names them all in one message
LONGEST_TOKEN = 100
MOST_RANGES = 200


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
