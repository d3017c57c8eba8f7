"""wq ls: the listing."""

from __future__ import annotations

import os
import sys
import time

from wq.cli.connection import connect
from wq.cli.ids import id_ranges

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = "List the jobs in the queue: those that run, and those that wait."
EXAMPLES = """examples:
  wq ls                  all jobs
  wq ls -u anze,erin     of these users
  wq ls -f               everything, as YAML, with the reason why each waits
  wq ls -a               those that ended within the last day, too
  wq ls --json 12 17-20  these jobs, also after they have ended, for programs"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="ids, or ranges of them (3-9)")
    parser.add_argument("-u", "--user", metavar="USER,...", help="only of these users")
    parser.add_argument("-f", "--full", action="store_true", help="everything, as one YAML document, a list")
    parser.add_argument("-a", "--all", action="store_true", help="finished ones of the last day too")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    ranges = id_ranges(args.ids)
    users = [name for name in (args.user or "").split(",") if name]
    server = connect(args.port, recall=bool(ranges) or args.all)
    facts = server.ask("ls", users=users, ids=ranges, finished=args.all, why=args.full or args.json)
    rows = sorted(facts["jobs"], key=lambda row: row["id"])
    missing = missing_ids(args.ids, rows)
    if args.json:
        import json

        print(json.dumps(rows, indent=1))
    else:
        from wq.cli.render import jobs
        from wq.cli.render.colour import style_for

        if args.full:
            sys.stdout.write(jobs.full(rows))
        else:
            print("\n".join(jobs.listing(rows, time.time(), style_for(sys.stdout, os.environ))))
            if any(row.get("out_of_sight") for row in rows):
                say_out_of_sight(rows)
    if missing:
        print(f"wq: no job {', '.join(missing)} is known", file=sys.stderr)
        return 1
    return 0


def say_out_of_sight(rows: list[dict[str, Any]]) -> None:
    """The listing has nine columns; what else is to be known of its jobs is said beside it."""
    from wq.cli.link import remark
    from wq.cli.render import sight

    for sentence in sight.remarks(rows, time.time()):
        remark(sentence)


def missing_ids(words: list[str], rows: list[dict[str, object]]) -> list[str]:
    """The single ids that were asked for and are not there."""
    found = {row["id"] for row in rows}
    return [word for word in words if word.isdecimal() and int(word) not in found]
