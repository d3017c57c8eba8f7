"""wq wait: until jobs are over."""

from __future__ import annotations

from wq.cli import select, when
from wq.cli.connection import connect
from wq.cli.link import remark

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = (
    "Wait until jobs are over, and end with their status: the highest of several; what was removed, or\n"
    "lost, counts as 1. Ctrl-C stops the waiting, not the jobs. A restart of the server does not matter."
)
EXAMPLES = """examples:
  wq wait 12                 this job
  wq wait 3-9 12.0-99        these jobs, and these tasks of an array
  wq wait last               your newest job
  wq wait --mine             all of yours that are in the queue now
  wq wait --any 12 13        until one of them is over
  wq wait --timeout 10m 12   at most so long; 124 if that was not enough
  wq sub -b -w job.yaml      queue it, and wait"""


def options(parser: argparse.ArgumentParser) -> None:
    select.options(parser, over=True)
    parser.add_argument("--any", action="store_true", help="until one of them is over")
    parser.add_argument("--timeout", metavar="TIME", help="at most so long: 90s, 10m, 1h30m; the status is 124 then")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    select.check(args, "wait", over=True)
    timeout_s = None if args.timeout is None else when.duration(args.timeout, "wait: --timeout")
    server = connect(args.port, recall=True)
    ranges = select.chosen(server, args, over=True)
    from wq.cli import waiting

    if not ranges:
        remark("there is nothing to wait for")
    waiter = waiting.Waiter(ranges, enough=args.any, timeout_s=timeout_s)
    return waiting.to_the_end(waiter, server, as_json=args.json)
