"""The world of a run: nodes, users, a server that is started again when it dies, and what can be done to them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.e2e import rig
from tests.e2e.queues import Queue
from tests.e2e.rig import NetNodes, Nodes, User, popen_as
from tests.e2e.users import Owned, title_of
from wq.protocol import places

CORES_A_NODE = 4
RESTART_S = 0.2  # between the death of the server and its next start, as a unit would have it
TAG_BASE = 1 << 50


def no_net() -> str | None:
    """The reason why links cannot be cut here."""
    return rig.no_accounts() or rig.no_namespaces()


class ChaosQueue(Queue):
    """A queue whose users call ssh by a PATH of their own, where their ~/.ssh is not ours to write."""

    ssh_path = rig.SYSTEM_PATH

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**super().env(more), "PATH": f"{self.path}:{self.ssh_path}"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that can be a victim: its pid and what `ps` shows."""

    pid: int
    title: str

    @property
    def short(self) -> str:
        return " ".join(self.title.split())[:60]

    def send(self, number: signal.Signals) -> bool:
        """A signal, if it is still the same process."""
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if title_of(self.pid) != self.title:
                return False
            signal.pidfd_send_signal(fd, number)
            return True
        except OSError:
            return False
        finally:
            os.close(fd)


class World(Owned):
    """Four nodes, an owner, two users and their queue. note(text): something happened."""

    def __init__(self, *, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note
        self.crashes: list[tuple[str, float]] = []  # of which node, and when
        self.why_no_net = no_net()
        self.base = self._undo.enter_context(rig.Base())
        self.marks = self.base.directory("marks", 0o1777)
        self.apart = self.base.directory("apart", 0o1777)
        self.owner, *self.users = self._users()
        everybody = [self.owner, *self.users]
        self.nodes: NetNodes | Nodes
        if self.why_no_net is None:
            names = ["n1", "n2", "n3", "n4"]
            self.nodes = NetNodes(
                self.base, names, users=everybody, private=[self.apart], on_disk=["/var/tmp", self.apart]
            )
        else:
            self.nodes = Nodes(self.base, 4, users=list(dict.fromkeys(everybody)))
        self._undo.callback(self.nodes.close)
        text = "".join(f"{name} {CORES_A_NODE} 8 all\n" for name in self.nodes.nodes)
        cluster = self.owner.write(self.base.directory("queue") / "cluster.txt", text)
        at = self.nodes.head if isinstance(self.nodes, NetNodes) else None
        self.queue = ChaosQueue(
            wq=rig.public_wq(self.base), owner=self.owner, users=self.users, cluster=cluster, at=at, serve=False
        )
        if rig.no_accounts():
            self.queue.ssh_path = self.nodes.path_with_ssh(self.owner)
        self._undo.callback(self.queue.close)
        self.server = Supervisor(self.queue, self.base.path / "server.log", note)
        self._undo.callback(self.server.stop)

    def _users(self) -> list[User]:
        """Who serves, and two who use it; without accounts, all of them are we."""
        if rig.no_accounts():
            return [rig.current_user()] * 3
        accounts = self._undo.enter_context(rig.Users(self.base))
        return [accounts.create() for _ in range(3)]

    @property
    def key(self) -> str:
        """What the titles of all shepherds of this queue have in them."""
        return f"-{self.queue.port}-"

    # ---- nodes whose power fails

    def nodes_up(self) -> list[str]:
        if isinstance(self.nodes, NetNodes):
            return [name for name in self.nodes.nodes if self.nodes.machines[name].is_on]
        return list(self.nodes.nodes)

    def crash(self, name: str) -> None:
        assert isinstance(self.nodes, NetNodes)
        self.nodes.crash(name)
        self.crashes.append((name, time.time()))

    def boot(self, name: str) -> None:
        assert isinstance(self.nodes, NetNodes)
        self.nodes.boot(name)
        self.nodes.heal(name)  # a link that was cut is not any more

    def heal(self, name: str) -> None:
        assert isinstance(self.nodes, NetNodes)
        if name in self.nodes_up():
            self.nodes.heal(name)

    def start_sshd(self, name: str) -> None:
        if name in self.nodes_up():
            self.nodes[name].start()

    # ---- who is there

    def processes(self) -> list[Process]:
        """All processes of the owner and the users, on all nodes."""
        uids = {user.uid for user in self.queue.everybody}
        found = [Process(pid=pid, title=title_of(pid)) for uid in uids for pid in rig.processes_of(uid)]
        return [process for process in found if process.title]

    def party(self, party: str) -> list[Process]:
        """The processes of one kind, those that have most to do last."""
        if party in ("server", "sshd"):
            sessions = [pid for node in self.nodes.nodes.values() for pid in node.sessions()]
            pids = sessions if party == "sshd" else [self.server.pid]
            return [process for pid in pids if (process := Process(pid=pid, title=title_of(pid))).title]
        found = [process for process in self.processes() if self._is(party, process)]
        return sorted(found, key=lambda process: len(rig.descendants_of(process.pid)))

    def _is(self, party: str, process: Process) -> bool:
        title, key = process.title, self.key
        match party:
            case "server":
                return process.pid == self.server.pid
            case "launcher":
                return title.startswith("wq launcher ") and title.endswith(f" -p {self.queue.port}")
            case "keeper":
                return title.startswith("wq-keeper ") and key in title
            case "shepherd":  # not a new job, which has its title for a moment
                return title.startswith("wq-shepherd ") and key in title and self._is_kept(process.pid)
            case "ssh":
                return "WQ_BOOT" in title and key in title and comm_of(process.pid) == "ssh"
            case "attacher":
                return "WQ_BOOT" in title and key in title and comm_of(process.pid).startswith("python")
        raise AssertionError(party)

    def _is_kept(self, pid: int) -> bool:
        """The parent is a keeper, and of the same session."""
        parent, session = parent_and_session(pid)
        return title_of(parent).startswith("wq-keeper ") and parent_and_session(parent)[1] == session

    def shepherd_of(self, keeper: Process) -> list[Process]:
        shepherds = [Process(pid=pid, title=title_of(pid)) for pid in rig.children_of(keeper.pid)]
        return [process for process in shepherds if self._is("shepherd", process)]

    def only_shepherd_of(self, keeper: Process) -> list[Process]:
        """Its shepherd, if that has all jobs: those of an earlier shepherd are the keeper's own children."""
        shepherds = self.shepherd_of(keeper)
        return shepherds if len(rig.children_of(keeper.pid)) == 1 else []

    def node_of(self, process: Process) -> str:
        """The name of the node, in the title of a shepherd or keeper."""
        return process.title.rpartition("@")[2]

    # ---- what is left

    def strangers(self) -> list[Process]:
        """What is neither server, launcher, connection, shepherd nor keeper: left behind by a job."""
        known = ("server", "launcher", "keeper", "ssh", "attacher")
        left = []
        for process in self.processes():
            ours = not rig.no_accounts() or is_marked(process.pid, self.queue.port)
            other = process.title.startswith("wq-shepherd ") or comm_of(process.pid) in ("sshd", "sshd-session")
            if ours and not other and not any(self._is(party, process) for party in known):
                left.append(process)
        return left

    def spools(self) -> dict[str, Path]:
        """The spools on all nodes, by node and user."""
        found = {}
        for name in self.nodes.nodes:
            root = Path("/")
            if isinstance(self.nodes, NetNodes):
                root = Path(f"/proc/{self.nodes.machines[name].init}/root")
            for user in dict.fromkeys(self.users):
                for spool in (root / f"var/tmp/wq-{user.uid}").glob(f"*{self.key}*@{name}"):
                    found[f"{name}:{user.name}:{spool.name}"] = spool
        return found

    def logs(self) -> dict[str, Path]:
        """All that anybody has logged."""
        found = {"server.log": self.server.log}
        for user in dict.fromkeys(self.queue.everybody):
            for log in user.home.glob(f".local/state/wq/*/*-{self.queue.port}/*.log"):
                found[f"{user.name}-{log.name}"] = log
        for name, spool in self.spools().items():
            found |= {
                f"{name}-{file.name}": file for file in spool.glob("*") if file.name in ("log", "journal", "notes")
            }
        return found


def comm_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def parent_and_session(pid: int) -> tuple[int, int]:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[1]), int(fields[3])
    return 0, 0


