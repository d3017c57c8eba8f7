"""Speaks the shepherd's protocol, without launcher or scheduler: what the tests and the storm of kills hold it to.

    with Driver(Local(user), key="q1") as driver:
        driver.open()
        driver.start("1.1", spec(user, "echo hello; exit 3"))
        driver.wait_for_end("1.1")                     # {"exit": 3, ...}
        driver.kill_client(); driver.open()            # as if nothing had happened
        driver.leave()                                 # acknowledges everything; nothing may stay behind

The driver remembers what it has over all its connections, as a launcher does: it resumes the streams where they
were cut off, and counts what must not happen (a second `started`, a gap in a stream).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from tests.e2e.rig import Nodes, User, is_alive, popen_as, processes_of
from tests.e2e.users import title_of
from wq.backends import ssh
from wq.launcher.link import BOOT
from wq.launcher.link import SOURCE as SOURCE
from wq.node import shepherd

NOT_HOW = frozenset({*shepherd.USED, "node_mem_bytes"})  # in an end: what it used, and had

T = TypeVar("T")
Word = dict[str, Any]
End = dict[str, Any]

NUMBERS = count()
PATIENCE_S = 30.0
IN_COMMON = ("script", "argv", "env", "env_mode", "set", "shell", "cwd", "umask", "limits", "hostfile")
SYSTEM_PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or "python3"


class Backend(Protocol):
    """How the shepherd's source is brought to where it runs."""

    @property
    def user(self) -> User: ...

    def connect(self, boot: str) -> subprocess.Popen[bytes]:
        """A process on whose stdin and stdout python reads the source, and then the shepherd answers."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """A child on this machine. before: a command that runs what follows it, e.g. with less rights."""

    user: User
    python: str = SYSTEM_PYTHON
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    before: Sequence[str] = ()

    def connect(self, boot: str) -> subprocess.Popen[bytes]:
        argv = [*self.before, self.python, "-I", "-S", "-c", boot]
        return _popen(self.user, argv, self.env)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ssh:
    """A real sshd, through OpenSSH with the arguments that the launcher gives it."""

    user: User
    nodes: Nodes
    host: str = "node1"

    def connect(self, boot: str) -> subprocess.Popen[bytes]:
        program = f"ssh -F {self.nodes.ssh_config(self.user)}"
        return _popen(self.user, ssh.command(program, self.host, words=[f"python3 -I -S -c '{boot}'"]), {})


def _popen(user: User, argv: Sequence[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    return popen_as(user, argv, env=env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)


def spec(user: User, script: str, **changes: Any) -> Word:
    """The spec of a batch job whose output comes over the link; changes: other values."""
    made = {
        "script": script,
        "shell": "/bin/sh",
        "cwd": str(user.home),
        "env": {},
        "env_mode": "submit",
        "set": {},
        "umask": 0o022,
        "limits": {},
        "cores": [0],
        "declared": 0,
        "hostfile": None,
        "io": "file",
        "out": "/nowhere/out",
        "probe": "?",
        "x": False,
    }
    assert changes.keys() <= made.keys() | {"argv", "err", "time_s", "warn"}
    return {**made, **changes}


def task(att: str, **more: Any) -> Word:
    """A task of a batch."""
    return {"att": att, "out": "/nowhere/out", "set": {}, **more}


@dataclasses.dataclass(slots=True, kw_only=True)
class Seen:
    """What the shepherd has said of one attempt."""

    state: str = ""
    pid: int = 0
    shared: bool | None = None
    channels: list[int] = dataclasses.field(default_factory=list)
    end: End | None = None
    times_started: int = 0
    times_ended: int = 0
    out: dict[int, bytearray] = dataclasses.field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    eof: dict[int, int] = dataclasses.field(default_factory=dict)
    gaps: int = 0
    stdin_at: int = 0
    acked: bool = False
    wants_side: bool = False
    why: str = ""  # it is `never`
    run_s: float | None = None

    @property
    def is_home(self) -> bool:
        """True if the end and all of the output are here."""
        return self.state == "ended" and all(len(self.out[ch]) == self.eof.get(ch, -1) for ch in self.channels)


class Driver:
    """One launcher's worth of connections to the shepherd of one spool."""

    def __init__(self, backend: Backend, key: str, *, source: bytes = SOURCE, user: User | None = None) -> None:
        """user: whose shepherd it is, if not the one that the backend runs as."""
        self.backend, self.key, self.source = backend, key, source
        self.user = user or backend.user
        self.bystanders: set[int] = set()  # pids of the user that are none of ours
        self.seen: dict[str, Seen] = {}
        self.here: Word = {}
        self.taking = True  # acknowledge output as it comes
        self.may_crash = False
        self.noise = b""  # what came before the greeting
        self.process: subprocess.Popen[bytes] | None = None
        self.frames: Any = None
        self.log: list[str] = []
        self.order: list[str] = []  # tasks of batches, as their ends came
        base = "/var/tmp" if os.access("/var/tmp", os.W_OK) else "/tmp"
        self.spool = Path(base) / f"wq-{self.user.uid}" / key

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.leave()
            else:
                with contextlib.suppress(OSError):
                    error.add_note(f"the shepherd's log:\n{(self.spool / 'log').read_text()}")
                error.add_note("\n".join(["the words of the shepherd:", *self.log[-40:]]))
        finally:
            self.hang_up()
            for pid in self.left():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.spool, ignore_errors=True)

    def __getitem__(self, att: str) -> Seen:
        return self.seen.setdefault(att, Seen())

    @property
    def long(self) -> str:
        """Seconds that only jobs of this driver sleep, so that it knows them without directory and environment."""
        return "4321." + "".join(filter(str.isdigit, self.key))

    # ---- the connection

    @property
    def up(self) -> bool:
        return self.frames is not None

    def connect(self) -> subprocess.Popen[bytes]:
        """Begin to connect: the source is on its way."""
        self.hang_up()
        self.noise = b""
        self.process = self.backend.connect(BOOT.format(size=len(self.source), key=self.key))
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(self.source)
            self.process.stdin.flush()
        os.set_blocking(self.process.stdout.fileno(), False)
        return self.process

    def open(self, *, tries: int = 1) -> None:
        """Connect, and hear what the shepherd knows. Several tries: where the shepherd may be killed meanwhile."""
        for _ in range(tries):
            self.connect()
            self.here = {}
            with contextlib.suppress(ConnectionError):
                self.wait(lambda: self.here, "the shepherd's greeting")
                return
        raise ConnectionError(f"no greeting; the login said {self.noise!r}")

    def turn(self, timeout_s: float) -> None:
        """Take what comes within so many seconds. Raises ConnectionError when the connection is over."""
        if self.process is None:
            raise ConnectionError("not connected")
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return
        data = os.read(fd, 1 << 18)
        if not data:
            self.hang_up()
            raise ConnectionError("the connection ended")
        if self.frames is None:
            self.noise += data
            before, greeting, data = self.noise.partition(b"\n" + shepherd.GREETING)
            if not greeting:
                return
            self.noise = before
            self.frames = shepherd.Frames()  # type: ignore[no-untyped-call]
        for word in self.frames.feed(data):
            if isinstance(word, tuple):
                self.chunk(*word)
            else:
                self.told(word)

    def wait(self, condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
        """The value of a condition, when it is true; meanwhile, what comes over the connection is taken."""
        deadline = time.monotonic() + timeout_s
        while True:
            if value := condition():
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout_s:g} s in vain: {what}")
            if self.process is not None:
                self.turn(0.01)
            else:
                time.sleep(0.01)

    def send(self, word: Word) -> None:
        self.write(shepherd.pack(word))  # type: ignore[no-untyped-call]

    def write(self, frame: bytes) -> None:
        """Lost if the connection is: as in the launcher."""
        if self.process is not None and self.up:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError, ValueError):
                self.process.stdin.write(frame)
                self.process.stdin.flush()

    def hang_up(self) -> None:
        """Close the connection, as a launcher that goes in order; waits for the client's end."""
        process, self.process, self.frames = self.process, None, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # ---- what the shepherd says

    def told(self, word: Word) -> None:
        said = word["say"]
        self.log.append(str(word))
        if said == "here":
            self.here = word
            for view in word["attempts"]:
                self.viewed(view)
                self.resume(view["att"])
        elif said == "tasks":
            self.told_of_tasks(word)
        elif "att" in word:
            seen = self[word["att"]]
            if said == "started":
                seen.times_started += 1
                seen.pid, seen.shared, seen.state = word["pid"], word["shared"], "running"
            elif said in ("state", "ended"):
                seen.times_ended += said == "ended"
                self.viewed(word)
            elif said == "eof":
                seen.eof[word["ch"]] = word["off"]
            elif said == "stdin_at":
                seen.stdin_at = word["off"]
            elif said == "acked":
                seen.acked = True
            elif said == "side":
                seen.wants_side = True

    def told_of_tasks(self, word: Word) -> None:
        apart = word["shared"]
        for att, pid, channels in word["started"]:
            self[att].times_started += 1
            self[att].pid, self[att].channels, self[att].state = pid, channels, "running"
            self[att].shared = apart.get(att, True)
        for att, end, channels, run_s in word["ended"]:
            seen = self[att]
            assert seen.end is None or seen.end == end, f"{att} ended {seen.end}, then {end}"
            seen.times_ended += 1
            seen.end, seen.channels, seen.run_s, seen.state = end, channels, run_s, "ended"
            seen.shared = apart.get(att, True)
            self.order.append(att)
        for att, why in word["never"]:
            self[att].state, self[att].why = "never", why

    def viewed(self, view: Word) -> None:
        seen = self[view["att"]]
        seen.state, seen.pid, seen.shared, seen.channels = view["state"], view["pid"], view["shared"], view["chs"]
        seen.why, seen.run_s = view.get("why", ""), view.get("run_s")
        if "end" in view:
            assert seen.end is None or seen.end == view["end"], f"{view['att']} ended {seen.end}, then {view['end']}"
            seen.end = view["end"]

    def chunk(self, att: str, channel: int, offset: int, payload: bytes) -> None:
        seen = self[att]
        have = len(seen.out[channel])
        if offset > have:
            seen.gaps += 1
            return
        seen.out[channel] += payload[have - offset :]
        if self.taking:
            self.take(att, channel)

    # ---- what the launcher says

    def start(self, att: str, job: Word) -> None:
        self[att]
        self.send({"do": "start", "att": att, "spec": job})

    def template(self, name: str, job: Word, **more: Any) -> None:
        """What the tasks of batches have in common, of a spec as for `start`."""
        common = {key: value for key, value in job.items() if key in IN_COMMON}
        self.send({"do": "template", "name": name, "spec": {**common, **more}})

    def batch(self, lane: int, template: str, tasks: list[Word], **changes: Any) -> None:
        for task in tasks:
            self[task["att"]]
        word = {"lane": lane, "template": template, "cores": [0], "declared": 0, "patience_s": None, "probe": None}
        assert changes.keys() <= {*word, "probes"}
        self.send({"do": "batch", **word, **changes, "tasks": tasks})

    def acks(self, atts: Iterable[str]) -> None:
        """As launchers do it; answered by nothing."""
        self.send({"do": "acks", "atts": list(atts)})

    def query(self, att: str) -> str:
        """The state of an attempt, as the shepherd answers."""
        self[att].state = ""
        self.send({"do": "query", "att": att})
        return self.wait(lambda: self[att].state, f"an answer about {att}")

    def stop(self, att: str, grace_s: float, number: signal.Signals = signal.SIGTERM) -> None:
        self.send({"do": "stop", "att": att, "grace_s": grace_s, "signal": int(number)})

    def suspend(self, att: str) -> None:
        """Answers when the shepherd has heard it."""
        self.send({"do": "suspend", "att": att})
        self.query(att)

    def carry_on(self, att: str) -> None:
        self.send({"do": "continue", "att": att})
        self.query(att)

    def signal(self, att: str, number: int) -> None:
        self.send({"do": "signal", "att": att, "number": number})

    def limit(self, att: str, time_s: float | None) -> None:
        self.send({"do": "limit", "att": att, "time_s": time_s})

    def resume(self, att: str) -> None:
        have = {str(channel): len(out) for channel, out in self[att].out.items()}
        self.send({"do": "resume", "att": att, "have": have})

    def take(self, att: str, channel: int) -> None:
        self.send({"do": "got", "att": att, "ch": channel, "off": len(self[att].out[channel])})

    def feed(self, att: str, offset: int, payload: bytes) -> None:
        """Input for a job; all that comes before offset has been sent."""
        self.write(shepherd.pack_data(att, 0, offset, payload))  # type: ignore[no-untyped-call]

    def end_input(self, att: str) -> None:
        self.send({"do": "eof", "att": att})

    def ack(self, att: str) -> None:
        self.send({"do": "ack", "att": att})
        self.wait(lambda: self[att].acked, f"{att} to be forgotten")

    def wait_for_start(self, att: str) -> int:
        """The pid of the job's first process."""
        return self.wait(lambda: self[att].pid, f"the start of {att}")

    def wait_for_end(self, att: str) -> End:
        """How an attempt ended; all of its output has come."""
        self.wait(lambda: self[att].is_home, f"the end and the output of {att}")
        assert self[att].gaps == 0
        return self[att].end or {}

    def how_it_ended(self, att: str) -> End:
        """The same without what it used."""
        return {key: value for key, value in self.wait_for_end(att).items() if key not in NOT_HOW}

    def output(self, att: str, channel: int = 1) -> str:
        return self[att].out[channel].decode()

    def run(self, att: str, job: Word) -> End:
        """Start it and wait for its end."""
        self.start(att, job)
        return self.wait_for_end(att)

    def leave(self) -> None:
        """End what runs, acknowledge everything, go: nothing may stay behind."""
        self.taking = True
        if not self.up:
            self.open(tries=3)
        for att, seen in self.seen.items():
            if self.query(att) != "never":
                self.stop(att, 0.0)
                for channel in seen.channels:
                    self.take(att, channel)
                self.wait_for_end(att)
            self.ack(att)
        if not self.may_crash:
            assert "Traceback" not in (self.spool / "log").read_text()
        self.hang_up()
        self.wait_until_gone()

    def wait_until_gone(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.left() or self.spool.exists():
            if time.monotonic() > deadline:
                files = [path.name for path in self.spool.glob("*")]
                raise AssertionError(f"left behind: {[title_of(pid) for pid in self.left()]}, files {files}")
            time.sleep(0.01)

    # ---- processes

    def left(self) -> list[int]:
        """The processes of this spool, or, where the user is one of the rig's, all of the user but the bystanders."""
        found = []
        for pid in processes_of(self.user.uid):
            if pid in self.bystanders:
                continue
            if self.user.uid != os.geteuid() or self.is_of_spool(pid):
                found.append(pid)
        return found

    def is_of_spool(self, pid: int) -> bool:
        """True if its directory, its words or its environment tell that it has to do with this spool."""
        with contextlib.suppress(OSError):
            if Path(os.readlink(f"/proc/{pid}/cwd")) == self.spool:
                return True
            words = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            return (self.key.encode() in words or self.long.encode() in words) and pid != os.getpid()
        return False

    def pids(self, role: str) -> list[int]:
        """Of the living processes in the spool: `wq-keeper`, `wq-shepherd`, or `attach`."""
        found = []
        for pid in processes_of(self.user.uid):
            with contextlib.suppress(OSError):
                if Path(os.readlink(f"/proc/{pid}/cwd")) == self.spool:
                    title = title_of(pid)
                    if title.startswith(role + " ") or (role == "attach" and "WQ_BOOT" in title):
                        found.append(pid)
        return found

    def pid(self, role: str) -> int:
        """The one process of this role, as soon as it is there."""
        deadline = time.monotonic() + PATIENCE_S
        while len(pids := self.pids(role)) != 1:
            assert time.monotonic() < deadline, f"as {role} there are {pids}"
            time.sleep(0.005)
        return pids[0]

    def kill(self, *roles: str) -> None:
        """kill -9 of these, at the same moment; returns when they are gone."""
        pids = [self.pid(role) for role in roles]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # an attacher goes with its shepherd
                os.kill(pid, signal.SIGKILL)
        self.wait_for_pids(*pids)

    def wait_for_pids(self, *pids: int) -> None:
        """Until these processes are gone (whatever comes over the connection meanwhile stays there)."""
        deadline = time.monotonic() + PATIENCE_S
        while any(map(is_alive, pids)):
            assert time.monotonic() < deadline, f"{pids} do not end"
            time.sleep(0.005)

    def kill_client(self) -> None:
        """kill -9 of the ssh client (locally, of the attacher itself)."""
        assert self.process is not None
        self.process.kill()
        self.hang_up()


def new_key() -> str:
    """The name of a spool that nobody has."""
    return f"contract{os.getpid():08}-{next(NUMBERS):04}@n1"
