"""wq top: put jobs that wait to the front of one's own."""

from __future__ import annotations

from wq.cli import control
from wq.cli.connection import connect

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = (
    "Put jobs that wait to the front of your own of their priority, in the order in which you name them.\n"
    "Your others come later by as many; nobody else's job is passed by more of yours than before."
)
EXAMPLES = """examples:
  wq top 12              this job is your next one
  wq top 12 9            12, then 9, then the others
  wq top last            the newest
  wq top --name 'fit*'   all that are called so, in the order that they have"""


def options(parser: argparse.ArgumentParser) -> None:
    control.options(parser, everything=False)


def run(args: argparse.Namespace) -> int:
    control.check(args, "top", tasks=False, everything=False)
    facts = control.ask("top", connect(args.port), args)
    return control.report_changed(facts, "at the front", "put to the front", as_json=args.json, in_order=True)
