"""Whatever others wrote reaches a terminal as text and as nothing else."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.cli.render.sanitise import MARKS, cut, painted_width, printable, shortened, walk, width, word

CODE_POINTS = range(sys.maxunicode + 1)
ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()))
DANGEROUS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def is_harmless(text: str) -> bool:
    if text.isascii() and text.isprintable():
        return True
    return all(char == " " or unicodedata.category(char) not in (*DANGEROUS, "Zs") for char in text)


def test_no_code_point_comes_out_of_printable_as_a_control() -> None:
    assert not [code for code in CODE_POINTS if not is_harmless(printable(chr(code)))]


def test_no_code_point_comes_out_of_word_as_a_control_or_a_blank() -> None:
    bad = [code for code in CODE_POINTS if not is_harmless(shown := word(chr(code))) or len(shown.split()) != 1]
    assert not bad


def test_no_control_byte_comes_out_when_all_code_points_are_encoded() -> None:
    everything = "".join(map(chr, CODE_POINTS))
    for shown in (printable(everything), word(everything)):
        assert not set(shown.encode()) & {*range(0x20), 0x7F}
        assert not set(shown) & {chr(code) for code in range(0x80, 0xA0)}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x7f", "\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066\u200f\u061c", "\\u2066\\u200f\\u061c"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\udc80", "\\udc80"),
        ("\ue000", "\\ue000"),
        ("\U000e0041", "\\U000e0041"),
        ("\u3164\u2800\u115f", "\\u3164\\u2800\\u115f"),
        ("a\xa0b\u3000c", "a b c"),
        ("Zürich 日本 \N{SLIGHTLY SMILING FACE}", "Zürich 日本 \N{SLIGHTLY SMILING FACE}"),
        ("", ""),
        (" two  words ", " two  words "),
    ],
)
def test_what_is_unfit_is_shown_escaped_and_the_rest_as_it_is(raw: str, shown: str) -> None:
    assert printable(raw) == shown


def test_marks_stay_on_their_letter_but_a_crowd_of_them_does_not() -> None:
    mark = "\u0301"
    assert printable("e" + mark) == "e" + mark
    assert printable("e" + mark * 1000).count(mark) == MARKS


@pytest.mark.parametrize("before", ["", " ", "\x1b", "\xa0"])
def test_a_mark_without_a_letter_does_not_climb_on_what_stands_before(before: str) -> None:
    assert printable(before + "\u0301").endswith("\\u0301")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("source", "source"),
        ("my job", "my-job"),
        ("my \t\n job", "my-job"),
        (" a ", "-a-"),
        ("a\x1cb\u2028c\x85d\xa0e", "a-b-c-d-e"),
        ("", "-"),
        (" ", "-"),
        ("\n\n", "-"),
        ("\x1b[31m x", "\\x1b[31m-x"),
    ],
)
def test_a_word_is_one_word(raw: str, shown: str) -> None:
    assert word(raw) == shown


@given(ANY_TEXT)
def test_any_text_is_harmless_and_stays_so(text: str) -> None:
    for sanitise in (printable, word):
        shown = sanitise(text)
        assert is_harmless(shown)
        assert sanitise(shown) == shown
    assert len(word(text).split()) == 1


@given(ANY_TEXT)
def test_the_walk_changes_only_what_it_escapes(text: str) -> None:
    assert walk(text, lambda char: char) == text


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("é", 1), ("e\u0301", 1), ("日本", 4), ("\u1112\u1161\u11ab", 2)],
)
def test_width_counts_columns_of_the_terminal(text: str, columns: int) -> None:
    assert width(text) == columns


class TestRoom:
    """Texts in so many columns of a terminal."""

    @given(st.text(alphabet=st.characters(codec="utf-8")), st.integers(0, 12), st.booleans())
    def test_whatever_is_shortened_fits(self, text: str, room: int, middle: bool) -> None:
        clean = printable(text)
        found = shortened(clean, room, middle=middle)
        assert width(found) <= room
        assert found == clean if width(clean) <= room else found.count("…") >= min(room, 1)

    @pytest.mark.parametrize(
        ("room", "end", "middle"),
        [(9, "abcdefghi", "abcdefghi"), (8, "abcdefg…", "abcd…ghi"), (3, "ab…", "a…i"), (1, "…", "…"), (0, "", "")],
    )
    def test_its_end_or_its_middle_goes(self, room: int, end: str, middle: str) -> None:
        assert shortened("abcdefghi", room) == end
        assert shortened("abcdefghi", room, middle=True) == middle

    def test_wide_letters_are_not_cut_in_two(self) -> None:
        assert shortened("日本語", 4) == "日…"
        assert cut("日本語", 3) == "日"

    def test_paint_does_not_count_and_ends_where_the_line_is_cut(self) -> None:
        line = "12 \x1b[32mR1234\x1b[0m end"
        assert cut(line, 12) == line
        assert cut(line, 10) == "12 \x1b[32mR1234\x1b[0m e"
        assert cut(line, 5) == "12 \x1b[32mR1\x1b[0m"
        assert [painted_width(cut(line, room)) for room in (0, 3, 5, 12, 20)] == [0, 3, 5, 12, 12]
