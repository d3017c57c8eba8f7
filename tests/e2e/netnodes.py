"""Nodes with network, host name, processes and mounts of their own, whose links can be cut and which can crash."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.sshnodes import Cluster, Node
from tests.e2e.users import (
    SBIN_PATH,
    Base,
    User,
    children_of,
    do,
    end,
    missing_program,
    mortal,
    program,
    spawn,
    wait_for,
)


def no_namespaces() -> str | None:
    """The reason to skip a test that needs NetNodes."""
    if os.geteuid() != 0:
        return "only root can make network namespaces here"
    if reason := missing_program("ip", "nsenter", "unshare", "setpriv", "sshd", "ssh"):
        return reason
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "ip", "link", "add", "br0", "type", "bridge"],
        env={"PATH": SBIN_PATH},
        capture_output=True,
        text=True,
    )
    return None if tried.returncode == 0 else f"no namespaces or bridges here: {tried.stderr.strip()}"


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
    if [ -d "$directory/disk$private" ]; then
        mount --bind "$directory/disk$private" "$private"
    else
        mount -t tmpfs -o mode=1777 node "$private"
    fi
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
        init = shlex.join([os.path.realpath(sys.executable), "-I", "-S", "-c", _NODE_INIT])
        setup = ["/bin/sh", "-c", f"{_NODE_SETUP}\nexec {init}", "node", self.directory, *self.private]
        self._holder = spawn(mortal([program("unshare"), *flags, *map(str, setup)]), self.directory / "init.log")
        wait_for(self._is_ready, 10, f"{self.name} to boot")

    def _is_ready(self) -> bool:
        if self._holder is None or self._holder.poll() is not None:
            raise RuntimeError(f"{self.name} did not boot: {(self.directory / 'init.log').read_text()}")
        return (self.directory / "ready").exists()

    @property
    def is_on(self) -> bool:
        return self._holder is not None

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
        # Its root too, or in a chroot the command would find itself outside of that.
        flags = ["--net", "--uts", "--mount", "--root", *(["--pid"] if self.own_pids else [])]
        return [program("nsenter"), f"--target={self.init}", *flags, "--"]

    def off(self) -> None:
        """Ends all its processes, if they are its own, and its network at once: as when the power fails."""
        if self._holder is not None:
            end(self._holder)
            self._holder = None


class NetNodes(Cluster):
    """Machines on a network of their own (10.77.0.0/24 behind a bridge that only they see), and a `head` that is one
    more of them, without sshd, whose pids are those of the test: servers and launchers run there.

    Names are resolved by a hosts file of the rig. /tmp, /var/tmp and /dev/shm are each node's own, the rest of the
    file system is shared but for the `private` paths, which are empty directories that everyone may write. What is in
    those of them that are `on_disk` is still there after a crash.
    """

    def __init__(
        self,
        base: Base,
        names: Sequence[str],
        *,
        users: Sequence[User],
        aliases: Mapping[str, Sequence[str]] | None = None,
        private: Sequence[str | Path] = (),
        on_disk: Sequence[str | Path] = (),
        options: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(base, users)
        self._aliases = aliases or {}
        self.machines: dict[str, Machine] = {}
        try:
            self._switch = subprocess.Popen(mortal([program("unshare"), "--net", "sleep", "infinity"]))
            self._undo.callback(end, self._switch)
            wait_for(self._has_switch, 10, "the switch's namespace")
            self._ip(self._switch.pid, "link add br0 type bridge", "link set br0 up")
            self._boot_all(names, private, on_disk)
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

    def _boot_all(self, names: Sequence[str], private: Sequence[str | Path], on_disk: Sequence[str | Path]) -> None:
        hosts = ["127.0.0.1 localhost"]
        for number, name in enumerate(["head", *names], start=1):
            directory = self.directory / name
            directory.mkdir()
            for path in on_disk:
                kept = Path(f"{directory}/disk{path}")
                kept.mkdir(parents=True)
                kept.chmod(0o1777)
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
        do("nsenter", f"--target={pid}", "--net", program("ip"), "-batch", "-", stdin="\n".join(commands) + "\n")

    @property
    def head(self) -> Machine:
        return self.machines["head"]

    def cut(self, name: str) -> None:
        """Pulls the cable: packets vanish in both directions, nobody is told."""
        self._ip(self._switch.pid, f"link set {self._port(name)} down")

    def deafen(self, name: str) -> None:
        """Half a cable: the node no longer hears the head, the head still hears the node."""
        self._misdirect(self.head, self.machines[name])

    def mute(self, name: str) -> None:
        """The other half: the head no longer hears the node."""
        self._misdirect(self.machines[name], self.head)

    def _misdirect(
        self, sender: Machine, receiver: Machine, mac: str = "02:00:00:00:ff:ff", how: str = "permanent"
    ) -> None:
        """What one machine sends the other has a hardware address that nobody answers to."""
        self._ip(sender.init, f"neigh replace {receiver.address} lladdr {mac} nud {how} dev eth0")

    def heal(self, name: str) -> None:
        """Undoes cut, deafen and mute."""
        self._ip(self._switch.pid, f"link set {self._port(name)} up")
        node = self.machines[name]
        self._misdirect(self.head, node, node.mac, "stale")
        self._misdirect(node, self.head, self.head.mac, "stale")

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
