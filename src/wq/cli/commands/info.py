"""wq info: everything about a job."""

from __future__ import annotations

import time

from wq.cli import select
from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, FAILED, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = "Show everything about a job, or a task of an array: also when it is over, while it is kept."
EXAMPLES = """examples:
  wq info 12          this job
  wq info 12.5        this task of an array
  wq info last        your newest job
  wq info fit         your job of this name, if there is one
  wq info --failed    all of your own that failed
  wq info --json 12   for programs"""
MOST = 1000  # jobs in one call


def options(parser: argparse.ArgumentParser) -> None:
    select.options(parser, over=True)
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    select.check(args, "info", over=True)
    server = connect(args.port, recall=True)
    ranges = select.chosen(server, args, over=True)
    wanted = [each for found in ranges for each in one_by_one(found)]
    alone = {each for found in ranges if found[-2] == found[-1] for each in one_by_one(found)}
    if len(wanted) > MOST:
        raise WqError(f"info: {len(wanted)} jobs are too many at once; at most {MOST}", BAD_INPUT)
    found: list[Any] = []
    status = 0
    for number, task in wanted:
        try:
            found.append(server.ask("info", id=number, **({} if task is None else {"task": task})))
        except WqError as error:
            if error.status != FAILED:
                raise
            if (number, task) in alone:  # a range takes what there is of it
                from wq.cli.link import remark

                remark(str(error))
                status = FAILED
    if found:
        from wq.cli import whereabouts

        whereabouts.add(server, found, or_how=not args.json)
    if args.json:
        import json

        print(json.dumps(found, indent=1))
    elif found:
        from wq.cli.render import past

        print("\n\n".join("\n".join(past.page(facts, time.time())) for facts in found))
    elif not wanted:
        raise WqError("info: no job of yours is meant by that")
    return status


def one_by_one(found: list[int]) -> list[tuple[int, int | None]]:
    """(job, task or None) for each of a range. Raises WqError if it is too long."""
    first, last = found[-2:]
    if last - first >= MOST:
        raise WqError(f"info: {last - first + 1} jobs are too many at once; at most {MOST}", BAD_INPUT)
    if len(found) == 2:
        return [(number, None) for number in range(first, last + 1)]
    return [(found[0], task) for task in range(first, last + 1)]
