"""A bar on the terminal for what takes over a second; it is gone when that is done."""

from __future__ import annotations

import os
import sys
from time import monotonic

PATIENCE_S = 1.0  # what is done by then has no bar
BETWEEN_S = 0.1
WIDTH = 30


class Progress:
    """One bar on stderr; nothing where that is no terminal of ours."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.next_s = monotonic() + PATIENCE_S
        self.on = on_terminal()
        self.shown = 0  # how many columns are to be cleared

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def at(self, done: int, of: int, beside: str = "") -> None:
        """So much is done. Called as often as one likes. beside: what else there is to say, fit for a terminal."""
        if not self.on or of <= 0 or monotonic() < self.next_s:
            return
        self.next_s = monotonic() + BETWEEN_S
        full = WIDTH * min(max(done, 0), of) // of
        self.write(f"{self.what} [{'#' * full}{'.' * (WIDTH - full)}] {done}/{of}{beside}")

    def clear(self) -> None:
        if self.shown:
            self.write("")

    def write(self, text: str) -> None:
        text = text[: columns() - 1]
        try:
            sys.stderr.write(f"\r{text.ljust(self.shown)}" + ("" if text else "\r"))
            sys.stderr.flush()
        except OSError:
            self.on = False  # the terminal is gone, the work is not
        self.shown = len(text)


def on_terminal() -> bool:
    """True if stderr is a terminal that is ours just now."""
    try:
        return sys.stderr.isatty() and os.tcgetpgrp(2) == os.getpgrp()
    except OSError:
        return False


def columns() -> int:
    try:
        return max(os.get_terminal_size(2).columns or 80, 10)  # some terminals say 0
    except OSError:
        return 80
