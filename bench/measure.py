"""What the benches share: a queue to measure, runs in turn, tables, peers.

Everything is real: processes of a throw-away user (of your own, with an empty HOME, where we are not root), a server on
a port of its own, sshd on loopback. All of it is ended and removed when the `with` ends.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e import rig
from tests.e2e.queues import Queue
from tests.e2e.rig import Nodes, User
from wq.protocol import places
from wq.protocol.wire import PROTOCOL, Frames, decode, encode

ROUNDS = 5
END_S = 900.0  # after which something that does not end is given up
HERE = Path(__file__).parent

Run = Callable[[], "float | None"]  # does it once; what it took in seconds, if it has measured that itself
Row = dict[str, Any]


# ---- the command line, and what is printed


def arguments(name: str, text: str | None, rounds: int = ROUNDS) -> argparse.ArgumentParser:
    """The options that all benches have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"of which the median is shown ({rounds})")
    parser.add_argument("--small", action="store_true", help="a tenth of everything, to see whether it works")
    return parser


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def head(title: str) -> None:
    say("", f"## {title}", "")


def machine() -> str:
    """One line about this machine, so that figures can be compared at all."""
    model = "unknown processor"
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = found[1] if found else model
    system = f"Linux {platform.release()}; Python {platform.python_version()}"
    return f"{time.strftime('%Y-%m-%d')}; {os.cpu_count()} x {model}; {system}; load before: {os.getloadavg()[0]:.2f}"


# ---- runs in turn


def seconds(run: Run) -> float:
    before = time.perf_counter()
    own = run()
    return time.perf_counter() - before if own is None else own


def in_turn(rounds: int, runs: Mapping[str, Run], *, warm: int = 1) -> dict[str, list[float]]:
    """The seconds of each, A B C A B C ..., so that all see the same machine; rounds to warm up are not counted.

    What fails is said once, and left out of the other rounds and of the table.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + warm):
        for name, run in runs.items():
            if name not in times:
                continue
            try:
                spent = seconds(run)
            except (AssertionError, Failed) as error:
                say(f"{name}: failed, left out: {error}")
                del times[name]
                continue
            if number >= warm:
                times[name].append(spent)
    return times


class Failed(Exception):
    """Something that is measured has not done what it should; its text is the sentence."""


def middle(values: Sequence[float], digits: int = 2) -> str:
    """`median (min - max)`."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def table(
    times: Mapping[str, Sequence[float]],
    against: Sequence[str],
    *,
    unit: str = "s",
    digits: int = 2,
    counts: Mapping[str, int] | None = None,
    whole: int = 0,
) -> list[str]:
    """Medians, extremes, and the ratio to each of `against`, round by round: a table for docs/performance.md.

    counts: how many tasks each run had. All are then shown as what `whole` tasks would take.
    """
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
    shown = {
        name: [value * scale * (whole / counts[name] if counts else 1) for value in values]
        for name, values in times.items()
        if values
    }
    peers = [peer for peer in against if peer in shown]
    columns = ["", unit, "min", "max", *(["us a task"] if counts else []), *(f"x {peer}" for peer in peers)]
    rows = []
    for name, values in shown.items():
        row = [name, *(f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))]
        if counts:
            row.append(f"{statistics.median(values) / scale / whole * 1e6:.0f}")
            if counts[name] != whole:
                row[0] += f" (measured with {counts[name]:,})"
        for peer in peers:
            ratios = [one / other for one, other in zip(values, shown[peer], strict=False)]
            row.append("1" if peer == name else middle(ratios))
        rows.append(row)
    return grid(columns, rows)


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown; the first column to the left, the others to the right."""
    widths = [max(len(row[at]) for row in [columns, *rows]) for at in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        return f"| {' | '.join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(columns), line(rule), *map(line, rows)]


# ---- memory


def memory_mb(pid: int | None) -> tuple[float, float]:
    """(resident, proportional) memory of a process."""
    if pid is None:
        return 0.0, 0.0
    rss = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    pss = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(rss[1]) / 1024 if rss else 0.0, int(pss[1]) / 1024 if pss else 0.0


# ---- a queue to measure


class BenchQueue(Queue):
    """A queue whose `ssh` is that of the user's nodes, also where ~/.ssh is not ours to write."""

    extra_path = ""

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        env = super().env(more)
        return {**env, "PATH": f"{self.extra_path}{env['PATH']}"}

    def _end_all(self) -> None:
        """Whatever still runs is ended too: a bench may have been interrupted."""
        rig.signal_all(self.job_processes())
        try:
            super()._end_all()
        except AssertionError as error:  # (the rest was killed)
            say(f"the queue on port {self.port}: {error}")


