"""Ids of jobs as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.ids import LARGEST, MOST_RANGES, asked, id_ranges


class TestIds:
    @pytest.mark.parametrize(
        ("words", "ranges"),
        [
            (["12"], [[12, 12]]),
            (["3-9"], [[3, 9]]),
            (["12", "3-9"], [[12, 12], [3, 9]]),
            (["1,3-4", "7"], [[1, 1], [3, 4], [7, 7]]),
            (["5-5"], [[5, 5]]),
            ([",1,,2,"], [[1, 1], [2, 2]]),
            (["007"], [[7, 7]]),
            ([str(LARGEST)], [[LARGEST, LARGEST]]),
            (["12.5"], [[12, 12, 5, 5]]),
            (["12.100-200"], [[12, 12, 100, 200]]),
            (["12.0,3-9", "7.1"], [[12, 12, 0, 0], [3, 9], [7, 7, 1, 1]]),
            ([f"1.{LARGEST}"], [[1, 1, LARGEST, LARGEST]]),
            ([], []),
        ],
    )
    def test_are_numbers_and_ranges(self, words: list[str], ranges: list[list[int]]) -> None:
        assert id_ranges(words) == ranges

    @pytest.mark.parametrize(
        "word",
        [
            *"x|-3|3-|-|1-2-3|²|+1|1 2| 1|0x1|all|1_0".split("|"),
            *".|1.|.5|1.5.6|1.x|x.5|1-2.5|1.5-1.9|12.3-|12.-3|1.²|1. 5|-.5".split("|"),
        ],
    )
    def test_nothing_else_is_one(self, word: str) -> None:
        with pytest.raises(WqError, match="is not the id of a job") as error:
            id_ranges([word])
        assert error.value.status == BAD_INPUT

    @pytest.mark.parametrize(
        "word", ["0", "0-5", "9-3", "0.5", "1.9-3", str(LARGEST + 1), f"1-{LARGEST + 1}", f"1.{LARGEST + 1}", "9" * 100]
    )
    def test_nor_is_every_number(self, word: str) -> None:
        with pytest.raises(WqError, match="is no range of ids") as error:
            id_ranges([word])
        assert error.value.status == BAD_INPUT

    @pytest.mark.parametrize("word", ["1" * 5000, f"1-{'9' * 5000}"], ids=["id", "range"])
    def test_one_of_five_thousand_digits_is_refused_like_any_other(self, word: str) -> None:
        with pytest.raises(WqError) as error:
            id_ranges([word])
        assert error.value.status == BAD_INPUT
        assert len(str(error.value)) < 300

    def test_too_many_at_once_are_refused(self) -> None:
        assert len(id_ranges(["1"] * MOST_RANGES)) == MOST_RANGES
        with pytest.raises(WqError, match="201 ids and ranges are too many at once; at most 200"):
            id_ranges(["1"] * (MOST_RANGES + 1))

    @given(st.lists(st.text(max_size=12), max_size=4))
    def test_any_words_are_ranges_or_one_clear_line(self, words: list[str]) -> None:
        with contextlib.suppress(WqError):
            for found in id_ranges(words):
                assert len(found) in (2, 4)
                assert 1 <= found[0] <= found[1] <= LARGEST
                assert len(found) == 2 or (found[0] == found[1] and 0 <= found[2] <= found[3] <= LARGEST)

    def test_are_asked_for_apart_from_tasks(self) -> None:
        assert asked(["12", "7.1-3,3-9", "7.5"]) == {"ids": [[12, 12], [3, 9]], "tasks": [[7, 1, 3], [7, 5, 5]]}
        assert asked(["12"]) == {"ids": [[12, 12]]}, "a server that knows no arrays understands it"
