"""The usage of the nodes: a bar each, a character a core, and one line that adds them up."""

from __future__ import annotations

from .colour import PLAIN
from .sanitise import width, word
from .table import number, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .colour import Style

_MOST_CORES = 100_000  # of one node; no more is drawn
_SHORTEST = 8  # a bar is not made shorter for a narrow window


def bars(
    nodes: Sequence[Mapping[str, Any]],
    summary: Mapping[str, int] | None = None,
    style: Style = PLAIN,
    window: int | None = None,
) -> list[str]:
    """The table of `wq stat`: `*` used, `.` free, `X` offline; a draining node shows what still runs, and X.

    summary: `used`, `avail`, `active` and `offline` cores where the server counted more than these nodes; without
    it those of these nodes are counted.
    window: so many columns has the terminal: where a bar is too long for it, a character of all bars stands for as many
    cores as it must, the header says for how many, and the cores in use of all stand beside the bar as a number.
    """
    counted = [_count(node) for node in nodes]
    scale = 1
    header: tuple[str, ...] = ("usage", "host", "mem", "groups")
    tails: list[tuple[str, ...]] = [
        (word(node["host"]), number(node["mem_gb"]), ",".join(map(word, node["groups"])) or "-") for node in nodes
    ]
    if window is not None:
        others = sum(max(map(width, cells)) for cells in zip(header[1:], *tails, strict=True))
        longest = max([0, *map(sum, counted)])
        numbers = [f"{used}/{used + avail + offline}" for used, avail, offline in counted]
        if longest + len("[]  ") + others + 2 > window:
            room = window - others - len("[]  ") - 3 - max([len("used"), *map(len, numbers)])
            scale = -(-longest // max(room, _SHORTEST)) or 1
        if scale > 1:
            tails = [(text, *tail) for text, tail in zip(numbers, tails, strict=True)]
            header = (f"usage({scale}/char)", "used", *header[1:])
    drawn = [_bar(*cores, scale) for cores in counted]
    # The gap after the bars is two wide, and bars are never cut from their alignment: so they come padded.
    room = max([len(header[0]), *map(len, drawn)]) + 1
    rows = [(bar.ljust(room), *tail) for bar, tail in zip(drawn, tails, strict=True)]
    right = {2} if scale == 1 else {1, 3}
    paint = {0: style.bar} if style.enabled else None
    lines = table((header[0].ljust(room), *header[1:]), rows, right=right, paint=paint)
    lines.append(_summary_line(_added(counted) if summary is None else summary))
    return lines


def _count(node: Mapping[str, Any]) -> tuple[int, int, int]:
    """Its cores: used, free, offline; what a draining node has left over is offline."""
    ncores = min(max(0, int(node["ncores"])), _MOST_CORES)
    used = min(len(node["used"]), ncores)
    if node["state"] == "offline":
        return 0, 0, ncores
    return (used, ncores - used, 0) if node["state"] == "online" else (used, 0, ncores - used)


def _bar(used: int, avail: int, offline: int, scale: int) -> str:
    """A character for so many cores. Used ones are never rounded to none, nor to all."""
    ncores = used + avail + offline
    length = -(-ncores // scale)
    nused = length if used == ncores else min(-(-used // scale), max(length - 1, 1)) if used else 0
    return f"[{'*' * nused}{('X' if offline else '.') * (length - nused)}]"


def _added(counted: Sequence[tuple[int, int, int]]) -> dict[str, int]:
    """Used and free ones make the active."""
    used, avail, offline = (sum(cores[at] for cores in counted) for at in range(3))
    return {"used": used, "avail": avail, "active": used + avail, "offline": offline}


def _summary_line(cores: Mapping[str, int]) -> str:
    used, avail, active, offline = (int(cores[key]) for key in ("used", "avail", "active", "offline"))
    load_percent = 100 * used / active if active else 0.0
    aside = f", {offline} are offline" if offline else ""
    return f"Used/avail/active cores: {used}/{avail}/{active} ({load_percent:.1f}% load{aside})"
