"""The orders in which a queue can be served: one small file each.

A policy says who is looked at first, and how many of those who must wait are promised a start, which nobody who is
looked at later may delay. Who fits, and where, is not its business but the plan's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from wq.core.line import Group, Place

Order: TypeAlias = tuple[float, ...]


class Policy(Protocol):
    """promises: so many jobs that must wait have a promise at one time; None: all of them.

    strict: nobody is looked at behind one who must wait. in_line: its order is that of the line, by priority and turn.
    """

    name: str
    promises: int | None
    strict: bool
    in_line: bool

    def order(self, group: Group, place: Place) -> Order:
        """Who has less is looked at first."""
        ...

    def behind(self, group: Group, place: Place) -> Order:
        """The same for those who are looked at behind the promises (backfill)."""
        ...
