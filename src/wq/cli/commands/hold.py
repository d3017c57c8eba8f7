"""wq hold: take waiting jobs out of the line."""

from __future__ import annotations

from wq.cli import control
from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.link import remark
from wq.cli.render.numbers import numbers

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Take jobs that wait out of the line, until `wq release`. What runs already goes on."
EXAMPLES = """examples:
  wq hold 12           this job
  wq hold 3-9 12       these jobs
  wq hold fit          your job of that name
  wq hold all          all of your own that wait"""


def options(parser: argparse.ArgumentParser) -> None:
    control.options(parser)


def run(args: argparse.Namespace) -> int:
    return change(args, "hold", held=True)


def change(args: argparse.Namespace, verb: str, *, held: bool) -> int:
    """What hold and release have in common."""
    control.check(args.ids)
    server = connect(args.port)
    fields = control.meant(server, args.ids)
    if fields.pop("tasks", None):
        raise WqError(f"{verb}: the tasks of an array are held and released with it; give its id", BAD_INPUT)
    facts = server.ask("hold", held=held, **fields)
    if args.json:
        import json

        print(json.dumps(facts))
    elif facts["changed"]:
        print(f"{'held' if held else 'released'}: {numbers(facts['changed'])}")
    elif not facts["refused"] and not facts["missing"]:
        print(f"there is nothing to {verb}")
    for refusal in facts["refused"]:
        remark(f"job {refusal['id']} was not {'held' if held else 'released'}: {refusal['why']}")
    if facts["missing"]:
        remark(f"no job {numbers(facts['missing'])} is in the queue")
    return 1 if facts["refused"] or facts["missing"] else 0
