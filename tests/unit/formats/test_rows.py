"""Rows of arrays: lines, CSV, parameters."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.formats import FormatError, rows
from wq.formats.array import ArrayError, row_of
from wq.formats.rows import array_of_csv, array_of_lines, array_of_params

VALUES = st.text(st.characters(blacklist_characters="\0\r\n", blacklist_categories=["Cs"]), max_size=8)


def lines(data: bytes) -> dict[str, Any]:
    return array_of_lines(data, source="points.txt")


def table(data: bytes) -> dict[str, Any]:
    return array_of_csv(data, source="runs.csv")


def refused(data: bytes, *, as_csv: bool = False) -> str:
    with pytest.raises(FormatError) as caught:
        (table if as_csv else lines)(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestLines:
    @pytest.mark.parametrize(
        "data", [b"a\nb c\n", b"a\nb c", b"a\r\nb c\r\n", b"\n \na\nb c\n\n", b"\xef\xbb\xbfa\nb c\n"]
    )
    def test_that_are_not_blank_are_tasks_from_one(self, data: bytes) -> None:
        assert lines(data) == {
            "tasks": [[1, 2, 1]],
            "at_most": None,
            "columns": ["line"],
            "rows": [["a"], ["b c"]],
            "product": None,
        }

    @given(st.lists(VALUES, min_size=1))
    def test_come_out_as_they_are(self, values: list[str]) -> None:
        kept = [[value] for value in values if value.strip()]
        if kept and not values[0].startswith("\ufeff"):
            assert lines("\n".join(values).encode())["rows"] == kept

    def test_keep_their_blanks_and_every_other_sign(self) -> None:
        assert lines("  a\t\n\x0b\u2028b\x1b\n".encode())["rows"] == [["  a\t"], ["\x0b\u2028b\x1b"]]

    @pytest.mark.parametrize("data", [b"", b"\n\n", b" \n\t\n", b"\xef\xbb\xbf"])
    def test_must_be_there(self, data: bytes) -> None:
        assert refused(data).startswith("points.txt:1: there is no line here")

    def test_that_are_no_text_are_named(self) -> None:
        assert refused(b"a\nb\0\n").startswith("points.txt:2: there is a NUL here; allowed: UTF-8")
        assert refused(b"a\n\nb\xe9\n").startswith("points.txt:3: the byte 0xe9 is no UTF-8; allowed: UTF-8")

    def test_have_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert refused(b"x" * 100_001).startswith("points.txt:1: a value here is too long")
        assert refused(b"\n" + "\u017e".encode() * 50_001).startswith("points.txt:2: a value here is too long")
        assert lines(b"x" * 100_000)
        monkeypatch.setattr(rows, "MAX_ROWS", 2)
        assert lines(b"a\n\nb\n\n")
        assert refused(b"a\n\nb\nc\n").startswith("points.txt:4: there are more than 2 tasks here")
        monkeypatch.setattr(rows, "MAX_ROWS_BYTES", 1 << 20)
        assert refused(b"\n" * ((1 << 20) + 1)) == "points.txt:1: the file is too large; allowed: at most 1 MiB"


class TestCsv:
    def test_names_its_columns_in_the_first_line(self) -> None:
        found = table(b'\xef\xbb\xbflr, seed\r\n0.1,"a, ""b"""\r\n\r\n0.2, 2\r\n')
        assert found == {
            "tasks": [[1, 2, 1]],
            "at_most": None,
            "columns": ["lr", "seed"],
            "rows": [["0.1", 'a, "b"'], ["0.2", " 2"]],
            "product": None,
        }

    @given(st.lists(st.tuples(VALUES, VALUES), min_size=1))
    def test_is_read_as_it_was_written(self, values: list[tuple[str, str]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows([("a", "b"), *values])
        assert table(text.getvalue().encode())["rows"] == [list(row) for row in values]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "runs.csv:1: there is no row here"),
            (b"a,b\n", "runs.csv:1: there is no row here"),
            (b"a,b\n1,2\n3\n", "runs.csv:3: 1 field, but the first line names 2"),
            (b"a,b\n1,2,3\n", "runs.csv:2: 3 fields, but the first line names 2"),
            (b"\na,,b\n1,2,3\n", "runs.csv:2: column 2 has no name"),
            (b"a,b, a\n1,2,3\n", "runs.csv:1: two columns are called 'a'"),
            (b"a,task\n1,2\n", "runs.csv:1: a column cannot be called 'task'"),
            (b'a,b\n1,"2\n', "runs.csv:2: not CSV: "),
            (b'a,b\n1,"2"x\n', "runs.csv:2: not CSV: "),
            (b"a,b\n1,\0\n", "runs.csv:2: there is a NUL here"),
            (b"a,b\n1,\xff\n", "runs.csv:2: the byte 0xff is no UTF-8"),
            (b"a,b\n1," + b"x" * 200_000, "runs.csv:2: not CSV: field larger than field limit"),
            (b"a,b\n1," + b"x" * 110_000, "runs.csv:2: a value here is too long"),
        ],
    )
    def test_that_is_none_is_refused_with_its_line(self, data: bytes, message: str) -> None:
        assert refused(data, as_csv=True).startswith(message)


