"""Some hundred worlds, each from its seed. WQ_SIM_SEEDS=123 (or 0-5000) plays that one (or those) instead."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.sim.world import Broken, World, play
from wq.core import commands, engine, queue
from wq.core.job import HostName
from wq.launcher.ledger import Action, Ledger, Phase

WORLDS, IN_ONE_TEST = 400, 25
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # so that a sync costs nothing


def seeds() -> list[range]:
    """Those that are asked for, in groups, so that several processors can take part."""
    first, _, last = os.environ.get("WQ_SIM_SEEDS", f"0-{WORLDS}").partition("-")
    begin = int(first)
    end = int(last) if last else begin + 1
    return [range(at, min(at + IN_ONE_TEST, end)) for at in range(begin, end, IN_ONE_TEST)]


def play_one(seed: int) -> World:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place, pytest.MonkeyPatch.context() as patch:
        return play(seed, Path(place), patch)


@pytest.mark.parametrize("group", seeds(), ids=lambda group: f"{group.start}-{group.stop - 1}")
def test_every_promise_holds_in_every_world(group: range) -> None:
    for seed in group:
        play_one(seed)


def test_a_world_is_the_same_each_time() -> None:
    assert play_one(7).story == play_one(7).story


class TestTheWorldsSeeIt:
    """A rule of safety.md that is left out is noticed: by these seeds at the latest."""

    def noticed(self, worlds: Iterable[int]) -> bool:
        for seed in worlds:
            try:
                play_one(seed)
            except Broken:
                return True
        return False

    def test_when_a_lost_connection_is_taken_for_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def node_failed(self: Ledger, host: HostName, why: str) -> list[Action]:
            self.up.discard(host)
            gone = [entry for entry in self.on_host(host) if entry.phase is Phase.INTENDED]
            return [action for entry in gone for action in self.taken_back(entry, host, why)]

        monkeypatch.setattr(Ledger, "node_failed", node_failed)
        assert self.noticed(range(40))

    def test_when_cores_are_given_away_before_the_end_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        remove_one = commands.remove_one

        def too_early(draft: queue.Draft, who: Any, job: Any, request: Any) -> str:
            return remove_one(draft, who, job, type(request)(ids=request.ids, lost=True))

        monkeypatch.setattr(commands, "remove_one", too_early)
        assert self.noticed(range(60))

    def test_when_an_end_is_told_only_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        handle: Callable[..., Any] = engine.handle
        seen: set[object] = set()

        def deaf(draft: queue.Draft, who: Any, request: Any) -> Any:
            lost = type(request).__name__ == "AttemptEnded" and (id(draft.queue), request.id) not in seen
            seen.add((id(draft.queue), getattr(request, "id", None)))
            return None if lost else handle(draft, who, request)

        monkeypatch.setattr(engine, "handle", deaf)
        assert self.noticed(range(10))
