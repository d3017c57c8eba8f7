"""wq stat: what the nodes do."""

from __future__ import annotations

import os
import sys

from wq.cli.connection import connect

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = "Show how the nodes are used: * a core in use, . a free one, X one of a node that is offline."
EXAMPLES = """examples:
  wq stat
  wq stat -w             again every two seconds, in place (-w 10: every ten; q or Ctrl-C leaves)
  wq stat --json"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-w", "--watch", nargs="?", const="2", metavar="SECONDS", help="look again every 2 (or so many) seconds"
    )
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    if args.watch is not None:
        return watch(args)
    print(text(connect(args.port).ask("stat"), args))
    return 0


def text(facts: dict[str, Any], args: argparse.Namespace) -> str:
    if args.json:
        import json

        return json.dumps(facts, indent=1 if args.watch is None else None)
    from wq.cli.render import stat
    from wq.cli.render.colour import style_for, window_for

    environ = os.environ
    style, window = style_for(sys.stdout, environ), window_for(sys.stdout, environ)
    return "\n".join([*stat.bars(facts["nodes"], style=style, window=window), *policy_line(facts)])


def policy_line(facts: dict[str, Any]) -> list[str]:
    """Who starts when, where that is not the usual (so that the usual has the form that scripts know)."""
    from wq.cli.render.sanitise import word

    policy = facts.get("policy", "fifo")
    return [] if policy == "fifo" else [f"Policy: {word(policy)}"]


def watch(args: argparse.Namespace) -> int:
    """Again and again; see wq.cli.watch."""
    from wq.cli.render import stat
    from wq.cli.render.colour import style_for
    from wq.cli.watch import Picture, View, seconds_in, watch

    def picture(facts: Any, window: int, _: int) -> Picture:
        head, *body, foot = stat.bars(facts["nodes"], style=style_for(sys.stdout, os.environ), window=window)
        return Picture([head], body, [foot, *policy_line(facts)])

    every_s = seconds_in(args.watch, "stat")
    view = View(lambda server: server.ask("stat"), picture, lambda facts: text(facts, args) + "\n")
    if args.json:
        view.between = ""
    return watch(connect(args.port), every_s, view, in_place=not args.json)
