"""The usage of the nodes: a bar each, a character a core, and one line that adds them up."""

from __future__ import annotations

from .colour import PLAIN
from .sanitise import word
from .table import number, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .colour import Style

_MOST_CORES = 100_000  # of one node; no more is drawn


def bars(
    nodes: Sequence[Mapping[str, Any]], summary: Mapping[str, int] | None = None, style: Style = PLAIN
) -> list[str]:
    """The table of `wq stat`: `*` used, `.` free, `X` offline; a draining node shows what still runs, and X.

    summary: `used`, `avail`, `active` and `offline` cores where the server counted more than these nodes; without
    it the characters of the bars are counted.
    """
    drawn = [_bar(node) for node in nodes]
    # The gap after the bars is two wide, and bars are never cut from their alignment: so they come padded.
    room = max([len("usage"), *map(len, drawn)]) + 1
    rows = [
        (bar.ljust(room), word(node["host"]), number(node["mem_gb"]), ",".join(map(word, node["groups"])) or "-")
        for bar, node in zip(drawn, nodes, strict=True)
    ]
    header = ("usage".ljust(room), "host", "mem", "groups")
    lines = table(header, rows, right={2}, paint={0: style.bar} if style.enabled else None)
    lines.append(_summary_line(_count(drawn) if summary is None else summary))
    return lines


def _bar(node: Mapping[str, Any]) -> str:
    ncores = min(max(0, int(node["ncores"])), _MOST_CORES)
    used = min(len(node["used"]), ncores)
    if node["state"] == "offline":
        return f"[{'X' * ncores}]"
    rest = "." if node["state"] == "online" else "X"
    return f"[{'*' * used}{rest * (ncores - used)}]"


def _count(drawn: Sequence[str]) -> dict[str, int]:
    """Cores: used and free ones make the active; what a draining node has left over is offline."""
    used, avail, offline = (sum(bar.count(char) for bar in drawn) for char in "*.X")
    return {"used": used, "avail": avail, "active": used + avail, "offline": offline}


def _summary_line(cores: Mapping[str, int]) -> str:
    used, avail, active, offline = (int(cores[key]) for key in ("used", "avail", "active", "offline"))
    load_percent = 100 * used / active if active else 0.0
    aside = f", {offline} are offline" if offline else ""
    return f"Used/avail/active cores: {used}/{avail}/{active} ({load_percent:.1f}% load{aside})"
