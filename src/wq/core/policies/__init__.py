"""The orders in which a queue can be served: one small file each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from wq.core.job import Job


class Policy(Protocol):
    """Says in which order waiting jobs are looked at. Who of them starts is not its business but the plan's."""

    def order(self, jobs: Iterable[Job]) -> list[Job]:
        """The queued jobs, the one to be looked at first in front; the same however they come."""
        ...
