"""What happens in a world: people submit and remove, and things go wrong. Each act has a number and dice of its own.

So a world can be played again with some of its acts left out, and the others are still the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from msgspec import to_builtins
from msgspec.structs import replace

from tests.sim.processes import ME, LauncherProcess, ServerProcess, SimClient
from tests.sim.programs import Program
from tests.sim.wires import DOWN, UP
from wq.core.job import JobId, Key, Mode, Priority, Requirement
from wq.launcher.clients import Hello, Sub
from wq.launcher.task import ArrayTasks, Setting, Task
from wq.protocol.wire import PROTOCOL

if TYPE_CHECKING:
    from tests.sim.node import Place
    from tests.sim.world import World

FAULTS_S = 60.0
HOUR_S = 3600.0
EVERYTHING = [[1, 1 << 62]]  # as ids

# What may happen, and how often beside the others.
FAULTS = {
    "kill_server": 3,
    "shutdown": 1,
    "kill_launcher": 3,
    "reboot_head": 1,
    "cut_connection": 2,
    "cut_session": 4,
    "half_open": 2,
    "stall_session": 2,
    "lose_sight": 2,
    "refuse_logins": 1,
    "kill_shepherd": 4,
    "kill_keeper": 1,
    "kill_both": 1,
    "freeze_shepherd": 1,
    "reboot_node": 1,
    "burn_node": 1,
    "fill_disk": 1,
    "fill_node": 1,
    "fail_sync": 1,
    "jump_clock": 1,
    "repeat_starts": 2,
    "remove": 3,
    "set_at_most": 1,
    "set_time": 2,
    "suspend": 3,
    "send_signal": 1,
    "mark_node": 1,
    "edit_cluster": 1,
    "steer_line": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that happens at a time, if it can then."""

    number: int
    at_s: float
    kind: str


def drawn(random: Random) -> list[Act]:
    """The acts of one world. Each world has only some kinds of faults: so that each meets each other alone."""
    plan = [("submit", random.uniform(0.0, FAULTS_S * 0.8)) for _ in range(random.randint(3, 12))]
    kinds = [kind for kind in FAULTS if random.random() < 0.5] or list(FAULTS)
    for _ in range(random.choice([0, 5, 20, 50])):
        (kind,) = random.choices(kinds, [FAULTS[kind] for kind in kinds])
        plan.append((kind, random.uniform(0.5, FAULTS_S)))
    return [Act(number=number, at_s=at_s, kind=kind) for number, (kind, at_s) in enumerate(plan)]


def key_of(att: str) -> Key:
    """Of which job or task an attempt is."""
    job, _, task = att.split(".")[0].partition("_")
    return (JobId(int(job)), int(task)) if task else JobId(int(job))


