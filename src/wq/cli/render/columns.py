"""Listings whose columns are chosen: which columns there are, what is in them, and how they become lines.

As in `jobs`, whatever can be is done for a whole column at once, and each different value is made a cell once: a
listing may have a hundred thousand lines.
"""

from __future__ import annotations

from . import jobs
from .age import age
from .colour import PLAIN
from .outcome import in_words
from .sanitise import WIDEST, shortened, width, word
from .table import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from .colour import Style

NARROWEST = 8  # that a cell is shortened to
ALWAYS = ("task", "state", "array", "out_of_sight")  # fields that each listing needs, beside the id
USUAL = ("id", "user", "status", "priority", "ncores", "nhosts", "name", "t_in", "t_run")
STATES = ("held", "queued", "starting", "running", "suspended", "stopping", "done")  # in the order of a job's life
PRIORITIES = ("low", "med", "high", "block")


class Facts:
    """What the server says of jobs, turned: for each field a column, in which each row has a place.

    fields: the names of what stands in rows that are lists, between the id and the last id that a row stands for.
    Raises ValueError for numbers that are none.
    """

    def __init__(self, rows: Sequence[Any], fields: Sequence[str], now_s: float) -> None:
        self.now_s = now_s
        self.columns: dict[str, list[Any]] = {}
        if rows and isinstance(rows[0], dict):
            for name in dict.fromkeys(("id", *ALWAYS, "last", *(name for row in rows for name in row))):
                self.columns[name] = [row.get(name) for row in rows]
        else:
            names = ("id", *fields, "last")
            self.columns = dict(zip(names, jobs.turned(rows, len(names)), strict=True))
        types = {name: set(map(type, self[name])) for name in ("id", "task", "last")}
        if not (types["id"] <= {int} and types["task"] | types["last"] <= {int, type(None)}):
            raise ValueError("an id that is no number")
        if "counts" not in self.columns:
            self.columns["counts"] = [one and [one[part] for part in jobs.PARTS] for one in self["array"]]
        self.columns["status"] = list(jobs.letters(self["state"], self["counts"]))

    def __len__(self) -> int:
        return len(self.columns["id"])

    def __getitem__(self, name: str) -> list[Any]:
        """A field that the server does not have yet has nothing."""
        found = self.columns.get(name)
        return found if found is not None else [None] * len(self)

    def at(self, places: Sequence[int]) -> Facts:
        """Those at these places, in this order."""
        if len(places) == len(self) and all(map(int.__eq__, places, range(len(self)))):
            return self
        return self.made_of({name: [column[at] for at in places] for name, column in self.columns.items()})

    def made_of(self, found: dict[str, list[Any]]) -> Facts:
        part = Facts.__new__(Facts)
        part.now_s, part.columns = self.now_s, found
        return part

    def spread(self) -> Facts:
        """With a place for each job, also where a row stands for many."""
        ids, lasts = self.columns["id"], self["last"]
        if lasts.count(None) == len(lasts):
            return self
        many = [1 if last is None else last - first + 1 for first, last in zip(ids, lasts, strict=True)]
        if sum(many) > jobs.MOST_LINES:
            raise ValueError("a listing without end")
        columns: dict[str, list[Any]] = {}
        for name, column in self.columns.items():
            found: list[Any] = []
            for value, n in zip(column, many, strict=True):
                found += range(value, value + n) if name == "id" else [value] * n
            columns[name] = found
        columns["last"] = [None] * len(columns["id"])
        return self.made_of(columns)

    def footer(self) -> str:
        """The line that counts them."""
        return jobs.footer(self["id"], self["task"], self["counts"], self["last"], self["status"])


class Column:
    """One column that can be chosen.

    fields: of the rows of `wq ls --json`, which it is made of. values: what stands there for programs, of all jobs.
    cell: the word for a value. shrinks: where it is shortened in a narrow window: "end", "middle", or nowhere.
    rank: what a value is sorted by.
    """

    def __init__(
        self,
        title: str,
        fields: Sequence[str],
        *,
        values: Callable[[Facts], list[Any]] | None = None,
        cell: Callable[[Any], str] | None = None,
        shrinks: str = "",
        rank: Callable[[Any], Any] | None = None,
        painted: bool = False,
    ) -> None:
        self.title, self.fields, self.shrinks, self.rank, self.painted = title, tuple(fields), shrinks, rank, painted
        self.cell = cell or text_cell
        self.values: Callable[[Facts], list[Any]] = values or (lambda facts: facts[fields[0]])


