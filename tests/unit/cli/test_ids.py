"""Ids of jobs as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.ids import LARGEST, MOST_RANGES, id_ranges


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
            ([], []),
        ],
    )
    def test_are_numbers_and_ranges(self, words: list[str], ranges: list[list[int]]) -> None:
        assert id_ranges(words) == ranges

    @pytest.mark.parametrize(
        "word", ["x", "-3", "3-", "-", "1-2-3", "1.5", "²", "+1", "1 2", " 1", "0x1", "all", "1_0"]
    )
    def test_nothing_else_is_one(self, word: str) -> None:
        with pytest.raises(WqError, match="is not the id of a job") as error:
            id_ranges([word])
        assert error.value.status == BAD_INPUT

    @pytest.mark.parametrize("word", ["0", "0-5", "9-3", str(LARGEST + 1), f"1-{LARGEST + 1}", "9" * 100])
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
            assert all(1 <= first <= last <= LARGEST for first, last in id_ranges(words))
