"""Workload traces: which jobs they have, and what is refused with which line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wq.formats import FormatError, swf
from wq.formats.swf import Row, Trace, parse_swf

EXAMPLE = b"""\
; Version: 2.2
; Note: MaxProcs: 7 is said elsewhere
; MaxNodes: 50
;  maxprocs : 100
; MaxProcs: 50 (of a part of it)

    1        0 964980  97225   56     -1    -1   60 210000    -1  1   3   1  -1  2  4 -1 -1
    2      7.5     -1     -1    0     -1    -1   -1     -1    -1 -1  -1  -1  -1 -1 -1 -1 -1
"""


def parsed(text: bytes) -> Trace:
    return parse_swf(text.splitlines(keepends=True), source="a.swf")


def line(**fields: object) -> bytes:
    """A line of a job: `f4=10` puts 10 into field 4."""
    words = ["1", "0", "0", "60", "2", "-1", "-1", "3", "100", "-1", "1", "5", "-1", "-1", "-1", "-1", "-1", "-1"]
    for name, value in fields.items():
        words[int(name[1:]) - 1] = str(value)
    return (" ".join(words) + "\n").encode()


def refusal(text: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        parsed(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_line_is_a_job_and_what_is_not_known_is_none() -> None:
    first = Row(1, 0.0, 97225.0, 56, 60, 210000.0, user=3, queue=2, partition=4)
    second = Row(2, 7.5, None, None, None, None, None, None, None)
    assert parsed(EXAMPLE).rows == [first, second]


def test_the_first_header_of_each_kind_counts() -> None:
    trace = parsed(EXAMPLE)
    assert (trace.max_procs, trace.max_nodes) == (100, 50)
    assert (parsed(line()).max_procs, parsed(line()).max_nodes) == (None, None)


def test_comments_are_any_bytes_and_blank_lines_are_none() -> None:
    assert len(parsed(b"; K\xf6ln \x00\n;\n\n \t \r\n" + line() + b";" + line()).rows) == 1


def test_a_byte_order_mark_and_other_ends_of_lines_do_no_harm() -> None:
    assert parsed(b"\xef\xbb\xbf" + line().replace(b"\n", b"\r\n")) == parsed(line())


def test_jobs_stay_in_their_order_also_if_that_is_not_of_time() -> None:
    assert [row.number for row in parsed(line(f1=3, f2=9) + line(f1=1, f2=5)).rows] == [3, 1]


def test_parts_of_a_job_that_was_swapped_out_are_left_out_and_counted() -> None:
    trace = parsed(line(f11=0) + line(f11=2, f4=20) + line(f11=3, f4=40) + line(f1=2, f11=4))
    assert ([row.number for row in trace.rows], trace.nparts) == ([1, 2], 2)


@pytest.mark.parametrize("word", ["-1", "0", "-7", "0.0"])
def test_times_and_processors_below_one_are_not_known(word: str) -> None:
    (row,) = parsed(line(f4=word, f5=word, f8=word, f9=word)).rows
    assert (row.run_s, row.allocated, row.requested, row.request_s) == (None, None, None, None)


@pytest.mark.parametrize(("word", "run_s"), [("1.5", 1.5), ("1e3", 1000.0), ("+7", 7.0), ("3.", 3.0)])
def test_numbers_may_be_written_in_their_usual_ways(word: str, run_s: float) -> None:
    assert parsed(line(f4=word)).rows[0].run_s == run_s


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        (line(f4="nan"), "a.swf:1: run time (field 4) is 'nan'; allowed: a number up to 10000000000, or -1"),
        (line(f4="inf"), "'inf'"),
        (line(f4="1e99"), "'1e99'"),
        (line(f4="9" * 400), "field 4"),
        (line(f4="1_000"), "'1_000'"),
        (line(f4="0x10"), "'0x10'"),
        (line(f4="\u0663"), "field 4"),
        (line(f2="-5"), "submit time (field 2) is '-5'; allowed: seconds from 0"),
        (line(f2="-1"), "submit time"),
        (line(f1="-1"), "job number (field 1) is '-1'; allowed: a whole number up to"),
        (line(f1="1.5"), "job number"),
        (line(f8="2.5"), "requested processors (field 8) is '2.5'; allowed: a whole number"),
        (line(f8="2000000"), "allowed: a number up to 1000000"),
        (line(f12="anze"), "user (field 12) is 'anze'"),
        (b"1 2 3\n", "a.swf:1: 3 fields in '1 2 3'; allowed: 18 numbers, or a comment behind `;`"),
        (line().replace(b"\n", b" 7\n"), "19 fields"),
        (b"; only\n; comments\n", "a.swf:2: there is no job here"),
        (b"", "a.swf:1: there is no job here"),
        (b"\x1f\x8b\x08\x00garbage\xff\xfe", "1 field in '"),
        (line() + b"# x\n", "a.swf:2: 2 fields"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_line(text: bytes, telling: str) -> None:
    assert telling in refusal(text)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "too long; at most 10000 bytes" in refusal(b";" * 20_000)
    monkeypatch.setattr(swf, "MAX_JOBS", 2)
    monkeypatch.setattr(swf, "MAX_LINES", 4)
    assert "a.swf:3: there are too many jobs; at most 2" in refusal(line() * 3)
    assert "a.swf:5: there are too many lines; at most 4" in refusal(b";\n" * 5)


PIECES = st.sampled_from([line(), b";", b"\n", b"nan ", b"1 " * 18])


def outcome(text: bytes) -> Trace | FormatError:
    try:
        return parsed(text)
    except FormatError as error:
        return error


@given(st.binary(max_size=300) | st.lists(PIECES, max_size=9).map(b"".join))
@settings(deadline=None)
def test_any_bytes_are_a_trace_or_one_line_that_says_why_not(text: bytes) -> None:
    found = outcome(text)
    if isinstance(found, FormatError):
        assert str(found).startswith("a.swf:")
        assert "\n" not in str(found)
    else:
        assert found.rows
        assert all(0 <= row.submit_s <= swf.MOST_S and row.number >= 0 for row in found.rows)
