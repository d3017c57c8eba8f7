"""wq redo: run jobs that are over once more."""

from __future__ import annotations

import os

from wq.cli import select
from wq.cli.commands import sub
from wq.cli.connection import connect
from wq.cli.errors import AWAY, BAD_INPUT, WqError
from wq.cli.ids import check_ids
from wq.cli.link import LauncherLink, remark
from wq.cli.render.outcome import succeeded

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wq.cli.connection import Server

HELP = (
    "Submit batch jobs of yours again, as they were: the same command, directory and environment. It is\n"
    "a new job, with an output of its own, and it does not wait for what the old one waited for."
)
EXAMPLES = """examples:
  wq redo 12               this job
  wq redo 12 --failed      of array 12 only the tasks that have failed; other jobs only if they have
  wq redo 12.5 12.100-200  these tasks of an array
  wq redo last"""
MOST_JOBS = 1000


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="+", metavar="ID", help="ids, ranges (3-9), tasks of an array (12.5), `last`, names"
    )
    parser.add_argument("--failed", action="store_true", help="only what has failed, or was removed")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the new ids")
    parser.add_argument("--json", action="store_true", help="for programs; as that of wq sub -b, see docs/json.md")


def run(args: argparse.Namespace) -> int:
    check_ids(args.ids)
    server = connect(args.port, recall=True)
    status, jobs = 0, []
    for number, tasks in wanted(select.meant(server, args.ids, over=True)):
        if args.failed and tasks is None:
            tasks = failed_tasks(server, number)
            if tasks == []:
                remark(f"nothing of job {number} has failed, so it is not run again")
                continue
        try:
            jobs += again(server, number, tasks or None)
        except WqError as error:
            if error.status == AWAY:
                raise
            remark(str(error))
            status = error.status
    if jobs or args.json:
        sub.report(args, jobs)
    return status


def wanted(ranges: list[list[int]]) -> list[tuple[int, list[list[int]] | None]]:
    """(a job, which of its tasks as ranges of numbers; None: all of it). Raises WqError."""
    found: dict[int, list[list[int]] | None] = {}
    for pair in ranges:
        if len(pair) == 4:
            tasks = found.setdefault(pair[0], [])
            if tasks is not None:
                tasks.append(pair[2:])
            continue
        if pair[1] - pair[0] >= MOST_JOBS:
            raise WqError(f"redo: at most {MOST_JOBS} jobs at once", BAD_INPUT)
        found.update(dict.fromkeys(range(pair[0], pair[1] + 1)))
    return list(found.items())


def failed_tasks(server: Server, number: int) -> list[list[int]] | None:
    """Of an array, the tasks that have failed or were removed; None for a job that has failed; [] if nothing has."""
    rows = [row for row in server.ask("ls", ids=[[number, number]], finished=True)["jobs"] if row["id"] == number]
    if not rows:
        raise WqError(f"no job {number} is known to the server")
    if rows[0]["array"] is None:
        return None if is_bad(rows[0]) else []
    return [[int(row["task"]), int(row["task"])] for row in rows if row["task"] is not None and is_bad(row)]


def is_bad(row: dict[str, Any]) -> bool:
    """It is over, and did not end as it should."""
    return row["outcome"] is not None and not succeeded(row["outcome"])


def again(server: Server, number: int, tasks: list[list[int]] | None) -> list[dict[str, Any]]:
    """What the launcher answers: the new job. Raises WqError."""
    message = {"type": "redo", "id": number, "tasks": tasks, "token": os.urandom(16).hex()}
    for _ in range(sub.MOST_LAUNCHERS):
        facts = sub.answer_to(LauncherLink(server), message)
        if facts is not None:
            found: list[dict[str, Any]] = facts["jobs"]
            return found
    raise WqError("your launcher went away before it answered; `wq ls` shows what was queued", AWAY)
