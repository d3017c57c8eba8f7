"""The session with a server that says anything, or nothing: it is left, and tried again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.launcher.desk import start
from wq.core.requests import Submit
from wq.launcher import session as session_module
from wq.launcher.session import ServerAway, Session
from wq.protocol import places
from wq.protocol.messages import encode_word
from wq.protocol.wire import WireError, frame

WELCOME = frame(b'{"ok":{"queue":"q1"}}')
DEEP = b"[" * 100_000
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def meeting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(places, "check_meeting_dir", lambda uid, port: None)
    monkeypatch.setattr(session_module, "AGAIN_FIRST_S", 0.001)
    monkeypatch.setattr(session_module, "AGAIN_MOST_S", 0.01)
    with tempfile.TemporaryDirectory(suffix="-1") as path:  # (the path of a socket must be short)
        yield Path(path)


class Talk:
    """A session, and what came of it."""

    def __init__(self, meeting: Path) -> None:
        self.ups: list[Any] = []
        self.orders: list[Any] = []
        self.downs = 0
        self.session = Session(
            str(meeting / "server.sock"),
            os.getuid(),
            on_up=self.ups.append,
            on_order=self.ordered,
            on_down=self.went_down,
        )

    def ordered(self, order: Any) -> None:
        self.orders.append(order)

    def went_down(self) -> None:
        self.downs += 1

    async def with_server(self, handler: Handler, then: Callable[[], Awaitable[None]]) -> None:
        writers = []

        async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)

        server = await asyncio.start_unix_server(handled, self.session.path)
        running = asyncio.create_task(self.session.run())
        try:
            await asyncio.wait_for(then(), 20)
            assert not running.done()
        finally:
            running.cancel()
            server.close()
            ours = self.session.writer
            for writer in [*writers, *([ours] if ours is not None else [])]:
                writer.transport.abort()
            await asyncio.sleep(0.01)  # so that asyncio closes what was aborted

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "said",
    [
        frame(b"[]"),
        frame(b"5"),
        frame(b"\xff"),
        frame(b"{}"),
        frame(b'{"ok":5}'),
        frame(b'{"ok":{}}'),
        frame(b'{"ok":{"queue":null}}'),
        frame(b'{"ok":{"queue":"../../x"}}'),
        frame(b'{"ok":{"queue":"%s"}}' % (b"x" * 300)),
        frame(b'{"error":{"a":"\\u001b"}}'),
        frame(DEEP),
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        WELCOME + frame(b'{"type":5}'),
        WELCOME + frame(b'{"type":"start"}'),
        WELCOME + frame(b'{"type":"start","x":' + DEEP),
        WELCOME + frame(b'{"type":"nothing that is known"}'),
        WELCOME + encode_word(start(1 << 70, "a:0")),
        WELCOME + frame(b"\x01\x01x"),
        WELCOME + frame(b'{"seq":' + DEEP),
        WELCOME + frame(b'{"seq":true,"ok":{}}'),
    ],
    ids=lambda said: repr(said)[:50],
)
def test_nonsense_is_the_end_of_one_connection(meeting: Path, said: bytes) -> None:
    talk = Talk(meeting)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read(1 << 20)

    asyncio.run(talk.with_server(handler, lambda: talk.until(lambda: talk.downs > 2)))
    assert talk.orders == []


@pytest.mark.parametrize("answer", [b'{"seq":1,"ok":5}', b'{"seq":1,"ok":null}', b'{"seq":1,"ok":{"ids":"x"}}'])
def test_an_answer_that_is_none_counts_as_none(meeting: Path, answer: bytes) -> None:
    talk = Talk(meeting)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WELCOME)
        await reader.readuntil(b'"submit"')
        writer.write(frame(answer))
        await reader.read(1 << 20)

    def looked_at(facts: dict[str, Any]) -> None:
        raise WireError("ids that cannot be")

    async def ask() -> None:
        await talk.session.connected.wait()
        with pytest.raises(ServerAway):
            await talk.session.ask(Submit(token="t", jobs=()), at_once=looked_at)
        await talk.until(lambda: "not understood" in talk.session.trouble)

    asyncio.run(talk.with_server(handler, ask))


def test_who_does_not_answer_is_left(meeting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ANSWER_S", 0.05)
    talk = Talk(meeting)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WELCOME + frame(b'{"seq":77,"ok":{}}'))
        while await reader.read(1 << 20):
            writer.write(frame(json.dumps({"seq": 78, "ok": {}}).encode()))

    async def ask() -> None:
        await talk.session.connected.wait()
        talk.session.seq = 5
        with pytest.raises(ServerAway, match="does not answer"):
            await talk.session.ask(Submit(token="t", jobs=()))
        await talk.until(lambda: len(talk.ups) > 1)

    asyncio.run(talk.with_server(handler, ask))


def test_who_does_not_read_the_answers_is_not_listened_to(meeting: Path) -> None:
    talk = Talk(meeting)
    word = encode_word(start(1, "a:0"))
    unread = 0

    def ordered(order: Any) -> None:
        nonlocal unread
        writer = talk.session.writer
        assert writer is not None
        writer.write(b" " * 10_000)
        unread = max(unread, writer.transport.get_write_buffer_size())

    talk.session.on_order = ordered
    stuck = False

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal stuck
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(WELCOME)
        for _ in range(2000):
            writer.write(word * 100)
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                stuck = True
                return

    asyncio.run(talk.with_server(handler, lambda: talk.until(lambda: stuck)))
    assert unread < 32 << 20  # of 2 GB
