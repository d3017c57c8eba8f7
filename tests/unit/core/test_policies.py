"""Policies by their names."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from wq.core.policies import Policy, registry
from wq.core.policies.fifo import Fifo
from wq.core.policies.registry import NoPolicy, policy_named


class Shortest(Fifo):
    name = "shortest"


SHORTEST: Policy = Shortest()
NOTHING = object()


def declared(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Another package declares these."""
    points = EntryPoints(EntryPoint(name, value, registry.ENTRY_POINTS) for name, value in values.items())
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **which: points.select(**which))


@pytest.mark.parametrize("name", registry.OURS)
def test_each_of_ours_is_found_by_its_own_name(name: str) -> None:
    assert policy_named(name).name == name


def test_cons_is_another_word_for_conservative() -> None:
    assert policy_named("cons") is policy_named("conservative")


def test_an_unknown_name_is_one_line_with_what_there_is() -> None:
    with pytest.raises(NoPolicy, match=r"^there is no policy 'lifo'; there are: fifo, fcfs, easy, sjbf, conservative"):
        policy_named("lifo")


def test_others_come_from_the_entry_points_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    declared(monkeypatch, shortest=f"{__name__}:SHORTEST")
    monkeypatch.setattr(EntryPoint, "load", lambda _: SHORTEST)
    assert policy_named("shortest") is SHORTEST
    assert registry.names() == ["fifo", "fcfs", "easy", "sjbf", "conservative", "shortest"]


def test_ours_are_found_without_a_look_at_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(**_: str) -> EntryPoints:
        raise AssertionError("looked at other packages")

    monkeypatch.setattr("importlib.metadata.entry_points", never)
    assert policy_named("easy").name == "easy"


def test_what_cannot_be_loaded_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    declared(monkeypatch, broken="no.such.module:POLICY")
    with pytest.raises(NoPolicy, match=r"'broken' \(no\.such\.module:POLICY\) cannot be loaded: ModuleNotFoundError$"):
        policy_named("broken")


def test_what_is_no_policy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    declared(monkeypatch, nothing="some.module:NOTHING")
    monkeypatch.setattr(EntryPoint, "load", lambda _: NOTHING)
    with pytest.raises(NoPolicy, match=r"some.module:NOTHING is no policy: it has no name, promises, strict, order"):
        policy_named("nothing")
