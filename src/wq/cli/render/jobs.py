"""The listing of jobs: nine columns that scripts read, and the full form as YAML."""

from __future__ import annotations

from .age import age
from .colour import PLAIN
from .sanitise import word
from .table import table
from .yaml_text import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .colour import Style

HEADER = ("Id", "User", "Status", "Priority", "Ncores", "Nhosts", "Command", "t_in", "t_run")
LETTERS = {"queued": "W", "starting": "R", "running": "R", "stopping": "E", "held": "H", "done": "D"}
_STATUS_COLUMN = HEADER.index("Status")


def listing(rows: Sequence[Mapping[str, Any]], now_s: float, style: Style = PLAIN) -> list[str]:
    """The jobs, a line each under a header, and the footer that counts them. now_s: seconds since the epoch.

    A state that this client does not know yet is shown as `?` and counted in the total alone.
    """
    body = [_cells(row, now_s) for row in rows]
    lines = table(HEADER, body, paint={_STATUS_COLUMN: style.status} if style.enabled else None)
    lines.append(_footer([cells[_STATUS_COLUMN] for cells in body]))
    return lines


def full(rows: Sequence[Mapping[str, Any]]) -> str:
    """Everything about the jobs, as one YAML document, a list; ends with a newline."""
    return document(rows)


def _cells(row: Mapping[str, Any], now_s: float) -> tuple[str, ...]:
    until_s = now_s if row["ended_at"] is None else row["ended_at"]
    waits = row["started_at"] is None or row["state"] in ("queued", "held")
    return (
        word(str(row["id"])),
        word(row["user"]),
        LETTERS.get(row["state"], "?"),
        word(row["priority"]),
        word(str(row["ncores"] or "-")),
        word(str(row["nhosts"] or "-")),
        word(row["name"]),
        age(until_s - row["submitted_at"]),
        "-" if waits else age(until_s - row["started_at"]),
    )


def _footer(letters: Sequence[str]) -> str:
    """What holds cores is running, also while it is being stopped; held and finished ones only where there are any."""
    running = letters.count("R") + letters.count("E")
    footer = f"Jobs: {len(letters)} Running: {running} Waiting: {letters.count('W')}"
    for title, letter in (("Held", "H"), ("Done", "D")):
        if letter in letters:
            footer += f" {title}: {letters.count(letter)}"
    return footer