def text_cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return word(str(value))


def list_cell(value: Iterable[Any] | None) -> str:
    return ",".join(word(str(one)) for one in value or ()) or "-"


def amount_cell(value: float | None) -> str:
    return word(number(value)) if value else "-"


def time_cell(value: float | None) -> str:
    """A time on this host's clock, as one word: `2026-11-28T14:02:07`."""
    if value is None:
        return "-"
    from time import localtime, strftime

    return strftime("%Y-%m-%dT%H:%M:%S", localtime(value))


def sight_cell(value: Any) -> str:
    return "-" if value is None else list_cell(value["hosts"])


def counts_cell(value: Any) -> str:
    return "-" if value is None else jobs.counts_in_letters([value[part] for part in jobs.PARTS])


def each(name: str, made: Callable[[Any], Any]) -> Callable[[Facts], list[Any]]:
    """Values that are made of one field, where there is any."""
    return lambda facts: [None if value is None else made(value) for value in facts[name]]


def inner(name: str, key: str) -> Callable[[Facts], list[Any]]:
    return each(name, lambda value: value.get(key))


def reasons(key: str, of_the_held: str) -> Callable[[Facts], list[Any]]:
    """Why each waits; what is held waits for its release, also where a server does not say so."""

    def found(facts: Facts) -> list[Any]:
        pairs = zip(facts["reason"], facts["state"], strict=True)
        return [of_the_held if why is None and state == "held" else why and why[key] for why, state in pairs]

    return found


def exit_of(outcome: Any) -> int | None:
    """As a shell shows it."""
    if outcome.get("exit_status") is not None:
        return int(outcome["exit_status"])
    return None if outcome.get("signal") is None else 128 + int(outcome["signal"])


def counts_of(facts: Facts) -> list[Any]:
    return [None if found is None else dict(zip(jobs.PARTS, found, strict=True)) for found in facts["counts"]]


def place_in(words: Sequence[str]) -> Callable[[Any], Any]:
    """What is none of these comes last."""
    return lambda value: words.index(value) if value in words else len(words)


def turns(facts: Facts) -> list[Any]:
    """Its own number is the turn of whoever has no other."""
    return [own if turn is None else turn for own, turn in zip(facts["id"], facts["turn"], strict=True)]


