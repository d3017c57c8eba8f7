"""wq resume: have suspended jobs go on."""

from __future__ import annotations

from wq.cli import control
from wq.cli.connection import connect

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Have suspended jobs go on."
EXAMPLES = """examples:
  wq resume 12           this job
  wq resume all          all of your own"""


def options(parser: argparse.ArgumentParser) -> None:
    control.options(parser)


def run(args: argparse.Namespace) -> int:
    control.check(args, "resume")
    facts = control.ask("suspend", connect(args.port), args, suspended=False)
    return control.report(facts, "goes on", "suspended", as_json=args.json)
