"""What a schedule is worth."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wq.core.job import Allocation, HostName, Requirement, Slice
from wq.simulate import measure
from wq.simulate.measure import Schedule, averages, bounded_slowdown, edges, worst_off, worth_of
from wq.simulate.replay import Ran, Task
from wq.simulate.workload import NO_USER


def schedule(*jobs: tuple[float, float, float, int], users: list[int] | None = None) -> Schedule:
    """Of jobs (submit, start, run, cores)."""
    found = Schedule(policy="easy")
    for number, (submit_s, start_s, run_s, ncores) in enumerate(jobs):
        task = Task(
            number=number,
            submit_s=submit_s,
            run_s=run_s,
            estimate_s=run_s,
            requirement=Requirement(n=ncores),
            user=users[number] if users else 1,
        )
        allocation = Allocation(slices=(Slice(host=HostName("pool"), cores=tuple(range(ncores))),))
        found.add(Ran(task=task, start_s=start_s, allocation=allocation))
    return found


@pytest.mark.parametrize(
    ("wait_s", "run_s", "slowdown"),
    [(0.0, 100.0, 1.0), (100.0, 100.0, 2.0), (95.0, 5.0, 10.0), (0.0, 1.0, 1.0), (1.0, 1.0, 1.0)],
)
def test_a_slowdown_is_bounded_for_short_jobs_and_at_least_one(wait_s: float, run_s: float, slowdown: float) -> None:
    assert bounded_slowdown(wait_s, run_s) == slowdown


def test_the_figures_of_a_schedule() -> None:
    worth = worth_of(schedule((0, 0, 100, 4), (10, 100, 50, 2), (20, 150, 50, 4)), ncores=4)
    assert worth.slowdown == pytest.approx((1 + 140 / 50 + 180 / 50) / 3)
    assert worth.slowdown_max == pytest.approx(180 / 50)
    assert worth.wait_s == pytest.approx(220 / 3)
    assert (worth.wait_median_s, worth.wait_max_s) == (90, 130)
    assert worth.makespan_s == 200
    assert worth.use == pytest.approx(700 / 800)
    assert (worth.njobs, worth.worst_user) == (3, None)


def test_the_worst_off_user_has_enough_jobs_and_a_name() -> None:
    users = [1] * 10 + [2] * 9 + [NO_USER] * 20 + [3] * 11
    slowdowns = [2.0] * 10 + [50.0] * 9 + [90.0] * 20 + [4.0] * 11
    assert worst_off(users, slowdowns) == (3, 4.0)
    assert worst_off([1] * 9, [5.0] * 9) == (None, None)
    assert worst_off([7] * 10 + [3] * 10, [5.0] * 20) == (3, 5.0)


def test_use_and_waiting_jobs_over_time() -> None:
    found = schedule((0, 0, 10, 4), (0, 10, 10, 2))
    borders = edges(0, 20, 4)
    assert borders == [0, 5, 10, 15, 20]
    assert measure.use_over_time(found, borders) == [4, 4, 2, 2]
    assert measure.waiting_over_time(found, borders) == [1, 1, 0, 0]


def test_waits_over_time_are_of_those_that_come() -> None:
    found = schedule((0, 0, 10, 4), (1, 10, 10, 2), (20, 26, 1, 1))
    assert measure.waits_over_time(found, edges(0, 20, 4)) == [4.5, None, None, 6.0]


def test_a_stretch_without_length_has_the_number_itself() -> None:
    assert averages([(3, 2.0)], [5, 5]) == [2.0]
    assert measure.waits_over_time(schedule((5, 9, 1, 1)), [5, 5]) == [4]


STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(-3, 3)).map(lambda it: (float(it[0]), float(it[1]))))


@given(STEPS, st.integers(1, 10))
@settings(deadline=None)
def test_averages_are_those_of_every_second(steps: list[tuple[float, float]], nbins: int) -> None:
    borders = edges(0, nbins * 4, nbins)
    every_second = [sum(by for at, by in steps if at <= second) for second in range(nbins * 4)]
    expected = [sum(every_second[int(low) : int(high)]) / 4 for low, high in pairwise(borders)]
    assert averages(steps, borders) == pytest.approx(expected)
