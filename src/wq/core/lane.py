"""Lanes: an allocation, and the attempts that have it one after another.

A job that runs alone has a lane of its own. Short batch tasks of one user and shape are *fed ahead*: put behind those
that run, so that no core waits for a round trip. How many is a matter of time, as the last ends measured it.
"""

from __future__ import annotations

from msgspec import Struct

from wq.core.job import Allocation, Job, JobId, Uid, opener_of
from wq.core.line import Shape, shape_of

FED_AHEAD_S = 0.2  # of work
MOST_IN_LANE = 500
LONGEST_FED_S = 1.0  # tasks that run as long are not fed ahead
LEAST_PATIENCE_S = 0.7
NEWEST_COUNTS = 0.25  # of a new measurement, in the running mean


class Lane(Struct, frozen=True, kw_only=True):
    """One lane. opened_by: the job of its first attempt. size: how many attempts have it or wait in it.

    batch: others may be fed into it. stuck: some came back because their turn did not come; nothing is fed until
    something has ended there.
    """

    uid: Uid
    shape: Shape
    allocation: Allocation
    opened_by: JobId
    batch: bool
    size: int = 1
    stuck: bool = False


def lane_of(job: Job) -> Lane:
    """The lane that an attempt opens."""
    assert job.allocation is not None
    spec = job.spec
    alone = spec.foreground or spec.x or len(job.allocation.slices) != 1
    return Lane(
        uid=spec.uid,
        shape=shape_of(spec.requirement),
        allocation=job.allocation,
        opened_by=opener_of(job.runs_in),
        batch=not alone,
    )


def room(lane: Lane, pace_s: float | None) -> int:
    """How many more attempts a lane is to have: none, or as many as it holds if it is half empty.

    pace_s: how long its like take; None if nobody knows.
    """
    if not lane.batch or lane.stuck or pace_s is None or pace_s >= LONGEST_FED_S:
        return 0
    most = min(max(int(FED_AHEAD_S / max(pace_s, 1e-6)), 2), MOST_IN_LANE)
    return most - lane.size if lane.size <= most // 2 else 0  # many at a time: each word has its price


def patience_s(pace_s: float | None) -> float:
    """How long an attempt may wait for its turn before it comes back."""
    return max(LEAST_PATIENCE_S, 3 * (pace_s or 0.0))


def paced(old_s: float | None, run_s: float) -> float:
    """The running mean of how long tasks take, with one more."""
    return run_s if old_s is None else old_s + NEWEST_COUNTS * (run_s - old_s)
