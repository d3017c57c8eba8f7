"""wq eff: what jobs that are over asked for, and what they used of it."""

from __future__ import annotations

import os
import time

from wq.cli import select, when
from wq.cli.connection import connect, user_name
from wq.cli.ids import HELP_OF_IDS, asked, check_ids

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = (
    "What jobs that are over asked for, and what they used of it: cores, and memory at least so much.\n"
    "Without IDs: your own of the last week."
)
EXAMPLES = """examples:
  wq eff                 your own jobs of the last week
  wq eff 12 17-20        these jobs, an array as a whole
  wq eff 12.5            one task of an array
  wq eff last            your newest job
  wq eff fit             your job of this name, if there is one
  wq eff --since 2h      your own of the last two hours (or yesterday, 14:05, 2026-11-20)
  wq eff --json 12       for programs"""
USUAL = "7d"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help=HELP_OF_IDS)
    parser.add_argument("--mine", action="store_true", help="your own (also of the IDs)")
    parser.add_argument("--since", metavar="WHEN", help="that ended since: 7d (ago; the usual), yesterday, 2026-11-20")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    now_s = time.time()
    since_s = now_s - when.moment(args.since if args.since is not None else USUAL, "eff: --since", now_s)
    check_ids(args.ids)
    users = [user_name(os.getuid())] if args.mine or not args.ids else []
    server = connect(args.port, recall=True)
    ids = asked(select.as_ids(server, args.ids, over=True))
    rows = server.ask("eff", **ids, users=users, since_s=since_s)["jobs"]
    if args.json:
        import json

        from wq.cli.render.use import advice

        print(json.dumps([{**row, "advice": advice(row)} for row in rows], indent=1))
    else:
        show(rows)
    if args.ids and not rows:
        from wq.cli.link import remark

        remark("none of these is over, and known")
        return 1
    return 0


def show(rows: list[dict[str, Any]]) -> None:
    from wq.cli.render import use

    print("\n".join(use.table_of(rows)))
