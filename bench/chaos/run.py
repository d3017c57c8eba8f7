"""One run: the world is made, the crowd works, faults happen; then calm, an end in order, and the verdict."""

from __future__ import annotations

import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.chaos.checks import Verdict, keep_evidence, left_in_spools
from bench.chaos.crowd import Crowd
from bench.chaos.faults import Faults
from bench.chaos.plan import PARTIES, Plan
from bench.chaos.world import World, threads
from tests.e2e import rig

CALM_S = 120.0  # so long nothing may change, when nothing happens to the queue any more
PATIENCE_S = 30.0
Row = dict[str, Any]


class Run:
    """go() does it; then `broken` has a sentence for each broken promise, and report() says everything."""

    def __init__(self, plan: Plan, *, evidence: Path, say: Callable[[str], None] | None = None) -> None:
        self.plan, self.evidence, self.say = plan, evidence, say
        self.began = time.monotonic()
        self.timeline: list[str] = []
        self.broken: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.faults: Faults | None = None
        self.server_times_s: list[float] = []
        self.spans_s: dict[str, float] = {}

    def note(self, text: str) -> None:
        self.timeline.append(f"{time.time():.3f} {time.monotonic() - self.began:7.2f} {text}")
        if self.say is not None:
            self.say(self.timeline[-1].partition(" ")[2])

    def go(self) -> None:
        with World(note=self.note) as world:
            rows: list[Row] = []
            try:
                world.server.start()
                rig.wait_for(world.server.answers, PATIENCE_S, "the server to answer")
                world.queue.greet()
                crowd = Crowd(world, self.plan)
                self.storm(world, crowd)
                rows = self.calm(world, crowd)
                self.judge(world, crowd, rows)
            except BaseException as error:
                self.broken.append(f"{type(error).__name__}: {error}")
                raise
            finally:
                if self.broken:
                    keep_evidence(world, self.evidence, rows, self.timeline)
                self.server_times_s = world.server.times_s

    def storm(self, world: World, crowd: Crowd) -> None:
        """Faults and submissions; ends when both are over."""
        self.faults = Faults(world, self.plan)
        began = crowd.began = time.monotonic()
        lookers = [partial(crowd.look, user, self.plan.seed + n) for n, user in enumerate(world.users)]
        with threads([*lookers, crowd.visit, self.faults.watch]):
            try:
                with threads([crowd.submit_all]):
                    self.faults.run()
            finally:
                crowd.quiet.set()
                self.faults.over.set()
        self.spans_s["storm"] = time.monotonic() - began
        self.note("calm")

    def calm(self, world: World, crowd: Crowd) -> list[Row]:
        """Waits until all has ended and all news is home; the listing then, which a restart must not change."""
        began = time.monotonic()
        self.wait(CALM_S, "a job that does not end", lambda: self.still_there(crowd, world))
        self.wait(CALM_S, "news that does not come home", lambda: [str(p) for p in world.queue.unfinished()])
        self.wait(PATIENCE_S, "left behind", lambda: [f"{p.pid} {p.title}" for p in world.strangers()])
        self.spans_s["calm"] = time.monotonic() - began
        rows = crowd.look_once(world.owner, "-a") or []
        held = {host: used for host, used in world.queue.used().items() if used}
        if held:
            self.broken.append(f"cores are still held: {held}")
        self.broken += left_in_spools(world)
        server = world.server.pid
        rig.signal_all([server])
        rig.wait_for(lambda: world.server.pid != server and world.server.answers(), PATIENCE_S, "the next server")
        again = crowd.look_once(world.owner, "-a") or []
        if again != rows:
            self.broken.append("after another restart the listing is not what it was")
        return rows

    def wait(self, patience_s: float, what: str, left: Callable[[], list[str]]) -> None:
        """Until nothing is left of it, or nothing has changed for so long."""
        found, deadline = left(), time.monotonic() + patience_s
        while found and time.monotonic() < deadline:
            time.sleep(0.2)
            before, found = found, left()
            if len(found) != len(before):
                deadline = time.monotonic() + patience_s
        self.broken += [f"{what}: {each}" for each in found[:20]]

    @staticmethod
    def still_there(crowd: Crowd, world: World) -> list[str]:
        found = []
        for user in world.users:
            rows = crowd.look_once(user)
            found += ["the queue does not answer"] if rows is None else []
            for row in rows or []:
                reason = (row["reason"] or {}).get("text")
                found.append(
                    f"{row['id']} {row['name']} {row['state']} attempt {row['attempt']} {row['hosts']} {reason}"
                )
        return sorted(set(found))

    def judge(self, world: World, crowd: Crowd, rows: list[Row]) -> None:
        verdict = Verdict(world, crowd, rows)
        self.broken += verdict.broken
        self.outcomes, self.answers = verdict.outcomes, crowd.answers
        self.outcomes["of them with a process on another node"] = verdict.ranks
        if self.broken:  # before everything goes
            keep_evidence(world, self.evidence, rows, self.timeline)
        world.server.expected = True
        world.server.stopping.set()
        world.queue.wq(world.owner, "shutdown")
        world.server.thread.join(PATIENCE_S)
        for process in world.party("launcher"):
            process.send(signal.SIGTERM)
        self.wait(PATIENCE_S, "does not go", lambda: list(world.queue.processes().values()))
        spools = world.spools()
        if self.plan.both:  # killed together while they had nothing to do: nobody was left to take the spool away
            self.outcomes["empty spools that wait for the next connection"] = len(spools)
        else:
            self.broken += [f"a spool is left: {name}" for name in spools]

    # ---- the report

    def report(self) -> list[str]:
        """What was done, what came of it, how long it took."""
        assert self.faults is not None
        lines = [f"seed {self.plan.seed}: {len(self.plan.jobs)} jobs, {self.faults.done.total()} faults", ""]
        lines += [f"  {number:5} {kind}" for kind, number in sorted(self.faults.done.items())]
        lines += [f"  {number:5} {kind}: NOBODY THERE" for kind, number in sorted(self.faults.missed.items())]
        lines += ["", "jobs:"] + [f"  {number:5} {kind}" for kind, number in sorted(self.outcomes.items())]
        lines += ["", "answers to users:"] + [f"  {number:5} {kind}" for kind, number in sorted(self.answers.items())]
        lines += ["", "from the kill to the next one (median, most, in s):"]
        times = {"server": self.server_times_s, **self.faults.times_s}
        for party, values in times.items():
            if values:
                lines.append(f"  {party:10} {statistics.median(values):6.2f} {max(values):6.2f}")
        spans = ", ".join(f"{name} {span:.0f} s" for name, span in self.spans_s.items())
        lines += ["", f"{spans}, all {time.monotonic() - self.began:.0f} s"]
        if self.broken:
            lines += ["", f"BROKEN PROMISES: {len(self.broken)}; the evidence is in {self.evidence}"]
            lines += [f"  {sentence}" for sentence in self.broken[:60]]
        else:
            lines += ["", "every promise was kept"]
        return lines

    @property
    def least_kills(self) -> int:
        """How often the one of the four parties that was killed least was killed."""
        assert self.faults is not None
        return min(self.faults.done[f"kill {party}"] for party in PARTIES)
