"""The tasks of an array: what people write (`0-9,20-40:2%50`), what goes over the wire, and what each task gets.

Client and launcher both use this file. It imports next to nothing, for the client's sake.
"""

from __future__ import annotations

from wq.formats import quoted

TYPE_CHECKING = False  # importing typing would cost the client 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Piece = tuple[int, int, int]

MAX_TASK = 2**31 - 1
MAX_TASKS = 10_000_000
MAX_PIECES = 10_000
LINE = "line"  # the one column of a file of lines
RESERVED = ("task", "hostfile", "threads")  # placeholders that are no columns
TOO_MANY = f"the array has more than {MAX_TASKS} tasks; allowed: at most {MAX_TASKS}"
ALLOWED = "allowed: numbers and ranges such as 0-99, 1,5,10-20:2 or 0-99%50 (at most 50 at once)"


class ArrayError(ValueError):
    """An array that cannot be; str() is one sentence that says what is allowed."""


class ArraySpec:
    """Which tasks there are, and how many of them may run at once (None: any number).

    pieces: (first, last, step), ascending; each ends before the next begins, so that the order of the pieces is
    that of the numbers. Equal sets of numbers have equal pieces, in whatever way they were written.
    """

    __slots__ = ("at_most", "before", "count", "pieces")

    def __init__(self, pieces: Iterable[Sequence[int]], at_most: int | None = None) -> None:
        """From pieces that are in order already, as they come over the wire."""
        self.pieces: tuple[Piece, ...] = tuple((first, last, step) for first, last, step in pieces)
        self.at_most = at_most
        self.before: list[int] = []  # how many tasks there are before each piece
        self.count = 0
        for piece in self.pieces:
            self.before.append(self.count)
            self.count += len(_range(piece))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        for piece in self.pieces:
            yield from _range(piece)

    def __contains__(self, task: object) -> bool:
        return isinstance(task, int) and self._find(task) is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ArraySpec):
            return NotImplemented
        return (self.pieces, self.at_most) == (other.pieces, other.at_most)

    def __hash__(self) -> int:
        return hash((self.pieces, self.at_most))

    def __repr__(self) -> str:
        return f"<ArraySpec {self}>"

    def __str__(self) -> str:
        """As `parse_array` reads it."""
        cap = "" if self.at_most is None else f"%{self.at_most}"
        return ",".join(map(_written, self.pieces)) + cap

    def capped(self, at_most: int | None) -> ArraySpec:
        """The same tasks, so many at once."""
        return ArraySpec(self.pieces, at_most)

    def index_of(self, task: int) -> int:
        """The place of a task, from 0. Raises KeyError if there is no such task."""
        found = self._find(task)
        if found is None:
            raise KeyError(task)
        return found

    def task_at(self, index: int) -> int:
        """The number of the task at a place. Raises IndexError."""
        from bisect import bisect_right

        if not 0 <= index < self.count:
            raise IndexError(f"there are {self.count} tasks, and no task at place {index}")
        at = bisect_right(self.before, index) - 1
        return _range(self.pieces[at])[index - self.before[at]]

    def _find(self, task: int) -> int | None:
        from bisect import bisect_right

        at = bisect_right(self.pieces, (task, MAX_TASK + 1, 0)) - 1
        if at < 0 or task not in _range(self.pieces[at]):
            return None
        return self.before[at] + _range(self.pieces[at]).index(task)


# ---- what people write


def parse_array(text: str) -> ArraySpec:
    """Numbers and ranges with commas between them, and `%K` at the end. Raises ArrayError."""
    numbers, percent, cap = text.partition("%")
    at_most = parse_at_most(cap) if percent else None
    solid: list[tuple[int, int]] = []
    stepped: set[Piece] = set()
    for item in numbers.split(","):
        first, last, step = _item(item, text)
        if step == 1 or first == last:
            solid.append((first, last))
        else:
            stepped.add((first, last, step))
    joined = _joined(solid)
    rest = sorted(left for piece in stepped for left in _outside(piece, joined))
    return ArraySpec(_in_order([(first, last, 1) for first, last in joined], rest), at_most)


def parse_at_most(text: str) -> int:
    """How many tasks may run at once. Raises ArrayError."""
    number = _number(text)
    if number is None or number < 1:
        raise ArrayError(f"at most {quoted(text)} at once; allowed: a whole number from 1 to {MAX_TASK}")
    return number