class Acts:
    """All that can happen to a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = Random()

    def happen(self, act: Act) -> None:
        self.random = Random(f"{self.world.seed}.{act.number}")
        self.world.happened[act.kind] += 1
        what: Callable[[], None] = getattr(self, act.kind)
        what()

    def some_host(self) -> str:
        return self.random.choice(list(self.world.hosts))

    def some_place(self) -> Place | None:
        places = [place for node in self.world.nodes.values() for place in node.places.values()]
        return self.random.choice(places) if places else None

    # users

    def a_program(self, name: str, *, takes_s: list[float] | None = None) -> Program:
        random = self.random
        return Program(
            name=name,
            takes_s=random.choice(takes_s or [0.001, 0.1, 1.0, 8.0]) * random.uniform(0.5, 1.5),
            exit_status=random.choice([0, 0, 3]),
            stubborn=random.random() < 0.2,
            output_bytes=random.choice([0, 10, 3000]),
            leaves_s=random.choice([None, None, 0.5, 5.0, 100.0]),
            rank_s=random.uniform(0.01, 8.0) if random.random() < 0.6 else None,
        )

    def a_requirement(self) -> Requirement:
        random, cores = self.random, self.world.hosts
        priority = random.choice([Priority.MED, Priority.MED, Priority.LOW, Priority.HIGH, Priority.BLOCK])
        mode = random.choice([Mode.BYCORE, Mode.BYCORE, Mode.BYCORE1, Mode.BYNODE])
        most = {Mode.BYCORE: sum(cores.values()), Mode.BYNODE: len(cores)}.get(mode, max(cores.values()))
        return Requirement(mode=mode, n=random.randint(1, max(1, min(most, 4))), priority=priority)

    def an_array(self, name: str) -> ArrayTasks:
        """A few tasks: all of them short, so that they are fed ahead; or some long ones too, so that they come back."""
        random, size = self.random, self.random.randint(1, 12)
        first, step = random.choice([0, 1, 7]), random.choice([1, 1, 3])
        numbers = [first + step * place for place in range(size)]
        takes_s = random.choice([[0.001, 0.02], [0.02, 0.1], [0.02, 0.02, 0.02, 8.0], [0.001, 0.1, 1.0, 8.0]])
        for number in numbers:
            task = f"{name}_{number}"
            self.world.programs[task] = self.a_program(task, takes_s=takes_s)
        self.world.arrays[name] = numbers
        at_most = random.choice([None, None, 1, 2, 5])
        pieces = [(first, numbers[-1], step)]
        if size > 4 and random.random() < 0.3:
            pieces = [(first, numbers[2], step), (numbers[3], numbers[-1], step)]
        return ArrayTasks(tasks=tuple(pieces), at_most=at_most)

    def submit(self) -> None:
        """A user submits; his launcher is started where there is none, as the client does."""
        world, random = self.world, self.random
        process = world.launchers[random.choice(list(world.launchers))]
        foreground = random.random() < 0.3
        names, tasks, stems = [], [], []
        for _ in range(1 if foreground else random.choice([1, 1, 3])):
            name = f"j{len(world.programs)}"
            array = self.an_array(name) if not foreground and random.random() < 0.4 else None
            if array is None:
                world.programs[name] = self.a_program(name)
            if foreground:
                world.foreground.add(name)
            names.append(name)
            need = self.a_requirement() if array is None or random.random() < 0.3 else Requirement(n=1)
            task = Task(requirement=need, command="x", name=name, foreground=foreground, array=array)
            if random.random() < 0.2 and not world.old_shepherds:
                task = replace(task, time_s=random.choice([1.0, 2.0, 6.0]), signal=random.choice([None, 10]))
                task = replace(task, signal_s=random.choice([0.5, 1.0]))
                world.limited.add(name)
            tasks.append(task)
            stems.append(None if foreground else str(world.place / name))
        world.note(f"user {process.uid} submits {' '.join(names)}{' in the foreground' if foreground else ''}")
        setting = Setting(cwd=str(world.place), umask=0o022, env={})
        keep, token = not foreground and random.random() < 0.7, "" if foreground else f"{len(world.clients):016x}"
        sub = Sub(tasks=tasks, stems=stems, setting=setting, keep=keep, token=token)
        client = self.send(process.uid, names, sub)
        if not foreground and random.random() < 0.7:
            again_s = random.uniform(0.0, 10.0)
            client.on_launcher_death = lambda: world.later(
                again_s, lambda: self.send(process.uid, names, sub, again=True)
            )
        if foreground and random.random() < 0.3:
            cancels = random.random() < 0.5
            world.later(random.uniform(0.0, 10.0), lambda: self.interrupt(client, cancels=cancels))

    def send(self, uid: int, names: list[str], sub: Sub, *, again: bool = False) -> SimClient:
        """A client connects to the launcher of its user, starting it where there is none, and submits."""
        world = self.world
        if world.launchers[uid].dead:
            LauncherProcess(world=world, uid=uid).start()
        client = SimClient(world.launchers[uid], names, again=again)
        world.clients.append(client)
        client.process.hear(client, Hello(version=PROTOCOL), sub)
        return client

    def interrupt(self, client: SimClient, *, cancels: bool) -> None:
        """Ctrl-C, or kill -9 of the client."""
        if client.left or client.process.dead:
            return
        self.world.note(f"the client of {client.names[0]} goes")
        self.world.unwanted.add(client.names[0])
        if cancels:
            client.cancel(2.0)
        client.leave()

    def remove(self) -> None:
        world, random = self.world, self.random
        if not world.promises:
            return
        promise = random.choice(list(world.promises.values()))
        job, grace_s = int(promise.id), random.choice([0.0, 1.0, 5.0])
        if promise.tasks and random.random() < 0.6:
            low, high = sorted(random.choices(promise.tasks, k=2))
            world.note(f"rm {job}_{low}-{high}")
            world.unwanted.update(f"{promise.name}_{task}" for task in promise.tasks if low <= task <= high)
            world.tell_server(ME, type="remove", tasks=[[job, low, high]], grace_s=grace_s)
        else:
            world.unwanted.add(promise.name)
            world.note(f"rm {job}")
            world.tell_server(ME, type="remove", ids=[[job, job]], grace_s=grace_s)

    def set_at_most(self) -> None:
        """More tasks of an array may run at one time, or fewer."""
        arrays = [promise for promise in self.world.promises.values() if promise.tasks]
        if arrays:
            promise, at_most = self.random.choice(arrays), self.random.choice([None, 1, 3])
            self.world.note(f"at most {at_most} tasks of {promise.id}")
            self.world.at_most_set.add(promise.id)
            self.world.tell_server(ME, type="at_most", id=int(promise.id), at_most=at_most)

    def set_time(self) -> None:
        """A job may run for longer, or not for so long."""
        world, random = self.world, self.random
        if world.promises and not world.old_shepherds:
            promise, time_s = random.choice(list(world.promises.values())), random.choice([None, 1.0, 3.0, 60.0])
            world.note(f"the time of {promise.id} is {time_s}")
            world.limited.add(promise.name)
            world.tell_server(ME, type="time", id=int(promise.id), time_s=time_s)

    def suspend(self) -> None:
        """A job is suspended, or goes on; later it goes on in any case."""
        world = self.world
        if world.promises:
            job, suspended = int(self.random.choice(list(world.promises))), self.random.random() < 0.7
            world.note(f"{job} is to {'stop' if suspended else 'go on'}")
            world.tell_server(ME, type="suspend", ids=[[job, job]], suspended=suspended)
            after_s = self.random.uniform(0.1, 20.0)
            world.later(after_s, lambda: world.tell_server(ME, type="suspend", ids=[[job, job]], suspended=False))

    def send_signal(self) -> None:
        """One that those who do not heed it do not get."""
        if self.world.promises:
            job = int(self.random.choice(list(self.world.promises)))
            self.world.tell_server(ME, type="signal", ids=[[job, job]], number=self.random.choice([10, 12, 40]))

    def steer_line(self) -> None:
        """All at once, jobs that wait are held, released, changed, put to the front; later all are released."""
        world, random = self.world, self.random
        world.tell_server(random.choice([ME, *world.launchers]), type="refresh")
        for _ in range(random.choice([0, 2, 6, 20]) if world.promises else 0):
            job = int(random.choice(list(world.promises)))
            match random.choice(["hold", "release", "edit", "edit", "top", "top"]):
                case "edit":
                    need = Requirement(n=random.choice([1, 2]), priority=random.choice([Priority.LOW, Priority.MED]))
                    world.tell_server(ME, type="edit", id=job, requirement=to_builtins(need))
                case "top":
                    world.tell_server(ME, type="top", ids=[[job, job]])
                case verb:
                    world.tell_server(ME, type="hold", held=verb == "hold", ids=[[job, job]])
        released_s = random.uniform(0.1, 5.0)
        world.later(released_s, lambda: world.tell_server(ME, type="hold", held=False, ids=EVERYTHING))

    def mark_node(self) -> None:
        host, state = self.some_host(), self.random.choice(["offline", "drain", "online"])
        self.world.note(f"{host} is taken {state}")
        self.world.tell_server(ME, type="node", hosts=[host], state=state)
        self.world.later(20.0, lambda: self.world.tell_server(ME, type="node", hosts=[host], state="online"))

    def edit_cluster(self) -> None:
        world, random = self.world, self.random
        kept = self.some_host()
        left = {host: ncores for host, ncores in world.hosts.items() if host == kept or random.random() < 0.5}
        world.note(f"the cluster is now {' '.join(left)}")
        world.write_cluster(left)
        world.tell_server(ME, type="refresh")
        world.later(random.uniform(1.0, 30.0), world.mend_cluster)

    def jump_clock(self) -> None:
        jump_s = self.random.choice([-1, 1]) * self.random.uniform(0.1, 30.0) * HOUR_S
        self.world.note(f"the wall clock jumps by {jump_s / HOUR_S:.1f} hours")
        self.world.wall_s += jump_s

    # processes on the head

    def kill_server(self) -> None:
        if not self.world.server.dead:
            self.doom(self.world.server)
            self.world.later(self.random.uniform(0.0, 5.0), self.revive_server)

    def shutdown(self) -> None:
        """The owner stops the server in order, and starts it again."""
        self.world.note("shutdown")
        self.world.tell_server(ME, type="shutdown")
        self.world.later(self.random.uniform(0.5, 10.0), self.revive_server)

    def kill_launcher(self) -> None:
        process = self.world.launchers[self.random.choice(list(self.world.launchers))]
        if not process.dead:
            self.doom(process)
            self.world.later(self.random.uniform(0.0, 5.0), lambda: self.revive_launcher(process.uid))

    def doom(self, process: ServerProcess | LauncherProcess) -> None:
        how = self.random.choice(["now", "before", "after", "after"])
        self.world.note(f"{process.name} is to be killed: {how}")
        if how == "now":
            process.kill()
        else:
            process.doom = how

    def revive_server(self) -> None:
        self.world.server.doom = self.world.server.failing = ""
        if self.world.server.dead:
            self.world.note("the server starts")
            ServerProcess(world=self.world).start()

    def revive_launcher(self, uid: int) -> None:
        process = self.world.launchers[uid]
        process.doom = process.failing = ""
        if process.dead and (self.world.place / str(uid)).exists():
            self.world.note(f"launcher {uid} starts")
            LauncherProcess(world=self.world, uid=uid).start()

    def reboot_head(self) -> None:
        """The server's host goes down, with all that runs there. What was not synced of outputs is gone."""
        world = self.world
        world.note("the head is rebooted")
        for process in world.launchers.values():
            world.cut_outputs(process)
            process.kill()
        world.server.kill()
        back_s = self.random.uniform(0.0, 20.0)
        world.later(back_s, self.revive_server)
        for uid in world.launchers:
            world.later(back_s + self.random.uniform(0.0, 5.0), lambda uid=uid: self.revive_launcher(uid))  # type: ignore[misc]

    def fill_disk(self) -> None:
        name = self.random.choice(list(self.world.disks))
        self.world.note(f"the disk of {name} is full")
        self.world.disks[name].full = True
        self.world.later(self.random.uniform(0.1, 10.0), lambda: self.clear_disk(name))

    def clear_disk(self, name: str) -> None:
        self.world.note(f"there is room for {name}")
        self.world.disks[name].full = False

    def fail_sync(self) -> None:
        """A disk fails once: at the next commit of a process, or the next sync of a shepherd."""
        side = self.random.choice(["before", "after"])
        what = self.random.choice(["server", "launcher", "node"])
        if what == "node":
            place = self.some_place()
            if place is not None:
                self.world.note(f"the disk of {place} fails")
                place.disk.failing = True
                self.world.spoilt.add(place.kernel.host)
                self.world.later(self.random.uniform(0.0, 3.0), lambda: setattr(place.disk, "failing", False))
            return
        process = self.world.server if what == "server" else self.random.choice([*self.world.launchers.values()])
        process.failing = side

    # wires

    def cut_connection(self) -> None:
        wires = [p.wire for p in self.world.launchers.values() if p.wire is not None and not p.dead]
        if wires:
            self.world.note("a connection to the server is cut")
            self.random.choice(wires).cut()

    def cut_session(self) -> None:
        sessions = [session for session in self.world.sessions if session.ready]
        if sessions:
            session = self.random.choice(sessions)
            self.world.note(f"the session of {session.process.uid} on {session.host} is cut")
            session.cut()

    def half_open(self) -> None:
        if self.world.sessions:
            session = self.random.choice(self.world.sessions)
            lane = self.random.choice([UP, DOWN])
            self.world.note(f"the session of {session.process.uid} on {session.host} is deaf {lane}")
            session.half_open(lane)

    def stall_session(self) -> None:
        if self.world.sessions:
            session = self.random.choice(self.world.sessions)
            self.world.note(f"the session of {session.process.uid} on {session.host} is stalled")
            session.stall(self.random.uniform(0.5, 8.0))

    def lose_sight(self) -> None:
        host = self.some_host()
        self.world.note(f"{host} cannot be reached")
        self.world.lose(host)
        self.world.later(self.random.uniform(0.1, 15.0), lambda: self.world.unreachable.discard(host))

    def refuse_logins(self) -> None:
        self.world.note("logins are refused")
        self.world.crowded = True
        self.world.later(self.random.uniform(0.1, 10.0), lambda: setattr(self.world, "crowded", False))

    def repeat_starts(self) -> None:
        self.world.mail.again()

    # nodes

    def kill_shepherd(self) -> None:
        place = self.some_place()
        there = place.living_shepherd() if place is not None else None
        if there is not None:
            calls = self.random.choice([None, self.random.randint(0, 8), self.random.randint(0, 40)])
            self.world.note(f"the shepherd of {place} is to be killed: {'now' if calls is None else calls}")
            there.kill(calls)

    def kill_keeper(self) -> None:
        place = self.some_place()
        keeper = place.living_keeper() if place is not None else None
        if keeper is not None:
            how = self.random.choice(["now", "before its note", "after its note"])
            self.world.note(f"the keeper of {place} is to be killed: {how}")
            keeper.kill(how)

    def kill_both(self) -> None:
        place = self.some_place()
        if place is not None:
            self.world.note(f"keeper and shepherd of {place} are killed")
            place.kill_both(keeper_first=self.random.random() < 0.5)

    def freeze_shepherd(self) -> None:
        place = self.some_place()
        there = place.living_shepherd() if place is not None else None
        if there is not None:
            self.world.note(f"the shepherd of {place} is stopped")
            there.stop()
            self.world.later(self.random.uniform(0.1, 20.0), there.go_on)

    def fill_node(self) -> None:
        place = self.some_place()
        if place is not None:
            room = self.random.choice([0, self.random.randint(0, 2000)])
            self.world.note(f"the disk of {place} has room for {room} bytes")
            self.world.spoilt.add(place.kernel.host)
            place.disk.full = room
            self.world.later(self.random.uniform(0.1, 10.0), place.clear_disk)

    def reboot_node(self) -> None:
        host = self.some_host()
        self.world.note(f"{host} is rebooted")
        self.world.reboot(host)

    def burn_node(self) -> None:
        """A node is gone for good, and with it what ran there, says the owner. (Another one gets its name.)"""
        world, host = self.world, self.some_host()
        if any(held == host and "/" not in att and world.is_wide(att) for held, att in world.running):
            return  # what it has on other nodes would be given up without evidence
        world.note(f"{host} burns down")
        world.burn(host)
        world.later(self.random.uniform(12.0, 60.0), lambda: world.unreachable.discard(host))
        one_by_one = self.random.random() < 0.5
        world.later(self.random.uniform(0.0, 5.0), lambda: self.declare_lost(host, one_by_one=one_by_one))

    def declare_lost(self, host: str, *, one_by_one: bool) -> None:
        """The owner's word: of the node, or of the jobs that were on it."""
        world, server = self.world, self.world.server.server
        if server is not None and not world.server.dead:
            on_it = [job for job in server.queue.active.values() if job.allocation and host in job.allocation.hosts]
            running = {key_of(att) for _, att in world.running}
            # What a wide job has, or is about to have, on its other nodes would be given up without evidence.
            wide = any(job.allocation and job.allocation.nhosts > 1 for job in on_it)
            if on_it and not wide and not running & {job.key for job in on_it}:
                world.note(f"{host} is declared lost, with {[job.key for job in on_it]}")
                world.declared_lost.update(job.key for job in on_it)
                if one_by_one and all(job.task is None for job in on_it):
                    # (Tasks may have gone elsewhere by the time the word comes: then it would be a wrong one.)
                    ids = [[int(job.id), int(job.id)] for job in on_it]
                    world.tell_server(ME, type="remove", ids=ids, grace_s=0.0, lost=True)
                else:
                    world.tell_server(ME, type="node", hosts=[host], state="lost")
        world.later(20.0, lambda: world.tell_server(ME, type="node", hosts=[host], state="online"))
