"""First come, first served: nobody starts before one who came earlier."""

from __future__ import annotations

from wq.core.policies.fifo import Fifo


class Fcfs(Fifo):
    name = "fcfs"
    strict = True


FCFS = Fcfs()
