"""What the shepherd's own tests share. The user is one of the rig's where we are root, else whoever runs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.driver import Backend, Driver, Local, Ssh, new_key
from tests.e2e import rig
from tests.e2e.rig import User, popen_as
from tests.e2e.sshnodes import Nodes, chatty


@pytest.fixture(scope="session")
def base() -> Iterator[rig.Base]:
    """A directory that the user may read."""
    with rig.Base() as made:
        yield made


@pytest.fixture(scope="session")
def user(base: rig.Base) -> Iterator[User]:
    """Whose shepherds they are."""
    if rig.no_accounts():
        yield rig.current_user()
        return
    with rig.Users(base) as users:
        users._letters = iter("s")  # the first letters are those of the end-to-end tests, in the same process
        yield users.create()


@pytest.fixture(scope="session")
def nodes(base: rig.Base, user: User) -> Iterator[Nodes]:
    """node1, and node2, which prints 10 kB at each login."""
    if reason := rig.missing_program("sshd", "ssh", "ssh-keygen"):
        pytest.skip(reason)
    with Nodes(base, 2, users=[user], options={"node2": [chatty(base)]}) as made:
        yield made


@pytest.fixture(params=["local", "ssh"])
def backend(request: pytest.FixtureRequest, user: User) -> Backend:
    """The two ways to a shepherd."""
    if request.param == "local":
        return Local(user=user)
    return Ssh(user=user, nodes=request.getfixturevalue("nodes"))


@pytest.fixture
def key() -> str:
    return new_key()


@pytest.fixture
def driver(backend: Backend, key: str) -> Iterator[Driver]:
    """Connected to a new shepherd. At the end everything is acknowledged, and no process and no file may remain."""
    with Driver(backend, key) as made:
        made.open()
        yield made


@pytest.fixture
def local(user: User, key: str) -> Iterator[Driver]:
    """The same, where the way there does not matter."""
    with Driver(Local(user=user), key) as made:
        made.open()
        yield made


@pytest.fixture
def work(base: rig.Base, user: User) -> Path:
    """A directory where jobs leave their marks."""
    path = base.directory("work")
    user.own(path, 0o755)
    return path


@pytest.fixture
def bystander(user: User) -> Iterator[int]:
    """A process of the same user that is nobody's job."""
    process = popen_as(user, ["sleep", "5000"], start_new_session=True)
    yield process.pid
    assert process.poll() is None, "a process that has nothing to do with it was ended"
    process.kill()
    process.communicate()


@pytest.fixture
def small_disk() -> Iterator[int]:
    """A process for which /var/tmp is a disk of 256 kB of its own."""
    if os.geteuid() != 0 or rig.missing_program("unshare", "nsenter", "setpriv"):
        pytest.skip("only root can mount a small disk")
    mount = "mount -t tmpfs -o size=256k,mode=1777 none /var/tmp && echo ready && exec sleep infinity"
    holder = popen_as(rig.current_user(), ["unshare", "--mount", "sh", "-c", mount])
    assert holder.stdout is not None
    ready = holder.stdout.readline()
    if ready == b"ready\n":
        yield holder.pid
    holder.kill()
    holder.communicate()
    if ready != b"ready\n":
        pytest.skip("no mounts here")
