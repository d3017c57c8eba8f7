"""What is asked of the past: the history, and all that is known of one job. Made in parts, so that nobody waits."""

from __future__ import annotations

import fnmatch
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from wq.core import listing, ranges
from wq.core.array import Array
from wq.core.job import Job, JobId, Outcome, OutcomeKind, State
from wq.core.line import Waiting
from wq.core.listing import Row
from wq.core.queue import Queue
from wq.core.reasons import Reason
from wq.store.past import LAST_ID, Entry, Past, Wanted
from wq.store.store import Store

PAUSE = 200  # entries of the history; others may come in between
MOST_EVENTS = 100  # in one answer, the newest
MOST_FAILED_TASKS = 20
ATTEMPTS = frozenset({"Granted", "Started", "Requeued", "Ended"})
RANK = {"Started": 0, "StopRequested": 1, "Requeued": 2, "Ended": 2, "Granted": 3}  # of what happens in one turn


class History:
    """Those that are over, newest first. more: when all rows were made, how many older ones there are beside them."""

    def __init__(self, past: Past, wanted: Wanted, pattern: str, most: int) -> None:
        self.past, self.wanted, self.most = past, wanted, most
        self.matches = re.compile(fnmatch.translate(pattern)).match if pattern else None
        self.more = 0

    def rows(self) -> Iterator[Row | None]:
        """None: so much was looked at that others may come in between."""
        shown = 0
        last = Entry(self.wanted.until_s, LAST_ID, is_array=False)
        for number, entry in enumerate(self.past.entries(self.wanted), 1):
            if number % PAUSE == 0:
                yield None
            if self.matches is not None and not self.matches(entry.name):
                continue
            if shown >= self.most:
                if self.matches is None:
                    break
                self.more += 1
                continue
            last = entry
            shown += 1
            found = self.past.get(entry)
            if found is not None:
                yield row_of(found)
        if shown >= self.most and self.matches is None:
            for some in self.past.count_older(self.wanted, last):
                self.more += some
                yield None


def row_of(found: Job | Array) -> Row:
    """One that is over, as listings have it."""
    return listing.array_row(found, listing.Tally()) if isinstance(found, Array) else listing.job_row(found)


def info(
    queue: Queue, store: Store, job_id: int, task: int | None, why: Callable[[Waiting], Reason]
) -> Iterator[Row | None]:
    """All that is known of a job, or of a task of an array: its row, its attempts, and what else has happened to it."""
    found = one_task(queue, store, job_id, task) if task is not None else one_job(queue, store, job_id)
    if found is None:
        named = str(job_id) if task is None else f"{job_id}.{task}"
        yield {"error": f"no job {named} is known", "status": 1}
        return
    (row,) = listing.rows(queue, [found], why)
    story = Story(task)
    whole = isinstance(found, Array)
    for some in store.past.events_of(job_id, without=ATTEMPTS if whole else frozenset()):
        for event in some:
            story.hear(*event)
        yield None
    story.tell()
    if isinstance(found, Job) and found.task is not None and found.attempt == 0 and found.state is State.DONE:
        array = an_array(queue, store, job_id)
        if array is not None:
            place = ranges.numbers(array.tasks.places(found.task, found.task))
            removed_early(row, next(iter(place)), story)
    failed = store.past.failed_tasks(found, MOST_FAILED_TASKS) if isinstance(found, Array) else []
    facts = {
        "job": row,
        "attempts": story.attempts[-MOST_EVENTS:],
        "events": list(story.others),
        "failed_tasks": [{"task": job.task, "outcome": listing.job_row(job)["outcome"]} for job in failed],
    }
    yield {"ok": facts}


def an_array(queue: Queue, store: Store, job_id: int) -> Array | None:
    """An array, live or over."""
    known = queue.arrays.get(JobId(job_id))
    return known if known is not None else next(iter(store.finished_arrays(ids=[(job_id, job_id)])), None)


def one_job(queue: Queue, store: Store, job_id: int) -> Job | Array | None:
    """A job or an array, live or over."""
    found = queue.find(JobId(job_id)) or an_array(queue, store, job_id)
    return found or next(iter(store.finished(ids=[(job_id, job_id)])), None)


def one_task(queue: Queue, store: Store, job_id: int, task: int) -> Job | None:
    """A task of an array, whatever became of it: also one that was removed before it was ever split off."""
    live = queue.find((JobId(job_id), task))
    array = None if live is not None else an_array(queue, store, job_id)
    if array is None or not 0 <= task <= ranges.MOST:
        return live
    over = store.tasks_of(array, "state = 'done' AND task = ?", (task,))
    new = over or listing.new_tasks(array, task, task, 1)
    if new:
        return new[0]
    if not any(ranges.contains(array.removed, place) for place in ranges.numbers(array.tasks.places(task, task))):
        return None
    how = Outcome(kind=OutcomeKind.REMOVED, by=array.removed_by or None, message="removed before it started")
    at_s = array.submitted_s
    return Job(id=array.id, task=task, spec=array.spec, state=State.DONE, submitted_s=at_s, outcome=how)


def removed_early(row: Row, place: int, story: Story) -> None:
    """Who removed a task that had not started, when, and why."""
    for at_s, places, by, reason in story.removals:
        outcome = row["outcome"]
        if ranges.contains(places, place) and isinstance(outcome, dict):
            row["ended_at"] = at_s
            outcome.update(by=by, reason=reason)


class Story:
    """What has happened to a job, or to one task of an array, from its events."""

    def __init__(self, task: int | None) -> None:
        self.task = task
        self.heard: deque[tuple[float, str, Any]] = deque(maxlen=20 * MOST_EVENTS)
        self.attempts: list[Row] = []
        self.others: deque[Row] = deque(maxlen=MOST_EVENTS)
        self.removals: list[tuple[float, ranges.Ranges, str, str | None]] = []

    def hear(self, at_s: float, kind: str, event: Any) -> None:
        if kind == "TasksRemoved":
            places = tuple((int(low), int(high)) for low, high in event["places"])
            self.removals.append((at_s, places, event.get("by"), event.get("reason") or None))
        tasks = event.get("tasks")
        if self.task is None or (tasks is not None and contains(tasks, self.task)):
            self.heard.append((at_s, kind, event))

    def tell(self) -> None:
        """Of tasks, the events of one turn are stored by kinds: they are put into their order first."""
        order = self.heard if self.task is None else sorted(self.heard, key=lambda it: (it[0], RANK.get(it[1], 0)))
        for at_s, kind, event in order:
            if kind == "Granted":
                hosts = [part["host"] for part in event.get("allocation", {}).get("slices", ())]
                self.attempts.append(
                    {
                        "attempt": event.get("attempt", len(self.attempts) + 1),
                        "granted_at": at_s,
                        "started_at": None,
                        "over_at": None,
                        "hosts": hosts or None,
                        "requeued_why": None,
                    }
                )
            elif kind in ATTEMPTS and self.attempts:
                attempt = self.attempts[-1]
                if kind == "Started":
                    attempt["started_at"] = at_s
                else:
                    attempt["over_at"] = at_s
                    attempt["started_at"] = attempt["started_at"] or event.get("started_s")
                if kind == "Requeued":
                    attempt["requeued_why"] = event.get("why") or "it is to have another attempt"
            elif kind not in ATTEMPTS:
                why = event.get("reason") or event.get("why") or None
                self.others.append({"at": at_s, "kind": kind, "by": event.get("by"), "reason": why})


def contains(tasks: list[list[int]], task: int) -> bool:
    return any(low <= task <= high for low, high in tasks)
