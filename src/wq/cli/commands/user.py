"""wq user: one user's jobs, cores, limits, and the nodes that his jobs avoid."""

from __future__ import annotations

import os

from wq.cli.connection import connect, user_name
from wq.cli.errors import FAILED, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Show one user: jobs, cores, limits, and the nodes that this user's jobs avoid just now."
EXAMPLES = """examples:
  wq user anze
  wq user            yourself"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the user (default: you)")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    name = args.name if args.name is not None else user_name(os.getuid())
    rows = connect(args.port).ask("users", user=name)["users"]
    if not rows:
        raise WqError(f"the queue knows no user {name!r}", FAILED)
    if args.json:
        import json

        print(json.dumps(rows[0], indent=1))
        return 0
    from wq.cli.render.sanitise import printable
    from wq.cli.render.users import user_page

    print("\n".join(user_page(rows[0])))
    for avoided in rows[0]["avoided"]:
        print(f"avoids {printable(avoided['host'])} for now: {printable(avoided['why'])}")
    return 0
