"""Where a requirement can be met: which nodes may serve it, which cores it gets, and whether it ever can.

Every mode is the same walk along the nodes, in the order of the cluster file, and differs in two things only:
what a node must have to be of use (a *piece* of free cores, or all of its cores), and when there is enough
(N cores, N nodes, or every node).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, assert_never

from wq.core.cluster import Node, free_cores
from wq.core.job import Allocation, HostName, Mode, Requirement, Slice

WHOLE_NODES = frozenset({Mode.BYNODE, Mode.BYGROUP})
ON_ONE_NODE = frozenset({Mode.BYCORE1, Mode.BYHOST})


def piece(requirement: Requirement) -> int:
    """The fewest cores that are of any use on one node: all N of them, or those of one MPI rank, or one core."""
    return requirement.n if requirement.mode in ON_ONE_NODE else requirement.threads or 1


def eligible(requirement: Requirement, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that could serve the requirement, in their order: by name, groups, memory and cores installed.

    States are not looked at. A node with fewer cores than a piece is of no use, and not eligible.
    """
    host = requirement.host
    if requirement.mode is Mode.BYHOST and host is None:
        return ()
    least_cores = max(requirement.min_cores, piece(requirement))
    least_mem_gb = requirement.min_mem_gb
    groups, notgroups = frozenset(requirement.groups), frozenset(requirement.notgroups)
    return tuple(
        node
        for node in nodes
        if node.ncores >= least_cores
        and node.mem_gb >= least_mem_gb
        and (not groups or not groups.isdisjoint(node.groups))
        and (not notgroups or notgroups.isdisjoint(node.groups))
        and (host is None or node.host == host)
    )


def place(
    requirement: Requirement, nodes: Sequence[Node], free: Mapping[HostName, tuple[int, ...]]
) -> Allocation | None:
    """The cores that the requirement gets, or None if it does not fit now.

    nodes: the usable ones, in the order of the cluster file, in which they are filled; bygroup takes every
    eligible one of them. free: the free cores of each, ascending; the lowest are taken.
    A node counts as whole if all of its cores are free.
    """
    return fill(requirement, eligible(requirement, nodes), free)


def fill(
    requirement: Requirement, nodes: Sequence[Node], free: Mapping[HostName, tuple[int, ...]]
) -> Allocation | None:
    """place() for a caller who knows that all of these nodes are eligible."""
    whole, least = requirement.mode in WHOLE_NODES, piece(requirement)
    missing = len(nodes) if requirement.mode is Mode.BYGROUP else requirement.n
    if missing < 1 or _broken_ranks(requirement):
        return None
    taken: list[tuple[HostName, tuple[int, ...]]] = []  # slices are made when it is known to fit: most do not
    for node in nodes:
        cores = free[node.host]
        nfree = len(cores)
        if nfree < node.ncores if whole else nfree < least:
            continue
        ntaken = nfree if whole else min(missing, nfree - nfree % least)
        taken.append((node.host, cores[:ntaken]))
        missing -= 1 if whole else ntaken
        if not missing:
            return Allocation(slices=tuple(Slice(host=host, cores=those) for host, those in taken))
    return None


def smallest(
    requirement: Requirement, nodes: Sequence[Node], free: Mapping[HostName, tuple[int, ...]]
) -> Allocation | None:
    """fill() with the fewest cores possible: bynode takes the smallest whole nodes, the others have no choice."""
    found = fill(requirement, sorted(nodes, key=lambda node: node.ncores), free)
    if found is None:
        return None
    chosen = frozenset(found.hosts)
    return fill(requirement, [node for node in nodes if node.host in chosen], free)


def impossible(requirement: Requirement, nodes: Sequence[Node]) -> str | None:
    """A sentence if these nodes could never meet the requirement, were they all online and empty; else None.

    It begins with the key that asks too much, or names the keys that no node meets together. Nodes that are
    leaving the cluster do not count.
    """
    nodes = [node for node in nodes if not node.leaving]
    if not nodes:
        return "the cluster has no nodes"
    if requirement.mode is Mode.BYHOST and requirement.host is None:
        return "host: byhost wants the name of a node"
    if requirement.mode is not Mode.BYGROUP and requirement.n < 1:
        return f"N: {requirement.n}: at least 1 is needed"
    if _broken_ranks(requirement):
        return f"N: {requirement.n} cores is not a multiple of threads: {requirement.threads}"
    return _unmet(requirement, nodes) or _too_many(requirement, nodes)


def _broken_ranks(requirement: Requirement) -> bool:
    """Whether the cores asked for are not whole MPI ranks."""
    return requirement.mode not in WHOLE_NODES and requirement.n % (requirement.threads or 1) != 0


