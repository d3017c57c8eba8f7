"""wq orphans: processes of one's own that were part of an attempt which runs no more."""

from __future__ import annotations

from wq.cli import config
from wq.cli.connection import connect
from wq.cli.errors import FAILED
from wq.cli.hosts import expand
from wq.cli.link import remark

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = (
    "Look on the nodes for processes of yours that jobs have left behind: those that carry a mark of wq\n"
    "and belong to no job that runs. Nothing else is shown, nor touched."
)
EXAMPLES = """examples:
  wq orphans                    on all nodes of the cluster that you have accepted
  wq orphans astro[0010-0019]   on these; needs no server
  wq orphans --kill             end them: TERM, two seconds, KILL"""
HEADER = ("Node", "Pid", "Age", "Queue", "Job", "Command")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="nodes (default: all that you have accepted)")
    parser.add_argument("--kill", action="store_true", help="end them")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    from wq.cli import nodes

    hosts = [host for word in args.nodes for host in expand(word)] or accepted(args.port)
    answers = nodes.ask_all(list(dict.fromkeys(hosts)), "kill" if args.kill else "list")
    rows = [as_row(answer.host, found, gone) for answer in answers for found, gone in answer.found]
    unseen = [{"host": answer.host, "why": answer.trouble} for answer in answers if answer.trouble is not None]
    left = [row for row in rows if row["ended"] is False]
    if args.json:
        import json

        print(json.dumps({"orphans": rows, "unseen": unseen}, indent=1))
    else:
        print("\n".join(table_of(rows)))
    for one in unseen:
        remark(f"could not look at {one['host']}: {one['why']}")
    for row in left:
        remark(f"process {row['pid']} on {row['host']} could not be ended")
    if args.kill and not args.json:
        remark(f"ended: {len(rows) - len(left)}")
    return FAILED if unseen or left else 0


def accepted(port: int) -> list[str]:
    """The nodes of the cluster where jobs of this user may run."""
    from wq.protocol import known

    server = connect(port)
    hosts = [str(row["host"]) for row in server.ask("stat")["nodes"]]
    if server.is_own() or config.load().get("nodes") == "any":
        return hosts
    return [host for host in hosts if known.first_outside([host], port, server.uid) is None]


def as_row(host: str, found: dict[str, Any], ended: bool | None) -> dict[str, Any]:
    """For programs. ended: what became of it; None if it was only looked at."""
    job, _, attempt = str(found["att"] or "").partition("/")[0].partition(".")
    return {
        "host": host,
        "pid": found["pid"],
        "age_s": found["age_s"],
        "queue": found["queue"],
        "job": int(job) if job.isdecimal() else None,
        "attempt": int(attempt) if attempt.isdecimal() else None,
        "command": found["command"],
        "ended": ended,
    }


def table_of(rows: list[dict[str, Any]]) -> list[str]:
    from wq.cli.render.age import age
    from wq.cli.render.sanitise import printable, word
    from wq.cli.render.table import table

    body = [
        (
            word(row["host"]),
            str(row["pid"]),
            age(row["age_s"]),
            word(str(row["queue"] or "").partition("@")[0]),
            str(row["job"] or "-"),
            printable(row["command"]) or "-",
        )
        for row in rows
    ]
    return table(HEADER, body)
