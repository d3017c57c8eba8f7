"""The link to one node: one ssh connection (or a local child), opened when first needed and kept warm."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wq.backends import ssh
from wq.core.cluster import LOCALHOST
from wq.core.job import HostName
from wq.launcher import heard
from wq.node import shepherd

OPENED_AT_ONCE = 4
OPEN_TIMEOUT_S = 40.0
MOST_NOISE_BYTES = 256 << 10  # what a login may print before the shepherd's first word
PING_EVERY_S = 5.0
PINGS_UNANSWERED = 3  # then the link is dead (counted: that the launcher itself was stopped for long proves nothing)
KEPT_ERRORS = 8192
END_PATIENCE_S = 0.5  # of ssh, when its input is closed
KILLED_PATIENCE_S = 5.0

SOURCE = Path(shepherd.__file__).read_bytes()
BOOT = (
    "import sys;s=sys.stdin.buffer.read({size});"
    'sys.version_info<(3,6) and sys.exit("python 3.6 or newer is needed");'
    'WQ_BOOT={{"key":"{key}","source":s}};exec(s)'
)


def surface(task: asyncio.Task[None]) -> None:
    """A bug in a task is not kept silent: raised here, it reaches the loop's handler."""
    if not task.cancelled():
        task.result()


class Link:
    """A connection to the shepherd of one node. Its owner hears of it through the callbacks.

    on_up(host): the greeting has come. on_word(host, word): a message of the shepherd.
    on_down(host, why, was_up): the connection is over, or never came about.
    """

    places: asyncio.Semaphore | None = None

    def __init__(
        self,
        host: HostName,
        key: str,
        *,
        on_word: Callable[[HostName, Any], None],
        on_down: Callable[[HostName, str, bool], None],
    ) -> None:
        self.host, self.key = host, key
        self.on_word, self.on_down = on_word, on_down
        self.process: asyncio.subprocess.Process | None = None
        self.errors = bytearray()
        self.up = False
        self.spool = ""  # of the shepherd, on the node
        self.features: frozenset[str] = frozenset()
        self.task: asyncio.Task[None] | None = None
        self.closing = False
        self.unanswered = 0
        self.silent = False

    def open(self, ssh_command: str, env: dict[str, str]) -> None:
        """Begin to connect."""
        self.task = asyncio.create_task(self.run(ssh_command, env))
        self.task.add_done_callback(surface)

    def argv(self, ssh_command: str) -> list[str]:
        boot = BOOT.format(size=len(SOURCE), key=self.key)
        if self.host == LOCALHOST:
            return [sys.executable, "-I", "-S", "-c", boot]
        return ssh.command(ssh_command, self.host, words=[f"python3 -I -S -c '{boot}'"])

    async def run(self, ssh_command: str, env: dict[str, str]) -> None:
        """The whole life of one connection."""
        if Link.places is None:
            Link.places = asyncio.Semaphore(OPENED_AT_ONCE)
        why = "closed"
        try:
            async with Link.places:
                rest = await asyncio.wait_for(self.connect(ssh_command, env), OPEN_TIMEOUT_S)
            self.up = True
            await self.listen(rest)
        except (OSError, ValueError, TimeoutError, EOFError) as error:
            why = str(error) or f"{self.host} does not answer (no greeting within {OPEN_TIMEOUT_S:.0f} s)"
        finally:
            await self.end()
        status = self.process.returncode if self.process is not None else None
        if why == "silent":
            why = ssh.sentence(self.host, status, self.errors.decode("utf-8", "replace"))
        if self.silent:
            why = f"{self.host} has said nothing for {PINGS_UNANSWERED * PING_EVERY_S:.0f} s"
        elif self.up and why == "closed":
            why = f"the connection to {self.host} is lost"
        self.on_down(self.host, why, self.up)

    async def connect(self, ssh_command: str, env: dict[str, str]) -> bytes:
        """Start ssh, send the shepherd's source, wait for its greeting; answers what came after that."""
        self.process = await asyncio.create_subprocess_exec(
            *self.argv(ssh_command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=env,
            cwd="/",
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.errors_task = asyncio.create_task(self.keep_errors())
        self.process.stdin.write(SOURCE)
        seen = b""
        while True:
            data = await self.process.stdout.read(65536)
            seen += data
            _, greeting, rest = seen.partition(b"\n" + shepherd.GREETING)
            if greeting:
                return rest
            _, complaint, sentence = seen.partition(b"\n" + shepherd.COMPLAINT)
            if complaint and (b"\n" in sentence or not data):
                text = sentence.split(b"\n")[0].decode("utf-8", "replace")
                raise OSError(f"{self.host}: {text}")
            _, other, said = seen.partition(b"\nwq-shepherd/")
            if other and b" ready\n" in said:
                version = said.split(b" ")[0].decode("utf-8", "replace")[:20]
                ours = shepherd.GREETING.split(b"/")[1].split(b" ")[0].decode()
                why = f"a shepherd of version {version} is still there; this wq speaks {ours}"
                raise OSError(f"{self.host}: {why}: it goes when its jobs are over and known")
            if not data:
                await asyncio.wait_for(self.process.wait(), 5.0)
                await asyncio.wait_for(self.errors_task, 5.0)
                raise EOFError("silent")
            if len(seen) > MOST_NOISE_BYTES:
                raise OSError(f"{self.host} prints without end before the shepherd's first word")

    async def keep_errors(self) -> None:
        """The end of what ssh and the login say on stderr."""
        assert self.process is not None
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(4096):
            self.errors = (self.errors + data)[-KEPT_ERRORS:]

    async def listen(self, rest: bytes) -> None:
        """Hand on the shepherd's words until the connection ends."""
        assert self.process is not None
        assert self.process.stdout is not None
        frames: Any = shepherd.Frames()  # type: ignore[no-untyped-call]
        pings = asyncio.create_task(self.ping())
        try:
            data = rest
            while True:
                self.unanswered = 0
                for word in frames.feed(data):
                    heard.check(word)
                    self.on_word(self.host, word)
                data = await self.process.stdout.read(1 << 18)
                if not data:
                    return
        finally:
            pings.cancel()

    async def ping(self) -> None:
        """Ask now and then whether anybody is there; a link that is silent is cut, and another one tried."""
        assert self.process is not None
        while True:
            await asyncio.sleep(PING_EVERY_S)
            if self.unanswered >= PINGS_UNANSWERED:
                self.silent = True
                if self.process.returncode is None:
                    ssh.kill(self.process.pid)
                return
            self.unanswered += 1
            self.send({"do": "ping"})

    def send(self, word: dict[str, Any]) -> None:
        """A word to the shepherd. It is lost if the connection is; whoever needs to know asks again on the next."""
        self.write(shepherd.pack(word))  # type: ignore[no-untyped-call]

    def send_data(self, att: str, channel: int, offset: int, payload: bytes) -> None:
        self.write(shepherd.pack_data(att, channel, offset, payload))  # type: ignore[no-untyped-call]

    def write(self, frame: bytes) -> None:
        if self.up and self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                self.process.stdin.write(frame)

    def close(self) -> None:
        """Let go: the shepherd stays as long as it has something to do."""
        self.closing = True
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        elif self.task is not None:
            self.task.cancel()

    async def end(self) -> None:
        """Make sure that no ssh of ours stays behind."""
        process = self.process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        over = asyncio.create_task(read_to_the_end(process))
        _, waiting = await asyncio.wait([over], timeout=END_PATIENCE_S)
        if waiting:
            if process.returncode is None:
                ssh.kill(process.pid)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over, KILLED_PATIENCE_S)
        if process.stdin is not None:  # what could not be written is no news: the connection is over
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(process.stdin.wait_closed(), 1.0)


async def read_to_the_end(process: asyncio.subprocess.Process) -> None:
    """Until a process is over. (asyncio tells that only when its pipes are at their end, so somebody must read.)"""
    if process.stdout is not None:
        while await process.stdout.read(1 << 18):
            pass
    await process.wait()
