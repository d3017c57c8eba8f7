"""wq ls: the listing."""

from __future__ import annotations

import os
import sys
import time

from wq.cli.connection import connect
from wq.cli.ids import HELP_OF_IDS, asked, check_ids, id_range, is_id

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wq.cli.connection import Server

HELP = "List the jobs in the queue: those that run, and those that wait."
EXAMPLES = """examples:
  wq ls                  all jobs
  wq ls -u anze,erin     of these users
  wq ls -f               everything, as YAML, with the reason why each waits
  wq ls -a               those that ended within the last day, too
  wq ls --json 12 17-20  these jobs, also after they have ended, for programs
  wq ls 12.100-200       these tasks of an array
  wq ls last fit         your newest job, and the one of yours that is called so
  wq ls -w               again every two seconds, in place (-w 10: every ten; q or Ctrl-C leaves)
  wq ls -o +reason,why   the usual columns, and why each waits
  wq ls -o id,name,state,nodes --sort=-started,name --state running --name 'fit*'
  wq ls -o "?"           which columns there are
  wq ls --tree           which jobs wait for which"""
DASHED = ("--sort",)  # their values may begin with a dash
LAST = -1  # where a row in its brief form says that it stands for all ids up to this one


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help=HELP_OF_IDS)
    parser.add_argument("-u", "--user", metavar="USER,...", help="only of these users")
    parser.add_argument("-f", "--full", action="store_true", help="everything, as one YAML document, a list")
    parser.add_argument("-a", "--all", action="store_true", help="finished ones of the last day too")
    parser.add_argument("-o", "--columns", metavar="COLUMN,...", help="these columns; +COLUMN: the usual ones and this")
    parser.add_argument("--sort", metavar="COLUMN,...", help="in this order; -COLUMN: the largest first")
    parser.add_argument("--state", metavar="STATE,...", help="only these: waiting, running, held, done, failed, ...")
    parser.add_argument("--name", metavar="PATTERN", help="only jobs with such a name: 'fit*'")
    parser.add_argument(
        "-w", "--watch", nargs="?", const="2", metavar="SECONDS", help="look again every 2 (or so many) seconds"
    )
    parser.add_argument("--tree", action="store_true", help="which jobs wait for which")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    if args.tree:
        return show_tree(args)
    if not args.columns is args.sort is args.state is args.name is args.watch is None:
        from wq.cli import lists

        return lists.run(args, connect)
    check_ids(args.ids)
    fields: dict[str, Any] = {"finished": args.all, "why": args.full or args.json}
    if not fields["why"]:
        fields["brief"] = True
    server = connect(args.port, recall=bool(args.ids) or args.all)
    ids = ids_of(server, args.ids)
    rows = server.ask("ls", users=users_in(args), **asked(ids), **fields)["jobs"]
    if not fields.get("brief") or (rows and isinstance(rows[0], dict)):
        rows.sort(key=place)  # in the brief form they come in order
    if args.json:
        import json

        print(json.dumps(rows, indent=1))
    elif args.full:
        from wq.cli.render import jobs

        sys.stdout.write(jobs.full(rows))
    else:
        show(rows)
    return told_missing(ids, rows)


def ids_of(server: Server, words: list[str]) -> list[str]:
    """With ids in the place of `last` and of names. Raises WqError."""
    if all(map(is_id, words)):
        return words
    from wq.cli import select

    return select.as_ids(server, words, over=True)


def show_tree(args: argparse.Namespace) -> int:
    """Who waits for whom."""
    from wq.cli.errors import BAD_INPUT, WqError
    from wq.cli.render.tree import tree

    others = (args.watch, args.columns, args.sort, args.state, args.name)
    if args.json or args.full or any(option is not None for option in others):
        raise WqError("ls: --tree goes with -u, -a and ids alone", BAD_INPUT)
    check_ids(args.ids)
    server = connect(args.port, recall=bool(args.ids) or args.all)
    ids = ids_of(server, args.ids)
    rows = server.ask("ls", users=users_in(args), finished=args.all, **asked(ids))["jobs"]
    lines = tree(rows)
    print("\n".join(lines) if lines else "there are no jobs")
    return told_missing(ids, rows)


def users_in(args: argparse.Namespace) -> list[str]:
    return [name for name in (args.user or "").split(",") if name]


def told_missing(ids: list[str], rows: list[Any]) -> int:
    """Name what is not there; answers the exit status."""
    missing = missing_ids(ids, rows)
    if missing:
        print(f"wq: no job {', '.join(missing)} is known", file=sys.stderr)
    return 1 if missing else 0


def show(rows: list[Any]) -> None:
    """The listing; it has nine columns, and what else is to be known of its jobs is said beside it."""
    from wq.cli.render import jobs
    from wq.cli.render.colour import style_for, window_for

    now_s, style, window = time.time(), style_for(sys.stdout, os.environ), window_for(sys.stdout, os.environ)
    lines = jobs.listing(rows, now_s, style)
    if window is not None and any(len(line) > window or not line.isascii() for line in lines):
        from wq.cli.render import columns

        facts = columns.Facts(rows, jobs.FIELDS[1:-1], now_s).spread()
        lines = [*columns.lines(facts, style=style, window=window), lines[-1]]
    print("\n".join(lines))
    dark = jobs.in_the_dark(rows)
    if dark:
        from wq.cli.link import remark
        from wq.cli.render import sight

        for sentence in sight.remarks(dark, time.time()):
            remark(sentence)


def place(row: Any) -> tuple[int, int]:
    """Where it stands: by its id; an array before its tasks. A row is an object or, in the brief form, a list."""
    number, task = row[:2] if isinstance(row, list) else (row["id"], row.get("task"))
    return number, -1 if task is None else task


def missing_ids(words: list[str], rows: list[Any]) -> list[str]:
    """The single ids, and single tasks of arrays, that were asked for and are not there."""
    single = [word for given in words for word in given.split(",") if word and "-" not in word]
    if not single:
        return []
    known: set[tuple[int, int]] = set()
    for row in rows:
        number, task = place(row)
        last = row[LAST] if isinstance(row, list) else None
        known.update((number, at) for at in (task, -1))
        known.update((other, -1) for other in range(number + 1, (last or number) + 1))
    return [word for word in single if wanted(word) not in known]


def wanted(word: str) -> tuple[int, int]:
    """A single id, or a single task, as `place` has it."""
    found = id_range(word)
    return found[0], found[2] if len(found) == 4 else -1
