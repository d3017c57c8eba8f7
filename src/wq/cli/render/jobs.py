"""The listing of jobs: nine columns that scripts read, and the full form as YAML.

A listing may have a hundred thousand lines. So it is made column by column, and each different text in a column is
cleaned, measured and padded once.
"""

from __future__ import annotations

from .age import age
from .colour import LETTERS, PLAIN
from .sanitise import WIDEST, width, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from .colour import Style

    Row = Sequence[Any]  # in its brief form
    Listed = Any  # a row in its brief form, or one that has names

HEADER = ("Id", "User", "Status", "Priority", "Ncores", "Nhosts", "Command", "t_in", "t_run")

# A row in its brief form, as the server sends it for a listing. counts: of the tasks of an array, how many wait, run,
# are done, have failed. last: the row stands for all ids up to this one, alike but for the id.
FIELDS = tuple(
    "id task user state priority ncores nhosts name submitted_at started_at ended_at counts out_of_sight last".split()
)
PARTS = ("waiting", "running", "done", "failed")  # of an array: its tasks, in the order of `counts`
MOST_LINES = 20_000_000  # for which a row may stand
_ID, _TASK, _STATE = map(FIELDS.index, ("id", "task", "state"))
_COUNTS, _DARK, _LAST = map(FIELDS.index, ("counts", "out_of_sight", "last"))


def listing(rows: Sequence[Listed], now_s: float, style: Style = PLAIN) -> list[str]:
    """The jobs, a line each under a header, and the footer that counts them. now_s: seconds since the epoch.

    A state that this client does not know yet is shown as `?` and counted in the total alone.
    """
    if not rows:
        return [" ".join(HEADER), footer([], [], [], [], [])]
    found: Sequence[Row] = rows if isinstance(rows[0], list) else [brief(row) for row in rows]
    columns = turned(found, len(FIELDS))
    _check(columns)
    statuses = letters(columns[_STATE], columns[_COUNTS])
    titles, cells = zip(*_columns(columns, statuses, now_s, style), strict=True)
    if all(columns[at].count(None) == len(found) for at in (_TASK, _LAST)):
        room = max(len(HEADER[0]), len(str(max(columns[_ID]))))
        ids = [str(number).ljust(room) for number in columns[_ID]]
        lines = list(map(" ".join, zip(ids, *cells, strict=True)))
    else:
        room = max(len(HEADER[0]), *(len(_id_cell(row)) for row in found))
        tails = map(" ".join, zip(*cells, strict=True))
        lines = [line for row, tail in zip(found, tails, strict=True) for line in _lines(row, tail, room)]
    lines.insert(0, " ".join([HEADER[0].ljust(room), *titles]))
    lines.append(footer(columns[_ID], columns[_TASK], columns[_COUNTS], columns[_LAST], statuses))
    return lines


def full(rows: Sequence[Mapping[str, Any]]) -> str:
    """Everything about the jobs, as one YAML document, a list; ends with a newline."""
    from .yaml_text import document

    return document(rows)


def brief(row: Mapping[str, Any]) -> Row:
    """A row that has names, in its brief form."""
    found = [row.get(name) for name in FIELDS]
    if row.get("array"):
        found[_COUNTS] = [row["array"][part] for part in PARTS]
    return found


def in_the_dark(rows: Sequence[Listed]) -> list[dict[str, Any]]:
    """The jobs that nobody can hear of, as the remarks about them want them: each id once."""
    dark: dict[int, dict[str, Any]] = {}
    for row in rows:
        found: Row = brief(row) if isinstance(row, dict) else row
        if found[_DARK]:
            for number in range(found[_ID], (found[_LAST] or found[_ID]) + 1):
                dark.setdefault(number, {"id": number, "out_of_sight": found[_DARK]})
    return list(dark.values())


def _check(columns: Sequence[Sequence[Any]]) -> None:
    """What is shown as a number is one, and nobody is to draw lines for ever. Raises ValueError."""
    for at in (_ID, _TASK, _LAST):
        if not {int, type(None)}.issuperset(map(type, columns[at])):
            raise ValueError("an id that is no number")
    many = sum(last - first for first, last in zip(columns[_ID], columns[_LAST], strict=True) if last is not None)
    if many > MOST_LINES:
        raise ValueError("a listing without end")


def _columns(
    columns: Sequence[Sequence[Any]], statuses: Sequence[str], now_s: float, style: Style
) -> Iterator[tuple[str, Sequence[str]]]:
    """(title, cells), padded, of all columns but the first."""
    users, states, priorities, ncores, nhosts, names, since, started, ended, counts = columns[2:12]
    yield _column("User", users, word)
    yield _column("Status", statuses, str, style.status)
    yield _column("Priority", priorities, word)
    yield _column("Ncores", ncores, amount)
    yield _column("Nhosts", nhosts, amount)
    yield _column("Command", names, word)
    yield _column("t_in", stays(since, ended, now_s), age)
    seconds = runs(states, started, ended, counts, now_s)
    cell_of = {one: lasting(one) for one in set(seconds)}
    yield "t_run", list(map(cell_of.__getitem__, seconds))


