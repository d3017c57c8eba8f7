"""Carries out the faults of a plan, each at its time, or as soon as there is somebody whom it can hit."""

from __future__ import annotations

import heapq
import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable

from bench.chaos.plan import Fault, Plan
from bench.chaos.world import Process, World
from tests.e2e import rig
from tests.e2e.rig import NetNodes

AGAIN_S = 0.3
PATIENCE_S = 60.0
TURN_S = 0.05


class Faults:
    """The main thread's work during a run. done: how many of each kind have hit somebody."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world, self.plan = world, plan
        self.done: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.times_s: dict[str, list[float]] = {"launcher": [], "shepherd": []}
        self.awaited: list[tuple[str, float, Callable[[], bool]]] = []
        self.order = itertools.count()
        self.heap: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, time_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (time_s, next(self.order), call))

    def run(self) -> None:
        """All of them, and all stops and cuts undone."""
        began = time.monotonic()
        for fault in self.plan.faults:
            self.at(began + fault.at_s, lambda fault=fault: self.strike(fault, time.monotonic() + PATIENCE_S))
        while self.heap:
            while self.heap and self.heap[0][0] <= time.monotonic():
                heapq.heappop(self.heap)[2]()
            for each in list(self.awaited):
                party, since, is_back = each
                if is_back():
                    self.times_s[party].append(time.monotonic() - since)
                    self.awaited.remove(each)
            if self.heap:
                time.sleep(max(0.0, min(TURN_S, self.heap[0][0] - time.monotonic())))

    def strike(self, fault: Fault, deadline: float) -> None:
        verb, _, whom = fault.kind.partition(" ")
        hit = {"kill": self.kill, "stop": self.stop}[verb](fault, whom) if whom else self.cut(fault)
        if hit:
            self.done[fault.kind] += 1
        elif time.monotonic() < deadline:
            self.at(time.monotonic() + AGAIN_S, lambda: self.strike(fault, deadline))
        else:
            self.missed[fault.kind] += 1

    def choose(self, fault: Fault, found: list[Process]) -> list[Process]:
        """One of them: the later ones have more to do, and are more likely."""
        return [found[int(len(found) * fault.pick**0.5)]] if found else []

    # ---- kill -9

    def kill(self, fault: Fault, whom: str) -> bool:
        world = self.world
        match whom:
            case "listener":
                return self.kill_listener(fault)
            case "head":
                victims = [each for party in ("server", "launcher", "ssh") for each in world.party(party)]
                if not world.party("server"):
                    return False
            case "keeper":
                victims = self.choose(fault, [each for each in world.party("keeper") if world.only_shepherd_of(each)])
            case "shepherd and keeper":
                keepers = self.choose(fault, [each for each in world.party("keeper") if world.shepherd_of(each)])
                victims = keepers + [each for keeper in keepers for each in world.shepherd_of(keeper)]
            case _:
                victims = self.choose(fault, world.party(whom))
        waits = [wait for each in victims if (wait := self.comes_back(each)) is not None]
        hit = [each for each in victims if each.send(signal.SIGKILL)]
        if hit:
            self.world.note(f"killed {whom}: " + ", ".join(f"{each.pid} {each.title[:60]}" for each in hit))
            self.awaited += waits if len(hit) == 1 else []
        return bool(hit)

    def comes_back(self, victim: Process) -> tuple[str, float, Callable[[], bool]] | None:
        """How to see that another one is there in its place."""
        title = victim.title
        if title.startswith("wq launcher "):

            def launcher_is_back() -> bool:
                return any(each.title == title and each.pid != victim.pid for each in self.world.party("launcher"))

            return "launcher", time.monotonic(), launcher_is_back
        if title.startswith("wq-shepherd "):

            def shepherd_is_back() -> bool:
                return any(each.title == title and each.pid != victim.pid for each in self.world.party("shepherd"))

            return "shepherd", time.monotonic(), shepherd_is_back
        return None

    def kill_listener(self, fault: Fault) -> bool:
        """sshd itself: no new connections for a while."""
        names = list(self.world.nodes.nodes)
        name = names[int(len(names) * fault.pick)]
        node = self.world.nodes[name]
        if node.pid is None:
            return False
        node.stop()
        self.world.note(f"killed the listener of {name}")
        self.at(time.monotonic() + 2.0, node.start)
        return True

    # ---- stops

    def stop(self, fault: Fault, whom: str) -> bool:
        victims = self.choose(fault, self.world.party(whom))
        if not victims or not victims[0].send(signal.SIGSTOP):
            return False
        victim = victims[0]
        self.world.note(f"stopped {whom} for {fault.lasts_s} s: {victim.pid} {victim.title[:60]}")

        def go_on() -> None:
            rig.signal_all([victim.pid], signal.SIGCONT)

        self.at(time.monotonic() + fault.lasts_s, go_on)
        return True

    # ---- cuts

    def cut(self, fault: Fault) -> bool:
        net = self.world.nodes
        assert isinstance(net, NetNodes)
        names = list(net.nodes)
        name = names[int(len(names) * fault.pick)]
        {"cut": net.cut, "deaf": net.deafen, "mute": net.mute}[fault.kind](name)
        self.world.note(f"{fault.kind}: {name} for {fault.lasts_s} s")

        def heal() -> None:
            net.heal(name)
            self.world.note(f"healed {name}")

        self.at(time.monotonic() + fault.lasts_s, heal)
        return True
