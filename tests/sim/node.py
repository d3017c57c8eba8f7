"""A node: the real shepherd on a kernel of ours, its keeper, and what finds or starts them when an ssh session comes.

The shepherd's source is executed once for each of its processes, with fakes in place of what it asks of the system;
`select` gives the word back to the loop where it would wait, and its loop is entered again when something is ready.
The keeper is played: it writes statuses down, and starts the next shepherd. Children start at `Spawn.fork`, or, the
tasks of batches, at `Shepherd.launch`.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Protocol

from tests.sim.calls import SPOOL, Blocks, Os, Selector, Signals, Sockets, send_on
from tests.sim.disk import Disk
from tests.sim.kernel import (
    EXITED,
    INIT,
    SIGKILL,
    Inotify,
    Kernel,
    Killed,
    Listener,
    Pipe,
    Proc,
    ReadEnd,
    Socket,
    WriteEnd,
    drop,
    take,
)
from tests.sim.programs import Running, Watcher
from wq.node import shepherd

SOURCE = compile(Path(shepherd.__file__).read_text("utf-8"), "shepherd.py", "exec")
LEAST_S = 1e-6
ATTACH_S = 15.0
# So that small outputs and full disks meet them.
SMALL = {"WINDOW_BYTES": 1000, "CHUNK_BYTES": 400, "RESERVE_BYTES": 400, "COMPACT_BYTES": 1500}

Space = dict[str, Any]
changes: list[Callable[[Space], None]] = []  # what a test leaves out of the shepherd
unused: list[Space] = []


class House(Watcher, Protocol):
    """The world, as nodes need it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    def note(self, text: str) -> None: ...
    def failed(self, error: BaseException) -> None: ...
    def output_lost(self, att: str) -> None: ...


class Sleeps(Exception):
    """A process of ours would sleep now: it does it all again later."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def new_space() -> Space:
    """The shepherd's module, as one place after the other uses it. (It has no state of its own.)"""
    if changes or not unused:
        space: Space = {"__name__": "shepherd"}
        exec(SOURCE, space)
        for change in changes:
            change(space)
        return space
    return unused.pop()


def load(place: Place, proc: Proc, calls: Os, signals: Signals, bound: Callable[[Listener], None]) -> Space:
    """The module of a place, with the fakes of its newest process in it; the one before is dead."""
    kernel, space = place.kernel, place.space

    def look_at(pid: int) -> tuple[str, int, int] | None:
        found = kernel.procs.get(pid)
        return None if found is None else (found.state, found.ppid, found.start)

    def sleep(seconds: float) -> None:
        raise Sleeps(seconds)

    def log(text: str) -> None:
        place.house.note(f"shepherd of {place}: {text}")
        if "nobody understands" in text:  # (what a launcher of ours has said)
            place.house.failed(RuntimeError(text))

    space.update(
        SMALL,
        os=calls,
        open=calls.open_file,
        signal=signals,
        socket=Sockets(calls, bound),
        selectors=SimpleNamespace(
            DefaultSelector=lambda: Selector(proc),
            EVENT_READ=selectors.EVENT_READ,
            EVENT_WRITE=selectors.EVENT_WRITE,
        ),
        time=SimpleNamespace(sleep=sleep),
        now=lambda: kernel.loop.time() - kernel.booted_s,
        boot_id=lambda: kernel.boot_id,
        look_at=look_at,
        memory_of=lambda pid: (0, 0),
        io_of=lambda pid: (0, 0),
        oom_kills=lambda: 0,
        text_for=lambda pid: None,
        heeds=lambda pid, number: pid in kernel.procs and kernel.procs[pid].on_signal is not None,
        tag_of=lambda pid: kernel.procs[pid].tag if pid in kernel.procs else 0,
        children_of=lambda pid: [child.pid for child in kernel.children(pid)],
        own_processes=lambda: [other.pid for other in kernel.procs.values() if other.uid == place.uid],
        Children=lambda: SimpleNamespace(pids=lambda: [child.pid for child in kernel.children(proc.pid)]),
        FAST=place.fast,
        clear_dead_spools=lambda spool: None,
        Watch=lambda: FakeWatch(calls),
        log=log,
    )
    return space


