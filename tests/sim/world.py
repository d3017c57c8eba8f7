"""A whole queue on virtual time: the real server, store, launchers and ledgers; nodes, wires and disks of our own.

Messages take their time, in order; a connection may break, and then what was on its way is lost, but nothing is lost
within one. Server and launchers are killed at any moment, also between a commit and what follows from it, and start
again from what was stored. Nodes are out of reach, or are rebooted. Everything is drawn from one seed.

After each step: no core has two jobs, here or in the queue's books; no attempt starts twice; no job has two attempts
at once. When the faults stop, every job that was accepted comes to its one true end, and nothing is held by anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.sim.loop import VirtualLoop
from tests.sim.node import Program, Shepherd, Word
from wq.core.job import HostName, Job, JobId, Mode, OutcomeKind, Priority, Requirement, State
from wq.core.queue import Draft, Now
from wq.launcher import launcher as launcher_module
from wq.launcher import links as links_module
from wq.launcher import session as session_module
from wq.launcher import submissions as submissions_module
from wq.launcher.book import Book
from wq.launcher.clients import Client, Hello, Sub
from wq.launcher.launcher import Launcher
from wq.launcher.launcher import Settings as LauncherSettings
from wq.launcher.ledger import Ledger
from wq.launcher.link import surface
from wq.launcher.task import Setting, Task
from wq.protocol import places
from wq.protocol.wire import PROTOCOL, Frames, encode
from wq.protocol.wire import decode as decode_frame
from wq.server import connections as connections_module
from wq.server import server as server_module
from wq.server.connections import Peer
from wq.server.server import Server
from wq.server.server import Settings as ServerSettings
from wq.store.store import Store

ME = os.getuid()
USERS = (1000, 1001)
FAULTS_S = 60.0
PATIENCE_S = 4000.0  # of virtual time, after the faults
WALL_S = 1.7e9
JOBS_PER_MESSAGE = 2
TICK_S = 1e-6  # between messages of one lane: equal times would be in any order


class Killed(Exception):
    """kill -9, just before or just after a commit."""

    def __init__(self, process: ServerProcess | LauncherProcess) -> None:
        super().__init__("killed")
        self.process = process


class DiskFull(sqlite3.OperationalError):
    """There is no room for what was to be stored; a launcher goes when that happens to it."""

    def __init__(self, process: ServerProcess | LauncherProcess) -> None:
        super().__init__("database or disk is full")
        self.process = process


class Broken(AssertionError):
    """A promise is broken."""


# --- the wire between a launcher (or a client) and the server


class ServersEnd(asyncio.Transport):
    """What the server writes to."""

    def __init__(self, wire: Connection) -> None:
        super().__init__()
        self.wire = wire
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.wire

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.wire.to_launcher(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.wire.end_for_launcher()
            self.wire.world.loop.call_soon(self.wire.end_for_server)

    def abort(self) -> None:
        self.close()


class LaunchersEnd:
    """What a launcher's session writes to, as an asyncio.StreamWriter."""

    def __init__(self, wire: Connection) -> None:
        self.wire = wire

    def get_extra_info(self, name: str) -> Any:
        return self.wire

    def write(self, data: bytes) -> None:
        self.wire.to_server(data)

    def close(self) -> None:
        self.wire.end_for_server()


class Connection:
    """One connection: two lanes, each in order."""

    def __init__(self, world: World, uid: int) -> None:
        self.world, self.uid = world, uid
        self.server = world.server
        self.reader = asyncio.StreamReader()
        self.writer = LaunchersEnd(self)
        # What an earlier process of this user wrote lies in the server's socket before this one connects.
        self.due_s: list[float] = [0.0, 0.0]
        for wire in world.connections:
            if wire.uid == uid:
                self.due_s[0] = max(self.due_s[0], wire.due_s[0])
        self.lost = [False, False]
        self.over = [False, False]
        assert self.server.server is not None
        self.peer = Peer(self.server.server)
        self.peer.connection_made(ServersEnd(self))
        world.connections.append(self)

    def later(self, lane: int, call: Callable[[], None]) -> None:
        self.due_s[lane] = max(self.due_s[lane] + TICK_S, self.world.loop.time() + self.world.latency_s())
        self.world.loop.call_at(self.due_s[lane], call)

    def to_server(self, data: bytes) -> None:
        def arrive() -> None:
            if not (self.lost[0] or self.over[0] or self.server.dead):
                self.peer.data_received(data)

        if not self.lost[0]:
            self.later(0, arrive)

    def to_launcher(self, data: bytes) -> None:
        def arrive() -> None:
            if not (self.lost[1] or self.over[1]):
                self.reader.feed_data(data)

        if not self.lost[1]:
            self.later(1, arrive)

    def end_for_server(self) -> None:
        def arrive() -> None:
            if not self.over[0]:
                self.over[0] = True
                if not self.server.dead:
                    self.peer.connection_lost(None)

        self.later(0, arrive)

    def end_for_launcher(self) -> None:
        def arrive() -> None:
            if not self.over[1]:
                self.over[1] = True
                self.reader.feed_eof()

        self.later(1, arrive)

    def cut(self) -> None:
        """What is on its way is lost; both ends hear of it in time."""
        self.lost = [True, True]
        self.end_for_server()
        self.end_for_launcher()


