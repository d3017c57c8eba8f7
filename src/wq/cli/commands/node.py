"""wq node: show nodes; take them offline and online; accept new ones."""

from __future__ import annotations

import os
import sys
import time

from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.hosts import expand

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = (
    "Show the nodes; or say (the server's owner) that some are online, offline, to drain (what runs goes\n"
    "on, nothing new starts), or lost (what ran there is gone)."
)
EXAMPLES = """examples:
  wq node                                       all nodes: state, reason, since when, by whom
  wq node astro0010 offline --reason "new disk"
  wq node astro[0010-0019] drain
  wq node astro0010 "status:online"             the older form
  wq node --accept                              let your jobs use nodes that are new in the cluster"""
STATES = ("online", "offline", "drain", "lost")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="NAME... STATE", help=f"nodes, and one of {', '.join(STATES)}")
    parser.add_argument("--reason", default="", help="why, for all to see")
    parser.add_argument("--accept", action="store_true", help="accept the nodes that the cluster has now")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    if args.accept:
        return accept(args)
    state = wanted_state(args.words)
    hosts = [host for word in (args.words if state is None else args.words[:-1]) for host in expand(word)]
    if state is not None and not hosts:
        raise WqError(f"node: which node is to be {state}? `wq node NAME... {state}`", BAD_INPUT)
    server = connect(args.port)
    if state is None:
        return show(server.ask("stat")["nodes"], hosts, args)
    facts = server.ask("node", hosts=hosts, state=state, reason=args.reason[:500])
    if args.json:
        import json

        print(json.dumps(facts))
    elif facts["lost"]:
        print(f"jobs that ran there: {', '.join(str(int(job)) for job in facts['lost'])}")
    return 0


def accept(args: argparse.Namespace) -> int:
    """The user's word that his jobs may run on all nodes that the cluster has now."""
    from wq.cli.connection import user_name
    from wq.protocol import known

    server = connect(args.port)
    nodes = [str(node) for node in server.hello_only()["nodes"]]
    known.remember(server.port, server.uid, user_name(server.uid), nodes)
    server.ask("refresh")
    if args.json:
        import json

        print(json.dumps({"accepted": nodes}))
    else:
        print(f"accepted: {len(nodes)} nodes, remembered in {known.path()}")
    return 0


def wanted_state(words: list[str]) -> str | None:
    """The state that the last word asks for, if it is one: `offline`, or the older `status:offline`."""
    if not words:
        return None
    last = words[-1]
    if ":" in last:
        key, _, value = (part.strip() for part in last.partition(":"))
        if key not in ("status", "state") or value not in STATES:
            raise WqError(f"node: {last!r} is not understood; `status:` and one of {', '.join(STATES)} is", BAD_INPUT)
        return value
    return last if last in STATES else None


def show(rows: list[dict[str, object]], wanted: list[str], args: argparse.Namespace) -> int:
    """The nodes, or those that are asked for."""
    known = {row["host"] for row in rows}
    strangers = [host for host in wanted if host not in known]
    if strangers:
        raise WqError(f"no node is called {strangers[0]!r}; `wq node` lists them", BAD_INPUT)
    rows = [row for row in rows if not wanted or row["host"] in wanted]
    if args.json:
        import json

        print(json.dumps(rows, indent=1))
        return 0
    from wq.cli.render.colour import style_for
    from wq.cli.render.nodes import nodes

    print("\n".join(nodes(rows, time.time(), style_for(sys.stdout, os.environ))))
    return 0
