"""Which jobs a command is about, where it takes ids: `12 3-9 12.5 last fit`, `--mine`, `--name`, `--state`, `--failed`.

As `wq wait` has it:

    def options(parser):
        select.options(parser, over=True)                  # ID..., --mine, --name PAT, --state S, --failed
    def run(args):
        select.check(args, "wait", over=True)              # bad words are refused before a server is asked
        server = connect(args.port, recall=True)
        ranges = select.chosen(server, args, over=True)    # [first, last] and [id, id, first task, last task]

Commands that change jobs in the queue have wq.cli.control for all of this. Where nothing but words are taken,
select.meant(server, words) is enough.

`over=True`, in all of these, is for commands that are about finished jobs, too (info, wait, redo, eff, ls): then names
find those as well, and so do `--failed`, `--name` and `--state done`. Without it, only what is in the queue is found
by them; `last` is one's newest job in any case. What options choose may be nothing: the list is empty then, and the
command says so.
"""

from __future__ import annotations

import os

from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.ids import HELP_OF_IDS, MOST_RANGES, check_ids, id_ranges, is_id

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from typing import Any

    from wq.cli.connection import Server

STATES = {  # of a job, by what it is called in options
    "waiting": ("queued",),
    "running": ("starting", "running", "stopping"),
    "suspended": ("suspended",),
    "held": ("held",),
    "done": ("done",),
    "queued": ("queued",),
    "starting": ("starting",),
    "stopping": ("stopping",),
}
MOST_OVER = 1000  # finished jobs that --failed and --state done are about: the newest ones
MOST_LISTED = 10  # ids in a sentence
LONGEST_NAME = 200
ID, TASK, STATE, NAME, COUNTS, LAST = 0, 1, 3, 7, 11, 13  # in a row of a brief listing
FAILED = 3  # in the counts of an array


def options(parser: argparse.ArgumentParser, *, over: bool = False, more: str = "") -> None:
    """The words and options by which jobs are chosen. more: about words that this command alone takes."""
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"{HELP_OF_IDS}{more}")
    parser.add_argument("--mine", action="store_true", help="all of your own that are in the queue")
    parser.add_argument("--name", metavar="PAT", help="your own whose names fit: 'fit*', 'run-[0-9]'")
    states = ", ".join(
        state for state in ("waiting", "running", "suspended", "held", "done") if over or state != "done"
    )
    parser.add_argument("--state", metavar="S,...", help=f"your own in these states: {states}")
    failed = "your own that failed, the newest 1000" if over else "your own arrays of which tasks have failed"
    parser.add_argument("--failed", action="store_true", help=failed)


def check(args: argparse.Namespace, verb: str, *, over: bool = False) -> None:
    """Refuse what cannot be meant, before anybody is asked. Raises WqError."""
    by_options = args.mine or args.failed or args.name is not None or args.state is not None
    if args.ids and by_options:
        raise WqError(f"{verb}: either ids, or --mine, --name, --state, --failed", BAD_INPUT)
    if not args.ids and not by_options:
        raise WqError(f"{verb}: which jobs? ids are wanted, or --mine, --name, --state, --failed", BAD_INPUT)
    if args.name is not None and not 0 < len(args.name) <= LONGEST_NAME:
        raise WqError(f"{verb}: --name: a pattern has from 1 to {LONGEST_NAME} characters", BAD_INPUT)
    for state in states_of(args):
        if state not in STATES or (state == "done" and not over):
            known = ", ".join(state for state in STATES if over or state != "done")
            raise WqError(f"{verb}: --state: {state[:40]!r} is none; there are {known}", BAD_INPUT)
    check_ids(args.ids)


def states_of(args: argparse.Namespace) -> list[str]:
    return [] if args.state is None else args.state.split(",")


def chosen(server: Server, args: argparse.Namespace, *, over: bool = False) -> list[list[int]]:
    """[first, last] for each id or range, [id, id, first task, last task] for tasks. Raises WqError."""
    if not args.ids:
        return folded(matching(server, args, over=over))
    return meant(server, args.ids, over=over)


