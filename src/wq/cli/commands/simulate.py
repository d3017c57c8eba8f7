"""wq simulate: replays a trace, or the queue's own past, through the planner, under one policy or several."""

from __future__ import annotations

import os
import sys

from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

    from wq.core.cluster import Node
    from wq.core.plan import Limit
    from wq.core.policies import Policy
    from wq.simulate.measure import Worth
    from wq.simulate.workload import Workload

HELP = (
    "Replay a workload through the planner, on virtual time: a trace in the Standard Workload Format,\n"
    "or the queue's own past. Each policy is a line: average and largest bounded slowdown, waits in\n"
    "seconds, use of the cores, and the user who comes off worst. A trace needs no server."
)
EXAMPLES = """examples:
  wq simulate KTH-SP2.swf.gz --policy fcfs,easy,sjbf,conservative
  wq simulate KTH-SP2.swf.gz --procs 100 --cores requested --policy easy --starts easy.start
  wq simulate --history --since 30d --policy fifo,easy         what our own month would have been
  wq simulate --history --add 2x16:gen5 --png more.png         with two more nodes of 16 cores
  wq simulate --history --limit "cores: 50"                    with a limit for every user
  wq simulate trace.swf --cluster cluster.txt --groups queue   on these nodes, by their groups"""
USUAL = "fifo"
MOST_POLICIES = 12


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", nargs="?", metavar="FILE", help="a trace; gzip or plain (`-`: standard input)")
    parser.add_argument("--history", action="store_true", help="this queue's own jobs that are over, of all users")
    parser.add_argument("--since", metavar="WHEN", help="with --history: those that ended since: 30d (ago), 2026-11-20")
    parser.add_argument(
        "--policy", metavar="NAME,...", default=USUAL, help=f"fifo, fcfs, easy, sjbf, conservative (usual: {USUAL})"
    )
    parser.add_argument("--procs", metavar="N", help="on so many cores, wherever they are (usual: as the trace says)")
    parser.add_argument("--cluster", metavar="FILE", help="on the nodes of a cluster file")
    parser.add_argument("--add", action="append", metavar="NODESxCORES", help="more nodes: 2x16, or 2x16:gen5,fast")
    parser.add_argument("--limit", metavar="LIMITS", help='for every user: "run: 25; cores: 50"')
    parser.add_argument(
        "--cores",
        choices=("requested", "allocated"),
        metavar="WHICH",
        help="of a job in a trace: requested or allocated (usual: requested, where it is given)",
    )
    parser.add_argument(
        "--groups",
        choices=("partition", "queue"),
        metavar="WHICH",
        help="with --cluster: the job's partition or queue in the trace is the group of its nodes",
    )
    parser.add_argument("--starts", metavar="FILE", help="write when each job starts, a line `id start` for each")
    parser.add_argument("--png", metavar="FILE", help="draw use and waits over time, and the policies side by side")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    check(args)
    policies, limit = policies_in(args.policy), limit_in(args.limit)
    from wq.cli import schedules as made
    from wq.cli.workloads import workload_of
    from wq.simulate.measure import worth_of

    paths = made.starts_paths(args.starts, list(policies))
    made.check_files([*paths.values(), *([args.png] if args.png is not None else [])])
    if args.png is not None:
        made.check_matplotlib()
    workload, nodes = workload_of(args, limit)
    ncores = sum(node.ncores for node in nodes)
    schedules = [made.replayed(workload, nodes, name, policy, limit) for name, policy in policies.items()]
    worths = [worth_of(schedule, ncores) for schedule in schedules]
    for schedule in schedules:
        if schedule.policy in paths:
            made.write_starts(paths[schedule.policy], schedule, workload)
    if args.png is not None:
        what = "history" if args.history else os.path.basename(args.trace)
        made.write_picture(args.png, what, schedules, worths, ncores)
    show(args, workload, nodes, worths, paths)
    return 0


# ---- what is asked for


def check(args: argparse.Namespace) -> None:
    """Which options go together. Raises WqError."""
    problem = ""
    if args.history == (args.trace is not None):
        problem = "either a trace or --history"
    elif args.history and (args.cores or args.groups):
        problem = "--cores and --groups are about traces"
    elif not args.history and args.since is not None:
        problem = "--since goes with --history"
    elif args.procs is not None and args.cluster is not None:
        problem = "either --procs or --cluster"
    elif args.groups is not None and args.cluster is None:
        problem = "--groups goes with --cluster, whose nodes are in groups"
    if problem:
        raise WqError(f"simulate: {problem}; see `wq simulate -h`", BAD_INPUT)
    if args.since is not None:
        import time

        from wq.cli import when

        when.moment(args.since, "simulate: --since", time.time())


def policies_in(text: str) -> dict[str, Policy]:
    """By the names that were given."""
    from wq.core.policies.registry import NoPolicy, policy_named

    found: dict[str, Policy] = {}
    for name in filter(None, (part.strip() for part in text.split(","))):
        try:
            policy = policy_named(name)
        except NoPolicy as error:
            raise WqError(f"simulate: --policy: {error}", BAD_INPUT) from None
        if policy in found.values():
            raise WqError(f"simulate: --policy: {policy.name} is named twice", BAD_INPUT)
        found[name] = policy
    if not found or len(found) > MOST_POLICIES:
        raise WqError(f"simulate: --policy: from 1 to {MOST_POLICIES} names are wanted", BAD_INPUT)
    return found


def limit_in(text: str | None) -> Limit:
    """For every user."""
    from wq.core.plan import Limit

    if text is None:
        return Limit()
    from wq.cli.commands import limit

    fields = {key: int(str(value)) for key, value in limit.parse(text).items()}
    if any(value < 1 for value in fields.values()):
        raise WqError(f"simulate: --limit: {text[:40]!r}: under such a limit nobody runs anything", BAD_INPUT)
    return Limit(run=fields.get("run"), cores=fields.get("cores"))


# ---- what is shown


def show(
    args: argparse.Namespace, workload: Workload, nodes: Sequence[Node], worths: list[Worth], paths: dict[str, str]
) -> None:
    if args.json:
        import json

        print(json.dumps(facts_of(workload, nodes, worths, paths), indent=1))
        return
    from wq.cli.render import worth

    print("\n".join(worth.lines(worths, workload, nodes)), file=sys.stdout)


def facts_of(workload: Workload, nodes: Sequence[Node], worths: list[Worth], paths: dict[str, str]) -> dict[str, Any]:
    return {
        "jobs": len(workload.tasks),
        "users": len({task.user for task in workload.tasks}),
        "cores": sum(node.ncores for node in nodes),
        "nodes": len(nodes),
        "left_out": [
            {
                "why": why.value,
                "jobs": left.njobs,
                "named": [{"job": name, "because": because or None} for name, because in left.named],
            }
            for why, left in workload.left_out.items()
        ],
        "policies": [
            {
                "policy": worth.policy,
                "jobs": worth.njobs,
                "slowdown": worth.slowdown,
                "slowdown_max": worth.slowdown_max,
                "wait_s": worth.wait_s,
                "wait_median_s": worth.wait_median_s,
                "wait_max_s": worth.wait_max_s,
                "use": worth.use,
                "makespan_s": worth.makespan_s,
                "worst_user": None if worth.worst_user is None else workload.user(worth.worst_user),
                "worst_user_slowdown": worth.worst_user_slowdown,
                "starts": paths.get(worth.policy),
            }
            for worth in worths
        ],
    }
