"""Sets of whole numbers as ranges: a million tasks that wait cost what one costs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""(first, last) pairs, ascending, disjoint and not adjacent."""

MOST = 1 << 62


def count(ranges: Ranges) -> int:
    """How many numbers there are."""
    return sum(last - first + 1 for first, last in ranges)


def contains(ranges: Ranges, value: int) -> bool:
    """Whether a number is among them."""
    at = bisect_right(ranges, (value, MOST)) - 1
    return at >= 0 and ranges[at][1] >= value


def numbers(ranges: Ranges) -> Iterator[int]:
    """Each number, ascending."""
    for first, last in ranges:
        yield from range(first, last + 1)


def of(values: Iterable[int]) -> Ranges:
    """The ranges of some numbers, in whatever order they come."""
    found: list[tuple[int, int]] = []
    for value in sorted(values):
        if found and value <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(value, found[-1][1]))
        else:
            found.append((value, value))
    return tuple(found)


def split(ranges: Ranges, most: int) -> tuple[Ranges, Ranges]:
    """(the first `most` numbers, the rest)."""
    taken: list[tuple[int, int]] = []
    for at, (first, last) in enumerate(ranges):
        if most <= 0:
            return tuple(taken), ranges[at:]
        size = last - first + 1
        if size > most:
            taken.append((first, first + most - 1))
            return tuple(taken), ((first + most, last), *ranges[at + 1 :])
        taken.append((first, last))
        most -= size
    return tuple(taken), ()


def without(ranges: Ranges, first: int, last: int) -> Ranges:
    """The numbers outside first to last."""
    left: list[tuple[int, int]] = []
    for low, high in ranges:
        if high < first or low > last:
            left.append((low, high))
            continue
        if low < first:
            left.append((low, first - 1))
        if high > last:
            left.append((last + 1, high))
    return tuple(left)


def within(ranges: Ranges, first: int, last: int) -> Ranges:
    """The numbers from first to last."""
    return tuple((max(low, first), min(high, last)) for low, high in ranges if high >= first and low <= last)


def union(one: Ranges, other: Ranges) -> Ranges:
    """The numbers of either."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted((*one, *other)):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def merged(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """The numbers of ranges as people name them: in any order, more than once; one the wrong way round has none."""
    return union((), tuple((first, last) for first, last in pairs if first <= last))


def grouped(threes: Iterable[tuple[int, int, int]]) -> dict[int, Ranges]:
    """The numbers from (key, first, last), by their keys."""
    pairs: dict[int, list[tuple[int, int]]] = {}
    for key, first, last in threes:
        if first <= last:
            pairs.setdefault(key, []).append((first, last))
    return {key: union((), tuple(some)) for key, some in pairs.items()}


def minus(ranges: Ranges, others: Ranges) -> Ranges:
    """The numbers that are not among the others."""
    left: list[tuple[int, int]] = []
    at = 0
    for low, high in ranges:
        while at < len(others) and others[at][1] < low:
            at += 1
        here, first = at, low
        while here < len(others) and others[here][0] <= high:
            if others[here][0] > first:
                left.append((first, others[here][0] - 1))
            first = max(first, others[here][1] + 1)
            here += 1
        if first <= high:
            left.append((first, high))
    return tuple(left)


def both(ranges: Ranges, others: Ranges) -> Ranges:
    """The numbers that are among both."""
    return minus(ranges, minus(ranges, others))
