"""wq stat: what the nodes do."""

from __future__ import annotations

import os
import sys

from wq.cli.connection import connect

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Show how the nodes are used: * a core in use, . a free one, X one of a node that is offline."
EXAMPLES = """examples:
  wq stat
  wq stat --json"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    facts = connect(args.port).ask("stat")
    if args.json:
        import json

        print(json.dumps(facts, indent=1))
        return 0
    from wq.cli.render import stat
    from wq.cli.render.colour import style_for

    print("\n".join(stat.bars(facts["nodes"], style=style_for(sys.stdout, os.environ))))
    return 0
