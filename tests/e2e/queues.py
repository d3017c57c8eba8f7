"""A queue as its users have it: `wq serve` started by one of them, `wq ...` typed by all.

    with Queue(wq=public_wq, owner=cene, users=[dana, erin], cluster=path) as queue:
        queue.wq(dana, "sub", "-c", "hostname").stdout
        job = queue.batch(dana, "sleep 60", "N: 2")
        queue.wait_for_state(job, "running")

Jobs and tests wait for each other through files: `until(path)` is a piece of shell that waits for one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.e2e import rig
from tests.e2e.rig import Nodes, User, run_as, wait_for
from tests.e2e.users import Owned, Place, end, title_of

PATIENCE_S = 30.0
ALL_IDS = f"1-{1 << 62}"
FOUR_NODES = """\
# host cores mem groups
node1  4  8  a,g1
node2  4 16  a,g2
node3  4 24  a,b,g3
node4  4 32  b,g4
"""

Row = dict[str, Any]


def until(path: Path) -> str:
    """A piece of shell that waits until the file is there."""
    return f"until [ -e {shlex.quote(str(path))} ]; do sleep 0.05; done"


def read(path: Path) -> str:
    """What is in the file; nothing, if there is none yet."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def blocker(ncores: int = 16) -> tuple[str, str]:
    """(command, requirement) of a job that holds cores until it is removed."""
    return "sleep 1000", f"N: {ncores}; job_name: blocker"


