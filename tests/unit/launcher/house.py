"""A launcher without wires: what it says to server, nodes and clients is written down; its time is virtual."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sim.loop import VirtualLoop
from tests.unit.launcher.desk import SETTING, start, stop, told
from wq.core import ranges
from wq.core.job import HostName, JobId, Outcome, Uid
from wq.core.requests import (
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    Gone,
    LauncherHere,
    Remove,
    Request,
    Sight,
    Submit,
)
from wq.launcher import links as links_module
from wq.launcher.clients import Client, Hello, Sub
from wq.launcher.launcher import Launcher, Settings
from wq.launcher.ledger import Entry
from wq.launcher.session import ServerAway
from wq.launcher.task import Setting, Task
from wq.protocol.wire import PROTOCOL
from wq.store.database import NoRoom

Word = dict[str, Any]


class Wires:
    """What was said, in order, and which links were asked for."""

    def __init__(self) -> None:
        self.to_nodes: list[tuple[str, Word]] = []
        self.to_server: list[Request] = []
        self.opened: list[str] = []


class QuietLink:
    """As wq.launcher.link.Link: nothing comes of itself."""

    wires: Wires

    def __init__(self, host: HostName, key: str, *, on_word: Callable[..., None], on_down: Callable[..., None]) -> None:
        self.host, self.on_word, self.on_down = host, on_word, on_down
        self.spool = ""
        self.features: frozenset[str] = frozenset()
        self.up = False

    def open(self, ssh_command: str, env: dict[str, str]) -> None:
        self.wires.opened.append(self.host)

    def send(self, word: Word) -> None:
        if self.up:
            self.wires.to_nodes.append((self.host, word))

    def send_data(self, att: str, channel: int, offset: int, payload: bytes) -> None:
        self.send({"do": "data", "att": att, "ch": channel, "off": offset, "data": payload})

    def close(self) -> None:
        self.up = False


class QuietSession:
    """As wq.launcher.session.Session: answers come when the test gives them."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        self.connected = asyncio.Event()
        self.retry = asyncio.Event()
        self.trouble, self.refuses = "the server is away", False
        self.asked: list[tuple[Submit, Callable[[Word], None], asyncio.Future[Word]]] = []

    def report(self, request: Request) -> None:
        if self.connected.is_set():
            self.wires.to_server.append(request)

    def report_many(self, news: list[AttemptStarted | AttemptEnded | AttemptTakenBack]) -> None:
        for one in news:
            self.report(one)

    async def ask(self, request: Submit, at_once: Callable[[Word], None]) -> Word:
        if not self.connected.is_set():
            raise ServerAway(self.trouble)
        self.report(request)
        answer: asyncio.Future[Word] = asyncio.get_running_loop().create_future()
        self.asked.append((request, at_once, answer))
        return await answer


class QuietClient(Client):
    """A command of the user; what it is told is written down."""

    def __init__(self, launcher: Launcher) -> None:
        super().__init__(launcher)
        self.heard: list[Word] = []
        self.output = b""

    def say(self, message: Word) -> None:
        self.heard.append(message)

    def send_chunk(self, channel: int, payload: bytes) -> None:
        self.output += payload


