"""wq edit: change a job that is in the queue."""

from __future__ import annotations

from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from wq.cli.connection import Server

    Facts: TypeAlias = dict[str, Any]

HELP = "Change a job that is in the queue: its time limit, how many tasks of an array may run at one time."
EXAMPLES = """examples:
  wq edit 12 time=3h          it may run for three hours, counted from its start; also while it runs
  wq edit 12 time=none        as long as it will
  wq edit 12 at_most=50       at most 50 tasks of array 12 at one time, from now on
  wq edit 12 at_most=none     as many as fit"""
NONE = "none"
LARGEST = 10_000_000


def number_of_tasks(value: str) -> int:
    if value.isdecimal() and len(value) < 12 and 1 <= int(value) <= LARGEST:
        return int(value)
    raise WqError(f"edit: at_most: {value[:40]!r} is not a number from 1 to {LARGEST}, nor `none`", BAD_INPUT)


def duration(value: str) -> float:
    from wq.formats.duration import ALLOWED, seconds

    time_s = seconds(value)
    if time_s is None:
        raise WqError(f"edit: time: {value[:40]!r} is not {ALLOWED}, nor `none`", BAD_INPUT)
    return time_s


def set_at_most(server: Server, job: int, value: Any) -> Facts:
    return server.ask("at_most", id=job, at_most=value)


def set_time(server: Server, job: int, value: Any) -> Facts:
    return server.ask("time", id=job, time_s=value)


def say_at_most(facts: Facts) -> str:
    at_most = facts["at_most"]
    return "as many tasks at one time as fit" if at_most is None else f"at most {int(at_most)} tasks at one time"


def say_time(facts: Facts) -> str:
    from wq.formats.duration import in_words

    time_s = facts["time_limit"]
    return "no time limit" if time_s is None else f"time limit {in_words(float(time_s))}"


# By key: how the value is read, how it is asked for, and what is said of the answer.
KEYS: dict[str, tuple[Callable[[str], Any], Callable[[Server, int, Any], Facts], Callable[[Facts], str]]] = {
    "time": (duration, set_time, say_time),
    "at_most": (number_of_tasks, set_at_most, say_at_most),
}
KNOWN = "time=2h30m, at_most=NUMBER, and `none` for either, are known"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="ID KEY=VALUE", help="the job, and time=3h, at_most=K, or =none")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    job, *words = args.words
    if not job.isdecimal() or len(job) > 18:
        raise WqError(f"edit: {job[:40]!r} is not the id of a job; an id is a number (12)", BAD_INPUT)
    if not words:
        raise WqError(f"edit: nothing to change; {KNOWN}", BAD_INPUT)
    changes = parse(words)
    server = connect(args.port)
    all_facts: Facts = {}
    for key, value in changes.items():
        _, ask, say = KEYS[key]
        facts = ask(server, int(job), value)
        all_facts.update(facts)
        if not args.json:
            print(f"job {job}: {say(facts)}")
    if args.json:
        import json

        print(json.dumps(all_facts))
    return 0


def parse(words: list[str]) -> dict[str, Any]:
    """The changes that were asked for. Raises WqError."""
    changes: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS:
            raise WqError(f"edit: {word[:40]!r} is not understood; {KNOWN}", BAD_INPUT)
        if key in changes:
            raise WqError(f"edit: {key} is given twice", BAD_INPUT)
        changes[key] = None if value == NONE else KEYS[key][0](value)
    return changes
