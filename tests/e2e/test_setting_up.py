"""wq init and wq doctor on real sshd nodes: one that is well, one that chats, one that refuses the key, one bare."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, Row
from tests.e2e.rig import Nodes, User, run_as, wait_for
from tests.e2e.sshnodes import chatty, without_python
from wq.formats.clusterfile import parse_cluster_file

pytestmark = pytest.mark.xdist_group("e2e-setting-up")

CHATTER = "echo Welcome; echo; echo '{}'; head -c 50000 /dev/zero | tr '\\0' x; echo\n"


@pytest.fixture(scope="module")
def frank(accounts: rig.Users) -> User:
    """Whose login prints much."""
    user = accounts.create()
    user.write(user.home / ".bashrc", CHATTER)
    user.write(user.home / ".profile", CHATTER)
    return user


@pytest.fixture(scope="module")
def odd(base: rig.Base, frank: User) -> Iterator[Nodes]:
    """node1 is well, node2 chats, node3 refuses the key, node4 has no python."""
    if reason := rig.missing_program("sshd", "ssh", "ssh-keygen"):
        pytest.skip(reason)
    options = {"node2": [chatty(base)], "node4": [without_python(base)]}
    with Nodes(base, 4, users=[frank], options=options) as made:
        made["node3"].refuse(frank)
        yield made


@pytest.fixture
def work(frank: User) -> Path:
    number = len(list(frank.home.glob("work*")))
    path = frank.home / f"work{number}"
    path.mkdir()
    frank.own(path, 0o755)
    return path


def wq(user: User, public_wq: Path, work: Path, *words: str, status: int = 0) -> str:
    env = {"PATH": f"{public_wq}:{rig.SYSTEM_PATH}", "WQ_PORT": "64998"}
    done = run_as(user, ["wq", *words], cwd=work, env=env)
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    return done.stdout


def test_a_cluster_file_is_made_of_what_can_be_used(odd: Nodes, frank: User, public_wq: Path, work: Path) -> None:
    table = wq(frank, public_wq, work, "init", "node[1-4]", "node77", status=1).splitlines()
    rows = {line.split()[0]: line.split(None, 8) for line in table[1:]}
    assert rows["node1"][6:] == ["shared", "shared", "-"]
    assert rows["node2"][8] == "it seems to be the same machine as node1, whose cores would count twice"
    assert rows["node3"][8].startswith("refuses your key (")
    assert rows["node4"][8].startswith("there is no python3 on the PATH of a login there")
    assert rows["node77"][8].startswith("has no address (")
    text = (work / "cluster.txt").read_text()
    assert [node.host for node in parse_cluster_file(text, source="x")] == ["node1", "node2"]
    assert parse_cluster_file(text, source="x")[0].ncores == len(os.sched_getaffinity(0))
    assert [line.split(":")[0] for line in text.splitlines()[-3:]] == ["# node3", "# node4", "# node77"]
    wq(frank, public_wq, work, "init", "node1", status=2)
    assert (work / "cluster.txt").read_text() == text
    assert [path.name for path in work.iterdir()] == ["cluster.txt"]
    assert not list(frank.home.glob(".wq-probe-*"))


def test_what_it_makes_can_be_served(odd: Nodes, frank: User, public_wq: Path, work: Path) -> None:
    wq(frank, public_wq, work, "init", "-o", "mine.txt", "node1")
    queue = Queue(wq=public_wq, owner=frank, users=[frank], cluster=work / "mine.txt")
    with queue:
        done = queue.run(frank, ["wq", "sub", "-c", "echo here"], cwd=work)
        assert done.stdout.endswith("here\n")


def test_a_directory_that_is_not_shared_is_remarked_upon(net: rig.NetNodes, anze: User, public_wq: Path) -> None:
    env = {"PATH": f"{public_wq}:{net.path_with_ssh(anze)}"}
    mine = anze.home / "of-init"
    mine.mkdir()
    anze.own(mine, 0o755)
    for place, here, remarks in (
        (mine, "shared", []),
        (Path("/dev/shm"), "other", ["the current directory is another one there"]),  # each node has its own
        (Path("/usr"), None, []),  # where no marker can be left
    ):
        done = run_as(anze, ["wq", "init", "--json", "-o", "-", "n1", "n2"], cwd=place, env=env, at=net.head)
        assert done.returncode == 0, done.stderr
        for row in json.loads(done.stdout)["nodes"]:
            assert (row["home_shared"], row["here"], row["remarks"]) == (True, here, remarks)


def checks(queue: Queue, user: User, *words: str, status: int = 0) -> dict[str, Row]:
    """The worst of the findings about each thing; of launchers, about that for this queue (tests leave others)."""
    done = queue.wq(user, "doctor", "--json", *words, status=None)
    found: list[Row] = json.loads(done.stdout)
    assert done.returncode == any(row["state"] == "wrong" for row in found)
    rows = [row for row in found if row["about"] != "launcher" or f"on port {queue.port}:" in row["text"]]
    assert status == any(row["state"] == "wrong" for row in rows), rows
    rows.sort(key=lambda row: ["ok", "warning", "wrong"].index(row["state"]))
    return {row["about"]: row for row in rows}


def test_an_installation_that_is_well(queue: Queue, dana: User) -> None:
    found = checks(queue, dana)
    assert {about: row["state"] for about, row in found.items() if not about.startswith("node ")} == dict.fromkeys(
        ["python", "install", "configuration", "state", "meeting place", "ssh", "server", "launcher"], "ok"
    )
    assert [about for about in found if about.startswith("node ")] == [
        "node node1",
        "node node2",
        "node node3",
        "node node4",
    ]
    assert "it answers, and has 4 nodes" in found["server"]["text"]
    assert checks(queue, queue.owner)["spool"]["state"] == "ok"


def test_a_key_that_is_refused_is_wrong_for_this_user_alone(queue: Queue, four: Nodes, dana: User, erin: User) -> None:
    four["node3"].refuse(dana)
    try:
        words = [line.split() for line in queue.wq(dana, "doctor", status=1).stdout.splitlines()]
    finally:
        four.admit(four["node3"], dana)
    assert [word[2] for word in words if word[:2] == ["wrong", "node"]] == ["node3"]
    assert checks(queue, erin, "node3")["node node3"]["state"] != "wrong"


def test_it_works_while_the_server_is_down_and_starts_nothing(queue: Queue, dana: User) -> None:
    job = queue.batch(dana, "sleep 1000")
    queue.wait_for_state(job, "running")
    launcher = queue.launcher_pid(dana)
    assert launcher is not None
    assert f"process {launcher}, unfinished work" in checks(queue, dana, "node1")["launcher"]["text"]
    assert queue.launcher_pid(dana) == launcher
    queue.shutdown()
    rig.signal_all([launcher])
    wait_for(lambda: not rig.is_alive(launcher), PATIENCE_S, "the launcher to be gone")
    found = checks(queue, dana, status=1)
    assert (found["server"]["state"], found["launcher"]["state"]) == ("wrong", "wrong")
    assert found["launcher"]["todo"] == "`wq launcher` brings it back"
    assert "node node1" in found  # those that were accepted are known
    assert (queue.server_pid, queue.launcher_pid(dana)) == (None, None)
    queue.serve()
    queue.wq(dana, "ls")


def test_what_somebody_has_planted_on_a_node_is_seen(
    odd: Nodes, frank: User, erin: User, public_wq: Path, work: Path
) -> None:
    planted = Path(f"/var/tmp/wq-{frank.uid}")
    wait_for(lambda: not planted.exists(), PATIENCE_S, "the spools of frank's to be gone")
    planted.mkdir()
    erin.own(planted, 0o777)
    try:
        rows = json.loads(wq(frank, public_wq, work, "doctor", "--json", "node1"))
    finally:
        planted.rmdir()
    [found] = [row for row in rows if row["state"] == "warning"]
    assert (found["about"], found["todo"]) == ("node node1", "tell whoever looks after node1")
    assert found["text"] == f"{planted} belongs to somebody else and is stepped around"
