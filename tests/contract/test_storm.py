"""Kills at random, and before system calls one by one: one start, true ends, nothing left. More: bench/storm.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.storm import ARMED, Storm, crash_point
from tests.contract.driver import Backend, Local
from tests.e2e import rig
from tests.e2e.rig import User

pytestmark = pytest.mark.xdist_group("storm")

EVERY = 14  # of the points one by one, so many are left out here


@pytest.mark.parametrize("seed", [1])
def test_a_storm_of_kills(backend: Backend, key: str, work: Path, seed: int) -> None:
    Storm(backend, key=key, marks=work, seed=seed).run(20)


@pytest.mark.parametrize("role", list(ARMED))
def test_a_kill_before_any_system_call(role: str, user: User, key: str, base: rig.Base) -> None:
    """The shepherd of such a short life makes some 80 of them."""
    for at in range(1, 200, EVERY):
        marks = base.directory("marks")
        user.own(marks, 0o755)
        if not crash_point(Local(user=user), role, at, key=key, marks=marks):
            assert at > 2 * EVERY or role == "wq-keeper"
            return
    raise AssertionError("no end of system calls")