class ShepherdProcess:
    """One life of the shepherd."""

    def __init__(self, place: Place, keeper: Proc, poke: Pipe) -> None:
        self.place, self.keeper = place, keeper
        kernel = place.kernel
        self.proc = kernel.new(kind="shepherd", ppid=keeper.pid, uid=place.uid)
        self.calls = Os(self.proc, place.disk, shares=place.shares)
        self.signals = Signals()
        self.poke_fd = self.proc.install(ReadEnd(poke))
        self.space = self.load()
        self.shepherd: Any = None
        self.soon = self.stopped = False
        self.timer: asyncio.TimerHandle | None = None
        self.proc.on_wake = self.wake
        self.proc.on_child = self.child_ended
        self.proc.on_end = self.ended
        self.wake()

    def load(self) -> Space:
        space = load(self.place, self.proc, self.calls, self.signals, self.bound)
        space["Spawn"].fork = lambda spawn: self.fork(spawn)
        spawn = space.setdefault("spawn_itself", space["Shepherd"].spawn)
        space["Shepherd"].spawn = lambda shepherd, attempt: self.spawn(spawn, shepherd, attempt)
        space["Shepherd"].bind = lambda shepherd, attempt: None
        space["Shepherd"].launch = lambda shepherd, attempt, command, out, err: self.launch(
            shepherd, attempt, command, out
        )
        return space

    def bound(self, listener: Listener) -> None:
        self.place.listener, self.place.shepherd = listener, self

    # its loop

    def wake(self) -> None:
        if not self.soon:
            self.soon = True
            self.place.kernel.loop.call_soon(self.step)

    def step(self) -> None:
        """All that it does until it would wait."""
        self.soon = False
        if self.timer is not None:
            self.timer.cancel()
        if self.stopped or not self.proc.alive:
            return
        house, kernel = self.place.house, self.place.kernel
        try:
            self.run()
        except Blocks as blocks:
            if blocks.timeout_s is not None:
                self.timer = kernel.loop.call_later(max(blocks.timeout_s, LEAST_S), self.wake)
        except Killed:
            pass
        except Exception as error:
            if not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO)):
                house.failed(error)
            house.note(f"the shepherd of {self.place} ends by {error!r}")
            kernel.exit(self.proc, EXITED, 1)
        else:
            kernel.exit(self.proc, EXITED, 0)

    def run(self) -> None:
        """As fork_shepherd has it: where the notes are missing, the one before was killed while it took all away."""
        if self.shepherd is None and not self.calls.path.exists("notes"):
            self.space["clear_spool"](SPOOL)
            return
        if self.shepherd is None:
            self.shepherd = self.space["Shepherd"]("key", SPOOL, self.poke_fd, self.keeper.pid)
        self.shepherd.run()

    def child_ended(self, child: Proc) -> None:
        handle = self.proc.fds.get(self.signals.wakeup_fd)
        if isinstance(handle, WriteEnd):
            handle.pipe.write(b"\0")

    def ended(self) -> None:
        """What it had read from pipes, and nobody had acknowledged, is gone with it."""
        for attempt in self.shepherd.attempts.values() if self.shepherd is not None else ():
            if attempt.spec.get("io") == "stream":
                self.place.house.output_lost(attempt.att)

    def kill(self, calls: int | None = None) -> None:
        """Now, or before so many more calls that change something."""
        if calls is None:
            self.place.kernel.signal(self.proc, SIGKILL)
        else:
            self.calls.doom = calls

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        self.stopped = False
        self.wake()

    # its children

    def spawn(self, itself: Callable[[Any, Any], None], shepherd: Any, attempt: Any) -> None:
        """Of a task whose turn had come nobody knows whether it began, if the keeper is killed too."""
        try:
            itself(shepherd, attempt)
        except Killed:
            if attempt.batch is not None and not self.place.kernel.of_attempt(attempt.att):
                self.place.house.main_over(self.place.kernel.host, attempt.att, {"cut": "before it began"})
            raise

    def fork(self, spawn: Any) -> int:
        """In place of Spawn.fork: a process at its gate."""
        self.calls.point()
        kernel, attempt = self.place.kernel, spawn.attempt
        gate = Pipe()
        spawn.gate = self.proc.install(WriteEnd(gate))
        att, tag = attempt.att, attempt.tag
        child = kernel.new(kind="main", ppid=self.proc.pid, uid=self.place.uid, att=att, tag=tag)
        child.fds = {target: take(self.proc.fds[fd]) for target, fd in enumerate(spawn.fds)}
        child.install(ReadEnd(gate))
        running = Running(self.place.house, self.place, child, spawn.spec)

        def gate_moved() -> None:
            if running.began:
                return
            if gate.data:
                child.on_wake = None
                child.after(self.place.random.choice([0.0, 0.002]), running.begin)
            elif not gate.writers:
                child.on_wake = None
                child.after(self.place.random.choice([0.0, 0.002]), lambda: self.unborn(spawn, child))

        child.on_wake = gate_moved
        for fd in spawn.to_close:
            self.calls.close(fd)
        return child.pid

    def launch(self, shepherd: Any, attempt: Any, command: Any, out: int) -> int:
        """In place of Shepherd.launch: a process that becomes its program whatever becomes of its parent."""
        self.calls.point()
        kernel, (_, words, _) = self.place.kernel, command
        child = kernel.new(kind="main", ppid=self.proc.pid, uid=self.place.uid, att=attempt.att, tag=attempt.tag)
        child.fds = {target: take(self.proc.fds[fd]) for target, fd in enumerate((shepherd.null, out, out))}
        own = {name.decode(): value.decode() for name, value in attempt.task["set"].items()}
        spec = {**attempt.spec, "cores": attempt.batch.cores, "set": {**attempt.spec["set"], **own}}
        running = Running(self.place.house, self.place, child, spec)
        running.script = self.calls.name_of(words[-1])
        child.after(self.place.random.choice([0.0, 0.002]), running.begin)
        self.calls.point()
        return child.pid

    def unborn(self, spawn: Any, child: Proc) -> None:
        """The shepherd died before it opened the gate; what is done then is the child's call."""
        if not child.alive:
            return
        space = self.place.space
        parent, space["os"] = space["os"], Os(child, self.place.disk, shares=self.place.shares)
        try:
            spawn.unborn()
        except Sleeps as sleeps:
            child.after(sleeps.seconds, lambda: self.unborn(spawn, child))
        except OSError as error:
            self.place.house.note(f"the process of {child.att} that was not born leaves no note: {error}")
            self.place.kernel.exit(child, EXITED, 126)
        else:
            self.place.kernel.exit(child, EXITED, 126)
        finally:
            space["os"] = parent


