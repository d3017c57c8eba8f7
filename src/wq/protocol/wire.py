"""Bytes <-> messages, with the standard library alone, so that the client's start costs little.

A frame is four bytes of length (big-endian) and a body: a JSON object, or a chunk of a stream, which is
the byte 1, a channel (0 stdin, 1 stdout, 2 stderr) and the bytes.
"""

from __future__ import annotations

from wq.protocol import quick_json

PROTOCOL = 2
MAX_FRAME_BYTES = 1 << 20
STREAM_MARK = 1
COMPACT_BYTES = 1 << 16

Message = dict[str, object]
Chunk = tuple[int, bytes]


class WireError(Exception):
    """These bytes are no frame of ours."""


def encode(message: Message) -> bytes:
    """One message as a frame. Text that is no Unicode (surrogates) is replaced, never sent."""
    return frame(quick_json.dumps(message).encode("utf-8", "replace"))


def frame(body: bytes) -> bytes:
    """A body with its length before it."""
    return len(body).to_bytes(4, "big") + body


def encode_chunk(channel: int, payload: bytes) -> bytes:
    """A chunk of a stream as a frame."""
    return frame(bytes((STREAM_MARK, channel)) + payload)


class Frames:
    """Bytes in, bodies out, whatever the pieces in which they arrive."""

    def __init__(self, most_bytes: int = MAX_FRAME_BYTES) -> None:
        self.most_bytes = most_bytes
        self.buffer = bytearray()
        self.at = 0  # what is before this in the buffer has been handed out

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are whole now. Raises WireError for an empty or oversized frame."""
        self.add(data)
        bodies = []
        while (body := self.next()) is not None:
            bodies.append(body)
        return bodies

    def add(self, data: bytes) -> None:
        """What has come, to be asked for by next()."""
        self.buffer += data

    @property
    def left_bytes(self) -> int:
        """How much is not handed out."""
        return len(self.buffer) - self.at

    @property
    def whole(self) -> bool:
        """Is there a whole frame? Raises WireError if what begins there is none."""
        at = self.at
        if len(self.buffer) - at < 4:
            return False
        size = int.from_bytes(self.buffer[at : at + 4], "big")
        if not 0 < size <= self.most_bytes:
            raise WireError(f"a frame of {size} bytes; from 1 to {self.most_bytes} are allowed")
        return len(self.buffer) - at - 4 >= size

    def next(self) -> bytes | None:
        """The next body, or None if it is not whole. Raises WireError."""
        if not self.whole:
            del self.buffer[: self.at]
            self.at = 0
            return None
        start = self.at + 4
        self.at = start + int.from_bytes(self.buffer[self.at : start], "big")
        body = bytes(self.buffer[start : self.at])
        if self.at == len(self.buffer) or self.at > COMPACT_BYTES:
            del self.buffer[: self.at]
            self.at = 0
        return body


def decode(body: bytes) -> Message | Chunk:
    """What is in a frame. Raises WireError if it is neither a JSON object nor a chunk."""
    if body[0] == STREAM_MARK:
        if len(body) < 2 or body[1] > 2:
            raise WireError("a chunk of no stream")
        return body[1], body[2:]
    try:
        message = quick_json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise WireError("not an object")
    return message
