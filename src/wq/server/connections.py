"""The server's connections: bytes in, typed words out, each with the uid that the kernel gives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import resource
import socket
from collections import Counter
from functools import lru_cache
from typing import Any, ClassVar, Protocol

from wq.core.job import Uid
from wq.core.requests import LauncherHere, Who
from wq.protocol import messages
from wq.protocol.places import PlaceError, peer_uid
from wq.protocol.wire import PROTOCOL, Frames, WireError
from wq.server.caps import Caps

FULL_BYTES = 1 << 20  # a reader with so much unread gets no more of a listing until he has read it
HELLO_TIMEOUT_S = 10.0
FRAME_TIMEOUT_S = 10.0
BACKLOG = 512
ACCEPTED_A_TURN = 32
KEPT_FILES = 64  # open files that are kept for the database and for the owner's own connections
REFUSED_S = 1.0  # a connection that was refused stays open for so long: its owner has to wait before he comes again
MOST_REFUSED = 4096  # that are kept so
PAUSE_S = 0.2  # before connections are accepted again, when the system has no more files


class Inbox(Protocol):
    """Whoever takes in what arrives: the server's loop."""

    caps: Caps

    def arrived(self, peer: Peer, word: Any, seq: int) -> None: ...
    def left(self, peer: Peer) -> None: ...
    def may_speak(self, peer: Peer) -> bool: ...
    def read_on(self, peer: Peer) -> None: ...
    def unread_bytes(self, uid: int) -> int: ...
    def welcome(self, peer: Peer) -> dict[str, object]: ...