def is_marked(pid: int, port: int) -> bool:
    """A process of a job of ours: by its environment or, where that was cleared, by the tag of the shepherd."""
    with contextlib.suppress(OSError):
        if f"WQ_PORT={port}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return "WQ_ATT" in Path(f"/proc/{pid}/environ").read_text(errors="replace")
    return False


class Supervisor:
    """Starts the server, and starts it again when it has died, as a unit of systemd does."""

    def __init__(self, queue: Queue, log: Path, note: Callable[[str], None]) -> None:
        self.queue, self.log, self.note = queue, log, note
        self.stopping = threading.Event()
        self.times_s: list[float] = []  # from the death of a server to the next that answers
        self.odd: list[str] = []  # ends that nobody wanted
        self.expected = False  # the next end was asked for
        self.pid = 0
        self.thread = threading.Thread(target=self._run, name="supervisor")

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(places.server_socket(self.queue.owner.uid, self.queue.port)) == 0

    def _run(self) -> None:
        died_at = None
        while not self.stopping.is_set():
            with self.log.open("ab") as log:
                words: list[str | Path] = ["wq", "serve", self.queue.cluster]
                process = popen_as(
                    self.queue.owner,
                    words,
                    env=self.queue.env(),
                    at=self.queue.at,
                    stdout=log.fileno(),
                    stderr=log.fileno(),
                )
            self.pid, up = process.pid, False
            while process.poll() is None:
                if self.stopping.is_set() and not self.expected:
                    process.kill()
                if not up and self.answers():
                    up = True
                    if died_at is not None:
                        self.times_s.append(time.monotonic() - died_at)
                time.sleep(0.02)
            died_at = time.monotonic()
            if process.returncode != -signal.SIGKILL and not self.expected:
                self.odd.append(f"the server ended by itself, with status {process.returncode}")
                self.note(self.odd[-1])
            self.stopping.wait(RESTART_S)


@contextlib.contextmanager
def threads(works: Sequence[Callable[[], None]]) -> Iterator[list[threading.Thread]]:
    """Runs these beside the main thread, and waits for their ends."""
    made = [threading.Thread(target=work) for work in works]
    for thread in made:
        thread.start()
    try:
        yield made
    finally:
        for thread in made:
            thread.join()
