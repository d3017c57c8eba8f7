"""A node's kernel: processes with parents, ends and zombies; pipes and descriptors; what a power cut leaves.

Only as much of it as the shepherd can tell from a real one: pids are used again, orphans go to the nearest sub-reaper,
who reads from a pipe without writers hears of its end, and who writes to one without readers is killed by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.sim.disk import Disk, File

INIT = 1
TICKS = os.sysconf("SC_CLK_TCK")
FIRST_PID, PIDS = 100, 60  # so few that they are soon used again
EXITED, SIGNALLED = 1, 2  # si_code of waitid
SIGKILL, SIGPIPE, SIGTERM = 9, 13, 15


class Killed(BaseException):
    """kill -9, in the middle of what a process was doing."""


# --- what descriptors stand for


@dataclass(eq=False, slots=True)
class Open:
    """An open file, shared by the descriptors that are copies of each other. Closed with the last of them."""

    copies: int = field(default=0, init=False)

    def readable(self) -> bool:
        return False

    def closed(self) -> None:
        pass


@dataclass(eq=False, slots=True)
class Pipe:
    """Bytes between processes. on_data, on_readers_gone: for an end that is outside of this node."""

    data: bytearray = field(default_factory=bytearray)
    readers: int = 0
    writers: int = 0
    reader: Proc | None = None  # to be woken
    on_data: Callable[[bytes], None] | None = None
    on_readers_gone: Callable[[], None] | None = None
    on_writers_gone: Callable[[], None] | None = None

    def write(self, data: bytes) -> None:
        if self.on_data is not None:
            self.on_data(data)
            return
        self.data += data
        if self.reader is not None:
            self.reader.wake()


@dataclass(eq=False, slots=True)
class ReadEnd(Open):
    pipe: Pipe

    def __post_init__(self) -> None:
        self.pipe.readers += 1

    def readable(self) -> bool:
        return bool(self.pipe.data) or not self.pipe.writers

    def closed(self) -> None:
        self.pipe.readers -= 1
        if not self.pipe.readers and self.pipe.on_readers_gone is not None:
            self.pipe.on_readers_gone()


@dataclass(eq=False, slots=True)
class WriteEnd(Open):
    pipe: Pipe

    def __post_init__(self) -> None:
        self.pipe.writers += 1

    def closed(self) -> None:
        self.pipe.writers -= 1
        if not self.pipe.writers:
            if self.pipe.on_writers_gone is not None:
                self.pipe.on_writers_gone()
            if self.pipe.reader is not None:
                self.pipe.reader.wake()


@dataclass(eq=False, slots=True)
class OnDisk(Open):
    """A file of the spool, or (file is None) a directory or /dev/null."""

    disk: Disk
    file: File | None
    at: int = 0


@dataclass(eq=False, slots=True)
class Shared(Open):
    """A file of the submitting host, on a file system that this node sees too."""

    path: Path


@dataclass(eq=False, slots=True)
class ProcessFd(Open):
    """As pidfd_open gives it: readable when the process is over."""

    proc: Proc

    def readable(self) -> bool:
        return self.proc.state != "R"


@dataclass(eq=False, slots=True)
class Inotify(Open):
    grown: set[str] = field(default_factory=set)

    def readable(self) -> bool:
        return bool(self.grown)


@dataclass(eq=False, slots=True)
class Socket(Open):
    """The shepherd's end of a connection over its Unix socket. The other end has the callbacks."""

    first: bytes
    passed: list[Open]  # descriptors that came with the first bytes
    on_data: Callable[[bytes], None]
    on_end: Callable[[], None]
    reader: Proc | None = None
    peer_gone: bool = False

    def readable(self) -> bool:
        return bool(self.first) or self.peer_gone

    def hang_up(self) -> None:
        """The other end is gone."""
        self.peer_gone = True
        if self.reader is not None:
            self.reader.wake()

    def closed(self) -> None:
        for handle in self.passed:
            drop(handle)
        self.on_end()


@dataclass(eq=False, slots=True)
class Listener(Open):
    waiting: deque[Socket] = field(default_factory=deque)

    def readable(self) -> bool:
        return bool(self.waiting)

    def closed(self) -> None:
        for socket in self.waiting:
            socket.closed()


def take(handle: Open) -> Open:
    handle.copies += 1
    return handle


def drop(handle: Open) -> None:
    handle.copies -= 1
    if handle.copies == 0:
        handle.closed()


# --- processes


