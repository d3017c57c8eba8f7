"""What the tasks of an array differ in: a line of a file, a row of a CSV file, a combination of parameters."""

from __future__ import annotations

from wq.formats import FormatError, quoted
from wq.formats.array import LINE, MAX_TASKS, ArrayError, ArraySpec, check_columns, wire_array

TYPE_CHECKING = False  # importing typing would cost the client 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

MAX_ROWS_BYTES = 64 << 20
MAX_ROWS = 1_000_000
MAX_VALUE_BYTES = 100_000  # Linux takes 128 KiB for a variable of the environment


def array_of_lines(data: bytes, *, source: str) -> dict[str, Any]:
    """A task for each line that is not blank. Raises FormatError."""
    rows: list[list[str]] = []
    for number, line in enumerate(_text(data, source).split("\n"), 1):
        line = line.removesuffix("\r")
        if line and not line.isspace():
            _add(rows, [line], source, number)
    if not rows:
        raise FormatError(
            "there is no line here that is not blank; a task for each line is wanted", source=source, line=1
        )
    return wire_array(_numbered(len(rows)), [LINE], rows)


def array_of_csv(data: bytes, *, source: str) -> dict[str, Any]:
    """A task for each row below the first, which names the columns. Raises FormatError."""
    import csv
    import io

    reader = csv.reader(io.StringIO(_text(data, source), newline=""), strict=True)
    columns: list[str] | None = None
    rows: list[list[str]] = []
    try:
        for row in reader:
            number = reader.line_num
            if not any(value.strip() for value in row) and len(row) < 2:
                continue  # a blank line
            if columns is None:
                columns = _columns(row, source, number)
            elif len(row) != len(columns):
                problem = f"{_fields(len(row))}, but the first line names {len(columns)}; allowed: one for each column"
                raise FormatError(problem, source=source, line=number)
            else:
                _add(rows, row, source, number)
    except csv.Error as error:
        problem = f'not CSV: {error}; allowed: fields with commas between them, quoted with " where needed'
        raise FormatError(problem, source=source, line=max(reader.line_num, 1)) from None
    if columns is None or not rows:
        problem = "there is no row here; a first line that names the columns, and a row for each task are wanted"
        raise FormatError(problem, source=source, line=1)
    return wire_array(_numbered(len(rows)), columns, rows)


def array_of_params(texts: Sequence[str]) -> dict[str, Any]:
    """A task for each combination of `name=value,value,...`; the first name varies slowest. Raises ArrayError."""
    product = [_param(text) for text in texts]
    columns = [name for name, _ in product]
    check_columns(columns)
    ntasks = 1
    for _, values in product:
        ntasks *= len(values)
    if ntasks > MAX_TASKS:
        sizes = " x ".join(str(len(values)) for _, values in product)
        raise ArrayError(f"{sizes} combinations are more than {MAX_TASKS} tasks; allowed: at most {MAX_TASKS}")
    return wire_array(_numbered(ntasks), columns, None, product)


def _numbered(ntasks: int) -> ArraySpec:
    return ArraySpec([(1, ntasks, 1)])


# ---- texts


def _text(data: bytes, source: str) -> str:
    """The text of a file. Raises FormatError with the line of what is none."""
    if len(data) > MAX_ROWS_BYTES:
        raise FormatError(f"the file is too large; allowed: at most {MAX_ROWS_BYTES >> 20} MiB", source=source, line=1)
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise FormatError("there is a NUL here; allowed: UTF-8 text without NUL", source=source, line=line)
    try:
        return data.decode("utf-8").removeprefix("\ufeff")  # some programs write a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"the byte {data[error.start]:#04x} is no UTF-8; allowed: UTF-8 text without NUL"
        raise FormatError(problem, source=source, line=line) from None


def _add(rows: list[list[str]], row: list[str], source: str, line: int) -> None:
    if len(rows) == MAX_ROWS:
        raise FormatError(
            f"there are more than {MAX_ROWS} tasks here; allowed: at most that many", source=source, line=line
        )
    for value in row:
        if len(value) > MAX_VALUE_BYTES // 4 and len(value.encode()) > MAX_VALUE_BYTES:
            problem = f"a value here is too long; allowed: at most {MAX_VALUE_BYTES} bytes"
            raise FormatError(problem, source=source, line=line)
    rows.append(row)


def _columns(row: list[str], source: str, line: int) -> list[str]:
    columns = [name.strip() for name in row]
    try:
        check_columns(columns)
    except ArrayError as error:
        raise FormatError(str(error), source=source, line=line) from None
    return columns


def _fields(n: int) -> str:
    return "1 field" if n == 1 else f"{n} fields"


# ---- parameters


def _param(text: str) -> tuple[str, list[str]]:
    """`lr=0.1,0.01`, `seed=1-5`, `n=10-100:10`."""
    name, equals, choices = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ArrayError(f"{quoted(text)} is no parameter; allowed: NAME=VALUE,VALUE,... or NAME=FIRST-LAST")
    values: list[str] = []
    for item in choices.split(","):
        values += _choices(item.strip(), text, MAX_ROWS - len(values))
    return name, values


def _choices(item: str, text: str, room: int) -> Iterator[str]:
    """The values of an item: all numbers of a range, else itself."""
    if not item:
        raise ArrayError(f"there is an empty value in {quoted(text)}; allowed: NAME=VALUE,VALUE,...")
    if len(item) > MAX_VALUE_BYTES // 4:
        raise ArrayError(f"a value of {quoted(text)} is too long; allowed: at most {MAX_VALUE_BYTES // 4} characters")
    found = _range(item)
    numbers, width = found if found is not None else (range(1), 0)
    if found is not None and not numbers:
        raise ArrayError(
            f"no number is in the range {quoted(item)} of {quoted(text)}; allowed: FIRST-LAST[:STEP], upwards"
        )
    if len(numbers) > room:
        raise ArrayError(f"{quoted(text)} has more than {MAX_ROWS} values; allowed: at most that many")
    return iter([item]) if found is None else (f"{number:0{width}}" for number in numbers)


def _range(item: str) -> tuple[range, int] | None:
    """`1-5` or `10-100:10` as (numbers, digits); of `001-100` each has three digits. None: it is no range."""
    ends, colon, step = item.partition(":")
    first, _, last = ends.partition("-")
    if not all(_is_number(part) for part in (first, last, step or "1")) or (colon and not step):
        return None
    if int(step or "1") < 1:
        return range(0), 0
    width = len(first) if len(first) == len(last) and first.startswith("0") else 0
    return range(int(first), int(last) + 1, int(step or "1")), width


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15
