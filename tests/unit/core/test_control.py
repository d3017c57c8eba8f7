"""Jobs under way are suspended, go on, and get signals: by those who may, and told again if that must not be lost."""

from __future__ import annotations

import pytest

from tests.unit.core.engines import ANZE, BINE, OWNER, ROOT, Play, array, spec
from wq.core.job import JobId
from wq.core.requests import AttemptStarted, LauncherGone, SendSignal, SetSuspended, SetTime, Who


def suspend(play: Play, *ids: int, who: Who = ANZE, on: bool = False) -> dict[str, object]:
    """The facts of the answer that say something."""
    facts = play.say(who, SetSuspended(ids=tuple((number, number) for number in ids), suspended=not on))
    assert isinstance(facts, dict)
    return {key: value for key, value in facts.items() if value}


def signal(play: Play, *ids: int, who: Who = ANZE, number: int = 10) -> dict[str, object] | str:
    facts = play.say(who, SendSignal(ids=tuple((number, number) for number in ids), number=number))
    assert facts is not None
    return facts if isinstance(facts, str) else {key: value for key, value in facts.items() if value}


class TestSuspension:
    def test_it_keeps_its_cores_and_goes_on_with_them(self) -> None:
        play = Play("a:1")
        play.running()
        play.submit()
        assert suspend(play, 1) == {"done": [1]}
        assert (play.state(1), play.state(2), play.orders) == ("suspended", "queued", ["steer 1.1 suspended"])
        assert play.cores(1) == "a:0"
        assert suspend(play, 1, on=True) == {"done": [1]}
        assert (play.state(1), play.orders) == ("running", ["steer 1.1 on"])

    def test_it_may_end_all_the_same_and_be_removed(self) -> None:
        play = Play()
        for number in (1, 2):
            play.running()
            suspend(play, number)
        play.ended(1)
        assert play.state(1) == "gone"
        assert play.remove(OWNER, 2) == {"ending": [2]}
        assert (play.state(2), play.orders) == ("stopping", ["stop 2.1 by owner"])

    def test_a_launcher_that_comes_back_is_told_again(self) -> None:
        play = Play()
        play.running()
        suspend(play, 1)
        play.say(ANZE, LauncherGone())
        play.here(ANZE, 1)
        assert play.orders == ["steer 1.1 suspended"]
        suspend(play, 1, on=True)
        play.here(ANZE, 1)
        assert play.orders == ["steer 1.1 on"]

    def test_with_its_time_limit(self) -> None:
        play = Play()
        play.running()
        suspend(play, 1)
        play.say(ANZE, SetTime(id=JobId(1), time_s=60.0))
        assert (play.state(1), play.orders) == ("suspended", ["steer 1.1 time 60 suspended"])

    def test_another_attempt_begins_anew(self) -> None:
        play = Play()
        play.running()
        suspend(play, 1)
        play.taken_back(1)
        assert play.state(1) == "starting"
        play.started(1, attempt=2)
        play.here(ANZE, 1)
        assert play.orders == []

    def test_what_does_not_run_is_named(self) -> None:
        play = Play("a:2")
        play.running()
        play.submit(ANZE, spec(), spec())
        suspend(play, 1)
        assert suspend(play, 1, 2, 3, 9) == {
            "idle": [2, 3],
            "refused": [{"id": 1, "why": "it is suspended already"}],
            "missing": [9],
        }
        assert suspend(play, 2, on=True) == {"idle": [2]}

    def test_of_an_array_those_tasks_that_run(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(5))
        assert suspend(play, 1) == {"idle": [1]}
        for job in list(play.queue.active.values()):
            play.say(ANZE, AttemptStarted(id=job.id, task=job.task, attempt=job.attempt))
        assert suspend(play, 1) == {"tasks": [{"id": 1, "done": 2}]}
        facts = play.say(ANZE, SetSuspended(tasks=((1, 1, 1),), suspended=False))
        assert isinstance(facts, dict)
        assert facts["tasks"] == [{"id": 1, "done": 1}]
        assert sorted(job.state.value for job in play.queue.active.values()) == ["running", "suspended"]

    def test_all_is_ones_own(self) -> None:
        play = Play()
        play.running(ANZE)
        play.running(BINE)
        facts = play.say(BINE, SetSuspended(all=True, suspended=True))
        assert isinstance(facts, dict)
        assert (facts["done"], play.state(1), play.state(2)) == ([2], "running", "suspended")


class TestSignals:
    @pytest.mark.parametrize("who", [ANZE, OWNER, ROOT])
    def test_go_to_what_runs(self, who: Who) -> None:
        play = Play()
        play.running()
        assert signal(play, 1, who=who, number=12) == {"done": [1]}
        assert play.orders == ["signal 1.1 12"]
        assert play.last.events == []

    def test_but_not_from_others(self) -> None:
        play = Play()
        play.running()
        why = "it belongs to anze; only anze, the server's owner (owner) and root may"
        assert signal(play, 1, who=BINE) == {"refused": [{"id": 1, "why": why}]}
        assert play.orders == []

    def test_are_not_kept_for_later(self) -> None:
        play = Play()
        play.running()
        play.say(ANZE, LauncherGone())
        why = "the launcher of anze is away; any command of anze brings it back"
        assert signal(play, 1, who=OWNER) == {"refused": [{"id": 1, "why": why}]}
        play.here(ANZE, 1)
        assert play.orders == []

    def test_what_does_not_run_gets_none(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, spec(), spec())
        assert signal(play, 1, 2) == {"idle": [1, 2]}

    @pytest.mark.parametrize("number", [0, 65, -9, 1 << 70])
    def test_are_numbers_of_signals(self, number: int) -> None:
        play = Play()
        play.running()
        assert signal(play, 1, number=number) == "a signal is a number from 1 to 64"
        assert play.orders == []
