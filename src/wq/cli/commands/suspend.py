"""wq suspend: stop jobs where they are."""

from __future__ import annotations

from wq.cli import control
from wq.cli.connection import connect

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Stop what runs of jobs where it is: all of its processes. It keeps its cores; its time limit waits."
EXAMPLES = """examples:
  wq suspend 12          this job
  wq suspend 3-9         what runs of these
  wq suspend 12.100-200  what runs of these tasks of an array (the others start when they can)
  wq suspend all         what runs of your own"""


def options(parser: argparse.ArgumentParser) -> None:
    control.options(parser)


def run(args: argparse.Namespace) -> int:
    control.check(args, "suspend")
    facts = control.ask("suspend", connect(args.port), args, suspended=True)
    return control.report(facts, "suspended", "running", as_json=args.json)
