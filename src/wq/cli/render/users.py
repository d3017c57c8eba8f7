"""The users of the queue: who has how many jobs and cores, and what limits them."""

from __future__ import annotations

from .sanitise import printable, word
from .table import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

HEADER = ("User", "Jobs", "Running", "Waiting", "Cores", "Limits")


def users(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of `wq users`; the limits are those that hold, as one word: `run:25;cores:100`, or `-`."""
    body = [
        (
            word(row["user"]),
            *(word(str(row[key])) for key in ("jobs", "running", "waiting", "cores")),
            word(_limits(row["limits"], ":", ";")),
        )
        for row in rows
    ]
    return table(HEADER, body)


def user_page(row: Mapping[str, Any]) -> list[str]:
    """What `wq user NAME` prints; limits are written as `wq limit` takes them, and by whom they were set."""
    jobs = f"Jobs: {row['jobs']} Running: {row['running']} Waiting: {row['waiting']} Held: {row['held']}"
    lines = [f"User: {word(row['user'])} (uid {row['uid']})", jobs, f"Cores: {row['cores']}"]
    for title, key in (("Limits", "limits"), ("set by the user", "limits_own"), ("set by the owner", "limits_owner")):
        lead = "" if key == "limits" else "  "
        lines.append(f"{lead}{title}: {_limits(row[key], ': ', '; ') or 'none'}")
    return [printable(line) for line in lines]


def _limits(limits: Mapping[str, Any], colon: str, semicolon: str) -> str:
    return semicolon.join(f"{key}{colon}{most}" for key, most in limits.items() if most is not None)
