"""The nodes of the cluster. What is free is always derived from allocations, never counted beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from wq.core.job import Allocation, HostName
from wq.core.requirement import GROUP_PATTERN, HOST_PATTERN

__all__ = ["GROUP_PATTERN", "HOST_PATTERN"]

LOCALHOST = HostName("localhost")


class NodeState(StrEnum):
    """Whether new jobs may start on a node."""

    ONLINE = "online"
    DRAIN = "drain"  # what runs goes on, nothing new starts
    OFFLINE = "offline"


class Node(Struct, frozen=True, kw_only=True):
    """A machine that runs jobs. mem_gb: gigabytes installed; state, reason, since, by: who said what."""

    host: HostName
    ncores: int
    mem_gb: float
    groups: tuple[str, ...] = ()
    state: NodeState = NodeState.ONLINE
    reason: str = ""
    since_s: float | None = None
    by: str = ""
    leaving: bool = False  # no longer in the cluster file, goes when its last job has ended


def free_cores(nodes: Iterable[Node], held: Iterable[Allocation]) -> dict[HostName, tuple[int, ...]]:
    """The indices of the free cores of each node, ascending; allocations on unknown nodes count nowhere.

    If a node has fewer cores than before (the cluster file was edited), a core held beyond its end takes one from
    its end, so that a node on which something runs never looks wholly free.
    """
    used: dict[HostName, set[int]] = {}
    for allocation in held:
        for part in allocation.slices:
            used.setdefault(part.host, set()).update(part.cores)
    free = {}
    for node in nodes:
        taken = used.get(node.host)
        if taken is None:
            free[node.host] = tuple(range(node.ncores))
            continue
        left = tuple([core for core in range(node.ncores) if core not in taken])
        beyond = len(taken) + len(left) - node.ncores
        free[node.host] = left[: max(len(left) - beyond, 0)] if beyond else left
    return free


def usable(node: Node) -> bool:
    """True if new jobs may start on this node."""
    return node.state is NodeState.ONLINE and not node.leaving


def by_host(nodes: Iterable[Node]) -> Mapping[HostName, Node]:
    """The nodes by name, in their order."""
    return {node.host: node for node in nodes}