def _item(item: str, text: str) -> Piece:
    """`5`, `10-20` or `10-20:2`."""
    ends, colon, step_text = item.partition(":")
    first_text, dash, last_text = ends.partition("-")
    first, last = _number(first_text), _number(last_text if dash else first_text)
    step = _number(step_text) if colon else 1
    if first is None or last is None or step is None or (colon and not dash):
        within = "" if item == text else f" in {quoted(text)}"
        raise ArrayError(f"{quoted(item)}{within} is no task and no range; {ALLOWED}; each from 0 to {MAX_TASK}")
    if first > last:
        raise ArrayError(f"the range {quoted(item)} goes down; allowed: first-last, as in {last}-{first}")
    if step < 1:
        raise ArrayError(f"the step of {quoted(item)} is 0; allowed: a whole number from 1")
    if (last - first) // step >= MAX_TASKS:  # at once: they are not counted first
        raise ArrayError(TOO_MANY)
    return first, first + (last - first) // step * step, step


def _number(text: str) -> int | None:
    text = text.strip()
    digits = text.lstrip("0") or "0"
    if text.isascii() and text.isdigit() and len(digits) <= 10 and int(digits) <= MAX_TASK:
        return int(digits)
    return None


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers as ranges that are in order and apart."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _outside(piece: Piece, solid: list[tuple[int, int]]) -> Iterator[Piece]:
    """What is left of a range with a step where the others are taken out."""
    from bisect import bisect_left

    first, last, step = piece
    for low, high in solid[bisect_left(solid, (first, 0)) - 1 if solid and solid[0][0] < first else 0 :]:
        if low > last:
            break
        if first < low:
            yield first, first + (low - 1 - first) // step * step, step
        if high >= first:
            first += (high - first) // step * step + step
    if first <= last:
        yield first, last, step


def _in_order(solid: list[Piece], stepped: list[Piece]) -> list[Piece]:
    """Pieces that follow one another. Where some with a step lie across each other, their numbers are taken singly."""
    from heapq import merge

    made = _Pieces()
    cluster: list[Piece] = []
    end = -1
    for piece in [*merge(solid, stepped), (MAX_TASK + 1, MAX_TASK + 1, 1)]:
        if piece[0] <= end:
            cluster.append(piece)
            end = max(end, piece[1])
            continue
        if len(cluster) == 1:
            made.add(*cluster[0])
        elif cluster:
            made.add_numbers(merge(*map(_range, cluster)))
        cluster, end = [piece], piece[1]
    return made.finished()


