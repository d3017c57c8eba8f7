"""Arrays: what people write, as few pieces, and what each task gets."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from itertools import product as combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.formats import array as arrays
from wq.formats.array import (
    MAX_TASK,
    ArrayError,
    ArraySpec,
    check_columns,
    environment_of,
    index_of,
    parse_array,
    row_of,
    spec_of,
    task_at,
    task_numbers,
    variable_of,
    wire_array,
)

RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 7)).map(lambda r: (r[0], r[0] + r[1], r[2])),
    min_size=1,
    max_size=8,
)


def written(ranges: list[tuple[int, int, int]]) -> str:
    return ",".join(f"{first}-{last}:{step}" for first, last, step in ranges)


def numbers_of(ranges: list[tuple[int, int, int]]) -> set[int]:
    return {number for first, last, step in ranges for number in range(first, last + 1, step)}


def refusal(text: str) -> str:
    with pytest.raises(ArrayError) as caught:
        parse_array(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestWhatIsWritten:
    @pytest.mark.parametrize(
        ("text", "pieces", "at_most"),
        [
            ("0-9999", [(0, 9999, 1)], None),
            ("7", [(7, 7, 1)], None),
            ("1,5,10-20:2", [(1, 1, 1), (5, 5, 1), (10, 20, 2)], None),
            ("0-9999%50", [(0, 9999, 1)], 50),
            ("10-21:2", [(10, 20, 2)], None),
            (" 3 , 1 - 2 ", [(1, 3, 1)], None),
            ("5-9,0-4", [(0, 9, 1)], None),
            ("0-9,3-5,2", [(0, 9, 1)], None),
            ("1,3,5,7", [(1, 7, 2)], None),
            ("1,3", [(1, 1, 1), (3, 3, 1)], None),
            ("0-8:2,1-9:2", [(0, 9, 1)], None),
            ("0-9:3,4-5", [(0, 0, 1), (3, 6, 1), (9, 9, 1)], None),
            ("5-9:7", [(5, 5, 1)], None),
            ("0010", [(10, 10, 1)], None),
            (f"{MAX_TASK}%{MAX_TASK}", [(MAX_TASK, MAX_TASK, 1)], MAX_TASK),
            (f"0-{MAX_TASK}:1000", [(0, MAX_TASK // 1000 * 1000, 1000)], None),
        ],
    )
    def test_is_read_as_few_pieces(self, text: str, pieces: list[tuple[int, int, int]], at_most: int | None) -> None:
        found = parse_array(text)
        assert (list(found.pieces), found.at_most) == (pieces, at_most)

    @pytest.mark.parametrize(
        "text", ["", " ", ",", "1,", "-1", "1-", "a", "1-2-3", "1:2", "1-5:", "1.5", "²", "1_0", "+1", "1 2", "1-5:x"]
    )
    def test_what_is_no_array_is_refused_with_what_is_allowed(self, text: str) -> None:
        assert "allowed: numbers and ranges such as 0-99" in refusal(text)

    def test_the_item_that_is_wrong_is_named(self) -> None:
        assert refusal("1,x,3").startswith("'x' in '1,x,3' is no task")

    @pytest.mark.parametrize("text", [str(MAX_TASK + 1), "9" * 5000, f"0-{MAX_TASK + 1}"])
    def test_numbers_end_somewhere(self, text: str) -> None:
        assert refusal(text).endswith(f"each from 0 to {MAX_TASK}")

    def test_a_range_goes_up(self) -> None:
        assert refusal("9-3") == "the range '9-3' goes down; allowed: first-last, as in 3-9"

    def test_a_step_is_at_least_one(self) -> None:
        assert "allowed: a whole number from 1" in refusal("1-9:0")

    @pytest.mark.parametrize("cap", ["", "0", "x", "-1", "1%2", str(MAX_TASK + 1)])
    def test_so_is_what_may_run_at_once(self, cap: str) -> None:
        assert "allowed: a whole number from 1" in refusal(f"0-9%{cap}")

    def test_there_are_at_most_so_many_tasks_however_they_are_written(self) -> None:
        assert parse_array("0-9999999").count == 10_000_000
        for text in (
            "0-10000000",
            f"0-{MAX_TASK}",
            "0-9999999,10000001",
            "0-19999998:2,20000001",
            "0-9999999:1,5,10000000",
        ):
            assert refusal(text) == "the array has more than 10000000 tasks; allowed: at most 10000000"

    def test_there_are_at_most_so_many_pieces(self) -> None:
        irregular = [str(i * i + 3 * i) for i in range(10_001)]
        assert len(parse_array(",".join(irregular[:10_000])).pieces) <= 10_000
        assert "in more than 10000 pieces" in refusal("0-3000000:3,1-3000000:4")

    def test_a_long_list_costs_little(self) -> None:
        began = time.process_time()
        assert parse_array(",".join(map(str, range(100_000)))).pieces == ((0, 99_999, 1),)
        assert parse_array("0-9999999,7-9999:3").count == 10_000_000
        assert time.process_time() - began < 2


class TestAsASet:
    @given(RANGES, st.none() | st.integers(1, 100))
    def test_it_has_the_numbers_that_were_written_in_order(
        self, ranges: list[tuple[int, int, int]], at_most: int | None
    ) -> None:
        found = parse_array(written(ranges) + ("" if at_most is None else f"%{at_most}"))
        numbers = sorted(numbers_of(ranges))
        assert list(found) == numbers
        assert (found.count, len(found), found.at_most) == (len(numbers), len(numbers), at_most)
        assert [number for number in range(-1, 130) if number in found] == numbers

    @given(RANGES)
    def test_its_pieces_are_in_order_apart_and_exact(self, ranges: list[tuple[int, int, int]]) -> None:
        pieces = parse_array(written(ranges)).pieces
        for first, last, step in pieces:
            assert 0 <= first <= last
            assert step >= 1
            assert (last - first) % step == 0
            assert step == 1 or last > first
        for (_, last, _), (first, _, _) in pairwise(pieces):
            assert last < first

    @given(RANGES)
    def test_its_text_gives_it_again_and_equal_sets_are_equal(self, ranges: list[tuple[int, int, int]]) -> None:
        found = parse_array(written(ranges))
        assert parse_array(str(found)) == found
        assert parse_array(",".join(map(str, sorted(numbers_of(ranges), reverse=True)))) == found
        assert hash(parse_array(str(found))) == hash(found)

    @given(RANGES)
    def test_places_and_numbers_fit_together(self, ranges: list[tuple[int, int, int]]) -> None:
        found = parse_array(written(ranges))
        array = wire_array(found)
        for index, task in enumerate(found):
            assert found.index_of(task) == index_of(array, task) == index
            assert found.task_at(index) == task_at(array, index) == task
        for absent in {-1, 0, 30, 200} - set(found):
            for ask in (found.index_of, lambda task: index_of(array, task)):
                with pytest.raises(KeyError):
                    ask(absent)
        for outside in (-1, found.count):
            for look in (found.task_at, lambda index: task_at(array, index)):
                with pytest.raises(IndexError):
                    look(outside)

    def test_it_differs_from_others(self) -> None:
        assert parse_array("0-9") != parse_array("0-9%5")
        assert parse_array("0-9%5").capped(None) == parse_array("0-9")
        assert parse_array("0-9") != "0-9"
        assert "7" not in parse_array("0-9")
        assert repr(parse_array("9,0-4:2%3")) == "<ArraySpec 0-4:2,9%3>"


class TestOverTheWire:
    def wired(self, **more: Any) -> dict[str, Any]:
        array: dict[str, Any] = json.loads(json.dumps(wire_array(parse_array("0-4:2,9%3"), **more)))
        return array

    def test_it_is_the_same_on_the_other_side(self) -> None:
        array = self.wired()
        assert array == {"tasks": [[0, 4, 2], [9, 9, 1]], "at_most": 3, "columns": [], "rows": None, "product": None}
        assert spec_of(array) == parse_array("0-4:2,9%3")
        assert list(task_numbers(array)) == [0, 2, 4, 9]

    def test_a_task_has_its_number(self) -> None:
        assert [row_of(self.wired(), index) for index in range(4)] == [{"task": t} for t in ("0", "2", "4", "9")]
        assert environment_of(self.wired(), 3) == {"WQ_TASK_ID": "9"}

    def test_and_its_row(self) -> None:
        array = self.wired(columns=["lr", "a b"], rows=[[str(n), "x"] for n in range(4)])
        assert row_of(array, 3) == {"task": "9", "lr": "3", "a b": "x"}
        assert environment_of(array, 3) == {"WQ_TASK_ID": "9", "WQ_PARAM_lr": "3", "WQ_PARAM_a_b": "x"}

    def test_and_its_line(self) -> None:
        array = self.wired(columns=["line"], rows=[["a"], ["b"], ["c"], ["d"]])
        assert environment_of(array, 1) == {"WQ_TASK_ID": "2", "WQ_LINE": "b", "WQ_PARAM_line": "b"}

    @given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    def test_of_a_product_the_first_varies_slowest(self, sizes: list[int]) -> None:
        product = [(f"p{at}", [f"{at}.{n}" for n in range(size)]) for at, size in enumerate(sizes)]
        expected = list(combinations(*(values for _, values in product)))
        array = wire_array(ArraySpec([(1, len(expected), 1)]), [name for name, _ in product], None, product)
        for index, values in enumerate(expected):
            row = row_of(array, index)
            assert list(row) == ["task", *(name for name, _ in product)]
            assert tuple(row.values()) == (str(index + 1), *values)
        with pytest.raises(IndexError):
            arrays._values(array, len(expected))


class TestColumns:
    @pytest.mark.parametrize("names", [["lr", "seed"], ["a b", "\u017e", "x-1"], ["line"], ["id"], ["LR", "lr"]])
    def test_may_be_called_almost_anything(self, names: list[str]) -> None:
        check_columns(names)

    @pytest.mark.parametrize(
        ("names", "why"),
        [
            (["a", ""], "column 2 has no name"),
            (["a", "b", "a"], "two columns are called 'a'"),
            (["a-b", "a.b"], "columns 'a-b' and 'a.b' would both be WQ_PARAM_a_b"),
            (["task"], "%task% is something else"),
            (["hostfile"], "%hostfile% is something else"),
            (["threads"], "%threads% is something else"),
            (["a%"], "no %"),
            (["a\nb"], "printable"),
            (["\x1b"], "printable"),
        ],
    )
    def test_but_not_what_no_placeholder_could_mean(self, names: list[str], why: str) -> None:
        with pytest.raises(ArrayError) as caught:
            check_columns(names)
        assert why in str(caught.value)
        assert str(caught.value).isprintable()

    def test_are_variables_of_letters_digits_and_underscores(self) -> None:
        assert [variable_of(name) for name in ("lr", "a b", "\u017e1", "x.y-z")] == [
            "WQ_PARAM_lr",
            "WQ_PARAM_a_b",
            "WQ_PARAM__1",
            "WQ_PARAM_x_y_z",
        ]
