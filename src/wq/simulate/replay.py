"""A workload through the planner: when each job would have started.

The same code as the server's decides (`wq.core.plan`); what is of this file is the clock alone. Within one second, all
jobs come first, each with a pass of the planner, then all that end, each with a pass. A job that runs and whose
estimate is due counts as over already: so the published schedules do it. (The server never counts so: a core is free
when its job is known to be gone.)
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from wq.core.cluster import Node
from wq.core.job import Allocation, Job, JobId, JobSpec, Requirement, State, Uid
from wq.core.lane import Lane
from wq.core.line import Line, Place, Walk, place_of, shape_of, walks
from wq.core.plan import Fitting, Limit, plan
from wq.core.policies import Policy
from wq.core.profile import Promise

NO_LIMITS: Mapping[Uid, Limit] = {}


class Task(Struct, frozen=True, kw_only=True):
    """One job of a workload. Times are seconds; estimate_s: how long it is said to run, not less than run_s."""

    number: int
    submit_s: float
    run_s: float
    estimate_s: float
    requirement: Requirement
    user: int = 0


class Ran(Struct, frozen=True, kw_only=True):
    """What became of it."""

    task: Task
    start_s: float
    allocation: Allocation

    @property
    def wait_s(self) -> float:
        return self.start_s - self.task.submit_s

    @property
    def end_s(self) -> float:
        return self.start_s + self.task.run_s


class Replay:
    """One run. What has started comes from `play`, in that order."""

    def __init__(
        self,
        tasks: Iterable[Task],
        nodes: Sequence[Node],
        policy: Policy,
        limits: Mapping[Uid, Limit] = NO_LIMITS,
    ) -> None:
        self.tasks = sorted(tasks, key=lambda task: task.submit_s)
        self.nodes, self.policy, self.limits = nodes, policy, limits
        self.now_s = 0.0
        self.line = Line()
        self.waiting: dict[int, Job] = {}
        self.lanes: dict[str, Lane] = {}  # of those whose estimates are not due
        self.ends_s: dict[str, float] = {}  # by their estimates
        self.due: list[tuple[float, str]] = []
        self.fitting = Fitting(nodes)
        self.promises: dict[Place, Promise] = {}
        self.sooner = False  # something has ended before its estimate
        self.nstarted = 0  # of those that end in the same second, who started first ends first
        self.running: list[tuple[float, int, str]] = []
        self.present = frozenset(Uid(task.user) for task in self.tasks)

    def play(self) -> Iterator[Ran]:
        coming = iter(enumerate(self.tasks, 1))
        following = next(coming, None)
        while following is not None or self.running:
            self.now_s = min(
                following[1].submit_s if following is not None else float("inf"),
                self.running[0][0] if self.running else float("inf"),
            )
            while following is not None and following[1].submit_s == self.now_s:
                self.submit(*following)
                yield from self.step()
                following = next(coming, None)
            while self.running and self.running[0][0] == self.now_s:
                _, _, lane = heapq.heappop(self.running)
                self.sooner = self.lanes.pop(lane, None) is not None
                self.ends_s.pop(lane, None)
                yield from self.step()

    def submit(self, number: int, task: Task) -> None:
        uid = Uid(task.user)
        spec = JobSpec(
            uid=uid, user=str(uid), name="", command="", requirement=task.requirement, time_s=task.estimate_s
        )
        job = Job(id=JobId(number), spec=spec, state=State.QUEUED, submitted_s=task.submit_s)
        self.waiting[number] = job
        self.line.add(job)

    def find(self, place: Place) -> Job | None:
        return self.waiting.get(place[1])

    def walks(self) -> Iterable[Walk]:
        return walks(self.line, (), self.find)

    def step(self) -> list[Ran]:
        """A pass of the planner."""
        while self.due and self.due[0][0] <= self.now_s:
            _, name = heapq.heappop(self.due)
            self.lanes.pop(name, None)
            self.ends_s.pop(name, None)
        if not self.waiting:
            return []
        found = plan(
            queue=self.walks,
            lanes=self.lanes,
            nodes=self.nodes,
            limits=self.limits,
            present=self.present,
            paused={},
            policy=self.policy,
            now_s=self.now_s,
            ends=lambda: self.ends_s,
            kept=self.promises,
            sooner=self.sooner,
            fitting=self.fitting,
        )
        self.promises = {place_of(job): promise for job, promise in found.promises}
        self.sooner = False
        started = []
        for start in found.starts:
            assert isinstance(start.job, Job)
            started.append(self.start(start.job, start.allocation))
        if started:
            self.line.tidy()
        return started

    def start(self, job: Job, allocation: Allocation) -> Ran:
        task, name = self.tasks[job.id - 1], str(job.id)
        del self.waiting[job.id]
        self.line.gone(job)
        shape = shape_of(task.requirement)
        self.lanes[name] = Lane(uid=job.spec.uid, shape=shape, allocation=allocation, opened_by=job.id, batch=False)
        self.ends_s[name] = self.now_s + task.estimate_s
        heapq.heappush(self.due, (self.now_s + task.estimate_s, name))
        self.nstarted += 1
        heapq.heappush(self.running, (self.now_s + task.run_s, self.nstarted, name))
        return Ran(task=task, start_s=self.now_s, allocation=allocation)