class House:
    """One launcher and all around it."""

    def __init__(self, place: Path, loop: VirtualLoop, *, server_uid: int | None = None) -> None:
        self.place, self.loop = place, loop
        self.server_uid = os.getuid() if server_uid is None else server_uid
        self.next_id = 1
        self.given: dict[str, list[int]] = {}
        self.bugs: list[object] = []
        loop.set_exception_handler(lambda _, context: self.bugs.append(context.get("exception", context)))
        self.move_in()

    def move_in(self) -> None:
        self.wires = QuietLink.wires = Wires()
        self.notes: list[str] = []
        settings = Settings(port=1, server_uid=self.server_uid, private=False, state=self.place, user="anze")
        self.launcher = Launcher(settings, self.notes.append)
        self.session = QuietSession(self.wires)
        self.launcher.session = self.session  # type: ignore[assignment]

    # time

    def turn(self, seconds: float = 0.0) -> None:
        """Let everything happen that is due."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))
        assert self.bugs == []

    # the server

    def server_up(self, queue: str = "q1") -> None:
        """The session is connected (as Session does: writer, on_up, connected)."""
        self.session.connected.set()
        self.inside(lambda: self.launcher.server_up({"queue": queue}))

    def server_down(self) -> None:
        self.session.connected.clear()
        for _, _, answer in self.session.asked:
            if not answer.done():
                answer.set_exception(ServerAway("the server went away before it answered"))
        self.session.asked = []
        self.inside(self.launcher.server_down)

    def order(self, order: object) -> None:
        self.inside(lambda: self.launcher.ordered(order))

    def start(self, number: int, cores: str, attempt: int = 1) -> None:
        self.order(start(number, cores, attempt))

    def stop(self, number: int, attempt: int = 1) -> None:
        self.order(stop(number, attempt))

    def gone(self, number: int, outcome: Outcome | None = None) -> None:
        self.order(Gone(uid=Uid(1000), id=JobId(number), outcome=outcome))

    def accept(self) -> None:
        """The server gives ids to the oldest submission that waits: to the same one the same."""
        request, at_once, answer = self.session.asked.pop(0)
        if request.token not in self.given:
            self.given[request.token] = list(range(self.next_id, self.next_id + len(request.jobs)))
            self.next_id += len(request.jobs)
        ids = self.given[request.token]
        self.inside(lambda: at_once({"ids": ids}))
        answer.set_result({"ids": ids})
        self.turn()

    def refuse(self, error: Exception) -> None:
        _, _, answer = self.session.asked.pop(0)
        answer.set_exception(error)
        self.turn()

    def inside(self, call: Callable[[], None]) -> None:
        """Call it in the loop, and let happen what follows."""
        self.loop.call_soon(call)
        self.turn()

    @property
    def reports(self) -> list[str]:
        """What the server has been told, in short words, since this was last asked."""
        said, self.wires.to_server = self.wires.to_server, []
        return [report_word(request) for request in said]

    # the nodes

    def node_up(self, host: str, *views: Word, boot: str = "boot 1", **more: object) -> None:
        link = self.launcher.links[HostName(host)]
        assert isinstance(link, QuietLink)
        link.up = True
        self.word(host, {"say": "here", "version": 1, "spool": "/s", "boot": boot, "attempts": list(views), **more})

    def node_down(self, host: str, why: str = "the connection is lost") -> None:
        """The link is over; the next one is opened after a while."""
        link = self.launcher.links[HostName(host)]
        assert isinstance(link, QuietLink)
        self.inside(lambda: link.on_down(HostName(host), why, link.up))
        self.turn(1.0)

    def word(self, host: str, word: Word | tuple[str, int, int, bytes]) -> None:
        self.inside(lambda: self.launcher.word(HostName(host), word))

    @property
    def sent(self) -> list[str]:
        """What nodes have been told, but for acknowledged bytes, since this was last asked."""
        said, self.wires.to_nodes = self.wires.to_nodes, []
        said = [(host, word) for host, word in said if word["do"] != "got"]
        return [f"{host}: {word['do']} {word.get('att', word.get('rank', ''))}" for host, word in said]

    @property
    def opened(self) -> list[str]:
        opened, self.wires.opened = self.wires.opened, []
        return opened

    def forget_what_was_said(self) -> None:
        self.wires.to_server, self.wires.to_nodes = [], []

    # the clients

    def client(self) -> QuietClient:
        client = QuietClient(self.launcher)
        self.inside(lambda: self.launcher.client_here(client, Hello(version=PROTOCOL)))
        return client

    @contextmanager
    def full_disk(self, patch: pytest.MonkeyPatch, call: str) -> Iterator[None]:
        """Every call of this kind says that there is no room."""

        def no_room(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with patch.context() as context:
            context.setattr(os, call, no_room)
            yield

    @contextmanager
    def full_ledger(self) -> Iterator[None]:
        """There is no room for the ledger, not even what was kept in reserve."""
        assert self.launcher.book is not None
        database = self.launcher.book.database
        write, keep = database.write, database.keep_reserve

        def no_room(body: object, *, urgent: bool = False) -> None:
            raise NoRoom("No space left on device")

        database.write, database.keep_reserve = no_room, lambda: False  # type: ignore[method-assign]
        try:
            yield
        finally:
            database.write, database.keep_reserve = write, keep  # type: ignore[method-assign]

    def submits(
        self,
        *tasks: Task,
        stem: str | None = None,
        client: QuietClient | None = None,
        setting: Setting = SETTING,
        keep: bool = False,
        token: str = "",
    ) -> QuietClient:
        client = client if client is not None else self.client()
        stems = [stem if stem is not None else str(self.place / "out")] * len(tasks)
        sub = Sub(tasks=list(tasks), stems=list(stems), setting=setting, keep=keep, token=token)
        self.inside(lambda: self.launcher.submitted(client, sub))
        return client

    def leaves(self, client: QuietClient) -> None:
        client.gone = True
        self.inside(lambda: self.launcher.client_left(client))

    # what it knows

    @property
    def entries(self) -> dict[int, Entry]:
        by_id = self.launcher.ledger.by_id
        return {number: entry for number, entry in by_id.items() if isinstance(number, int)}

    def entry(self, number: int = 1) -> Entry:
        return self.entries[number]

    # ready-made

    def job(self, cores: str = "a:0", *, foreground: bool = False) -> QuietClient:
        """Job 1 is accepted, granted and sent to its node; nothing is known of it."""
        self.server_up()
        client = self.submits(batch() if not foreground else foreground_task())
        self.accept()
        self.start(1, cores)
        for part in cores.split():
            self.node_up(part.split(":")[0])
        assert f"{cores.split(':')[0]}: start 1.1" in self.sent
        self.wires.to_server = []
        return client

    def says_started(self, number: int = 1, attempt: int = 1, host: str = "a") -> None:
        self.word(host, {"say": "started", "att": f"{number}.{attempt}", "pid": 1, "shared": False})

    def says_ended(self, host: str = "a", att: str = "1.1", **more: object) -> None:
        self.word(host, {"say": "ended", "att": att, "state": "ended", "end": {"exit": 0}, "chs": [], **more})

    def killed_and_started_again(self) -> None:
        """kill -9: the next one has what is on disk."""
        book = self.launcher.book
        assert book is not None
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.turn()
        book.db.close()
        self.move_in()

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        if self.launcher.book is not None:
            self.launcher.book.db.close()


def batch(name: str = "fit", **more: Any) -> Task:
    return Task(command="./fit", name=name, **more)


def foreground_task() -> Task:
    return Task(command="./fit", name="fit", foreground=True)


def report_word(request: Request) -> str:
    match request:
        case AttemptStarted() | AttemptEnded() | AttemptTakenBack():
            return told(request)
        case LauncherHere():
            ids = ",".join(map(str, ranges.numbers(request.ids)))
            ids += "".join(f" {number}.{first}-{last}" for number, first, last in request.tasks)
            return f"here {ids}{f' and {len(request.tokens)} to come' if request.tokens else ''}"
        case Remove():
            return f"remove {request.ids[0][0]}"
        case Submit():
            return f"submit {len(request.jobs)}"
        case Sight():
            return f"out of sight: {' '.join(request.unseen)}"
        case _:
            return type(request).__name__


@contextmanager
def a_house(patch: pytest.MonkeyPatch, *, server_uid: int | None = None) -> Iterator[House]:
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    patch.setattr(links_module, "Link", QuietLink)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where a sync costs nothing
    with tempfile.TemporaryDirectory(dir=memory) as place:
        house = House(Path(place), loop, server_uid=server_uid)
        try:
            yield house
        finally:
            house.close()
            loop.close()
            asyncio.set_event_loop(None)
