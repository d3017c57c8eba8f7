"""Real sshd nodes: one sshd a node with its own keys, and the ssh configuration of each user that opens them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.e2e.users import (
    SYSTEM_PATH,
    USER_NAME,
    Base,
    Owned,
    Place,
    User,
    children_of,
    descendants_of,
    do,
    is_alive,
    mortal,
    program,
    signal_all,
    spawn,
    wait_for,
)

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
        do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", self.directory / "host_key")
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
        sshd = mortal(
            [program("sshd"), "-D", "-f", str(self.directory / "sshd_config"), "-E", str(self.directory / "log")]
        )
        self._listens_before = self.log.count(_LISTENS)
        self._sshd = spawn(mortal([*self.place.enter(), *sshd]) if self.place else sshd, self.directory / "stderr")
        wait_for(self._answers, 10, f"sshd of {self.name} to answer")

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


class Cluster(Owned):
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
            do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", user.name, "-f", mine / "key")
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
            if USER_NAME.fullmatch(user.name):  # a throw-away one: plain `ssh node1` works too
                dot_ssh = user.home / ".ssh"
                dot_ssh.mkdir(exist_ok=True)
                user.own(dot_ssh, 0o700)
                user.write(dot_ssh / "config", config.read_text(), 0o600)

    def _stop(self, node: Node) -> None:
        node.stop()
        with contextlib.suppress(AssertionError):
            node.kill_sessions()


class Nodes(Cluster):
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
