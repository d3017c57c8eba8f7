"""First in, first out within a priority; higher priorities first."""

from __future__ import annotations

from wq.core.job import PRIORITY_RANK, JobSpec


class Fifo:
    """The policy of the seed, and the default."""

    def rank(self, spec: JobSpec) -> int:
        """block, high, med, low."""
        return PRIORITY_RANK[spec.requirement.priority]


FIFO = Fifo()
