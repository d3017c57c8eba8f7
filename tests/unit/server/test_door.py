"""The server's door: who comes in, who is turned away, and that it stays open whatever comes."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.server.desk import ME
from wq.protocol.wire import Frames, decode
from wq.server import connections
from wq.server.caps import Caps
from wq.server.connections import Door, Peer


class Hall:
    """Whoever takes in what arrives; here nobody says anything."""

    caps = Caps(connections=3)

    def left(self, peer: Peer) -> None:
        pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        for _ in iter(condition, True):
            await asyncio.sleep(0.001)


@pytest.fixture
def at_the_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Door, str], Awaitable[None]]], None]:
    """Runs a scene at an open door: scene(door, path of the socket)."""
    Peer.counts.clear()
    monkeypatch.setattr(connections, "REFUSED_S", 0.01)

    def play(scene: Callable[[Door, str], Awaitable[None]]) -> None:
        async def night() -> None:
            path = str(tmp_path / "s")
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(path)
            listening.listen(64)
            door = Door(Hall(), listening)  # type: ignore[arg-type]
            await scene(door, path)
            door.close()
            door.close()

        asyncio.run(night())

    return play


def caller(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    sock.connect(path)
    return sock


async def told(sock: socket.socket) -> Any:
    """What a caller is told before the door is shut on him."""
    loop = asyncio.get_running_loop()
    data = b""
    while more := await loop.sock_recv(sock, 65536):
        data += more
    (body,) = Frames().feed(data)
    return decode(body)


def test_beyond_the_cap_each_is_told_why(at_the_door: Any) -> None:
    async def scene(door: Door, path: str) -> None:
        inside = [caller(path) for _ in range(3)]
        await until(lambda: Peer.counts[ME] == 3)
        for _ in range(100):
            late = caller(path)
            assert "(cap connections)" in (await told(late))["error"]
            late.close()
        assert Peer.counts[ME] == 3
        inside[0].close()
        await until(lambda: Peer.counts[ME] == 2)
        inside.append(caller(path))
        await until(lambda: Peer.counts[ME] == 3)
        for sock in inside:
            sock.close()
        await until(lambda: Peer.counts[ME] == 0)

    at_the_door(scene)


def test_all_at_once_and_no_more_than_may(at_the_door: Any) -> None:
    async def scene(door: Door, path: str) -> None:
        crowd = [caller(path) for _ in range(60)]
        await until(lambda: not door.coming and sum(1 for sock in crowd if is_over(sock)) == 57)
        assert Peer.counts[ME] == 3
        for sock in crowd:
            sock.close()

    at_the_door(scene)


def is_over(sock: socket.socket) -> bool:
    """The other side has said its last word."""
    try:
        return len(sock.recv(4096, socket.MSG_PEEK)) > 0
    except BlockingIOError:
        return False


def test_the_last_places_are_the_owners(at_the_door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(door: Door, path: str) -> None:
        monkeypatch.setattr(connections, "peer_uid", lambda conn: 65000)
        door.most = 0
        other = caller(path)
        assert "no room" in (await told(other))["error"]
        other.close()
        monkeypatch.setattr(connections, "peer_uid", lambda conn: os.getuid())
        mine = caller(path)  # the server's owner comes in all the same
        await until(lambda: Peer.counts[ME] == 1)
        mine.close()
        await until(lambda: Peer.counts[ME] == 0)

    at_the_door(scene)


def test_when_there_are_no_more_files_it_opens_again(at_the_door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(door: Door, path: str) -> None:
        monkeypatch.setattr(connections, "PAUSE_S", 0.01)
        real = door.listening
        failed: list[int] = []

        class Full:
            def accept(self) -> Any:
                if len(failed) < 3:
                    failed.append(1)
                    raise OSError(errno.EMFILE, "Too many open files")
                return real.accept()

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        door.listening = Full()  # type: ignore[assignment]
        sock = caller(path)
        await until(lambda: Peer.counts[ME] == 1)
        assert len(failed) == 3
        sock.close()

    at_the_door(scene)
