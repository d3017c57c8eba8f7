"""Server, launchers and clients as processes: each lives once, dies at any moment, and starts from what is stored.

They are the real ones; their databases die with them when they are told to, and have full or failing disks.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tests.sim.wires import Connection, Ssh
from wq.core import lifecycle
from wq.core.job import HostName, Job, JobId, State
from wq.core.lifecycle import Submitted, advance
from wq.core.queue import Draft
from wq.launcher.clients import Client, Hello, Sub
from wq.launcher.launcher import Launcher
from wq.launcher.launcher import Settings as LauncherSettings
from wq.launcher.link import surface
from wq.server.server import Server
from wq.server.server import Settings as ServerSettings
from wq.store.database import Database, DiskFailed, NoRoom
from wq.store.store import Store

if TYPE_CHECKING:
    from tests.sim.world import World

ME = os.getuid()
JOBS_PER_MESSAGE = 2
ROWS = "SELECT id, job FROM jobs"
EVENTS = "SELECT at_s, job, kind, event FROM events WHERE job IS NOT NULL ORDER BY seq"
RESERVE = 5


class Killed(Exception):
    """kill -9, just before or just after a commit."""


class Broken(AssertionError):
    """A promise is broken."""


@dataclass(kw_only=True)
class Mortal:
    """Something that lives once. doom: it is killed at that side of its next commit; failing: its next sync fails."""

    world: World
    dead: bool = True
    doom: str = ""
    failing: str = ""
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def name(self) -> str:
        raise NotImplementedError

    def kill(self) -> None:
        raise NotImplementedError

    def reached(self, side: str) -> None:
        """It comes to one side of a commit."""
        if self.dead:
            raise Killed
        if self.failing == side:
            self.failing = ""
            self.world.note(f"the disk of {self.name} fails {side} a commit")
            raise DiskFailed("disk I/O error")
        if self.doom == side:
            self.doom = ""
            self.world.note(f"{self.name} dies {side} a commit")
            self.kill()
            raise Killed


OWNER: contextvars.ContextVar[Mortal] = contextvars.ContextVar("OWNER")


class SimDatabase(Database):
    """A database on a disk of ours, which may be full. Its process dies when it is told to."""

    def __init__(self, path: Path, steps: Sequence[str]) -> None:
        self.process = OWNER.get()
        self.disk = self.process.world.disks[self.process.name]
        if self.disk.full and not path.exists():
            raise OSError("there is no room for a new one")
        super().__init__(path, steps)
        # The disk outlives every process here, and nobody else looks at it.
        self.db.executescript("PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;")

    def transact(self, body: Callable[[], None]) -> None:
        self.process.reached("before")
        if self.disk.full and not self.disk.room:
            raise NoRoom("No space left on device")
        self.disk.room = max(0, self.disk.room - 1)
        super().transact(body)
        self.process.reached("after")

    @property
    def has_reserve(self) -> bool:
        return self.disk.reserve > 0

    def use_reserve(self) -> None:
        self.disk.room, self.disk.reserve = self.disk.reserve, 0

    def keep_reserve(self) -> bool:
        if not self.disk.full:
            self.disk.reserve = RESERVE
        return self.disk.reserve > 0


@dataclass(kw_only=True)
class HeadDisk:
    """The disk of a database. room, reserve: for so many commits, while it is full."""

    full: bool = False
    room: int = 0
    reserve: int = RESERVE


# --- the server


class FollowedStore(Store):
    """What it commits is followed: the rows must always be what the events add up to."""

    def write(self, draft: Draft) -> None:
        super().write(draft)
        OWNER.get().world.follow(draft)


@dataclass(kw_only=True)
class ServerProcess(Mortal):
    server: Server | None = None
    task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return "the server"

    def start(self) -> None:
        self.context.run(OWNER.set, self)
        self.context.run(self.begin)

    def begin(self) -> None:
        """As wq.server.server.serve, without sockets."""
        world = self.world
        spool = world.place / "spool"
        store = FollowedStore(spool)
        settings = ServerSettings(port=1, cluster=world.place / "cluster", spool=spool, look=False)
        self.server = server = Server(settings, store, world.note)
        self.dead = False
        world.server = self
        try:
            world.shadow.read(store)
        except Broken as broken:
            world.failed(broken)
        store.load(server.queue)
        server.queue.absent = {job.spec.uid: world.wall_s for job in server.queue.active.values()}
        marked = store.marked_nodes()
        server.queue.nodes = tuple(marked.get(node.host, node) for node in server.cluster_nodes())
        server.read_cluster()
        self.task = world.loop.create_task(self.run(server))
        self.task.add_done_callback(surface)

    async def run(self, server: Server) -> None:
        wake_s: float | None = None
        while True:
            await server.wait(wake_s)
            try:
                wake_s = server.turn()
            except Killed:
                return
            except DiskFailed:
                self.kill()
                self.world.later(self.world.random.uniform(0.0, 5.0), self.world.acts.revive_server)
                return
            self.world.check_books()
            if server.stopping:
                self.kill()
                return

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
class Shadow:
    """The jobs as the events add up, followed from commit to commit and read again from the disk at each start."""

    jobs: dict[JobId, Job] = field(default_factory=dict)

    def read(self, store: Store) -> None:
        """Replay the events on disk. Of a submission, the job's row has the spec; it never changes."""
        rows = {JobId(number): msgspec.json.decode(text, type=Job) for number, text in store.db.execute(ROWS)}
        self.jobs = {}
        for at_s, number, kind, body in store.db.execute(EVENTS):
            job = JobId(number)
            if kind == "Submitted":
                self.jobs[job] = Job(id=job, spec=rows[job].spec, state=State.QUEUED, submitted_s=at_s)
            else:
                self.jobs[job] = advance(self.jobs[job], msgspec.json.decode(body, type=getattr(lifecycle, kind)))
        if self.jobs != rows:
            wrong = [job for job in rows if rows[job] != self.jobs.get(job)]
            raise Broken(f"the events do not add up to the rows of {wrong}")

    def follow(self, draft: Draft) -> None:
        """After a commit: its events, applied to what was there, give the rows that it has written."""
        for event in draft.events:
            if isinstance(event, Submitted):
                self.jobs[event.job.id] = event.job
            elif (job := getattr(event, "id", None)) is not None:
                self.jobs[job] = advance(self.jobs[job], event)  # type: ignore[arg-type]
        for job in draft.changed:
            if draft.changed[job] != self.jobs[job]:
                raise Broken(f"the row of job {job} is {draft.changed[job]}, its events add up to {self.jobs[job]}")


