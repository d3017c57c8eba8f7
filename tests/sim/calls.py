"""What the shepherd sees of its kernel: `os`, `signal`, `selectors` and `socket`, as far as it uses them.

Each process has its own. A call that the shepherd did not make when this was written fails loudly. Before each call
that changes something the process may be killed; a dead process can do nothing any more, not even clean up.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import selectors
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.sim.disk import Disk
from tests.sim.kernel import (
    EXITED,
    SIGKILL,
    Killed,
    Listener,
    OnDisk,
    Open,
    Pipe,
    Proc,
    ProcessFd,
    ReadEnd,
    Shared,
    Socket,
    WriteEnd,
    take,
)

SPOOL = "/var/tmp/wq/spool"
ENV = {"HOME": "/home", "USER": "u", "LOGNAME": "u", "SHELL": "/bin/sh", "PATH": "/bin"}


class Blocks(Exception):
    """Nothing is ready: select would wait now. timeout_s: so long at most."""

    def __init__(self, timeout_s: float | None) -> None:
        super().__init__()
        self.timeout_s = timeout_s


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Os:
    """The calls of one process. doom: it is killed before so many more calls that change something."""

    def __init__(self, proc: Proc, disk: Disk, *, shares: bool) -> None:
        self.proc, self.disk, self.shares = proc, disk, shares
        self.kernel = proc.kernel
        self.environ = dict(ENV)
        self.path = SimpleNamespace(
            join=posixpath.join,
            dirname=posixpath.dirname,
            basename=posixpath.basename,
            abspath=posixpath.abspath,
            exists=lambda path: self.name_of(path) in self.disk.files,
            isdir=lambda path: True,
            isfile=lambda path: self.name_of(path) in self.disk.files,
        )
        self.doom: int | None = None

    def __getattr__(self, name: str) -> Any:
        if name.isupper() or name in ("strerror", "fsencode", "WIFEXITED"):
            return getattr(os, name)
        raise AttributeError(f"the simulated node has no os.{name}")

    def point(self) -> None:
        """Here it may be killed."""
        if self.doom is not None and self.proc.alive:
            self.doom -= 1
            if self.doom < 0:
                self.doom = None
                self.kernel.signal(self.proc, SIGKILL)
        if not self.proc.alive:
            raise Killed

    # files

    def name_of(self, path: str | bytes) -> str:
        """The name of a file of the spool, or the whole path of another."""
        text = os.fsdecode(path)
        if text.startswith(SPOOL + "/"):
            return text[len(SPOOL) + 1 :]
        return text[2:] if text.startswith("./") else text

    def open(self, path: str | bytes, flags: int, mode: int = 0o777) -> int:
        name = self.name_of(path)
        if name in ("/dev/null", ".", "..", "../..", SPOOL):
            return self.proc.install(OnDisk(self.disk, None))
        if name.startswith("/"):
            return self.open_shared(Path(name), flags)
        file = self.disk.files.get(name)
        if file is None and not flags & os.O_CREAT:
            raise error(errno.ENOENT)
        if file is not None and flags & os.O_EXCL:
            raise error(errno.EEXIST)
        if file is None or (flags & os.O_TRUNC and file.data):
            self.point()
        if file is None:
            file = self.disk.make(name)
        elif flags & os.O_TRUNC:
            self.disk.cut(file, 0)
        return self.proc.install(OnDisk(self.disk, file))

    def open_shared(self, path: Path, flags: int) -> int:
        """A file of the submitting host, if this node sees it."""
        if not self.shares or not path.parent.is_dir() or not (path.is_file() or flags & os.O_CREAT):
            raise error(errno.ENOENT)
        if flags & os.O_CREAT:
            if path.is_file() and flags & os.O_EXCL:
                raise error(errno.EEXIST)
            self.point()
            path.touch()
        return self.proc.install(Shared(path))

    def handle(self, fd: int) -> Any:
        if not self.proc.alive:
            raise Killed
        found = self.proc.fds.get(fd)
        if found is None:
            raise error(errno.EBADF)
        return found

    def close(self, fd: int) -> None:
        self.handle(fd)
        self.proc.close(fd)

    def dup(self, fd: int) -> int:
        return self.proc.install(self.handle(fd))

    def read(self, fd: int, size: int) -> bytes:
        handle = self.handle(fd)
        match handle:
            case ReadEnd():
                if not handle.pipe.data and handle.pipe.writers:
                    raise error(errno.EAGAIN)
                data = bytes(handle.pipe.data[:size])
                del handle.pipe.data[:size]
                return data
            case Shared():
                return handle.path.read_bytes()[:size]
            case OnDisk() if handle.file is not None:
                data = bytes(handle.file.data[handle.at : handle.at + size])
                handle.at += len(data)
                return data
        return b""

    def pread(self, fd: int, size: int, at: int) -> bytes:
        return bytes(self.handle(fd).file.data[at : at + size])

    def write(self, fd: int, data: bytes | bytearray | memoryview) -> int:
        self.point()
        handle = self.handle(fd)
        data = bytes(data)
        match handle:
            case WriteEnd():
                if not handle.pipe.readers:
                    raise error(errno.EPIPE)
                handle.pipe.write(data)
            case OnDisk():
                return handle.disk.append(handle.file, data) if handle.file is not None else len(data)
            case _:
                raise error(errno.EBADF)
        return len(data)

    def fsync(self, fd: int) -> None:
        self.point()
        handle = self.handle(fd)
        if handle.file is not None:
            handle.disk.sync(handle.file)

    fdatasync = fsync

    def ftruncate(self, fd: int, size: int) -> None:
        self.point()
        handle = self.handle(fd)
        if isinstance(handle, Shared):
            os.truncate(handle.path, size)
        else:
            handle.disk.cut(handle.file, size)

    def fstat(self, fd: int) -> SimpleNamespace:
        handle = self.handle(fd)
        if isinstance(handle, Shared):
            return SimpleNamespace(st_mode=stat.S_IFREG, st_size=handle.path.stat().st_size, st_uid=os.getuid())
        return SimpleNamespace(st_mode=stat.S_IFREG, st_size=len(handle.file.data), st_ino=handle.file.number)

    def stat(self, path: str) -> SimpleNamespace:
        file = self.disk.files.get(self.name_of(path))
        if file is None:
            raise error(errno.ENOENT)
        return SimpleNamespace(st_mode=stat.S_IFREG, st_size=len(file.data), st_ino=file.number, st_uid=os.getuid())

    lstat = stat

    def unlink(self, path: str) -> None:
        self.point()
        if not self.disk.remove(self.name_of(path)):
            raise error(errno.ENOENT)

    remove = unlink

    def replace(self, old: str, new: str) -> None:
        self.point()
        file = self.disk.files.pop(self.name_of(old), None)
        if file is None:
            raise error(errno.ENOENT)
        self.disk.files[self.name_of(new)] = file

    rename = replace

    def listdir(self, path: str) -> list[str]:
        if not self.proc.alive:
            raise Killed
        return sorted(self.disk.files)

    def statvfs(self, path: str) -> SimpleNamespace:
        full = self.disk.full
        return SimpleNamespace(f_blocks=1 << 30, f_bavail=1 << 30 if full is None else full, f_frsize=1)

    def access(self, path: str | bytes, mode: int) -> bool:
        return True

    def nothing(self, *_: object, **__: object) -> None:
        """Of no consequence here."""

    chdir = fchdir = umask = utime = set_blocking = mkdir = rmdir = chmod = nothing

    def open_file(self, path: str | bytes | int, mode: str = "r") -> Any:
        """The builtin `open`, for reading alone."""
        if mode != "rb":
            raise AttributeError(f"the simulated node opens no files in mode {mode!r}")
        fd = path if isinstance(path, int) else self.open(path, os.O_RDONLY)
        data = bytes(self.handle(fd).file.data)
        self.close(fd)
        return io.BytesIO(data)

    # pipes and processes

    def pipe(self) -> tuple[int, int]:
        pipe = Pipe()
        return self.proc.install(ReadEnd(pipe)), self.proc.install(WriteEnd(pipe))

    def _exit(self, status: int) -> None:
        self.kernel.exit(self.proc, EXITED, status)
        raise Killed

    def getpid(self) -> int:
        return self.proc.pid

    def getppid(self) -> int:
        return self.proc.ppid

    def getsid(self, pid: int) -> int:
        """All but the shepherd lead sessions of their own."""
        proc = self.kernel.procs.get(pid)
        if proc is None:
            raise error(errno.ESRCH)
        return pid if proc.kind != "shepherd" else proc.ppid

    def getuid(self) -> int:
        return os.getuid()

    def urandom(self, size: int) -> bytes:
        return self.kernel.random.randbytes(size)

    def sched_getaffinity(self, pid: int) -> set[int]:
        return {0, 1, 2, 3}

    def kill(self, pid: int, number: int) -> None:
        self.point()
        proc = self.kernel.procs.get(pid)
        if proc is None:
            raise error(errno.ESRCH)
        self.kernel.signal(proc, number)

    def pidfd_open(self, pid: int) -> int:
        proc = self.kernel.procs.get(pid)
        if proc is None:
            raise error(errno.ESRCH)
        if self.proc not in self.kernel.watchers:
            self.kernel.watchers.append(self.proc)
        return self.proc.install(ProcessFd(proc))

    def waitid(self, kind: int, pid: int, options: int) -> SimpleNamespace | None:
        """With WNOHANG and WNOWAIT: it looks, and takes nothing away."""
        if not self.proc.alive:
            raise Killed
        children = self.kernel.children(self.proc.pid)
        if not children:
            raise ChildProcessError(errno.ECHILD, os.strerror(errno.ECHILD))
        dead = [child for child in children if child.state == "Z"]
        if not dead:
            return None
        return SimpleNamespace(si_pid=dead[0].pid, si_code=dead[0].end[0], si_status=dead[0].end[1])

    def wait4(self, pid: int, options: int) -> tuple[int, int, SimpleNamespace]:
        self.point()
        child = self.kernel.procs[pid]
        assert child.ppid == self.proc.pid
        assert child.state == "Z"
        self.kernel.reap(child)
        return pid, 0, SimpleNamespace(ru_utime=0.0, ru_stime=0.0, ru_maxrss=0, ru_inblock=0, ru_oublock=0)

    def waitpid(self, pid: int, options: int) -> tuple[int, int]:
        return self.wait4(pid, options)[:2]


class Selector:
    """selectors.DefaultSelector, which says so when it would wait."""

    def __init__(self, proc: Proc) -> None:
        self.proc = proc
        self.keys: dict[int, selectors.SelectorKey] = {}
        self.handles: dict[int, Open] = {}

    def register(self, fd: int, events: int, data: Callable[[], None]) -> None:
        if fd in self.keys:
            raise KeyError(f"{fd} is already registered")
        if fd not in self.proc.fds:
            raise error(errno.EBADF)
        self.keys[fd] = selectors.SelectorKey(fd, fd, events, data)
        self.handles[fd] = self.proc.fds[fd]

    def unregister(self, fd: int) -> None:
        del self.keys[fd], self.handles[fd]

    def get_map(self) -> dict[int, selectors.SelectorKey]:
        return self.keys

    def select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        if not self.proc.alive:
            raise Killed
        fds, handles = self.proc.fds, self.handles
        ready = [
            (key, key.events)
            for fd, key in self.keys.items()
            if fds.get(fd) is handles[fd] and (key.events & selectors.EVENT_WRITE or handles[fd].readable())
        ]
        if ready or timeout == 0:
            return ready
        raise Blocks(timeout)


class Signals:
    """The module `signal`. Its wake-up descriptor gets a byte when a child has ended."""

    def __init__(self) -> None:
        self.wakeup_fd = -1

    def __getattr__(self, name: str) -> Any:
        if name.startswith("SIG"):
            return getattr(signal, name)
        raise AttributeError(f"the simulated node has no signal.{name}")

    def set_wakeup_fd(self, fd: int) -> None:
        self.wakeup_fd = fd

    def signal(self, number: int, handler: object) -> None:
        pass


class Conn:
    """A connected Unix socket, as socket.accept gives it."""

    def __init__(self, calls: Os, handle: Socket) -> None:
        self.calls, self.socket = calls, handle
        self.fd = calls.proc.install(handle)

    def nothing(self, *_: object) -> None:
        """Of no consequence here."""

    settimeout = setblocking = nothing

    def fileno(self) -> int:
        return self.fd

    def recvmsg(self, size: int, room: int, flags: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        handle = self.calls.handle(self.fd)
        data, handle.first = handle.first, b""
        fds = [self.calls.proc.install(passed) for passed in handle.passed]
        for passed in handle.passed:
            passed.copies -= 1  # (it was held while it was on its way)
        handle.passed = []
        packed = b"".join(fd.to_bytes(4, "little") for fd in fds)
        return data, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if fds else [], 0, None

    def recv(self, size: int) -> bytes:
        return b""

    def send(self, data: bytes) -> int:
        self.calls.point()
        if self.socket.peer_gone:
            raise error(errno.EPIPE)
        self.socket.on_data(data)
        return len(data)

    sendall = send

    def close(self) -> None:
        if self.fd in self.calls.proc.fds:
            self.calls.close(self.fd)


class ListeningSocket:
    """socket.socket(AF_UNIX), as a server uses it. bound: called with what others can connect to."""

    def __init__(self, calls: Os, bound: Callable[[Listener], None]) -> None:
        self.calls, self.bound = calls, bound
        self.listener = Listener()
        self.fd = calls.proc.install(self.listener)

    def bind(self, path: str) -> None:
        self.calls.point()
        self.calls.disk.make(path)

    def listen(self, backlog: int) -> None:
        self.bound(self.listener)

    def setblocking(self, on: bool) -> None:
        pass

    def fileno(self) -> int:
        return self.fd

    def accept(self) -> tuple[Conn, None]:
        if not self.listener.waiting:
            raise error(errno.EAGAIN)
        handle = self.listener.waiting.popleft()
        conn = Conn(self.calls, handle)
        return conn, None

    def close(self) -> None:
        if self.fd in self.calls.proc.fds:
            self.calls.close(self.fd)


class Sockets:
    """The module `socket`."""

    def __init__(self, calls: Os, bound: Callable[[Listener], None]) -> None:
        self.calls, self.bound = calls, bound

    def __getattr__(self, name: str) -> Any:
        if name.isupper() or name == "CMSG_SPACE":
            return getattr(socket, name)
        raise AttributeError(f"the simulated node has no socket.{name}")

    def socket(self, family: int) -> ListeningSocket:
        return ListeningSocket(self.calls, self.bound)

    def gethostname(self) -> str:
        return self.calls.kernel.host


def send_on(listener: Listener, shepherd: Proc, handle: Socket) -> None:
    """A connection to a listener; what it passes on is held meanwhile."""
    for passed in handle.passed:
        take(passed)
    listener.waiting.append(handle)
    shepherd.wake()