@dataclass(frozen=True, slots=True)
class _Term:
    """One key of a requirement that each node meets or does not; alone: a requirement of nothing else."""

    key: Literal["host", "group", "notgroup", "min_cores", "min_mem", "threads"]
    value: str
    alone: Requirement

    def __str__(self) -> str:
        return f"{self.key}: {self.value}"


def _terms(requirement: Requirement) -> list[_Term]:
    terms: list[_Term] = []
    if requirement.host is not None:
        terms.append(_Term("host", requirement.host, Requirement(host=requirement.host)))
    if requirement.groups:
        terms.append(_Term("group", ", ".join(requirement.groups), Requirement(groups=requirement.groups)))
    if requirement.notgroups:
        terms.append(_Term("notgroup", ", ".join(requirement.notgroups), Requirement(notgroups=requirement.notgroups)))
    if requirement.min_cores > 0:
        terms.append(_Term("min_cores", str(requirement.min_cores), Requirement(min_cores=requirement.min_cores)))
    if requirement.min_mem_gb > 0:
        terms.append(_Term("min_mem", f"{requirement.min_mem_gb:g}", Requirement(min_mem_gb=requirement.min_mem_gb)))
    if requirement.threads is not None and requirement.threads > 1:
        terms.append(_Term("threads", str(requirement.threads), Requirement(threads=requirement.threads)))
    return terms


def _unmet(requirement: Requirement, nodes: Sequence[Node]) -> str | None:
    """A sentence that names the fewest terms that no node meets together, if there are such."""
    terms = _terms(requirement)
    meeting = [frozenset(node.host for node in eligible(term.alone, nodes)) for term in terms]
    for size in range(1, len(terms) + 1):
        for some in combinations(range(len(terms)), size):
            if frozenset.intersection(*(meeting[i] for i in some)):
                continue
            if size == 1:
                return _met_by_none(terms[some[0]], nodes)
            both = "both" if size == 2 else "all of"
            return f"no node meets {both} {_joined([terms[i] for i in some])}"
    return None


def _met_by_none(term: _Term, nodes: Sequence[Node]) -> str:
    match term.key:
        case "host":
            return f"host: no node is called '{term.value}'"
        case "group":
            here = ", ".join(dict.fromkeys(group for node in nodes for group in node.groups)) or "none"
            return f"group: no node is in {_named(term.alone.groups)} (groups here: {here})"
        case "notgroup":
            return f"notgroup: every node is in {_named(term.alone.notgroups)}"
        case "min_cores" | "threads":
            return f"{term}: the largest node has {_count(_largest(nodes), 'core')}"
        case "min_mem":
            return f"{term}: the largest node has {max(node.mem_gb for node in nodes):g} GB"
        case _:
            assert_never(term.key)


def _too_many(requirement: Requirement, nodes: Sequence[Node]) -> str | None:
    """A sentence if the nodes that meet every term are too few or too small for N."""
    terms, n = _terms(requirement), requirement.n
    if fill(requirement, eligible(requirement, nodes), free_cores(nodes, ())) is not None:
        return None
    meeting = [node for node in nodes if all(eligible(term.alone, [node]) for term in terms)]
    those = f"that meet {_joined(terms)}" if terms else ""
    match requirement.mode:
        case Mode.BYCORE:
            step = requirement.threads or 1
            have = sum(node.ncores - node.ncores % step for node in meeting)
            pieces = f" in pieces of {step}" if step > 1 else ""
            return f"N: {n} cores, but {f'the nodes {those} have' if terms else 'the cluster has'} {have}{pieces}"
        case Mode.BYCORE1:
            those = f" of those {those}" if terms else ""
            return f"bycore1: N: {n} cores on one node, but the largest node{those} has {_largest(meeting)}"
        case Mode.BYHOST:
            return f"byhost: N: {n} cores, but node {requirement.host} has {_largest(meeting)}"
        case Mode.BYNODE:
            have = len(meeting)
            return f"bynode: N: {n} nodes, but {f'the nodes {those} are' if terms else 'the cluster has'} {have}"
        case Mode.BYGROUP:
            return "bygroup: the nodes have no cores"
        case _:
            assert_never(requirement.mode)


def _largest(nodes: Sequence[Node]) -> int:
    return max((node.ncores for node in nodes), default=0)


def _joined(terms: Sequence[_Term]) -> str:
    """The terms as one phrase: 'group: a and min_cores: 12'."""
    *front, last = map(str, terms)
    return f"{', '.join(front)} and {last}" if front else last


def _named(groups: Sequence[str]) -> str:
    quoted = [f"'{group}'" for group in groups]
    return f"group {quoted[0]}" if len(quoted) == 1 else f"any of the groups {', '.join(quoted)}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
