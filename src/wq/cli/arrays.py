"""Arrays as `wq sub` takes them: from its options, or from the key `array` of a job file or -r."""

from __future__ import annotations

import sys

from wq.cli import carried, stdin
from wq.cli.errors import BAD_INPUT, WqError
from wq.formats import FormatError
from wq.formats.array import RESERVED, ArrayError, parse_array, parse_at_most, wire_array
from wq.formats.rows import MAX_ROWS_BYTES, array_of_csv, array_of_lines, array_of_params

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import Any

SOURCES = {"array": "--array", "each_line": "--each-line", "each_csv": "--each-csv", "param": "--param"}
MOST_BYTES = 256 << 20  # that a launcher takes in one message
CLOSE = 0.8  # how much a placeholder is like a column, if it was meant to be that

said: set[str] = set()


class Wanted:
    """What the options ask for. array: as it goes to the launcher; None: that of the job file, if it has one."""

    def __init__(self, array: dict[str, Any] | None, at_most: int | None) -> None:
        self.array, self.at_most = array, at_most


def wanted(args: Any) -> Wanted:
    """What the options ask for. Raises WqError."""
    given = [option for name, option in SOURCES.items() if getattr(args, name) is not None]
    if len(given) > 1:
        raise WqError(
            f"sub: {' and '.join(given)} exclude each other; give one of {', '.join(SOURCES.values())}", BAD_INPUT
        )
    try:
        at_most = None if args.at_most is None else parse_at_most(args.at_most)
    except ArrayError as error:
        raise WqError(f"--at-most: {error}", BAD_INPUT) from None
    try:
        array = array_of(args)
    except ArrayError as error:
        raise WqError(f"{given[0]}: {error}", BAD_INPUT) from None
    except FormatError as error:
        raise WqError(str(error), BAD_INPUT) from None
    if array is not None and array["at_most"] is not None and at_most is not None:
        raise WqError("sub: --at-most and the % in --array mean the same; give one of them", BAD_INPUT)
    return Wanted(array, at_most)


def array_of(args: Any) -> dict[str, Any] | None:
    if args.array is not None:
        return wire_array(parse_array(args.array))
    if args.param is not None:
        from wq.cli.commands.sub import check_text

        check_text(*args.param)
        return array_of_params(args.param)
    if args.each_line is not None:
        data, source = read(args.each_line, args.files)
        return array_of_lines(data, source=source)
    if args.each_csv is not None:
        data, source = read(args.each_csv, args.files)
        return array_of_csv(data, source=source)
    return None


def read(path: str, files: list[str]) -> tuple[bytes, str]:
    """(the bytes of a file, or a little more than are allowed; its name in messages)."""
    if path == "-" and "-" in files:
        raise WqError("sub: standard input is either the job file or the rows, not both", BAD_INPUT)
    source = "standard input" if path == "-" else path
    try:
        if path != "-":
            return carried.contents(path, MAX_ROWS_BYTES), source
        return stdin.opened().buffer.read(MAX_ROWS_BYTES + 1), source
    except OSError as error:
        raise WqError(f"{source}: {error.strerror}", BAD_INPUT) from None


def spread(task: dict[str, Any], wanted: Wanted | None, *, foreground: bool) -> None:
    """Make a task an array, if it is to be one. Raises WqError."""
    text = task.pop("array", None)
    at_most = None if wanted is None else wanted.at_most
    array = None if wanted is None else wanted.array
    if array is None and text is not None:
        array = wire_array(parse_array(text))
    if array is None:
        if at_most is not None:
            sources = ", ".join(SOURCES.values())
            raise WqError(f"sub: --at-most goes with an array ({sources}, or `array:` in the job file)", BAD_INPUT)
        return
    if foreground:
        raise WqError("sub: arrays go with -b", BAD_INPUT)
    if task.get("hostfile") not in (None, "auto"):
        sentence = "sub: all tasks of an array would write the same hostfile; use `hostfile: auto`, or $WQ_HOSTFILE"
        raise WqError(sentence, BAD_INPUT)
    task["array"] = array if at_most is None else {**array, "at_most": at_most}
    words = task.get("argv") or [task["command"]]
    for remark in misspelt(words, array["columns"]):
        if remark not in said:
            said.add(remark)
            print_remark(remark)


def misspelt(words: list[str], columns: list[str]) -> list[str]:
    """Remarks on what looks like a placeholder, is none, and is much like one."""
    from wq.formats.fill import candidates

    remarks: list[str] = []
    known = {*columns, *RESERVED}
    for name in dict.fromkeys(name for word in words for name in candidates(word)):
        if name in known or len(name) < 2:
            continue  # `%s%` is of a printf
        from difflib import get_close_matches

        folded = {one.lower(): one for one in (*columns, "task")}
        if near := get_close_matches(name.lower(), folded, 1, CLOSE):
            remarks.append(f"%{name}% in the command stays as it is; did you mean %{folded[near[0]]}%?")
    return remarks


def print_remark(remark: str) -> None:
    from wq.cli.render.sanitise import printable

    print(f"wq: {printable(remark)}", file=sys.stderr)


def check_size(message: dict[str, Any]) -> None:
    """Refuse what is more than a launcher takes in one message. Most are far from it."""
    arrays = [task["array"] for task in message["tasks"] if "array" in task]
    texts = [value for array in arrays for row in array["rows"] or () for value in row]
    texts += [value for array in arrays for _, values in array["product"] or () for value in values]
    if sum(map(len, texts)) * 6 + len(texts) * 5 < MOST_BYTES // 2:
        return
    from wq.protocol.wire import encode

    if len(encode(message)) > MOST_BYTES:
        raise WqError(f"sub: this is more than {MOST_BYTES >> 20} MiB to send; submit it in several calls", BAD_INPUT)
