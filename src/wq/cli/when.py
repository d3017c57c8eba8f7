"""Times as people write them: 2d, 1h30m, yesterday, 14:05, 2026-11-20, 2026-11-20T14:05."""

from __future__ import annotations

import time

from wq.cli.errors import BAD_INPUT, WqError

DAY_S = 86400
LONGEST_S = 100 * 366 * DAY_S
LONGEST = 40  # characters


def seconds(text: str) -> float | None:
    """A duration as job files have it, in seconds; None for what is none, or longer than anything here lasts."""
    from wq.formats import duration

    found = duration.seconds(text)
    return found if found is not None and found <= LONGEST_S else None


def duration(text: str, option: str) -> float:
    """The same for an option. Raises WqError."""
    found = seconds(text)
    if found is None:
        from wq.formats.duration import ALLOWED

        raise WqError(f"{option}: {text[:LONGEST]!r} is not {ALLOWED}", BAD_INPUT)
    return found


def moment(text: str, option: str, now_s: float) -> float:
    """Seconds since 1970: so long ago, or at that time of this host's clock. Raises WqError.

    What has a colon or a dash is by the clock: 14:05:06 would be a duration as well.
    """
    ago_s = None if ":" in text or "-" in text else seconds(text)
    found = now_s - ago_s if ago_s is not None else by_calendar(text, now_s)
    if found is None:
        allowed = "2d (so long ago), today, yesterday, 14:05, 2026-11-20 and 2026-11-20T14:05 are"
        raise WqError(f"{option}: {text[:LONGEST]!r} is no time; {allowed}", BAD_INPUT)
    return found


def by_calendar(text: str, now_s: float) -> float | None:
    here = time.localtime(now_s)
    day, _, clock = text.replace(" ", "T").partition("T")
    if text in ("today", "yesterday"):
        return time.mktime((*here[:2], here.tm_mday - (text == "yesterday"), 0, 0, 0, 0, 0, -1))
    if ":" in day and not clock:
        day, clock = f"{here.tm_year}-{here.tm_mon}-{here.tm_mday}", day
    date, hours = numbers(day, "-"), numbers(clock, ":") if clock else [0, 0]
    if len(date) != 3 or len(hours) not in (2, 3):
        return None
    year, month, mday = date
    hour, minute, second = [*hours, 0][:3]
    if not (1970 <= year <= 9999 and 1 <= month <= 12 and 1 <= mday <= 31):
        return None
    if hour > 23 or minute > 59 or second > 60:
        return None
    at_s = time.mktime((year, month, mday, hour, minute, second, 0, 0, -1))
    return at_s if time.localtime(at_s)[:3] == (year, month, mday) else None


def numbers(text: str, mark: str) -> list[int]:
    """Whole numbers between marks; none if one of them is none."""
    parts = text.split(mark)
    return [int(part) for part in parts] if all(p.isascii() and p.isdecimal() and len(p) < 5 for p in parts) else []
