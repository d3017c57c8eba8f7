"""Throw-away users, and running things as them; what is started here never outlives the test run."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import pwd
import re
import shlex
import shutil
import signal
import string
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

T = TypeVar("T")

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
SBIN_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
USER_NAME = re.compile(r"wqt(\d+)[a-z]")
_BASE_NAME = re.compile(r"wqrig-(\d+)-\w+")


def wait_for(condition: Callable[[], T], timeout_s: float, what: str) -> T:
    """Polls until the condition gives something true, and returns that; after timeout_s fails, saying `what`."""
    deadline = time.monotonic() + timeout_s
    while True:
        late = time.monotonic() > deadline  # looked at before the condition, which so gets its last chance
        if value := condition():
            return value
        if late:
            raise AssertionError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(0.01)


def missing_program(*programs: str) -> str | None:
    """The reason to skip a test that needs these programs, None when all are there."""
    absent = [name for name in programs if shutil.which(name, path=SBIN_PATH) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def no_accounts() -> str | None:
    """The reason to skip a test that makes accounts."""
    return missing_program("useradd", "userdel") if os.geteuid() == 0 else "only root can make throw-away users"


def program(name: str) -> str:
    found = shutil.which(name, path=SBIN_PATH)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def do(*argv: str | Path, stdin: str | None = None) -> str:
    """Runs a command of the rig itself; its output is only seen when it fails."""
    argv_text = [program(str(argv[0])), *map(str, argv[1:])]
    done = subprocess.run(argv_text, input=stdin, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(argv_text)}: exit {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


# ---- processes ----


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants_of(pid: int) -> list[int]:
    found = []
    for child in children_of(pid):
        found += [child, *descendants_of(child)]
    return found


def is_alive(pid: int) -> bool:
    """A zombie counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def title_of(pid: int) -> str:
    """What `ps` shows."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def processes_of(uid: int) -> list[int]:
    """The living processes of a user, whatever namespace they are in."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                uids = re.search(r"^Uid:\s+(\d+)\s+(\d+)", (entry / "status").read_text(), re.MULTILINE)
                if uids and str(uid) in uids.groups() and is_alive(int(entry.name)):
                    found.append(int(entry.name))
    return found


