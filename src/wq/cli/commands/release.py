"""wq release: let jobs that were held back into the line."""

from __future__ import annotations

from wq.cli.commands import hold

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Let jobs that were held (wq hold, wq sub --hold) back into the line, at their old places."
EXAMPLES = """examples:
  wq release 12        this job
  wq release all       all of your own that are held"""


def options(parser: argparse.ArgumentParser) -> None:
    hold.options(parser)


def run(args: argparse.Namespace) -> int:
    return hold.change(args, "release", held=False)
