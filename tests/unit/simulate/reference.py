"""The schedules of the literature once more, in the plainest way: lists, counts of cores, and nothing of wq.

A job is (submit, run, estimate, cores). One pool. Within a second all jobs come first, each with a pass, then all that
end, in the order of their starts, each with a pass; who runs and whose estimate is due counts as gone.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

EXCERPT = Path(__file__).parent / "KTH-SP2-first1500.swf.gz"
EXCERPT_CORES = 100


class Job(NamedTuple):
    submit: float
    run: float
    estimate: float
    cores: int


class Run(NamedTuple):
    end: float
    order: int
    due: float
    job: int


def schedule(jobs: list[Job], cores: int, policy: str) -> list[float]:
    """When each job starts; they are in the order of their submission."""
    machine = Conservative(jobs, cores) if policy == "cons" else Machine(jobs, cores, policy)
    coming = list(range(len(jobs)))
    while coming or machine.running or machine.queue:
        now = min([jobs[i].submit for i in coming[:1]] + [run.end for run in machine.running] + machine.times())
        while coming and jobs[coming[0]].submit == now:
            machine.come(coming.pop(0), now)
            machine.look(now)
        while machine.running and min(machine.running).end == now:
            run = min(machine.running)
            machine.running.remove(run)
            machine.gone(run, now)
            machine.look(now)
        machine.look(now)
    return [machine.starts[i] for i in range(len(jobs))]


class Machine:
    """fcfs, easy and sjbf."""

    def __init__(self, jobs: list[Job], cores: int, policy: str = "") -> None:
        self.jobs, self.cores, self.policy = jobs, cores, policy
        self.queue: list[int] = []
        self.running: list[Run] = []
        self.starts: dict[int, float] = {}

    def come(self, i: int, now: float) -> None:
        self.queue.append(i)

    def gone(self, run: Run, now: float) -> None:
        pass

    def times(self) -> list[float]:
        """When somebody is to start, whatever happens."""
        return []

    def there(self, now: float) -> list[Run]:
        return [run for run in self.running if run.due > now]

    def free(self, now: float) -> int:
        return self.cores - sum(self.jobs[run.job].cores for run in self.there(now))

    def start(self, i: int, now: float) -> None:
        self.queue.remove(i)
        job = self.jobs[i]
        self.running.append(Run(now + job.run, len(self.starts), now + job.estimate, i))
        self.starts[i] = now

    def look(self, now: float) -> None:
        while self.queue and self.jobs[self.queue[0]].cores <= self.free(now):
            self.start(self.queue[0], now)
        if self.queue and self.policy != "fcfs":
            self.backfill(now)

    def backfill(self, now: float) -> None:
        first, *others = self.queue
        shadow, extra = self.reservation(self.jobs[first].cores, now)
        if self.policy == "sjbf":
            others.sort(key=lambda i: self.jobs[i].estimate)
        for i in others:
            job = self.jobs[i]
            if job.cores > self.free(now):
                continue
            if now + job.estimate > shadow:
                if job.cores > extra:
                    continue
                extra -= job.cores
            self.start(i, now)

    def reservation(self, wanted: int, now: float) -> tuple[float, int]:
        """(when so many cores are free by the estimates, how many more are free then)"""
        free = self.free(now)
        for due in sorted({run.due for run in self.there(now)}):
            free += sum(self.jobs[run.job].cores for run in self.there(now) if run.due == due)
            if free >= wanted:
                return due, free - wanted
        raise AssertionError("it never fits")


class Conservative(Machine):
    """Each has a reservation, which only becomes better."""

    def __init__(self, jobs: list[Job], cores: int) -> None:
        super().__init__(jobs, cores)
        self.reserved: dict[int, float] = {}

    def come(self, i: int, now: float) -> None:
        super().come(i, now)
        self.reserved[i] = self.earliest(i, now)

    def gone(self, run: Run, now: float) -> None:
        for i in self.queue if run.due > now else []:  # it ends early
            del self.reserved[i]
            self.reserved[i] = self.earliest(i, now)

    def times(self) -> list[float]:
        return list(self.reserved.values())

    def look(self, now: float) -> None:
        for i in [i for i in self.queue if self.reserved[i] <= now]:
            del self.reserved[i]
            self.start(i, now)

    def earliest(self, i: int, now: float) -> float:
        job = self.jobs[i]
        taken = [(now, run.due, self.jobs[run.job].cores) for run in self.there(now)]
        taken += [(at, at + self.jobs[other].estimate, self.jobs[other].cores) for other, at in self.reserved.items()]

        def used(at: float) -> int:
            return sum(cores for low, high, cores in taken if low <= at < high)

        for at in sorted({now, *(high for _, high, _ in taken)}):
            later = [low for low, _, _ in taken if at < low < at + job.estimate]
            if all(used(time) + job.cores <= self.cores for time in [at, *later]):
                return at
        raise AssertionError("it never fits")


def excerpt() -> tuple[list[int], list[Job]]:
    """(numbers, jobs) of the trace that lies here: cores are field 8."""
    numbers, jobs = [], []
    for line in gzip.decompress(EXCERPT.read_bytes()).decode().splitlines():
        if not line.startswith(";"):
            fields = [float(word) for word in line.split()]
            numbers.append(int(fields[0]))
            run, requested = fields[3], fields[8]
            jobs.append(Job(fields[1], min(run, requested), max(run, requested), int(fields[7])))
    return numbers, jobs
