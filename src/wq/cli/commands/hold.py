"""wq hold: take waiting jobs out of the line."""

from __future__ import annotations

from wq.cli import control
from wq.cli.connection import connect

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
    control.check(args, verb, tasks=False)
    facts = control.ask("hold", connect(args.port), args, held=held)
    return control.report_changed(facts, "held" if held else "released", verb, as_json=args.json)
