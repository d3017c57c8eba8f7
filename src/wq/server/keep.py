"""How long, and how many of, the jobs that are over are kept."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86400.0
UNITS_S = {"d": DAY_S, "h": 3600.0, "m": 60.0}
LEAST_S = 60.0
MOST_S = 36500 * DAY_S
MOST_COUNT = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """age_s: since their end. count: jobs and tasks of arrays, the newest ones."""

    age_s: float = 90 * DAY_S
    count: int = 1_000_000


def parse_keep(text: str) -> Keep:
    """`90d; 1000000`, or one of them. Raises ValueError with a sentence."""
    age_s: float | None = None
    count: int | None = None
    for item in filter(None, (part.strip() for part in text.split(";"))):
        unit = UNITS_S.get(item[-1:])
        digits = item[:-1] if unit is not None else item
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 14):
            raise ValueError(f"keep: {item[:40]!r} is neither an age (90d, 12h, 30m) nor a number of jobs (1000000)")
        if unit is not None and age_s is None:
            age_s = int(digits) * unit
            if not LEAST_S <= age_s <= MOST_S:
                raise ValueError(f"keep: {item[:40]!r} is not an age from 1m to 36500d")
        elif unit is None and count is None:
            count = int(digits)
            if count > MOST_COUNT:
                raise ValueError(f"keep: {item[:40]!r} is more than {MOST_COUNT}")
        else:
            raise ValueError(f"keep: there are two {'numbers' if unit is None else 'ages'} in it; give one")
    usual = Keep()
    return Keep(
        age_s=usual.age_s if age_s is None else age_s,
        count=usual.count if count is None else count,
    )
