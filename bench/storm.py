"""A storm of kill -9 over the shepherd, its keeper and the connections to it, while jobs with known ends run.

    python -m bench.storm --kills 500 --seed 1            over a real sshd
    python -m bench.storm --kills 500 --seed 1 --local    through local children
    python -m bench.storm --points                        kill before every single system call of shepherd and keeper

Each job leaves a mark when it starts, prints known lines, leaves a process behind and ends in a known way. Some come
alone, some as tasks in lanes. It must
have started exactly once; its end and its output must be true, or `lost` where shepherd and keeper were killed
together; an attempt that was `never` must have left no mark; in the end no process and no file may be left.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.contract.driver import NOT_HOW, Backend, Driver, Local, Ssh, Word, spec, task
from tests.e2e import rig
from wq.launcher.link import SOURCE

JOBS_AT_ONCE = 6
SIGNALS = (1, 9, 10, 15)
TRIES = 20


@dataclasses.dataclass(slots=True, kw_only=True)
class Job:
    """One job: what it does, and what became of it."""

    number: int
    script: str
    end: dict[str, int]
    output: str
    lane: int | None = None  # it is a task that waits there for its turn
    attempt: int = 1
    sent: bool = False
    killed: set[str] = dataclasses.field(default_factory=set)  # during its life
    over: bool = False
    acked: bool = False

    @property
    def att(self) -> str:
        return f"{self.number}.{self.attempt}"


class Storm:
    """Jobs and kills, from one seed. marks: a directory that the user may write."""

    def __init__(self, backend: Backend, *, key: str, marks: Path, seed: int, source: bytes = SOURCE) -> None:
        self.random = random.Random(seed)
        self.driver = Driver(backend, key, source=source)
        self.user = backend.user
        self.marks = marks
        self.jobs: list[Job] = []
        self.open_jobs: list[Job] = []
        self.kills: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.connections = 0

    # ---- jobs

    def new_job(self) -> Job:
        number, rng = len(self.jobs) + 1, self.random
        lines = rng.randrange(0, 40)
        pause = rng.choice(["", "", "sleep 0.01", "sleep 0.05"])
        status, signal = rng.randrange(256), rng.choice(SIGNALS)
        by_signal = rng.random() < 0.25
        text = [
            f"echo $WQ_TRY >>{self.marks}/{number}",
            "setsid sleep 3600 >/dev/null 2>&1 &" if rng.random() < 0.2 else "",
            f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo {number} line $i; {pause}\ndone",
            f"kill -{signal} $$" if by_signal else f"exit {status}",
        ]
        job = Job(
            number=number,
            script="\n".join(text),
            end={"signal": signal} if by_signal else {"exit": status},
            output="".join(f"{number} line {line}\n" for line in range(1, lines + 1)),
            lane=rng.choice([None, None, 1, 2]),
        )
        self.jobs.append(job)
        self.open_jobs.append(job)
        return job

    def send_start(self, job: Job) -> None:
        job.sent = True
        if job.lane is None:
            self.driver.start(job.att, self.spec(job))
        else:
            own = task(job.att, script=job.script, set={"WQ_TRY": job.att})
            self.driver.template("t", self.spec(job))
            self.driver.batch(job.lane, "t", [own])

    def spec(self, job: Job) -> Word:
        return spec(self.user, job.script, set={"WQ_TRY": job.att})

    def starts(self, job: Job) -> list[str]:
        """The attempts that have left a mark."""
        with contextlib.suppress(FileNotFoundError):
            return (self.marks / str(job.number)).read_text().split()
        return []

    # ---- what a launcher does

    def connect(self) -> None:
        """Be connected, and know of each attempt whether it is there."""
        for _ in range(TRIES):
            with contextlib.suppress(ConnectionError):
                self.connections += 1
                self.driver.open()
                for job in self.open_jobs:
                    if job.sent and self.driver[job.att].state in ("", "never"):
                        self.ask(job)
                return
        raise AssertionError(f"no shepherd in {TRIES} tries; the login said {self.driver.noise!r}")

    def ask(self, job: Job) -> None:
        """Nothing is known of an attempt: if there is nothing, it is taken back, and another follows."""
        if self.driver.query(job.att) == "never":
            assert job.att not in self.starts(job), f"{job.att} is never, but it has started"
            self.driver.ack(job.att)
            self.ends["never"] += 1
            job.attempt, job.sent = job.attempt + 1, False

    def work(self, time_s: float) -> None:
        """Start jobs, take what comes, check and acknowledge what has ended. ConnectionError: killed meanwhile."""
        deadline = time.monotonic() + time_s
        while True:
            for job in list(self.open_jobs):
                seen = self.driver[job.att]
                if not job.sent:
                    self.send_start(job)
                elif seen.is_home and not job.over:
                    self.check(job)
                elif job.over and not seen.acked:
                    self.driver.send({"do": "ack", "att": job.att})
                elif seen.acked:
                    self.open_jobs.remove(job)
                elif self.random.random() < 0.01:
                    self.send_start(job)  # said twice
            if time.monotonic() >= deadline:
                return
            self.driver.turn(0.005)

    def check(self, job: Job) -> None:
        """A job is over: was all as it should be?"""
        seen = self.driver[job.att]
        end = {kind: value for kind, value in (seen.end or {}).items() if kind not in NOT_HOW}
        kind = "lost" if "lost" in end else "true"
        if kind == "true" or job.killed < {"shepherd", "keeper"}:
            assert end == job.end, f"{job.att}: {end} instead of {job.end}"
        assert self.driver.output(job.att) == job.output, f"{job.att}: not its whole output"
        assert seen.gaps == 0
        assert self.starts(job) == [job.att], f"{job.att} started as {self.starts(job)}"
        job.over = True
        self.ends[kind] += 1

    def drain(self) -> None:
        """Let everything end, and go; the next connection finds a new keeper."""
        while self.open_jobs:
            try:
                self.work(0.05)
            except ConnectionError:
                self.connect()
        assert "Traceback" not in (self.driver.spool / "log").read_text()
        self.driver.hang_up()
        self.driver.wait_until_gone()
        self.driver.seen.clear()

    # ---- kills

    def kill(self) -> None:
        """One kill, as the dice will have it."""
        kinds = {"client": 8, "attacher": 5, "client while connecting": 3}
        if self.driver.pids("wq-keeper"):
            kinds |= {"shepherd": 9, "shepherd and keeper": 1, "keeper": 1}
        elif self.random.random() < 0.3:  # a shepherd alone is spared, and in the end given the time to go
            self.drain()
            self.connect()
            return
        kind = self.random.choices(list(kinds), list(kinds.values()))[0]
        match kind:
            case "client":
                if not self.driver.up:
                    return
                self.driver.kill_client()
            case "client while connecting":
                process = self.driver.connect()
                due = time.monotonic() + self.random.uniform(0, 0.4)
                with contextlib.suppress(ConnectionError):
                    while time.monotonic() < due:
                        self.driver.turn(0.005)
                process.kill()
                self.driver.hang_up()
            case "attacher":
                pids = self.driver.pids("attach")
                if not pids:
                    return  # it has gone with its shepherd
                rig.signal_all(pids)
            case _:
                roles = kind.split(" and ")
                self.random.shuffle(roles)
                titles = [f"wq-{role}" for role in roles]
                if not all(map(self.driver.pids, titles)):
                    return  # after the last kill nobody has connected yet
                for job in self.open_jobs:
                    job.killed.update(roles if job.sent else ())
                self.driver.kill(*titles)
        self.kills[kind] += 1

    def run(self, kills: int, say: Callable[[str], None] = lambda _: None) -> None:
        """So many kills; raises AssertionError if anything is not as it should be."""
        with self.driver:
            self.connect()
            began = time.monotonic()
            while self.kills.total() < kills:
                while len(self.open_jobs) < JOBS_AT_ONCE:
                    self.new_job()
                try:
                    self.work(self.random.choice([0.0, 0.01, 0.05, 0.2]) * self.random.random())
                    self.kill()
                    self.work(0.0)
                except ConnectionError:
                    pass
                except AssertionError as error:
                    error.add_note(f"after kills {dict(self.kills)}, ends {dict(self.ends)}")
                    raise
                if not self.driver.up or self.random.random() < 0.5:
                    self.connect()
                if self.kills.total() % 50 == 0:
                    say(f"{time.monotonic() - began:6.1f} s  {self.report()}")
            self.connect()
            self.drain()
            say(f"{time.monotonic() - began:6.1f} s  {self.report()}")
            self.driver.open()

    def report(self) -> str:
        kills = ", ".join(f"{number} {kind}" for kind, number in sorted(self.kills.items()))
        ends = ", ".join(f"{number} {kind}" for kind, number in sorted(self.ends.items()))
        return f"{self.kills.total()} kills ({kills}); {len(self.jobs)} jobs: {ends}; {self.connections} connections"


# ---- a kill before each system call


HOOK = b"""
import os as _os, socket as _socket
class _Crash:
    pid = count = 0
    def arm(self, at):
        self.pid, self.count, self.at = _os.getpid(), 0, at
    def step(self):
        if self.pid == _getpid():
            self.count += 1
            if self.count == self.at:
                try:
                    _os.close(_open(FLAG, _os.O_CREAT | _os.O_EXCL | _os.O_WRONLY, 0o600))
                except OSError:
                    return
                _kill(self.pid, 9)
