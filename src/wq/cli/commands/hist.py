"""wq hist: what is over."""

from __future__ import annotations

import os
import sys
import time

from wq.cli import when
from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = (
    "Show finished jobs, the newest last: your own, or those of others. They are kept for as long as the\n"
    "server's owner wants; usually 90 days, and a million of them. An array is one line, with counts."
)
EXAMPLES = """examples:
  wq hist                          your newest 50
  wq hist --since 2d               of the last two days (or yesterday, 14:05, 2026-11-20)
  wq hist --since 7d --failed      what went wrong in the last week
  wq hist -u anze,erin             of these users; -a: of all
  wq hist --name 'fit*' -n 500     by their names; more of them
  wq hist --json                   for programs"""
USUAL_MOST = 50
MOST = 100_000


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-u", "--user", metavar="USER,...", help="of these users (default: your own)")
    parser.add_argument("-a", "--all", action="store_true", help="of all users")
    parser.add_argument("--since", metavar="WHEN", help="that ended since: 2d (ago), yesterday, 14:05, 2026-11-20")
    parser.add_argument("--until", metavar="WHEN", help="that ended before")
    parser.add_argument("--failed", action="store_true", help="only those that did not end with exit status 0")
    parser.add_argument("--name", metavar="PAT", help="only those whose names fit: 'fit*', 'run-[0-9]'")
    parser.add_argument("-n", "--most", metavar="MOST", help=f"so many, the newest ({USUAL_MOST}; at most {MOST})")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    fields = request(args, time.time())
    server = connect(args.port, recall=True)
    facts = server.ask("hist", **fields)
    rows: list[Any] = facts["jobs"]
    rows.reverse()
    if args.json:
        import json

        print(json.dumps({"jobs": rows, "more": facts["more"]}, indent=1))
        return 0
    from wq.cli.render import past
    from wq.cli.render.colour import style_for

    print("\n".join(past.history(rows, int(facts["more"]), style_for(sys.stdout, os.environ))))
    return 0


def request(args: argparse.Namespace, now_s: float) -> dict[str, Any]:
    """What the server is asked. Raises WqError."""
    if args.all and args.user:
        raise WqError("hist: either -u or -a", BAD_INPUT)
    most = args.most or str(USUAL_MOST)
    if not (most.isascii() and most.isdecimal() and len(most) < 9 and 1 <= int(most) <= MOST):
        raise WqError(f"hist: -n: {most[:20]!r} is not a number from 1 to {MOST}", BAD_INPUT)
    fields: dict[str, Any] = {"most": int(most), "failed": args.failed, "everybody": args.all}
    if args.user:
        fields["users"] = [name for name in args.user.split(",") if name]
    if args.name:
        fields["name"] = args.name
    if args.since is not None:
        fields["since_s"] = when.moment(args.since, "hist: --since", now_s)
    if args.until is not None:
        fields["until_s"] = when.moment(args.until, "hist: --until", now_s)
    return fields
