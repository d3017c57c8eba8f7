"""A cluster on one machine, for tests: throw-away users and real sshd nodes, on loopback or each in its own namespaces.

    with Base() as base, Users(base) as users:
        anze = users.create()
        with Nodes(base, 2, users=[anze]) as nodes:          # sshd on 127.0.0.11 and 127.0.0.12
            run_as(anze, ["ssh", "node1", "true"])           # through anze's ~/.ssh/config
        with NetNodes(base, ["n1", "n2"], users=[anze]) as net:
            run_as(anze, ["ssh", "n1", "hostname"], at=net.head)
            net.cut("n1")

Nothing that was started outlives the test: processes are ended by their id and, should pytest itself be killed, by
PR_SET_PDEATHSIG; accounts that a killed run left behind are removed by the next one.
"""

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
import socket
import string
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

T = TypeVar("T")

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_SBIN_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_USER_NAME = re.compile(r"wqt(\d+)[a-z]")
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
    absent = [name for name in programs if shutil.which(name, path=_SBIN_PATH) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def no_accounts() -> str | None:
    """The reason to skip a test that makes accounts."""
    return missing_program("useradd", "userdel") if os.geteuid() == 0 else "only root can make throw-away users"


def no_namespaces() -> str | None:
    """The reason to skip a test that needs NetNodes."""
    if os.geteuid() != 0:
        return "only root can make network namespaces here"
    if reason := missing_program("ip", "nsenter", "unshare", "setpriv", "sshd", "ssh"):
        return reason
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "ip", "link", "add", "br0", "type", "bridge"],
        env={"PATH": _SBIN_PATH},
        capture_output=True,
        text=True,
    )
    return None if tried.returncode == 0 else f"no namespaces or bridges here: {tried.stderr.strip()}"


def program(name: str) -> str:
    found = shutil.which(name, path=_SBIN_PATH)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def _do(*argv: str | Path, stdin: str | None = None) -> str:
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


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _mortal(argv: Sequence[str]) -> list[str]:
    """The command, such that it is killed when this process is."""
    return [program("setpriv"), "--pdeathsig", "KILL", *argv]


def _spawn(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
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
        parent = Path("/var/lib" if os.geteuid() == 0 else tempfile.gettempdir())
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
                _do(*argv)
                break
        else:
            _do(*argv)
        self._undo.callback(_remove_account, name)
        entry = pwd.getpwnam(name)
        return User(name=name, uid=entry.pw_uid, gid=entry.pw_gid, home=home, shell=shell)


def _remove_accounts_in(base: Path) -> None:
    for entry in pwd.getpwall():
        if _USER_NAME.fullmatch(entry.pw_name) and Path(entry.pw_dir).is_relative_to(base):
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
            _do("userdel", "--force", name)
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
        'from wq.cli.main import main\nsys.exit(main())\' "$@"\n'
    )
    script.chmod(0o755)
    _do(python, "-I", "-m", "compileall", "-q", site)
    return where / "bin"