class FakeWatch:
    """The shepherd's Watch: it is told when files of the spool grow."""

    def __init__(self, calls: Os) -> None:
        self.calls = calls
        self.inotify = Inotify()
        self.fd = calls.proc.install(self.inotify)

    def add(self, path: str, name: str) -> None:
        def grew() -> None:
            self.inotify.grown.add(name)
            self.calls.proc.wake()

        file = self.calls.disk.files.get(path)
        if file is not None:
            file.watchers.append(grew)

    def read(self) -> list[str]:
        names = sorted(self.inotify.grown)
        self.inotify.grown.clear()
        return names


class Keeper:
    """The shepherd's parent. doom: it is killed at that point of its next note."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.proc = place.kernel.new(kind="keeper", ppid=INIT, uid=place.uid)
        self.proc.on_child = self.child_ended
        self.doom = ""
        self.born: list[float] = []
        for name in ("lock", "notes"):
            if name not in place.disk.files:
                place.disk.make(name)
        self.lock = place.disk.files["lock"]
        self.notes = place.disk.files["notes"]  # (open, whatever becomes of its name)
        self.fork_shepherd()

    def still_ours(self) -> bool:
        """The lock that it holds is the one that others see; if there is none, there must be a journal."""
        lock = self.place.disk.files.get("lock")
        return lock is self.lock or (lock is None and "journal" in self.place.disk.files)

    def fork_shepherd(self) -> None:
        if not self.still_ours():
            self.place.kernel.exit(self.proc, EXITED, 0)
            return
        self.poke = Pipe()
        self.poke_fd = self.proc.install(WriteEnd(self.poke))
        self.shepherd = ShepherdProcess(self.place, self.proc, self.poke)

    def child_ended(self, child: Proc) -> None:
        self.proc.after(self.place.random.choice([0.0, 0.001, 0.01]), lambda: self.wait_for(child))

    def wait_for(self, child: Proc) -> None:
        if child.state != "Z" or child.ppid != self.proc.pid:
            return
        if child is not self.shepherd.proc:
            self.note_down(child)
            return
        kernel = self.place.kernel
        kernel.reap(child)
        if child.end == (EXITED, 0):
            kernel.exit(self.proc, EXITED, 0)
            return
        self.proc.close(self.poke_fd)
        now_s = kernel.loop.time()
        self.born = [t for t in self.born if now_s - t < 60.0] + [now_s]
        self.proc.after(5.0 if len(self.born) > 20 else 0.001, self.fork_shepherd)

    def kill(self, how: str) -> None:
        """now, or: before its note, after its note."""
        if how == "now":
            self.place.kernel.signal(self.proc, SIGKILL)
        else:
            self.doom = how

    def note_down(self, child: Proc) -> None:
        """However long the disk is full: until then the kernel keeps the status."""
        if self.dies("before its note"):
            return
        words = (child.pid, *child.end, child.start, child.tag, child.pid)
        line = "\n{} {} {} {} {} {}\n".format(*words).encode()
        if not (self.write(line) or (self.place.disk.remove("reserve") and self.write(line))):
            self.proc.after(0.5, lambda: self.wait_for(child))
            return
        if self.dies("after its note"):
            return
        self.place.kernel.reap(child)
        self.poke.write(b".")

    def write(self, line: bytes) -> bool:
        try:
            return self.place.disk.append(self.notes, line) == len(line)
        except OSError:
            return False

    def dies(self, point: str) -> bool:
        if self.doom == point:
            self.doom = ""
            self.place.house.note(f"the keeper of {self.place} is killed {point}")
            self.place.kernel.signal(self.proc, SIGKILL)
            return True
        return False


class Place:
    """One user's spool on one node. shares: the node sees the submitting host's files."""

    def __init__(self, house: House, kernel: Kernel, uid: int, *, shares: bool, random: Random) -> None:
        self.house, self.kernel, self.uid, self.shares, self.random = house, kernel, uid, shares, random
        self.disk = Disk(in_memory=random.random() < 0.3)
        self.fast = random.random() < 0.8  # its Python has posix_spawn
        self.space = new_space()
        self.listener: Listener | None = None
        self.shepherd: ShepherdProcess | None = None
        self.keeper: Keeper | None = None

    def __str__(self) -> str:
        return f"{self.uid} on {self.kernel.host}"

    def living_shepherd(self) -> ShepherdProcess | None:
        return self.shepherd if self.shepherd is not None and self.shepherd.proc.alive else None

    def living_keeper(self) -> Keeper | None:
        return self.keeper if self.keeper is not None and self.keeper.proc.alive else None

    def knock(self, socket: Socket) -> bool:
        """Connect to the shepherd's socket."""
        there = self.living_shepherd()
        if there is None or self.listener is None:
            return False
        send_on(self.listener, there.proc, socket)
        return True

    def lock_is_free(self) -> bool:
        """Keeper and shepherd have it, and who is still at the gate."""
        return not any(
            proc.uid == self.uid and proc.alive and (proc.kind in ("keeper", "shepherd") or proc.on_wake is not None)
            for proc in self.kernel.procs.values()
        )

    def start(self) -> str:
        """What an attacher does that finds nobody: it furnishes the spool, and starts the keeper. Or why it cannot."""
        proc = self.kernel.new(kind="attacher", ppid=INIT, uid=self.uid)
        calls = Os(proc, self.disk, shares=self.shares)
        space = load(self, proc, calls, Signals(), lambda listener: None)
        try:
            space["furnish"](SPOOL, b"source")
        except space["Trouble"] as trouble:
            return str(trouble)
        finally:
            self.kernel.exit(proc, EXITED, 0)
        self.keeper = Keeper(self)
        return ""

    def kill_both(self, *, keeper_first: bool) -> None:
        """Shepherd and keeper, before either can do anything about the other's death."""
        procs = [p for p in self.kernel.procs.values() if p.uid == self.uid and p.kind in ("keeper", "shepherd")]
        for proc in sorted(procs, key=lambda proc: (proc.kind == "keeper") != keeper_first):
            self.kernel.signal(proc, SIGKILL)

    def clear_disk(self) -> None:
        self.disk.full = None

    def calm(self) -> None:
        self.disk.full, self.disk.failing = None, False
        there = self.living_shepherd()
        if there is not None:
            there.calls.doom = None
            there.go_on()


