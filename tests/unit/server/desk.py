"""A server without sockets: what connections say goes in, what they are told comes out, one turn at a time."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sim.loop import VirtualLoop
from wq.protocol.wire import PROTOCOL, Frames, decode, frame
from wq.server import connections
from wq.server.connections import Peer
from wq.server.server import Server, Settings
from wq.store.store import Store

Word = dict[str, Any]
ME = os.getuid()
ANZE, BINE = 61000, 61001  # nobody on this host, it is hoped


class Wire(asyncio.Transport):
    """The server's end of a connection whose other end is the test."""

    def __init__(self, uid: int) -> None:
        super().__init__()
        self.uid = uid
        self.sent = b""
        self.closed = self.paused = False
        self.unread_bytes = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Visitor:
    """One connection."""

    def __init__(self, office: Office, uid: int, role: str | None) -> None:
        self.office = office
        self.orders: list[Word] = []
        self.wire = Wire(uid)
        self.peer = Peer(office.server)
        self.peer.connection_made(self.wire)
        if role is not None:
            self.say({"type": "hello", "version": PROTOCOL, "role": role})
            self.heard()

    def say(self, *words: Word) -> None:
        for word in words:
            self.send(frame(json.dumps(word).encode("utf-8", "surrogatepass")))

    def send(self, data: bytes) -> None:
        if not self.wire.closed:
            self.peer.data_received(data)

    def heard(self) -> list[Any]:
        """What has come since this was last asked."""
        data, self.wire.sent = self.wire.sent, b""
        return [decode(body) for body in Frames(1 << 30).feed(data)]

    def ask(self, **word: object) -> Any:
        """Say it, let there be a turn, and answer what came as the answer; orders are put aside."""
        self.say(word)
        self.office.turn()
        said = self.heard()
        self.orders = [message for message in said if "type" in message]
        (answer,) = (message for message in said if "type" not in message)
        return answer

    def leave(self) -> None:
        self.wire.closed = True
        self.peer.connection_lost(None)


class Office:
    """One server; its owner is whoever runs the test."""

    def __init__(self, place: Path, loop: VirtualLoop, cluster: str) -> None:
        self.place, self.loop = place, loop
        self.notes: list[str] = []
        self.cluster = place / "cluster"
        self.cluster.write_text(cluster)
        settings = Settings(port=1, cluster=self.cluster, spool=place / "spool", look=False)
        self.server = Server(settings, Store(settings.spool), self.notes.append)
        self.server.read_cluster()
        self.turn()

    def turn(self, seconds: float = 0.0) -> None:
        """What has arrived is dealt with. Whatever is raised here would have ended the server."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.server.turn()

    def visitor(self, uid: int = ANZE, role: str | None = "client") -> Visitor:
        found: list[Visitor] = []
        self.loop.call_soon(lambda: found.append(Visitor(self, uid, role)))
        self.loop.run_until_complete(asyncio.sleep(0))
        return found[0]

    def launcher(self, uid: int = ANZE) -> Visitor:
        visitor = self.visitor(uid, "launcher")
        visitor.ask(type="launcher_here")
        return visitor


def job(**more: object) -> Word:
    """A job as a launcher describes it."""
    plain: Word = {"uid": -1, "user": "", "name": "fit", "command": "./fit", "requirement": {}}
    return {**plain, **more}


@contextmanager
def an_office(patch: pytest.MonkeyPatch, cluster: str = "a 4 8\nb 4 8\n") -> Iterator[Office]:
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    patch.setattr(connections, "peer_uid", lambda wire: wire.uid)
    Peer.counts.clear()
    Peer.unfinished.clear()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where a sync costs nothing
    with tempfile.TemporaryDirectory(dir=memory) as place:
        office = Office(Path(place), loop, cluster)
        patch.setattr(asyncio, "get_running_loop", lambda: loop)  # (words are said outside of it)
        try:
            yield office
        finally:
            patch.undo()
            office.server.store.close()
            loop.close()
            asyncio.set_event_loop(None)
