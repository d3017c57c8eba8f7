"""wq edit: change a job that is in the queue."""

from __future__ import annotations

from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Change a job that is in the queue: how many tasks of an array may run at one time."
EXAMPLES = """examples:
  wq edit 12 at_most=50       at most 50 tasks of array 12 at one time, from now on
  wq edit 12 at_most=none     as many as fit"""
KEYS = ("at_most",)
LARGEST = 10_000_000


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="ID KEY=VALUE", help="the job, and at_most=K or at_most=none")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    job, *words = args.words
    if not job.isdecimal() or len(job) > 18:
        raise WqError(f"edit: {job[:40]!r} is not the id of a job; an id is a number (12)", BAD_INPUT)
    if not words:
        raise WqError("edit: nothing to change; at_most=NUMBER and at_most=none are known", BAD_INPUT)
    changes = parse(words)
    facts = connect(args.port).ask("at_most", id=int(job), at_most=changes["at_most"])
    if args.json:
        import json

        print(json.dumps(facts))
    elif facts["at_most"] is None:
        print(f"job {job}: as many tasks at one time as fit")
    else:
        print(f"job {job}: at most {int(facts['at_most'])} tasks at one time")
    return 0


def parse(words: list[str]) -> dict[str, int | None]:
    """The changes that were asked for. Raises WqError."""
    changes: dict[str, int | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS:
            raise WqError(f"edit: {word[:40]!r} is not understood; at_most=NUMBER and at_most=none are", BAD_INPUT)
        if key in changes:
            raise WqError(f"edit: {key} is given twice", BAD_INPUT)
        if value == "none":
            changes[key] = None
        elif value.isdecimal() and len(value) < 12 and 1 <= int(value) <= LARGEST:
            changes[key] = int(value)
        else:
            raise WqError(f"edit: {key}: {value[:40]!r} is not a number from 1 to {LARGEST}, nor `none`", BAD_INPUT)
    return changes