COLUMNS: dict[str, Column] = {
    "id": Column("Id", ["id"]),  # (its cells and its order need the task, too)
    "task": Column("Task", ["task"]),
    "user": Column("User", ["user"]),
    "uid": Column("Uid", ["uid"]),
    "status": Column("Status", ["state"], values=lambda facts: facts["status"], painted=True),
    "state": Column("State", ["state"], rank=place_in(STATES), painted=True),
    "priority": Column("Priority", ["priority"], rank=place_in(PRIORITIES)),
    "turn": Column("Turn", ["turn"], values=turns),
    "mode": Column("Mode", ["mode"]),
    "n": Column("N", ["n"]),
    "ncores": Column("Ncores", ["ncores"], cell=jobs.amount),
    "nhosts": Column("Nhosts", ["nhosts"], cell=jobs.amount),
    "nodes": Column(
        "Nodes", ["hosts"], values=each("hosts", lambda v: [part["host"] for part in v]), cell=list_cell, shrinks="end"
    ),
    "name": Column("Name", ["name"], shrinks="middle"),
    "command": Column("Command", ["command"], shrinks="end"),
    "dir": Column("Dir", ["submit_dir"], shrinks="middle"),
    "submitted": Column("Submitted", ["submitted_at"], cell=time_cell),
    "started": Column("Started", ["started_at"], cell=time_cell),
    "ended": Column("Ended", ["ended_at"], cell=time_cell),
    "t_in": Column(
        "t_in",
        ["submitted_at", "ended_at"],
        values=lambda facts: jobs.stays(facts["submitted_at"], facts["ended_at"], facts.now_s),
        cell=age,
    ),
    "t_run": Column(
        "t_run",
        ["started_at", "ended_at"],
        values=lambda facts: jobs.runs(
            facts["state"], facts["started_at"], facts["ended_at"], facts["counts"], facts.now_s
        ),
        cell=jobs.lasting,
    ),
    "cpu": Column("Cpu", ["outcome"], values=inner("outcome", "cpu_s"), cell=jobs.lasting),
    "reason": Column("Reason", ["reason"], values=reasons("code", "Hold")),
    "why": Column("Why", ["reason"], values=reasons("text", "it is held"), shrinks="end"),
    "start": Column("Start", ["starts_at"], cell=time_cell),  # when it is expected to start, once a server says so
    "exit": Column("Exit", ["outcome"], values=each("outcome", exit_of)),
    "outcome": Column("Outcome", ["outcome"], values=inner("outcome", "kind")),
    "how": Column("How", ["outcome"], values=each("outcome", in_words), shrinks="end"),
    "attempt": Column("Attempt", ["attempt"]),
    "requeued": Column("Requeued", ["requeued_why"], shrinks="end"),
    "requeue": Column("Requeue", ["requeue"]),
    "foreground": Column("Foreground", ["foreground"]),
    "tasks": Column("Tasks", ["array"], values=inner("array", "tasks")),
    "at_most": Column("At_most", ["array"], values=inner("array", "at_most")),
    "counts": Column("Counts", [], values=counts_of, cell=counts_cell),
    "out_of_sight": Column("Out_of_sight", ["out_of_sight"], cell=sight_cell, shrinks="end"),
    "group": Column("Group", ["requirement"], values=inner("requirement", "group"), cell=list_cell),
    "notgroup": Column("Notgroup", ["requirement"], values=inner("requirement", "notgroup"), cell=list_cell),
    "host": Column("Host", ["requirement"], values=inner("requirement", "host")),
    "min_cores": Column("Min_cores", ["requirement"], values=inner("requirement", "min_cores"), cell=amount_cell),
    "min_mem": Column("Min_mem", ["requirement"], values=inner("requirement", "min_mem"), cell=amount_cell),
    "threads": Column("Threads", ["requirement"], values=inner("requirement", "threads")),
    "x": Column("X", ["requirement"], values=inner("requirement", "X")),
}


def in_order(facts: Facts, places: Sequence[int], sort: Sequence[tuple[str, bool]]) -> Sequence[int]:
    """These places in this order: by (column, descending), the first one first, and then by the ids of the jobs.

    What has nothing in a column stands behind the others, whichever way they are sorted.
    """
    for name, descending in [("id", False), *reversed(sort)]:  # each sort keeps what the ones before it have done
        keys = keys_of(facts, name)
        there = [at for at in places if keys[at] is not None]
        bare = [at for at in places if keys[at] is None]
        there.sort(key=keys.__getitem__, reverse=descending)
        places = there + bare
    return places


def keys_of(facts: Facts, name: str) -> list[Any]:
    """What the jobs are sorted by; an array comes before its tasks."""
    if name == "id" and facts["task"].count(None) == len(facts):
        return facts["id"]
    if name == "id":
        return [(number, -1 if task is None else task) for number, task in zip(facts["id"], facts["task"], strict=True)]
    column = COLUMNS[name]
    values = column.values(facts)
    if column.rank is not None:
        return [column.rank(value) for value in values]
    if name == "counts":
        return [None if value is None else list(value.values()) for value in values]
    if name == "out_of_sight":
        return [None if value is None else value["hosts"] for value in values]
    return values


def rows_for_programs(facts: Facts, chosen: Sequence[str]) -> list[dict[str, Any]]:
    """An object for each job, with exactly these columns."""
    columns = [COLUMNS[name].values(facts) for name in chosen]
    return [dict(zip(chosen, values, strict=True)) for values in zip(*columns, strict=True)]


