"""wq users: users, their jobs, cores and limits."""

from __future__ import annotations

from wq.cli.connection import connect

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "List the users who have jobs or limits."
EXAMPLES = """examples:
  wq users
  wq users --json"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    rows = connect(args.port).ask("users")["users"]
    if args.json:
        import json

        print(json.dumps(rows, indent=1))
        return 0
    from wq.cli.render.users import users

    print("\n".join(users(rows)))
    return 0