class TestParameters:
    def test_give_all_combinations_the_first_slowest(self) -> None:
        array = array_of_params(["lr=0.1,0.01", "seed=1-3"])
        assert (array["tasks"], array["columns"], array["rows"]) == ([[1, 6, 1]], ["lr", "seed"], None)
        assert array["product"] == [["lr", ["0.1", "0.01"]], ["seed", ["1", "2", "3"]]]
        assert [list(row_of(array, index).values()) for index in (0, 1, 3, 5)] == [
            ["1", "0.1", "1"],
            ["2", "0.1", "2"],
            ["4", "0.01", "1"],
            ["6", "0.01", "3"],
        ]

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("a=x", ["x"]),
            ("a= x , y ", ["x", "y"]),
            ("a=1-3,7,10-30:10", ["1", "2", "3", "7", "10", "20", "30"]),
            ("a=008-010", ["008", "009", "010"]),
            ("a=8-10", ["8", "9", "10"]),
            ("a=0-1", ["0", "1"]),
            (
                "a=-3,1e-3,0.1-0.2,a-b,2024-01-15,1:2,1-2:x,b=c",
                ["-3", "1e-3", "0.1-0.2", "a-b", "2024-01-15", "1:2", "1-2:x", "b=c"],
            ),
        ],
    )
    def test_are_values_and_ranges_of_whole_numbers(self, text: str, values: list[str]) -> None:
        assert array_of_params([text])["product"] == [["a", values]]

    @pytest.mark.parametrize(
        ("texts", "why"),
        [
            (["a"], "'a' is no parameter"),
            (["=1"], "'=1' is no parameter"),
            (["a="], "there is an empty value in 'a='"),
            (["a=1,,2"], "there is an empty value in 'a=1,,2'"),
            (["a=5-1"], "no number is in the range '5-1' of 'a=5-1'"),
            (["a=1-5:0"], "no number is in the range '1-5:0'"),
            (["a=1", "a=2"], "two columns are called 'a'"),
            (["task=1"], "a column cannot be called 'task'"),
            (["a=1-1000001"], "has more than 1000000 values"),
            (["a=1-600000,1-600000"], "has more than 1000000 values"),
            (["a=0-999999999999999"], "has more than 1000000 values"),
            (["a=1-10000", "b=1-1001"], "10000 x 1001 combinations are more than 10000000 tasks"),
            (["a=" + "x" * 100_000], "is too long"),
        ],
    )
    def test_that_are_none_are_refused(self, texts: list[str], why: str) -> None:
        with pytest.raises(ArrayError) as caught:
            array_of_params(texts)
        assert why in str(caught.value)
        assert len(str(caught.value)) < 300
