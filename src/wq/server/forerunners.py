"""What became of the jobs after which those of a submission are to run: read in parts, before it is let in."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from wq.core import ranges
from wq.core.job import After, JobId
from wq.core.queue import Draft
from wq.core.requests import Became, Submit
from wq.store.past import Past
from wq.store.store import storable

MOST_NAMED = 2000  # by one submission


class Forerunners:
    """Those that one submission names. While they are read, others have their turns; what ends in these counts too."""

    def __init__(self, past: Past, request: Submit) -> None:
        named = {after for spec in request.jobs for after in spec.after if after.job > 0}
        by_task = frozenset(after.job for after in named if after.each)
        self.known: dict[int, Became | None] = {}
        self.bad: dict[int, list[tuple[int, int]]] = {}  # places of tasks that have failed
        self.parts = self.read(past, named_ids(named), by_task)

    def read(self, past: Past, ids: list[int], by_task: frozenset[int]) -> Iterator[None]:
        """By parts. Of arrays that are not waited for task by task it does not matter which tasks have failed."""
        for number in ids:
            became = self.known[number] = past.became(storable(number))
            if became is not None and became.tasks is not None and number in by_task:
                places = self.bad[number] = []
                for some in past.failed_places(number, became.tasks):
                    places += some
                    yield None
            yield None

    def note(self, draft: Draft) -> None:
        """What has ended in a turn, of that which was read before."""
        for number in map(JobId, self.known):
            became = self.known[number] or Became()
            if number in draft.ended_jobs:
                self.known[number] = replace(became, ok=draft.ended_jobs[number])
            if number in self.bad and became.tasks is not None:
                failed = [task for task, ok in draft.ended_tasks.get(number, {}).items() if not ok]
                self.bad[number] += ranges.of(became.tasks.places_of(failed))
                array = draft.changed_arrays.get(number)
                self.bad[number] += array.removed if array is not None else ()

    @property
    def past(self) -> dict[int, Became]:
        """What is known of them, when all parts were read."""
        found = {number: became for number, became in self.known.items() if became is not None}
        for number, places in self.bad.items():
            found[number] = replace(found[number], bad=ranges.union(found[number].bad, tuple(places)))
        return found


def named_ids(named: set[After]) -> list[int]:
    """The ids of those that are named; none at all if they are too many."""
    ids = sorted({after.job for after in named})
    return ids if len(ids) <= MOST_NAMED else []
