"""The facts that listings show: rows for programs, in the documented schema; the client makes sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from wq.core import ranges
from wq.core.array import Array
from wq.core.cluster import Node
from wq.core.job import Allocation, Job, JobId, JobSpec, State, Uid
from wq.core.lifecycle import HOLDING_CORES
from wq.core.line import Waiting
from wq.core.plan import Limit, Reason
from wq.core.queue import Queue, effective_limit, with_looks

Row: TypeAlias = dict[str, object]
Listed: TypeAlias = Job | Array


def out_of_sight(queue: Queue, job: Job) -> Row | None:
    """A job that holds cores, and of which nobody can hear just now: since when, where, and why."""
    uid = job.spec.uid
    hosts = job.allocation.hosts if job.state in HOLDING_CORES and job.allocation is not None else ()
    if hosts and uid not in queue.present:
        why = f"the launcher of {job.spec.user} is away; any command of {job.spec.user} brings it back"
        return {"since": queue.absent.get(uid), "hosts": list(hosts), "why": why}
    dark = {host: queue.out_of_sight[(uid, host)] for host in hosts if (uid, host) in queue.out_of_sight}
    if not dark:
        return None
    first = min(dark.values(), key=lambda unseen: unseen.since_s)
    return {"since": first.since_s, "hosts": list(dark), "why": first.why}


def fed_ahead(job: Job) -> bool:
    """Whether it was put behind others in a lane, and nobody has said yet that its turn has come."""
    return job.lane is not None and job.state is State.STARTING


def shown_state(job: Job) -> str:
    """What was fed ahead still waits, for all that its user can see."""
    return State.QUEUED.value if fed_ahead(job) else job.state.value


def job_row(job: Job, reason: Reason | None = None, dark: Row | None = None) -> Row:
    """A job, or a task of an array, as `wq ls --json` has it. Times are seconds since 1970."""
    spec = job.spec
    held = None if fed_ahead(job) else job.allocation
    outcome = job.outcome
    return {
        **spec_row(job.id, spec),
        "task": job.task,
        "state": shown_state(job),
        "ncores": held.ncores if held else None,
        "nhosts": held.nhosts if held else None,
        "hosts": [{"host": part.host, "cores": list(part.cores)} for part in held.slices] if held else [],
        "attempt": job.attempt,
        "requeued_why": job.requeued_why,
        "out_of_sight": dark,
        "array": None,
        "submitted_at": job.submitted_s,
        "started_at": job.started_s,
        "ended_at": job.ended_s,
        "reason": {"code": reason.code.value, "text": reason.text} if reason else None,
        "outcome": {
            "kind": outcome.kind.value,
            "exit_status": outcome.exit_status,
            "signal": outcome.signal,
            "by": outcome.by,
            "reason": outcome.reason,
            "message": outcome.message,
            "cpu_s": outcome.cpu_s,
        }
        if outcome
        else None,
    }


def spec_row(job_id: JobId, spec: JobSpec) -> Row:
    """What a job was from the beginning."""
    need = spec.requirement
    return {
        "id": job_id,
        "user": spec.user,
        "uid": spec.uid,
        "name": spec.name,
        "command": spec.command,
        "priority": need.priority.value,
        "mode": need.mode.value,
        "n": need.n,
        "requeue": spec.requeue,
        "foreground": spec.foreground,
        "submit_dir": spec.submit_dir,
        "requirement": {
            "group": list(need.groups),
            "notgroup": list(need.notgroups),
            "host": need.host,
            "min_cores": need.min_cores,
            "min_mem": need.min_mem_gb,
            "threads": need.threads,
            "X": spec.x,
        },
    }


@dataclass(slots=True)
class Tally:
    """What is under way of one array. lanes: those that its tasks run in, with their cores."""

    lanes: dict[str, Allocation] = field(default_factory=dict)
    dark: Row | None = None


def tallies(queue: Queue, arrays: Iterable[Array]) -> dict[JobId, Tally]:
    """What is under way of each of these arrays. Of those in one lane one runs, and the others wait for their turn."""
    found = {array.id: Tally() for array in arrays}
    for job in queue.active.values():
        if job.task is not None and job.id in found and job.allocation is not None:
            tally = found[job.id]
            tally.lanes[job.runs_in] = job.allocation
            if tally.dark is None:
                tally.dark = out_of_sight(queue, job)
    return found


def array_counts(array: Array, tally: Tally) -> tuple[int, int, int, int]:
    """How many tasks (wait, run, are over, of these have failed)."""
    nrunning = min(len(tally.lanes), array.live)
    return ranges.count(array.waiting) + array.live - nrunning, nrunning, array.ndone, array.failed


def array_state(array: Array, tally: Tally) -> str:
    if array.ended_s is not None:
        return "done"
    return "running" if tally.lanes else "queued"


def array_row(array: Array, tally: Tally, reason: Reason | None = None) -> Row:
    """An array, as `wq ls --json` has it: as a job, with the counts of its tasks."""
    waiting, running, done, failed = array_counts(array, tally)
    cores: dict[str, set[int]] = {}
    for allocation in tally.lanes.values():
        for part in allocation.slices:
            cores.setdefault(part.host, set()).update(part.cores)
    return {
        **spec_row(array.id, array.spec),
        "task": None,
        "state": array_state(array, tally),
        "ncores": sum(map(len, cores.values())) or None,
        "nhosts": len(cores) or None,
        "hosts": [{"host": host, "cores": sorted(those)} for host, those in cores.items()],
        "attempt": 0,
        "requeued_why": None,
        "out_of_sight": tally.dark,
        "array": {
            "tasks": array.size,
            "pieces": [list(piece) for piece in array.tasks.pieces],
            "at_most": array.at_most,
            "waiting": waiting,
            "running": running,
            "done": done,
            "failed": failed,
            "removed": ranges.count(array.removed),
            "removed_by": array.removed_by or None,
            "removed_why": array.removed_why or None,
        },
        "submitted_at": array.submitted_s,
        "started_at": array.started_s,
        "ended_at": array.ended_s,
        "reason": {"code": reason.code.value, "text": reason.text} if reason else None,
        "outcome": None,
    }


def in_order(one: Listed) -> tuple[int, int]:
    """By ids; an array before its tasks."""
    return one.id, -1 if isinstance(one, Array) or one.task is None else one.task


def rows(queue: Queue, chosen: Iterable[Listed], why: Callable[[Waiting], Reason] | None) -> Iterator[Row]:
    """Jobs and arrays in the order of their ids, the waiting ones with their reason where it is asked for."""
    ordered = sorted(chosen, key=in_order)
    tally = tallies(queue, [one for one in ordered if isinstance(one, Array)])
    again = {job.id: job for job in queue.queued.values() if job.task is not None} if why is not None else {}
    for one in ordered:
        if isinstance(one, Array):
            nwaiting, *_ = array_counts(one, tally[one.id])
            waiting = again.get(one.id) if one.ended_s is not None or not nwaiting else one
            yield array_row(one, tally[one.id], why(waiting) if why is not None and waiting is not None else None)
        else:
            reason = why(one) if why is not None and shown_state(one) == State.QUEUED.value else None
            yield job_row(one, reason, out_of_sight(queue, one))


BriefRow: TypeAlias = list[object]
PAUSE_ROWS = 1000


def brief_rows(queue: Queue, chosen: Iterable[Listed]) -> Iterator[BriefRow | None]:
    """Jobs and arrays for a listing of nine columns; jobs in a row that are alike but for their ids are one row.

    id, task, user, state, priority, cores, nodes, name, submitted, started, ended, counts of an array, out of sight,
    the last id of the row. None: so many have been looked at that others may come in between.
    """
    ordered = sorted(chosen, key=in_order)
    tally = tallies(queue, [one for one in ordered if isinstance(one, Array)])
    before: BriefRow | None = None
    last_id = 0
    last: Listed | None = None
    for number, one in enumerate(ordered, 1):
        if number % PAUSE_ROWS == 0:
            yield None
        if before is not None and wait_alike(last, one):
            before[-1] = last_id = one.id
            last = one
            continue
        row = brief_row(queue, one, tally)
        if before is not None and one.id == last_id + 1 and row[1:-1] == before[1:-1] and row[11] is None:
            before[-1] = one.id
        else:
            if before is not None:
                yield before
            before = row
        last_id = one.id
        last = one
    if before is not None:
        yield before


def wait_alike(one: Listed | None, other: Listed) -> bool:
    """Whether two jobs that wait, one after the other, are surely alike in a brief listing."""
    if not (isinstance(one, Job) and isinstance(other, Job)) or one.id + 1 != other.id:
        return False
    if not (one.state is other.state is State.QUEUED and one.task is other.task is None):
        return False
    a, b = one.spec, other.spec
    same = one.submitted_s == other.submitted_s and a.requirement is b.requirement
    return same and a.uid == b.uid and a.name == b.name


def brief_row(queue: Queue, one: Listed, tally: Mapping[JobId, Tally]) -> BriefRow:
    spec = one.spec
    head: BriefRow = [one.id, None if isinstance(one, Array) else one.task, spec.user]
    if isinstance(one, Array):
        of = tally[one.id]
        hosts = {part.host for allocation in of.lanes.values() for part in allocation.slices}
        ncores = sum(allocation.ncores for allocation in of.lanes.values())
        state, counts, dark = array_state(one, of), list(array_counts(one, of)), of.dark
        held: tuple[int | None, int | None] = (ncores or None, len(hosts) or None)
    else:
        state, counts, dark = shown_state(one), None, out_of_sight(queue, one)
        allocation = None if fed_ahead(one) else one.allocation
        held = (allocation.ncores, allocation.nhosts) if allocation is not None else (None, None)
    times = [one.submitted_s, one.started_s, one.ended_s]
    return [*head, state, spec.requirement.priority.value, *held, spec.name, *times, counts, dark, None]


def live_jobs(queue: Queue) -> list[Job]:
    """All jobs and tasks of arrays that are somewhere."""
    return [*queue.active.values(), *queue.queued.values(), *queue.held.values()]


def new_tasks(array: Array, low: int, high: int, most: int) -> list[Job]:
    """The first of the tasks with numbers from low to high that no attempt was ever made of, as jobs."""
    places = [pair for some in array.tasks.places(low, high) for pair in ranges.within(array.waiting, *some)]
    taken, _ = ranges.split(tuple(places), most)
    tasks = map(array.tasks.number, ranges.numbers(taken))
    spec, at_s = array.spec, array.submitted_s
    return [Job(id=array.id, task=task, spec=spec, state=State.QUEUED, submitted_s=at_s) for task in tasks]


def not_fed(jobs: Iterable[Job]) -> list[Job]:
    """Without the tasks of arrays that were fed ahead, and wait for their turn in their lanes."""
    seen: set[str] = set()
    found = []
    for job in jobs:
        if job.task is None or job.state is not State.STARTING or job.runs_in not in seen:
            found.append(job)
        if job.task is not None and job.state in HOLDING_CORES:
            seen.add(job.runs_in)
    return found


def live(queue: Queue) -> list[Listed]:
    """All jobs and arrays that are not over."""
    return [*(job for job in live_jobs(queue) if job.task is None), *queue.arrays.values()]


def node_rows(queue: Queue) -> list[Row]:
    """The nodes in their order, with the cores in use."""
    used: dict[str, set[int]] = {}
    for lane in queue.lanes.values():
        for part in lane.allocation.slices:
            used.setdefault(part.host, set()).update(part.cores)
    return [node_row(node, used.get(node.host, set())) for node in with_looks(queue.nodes, queue.unseen)]


def node_row(node: Node, used: set[int]) -> Row:
    return {
        "host": node.host,
        "ncores": node.ncores,
        "used": sorted(used),
        "mem_gb": node.mem_gb,
        "groups": list(node.groups),
        "state": "drain" if node.leaving else node.state.value,
        "reason": "no longer in the cluster file" if node.leaving else node.reason,
        "since": node.since_s,
        "by": node.by,
    }


def counts(queue: Queue) -> Row:
    """How many jobs there are, by what they do; an array is one job, which runs as soon as something of it does."""
    running_arrays = {job.id for job in queue.active.values() if job.task is not None}
    running = sum(job.task is None for job in queue.active.values()) + len(running_arrays)
    again = sum(isinstance(key, tuple) for key in queue.queued)
    waiting = len(queue.queued) - again + len(queue.arrays) - len(running_arrays)
    return {
        "jobs": running + waiting + len(queue.held),
        "running": running,
        "waiting": waiting,
        "held": len(queue.held),
    }


def user_rows(queue: Queue, only: str | None = None) -> list[Row]:
    """Users who have jobs or limits, or the one who is asked for."""
    names = dict(queue.users)
    limited = {uid for (uid, _), limit in queue.limits.items() if limit != Limit()}
    wanted = {one.spec.uid for one in live(queue)} | limited
    found = []
    for uid in sorted(set(names) if only is not None else wanted):
        name = names.get(uid, f"uid {uid}")
        if only is None or name == only:
            found.append(user_row(queue, uid, name))
    return found


def user_row(queue: Queue, uid: Uid, name: str) -> Row:
    lanes = [lane for lane in queue.lanes.values() if lane.uid == uid]
    arrays = [array for array in queue.arrays.values() if array.spec.uid == uid]
    jobs = [job for job in queue.active.values() if job.spec.uid == uid]
    running = {job.id for job in jobs}
    waiting = sum(job.spec.uid == uid and job.task is None for job in queue.queued.values())
    waiting += sum(array.id not in running for array in arrays)
    held = sum(job.spec.uid == uid for job in queue.held.values())
    own, owner = queue.limits.get((uid, False), Limit()), queue.limits.get((uid, True), Limit())
    both = effective_limit([own, owner])
    return {
        "user": name,
        "uid": uid,
        "jobs": len(running) + waiting + held,
        "running": len(running),
        "waiting": waiting,
        "held": held,
        "cores": sum(lane.allocation.ncores for lane in lanes),
        "limits": {"run": both.run, "cores": both.cores},
        "limits_own": {"run": own.run, "cores": own.cores},
        "limits_owner": {"run": owner.run, "cores": owner.cores},
        "avoided": [{"host": host, "why": pause.why} for (of, host), pause in queue.pauses.items() if of == uid],
    }
