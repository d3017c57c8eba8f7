"""`wq wait`: how those stand that are waited for, and who is told when one of them has changed.

A question names what is waited for, and how much of it was over when the asker last heard. If that is still so, it is
held until something of it changes: so whoever waits costs nothing meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from wq.core import ranges
from wq.core.array import Array
from wq.core.job import Job, JobId, Key, State
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

    @property
    def watched(self) -> list[int]:
        """The ids of what its asker is told of when it changes."""
        return [*islice(self.seen, MOST_WATCHED), *self.live[: max(0, MOST_WATCHED - len(self.seen))]]

    def is_still_so(self, queue: Queue) -> bool:
        """Nothing of what is watched has ended since it was looked at."""
        return all(
            queue.arrays.get(JobId(number)) is self.seen[number]
            if number in self.seen
            else queue.find(JobId(number)) is not None
            for number in self.watched
        )

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
    meant = ranges.union((), tuple(pairs))
    live: dict[int, None] = {}  # (a job that ends meanwhile is among those that are over, for these are looked at last)
    for number in candidates(queue, meant):
        array = None if number is None else queue.arrays.get(JobId(number))
        if array is not None:
            yield from look_at(queue, store, found, array, None)
        elif number is not None and queue.find(JobId(number)) is not None:
            live[number] = None
        else:
            yield None
    for span in meant:
        if span[0] == span[1] and span[0] in live:
            continue
        yield from look_back(queue, store, found, live, span)
        if found.too_many:
            yield found
            return
    known = {*live, *found.ok, *(number for number, _ in found.failed), *(row[0] for row in found.arrays)}
    single = dict.fromkeys(low for low, high in pairs if low == high)
    found.missing = [str(number) for number in single if number not in known]
    for job_id, low, last in tasks:
        span = (max(low, 0), min(last, ranges.MOST))
        array = an_array(queue, store, job_id)
        if array is not None and array.tasks.places(*span):
            yield from look_at(queue, store, found, array, span)
        else:
            found.missing.append(f"{job_id}.{low}" if low == last else f"{job_id}.{low}-{last}")
        yield None
    found.live = sorted(live)
    yield found


def candidates(queue: Queue, meant: Ranges) -> Iterator[int | None]:
    """Ids that may be those of live jobs and arrays. None: a pause."""
    few = ranges.count(meant) <= FEW
    keys: Iterable[Key] = map(JobId, ranges.numbers(meant)) if few else everybody(queue)
    for looked, key in enumerate(keys, 1):
        if looked % PAUSE == 0:
            yield None
        if isinstance(key, int) and (few or ranges.contains(meant, key)):
            yield key


def everybody(queue: Queue) -> list[Key]:
    """All that is live just now; it may be looked at while that changes."""
    return [*queue.active, *queue.queued, *queue.held, *queue.arrays]


def look_back(
    queue: Queue, store: Store, found: Standing, live: dict[int, None], span: tuple[int, int]
) -> Iterator[None]:
    """Those of a range of ids that are over."""
    low, high = map(storable, span)
    for job in store.past.over_in(low, high):
        if job is None:
            yield None
            continue
        found.too_many = len(found.ok) + len(found.failed) >= MOST_OVER
        if found.too_many:
            return
        if isinstance(job, Job):
            found.failed.append((int(job.id), job_row(job)["outcome"]))
            live.pop(int(job.id), None)
        else:
            found.ok.append(job)
            live.pop(job, None)
    for number in store.past.over(low, high, is_array=True):
        array = None if number is None else an_array(queue, store, number)
        if array is None or array.id in found.seen:  # (it was live when it was looked at)
            yield None
        else:
            yield from look_at(queue, store, found, array, None)


def look_at(queue: Queue, store: Store, found: Standing, array: Array, span: tuple[int, int] | None) -> Iterator[None]:
    """One array, or the tasks of it with these numbers. The worst status is looked up only when nothing is left."""
    places = ((0, array.size - 1),) if span is None else array.tasks.places(*span)
    low, high = span if span is not None else (0, ranges.MOST)
    total = ranges.count(places)
    removed = ranges.count(ranges.both(array.removed, places))
    unstarted = ranges.count(ranges.both(array.unstarted, places))
    left = array.live if span is None else (yield from live_tasks(queue, array, low, high))
    over = total - unstarted - left
    failed, status = removed + array.failed, 0
    if over == total or span is not None:
        failed, status = removed, int(removed > 0)
        for some, worst in store.past.failures(array.id, low, high):
            failed, status = failed + some, max(status, worst)
            yield None
    if over < total:
        found.seen[array.id] = array
    found.arrays.append([array.id, *(span or (None, None)), total, over, failed, status])
    yield None


def live_tasks(queue: Queue, array: Array, low: int, high: int) -> Generator[None, None, int]:
    """How many tasks with these numbers are split off, and not over."""
    if high - low < FEW:
        return sum(queue.find((array.id, task)) is not None for task in range(low, high + 1))
    found = 0
    for looked, key in enumerate(everybody(queue), 1):
        if looked % PAUSE == 0:
            yield None
        if isinstance(key, tuple) and key[0] == array.id and low <= key[1] <= high:
            found += queue.find(key) is not None
    return found


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
        ids = found.watched
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