def _public_python() -> str:
    """A Python of the version that runs the tests (its compiled packages are copied) that everyone may start."""
    version = f"python3.{sys.version_info[1]}"
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    for path in (own, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        real = Path(path).resolve()
        if real.exists() and all(part.stat().st_mode & 0o001 for part in (real, *real.parents)):
            return str(real)
    raise FileNotFoundError(f"no {version} that other users may start")


# ---- sshd ----


_LISTENS = "Server listening on"


@dataclasses.dataclass(slots=True, kw_only=True)
class Node:
    """One sshd, with its own host key, and the keys of the users that it admits."""

    name: str
    address: str
    port: int
    directory: Path
    options: Sequence[str] = ()  # lines of sshd_config: the first one that sets an option counts, so these come first
    place: Place | None = None
    _sshd: subprocess.Popen[bytes] | None = None
    _listens_before: int = 0
    _left: list[int] = dataclasses.field(default_factory=list)  # connections that outlived their listener

    def prepare(self) -> None:
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", self.directory / "host_key")
        (self.directory / "authorized_keys").mkdir()
        self.configure(self.options)

    def configure(self, options: Sequence[str]) -> None:
        """Other lines for sshd_config; they count from the next start() on."""
        self.options = options
        lines = [
            *options,
            f"ListenAddress {self.address}:{self.port}",
            f"HostKey {self.directory}/host_key",
            f"PidFile {self.directory}/sshd.pid",
            f"AuthorizedKeysFile {self.directory}/authorized_keys/%u",
            "StrictModes no",  # the rig's directories are root's
            "UsePAM no",
            "UseDNS no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitUserEnvironment no",
            "PermitRootLogin prohibit-password",
            "X11Forwarding yes",
            "X11UseLocalhost yes",
            "PrintMotd no",
            "PrintLastLog no",
            "LogLevel VERBOSE",
            "Subsystem sftp internal-sftp",
        ]
        (self.directory / "sshd_config").write_text("\n".join(lines) + "\n")

    @property
    def public_host_key(self) -> str:
        return (self.directory / "host_key.pub").read_text().rpartition(" ")[0]

    def admit(self, user: User, public_key: str) -> None:
        """From now on this key opens the node for this user."""
        (self.directory / "authorized_keys" / user.name).write_text(public_key)

    def refuse(self, user: User) -> None:
        """From now on no key does."""
        (self.directory / "authorized_keys" / user.name).unlink(missing_ok=True)

    @property
    def pid(self) -> int | None:
        """The listener's, None when it does not run."""
        return self._sshd.pid if self._sshd and self._sshd.poll() is None else None

    @property
    def log(self) -> str:
        """What sshd has written so far, all starts together."""
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "log").read_text(errors="replace")
        return ""

    def start(self) -> None:
        """Starts sshd and waits until it answers. Already running: nothing."""
        if self.pid:
            return
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
        sshd = _mortal(
            [program("sshd"), "-D", "-f", str(self.directory / "sshd_config"), "-E", str(self.directory / "log")]
        )
        self._listens_before = self.log.count(_LISTENS)
        self._sshd = _spawn(_mortal([*self.place.enter(), *sshd]) if self.place else sshd, self.directory / "stderr")
        wait_for(self._answers, 10, f"sshd of {self.name} to answer; its log: {self.log}")

    def _answers(self) -> bool:
        if self._sshd is None or self._sshd.poll() is not None:
            raise RuntimeError(f"sshd of {self.name} ended: {self.log} {(self.directory / 'stderr').read_text()}")
        if self.place:
            return self.log.count(_LISTENS) > self._listens_before
        try:
            with socket.create_connection((self.address, self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _listener(self) -> int | None:
        """sshd's own pid: on a node with pids of its own, the Popen is nsenter's."""
        if self.pid is None:
            return None
        for pid in (self.pid, *children_of(self.pid)):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe").endswith("/sshd"):
                    return pid
        return self.pid

    def sessions(self) -> list[int]:
        """The sshd processes of the connections that are open, not what runs in them."""
        listener = self._listener()
        roots = [*(children_of(listener) if listener else []), *filter(is_alive, self._left)]
        found = []
        for root in roots:
            for pid in (root, *descendants_of(root)):
                with contextlib.suppress(OSError):
                    if re.fullmatch("sshd|sshd-session|sshd-auth", Path(f"/proc/{pid}/comm").read_text().strip()):
                        found.append(pid)
        return found

    def stop(self) -> None:
        """Ends the listener: new connections are refused, open ones go on."""
        if self._sshd is None:
            return
        listener = self._listener()
        if listener is not None:
            self._left = [*self._left, *children_of(listener)]
            signal_all([listener])
        self._sshd.wait()
        self._sshd = None

    def kill_sessions(self) -> None:
        """Kills the sshd processes of all connections; what ran in them is left to its fate."""
        pids = self.sessions()
        signal_all(pids)
        wait_for(lambda: not any(map(is_alive, pids)), 10, f"the sessions on {self.name} to be gone")


def chatty(base: Base, size_bytes: int = 10_000) -> str:
    """An option: each login prints so much on stdout before it does what it was asked."""
    script = base.directory("chatty") / "login"
    script.write_text(
        "#!/bin/bash\n"
        f"head -c {size_bytes} < <(yes 'Welcome! Maintenance on Monday; do not run jobs here. {{\"a\": 1}}')\necho\n"
        'exec "$SHELL" -c "${SSH_ORIGINAL_COMMAND:-exec $SHELL -l}"\n'
    )
    script.chmod(0o755)
    return f"ForceCommand {script}"


def without_python(base: Base) -> str:
    """An option: nothing in PATH is called python."""
    bin_ = base.directory("bin-without-python")
    for directory in reversed(SYSTEM_PATH.split(":")):
        for entry in Path(directory).iterdir():
            link = bin_ / entry.name
            if "python" not in entry.name and not link.is_symlink():
                link.symlink_to(entry)
    return f"SetEnv PATH={bin_}"


class _Cluster(Owned):
    """What all kinds of nodes have in common: the users' keys and ssh configurations."""

    def __init__(self, base: Base, users: Sequence[User]) -> None:
        super().__init__()
        self.users = users
        self.nodes: dict[str, Node] = {}
        self.directory = base.directory("cluster")

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def ssh_config(self, user: User) -> Path:
        """A configuration with which `ssh -F ... node1 true` works as this user."""
        return self.directory / user.name / "config"

    def path_with_ssh(self, user: User) -> str:
        """A PATH whose `ssh` uses that configuration, for a user whose ~/.ssh is not ours to write."""
        return f"{self.directory / user.name / 'bin'}:{SYSTEM_PATH}"

    def public_key(self, user: User) -> str:
        return (self.directory / user.name / "key.pub").read_text()

    def admit(self, node: Node, user: User) -> None:
        node.admit(user, self.public_key(user))

    def _make_keys(self, names: Callable[[Node], Sequence[str]]) -> None:
        known = "".join(f"{','.join(names(node))} {node.public_host_key}\n" for node in self.nodes.values())
        for user in self.users:
            mine = self.directory / user.name
            mine.mkdir()
            _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", user.name, "-f", mine / "key")
            user.own(mine / "key", 0o600)
            user.write(mine / "known_hosts", known)
            lines = []
            for node in self.nodes.values():
                lines += [
                    f"Host {' '.join(names(node))}",
                    f"    HostName {node.address}",
                    f"    Port {node.port}",
                    f"    HostKeyAlias {node.name}",
                ]
                self.admit(node, user)
            lines += [
                "Host *",
                f"    User {user.name}",
                f"    IdentityFile {mine}/key",
                "    IdentitiesOnly yes",
                "    IdentityAgent none",
                f"    UserKnownHostsFile {mine}/known_hosts",
                "    GlobalKnownHostsFile /dev/null",
                "    StrictHostKeyChecking yes",
                "    UpdateHostKeys no",
            ]
            config = user.write(mine / "config", "\n".join(lines) + "\n")
            (mine / "bin").mkdir()
            wrapper = user.write(mine / "bin" / "ssh", f'#!/bin/sh\nexec {program("ssh")} -F {config} "$@"\n', 0o755)
            assert wrapper.exists()
            user.own(mine, 0o755)
            if _USER_NAME.fullmatch(user.name):  # a throw-away one: plain `ssh node1` works too
                dot_ssh = user.home / ".ssh"
                dot_ssh.mkdir(exist_ok=True)
                user.own(dot_ssh, 0o700)
                user.write(dot_ssh / "config", config.read_text(), 0o600)

    def _stop(self, node: Node) -> None:
        node.stop()
        with contextlib.suppress(AssertionError):
            node.kill_sessions()


class Nodes(_Cluster):
    """node1, node2, ...: sshd on 127.0.0.11, 127.0.0.12, ..., each on a port of its own; the same machine otherwise."""

    def __init__(
        self, base: Base, count: int, *, users: Sequence[User], options: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__(base, users)
        try:
            for number in range(1, count + 1):
                address = f"127.0.0.{10 + number}"
                node = Node(
                    name=f"node{number}",
                    address=address,
                    port=_free_port(address),
                    directory=self.directory / f"node{number}",
                    options=(options or {}).get(f"node{number}", ()),
                )
                node.directory.mkdir()
                node.prepare()
                self.nodes[node.name] = node
            self._make_keys(lambda node: [node.name])
            for node in self.nodes.values():
                self._undo.callback(self._stop, node)
                node.start()
        except BaseException:
            self.close()
            raise


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


# ---- nodes with namespaces of their own ----

# Runs as the first process of a node. Its arguments: the node's directory, then the paths that are to be private.
_NODE_SETUP = """
set -e
directory=$1; shift
hostname "$(cat "$directory/hostname")"
ip link set lo up
mount --bind "$directory/../hosts" /etc/hosts
mount --bind "$directory/hostname" /etc/hostname
if [ -f "$directory/boot_id" ]; then
    mount --bind "$directory/boot_id" /proc/sys/kernel/random/boot_id
fi
for private; do
    mkdir -p "$private"
    mount -t tmpfs -o mode=1777 node "$private"
done
: > "$directory/ready"
"""

# What stays of it: as init, it has to wait for the orphans of the node.
_NODE_INIT = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
while True:
    signal.sigwait([signal.SIGCHLD])
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""


@dataclasses.dataclass(slots=True, kw_only=True)
class Machine:
    """A network, host name and mounts of its own; with own_pids also processes (its init, boot id and reboots)."""

    name: str
    address: str
    directory: Path
    own_pids: bool
    private: Sequence[str | Path]
    _holder: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        (self.directory / "ready").unlink(missing_ok=True)
        (self.directory / "hostname").write_text(f"{self.name}\n")
        if self.own_pids:
            (self.directory / "boot_id").write_text(f"{uuid.uuid4()}\n")
        flags = ["--net", "--uts", "--mount"]
        if self.own_pids:
            flags += ["--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        init = shlex.join([_public_python(), "-I", "-S", "-c", _NODE_INIT])
        setup = ["/bin/sh", "-c", f"{_NODE_SETUP}\nexec {init}", "node", self.directory, *self.private]
        self._holder = _spawn(_mortal([program("unshare"), *flags, *map(str, setup)]), self.directory / "init.log")
        wait_for(self._is_ready, 10, f"{self.name} to boot")

    def _is_ready(self) -> bool:
        if self._holder is None or self._holder.poll() is not None:
            raise RuntimeError(f"{self.name} did not boot: {(self.directory / 'init.log').read_text()}")
        return (self.directory / "ready").exists()

    @property
    def mac(self) -> str:
        """The same after a reboot, or the others would talk to the old one for a while."""
        return "02:00:00:00:00:{:02x}".format(int(self.address.rpartition(".")[2]))

    @property
    def init(self) -> int:
        """The pid, as seen from outside, of the process that keeps the machine alive."""
        assert self._holder is not None, f"{self.name} is off"
        return children_of(self._holder.pid)[0] if self.own_pids else self._holder.pid

    def enter(self) -> list[str]:
        flags = ["--net", "--uts", "--mount", *(["--pid"] if self.own_pids else [])]
        return [program("nsenter"), f"--target={self.init}", *flags, "--"]

    def off(self) -> None:
        """Ends all its processes, if they are its own, and its network at once: as when the power fails."""
        if self._holder is not None:
            _end(self._holder)
            self._holder = None


class NetNodes(_Cluster):
    """Machines on a network of their own (10.77.0.0/24 behind a bridge that only they see), and a `head` that is one
    more of them, without sshd, whose pids are those of the test: servers and launchers run there.

    Names are resolved by a hosts file of the rig. /tmp, /var/tmp and /dev/shm are each node's own, the rest of the
    file system is shared but for the `private` paths, which are empty directories that everyone may write.
    """

    def __init__(
        self,
        base: Base,
        names: Sequence[str],
        *,
        users: Sequence[User],
        aliases: Mapping[str, Sequence[str]] | None = None,
        private: Sequence[str | Path] = (),
        options: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(base, users)
        self._aliases = aliases or {}
        self.machines: dict[str, Machine] = {}
        try:
            self._switch = subprocess.Popen(_mortal([program("unshare"), "--net", "sleep", "infinity"]))
            self._undo.callback(_end, self._switch)
            wait_for(self._has_switch, 10, "the switch's namespace")
            self._ip(self._switch.pid, "link add br0 type bridge", "link set br0 up")
            self._boot_all(names, private)
            for name in names:
                machine = self.machines[name]
                node = Node(
                    name=name,
                    address=machine.address,
                    port=22,
                    directory=machine.directory,
                    options=(options or {}).get(name, ()),
                    place=machine,
                )
                node.prepare()
                self.nodes[name] = node
            self._make_keys(lambda node: [node.name, *self._aliases.get(node.name, ())])
            for node in self.nodes.values():
                self._undo.callback(self._stop, node)
                node.start()
        except BaseException:
            self.close()
            raise

    def _has_switch(self) -> bool:
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{self._switch.pid}/ns/net") != os.readlink("/proc/self/ns/net")
        return False

    def _boot_all(self, names: Sequence[str], private: Sequence[str | Path]) -> None:
        hosts = ["127.0.0.1 localhost"]
        for number, name in enumerate(["head", *names], start=1):
            directory = self.directory / name
            directory.mkdir()
            self.machines[name] = Machine(
                name=name,
                address=f"10.77.0.{number}",
                directory=directory,
                own_pids=name != "head",
                private=[] if name == "head" else ["/tmp", "/var/tmp", "/dev/shm", *private],
            )
            hosts.append(" ".join([f"10.77.0.{number}", name, *self._aliases.get(name, ())]))
        (self.directory / "hosts").write_text("\n".join(hosts) + "\n")
        for machine in self.machines.values():
            self._undo.callback(machine.off)
            machine.boot()
            self._plug_in(machine)

    def _plug_in(self, machine: Machine) -> None:
        port = self._port(machine.name)
        self._ip(
            self._switch.pid,
            f"link add {port} type veth peer name eth0 address {machine.mac} netns {machine.init}",
            f"link set {port} master br0",
            f"link set {port} up",
        )
        self._ip(machine.init, f"addr add {machine.address}/24 dev eth0", "link set eth0 up")

    def _port(self, name: str) -> str:
        return f"port{list(self.machines).index(name)}"

    @staticmethod
    def _ip(pid: int, *commands: str) -> None:
        _do("nsenter", f"--target={pid}", "--net", program("ip"), "-batch", "-", stdin="\n".join(commands) + "\n")

    @property
    def head(self) -> Machine:
        return self.machines["head"]

    def cut(self, name: str) -> None:
        """Pulls the cable: packets vanish in both directions, nobody is told."""
        self._ip(self._switch.pid, f"link set {self._port(name)} down")

    def heal(self, name: str) -> None:
        self._ip(self._switch.pid, f"link set {self._port(name)} up")

    def crash(self, name: str) -> None:
        """The power fails: every process of the node is gone at once, its private directories too."""
        self.machines[name].off()
        self.nodes[name].stop()

    def boot(self, name: str) -> None:
        """After a crash: the node comes back, with a new boot id."""
        machine = self.machines[name]
        machine.boot()
        with contextlib.suppress(RuntimeError):  # the kernel may not have taken the old cable away yet
            self._ip(self._switch.pid, f"link del {self._port(name)}")
        self._plug_in(machine)
        self.nodes[name].start()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process hangs (SIGSTOP) for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
