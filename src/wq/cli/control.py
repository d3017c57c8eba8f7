"""What commands that change jobs in the queue have in common: which jobs are meant, and what became of it."""

from __future__ import annotations

from wq.cli import select
from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.ids import as_fields, is_id
from wq.cli.link import remark
from wq.cli.render.numbers import numbers

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wq.cli.connection import Server


def options(parser: argparse.ArgumentParser, *, everything: bool = True) -> None:
    """Which jobs, and --json. everything: `all` is a word for all of one's own."""
    select.options(parser, more=", or `all` of your own" if everything else "")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def check(args: argparse.Namespace, verb: str, *, tasks: bool = True, everything: bool = True) -> None:
    """Refuse what cannot be meant, before anybody is asked. tasks: those of an array may be meant. Raises WqError."""
    if "all" in args.ids and (len(args.ids) > 1 or not everything):
        raise WqError(f"{verb}: {'either `all` or ids' if everything else 'not `all`, but some'}", BAD_INPUT)
    select.check(args, verb)
    if not tasks and any("." in word for word in args.ids if is_id(word)):
        raise WqError(f"{verb}: not the tasks of an array alone, but all of it: give its id", BAD_INPUT)


def ask(verb: str, server: Server, args: argparse.Namespace, **fields: Any) -> dict[str, list[Any]]:
    """The facts of the answer, or of all answers, where so many are meant that it takes several. Raises WqError."""
    if args.ids == ["all"]:
        found: dict[str, list[Any]] = server.ask(verb, ids=[], all=True, **fields)
        return found
    facts: dict[str, list[Any]] = {}
    for some in select.by_parts(select.chosen(server, args)) or [[]]:
        for key, value in server.ask(verb, **as_fields(some), **fields).items():
            facts[key] = facts.get(key, []) + value
    return facts


def report(facts: dict[str, list[Any]], done: str, wanted: str, *, as_json: bool) -> int:
    """Say what was done, and of which jobs it could not be. wanted: what they are not. Answers the exit status."""
    if as_json:
        import json

        print(json.dumps(facts, indent=1))
    else:
        if facts["done"]:
            print(f"{done}: {numbers(facts['done'])}")
        for some in facts["tasks"]:
            print(f"{done}: {int(some['done'])} tasks of array {int(some['id'])}")
        if not any(facts.values()):
            print(f"nothing of yours is {wanted}")
        for refusal in facts["refused"]:
            remark(f"job {refusal['id']}: {refusal['why']}")
        if facts["idle"]:
            remark(f"not {wanted}: {numbers(facts['idle'])}")
        if facts["missing"]:
            remark(f"no job {numbers(facts['missing'])} is in the queue")
    return 1 if facts["refused"] or facts["missing"] or facts["idle"] else 0


def report_changed(facts: dict[str, list[Any]], done: str, verb: str, *, as_json: bool, in_order: bool = False) -> int:
    """Say which jobs were changed, and why others were not. done: what they are now. Answers the exit status."""
    if as_json:
        import json

        print(json.dumps(facts))
    elif facts["changed"]:
        changed = facts["changed"]
        print(f"{done}: {', '.join(str(int(number)) for number in changed) if in_order else numbers(changed)}")
    elif not facts["refused"] and not facts["missing"]:
        print(f"there is nothing to {verb}")
    for refusal in facts["refused"]:
        remark(f"job {refusal['id']} is not {done}: {refusal['why']}")
    if facts["missing"]:
        remark(f"no job {numbers(facts['missing'])} is in the queue")
    return 1 if facts["refused"] or facts["missing"] else 0
