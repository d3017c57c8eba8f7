"""Which jobs wait for which, as a tree: each below the last of those that it waits for."""

from __future__ import annotations

from .colour import LETTERS
from .outcome import succeeded
from .sanitise import word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    Row: TypeAlias = Mapping[str, Any]

SAID = {"ok": "after", "any": "after any end of", "notok": "after failure of"}
DEEPEST = 100  # what is deeper is drawn no deeper


def tree(rows: Sequence[Row]) -> list[str]:
    """A line for each job, in the order of the ids. rows: as `wq ls --json` has them."""
    jobs = {int(row["id"]): row for row in rows if row["task"] is None}
    below: dict[int, list[int]] = {}
    tops = []
    for number, row in sorted(jobs.items()):
        above = [
            int(after["job"]) for after in row["after"] if int(after["job"]) in jobs and int(after["job"]) < number
        ]
        if above:
            below.setdefault(max(above), []).append(number)
        else:
            tops.append(number)
    return [line for top in tops for line in _branch(jobs, below, top)]


def _branch(jobs: Mapping[int, Row], below: Mapping[int, list[int]], top: int) -> Iterator[str]:
    """A job and all that is below it. (Without recursion: a chain may be long.)"""
    waiting = [(top, "", "", 0)]
    while waiting:
        number, lead, mark, depth = waiting.pop()
        yield f"{lead}{mark}{_line(jobs[number])}"
        children = below.get(number, [])
        deeper = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[mark] if depth < DEEPEST else lead
        for child in reversed(children):
            waiting.append((child, deeper, "└─ " if child == children[-1] else "├─ ", depth + 1))


def _line(row: Row) -> str:
    status = LETTERS.get(row["state"], "?")
    if row["state"] == "done":
        status = "D" if row["outcome"] is None or succeeded(row["outcome"]) else "F"
    conditions: dict[str, list[str]] = {}
    for after in row["after"]:
        kind = f"{SAID.get(after['kind'], 'after')}{' each of' if after['each'] else ''}"
        conditions.setdefault(kind, []).append(str(int(after["job"])))
    said = "; ".join(f"{kind} {', '.join(ids)}" for kind, ids in conditions.items())
    tasks = "" if row["array"] is None else f" [{int(row['array']['tasks'])}]"
    return f"{int(row['id'])} {status} {word(row['name'])}{tasks}{f'  ({said})' if said else ''}"
