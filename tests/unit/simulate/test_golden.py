"""Schedules under each policy are those of a plain simulation that shares no code with the planner."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulate import reference
from tests.unit.simulate.reference import Job
from wq.core.job import Requirement, Uid
from wq.core.plan import Limit
from wq.core.policies.registry import policy_named
from wq.simulate.cluster import pool, with_added
from wq.simulate.replay import Ran, Replay, Task

POLICIES = ("fcfs", "easy", "sjbf", "cons")
CORES = 8


def tasks_of(jobs: list[Job]) -> list[Task]:
    """Of three users, by turns."""
    return [
        Task(
            number=number,
            submit_s=job.submit,
            run_s=job.run,
            estimate_s=job.estimate,
            requirement=Requirement(n=job.cores),
            user=number % 3,
        )
        for number, job in enumerate(jobs)
    ]


def starts(rans: list[Ran]) -> list[float]:
    return [ran.start_s for ran in sorted(rans, key=lambda ran: ran.task.number)]


def replayed(jobs: list[Job], cores: int, policy: str) -> list[float]:
    return starts(list(Replay(tasks_of(jobs), pool(cores), policy_named(policy)).play()))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_beginning_of_a_real_trace_is_scheduled_as_by_the_reference(policy: str) -> None:
    _, jobs = reference.excerpt()
    cores = reference.EXCERPT_CORES
    assert replayed(jobs, cores, policy) == reference.schedule(jobs, cores, policy)


def workloads(*too_long: int) -> st.SearchStrategy[list[Job]]:
    """too_long: by how much estimates may be longer than the run times."""
    job = st.builds(
        lambda submit, run, more, cores: Job(float(submit), float(run), float(run + more), cores),
        st.integers(0, 40),
        st.integers(1, 20),
        st.sampled_from(too_long),
        st.integers(1, CORES),
    )
    return st.lists(job, max_size=25).map(lambda jobs: sorted(jobs, key=lambda job: job.submit))


JOBS = workloads(0, 0, 1, 5, 30)


@pytest.mark.parametrize("policy", ["fcfs", "easy", "sjbf"])
@given(jobs=JOBS)
@settings(max_examples=60, deadline=None)
def test_any_workload_is_scheduled_as_by_the_reference(policy: str, jobs: list[Job]) -> None:
    assert replayed(jobs, CORES, policy) == reference.schedule(jobs, CORES, policy)


@given(jobs=workloads(0))
@settings(max_examples=60, deadline=None)
def test_any_workload_with_true_estimates_is_scheduled_conservatively_as_by_the_reference(jobs: list[Job]) -> None:
    assert replayed(jobs, CORES, "cons") == reference.schedule(jobs, CORES, "cons")


@given(jobs=JOBS)
@settings(max_examples=30, deadline=None)
def test_two_nodes_are_a_pool_to_jobs_that_run_anywhere(jobs: list[Job]) -> None:
    nodes = with_added(pool(CORES - 3), "1x3")
    rans = list(Replay(tasks_of(jobs), nodes, policy_named("fcfs")).play())  # (a promise is bound to nodes)
    assert starts(rans) == reference.schedule(jobs, CORES, "fcfs")


@pytest.mark.parametrize("policy", ["fifo", *POLICIES])
@given(jobs=JOBS)
@settings(max_examples=30, deadline=None)
def test_no_user_is_ever_above_his_limit(policy: str, jobs: list[Job]) -> None:
    limit = Limit(cores=4, run=2)
    tasks = [task for task in tasks_of(jobs) if task.requirement.n <= 4]
    limits = {Uid(user): limit for user in range(3)}
    rans = list(Replay(tasks, pool(CORES), policy_named(policy), limits).play())
    assert len(rans) == len(tasks)
    for ran in rans:
        beside = [
            other
            for other in rans
            if other.task.user == ran.task.user and other.start_s <= ran.start_s < other.start_s + other.task.run_s
        ]
        assert sum(other.task.requirement.n for other in beside) <= 4
        assert len(beside) <= 2
