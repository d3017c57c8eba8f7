"""Standard input, which may be closed: what comes on it, and what somebody at a terminal answers."""

from __future__ import annotations

import sys

from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import TextIO


def opened() -> TextIO:
    """Raises WqError where it is closed: then it is not even empty."""
    if sys.stdin is None:
        raise WqError("standard input is closed", BAD_INPUT)
    return sys.stdin


def is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def can_be_asked() -> bool:
    """Somebody sees what we write, and can answer it."""
    return is_terminal() and sys.stderr.isatty()


def answer_to(question: str) -> str:
    """What is typed then; nothing where that is no text."""
    print(question, end=" ", file=sys.stderr, flush=True)
    try:
        return opened().readline().strip()
    except UnicodeDecodeError:
        return ""
