"""First in, first out within a priority; higher priorities first."""

from __future__ import annotations

from collections.abc import Iterable

from wq.core.job import PRIORITY_RANK, Job, JobId


class Fifo:
    """The policy of the seed, and the default."""

    def order(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs by priority (block, high, med, low), and by id within one."""
        return sorted(jobs, key=_rank)


def _rank(job: Job) -> tuple[int, JobId]:
    return PRIORITY_RANK[job.spec.requirement.priority], job.id