def lines(
    facts: Facts,
    chosen: Sequence[str] = USUAL,
    style: Style = PLAIN,
    window: int | None = None,
    most: int | None = None,
) -> list[str]:
    """The header and a line for each job, the first `most` of them.

    window: so many columns has the terminal: cells are shortened until a line fits, as far as they may be. Without one
    nothing is shortened, and what is wider than WIDEST does not widen its column.
    """
    if most is not None and len(facts) > most:
        facts = facts.at(range(most))
    titles = titles_of(chosen)
    columns = [cells_of(facts, name) for name in chosen]
    widths = [widths_of(name, cells) for name, cells in zip(chosen, columns, strict=True)]
    rooms = [max(len(title), widest) for title, (widest, _) in zip(titles, widths, strict=True)]
    if window is None:
        rooms = [min(WIDEST, room) for room in rooms]
    else:
        fit(rooms, [COLUMNS[name].shrinks for name in chosen], window)
    last = len(chosen) - 1
    for at, name in enumerate(chosen):
        columns[at] = drawn(columns[at], widths[at][1], rooms[at], COLUMNS[name], style, window, at == last)
    header = [title.ljust(room) for title, room in zip(titles[:-1], rooms, strict=False)]
    return [" ".join([*header, titles[-1]]), *map(" ".join, zip(*columns, strict=True))]


def titles_of(chosen: Sequence[str]) -> list[str]:
    """In the usual listing the name of a job stands under `Command`, as it always did."""
    titles = [COLUMNS[name].title for name in chosen]
    if tuple(chosen[: len(USUAL)]) == USUAL:
        titles[USUAL.index("name")] = COLUMNS["command"].title
    return titles


def cells_of(facts: Facts, name: str) -> list[str]:
    """The words of a column, each different value made one once."""
    if name == "id":
        pairs = zip(facts["id"], facts["task"], strict=True)
        return [str(number) if task is None else f"{number}.{task}" for number, task in pairs]
    column = COLUMNS[name]
    values = column.values(facts)
    try:
        cell_of = {value: column.cell(value) for value in set(values)}
    except TypeError:  # lists and objects
        return list(map(column.cell, values))
    return list(map(cell_of.__getitem__, values))


def widths_of(name: str, cells: Sequence[str]) -> tuple[int, dict[str, int]]:
    """(the widest, the width of each); ids, which all differ, are as wide as they are long, and are not looked up."""
    if name == "id":
        return max(map(len, cells), default=0), {}
    found = {cell: width(cell) for cell in set(cells)}
    return max(found.values(), default=0), found


def drawn(
    cells: Sequence[str],
    width_of: dict[str, int],
    room: int,
    column: Column,
    style: Style,
    window: int | None,
    is_last: bool,
) -> list[str]:
    """The cells as they stand in lines: shortened, painted, padded."""
    if not width_of:
        return list(cells) if is_last else [cell.ljust(room) for cell in cells]
    shown: dict[str, str] = {}
    for cell, wide in width_of.items():
        text = cell
        if window is not None and column.shrinks and wide > room:
            text = shortened(cell, room, middle=column.shrinks == "middle")
            wide = width(text)
        if column.painted and style.enabled:
            text = style.status(text) if column.title == "Status" else style.state(text)
        shown[cell] = text if is_last else text + " " * (room - wide)
    return list(map(shown.__getitem__, cells))


def fit(rooms: list[int], shrinks: Sequence[str], window: int) -> None:
    """Take from the widest of the columns that may be shortened, until a line fits, or none is left."""
    over = sum(rooms) + len(rooms) - 1 - window
    while over > 0:
        able = [at for at, how in enumerate(shrinks) if how and rooms[at] > NARROWEST]
        if not able:
            return
        widest = max(able, key=rooms.__getitem__)
        others = [rooms[at] for at in able if at != widest]
        least = max(NARROWEST, min(max(others, default=0), rooms[widest] - 1))
        taken = min(over, rooms[widest] - least)
        rooms[widest] -= taken
        over -= taken
