"""Signals as people write them: USR1, SIGUSR1, 10."""

from __future__ import annotations

import signal

from wq.formats import quoted

LARGEST = 64


class SignalError(Exception):
    """What was written is no signal; the text says what is."""


def number_of(text: str) -> int:
    """The number of a signal on Linux. Raises SignalError."""
    word = text.strip().upper()
    if word.isascii() and word.isdigit() and len(word) < 4 and 1 <= int(word) <= LARGEST:
        return int(word)
    known = signal.Signals.__members__
    found = known.get(word if word.startswith("SIG") else f"SIG{word}")
    if found is None:
        raise SignalError(f"{quoted(text)} is no signal; a name (USR1, SIGUSR1) or a number from 1 to {LARGEST} is")
    return int(found)


def name_of(number: int) -> str:
    """`USR1`; of one without a name, its number."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
