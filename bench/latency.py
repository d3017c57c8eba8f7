"""How long the small things take, beside their peers, measured in turn in the same run: `python -m bench.latency`.

A foreground no-op over a warm queue against `ssh node true` with a new connection, and `wq ls` against an empty
Python: medians and ratios. Real sshd on loopback, a throw-away user (root only).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.e2e import rig
from tests.e2e.rig import User

PORT = "51871"


def wall_ms(run: Callable[[], object]) -> float:
    before = time.perf_counter()
    run()
    return (time.perf_counter() - before) * 1000


def in_turn(rounds: int, runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """The times of each, A B C A B C ..., so that all see the same machine; a round to warm up is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            spent = wall_ms(run)
            if number:
                times[name].append(spent)
    return times


def call(user: User, argv: Sequence[str], env: dict[str, str]) -> None:
    """Run a command as the user, without a shell between, and expect it to succeed."""
    subprocess.run(
        argv,
        env={**user.environment(), **env},
        user=user.uid,
        group=user.gid,
        cwd=user.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def table(times: dict[str, list[float]], pairs: Sequence[tuple[str, str]]) -> list[str]:
    width = max(map(len, times))
    lines = [f"{'':{width}}  median    min    max  (ms)"]
    for name, values in times.items():
        lines.append(f"{name:{width}}  {statistics.median(values):6.1f} {min(values):6.1f} {max(values):6.1f}")
    for one, other in pairs:
        ratios = [a / b for a, b in zip(times[one], times[other], strict=True)]
        lines.append(f"{one} / {other}: {statistics.median(ratios):.2f} (median of the ratios, round by round)")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    reason = rig.no_accounts()
    if reason:
        print(f"bench.latency: skipped: {reason}")
        return 0
    with rig.Base() as base, rig.Users(base) as users:
        user = users.create()
        with rig.Nodes(base, 1, users=[user]) as nodes:
            wq_dir = rig.public_wq(base)
            cluster = base.path / "cluster.txt"
            cluster.write_text("node1 2 8\n")
            env = {"PATH": f"{wq_dir}:{nodes.path_with_ssh(user)}", "WQ_PORT": PORT}
            wq = str(wq_dir / "wq")
            python = (wq_dir / "wq").read_text().partition("exec ")[2].split()[0]  # the one that wq itself runs on
            call(user, [wq, "serve", str(cluster), "--detach"], env)
            try:
                runs: dict[str, Callable[[], object]] = {
                    "ssh node1 true, new connection": lambda: call(user, ["ssh", "node1", "true"], env),
                    "wq sub -c true, warm, over ssh": lambda: call(user, [wq, "sub", "-c", "true"], env),
                    "python3 -c pass": lambda: call(user, [python, "-I", "-S", "-c", "pass"], env),
                    "wq ls": lambda: call(user, [wq, "ls"], env),
                }
                times = in_turn(rounds, runs)
            finally:
                call(user, [wq, "shutdown"], env)
    pairs = [
        ("wq sub -c true, warm, over ssh", "ssh node1 true, new connection"),
        ("wq ls", "python3 -c pass"),
    ]
    print("\n".join(table(times, pairs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
