"""How long something took or takes, as the listing writes it: one word, no spaces."""

from __future__ import annotations

_MOST_S = 99_999 * 86_400  # a broken clock must not break a table


def age(seconds: float) -> str:
    """`5s`, `29m52s`, `12h50m27s`, `2d03h04m05s`: whole seconds, all units below the first in two digits.

    What is negative or not a number is `0s`: clocks of two machines differ, and a listing says nothing about that.
    """
    if not seconds > 0:
        return "0s"
    minutes, secs = divmod(int(min(seconds, _MOST_S)), 60)
    if not minutes:
        return f"{secs}s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m{secs:02}s"
    days, hours = divmod(hours, 24)
    if not days:
        return f"{hours}h{minutes:02}m{secs:02}s"
    return f"{days}d{hours:02}h{minutes:02}m{secs:02}s"