# --- the link between a launcher and a node


class SimLink:
    """As wq.launcher.link.Link, to a node of ours."""

    world: World  # the one that is being played

    def __init__(
        self,
        host: HostName,
        key: str,
        *,
        on_word: Callable[[HostName, Any], None],
        on_down: Callable[[HostName, str, bool], None],
    ) -> None:
        self.host, self.on_word, self.on_down = host, on_word, on_down
        self.process = self.world.process_of(on_word)
        self.node = self.world.shepherds[(self.process.uid, host)]
        self.spool = ""
        self.up = self.lost = self.over = False
        self.due_s = [0.0, 0.0]

    def later(self, lane: int, call: Callable[..., None], *words: object) -> None:
        self.due_s[lane] = max(self.due_s[lane] + TICK_S, self.world.loop.time() + self.world.latency_s())
        self.world.loop.call_at(self.due_s[lane], call, *words)

    def open(self, ssh_command: str, env: dict[str, str]) -> None:
        self.world.loop.call_later(self.world.random.uniform(0.05, 0.4), self.connected)

    def connected(self) -> None:
        if self.process.dead:
            return
        if self.host in self.world.unreachable:
            self.down(f"{self.host} does not answer")
            return
        self.up = True
        self.world.links.append(self)
        self.node.new_link(self)

    def send(self, word: Word) -> None:
        if self.up and not self.lost:
            self.later(0, self.at_node, word)

    def send_data(self, att: str, channel: int, offset: int, payload: bytes) -> None:
        if self.up and not self.lost:
            self.later(0, self.stdin_at_node, att, offset, payload)

    def at_node(self, word: Word) -> None:
        if not self.lost and self.node.link is self:
            self.node.handle(word)

    def stdin_at_node(self, att: str, offset: int, payload: bytes) -> None:
        if not self.lost and self.node.link is self:
            self.node.stdin(att, offset, payload)

    def to_launcher(self, word: Word | tuple[str, int, int, bytes]) -> None:
        def arrive() -> None:
            if not (self.lost or self.over or self.process.dead):
                self.on_word(self.host, dict(word) if isinstance(word, dict) else word)

        if not self.lost:
            self.later(1, arrive)

    def cut(self) -> None:
        """The link is dead; launcher and node notice it one after the other, in any order."""
        if not self.lost:
            self.lost = True
            self.world.loop.call_later(self.noticed_s(), self.down, "the connection is lost")
            self.world.loop.call_later(self.noticed_s(), self.node.link_lost, self)

    def noticed_s(self) -> float:
        return self.world.random.choice([0.1, 1.0, 16.0]) * self.world.random.random()

    def down(self, why: str) -> None:
        if not (self.over or self.process.dead):
            self.over = True
            self.on_down(self.host, why, self.up)

    def close(self) -> None:
        self.cut()


# --- processes


class CrashingStore(Store):
    """Dies when it is told to, just before or just after a commit."""

    process: ServerProcess

    def commit(self, draft: Draft) -> None:
        if draft.events:
            self.process.maybe_die("before")
        super().commit(draft)
        if draft.events:
            self.process.maybe_die("after")


class CrashingBook(Book):
    def __init__(self, directory: Path, queue: str) -> None:
        self.process = SimLink.world.launchers[int(directory.name)]
        super().__init__(directory, queue)

    def commit(self, ledger: Ledger) -> None:
        if self.process.dead:
            return
        dirty = bool(ledger.dirty)
        if dirty:
            self.process.maybe_die("before")
        super().commit(ledger)
        if dirty:
            self.process.maybe_die("after")


@dataclass(kw_only=True)
class Mortal:
    """Something that lives once and can be killed. doom: at which side of its next commit."""

    world: World
    dead: bool = True
    doom: str = ""

    def maybe_die(self, side: str) -> None:
        if self.world.disk_full and side == "before":
            assert isinstance(self, ServerProcess | LauncherProcess)
            raise DiskFull(self)
        if self.doom == side:
            self.doom = ""
            assert isinstance(self, ServerProcess | LauncherProcess)
            self.world.note(f"it dies {side} a commit")
            self.kill()
            raise Killed(self)


