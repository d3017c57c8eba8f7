"""wq edit: change a job that is in the queue."""

from __future__ import annotations

from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.ids import is_id

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from wq.cli.connection import Server

    Facts: TypeAlias = dict[str, Any]

HELP = (
    "Change a job that is in the queue. While it waits: its requirements, command and begin; at any\n"
    "time its name, its time limit, and how many tasks of an array may run at one time. Without\n"
    "KEY=VALUE $EDITOR opens what can be changed."
)
EXAMPLES = """examples:
  wq edit 12 N=8 group=gen5       other requirements, under the keys of job files
  wq edit 12 priority=high name=fit
  wq edit 12 command='./fit --fast'
  wq edit 12 begin=20:00          not before that; begin=now
  wq edit 12 time=3h              it may run for three hours from its start; also while it runs
  wq edit 12 time=none            as long as it will
  wq edit 12 at_most=50           at most 50 tasks of array 12 at one time; =none: as many as fit
  wq edit last                    in $EDITOR"""
NONE = "none"
LARGEST = 10_000_000
NEED = ("mode", "N", "group", "notgroup", "host", "min_cores", "min_mem", "threads", "priority")  # keys of job files
ALIASES = {"name": "job_name", "not_group": "notgroup", "groups": "group"}
GROUPED = (*NEED, "job_name", "begin", "max_fails", "command")  # that go to the server as one change
EMPTIED = (*NEED, "begin")  # of which `none` means: as if it had not been given


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
    if at_most is None:
        return "as many tasks at one time as fit"
    return "at most 1 task at one time" if at_most == 1 else f"at most {int(at_most)} tasks at one time"


def say_time(facts: Facts) -> str:
    from wq.formats.duration import in_words

    time_s = facts["time_limit"]
    return "no time limit" if time_s is None else f"time limit {in_words(float(time_s))}"


# By key: how the value is read, how it is asked for, and what is said of the answer.
KEYS: dict[str, tuple[Callable[[str], Any], Callable[[Server, int, Any], Facts], Callable[[Facts], str]]] = {
    "time": (duration, set_time, say_time),
    "at_most": (number_of_tasks, set_at_most, say_at_most),
}
KNOWN = f"these keys can be changed: {', '.join((*KEYS, *GROUPED))}"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="ID KEY=VALUE", help="the job (an id, a name, `last`), and changes")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    from wq.cli import select

    job, *words = args.words
    if "=" in job:
        raise WqError(f"edit: {job[:40]!r} is not the id of a job; an id is a number (12)", BAD_INPUT)
    changes = parse(words)
    if is_id(job) and (not job.isdecimal() or len(job) > 18):
        raise WqError(f"edit: {job[:40]!r} is not the id of a job; an id is a number (12)", BAD_INPUT)
    server = connect(args.port)
    number = select.meant(server, [job])[0][0]
    if not words:
        from wq.cli import editor

        changes = editor.changes(server, number)
        if not changes:
            print(f"job {number}: nothing was changed")
            return 0
    facts = apply(server, number, changes)
    if args.json:
        import json

        print(json.dumps(facts))
        return 0
    from wq.cli.render.sanitise import printable

    for key in changes:
        said = KEYS[key][2](facts) if key in KEYS else f"{key}: {changes[key]}"
        print(printable(f"job {number}: {said}"))
    return 0


def parse(words: list[str]) -> dict[str, Any]:
    """The changes that were asked for, by canonical keys; those of job files as they were written. Raises WqError."""
    changes: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = ALIASES.get(key, key)
        if not equals or key not in (*KEYS, *GROUPED):
            raise WqError(f"edit: {word[:40]!r} is not understood; {KNOWN}", BAD_INPUT)
        if key in changes:
            raise WqError(f"edit: {key} is given twice", BAD_INPUT)
        if key in KEYS:
            changes[key] = None if value == NONE else KEYS[key][0](value)
        else:
            changes[key] = value
    checked({key: value for key, value in changes.items() if key in GROUPED and not (value == NONE and key in EMPTIED)})
    return changes