# --- a launcher


@dataclass(kw_only=True)
class LauncherProcess(Mortal):
    uid: int
    launcher: Launcher | None = None
    wire: Connection | None = None

    @property
    def name(self) -> str:
        return f"launcher {self.uid}"

    def start(self) -> None:
        self.world.launchers[self.uid] = self
        self.context.run(OWNER.set, self)
        self.context.run(self.begin)

    def begin(self) -> None:
        world = self.world
        state = world.place / str(self.uid)
        state.mkdir(exist_ok=True)
        settings = LauncherSettings(port=1, server_uid=ME, private=False, state=state, user=str(self.uid))
        self.launcher = launcher = Launcher(settings, world.note)
        launcher.session.path = f"/wq-0-1/{self.uid}"
        self.dead = False
        world.loop.create_task(launcher.session.run()).add_done_callback(surface)

    def hear(self, client: SimClient, hello: Hello, sub: Sub) -> None:
        """A client connects, and submits."""
        assert self.launcher is not None
        self.context.run(self.launcher.client_here, client, hello)
        self.context.run(self.launcher.submitted, client, sub)

    def visit(self, hosts: list[str]) -> None:
        """Connect to these nodes."""
        if self.launcher is not None and not self.dead:
            for host in hosts:
                self.context.run(self.launcher.links.need, HostName(host))

    def kill(self) -> None:
        """What it has written is on its way; it never knows what came after."""
        if self.dead or self.launcher is None:
            return
        self.world.note(f"launcher {self.uid} killed")
        self.dead = True
        if self.wire is not None:
            self.wire.lost[1] = True
            self.wire.end_for_server()
        for session in [session for session in self.world.sessions if session.process is self]:
            session.no_more_input()
            session.exit(-1)
        for task in list(self.tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self.launcher.session.writer = None
        for timer in self.launcher.links.waits.values():
            timer.cancel()
        if self.launcher.idle_timer is not None:
            self.launcher.idle_timer.cancel()
        if self.launcher.book is not None:
            self.launcher.book.db.close()
        for client in list(self.launcher.clients):
            if isinstance(client, SimClient):
                client.launcher_died()


def task_of(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
    """The loop's task factory: each task is known to the process that it is part of."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **more)
    owner = OWNER.get(None)
    if owner is not None:
        owner.tasks.add(task)
        task.add_done_callback(owner.tasks.discard)
    return task


async def start_ssh(*argv: str, **more: object) -> Ssh:
    """In place of asyncio.create_subprocess_exec."""
    process = OWNER.get()
    assert isinstance(process, LauncherProcess)
    if process.dead:
        raise OSError("it is dead")
    return Ssh(process.world, process, argv[argv.index("--") + 1])


class SimClient(Client):
    """A command of a user, as its launcher sees it. again: an earlier launcher died before it answered the same."""

    def __init__(self, process: LauncherProcess, names: list[str], *, again: bool = False) -> None:
        assert process.launcher is not None
        super().__init__(process.launcher)
        self.process, self.names, self.again = process, names, again
        self.said: list[dict[str, Any]] = []
        self.output = {1: b"", 2: b""}
        self.left = self.answered = False
        self.on_launcher_death: Callable[[], None] | None = None

    def say(self, message: dict[str, Any]) -> None:
        if self.left or self.process.dead:
            return
        self.said.append(message)
        world = self.process.world
        if "ok" in message:
            self.answered = True
            jobs = message["ok"]["jobs"]
            if len(jobs) != len(self.names) and not self.again:
                world.failed(Broken(f"{len(self.names)} jobs were submitted, the answer has {len(jobs)}"))
            for job in jobs:
                world.printed(job["name"], job["id"], job["output"])
        if message.get("type") == "ended":
            world.told_end(self, message["outcome"])
            self.leave()
        elif "error" in message:
            # Of a larger one, the first jobs may have run before it failed; of one sent again, those of the first time.
            if len(self.names) <= JOBS_PER_MESSAGE and not self.again:
                world.refused.update(self.names)
            self.leave()

    def send_chunk(self, channel: int, payload: bytes) -> None:
        self.output[channel] += payload

    def cancel(self, grace_s: float) -> None:
        assert self.process.launcher is not None
        with contextlib.suppress(Killed):
            self.process.context.run(self.process.launcher.cancel, self, grace_s)

    def leave(self) -> None:
        """It goes, or is killed."""
        if not self.left:
            self.left = True
            self.process.world.loop.call_soon(self.gone_now)

    def gone_now(self) -> None:
        self.gone = True
        if not self.process.dead:
            with contextlib.suppress(Killed):
                self.process.context.run(self.house.client_left, self)

    def launcher_died(self) -> None:
        if not self.left and not self.answered and self.on_launcher_death is not None:
            self.on_launcher_death()
        self.left = True
