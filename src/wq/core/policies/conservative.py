"""Conservative backfilling: each job is promised a start when it comes, and these promises only become better.

Mu'alem and Feitelson 2001, IEEE TPDS 12:529.
"""

from __future__ import annotations

from wq.core.policies.fifo import Fifo


class Conservative(Fifo):
    name = "conservative"
    promises: int | None = None


CONSERVATIVE = Conservative()
