"""The nodes with their states: since when, by whom and why."""

from __future__ import annotations

from .age import age
from .colour import PLAIN
from .sanitise import printable, word
from .table import number, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .colour import Style

HEADER = ("Node", "State", "Cores", "Used", "Mem", "Groups", "Since", "By", "Reason")
_STATE_COLUMN = HEADER.index("State")


def nodes(rows: Sequence[Mapping[str, Any]], now_s: float, style: Style = PLAIN) -> list[str]:
    """The table of `wq node`. Since is how long ago; the reason stands last, the only cell that may hold spaces."""
    body = [
        (
            word(row["host"]),
            word(row["state"]),
            word(str(row["ncores"])),
            str(len(row["used"])),
            number(row["mem_gb"]),
            ",".join(map(word, row["groups"])) or "-",
            "-" if row["since"] is None else age(now_s - row["since"]),
            word(row["by"] or ""),
            printable(row["reason"] or "").strip() or "-",
        )
        for row in rows
    ]
    return table(HEADER, body, paint={_STATE_COLUMN: style.node_state} if style.enabled else None)
