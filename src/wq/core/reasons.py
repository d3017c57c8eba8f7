"""Why a job waits, in words that name what it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias, assert_never

from msgspec import Struct

from wq.core.cluster import Node, NodeState, usable
from wq.core.job import HostName, Mode, Requirement
from wq.core.place import eligible, fill, impossible

Cores: TypeAlias = Mapping[HostName, tuple[int, ...]]

NODES_NAMED = 3  # the others are counted


class ReasonCode(StrEnum):
    """What kind of thing keeps a job waiting."""

    RESOURCES = "Resources"
    BLOCK = "Block"
    RESERVATION = "Reservation"
    PRIORITY = "Priority"
    LIMIT = "Limit"
    NODE_DOWN = "NodeDown"
    NODE_PAUSED = "NodePaused"
    LAUNCHER_AWAY = "LauncherAway"
    HOLD = "Hold"
    DEPENDENCY = "Dependency"
    BEGIN = "Begin"


class Reason(Struct, frozen=True, kw_only=True):
    """Why a job waits. text: a fragment of a sentence in plain words, without a full stop.

    start_s: when it is promised a start, in seconds since 1970.
    """

    code: ReasonCode
    text: str
    start_s: float | None = None


def _off(node: Node) -> bool:
    """Whether the owner has taken the node out of the cluster for now, so that bygroup does not count it."""
    return node.leaving or node.state is NodeState.OFFLINE


def of_group(requirement: Requirement, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that bygroup wants: all eligible ones that are not off."""
    return tuple(node for node in eligible(requirement, nodes) if not _off(node))


def beyond_room(limit: int | None, ncores: int, least: int, least_when_empty: int | None) -> Reason:
    """Its user's limit of cores is in the way: always, or because only nodes are free that are too large for it.

    ncores: that he has; least: that it takes at least as things are, and (least_when_empty) if nothing ran.
    """
    if least_when_empty is not None and limit is not None and least_when_empty <= limit - ncores:
        text = f"whole nodes within limit cores: {limit} wanted, the smallest free have {least} cores"
        return Reason(code=ReasonCode.RESOURCES, text=text)
    text = f"limit cores: {limit} reached ({ncores} in use, {least} more wanted)"
    return Reason(code=ReasonCode.LIMIT, text=text)


def shortage(requirement: Requirement, nodes: Sequence[Node], free: Cores) -> str:
    """What is wanted, and how much of it is free, on nodes that could be used."""
    n, step = requirement.n, requirement.threads or 1
    nfree = [len(free[node.host]) for node in nodes]
    nwhole = sum(len(free[node.host]) == node.ncores for node in nodes)
    where = _where(requirement)
    match requirement.mode:
        case Mode.BYCORE:
            pieces = f" in pieces of {step}" if step > 1 else ""
            return f"{_cores(n)}{pieces} wanted{where}, {_are(sum(k - k % step for k in nfree))} free"
        case Mode.BYCORE1:
            return f"{_cores(n)} on one node wanted{where}, at most {_are(max(nfree))} free on one"
        case Mode.BYHOST:
            return f"{_cores(n)} on node {requirement.host} wanted, {_are(sum(nfree))} free"
        case Mode.BYNODE:
            return f"{n} whole node{'s' if n > 1 else ''} wanted{where}, {_are(nwhole)} wholly free"
        case Mode.BYGROUP:
            return f"all {len(nodes)} nodes wanted{where}, {_are(nwhole)} wholly free"
        case _:
            assert_never(requirement.mode)


def _where(requirement: Requirement) -> str:
    """Which nodes will do, in words; nothing if all of them."""
    words = [
        f" of group {' or '.join(requirement.groups)}" if requirement.groups else "",
        f" outside group {' and '.join(requirement.notgroups)}" if requirement.notgroups else "",
        f" called {requirement.host}" if requirement.host is not None else "",
    ]
    installed = [
        f"{_cores(requirement.min_cores)}" if requirement.min_cores > 0 else "",
        f"{requirement.min_mem_gb:g} GB" if requirement.min_mem_gb > 0 else "",
    ]
    if any(installed):
        words.append(f" with at least {' and '.join(filter(None, installed))}")
    return f" on nodes{''.join(words)}" if any(words) else ""


def out_of_use(
    requirement: Requirement, nodes: Sequence[Node], paused: Mapping[HostName, str], empty: Cores, user: str
) -> Reason:
    """The nodes without which the requirement does not fit even if nothing runs, and what is the matter with them."""
    able = eligible(requirement, nodes)
    if requirement.mode is Mode.BYGROUP:
        able = of_group(requirement, nodes) or able
    down = [node for node in able if not usable(node)]
    shut = [node for node in able if usable(node) and node.host in paused]
    if fill(requirement, able, empty) is None:
        text = impossible(requirement, nodes) or "no node of the cluster can serve it"
        return Reason(code=ReasonCode.RESOURCES, text=text)

    def enough(without: Sequence[Node]) -> bool:
        missing = frozenset(node.host for node in without)
        if requirement.mode is Mode.BYGROUP:
            return not missing
        return fill(requirement, [node for node in able if node.host not in missing], empty) is not None

    pauses = [f"node {node.host} is paused for {user}: {paused[node.host]}" for node in shut]
    if enough(without=down):
        return Reason(code=ReasonCode.NODE_PAUSED, text=_listed(pauses))
    downs = [_state(node) for node in down]
    return Reason(code=ReasonCode.NODE_DOWN, text=_listed(downs if enough(without=shut) else downs + pauses))


def _state(node: Node) -> str:
    because = f": {node.reason}" if node.reason else ""
    if node.leaving:
        return f"node {node.host} is leaving the cluster{because}"
    match node.state:
        case NodeState.ONLINE:
            return f"node {node.host} is online"
        case NodeState.DRAIN:
            return f"node {node.host} is draining{because}"
        case NodeState.OFFLINE:
            return f"node {node.host} is offline{because}"
        case _:
            assert_never(node.state)


def _listed(sentences: Sequence[str]) -> str:
    more = len(sentences) - NODES_NAMED
    named = "; ".join(sentences[:NODES_NAMED])
    return f"{named}; and {more} more" if more > 0 else named


def _cores(number: int) -> str:
    return "1 core" if number == 1 else f"{number} cores"


def _are(number: int) -> str:
    return "1 is" if number == 1 else f"{number} are"
