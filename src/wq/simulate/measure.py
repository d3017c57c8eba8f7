"""What a schedule is worth: slowdowns, waits, the use of the cores, and who comes off worst."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import fsum
from statistics import median

from msgspec import Struct, field

from wq.simulate.replay import Ran
from wq.simulate.workload import NO_USER

SHORT_S = 10.0  # a job that runs for less is measured as if it ran for so long
FEW_JOBS = 10  # a user with less has no average to speak of


class Schedule(Struct, kw_only=True):
    """What became of each job under one policy, in order of the starts. Times are seconds."""

    policy: str
    submits_s: array[float] = field(default_factory=lambda: array("d"))
    starts_s: array[float] = field(default_factory=lambda: array("d"))
    runs_s: array[float] = field(default_factory=lambda: array("d"))
    ncores: array[int] = field(default_factory=lambda: array("q"))
    users: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def add(self, ran: Ran) -> None:
        self.submits_s.append(ran.task.submit_s)
        self.starts_s.append(ran.start_s)
        self.runs_s.append(ran.task.run_s)
        self.ncores.append(ran.allocation.ncores)
        self.users.append(ran.task.user)
        self.numbers.append(ran.task.number)

    def waits_s(self) -> list[float]:
        return [start_s - submit_s for start_s, submit_s in zip(self.starts_s, self.submits_s, strict=True)]

    def ends_s(self) -> list[float]:
        return [start_s + run_s for start_s, run_s in zip(self.starts_s, self.runs_s, strict=True)]

    def slowdowns(self) -> list[float]:
        return [bounded_slowdown(wait_s, run_s) for wait_s, run_s in zip(self.waits_s(), self.runs_s, strict=True)]

    def span_s(self) -> tuple[float, float]:
        """From the first submission to the last end."""
        return min(self.submits_s), max(self.ends_s())


class Worth(Struct, frozen=True, kw_only=True):
    """The figures of one schedule. use: the part of the cores in use over the makespan, 1 being all of them.

    worst_user: of those with enough jobs, whose average slowdown is the largest; None if nobody has.
    """

    policy: str
    njobs: int
    slowdown: float
    slowdown_max: float
    wait_s: float
    wait_median_s: float
    wait_max_s: float
    use: float
    makespan_s: float
    worst_user: int | None
    worst_user_slowdown: float | None


def bounded_slowdown(wait_s: float, run_s: float) -> float:
    """How much longer a job was there than it ran; at least 1. Feitelson, Rudolph, Schwiegelshohn, Sevcik, Wong 1997,
    Theory and practice in parallel job scheduling, JSSPP, LNCS 1291:1.
    """
    return max(1.0, (wait_s + run_s) / max(run_s, SHORT_S))


def worth_of(schedule: Schedule, ncores: int) -> Worth:
    """ncores: of the cluster. The schedule has one job at least."""
    slowdowns, waits_s = schedule.slowdowns(), schedule.waits_s()
    first_s, last_s = schedule.span_s()
    used_s = fsum(n * run_s for n, run_s in zip(schedule.ncores, schedule.runs_s, strict=True))
    user, theirs = worst_off(schedule.users, slowdowns)
    return Worth(
        policy=schedule.policy,
        njobs=len(slowdowns),
        slowdown=mean(slowdowns),
        slowdown_max=max(slowdowns),
        wait_s=mean(waits_s),
        wait_median_s=median(waits_s),
        wait_max_s=max(waits_s),
        use=used_s / (ncores * (last_s - first_s)) if last_s > first_s else 1.0,
        makespan_s=last_s - first_s,
        worst_user=user,
        worst_user_slowdown=theirs,
    )


def mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def worst_off(users: Iterable[int], slowdowns: Iterable[float]) -> tuple[int | None, float | None]:
    """(the user whose jobs were slowed down most on average, by how much). Few jobs or no name do not count."""
    theirs: dict[int, list[float]] = {}
    for user, slowdown in zip(users, slowdowns, strict=True):
        if user != NO_USER:
            theirs.setdefault(user, []).append(slowdown)
    averages = [(mean(some), -user) for user, some in theirs.items() if len(some) >= FEW_JOBS]
    if not averages:
        return None, None
    slowdown, user = max(averages)
    return -user, slowdown


# ---- over time


def edges(first_s: float, last_s: float, nbins: int) -> list[float]:
    """The borders of so many stretches of time, of one length."""
    return [first_s + (last_s - first_s) * at / nbins for at in range(nbins)] + [last_s]


def averages(steps: Iterable[tuple[float, float]], borders: Sequence[float]) -> list[float]:
    """The average of a number in each stretch. steps: (when, by how much it changes), in any order; it begins at 0."""
    coming = iter(sorted(steps))
    following = next(coming, None)
    level, at_s = 0.0, borders[0]
    found = []
    for low_s, high_s in pairwise(borders):
        area = 0.0
        while following is not None and following[0] < high_s:
            area += level * (max(following[0], low_s) - at_s)
            at_s = max(following[0], low_s)
            level += following[1]
            following = next(coming, None)
        area += level * (high_s - at_s)
        at_s = high_s
        found.append(area / (high_s - low_s) if high_s > low_s else level)
    return found


def use_over_time(schedule: Schedule, borders: Sequence[float]) -> list[float]:
    """Cores in use, on average, in each stretch."""
    return averages(_between(schedule.starts_s, schedule.ends_s(), schedule.ncores), borders)


def waiting_over_time(schedule: Schedule, borders: Sequence[float]) -> list[float]:
    """Jobs that wait, on average, in each stretch."""
    return averages(_between(schedule.submits_s, schedule.starts_s, [1] * len(schedule.starts_s)), borders)


def waits_over_time(schedule: Schedule, borders: Sequence[float]) -> list[float | None]:
    """How long those waited, on average, that came in each stretch, in seconds; None where nobody came."""
    nbins, first_s = len(borders) - 1, borders[0]
    width_s = (borders[-1] - first_s) / nbins
    sums, counts = [0.0] * nbins, [0] * nbins
    for submit_s, wait_s in zip(schedule.submits_s, schedule.waits_s(), strict=True):
        at = min(int((submit_s - first_s) / width_s), nbins - 1) if width_s else 0
        sums[at] += wait_s
        counts[at] += 1
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]


def _between(
    firsts_s: Iterable[float], lasts_s: Iterable[float], amounts: Iterable[int]
) -> Iterator[tuple[float, float]]:
    """The steps of something that is there from a first to a last time."""
    for first_s, last_s, amount in zip(firsts_s, lasts_s, amounts, strict=True):
        yield first_s, amount
        yield last_s, -amount
