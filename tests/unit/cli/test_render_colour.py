"""Colour is for people at a terminal, and disturbs nothing."""

from __future__ import annotations

import io
import os
import re
import termios

import pytest

from wq.cli.render.colour import PLAIN, Style, style_for, window_for


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "enabled"),
    [
        ({"TERM": "xterm"}, True),
        ({}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
    ],
)
def test_a_terminal_gets_colour_unless_somebody_objects(environ: dict[str, str], enabled: bool) -> None:
    assert style_for(Terminal(), environ).enabled is enabled


def test_a_pipe_gets_none() -> None:
    assert style_for(io.StringIO(), {"TERM": "xterm"}).enabled is False


@pytest.mark.parametrize("bar", ["[]", "[****]", "[....]", "[**..]", "[**XX]", "[XXXX]"])
def test_a_painted_bar_is_the_same_bar(bar: str) -> None:
    painted = Style(enabled=True).bar(bar)
    assert re.sub(r"\x1b\[[0-9]*m", "", painted) == bar
    assert PLAIN.bar(bar) == bar
    assert ("\x1b" in painted) == ("*" in bar or "X" in bar)


def test_unknown_letters_and_states_stay_as_they_are() -> None:
    style = Style(enabled=True)
    assert style.status("?") == "?"
    assert style.node_state("online") == "online"
    assert style.node_state("offline") == "\x1b[31moffline\x1b[0m"
    assert style.paint("", "red") == ""


@pytest.mark.parametrize(
    ("environ", "columns"),
    [
        ({}, None),
        ({"COLUMNS": "80"}, None),  # nobody says that a terminal is meant
        ({"COLUMNS": "80", "FORCE_COLOR": "1"}, 80),
        ({"COLUMNS": "80", "FORCE_COLOR": "1", "NO_COLOR": "1"}, 80),
        ({"FORCE_COLOR": "1"}, None),
        *[({"COLUMNS": text, "FORCE_COLOR": "1"}, None) for text in ("", "0", "-5", "x", "9" * 50)],
    ],
)
def test_how_wide_the_window_of_somebody_elsewhere_is(environ: dict[str, str], columns: int | None) -> None:
    assert window_for(io.StringIO(), environ) == columns


def test_a_terminal_says_itself_how_wide_it_is() -> None:
    ours, theirs = os.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, 97))
        with open(theirs, "w", closefd=False) as stream:
            assert window_for(stream, {"COLUMNS": "80", "FORCE_COLOR": "1"}) == 97
            termios.tcsetwinsize(theirs, (0, 0))
            assert window_for(stream, {}) is None
    finally:
        os.close(ours)
        os.close(theirs)


def test_states_are_painted_as_their_letters() -> None:
    style = Style(enabled=True)
    assert style.state("running") == style.paint("running", "green")
    assert style.state("suspended") == style.paint("suspended", "magenta")
    assert style.status("S") == style.paint("S", "magenta")
    assert style.state("new") == "new"