_crash, _getpid, _open, _kill = _Crash(), _os.getpid, _os.open, _os.kill
def _wrap(owner, name):
    real = getattr(owner, name)
    def call(*args, **options):
        _crash.step()
        return real(*args, **options)
    setattr(owner, name, call)
_names = "write open unlink rmdir fork fsync waitpid wait4 waitid pipe kill ftruncate rename execvpe _exit posix_spawn"
for _name in _names.split():
    if hasattr(_os, _name):
        _wrap(_os, _name)
"""
ARMED = {"wq-shepherd": b'set_title("wq-shepherd " + key)', "wq-keeper": b'set_title("wq-keeper " + key)'}


def crashing(role: str, at: int, flag: Path) -> bytes:
    """The source of a shepherd such that the first process of this role is killed before its at-th system call."""
    assert SOURCE.count(ARMED[role]) == 1
    hook = HOOK.replace(b"FLAG", repr(str(flag)).encode())
    armed = ARMED[role] + f"; _crash.arm({at})".encode()
    return hook + SOURCE.replace(ARMED[role], armed).replace(b"ALONE_S = 10.0", b"ALONE_S = 0.5")


def crash_point(backend: Backend, role: str, at: int, *, key: str, marks: Path) -> bool:
    """A short life with a kill before the at-th system call of that role. False if there were not that many."""
    flag = marks / "killed"
    storm = Storm(backend, key=key, marks=marks, seed=at, source=crashing(role, at, flag))
    with storm.driver:
        storm.connect()
        for _ in range(2):
            storm.new_job()
        storm.drain()
        storm.connect()
        storm.new_job()
        storm.drain()
    return flag.exists()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--points", action="store_true")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(rig.Base())
        user = rig.current_user()
        if not rig.no_accounts():
            user = stack.enter_context(rig.Users(base)).create()
        backend: Backend = Local(user=user)
        if not (args.local or args.points):
            backend = Ssh(user=user, nodes=stack.enter_context(rig.Nodes(base, 1, users=[user])))

        def marks() -> Path:
            path = base.directory("marks")
            user.own(path, 0o755)
            return path

        key = f"storm{os.getpid()}"
        if not args.points:
            storm = Storm(backend, key=key, marks=marks(), seed=args.seed)
            storm.run(args.kills, say=lambda line: print(line, flush=True))
            return 0
        for role in ARMED:
            at = 1
            while crash_point(backend, role, at, key=key, marks=marks()):
                at += 1
            print(f"{role}: killed before each of its first {at - 1} system calls; every end was true", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
