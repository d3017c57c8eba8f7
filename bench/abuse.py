"""What a user notices of another one who means no good: `python -m bench.abuse`.

Three users: one serves (not root), one abuses the server in each of several ways (bench/abusers.py), and meanwhile an
innocent one types `wq ls` and `wq sub -c true`, one after the other. Shown are the median and the 99th percentile of
what he waits, beside those of an idle server in the same run, and whether the server is still the same process.
The one who abuses may hold one core of the four (`wq limit -u`), so that there is room for others.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import abusers, measure
from bench.measure import BenchQueue, Failed, Site, say
from tests.e2e import rig
from wq.protocol import places

ARRAY = "an array of a million tasks"
NAMES = {
    "idle": "2,000 idle connections",
    "questions": "16 connections that ask without end",
    "never reads": "150 connections that ask and never read",
    "long names": "job names of 1 MiB without end",
    "submissions": "submissions of 2,000 jobs without end",
    "launchers": "a launcher that greets without end",
}
assert set(NAMES) == set(abusers.KINDS)


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of all is, by nearest rank."""
    return sorted(values)[max(0, -(-int(share * 100 * len(values)) // 100) - 1)]


@contextmanager
def abused(site: Site, queue: BenchQueue, attacker: rig.User, kind: str) -> Iterator[None]:
    """While one user does this."""
    if kind == ARRAY:
        cwd = site.base.directory("work")
        attacker.own(cwd, 0o755)
        words = ["sub", "-b", "-q", "--array", "0-999999", "--", "sleep", "1000"]
        (job,) = site.call([site.wq, *words], cwd=cwd, user=attacker).split()
        try:
            yield
        finally:
            site.call([site.wq, "rm", "--grace", "0", job], user=attacker)
        return
    path = places.server_socket(queue.owner.uid, queue.port)
    argv = [site.python, "-I", "-S", str(Path(abusers.__file__)), path, kind]
    process = rig.popen_as(attacker, argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise Failed(f"{kind}: it has not begun")
        yield
        if process.poll() is not None:
            raise Failed(f"{kind}: it has ended by itself")
    finally:
        process.kill()
        process.wait()


def main() -> int:
    parser = measure.arguments("abuse", __doc__, rounds=60)
    parser.add_argument("--only", choices=list(NAMES), help="one kind of abuse")
    args = parser.parse_args()
    kinds = ["", ARRAY, *NAMES] if args.only is None else ["", args.only]
    rounds = 10 if args.small else args.rounds
    say(f"bench.abuse: {measure.machine()}", "")
    with Site() as site:
        queue, attacker, innocent = site.attacked()
        for user in (attacker, innocent):
            site.call([site.wq, "sub", "-c", "true"], user=user)
        pid = queue.server_pid
        rows = []
        idle: dict[str, float] = {}
        for kind in kinds:
            seen: dict[str, list[float]] = {"ls": [], "sub": []}
            with abused(site, queue, attacker, kind) if kind else nothing():
                for _ in range(rounds):
                    seen["ls"].append(site.time([site.wq, "ls"], user=innocent) * 1000)
                    seen["sub"].append(site.time([site.wq, "sub", "-c", "true"], user=innocent) * 1000)
            row = [NAMES.get(kind, kind) or "an idle server"]
            for what, values in seen.items():
                last = percentile(values, 0.99)
                idle.setdefault(what, last)
                row += [f"{statistics.median(values):.0f}", f"{last:.0f}", f"{last / idle[what]:.1f}"]
            rows.append([*row, "yes" if queue.server_pid == pid else "NO"])
        heads = ("wq ls, ms", "p99", "x idle", "wq sub -c true, ms", "p99", "x idle", "same server")
        say(*measure.grid(["meanwhile", *heads], rows))
    return 0


@contextmanager
def nothing() -> Iterator[None]:
    yield


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench.abuse: {error}")
