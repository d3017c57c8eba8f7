"""Workloads: which tasks the rows of a trace, or of a queue's past, become, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest

from wq.core.cluster import Node
from wq.core.job import HostName, Mode, Priority, Requirement
from wq.core.plan import Limit
from wq.formats.swf import Row
from wq.simulate.cluster import pool
from wq.simulate.workload import (
    NAMED,
    NO_USER,
    Cores,
    Groups,
    Why,
    Workload,
    leave_out_what_never_fits,
    of_history,
    of_trace,
)


def row(**fields: Any) -> Row:
    usual = Row(1, 0.0, 60.0, 2, 3, 100.0, user=5, queue=7, partition=9)
    return usual._replace(**fields)


def past(**fields: Any) -> dict[str, Any]:
    """A job that is over, as `wq ls --json` has it."""
    more: dict[str, Any] = {"group": [], "notgroup": [], "host": None, "min_cores": 0, "min_mem": 0.0}
    usual = {
        "id": 1,
        "task": None,
        "user": "anze",
        "uid": 1001,
        "mode": "bycore",
        "n": 4,
        "priority": "med",
        "time_limit": None,
        "ncores": 4,
        "submitted_at": 1000.5,
        "started_at": 1010.0,
        "ended_at": 1040.0,
        "requirement": {**more, "threads": None, "X": False},
    }
    return {**usual, **fields}


def left(workload: Workload) -> dict[Why, int]:
    return {why: found.njobs for why, found in workload.left_out.items()}


class TestATrace:
    @pytest.mark.parametrize(
        ("run_s", "request_s", "runs_s", "estimate_s"),
        [(60.0, 100.0, 60.0, 100.0), (100.0, 60.0, 60.0, 100.0), (60.0, None, 60.0, 60.0)],
    )
    def test_a_job_ends_at_its_request_and_its_estimate_is_not_below_what_it_ran(
        self, run_s: float, request_s: float | None, runs_s: float, estimate_s: float
    ) -> None:
        (task,) = of_trace([row(run_s=run_s, request_s=request_s)]).tasks
        assert (task.run_s, task.estimate_s) == (runs_s, estimate_s)

    def test_cores_are_those_requested_where_that_is_given(self) -> None:
        rows = [row(), row(requested=None), row(allocated=None)]
        assert [task.requirement.n for task in of_trace(rows).tasks] == [3, 2, 3]

    def test_cores_may_be_those_of_one_field_alone(self) -> None:
        rows = [row(), row(requested=None), row(allocated=None)]
        requested, allocated = (of_trace(rows, cores=cores) for cores in (Cores.REQUESTED, Cores.ALLOCATED))
        assert [task.requirement.n for task in requested.tasks] == [3, 3]
        assert [task.requirement.n for task in allocated.tasks] == [2, 2]
        assert left(requested) == left(allocated) == {Why.NO_CORES: 1}

    def test_what_has_no_runtime_is_left_out_counted_and_named(self) -> None:
        found = of_trace([row(number=number, run_s=None) for number in range(30)])
        assert (found.tasks, left(found)) == ([], {Why.NO_RUNTIME: 30})
        assert found.left_out[Why.NO_RUNTIME].named == [(str(number), "") for number in range(NAMED)]

    def test_groups_are_the_numbers_of_partitions_or_queues(self) -> None:
        rows = [row(), row(queue=None, partition=None)]
        assert [task.requirement.groups for task in of_trace(rows).tasks] == [(), ()]
        assert [task.requirement.groups for task in of_trace(rows, groups=Groups.QUEUE).tasks] == [("7",), ()]
        assert [task.requirement.groups for task in of_trace(rows, groups=Groups.PARTITION).tasks] == [("9",), ()]

    def test_who_is_not_known_is_nobody(self) -> None:
        assert [task.user for task in of_trace([row(), row(user=None), row(user=0)]).tasks] == [5, NO_USER, 0]


class TestAHistory:
    def test_a_job_asks_for_what_it_asked_for(self) -> None:
        more = {**past()["requirement"], "group": ["gen5"], "notgroup": ["slow"], "min_cores": 8, "min_mem": 16.0}
        (task,) = of_history([past(mode="bynode", n=2, ncores=24, priority="high", requirement=more)]).tasks
        assert task.requirement == Requirement(
            mode=Mode.BYNODE,
            n=2,
            groups=("gen5",),
            notgroups=("slow",),
            min_cores=8,
            min_mem_gb=16.0,
            priority=Priority.HIGH,
        )
        assert (task.submit_s, task.run_s, task.estimate_s, task.user) == (1000.5, 30.0, 30.0, 1001)

    def test_in_a_pool_it_asks_for_the_cores_that_it_had(self) -> None:
        (task,) = of_history([past(mode="bynode", n=2, ncores=24)], pooled=True).tasks
        assert task.requirement == Requirement(n=24)

    def test_a_time_limit_is_its_estimate(self) -> None:
        (task,) = of_history([past(time_limit=3600.0)]).tasks
        assert (task.run_s, task.estimate_s) == (30.0, 3600.0)

    def test_jobs_and_tasks_of_arrays_are_called_as_they_were_in_the_order_of_their_ids(self) -> None:
        found = of_history([past(id=10), past(id=9, task=12), past(id=9, task=2)])
        assert [(task.number, found.name(task)) for task in found.tasks] == [(1, "9.2"), (2, "9.12"), (3, "10")]
        assert found.user(1001) == "anze"
        assert found.user(7) == "7"

    def test_what_never_ran_is_left_out(self) -> None:
        found = of_history([past(started_at=None, ncores=None), past(id=2, ended_at=1010.0), past(id=3)])
        assert left(found) == {Why.NEVER_RAN: 1, Why.NO_RUNTIME: 1}
        assert [found.name(task) for task in found.tasks] == ["3"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"mode": "sideways"},
            {"submitted_at": float("nan")},
            {"time_limit": float("inf")},
            {"n": "many"},
            {"requirement": None},
        ],
        ids=str,
    )
    def test_nonsense_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises((ValueError, TypeError, KeyError)):
            of_history([past(**fields)])


class TestWhatNeverFits:
    def test_is_left_out_with_the_reason(self) -> None:
        found = of_trace([row(number=1, requested=4), row(number=2, requested=5), row(number=3, requested=5)])
        leave_out_what_never_fits(found, pool(4), Limit())
        assert [task.number for task in found.tasks] == [1]
        because = "N: 5 cores, but the cluster has 4"
        assert found.left_out[Why.NEVER_FITS].named == [("2", because), ("3", because)]

    def test_nodes_of_the_group_are_wanted(self) -> None:
        nodes = [Node(host=HostName("a"), ncores=4, mem_gb=1.0, groups=("7",))]
        found = of_trace([row(number=1), row(number=2, queue=8)], groups=Groups.QUEUE)
        leave_out_what_never_fits(found, nodes, Limit())
        assert [task.number for task in found.tasks] == [1]
        assert found.left_out[Why.NEVER_FITS].named == [("2", "group: no node is in group '8' (groups here: 7)")]

    def test_a_limit_of_each_user_counts(self) -> None:
        found = of_trace([row(number=1, requested=2), row(number=2, requested=3)])
        leave_out_what_never_fits(found, pool(4), Limit(cores=2))
        assert [task.number for task in found.tasks] == [1]
        assert found.left_out[Why.NEVER_FITS].named == [("2", "more than limit cores: 2")]
