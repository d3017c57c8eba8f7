"""Jobs that nobody can hear of just now, in words: one remark for each cause."""

from __future__ import annotations

from time import localtime, strftime

from .age import age
from .numbers import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

MOST_RUNS = 10  # of ids: 12, 14-20 are two
MOST_HOSTS = 5


def remarks(rows: Sequence[Mapping[str, Any]], now_s: float) -> list[str]:
    """`out of sight since 14:02 (3m05s): jobs 12, 14 on astro0010: why; they run on`; the oldest first.

    What a server of an earlier version does not say is not there.
    """
    causes: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("out_of_sight"):
            causes.setdefault(row["out_of_sight"]["why"], []).append(row)
    found = [(since_of(those, now_s), why, those) for why, those in causes.items()]
    return [_remark(since_s, why, those, now_s) for since_s, why, those in sorted(found, key=lambda one: one[0])]


def since_of(rows: Sequence[Mapping[str, Any]], now_s: float) -> float:
    return min(now_s if row["out_of_sight"]["since"] is None else row["out_of_sight"]["since"] for row in rows)


def _remark(since_s: float, why: str, rows: Sequence[Mapping[str, Any]], now_s: float) -> str:
    form = "%H:%M" if now_s - since_s < 43_200 else "%Y-%m-%d %H:%M"
    since = f"{strftime(form, localtime(since_s))} ({age(now_s - since_s)})"
    hosts = list(dict.fromkeys(host for row in rows for host in row["out_of_sight"]["hosts"]))
    where = ", ".join(hosts[:MOST_HOSTS]) + (f" and {len(hosts) - MOST_HOSTS} more" if len(hosts) > MOST_HOSTS else "")
    runs = numbers(row["id"] for row in rows).split(", ")
    ids = ", ".join(runs[:MOST_RUNS]) + (f", ... ({len(rows)} jobs)" if len(runs) > MOST_RUNS else "")
    one = len(rows) == 1
    return f"out of sight since {since}: {'job' if one else 'jobs'} {ids} on {where}: {why}; " + (
        "it runs on" if one else "they run on"
    )
