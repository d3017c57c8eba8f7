"""`output:` and `error:` of a job, -o and -e: from what its user wrote to where the launcher writes."""

from __future__ import annotations

import os
import stat

from wq.cli.errors import BAD_INPUT, WqError
from wq.formats.outputs import NOWHERE, OutputError, check_template, filled, has, safe

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import Any

MARKS = {"j": "\0", "a": "\1", "N": "\2"}  # as wq.launcher.task has them
MOST_NAME_BYTES = 220  # of a file: more may come to it


def placed(task: dict[str, Any], args: Any, here: str) -> bool:
    """Put the paths into a task, relative to the directory of submission. False if it says nothing of its output.

    Raises WqError for names that cannot be, and for directories that are not there.
    """
    for key in ("output", "error"):
        if getattr(args, key) is not None:
            task[key] = checked(f"--{key}", getattr(args, key))
    values: dict[str, str] = {}
    for key in ("output", "error"):
        if task.get(key) is not None:
            values = values or values_for(task)
            task[key] = path_for(key, task[key], values, here, array="array" in task)
    if task.get("error") == task.get("output"):
        task.pop("error", None)
    return task.get("output") is not None


def checked(option: str, text: str) -> str:
    from wq.cli.commands.sub import check_text

    check_text(text)
    try:
        if not text.strip() or not text.isprintable():
            raise OutputError("the name of a file is wanted, without control characters")
        check_template(text)
    except OutputError as error:
        raise WqError(f"{option}: {error}", BAD_INPUT) from None
    return text


def values_for(task: dict[str, Any]) -> dict[str, str]:
    """What stands for each placeholder: a value, or the mark at which the launcher fills one in."""
    from wq.cli.connection import user_name

    return {**MARKS, "%": "%", "x": safe(task["name"]), "u": safe(user_name(os.getuid()))}


def path_for(key: str, text: str, values: dict[str, str], here: str, *, array: bool) -> str:
    """The absolute path for one of them."""
    if os.path.normpath(text) == NOWHERE:
        return NOWHERE
    if has(text, "a") != array:
        hint = "all tasks would write to one file: put %a in its name" if array else "%a is of arrays; this is none"
        raise WqError(f"{key}: {text}: {hint}", BAD_INPUT)
    given = os.path.join(here, os.path.expanduser(filled(text, values)))
    directory, name = os.path.split(given)
    refuse = refusal(directory, name)
    if refuse:
        raise WqError(f"{key}: {text}: {refuse}", BAD_INPUT)
    return os.path.join(os.path.normpath(directory) if ".." not in directory.split("/") else directory, name)


def refusal(directory: str, name: str) -> str | None:
    """Why no file can be written by this name; None if it can."""
    if not os.path.isdir(directory):
        return f"there is no directory {directory}; make it first"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{directory} cannot be written to: no permission there"
    if len(name.encode()) > MOST_NAME_BYTES:
        return f"the name is too long: at most {MOST_NAME_BYTES} bytes"
    if name in (".", ".."):
        return "this is a directory; a file is wanted"
    if any(mark in name for mark in MARKS.values()):
        return None
    try:
        found = os.lstat(os.path.join(directory, name))
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return "this is a directory; a file is wanted"
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        return "it is a link, or no file of yours, which is never written to"
    return None
