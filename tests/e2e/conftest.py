"""Fixtures over the rig: what is costly is made once a session, in each worker, and given back at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig

# A queue and its users, for the tests of the commands.
from tests.e2e.queues import cene as cene
from tests.e2e.queues import dana as dana
from tests.e2e.queues import erin as erin
from tests.e2e.queues import four as four
from tests.e2e.queues import module_queue as module_queue
from tests.e2e.queues import queue as queue


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is an e2e test."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.e2e)


def skip_if(reason: str | None) -> None:
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def base() -> Iterator[rig.Base]:
    """A directory that all users and nodes share."""
    with rig.Base() as made:
        yield made


@pytest.fixture(scope="session")
def accounts(base: rig.Base) -> Iterator[rig.Users]:
    """Makes throw-away users."""
    skip_if(rig.no_accounts())
    with rig.Users(base) as made:
        yield made


@pytest.fixture(scope="session")
def anze(accounts: rig.Users) -> rig.User:
    return accounts.create()


@pytest.fixture(scope="session")
def bine(accounts: rig.Users) -> rig.User:
    """Another one than anze."""
    return accounts.create()


@pytest.fixture(scope="session")
def somebody(request: pytest.FixtureRequest) -> rig.User:
    """A throw-away user where we are root, else whoever runs the tests."""
    if rig.no_accounts():
        return rig.current_user()
    user: rig.User = request.getfixturevalue("anze")
    return user


@pytest.fixture(scope="session")
def public_wq(base: rig.Base) -> Path:
    """A directory for PATH with a `wq` that every user can run."""
    try:
        return rig.public_wq(base)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def nodes(base: rig.Base, somebody: rig.User, request: pytest.FixtureRequest) -> Iterator[rig.Nodes]:
    """node1 and node2 on loopback, open to somebody (and, where we are root, to anze and bine)."""
    skip_if(rig.missing_program("sshd", "ssh", "ssh-keygen"))
    users = [somebody]
    if not rig.no_accounts():
        users = [request.getfixturevalue("anze"), request.getfixturevalue("bine")]
    with rig.Nodes(base, 2, users=users) as made:
        yield made


@pytest.fixture(scope="module")
def net(base: rig.Base, anze: rig.User, bine: rig.User) -> Iterator[rig.NetNodes]:
    """n1 and n2, each with network, host name, processes and /srv of its own."""
    skip_if(rig.no_namespaces())
    with rig.NetNodes(base, ["n1", "n2"], users=[anze, bine], private=["/srv"]) as made:
        yield made
