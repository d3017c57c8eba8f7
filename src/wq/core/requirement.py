"""What a job needs of the cluster: a file of its own, with the standard library alone, for the sake of the client."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

HOST_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
GROUP_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
LONGEST_TIME_S = 3650 * 86400.0  # that can be a time limit


class Mode(StrEnum):
    """How the nodes of a job are chosen; the unit of N depends on it."""

    BYCORE = "bycore"
    BYCORE1 = "bycore1"
    BYNODE = "bynode"
    BYHOST = "byhost"
    BYGROUP = "bygroup"


class Priority(StrEnum):
    """The classes of the queue; `block` is served first and holds others back while it waits."""

    LOW = "low"
    MED = "med"
    HIGH = "high"
    BLOCK = "block"


PRIORITY_RANK: dict[Priority, int] = {
    Priority.BLOCK: 0,
    Priority.HIGH: 1,
    Priority.MED: 2,
    Priority.LOW: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a job needs of the cluster.

    n: cores (bycore, bycore1, byhost) or nodes (bynode); unused by bygroup.
    groups: nodes in any of them; notgroups: nodes in none of them.
    min_cores: cores installed; min_mem_gb: gigabytes installed.
    threads: cores per MPI rank; cores come in multiples of it on each node.
    """

    mode: Mode = Mode.BYCORE
    n: int = 1
    groups: tuple[str, ...] = ()
    notgroups: tuple[str, ...] = ()
    host: str | None = None
    min_cores: int = 0
    min_mem_gb: float = 0.0
    threads: int | None = None
    priority: Priority = Priority.MED
