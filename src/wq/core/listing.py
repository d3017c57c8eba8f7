"""The facts that listings show: rows for programs, in the documented schema; the client makes sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple, TypeAlias, TypeVar

from msgspec.structs import replace

from wq.core import dependencies, ranges
from wq.core.array import Array
from wq.core.cluster import Node
from wq.core.job import Allocation, HostName, Job, JobId, JobSpec, State, Uid, Waits
from wq.core.lifecycle import HOLDING_CORES
from wq.core.line import Waiting
from wq.core.plan import Limit
from wq.core.queue import Queue, effective_limit, with_looks
from wq.core.reasons import Reason

Row: TypeAlias = dict[str, object]
Listed: TypeAlias = Job | Array
Number = TypeVar("Number", int, float)


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
        "turn": job.turn,
        "time_limit": job.limit_s,
        "task": job.task,
        "state": shown_state(job),
        "ncores": held.ncores if held else None,
        "nhosts": held.nhosts if held else None,
        "hosts": [{"host": part.host, "cores": list(part.cores)} for part in held.slices] if held else [],
        "attempt": job.attempt,
        "requeued_why": job.requeued_why,
        "waits": waits_row(job.waits),
        "out_of_sight": dark,
        "array": None,
        "submitted_at": job.submitted_s,
        "started_at": job.started_s,
        "ended_at": job.ended_s,
        "reason": {"code": reason.code.value, "text": reason.text} if reason else None,
        "starts_at": reason.start_s if reason else None,
        "outcome": {
            "kind": outcome.kind.value,
            "exit_status": outcome.exit_status,
            "signal": outcome.signal,
            "by": outcome.by,
            "reason": outcome.reason,
            "message": outcome.message,
            "cpu_s": outcome.cpu_s,
            "wall_s": outcome.wall_s,
            "peak_mem_bytes": outcome.peak_mem_bytes,
            "io_read_bytes": outcome.io_read_bytes,
            "io_write_bytes": outcome.io_write_bytes,
        }
        if outcome
        else None,
    }


def waits_row(waits: Waits | None) -> Row | None:
    """What keeps it out of the line: whose word, the jobs that it waits for, the time."""
    if waits is None:
        return None
    after = [{"job": after.job, "kind": after.kind.value} for after in waits.after]
    return {"held_by": waits.held_by, "after": after, "begin": waits.begin_s}


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
        "after": [{"job": after.job, "kind": after.kind.value, "each": after.each} for after in spec.after],
        "begin": spec.begin_s,
        "max_fails": spec.max_fails,
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
    ndone = array.ndone
    return array.size - ndone - nrunning, nrunning, ndone, array.failed


def array_state(array: Array, tally: Tally) -> str:
    if array.ended_s is not None:
        return "done"
    if tally.lanes:
        return "running"
    return "queued" if array.in_line or array.live else "held"


def array_row(array: Array, tally: Tally, reason: Reason | None = None) -> Row:
    """An array, as `wq ls --json` has it: as a job, with the counts of its tasks."""
    waiting, running, done, failed = array_counts(array, tally)
    cores: dict[str, set[int]] = {}
    for allocation in tally.lanes.values():
        for part in allocation.slices:
            cores.setdefault(part.host, set()).update(part.cores)
    return {
        **spec_row(array.id, array.spec),
        "turn": array.turn,
        "time_limit": array.limit_s,
        "task": None,
        "state": array_state(array, tally),
        "ncores": sum(map(len, cores.values())) or None,
        "nhosts": len(cores) or None,
        "hosts": [{"host": host, "cores": sorted(those)} for host, those in cores.items()],
        "attempt": 0,
        "requeued_why": None,
        "waits": waits_row(array.waits),
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
        "starts_at": reason.start_s if reason else None,
        "outcome": None,
    }


class Used(NamedTuple):
    """What a job, or the tasks of an array that are over, used together; of memory the most of one of them.

    wall_s: of those whose times are known; known_s: of those of which cpu_s is known too. allocation: of one of them.
    """

    ntasks: int = 0
    cpu_s: float | None = None
    wall_s: float | None = None
    known_s: float = 0.0
    peak_mem_bytes: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    allocation: Allocation | None = None


def together(parts: Sequence[Used]) -> Used:
    """What all of these used."""
    return Used(
        ntasks=sum(part.ntasks for part in parts),
        cpu_s=total(part.cpu_s for part in parts),
        wall_s=total(part.wall_s for part in parts),
        known_s=sum(part.known_s for part in parts),
        peak_mem_bytes=max((part.peak_mem_bytes for part in parts if part.peak_mem_bytes is not None), default=None),
        io_read_bytes=total(part.io_read_bytes for part in parts),
        io_write_bytes=total(part.io_write_bytes for part in parts),
        allocation=next((part.allocation for part in parts if part.allocation is not None), None),
    )


def total(values: Iterable[Number | None]) -> Number | None:
    """The sum of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known[1:], start=known[0]) if known else None


