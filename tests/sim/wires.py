"""Wires on virtual time: a launcher's connection to the server, and its ssh sessions to nodes.

Each lane is in order and takes its time. A connection may break, and then what was on its way is lost; it may be half
open, and then one side talks to nobody until it notices; nothing is lost within one that goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.sim.kernel import Open, Pipe, ReadEnd, WriteEnd, drop, take
from tests.sim.node import Attach
from wq.launcher import link as link_module
from wq.node import shepherd
from wq.server.connections import Peer

if TYPE_CHECKING:
    from tests.sim.processes import LauncherProcess
    from tests.sim.world import World

TICK_S = 1e-6  # between messages of one lane: equal times would be in any order
UP, DOWN = "up", "down"  # from the node, to the node
OF_STARTS = tuple(b'{"do":"%s"' % word for word in (b"start", b"template", b"batch", b"ack", b"acks"))
NO_PID = 1 << 30  # above all that a real kernel gives: should anybody signal it after all, nobody is hit


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

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

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

    async def drain(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.wire.end_for_server()

    @property
    def transport(self) -> LaunchersEnd:
        return self

    def abort(self) -> None:
        self.wire.end_for_server()
        self.wire.end_for_launcher()


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


# --- ssh


class Stdin:
    """What a link writes to: first the shepherd's source, which the node has already, then words."""

    def __init__(self, ssh: Ssh) -> None:
        self.ssh = ssh
        self.source_left = len(link_module.SOURCE)

    def write(self, data: bytes) -> None:
        if self.source_left:
            self.source_left -= len(data)
            assert self.source_left == 0
            return
        self.ssh.to_node(data)

    def close(self) -> None:
        self.ssh.no_more_input()

    def is_closing(self) -> bool:
        return False

    async def drain(self) -> None:
        pass

    async def wait_closed(self) -> None:
        pass


class Ssh:
    """An ssh client and its session on a node, as asyncio.subprocess.Process."""

    def __init__(self, world: World, process: LauncherProcess, host: str) -> None:
        self.world, self.process, self.host = world, process, host
        world.clients_of_ssh.append(self)
        self.pid = NO_PID + len(world.clients_of_ssh)
        loop = world.loop
        self.stdin = Stdin(self)
        self.stdout = asyncio.StreamReader(loop=loop)
        self.stderr = asyncio.StreamReader(loop=loop)
        self.returncode: int | None = None
        self.over = asyncio.Event()
        self.down, self.up = Pipe(), Pipe(on_data=self.to_launcher)
        self.ends: tuple[Open, ...] = ()  # sshd's
        self.due_s = {DOWN: 0.0, UP: 0.0}
        self.deaf: set[str] = set()  # lanes on which nothing arrives any more
        self.ready = False
        self.boots = world.nodes[host].kernel.boots
        loop.call_later(world.random.uniform(0.05, 0.4), self.connect)

    def connect(self) -> None:
        if self.returncode is not None or self.process.dead:
            return
        if self.host in self.world.unreachable:
            self.fail(f"ssh: connect to host {self.host} port 22: No route to host")
        elif self.world.crowded:
            self.fail("kex_exchange_identification: Connection closed by remote host")
        else:
            self.ready = True
            self.boots = self.world.nodes[self.host].kernel.boots
            self.ends = (take(WriteEnd(self.down)), take(ReadEnd(self.up)))
            self.world.sessions.append(self)
            self.world.mail.new_session(self)
            Attach(self.world.nodes[self.host].place(self.process.uid), self.down, self.up, self.remote_exit)

    def fail(self, text: str) -> None:
        self.stderr.feed_data(text.encode() + b"\n")
        self.exit(255)

    def later(self, lane: str, call: Callable[..., None], *words: object) -> None:
        world = self.world
        self.due_s[lane] = max(self.due_s[lane] + TICK_S, world.loop.time() + world.latency_s())
        world.loop.call_at(self.due_s[lane], call, *words)

    # towards the node

    def to_node(self, data: bytes) -> None:
        if self.returncode is None and not self.process.dead:
            rebooted = self.boots != self.world.nodes[self.host].kernel.boots
            self.world.mail.seen(self.process.uid, self.host, data, rebooted=rebooted)
            self.later(DOWN, self.arrive_down, data)

    def arrive_down(self, data: bytes) -> None:
        if DOWN not in self.deaf and self.ends:
            self.down.write(data)

    def no_more_input(self) -> None:
        """The launcher has let go, or is dead: the node hears of it, after all that was on its way."""
        self.later(DOWN, self.input_over)

    def input_over(self) -> None:
        if DOWN not in self.deaf:
            self.node_end()

    def node_end(self) -> None:
        """The session is over on the node."""
        ends, self.ends = self.ends, ()
        for end in ends:
            drop(end)

    # towards the launcher

    def to_launcher(self, data: bytes) -> None:
        self.later(UP, self.arrive_up, data)

    def arrive_up(self, data: bytes) -> None:
        if UP not in self.deaf and self.returncode is None:
            self.stdout.feed_data(data)

    def remote_exit(self, complaint: str) -> None:
        self.node_end()
        self.later(UP, self.remote_over, complaint)

    def remote_over(self, complaint: str) -> None:
        if UP not in self.deaf:
            if complaint and self.returncode is None:
                self.stdout.feed_data(b"\n" + shepherd.COMPLAINT + complaint.encode() + b"\n")
            self.exit(1 if complaint else 0)

    def exit(self, status: int) -> None:
        """The ssh client is gone."""
        if self.returncode is None:
            self.returncode = status
            self.stdout.feed_eof()
            self.stderr.feed_eof()
            self.over.set()
            if self in self.world.sessions:
                self.world.sessions.remove(self)

    # what may happen to it

    def cut(self) -> None:
        """Nothing comes through any more; launcher and node notice it one after the other, in any order."""
        self.deaf = {UP, DOWN}
        self.world.loop.call_later(self.noticed_s(), self.noticed)
        self.world.loop.call_later(self.noticed_s(), self.node_end)

    def half_open(self, lane: str) -> None:
        """In one direction nothing comes through. The client notices by its keep-alives; the node perhaps never."""
        self.deaf.add(lane)
        random = self.world.random
        self.world.loop.call_later(random.uniform(10.0, 20.0), self.noticed)
        if random.random() < 0.5:
            self.world.loop.call_later(random.uniform(10.0, 200.0), self.node_end)

    def noticed(self) -> None:
        if self.returncode is None:
            self.deaf = {UP, DOWN}
            self.fail(f"Timeout, server {self.host} not responding.")

    def noticed_s(self) -> float:
        return self.world.random.choice([0.1, 1.0, 16.0]) * self.world.random.random()

    def stall(self, seconds: float) -> None:
        """The network is slow: all of it comes, but late."""
        for lane in self.due_s:
            self.due_s[lane] = max(self.due_s[lane], self.world.loop.time()) + seconds

    # as a process

    async def wait(self) -> int:
        await self.over.wait()
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            self.exit(-9)
            self.no_more_input()

    terminate = kill


