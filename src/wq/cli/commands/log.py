"""wq log: what jobs have written."""

from __future__ import annotations

import os

from wq.cli.connection import Server, connect
from wq.cli.errors import BAD_INPUT, FAILED, ServerDown, WqError
from wq.cli.ids import id_ranges
from wq.cli.link import LauncherLink, remark

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from wq.cli.logs import Facts, Whose

HELP = (
    "Show what batch jobs of yours have written, from their output files; without an ID, the last one.\n"
    "-f goes on as it grows, to the end of the job. Ctrl-C ends the looking, not the job."
)
EXAMPLES = """examples:
  wq log                   of the last batch job that was submitted
  wq log 12                all of it
  wq log -f 12             and what comes, until the job ends; of one that waits, when it starts
  wq log -n 50 12          the last 50 lines
  wq log --err 12          the file of errors, where the job has one (error: or -e)
  wq log 12.5 12.100-200   of these tasks of an array; `wq log 12`: of all that have run
  wq log --attempt 1 12    of an earlier attempt (the newest is the usual)
  wq log --json last       where the files are, for programs"""
MOST_IN_RANGE = 100_000
MOST_LINES = 1_000_000_000


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="ids, ranges (3-9), tasks of an array (12.5), or `last`, the usual"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it grows, to the end of the job")
    parser.add_argument("-n", "--lines", metavar="N", help="only the last N lines")
    parser.add_argument("--err", action="store_true", help="the file of errors, where a job has one")
    parser.add_argument("--attempt", metavar="N", help="of this attempt; the usual is the newest")
    parser.add_argument("--json", action="store_true", help="where the files are, for programs; see docs/json.md")


def run(args: argparse.Namespace) -> int:
    if args.json and (args.follow or args.err or args.lines is not None):
        raise WqError("log: --json says where all files are; -f, -n and --err go without it", BAD_INPUT)
    nlines = number(args.lines, "-n", 0, MOST_LINES)
    attempt = number(args.attempt, "--attempt", 1, MOST_LINES)
    wanted = [*asked(args.ids or ["last"])]
    from wq.cli import logs

    server, link = reach(args.port)
    shown = logs.Shown(err=args.err, nlines=nlines, headings=len(wanted) > 1 or is_range(wanted[0]))
    status = 0
    rows: list[Facts] = []
    for one in wanted:
        try:
            for facts in logs.outputs_of(link, one, attempt, follow=args.follow):
                if args.json:
                    rows.append(logs.as_row(facts))
                elif args.follow:
                    from wq.cli.following import Following

                    shown.trying(Following(link, facts, attempt, shown).to_the_end)
                else:
                    shown.trying(lambda facts=facts: shown.show(facts))  # type: ignore[misc]
        except logs.NotThere as error:
            status = FAILED
            sentence = whose_it_is(server, error)
            if len(wanted) == 1 and not args.json:
                raise WqError(sentence) from None
            remark(sentence)
    if args.json:
        import json

        print(json.dumps(rows, indent=1))
    return status or shown.status


def reach(port: int) -> tuple[Server | None, LauncherLink]:
    """One's own launcher, which knows where the files are; the server, if it is there, knows whose a job is."""
    try:
        server = connect(port, recall=True)
    except ServerDown as down:
        return None, LauncherLink(down)
    return server, LauncherLink(server)


def number(text: str | None, option: str, least: int, most: int) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or not least <= int(text) <= most:
        raise WqError(f"log: {option} is {text[:20]!r}; a whole number from {least} on is wanted", BAD_INPUT)
    return int(text)


def asked(words: list[str]) -> Iterator[Whose]:
    """(first id, last id, first task, last task) for each word; of `last` nothing is known but that."""
    for word in words:
        if word == "last":
            yield None, None, None, None
            continue
        for found in id_ranges([word]):
            if found[-1] - found[-2] >= MOST_IN_RANGE:
                raise WqError(f"log: {word}: at most {MOST_IN_RANGE} at once", BAD_INPUT)
            yield (found[0], found[1], found[2], found[3]) if len(found) == 4 else (found[0], found[1], None, None)


def is_range(whose: Whose) -> bool:
    first, last, first_task, last_task = whose
    return first != last or first_task != last_task


def whose_it_is(server: Server | None, error: Exception) -> str:
    """The sentence about a job whose output is not known to one's own launcher."""
    job = getattr(error, "job", None)
    if job is None or server is None:
        return str(error)
    try:
        rows = server.ask("ls", ids=[[job, job]], users=[], finished=False, why=True)["jobs"]
    except (WqError, OSError, KeyError):
        return str(error)
    row = next((row for row in rows if isinstance(row, dict) and row.get("id") == job), None)
    if row is None:
        return f"no job {job} is known"
    if row.get("uid") != os.getuid():
        return f"job {job} is {row.get('user')}'s, and so is its output: wq shows only your own"
    if row.get("foreground"):
        return f"job {job} ran in the foreground: its output went to its own terminal"
    if row.get("state") == "done":
        return f"no output of job {job} is known: it never ran, or that was long ago"
    return f"{error}; was it submitted on another host?"
