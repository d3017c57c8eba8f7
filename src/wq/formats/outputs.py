"""Names of output files as users write them: `logs/fit-%j_%a.log`, and what the placeholders in them mean."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

PLACEHOLDERS = {
    "j": "the id of the job",
    "a": "the number of the task",
    "x": "the name of the job",
    "u": "the user",
    "N": "the first node",
    "%": "%",
}
LATE = ("j", "a", "N")  # known only when the job is queued, or when it starts
NOWHERE = "/dev/null"  # where output goes that nobody wants
WQLOG = ".wqlog"  # how a name ends that its user has not given


class OutputError(ValueError):
    """Its text is what is wrong with the name, and what is allowed."""


def pieces(text: str) -> list[tuple[str, str]]:
    """(text, placeholder after it) of a name; of the last one the placeholder is empty. Raises OutputError."""
    found: list[tuple[str, str]] = []
    start = 0
    while (at := text.find("%", start)) >= 0:
        letter = text[at + 1 : at + 2]
        if letter not in PLACEHOLDERS or not letter:
            allowed = ", ".join(f"%{one} ({what})" for one, what in PLACEHOLDERS.items())
            raise OutputError(f"%{letter} is no placeholder; there are {allowed}")
        found.append((text[start:at], letter))
        start = at + 2
    return [*found, (text[start:], "")]


def check_template(text: str) -> None:
    """Raises OutputError for what can be no name of a file, whatever stands for the placeholders."""
    parts = pieces(text)
    if text.endswith("/"):
        raise OutputError("this is a directory; a file is wanted")
    rest = ""
    for before, letter in reversed(parts):
        if letter in LATE and "/" in rest:
            raise OutputError(
                f"%{letter} can only be in the name of the file: its directory must be there when you submit"
            )
        rest = before + rest


def has(text: str, letter: str) -> bool:
    """Whether this placeholder is in it."""
    return any(found == letter for _, found in pieces(text))


def filled(text: str, values: Mapping[str, str]) -> str:
    """The name with a value for each placeholder. Values hold no slashes: see `safe`."""
    return "".join(before + (values[letter] if letter else "") for before, letter in pieces(text))


def safe(name: str) -> str:
    """A name as a part of the name of a file, which never leads out of a directory."""
    kept = "".join(c if c.isalnum() or c in "._+-" else "_" for c in name.rpartition("/")[2]).lstrip(".")[:80]
    return kept.encode()[:200].decode("utf-8", "ignore") or "job"  # a name has at most 255 bytes