def _column(
    title: str, values: Sequence[Any], cell: Callable[[Any], str], paint: Callable[[str], str] | None = None
) -> tuple[str, Sequence[str]]:
    """The title and the cells of a column, padded to the widest. What is wider than WIDEST does not widen it."""
    cell_of = {value: cell(value) for value in set(values)}
    width_of = {value: width(text) for value, text in cell_of.items()}
    room = min(WIDEST, max(len(title), *width_of.values()))
    for value, text in cell_of.items():
        cell_of[value] = (paint(text) if paint else text) + " " * (room - width_of[value])
    return title.ljust(room), list(map(cell_of.__getitem__, values))


def stays(since: Sequence[float], ended: Sequence[float | None], now_s: float) -> list[float]:
    """For how many whole seconds each has been in the queue, to its end."""
    return [((now_s if end is None else end) - begin) // 1 for begin, end in zip(since, ended, strict=True)]


def runs(
    states: Sequence[str],
    started: Sequence[float | None],
    ended: Sequence[float | None],
    counts: Sequence[Any],
    now_s: float,
) -> list[float | None]:
    """For how many whole seconds each has run; None if it did not, or waits again.

    An array runs since its first start, also while all that is left of it waits.
    """
    return [
        None
        if begin is None or (n is None and state in ("queued", "held"))
        else ((now_s if end is None else end) - begin) // 1
        for end, begin, state, n in zip(ended, started, states, counts, strict=True)
    ]


def amount(number: int | None) -> str:
    return word(str(number or "-"))


def lasting(seconds: float | None) -> str:
    return "-" if seconds is None else age(seconds)


def letters(states: Sequence[str], counts: Sequence[Any]) -> Sequence[str]:
    """The status of each: a letter, and of an array several with counts."""
    letter_of = {state: LETTERS.get(state, "?") for state in set(states)}
    letters = list(map(letter_of.__getitem__, states))
    if counts.count(None) == len(counts):
        return letters
    return [letter if n is None else counts_in_letters(n) for letter, n in zip(letters, counts, strict=True)]


def counts_in_letters(counts: Sequence[int]) -> str:
    """How many tasks of an array wait, run, are done and have failed, as one word: `W8120/R48/D1832`."""
    return "/".join(f"{letter}{int(number)}" for letter, number in zip("WRDF", counts, strict=True) if number) or "W0"


def turned(rows: Sequence[Row], nfields: int) -> list[list[Any]]:
    """The columns of these rows. By parts: a zip of all at once would jump about in memory."""
    columns: list[list[Any]] = [[] for _ in range(nfields)]
    for at in range(0, len(rows), 256):
        for column, part in zip(columns, zip(*rows[at : at + 256], strict=True), strict=True):
            column += part
    return columns


def _id_cell(row: Row) -> str:
    """The widest of its ids."""
    if row[_TASK] is not None:
        return f"{row[_ID]}.{row[_TASK]}"
    return str(row[_ID] if row[_LAST] is None else row[_LAST])


def _lines(row: Row, tail: str, room: int) -> list[str]:
    """A line for each job that a row stands for."""
    if row[_LAST] is None:
        return [f"{_id_cell(row).ljust(room)} {tail}"]
    return [f"{str(number).ljust(room)} {tail}" for number in range(row[_ID], row[_LAST] + 1)]


def footer(
    ids: Sequence[int],
    tasks: Sequence[int | None],
    counts: Sequence[Any],
    lasts: Sequence[int | None],
    statuses: Sequence[str],
) -> str:
    """Counts jobs; an array is one. What holds cores is running, also while it is being stopped.

    Suspended, held and finished ones are named only where there are any.
    """
    number_of = dict.fromkeys("WRESHD?", 0)
    if all(column.count(None) == len(statuses) for column in (tasks, counts, lasts)):
        number_of = {letter: statuses.count(letter) for letter in number_of}
    else:
        arrays: dict[int, str] = {}  # by id, the letters of the array, or of those of its tasks that are listed
        for first, task, n, last, status in zip(ids, tasks, counts, lasts, statuses, strict=True):
            if n is None and task is None:
                number_of[status] += 1 if last is None else last - first + 1
            else:
                arrays[first] = arrays.get(first, "") + status
        for found in arrays.values():
            number_of[next((letter for letter in "RESWHD" if letter in found), "?")] += 1
    running = number_of["R"] + number_of["E"]
    line = f"Jobs: {sum(number_of.values())} Running: {running} Waiting: {number_of['W']}"
    for title, letter in (("Suspended", "S"), ("Held", "H"), ("Done", "D")):
        if number_of[letter]:
            line += f" {title}: {number_of[letter]}"
    return line
