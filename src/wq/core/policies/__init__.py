"""The orders in which a queue can be served: one small file each."""

from __future__ import annotations

from typing import Protocol

from wq.core.job import JobSpec


class Policy(Protocol):
    """Says in which order waiting jobs are looked at. Who of them starts is not its business but the plan's."""

    def rank(self, spec: JobSpec) -> int:
        """Lower ranks are looked at first; within one, first in, first out."""
        ...