class _Pieces:
    """Ascending numbers put into as few pieces as going along them gives; three with one distance are a range."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.first = self.last = -1
        self.step = self.n = 0  # of the piece in the making
        self.total = 0

    def add(self, first: int, last: int, step: int) -> None:
        """A range. After three of its numbers at most, the piece in the making has its step."""
        numbers = range(first, last + 1, step)
        self._counted(len(numbers))
        for at, number in enumerate(numbers):
            self._next(number)
            if at and self.step == step:
                self.n += len(numbers) - at - 1
                self.last = numbers[-1]
                return

    def add_numbers(self, numbers: Iterable[int]) -> None:
        """Numbers one by one; the same may come again."""
        for number in numbers:
            if number != self.last or not self.n:
                self._counted(1)
                self._next(number)

    def finished(self) -> list[Piece]:
        if self.n == 2 and self.step > 1:
            self._put(self.first, self.first, 1)
            self.first, self.n = self.last, 1
        if self.n:
            self._put(self.first, self.last, self.step if self.n > 1 else 1)
        return self.pieces

    def _next(self, number: int) -> None:
        if self.n == 0:
            self.first, self.n = number, 1
        elif self.n == 1:
            self.step, self.n = number - self.first, 2
        elif number == self.last + self.step:
            self.n += 1
        elif self.n > 2 or self.step == 1:
            self._put(self.first, self.last, self.step)
            self.first, self.n = number, 1
        else:
            self._put(self.first, self.first, 1)
            self.first, self.step = self.last, number - self.last
        self.last = number

    def _put(self, first: int, last: int, step: int) -> None:
        self.pieces.append((first, last, step))
        if len(self.pieces) > MAX_PIECES:
            raise ArrayError(f"the array is in more than {MAX_PIECES} pieces; allowed: at most {MAX_PIECES}")

    def _counted(self, more: int) -> None:
        self.total += more
        if self.total > MAX_TASKS:
            raise ArrayError(TOO_MANY)


def _range(piece: Sequence[int]) -> range:
    first, last, step = piece
    return range(first, last + 1, step)


def _written(piece: Piece) -> str:
    first, last, step = piece
    if first == last:
        return str(first)
    return f"{first}-{last}" if step == 1 else f"{first}-{last}:{step}"


# ---- columns: what the placeholders of the tasks are called


def check_columns(names: Sequence[str]) -> None:
    """Refuse names that no placeholder or variable could have. Raises ArrayError."""
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise ArrayError(f"column {number} has no name; allowed: a name for each column, each of its own")
        if name in RESERVED:
            raise ArrayError(f"a column cannot be called {quoted(name)}; %{name}% is something else, rename it")
        if "%" in name or not name.isprintable():
            raise ArrayError(f"a column cannot be called {quoted(name)}; allowed: printable characters, no %")
        variable = variable_of(name)
        if variable in seen:
            other = seen[variable]
            if other == name:
                raise ArrayError(
                    f"two columns are called {quoted(name)}; allowed: a name for each column, each of its own"
                )
            raise ArrayError(f"columns {quoted(other)} and {quoted(name)} would both be {variable}; rename one")
        seen[variable] = name


def variable_of(column: str) -> str:
    """The environment variable that has the value of a column."""
    return "WQ_PARAM_" + "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in column)


# ---- the array of a submission, as client and launcher exchange it


def wire_array(
    spec: ArraySpec,
    columns: Sequence[str] = (),
    rows: list[list[str]] | None = None,
    product: Sequence[tuple[str, Sequence[str]]] | None = None,
) -> dict[str, Any]:
    """What goes to the launcher. rows: a list for each task; product: instead of rows, the values of each column."""
    return {
        "tasks": [list(piece) for piece in spec.pieces],
        "at_most": spec.at_most,
        "columns": list(columns),
        "rows": rows,
        "product": None if product is None else [[name, list(values)] for name, values in product],
    }


def spec_of(array: Mapping[str, Any]) -> ArraySpec:
    """Which tasks an array has; worth keeping where there are many questions."""
    return ArraySpec(array["tasks"], array["at_most"])


def task_numbers(array: Mapping[str, Any]) -> Iterator[int]:
    """The numbers of all tasks, ascending."""
    for piece in array["tasks"]:
        yield from _range(piece)


def task_at(array: Mapping[str, Any], index: int) -> int:
    """The number of the task at a place, from 0. Raises IndexError."""
    left = index
    for piece in array["tasks"]:
        numbers = _range(piece)
        if 0 <= left < len(numbers):
            return numbers[left]
        left -= len(numbers)
    raise IndexError(f"there is no task at place {index}")


def index_of(array: Mapping[str, Any], task: int) -> int:
    """The place of a task, from 0. Raises KeyError if there is no such task."""
    before = 0
    for piece in array["tasks"]:
        numbers = _range(piece)
        if task in numbers:
            return before + numbers.index(task)
        before += len(numbers)
    raise KeyError(task)


def row_of(array: Mapping[str, Any], index: int) -> dict[str, str]:
    """What `%name%` stands for in the task at a place: its number as `task`, and its value in each column."""
    return {"task": str(task_at(array, index)), **_values(array, index)}


def environment_of(array: Mapping[str, Any], index: int) -> dict[str, str]:
    """What the task at a place finds in its environment."""
    values = _values(array, index)
    found = {variable_of(name): value for name, value in values.items()}
    if list(values) == [LINE]:
        found["WQ_LINE"] = values[LINE]
    return {"WQ_TASK_ID": str(task_at(array, index)), **found}


def _values(array: Mapping[str, Any], index: int) -> dict[str, str]:
    if array["product"] is not None:
        values: dict[str, str] = {}
        for name, choices in reversed(array["product"]):  # the last varies fastest
            index, at = divmod(index, len(choices))
            values[name] = choices[at]
        if index:
            raise IndexError("the product has no such combination")
        return {name: values[name] for name in array["columns"]}
    if array["rows"] is None:
        return {}
    return dict(zip(array["columns"], array["rows"][index], strict=True))
