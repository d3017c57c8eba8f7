"""Nodes that cannot be used, and links that break: the start is taken back, the job runs elsewhere or says why not."""

from __future__ import annotations

import dataclasses
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, read, until
from tests.e2e.rig import Nodes, User, popen_as, wait_for
from tests.e2e.sshnodes import chatty, without_python

pytestmark = pytest.mark.xdist_group("e2e-failures")

SIX_NODES = "".join(f"node{number} 2 8\n" for number in range(1, 7))


@pytest.fixture(scope="module")
def fay(accounts: rig.Users) -> User:
    """Who serves."""
    return accounts.create()


@pytest.fixture(scope="module")
def gil(accounts: rig.Users) -> User:
    """Who has the troubles."""
    return accounts.create()


@pytest.fixture(scope="module")
def hal(accounts: rig.Users) -> User:
    """Whose ssh configuration is a work of art."""
    return accounts.create()


@pytest.fixture(scope="module")
def nodes(base: rig.Base, fay: User, gil: User, hal: User) -> Iterator[Nodes]:
    """node2 has no python, node6 prints 10 kB at each login; the others are well until somebody harms them."""
    if reason := rig.missing_program("sshd", "ssh", "ssh-keygen"):
        pytest.skip(reason)
    options = {"node2": [without_python(base)], "node6": [chatty(base)]}
    with Nodes(base, 6, users=[fay, gil, hal], options=options) as made:
        yield made


@pytest.fixture(scope="module")
def module_queue(base: rig.Base, nodes: Nodes, public_wq: Path, fay: User, gil: User, hal: User) -> Iterator[Queue]:
    """Served by fay for gil and hal: six nodes of two cores."""
    cluster = fay.write(base.directory("queue") / "cluster.txt", SIX_NODES)
    with Queue(wq=public_wq, owner=fay, users=[gil, hal], cluster=cluster) as made:
        yield made


def waits_because(queue: Queue, job: int, text: str) -> None:
    """Waits until that is the reason why it waits."""
    wait_for(lambda: text in (queue.why(job) or {"text": ""})["text"], PATIENCE_S, f"job {job} to wait: {text}")


def only(queue: Queue, *names: str) -> None:
    """The cluster is these nodes, and all are looked at again."""
    queue.write_cluster("".join(f"{name} 2 8\n" for name in names))
    queue.wq(queue.owner, "refresh")


def ssh_clients(queue: Queue, user: User) -> list[int]:
    """The ssh processes below the user's launcher."""
    launcher = queue.launcher_pid(user)
    below = rig.descendants_of(launcher) if launcher else []
    return [pid for pid in below if read(Path(f"/proc/{pid}/comm")) == "ssh\n"]


def let_go_of(queue: Queue, node: rig.Node, user: User) -> None:
    """Breaks the warm connection to a node, if there is one; the launcher knows."""
    node.kill_sessions()
    words = b"--\0" + node.name.encode() + b"\0"
    wait_for(
        lambda: not any(words in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in ssh_clients(queue, user)),
        PATIENCE_S,
        f"the connection to {node.name} to be given up",
    )


