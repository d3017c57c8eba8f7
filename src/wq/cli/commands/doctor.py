"""wq doctor: look for what is wrong with an installation, here and on the nodes."""

from __future__ import annotations

import os
import sys

from wq.cli.errors import BAD_INPUT, FAILED, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

    from wq.cli.checks import Check

HELP = (
    "Look for what is wrong: with this installation, the server, your launcher, your way to the nodes and\n"
    "what is there. Each finding is a line, with what to do. It starts nothing, and needs no server."
)
EXAMPLES = """examples:
  wq doctor                      this side, and all nodes of the queue that you have accepted
  wq doctor "astro[0010-0019]"   this side, and these
  wq doctor --json

The exit status is 0 if nothing is wrong (warnings do not count), else 1."""
LONGEST = 1000  # a server may say anything
COLOURS = {"warning": "yellow", "wrong": "red"}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="nodes to look at (default: those of the queue)")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    from wq.cli import checkup
    from wq.cli.checks import WARNING, WRONG
    from wq.cli.progress import Progress

    named = hosts_in(args.hosts)
    found = []
    with Progress("looking at nodes") as bar:
        for check in checkup.examine(args.port, named, bar.at):
            found.append(check)
            if not args.json:
                bar.clear()
                print(line(check), flush=True)
    wrong = sum(check.state == WRONG for check in found)
    if args.json:
        import json

        print(json.dumps([as_row(check) for check in found], indent=1))
    else:
        warnings = sum(check.state == WARNING for check in found)
        print(f"Wrong: {wrong} Warnings: {warnings}")
    return FAILED if wrong else 0


def hosts_in(words: list[str]) -> list[str]:
    """The nodes that are named. Raises WqError for what is no name."""
    if not words:
        return []
    try:
        from wq.formats import FormatError
        from wq.formats.clusterfile import parse_host_words
    except ImportError:
        return []  # a package is missing, which is what will be found
    try:
        return parse_host_words([(word, at) for at, word in enumerate(words, 1)], source="HOST")
    except FormatError as error:
        raise WqError(str(error), BAD_INPUT) from None


def line(check: Check) -> str:
    from wq.cli.render.colour import style_for
    from wq.cli.render.sanitise import printable

    style = style_for(sys.stdout, os.environ)
    state = f"{check.state:<7}"
    painted = style.paint(state, COLOURS[check.state]) if check.state in COLOURS else state
    text = check.text[:LONGEST] if check.todo is None else f"{check.text[:LONGEST]}: {check.todo[:LONGEST]}"
    return f"{painted} {printable(check.about[:LONGEST]):<13} {printable(text)}"


def as_row(check: Check) -> dict[str, str | None]:
    return {"about": check.about, "state": check.state, "text": check.text, "todo": check.todo}
