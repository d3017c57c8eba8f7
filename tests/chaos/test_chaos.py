"""A short form of `python -m bench.chaos`: everything dies, is stopped or cut off while a batch runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.chaos.plan import draw
from bench.chaos.run import Run
from bench.chaos.world import CORES_A_NODE, no_net
from tests.e2e import rig

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("chaos")]


def test_a_batch_survives_the_death_of_everything(tmp_path: Path) -> None:
    if reason := rig.missing_program("sshd", "ssh", "ssh-keygen"):
        pytest.skip(reason)
    net = no_net() is None
    plan = draw(
        1, jobs=36, kills=2, seconds=20.0, load=0.6, cores=4 * CORES_A_NODE, nodes=4, cuts=net, both=1, reboots=int(net)
    )
    run = Run(plan, evidence=tmp_path / "evidence", say=print)
    run.go()
    assert not run.broken, "\n".join(run.report())
    assert run.least_kills >= 2
    assert run.outcomes["right"] >= 30
