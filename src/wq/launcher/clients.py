"""The launcher's clients: commands of the same user, over a socket that nobody else can open."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any, Protocol

import msgspec

from wq.launcher.ledger import Entry
from wq.launcher.task import Setting, Task
from wq.protocol import messages, places
from wq.protocol.wire import PROTOCOL, STREAM_MARK, Frames, WireError, encode_chunk

MOST_SUBMISSION_BYTES = 256 << 20
STDIN_WINDOW_BYTES = 256 << 10
MOST_MENTIONED_BYTES = 256 << 10


class Hello(msgspec.Struct, kw_only=True):
    """A client's first word. env: what connections need of its session; ssh_command: how to call ssh.

    any_node: its configuration says that jobs may run wherever the server says.
    """

    version: int
    any_node: bool = False
    env: dict[str, str] = {}
    ssh_command: str | None = None


class Cancel(msgspec.Struct, kw_only=True):
    """End the foreground job."""

    grace_s: float = 2.0


class Sub(msgspec.Struct, kw_only=True):
    """A submission. A foreground one has a single task. stems: of outputs that are to be named by the id.

    keep: if the server is away, keep it here until it is back. (A foreground one is never kept.)
    token: the client's name for it, by which it is known if it is sent again after the death of a launcher.
    """

    tasks: list[Task]
    stems: list[str | None]
    setting: Setting
    keep: bool = False
    token: str = ""

    def __post_init__(self) -> None:
        """What no command of ours says. Raises ValueError."""
        if len(self.stems) != len(self.tasks):
            raise ValueError("as many stems as tasks are wanted")
        if any(step < 1 for task in self.tasks if task.array is not None for _, _, step in task.array.tasks):
            raise ValueError("an array with a step below 1")


class OutputAsked(msgspec.Struct, kw_only=True):
    """Where the output of a job is. id: None for the last one. follow: and what becomes of it, from now on."""

    id: Annotated[int, msgspec.Meta(ge=1, le=1 << 62)] | None = None
    task: Annotated[int, msgspec.Meta(ge=0, le=1 << 62)] | None = None
    attempt: Annotated[int, msgspec.Meta(ge=1, le=1 << 62)] | None = None
    follow: bool = False


class RedoAsked(msgspec.Struct, kw_only=True):
    """Submit a job again, as it was. tasks: of an array, these alone (ranges of numbers). token: as in Sub."""

    id: Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]
    tasks: list[tuple[int, int]] | None = None
    token: str = ""


class Recommand(msgspec.Struct, kw_only=True):
    """Another command for a job that waits."""

    id: Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]
    command: str


read_sub = msgspec.json.Decoder(Sub).decode
read_hello = msgspec.json.Decoder(Hello).decode
read_cancel = msgspec.json.Decoder(Cancel).decode
read_recommand = msgspec.json.Decoder(Recommand).decode
read_redo_asked = msgspec.json.Decoder(RedoAsked).decode
read_output_asked = msgspec.json.Decoder(OutputAsked).decode


class House(Protocol):
    """Whoever the clients talk to: the launcher."""

    def client_here(self, client: Client, hello: Hello) -> None: ...
    def client_left(self, client: Client) -> None: ...
    def submitted(self, client: Client, sub: Sub) -> None: ...
    def recommanded(self, client: Client, word: Recommand) -> None: ...
    def redo_asked(self, client: Client, asked: RedoAsked) -> None: ...
    def stdin(self, client: Client, payload: bytes | None) -> None: ...
    def cancel(self, client: Client, grace_s: float) -> None: ...
    def room_again(self, client: Client) -> None: ...
    def output_asked(self, client: Client, asked: OutputAsked) -> None: ...


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.frames = Frames(MOST_SUBMISSION_BYTES)
        self.transport: asyncio.Transport | None = None
        self.entry: Entry | None = None  # the foreground job that it waits for
        self.token = ""
        self.known = False
        self.gone = False
        self.stdin_at = 0  # bytes received of its stdin
        self.stdin_kept = bytearray()  # not yet acknowledged by the node
        self.stdin_eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if places.peer_uid(transport.get_extra_info("socket")) not in (os.getuid(), 0):
            transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self.frames.feed(data):
                self.take(body)
        except (WireError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            self.say({"error": f"not understood: {error}", "status": 1})
            self.close()

    def take(self, body: bytes) -> None:
        if body[0] == STREAM_MARK:
            self.house.stdin(self, body[2:])
            return
        kind = messages.read_head(body).type
        if self.known and kind == "sub":
            self.house.submitted(self, read_sub(body))
        elif kind == "hello":
            hello = read_hello(body)
            if hello.version != PROTOCOL:
                error = f"your launcher speaks version {PROTOCOL}, this wq {hello.version}"
                self.say({"error": error, "status": 1, "version": PROTOCOL})
                self.close()
                return
            self.known = True
            self.house.client_here(self, hello)
        elif not self.known:
            raise WireError("hello comes first")
        elif kind == "eof":
            self.house.stdin(self, None)
        elif kind == "cancel":
            self.house.cancel(self, read_cancel(body).grace_s)
        elif kind == "recommand":
            self.house.recommanded(self, read_recommand(body))
        elif kind == "redo":
            self.house.redo_asked(self, read_redo_asked(body))
        elif kind == "output":
            self.house.output_asked(self, read_output_asked(body))
        else:
            raise WireError("a message of no known type")

    def say(self, message: dict[str, Any]) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(messages.encode_message(message))

    def mention(self, message: dict[str, Any]) -> bool:
        """Say what may also be left out: a server can cause it without end, and this client may not read just now.

        Answers whether it was said.
        """
        if self.waiting_bytes() >= MOST_MENTIONED_BYTES:
            return False
        self.say(message)
        return True

    def send_chunk(self, channel: int, payload: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(encode_chunk(channel, payload))

    def waiting_bytes(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def resume_writing(self) -> None:
        self.house.room_again(self)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.house.client_left(self)
