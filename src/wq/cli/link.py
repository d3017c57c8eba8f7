"""One's own launcher for a queue: talking to it, starting it, bringing it back, and what it has left to be said."""

from __future__ import annotations

import os
import sys

from wq.cli import config
from wq.cli.errors import AWAY, ServerDown, WqError, failure
from wq.protocol import places, sockets
from wq.protocol.wire import PROTOCOL, Frames, Message, decode, encode

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wq.cli.connection import Server

TAKEN = ("SSH_AUTH_SOCK", "KRB5CCNAME", "SSH_AGENT_PID", "DISPLAY", "XAUTHORITY")
PATIENCE_S = 2.0  # with a launcher that is not needed


class Queue:
    """Which queue: the uid of its server, its port, and whether it is one's own private one."""

    def __init__(self, uid: int, port: int, *, private: bool) -> None:
        self.uid, self.port, self.private = uid, port, private


def send(sock: sockets.socket, message: Message) -> None:
    """Raises ConnectionResetError if the other side has gone: a broken pipe would be taken for that of stdout."""
    try:
        sock.sendall(encode(message))
    except BrokenPipeError:
        raise ConnectionResetError from None


def look_after(queue: Queue | Server | ServerDown) -> None:
    """What any command does for its user: start his launcher again if it died with work to do, and show its news."""
    name = places.launcher_state_name(queue.port, queue.uid, private=queue.private)
    try:
        state = places.state_dir(name)[0]
        if os.path.exists(os.path.join(state, places.NEWS)):
            show_news(os.path.join(state, places.NEWS))
        if os.path.exists(os.path.join(state, places.UNFINISHED)):
            LauncherLink(queue).sock.close()
    except WqError as error:
        remark(str(error))
    except (places.PlaceError, OSError):
        pass  # what needs the launcher will say so


def show_news(path: str) -> None:
    """Lines for the user that the launcher has written when nobody was there; each is shown once."""
    mine = f"{path}.{os.getpid()}"
    try:
        os.rename(path, mine)  # whoever has it by this name shows it
    except FileNotFoundError:
        return
    with open(mine, encoding="utf-8", errors="replace") as news:
        for line in news:
            remark(line.rstrip("\n"))
    os.unlink(mine)


def remark(sentence: str) -> None:
    from wq.cli.render.sanitise import printable

    print(f"wq: {printable(sentence)}", file=sys.stderr)


class LauncherLink:
    """A connection to one's own launcher for a queue; starts the launcher if there is none.

    start: else WqError is raised if there is none, and one that does not answer soon is not waited for (TimeoutError).
    """

    def __init__(self, queue: Queue | Server | ServerDown, *, start: bool = True) -> None:
        self.queue, self.may_start = queue, start
        self.connect()

    def connect(self) -> None:
        """Also again, after the death of a launcher."""
        queue = self.queue
        path = places.launcher_socket(os.getuid(), queue.port, queue.uid, private=queue.private)
        self.sock = sockets.socket(sockets.AF_UNIX)
        if not self.may_start:
            self.sock.settimeout(PATIENCE_S)
        try:
            self.sock.connect(path)
        except (FileNotFoundError, ConnectionError):
            self.sock.close()
            if not self.may_start:
                raise WqError("your launcher does not run", AWAY) from None
            self.start()
            self.sock = sockets.socket(sockets.AF_UNIX)
            try:
                self.sock.connect(path)
            except OSError as error:
                raise WqError(f"your launcher does not answer at {path}: {error.strerror}") from None
        if places.peer_uid(self.sock) != os.getuid():
            raise WqError(f"somebody else answers at {path}")
        self.frames = Frames(64 << 20)
        self.waiting: list[Message] = []  # heard, and not taken yet
        settings = config.load()
        hello: Message = {
            "type": "hello",
            "version": PROTOCOL,
            "env": {name: os.environ[name] for name in TAKEN if name in os.environ},
            "any_node": settings.get("nodes") == "any",
        }
        ssh_command = os.environ.get("WQ_SSH") or settings.get("ssh_command")
        if ssh_command:
            hello["ssh_command"] = ssh_command
        send(self.sock, hello)

    def start(self) -> None:
        from wq.cli import daemon

        queue = self.queue
        name = places.launcher_state_name(queue.port, queue.uid, private=queue.private)
        state, moved = places.state_dir(name)
        if moved:
            remark(moved)
        words = ["run_launcher", "-p", str(queue.port), "--server-uid", str(queue.uid), "--state", state]
        if queue.private:
            words.append("--private")
        trouble = daemon.start(words, os.path.join(state, "launcher.log"))
        if trouble:
            raise WqError(f"your launcher did not start: {trouble}")

    def revive(self) -> None:
        """After the launcher's death: start the next one, which ends the foreground jobs of this one."""
        LauncherLink(self.queue).sock.close()

    def send(self, message: Message) -> None:
        send(self.sock, message)

    def messages(self) -> Iterator[Message]:
        """The messages that come, until the connection ends (blocking)."""
        while data := self.sock.recv(1 << 18):
            for body in self.frames.feed(data):
                message = decode(body)
                if isinstance(message, dict):
                    yield message

    def next_message(self) -> Message:
        """The next one (blocking); those that came with it wait for their turn. Raises ConnectionResetError."""
        while not self.waiting:
            data = self.sock.recv(1 << 18)
            if not data:
                raise ConnectionResetError
            self.waiting = [found for found in map(decode, self.frames.feed(data)) if isinstance(found, dict)]
        return self.waiting.pop(0)

    def refusal(self, message: Message) -> WqError:
        """What to say of an error that the launcher answers."""
        theirs, status = message.get("version"), message.get("status")
        if isinstance(theirs, int) and theirs != PROTOCOL:
            return WqError(
                f"your launcher for this queue is of another version of wq (it speaks protocol {theirs}, this wq "
                f"{PROTOCOL}); end it with `kill {self.pid()}` and try again: batch jobs go on, foreground jobs end"
            )
        if status == AWAY and isinstance(self.queue, ServerDown):
            return WqError(f"{self.queue}; nothing was kept", AWAY)
        return WqError(str(message["error"]), failure(status))

    def pid(self) -> int:
        """The launcher's process, as the kernel says."""
        return places.peer(self.sock)[0]
