"""What `wq suspend`, `wq resume` and `wq signal` have in common: which jobs are meant, and what became of it."""

from __future__ import annotations

from wq.cli import select
from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.ids import as_fields, id_ranges
from wq.cli.link import remark
from wq.cli.render.numbers import numbers

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wq.cli.connection import Server


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="+", metavar="ID", help="ids, ranges (3-9), tasks (12.5), `last`, names, or `all` of your own"
    )
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def meant(server: Server, words: list[str]) -> dict[str, Any]:
    """The fields of a request that say which jobs are meant. Raises WqError."""
    if "all" not in words:
        return {**as_fields(select.meant(server, words)), "all": False}
    return {"ids": [], "all": True}


def check(words: list[str]) -> None:
    """Refuse what cannot be meant, before anybody is asked. Raises WqError."""
    if "all" in words and len(words) > 1:
        raise WqError("either `all` or ids", BAD_INPUT)
    id_ranges([word for word in words if word != "all" and select.is_id(word)])


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
