"""Simulated worlds for as long as you like; of one that breaks a promise, the shortest history that can be found.

    python -m bench.soak --seconds 600                       on all processors
    python -m bench.soak --seconds 60 --first-seed 1000000 --jobs 1
    python -m bench.soak --seconds 60 --leave-out P8         with a rule of the protocol left out: which seed sees it?

A failure prints its seed. The same world is then played again with ever more of its acts (submissions, kills, cuts)
left out while it still fails, and what is left is printed with its story. Exit status 1 if any world failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.sim.acts import Act
from tests.sim.rules import LEFT_OUT
from tests.sim.world import World, play

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
AT_ONCE = 20  # worlds that a process plays before it says what came of them
PROGRESS_S = 10.0
MOST_TRIES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A world that broke. acts: those that happened, in the order of time."""

    seed: int
    error: str
    story: str
    acts: tuple[Act, ...]


@dataclass(slots=True, kw_only=True)
class Figures:
    """What some worlds had in them."""

    worlds: int = 0
    jobs: int = 0
    attempts: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        self.worlds += other.worlds
        self.jobs += other.jobs
        self.attempts += other.attempts
        self.happened += other.happened
        self.failures += other.failures

    def text(self, seconds: float) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.happened.most_common() if kind != "submit")
        rate = f"{self.worlds / max(seconds, 1e-9) * 60:.0f} a minute"
        return f"{self.worlds} worlds ({rate}), {self.jobs} jobs, {self.attempts} attempts, {kinds}"


def one(seed: int, leave_out: str | None, without: frozenset[int] = frozenset()) -> World | Failure:
    """Play one world."""
    world: World | None = None

    def seen(played: World) -> None:
        nonlocal world
        world = played

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=MEMORY) as place:
        if leave_out is not None:
            LEFT_OUT[leave_out](patch)
        try:
            return play(seed, Path(place), without, seen)
        except Exception as error:
            assert world is not None
            acts = tuple(sorted((a for a in world.plan if a.number not in without), key=lambda act: act.at_s))
            text = f"{type(error).__name__}: {error}"
            return Failure(seed=seed, error=text, story="\n".join(world.story), acts=acts)


def some(seeds: Sequence[int], leave_out: str | None) -> Figures:
    """Play these worlds."""
    figures = Figures()
    for seed in seeds:
        played = one(seed, leave_out)
        figures.worlds += 1
        if isinstance(played, Failure):
            figures.failures.append(played)
        else:
            figures.jobs += len(played.programs)
            figures.attempts += sum(played.began_once.values())
            figures.happened += played.happened
    return figures


def shortened(failure: Failure, again: Callable[[frozenset[int]], World | Failure]) -> Failure:
    """The same world with as many acts left out as can be while it still fails: halves first, then ever less.

    (Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, IEEE TSE 28, 2002.)
    """
    without: frozenset[int] = frozenset()
    tries = 0
    size = max(len(failure.acts) // 2, 1)
    while tries < MOST_TRIES:
        left = [act.number for act in failure.acts]
        smaller = None
        for at in range(0, len(left), size):
            tries += 1
            trial = again(without | frozenset(left[at : at + size]))
            if isinstance(trial, Failure):
                smaller, without = trial, without | frozenset(left[at : at + size])
                break
        if smaller is not None:
            failure = smaller
        elif size == 1:
            break
        size = min(max(size // 2, 1), max(len(failure.acts) // 2, 1)) if smaller is None else size
    return failure


def show(failure: Failure, leave_out: str | None) -> None:
    print(f"\nseed {failure.seed}: {failure.error}", flush=True)
    short = shortened(failure, lambda without: one(failure.seed, leave_out, without))
    print(f"the shortest history found, {len(short.acts)} of {len(failure.acts)} acts: {short.error}")
    for act in short.acts:
        print(f"  {act.at_s:8.3f} {act.kind} ({act.number})")
    print(short.story, flush=True)


def soak(seconds: float, first_seed: int, jobs: int, leave_out: str | None, most_failures: int) -> Figures:
    """Play worlds until the time is over, or so many have failed."""
    figures = Figures()
    began_s = said_s = time.monotonic()
    seed = first_seed
    pending: set[Future[Figures]] = set()
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            now_s = time.monotonic()
            over = now_s - began_s > seconds or len(figures.failures) >= most_failures
            while not over and len(pending) < 2 * jobs:
                pending.add(pool.submit(some, range(seed, seed + AT_ONCE), leave_out))
                seed += AT_ONCE
            if not pending:
                return figures
            done, pending = wait(pending, timeout=PROGRESS_S, return_when=FIRST_COMPLETED)
            for future in done:
                figures.add(future.result())
            if now_s - said_s > PROGRESS_S:
                said_s = now_s
                failed = f"; {len(figures.failures)} failed" if figures.failures else ""
                print(f"{now_s - began_s:.0f} s: {figures.worlds} worlds, to seed {seed - 1}{failed}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all processors)")
    parser.add_argument("--leave-out", choices=list(LEFT_OUT), help="a rule of the protocol")
    parser.add_argument("--most-failures", type=int, default=3, help="stop after so many")
    words = parser.parse_args()
    began_s = time.monotonic()
    figures = soak(words.seconds, words.first_seed, words.jobs, words.leave_out, words.most_failures)
    print(figures.text(time.monotonic() - began_s), flush=True)
    for failure in figures.failures[: words.most_failures]:
        show(failure, words.leave_out)
    print(f"{len(figures.failures)} of {figures.worlds} worlds broke a promise")
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
