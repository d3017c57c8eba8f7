"""Durations as people write them, and in words. Read from the text itself: YAML would take 1:30:00 for 5400."""

from __future__ import annotations

import re

UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
SAID = ("d", "h", "m", "s")  # in words
LONGEST = 40  # characters
ALLOWED = "a time with its units, such as 90s, 45m, 2h30m or 1d12h, or H:MM:SS, or DAYS-HOURS:MM"
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_WITH_UNITS = re.compile(
    rf"(?:({_NUMBER})w)?\s*(?:({_NUMBER})d)?\s*(?:({_NUMBER})h)?\s*(?:({_NUMBER})m(?:in)?)?\s*(?:({_NUMBER})s)?", re.I
)
_CLOCK = re.compile(r"([0-9]{1,7}):([0-5][0-9]):([0-5][0-9])")
_DAYS = re.compile(r"([0-9]{1,5})-([0-9]{1,2})(?::([0-5][0-9])(?::([0-5][0-9]))?)?")


def seconds(text: str) -> float | None:
    """`90s`, `45m`, `2h30m`, `1d12h`, `1w`, `2:30:00`, `1-12:00`, `1-12` in seconds; None for what is none of these.

    A number alone is none: one takes it for minutes, the next for seconds. Nor is `1:30`.
    """
    text = text.strip()
    if len(text) > LONGEST:  # many blanks would take the patterns very long
        return None
    if found := _CLOCK.fullmatch(text):
        hours, minutes, secs = map(int, found.groups())
        return float(hours * 3600 + minutes * 60 + secs)
    if found := _DAYS.fullmatch(text):
        days, hours, minutes, secs = (int(part or 0) for part in found.groups())
        return float(days * 86400 + hours * 3600 + minutes * 60 + secs) if hours < 24 else None
    found = _WITH_UNITS.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), UNITS.values(), strict=True))


def in_words(duration_s: float) -> str:
    """`2h`, `1h30m`, `1d12h`, `90.5s`: as it can be read again, without units of which there are none."""
    left = round(duration_s)
    if duration_s < 60 or abs(left - duration_s) > 1e-6:
        return f"{duration_s:g}s"
    parts = []
    for name in SAID:
        if left >= UNITS[name]:
            parts.append(f"{left // UNITS[name]}{name}")
            left %= UNITS[name]
    return "".join(parts)
