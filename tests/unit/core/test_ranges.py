"""Ranges are what sets of numbers would be."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wq.core import ranges
from wq.core.job import ArraySpec

NUMBERS = st.sets(st.integers(0, 60))


def listed(found: ranges.Ranges) -> list[int]:
    assert all(first <= last for first, last in found)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(found))
    return list(ranges.numbers(found))


@given(NUMBERS, st.integers(-1, 70), st.integers(0, 70))
def test_they_are_what_sets_of_numbers_are(some: set[int], low: int, size: int) -> None:
    found = ranges.of(some)
    assert listed(found) == sorted(some)
    assert ranges.count(found) == len(some)
    assert ranges.contains(found, low) == (low in some)
    assert listed(ranges.without(found, low, low + size)) == [n for n in sorted(some) if not low <= n <= low + size]
    assert listed(ranges.within(found, low, low + size)) == [n for n in sorted(some) if low <= n <= low + size]
    taken, left = ranges.split(found, size)
    assert (listed(taken), listed(left)) == (sorted(some)[:size], sorted(some)[size:])


@given(NUMBERS, NUMBERS)
def test_a_union(some: set[int], others: set[int]) -> None:
    assert listed(ranges.union(ranges.of(some), ranges.of(others))) == sorted(some | others)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(1, 7)), min_size=1), st.data())
def test_tasks_have_places_whatever_their_numbers(steps: list[tuple[int, int, int]], data: st.DataObject) -> None:
    pieces: list[tuple[int, int, int]] = []
    numbers: list[int] = []
    at = 0
    for gap, length, step in steps:
        first = at + gap
        pieces.append((first, first + length, step))
        numbers += range(first, first + length + 1, step)
        at = first + length + 1
    spec = ArraySpec(pieces=tuple(pieces))
    assert spec.size == len(numbers)
    assert [spec.number(place) for place in range(spec.size)] == numbers
    low, high = data.draw(st.integers(0, at)), data.draw(st.integers(0, at))
    places = [place for first, last in spec.places(low, high) for place in range(first, last + 1)]
    assert places == [place for place, number in enumerate(numbers) if low <= number <= high]
