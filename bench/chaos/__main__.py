"""Kills, stops and cuts everything while a batch runs; then looks whether every promise was kept.

    python -m bench.chaos                              200 jobs; each of four parties killed 10 times
    python -m bench.chaos --seed 7 --kills 30 --jobs 500
    python -m bench.chaos --jobs 40 --kills 2 --seconds 25

As root: four nodes with network, processes and sshd of their own, a head, and throw-away users. Without root: four
sshd on loopback, and no links are cut. Exit status 1 if a promise was broken; the evidence is then kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.chaos.plan import draw
from bench.chaos.run import Run
from bench.chaos.world import CORES_A_NODE, no_net


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=10, help="of each of server, launcher, shepherd and sshd")
    parser.add_argument("--both", type=int, default=0, help="kills of a shepherd and its keeper together")
    parser.add_argument("--reboots", type=int, default=0, help="nodes whose power fails (as root)")
    parser.add_argument("--seconds", type=float, help="how long faults happen (default: 1.2 for each of them)")
    parser.add_argument("--evidence", type=Path, help="where to keep it (default: a new directory in /tmp)")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what happens while it does")
    args = parser.parse_args()
    why = no_net()
    if why:
        print(f"bench.chaos: sshd on loopback, and no links are cut: {why}", flush=True)
    plan = draw(
        args.seed,
        jobs=args.jobs,
        kills=args.kills,
        seconds=args.seconds,
        cores=4 * CORES_A_NODE,
        nodes=4,
        cuts=why is None,
        both=args.both,
        reboots=args.reboots,
    )
    evidence = args.evidence or Path(tempfile.gettempdir()) / f"chaos-{args.seed}"
    run = Run(plan, evidence=evidence, say=print if args.verbose else None)
    run.go()
    print("\n".join(run.report()), flush=True)
    return 1 if run.broken else 0


if __name__ == "__main__":
    sys.exit(main())