def meant(server: Server, words: list[str], *, over: bool = False, newest: bool = False) -> list[list[int]]:
    """The same for words alone: ids, ranges, `last`, names. Raises WqError.

    newest: of several finished jobs of one name, the newest is meant.
    """
    found: list[list[int]] = []
    for word in words:
        if is_id(word):
            found += id_ranges([word])
        elif word == "last":
            found.append(last(server))
        else:
            found.append(by_name(server, word, over=over, newest=newest))
    return found


def as_ids(server: Server, words: list[str], *, over: bool = False) -> list[str]:
    """These words, with ids in the place of `last` and of names. Raises WqError."""
    return [word if is_id(word) else str(meant(server, [word], over=over)[0][0]) for word in words]


def by_parts(ranges: list[list[int]]) -> list[list[list[int]]]:
    """As many as fit into one request each."""
    return [ranges[at : at + MOST_RANGES] for at in range(0, len(ranges), MOST_RANGES)]


def last(server: Server) -> list[int]:
    """One's newest job, whatever became of it."""
    number = server.ask("newest")["id"]
    if number is None:
        raise WqError("no job of yours is known: there is no last one")
    return [int(number), int(number)]


def by_name(server: Server, name: str, *, over: bool, newest: bool) -> list[int]:
    """The one job of one's own that is called so: in the queue, or else (over) in the history."""
    if len(name) > LONGEST_NAME:
        raise WqError(f"{name[:60]!r}... is neither an id nor a name", BAD_INPUT)
    ids = [number for row in own(server) if row[NAME] == name for number in numbers_of(row)]
    more = 0
    if not ids and over:
        facts = server.ask("hist", name=as_pattern(name), most=MOST_LISTED)
        ids, more = [int(row["id"]) for row in facts["jobs"]], int(facts["more"])
        if ids and newest:
            ids, more = [max(ids)], 0
    if not ids:
        where = "is known" if over else "is in the queue"
        raise WqError(f"no job of yours that {where} is called {name!r}; ids are numbers (12, 3-9, 12.5)")
    if len(ids) + more > 1:
        shown = sorted(ids)[-MOST_LISTED:]
        listed = ", ".join(map(str, shown)) + (", ..." if len(ids) + more > len(shown) else "")
        raise WqError(
            f"{len(ids) + more} jobs of yours are called {name!r}: {listed}; take an id, or --name", BAD_INPUT
        )
    return [ids[0], ids[0]]


def as_pattern(name: str) -> str:
    """The pattern that fits this name alone."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def own(server: Server) -> list[Any]:
    """One's own jobs and arrays that are in the queue, in the brief form of listings."""
    from wq.cli.connection import user_name

    rows: list[Any] = server.ask("ls", users=[user_name(os.getuid())], brief=True)["jobs"]
    return [row for row in rows if row[TASK] is None]


def numbers_of(row: Any) -> Iterable[int]:
    """A row stands for all ids from the first to the last one."""
    first, end = int(row[ID]), row[LAST]
    return range(first, first + 1 if end is None else int(end) + 1)


def matching(server: Server, args: argparse.Namespace, *, over: bool) -> list[int]:
    """The ids of one's own jobs that the options mean; they all must fit."""
    states = [real for state in states_of(args) for real in STATES[state]]
    fits = None
    if args.name is not None:
        import re
        from fnmatch import translate

        fits = re.compile(translate(args.name)).match
    ids: list[int] = []
    if not states or set(states) != {"done"}:
        for row in own(server):
            counts = row[COUNTS]
            if states and row[STATE] not in states:
                continue
            if args.failed and not (counts and counts[FAILED]):
                continue
            if fits is None or fits(row[NAME]):
                ids += numbers_of(row)
    if over and (args.failed or args.name is not None or "done" in states) and (not states or "done" in states):
        fields = {"failed": args.failed, "name": args.name or "", "most": MOST_OVER}
        ids += [int(row["id"]) for row in server.ask("hist", **fields)["jobs"]]
    return ids


def folded(ids: list[int]) -> list[list[int]]:
    """As ranges."""
    found: list[list[int]] = []
    for number in sorted(set(ids)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
