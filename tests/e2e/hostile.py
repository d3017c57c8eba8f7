"""A server that means no good: it says to clients and launchers whatever a test wants. Stand-alone.

    python3 -I hostile.py DIRECTORY QUEUE

DIRECTORY is where the clients look for the server's socket. Each line on stdin is a command, as JSON, and is answered
by a line on stdout:

    {"plan": {...}}                 what is said to words of each type, from now on
    {"say": [...], "times": 100}    say this to the launcher
    {"heard": true}                 what was heard since this was last asked: [role, word]
    {"close": true}                 close all connections
    {"deaf": true}                  read nothing more of the launcher
    {"shout": [...], "times": 100}  as say, but without waiting until it is said

A plan has a list of pieces for each type of word: an object is sent as a message ("$seq" and "$ids" in it are filled
in), a string as these bytes in hexadecimal, a number is so many bytes of blanks; "close" ends the connection, "endless"
before a piece says it for ever. Words that no plan names are answered as a friendly server would.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from typing import Any

PIECES: dict[str, list[Any]] = {
    "hello": [{"ok": "$welcome", "seq": "$seq"}],
    "submit": [{"ok": {"ids": "$ids"}, "seq": "$seq"}],
    "ls": [{"ok": {"jobs": [], "counts": {}}}],
    "launcher_here": [{"ok": {}}],
}
SILENT = ("attempts", "attempt_taken_back", "sight")  # reports, which have no answer


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


class Hostile:
    """All connections, and what was heard on them."""

    def __init__(self, queue: str) -> None:
        self.welcome = {"version": 2, "queue": queue, "owner": os.getuid(), "owner_name": "x", "nodes": []}
        self.plan: dict[str, list[Any]] = {}
        self.heard: list[tuple[str, Any]] = []
        self.open: set[socket.socket] = set()
        self.launcher: socket.socket | None = None
        self.next_id = 1_000_000
        self.deaf = False
        self.lock = threading.Lock()

    def serve(self, conn: socket.socket) -> None:
        """One connection to its end."""
        self.open.add(conn)
        role, buffer = "?", b""
        with contextlib.suppress(OSError):
            while data := conn.recv(1 << 18):
                buffer += data
                while self.deaf and conn is self.launcher:
                    time.sleep(0.05)
                while len(buffer) >= 4 and len(buffer) >= 4 + (size := int.from_bytes(buffer[:4], "big")):
                    word = json.loads(buffer[4 : 4 + size])
                    buffer = buffer[4 + size :]
                    if word["type"] == "hello":
                        role = word["role"]
                    with self.lock:
                        self.heard.append((role, word))
                    self.answer(conn, role, word)
                    if role == "launcher" and word["type"] == "launcher_here":
                        self.launcher = conn
        self.open.discard(conn)
        conn.close()

    def answer(self, conn: socket.socket, role: str, word: Any) -> None:
        kind = word["type"]
        pieces = self.plan.get(f"{kind} {role}", self.plan.get(kind))
        if pieces is None:
            pieces = [] if kind in SILENT else PIECES.get(kind, [{"ok": {}, "seq": "$seq"}])
        endless = False
        for piece in pieces:
            if piece == "close":
                conn.shutdown(socket.SHUT_RDWR)
                raise OSError
            if piece == "endless":
                endless = True
                continue
            data = self.data_of(piece, word)
            conn.sendall(data)
            while endless:
                conn.sendall(data)

    def data_of(self, piece: Any, word: Any) -> bytes:
        if isinstance(piece, str):
            return bytes.fromhex(piece)
        if isinstance(piece, int):
            return b" " * piece
        return frame(json.dumps(self.filled(piece, word)).encode())

    def filled(self, value: Any, word: Any) -> Any:
        """With what only this moment knows."""
        if value == "$seq":
            return word.get("seq", 0)
        if value == "$welcome":
            return self.welcome
        if value == "$ids":
            ids = [self.next_id + at for at in range(len(word["jobs"]))]
            self.next_id += len(ids)
            return ids
        if isinstance(value, dict):
            return {key: self.filled(one, word) for key, one in value.items()}
        return value

    def say(self, pieces: list[Any], times: int) -> str:
        """To the launcher."""
        launcher = self.launcher
        if launcher is None:
            return "no launcher"
        data = b"".join(self.data_of(piece, {}) for piece in pieces)
        try:
            for _ in range(times):
                launcher.sendall(data)
        except OSError as error:
            return str(error)
        return "done"

    def command(self, order: Any) -> Any:
        """What a test wants."""
        if "plan" in order:
            self.plan = order["plan"]
        if "close" in order:
            for conn in list(self.open):
                with contextlib.suppress(OSError):
                    conn.shutdown(socket.SHUT_RDWR)
            self.launcher, self.deaf = None, False
        if "deaf" in order:
            self.deaf = True
        if "say" in order:
            return self.say(order["say"], order.get("times", 1))
        if "shout" in order:
            threading.Thread(target=self.say, args=(order["shout"], order.get("times", 1)), daemon=True).start()
        if "heard" in order:
            with self.lock:
                heard, self.heard = self.heard, []
            return heard
        return "done"


def say_line(value: Any) -> None:
    """To the test."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    directory, queue = sys.argv[1:]
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory)
    os.chmod(directory, 0o755)
    path = f"{directory}/server.sock"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    os.chmod(path, 0o777)
    listening.listen(512)
    hostile = Hostile(queue)

    def accept() -> None:
        while True:
            conn, _ = listening.accept()
            threading.Thread(target=hostile.serve, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    say_line("here")
    for line in sys.stdin:
        say_line(hostile.command(json.loads(line)))


if __name__ == "__main__":
    main()
