"""How fast tasks go through the queue, beside their peers, measured in turn in the same run.

    python -m bench.throughput                   all that is local
    python -m bench.throughput --only noop       10,000 no-op tasks on two slots
    python -m bench.throughput --ssh             the same on two sshd nodes of one core each
    python -m bench.throughput --kill            kill -9 of the server in the middle of it: right, lost, twice
    python -m bench.throughput --plain           with plain jobs instead of arrays

Each run of wq is timed from the call of `wq sub` until the server says that all are over; a file of output for each
task, in a fresh directory. Server and launcher are there before. Slow peers do fewer tasks; the table scales them, and
says so.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import measure, peers
from bench.measure import Failed, Site, Watcher, say
from bench.peers import HyperQueue

SECTIONS = ("noop", "static", "shell", "jobs", "short", "sleep")
TASK_VARIABLE = "WQ_TASK_ID"  # the number of a task of an array, in its environment
SLOTS = 2
TRUE = "/bin/true"

LOOP = """
import os, sys
count, slots, files = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "files"
argv, env, running = sys.argv[4:], dict(os.environ), 0
flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
for number in range(count):
    if running == slots:
        os.wait()
        running -= 1
    actions = [(os.POSIX_SPAWN_OPEN, 1, f"{number}.out", flags, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)] if files else []
    os.posix_spawn(argv[0], argv, env, file_actions=actions)
    running += 1
for _ in range(running):
    os.wait()
