"""How long the small things take, beside their peers, measured in turn in the same run: `python -m bench.latency`.

A foreground no-op over a warm queue, local and over ssh, against `ssh node true` with a new connection and with one
that is there already (ControlMaster), and against an empty Python and shell; and `wq ls`. Real sshd on loopback.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence

from bench import measure
from bench.measure import Site, say
from tests.e2e import rig

LOCAL, OVER_SSH, LS = "wq sub -c true, warm, local", "wq sub -c true, warm, over ssh", "wq ls"
NEW_SSH, WARM_SSH = "ssh node1 true, new connection", "ssh node1 true, ControlMaster"
PYTHON, SHELL = "python3 -I -S -c pass", "sh -c true"


def differences(times: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """How much longer one takes than another, round by round, and how many times as long."""
    rows = []
    for one, other in pairs:
        if not times.get(one) or not times.get(other):
            continue
        both = list(zip(times[one], times[other], strict=True))
        more = statistics.median(a - b for a, b in both) * 1000
        rows.append([one, other, f"{more:+.1f}", measure.middle([a / b for a, b in both])])
    return measure.grid(["", "against", "ms more", "x (min - max)"], rows)


def main() -> int:
    args = measure.arguments("latency", __doc__, rounds=15).parse_args()
    rounds = min(args.rounds, 3) if args.small else args.rounds
    say(f"bench.latency: {measure.machine()}", "")
    has_ssh = rig.missing_program("sshd", "ssh", "ssh-keygen")
    if has_ssh:
        say(f"over ssh: skipped: {has_ssh}")
    with Site(nodes=0 if has_ssh else 1) as site:
        local = site.serve("localhost 2 8\n")
        runs: dict[str, measure.Run] = {LOCAL: lambda: site.time([site.wq, "sub", "-c", "true"], queue=local)}
        master = None
        if not has_ssh:
            remote = site.serve("node1 2 8\n")
            socket = site.fresh() / "master"
            warm = ["ssh", "-S", str(socket), "node1", "true"]
            master = rig.popen_as(
                site.user,
                ["ssh", "-M", "-S", socket, "-N", "node1"],
                env=remote.env(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            rig.wait_for(socket.exists, 10, "the master connection")
            runs |= {
                OVER_SSH: lambda: site.time([site.wq, "sub", "-c", "true"], queue=remote),
                NEW_SSH: lambda: site.time(["ssh", "node1", "true"], queue=remote),
                WARM_SSH: lambda: site.time(warm, queue=remote),
            }
        runs |= {
            LS: lambda: site.time([site.wq, "ls"], queue=local),
            PYTHON: lambda: site.time([site.python, "-I", "-S", "-c", "pass"]),
            SHELL: lambda: site.time(["sh", "-c", "true"]),
        }

        try:
            times = measure.in_turn(rounds, runs, warm=2)
        finally:
            if master is not None:
                master.terminate()
                master.wait()
    say(*measure.table(times, [PYTHON], unit="ms", digits=1), "")
    pairs = [
        (LOCAL, PYTHON),
        (OVER_SSH, PYTHON),
        (OVER_SSH, NEW_SSH),
        (OVER_SSH, WARM_SSH),
        (OVER_SSH, LOCAL),
        (LS, PYTHON),
    ]
    say(*differences(times, pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