@dataclass(eq=False, slots=True, kw_only=True)
class Proc:
    """A process. att: of which attempt; main: it is that attempt's first. on_wake, on_signal: who plays it."""

    kernel: Kernel
    pid: int
    ppid: int
    start: int
    kind: str  # keeper, shepherd, main, stray
    uid: int
    tag: int = 0
    att: str = ""
    state: str = "R"  # R, Z, X (gone)
    end: tuple[int, int] = (0, 0)  # code, status
    fds: dict[int, Open] = field(default_factory=dict)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    on_wake: Callable[[], None] | None = None
    on_child: Callable[[Proc], None] | None = None
    on_signal: Callable[[int], None] | None = None
    on_end: Callable[[], None] | None = None
    on_unheard: Callable[[], None] | None = None  # nobody will know its status

    @property
    def alive(self) -> bool:
        return self.state == "R"

    def wake(self) -> None:
        if self.on_wake is not None and self.alive:
            self.on_wake()

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Something that it does later, if it still lives then."""
        self.timers.append(self.kernel.loop.call_later(delay_s, call))

    def install(self, handle: Open) -> int:
        """A new descriptor."""
        fd = 3
        while fd in self.fds:
            fd += 1
        self.fds[fd] = take(handle)
        if isinstance(handle, ReadEnd):
            handle.pipe.reader = self
        elif isinstance(handle, Socket):
            handle.reader = self
        return fd

    def close(self, fd: int) -> None:
        drop(self.fds.pop(fd))


class Kernel:
    """One node: its processes, and a disk for each user's spool."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, random: Random, host: str, on_output_lost: Callable[[str], None]
    ) -> None:
        self.loop, self.random, self.host, self.on_output_lost = loop, random, host, on_output_lost
        self.boots = 0
        self.procs: dict[int, Proc] = {}
        self.next_pid = 0
        self.births = 0
        self.booted_s = loop.time()
        self.watchers: list[Proc] = []  # who has a descriptor on a process

    @property
    def boot_id(self) -> str:
        return f"boot-{self.host}-{self.boots}"

    def new(self, *, kind: str, ppid: int, uid: int, att: str = "", tag: int = 0) -> Proc:
        while True:
            pid = FIRST_PID + self.next_pid % PIDS
            self.next_pid += 1
            if pid not in self.procs:
                break
        # In ticks since the boot, as the kernel has it; and no two the same.
        self.births = max(self.births + 1, int((self.loop.time() - self.booted_s) * TICKS))
        proc = Proc(kernel=self, pid=pid, ppid=ppid, start=self.births, kind=kind, uid=uid, att=att, tag=tag)
        self.procs[pid] = proc
        return proc

    def children(self, pid: int) -> list[Proc]:
        return [proc for proc in self.procs.values() if proc.ppid == pid]

    def of_attempt(self, att: str) -> list[Proc]:
        return [proc for proc in self.procs.values() if proc.att == att and proc.alive]

    def exit(self, proc: Proc, code: int, status: int) -> None:
        """A process is over: its descriptors are closed, its children have another parent, its parent hears of it."""
        if not proc.alive:
            return
        proc.state, proc.end = "Z", (code, status)
        for timer in proc.timers:
            timer.cancel()
        for fd in list(proc.fds):
            proc.close(fd)
        parent = self.procs.get(self.reaper_above(proc))
        for child in self.children(proc.pid):
            child.ppid = parent.pid if parent is not None else INIT
            if child.state == "Z":
                self.tell_parent(child)
        if proc.on_end is not None:
            proc.on_end()
        self.tell_parent(proc)
        for watcher in self.watchers:
            watcher.wake()

    def reaper_above(self, proc: Proc) -> int:
        """Keepers and shepherds are sub-reapers."""
        above = self.procs.get(proc.ppid)
        while above is not None and not (above.alive and above.kind in ("keeper", "shepherd")):
            above = self.procs.get(above.ppid)
        return above.pid if above is not None else INIT

    def tell_parent(self, proc: Proc) -> None:
        parent = self.procs.get(proc.ppid)
        if parent is None or not parent.alive:
            if proc.on_unheard is not None:
                proc.on_unheard()
            self.reap(proc)
        elif parent.on_child is not None:
            parent.on_child(proc)

    def reap(self, proc: Proc) -> None:
        """Its status is taken: now its pid is free."""
        proc.state = "X"
        if self.procs.get(proc.pid) is proc:
            del self.procs[proc.pid]

    def signal(self, proc: Proc, number: int) -> None:
        if not proc.alive:
            return
        if number == SIGKILL or proc.on_signal is None:
            if number in (SIGKILL, SIGTERM, SIGPIPE):
                self.exit(proc, SIGNALLED, number)
        else:
            proc.on_signal(number)

    def write(self, proc: Proc, fd: int, data: bytes) -> None:
        """A program prints something; it dies of it where nobody can read that any more."""
        handle = proc.fds.get(fd)
        if isinstance(handle, WriteEnd):
            if handle.pipe.readers:
                handle.pipe.write(data)
            else:
                self.signal(proc, SIGPIPE)
        elif isinstance(handle, Shared):
            with handle.path.open("ab") as file:
                file.write(data)
        elif isinstance(handle, OnDisk) and handle.file is not None:
            written = 0
            with contextlib.suppress(OSError):  # most programs do not look
                written = handle.disk.append(handle.file, data)
            if written < len(data):
                self.on_output_lost(proc.att)

    def power_cut(self, disks: list[Disk]) -> None:
        """Everything that runs is gone, at once and unheard."""
        for proc in list(self.procs.values()):
            for timer in proc.timers:
                timer.cancel()
            proc.on_wake = proc.on_child = None
            proc.state, proc.end = "X", (0, 0)
            if proc.on_end is not None:
                proc.on_end()
        for proc in list(self.procs.values()):
            for fd in list(proc.fds):
                proc.close(fd)
        self.procs, self.watchers = {}, []
        self.boots += 1
        self.next_pid = self.births = 0
        self.booted_s = self.loop.time()
        for disk in disks:
            disk.power_cut(self.random)