class Running:
    """A command that goes on: what it has printed so far, and its end. It is killed at the end of `with`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        self._pipes = {1: process.stdout, 2: process.stderr}
        self._seen = {1: bytearray(), 2: bytearray()}
        for pipe in self._pipes.values():
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)

    def _look(self) -> None:
        for channel, pipe in self._pipes.items():
            with contextlib.suppress(BlockingIOError):
                while pipe is not None and (data := os.read(pipe.fileno(), 1 << 20)):
                    self._seen[channel] += data

    @property
    def out(self) -> str:
        self._look()
        return self._seen[1].decode()

    @property
    def err(self) -> str:
        self._look()
        return self._seen[2].decode()

    def feed(self, text: str) -> None:
        """Writes to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status, as a shell shows it, when it has ended."""

        def ended() -> bool:
            self._look()
            return self.process.poll() is not None

        wait_for(ended, PATIENCE_S, f"the end of {self.process.args!r}; it has said {self.out!r} and {self.err!r}")
        self._look()
        status = self.process.returncode
        return status if status >= 0 else 128 - status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self.process)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Queue(Owned):
    """One server on a port of its own, and the commands of its users. at: where the server and the users are."""

    def __init__(
        self,
        *,
        wq: Path,
        owner: User,
        users: Sequence[User],
        cluster: Path,
        at: Place | None = None,
        serve: bool = True,
    ) -> None:
        super().__init__()
        self.path, self.owner, self.users, self.cluster, self.at = wq, owner, users, cluster, at
        self.everybody = list(dict.fromkeys([owner, *users]))
        self.port = self._own_port()
        self._cluster_text = cluster.read_text()
        self._printed: dict[Path, int] = {}
        self._undo.callback(self._end_all)
        if serve:
            self.serve()
            self.greet()

    def _own_port(self) -> int:
        """A number that no other queue has; the TCP port, which wq does not use, is what keeps it for us."""
        while True:
            mark = socket.socket()
            mark.bind(("127.0.0.1", 0))
            port: int = mark.getsockname()[1]
            if not list(Path("/tmp").glob(f"wq-*-{port}")):
                self._undo.callback(mark.close)
                return port
            mark.close()

    # ---- commands

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {"PATH": f"{self.path}:{rig.SYSTEM_PATH}", "WQ_PORT": str(self.port), **(more or {})}

    def run(
        self,
        user: User,
        argv: Sequence[str | Path],
        *,
        status: int | None = 0,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as the user to its end, which must be with this status (None: with any)."""
        done = run_as(user, argv, cwd=cwd, env=self.env(env), stdin=stdin, at=self.at)
        assert "Traceback" not in done.stderr
        if status is not None:
            assert done.returncode == status, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def wq(
        self,
        user: User,
        *words: str | Path,
        status: int | None = 0,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Runs `wq WORDS` as the user."""
        return self.run(user, ["wq", *words], status=status, cwd=cwd, env=env, stdin=stdin)

    def start(
        self,
        user: User,
        *words: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> Running:
        """`wq WORDS` as the user, left running."""
        argv = ["wq", *words]
        process = rig.popen_as(user, argv, cwd=cwd, env=self.env(env), stdin=stdin, at=self.at, start_new_session=True)
        return Running(process)

    def batch(self, user: User, command: str, require: str | None = None, *, cwd: Path | None = None) -> int:
        """Queues a command; its id."""
        words = ["sub", "-b", "-q", "-c", command, *(["-r", require] if require is not None else [])]
        return int(self.wq(user, *words, cwd=cwd or self.directory(user)).stdout)

    def ls(self, *words: str, user: User | None = None) -> list[Row]:
        rows: list[Row] = json.loads(self.wq(user or self.owner, "ls", "--json", *words).stdout)
        return rows

    def job(self, job: int) -> Row:
        [row] = self.ls(str(job))
        return row

    def state(self, job: int) -> str:
        return str(self.job(job)["state"])

    def wait_for_state(self, job: int, state: str) -> Row:
        """The job, as soon as it is in this state."""

        def there() -> Row | None:
            row = self.job(job)
            if state != "done" and row["state"] == "done":
                raise AssertionError(f"job {job} is over: {row['outcome']}")
            return row if row["state"] == state else None

        return wait_for(there, PATIENCE_S, f"job {job} to be {state}") or {}

    def wait_for_end(self, job: int) -> Row:
        """The outcome of a job, when it has one."""
        outcome: Row = self.wait_for_state(job, "done")["outcome"]
        return outcome

    def foreground(self, user: User | None = None) -> int:
        """The id of the one foreground job, when it runs."""

        def there() -> int | None:
            rows = [row for row in self.ls(user=user) if row["foreground"] and row["state"] == "running"]
            return int(rows[0]["id"]) if rows else None

        return wait_for(there, PATIENCE_S, "a foreground job to run") or 0

    def remove(self, *jobs: int) -> None:
        """As the owner, at once."""
        self.wq(self.owner, "rm", "--grace", "0", *map(str, jobs))

    def nodes(self) -> dict[str, Row]:
        facts = json.loads(self.wq(self.owner, "stat", "--json").stdout)
        return {row["host"]: row for row in facts["nodes"]}

    def used(self) -> dict[str, int]:
        """The number of cores in use, by node."""
        return {host: len(row["used"]) for host, row in self.nodes().items()}

    def wait_until_free(self) -> None:
        wait_for(lambda: not any(self.used().values()), PATIENCE_S, "all cores to be free")

    def cores_of(self, job: int) -> dict[str, int]:
        """The number of cores that a job holds, or held, by node, in its order."""
        return {part["host"]: len(part["cores"]) for part in self.job(job)["hosts"]}

    def why(self, job: int) -> Row:
        """Why it waits."""
        reason: Row = self.job(job)["reason"]
        return reason

    # ---- the server and the launchers

    def serve(self, *options: str) -> None:
        """Starts the server, if it does not run."""
        if self.server_pid is None:
            self.wq(self.owner, "serve", self.cluster, "--detach", *options)

    def shutdown(self) -> None:
        pid = self.server_pid
        self.wq(self.owner, "shutdown")
        wait_for(lambda: pid is None or not rig.is_alive(pid), PATIENCE_S, "the server to end")

    def greet(self) -> None:
        """Each user meets the server, so that the remark about that does not come later."""
        for user in self.users:
            self.wq(user, "ls")

    @property
    def server_pid(self) -> int | None:
        pids = self._titled(self.owner, "wq serve ", f" -p {self.port}")
        return pids[0] if pids else None

    def launcher_pid(self, user: User) -> int | None:
        pids = self._titled(user, "wq launcher ", f" -p {self.port}")
        return pids[0] if pids else None

    @staticmethod
    def _titled(user: User, first: str, last: str) -> list[int]:
        """The user's processes whose title in `ps` begins and ends like this."""
        titles = {pid: title_of(pid) for pid in rig.processes_of(user.uid)}
        return [pid for pid, title in titles.items() if title.startswith(first) and title.endswith(last)]

    def processes(self) -> dict[int, str]:
        """All processes of this queue: server, launchers, connections, shepherds and what runs below them."""
        mark = re.compile(rf"\b{self.port}\b")
        titles = {pid: title_of(pid) for user in self.everybody for pid in rig.processes_of(user.uid)}
        ours = {pid for pid, title in titles.items() if mark.search(title)}
        ours |= {child for pid in ours if titles[pid].startswith("wq-keeper ") for child in rig.descendants_of(pid)}
        return {pid: titles.get(pid, "") for pid in ours if rig.is_alive(pid)}

    def job_processes(self) -> list[int]:
        """What runs below the shepherds."""
        ours = self.processes()
        keepers = [pid for pid, title in ours.items() if title.startswith("wq-keeper ")]
        below = {child for keeper in keepers for child in rig.descendants_of(keeper)}
        return [pid for pid in below if pid in ours and not ours[pid].startswith("wq-")]

    def power_cut_on_the_head(self) -> None:
        """kill -9 of the server, the launchers and their connections, all at once; sockets do not outlive a reboot."""
        ours = self._titled(self.owner, "wq serve ", f" -p {self.port}")
        for user in self.users:
            for pid in self._titled(user, "wq launcher ", f" -p {self.port}"):
                ours += [pid, *rig.descendants_of(pid)]
        rig.signal_all(ours)
        for user in self.everybody:
            shutil.rmtree(f"/tmp/wq-{user.uid}-{self.port}", ignore_errors=True)

    def wait_until_gone(self) -> None:
        """Until no process of it is left."""
        with self.explained():
            wait_for(lambda: not self.processes(), PATIENCE_S, "server, launchers and shepherds to go in order")

    def wait_until_acknowledged(self) -> None:
        """Until all ends and outputs are where they belong, and the launchers have nothing more to do."""
        with self.explained():
            wait_for(lambda: not self.unfinished(), PATIENCE_S, "all ends and outputs to be acknowledged")

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """What fails here says which processes there are, and what is in the spools."""
        try:
            yield
        except AssertionError as error:
            error.add_note("\n".join(f"{pid} {title}" for pid, title in self.processes().items()))
            for user in self.everybody:
                for spool in Path(f"/var/tmp/wq-{user.uid}").glob(f"*-{self.port}-*"):
                    for name in ("log", "journal"):
                        error.add_note(f"{spool}/{name}:\n{read(spool / name)}")
            raise

    def unfinished(self) -> list[Path]:
        """The marks of launchers that have not got and given all news yet."""
        pattern = f".local/state/wq/*/launcher-*-{self.port}/unfinished"
        return [mark for user in self.everybody for mark in user.home.glob(pattern)]

    # ---- between tests, and at the end

    def print_logs(self) -> None:
        """What server and launchers have logged since the last time: pytest shows it with a test that fails."""
        for user in self.everybody:
            for log in sorted(user.home.glob(f".local/state/wq/*/*-{self.port}/*.log")):
                with log.open(errors="replace") as file:
                    file.seek(self._printed.get(log, 0))
                    for line in file.read().splitlines():
                        sys.stdout.write(f"{user.name} {log.name}: {line}\n")
                    self._printed[log] = file.tell()

    def directory(self, user: User) -> Path:
        """A new directory of the user's."""
        number = len(list(user.home.glob("work*")))
        path = user.home / f"work{number}"
        path.mkdir()
        user.own(path, 0o755)
        return path

    def write_cluster(self, text: str) -> None:
        self.owner.write(self.cluster, text)

    def reset(self) -> None:
        """No jobs, no limits, all nodes online: as it was at the start."""
        self.serve()
        if self.cluster.read_text() != self._cluster_text:
            self.write_cluster(self._cluster_text)
            self.wq(self.owner, "refresh")
        self.wq(self.owner, "rm", "--grace", "0", ALL_IDS)
        for user in {row["user"] for row in self.ls()}:
            self.wq(next(each for each in self.everybody if each.name == user), "ls")  # his launcher, should it be gone
        with self.explained():
            wait_for(lambda: not self.ls(), PATIENCE_S, "all jobs to be gone")
            wait_for(lambda: not self.job_processes(), PATIENCE_S, "all processes of jobs to be gone")
        self.wait_until_acknowledged()
        for host, row in self.nodes().items():
            if row["state"] != "online" or row["reason"]:
                self.wq(self.owner, "node", host, "online")
        for row in json.loads(self.wq(self.owner, "users", "--json").stdout):
            if any(most is not None for most in row["limits"].values()):
                self.wq(self.owner, "limit", "-u", row["user"], "clear")
                self.wq(next(user for user in self.everybody if user.name == row["user"]), "limit", "clear")

    def _end_all(self) -> None:
        """Ends the server and the launchers; shepherds and connections must then go by themselves."""
        if self.server_pid is not None:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.shutdown()
        for user in self.everybody:
            rig.signal_all(self._titled(user, "wq launcher ", f" -p {self.port}"), signal.SIGTERM)
        try:
            self.wait_until_gone()
        finally:
            rig.signal_all(self.processes())


# ---- fixtures, which conftest.py hands on


@pytest.fixture(scope="session")
def cene(accounts: rig.Users) -> User:
    """Who serves. (Not one of those whose ssh configuration other fixtures write.)"""
    return accounts.create()


@pytest.fixture(scope="session")
def dana(accounts: rig.Users) -> User:
    """Who uses the queue."""
    return accounts.create()


@pytest.fixture(scope="session")
def erin(accounts: rig.Users) -> User:
    """Who uses it, too."""
    return accounts.create()


@pytest.fixture(scope="session")
def four(base: rig.Base, cene: User, dana: User, erin: User) -> Iterator[Nodes]:
    """node1 to node4, on loopback."""
    reason = rig.missing_program("sshd", "ssh", "ssh-keygen")
    if reason:
        pytest.skip(reason)
    with Nodes(base, 4, users=[cene, dana, erin]) as made:
        yield made


@pytest.fixture(scope="module")
def module_queue(base: rig.Base, four: Nodes, public_wq: Path, cene: User, dana: User, erin: User) -> Iterator[Queue]:
    """Served by cene for dana and erin: four nodes of four cores."""
    cluster = cene.write(base.directory("queue") / "cluster.txt", FOUR_NODES)
    with Queue(wq=public_wq, owner=cene, users=[dana, erin], cluster=cluster) as made:
        yield made


@pytest.fixture
def queue(module_queue: Queue) -> Iterator[Queue]:
    """The module's queue; whatever a test leaves in it is removed after the test."""
    yield module_queue
    module_queue.print_logs()
    module_queue.reset()
