"""Colour is for people at a terminal, and disturbs nothing."""

from __future__ import annotations

import io
import re

import pytest

from wq.cli.render.colour import PLAIN, Style, style_for


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
