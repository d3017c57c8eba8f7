"""X windows from nodes: `-r "X:1"` forwards the display of the submission by `ssh -X`, and nothing else does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.conftest import skip_if
from tests.e2e.queues import PATIENCE_S, Queue, read
from tests.e2e.rig import Nodes, User, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.x11, pytest.mark.xdist_group("x11")]


@pytest.fixture(scope="module")
def mira(accounts: rig.Users) -> User:
    """Who likes windows."""
    return accounts.create()


@pytest.fixture(scope="module")
def queue(base: rig.Base, public_wq: Path, mira: User) -> Iterator[Queue]:
    skip_if(rig.missing_program("sshd", "ssh", "ssh-keygen", "Xvfb", "xauth", "xdpyinfo"))
    cluster = mira.write(base.directory("x11") / "cluster.txt", "node1 2 8\n")
    with (
        Nodes(base, 1, users=[mira]),
        Queue(wq=public_wq, owner=mira, users=[], cluster=cluster) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """An X server without a screen, which tells the number that it has found free."""
    argv = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x8", "-nolisten", "tcp"]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    number = server.stdout.readline().decode().strip()
    yield f":{number}"
    server.kill()
    server.wait()
    server.stdout.close()


def test_a_foreground_job_has_the_display(queue: Queue, mira: User, display: str) -> None:
    done = queue.wq(mira, "sub", "-r", "X:1", "-c", "echo $DISPLAY; xdpyinfo", env={"DISPLAY": display})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("localhost:")
    assert "number of screens:" in done.stdout


def test_a_batch_job_has_it_too(queue: Queue, mira: User, display: str) -> None:
    words = ("sub", "-b", "-q", "-r", "X: yes; job_name: x", "-c", "xdpyinfo")
    job = queue.wq(mira, *words, env={"DISPLAY": display}).stdout.strip()
    queue.wait_for_end(int(job))
    log = mira.home / f"x-{job}.wqlog"
    wait_for(lambda: "number of screens:" in read(log), PATIENCE_S, "the answer of the X server")


def test_without_the_requirement_there_is_none(queue: Queue, mira: User, display: str) -> None:
    done = queue.wq(mira, "sub", "-c", "echo ${DISPLAY:-none}", env={"DISPLAY": display})
    assert done.stdout == "none\n"
