"""Many worlds, each from its seed. WQ_SIM_SEEDS=123 (or 0-5000) plays that one (or those) instead."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.sim.world import World, play

WORLDS, IN_ONE_TEST = 100, 20
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def seeds() -> list[range]:
    """Those that are asked for, in groups, so that several processors can take part."""
    first, _, last = os.environ.get("WQ_SIM_SEEDS", f"0-{WORLDS}").partition("-")
    begin = int(first)
    end = int(last) if last else begin + 1
    return [range(at, min(at + IN_ONE_TEST, end)) for at in range(begin, end, IN_ONE_TEST)]


def play_one(seed: int, without: frozenset[int] = frozenset()) -> World:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        return play(seed, Path(place), without)


@pytest.mark.parametrize("group", seeds(), ids=lambda group: f"{group.start}-{group.stop - 1}")
def test_every_promise_holds_in_every_world(group: range) -> None:
    for seed in group:
        play_one(seed)


def test_a_world_is_the_same_each_time() -> None:
    assert play_one(13).story == play_one(13).story


def test_a_world_without_some_of_its_acts_has_all_the_others() -> None:
    whole = play_one(13)
    submissions = {act.number for act in whole.plan if act.kind == "submit"}
    alone = play_one(13, frozenset(act.number for act in whole.plan) - submissions)
    assert set(alone.happened) == {"submit"}
    assert alone.programs == whole.programs