class Attach:
    """The attacher: gives a session's two pipes to the shepherd, starts one if there is none, stays until it lets go.

    on_exit(text): it is over; text: what it had to complain about.
    """

    def __init__(self, place: Place, down: Pipe, up: Pipe, on_exit: Callable[[str], None]) -> None:
        self.place, self.on_exit = place, on_exit
        self.ends = (take(ReadEnd(down)), take(WriteEnd(up)))
        self.taken = self.over = False
        self.boots = place.kernel.boots
        self.until_s = place.kernel.loop.time() + ATTACH_S
        self.attempt()

    def attempt(self) -> None:
        if self.over:
            return
        kernel = self.place.kernel
        if self.boots != kernel.boots:
            self.exit("")
        elif kernel.loop.time() > self.until_s:
            self.exit("the shepherd does not answer")
        elif not self.place.knock(Socket(b'{"op":"link"}\n', list(self.ends), self.receipt, self.let_go)):
            complaint = self.place.start() if self.place.lock_is_free() else ""
            if complaint:
                self.exit(complaint)
            else:
                self.again()

    def again(self) -> None:
        self.place.kernel.loop.call_later(0.01, self.attempt)

    def receipt(self, data: bytes) -> None:
        self.taken = True
        self.release()

    def let_go(self) -> None:
        if self.taken:
            self.exit("")
        else:
            self.again()

    def release(self) -> None:
        ends, self.ends = self.ends, ()  # type: ignore[assignment]
        for end in ends:
            drop(end)

    def exit(self, complaint: str) -> None:
        if not self.over:
            self.over = True
            self.release()
            self.on_exit(complaint)


class Node:
    """A host of the cluster: a kernel, and a place for each user."""

    def __init__(self, house: House, host: str, random: Random) -> None:
        self.house, self.host, self.random = house, host, random
        self.kernel = Kernel(house.loop, random, host, house.output_lost)
        self.places: dict[int, Place] = {}

    def place(self, uid: int) -> Place:
        if uid not in self.places:
            shares = self.random.random() < 0.5
            self.places[uid] = Place(self.house, self.kernel, uid, shares=shares, random=self.random)
        return self.places[uid]

    def bury(self) -> None:
        if not changes:
            unused.extend(place.space for place in self.places.values())

    def power_cut(self) -> None:
        self.kernel.power_cut([place.disk for place in self.places.values()])
        for place in self.places.values():
            place.listener = place.shepherd = place.keeper = None
