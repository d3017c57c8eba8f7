"""What a decision of the scheduler costs: `python -m bench.plan`.

No processes: the core alone, as the server calls it. All cores are taken by jobs of four; one of them ends; the tick
that takes this in and decides who starts on its cores is timed, by length of the queue (jobs of 200 shapes, of four
users) and number of nodes (of 16 cores). Once some of the shapes fit there, and once none does, so that all have to be
looked at. The tick is dropped each time, so all see the same queue.

    python -m bench.plan --png docs/plan-cost.png      draws it (matplotlib, else a venv of its own that goes again)
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import measure, peers
from bench.measure import say
from tests.e2e import rig
from tests.unit.core.engines import EXITED, Play, spec
from tests.unit.core.worlds import need
from wq.core.job import AttemptNo, JobId, JobSpec, Requirement, Uid
from wq.core.queue import Draft
from wq.core.requests import AttemptEnded, AttemptStarted, Request, Submit, Who

LENGTHS = (100, 1000, 10_000, 100_000)
NODES = (10, 100, 1000)
NCORES = 16
NGROUPS = 9
USERS = [Who(uid=Uid(1000 + number), user=f"user{number}") for number in range(4)]
MOST_AT_ONCE = 5000  # jobs of one submission


def shapes(least: int) -> list[Requirement]:
    """200 of them: cores from the least to nine more, anywhere or in one of nine groups, and so with memory."""
    groups = ["", *(f"g{number}" for number in range(NGROUPS))]
    return [
        need(n=least + more, group=group, min_mem=memory)
        for more in range(10)
        for group in groups
        for memory in (0.0, 1.0)
    ]


def full(nnodes: int, wanted: Requirement) -> tuple[Play, list[int]]:
    """A cluster whose cores are all held by jobs of this shape; the jobs."""
    play = Play(" ".join(f"n{number}:{NCORES}:g{number % NGROUPS}" for number in range(nnodes)), here=USERS)
    running = submit(play, USERS[0], [spec(wanted)] * (nnodes * NCORES // wanted.n))
    play.turn(*((USERS[0], AttemptStarted(id=JobId(job), attempt=AttemptNo(1))) for job in running))
    states = {play.state(job) for job in running}
    assert states == {"running"}, states
    return play, running


def submit(play: Play, who: Who, specs: list[JobSpec]) -> list[int]:
    ids: list[int] = []
    for at in range(0, len(specs), MOST_AT_ONCE):
        ids += play.submit(who, *specs[at : at + MOST_AT_ONCE])
    return ids


def wait_in_line(play: Play, kinds: list[Requirement], count: int, there: int) -> None:
    """More jobs that wait: `count` in all, `there` of them already."""
    for number, who in enumerate(USERS):
        mine = range(there + number, count, len(USERS))
        submit(play, who, [spec(kinds[at * 7 % len(kinds)]) for at in mine])


def timed(run: Callable[[], Draft], rounds: int) -> tuple[list[float], Draft]:
    """The seconds of each."""
    times = []
    draft = run()
    for _ in range(rounds):
        before = time.perf_counter()
        draft = run()
        times.append(time.perf_counter() - before)
    return times, draft


def costs(nnodes: int, lengths: list[int], rounds: int) -> list[dict[str, float]]:
    """By length of the queue: the milliseconds of a tick with an end, and of one with a submission."""
    found: dict[int, dict[str, float]] = {length: {"nodes": nnodes, "queue": length} for length in lengths}
    for kind, least in (("end", 1), ("stuck", 5)):
        play, running = full(nnodes, need(n=4))
        there = 0
        end: tuple[Who, Request] = (
            USERS[0],
            AttemptEnded(id=JobId(running[0]), attempt=AttemptNo(1), outcome=EXITED),
        )
        new: tuple[Who, Request] = (USERS[0], Submit(token="one more", jobs=(spec(need()),)))
        for length in lengths:
            wait_in_line(play, shapes(least), length, there)
            there = length
            draft = note(found[length], kind, functools.partial(play.draft, end), rounds)
            assert (len(draft.events) > 1) == (kind == "end"), f"{kind}: {draft.events}"
            if kind == "end":
                note(found[length], "submission", functools.partial(play.draft, new), rounds)
    return list(found.values())


def note(row: dict[str, float], kind: str, run: Callable[[], Draft], rounds: int) -> Draft:
    times, draft = timed(run, rounds)
    row[kind] = statistics.median(times) * 1000
    row[f"{kind}_min"], row[f"{kind}_max"] = min(times) * 1000, max(times) * 1000
    return draft


def shown(rows: list[dict[str, float]], kind: str, nodes: list[int]) -> list[str]:
    """Milliseconds, median (min - max), lengths by nodes."""
    by = {(row["queue"], row["nodes"]): row for row in rows}
    lines = []
    for length in sorted({row["queue"] for row in rows}):
        cells = []
        for number in nodes:
            row = by[(length, number)]
            cells.append(f"{row[kind]:.2f} ({row[f'{kind}_min']:.2f} - {row[f'{kind}_max']:.2f})")
        lines.append([f"{length:,.0f}", *cells])
    return measure.grid(["jobs that wait", *(f"{number:,} nodes" for number in nodes)], lines)


def draw(rows: list[dict[str, float]], path: Path) -> str | None:
    """Make the picture; why there is none, if so."""
    script = measure.HERE / "plot.py"
    with rig.Base() as base:
        python: Path | str = Path(sys.executable)
        if subprocess.run([sys.executable, "-c", "import matplotlib"], capture_output=True).returncode:
            python = peers.venv(base, sys.executable, "matplotlib")
        if isinstance(python, str):
            return python
        done = subprocess.run(
            [python, script, path], input=json.dumps(rows), text=True, capture_output=True, env={"HOME": str(base.path)}
        )
        return done.stderr.strip() if done.returncode else None


def options() -> argparse.Namespace:
    parser = measure.arguments("plan", __doc__, rounds=15)
    parser.add_argument("--png", type=Path, help="draw it into this file")
    return parser.parse_args()


def main() -> int:
    args = options()
    lengths, nodes = list(LENGTHS), list(NODES)
    if args.small:
        lengths, nodes = lengths[:-1], nodes[:-1]
    say(f"bench.plan: {measure.machine()}")
    rows = [row for number in nodes for row in costs(number, lengths, args.rounds)]
    kinds = {
        "end": "a job ends, others start on its cores",
        "stuck": "a job ends, and nothing that waits fits on its cores",
        "submission": "a job is submitted, and waits",
    }
    for kind, what in kinds.items():
        measure.head(f"ms of a tick: {what}")
        say(*shown(rows, kind, nodes))
    if args.png:
        reason = draw(rows, args.png)
        say("", f"not drawn: {reason}" if reason else f"drawn: {args.png}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
