"""The long run: `python -m tests.fuzz.grow --seconds 60 --into DIR [--seed 1] [TARGET...]`.

Inputs that reach lines of wq that none has reached before are kept, and changed further. They are written to
DIR/TARGET, and what breaks a target to DIR/TARGET/failed-*: whoever mends it gives that a name, and puts it into the
corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
import traceback
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import wq
from tests.fuzz.targets import TARGETS, Call, Target, corpus, tried

OURS = os.path.dirname(wq.__file__)
SLOWER = 20.0  # because each line is looked at
Place = tuple[str, int, int]


class Lines:
    """Which steps from line to line of wq were ever seen."""

    def __init__(self) -> None:
        self.seen: set[Place] = set()
        self.new = 0

    def __enter__(self) -> None:
        self.new = len(self.seen)
        sys.settrace(self.called)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self.new = len(self.seen) - self.new

    def called(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        name, before, seen = frame.f_code.co_filename, 0, self.seen

        def stepped(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal before
            seen.add((name, before, frame.f_lineno))
            before = frame.f_lineno
            return stepped

        return stepped


def grow(name: str, target: Target, call: Call, rng: Random, seconds: float, into: Path) -> tuple[int, int, int]:
    """(inputs tried, kept, kinds of failures) of one target."""
    lines, failures, count = Lines(), set[str](), 0
    pool = list(corpus(name).values())
    for data in pool:
        with lines:
            tried(target, call, data, SLOWER)
    nseeds, deadline = len(pool), time.monotonic() + seconds
    while time.monotonic() < deadline:
        parent = pool[-1 - min(int(rng.expovariate(0.1)), len(pool) - 1)] if rng.randrange(2) else rng.choice(pool)
        data = target.changed(parent, rng, pool)
        count += 1
        try:
            with lines:
                tried(target, call, data, SLOWER)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno}"
            if kind not in failures:
                failures.add(kind)
                sys.stdout.write(f"{name}: {kind}: {str(error)[:200]}: {write(into / name, 'failed-', data)}\n")
            continue
        if lines.new:
            pool.append(data)
            write(into / name, "", data)
    return count, len(pool) - nseeds, len(failures)


def write(where: Path, mark: str, data: bytes) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    path = where / f"{mark}{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.grow", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(TARGETS))
    args = parser.parse_args()
    failed = 0
    for name in args.targets or TARGETS:
        with TARGETS[name].opened() as call:
            found = grow(name, TARGETS[name], call, Random(f"{args.seed} {name}"), args.seconds, args.into)
        sys.stdout.write("{}: {} inputs, {} kept, {} kinds of failures\n".format(name, *found))
        sys.stdout.flush()
        failed += found[2]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
