"""EASY with the shortest first among those who may start before the first one.

Tsafrir, Etsion, Feitelson 2007, Backfilling using system-generated predictions rather than user runtime estimates, IEEE
TPDS 18:789.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wq.core.policies.easy import Easy

if TYPE_CHECKING:
    from wq.core.line import Group, Place
    from wq.core.policies import Order


class Sjbf(Easy):
    name = "sjbf"

    def behind(self, group: Group, place: Place) -> Order:
        """Who says no time comes last."""
        return (float("inf") if group.time_s is None else group.time_s, group.rank, *place)


SJBF = Sjbf()
