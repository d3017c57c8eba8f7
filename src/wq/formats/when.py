"""When a job may begin, as people write it: `20:00`, `+2h`, `2026-12-01`, `2026-12-01T08:00`. In the local time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from wq.formats.duration import seconds

ALLOWED = "a time of day (20:00), a while from now (+2h, +30m), or a day with or without a time (2026-12-01T08:00)"
LATEST = 2200  # a year; what is said of a later one is no date
LONGEST_S = 10 * 366 * 86400.0
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?")


def begin_s(text: str, now_s: float) -> float | None:
    """That time in seconds since 1970; None for what is none. A time of day is the next one of that kind."""
    text = text.strip()
    now = datetime.fromtimestamp(now_s)
    if text.lower() == "now":
        return now_s
    if text.startswith("+"):
        duration_s = seconds(text[1:])
        return None if duration_s is None or duration_s > LONGEST_S else now_s + duration_s
    if found := _CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in found.groups())
        then = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (then if then > now else then + timedelta(days=1)).timestamp()
    if _DAY.fullmatch(text):
        try:
            then = datetime.fromisoformat(text)
        except ValueError:
            return None
        return then.timestamp() if 1970 <= then.year < LATEST else None
    return None
