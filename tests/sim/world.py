"""A whole queue on virtual time: the real server, store, launchers, ledgers and shepherds, from one seed.

Wires, kernels, disks and clocks are ours. Messages take their time, in order; a connection may break or be deaf on one
side. Server, launchers, keepers and shepherds are killed at any moment, also between a write and what follows from it,
and start again from what was stored. Disks are full or fail, nodes are out of reach or are rebooted, clocks jump.

After each step: no core has two jobs, here or in the queue's books; no attempt starts twice; no job has two attempts
at once; the rows are what the events add up to. When the faults stop, every job that was accepted comes to its one
true end, its output is whole, and nothing is left of it or held by anybody.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.sim import truth
from tests.sim.acts import FAULTS_S, Acts, drawn
from tests.sim.loop import VirtualLoop
from tests.sim.node import Node
from tests.sim.processes import (
    JOBS_PER_MESSAGE,
    ME,
    OWNER,
    Broken,
    HeadDisk,
    Killed,
    LauncherProcess,
    Mortal,
    ServerProcess,
    Shadow,
    SimClient,
    SimDatabase,
    start_ssh,
    task_of,
)
from tests.sim.programs import Program, Word
from tests.sim.wires import Connection, LaunchersEnd, Mail, NoRealProcesses, Ssh
from wq.backends import ssh as ssh_module
from wq.core.job import JobId, Key
from wq.core.line import Place, Waiting, place_of
from wq.core.queue import Draft, Now, Queue
from wq.launcher import book as book_module
from wq.launcher import link as link_module
from wq.launcher import links as links_module
from wq.launcher import session as session_module
from wq.launcher import submissions as submissions_module
from wq.launcher.launcher import LedgerTrouble
from wq.launcher.link import Link
from wq.launcher.streams import FileSink
from wq.protocol import places
from wq.protocol.wire import PROTOCOL, encode
from wq.server import connections as connections_module
from wq.server import server as server_module
from wq.server.connections import Peer
from wq.store import store as store_module
from wq.store.database import DiskFailed

USERS = (1000, 1001)
PATIENCE_S = 4000.0  # of virtual time, after the faults
AGE_LIMIT_S = 31 * 86400.0
WALL_S = 1.7e9
PING_EVERY_S = 15.0  # (pings would be most of what goes on in these worlds)


@dataclass(kw_only=True)
class Promise:
    """A job whose id a user has seen. tasks: of an array."""

    name: str
    id: JobId
    output: str | None
    foreground: bool
    tasks: list[int] = field(default_factory=list)


@dataclass(kw_only=True)
class World:
    """Everything, from one seed. without: the numbers of acts that are left out."""

    seed: int
    place: Path
    loop: VirtualLoop
    without: frozenset[int] = frozenset()
    random: Random = field(init=False)
    wall_s: float = WALL_S
    hosts: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    crowded: bool = False
    disks: dict[str, HeadDisk] = field(default_factory=dict)
    connections: list[Connection] = field(default_factory=list)
    sessions: list[Ssh] = field(default_factory=list)
    clients_of_ssh: list[Ssh] = field(default_factory=list)
    clients: list[SimClient] = field(default_factory=list)
    programs: dict[str, Program] = field(default_factory=dict)
    foreground: set[str] = field(default_factory=set)
    arrays: dict[str, list[int]] = field(default_factory=dict)  # the numbers of their tasks, by name
    promises: dict[JobId, Promise] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)  # accepted while the server was away
    refused: set[str] = field(default_factory=set)  # their client was told that nothing was kept
    unwanted: set[str] = field(default_factory=set)  # somebody has asked for their removal (of a task: j3_5)
    at_most_set: set[JobId] = field(default_factory=set)  # arrays whose at_most was changed
    limited: set[str] = field(default_factory=set)  # jobs that have a time limit, or had one
    old_shepherds: bool = False  # they do not know batches
    # what really ran, and what became of it
    running: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)  # (host, att) -> cores
    began_once: Counter[str] = field(default_factory=Counter)
    ends: dict[str, Word] = field(default_factory=dict)  # att of a main process -> how it ended
    where: dict[str, str] = field(default_factory=dict)  # att -> host
    unheard: set[str] = field(default_factory=set)  # attempts that ended when keeper and shepherd were dead
    forgotten: set[str] = field(default_factory=set)  # attempts whose ends went down with their node
    mute: set[str] = field(default_factory=set)  # attempts some of whose output is lost
    spoilt: set[str] = field(default_factory=set)  # hosts with a full or failing disk at some time
    declared_lost: set[Key] = field(default_factory=set)
    shadow: Shadow = field(default_factory=Shadow)
    story: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    trouble: BaseException | None = None
    troubled: asyncio.Event = field(default_factory=asyncio.Event)
    reboots: int = 0
    slow: bool = False

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.acts = Acts(self)
        self.mail = Mail(self)
        self.server = ServerProcess(world=self)
        self.launchers = {uid: LauncherProcess(world=self, uid=uid) for uid in USERS}
        self.disks = {process.name: HeadDisk() for process in (self.server, *self.launchers.values())}
        for number in range(self.random.randint(1, 3)):
            self.hosts[f"n{number}"] = self.random.choice([1, 2, 4])
        for host in self.hosts:
            self.nodes[host] = Node(self, host, Random(f"{self.seed}.{host}"))
        self.write_cluster(self.hosts)
        self.slow = self.random.random() < 0.2
        self.old_shepherds = self.random.random() < 0.1
        self.plan = drawn(self.random)

    def note(self, text: str) -> None:
        self.story.append(f"{self.loop.time() - 1000:8.3f} {text}")

    def later(self, delay_s: float, call: Callable[[], object]) -> None:
        self.loop.call_later(delay_s, call)

    def latency_s(self) -> float:
        if self.slow and self.random.random() < 0.05:
            return self.random.uniform(0.0, 5.0)
        return self.random.choice((0.0001, 0.001, 0.02, 0.3)) * self.random.random()

    # what goes wrong in the code

    def failed(self, error: BaseException) -> None:
        if self.trouble is None:
            self.trouble = error
            self.troubled.set()

    def bug(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What comes out of a callback or a task. A launcher ends by its disk, and comes back."""
        error = self.loop.context_of(context)
        owner = process_of(context)
        if isinstance(error, DiskFailed | LedgerTrouble) and isinstance(owner, LauncherProcess):
            uid = owner.uid
            self.note(f"launcher {uid} ends by {error!r}")
            owner.kill()
            self.later(self.random.uniform(0.0, 8.0), lambda: self.acts.revive_launcher(uid))
        elif not isinstance(error, Killed):
            self.failed(error)

    # what really runs

    def program(self, name: str, task: str | None = None) -> Program:
        return self.programs[name if task is None else f"{name}_{task}"]

    def began(self, host: str, att: str, cores: tuple[int, ...]) -> None:
        self.note(f"{att} starts on {host} {cores}")
        self.began_once[att] += 1
        if self.began_once[att] > 1:
            self.failed(Broken(f"attempt {att} was started twice"))
        job, _, main = att.partition("/")[0].partition(".")
        for (other_host, other), held in self.running.items():
            other_job, _, other_main = other.partition("/")[0].partition(".")
            if other_job == job and other_main != main:
                both = f"{other} runs on {other_host}, {att} starts on {host}"
                self.failed(Broken(f"two attempts of a job at once: {both}"))
            if other_host == host and other_job != job and set(held) & set(cores):
                both = f"{other} runs on cores {held}, {att} starts on {cores}"
                self.failed(Broken(f"double booking on {host}: {both}"))
        self.running[(host, att)] = cores
        self.where[att] = host
        self.check_at_most(job)

    def check_at_most(self, name: str) -> None:
        """No more tasks of an array run than may. name: as in the names of attempts."""
        number, _, task = name.partition("_")
        array = self.shadow.arrays.get(JobId(int(number))) if task else None
        if array is None or array.tasks.at_most is None or array.id in self.at_most_set:
            return
        theirs = {att.partition(".")[0] for _, att in self.running if att.startswith(f"{number}_")}
        if len(theirs) > array.tasks.at_most:
            self.failed(Broken(f"{sorted(theirs)} run at one time, {array.tasks.at_most} may"))

    def main_over(self, host: str, att: str, end: Word) -> None:
        self.note(f"{att} has ended on {host}: {end}")
        if "/" not in att:
            self.ends[att] = end

    def all_over(self, host: str, att: str) -> None:
        """Nothing of it runs on this node any more."""
        self.running.pop((host, att), None)

    def unheard_of(self, att: str) -> None:
        self.unheard.add(att)

    def output_lost(self, att: str) -> None:
        self.mute.add(att)

    def check_books(self) -> None:
        """No core is in two lanes; lanes, arrays and the line are what the jobs say."""
        assert self.server.server is not None
        queue = self.server.server.queue
        taken: dict[tuple[str, int], str] = {}
        for name, lane in queue.lanes.items():
            for part in lane.allocation.slices:
                for core in part.cores:
                    other = taken.setdefault((part.host, core), name)
                    if other != name:
                        self.failed(Broken(f"core {core} of {part.host} was given to {other} and to {name}"))
        sizes: Counter[str] = Counter()
        live: Counter[JobId] = Counter(job.id for jobs in (queue.queued, queue.held) for job in jobs.values())
        for job in queue.active.values():
            sizes[job.runs_in] += 1
            live[job.id] += 1
            if job.runs_in not in queue.lanes or queue.lanes[job.runs_in].allocation != job.allocation:
                self.failed(Broken(f"{job.key} is not in its lane {job.runs_in}"))
        if sizes != {name: lane.size for name, lane in queue.lanes.items()}:
            self.failed(Broken(f"the lanes have {sizes}, and count {queue.lanes}"))
        if any(array.live != live[array.id] for array in queue.arrays.values()):
            self.failed(Broken(f"there are {live}, {queue.arrays}"))
        if in_line(queue) != waiting_in(queue):
            self.failed(Broken(f"in the line are {in_line(queue)}, {waiting_in(queue)} wait"))

    def follow(self, draft: Draft) -> None:
        try:
            self.shadow.follow(draft)
        except Broken as broken:
            self.failed(broken)

    # what users see

    def printed(self, name: str, number: int | None, output: str | None) -> None:
        """Its id; or none, if it is kept until the server is back."""
        if number is None:
            self.note(f"{name} is kept")
            self.kept.add(name)
            return
        job = JobId(number)
        self.note(f"{name} is job {job}")
        if job in self.promises and self.promises[job].name != name:
            self.failed(Broken(f"the id {job} was given twice: to {self.promises[job].name} and to {name}"))
        foreground, tasks = name in self.foreground, self.arrays.get(name, [])
        self.promises[job] = Promise(name=name, id=job, output=output, foreground=foreground, tasks=tasks)

    def told_end(self, client: SimClient, outcome: dict[str, Any]) -> None:
        self.note(f"the client of {client.names[0]} is told {outcome}")
        try:
            truth.check_told(self, client, outcome)
        except Broken as broken:
            self.failed(broken)

    def write_cluster(self, hosts: dict[str, int]) -> None:
        text = "".join(f"{host} {ncores} 8\n" for host, ncores in hosts.items())
        (self.place / "cluster").write_text(text, encoding="utf-8")

    def mend_cluster(self) -> None:
        self.write_cluster(self.hosts)
        self.tell_server(ME, type="refresh")

    def tell_server(self, uid: int, **word: object) -> None:
        """A word of a client, on a connection of its own."""
        if not self.server.dead:
            wire = Connection(self, uid)
            wire.to_server(encode({"type": "hello", "version": PROTOCOL}))
            wire.to_server(encode(word))
            self.loop.call_later(60.0, wire.end_for_server)

    # nodes and the head

    def is_wide(self, att: str) -> bool:
        """Does the attempt have remote processes on other nodes."""
        return any(other.startswith(f"{att}/") for _, other in self.running)

    def lose(self, host: str) -> None:
        """Nobody can reach a node."""
        self.unreachable.add(host)
        for session in self.sessions:
            if session.host == host:
                session.cut()

    def reboot(self, host: str) -> None:
        for session in self.sessions:
            if session.host == host:
                session.cut()
        self.reboots += 1
        truth.power_cut(self, self.nodes[host])
        self.mail.drop(host)
        self.nodes[host].power_cut()

    def burn(self, host: str) -> None:
        """A node goes for good, and another one gets its name: with an empty disk."""
        self.lose(host)
        self.reboot(host)
        self.forgotten.update(att for att, there in self.where.items() if there == host)
        for place in self.nodes[host].places.values():
            place.disk.files = {}

    def cut_outputs(self, process: LauncherProcess) -> None:
        """The head goes down: what it had written of outputs and not synced is not there afterwards."""
        if process.dead or process.launcher is None:
            return
        for sink in process.launcher.outputs.sinks.values():
            if isinstance(sink, FileSink):
                os.ftruncate(sink.fds[1], self.random.randint(0, sink.have[1]))

    # from the beginning to the end

    async def live(self) -> None:
        """The whole life of a world. Raises Broken, or whatever bug came up."""
        self.loop.set_exception_handler(self.bug)
        self.server.start()
        for act in self.plan:
            if act.number not in self.without:
                self.loop.call_later(act.at_s, self.acts.happen, act)
        await self.watch(FAULTS_S)
        self.note("calm")
        await self.watch(30.0)
        self.calm()
        waited_s = 0.0
        while (left := truth.unfinished(self)) and waited_s < PATIENCE_S:
            await self.watch(20.0)
            waited_s += 20.0
        if left:
            raise Broken("never came to an end: " + "; ".join(left))
        truth.check_ends(self)
        await self.leave()

    def calm(self) -> None:
        """Nothing is wrong any more."""
        self.unreachable, self.crowded = set(), False
        for disk in self.disks.values():
            disk.full = False
        for node in self.nodes.values():
            for place in node.places.values():
                place.calm()
        self.acts.revive_server()
        self.mend_cluster()
        for host in self.hosts:
            self.tell_server(ME, type="node", hosts=[host], state="online")
        for uid in USERS:
            self.acts.revive_launcher(uid)

    async def leave(self) -> None:
        """Each launcher sees each node once more, and all go: then nothing is left anywhere, after a time."""
        for process in self.launchers.values():
            process.visit([host for host in self.hosts if process.uid in self.nodes[host].places])
        await self.watch(10.0)
        self.server.kill()
        for process in self.launchers.values():
            process.kill()
        await self.watch(30.0)
        if any(truth.left_behind(node) for node in self.nodes.values()):
            self.note("what is left has an age limit")
            await self.watch(AGE_LIMIT_S)
        left = [line for node in self.nodes.values() for line in truth.left_behind(node)]
        if left:
            raise Broken("left behind: " + "; ".join(left))

    async def bury(self) -> None:
        """Nothing of it stays behind."""
        for node in self.nodes.values():
            node.bury()
        self.server.kill()
        for process in self.launchers.values():
            process.kill()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def watch(self, seconds: float) -> None:
        """Let so much time pass, unless something is wrong."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.troubled.wait(), seconds)
        if self.trouble is not None:
            raise self.trouble


def in_line(queue: Queue) -> list[Place]:
    """The places of the line where somebody waits."""
    return sorted(place for places in queue.line.groups.values() for place in places if queue.at(place) is not None)


def waiting_in(queue: Queue) -> list[Place]:
    """The places at which somebody must wait."""
    waiting: list[Waiting] = [*queue.queued.values(), *(array for array in queue.arrays.values() if array.in_line)]
    return sorted(map(place_of, waiting))


def no_real_process(pid: int, number: int) -> None:
    """In place of os.kill."""
    raise AssertionError(f"a simulated world would send signal {number} to the real process {pid}")


def process_of(context: dict[str, Any]) -> Mortal | None:
    """Whose callback or task it is that an exception came out of."""
    handle: Any = context.get("handle")
    owner: Mortal | None = handle._context.get(OWNER) if handle is not None else None
    return owner


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

    def __init__(self, world: World) -> None:
        self.world = world

    def time(self) -> float:
        return self.world.wall_s + self.world.loop.time()

    def monotonic(self) -> float:
        return self.world.loop.time()

    def clock_gettime(self, clock: int) -> float:
        return self.world.loop.time()


@contextmanager
def rules_of_the_world(world: World) -> Iterator[None]:
    """While this lasts, the real code meets the things of this world."""
    tokens = Random(world.seed)
    time = TimeShim(world)

    async def connect(path: str) -> tuple[asyncio.StreamReader, LaunchersEnd]:
        await asyncio.sleep(world.latency_s())
        process = world.launchers[int(path.rsplit("/", 1)[1])]
        if world.server.dead or process.dead:
            raise ConnectionRefusedError("nobody is there")
        process.wire = Connection(world, process.uid)
        return process.wire.reader, process.wire.writer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "open_unix_connection", connect)
        patch.setattr(asyncio, "create_subprocess_exec", start_ssh)
        for name in ("kill", "killpg"):
            patch.setattr(os, name, no_real_process)
        patch.setattr(Link, "places", None)
        patch.setattr(link_module, "PING_EVERY_S", PING_EVERY_S)
        patch.setattr(ssh_module, "os", NoRealProcesses(world))
        patch.setattr(session_module, "places", PlacesShim)
        patch.setattr(session_module, "random", Random(world.seed))
        patch.setattr(links_module, "random", Random(world.seed))
        if world.old_shepherds:
            patch.setattr(links_module.Links, "features", lambda links, host: frozenset())
        patch.setattr(secrets, "token_hex", lambda n: f"{tokens.getrandbits(8 * n):0{2 * n}x}")
        patch.setattr(submissions_module, "JOBS_PER_MESSAGE", JOBS_PER_MESSAGE)
        patch.setattr(book_module, "Database", SimDatabase)
        patch.setattr(store_module, "Database", SimDatabase)
        patch.setattr(connections_module, "peer_uid", lambda wire: wire.uid)
        patch.setattr(server_module, "time", time)
        patch.setattr(server_module, "clock", lambda: Now(wall_s=time.time(), boot_s=world.loop.time()))
        Peer.counts.clear()
        Peer.unfinished.clear()
        yield


def play(
    seed: int, place: Path, without: frozenset[int] = frozenset(), on_begin: Callable[[World], None] | None = None
) -> World:
    """One world, from its beginning to its end. Raises what went wrong, with the story so far in its notes."""
    loop = VirtualLoop()
    loop.set_task_factory(task_of)
    asyncio.set_event_loop(loop)
    world = World(seed=seed, place=place, loop=loop, without=without)
    if on_begin is not None:
        on_begin(world)
    with rules_of_the_world(world):
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
