"""Colour, sparingly, and only where a person looks: it never changes the width of what it colours.

And how wide the window is, in which a person looks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

_CODES = {"red": "31", "green": "32", "yellow": "33", "magenta": "35", "dim": "2", "bold": "1"}
LETTERS = {"queued": "W", "starting": "R", "running": "R", "suspended": "S", "stopping": "E", "held": "H", "done": "D"}
_STATUS = {"R": "green", "W": "yellow", "S": "magenta", "E": "magenta", "H": "magenta", "D": "dim"}
_NODE_STATES = {"drain": "yellow", "offline": "red"}


class Style:
    """Paints words when enabled, and returns them as they are when not."""

    __slots__ = ("enabled",)

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def paint(self, text: str, colour: str) -> str:
        """The text in that colour (red, green, yellow, magenta, dim, bold)."""
        if not self.enabled or not text:
            return text
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"

    def status(self, text: str) -> str:
        """The status of a job: a letter. That of an array has several: what runs of it counts, else the first."""
        colour = _STATUS.get("R" if "R" in text else text[:1])
        return self.paint(text, colour) if colour else text

    def state(self, text: str) -> str:
        """The state of a job, in full: as its letter."""
        colour = _STATUS.get(LETTERS.get(text, ""))
        return self.paint(text, colour) if colour else text

    def outcome(self, outcome: str) -> str:
        """How a job ended, in a word: what ended as it should needs no colour."""
        return outcome if outcome == "exited" else self.paint(outcome, "yellow")

    def node_state(self, state: str) -> str:
        """The state of a node: what is online needs no colour."""
        colour = _NODE_STATES.get(state)
        return self.paint(state, colour) if colour else state

    def bar(self, bar: str) -> str:
        """A usage bar, in which equal characters stand together."""
        if not self.enabled:
            return bar
        for char, colour in (("*", "green"), ("X", "red")):
            run = char * bar.count(char)
            if run:
                bar = bar.replace(run, self.paint(run, colour))
        return bar


PLAIN = Style(enabled=False)


def style_for(stream: TextIO, environ: Mapping[str, str]) -> Style:
    """Colour for a terminal that can show it, unless NO_COLOR says otherwise (https://no-color.org: set, not empty).

    FORCE_COLOR says that there is such a terminal, though it cannot be seen from here.
    """
    if environ.get("NO_COLOR"):
        return PLAIN
    return Style(enabled=bool(environ.get("FORCE_COLOR")) or (stream.isatty() and environ.get("TERM") != "dumb"))


def window_for(stream: TextIO, environ: Mapping[str, str]) -> int | None:
    """How many columns the terminal has; None where there is none, and so nothing is to be shortened.

    FORCE_COLOR says that there is such a terminal, though it cannot be seen from here, and COLUMNS how wide it is.
    """
    if stream.isatty():
        import os

        try:
            return os.get_terminal_size(stream.fileno()).columns or None
        except (OSError, ValueError):
            return None
    columns = environ.get("COLUMNS", "") if environ.get("FORCE_COLOR") else ""
    return int(columns) if columns.isdecimal() and len(columns) < 6 and int(columns) > 0 else None