class NoRealProcesses:
    """What a link asks of `os`: to end its ssh."""

    def __init__(self, world: World) -> None:
        self.world = world

    def kill(self, pid: int, number: int) -> None:
        if pid <= NO_PID:
            raise AssertionError(f"a simulated world would kill the real process {pid}")
        self.world.clients_of_ssh[pid - NO_PID - 1].kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A start that may come again: by itself, or as a task of a batch, which comes with its template."""

    att: str
    word: dict[str, Any]
    template: dict[str, Any] | None = None

    def words(self) -> list[bytes]:
        if self.template is None:
            return [shepherd.pack(self.word)]  # type: ignore[no-untyped-call]
        name = f"late {self.att}"  # by its own name another link may know another one
        tasks = [task for task in self.word["tasks"] if task["att"] == self.att]
        words = [{**self.template, "name": name}, {**self.word, "template": name, "tasks": tasks}]
        return [shepherd.pack(word) for word in words]  # type: ignore[no-untyped-call]


class Mail:
    """The words START and BATCH that went to nodes: a network may bring one again, or late, as long as it may matter.

    (Once the launcher has acknowledged the end of an attempt, no word of it can be on its way any more.)
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.starts: dict[tuple[int, str, str], Late] = {}
        self.templates: dict[tuple[int, str, str], dict[str, Any]] = {}  # of the newest link
        self.comes_late = False

    def seen(self, uid: int, host: str, data: bytes, *, rebooted: bool) -> None:
        """A word is sent. rebooted: the node has been, since this session began, and nobody has noticed yet."""
        if data[4:5] != b"{" or not data[4:].startswith(OF_STARTS):
            return
        word: dict[str, Any] = shepherd.unpack(data[4:])  # type: ignore[no-untyped-call]
        if self.world.old_shepherds and word["do"] in ("template", "batch", "acks"):
            self.world.failed(AssertionError(f"a shepherd that knows no batches is told: {word}"))
        match word["do"]:
            case "template":
                self.templates[(uid, host, word["name"])] = word
            case "start":
                self.sent(uid, host, Late(att=word["att"], word=word), word["spec"], rebooted=rebooted)
            case "batch":
                template = self.templates[(uid, host, word["template"])]
                for task in word["tasks"]:
                    late = Late(att=task["att"], word=word, template=template)
                    self.sent(uid, host, late, template["spec"], rebooted=rebooted)
            case "ack" | "acks":
                for att in word.get("atts", (word.get("att"),)):
                    self.starts.pop((uid, host, att), None)

    def sent(self, uid: int, host: str, late: Late, spec: dict[str, Any], *, rebooted: bool) -> None:
        if rebooted or self.unnoticed(uid, spec):
            # A process that may have been there before the reboot, for all that its launcher will know.
            self.world.forgotten.add(late.att.split("/")[0])
        if not rebooted:
            self.starts[(uid, host, late.att)] = late

    def unnoticed(self, uid: int, spec: dict[str, Any]) -> bool:
        """Has one of the nodes of an attempt been rebooted, and its launcher does not know that yet?"""
        hosts, nodes = str(spec["set"]["WQ_HOSTS"]).split(), self.world.nodes
        theirs = [session for session in self.world.sessions if session.process.uid == uid and session.host in hosts]
        return any(session.boots != nodes[session.host].kernel.boots for session in theirs)

    def drop(self, host: str) -> None:
        """The node goes down: no connection from before ends there any more."""
        self.starts = {key: late for key, late in self.starts.items() if key[1] != host}

    def again(self) -> None:
        """Each start that is not settled comes once more, and those that are lost from now on come late."""
        self.comes_late = True
        for session in self.world.sessions:
            self.bring_again(session)

    def new_session(self, session: Ssh) -> None:
        if self.comes_late:
            self.world.later(self.world.random.uniform(0.0, 1.0), lambda: self.bring_again(session))

    def bring_again(self, session: Ssh) -> None:
        for (uid, host, att), late in self.starts.items():
            if (session.process.uid, session.host) == (uid, host) and session.ends and not session.deaf:
                self.world.note(f"the start of {att} comes to {host} once more")
                for word in late.words():
                    session.arrive_down(word)
