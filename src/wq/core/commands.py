"""What users' commands ask of the queue: submit, remove, limit, mark nodes, refresh."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from wq.core import ranges
from wq.core.admit import MOST_CORES, MOST_TASKS, admit, bad_time
from wq.core.array import Array
from wq.core.cluster import NodeState
from wq.core.dependencies import AtFirst, CannotWait, at_first, stop_failed_arrays, too_many, wait_for
from wq.core.job import Job, JobId, Key, Outcome, OutcomeKind, Priority, Requirement, State, Uid, Waits
from wq.core.lifecycle import Ended, Requeued, Resumed, StopRequested, Submitted, Suspended, TimeSet
from wq.core.line import Waiting, place_of
from wq.core.news import LARGEST_SIGNAL, remind
from wq.core.plan import Limit
from wq.core.queue import ArraySubmitted, ArrayTimeSet, AtMostSet, Draft, LimitSet, NodeMarked, held_hosts, recall
from wq.core.ranges import Ranges
from wq.core.requests import (
    NO_TASK,
    Answer,
    Edit,
    HoldRest,
    Refusal,
    Remove,
    RemoveRest,
    SendSignal,
    SetAtMost,
    SetHold,
    SetLimit,
    SetNode,
    SetSuspended,
    SetTime,
    Signal,
    Submit,
    Unfinished,
    Who,
)

ROOT = Uid(0)
LONGEST_TOKEN = 100
MOST_RANGES = 200
LONGEST_REASON = 200
CHANGED_AT_ONCE = 500  # others have their turn in between


def may_change(draft: Draft, who: Who, uid: Uid) -> bool:
    """The job's user, the server's owner, and root."""
    return who.uid in (uid, draft.owner, ROOT)


def is_owner(draft: Draft, who: Who) -> bool:
    return who.uid in (draft.owner, ROOT)


def owner_name(draft: Draft) -> str:
    return str(draft.users.get(draft.owner, f"uid {draft.owner}"))


def whose(draft: Draft, job: Waiting) -> str:
    """Why somebody else may not change it."""
    user = job.spec.user
    return f"it belongs to {user}; only {user}, the server's owner ({owner_name(draft)}) and root may"


def submit(draft: Draft, who: Who, request: Submit) -> Answer | Refusal:
    """Queue jobs, all or none."""
    key = (who.uid, request.token)
    if len(request.token) > LONGEST_TOKEN:
        return Refusal(error=f"a token has at most {LONGEST_TOKEN} characters")
    known = draft.tokens.get(key) or tuple(map(JobId, request.accepted))
    if request.token and known:
        if len(known) != len(request.jobs):
            return Refusal(error="this submission was accepted long ago, and some of its jobs are forgotten")
        for job_id in known:
            remind(draft, who.uid, job_id)
        return Answer(facts={"ids": list(known)})
    own, most = draft.njobs.get(who.uid, 0), draft.queue.most_jobs
    if own + len(request.jobs) > most:
        return Refusal(error=f"you have {own} unfinished jobs here; {most} are allowed (cap jobs)", status=1)
    possible: set[Requirement] = set()
    for spec in request.jobs:
        trouble = admit(spec, draft.nodes, possible) or not_allowed(draft, spec.requirement)
        if trouble is not None:
            return Refusal(error=f"{spec.name}: {trouble}" if len(request.jobs) > 1 else trouble)
    same: dict[Requirement, Requirement] = {}  # jobs that are alike share theirs
    new: dict[int, AtFirst] = {}
    for index, spec in enumerate(request.jobs):
        need = same.setdefault(spec.requirement, spec.requirement)
        spec = replace(spec, uid=who.uid, user=who.user, token=request.token, index=index, requirement=need)
        try:
            new[draft.next_id + index] = at_first(draft, spec, new, request.past)
        except CannotWait as error:
            return Refusal(error=f"{spec.name}: {error}" if len(request.jobs) > 1 else str(error), status=1)
    trouble = too_many(draft, [first.spec for first in new.values()])
    if trouble is not None:
        return Refusal(error=trouble, status=1)
    ids = [JobId(number) for number in new]
    draft.next_id += len(ids)
    for job_id in ids:
        enter(draft, job_id, new[job_id])
    if request.token:
        draft.tokens[key] = tuple(ids)
    return Answer(facts={"ids": list(ids)})


def not_allowed(draft: Draft, need: Requirement) -> str | None:
    """Why this queue does not take what its nodes could do."""
    if need.priority is Priority.BLOCK and not draft.queue.block_allowed:
        return "priority: block is not allowed in this queue; low, med or high are"
    return None


def enter(draft: Draft, job_id: JobId, first: AtFirst) -> None:
    """A new job stands in the line, or waits for something else first."""
    spec, now_s = first.spec, draft.now.wall_s
    if spec.array is None:
        state = State.QUEUED if first.waits is None else State.HELD
        draft.apply(Submitted(job=Job(id=job_id, spec=spec, state=state, submitted_s=now_s, waits=first.waits)))
        return
    everything = ((0, spec.array.size - 1),)
    array = Array(
        id=job_id,
        spec=spec,
        submitted_s=now_s,
        waiting=ranges.minus(ranges.minus(everything, first.blocked), first.doomed),
        blocked=first.blocked,
        removed=first.doomed,
        removed_by="their counterparts had ended otherwise" if first.doomed else "",
        at_most=spec.array.at_most,
        waits=first.waits,
    )
    draft.events.append(ArraySubmitted(array=array))
    draft.change_array(array)
    draft.note_waits(array)


def remove(draft: Draft, who: Who, request: Remove) -> Answer | Refusal | Unfinished:
    """Remove jobs; running ones are ended first. Answers which were, and why others were not."""
    if len(request.ids) + len(request.tasks) > MOST_RANGES:
        return Refusal(
            error=f"{len(request.ids) + len(request.tasks)} ids and ranges are too many at once; at most {MOST_RANGES}"
        )
    if len(request.reason) > LONGEST_REASON:
        return Refusal(error=f"a reason has at most {LONGEST_REASON} characters")
    if request.lost and not is_owner(draft, who):
        return Refusal(error=f"only the server's owner ({owner_name(draft)}) and root may declare a job lost")
    arrays, chosen, missing = choose(draft, who, request)
    chosen.reverse()
    facts = remove_all_of(draft, who, arrays, chosen[:CHANGED_AT_ONCE], request)
    ending = [array.id for array in arrays if may_change(draft, who, array.spec.uid) and ends(draft, request, array)]
    facts["ending"] = sorted({*facts["ending"], *ending})
    later = [(int(job.id), NO_TASK if job.task is None else job.task) for job in chosen[CHANGED_AT_ONCE:]]
    return answered(facts | {"missing": missing}, tuple(later), request)


def remove_rest(draft: Draft, who: Who, request: RemoveRest) -> Answer | Unfinished:
    """Go on with a removal."""
    keys: list[Key] = [JobId(job) if task < 0 else (JobId(job), task) for job, task in request.jobs[:CHANGED_AT_ONCE]]
    found = [job for key in keys if (job := draft.find(key)) is not None]
    facts = remove_all_of(draft, who, {}, found, request)
    return answered(facts | {"missing": []}, request.jobs[CHANGED_AT_ONCE:], request)


def answered(
    facts: dict[str, Any], later: tuple[tuple[int, int], ...], request: Remove | RemoveRest
) -> Answer | Unfinished:
    if not later:
        return Answer(facts=facts)
    rest = RemoveRest(jobs=later, lost=request.lost, grace_s=request.grace_s, reason=request.reason)
    return Unfinished(facts=facts, rest=rest)


def remove_all_of(
    draft: Draft, who: Who, arrays: Mapping[Array, Ranges], jobs: list[Job], request: Remove | RemoveRest
) -> dict[str, Any]:
    """Remove these as far as the sender may. arrays: with the places of their waiting tasks that are meant.

    From the back: who is behind another in a lane must not start when that one is ended.
    """
    stop_failed_arrays(draft)  # what has ended before counts; what is removed here does not
    removed: list[int] = []
    ending: list[int] = []
    tasks: dict[JobId, Counter[str]] = {}
    refused: dict[JobId, str] = {}
    meant: list[Waiting] = [*sorted(arrays, key=place_of), *sorted(jobs, key=place_of, reverse=True)]
    for job in meant:
        if not may_change(draft, who, job.spec.uid):
            refused[job.id] = whose(draft, job)
        elif isinstance(job, Array):
            places = arrays[job]
            if places:
                draft.remove_tasks(draft.arrays[job.id], places, who.user, request.reason)
            tasks.setdefault(job.id, Counter())["removed"] += ranges.count(places)
        elif job.task is not None:
            tasks.setdefault(job.id, Counter())[remove_one(draft, who, job, request)] += 1
        else:
            (removed if remove_one(draft, who, job, request) == "removed" else ending).append(int(job.id))
    draft.tally_arrays()
    removed += [number for number in tasks if number not in draft.arrays]
    return {
        "removed": sorted(removed),
        "ending": sorted(ending),
        "tasks": [{"id": it, "removed": of["removed"], "ending": of["ending"]} for it, of in sorted(tasks.items())],
        "refused": [{"id": number, "why": why} for number, why in sorted(refused.items())],
    }


def ends(draft: Draft, request: Remove, array: Array) -> bool:
    """Whether an array that was meant as a whole is not over yet."""
    return array.id in draft.arrays and (request.all or Meant(request).job(array.id))


class Meant:
    """What a request names: jobs by ranges of ids, and tasks of arrays."""

    def __init__(self, request: Remove | SetSuspended | SendSignal) -> None:
        self.ids = ranges.merged(request.ids)
        self.tasks = ranges.grouped(request.tasks)

    def job(self, job_id: int) -> bool:
        """All of it is meant."""
        return ranges.contains(self.ids, job_id)

    def has(self, job: Job) -> bool:
        if self.job(job.id):
            return True
        return job.task is not None and job.id in self.tasks and ranges.contains(self.tasks[job.id], job.task)


def choose(
    draft: Draft, who: Who, request: Remove | SetSuspended | SendSignal
) -> tuple[dict[Array, Ranges], list[Job], list[int]]:
    """(arrays, with the places of their waiting tasks that are meant; jobs and tasks; ids that are not there)."""
    live = [*draft.active.values(), *draft.queued.values(), *draft.held.values()]
    if request.all:
        own = {array: array.unstarted for array in draft.arrays.values() if array.spec.uid == who.uid}
        return own, [job for job in live if job.spec.uid == who.uid], []
    meant = Meant(request)
    arrays: dict[Array, Ranges] = {}
    for array in draft.arrays.values():
        if meant.job(array.id):
            arrays[array] = array.unstarted
        elif array.id in meant.tasks:
            named = [pair for some in meant.tasks[array.id] for pair in array.tasks.places(*some)]
            arrays[array] = ranges.both(array.unstarted, ranges.merged(named))
    chosen = [job for job in live if meant.has(job)]
    found = {int(job.id) for job in chosen} | {int(array.id) for array in arrays}
    single = [low for low, high in request.ids if low == high] + [it for it, _, _ in request.tasks]
    return arrays, chosen, [number for number in dict.fromkeys(single) if number not in found]


def remove_one(draft: Draft, who: Who, job: Job, request: Remove | RemoveRest) -> str:
    """End one job; says whether it is gone (removed) or going (ending)."""
    reason = request.reason or None
    if job.state in (State.QUEUED, State.HELD):
        outcome = Outcome(kind=OutcomeKind.REMOVED, by=who.user, message="removed before it started", reason=reason)
    elif request.lost:
        said = f"declared lost by {who.user}"
        outcome = Outcome(kind=OutcomeKind.LOST, by=who.user, message=said, reason=reason)
    else:
        if job.state is not State.STOPPING:
            grace_s = min(max(request.grace_s, 0.0), 3600.0)
            stop = StopRequested(id=job.id, task=job.task, by=who.user, grace_s=grace_s, reason=request.reason)
            draft.apply(stop)
        return "ending"
    draft.apply(Ended(id=job.id, task=job.task, outcome=outcome, at_s=draft.now.wall_s))
    return "removed"


def set_hold(draft: Draft, who: Who, request: SetHold) -> Answer | Refusal | Unfinished:
    """Take jobs that wait out of the line, or let them back in."""
    if len(request.ids) > MOST_RANGES:
        return Refusal(error=f"{len(request.ids)} ids and ranges are too many at once; at most {MOST_RANGES}")
    arrays, jobs, missing = choose(draft, who, Remove(ids=request.ids, all=request.all))
    meant: list[Waiting] = [*arrays, *(job for job in jobs if job.task is None)]
    chosen = tuple(job.id for job in sorted(meant, key=place_of))
    facts = {"changed": [], "refused": [], "missing": missing}
    return hold_some(draft, who, HoldRest(jobs=chosen, held=request.held, all=request.all), facts)


def hold_some(draft: Draft, who: Who, request: HoldRest, facts: dict[str, Any]) -> Answer | Unfinished:
    """So many of them as may be in one tick. facts: of what was found out before."""
    done: list[int] = []
    refused: dict[int, str] = {}
    for number in request.jobs[:CHANGED_AT_ONCE]:
        job = draft.arrays.get(number) or draft.find(number)
        why = may_not_hold(draft, who, job, held=request.held) if job is not None else "it is over"
        if job is None or why is not None:
            if not request.all:
                refused[number] = str(why)
            continue
        waits = job.waits or Waits()
        if request.held:
            by_owner = who.uid != job.spec.uid
            wait_for(draft, job, replace(waits, held_by=who.user, by_owner=by_owner))
        elif waits.held_by is not None:
            wait_for(draft, job, replace(waits, held_by=None, by_owner=False))
        done.append(int(number))
    facts |= {"changed": done, "refused": [{"id": number, "why": why} for number, why in refused.items()]}
    later = request.jobs[CHANGED_AT_ONCE:]
    return Unfinished(facts=facts, rest=replace(request, jobs=later)) if later else Answer(facts=facts)


def may_not_hold(draft: Draft, who: Who, job: Waiting, *, held: bool) -> str | None:
    """Why the sender cannot hold this job, or release it."""
    if not may_change(draft, who, job.spec.uid):
        return whose(draft, job)
    if isinstance(job, Job) and job.state not in (State.QUEUED, State.HELD):
        return "it does not wait any more"
    if isinstance(job, Array) and not job.unstarted:
        return "none of its tasks waits any more"
    waits = job.waits
    if waits is None or waits.held_by is None:
        return None if held else "it is not held"
    if waits.by_owner and not is_owner(draft, who):
        return f"it is held by {waits.held_by}, and only the server's owner ({owner_name(draft)}) may release it"
    return None


def edit(draft: Draft, who: Who, request: Edit) -> Answer | Refusal:
    """Change a job that waits; its name and its priority also later."""
    job = draft.arrays.get(request.id) or draft.find(request.id)
    if job is None:
        return Refusal(error=f"no job {request.id} is in the queue", status=1)
    if not may_change(draft, who, job.spec.uid):
        user, owner = job.spec.user, owner_name(draft)
        why = f"job {request.id} belongs to {user}; only {user}, the server's owner ({owner}) and root may change it"
        return Refusal(error=why, status=1)
    waiting = isinstance(job, Array) or job.state in (State.QUEUED, State.HELD)
    before, need = job.spec.requirement, request.requirement or job.spec.requirement
    elsewhere = dataclasses.replace(need, priority=before.priority) != before
    left = "its name and its priority can still be changed"
    if not waiting and (elsewhere or request.begin_s is not None):
        return Refusal(error=f"job {request.id} does not wait any more; {left}", status=1)
    if isinstance(job, Array) and elsewhere and job.live:
        return Refusal(error=f"tasks of array {request.id} run already; {left}", status=1)
    spec = replace(
        job.spec,
        name=job.spec.name if request.name is None else request.name,
        command=job.spec.command if request.command is None or not job.spec.command else request.command,
        requirement=need,
        max_fails=job.spec.max_fails if request.max_fails is None else request.max_fails,
    )
    trouble = admit(spec, draft.nodes, set() if elsewhere else {need})  # what was possible may be so again
    if trouble is None and need != before:
        trouble = not_allowed(draft, need)
    if trouble is not None:
        return Refusal(error=trouble)
    if spec != job.spec:
        draft.describe(job, spec)
    if request.begin_s is not None:
        job = draft.arrays.get(request.id) or draft.find(request.id)
        assert job is not None
        begin_s = request.begin_s if request.begin_s > draft.now.wall_s else None
        wait_for(draft, job, replace(job.waits or Waits(), begin_s=begin_s))
    return Answer(facts={"id": request.id})


def set_suspended(draft: Draft, who: Who, request: SetSuspended) -> Answer | Refusal:
    """Suspend what runs of these, or have it go on."""
    wanted = State.RUNNING if request.suspended else State.SUSPENDED
    event = Suspended if request.suspended else Resumed

    def change(job: Job) -> str | None:
        if job.state is not wanted:
            return "it is suspended already" if job.state is State.SUSPENDED else None
        draft.apply(event(id=job.id, task=job.task))
        return ""

    return control(draft, who, request, change)


def send_signal(draft: Draft, who: Who, request: SendSignal) -> Answer | Refusal:
    """Send a signal to what runs of these. It is not kept: without its launcher nothing is sent to a job."""
    if not 1 <= request.number <= LARGEST_SIGNAL:
        return Refusal(error=f"a signal is a number from 1 to {LARGEST_SIGNAL}")

    def send(job: Job) -> str | None:
        if job.state not in (State.RUNNING, State.SUSPENDED, State.STOPPING):
            return None
        user = job.spec.user
        if job.spec.uid not in draft.present:
            return f"the launcher of {user} is away; any command of {user} brings it back"
        order = Signal(uid=job.spec.uid, id=job.id, task=job.task, attempt=job.attempt, number=request.number)
        draft.orders.append(order)
        return ""

    return control(draft, who, request, send)


def control(
    draft: Draft, who: Who, request: SetSuspended | SendSignal, do: Callable[[Job], str | None]
) -> Answer | Refusal:
    """Do something to all jobs and tasks that are meant, and are the sender's to change.

    do: answers nothing if it was done, else why not; None if the job does not run.
    """
    if len(request.ids) + len(request.tasks) > MOST_RANGES:
        return Refusal(error=f"at most {MOST_RANGES} ids and ranges at once")
    arrays, chosen, missing = choose(draft, who, request)
    done: list[int] = []
    idle = {int(array.id) for array in arrays}
    tasks: Counter[int] = Counter()
    refused: dict[int, str] = {}
    for job in sorted(chosen, key=place_of):
        number = int(job.id)
        if not may_change(draft, who, job.spec.uid):
            refused[number] = whose(draft, job)
            continue
        why = do(job)
        if why == "":
            if job.task is None:
                done.append(number)
            else:
                tasks[number] += 1
        elif why is None:
            idle.add(number)
        else:
            refused[number] = why
    for array in arrays:
        if not may_change(draft, who, array.spec.uid):
            refused[int(array.id)] = whose(draft, array)
    facts = {
        "done": sorted(done),
        "tasks": [{"id": number, "done": count} for number, count in sorted(tasks.items())],
        "idle": [] if request.all else sorted(idle - set(tasks) - set(refused)),
        "refused": [{"id": number, "why": why} for number, why in refused.items() if number not in tasks],
        "missing": missing,
    }
    return Answer(facts=facts)


def set_at_most(draft: Draft, who: Who, request: SetAtMost) -> Answer | Refusal:
    """How many tasks of an array may run at one time from now on."""
    array = draft.arrays.get(request.id)
    if array is None:
        return Refusal(error=f"no array {request.id} is in the queue", status=1)
    if not may_change(draft, who, array.spec.uid):
        user, owner = array.spec.user, owner_name(draft)
        why = f"job {request.id} belongs to {user}; only {user}, the server's owner ({owner}) and root may change it"
        return Refusal(error=why, status=1)
    if request.at_most is not None and not 1 <= request.at_most <= MOST_TASKS:
        return Refusal(error=f"at_most: {request.at_most} is not between 1 and {MOST_TASKS}")
    draft.events.append(AtMostSet(id=array.id, at_most=request.at_most))
    draft.change_array(replace(array, at_most=request.at_most))
    return Answer(facts={"id": array.id, "at_most": request.at_most})


def set_time(draft: Draft, who: Who, request: SetTime) -> Answer | Refusal:
    """Another time limit for a job, or for all tasks of an array that are not over."""
    array = draft.arrays.get(request.id)
    alone = draft.find(request.id) if array is None else None
    jobs = [alone] if alone is not None else draft.tasks_of(request.id)
    if array is None and not jobs:
        return Refusal(error=f"no job {request.id} is in the queue", status=1)
    spec = array.spec if array is not None else jobs[0].spec
    if not may_change(draft, who, spec.uid):
        owner = owner_name(draft)
        why = f"job {request.id} belongs to {spec.user}; only {spec.user}, the server's owner ({owner}) and root may"
        return Refusal(error=f"{why} change it", status=1)
    trouble = bad_time(request.time_s)
    if trouble is not None:
        return Refusal(error=f"time: {trouble}")
    jobs = [job for job in jobs if job.state is not State.STOPPING]
    if array is None and not jobs:
        return Refusal(error=f"job {request.id} is being ended", status=1)
    time_s = request.time_s or 0.0
    if array is not None:
        draft.events.append(ArrayTimeSet(id=array.id, time_s=time_s))
        draft.change_array(replace(array, time_s=time_s))
        draft.stand(draft.arrays[array.id])
    for job in jobs:
        draft.stand(draft.apply(TimeSet(id=job.id, task=job.task, time_s=time_s)))
    return Answer(facts={"id": request.id, "time_limit": request.time_s})


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
            draft.apply(Ended(id=job.id, task=job.task, outcome=outcome, at_s=draft.now.wall_s))
        else:
            draft.apply(Requeued(id=job.id, task=job.task, why=why))
            draft.orders.append(recall(job))
    return list(dict.fromkeys(job.id for job in gone))


def refresh(draft: Draft, who: Who) -> Answer:
    """Forget why nodes were avoided: for oneself, or (the owner) for everybody."""
    for uid, host in list(draft.pauses):
        if uid == who.uid or is_owner(draft, who):
            del draft.pauses[(uid, host)]
    return Answer()