class Site:
    """One user, perhaps some sshd nodes, and the queues that are served for them."""

    def __init__(self, nodes: int = 0) -> None:
        self._undo = contextlib.ExitStack()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends then, too
        try:
            self.base = self._undo.enter_context(rig.Base())
            self.users: rig.Users | None = None
            if rig.no_accounts():
                home = self.base.directory("home")
                self.user = dataclasses.replace(rig.current_user(), home=home)
            else:
                self.users = self._undo.enter_context(rig.Users(self.base))
                self.user = self.users.create()
            self.nodes = self._undo.enter_context(Nodes(self.base, nodes, users=[self.user])) if nodes else None
            self.bin = rig.public_wq(self.base)
            # The Python that wq itself runs on.
            self.python = (self.bin / "wq").read_text().partition("exec ")[2].split()[0]
            self.wq = str(self.bin / "wq")
            self.queue: BenchQueue | None = None
            self.starters: dict[int, Starter] = {}
        except BaseException:
            self._undo.close()
            raise

    def serve(self, cluster: str, *, others: Sequence[User] = ()) -> BenchQueue:
        """A queue of the user's, with the launcher there. The newest is the one that the commands mean."""
        queue = BenchQueue(
            wq=self.bin,
            owner=self.user,
            users=[self.user, *others],
            cluster=self.user.write(self.base.directory("queue") / "cluster.txt", cluster),
            serve=False,
        )
        if self.nodes is not None:
            queue.extra_path = self.nodes.path_with_ssh(self.user).partition(":")[0] + ":"
        self._undo.enter_context(queue)
        queue.serve()
        queue.greet()
        self.queue = queue
        self.call([self.wq, "sub", "-c", "true"])
        return queue

    def attacked(self) -> tuple[BenchQueue, User, User]:
        """(a queue, one who means no good and may run next to nothing, another user). Raises Failed without root."""
        if self.users is None:
            raise Failed("it needs accounts of its own (useradd), so root")
        attacker, innocent = self.users.create(), self.users.create()
        queue = self.serve("localhost 4 8\n", others=[attacker, innocent])
        self.call([self.wq, "limit", "-u", attacker.name, "run: 1; cores: 1"])
        return queue, attacker, innocent

    def fresh(self) -> Path:
        """A new directory of the user's; nothing is deleted before the end, as that would slow down the next round."""
        path = self.base.directory("work")
        self.user.own(path, 0o755)
        return path

    def call(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: User | None = None,
        queue: Queue | None = None,
    ) -> str:
        """Run a command as the user, without a shell between, and expect it to succeed; its output."""
        return self.run(argv, cwd=cwd, env=env, user=user, queue=queue)[0]

    def time(self, argv: Sequence[str | Path], **how: Any) -> float:
        """The seconds of a command that is run like that, from just before it is spawned until its end is known."""
        return self.run(argv, **how)[1]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: User | None = None,
        queue: Queue | None = None,
    ) -> tuple[str, float]:
        who, of = user or self.user, queue or self.queue
        if who.uid not in self.starters:
            self.starters[who.uid] = self._undo.enter_context(Starter(self, who))
        environment = {**who.environment(), **(of.env() if of else {}), **(env or {})}
        return self.starters[who.uid].run([str(word) for word in argv], cwd or who.home, environment)

    def sub(self, *words: str | Path, cwd: Path | None = None, user: User | None = None) -> tuple[int, int]:
        """`wq sub -b -q WORDS`; the first and the last id."""
        ids = [int(word) for word in self.call([self.wq, "sub", "-b", "-q", *words], cwd=cwd, user=user).split()]
        return ids[0], ids[-1]

    def watcher(self) -> Watcher:
        assert self.queue is not None
        return Watcher(self.user.uid, self.queue.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()


STARTER = """
import json, os, sys, time
sys.stdout.write("ready\\n")
sys.stdout.flush()
for line in sys.stdin:
    order = json.loads(line)
    os.chdir(order["cwd"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    actions += [(os.POSIX_SPAWN_OPEN, to, order["out"] + str(to), flags, 0o644) for to in (1, 2)]
    before = time.perf_counter()
    try:
        pid = os.posix_spawn(order["program"], order["argv"], order["env"], file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except OSError as error:
        status = str(error)
    spent = time.perf_counter() - before
    sys.stdout.write(json.dumps({"seconds": spent, "status": status}) + "\\n")
    sys.stdout.flush()
"""


class Starter:
    """A small process of the user's that starts commands, so that the size of this one is not what is measured."""

    def __init__(self, site: Site, user: User) -> None:
        self.out = site.base.directory("starter")
        user.own(self.out, 0o755)
        self.process = rig.popen_as(user, [site.python, "-I", "-S", "-c", STARTER], stdin=subprocess.PIPE)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise Failed("no process can be started as the user")

    def run(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[str, float]:
        """(what it has printed, the seconds that it took). Raises Failed if its status is not 0."""
        program = shutil.which(argv[0], path=env["PATH"])
        if program is None:
            raise Failed(f"{argv[0]} is not installed")
        order = {"program": program, "argv": argv, "cwd": str(cwd), "env": env, "out": str(self.out / "out")}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or b'{"status": "its starter has died"}')
        if answer["status"] != 0:
            error = (self.out / "out2").read_text(errors="replace").strip()[-500:]
            raise Failed(f"{' '.join(argv)[:200]}: exit {answer['status']}: {error}")
        return (self.out / "out1").read_text(errors="replace"), answer["seconds"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        rig.signal_all([*rig.descendants_of(self.process.pid), self.process.pid])
        self.process.communicate()


class Watcher:
    """A connection to the server that stays, to ask when something is over without starting a process for it."""

    def __init__(self, uid: int, port: int) -> None:
        self.uid, self.port = uid, port
        self.sock: socket.socket | None = None

    def connect(self) -> None:
        self.close()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(places.server_socket(self.uid, self.port))
        self.frames, self.bodies = Frames(64 << 20), list[bytes]()
        self.sock.sendall(encode({"type": "hello", "version": PROTOCOL, "role": "client"}))
        self.receive()

    def receive(self) -> Row:
        assert self.sock is not None
        while not self.bodies:
            data = self.sock.recv(1 << 18)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self.bodies = self.frames.feed(data)
        message = decode(self.bodies.pop(0))
        assert isinstance(message, dict)
        if "error" in message:
            raise Failed(str(message["error"]))
        return message

    def ask(self, kind: str, **fields: object) -> Row:
        if self.sock is None:
            self.connect()
        assert self.sock is not None
        self.sock.sendall(encode({"type": kind, **fields}))
        pages: list[Row] = []
        while "page" in (message := self.receive()):
            pages += message["page"]
        facts: Row = message["ok"]
        if pages:
            facts["jobs"] = pages + facts["jobs"]
        return facts

    def jobs(self, first: int, last: int) -> list[Row]:
        rows: list[Row] = self.ask("ls", users=[], ids=[[first, last]], finished=False, why=False)["jobs"]
        return rows

    def wait_for_end(self, first: int, last: int, *, every_s: float = 0.05, ahead: int = 8) -> None:
        """Until these are over. They end about in their order, so the last ones are asked about, and at the end all."""
        deadline = time.monotonic() + END_S
        at = max(first, last - ahead + 1)
        while True:
            rows: list[Row] = []
            with contextlib.suppress(OSError):
                rows = self.jobs(at, last)
            if rows and all(row["state"] == "done" for row in rows):
                if at == first:
                    return
                at = first
                continue
            if not rows:  # the server is away
                self.close()
            if time.monotonic() > deadline:
                raise Failed(f"jobs {first}-{last} have not ended after {END_S:.0f} s")
            time.sleep(every_s)

    def wait_until_empty(self) -> None:
        deadline = time.monotonic() + END_S
        while self.ask("stat")["counts"]["jobs"]:
            if time.monotonic() > deadline:
                raise Failed(f"the queue is not empty after {END_S:.0f} s")
            time.sleep(0.05)

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def need_linux_programs(*programs: str) -> None:
    """End here, with a sentence, if these are not there."""
    reason = rig.missing_program(*programs)
    if reason:
        say(f"{sys.argv[0]}: skipped: {reason}")
        raise SystemExit(0)