def checked(grouped: dict[str, str]) -> Any:
    """These keys as a job file has them. Raises WqError."""
    from wq.formats import FormatError
    from wq.formats.jobfile import option_fields

    try:
        return option_fields(grouped, sign="{}=")
    except FormatError as error:
        raise WqError(f"edit: {error.problem}", BAD_INPUT) from None


def apply(server: Server, number: int, changes: dict[str, Any]) -> Facts:
    """Ask for all changes; answers the facts of all answers. Raises WqError."""
    facts: Facts = {"id": number}
    grouped = {key: value for key, value in changes.items() if key in GROUPED}
    fields = fields_of(server, number, grouped) if grouped else {}  # what is wrong is said before anything is changed
    if "command" in grouped:
        recommand(server, number, grouped["command"])
    if grouped:
        facts |= server.ask("edit", id=number, **fields)
    for key in changes:
        if key in KEYS:
            facts |= KEYS[key][1](server, number, changes[key])
    return facts


def fields_of(server: Server, number: int, grouped: dict[str, str]) -> Facts:
    """The fields of the request that changes these."""
    import time

    from wq.formats.when import begin_s

    fields: Facts = {}
    if "job_name" in grouped:
        fields["name"] = grouped["job_name"]
    if "begin" in grouped:
        fields["begin_s"] = 0.0 if grouped["begin"] in (NONE, "now") else begin_s(grouped["begin"], time.time())
    if "max_fails" in grouped:
        fields["max_fails"] = int(grouped["max_fails"])
    if "command" in grouped:
        fields["command"] = grouped["command"]
    if any(key in NEED for key in grouped):
        fields["requirement"] = requirement(row_of(server, number), {k: v for k, v in grouped.items() if k in NEED})
    return fields


def row_of(server: Server, number: int) -> Facts:
    """The job or the array. Raises WqError if there is none."""
    rows = [row for row in server.ask("ls", ids=[[number, number]])["jobs"] if row["id"] == number]
    if not rows:
        raise WqError(f"no job {number} is in the queue")
    found: Facts = rows[0]
    return found


def requirement(row: Facts, changes: dict[str, str]) -> Facts:
    """The whole requirement of a job, with these changes. Raises WqError for keys that contradict each other."""
    from dataclasses import asdict

    from wq.formats import FormatError
    from wq.formats.jobfile import describe, merge

    try:
        emptied = {key for key, value in changes.items() if value == NONE}
        before = checked({key: value for key, value in as_keys(row).items() if key not in emptied})
        new = checked({key: value for key, value in changes.items() if key not in emptied})
        return asdict(describe(merge(before, new)).requirement)
    except FormatError as error:
        raise WqError(f"edit: {error.problem}", BAD_INPUT) from None


def as_keys(row: Facts) -> dict[str, str]:
    """A job's requirement under the keys of job files, without what is as usual."""
    need = row["requirement"]
    keys = {"mode": row["mode"], "N": str(row["n"]), "priority": row["priority"]}
    if row["mode"] == "bygroup":
        del keys["N"]
    for key in ("group", "notgroup"):
        if need[key]:
            keys[key] = ",".join(need[key])
    for key in ("host", "min_cores", "min_mem", "threads"):
        if need[key]:
            keys[key] = str(need[key])
    return keys


def recommand(server: Server, number: int, command: str) -> None:
    """Change the command of a job of one's own, which one's own launcher has. Raises WqError."""
    from wq.cli.link import LauncherLink

    if not command.strip() or "\0" in command:
        raise WqError("edit: the command is empty", BAD_INPUT)
    link = LauncherLink(server)
    link.send({"type": "recommand", "id": number, "command": command})
    for answer in link.messages():
        if "error" in answer:
            raise link.refusal(answer)
        if "ok" in answer:
            return
    raise WqError("your launcher went away before it answered; try again")
