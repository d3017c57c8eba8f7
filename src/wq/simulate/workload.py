"""Workloads: the jobs of a trace, or of a queue's own past, as tasks for a replay; and which of them are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec import Struct, field

from wq.core.cluster import Node, free_cores
from wq.core.job import Mode, Priority, Requirement
from wq.core.line import NO_TASK
from wq.core.place import eligible, impossible, smallest
from wq.core.plan import Limit
from wq.formats.swf import MOST_S, Row
from wq.simulate.replay import Task

NAMED = 20  # of those left out
LARGEST_UID = 2**32


class Cores(StrEnum):
    """Which of its two numbers of processors a job of a trace wants; usual: requested, where that is given."""

    USUAL = "usual"
    REQUESTED = "requested"
    ALLOCATED = "allocated"


class Groups(StrEnum):
    """Which number of a job in a trace is the name of a group: it wants nodes of that."""

    PARTITION = "partition"
    QUEUE = "queue"


class Why(StrEnum):
    """Why a job is left out."""

    NO_RUNTIME = "no_runtime"
    NO_CORES = "no_cores"
    NEVER_FITS = "never_fits"
    NEVER_RAN = "never_ran"
    TOO_MANY = "too_many"  # tasks of arrays, beyond what is asked for
    PART = "part"


class LeftOut(Struct, kw_only=True):
    """Jobs that are left out for one reason. named: the first of them, each with what there is to say of it alone."""

    njobs: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)


class Workload(Struct, kw_only=True):
    """Tasks for a replay, and what was left out.

    names: what tasks are called, by their numbers, where that is not these; users: the same of users.
    """

    tasks: list[Task] = field(default_factory=list)
    left_out: dict[Why, LeftOut] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    users: dict[int, str] = field(default_factory=dict)

    def leave_out(self, why: Why, name: str, because: str = "", njobs: int = 1) -> None:
        left = self.left_out.setdefault(why, LeftOut())
        left.njobs += njobs
        if name and len(left.named) < NAMED:
            left.named.append((name, because))

    def name(self, task: Task) -> str:
        return self.names.get(task.number, str(task.number))

    def user(self, user: int) -> str:
        return self.users.get(user, str(user))


NO_USER = -1


def times_of(run_s: float, request_s: float | None) -> tuple[float, float]:
    """(how long it runs, how long it is said to run): it ends at its limit, and nobody asks for less than he uses.

    Without a request, somebody knew how long it would run.
    """
    if request_s is None:
        return run_s, run_s
    return min(run_s, request_s), max(run_s, request_s)


# ---- traces


def of_trace(rows: Iterable[Row], *, cores: Cores = Cores.USUAL, groups: Groups | None = None) -> Workload:
    """The jobs of a trace, each with cores anywhere. Those with no runtime or no cores are left out."""
    found = Workload()
    requirements: dict[tuple[int, int | None], Requirement] = {}  # those that are alike are one
    for row in rows:
        ncores = _cores_of(row, cores)
        if row.run_s is None or ncores is None:
            found.leave_out(Why.NO_RUNTIME if row.run_s is None else Why.NO_CORES, str(row.number))
            continue
        group = _group_of(row, groups)
        requirement = requirements.get((ncores, group))
        if requirement is None:
            requirement = Requirement(n=ncores, groups=() if group is None else (str(group),))
            requirements[ncores, group] = requirement
        run_s, estimate_s = times_of(row.run_s, row.request_s)
        user = NO_USER if row.user is None else row.user
        found.tasks.append(
            Task(
                number=row.number,
                submit_s=row.submit_s,
                run_s=run_s,
                estimate_s=estimate_s,
                requirement=requirement,
                user=user,
            )
        )
    return found


def _cores_of(row: Row, cores: Cores) -> int | None:
    if cores is Cores.USUAL:
        return row.requested or row.allocated
    return row.requested if cores is Cores.REQUESTED else row.allocated


def _group_of(row: Row, groups: Groups | None) -> int | None:
    if groups is None:
        return None
    return row.partition if groups is Groups.PARTITION else row.queue


# ---- a queue's own past


class Past(NamedTuple):
    """What is kept of a job, or of a task of an array, that is over."""

    job: int
    task: int
    submit_s: float
    run_s: float
    time_limit_s: float | None
    uid: int
    requirement: Requirement

    @property
    def name(self) -> str:
        return str(self.job) if self.task == NO_TASK else f"{self.job}.{self.task}"


def of_history(rows: Iterable[Mapping[str, Any]], *, pooled: bool = False) -> Workload:
    """Jobs, and tasks of arrays, that are over, as `wq ls --json` has them. What never ran is left out.

    pooled: each wants as many cores as it had, anywhere. Raises KeyError, TypeError, ValueError for other rows.
    """
    found = Workload()
    pasts = sorted(filter(None, (past_of(row, found, pooled=pooled) for row in rows)))
    for number, past in enumerate(pasts, 1):
        run_s, estimate_s = times_of(past.run_s, past.time_limit_s)
        found.names[number] = past.name
        found.tasks.append(
            Task(
                number=number,
                submit_s=past.submit_s,
                run_s=run_s,
                estimate_s=estimate_s,
                requirement=past.requirement,
                user=past.uid,
            )
        )
    return found


def past_of(row: Mapping[str, Any], found: Workload, *, pooled: bool) -> Past | None:
    """A row; None if it is left out."""
    past = Past(
        job=int(row["id"]),
        task=NO_TASK if row["task"] is None else int(row["task"]),
        submit_s=float(row["submitted_at"]),
        run_s=float(row["ended_at"] or 0) - float(row["started_at"] or 0),
        time_limit_s=None if row["time_limit"] is None else float(row["time_limit"]),
        uid=int(row["uid"]),
        requirement=Requirement(n=int(row["ncores"] or 0)) if pooled else requirement_of(row),
    )
    if row["started_at"] is None or row["ended_at"] is None or not row["ncores"]:
        found.leave_out(Why.NEVER_RAN, past.name)
        return None
    if past.run_s <= 0:
        found.leave_out(Why.NO_RUNTIME, past.name)
        return None
    if not all(0 <= time_s <= MOST_S for time_s in (past.submit_s, past.run_s, past.time_limit_s or 0)):
        raise ValueError("a time that cannot be")
    if not 0 <= past.uid <= LARGEST_UID:
        raise ValueError("a user that cannot be")
    found.users[past.uid] = str(row["user"])
    return past


def requirement_of(row: Mapping[str, Any]) -> Requirement:
    """What a job asked for."""
    more = row["requirement"]
    return Requirement(
        mode=Mode(row["mode"]),
        n=int(row["n"]),
        groups=tuple(map(str, more["group"])),
        notgroups=tuple(map(str, more["notgroup"])),
        host=None if more["host"] is None else str(more["host"]),
        min_cores=int(more["min_cores"]),
        min_mem_gb=float(more["min_mem"]),
        threads=None if more["threads"] is None else int(more["threads"]),
        priority=Priority(row["priority"]),
    )


# ---- what can never run


def leave_out_what_never_fits(workload: Workload, nodes: Sequence[Node], limit: Limit) -> None:
    """What these nodes could not serve were they empty, or what is beyond a limit that each user has."""
    verdicts: dict[Requirement, str] = {}
    fit = []
    for task in workload.tasks:
        verdict = verdicts.get(task.requirement)
        if verdict is None:
            verdict = verdicts[task.requirement] = _never(task.requirement, nodes, limit)
        if verdict:
            workload.leave_out(Why.NEVER_FITS, workload.name(task), verdict)
        else:
            fit.append(task)
    workload.tasks = fit


def _never(requirement: Requirement, nodes: Sequence[Node], limit: Limit) -> str:
    """Why it can never run; empty if it can."""
    sentence = impossible(requirement, nodes)
    if sentence is not None or limit.cores is None:
        return sentence or ""
    least = smallest(requirement, eligible(requirement, nodes), free_cores(nodes, ()))
    return f"more than limit cores: {limit.cores}" if least is None or least.ncores > limit.cores else ""
