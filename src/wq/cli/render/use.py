"""What jobs asked for and what they used, as a table, and a sentence of advice for each."""

from __future__ import annotations

from .age import age
from .sanitise import printable, word
from .table import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]

HEADER = ("Id", "User", "Command", "Tasks", "Wall", "Cores", "Used", "Mem", "Of", "Read", "Written")
SHORT_S = 5.0  # what ran for less is too short to say anything of
ROOM = 1.1  # so much more than what was used is right
WASTE = 0.75  # of what was granted: who uses more than that does well
NEARLY_ALL = 0.9  # of the memory


def table_of(rows: Sequence[Row]) -> list[str]:
    """A line a job, then a sentence a job."""
    lines = table(HEADER, [_cells(row) for row in rows])
    found = [(row, advice(row)) for row in rows]
    return lines + [f"{_name(row)}: {sentence}" for row, sentence in found if sentence]


def advice(row: Row) -> str:
    """What to ask for the next time. Empty if nothing is known."""
    said = [sentence for sentence in (_of_cores(row), _of_memory(row)) if sentence]
    return "; ".join(said)


def _of_cores(row: Row) -> str:
    cores, used, wall_s = row["ncores"], row["cores_used"], row["wall_s"]
    if cores is None or used is None or wall_s is None:
        return ""
    if wall_s / (row["tasks"] or 1) < SHORT_S:
        each = "ran for" if row["tasks"] is None else "its tasks ran for"
        return f"{each} {wall_s / (row['tasks'] or 1):.1f}s, which is too short to say"
    wanted = max(1, int(-(-(used * ROOM - 0.05) // 1)))  # rounded up
    asked = f"asked for {_count(cores, 'core')}, used {used:.1f} of {'it' if cores == 1 else 'them'}"
    if used > cores * ROOM + 0.05:
        return f"asked for {_count(cores, 'core')}, used {used:.1f}, more than it was given: N: {wanted}"
    if used >= cores * WASTE or (wanted >= cores and cores > 1):
        return f"{asked}: well used"
    if cores == 1:
        return f"{asked}: it mostly waited for something"
    if row["mode"] in ("bynode", "bygroup"):
        if row["nhosts"] is not None and row["nhosts"] > 1 and wanted < cores / row["nhosts"]:
            return f"{asked}: mode: bycore1; N: {wanted} would do, on one node"
        return f"{asked}: mode: bycore; N: {wanted} would do"
    return f"{asked}: N: {wanted} would do"


def _of_memory(row: Row) -> str:
    peak_bytes, of_gb = row["peak_mem_bytes"], row["node_mem_gb"]
    if not peak_bytes or not of_gb or peak_bytes / 2**30 < of_gb * NEARLY_ALL:
        return ""
    return f"its memory was at least {peak_bytes / 2**30:.1f} of {of_gb:.1f} GB, nearly all that there is"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _name(row: Row) -> str:
    number = int(row["id"])
    return f"job {number}" if row["task"] is None else f"job {number}.{int(row['task'])}"


def _cells(row: Row) -> tuple[str, ...]:
    task, wall_s, used, of_gb = row["task"], row["wall_s"], row["cores_used"], row["node_mem_gb"]
    return (
        str(int(row["id"])) if task is None else f"{int(row['id'])}.{int(task)}",
        word(printable(row["user"])),
        word(printable(row["name"])),
        _amount(row["tasks"]),
        "-" if wall_s is None else age(wall_s),
        _amount(row["ncores"]),
        "-" if used is None else f"{used:.1f}",
        _size(row["peak_mem_bytes"]),
        "-" if of_gb is None else f"{of_gb:.0f}G",
        _size(row["io_read_bytes"]),
        _size(row["io_write_bytes"]),
    )


def _amount(number: int | None) -> str:
    return "-" if number is None else str(int(number))


def _size(size_bytes: int | None) -> str:
    """`512M`, `1.5G`: in one word."""
    if size_bytes is None:
        return "-"
    left, units = float(size_bytes), list("TGMKB")
    while left >= 1000 and len(units) > 1:
        left /= 1024
        units.pop()
    return f"{left:.0f}{units[-1]}" if left >= 10 or units[-1] == "B" else f"{left:.1f}{units[-1]}"
