"""Ranges are what sets of numbers would be."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.engines import array
from wq.core import ranges
from wq.core.array import Array
from wq.core.job import ArraySpec, JobId

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


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 30))))
def test_grouped_by_their_keys(threes: list[tuple[int, int, int]]) -> None:
    found = ranges.grouped(threes)
    sets = {key: {n for it, low, high in threes if it == key for n in range(low, high + 1)} for key, _, _ in threes}
    assert {key: listed(some) for key, some in found.items()} == {key: sorted(of) for key, of in sets.items() if of}


class Counted(int):
    """How often any of these was compared."""

    looked = 0

    def compared(self, other: int) -> int:
        Counted.looked += 1
        return int(self) - int(other)

    def __lt__(self, other: int) -> bool:
        return self.compared(other) < 0

    def __gt__(self, other: int) -> bool:
        return self.compared(other) > 0


@pytest.mark.parametrize("change", [Array.free, lambda array, places: array.remove(places, "me")])
def test_much_of_an_array_is_not_compared_each_with_each(change: Callable[[Array, ranges.Ranges], Array]) -> None:
    some = tuple((2 * n, 2 * n) for n in range(3000))
    spec = array(6000)
    begun = Array(id=JobId(1), spec=spec, submitted_s=0.0, waiting=(), blocked=some)
    Counted.looked = 0
    assert change(begun, tuple((Counted(n), Counted(n)) for n, _ in some)).blocked == ()
    assert Counted.looked < 200_000


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
