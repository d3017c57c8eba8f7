"""wq rm: remove jobs."""

from __future__ import annotations

from wq.cli import control
from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.link import remark
from wq.cli.render.numbers import numbers

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = "Remove jobs. Running ones are ended: TERM, a grace period, KILL, the whole process tree."
EXAMPLES = """examples:
  wq rm 12            this job
  wq rm 3-9 12        these jobs; those of others are left alone
  wq rm 12.100-200    these tasks of an array
  wq rm last          your newest job
  wq rm fit           your job of this name, if there is one
  wq rm --name 'fit*' --state waiting    all of yours that are called so and wait
  wq rm all           all of your own
  wq rm --reason "wrong catalogue" 12    `wq info 12` says it
  wq rm --lost 12     (the server's owner) what ran there is gone: free its cores"""


def options(parser: argparse.ArgumentParser) -> None:
    control.options(parser)
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for those who look at what became of it")
    parser.add_argument("--lost", action="store_true", help="the owner's word that what ran there is gone")
    parser.add_argument("--grace", type=float, default=5.0, metavar="S", help="seconds between TERM and KILL (5)")


def run(args: argparse.Namespace) -> int:
    control.check(args, "rm")
    if not 0 <= args.grace <= 3600:
        raise WqError("--grace: from 0 to 3600 seconds", BAD_INPUT)
    how = {"lost": args.lost, "grace_s": args.grace, **({"reason": args.reason} if args.reason else {})}
    facts = control.ask("remove", connect(args.port), args, **how)
    if args.json:
        import json

        print(json.dumps(facts, indent=1))
    else:
        report(facts)
    return 1 if facts["refused"] or facts["missing"] else 0


def report(facts: dict[str, list[Any]]) -> None:
    if facts["removed"]:
        print(f"removed: {numbers(facts['removed'])}")
    if facts["ending"]:
        print(f"being ended: {numbers(facts['ending'])}")
    whole = {*facts["removed"], *facts["ending"]}
    for some in facts.get("tasks", ()):
        if some["id"] not in whole:
            number, removed, ending = (int(some[key]) for key in ("id", "removed", "ending"))
            print(f"of array {number}: {removed} tasks removed, {ending} being ended")
    if not any(facts.values()):
        print("there is nothing to remove")
    for refusal in facts["refused"]:
        remark(f"job {refusal['id']} was not removed: {refusal['why']}")
    if facts["missing"]:
        remark(f"no job {numbers(facts['missing'])} is in the queue")
