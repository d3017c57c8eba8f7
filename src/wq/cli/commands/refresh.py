"""wq refresh: look again now."""

from __future__ import annotations

from wq.cli.connection import connect

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = (
    "Look again now: the queue forgets why your jobs avoid nodes. For the server's owner it also reads\n"
    "the cluster file again and looks at all nodes. (Nothing waits for this: the queue moves by itself.)"
)
EXAMPLES = """examples:
  wq refresh"""


def options(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(args: argparse.Namespace) -> int:
    connect(args.port).ask("refresh")
    return 0
