"""EASY: the first who must wait is promised a start; others may start before him if they do not delay it.

Lifka 1995, The ANL/IBM SP scheduling system, JSSPP, LNCS 949:295.
"""

from __future__ import annotations

from wq.core.policies.fifo import Fifo


class Easy(Fifo):
    name = "easy"
    promises: int | None = 1


EASY = Easy()