def used_of(job: Job) -> Used:
    """What a job used that is over. (How long it ran is known of older ones, too.)"""
    out = job.outcome
    if out is None or job.started_s is None or job.ended_s is None:
        return Used(allocation=job.allocation)
    wall_s = out.wall_s if out.wall_s is not None else max(job.ended_s - job.started_s, 0.0)
    known_s = wall_s if out.cpu_s is not None else 0.0
    times, moved = (out.cpu_s, wall_s, known_s), (out.io_read_bytes, out.io_write_bytes)
    return Used(1, *times, out.peak_mem_bytes, *moved, job.allocation)


def used_row(one: Listed, used: Used, mem_gb: Mapping[HostName, float]) -> Row:
    """A job or an array that is over, asked against used, as `wq eff --json` has it. mem_gb: installed on nodes."""
    need, held = one.spec.requirement, used.allocation
    memories = [mem_gb[host] for host in held.hosts if host in mem_gb] if held is not None else []
    return {
        "id": one.id,
        "task": None if isinstance(one, Array) else one.task,
        "user": one.spec.user,
        "name": one.spec.name,
        "mode": need.mode.value,
        "n": need.n,
        "tasks": used.ntasks if isinstance(one, Array) else None,
        "ncores": held.ncores if held is not None else None,
        "nhosts": held.nhosts if held is not None else None,
        "node_mem_gb": sum(memories) if held is not None and len(memories) == held.nhosts else None,
        "wall_s": used.wall_s,
        "cpu_s": used.cpu_s,
        "cores_used": used.cpu_s / used.known_s if used.cpu_s is not None and used.known_s else None,
        "peak_mem_bytes": used.peak_mem_bytes,
        "io_read_bytes": used.io_read_bytes,
        "io_write_bytes": used.io_write_bytes,
    }


def in_order(one: Listed) -> tuple[int, int]:
    """By ids; an array before its tasks."""
    return one.id, -1 if isinstance(one, Array) or one.task is None else one.task


def rows(queue: Queue, chosen: Iterable[Listed], why: Callable[[Waiting], Reason] | None) -> Iterator[Row]:
    """Jobs and arrays in the order of their ids, the waiting ones with their reason where it is asked for."""
    for stretch in filter(None, stretches(queue, chosen, why)):
        row, first, last = stretch
        yield row
        for number in range(first + 1, last + 1):
            yield {**row, "id": number}


Stretch: TypeAlias = tuple[Row, int, int]


