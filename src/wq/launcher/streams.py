"""Where the output of an attempt goes on the submitting host: to the client that waits, or into its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from wq.protocol.probe import PROBE_BYTES, is_probe
from wq.store.database import NO_ROOM

BUFFERED_BYTES = 1 << 20  # to a client, before its job has to wait


class Sink(Protocol):
    """Takes the chunks of an attempt's output in order."""

    have: dict[int, int]  # bytes taken, by channel

    def take(self, channel: int, payload: bytes) -> bool:
        """Take a chunk. False: not now; `again` will be called when there is room."""
        ...

    def sync(self) -> None:
        """What was taken outlives a power cut. Raises OSError."""
        ...

    def close(self) -> None: ...


class FileSink:
    """Brings the output of a node that does not see the submitting directory back into its files."""

    def __init__(self, paths: dict[int, str], *, resume: bool) -> None:
        """paths: by channel; what comes on another is let go. resume: go on where the files end.

        One that cannot be opened is let go, too, and named in `lost`. Raises OSError if there is no room.
        """
        self.fds: dict[int, int] = {}
        self.have = {1: 0}
        self.lost: list[str] = []
        for channel, path in paths.items():
            self.have[channel] = 0
            try:
                fd = self.fds[channel] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
                if not resume or is_probe(os.pread(fd, PROBE_BYTES + 1, 0)):
                    os.ftruncate(fd, 0)
                self.have[channel] = os.fstat(fd).st_size
            except OSError as error:
                if error.errno in NO_ROOM:
                    self.close()
                    raise
                self.let_go(channel)
                self.lost.append(f"{path}: {error.strerror}")

    def take(self, channel: int, payload: bytes) -> bool:
        view = memoryview(payload)
        at = self.have.get(channel, 0)
        fd = self.fds.get(channel)
        while view:
            written = os.pwrite(fd, view, at) if fd is not None else len(view)
            view, at = view[written:], at + written
        self.have[channel] = at
        return True

    def let_go(self, channel: int) -> None:
        """Its file takes nothing: what comes on this channel is lost."""
        if channel in self.fds:
            os.close(self.fds.pop(channel))

    def sync(self) -> None:
        for fd in self.fds.values():
            os.fsync(fd)

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)


class ClientSink:
    """Streams to the client of a foreground job, no faster than it reads."""

    def __init__(self, send: Callable[[int, bytes], None], waiting_bytes: Callable[[], int]) -> None:
        self.send, self.waiting_bytes = send, waiting_bytes
        self.have = {1: 0, 2: 0}

    def take(self, channel: int, payload: bytes) -> bool:
        self.send(channel, payload)
        self.have[channel] += len(payload)
        return self.waiting_bytes() < BUFFERED_BYTES

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class NoSink:
    """Output that nobody waits for any more."""

    def __init__(self) -> None:
        self.have = {1: 0, 2: 0}

    def take(self, channel: int, payload: bytes) -> bool:
        self.have[channel] = self.have.get(channel, 0) + len(payload)
        return True

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass
