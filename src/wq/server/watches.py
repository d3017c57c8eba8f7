"""`wq wait`: how those stand that are waited for, and who is told when one of them has changed.

A question names what is waited for, and how much of it was over when the asker last heard. If that is still so, it is
held until something of it changes: so whoever waits costs nothing meanwhile.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from wq.core import ranges
from wq.core.array import Array
from wq.core.job import Job, JobId, State
from wq.core.listing import job_row
from wq.core.queue import Draft, Queue
from wq.core.ranges import Ranges
from wq.server.history import an_array
from wq.store.store import Store, storable

FEW = 5000  # ids are looked up one by one, more are looked for among all
PAUSE = 500  # looks; others may come in between
MOST_OVER = 100_000  # jobs in one answer
MOST_WATCHED = 10_000  # of one asker; who has more is told when one of these changes

Asker = TypeVar("Asker", bound=Hashable)


@dataclass(slots=True)
class Standing:
    """How they stand. ok: jobs that ended as they should; failed: others, with how they ended.

    arrays: [array, first task, last task (None: all of it), tasks, how many are over, how many of these failed, the
    worst status]. live: jobs that are not over. seen: the arrays as they were looked at.
    """

    ok: list[int] = field(default_factory=list)
    failed: list[tuple[int, object]] = field(default_factory=list)
    arrays: list[list[int | None]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    seen: dict[int, Array] = field(default_factory=dict)
    too_many: bool = False

    @property
    def over(self) -> int:
        """How much is over, so that two looks can be compared."""
        return len(self.ok) + len(self.failed) + sum(int(row[OVER] or 0) for row in self.arrays)

    @property
    def waits(self) -> bool:
        """Whether anything of it is not over."""
        return bool(self.live or self.seen)

    def is_still_so(self, queue: Queue) -> bool:
        """Nothing has ended since it was looked at."""
        same = all(queue.arrays.get(JobId(number)) is array for number, array in self.seen.items())
        return same and all(queue.find(JobId(number)) is not None for number in self.live)

    def facts(self) -> dict[str, Any]:
        return {
            "ok": ranges.of(self.ok),
            "failed": self.failed,
            "arrays": self.arrays,
            "missing": self.missing,
            "live": ranges.of(self.live),
            "over": self.over,
        }


OVER = 4  # where a row of an array has it


def standing(
    queue: Queue, store: Store, ids: Iterable[tuple[int, int]], tasks: Iterable[tuple[int, int, int]]
) -> Iterator[Standing | None]:
    """How these stand: jobs and arrays by ranges of ids, tasks as (array, first, last). None: a pause, for others."""
    found = Standing()
    pairs = [(low, high) for low, high in ids if low <= high]
    live: set[int] = set()
    for number, job_id in enumerate(candidates(queue, ranges.union((), tuple(pairs))), 1):
        if number % PAUSE == 0:
            yield None
        if queue.find(JobId(job_id)) is not None:
            live.add(job_id)
    for number, (low, high) in enumerate(pairs, 1):
        if number % PAUSE == 0:
            yield None
        if low == high and low in live:
            continue
        before = len(found.ok) + len(found.failed) + len(found.arrays)
        for looked, job in enumerate(store.past.over_in(storable(low), storable(high)), 1):
            if looked % PAUSE == 0:
                yield None
            found.too_many = len(found.ok) + len(found.failed) >= MOST_OVER
            if found.too_many:
                break
            if isinstance(job, Job):
                found.failed.append((int(job.id), job_row(job)["outcome"]))
                live.discard(int(job.id))
            else:
                found.ok.append(job)
                live.discard(job)
        for array in arrays_in(queue, store, low, high):
            yield from look_at(queue, store, found, array, None)
        if low == high and before == len(found.ok) + len(found.failed) + len(found.arrays):
            found.missing.append(str(low))
    for job_id, low, last in tasks:
        span = (max(low, 0), min(last, ranges.MOST))
        arrays = [array for array in arrays_in(queue, store, job_id, job_id) if array.tasks.places(*span)]
        for array in arrays:
            yield from look_at(queue, store, found, array, span)
        if not arrays:
            found.missing.append(f"{job_id}.{low}" if low == last else f"{job_id}.{low}-{last}")
        yield None
    found.live = sorted(live)
    yield found


def candidates(queue: Queue, meant: Ranges) -> Iterable[int]:
    """Ids that may be those of live jobs."""
    if ranges.count(meant) <= FEW:
        return ranges.numbers(meant)
    keys = [*queue.active, *queue.queued, *queue.held]
    return (key for key in keys if isinstance(key, int) and ranges.contains(meant, key))


def arrays_in(queue: Queue, store: Store, low: int, high: int) -> list[Array]:
    if low == high:
        known = an_array(queue, store, low)
        return [] if known is None else [known]
    live = [array for array in queue.arrays.values() if low <= array.id <= high]
    return [*live, *store.finished_arrays(ids=[(low, high)])]


def look_at(queue: Queue, store: Store, found: Standing, array: Array, span: tuple[int, int] | None) -> Iterator[None]:
    """One array, or the tasks of it with these numbers. The worst status is looked up only when nothing is left."""
    places = ((0, array.size - 1),) if span is None else array.tasks.places(*span)
    low, high = span if span is not None else (0, ranges.MOST)
    total = ranges.count(places)
    removed = within(array.removed, places)
    left = array.live if span is None else live_tasks(queue, array, low, high)
    over = total - within(array.unstarted, places) - left
    failed, status = removed + array.failed, 0
    if over == total or span is not None:
        failed, status = removed, int(removed > 0)
        for some, worst in store.past.failures(array.id, low, high):
            failed, status = failed + some, max(status, worst)
            yield None
    if over < total:
        found.seen[array.id] = array
    found.arrays.append([array.id, *(span or (None, None)), total, over, failed, status])


def within(these: Ranges, places: Ranges) -> int:
    """How many of these are among the places."""
    return sum(ranges.count(ranges.within(these, low, high)) for low, high in places)


def live_tasks(queue: Queue, array: Array, low: int, high: int) -> int:
    if high - low < FEW:
        return sum(queue.find((array.id, task)) is not None for task in range(low, high + 1))
    jobs = [*queue.active.values(), *queue.queued.values(), *queue.held.values()]
    return sum(job.id == array.id and job.task is not None and low <= job.task <= high for job in jobs)


class Watches(Generic[Asker]):
    """Questions that are held, one an asker, by the ids of what they wait for."""

    def __init__(self) -> None:
        self.by_id: dict[int, dict[Asker, None]] = {}
        self.of: dict[Asker, tuple[Any, list[int]]] = {}

    def __bool__(self) -> bool:
        return bool(self.of)

    def hold(self, asker: Asker, question: Any, found: Standing) -> None:
        """Until one of these changes. An earlier question of the same asker is dropped."""
        self.forget(asker)
        ids = [*found.seen, *found.live][:MOST_WATCHED]
        self.of[asker] = (question, ids)
        for number in ids:
            self.by_id.setdefault(number, {})[asker] = None

    def forget(self, asker: Asker) -> Any | None:
        """The question that was held, which is held no more."""
        question, ids = self.of.pop(asker, (None, []))
        for number in ids:
            askers = self.by_id.get(number)
            if askers is not None:
                askers.pop(asker, None)
                if not askers:
                    del self.by_id[number]
        return question

    def due(self, draft: Draft) -> list[tuple[Asker, Any]]:
        """The questions to be answered after this turn; they are held no more."""
        if not self.of:
            return []
        ended = [int(job.id) for job in draft.changed.values() if job.task is None and job.state is State.DONE]
        changed = {*ended, *map(int, draft.changed_arrays)}
        askers = {asker: None for number in changed for asker in self.by_id.get(number, ())}
        return [(asker, self.forget(asker)) for asker in askers]
