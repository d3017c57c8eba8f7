"""A mapping on top of another behaves like a dict, and what is below stays as it was until it is settled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.core.layered import Layered

KEYS = st.integers(0, 6)
SMALL = st.dictionaries(KEYS, st.integers())
STEPS = st.lists(st.tuples(st.sampled_from(["set", "delete", "pop", "setdefault"]), KEYS, st.integers()), max_size=30)


def do(step: tuple[str, int, int], mapping: Layered[int, int] | dict[int, int]) -> object:
    """What came of a step: a value, or the error's type."""
    what, key, value = step
    try:
        if what == "set":
            mapping[key] = value
        elif what == "delete":
            del mapping[key]
        elif what == "pop":
            return mapping.pop(key)
        else:
            return mapping.setdefault(key, value)
    except KeyError:
        return KeyError
    return None


class TestLayered:
    @given(SMALL, STEPS)
    def test_is_a_dict_to_whoever_looks(self, below: dict[int, int], steps: list[tuple[str, int, int]]) -> None:
        model, layered = dict(below), Layered(dict(below))
        for step in steps:
            assert do(step, layered) == do(step, model)
            assert dict(layered.items()) == model
            assert sorted(layered) == sorted(model)
            assert len(list(layered.values())) == len(layered) == len(model)
            assert all((key in layered) == (key in model) for key in range(7))
            assert all(layered.get(key) == model.get(key) for key in range(7))

    @given(SMALL, STEPS)
    def test_leaves_what_is_below_alone(self, below: dict[int, int], steps: list[tuple[str, int, int]]) -> None:
        base = dict(below)
        layered = Layered(base)
        for step in steps:
            do(step, layered)
        assert list(base.items()) == list(below.items())

    @given(SMALL, STEPS)
    def test_settled_it_is_what_is_below(self, below: dict[int, int], steps: list[tuple[str, int, int]]) -> None:
        base = dict(below)
        layered = Layered(base)
        for step in steps:
            do(step, layered)
        seen = dict(layered.items())
        layered.settle()
        assert base == seen == dict(layered.items())
        assert layered.changes == {}

    def test_can_be_written_to_while_its_keys_are_listed_first(self) -> None:
        layered = Layered({1: 1, 2: 2})
        for key in list(layered):
            del layered[key]
        assert len(layered) == 0

    def test_a_stranger_is_no_key(self) -> None:
        with pytest.raises(KeyError):
            Layered[int, int]({})[1]

    def test_none_is_a_value_like_others(self) -> None:
        layered: Layered[int, int | None] = Layered({1: 1})
        layered[1] = None
        assert 1 in layered
        assert layered[1] is None
