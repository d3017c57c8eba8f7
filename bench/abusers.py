"""What users do who mean no good, a program each: `python abusers.py SOCKET KIND`, until it is killed.

It speaks to the server without the client's manners, and prints `ready` when the abuse has begun.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import sys
from collections.abc import Callable

PROTOCOL = 2
JOB = {"uid": -1, "user": "", "name": "x", "command": "x", "requirement": {"n": 1000000}}


def frame(word: object) -> bytes:
    body = json.dumps(word).encode()
    return len(body).to_bytes(4, "big") + body


class Caller:
    """One connection, which may have been refused."""

    def __init__(self, path: str, role: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.sendall(frame({"type": "hello", "version": PROTOCOL, "role": role}))
        self.sock.setblocking(False)
        self.rest = b""

    def say(self, words: Callable[[int], list[object]], number: int) -> None:
        """As much as goes at once; new words when the last ones are out."""
        self.rest = self.rest or b"".join(map(frame, words(number)))
        self.rest = self.rest[self.sock.send(self.rest) :]


def endlessly(
    path: str, role: str, number: int, words: Callable[[int], list[object]] | None, *, read: bool = True
) -> None:
    """So many connections say these words (or nothing) again and again; another one takes the place of each closed."""
    selector = selectors.DefaultSelector()
    callers, count, told = 0, 0, False
    events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if words is not None else 0)
    while True:
        for _ in range(min(number - callers, 50)):
            with contextlib.suppress(OSError):
                caller = Caller(path, role)
                selector.register(caller.sock, events, caller)
                callers += 1
        if not told and callers >= min(number, 150):
            told = True
            print("ready", flush=True)
        for key, event in selector.select(0.01):
            sock: socket.socket = key.data.sock
            try:
                if event & selectors.EVENT_READ and not sock.recv(1 << 18):
                    raise ConnectionError
                if event & selectors.EVENT_WRITE and words is not None:
                    count += 1
                    key.data.say(words, count)
            except BlockingIOError:
                pass
            except OSError:
                selector.unregister(sock)
                sock.close()
                callers -= 1


KINDS: dict[str, Callable[[str], None]] = {
    "idle": lambda path: endlessly(path, "client", 2000, None),
    "questions": lambda path: endlessly(path, "client", 16, lambda n: [{"type": "ls", "why": True}] * 20, read=True),
    "never reads": lambda path: endlessly(path, "client", 150, lambda n: [{"type": "ls"}] * 20, read=False),
    "long names": lambda path: endlessly(
        path,
        "launcher",
        1,
        lambda n: [{"type": "submit", "token": f"n{n}", "jobs": [{**JOB, "name": "n" * ((1 << 20) - 300)}]}],
        read=True,
    ),
    "submissions": lambda path: endlessly(
        path,
        "launcher",
        1,
        lambda n: [{"type": "submit", "token": f"s{n}", "seq": n, "jobs": [{**JOB, "requirement": {"n": 1}}] * 2000}],
        read=True,
    ),
    "launchers": lambda path: endlessly(
        path,
        "launcher",
        1,
        lambda n: [{"type": "launcher_here", "ids": [[i * 7, i * 7 + 5] for i in range(9000)], "seq": n}],
        read=True,
    ),
}


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    KINDS[sys.argv[2]](sys.argv[1])
