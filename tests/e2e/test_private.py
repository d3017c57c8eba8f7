"""A laptop or one workstation: the same commands work with no server set up, no cluster file and no ssh."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, read, until
from tests.e2e.rig import User, wait_for
from tests.e2e.users import title_of

pytestmark = pytest.mark.xdist_group("e2e-private")

GREETING = "echo hello from $(hostname)"


@pytest.fixture(scope="module")
def franc(accounts: rig.Users) -> User:
    """Who has never used wq, and has no ssh configuration."""
    return accounts.create()


@pytest.fixture(scope="module")
def gita(accounts: rig.Users) -> User:
    """Neither has she."""
    return accounts.create()


@pytest.fixture
def alone(base: rig.Base, public_wq: Path, franc: User, gita: User) -> Iterator[Queue]:
    """A port where nobody serves."""
    cluster = franc.write(base.directory("queue") / "unused.txt", "")
    with Queue(wq=public_wq, owner=franc, users=[gita], cluster=cluster, serve=False) as made:
        yield made
        made.print_logs()
        for user in (franc, gita):
            made.wq(user, "rm", "--grace", "0", "all", status=None)
        made.wait_until_acknowledged()
        for user in (franc, gita):
            made.wq(user, "shutdown", status=None)


def servers(user: User) -> list[int]:
    return [pid for pid in rig.processes_of(user.uid) if title_of(pid).startswith("wq serve")]


def test_the_first_command_of_all(alone: Queue, franc: User) -> None:
    done = alone.wq(franc, "sub", "-c", GREETING)
    assert done.stdout == f"hello from {socket.gethostname()}\n"
    [remark] = done.stderr.splitlines()
    assert remark.startswith("wq: ")
    assert "private" in remark
    assert "wq shutdown" in remark
    again = alone.wq(franc, "sub", "-c", "echo again; exit 3", status=3)
    assert (again.stdout, again.stderr) == ("again\n", "")


def test_it_is_this_machine_and_no_ssh(alone: Queue, franc: User) -> None:
    alone.wq(franc, "sub", "-c", "true")
    [node] = json.loads(alone.wq(franc, "stat", "--json").stdout)["nodes"]
    assert (node["host"], node["ncores"], node["state"]) == ("localhost", os.cpu_count(), "online")
    assert not [pid for pid in rig.processes_of(franc.uid) if title_of(pid).startswith("ssh")]


def test_shutdown_ends_it(alone: Queue, franc: User) -> None:
    alone.wq(franc, "sub", "-c", "true")
    assert len(servers(franc)) == 1
    assert alone.wq(franc, "shutdown").stderr == ""
    wait_for(lambda: not alone.processes(), PATIENCE_S, "the server to go, with the launcher and the shepherd")
    assert alone.wq(franc, "sub", "-c", "true").stderr.startswith("wq: no server here")


def test_state_comes_back(alone: Queue, franc: User) -> None:
    work = alone.directory(franc)
    ncores = os.cpu_count()
    require = f"N: {ncores}; job_name: j"
    running = alone.batch(franc, f"echo one; {until(work / 'go')}; echo two; exit 3", require, cwd=work)
    alone.wait_for_state(running, "running")
    waiting = alone.batch(franc, "exit 4", require, cwd=work)
    alone.wq(franc, "shutdown")
    wait_for(lambda: not servers(franc), PATIENCE_S, "the server to go")
    rows = alone.ls()
    assert [row["id"] for row in rows] == [running, waiting]
    alone.wait_for_state(running, "running")
    assert alone.state(waiting) == "queued"
    franc.write(work / "go", "")
    assert alone.wait_for_end(running)["exit_status"] == 3
    assert alone.wait_for_end(waiting)["exit_status"] == 4
    assert read(work / f"j-{running}.wqlog") == "one\ntwo\n"
    alone.wq(franc, "shutdown")
    assert alone.batch(franc, "true", cwd=work) == waiting + 1


def test_what_ends_while_it_is_down_is_learnt_afterwards(alone: Queue, franc: User) -> None:
    work = alone.directory(franc)
    job = alone.batch(franc, f"echo $$ > pid; {until(work / 'go')}; exit 5", cwd=work)
    pid = int(wait_for(lambda: read(work / "pid").strip(), PATIENCE_S, "it to run"))
    alone.wait_for_state(job, "running")
    alone.wq(franc, "shutdown")
    wait_for(lambda: not servers(franc), PATIENCE_S, "the server to go")
    franc.write(work / "go", "")
    wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "it to end")
    assert alone.wait_for_end(job)["exit_status"] == 5


def test_kill_9_of_it_loses_nothing(alone: Queue, franc: User) -> None:
    work = alone.directory(franc)
    job = alone.batch(franc, f"{until(work / 'go')}; exit 6", cwd=work)
    alone.wait_for_state(job, "running")
    pids = servers(franc)
    rig.signal_all(pids)
    wait_for(lambda: not any(map(rig.is_alive, pids)), PATIENCE_S, "the server to die")
    assert alone.wait_for_state(job, "running")["attempt"] == 1
    franc.write(work / "go", "")
    assert alone.wait_for_end(job)["exit_status"] == 6


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core only")
def test_jobs_stay_on_the_cores_that_they_got(alone: Queue, franc: User) -> None:
    work = alone.directory(franc)
    command = f"grep Cpus_allowed_list /proc/self/status; {until(work / 'go')}"
    jobs = [alone.batch(franc, command, "job_name: j", cwd=work) for _ in range(2)]
    logs = [work / f"j-{job}.wqlog" for job in jobs]
    wait_for(lambda: all("Cpus" in read(log) for log in logs), PATIENCE_S, "both to run")
    franc.write(work / "go", "")
    assert [read(log).split()[1] for log in logs] == ["0", "1"]


def test_nobody_else_sees_it(alone: Queue, franc: User, gita: User) -> None:
    alone.wait_for_state(alone.batch(franc, "sleep 1000"), "running")
    alone.wq(gita, "ls", status=75)
    done = alone.wq(gita, "sub", "-c", "echo mine")
    assert done.stdout == "mine\n"
    assert len(done.stderr.splitlines()) == 1
    assert alone.ls(user=gita) == []
    assert len(alone.ls(user=franc)) == 1
    assert (len(servers(franc)), len(servers(gita))) == (1, 1)


def test_other_commands_start_none(alone: Queue, franc: User) -> None:
    for words in (["ls"], ["stat"], ["rm", "all"], ["node"], ["users"], ["shutdown"]):
        [line] = alone.wq(franc, *words, status=75).stderr.splitlines()
        assert "wq sub" in line
    assert not servers(franc)


def test_bad_input_starts_none(alone: Queue, franc: User) -> None:
    for words in (["sub", "-r", "N: x", "-c", "true"], ["sub", "nosuch.yaml"], ["sub"]):
        [line] = alone.wq(franc, *words, status=2).stderr.splitlines()
        assert "private" not in line
    assert not servers(franc)


def test_a_shared_server_is_preferred_once_there_is_one(alone: Queue, franc: User, gita: User) -> None:
    alone.wq(franc, "sub", "-c", "true")
    alone.wq(franc, "shutdown")
    alone.wq(gita, "serve", "--detach")
    try:
        done = alone.wq(franc, "sub", "-c", GREETING)
        assert done.stdout == f"hello from {socket.gethostname()}\n"
        [line] = done.stderr.splitlines()
        assert gita.name in line
        assert not servers(franc)
    finally:
        alone.wq(gita, "shutdown")


def test_more_than_this_machine_has(alone: Queue, franc: User) -> None:
    ncores = os.cpu_count() or 1
    done = alone.wq(franc, "sub", "-r", f"N: {ncores + 1}", "-c", "true", status=2)
    assert f"N: {ncores + 1}" in done.stderr.splitlines()[-1]
