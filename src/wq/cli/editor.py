"""What can be changed of a job, in the user's own editor: a job file, of which only what differs is asked for."""

from __future__ import annotations

import os
import sys

from wq.cli import stdin
from wq.cli.commands import edit
from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import Any

    from wq.cli.connection import Server

HEAD = """\
# Job {number}. Change values, save, and leave; what is as it was stays as it is.
# A line that is taken out means: as if it had not been given.
"""


def changes(server: Server, number: int) -> dict[str, Any]:
    """What the user wants otherwise, as edit.parse has it. Raises WqError."""
    if not (stdin.is_terminal() and sys.stdout.isatty()):
        raise WqError(f"edit: nothing to change; {edit.KNOWN}", BAD_INPUT)
    program = editor()
    row = edit.row_of(server, number)
    before = keys_of(row)
    text = HEAD.format(number=number) + "".join(f"{key}: {quoted(value)}\n" for key, value in before.items())
    while True:
        text = edited(program, text)
        try:
            return difference(before, text)
        except WqError as error:
            print(f"wq: {error}", file=sys.stderr)
            if stdin.answer_to("Edit it again? (yes/no)").lower() not in ("y", "yes"):
                raise WqError("nothing was changed", BAD_INPUT) from None


def keys_of(row: dict[str, Any]) -> dict[str, str]:
    """What can be changed of a job now, under the keys of job files."""
    keys = {"job_name": row["name"]}
    if row["state"] in ("queued", "held"):
        keys |= edit.as_keys(row)
        if row["command"]:
            keys["command"] = row["command"]
    if row["time_limit"] is not None:
        from wq.formats.duration import in_words

        keys["time"] = in_words(row["time_limit"])
    if row["array"] is not None and row["array"]["at_most"] is not None:
        keys["at_most"] = str(row["array"]["at_most"])
    return {key: str(value) for key, value in keys.items()}


def difference(before: dict[str, str], text: str) -> dict[str, Any]:
    """Raises WqError for what is no such file."""
    from wq.formats import FormatError
    from wq.formats.jobfile import raw_values

    try:
        after = raw_values(text, source="the job")
    except FormatError as error:
        raise WqError(str(error), BAD_INPUT) from None
    words = [f"{key}={value}" for key, value in after.items() if before.get(key) != value]
    words += [
        f"{key}=none"
        for key in before
        if key not in after and key not in ("job_name", "command", "priority", "mode", "N")
    ]
    return edit.parse(words)


def quoted(value: str) -> str:
    """A value as YAML has it: plain where it can be, else in quotes."""
    import json

    plain = (
        value
        and value[0].isalnum()
        and not any(sign in value for sign in (": ", " #", "\n", "\t"))
        and value[-1] != ":"
    )
    return value if plain and value.isascii() and value == value.strip() else json.dumps(value)


def editor() -> list[str]:
    """argv of the user's editor, without the file. Raises WqError for what is none."""
    import shlex

    name = "VISUAL" if os.environ.get("VISUAL") else "EDITOR"
    text = os.environ.get(name) or "vi"
    try:
        program = shlex.split(text)
    except ValueError:  # a quotation without its end
        program = []
    if not program:
        allowed = "a program and its options, quoted as for a shell, such as `vi` or `emacs -nw`"
        raise WqError(f"edit: ${name} is {text[:60]!r}; allowed: {allowed}", BAD_INPUT)
    return program


def edited(program: list[str], text: str) -> str:
    """The text after the user's editor has had it. Raises WqError."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="wq-edit-") as directory:  # (only its user can enter it)
        path = os.path.join(directory, "job.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        try:
            status = subprocess.call([*program, path])
        except OSError as error:
            raise WqError(f"cannot run {program[0]}: {error.strerror}; set $EDITOR") from None
        if status:
            raise WqError(f"{program[0]} ended with status {status}; nothing was changed")
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
