"""`wq top`: a user's own order of his jobs.

Each job has a *turn*, which is its own number at first. Who is put to the front has the first turn of its user's jobs
of that priority from then on, each that it has passed has the turn of the one behind it, and the turns of all of them
are the same as before: so nobody else's job is passed by more of them than it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

from wq.core import ranges
from wq.core.array import Array
from wq.core.commands import MOST_RANGES, may_change, whose
from wq.core.job import JobId, State
from wq.core.line import Waiting, place_of
from wq.core.queue import Draft, Topped
from wq.core.requests import Answer, Refusal, Top, TopRest, Unfinished, Who

MOST_JOBS = 100  # in one request
PASSED_AT_ONCE = 200  # others have their turn in between


def top(draft: Draft, who: Who, request: Top) -> Answer | Refusal | Unfinished:
    """Put jobs to the front of their users' own, in this order. Answers which, and why others were not."""
    if len(request.ids) > MOST_RANGES:
        return Refusal(error=f"{len(request.ids)} ids and ranges are too many at once; at most {MOST_RANGES}")
    found, missing = named(draft, who, request.ids)
    if len(found) > MOST_JOBS:
        return Refusal(error=f"these are too many jobs to put to the front at once; at most {MOST_JOBS}")
    why = {job_id: may_not(draft, who, job) for job_id, job in found.items()}
    chosen = tuple(job_id for job_id, trouble in why.items() if trouble is None)
    refused = [{"id": job_id, "why": trouble} for job_id, trouble in why.items() if trouble is not None]
    return go_on(draft, who, chosen, {"changed": list(chosen), "refused": refused, "missing": missing})


def named(draft: Draft, who: Who, pairs: Sequence[tuple[int, int]]) -> tuple[dict[JobId, Waiting], list[int]]:
    """(the jobs that are meant, in this order, or some more than may be; ids that are not there).

    Of a range the sender's own that wait, in the order that they have.
    """
    alone = {low: draft.arrays.get(JobId(low)) or draft.find(JobId(low)) for low, high in pairs if low == high}
    wide = ranges.merged((low, high) for low, high in pairs if low < high)
    own: list[Waiting] = []
    layers: tuple[Mapping[Any, Waiting], ...] = (draft.queued, draft.held, draft.arrays) if wide else ()
    for job in chain.from_iterable(layer.values() for layer in layers):
        mine = job.spec.uid == who.uid and ranges.contains(wide, job.id)
        if mine and (isinstance(job, Array) or job.task is None) and may_not(draft, who, job) is None:
            own.append(job)
            if len(own) > MOST_JOBS:
                break
    own.sort(key=place_of)
    found: dict[JobId, Waiting] = {}
    for low, high in pairs:
        one = alone.get(low) if low == high else None
        for job in [one] if one is not None else (job for job in own if low <= job.id <= high):
            found.setdefault(job.id, job)
    return found, [low for low, job in alone.items() if job is None]


def top_rest(draft: Draft, who: Who, request: TopRest) -> Answer | Unfinished:
    """Go on with that."""
    return go_on(draft, who, request.jobs, {})


def may_not(draft: Draft, who: Who, job: Waiting) -> str | None:
    """Why the sender cannot put it to the front."""
    if not may_change(draft, who, job.spec.uid):
        return whose(draft, job)
    waits = bool(job.unstarted) if isinstance(job, Array) else job.state in (State.QUEUED, State.HELD)
    return None if waits else "it does not wait any more"


def go_on(draft: Draft, who: Who, jobs: tuple[JobId, ...], facts: dict[str, Any]) -> Answer | Unfinished:
    """Put these to the front, from the last to the first, until as many have been passed as may be in one tick."""
    left = PASSED_AT_ONCE
    while jobs and left > 0:
        job = draft.arrays.get(jobs[-1]) or draft.find(jobs[-1])
        if job is not None and may_not(draft, who, job) is None:
            passed = list(islice(draft.own_before(job), left))
            turn_before(draft, job, passed)
            left -= len(passed) + 1
            if left < 0:
                break
            draft.events.append(Topped(id=job.id, by=who.user))
        jobs = jobs[:-1]
    return Unfinished(facts=facts, rest=TopRest(jobs=jobs)) if jobs else Answer(facts=facts)


def turn_before(draft: Draft, job: Waiting, passed: list[Waiting]) -> None:
    """It comes before these, who stand before it, the nearest first; each of them has the turn of the one behind."""
    everybody = [job, *passed]
    turns = [place_of(one)[0] for one in everybody]
    for one, turn in zip(everybody, [turns[-1], *turns[:-1]], strict=True):
        if place_of(one)[0] != turn:
            draft.set_turn(one, turn)