@dataclass(kw_only=True)
class ServerProcess(Mortal):
    server: Server | None = None
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """As wq.server.server.serve, without sockets."""
        world = self.world
        spool = world.place / "spool"
        store = CrashingStore(spool)
        store.process = self
        settings = ServerSettings(port=1, cluster=world.place / "cluster", spool=spool, look=False)
        self.server = server = Server(settings, store, world.note)
        self.dead = False
        world.server = self
        store.load(server.queue)
        marked = store.marked_nodes()
        server.queue.nodes = tuple(marked.get(node.host, node) for node in server.cluster_nodes())
        server.read_cluster()
        self.task = world.loop.create_task(self.run(server))
        self.task.add_done_callback(surface)

    async def run(self, server: Server) -> None:
        wake_s: float | None = None
        while True:
            await server.wait(wake_s)
            with contextlib.suppress(Killed):
                wake_s = server.turn()
            if self.dead:
                return
            self.world.check_books()

    def kill(self) -> None:
        """What it has sent is on its way; what is sent to it is lost."""
        if self.dead or self.server is None or self.task is None:
            return
        self.world.note("server killed")
        self.dead = True
        if asyncio.current_task() is not self.task:
            self.task.cancel()
        self.server.store.close()
        for wire in self.world.connections:
            wire.lost[0] = wire.over[0] = True
            if wire.peer.timer is not None:
                wire.peer.timer.cancel()
            wire.end_for_launcher()
        self.world.connections = []