@lru_cache(maxsize=4096)
def user_name(uid: int) -> str:
    """The name of a user, or `uid N` if the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def refusal(error: str) -> bytes:
    return messages.encode_message({"error": error, "status": 2})


def too_many(most: int) -> str:
    return f"you have more than {most} connections to this server (cap connections)"


class Door:
    """The listening socket. Whoever has too many connections already is turned away before one is made of it.

    A refusal costs a tenth of what asyncio needs to take a connection in, and its socket is closed a little later:
    those who come again and again keep nobody else waiting.
    """

    def __init__(self, inbox: Inbox, listening: socket.socket) -> None:
        self.inbox, self.listening = inbox, listening
        self.loop = asyncio.get_running_loop()
        self.coming: set[asyncio.Task[object]] = set()
        self.refused = refusal(too_many(inbox.caps.connections))
        self.nrefused = 0
        self.most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - KEPT_FILES
        listening.setblocking(False)
        self.open()

    def open(self) -> None:
        if self.listening.fileno() != -1:
            self.loop.add_reader(self.listening.fileno(), self.take_in)

    def close(self) -> None:
        if self.listening.fileno() != -1:
            self.loop.remove_reader(self.listening.fileno())
            self.listening.close()

    def take_in(self) -> None:
        """Some of those who wait at the door; the loop calls again if there are more."""
        for _ in range(ACCEPTED_A_TURN):
            try:
                conn, _ = self.listening.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError:  # no more files, in this process or on the whole system
                self.loop.remove_reader(self.listening.fileno())
                self.loop.call_later(PAUSE_S, self.open)
                return
            conn.setblocking(False)
            why = self.why_not(conn)
            if why:
                self.turn_away(conn, why)
                continue
            made = self.loop.create_task(self.loop.connect_accepted_socket(lambda: Peer(self.inbox), conn))
            self.coming.add(made)
            made.add_done_callback(self.coming.discard)

    def turn_away(self, conn: socket.socket, why: bytes) -> None:
        with contextlib.suppress(OSError):
            conn.send(why)
        if self.nrefused < MOST_REFUSED and conn.fileno() < self.most // 2:
            self.nrefused += 1
            self.loop.call_later(REFUSED_S, self.close_refused, conn)
        else:
            conn.close()

    def close_refused(self, conn: socket.socket) -> None:
        self.nrefused -= 1
        conn.close()

    def why_not(self, conn: socket.socket) -> bytes:
        """The refusal of a connection; empty if it may come in."""
        try:
            uid = peer_uid(conn)
        except (PlaceError, OSError) as error:
            return refusal(str(error))
        if Peer.counts[uid] >= self.inbox.caps.connections:
            return self.refused
        if conn.fileno() >= self.most and uid not in (0, os.getuid()):
            return refusal("this server has no room for more connections now")
        return b""


class Peer(asyncio.Protocol):
    """One connection of a client or launcher."""

    counts: ClassVar[Counter[int]] = Counter()  # connections of each uid
    unfinished: ClassVar[Counter[int]] = Counter()  # bytes of messages of each uid that are not whole
    number: ClassVar[int] = 0

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.frames = Frames()
        self.role = ""
        self.who = Who(uid=Uid(-1), user="")
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.here: list[LauncherHere] = []  # words of a launcher about what it has, of which more follow
        self.begun = 0  # bytes of a message that is not whole
        self.speaks = False  # it waits for the turn in which its next words are taken
        self.greeted = False  # as a launcher
        self.full = False  # much is unread
        self.stalled: list[Any] = []  # what is not answered before that is read
        self.held: set[str] = set()  # why nothing is read from it just now
        Peer.number += 1
        self.id = Peer.number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(FULL_BYTES)
        try:
            uid = peer_uid(transport.get_extra_info("socket"))
        except (PlaceError, OSError) as error:
            self.refuse(str(error))
            return
        self.who = Who(uid=Uid(uid), user=user_name(uid))
        Peer.counts[uid] += 1
        most = self.inbox.caps.connections
        if Peer.counts[uid] > most:
            self.refuse(too_many(most))
            return
        self.expect(HELLO_TIMEOUT_S)

    def expect(self, timeout_s: float) -> None:
        """Close the connection unless something whole arrives in time."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(timeout_s, self.close)

    def data_received(self, data: bytes) -> None:
        self.frames.add(data)
        self.take_words()

    def take_words(self) -> None:
        """Take what has come word by word, as far as its user may speak just now; the rest in a later turn."""
        took = False
        try:
            while not self.gone and self.frames.whole:
                if not self.inbox.may_speak(self):
                    self.hold("words")
                    self.stop_timer()
                    return
                took = True
                self.take(self.frames.next() or b"")
        except WireError as error:
            self.refuse(f"not understood: {error}")
            return
        if self.gone:  # nothing of it counts any more
            return
        self.let_go("words")
        self.count_begun(self.frames.left_bytes)
        if Peer.unfinished[self.who.uid] > self.inbox.caps.bytes:
            self.refuse(f"you have begun messages of more than {self.inbox.caps.bytes} bytes (cap bytes)")
        elif self.frames.left_bytes:
            if self.timer is None or (took and self.role):  # a frame has begun just now
                self.expect(FRAME_TIMEOUT_S)
        elif self.role:
            self.stop_timer()

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def count_begun(self, nbytes: int) -> None:
        if nbytes != self.begun:
            Peer.unfinished[self.who.uid] += nbytes - self.begun
            self.begun = nbytes

    def take(self, body: bytes) -> None:
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
        self.send(refusal(error))
        self.close()

    def send(self, frame: bytes) -> None:
        """Send; a reader that never reads is dropped when too much waits for him."""
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(frame)
        if self.unread_bytes > FULL_BYTES and self.inbox.unread_bytes(self.who.uid) > self.inbox.caps.bytes:
            self.transport.abort()

    @property
    def gone(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self.inbox.read_on(self)

    def hold(self, why: str) -> None:
        """Read nothing from it until it is let go; there may be several reasons."""
        if not self.held and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self.held.add(why)

    def let_go(self, why: str) -> None:
        if why not in self.held:
            return
        self.held.discard(why)
        if not self.held and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.who.uid != -1:
            Peer.counts[self.who.uid] -= 1
            self.count_begun(0)
            self.inbox.left(self)
