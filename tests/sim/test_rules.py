"""Each of the ten rules of the protocol is left out, one at a time, and the worlds notice."""

from __future__ import annotations

import re

import pytest

from bench.soak import Failure, shortened
from tests.sim.acts import Act
from tests.sim.processes import Broken
from tests.sim.rules import LEFT_OUT
from tests.sim.test_worlds import play_one
from tests.sim.world import World

# The first seed that saw it, when this was written. As the code changes, so do the worlds: then later ones see it.
SEEN_BY = {
    "P1": 1,
    "P2": 18,
    "P3": 93,
    "P4": 1,
    "P5": 211,
    "P6": 0,
    "P7": 0,
    "P8": 12,
    "P9": 1,
    "P10 hello": 3,
    "P10 submit": 398,
}
# And the first that saw it by a task of an array.
SEEN_BY_TASKS = {
    "P3": 93,
    "P4": 39,
    "P5": 211,
    "P6": 5,
    "P7": 0,
    "P8": 12,
    "P9": 1,
    "P10 hello": 3,
    "P10 submit": 398,
}
A_TASK = re.compile(r"\d+_\d+|\(\d+, \d+\)")
MOST_TRIES = 1000


def test_all_rules_are_left_out_here() -> None:
    assert set(SEEN_BY) == set(LEFT_OUT)


@pytest.mark.parametrize("rule", SEEN_BY)
def test_without_this_rule_a_promise_is_broken(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look_for(rule, SEEN_BY[rule], monkeypatch, re.compile(""))


@pytest.mark.parametrize("rule", SEEN_BY_TASKS)
def test_without_this_rule_a_promise_about_a_task_is_broken(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look_for(rule, SEEN_BY_TASKS[rule], monkeypatch, A_TASK)


@pytest.mark.parametrize("seed", sorted({*SEEN_BY.values(), *SEEN_BY_TASKS.values()}))
def test_with_all_rules_the_same_worlds_keep_every_promise(seed: int) -> None:
    play_one(seed)


def look_for(rule: str, first: int, patch: pytest.MonkeyPatch, about: re.Pattern[str]) -> None:
    """Play worlds without a rule until a promise is broken, about this."""
    LEFT_OUT[rule](patch)
    for seed in range(first, first + MOST_TRIES):
        try:
            play_one(seed)
        except Broken as broken:
            if about.search(str(broken)):
                return
        except Exception:  # some part stumbled over what could not be: that shows nothing of a promise
            continue
    pytest.fail(f"no world from {first} on noticed it; python -m bench.soak --leave-out '{rule}' finds one")


class TestTheShortestHistory:
    """Of a world that breaks whenever some of its acts come together."""

    @pytest.mark.parametrize("culprits", [{0}, {3, 4}, {0, 5, 9}, {2, 11}])
    def test_has_just_the_acts_that_it_takes(self, culprits: set[int]) -> None:
        acts = tuple(Act(number=number, at_s=float(number), kind="submit") for number in range(12))

        def again(without: frozenset[int]) -> World | Failure:
            left = tuple(act for act in acts if act.number not in without)
            if culprits <= {act.number for act in left}:
                return Failure(seed=1, error="Broken", story="", acts=left)
            return World.__new__(World)  # it ends well

        short = shortened(Failure(seed=1, error="Broken", story="", acts=acts), again)
        assert {act.number for act in short.acts} == culprits
