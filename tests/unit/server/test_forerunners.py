"""What a submission names is looked up in parts, while others have their turns; and as if it had been in one."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from msgspec.structs import replace

from tests.unit.core.engines import ANZE, EXITED, array, spec
from tests.unit.core.worlds import need
from tests.unit.server.desk import ANZE as ANZE_UID
from tests.unit.server.desk import BINE as BINE_UID
from tests.unit.server.desk import Office, an_office, job
from tests.unit.server.test_past import end, submit
from tests.unit.store.test_store import Kept
from wq.core.job import After, ArraySpec, AttemptNo, JobId, Outcome, OutcomeKind
from wq.core.requests import AttemptEnded, Became, Remove, Submit
from wq.server import server
from wq.server.forerunners import MOST_NAMED, Forerunners
from wq.store import past
from wq.store.store import Store

FAILED = Outcome(kind=OutcomeKind.EXITED, exit_status=3)


def named(store: Store, *ids: int, each: tuple[int, ...] = ()) -> Forerunners:
    after = (*(After(job=number) for number in ids), *(After(job=number, each=True) for number in each))
    return Forerunners(store.past, Submit(token="t", jobs=(replace(spec(), after=after),)))


def known(forerunners: Forerunners) -> dict[int, Became]:
    for _ in forerunners.parts:
        pass
    return forerunners.past


def end_task(play: Kept, number: int, task: int, outcome: Outcome = EXITED) -> None:
    play.say(ANZE, AttemptEnded(id=JobId(number), task=task, attempt=AttemptNo(1), outcome=outcome))


def test_jobs_that_are_over_and_arrays_are_known(store: Store) -> None:
    play = Kept(store, "a:4")
    good, bad, live = play.running(ANZE), play.running(ANZE), play.running(ANZE)
    play.ended(good)
    play.ended(bad, outcome=FAILED)
    one, other = play.submit(ANZE, array(3, need(n=4)), array(3, need(n=4)))
    play.say(ANZE, Remove(tasks=((one, 2, 2), (other, 2, 2))))
    play.ended(live)
    end_task(play, one, 0, FAILED)
    tasks = ArraySpec(pieces=((0, 2, 1),))
    assert known(named(store, good, bad, one, 99, 10**25, each=(other,))) == {
        good: Became(ok=True),
        bad: Became(ok=False),
        one: Became(tasks=tasks, bad=((2, 2),)),  # of this one it does not matter which have failed
        other: Became(tasks=tasks, bad=((2, 2),)),
    }
    assert known(named(store, each=(one,)))[one].bad == ((0, 0), (2, 2))
    assert known(named(store, *range(1, MOST_NAMED + 2))) == {}


def test_tasks_are_read_only_of_those_that_are_waited_for_task_by_task(store: Store) -> None:
    play = Kept(store, "a:4")
    (many,) = play.submit(ANZE, array(3))
    end_task(play, many, 0, FAILED)
    statements: list[str] = []
    store.db.set_trace_callback(statements.append)
    known(named(store, many))
    assert not [sql for sql in statements if "FROM tasks" in sql]
    known(named(store, each=(many,)))
    assert [sql for sql in statements if "FROM tasks" in sql]


@pytest.mark.parametrize("seed", range(20))
def test_what_ends_while_they_are_read_counts_too(store: Store, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(past, "LOOKED_AT_ONCE", 3)
    random = Random(seed)
    play = Kept(store, "a:60")
    pieces = ((0, 20, 2), (21, 29, 1))
    lot, other = play.submit(ANZE, *[replace(array(1), array=ArraySpec(pieces=pieces))] * 2)
    jobs = [play.running(ANZE) for _ in range(4)]
    for number in (lot, other):
        if random.random() < 0.3:
            play.say(ANZE, Remove(tasks=((number, 20, 29),)))

    def something_ends() -> None:
        chosen = random.choice(list(play.queue.active.values()))
        outcome = random.choice([EXITED, FAILED])
        play.say(ANZE, AttemptEnded(id=chosen.id, task=chosen.task, attempt=chosen.attempt, outcome=outcome))

    for _ in range(random.randint(0, 20)):
        something_ends()
    forerunners = named(store, *jobs, lot, each=(other,))
    for _ in forerunners.parts:
        for _ in range(random.randint(0, 4)):
            if play.queue.active:
                something_ends()
                forerunners.note(play.last)
    assert forerunners.past == known(named(store, *jobs, lot, each=(other,)))


class TestTheServer:
    @pytest.fixture
    def office(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
        with an_office(monkeypatch, "a 100 8\n") as office:
            yield office

    def test_others_come_in_between_and_what_the_same_user_says_comes_after(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other, launcher = office.launcher(BINE_UID), office.launcher(ANZE_UID)
        (many,) = submit(other, "many", array={"pieces": [[0, 49, 1]]})
        for task in range(3, 50):
            end(other, many, 1, task=task)
        monkeypatch.setattr(past, "LOOKED_AT_ONCE", 5)
        monkeypatch.setattr(server, "SLICE_S", 0.0)
        after = [{"job": many, "kind": "notok", "each": True}]
        slow = [job(array={"pieces": [[0, 49, 1]]}, after=after)]
        launcher.say({"type": "submit", "token": "slow", "seq": 7, "jobs": slow})
        launcher.say({"type": "submit", "token": "next", "seq": 8, "jobs": [job()]})
        waits = office.server.intake.waiting(ANZE_UID)
        office.turn()
        for task in range(3):
            end(other, many, 1, task=task)
            assert launcher.heard() == []
            assert office.server.intake.waiting(ANZE_UID) == waits
        for _ in range(10):
            office.turn()
        slow_one, next_one = (message for message in launcher.heard() if "type" not in message)
        assert (slow_one["seq"], next_one["seq"]) == (7, 8)
        (number,) = slow_one["ok"]["ids"]
        assert next_one["ok"]["ids"] == [number + 1]
        found = office.server.queue.arrays[number]
        assert (found.live, found.blocked, found.removed) == (50, (), ())
        assert not office.server.forerunners
