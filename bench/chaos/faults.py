"""Carries out the faults of a plan, each at its time, or as soon as there is somebody whom it can hit."""

from __future__ import annotations

import heapq
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

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
        self.awaited: list[tuple[str, float, Process]] = []
        self.over = threading.Event()
        self.order = itertools.count()
        self.heap: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, time_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (time_s, next(self.order), call))

    def run(self) -> None:
        """All of them, and all stops and cuts undone."""
        began = time.monotonic()
        for fault in self.plan.faults:
            self.at(began + fault.at_s, partial(self.strike, fault, began + fault.at_s + PATIENCE_S))
        while self.heap:
            while self.heap and self.heap[0][0] <= time.monotonic():
                heapq.heappop(self.heap)[2]()
            if self.heap:
                time.sleep(max(0.0, self.heap[0][0] - time.monotonic()))
        self.over.set()

    def watch(self) -> None:
        """Beside the main thread: how long it takes until there is another one in the place of each that was killed."""
        while not self.over.wait(TURN_S):
            there = self.world.processes() if self.awaited else []
            for each in list(self.awaited):
                party, since, victim = each
                if any(other.title == victim.title and other.pid != victim.pid for other in there):
                    self.times_s[party].append(time.monotonic() - since)
                    self.awaited.remove(each)

    def strike(self, fault: Fault, deadline: float) -> None:
        verb, _, whom = fault.kind.partition(" ")
        hit = {"kill": self.kill, "stop": self.stop}[verb](fault, whom) if whom else self.harm_node(fault)
        if hit:
            self.done[fault.kind] += 1
        elif time.monotonic() < deadline:
            self.at(time.monotonic() + AGAIN_S, partial(self.strike, fault, deadline))
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
        hit = [each for each in victims if each.send(signal.SIGKILL)]
        if hit:
            self.world.note(f"killed {whom}: " + ", ".join(f"{each.pid} {each.short}" for each in hit))
            if whom in self.times_s:
                self.awaited += [(whom, time.monotonic(), hit[0])]
        return bool(hit)

    def kill_listener(self, fault: Fault) -> bool:
        """sshd itself: no new connections for a while."""
        names = [name for name in self.world.nodes_up() if self.world.nodes[name].pid is not None]
        if not names:
            return False
        name = names[int(len(names) * fault.pick)]
        self.world.nodes[name].stop()
        self.world.note(f"killed the listener of {name}")
        self.at(time.monotonic() + 2.0, partial(self.world.start_sshd, name))
        return True

    # ---- stops

    def stop(self, fault: Fault, whom: str) -> bool:
        victims = self.choose(fault, self.world.party(whom))
        if not victims or not victims[0].send(signal.SIGSTOP):
            return False
        victim = victims[0]
        self.world.note(f"stopped {whom} for {fault.lasts_s} s: {victim.pid} {victim.short}")

        def go_on() -> None:
            rig.signal_all([victim.pid], signal.SIGCONT)

        self.at(time.monotonic() + fault.lasts_s, go_on)
        return True

    # ---- nodes

    def harm_node(self, fault: Fault) -> bool:
        """Its power fails, or its link is cut, in one direction or both."""
        world, net = self.world, self.world.nodes
        assert isinstance(net, NetNodes)
        names = world.nodes_up()
        if not names:
            return False
        name = names[int(len(names) * fault.pick)]
        {"reboot": world.crash, "cut": net.cut, "deaf": net.deafen, "mute": net.mute}[fault.kind](name)
        world.note(f"{fault.kind}: {name} for {fault.lasts_s} s")

        def over() -> None:
            (world.boot if fault.kind == "reboot" else world.heal)(name)
            world.note(f"{name} is back from {fault.kind}")

        self.at(time.monotonic() + fault.lasts_s, over)
        return True
