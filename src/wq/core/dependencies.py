"""What waits outside the line: for a word, for a time, for the ends of other jobs; and what happens when these come.

A job that waits for several ends stands in the line when the last of them has come. One whose condition can never be
true any more is removed, with the reason; whoever waits for that one goes the same way, or on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from wq.core import ranges
from wq.core.array import Array
from wq.core.job import After, AfterKind, ArraySpec, JobId, JobSpec, Outcome, OutcomeKind, State, Waits
from wq.core.lifecycle import Ended, Held, Released, StopRequested
from wq.core.line import Waiting
from wq.core.queue import Draft
from wq.core.ranges import Ranges
from wq.core.reasons import Reason, ReasonCode
from wq.core.requests import Became

MOST_SAID = 5  # in a reason
MOST_AFTER = 200  # that one job waits for
MOST_DEPENDENTS = 10_000  # that wait for one job
LONGEST_SLEEP_S = 3600.0  # the wall clock may be set meanwhile
STOP_GRACE_S = 5.0


class CannotWait(Exception):
    """Its text is why a job cannot wait for what it names."""


class AtFirst(Struct, frozen=True, kw_only=True):
    """How a job begins. spec: with ids in its conditions; blocked, doomed: places of tasks that wait, or never run."""

    spec: JobSpec
    waits: Waits | None = None
    blocked: Ranges = ()
    doomed: Ranges = ()


# ---- at the submission


def at_first(draft: Draft, spec: JobSpec, new: Mapping[int, AtFirst], past: Mapping[int, Became]) -> AtFirst:
    """What a new job waits for. new: the jobs of the same submission before it; past: what is over of what it names.

    Raises CannotWait.
    """
    if not spec.after and spec.begin_s is None and not spec.hold:
        return AtFirst(spec=spec)
    if len(spec.after) > MOST_AFTER:
        raise CannotWait(f"after: at most {MOST_AFTER} jobs")
    spec = replace(spec, after=tuple(dict.fromkeys(named(after, list(new)) for after in spec.after)))
    left: list[After] = []
    blocked: Ranges = ()
    doomed: Ranges = ()
    for after in spec.after:
        if after.each:
            blocked, doomed = by_task(draft, spec, after, new, past)
            if spec.array is not None and ranges.count(doomed) == spec.array.size:
                raise CannotWait(
                    f"after_each: no task of array {after.job} ended as it must, so none of this would run"
                )
        elif after.job in new or draft.is_live(JobId(after.job)):
            left.append(after)
        else:
            check_past(draft, after, past)
    begin_s = spec.begin_s if spec.begin_s is not None and spec.begin_s > draft.now.wall_s else None
    waits = Waits(held_by=spec.user if spec.hold else None, after=tuple(left), begin_s=begin_s)
    return AtFirst(spec=spec, waits=None if waits.over else waits, blocked=blocked, doomed=doomed)


def too_many(draft: Draft, specs: Iterable[JobSpec]) -> str | None:
    """Why so many new jobs cannot wait for one: they would all go on in the tick of its end."""
    for job, nnew in Counter(after.job for spec in specs for after in spec.after).items():
        if nnew + len(draft.dependents_of(JobId(job))) > MOST_DEPENDENTS:
            return f"after: at most {MOST_DEPENDENTS} jobs wait for job {job}; an array counts as one"
    return None


def named(after: After, ids: Sequence[int]) -> After:
    """With the id of a job that came with the same submission."""
    if after.job > 0:
        return after
    if not 1 <= -after.job <= len(ids):
        raise CannotWait("after: there is no such job before this one")
    return replace(after, job=ids[-after.job - 1])


def fits(kind: AfterKind, ok: bool) -> bool:
    """Whether an end is what was waited for."""
    return kind is AfterKind.ANY or ok == (kind is AfterKind.OK)


def became(ok: bool) -> str:
    return "was successful" if ok else "failed"


def check_past(draft: Draft, after: After, past: Mapping[int, Became]) -> None:
    """Raises CannotWait for a job that nobody knows, or whose end is not what is waited for."""
    ok = draft.ended_jobs.get(JobId(after.job))
    if ok is None and after.job in past:
        ok = past[after.job].ok
    if ok is None:
        raise CannotWait(f"after: there is no job {after.job}, or it is forgotten")
    if not fits(after.kind, ok):
        raise CannotWait(f"after: job {after.job} {became(ok)}, so this would never run")


def by_task(
    draft: Draft, spec: JobSpec, after: After, new: Mapping[int, AtFirst], past: Mapping[int, Became]
) -> tuple[Ranges, Ranges]:
    """The places of tasks (whose counterpart in the other array is not over; whose condition can never be true)."""
    if spec.array is None or sum(one.each for one in spec.after) > 1:
        raise CannotWait("after_each: only an array can wait task by task, and for one other array")
    other, known = draft.arrays.get(JobId(after.job)), past.get(after.job)
    tasks = new[after.job].spec.array if after.job in new else known.tasks if known is not None else None
    if other is not None:
        tasks = other.tasks
    if tasks is None:
        raise CannotWait(f"after_each: there is no array {after.job}, or it is forgotten")
    if tasks.pieces != spec.array.pieces:
        raise CannotWait(f"after_each: array {after.job} has other tasks than this one")
    everything = ((0, tasks.size - 1),)
    if after.job in new:
        never = new[after.job].doomed
        return ranges.minus(everything, never), never if after.kind is AfterKind.OK else ()
    live = [job.task for job in draft.tasks_of(other.id) if job.task is not None] if other is not None else []
    blocked = ranges.union(other.unstarted if other is not None else (), places(tasks, live))
    lately = [task for task, ok in draft.ended_tasks.get(JobId(after.job), {}).items() if not ok]
    bad = ranges.union(known.bad if known is not None else (), places(tasks, lately))
    lost = draft.changed_arrays.get(JobId(after.job)) if other is None else other  # it may have ended in this tick
    if lost is not None:
        bad = ranges.union(bad, lost.removed)
    bad = ranges.minus(bad, blocked)
    good = ranges.minus(ranges.minus(everything, blocked), bad)
    match after.kind:
        case AfterKind.OK:
            return blocked, bad
        case AfterKind.NOTOK:
            return blocked, good
        case AfterKind.ANY:
            return blocked, ()


def places(tasks: ArraySpec, numbers: Sequence[int]) -> Ranges:
    """The places of the tasks with these numbers."""
    return ranges.of(tasks.places_of(numbers))


def reason(job: Waiting) -> Reason | None:
    """Why it is not in the line; None if it is."""
    waits = job.waits
    if waits is not None and waits.held_by is not None:
        return Reason(code=ReasonCode.HOLD, text=f"held by {waits.held_by}; `wq release` lets it go")
    if waits is not None and waits.after:
        kinds = {AfterKind.OK: "success", AfterKind.NOTOK: "failure", AfterKind.ANY: "end"}
        named = [f"the {kinds[after.kind]} of {after.job}" for after in waits.after[:MOST_SAID]]
        more = len(waits.after) - len(named)
        return Reason(
            code=ReasonCode.DEPENDENCY, text=f"for {', '.join(named)}{f' and {more} more' if more > 0 else ''}"
        )
    if waits is not None and waits.begin_s is not None:
        return Reason(code=ReasonCode.BEGIN, text="until its time has come")
    if isinstance(job, Array) and job.blocked and not job.waiting:
        other = next((after.job for after in job.spec.after if after.each), None)
        return Reason(code=ReasonCode.DEPENDENCY, text=f"for tasks of {other}")
    return None


# ---- when something has ended, or a time has come


def resolve(draft: Draft) -> None:
    """Let those go on who waited for what this tick has brought; to be called when all that has arrived is handled."""
    stop_failed_arrays(draft)
    draft.tally_arrays()
    if draft.now.wall_s >= draft.next_begin_s:
        begin(draft)
    while draft.fresh_ends or draft.fresh_task_ends or draft.fresh_removals:
        ends, draft.fresh_ends = draft.fresh_ends, {}
        task_ends, draft.fresh_task_ends = draft.fresh_task_ends, {}
        removals, draft.fresh_removals = draft.fresh_removals, {}
        for job_id in dict.fromkeys((*task_ends, *removals)):
            for waiting in sorted(draft.dependents_of(job_id)):
                tasks_came(draft, waiting, job_id, task_ends.get(job_id, {}), removals.get(job_id, ()))
        for job_id, ok in ends.items():
            dependents = sorted(draft.dependents_of(job_id))
            draft.answered.add(job_id)
            for waiting in dependents:
                end_came(draft, waiting, job_id, ok)
        stop_failed_arrays(draft)
        draft.tally_arrays()


def end_came(draft: Draft, waiting: JobId, ended: JobId, ok: bool) -> None:
    """One of the jobs that this one waits for has ended."""
    job = draft.held.get(waiting) or draft.arrays.get(waiting)
    if job is None or job.waits is None:
        return
    mine = [after for after in job.waits.after if after.job == ended]
    if any(not fits(after.kind, ok) for after in mine):
        give_up(draft, job, f"job {ended}, after which it was to run, {became(ok)}")
    elif mine:
        left = tuple(after for after in job.waits.after if after.job != ended)
        wait_for(draft, job, replace(job.waits, after=left))


def tasks_came(draft: Draft, waiting: JobId, ended: JobId, tasks: Mapping[int, bool], removed: Ranges) -> None:
    """Tasks have ended that those of this array wait for. removed: the places of those that never ran."""
    array = draft.arrays.get(waiting)
    after = next((one for one in array.spec.after if one.each and one.job == ended), None) if array else None
    if array is None or after is None or not array.blocked:
        return
    good = places(array.tasks, [task for task, ok in tasks.items() if fits(after.kind, ok)])
    bad = places(array.tasks, [task for task, ok in tasks.items() if not fits(after.kind, ok)])
    if fits(after.kind, ok=False):
        good = ranges.union(good, removed)
    else:
        bad = ranges.union(bad, removed)
    if freed := ranges.both(array.blocked, good):
        draft.free_tasks(array, freed)
    if lost := ranges.both(array.blocked, bad):
        what = "failed" if after.kind is AfterKind.OK else "was successful"
        draft.remove_tasks(draft.arrays[array.id], lost, f"its counterpart in array {ended}, which {what}")


def give_up(draft: Draft, job: Waiting, why: str) -> None:
    """It will never run."""
    if isinstance(job, Array):
        draft.remove_tasks(job, job.unstarted, why)
    else:
        outcome = Outcome(kind=OutcomeKind.REMOVED, message=f"it can never run: {why}")
        draft.apply(Ended(id=job.id, task=job.task, outcome=outcome, at_s=draft.now.wall_s))


def wait_for(draft: Draft, job: Waiting, waits: Waits) -> None:
    """What it waits for from now on; nothing: it stands in the line."""
    if isinstance(job, Array):
        draft.hold_array(job, None if waits.over else waits)
    elif not waits.over:
        draft.apply(Held(id=job.id, task=job.task, waits=waits))
    elif job.state is State.HELD:
        draft.apply(Released(id=job.id, task=job.task))


def begin(draft: Draft) -> None:
    """The time of some has come."""
    draft.next_begin_s = float("inf")
    everybody: list[Waiting] = [*draft.held.values(), *draft.arrays.values()]
    for job in everybody:
        if job.waits is None or job.waits.begin_s is None:
            continue
        if job.waits.begin_s <= draft.now.wall_s:
            wait_for(draft, job, replace(job.waits, begin_s=None))
        else:
            draft.next_begin_s = min(draft.next_begin_s, job.waits.begin_s)


def wake_s(draft: Draft) -> float | None:
    """When somebody's time comes, on the boot clock, or a little earlier."""
    if draft.next_begin_s == float("inf"):
        return None
    return draft.now.boot_s + min(max(draft.next_begin_s - draft.now.wall_s, 0.01), LONGEST_SLEEP_S)


def stop_failed_arrays(draft: Draft) -> None:
    """Arrays of which more tasks have failed than their users allow: nothing more is started, what runs is ended."""
    for job_id, (_, nfailed) in list(draft.tasks_over.items()):
        array = draft.arrays.get(job_id)
        most = array.spec.max_fails if array is not None else None
        if array is None or most is None or array.failed + nfailed <= most:
            continue
        by = f"max_fails: {most}"
        if array.unstarted:
            draft.remove_tasks(array, array.unstarted, by)
        for job in reversed(draft.tasks_of(job_id)):  # from the back, as in a removal
            if job.state in (State.QUEUED, State.HELD):
                outcome = Outcome(kind=OutcomeKind.REMOVED, by=by, message="removed before it started")
                draft.apply(Ended(id=job.id, task=job.task, outcome=outcome, at_s=draft.now.wall_s))
            elif job.state is not State.STOPPING:
                draft.apply(StopRequested(id=job.id, task=job.task, by=by, grace_s=STOP_GRACE_S))
