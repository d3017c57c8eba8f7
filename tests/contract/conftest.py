"""A user and nodes for the shepherd's own tests: of the rig, where we are root, else whoever runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.driver import Backend, Local, Ssh
from tests.e2e import rig
from tests.e2e.sshnodes import Nodes, chatty


@pytest.fixture(scope="session")
def base() -> Iterator[rig.Base]:
    """A directory that the user may read."""
    with rig.Base() as made:
        yield made


@pytest.fixture(scope="session")
def user(base: rig.Base) -> Iterator[rig.User]:
    """Whose shepherds they are."""
    if rig.no_accounts():
        yield rig.current_user()
        return
    with rig.Users(base) as users:
        users._letters = iter("s")  # the first letters are those of the end-to-end tests, in the same process
        yield users.create()


@pytest.fixture(scope="session")
def nodes(base: rig.Base, user: rig.User) -> Iterator[Nodes]:
    """node1, and node2, which prints 10 kB at each login."""
    if reason := rig.missing_program("sshd", "ssh", "ssh-keygen"):
        pytest.skip(reason)
    with Nodes(base, 2, users=[user], options={"node2": [chatty(base)]}) as made:
        yield made


@pytest.fixture(params=["local", "ssh"])
def backend(request: pytest.FixtureRequest, user: rig.User) -> Backend:
    """The two ways to a shepherd."""
    if request.param == "local":
        return Local(user=user)
    return Ssh(user=user, nodes=request.getfixturevalue("nodes"))
