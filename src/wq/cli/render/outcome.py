"""How a job ended: whether well, and in words."""

from __future__ import annotations

from .sanitise import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def succeeded(outcome: Mapping[str, Any] | None) -> bool:
    """Whether it ended as it should: by itself, with exit status 0. What has not ended has not."""
    return outcome is not None and bool(outcome["kind"] == "exited" and outcome["exit_status"] == 0)


def in_words(outcome: Mapping[str, Any] | None) -> str:
    """The outcome as the end of a sentence: `exit status 3`, `killed by signal 9 (KILL)`, `removed by anze`."""
    if outcome is None:
        return "not ended"
    kind = outcome["kind"]
    if kind == "exited":
        status = outcome["exit_status"]
        return printable(f"exit status {'unknown' if status is None else status}")
    if kind == "signalled" and outcome["message"]:
        return printable(outcome["message"])
    if kind == "signalled":
        return printable(f"killed by signal {_signal(outcome['signal'])}")
    if kind == "removed":
        if not outcome["by"] and outcome["message"]:  # it can never run
            return printable(f"removed: {outcome['message']}")
        return printable(("removed by " + outcome["by"] if outcome["by"] else "removed") + _reason(outcome))
    if kind == "time_limit" and outcome["message"]:
        return printable(outcome["message"])
    # failed, lost, and kinds that a newer server knows: the word and what was said
    return printable((f"{kind}: {outcome['message']}" if outcome["message"] else kind) + _reason(outcome))


def _reason(outcome: Mapping[str, Any]) -> str:
    """Why somebody did that, in his words. (A server of an earlier version does not say it.)"""
    reason = outcome.get("reason")
    return f": {reason}" if reason else ""


def signal_name(signal_number: int) -> str:
    """`KILL`; the number itself of one that has no name here."""
    from signal import Signals

    try:
        return Signals(signal_number).name.removeprefix("SIG")
    except ValueError:
        return str(signal_number)


def _signal(signal_number: int | None) -> str:
    if signal_number is None:
        return "unknown"
    name = signal_name(signal_number)
    return name if name == str(signal_number) else f"{signal_number} ({name})"