def signal_all(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process hangs (SIGSTOP) for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def mortal(argv: Sequence[str]) -> list[str]:
    """The command, such that it is killed when this process is."""
    return [program("setpriv"), "--pdeathsig", "KILL", *argv]


def spawn(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts something of the rig's own that goes on, as root and with a root's environment."""
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


# ---- what a test run owns ----


class Owned:
    """Something that must be undone: by `with`, by close(), and at the latest when the interpreter ends."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        atexit.register(self.close)

    def close(self) -> None:
        atexit.unregister(self.close)
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Base(Owned):
    """A directory that every user may read and that every node of the rig shares (private /tmp or not)."""

    def __init__(self) -> None:
        super().__init__()
        self._undo.callback(os.umask, os.umask(0o022))  # the users are to read what the rig writes
        usual = "/var/lib" if os.geteuid() == 0 else tempfile.gettempdir()
        parent = Path(os.environ.get("WQ_RIG_DIR", usual))  # (benches want one where no files were just deleted)
        self.path = Path(tempfile.mkdtemp(prefix=f"wqrig-{os.getpid()}-", dir=parent))
        self._undo.callback(shutil.rmtree, self.path, ignore_errors=True)
        self.path.chmod(0o755)
        for stale in parent.glob("wqrig-*-*"):
            named = _BASE_NAME.fullmatch(stale.name)
            if named and not is_alive(int(named[1])):
                _remove_accounts_in(stale)
                shutil.rmtree(stale, ignore_errors=True)

    def directory(self, name: str, mode: int = 0o755) -> Path:
        """A new directory NAME (with a number, should it exist)."""
        for number in range(1000):
            path = self.path / (f"{name}{number}" if number else name)
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                path.chmod(mode)
                return path
        raise AssertionError("unreachable: a thousand directories of one name")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class User:
    name: str
    uid: int
    gid: int
    home: Path
    shell: str

    def environment(self) -> dict[str, str]:
        """What a login of this user starts from."""
        return {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": self.shell,
            "PATH": SYSTEM_PATH,
            "LANG": "C.UTF-8",
        }

    def write(self, path: Path, text: str, mode: int = 0o644) -> Path:
        """Writes a file as this user's own."""
        path.write_text(text)
        self.own(path, mode)
        return path

    def own(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)


def current_user() -> User:
    entry = pwd.getpwuid(os.geteuid())
    return User(
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        home=Path(entry.pw_dir),
        shell=entry.pw_shell or "/bin/sh",
    )


class Users(Owned):
    """Throw-away accounts wqt<pid>a, wqt<pid>b, ... with homes under the base; they go with all their processes."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        self._base = base
        self._letters = iter(string.ascii_lowercase)

    def create(self, shell: str = "/bin/bash") -> User:
        name = f"wqt{os.getpid()}{next(self._letters)}"
        home = self._base.path / "home" / name
        home.parent.mkdir(exist_ok=True)
        home.parent.chmod(0o755)
        # Other runs may hold the lock of the password file for a moment: useradd waits, but not for long.
        argv = ["useradd", "--create-home", "--home-dir", str(home), "--shell", shell, "--password", "*", name]
        for _ in range(5):
            with contextlib.suppress(RuntimeError):
                do(*argv)
                break
        else:
            do(*argv)
        self._undo.callback(_remove_account, name)
        entry = pwd.getpwnam(name)
        return User(name=name, uid=entry.pw_uid, gid=entry.pw_gid, home=home, shell=shell)


def _remove_accounts_in(base: Path) -> None:
    for entry in pwd.getpwall():
        if USER_NAME.fullmatch(entry.pw_name) and Path(entry.pw_dir).is_relative_to(base):
            with contextlib.suppress(KeyError):  # another run was quicker
                _remove_account(entry.pw_name)


def _remove_account(name: str) -> None:
    uid = pwd.getpwnam(name).pw_uid

    def all_gone() -> bool:
        left = processes_of(uid)
        signal_all(left)
        return not left

    wait_for(all_gone, 20, f"the processes of {name} to end")
    # The number will be given to somebody else: nothing of it may stay behind.
    for public in ("/tmp", "/var/tmp", "/dev/shm"):
        with os.scandir(public) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_uid == uid:
                        if entry.is_dir(follow_symlinks=False):
                            shutil.rmtree(entry.path, ignore_errors=True)
                        else:
                            os.unlink(entry.path)
    home = Path(pwd.getpwnam(name).pw_dir)
    for _ in range(5):
        with contextlib.suppress(RuntimeError):
            do("userdel", "--force", name)
            break
    shutil.rmtree(home, ignore_errors=True)


# ---- running things as a user, here or on a node ----


class Place(Protocol):
    """Where a process can be started without ssh."""

    def enter(self) -> list[str]:
        """The command that runs what follows it in that place, as root."""


def _as_user(user: User, argv: Sequence[str | Path], cwd: Path | None, at: Place | None) -> list[str]:
    words = [str(word) for word in argv]
    if os.geteuid() == 0 and user.uid != 0:
        setpriv = [
            program("setpriv"),
            f"--reuid={user.uid}",
            f"--regid={user.gid}",
            "--init-groups",
            "--pdeathsig=KILL",
        ]
    else:
        setpriv = [program("setpriv"), "--pdeathsig=KILL"]
    go = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(cwd or user.home)]
    return [*(at.enter() if at else []), *setpriv, *go, *words]


def run_as(
    user: User,
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    at: Place | None = None,
    stdin: str = "",
    timeout_s: float = 60,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs a command as the user, in the environment of a login plus `env`, in the home or in cwd; takes its output."""
    done = subprocess.run(
        _as_user(user, argv, cwd, at),
        env={**user.environment(), **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if check:
        assert done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def popen_as(
    user: User,
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    at: Place | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
    start_new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Like run_as, but leaves the process running: the caller's. Its pid is that of the command itself, except on a
    node with pids of its own (there it is nsenter's, and the command dies with it)."""
    return subprocess.Popen(
        _as_user(user, argv, cwd, at),
        env={**user.environment(), **(env or {})},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=start_new_session,
    )


def public_wq(base: Base) -> Path:
    """A directory to put into PATH whose `wq` is that of this checkout, but which every user can read and start.

    Neither the checkout nor the tests' own Python need be open to other users: root's home is closed to them.
    """
    where = base.directory("wq")
    package = Path(sys.modules["wq"].__path__[0]) if "wq" in sys.modules else Path(__file__).parents[2] / "src" / "wq"
    site = where / "site"
    shutil.copytree(package, site / "wq", ignore=shutil.ignore_patterns("__pycache__"))
    installed = Path(sysconfig.get_path("purelib"))
    for needed in ("msgspec", "yaml", "_yaml", "ClusterShell", "rich", "markdown_it", "mdurl", "pygments"):
        if (installed / needed).is_dir():
            shutil.copytree(installed / needed, site / needed)
    python = _public_python()
    (where / "bin").mkdir()
    script = where / "bin" / "wq"
    script.write_text(
        f"#!/bin/sh\nexec {python} -I -S -c 'import sys\n"
        f'sys.argv[0] = "wq"\nsys.path.append("{site}")\n'
        'from wq.cli.main import script\nscript()\' "$@"\n'
    )
    script.chmod(0o755)
    do(python, "-I", "-m", "compileall", "-q", site)
    return where / "bin"


def _public_python() -> str:
    """A Python of the version that runs the tests (its compiled packages are copied) that everyone may start."""
    version = f"python3.{sys.version_info[1]}"
    own = os.path.realpath(sys.executable)
    if os.geteuid() != 0:
        return own  # there are no others
    for path in (own, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        real = Path(path).resolve()
        if real.exists() and all(part.stat().st_mode & 0o001 for part in (real, *real.parents)):
            return str(real)
    raise FileNotFoundError(f"no {version} that other users may start")
