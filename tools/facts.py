"""What manual pages and the reference are made of: which things there are is in the code, words for some in the docs.

Where the two do not name the same things, this fails, and says what is missing where.
"""

from __future__ import annotations

import re
from pathlib import Path

from wq.cli import config, errors
from wq.formats import jobfile

ROOT = Path(__file__).parents[1]
OTHERS_VARIABLES = set("COLUMNS HOME PWD TERM SHELL DISPLAY XAUTHORITY SSH_AGENT_PID SSH_TTY PATH TZ LANG".split())
READ = re.compile(r"""environ(?:\.get\(|\[|\.pop\()"([A-Z_]+)"|"([A-Z_]+)" in os\.environ""")

Rows = list[list[str]]


class Differ(Exception):
    """Code and docs do not name the same things; the text says which."""


def table(page: str, heading: str) -> Rows:
    """The rows, without the first two, of the first table below a heading of a page in docs/."""
    text = (ROOT / "docs" / page).read_text()
    _, found, below = text.partition(f"\n{heading}\n")
    if not found:
        raise Differ(f"docs/{page} has no heading {heading!r}")
    lines = below.split("\n#")[0].splitlines()
    rows = [re.split(r"(?<!\\) *\| *", line.strip().strip("|").strip()) for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def same(what: str, page: str, there: set[str], in_code: set[str]) -> None:
    """Raises Differ unless both are the same."""
    if missing := sorted(in_code - there):
        raise Differ(f"docs/{page} says nothing of {what} {', '.join(missing)}")
    if unknown := sorted(there - in_code):
        raise Differ(f"docs/{page} has {what} that the code does not know: {', '.join(unknown)}")


def job_keys() -> Rows:
    """Key, type, default, example, meaning: of every key of a job file."""
    rows = table("jobfile.md", "## All keys")
    same("the key", "jobfile.md", {row[0].strip("`") for row in rows}, set(jobfile._READERS))
    return rows


def job_key_aliases() -> dict[str, str]:
    """Other spellings of keys."""
    return dict(jobfile._ALIASES)


def config_keys() -> Rows:
    """Key, meaning, example: of every key of the configuration."""
    rows = table("commands.md", "## Configuration")
    same("the key", "commands.md", {row[0].strip("`") for row in rows}, set(config.KEYS))
    return rows


def variables() -> Rows:
    """Variable, meaning: what wq reads from the environment."""
    rows = table("commands.md", "## Environment variables")
    names = {name for row in rows for name in row[0].split(", ")}
    read: set[str] = set()
    for path in (ROOT / "src/wq/cli").rglob("*.py"):
        read |= {first or second for first, second in READ.findall(path.read_text())}
    if missing := sorted(read - names - OTHERS_VARIABLES):
        raise Differ(f"docs/commands.md says nothing of the variable {', '.join(missing)}")
    return rows


def job_variables() -> Rows:
    """Variable, meaning: what a job finds in its environment."""
    return table("jobfile.md", "## The environment of a job")


def statuses() -> Rows:
    """Exit status, meaning."""
    rows = table("commands.md", "## Exit statuses")
    known = {word for row in rows for word in re.split(r",? +", row[0])}
    same_needed = {str(errors.FAILED), str(errors.BAD_INPUT), str(errors.AWAY)}
    if missing := sorted(same_needed - known):
        raise Differ(f"docs/commands.md says nothing of the exit status {', '.join(missing)}")
    return rows