@dataclass(kw_only=True)
class LauncherProcess(Mortal):
    uid: int
    launcher: Launcher | None = None
    task: asyncio.Task[None] | None = None
    wire: Connection | None = None

    def start(self) -> None:
        world = self.world
        state = world.place / str(self.uid)
        state.mkdir(exist_ok=True)
        settings = LauncherSettings(port=1, server_uid=ME, private=False, state=state, user=str(self.uid))
        launcher = Launcher(settings, world.note)
        launcher.session.path = f"/wq-0-1/{self.uid}"
        self.launcher = launcher
        self.dead = False
        world.lives[id(launcher)] = world.launchers[self.uid] = self
        self.task = world.loop.create_task(launcher.session.run())
        self.task.add_done_callback(surface)

    def kill(self) -> None:
        """What it has written is on its way; it never knows what came after."""
        if self.dead or self.launcher is None or self.task is None:
            return
        self.world.note(f"launcher {self.uid} killed")
        self.dead = True
        if self.wire is not None:
            self.wire.lost[1] = True
            self.wire.end_for_server()
        for link in [link for link in self.world.links if link.process is self]:
            link.over = True
            self.world.loop.call_later(self.world.random.uniform(0.0, 1.0), link.node.link_lost, link)
        for task in (self.task, *self.launcher.tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self.launcher.session.writer = None
        if self.launcher.book is not None:
            self.launcher.book.db.close()
        for client in list(self.launcher.clients):
            if isinstance(client, SimClient):
                client.launcher_died()


class SimClient(Client):
    """A command of a user, as its launcher sees it."""

    def __init__(self, process: LauncherProcess, names: list[str]) -> None:
        assert process.launcher is not None
        super().__init__(process.launcher)
        self.process, self.names = process, names
        self.said: list[dict[str, Any]] = []
        self.output = {1: b"", 2: b""}
        self.left = False

    def say(self, message: dict[str, Any]) -> None:
        if self.left or self.process.dead:
            return
        self.said.append(message)
        world = self.process.world
        if "ok" in message:
            for name, job in zip(self.names, message["ok"]["jobs"], strict=True):
                world.printed(name, JobId(job["id"]), job["output"])
        if message.get("type") == "ended":
            world.told_end(self, message["outcome"])
            self.leave()
        elif "error" in message:
            if len(self.names) <= JOBS_PER_MESSAGE:  # of a larger one, the first jobs may have run before it failed
                world.refused.update(self.names)
            self.leave()

    def send_chunk(self, channel: int, payload: bytes) -> None:
        self.output[channel] += payload

    def leave(self) -> None:
        """It goes, or is killed."""
        if not self.left:
            self.left = True
            self.process.world.loop.call_soon(self.gone_now)

    def gone_now(self) -> None:
        self.gone = True
        if not self.process.dead:
            self.house.client_left(self)

    def launcher_died(self) -> None:
        self.left = True


# --- the world


@dataclass(kw_only=True)
class Promise:
    """A job whose id a user has seen. wanted_gone: somebody has asked for its removal."""

    name: str
    id: JobId
    output: str | None
    foreground: bool
    wanted_gone: bool = False


@dataclass(kw_only=True)
class World:
    """Everything, from one seed."""

    seed: int
    place: Path
    loop: VirtualLoop
    random: Random = field(init=False)
    hosts: dict[str, int] = field(default_factory=dict)
    shepherds: dict[tuple[int, str], Shepherd] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    connections: list[Connection] = field(default_factory=list)
    links: list[SimLink] = field(default_factory=list)
    lives: dict[int, LauncherProcess] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    foreground: set[str] = field(default_factory=set)
    promises: dict[JobId, Promise] = field(default_factory=dict)
    running: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)  # (host, att) -> cores
    began_once: Counter[str] = field(default_factory=Counter)
    ends: dict[str, Word] = field(default_factory=dict)  # att of a main process -> how it ended
    forgotten: set[str] = field(default_factory=set)  # attempts whose ends burnt with their node
    declared_lost: set[JobId] = field(default_factory=set)
    excused: set[str] = field(default_factory=set)  # their output went down with their node
    story: list[str] = field(default_factory=list)
    trouble: BaseException | None = None
    reboots: int = 0
    slow: bool = False
    disk_full: bool = False
    refused: set[str] = field(default_factory=set)  # their client was told that nothing was kept

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.server = ServerProcess(world=self)
        self.launchers = {uid: LauncherProcess(world=self, uid=uid) for uid in USERS}
        for number in range(self.random.randint(1, 3)):
            self.hosts[f"n{number}"] = self.random.choice([1, 2, 4])
        for uid in USERS:
            for host in self.hosts:
                self.shepherds[(uid, host)] = Shepherd(self, host, shares=self.random.random() < 0.5)
        self.write_cluster(self.hosts)
        self.slow = self.random.random() < 0.2

    def note(self, text: str) -> None:
        self.story.append(f"{self.loop.time() - 1000:8.3f} {text}")

    def latency_s(self) -> float:
        if self.slow and self.random.random() < 0.05:
            return self.random.uniform(0.0, 5.0)
        return self.random.choice([0.0001, 0.001, 0.02, 0.3]) * self.random.random()

    def process_of(self, method: Callable[..., None]) -> LauncherProcess:
        return self.lives[id(getattr(method, "__self__", None))]

    def bug(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = self.loop.context_of(context)
        if isinstance(error, DiskFull):
            error.process.kill()  # (only launchers let it out)
            assert isinstance(error.process, LauncherProcess)
            self.loop.call_later(self.random.uniform(0.0, 8.0), self.revive_launcher, error.process.uid)
        elif not isinstance(error, Killed) and self.trouble is None:
            self.trouble = error

    # what really runs

    def program(self, name: str) -> Program:
        return self.programs[name]

    def began(self, host: str, att: str, cores: tuple[int, ...]) -> None:
        self.note(f"{att} starts on {host} {cores}")
        self.began_once[att] += 1
        if self.began_once[att] > 1:
            raise Broken(f"attempt {att} was started twice")
        job, _, main = att.partition("/")[0].partition(".")
        for (other_host, other), held in self.running.items():
            other_job, _, other_main = other.partition("/")[0].partition(".")
            if other_job == job and other_main != main:
                raise Broken(f"two attempts of a job at once: {other} runs on {other_host}, {att} starts on {host}")
            if other_host == host and other_job != job and set(held) & set(cores):
                raise Broken(f"double booking on {host}: {other} runs on cores {held}, {att} starts on {cores}")
        self.running[(host, att)] = cores

    def over(self, host: str, att: str, end: Word) -> None:
        self.note(f"{att} is over on {host}: {end}")
        del self.running[(host, att)]
        if "/" not in att:
            self.ends[att] = end

    def output_lost(self, att: str) -> None:
        self.excused.add(att)

    def check_books(self) -> None:
        """No core in two allocations, and each job where its state says."""
        server = self.server.server
        assert server is not None
        taken: dict[tuple[str, int], JobId] = {}
        for job in server.queue.active.values():
            assert job.allocation is not None
            for part in job.allocation.slices:
                for core in part.cores:
                    other = taken.setdefault((part.host, core), job.id)
                    if other != job.id:
                        raise Broken(f"core {core} of {part.host} was given to {other} and to {job.id}")

    # what users see

    def printed(self, name: str, job: JobId, output: str | None) -> None:
        self.note(f"{name} is job {job}")
        if job in self.promises:
            raise Broken(f"the id {job} was given twice: to {self.promises[job].name} and to {name}")
        self.promises[job] = Promise(name=name, id=job, output=output, foreground=name in self.foreground)

    def told_end(self, client: SimClient, outcome: dict[str, Any]) -> None:
        self.note(f"the client of {client.names[0]} is told {outcome}")
        program = self.programs[client.names[0]]
        if outcome["kind"] == "exited":
            promised = next(p for p in self.promises.values() if p.name == program.name)
            att = [att for att in self.ends if att.startswith(f"{promised.id}.")][-1]
            whole = all(client.output[channel] == program.output(att, channel) for channel in (1, 2))
            if not whole and att not in self.excused:
                raise Broken(f"the client of {att} got {len(client.output[1])} bytes of its output")
            if outcome["exit_status"] != program.exit_status:
                raise Broken(f"the client of {att} was told {outcome}")

    def write_cluster(self, hosts: dict[str, int]) -> None:
        text = "".join(f"{host} {ncores} 8\n" for host, ncores in hosts.items())
        (self.place / "cluster").write_text(text, encoding="utf-8")

    # what happens

    def a_program(self, name: str) -> Program:
        random = self.random
        return Program(
            name=name,
            takes_s=random.choice([0.001, 0.1, 1.0, 8.0]) * random.uniform(0.5, 1.5),
            exit_status=random.choice([0, 0, 3]),
            stubborn=random.random() < 0.2,
            output_bytes=random.choice([0, 10, 3000]),
            rank_s=random.uniform(0.01, 8.0) if random.random() < 0.6 else None,
        )

    def a_requirement(self) -> Requirement:
        random = self.random
        priority = random.choice([Priority.MED, Priority.MED, Priority.LOW, Priority.HIGH, Priority.BLOCK])
        mode = random.choice([Mode.BYCORE, Mode.BYCORE, Mode.BYCORE1, Mode.BYNODE])
        most = {Mode.BYCORE: sum(self.hosts.values()), Mode.BYNODE: len(self.hosts)}.get(mode, max(self.hosts.values()))
        return Requirement(mode=mode, n=random.randint(1, max(1, min(most, 4))), priority=priority)

    def submit(self) -> None:
        """A user submits; his launcher is started where there is none, as the client does."""
        if self.server.dead:
            return
        process = self.launchers[self.random.choice(USERS)]
        foreground = self.random.random() < 0.3
        names, tasks, stems = [], [], []
        for _ in range(1 if foreground else self.random.choice([1, 1, 3])):
            name = f"j{len(self.programs)}"
            self.programs[name] = self.a_program(name)
            if foreground:
                self.foreground.add(name)
            task = Task(requirement=self.a_requirement(), command="x", name=name, foreground=foreground)
            names.append(name)
            tasks.append(task)
            stems.append(None if foreground else str(self.place / name))
        if process.dead:
            process = LauncherProcess(world=self, uid=process.uid)
            process.start()
        client = SimClient(process, names)
        assert process.launcher is not None
        process.launcher.client_here(client, Hello(version=PROTOCOL))
        setting = Setting(cwd=str(self.place), umask=0o022, env={})
        process.launcher.submitted(client, Sub(tasks=tasks, stems=stems, setting=setting))
        self.note(f"user {process.uid} submits {' '.join(names)}{' in the foreground' if foreground else ''}")
        if foreground and self.random.random() < 0.3:
            self.loop.call_later(self.random.uniform(0.0, 10.0), self.interrupt, client)

    def interrupt(self, client: SimClient) -> None:
        """Ctrl-C, or kill -9 of the client."""
        if client.left or client.process.dead:
            return
        self.note(f"the client of {client.names[0]} goes")
        for promise in self.promises.values():
            promise.wanted_gone = promise.wanted_gone or promise.name == client.names[0]
        if self.random.random() < 0.5:
            assert client.process.launcher is not None
            client.process.launcher.cancel(client, 2.0)
        client.leave()

    def tell_server(self, uid: int, **word: object) -> None:
        """A word of a client, on a connection of its own."""
        if not self.server.dead:
            wire = Connection(self, uid)
            wire.to_server(encode({"type": "hello", "version": PROTOCOL}))
            wire.to_server(encode(word))
            self.loop.call_later(60.0, wire.end_for_server)

    def remove(self) -> None:
        if self.promises:
            promise = self.random.choice(list(self.promises.values()))
            promise.wanted_gone = True
            self.note(f"rm {promise.id}")
            ids = [[int(promise.id), int(promise.id)]]
            self.tell_server(ME, type="remove", ids=ids, grace_s=self.random.choice([0.0, 1.0, 5.0]))

    def fault(self) -> None:
        """Something goes wrong, or somebody does something."""
        random = self.random
        faults: list[tuple[int, Callable[[], None]]] = [
            (3, self.kill_server),
            (3, self.kill_launcher),
            (3, self.cut_connection),
            (4, self.cut_link),
            (2, self.lose_sight),
            (1, self.reboot),
            (1, self.burn),
            (1, self.fill_disk),
            (3, self.remove),
            (1, self.mark_node),
            (1, self.edit_cluster),
            (1, lambda: self.tell_server(random.choice([ME, *USERS]), type="refresh")),
        ]
        (what,) = random.choices([call for _, call in faults], [weight for weight, _ in faults])
        what()

    def kill_server(self) -> None:
        if not self.server.dead:
            how = self.random.choice(["now", "before", "after", "after"])
            self.note(f"the server is to be killed: {how}")
            if how == "now":
                self.server.kill()
            else:
                self.server.doom = how
            self.loop.call_later(self.random.uniform(0.0, 5.0), self.revive_server)

    def revive_server(self) -> None:
        self.server.doom = ""
        if self.server.dead:
            self.note("the server starts")
            ServerProcess(world=self).start()

    def kill_launcher(self) -> None:
        process = self.launchers[self.random.choice(USERS)]
        if not process.dead:
            how = self.random.choice(["now", "before", "after", "after"])
            self.note(f"launcher {process.uid} is to be killed: {how}")
            if how == "now":
                process.kill()
            else:
                process.doom = how
            self.loop.call_later(self.random.uniform(0.0, 5.0), self.revive_launcher, process.uid)

    def revive_launcher(self, uid: int) -> None:
        self.launchers[uid].doom = ""
        if self.launchers[uid].dead and (self.place / str(uid)).exists():
            self.note(f"launcher {uid} starts")
            LauncherProcess(world=self, uid=uid).start()

    def cut_connection(self) -> None:
        wires = [process.wire for process in self.launchers.values() if process.wire is not None and not process.dead]
        if wires:
            self.note("a connection to the server is cut")
            self.random.choice(wires).cut()

    def cut_link(self) -> None:
        links = [link for link in self.links if link.up and not (link.lost or link.over)]
        if links:
            link = self.random.choice(links)
            self.note(f"the link of {link.process.uid} to {link.host} is cut")
            link.cut()

    def lose_sight(self) -> None:
        host = self.random.choice(list(self.hosts))
        self.note(f"{host} cannot be reached")
        self.unreachable.add(host)
        for link in self.links:
            if link.host == host:
                link.cut()
        self.loop.call_later(self.random.uniform(0.1, 15.0), self.unreachable.discard, host)

    def reboot(self) -> None:
        host = self.random.choice(list(self.hosts))
        self.note(f"{host} is rebooted")
        self.reboot_host(host)

    def reboot_host(self, host: str) -> None:
        for link in self.links:
            if link.host == host:
                link.cut()
        self.reboots += 1
        for (_, name), shepherd in self.shepherds.items():
            if name == host:
                shepherd.reboot()

    def burn(self) -> None:
        """A node is gone for good, and with it what ran there, says the owner. (Another one gets its name.)"""
        host = self.random.choice(list(self.hosts))
        if any(held == host and "/" not in att and self.is_wide(att) for held, att in self.running):
            return  # what it has on other nodes would be given up without evidence
        self.note(f"{host} burns down")
        self.reboot_host(host)
        for (_, name), shepherd in self.shepherds.items():
            if name == host:
                self.forgotten.update(shepherd.attempts)
                shepherd.attempts = {}
        self.unreachable.add(host)
        self.loop.call_later(self.random.uniform(12.0, 60.0), self.unreachable.discard, host)
        self.loop.call_later(self.random.uniform(0.0, 5.0), self.declare_lost, host)

    def is_wide(self, att: str) -> bool:
        """Does the attempt have remote processes on other nodes."""
        return any(other.startswith(f"{att}/") for _, other in self.running)

    def declare_lost(self, host: str) -> None:
        server = self.server.server
        if server is not None and not self.server.dead:
            on_it = [job for job in server.queue.active.values() if job.allocation and host in job.allocation.hosts]
            running = {JobId(int(att.split(".")[0])) for _, att in self.running}
            if not running & {job.id for job in on_it}:
                self.note(f"{host} is declared lost, with {[int(job.id) for job in on_it]}")
                self.declared_lost.update(job.id for job in on_it)
                self.tell_server(ME, type="node", hosts=[host], state="lost")
        self.loop.call_later(20.0, lambda: self.tell_server(ME, type="node", hosts=[host], state="online"))

    def fill_disk(self) -> None:
        self.note("the disk is full")
        self.disk_full = True
        self.loop.call_later(self.random.uniform(0.1, 10.0), self.clear_disk)

    def clear_disk(self) -> None:
        self.note("there is room again")
        self.disk_full = False

    def mark_node(self) -> None:
        host, state = self.random.choice(list(self.hosts)), self.random.choice(["offline", "drain", "online"])
        self.note(f"{host} is taken {state}")
        self.tell_server(ME, type="node", hosts=[host], state=state)
        self.loop.call_later(20.0, lambda: self.tell_server(ME, type="node", hosts=[host], state="online"))

    def edit_cluster(self) -> None:
        kept = self.random.choice(list(self.hosts))
        left = {host: ncores for host, ncores in self.hosts.items() if host == kept or self.random.random() < 0.5}
        self.note(f"the cluster is now {' '.join(left)}")
        self.write_cluster(left)
        self.tell_server(ME, type="refresh")
        self.loop.call_later(self.random.uniform(1.0, 30.0), self.mend_cluster)

    def mend_cluster(self) -> None:
        self.write_cluster(self.hosts)
        self.tell_server(ME, type="refresh")

    # from the beginning to the end

    async def live(self) -> None:
        """The whole life of a world. Raises Broken, or whatever bug came up."""
        self.loop.set_exception_handler(self.bug)
        self.server.start()
        for _ in range(self.random.randint(3, 12)):
            self.loop.call_later(self.random.uniform(0.0, FAULTS_S * 0.8), self.submit)
        for _ in range(self.random.choice([0, 3, 10, 30])):
            self.loop.call_later(self.random.uniform(0.5, FAULTS_S), self.fault)
        await self.watch(FAULTS_S)
        self.note("calm")
        await self.watch(30.0)
        self.unreachable = set()
        self.revive_server()
        self.mend_cluster()
        for host in self.hosts:
            self.tell_server(ME, type="node", hosts=[host], state="online")
        for uid in USERS:
            self.revive_launcher(uid)
        waited_s = 0.0
        while self.unfinished() and waited_s < PATIENCE_S:
            await self.watch(20.0)
            waited_s += 20.0
        left = self.unfinished()
        if left:
            raise Broken("never came to an end: " + "; ".join(left))
        self.check_ends()

    async def bury(self) -> None:
        """Nothing of it stays behind."""
        self.server.kill()
        for process in self.launchers.values():
            process.kill()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def watch(self, seconds: float) -> None:
        until_s = self.loop.time() + seconds
        while self.loop.time() < until_s:
            await asyncio.sleep(1.0)
            if self.trouble is not None:
                raise self.trouble

    def unfinished(self) -> list[str]:
        """What somebody still holds."""
        server = self.server.server
        assert server is not None
        queue = server.queue
        live = [*queue.active.values(), *queue.queued.values(), *queue.held.values()]
        left = [f"job {job.id} is {job.state} on the server (attempt {job.attempt})" for job in live]
        for process in self.launchers.values():
            if process.launcher is not None and not process.dead:
                for entry in process.launcher.ledger.entries.values():
                    left.append(f"launcher {process.uid} has {entry.id} {entry.phase} attempt {entry.attempt}")
        for (uid, host), shepherd in self.shepherds.items():
            known = [a for a in shepherd.attempts.values() if "/" not in a.att or a.state != "ended"]
            left += [f"{host} knows {a.att} {a.state} of {uid}" for a in known]  # (ends of ranks have an age limit)
        left += [f"{att} runs on {host}" for host, att in self.running]
        return left

    def check_ends(self) -> None:
        """Every job that was accepted is done, once, and its outcome is the truth."""
        server = self.server.server
        assert server is not None
        done = {job.id: job for job in server.store.finished(ids=None)}
        for promise in self.promises.values():
            job = done.get(promise.id)
            if job is None:
                raise Broken(f"job {promise.id} was accepted and is lost")
            self.check_end(promise, job)
        for job in done.values():
            ran = [att for att in self.began_once if att.startswith(f"{job.id}.")]
            if job.spec.name in self.refused and job.id not in self.promises and ran:
                raise Broken(f"the client of {job.spec.name} was told that nothing was kept, and it ran: {ran}")
        ends = server.store.db.execute("SELECT job, count(*) FROM events WHERE kind = 'Ended' GROUP BY job").fetchall()
        if any(count != 1 for _, count in ends):
            raise Broken(f"ended more than once: {ends}")

    def check_end(self, promise: Promise, job: Job) -> None:
        program = self.programs[promise.name]
        atts = {att: end for att, end in self.ends.items() if att.startswith(f"{job.id}.")}
        whole = [att for att, end in atts.items() if "exit" in end and att not in self.forgotten]
        if len(whole) > 1 and job.id not in self.declared_lost:  # (the owner's word may overtake a true end)
            raise Broken(f"job {job.id} ran to its end more than once: {whole}")
        assert job.state is State.DONE
        assert job.outcome is not None
        kind = job.outcome.kind
        if kind is OutcomeKind.EXITED:
            true = [att for att, end in atts.items() if end == {"exit": job.outcome.exit_status}]
            if not true or not set(whole) <= set(true):
                raise Broken(f"job {job.id}: the outcome is {job.outcome}, the truth {atts}")
            if not promise.foreground and not set(true) & self.forgotten:
                self.check_output(promise, program, true[0])
        elif kind is OutcomeKind.LOST:
            why = job.outcome.message or ""
            true_loss = any("lost" in end for end in atts.values()) or "declared its node lost" in why
            if not true_loss and not (self.reboots and "rebooted" in why):  # (its start may not have reached the node)
                raise Broken(f"job {job.id} is lost ({job.outcome.message}), the truth is {atts}")
        elif kind is OutcomeKind.REMOVED:
            if not promise.wanted_gone and not promise.foreground:
                raise Broken(f"job {job.id} was removed by nobody: {job.outcome}")
        elif kind is OutcomeKind.SIGNALLED:
            if not (promise.wanted_gone or promise.foreground):
                raise Broken(f"job {job.id} was ended by nobody: {job.outcome}")
        else:
            raise Broken(f"job {job.id}: {job.outcome}")

    def check_output(self, promise: Promise, program: Program, att: str) -> None:
        """The output of the attempt that counts is on the submitting host, all of it."""
        assert promise.output is not None
        number = att.split(".")[1]
        renamed = f"{promise.output.removesuffix('.wqlog')}.{number}.wqlog"
        found = [Path(path).read_bytes() for path in (promise.output, renamed) if Path(path).exists()]
        if program.output(att, 1) not in found:
            raise Broken(f"the output of {att} is not what it wrote: {[len(text) for text in found]} bytes")


class PlacesShim:
    """What the session asks of the file system."""

    PlaceError = places.PlaceError

    @staticmethod
    def check_meeting_dir(uid: int, port: int) -> None:
        pass

    @staticmethod
    def peer_uid(sock: object) -> int:
        return ME


class TimeShim:
    """The server's clocks."""

    CLOCK_BOOTTIME = 7

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop

    def time(self) -> float:
        return WALL_S + self.loop.time()

    def monotonic(self) -> float:
        return self.loop.time()

    def clock_gettime(self, clock: int) -> float:
        return self.loop.time()


def play(seed: int, place: Path, patch: pytest.MonkeyPatch) -> World:
    """One world, from its beginning to its end. Raises what went wrong, with the story so far in its notes."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    world = World(seed=seed, place=place, loop=loop)
    SimLink.world = world
    tokens = Random(seed)
    time = TimeShim(loop)

    async def connect(path: str) -> tuple[asyncio.StreamReader, LaunchersEnd]:
        await asyncio.sleep(world.latency_s())
        process = world.launchers[int(path.rsplit("/", 1)[1])]
        if world.server.dead or process.dead:
            raise ConnectionRefusedError("nobody is there")
        process.wire = Connection(world, process.uid)
        return process.wire.reader, process.wire.writer

    patch.setattr(asyncio, "open_unix_connection", connect)
    patch.setattr(session_module, "places", PlacesShim)
    patch.setattr(session_module, "random", Random(seed))
    patch.setattr(secrets, "token_hex", lambda n: f"{tokens.getrandbits(8 * n):0{2 * n}x}")
    patch.setattr(submissions_module, "JOBS_PER_MESSAGE", JOBS_PER_MESSAGE)
    patch.setattr(links_module, "Link", SimLink)
    patch.setattr(launcher_module, "Book", CrashingBook)
    patch.setattr(connections_module, "peer_uid", lambda wire: wire.uid)
    patch.setattr(server_module, "time", time)
    patch.setattr(server_module, "clock", lambda: Now(wall_s=time.time(), boot_s=loop.time()))
    Peer.counts.clear()
    try:
        loop.run_until_complete(world.live())
    except BaseException as error:
        error.add_note(f"seed {seed}; what happened:\n" + "\n".join(world.story[-200:]))
        raise
    finally:
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(world.bury())
        loop.close()
        asyncio.set_event_loop(None)
    return world


def messages_in(data: bytes) -> list[object]:
    """For a look at what went over a wire."""
    return [decode_frame(body) for body in Frames().feed(data)]
