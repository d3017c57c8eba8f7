"""First in, first out within a priority; higher priorities first. Whoever fits starts, and nothing is promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wq.core.line import Group, Place
    from wq.core.policies import Order


class Fifo:
    """The policy of the seed, and the default."""

    name = "fifo"
    promises: int | None = 0
    strict = False
    in_line = True

    def order(self, group: Group, place: Place) -> Order:
        """block, high, med, low."""
        return (group.rank, *place)

    behind = order


FIFO = Fifo()
