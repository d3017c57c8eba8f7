"""How fast jobs are taken in, and what they cost in memory: `python -m bench.submit`.

Nothing starts meanwhile: one job holds all cores. Timed is `wq sub -b`, from its call until it has printed the ids,
which are on disk then; beside it, in turn, `wq ls` of the empty queue, and task-spooler, a call of `tsp` a job.
Memory is that of server and launcher (resident / proportional) before a submission and after it.

    python -m bench.submit --long       lets the million tasks run, and looks at the memory after that
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import measure, peers
from bench.measure import BenchQueue, Failed, Site, Watcher, say

LS = "wq ls, of the empty queue"
TSP_CALLS = 500  # those that wait have a connection each, and its server has 1,024 descriptors


class Bench:
    """Submissions to one queue, which is emptied after each."""

    def __init__(self, site: Site, queue: BenchQueue, watcher: Watcher) -> None:
        self.site, self.queue, self.watcher = site, queue, watcher
        self.memory: dict[str, list[tuple[tuple[float, float], ...]]] = {}

    def look(self) -> tuple[tuple[float, float], ...]:
        """Memory of (server, launcher)."""
        pids = (self.queue.server_pid, self.queue.launcher_pid(self.site.user))
        return tuple(measure.memory_mb(pid) for pid in pids)

    def submission(self, name: str, prepare: Callable[[Path], list[str]]) -> float:
        """`wq sub -b -q` with these words in a directory of its own."""
        cwd = self.site.fresh()
        words = prepare(cwd)
        blocker, _ = self.site.sub("-r", "N: 2", "-c", "sleep 100000", cwd=cwd)
        self.queue.wait_for_state(blocker, "running")
        before = self.look()
        try:
            return self.site.time([self.site.wq, "sub", "-b", "-q", *words], cwd=cwd)
        finally:
            self.memory.setdefault(name, []).append((*before, *self.look()))
            self.site.call([self.site.wq, "rm", "--grace", "0", f"{blocker}-{1 << 62}"])
            self.watcher.wait_until_empty()
            self.queue.wait_until_acknowledged()

    def tsp(self, count: int) -> float:
        """So many calls of `tsp` while its one slot is taken."""
        cwd = self.site.fresh()
        env = {"TS_SOCKET": str(cwd / "socket"), "TMPDIR": str(cwd), "TS_MAXCONN": "100000"}
        self.site.call(["tsp", "sleep", "100000"], env=env)
        try:
            script = 'i=0; while [ $i -lt "$1" ]; do tsp -n true >/dev/null || exit 1; i=$((i+1)); done'
            return self.site.time(["sh", "-c", script, "sh", str(count)], env=env, cwd=cwd)
        finally:
            self.site.call(["tsp", "-C"], env=env)
            self.site.call(["tsp", "-k"], env=env)
            self.site.call(["tsp", "-K"], env=env)


def files(count: int) -> Callable[[Path], list[str]]:
    def prepare(cwd: Path) -> list[str]:
        names = [f"job{number}.yaml" for number in range(count)]
        for name in names:
            (cwd / name).write_text("command: /bin/true\n")
        return names

    return prepare


def documents(count: int) -> Callable[[Path], list[str]]:
    def prepare(cwd: Path) -> list[str]:
        (cwd / "many.yaml").write_text("---\n".join(["command: /bin/true\n"] * count))
        return ["many.yaml"]

    return prepare


def array(count: int) -> Callable[[Path], list[str]]:
    return lambda cwd: ["--array", f"0-{count - 1}", "--", "/bin/true"]


def mb(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.0f} / {pair[1]:.0f}"


def memory_table(bench: Bench) -> list[str]:
    """What the middle round saw."""
    rows = []
    for name, looks in bench.memory.items():
        before_server, before_launcher, after_server, after_launcher = looks[len(looks) // 2]
        more = statistics.median(look[2][1] - look[0][1] for look in looks)
        more_launcher = statistics.median(look[3][1] - look[1][1] for look in looks)
        rows.append(
            [
                name,
                mb(before_server),
                mb(after_server),
                f"{more:+.1f}",
                mb(before_launcher),
                mb(after_launcher),
                f"{more_launcher:+.1f}",
            ]
        )
    parts = ("server before", "server after", "more", "launcher before", "launcher after", "more")
    return measure.grid(["MB (resident / proportional)", *parts], rows)


def long(bench: Bench, count: int) -> None:
    """Let the tasks of one array run; the memory before, and when all are over."""
    measure.head(f"memory after {count:,} tasks have ended")
    cwd = bench.site.fresh()
    before = bench.look()
    began = time.perf_counter()
    job, _ = bench.site.sub("--array", f"0-{count - 1}", "--", "/bin/true", cwd=cwd)
    measure.END_S = 7200.0
    bench.watcher.wait_for_end(job, job, every_s=1.0)
    spent = time.perf_counter() - began
    bench.queue.wait_until_acknowledged()
    after = bench.look()
    say(f"{spent:.0f} s, {spent / count * 1e6:.0f} us a task")
    rows = [[name, mb(one), mb(other)] for name, one, other in zip(("server", "launcher"), before, after, strict=True)]
    say(*measure.grid(["MB (resident / proportional)", "before", "after"], rows))


def main() -> int:
    parser = measure.arguments("submit", __doc__)
    parser.add_argument("--plain", action="store_true", help="no arrays")
    parser.add_argument("--long", action="store_true", help="let the tasks of the large array run")
    args = parser.parse_args()
    say(f"bench.submit: {measure.machine()}")
    with Site() as site:
        queue = site.serve("localhost 2 8\n")
        with site.watcher() as watcher:
            measured(Bench(site, queue, watcher), args)
    return 0


def measured(bench: Bench, args: argparse.Namespace) -> None:
    site, less = bench.site, 10 if args.small else 1
    kinds: list[tuple[str, int, Callable[[int], Callable[[Path], list[str]]]]] = [
        ("job files in one call", 1000 // less, files),
        ("documents in one file", 2000 // less, documents),
        ("documents in one file", 100_000 // less, documents),
    ]
    if not args.plain:
        kinds.append(("tasks of one array", 1_000_000 // less, array))
    runs: dict[str, measure.Run] = {LS: lambda: site.time([site.wq, "ls"])}
    counts = {}
    for what, count, make in kinds:
        name = f"{count:,} {what}"
        counts[name] = count
        runs[name] = functools.partial(bench.submission, name, make(count))
    reason = peers.missing("tsp", "task-spooler")
    if reason:
        say(f"task-spooler: skipped: {reason}")
    else:
        name = f"{TSP_CALLS // less:,} calls of tsp"
        counts[name] = TSP_CALLS // less
        runs[name] = lambda: bench.tsp(TSP_CALLS // less)
    measure.head("submission")
    times = measure.in_turn(args.rounds, runs)
    say(*measure.table(times, [LS], digits=3), "")
    rates = [
        [name, f"{statistics.median(counts[name] / value for value in values):,.0f}"]
        for name, values in times.items()
        if name in counts
    ]
    say(*measure.grid(["", "a second"], rates))
    measure.head("memory")
    say(*memory_table(bench))
    if args.long and not args.plain:
        long(bench, 1_000_000 // less)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench.submit: {error}")
