"""`wq eff`: what jobs that are over had and used. Read in parts, so that nobody waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from wq.core import listing, ranges
from wq.core.array import Array
from wq.core.job import Uid
from wq.core.listing import Row, Used
from wq.core.queue import Queue
from wq.core.ranges import Ranges
from wq.server.history import an_array
from wq.store.past import Entry, Past, Wanted
from wq.store.store import Store, storable

T = TypeVar("T")

PAUSE = 200  # entries of the history; others may come in between
MOST_SHOWN = 10_000  # jobs and arrays in one answer


def with_pauses(things: Iterable[T]) -> Iterator[T | None]:
    """All of them. None: a pause, for others."""
    for number, thing in enumerate(things, 1):
        yield thing
        if number % PAUSE == 0:
            yield None


def ended_since(past: Past, uids: tuple[Uid, ...], since_s: float) -> Iterator[Entry | None]:
    """What has ended since then; of very much the newest. None: a pause, as above."""
    return with_pauses(islice(past.entries(Wanted(uids=uids, since_s=since_s)), MOST_SHOWN))


def over_of(past: Past, ids: Iterable[tuple[int, int]]) -> Iterator[Entry | None]:
    """What is over of these ranges of ids, each once; of very much the newest. None: as above."""
    newest: deque[Entry] = deque(maxlen=MOST_SHOWN)
    for low, high in ranges.merged(ids):
        for is_array in (False, True):
            for number in past.over(storable(low), storable(high), is_array=is_array):
                if number is None:
                    yield None
                else:
                    newest.append(Entry(0.0, number, is_array))
    yield from with_pauses(newest)


def by_array(tasks: Iterable[tuple[int, int, int]]) -> dict[int, Ranges]:
    """Ranges of tasks (array, first, last) by their arrays; each task once, however often it is named."""
    return ranges.grouped((job_id, low, min(last, ranges.MOST)) for job_id, low, last in tasks)


def used(
    queue: Queue, store: Store, entries: Iterable[Entry | None], tasks: dict[int, Ranges], users: frozenset[str]
) -> Iterator[Row | None]:
    """A row for each of these that is over, in the order of their ids. users: of these alone, if there are any."""
    wholes: dict[int, Entry] = {}
    for entry in entries:
        if entry is None:
            yield None
        else:
            wholes[entry.id] = entry
    mem_gb = {node.host: node.mem_gb for node in queue.nodes}
    for number in sorted({*wholes, *tasks}):
        whole = store.past.get(wholes[number]) if number in wholes else None
        if whole is not None and (not users or whole.spec.user in users):
            sums = (yield from used_together(store, whole)) if isinstance(whole, Array) else listing.used_of(whole)
            yield listing.used_row(whole, sums, mem_gb)
        array = an_array(queue, store, number) if number in tasks else None
        if array is not None and (not users or array.spec.user in users):
            for low, high in tasks[number]:
                for task in store.past.tasks_over(array, storable(low), storable(high)):
                    yield None if task is None else listing.used_row(task, listing.used_of(task), mem_gb)
        yield None


def used_together(store: Store, array: Array) -> Generator[None, None, Used]:
    """What the tasks of an array that are over have used."""
    parts = []
    for part in store.past.used_by_tasks(array.id):
        parts.append(part)
        yield None
    return listing.together(parts)
