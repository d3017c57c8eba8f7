"""Server, launchers and clients as processes: each lives once, dies at any moment, and starts from what is stored.

They are the real ones; their databases die with them when they are told to, and have full or failing disks.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from tests.sim.wires import Connection, Ssh
from wq.core import lifecycle, ranges
from wq.core.array import Array
from wq.core.job import AttemptNo, HostName, Job, JobId, Key, OutcomeKind, State, Waits
from wq.core.lifecycle import TABLE, Ended, Granted, Submitted, advance
from wq.core.queue import (
    ArrayEnded,
    ArrayHeld,
    ArraySubmitted,
    ArrayTimeSet,
    AtMostSet,
    Draft,
    Edited,
    Event,
    LimitSet,
    NodeMarked,
    TasksFreed,
    TasksRemoved,
    Topped,
    TurnSet,
)
from wq.core.ranges import Ranges
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
ROWS = "SELECT job FROM jobs"
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
        server.queue.absent = {lane.uid: world.wall_s for lane in server.queue.lanes.values()}
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

    jobs: dict[Key, Job] = field(default_factory=dict)
    arrays: dict[JobId, Array] = field(default_factory=dict)

    def read(self, store: Store) -> None:
        """Replay the events on disk. Of a submission, the row has the spec; it never changes.

        Those of tasks are kept as their kinds alone, a row for all of a tick: what is not in them, rows must say.
        """
        stored = [msgspec.json.decode(text, type=Job) for (text,) in store.db.execute(ROWS)]
        rows: dict[Key, Job] = {job.id: job for job in store.granted(stored)}
        arrays = {array.id: array for array in store.arrays("1", ())}
        history: dict[JobId, list[tuple[float, str, Any]]] = {}
        before, self.jobs = self.jobs, {}
        for at_s, number, kind, body in store.db.execute(EVENTS):
            job = JobId(number)
            if job in arrays:
                history.setdefault(job, []).append((at_s, kind, msgspec.json.decode(body)))
            elif kind == "Submitted":
                waits = msgspec.convert(msgspec.json.decode(body).get("waits"), Waits | None)
                state = State.QUEUED if waits is None else State.HELD
                self.jobs[job] = Job(id=job, spec=rows[job].spec, state=state, submitted_s=at_s, waits=waits)
            elif kind == "Edited":
                self.jobs[job] = replace(self.jobs[job], spec=msgspec.json.decode(body, type=Edited).spec)
            elif kind != "Topped":
                self.jobs[job] = advance(self.jobs[job], msgspec.json.decode(body, type=getattr(lifecycle, kind)))
        for key, row in rows.items():
            self.jobs[key] = replace(self.jobs[key], turn=row.turn)  # of turns there is no trail
        if self.jobs != rows:
            wrong = [job for job in rows if rows[job] != self.jobs.get(job)]
            raise Broken(f"the events do not add up to the rows of {wrong}")
        for array in arrays.values():
            tasks = [*store.tasks_of(array, "state = 'done'"), *store.live_tasks(array)]
            read_array(array, tasks, history.get(array.id, []))
            self.jobs.update((task.key, task) for task in tasks)
            for task in tasks:  # (what an array is, its tasks are, also those that were granted before it was edited)
                known = replace(before[task.key], spec=array.spec) if task.key in before else None
                if task != known:
                    raise Broken(f"the row of task {task.key} is {task}, written was {known}")
        self.arrays = arrays

    def follow(self, draft: Draft) -> None:
        """After a commit: its events, applied to what was there, give the rows that it has written."""
        for event in draft.events:
            self.apply(event, draft.now.wall_s)
        for key, job in draft.changed.items():
            if job != self.jobs[key]:
                raise Broken(f"the row of job {key} is {job}, its events add up to {self.jobs[key]}")
        for number, array in draft.changed_arrays.items():
            if array != self.arrays[number]:
                raise Broken(f"the row of array {number} is {array}, its events add up to {self.arrays[number]}")
            self.check_whole(array)

    def apply(self, event: Event, now_s: float) -> None:
        match event:
            case LimitSet() | NodeMarked() | Topped():
                pass
            case TurnSet():
                if event.id in self.arrays:
                    self.arrays[event.id] = replace(self.arrays[event.id], turn=event.turn)
                else:
                    self.jobs[event.id] = replace(self.jobs[event.id], turn=event.turn)
            case ArraySubmitted():
                self.arrays[event.array.id] = event.array
            case TasksRemoved():
                self.arrays[event.id] = self.arrays[event.id].remove(event.places, event.by)
            case AtMostSet():
                self.arrays[event.id] = replace(self.arrays[event.id], at_most=event.at_most)
            case ArrayTimeSet():
                self.arrays[event.id] = replace(self.arrays[event.id], time_s=event.time_s)
            case ArrayEnded():
                self.arrays[event.id] = replace(self.arrays[event.id], ended_s=event.at_s)
            case ArrayHeld():
                self.arrays[event.id] = replace(self.arrays[event.id], waits=event.waits)
            case TasksFreed():
                self.arrays[event.id] = self.arrays[event.id].free(event.places)
            case Edited():
                if event.id in self.arrays:
                    self.arrays[event.id] = replace(self.arrays[event.id], spec=event.spec)
                else:
                    self.jobs[event.id] = replace(self.jobs[event.id], spec=event.spec)
            case Submitted():
                self.jobs[event.job.key] = event.job
            case _:
                key: Key = event.id if event.task is None else (event.id, event.task)
                if isinstance(event, Granted) and key not in self.jobs:
                    self.arrays[event.id], (self.jobs[key],) = self.arrays[event.id].split_off(1, now_s)
                self.jobs[key] = advance(self.jobs[key], event)
                if isinstance(event, Ended) and event.task is not None:
                    array = self.arrays[event.id]
                    self.arrays[event.id] = replace(array, live=array.live - 1, failed=array.failed + failed(event))

    def check_whole(self, array: Array) -> None:
        """Each task waits, is removed, live or over."""
        tasks = [job for job in self.jobs.values() if job.id == array.id]
        nover = sum(task.state is State.DONE for task in tasks)
        if array.live != len(tasks) - nover:
            raise Broken(f"array {array.id} has {array.live} live tasks, {tasks}")
        parts = [*map(ranges.count, (array.waiting, array.blocked, array.removed)), len(tasks)]
        granted = ranges.of(place for task in tasks for place in places_of(array, task))
        whole = ranges.union(ranges.union(array.unstarted, array.removed), granted)
        if sum(parts) != array.size or whole != ((0, array.size - 1),):
            raise Broken(f"tasks of array {array.id} are lost, or more than one thing: {array}")


def places_of(array: Array, task: Job) -> Iterable[int]:
    assert task.task is not None
    return ranges.numbers(array.tasks.places(task.task, task.task))


def failed(event: Ended) -> bool:
    return event.outcome.kind is not OutcomeKind.EXITED or event.outcome.exit_status != 0


def read_array(array: Array, tasks: list[Job], history: list[tuple[float, str, Any]]) -> None:
    """Are the rows of an array and its tasks what its events say? history: (at_s, kind, what was stored)."""
    found = Array(
        id=array.id,
        spec=array.spec,
        submitted_s=history[0][0],
        waiting=((0, array.size - 1),),
        at_most=array.tasks.at_most,
    )
    kinds: dict[int, list[tuple[float, str]]] = {}
    for at_s, kind, body in history:
        if kind == "TasksRemoved":
            found = found.remove(as_ranges(body["places"]), body["by"])
        elif kind == "AtMostSet":
            found = replace(found, at_most=body["at_most"])
        elif kind == "ArrayTimeSet":
            found = replace(found, time_s=body["time_s"])
        elif kind == "ArrayEnded":
            found = replace(found, ended_s=at_s)
        elif kind == "ArrayHeld":
            found = replace(found, waits=msgspec.convert(body["waits"], Waits | None))
        elif kind == "TasksFreed":
            found = found.free(as_ranges(body["places"]))
        elif kind == "ArraySubmitted":
            first = {name: as_ranges(body.get(name, [])) for name in ("blocked", "removed")}
            waiting = ranges.minus(ranges.minus(found.waiting, first["blocked"]), first["removed"])
            waits = msgspec.convert(body.get("waits"), Waits | None)
            found = replace(found, waiting=waiting, waits=waits, removed_by=body.get("removed_by", ""), **first)
        elif kind not in ("Edited", "Topped"):
            for number in ranges.numbers(as_ranges(body["tasks"])):
                if number not in kinds:
                    place = next(place for place, _ in array.tasks.places(number, number))
                    waiting = ranges.without(found.waiting, place, place)
                    started_s = found.started_s if found.started_s is not None else at_s
                    found = replace(found, waiting=waiting, started_s=started_s)
                kinds.setdefault(number, []).append((at_s, kind))
    for task in tasks:
        assert task.task is not None
        check_task(task, kinds.pop(task.task, []))
    if kinds:
        raise Broken(f"there are events of tasks without a row: {array.id} {kinds}")
    over = [task.outcome for task in tasks if task.outcome is not None]
    bad = sum(outcome.kind is not OutcomeKind.EXITED or outcome.exit_status != 0 for outcome in over)
    found = replace(found, live=len(tasks) - len(over), failed=bad, turn=array.turn)
    if found != array:
        raise Broken(f"the row of array {array.id} is {array}, its events add up to {found}")


def as_ranges(pairs: list[list[int]]) -> Ranges:
    return tuple((first, last) for first, last in pairs)


def check_task(task: Job, history: list[tuple[float, str]]) -> None:
    """Do these kinds of events lead to the state of the row? Those of one tick are not in order."""
    state = State.QUEUED
    for _, some in groupby(history, key=lambda one: one[0]):
        kinds = [kind for _, kind in some]
        after = next((end for end in (moved(state, order) for order in permutations(kinds)) if end is not None), None)
        if after is None:
            raise Broken(f"the events of {task.key} are {history}")
        state = after
    ngrants = AttemptNo(sum(kind == "Granted" for _, kind in history))
    if (state, ngrants) != (task.state, task.attempt):
        raise Broken(f"the row of task {task.key} is {task}, its events are {history}")


def moved(state: State, kinds: Sequence[str]) -> State | None:
    """Where these events lead; None if one of them does not fit."""
    for kind in kinds:
        to = TABLE[state].get(getattr(lifecycle, kind))
        if to is None:
            return None
        state = to
    return state


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