# ---- a node with a trouble


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A node that fails gil: what is said of it, how it comes, and how it is put right."""

    node: str
    says: str
    harm: Callable[[Nodes, User], None] = lambda nodes, user: None
    repair: Callable[[Nodes, User], None]
    is_seen_by_owner: bool = False


def reconfigure(nodes: Nodes, name: str, options: list[str]) -> None:
    nodes[name].stop()
    nodes[name].kill_sessions()
    nodes[name].configure(options)
    nodes[name].start()


def forget_host_key(nodes: Nodes, user: User) -> None:
    known = nodes.ssh_config(user).parent / "known_hosts"
    lines = known.read_text().splitlines(keepends=True)
    user.write(known, "".join(line for line in lines if not line.startswith("node5 ")))


def learn_host_key(nodes: Nodes, user: User) -> None:
    known = nodes.ssh_config(user).parent / "known_hosts"
    user.write(known, known.read_text() + f"node5 {nodes['node5'].public_host_key}\n")


TROUBLES = {
    "no python": Trouble(
        node="node2",
        says="node2 has no python3; 3.6 or newer is needed there",
        repair=lambda nodes, user: reconfigure(nodes, "node2", []),
    ),
    "key refused": Trouble(
        node="node3",
        says="node3 refuses your key",
        harm=lambda nodes, user: nodes["node3"].refuse(user),
        repair=lambda nodes, user: nodes.admit(nodes["node3"], user),
    ),
    "sshd down": Trouble(
        node="node4",
        says="node4 does not answer",
        harm=lambda nodes, user: nodes["node4"].stop(),
        repair=lambda nodes, user: nodes["node4"].start(),
        is_seen_by_owner=True,
    ),
    "host key unknown": Trouble(
        node="node5",
        says="the host key of node5 is not known or has changed; log in once with ssh to accept it",
        harm=forget_host_key,
        repair=learn_host_key,
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_job_avoids_a_node_that_fails_or_says_why_it_waits(
    queue: Queue, nodes: Nodes, fay: User, gil: User, name: str
) -> None:
    trouble = TROUBLES[name]
    trouble.harm(nodes, gil)
    only(queue, trouble.node, "node1")
    job = queue.batch(gil, "exit 3")
    assert queue.wait_for_end(job)["exit_status"] == 3
    assert queue.cores_of(job) == {"node1": 1}

    only(queue, trouble.node)
    work = queue.directory(gil)
    job = queue.batch(gil, "echo $WQ_HOSTS >where; exit 4", cwd=work)
    waits_because(queue, job, trouble.says)
    assert trouble.says in queue.wq(gil, "ls", "-f", str(job)).stdout
    if trouble.is_seen_by_owner:
        wait_for(lambda: queue.nodes()[trouble.node]["state"] == "offline", PATIENCE_S, "the owner's look")
        shown = f"[XX]   {trouble.node}"
        wait_for(lambda: shown in queue.wq(gil, "stat").stdout, PATIENCE_S, "the owner's look")
    else:
        assert trouble.says in queue.wq(gil, "user", gil.name).stdout
        assert queue.nodes()[trouble.node]["state"] == "online"  # for the others it is well
    assert queue.used() == {trouble.node: 0}

    trouble.repair(nodes, gil)
    queue.wq(gil, "refresh")
    queue.wq(fay, "refresh")
    assert queue.wait_for_end(job)["exit_status"] == 4
    assert read(work / "where") == f"{trouble.node}\n"


def test_a_trouble_of_one_user_is_not_anothers(queue: Queue, nodes: Nodes, gil: User, fay: User) -> None:
    nodes["node3"].refuse(gil)
    let_go_of(queue, nodes["node3"], gil)
    only(queue, "node3")
    try:
        waits = queue.batch(gil, "exit 3")
        waits_because(queue, waits, "node3 refuses your key")
        job = queue.batch(fay, "exit 5")
        assert queue.wait_for_end(job)["exit_status"] == 5
        assert queue.state(waits) == "queued"
    finally:
        nodes.admit(nodes["node3"], gil)


def test_a_foreground_job_on_a_node_that_fails_waits_and_goes_on(queue: Queue, nodes: Nodes, gil: User) -> None:
    nodes["node3"].refuse(gil)
    let_go_of(queue, nodes["node3"], gil)
    only(queue, "node3")
    try:
        with queue.start(gil, "sub", "-c", "echo done; exit 6") as client:
            wait_for(lambda: "node3 refuses your key" in client.err, PATIENCE_S, "the reason")
            nodes.admit(nodes["node3"], gil)
            queue.wq(gil, "refresh")
            assert client.wait() == 6
            assert client.out == "done\n"
    finally:
        nodes.admit(nodes["node3"], gil)


def test_a_login_that_prints_does_no_harm(queue: Queue, gil: User) -> None:
    only(queue, "node6")
    done = queue.wq(gil, "sub", "-c", "echo out; echo err >&2; exit 7", status=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_a_node_that_is_down_is_shown_so_and_comes_back(queue: Queue, nodes: Nodes, fay: User) -> None:
    only(queue, "node1", "node4")
    nodes["node4"].stop()
    try:
        queue.wq(fay, "refresh")
        wait_for(lambda: queue.nodes()["node4"]["state"] == "offline", PATIENCE_S, "the owner's look")
        bars = queue.wq(fay, "stat").stdout.splitlines()
        assert [line.split()[:2] for line in bars[1:3]] == [["[..]", "node1"], ["[XX]", "node4"]]
        assert bars[3] == "Used/avail/active cores: 0/2/2 (0.0% load, 2 are offline)"
        assert "node4 does not answer" in queue.wq(fay, "node", "node4").stdout
    finally:
        nodes["node4"].start()
    queue.wq(fay, "refresh")
    wait_for(lambda: queue.nodes()["node4"]["state"] == "online", PATIENCE_S, "another look")


# ---- links that break under a job


def kill_sshd_sessions(queue: Queue, nodes: Nodes, user: User) -> None:
    nodes["node1"].kill_sessions()


def kill_ssh_clients(queue: Queue, nodes: Nodes, user: User) -> None:
    rig.signal_all(ssh_clients(queue, user))


def stop_sshd_for_a_while(queue: Queue, nodes: Nodes, user: User) -> None:
    nodes["node1"].stop()
    try:
        let_go_of(queue, nodes["node1"], user)
    finally:
        nodes["node1"].start()


@pytest.mark.parametrize("cut", [kill_sshd_sessions, kill_ssh_clients, stop_sshd_for_a_while])
def test_a_batch_job_survives_its_connection(
    queue: Queue, nodes: Nodes, gil: User, cut: Callable[[Queue, Nodes, User], None]
) -> None:
    only(queue, "node1")
    work = queue.directory(gil)
    command = f"echo x >>ran; echo before; {until(work / 'go')}; echo after; exit 9"
    job = queue.batch(gil, command, cwd=work)
    queue.wait_for_state(job, "running")
    wait_for(lambda: read(work / "ran"), PATIENCE_S, "the job to run")
    cut(queue, nodes, gil)
    assert queue.state(job) == "running"
    assert queue.used() == {"node1": 1}
    gil.write(work / "go", "")
    assert queue.wait_for_end(job)["exit_status"] == 9
    [output] = work.glob("*.wqlog")
    assert output.read_text() == "before\nafter\n"
    assert read(work / "ran") == "x\n"


def test_an_end_behind_a_broken_connection_is_learnt_truly(queue: Queue, nodes: Nodes, gil: User) -> None:
    only(queue, "node1")
    work = queue.directory(gil)
    job = queue.batch(gil, f"echo $$ >pid; {until(work / 'go')}; exit 10", cwd=work)
    queue.wait_for_state(job, "running")
    pid = int(wait_for(lambda: read(work / "pid"), PATIENCE_S, "the job to run"))
    nodes["node1"].stop()
    nodes["node1"].kill_sessions()
    try:
        gil.write(work / "go", "")
        wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "the job to end")
        assert queue.state(job) == "running"  # as far as anybody can know
        assert queue.used() == {"node1": 1}
    finally:
        nodes["node1"].start()
    assert queue.wait_for_end(job)["exit_status"] == 10


# ---- ssh configurations


@pytest.fixture(scope="module")
def artful(nodes: Nodes, hal: User) -> str:
    """WQ_SSH for hal, whose plain ssh knows no node at all: forwardings, commands, masters and jumps."""
    (hal.home / ".ssh" / "config").unlink()
    lines = [
        "Host node3",
        "    ProxyJump node1",
        "Host node3 node4 node5",
        "    RemoteCommand sleep 1000",
        "    RequestTTY force",
        "    LocalForward 127.0.0.1:1 127.0.0.1:22",
        "    ExitOnForwardFailure yes",
        "    ForwardAgent yes",
        "    PermitLocalCommand yes",
        f"    LocalCommand touch {hal.home}/local-command",
        "Host node4",
        "    ControlMaster auto",
        f"    ControlPath {hal.home}/%n",
        "    ControlPersist 600",
        "Match all",
    ]
    config = hal.write(hal.home / "config", "\n".join(lines) + "\n" + nodes.ssh_config(hal).read_text())
    return f"ssh -F {shlex.quote(str(config))}"


@pytest.mark.usefixtures("artful")
def test_without_the_configuration_that_wq_ssh_names_there_is_no_way(queue: Queue, hal: User) -> None:
    only(queue, "node5")
    job = queue.batch(hal, "exit 3")
    waits_because(queue, job, "node5")
    assert queue.state(job) == "queued"


@pytest.mark.parametrize("node", ["node3", "node4", "node5"])
def test_any_ssh_configuration_will_do(queue: Queue, hal: User, artful: str, node: str) -> None:
    only(queue, node)
    env = {"WQ_SSH": artful}
    queue.wq(hal, "refresh", env=env)
    done = queue.wq(hal, "sub", "-c", "cat; echo err >&2; exit 8", env=env, stdin="in\n", status=8)
    assert (done.stdout, done.stderr) == ("in\n", "err\n")
    assert not (hal.home / "local-command").exists()
    assert not (hal.home / "node4").exists()


def test_a_master_of_the_users_own_may_be_used_and_may_go(queue: Queue, hal: User, artful: str, nodes: Nodes) -> None:
    only(queue, "node4")
    rig.signal_all(ssh_clients(queue, hal))
    options = ["-o", "RemoteCommand=none", "-o", "ClearAllForwardings=yes", "-o", "RequestTTY=no"]
    master = popen_as(hal, [*shlex.split(artful), *options, "-M", "-N", "node4"])
    try:
        wait_for(lambda: (hal.home / "node4").exists(), PATIENCE_S, "the master's socket")
        work = queue.directory(hal)
        env = {"WQ_SSH": artful}
        words = ["sub", "-b", "-q", "-c", f"echo x >>ran; {until(work / 'go')}; exit 9"]
        job = int(queue.wq(hal, *words, cwd=work, env=env).stdout)
        wait_for(lambda: read(work / "ran"), PATIENCE_S, "the job to run")
        master.send_signal(signal.SIGKILL)
        master.communicate()
        hal.write(work / "go", "")
        assert queue.wait_for_end(job)["exit_status"] == 9
        assert read(work / "ran") == "x\n"
    finally:
        master.kill()
        master.communicate()
        (hal.home / "node4").unlink(missing_ok=True)
