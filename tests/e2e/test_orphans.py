"""wq orphans: what a job has left behind is found and ended; what runs, and what is no job's, is left alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, Row, read, until
from tests.e2e.rig import User, popen_as, wait_for
from tests.e2e.users import title_of

pytestmark = pytest.mark.xdist_group("e2e-orphans")

ON_NODE1 = "mode: byhost; host: node1"
ON_NODE2 = "mode: byhost; host: node2"


def pid_in(path: Path) -> int:
    return int(wait_for(lambda: read(path).strip(), PATIENCE_S, f"a pid in {path}"))


@pytest.fixture
def bystander(dana: User) -> Iterator[int]:
    """A process of dana's that is no job's."""
    process = popen_as(dana, ["sleep", "1000"])
    yield process.pid
    process.kill()
    process.communicate()


@pytest.fixture
def running(queue: Queue, dana: User) -> Iterator[int]:
    """A process that a running job of dana's has put into a session of its own."""
    work = queue.directory(dana)
    job = queue.batch(dana, f"setsid sh -c 'echo $$ >pid; exec sleep 1000' & {until(work / 'go')}", ON_NODE2, cwd=work)
    yield pid_in(work / "pid")
    assert queue.state(job) == "running"
    dana.write(work / "go", "")
    assert queue.wait_for_end(job)["exit_status"] == 0


@pytest.fixture
def leftover(queue: Queue, dana: User) -> Iterator[int]:
    """A process of a job on node1 whose keeper, shepherd and spool there have gone all at once."""
    work = queue.directory(dana)
    job = queue.batch(dana, "setsid sh -c 'echo $$ >pid; exec sleep 1000' & wait", ON_NODE1, cwd=work)
    pid = pid_in(work / "pid")
    queue.wait_for_state(job, "running")
    [spool] = Path(f"/var/tmp/wq-{dana.uid}").glob(f"*-{queue.port}-*@node1")
    launcher = queue.launcher_pid(dana)
    assert launcher is not None
    with rig.stopped(launcher):
        ours = queue.processes()
        victims = [p for p, title in ours.items() if title.startswith("wq-") and spool.name in title]
        assert {title_of(p).split()[0] for p in victims} == {"wq-keeper", "wq-shepherd"}
        rig.signal_all(victims)
        wait_for(lambda: not any(map(rig.is_alive, victims)), PATIENCE_S, "keeper and shepherd to be gone")
        shutil.rmtree(spool)
    queue.wait_for_state(job, "done")
    assert rig.is_alive(pid)
    yield pid
    rig.signal_all([pid])


def listed(queue: Queue, user: User, *words: str) -> list[Row]:
    rows: list[Row] = json.loads(queue.wq(user, "orphans", "--json", *words).stdout)["orphans"]
    return rows


def test_a_leftover_is_listed_and_ended_and_nothing_else_is(
    queue: Queue, dana: User, erin: User, leftover: int, running: int, bystander: int
) -> None:
    rows = listed(queue, dana, "node1")
    assert leftover in {row["pid"] for row in rows}
    assert not {running, bystander} & {row["pid"] for row in rows}
    assert all("sleep 1000" in row["command"] and row["ended"] is None for row in rows if row["pid"] == leftover)
    table = queue.wq(dana, "orphans", "node1").stdout.splitlines()
    assert table[0].split() == ["Node", "Pid", "Age", "Queue", "Job", "Command"]
    assert [line for line in table if line.startswith(f"node1 {leftover} ") and line.endswith(" sleep 1000")]
    assert listed(queue, erin, "node1") == []
    done = queue.wq(dana, "orphans", "--kill", "node1")
    assert f" {leftover} " in done.stdout
    assert done.stderr == f"wq: ended: {len(rows)}\n"
    assert not rig.is_alive(leftover)
    assert rig.is_alive(running)
    assert rig.is_alive(bystander)
    assert listed(queue, dana, "node1") == []


def test_all_nodes_of_the_cluster_are_looked_at(queue: Queue, dana: User, leftover: int) -> None:
    rows = listed(queue, dana)  # (the four nodes are one machine)
    assert [row["host"] for row in rows if row["pid"] == leftover] == ["node1", "node2", "node3", "node4"]


def test_only_those_that_were_accepted(queue: Queue, dana: User) -> None:
    queue.write_cluster(queue.cluster.read_text() + "node77 1 1\n")
    queue.wq(queue.owner, "refresh")
    assert "node77" in queue.nodes()
    assert queue.wq(dana, "orphans").stderr == ""  # node77 has no address
    queue.wq(dana, "orphans", "node77", status=1)


def test_nodes_that_are_named_need_no_server(queue: Queue, dana: User, leftover: int) -> None:
    queue.shutdown()
    assert leftover in {row["pid"] for row in listed(queue, dana, "node[1-2]")}
    done = queue.wq(dana, "orphans", status=75)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    queue.serve()


def test_a_node_that_cannot_be_looked_at_is_named(queue: Queue, dana: User, leftover: int) -> None:
    done = queue.wq(dana, "orphans", "node77", "node1", status=1)
    assert f"node1 {leftover} " in done.stdout
    assert done.stderr.startswith("wq: could not look at node77: node77 has no address (")
    assert len(done.stderr.splitlines()) == 1, done.stderr
