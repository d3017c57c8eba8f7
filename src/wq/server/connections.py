"""The server's connections: bytes in, typed words out, each with the uid that the kernel gives."""

from __future__ import annotations

import asyncio
import pwd
from collections import Counter
from typing import Any, ClassVar, Protocol

from wq.core.job import Uid
from wq.core.requests import LauncherHere, Who
from wq.protocol import messages
from wq.protocol.places import PlaceError, peer_uid
from wq.protocol.wire import PROTOCOL, Frames, WireError

MOST_CONNECTIONS_PER_USER = 200
MOST_OUTPUT_BYTES = 64 << 20
HELLO_TIMEOUT_S = 10.0
FRAME_TIMEOUT_S = 10.0


class Inbox(Protocol):
    """Whoever takes in what arrives: the server's loop."""

    def arrived(self, peer: Peer, word: Any, seq: int) -> None: ...
    def left(self, peer: Peer) -> None: ...
    def welcome(self, peer: Peer) -> dict[str, object]: ...


def user_name(uid: int) -> str:
    """The name of a user, or `uid N` if the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


class Peer(asyncio.Protocol):
    """One connection of a client or launcher."""

    counts: ClassVar[Counter[int]] = Counter()  # connections of each uid
    number: ClassVar[int] = 0

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.frames = Frames()
        self.role = ""
        self.who = Who(uid=Uid(-1), user="")
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.here: list[LauncherHere] = []  # words of a launcher about what it has, of which more follow
        Peer.number += 1
        self.id = Peer.number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        try:
            uid = peer_uid(transport.get_extra_info("socket"))
        except (PlaceError, OSError) as error:
            self.refuse(str(error))
            return
        self.who = Who(uid=Uid(uid), user=user_name(uid))
        Peer.counts[uid] += 1
        if Peer.counts[uid] > MOST_CONNECTIONS_PER_USER:
            self.refuse(f"you have more than {MOST_CONNECTIONS_PER_USER} connections to this server")
            return
        self.expect(HELLO_TIMEOUT_S)

    def expect(self, timeout_s: float) -> None:
        """Close the connection unless something whole arrives in time."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(timeout_s, self.close)

    def data_received(self, data: bytes) -> None:
        try:
            bodies = self.frames.feed(data)
            for body in bodies:
                self.take(body)
        except WireError as error:
            self.refuse(f"not understood: {error}")
            return
        if self.frames.buffer:
            if self.timer is None or (bodies and self.role):  # a frame has begun just now
                self.expect(FRAME_TIMEOUT_S)
        elif self.timer is not None and self.role:
            self.timer.cancel()
            self.timer = None

    def take(self, body: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if not self.role:
            self.hello(body)
            return
        known = messages.FROM_LAUNCHERS if self.role == "launcher" else messages.FROM_CLIENTS
        word, seq = messages.decode_word(body, known)
        self.inbox.arrived(self, word, seq)

    def hello(self, body: bytes) -> None:
        word, seq = messages.decode_word(body, {"hello": messages.Hello})
        if word.version != PROTOCOL:
            error = f"this server speaks version {PROTOCOL} of the protocol, you speak {word.version}"
            self.send(messages.encode_message({"error": error, "status": 2, "version": PROTOCOL}))
            self.close()
        elif word.role not in ("client", "launcher"):
            self.refuse("the role is client or launcher")
        else:
            self.role = word.role
            self.answer(seq, {"ok": self.inbox.welcome(self)})

    def answer(self, seq: int, message: dict[str, object]) -> None:
        """Send an answer to the request with this seq."""
        if seq:
            message["seq"] = seq
        self.send(messages.encode_message(message))

    def refuse(self, error: str) -> None:
        """Say why, and close."""
        self.send(messages.encode_message({"error": error, "status": 2}))
        self.close()

    def send(self, frame: bytes) -> None:
        """Send; a reader that never reads is dropped when too much waits for it."""
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(frame)
        if self.transport.get_write_buffer_size() > MOST_OUTPUT_BYTES:
            self.transport.abort()

    def listen(self, on: bool) -> None:
        """Read on, or let the sender wait."""
        if self.transport is not None and not self.transport.is_closing():
            if on:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.who.uid != -1:
            Peer.counts[self.who.uid] -= 1
            self.inbox.left(self)