"""
TSP = """
last=0
i=0
while [ $i -lt "$1" ]; do last=$(tsp "$2") && i=$((i+1)); done
for id in $((last-2)) $((last-1)) $last; do tsp -w $id; done
"""


class Bench:
    """One site, and how the tasks are put into each of the queues. Each run gives seconds."""

    def __init__(self, site: Site, watcher: Watcher, *, plain: bool) -> None:
        self.site, self.watcher, self.plain = site, watcher, plain
        self.name = "wq, plain jobs" if plain else "wq, an array"
        self.scripts = site.base.directory("scripts")
        (self.scripts / "loop.py").write_text(LOOP)
        (self.scripts / "tsp.sh").write_text(TSP)

    def words(self, *argv: str) -> list[str]:
        """How `wq sub` is told the program; plain jobs have a command for the shell."""
        return ["-c", " ".join(argv)] if self.plain else ["--", *argv]

    # ---- wq

    def wq(self, words: Sequence[str], count: int, *, every_s: float = 0.05) -> float:
        """An array of tasks; with `plain`, as many jobs out of one file."""
        if self.plain:
            return self.wq_jobs(" ".join(words[1:]), count, every_s=every_s)
        cwd = self.site.fresh()
        began = time.perf_counter()
        job, _ = self.site.sub("--array", f"0-{count - 1}", *words, cwd=cwd)
        self.watcher.wait_for_end(job, job, every_s=every_s)
        spent = time.perf_counter() - began
        self.check(job, job, cwd, count)
        return spent

    def wq_jobs(self, command: str, count: int, *, every_s: float = 0.05) -> float:
        """Jobs of one task each, out of one file with many documents."""
        cwd = self.site.fresh()
        (cwd / "many.yaml").write_text(f"command: {command}\n---\n" * (count - 1) + f"command: {command}\n")
        began = time.perf_counter()
        first, last = self.site.sub("many.yaml", cwd=cwd)
        self.watcher.wait_for_end(first, last, every_s=every_s)
        spent = time.perf_counter() - began
        if last - first + 1 != count:
            raise Failed(f"{last - first + 1} jobs instead of {count}")
        self.check(first, last, cwd, count)
        return spent

    def check(self, first: int, last: int, cwd: Path, count: int) -> None:
        """All ended well, with an output each; and nobody is busy with them any more."""
        for row in self.watcher.jobs(first, last):
            outcome = row.get("outcome") or {}
            if outcome.get("exit_status") not in (0, None) or outcome.get("kind") not in ("exited", None):
                raise Failed(f"job {row['id']}: {outcome}")
        assert self.site.queue is not None
        self.site.queue.wait_until_acknowledged()
        outputs = sum(entry.name != "many.yaml" for entry in os.scandir(cwd))
        if outputs != count:
            raise Failed(f"{outputs} outputs of {count}")

    # ---- peers

    def xargs(self, count: int, *argv: str) -> float:
        return self.timed("sh", "-c", 'seq "$1" | { shift; xargs -P2 -n1 "$@"; }', "sh", str(count), *argv)

    def xargs_constant(self, count: int, *argv: str) -> float:
        """Without the number as an argument."""
        return self.timed("sh", "-c", 'seq "$1" | { shift; xargs -P2 -I{} "$@"; }', "sh", str(count), *argv)

    def loop(self, count: int, files: str, *argv: str) -> float:
        return self.timed(
            self.site.python, "-I", "-S", str(self.scripts / "loop.py"), str(count), str(SLOTS), files, *argv
        )

    def parallel(self, count: int, *argv: str) -> float:
        script = 'seq "$1" | { shift; parallel --will-cite -j2 "$@"; }'
        return self.timed("sh", "-c", script, "sh", str(count), *argv)

    def timed(self, *argv: str) -> float:
        cwd = self.site.fresh()
        return self.site.time(argv, cwd=cwd)

    def tsp(self, count: int, program: str) -> float:
        """task-spooler: a call of `tsp` for each task, whose output goes to a file in TMPDIR."""
        cwd = self.site.fresh()
        env = {"TS_SOCKET": str(cwd / "socket"), "TMPDIR": str(cwd), "TS_SLOTS": str(SLOTS)}
        self.site.call(["tsp", "-l"], env=env)  # starts its server
        try:
            return self.site.time(["sh", self.scripts / "tsp.sh", str(count), program], env=env, cwd=cwd)
        finally:
            self.site.call(["tsp", "-K"], env=env)


class Contest:
    """Contenders with their counts; each round everyone runs once."""

    def __init__(self, rounds: int, whole: int) -> None:
        self.rounds, self.whole = rounds, whole
        self.runs: dict[str, Callable[[int], float]] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, run: Callable[[int], float], count: int | None = None) -> None:
        self.runs[name], self.counts[name] = run, min(count or self.whole, self.whole)

    def closed(self, most: int | None = None) -> dict[str, measure.Run]:
        """The runs, each with its count (at most so many)."""
        return {
            name: functools.partial(run, min(self.counts[name], most or self.counts[name]))
            for name, run in self.runs.items()
        }

    def hold(self, against: Sequence[str], *, digits: int = 2, warm: bool = True) -> dict[str, list[float]]:
        if warm:
            good = measure.in_turn(1, self.closed(most=100), warm=0)
            self.runs = {name: run for name, run in self.runs.items() if name in good}
        times = measure.in_turn(self.rounds, self.closed(), warm=0)
        say(*measure.table(times, against, digits=digits, counts=self.counts, whole=self.whole))
        return times


def noop(bench: Bench, rounds: int, whole: int, spool: HyperQueue | str) -> None:
    measure.head(f"{whole:,} no-op tasks ({TRUE}) on {SLOTS} slots")
    contest = Contest(rounds, whole)
    contest.add(bench.name, lambda count: bench.wq(bench.words(TRUE), count))
    contest.add("xargs -P2 -n1", lambda count: bench.xargs(count, TRUE))
    contest.add("posix_spawn loop", lambda count: bench.loop(count, "none", TRUE))
    contest.add("posix_spawn loop, a file each", lambda count: bench.loop(count, "files", TRUE))
    if isinstance(spool, str):
        say(f"HyperQueue: skipped: {spool}")
    else:
        label = f"HyperQueue {spool.version}"
        contest.add(label, lambda count: spool.run([TRUE], count, files=False), 3000)
        contest.add(f"{label}, two files each", lambda count: spool.run([TRUE], count, files=True), 3000)
    for name, program, package, run in (
        ("task-spooler, a file each", "tsp", "task-spooler", lambda count: bench.tsp(count, TRUE)),
        ("GNU parallel -j2", "parallel", "parallel", lambda count: bench.parallel(count, TRUE)),
    ):
        reason = peers.missing(program, package)
        if reason:
            say(f"{name}: skipped: {reason}")
        else:
            contest.add(name, run, 1000)
    contest.hold(["xargs -P2 -n1", "posix_spawn loop, a file each"])


def static(bench: Bench, rounds: int, whole: int) -> None:
    measure.head(f"{whole:,} tasks of a static program that does nothing, on {SLOTS} slots")
    found = peers.static_noop(bench.site.base)
    if isinstance(found, str):
        say(f"skipped: {found}")
        return
    program = str(found)
    contest = Contest(rounds, whole)
    contest.add(bench.name, lambda count: bench.wq(bench.words(program), count))
    contest.add("xargs -P2 -n1", lambda count: bench.xargs(count, program))
    contest.add("posix_spawn loop, a file each", lambda count: bench.loop(count, "files", program))
    contest.hold(["xargs -P2 -n1", "posix_spawn loop, a file each"])


def shell(bench: Bench, rounds: int, whole: int) -> None:
    name = bench.site.user.shell
    measure.head(f"{whole:,} commands for the shell (`-c {TRUE}`) on {SLOTS} slots")
    contest = Contest(rounds, whole)
    contest.add(f"{bench.name}, -c", lambda count: bench.wq(["-c", TRUE], count))
    contest.add(f"xargs {name} -c", lambda count: bench.xargs_constant(count, name, "-c", TRUE))
    contest.hold([f"xargs {name} -c"])


def jobs(bench: Bench, rounds: int, whole: int) -> None:
    measure.head(f"{whole:,} jobs of one task (`command: {TRUE}`), out of one file, on {SLOTS} slots")
    name = bench.site.user.shell
    contest = Contest(rounds, whole)
    contest.add("wq sub -b many.yaml", lambda count: bench.wq_jobs(TRUE, count))
    contest.add("xargs -P2 -n1", lambda count: bench.xargs(count, TRUE))
    contest.add(f"xargs {name} -c", lambda count: bench.xargs_constant(count, name, "-c", TRUE))
    contest.hold(["xargs -P2 -n1", f"xargs {name} -c"])


def sleeps(bench: Bench, rounds: int, whole: int, seconds: str) -> None:
    ideal = whole * float(seconds) / SLOTS
    length = f"{float(seconds) * 1000:.0f} ms"
    measure.head(f"{whole} tasks of {length} (`sleep {seconds}`) on {SLOTS} slots; ideal {ideal:g} s")
    contest = Contest(rounds, whole)
    contest.add(bench.name, lambda count: bench.wq(bench.words("sleep", seconds), count, every_s=0.01))
    contest.add("xargs -P2", lambda count: bench.xargs_constant(count, "sleep", seconds))
    times = contest.hold(["xargs -P2"], digits=3, warm=False)
    for name, values in times.items():
        say(f"{name}: {statistics.median(values) / ideal:.3f} x ideal")


# ---- a kill in the middle


def kill(bench: Bench, rounds: int, whole: int) -> None:
    """Each task appends its number to one file; at about half of them the server dies, and is started again at once."""
    measure.head(f"kill -9 of the server in the middle of {whole:,} tasks on {SLOTS} slots")
    queue = bench.site.queue
    assert queue is not None
    rows = []
    for number in range(rounds + 1):
        cwd = bench.site.fresh()
        lines = bench.site.user.write(cwd / "lines", "")
        variable = "WQ_JOB_ID" if bench.plain else TASK_VARIABLE
        command = f"echo ${variable} >>{lines}"
        began = time.perf_counter()
        if bench.plain:
            (cwd / "many.yaml").write_text("---\n".join([f"command: {command}\n"] * whole))
            first, last = bench.site.sub("many.yaml", cwd=cwd)
            wanted = {str(job) for job in range(first, last + 1)}
        else:
            first, last = bench.site.sub("--array", f"0-{whole - 1}", "-c", command, cwd=cwd)
            wanted = {str(task) for task in range(whole)}
        half = sum(len(word) + 1 for word in wanted) // 2
        dead_s = 0.0
        if number:  # the first goes without
            while lines.stat().st_size < half:
                time.sleep(0.005)
                if time.perf_counter() - began > measure.END_S:
                    raise Failed(f"only {lines.stat().st_size} bytes after {measure.END_S:.0f} s")
            pid = queue.server_pid
            assert pid is not None
            before = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            bench.watcher.close()
            queue.serve()
            dead_s = time.perf_counter() - before
        bench.watcher.wait_for_end(first, last)
        spent = time.perf_counter() - began
        queue.wait_until_acknowledged()
        seen = Counter(lines.read_text().split())
        right = sum(seen[word] == 1 for word in wanted)
        lost = sum(seen[word] == 0 for word in wanted)
        twice = sum(seen[word] > 1 for word in wanted)
        strange = len(set(seen) - wanted)
        name = f"kill {number}" if number else "no kill"
        rows.append([name, *map(str, (right, lost, twice, strange)), f"{dead_s:.2f}", f"{spent:.2f}"])
    say(*measure.grid(["", "right", "lost", "twice", "unknown", "s until served again", "s in all"], rows))


def main() -> int:
    parser = measure.arguments("throughput", __doc__)
    parser.add_argument("--only", help=f"sections, with commas between: {', '.join(SECTIONS)}")
    parser.add_argument("--ssh", action="store_true", help="over two sshd nodes of one core each")
    parser.add_argument("--kill", action="store_true", help="kill the server in the middle")
    parser.add_argument("--plain", action="store_true", help="plain jobs instead of arrays")
    parser.add_argument("--count", type=int, help="tasks (10,000; 1,000 with --small)")
    args = parser.parse_args()
    sections = (args.only or ",".join(SECTIONS)).split(",")
    if set(sections) - set(SECTIONS):
        parser.error(f"sections are {', '.join(SECTIONS)}")
    if args.ssh:
        measure.need_linux_programs("sshd", "ssh", "ssh-keygen")
    say(f"bench.throughput: {measure.machine()}")
    if args.plain:
        say("with plain jobs instead of arrays: the commands go through the shell")
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(Site(nodes=2 if args.ssh else 0))
        site.serve("node1 1 8\nnode2 1 8\n" if args.ssh else f"localhost {SLOTS} 8\n")
        bench = Bench(site, stack.enter_context(site.watcher()), plain=args.plain)
        measured(bench, stack, args, sections)
    return 0


def measured(bench: Bench, stack: contextlib.ExitStack, args: argparse.Namespace, sections: Sequence[str]) -> None:
    rounds, whole = args.rounds, args.count or (1000 if args.small else 10_000)
    if args.kill:
        kill(bench, rounds, whole)
        return
    if args.ssh:
        measure.head(f"{whole:,} no-op tasks ({TRUE}) over ssh, two nodes of one core")
        contest = Contest(rounds, whole)
        contest.add(f"{bench.name}, over ssh", lambda count: bench.wq(bench.words(TRUE), count))
        contest.add("xargs -P2 -n1", lambda count: bench.xargs(count, TRUE))
        contest.hold(["xargs -P2 -n1"])
        return
    if "noop" in sections:
        spool = peers.hyperqueue(bench.site, SLOTS)
        with contextlib.nullcontext() if isinstance(spool, str) else spool:
            noop(bench, rounds, whole, spool)
    if "static" in sections:
        static(bench, rounds, whole)
    if "shell" in sections:
        shell(bench, rounds, whole)
    if "jobs" in sections:
        jobs(bench, rounds, whole * 4 // 10)
    if "short" in sections:
        sleeps(bench, rounds, 60 if args.small else 300, "0.02")
    if "sleep" in sections:
        sleeps(bench, min(rounds, 3), 4 if args.small else 12, "1")


if __name__ == "__main__":
    sys.exit(main())