def stretches(
    queue: Queue, chosen: Iterable[Listed], why: Callable[[Waiting], Reason] | None
) -> Iterator[Stretch | None]:
    """The same, each row with the first and the last id of the jobs in a row that it is right for, but for the id.

    None: so many have been looked at that others may come in between.
    """
    ordered = sorted(chosen, key=in_order)
    tally = tallies(queue, [one for one in ordered if isinstance(one, Array)])
    again = {job.id: job for job in queue.queued.values() if job.task is not None} if why is not None else {}
    row: Row | None = None
    first, last = 0, 0
    before: Listed | None = None
    for number, one in enumerate(ordered, 1):
        if number % PAUSE_ROWS == 0:
            yield None
        if one.id == last + 1 and isinstance(before, Job) and isinstance(one, Job) and alike(before, one):
            last, before = one.id, one
            continue
        if row is not None:
            yield row, first, last
        if isinstance(one, Array):
            nwaiting, *_ = array_counts(one, tally[one.id])
            waiting = again.get(one.id) if one.ended_s is not None or not nwaiting else one
            held = dependencies.reason(one) if one.ended_s is None else None
            found = why(waiting) if held is None and why is not None and waiting is not None else held
            row = array_row(one, tally[one.id], found)
        else:
            reason = dependencies.reason(one) if one.state is State.HELD else None
            if reason is None and why is not None and shown_state(one) == State.QUEUED.value:
                reason = why(one)
            row = job_row(one, reason, out_of_sight(queue, one))
        first = last = one.id
        before = one
    if row is not None:
        yield row, first, last


but_its_id = attrgetter(*(name for name in Job.__struct_fields__ if name not in ("id", "spec")))
but_its_place = attrgetter(*(name for name in JobSpec.__struct_fields__ if name != "index"))


def alike(one: Job, other: Job) -> bool:
    """Whether nothing tells these jobs apart but their ids, as if of one submission: their rows say the same.

    (Why a job waits is the same for all that differ only in their ids and priorities.)
    """
    return bool(but_its_id(one) == but_its_id(other) and but_its_place(one.spec) == but_its_place(other.spec))


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


MOST_FIELDS = 64


def picked(found: Iterable[Stretch | None], fields: Sequence[str]) -> Iterator[BriefRow | None]:
    """Of each job its id and these fields, as a list; jobs in a row that are alike in these are one row.

    The last of a row is the last id that it stands for, or None. A field that is not there is None. None: as above.
    """
    fields = fields[:MOST_FIELDS]
    before: BriefRow | None = None
    grows = False  # may the next one be one row with it?
    next_id = 0
    for stretch in found:
        if stretch is None:
            yield None
            continue
        row, first, last = stretch
        facts, alone = [row.get(name) for name in fields], row["task"] is row["array"] is None
        if before is not None and grows and alone and first == next_id and facts == before[1:-1]:
            before[-1] = last
        else:
            if before is not None:
                yield before
            before = [first, *facts, last if last > first else None]
        grows, next_id = alone, last + 1
    if before is not None:
        yield before


def live_jobs(queue: Queue) -> list[Job]:
    """All jobs and tasks of arrays that are somewhere."""
    return [*queue.active.values(), *queue.queued.values(), *queue.held.values()]


def new_tasks(array: Array, low: int, high: int, most: int) -> list[Job]:
    """The first of the tasks with numbers from low to high that no attempt was ever made of, as jobs."""
    places = [pair for some in array.tasks.places(low, high) for pair in ranges.within(array.unstarted, *some)]
    taken, _ = ranges.split(tuple(places), most)
    tasks = map(array.tasks.number, ranges.numbers(taken))
    new = Job(id=array.id, spec=array.spec, state=State.QUEUED, submitted_s=array.submitted_s, time_s=array.time_s)
    return [replace(new, task=task) for task in tasks]


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
    held_arrays = {one.id for one in queue.arrays.values() if not one.in_line and not one.live}
    held = sum(job.task is None for job in queue.held.values()) + len(held_arrays)
    waiting = len(queue.queued) - again + len(queue.arrays) - len(running_arrays | held_arrays)
    return {"jobs": running + waiting + held, "running": running, "waiting": waiting, "held": held}


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
    held_arrays = sum(not array.in_line and not array.live for array in arrays)
    waiting += sum(array.id not in running for array in arrays) - held_arrays
    held = sum(job.spec.uid == uid and job.task is None for job in queue.held.values()) + held_arrays
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
