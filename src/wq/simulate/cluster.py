"""Clusters to replay a workload on: a pool of cores, and nodes that are not there yet."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wq.core.cluster import GROUP_PATTERN, Node
from wq.core.job import HostName
from wq.formats.clusterfile import MAX_NCORES, MAX_NODES

POOL = HostName("pool")
ADDED_FORM = "NODESxCORES, and groups behind a colon, such as 2x16 or 2x16:gen5,fast"
_ADDED = re.compile(r"([0-9]{1,6})[xX]([0-9]{1,6})(?::(.*))?")


def pool(ncores: int) -> tuple[Node, ...]:
    """So many cores, wherever they are."""
    return (Node(host=POOL, ncores=ncores, mem_gb=1.0),)


def with_added(nodes: Sequence[Node], text: str) -> tuple[Node, ...]:
    """These nodes, and others behind them: `2x16:gen5`. They have as much memory as the largest that is there.

    Raises ValueError with a sentence.
    """
    found = _ADDED.fullmatch(text.strip())
    shown = repr(text[:60])
    if found is None:
        raise ValueError(f"{shown} is not understood; allowed: {ADDED_FORM}")
    nnodes, ncores = int(found[1]), int(found[2])
    groups = tuple(dict.fromkeys(found[3].split(","))) if found[3] is not None else ()
    if not 1 <= ncores <= MAX_NCORES:
        raise ValueError(f"{shown}: a node has from 1 to {MAX_NCORES} cores")
    if nnodes < 1 or nnodes + len(nodes) > MAX_NODES:
        raise ValueError(f"{shown}: there may be from 1 to {MAX_NODES} nodes in all")
    for group in groups:
        if GROUP_PATTERN.fullmatch(group) is None:
            raise ValueError(f"{shown}: {group[:60]!r} cannot be the name of a group")
    taken = {node.host.lower() for node in nodes}
    mem_gb = max((node.mem_gb for node in nodes), default=1.0)
    added: list[Node] = []
    number = 0
    while len(added) < nnodes:
        number += 1
        host = f"added{number}"
        if host not in taken:
            added.append(Node(host=HostName(host), ncores=ncores, mem_gb=mem_gb, groups=groups))
    return (*nodes, *added)
