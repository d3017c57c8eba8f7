"""Workload traces in the Standard Workload Format: a line of 18 numbers for each job, and comments that begin with `;`.

Chapin, Cirne, Feitelson, Jones, Leutenegger, Schwiegelshohn, Smith, Talby 1999, Benchmarks and standards for the
evaluation of parallel job schedulers, JSSPP, LNCS 1659:67. Times are seconds; -1 stands for what is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from wq.formats import FormatError, quoted

NFIELDS = 18
MAX_LINE_BYTES = 10_000
MAX_LINES = 3_000_000
MAX_JOBS = 1_000_000
MOST_S = 1e10  # three hundred years: sums of such times are exact
MOST_CORES = 1_000_000
MOST_NUMBER = 10**15
PARTS = (2, 3, 4)  # in field 11, of lines that have a part of a job that was swapped out, behind the line of its whole

_NUMBER = re.compile(rb"[+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,2})?")
_HEADER = re.compile(rb";+\s*(MaxProcs|MaxNodes)\s*:\s*([0-9]{1,12})\b", re.I)


class Row(NamedTuple):
    """One job. None is what is not known: -1 in the trace, or 0 of a time or of processors.

    number: field 1. submit_s: 2. run_s: 4. allocated: processors, 5. requested: processors, 8. request_s: time that
    was asked for, 9. user: 12. queue: 15. partition: 16.
    """

    number: int
    submit_s: float
    run_s: float | None
    allocated: int | None
    requested: int | None
    request_s: float | None
    user: int | None
    queue: int | None
    partition: int | None


@dataclass(slots=True)
class Trace:
    """What a trace has. max_procs, max_nodes: as its header says. nparts: lines that are parts of jobs, left out."""

    rows: list[Row] = field(default_factory=list)
    max_procs: int | None = None
    max_nodes: int | None = None
    nparts: int = 0


def parse_swf(lines: Iterable[bytes], *, source: str) -> Trace:
    """The jobs of a trace, in its order. lines: each with its end, the caller takes care that none is endless.

    Raises FormatError.
    """
    trace = Trace()
    line = 0
    for line, text in enumerate(lines, 1):
        if line == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if len(text) > MAX_LINE_BYTES:
            raise FormatError(f"the line is too long; at most {MAX_LINE_BYTES} bytes", source=source, line=line)
        if line > MAX_LINES:
            raise FormatError(f"there are too many lines; at most {MAX_LINES}", source=source, line=line)
        words = text.split()
        if not words:
            continue
        if words[0].startswith(b";"):
            _read_header(trace, text)
        elif len(words) != NFIELDS:
            found = "1 field" if len(words) == 1 else f"{len(words)} fields"
            problem = f"{found} in {_shown(text.strip())}; allowed: {NFIELDS} numbers, or a comment behind `;`"
            raise FormatError(problem, source=source, line=line)
        else:
            _add(trace, words, source, line)
    if not trace.rows:
        problem = f"there is no job here; allowed: a line of {NFIELDS} numbers for each"
        raise FormatError(problem, source=source, line=max(line, 1))
    return trace


def _read_header(trace: Trace, text: bytes) -> None:
    """The first of each counts: later ones are of parts of the machine."""
    found = _HEADER.match(text.strip())
    if found is None:
        return
    value = int(found[2]) or None
    if found[1].lower() == b"maxprocs":
        trace.max_procs = trace.max_procs or value
    else:
        trace.max_nodes = trace.max_nodes or value


def _add(trace: Trace, words: list[bytes], source: str, line: int) -> None:
    try:
        row, status = _row(words)
    except ValueError as error:
        raise FormatError(str(error), source=source, line=line) from None
    if status in PARTS and trace.rows and trace.rows[-1].number == row.number:
        trace.nparts += 1
        return
    if len(trace.rows) == MAX_JOBS:
        raise FormatError(f"there are too many jobs; at most {MAX_JOBS}", source=source, line=line)
    trace.rows.append(row)


def _row(words: list[bytes]) -> tuple[Row, int | None]:
    """(a job, its status). Raises ValueError with a sentence."""
    number = _name(words, 1, "job number")
    if number is None:
        raise ValueError(_sentence(words, 1, "job number", f"a whole number up to {MOST_NUMBER}"))
    submit_s = _number(words, 2, "submit time", MOST_S)
    if submit_s < 0:
        raise ValueError(_sentence(words, 2, "submit time", f"seconds from 0 to {MOST_S:.0f}"))
    row = Row(
        number=number,
        submit_s=submit_s,
        run_s=_time(words, 4, "run time"),
        allocated=_whole(words, 5, "allocated processors", MOST_CORES),
        requested=_whole(words, 8, "requested processors", MOST_CORES),
        request_s=_time(words, 9, "requested time"),
        user=_name(words, 12, "user"),
        queue=_name(words, 15, "queue"),
        partition=_name(words, 16, "partition"),
    )
    return row, _name(words, 11, "status")


def _number(words: list[bytes], at: int, what: str, most: float) -> float:
    """The number in a field, counted from 1."""
    word = words[at - 1]
    if _NUMBER.fullmatch(word) is None or abs(found := float(word)) > most:
        raise ValueError(_sentence(words, at, what, f"a number up to {most:.0f}, or -1 where it is not known"))
    return found


def _time(words: list[bytes], at: int, what: str) -> float | None:
    """Seconds; None if they are not known."""
    found = _number(words, at, what, MOST_S)
    return found if found > 0 else None


def _whole(words: list[bytes], at: int, what: str, most: int) -> int | None:
    """A whole number above 0; None if it is not known."""
    found = _number(words, at, what, most)
    if found != int(found):
        raise ValueError(_sentence(words, at, what, "a whole number, or -1 where it is not known"))
    return int(found) if found > 0 else None


def _name(words: list[bytes], at: int, what: str) -> int | None:
    """A number that stands for a name: 0 is one, too."""
    return 0 if words[at - 1] == b"0" else _whole(words, at, what, MOST_NUMBER)


def _sentence(words: list[bytes], at: int, what: str, allowed: str) -> str:
    return f"{what} (field {at}) is {_shown(words[at - 1])}; allowed: {allowed}"


def _shown(text: bytes) -> str:
    return quoted(text[:200].decode("utf-8", "backslashreplace"))
