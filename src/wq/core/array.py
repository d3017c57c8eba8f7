"""Job arrays: one job with many tasks. Those that wait are ranges; one whose turn comes is split off as a job.

Tasks are counted by their *place* in the array, from 0, whatever numbers the user gave them: so all of an array is one
range, also where its numbers are not.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from wq.core import ranges
from wq.core.job import ArraySpec, Job, JobId, JobSpec, State, Waits, limit_of
from wq.core.ranges import Ranges


class Array(Struct, frozen=True, kw_only=True):
    """An array in the queue. Times are seconds since 1970, for display only.

    waiting: the places of tasks that no attempt was ever made of. removed: of those that never will be, and removed_by,
    removed_why: who last took some away, and why, in his words.
    blocked: the places of tasks that wait for a task of another array. waits: what all its new tasks wait for.
    live: how many tasks are split off and not over. failed: how many ended otherwise than with exit status 0.
    at_most: how many may run at one time. over: its last task has ended. time_s, turn: as of a Job.
    """

    id: JobId
    spec: JobSpec
    submitted_s: float
    waiting: Ranges
    removed: Ranges = ()
    removed_by: str = ""
    removed_why: str = ""
    live: int = 0
    failed: int = 0
    at_most: int | None = None
    started_s: float | None = None
    ended_s: float | None = None
    blocked: Ranges = ()
    waits: Waits | None = None
    time_s: float | None = None
    turn: int | None = None

    @property
    def limit_s(self) -> float | None:
        """The time limit of each of its tasks in seconds."""
        return limit_of(self.spec, self.time_s)

    @property
    def tasks(self) -> ArraySpec:
        assert self.spec.array is not None
        return self.spec.array

    @property
    def size(self) -> int:
        return self.tasks.size

    @property
    def ndone(self) -> int:
        """How many tasks are over, the removed ones too."""
        return self.size - ranges.count(self.unstarted) - self.live

    @property
    def over(self) -> bool:
        return not self.waiting and not self.blocked and not self.live

    @property
    def in_line(self) -> bool:
        """It has tasks whose turn may come."""
        return bool(self.waiting) and self.waits is None

    @property
    def unstarted(self) -> Ranges:
        """The places of all tasks that no attempt was ever made of, and that are not removed."""
        return ranges.union(self.waiting, self.blocked) if self.blocked else self.waiting

    def split_off(self, most: int, now_s: float) -> tuple[Array, list[Job]]:
        """(what is left, jobs for the first tasks that wait)."""
        taken, left = ranges.split(self.waiting, most)
        number = self.tasks.number
        new = Job(id=self.id, spec=self.spec, state=State.QUEUED, submitted_s=self.submitted_s, time_s=self.time_s)
        jobs = [replace(new, task=number(place)) for place in ranges.numbers(taken)]
        started_s = now_s if self.started_s is None else self.started_s
        return replace(self, waiting=left, live=self.live + len(jobs), started_s=started_s), jobs

    def remove(self, places: Ranges, by: str, why: str = "") -> Array:
        """Without these of its tasks that have not started."""
        left, blocked = ranges.minus(self.waiting, places), ranges.minus(self.blocked, places)
        removed = ranges.union(self.removed, places)
        return replace(self, waiting=left, blocked=blocked, removed=removed, removed_by=by, removed_why=why)

    def free(self, places: Ranges) -> Array:
        """These tasks have nothing of another array to wait for any more."""
        left = ranges.minus(self.blocked, places)
        return replace(self, blocked=left, waiting=ranges.union(self.waiting, places))
