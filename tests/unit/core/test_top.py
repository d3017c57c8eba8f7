"""wq top: a user's own order of his jobs, in which nobody else loses anything."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.core.engines import ANZE, BINE, EXITED, OWNER, Play, array, spec
from tests.unit.core.test_lanes import check
from tests.unit.core.worlds import need
from wq.core import top
from wq.core.job import JobId, JobSpec, State
from wq.core.lifecycle import Requeued
from wq.core.line import Waiting, place_of
from wq.core.queue import Draft, Queue, Topped, TurnSet
from wq.core.requests import AttemptEnded, Edit, Remove, Request, SetHold, Top, Unfinished, Who


def one(job: int) -> tuple[tuple[int, int], ...]:
    return ((job, job),)


def order(queue: Queue, who: Who | None = None) -> list[int]:
    """The ids of those who wait in the line, by their turns."""
    waiting: list[Waiting] = [*queue.queued.values(), *(lot for lot in queue.arrays.values() if lot.in_line)]
    own = [job for job in waiting if who is None or job.spec.uid == who.uid]
    return [int(job.id) for job in sorted(own, key=place_of)]


def busy(*specs: JobSpec) -> tuple[Play, list[int]]:
    """A full cluster, and these jobs of anze's behind; job 1, of bine's, is what runs."""
    play = Play("a:4")
    play.running(BINE, need("bycore", 4))
    return play, play.submit(ANZE, *specs)


def to_the_front(play: Play, who: Who, *jobs: int) -> dict[str, object] | str | None:
    """All turns of it."""
    answers: dict[str, object] | str | None = play.say(who, Top(ids=tuple((job, job) for job in jobs)))
    while play.last.unfinished:
        ((_, rest),) = play.last.unfinished
        answers = rest.facts if answers is None else answers
        check(play.queue)
        play.turn((who, rest.rest))
    return answers


class TestOrder:
    def test_it_is_the_first_of_its_users_own(self) -> None:
        play, _ = busy(spec(), spec(), spec())
        assert to_the_front(play, ANZE, 4) == {"changed": [4], "refused": [], "missing": []}
        assert order(play.queue) == [4, 2, 3]
        to_the_front(play, ANZE, 3)
        assert order(play.queue) == [3, 4, 2]
        check(play.queue)
        assert [event for event in play.last.events if isinstance(event, Topped)] == [Topped(id=JobId(3), by="anze")]

    def test_and_starts_first(self) -> None:
        play, jobs = busy(*[spec(need("bycore", 4))] * 4)
        to_the_front(play, ANZE, jobs[2])
        play.ended(1, BINE)
        assert play.state(jobs[2]) == "starting"

    def test_several_come_in_the_order_in_which_they_were_named(self) -> None:
        play, _ = busy(*[spec()] * 6)
        to_the_front(play, ANZE, 6, 4, 5, 4)
        assert order(play.queue) == [6, 4, 5, 2, 3, 7]

    def test_a_range_keeps_the_order_that_it_has(self) -> None:
        play, _ = busy(*[spec()] * 6)
        to_the_front(play, ANZE, 6)
        assert play.say(ANZE, Top(ids=((5, 7),))) == {"changed": [6, 5, 7], "refused": [], "missing": []}
        assert order(play.queue) == [6, 5, 7, 2, 3, 4]

    def test_nobody_else_is_passed_by_more_jobs_than_before(self) -> None:
        play, _ = busy(spec())
        play.submit(OWNER, *[spec()] * 2)
        play.submit(ANZE, *[spec()] * 3)
        play.submit(OWNER, spec())
        before = [job in order(play.queue, OWNER) for job in order(play.queue)]
        to_the_front(play, ANZE, 7)
        assert order(play.queue) == [7, 3, 4, 2, 5, 6, 8]
        assert [job in order(play.queue, OWNER) for job in order(play.queue)] == before

    def test_it_does_not_pass_a_higher_priority(self) -> None:
        play, _ = busy(spec(need(priority="high")), spec(need(priority="low")), spec(need(priority="low")))
        to_the_front(play, ANZE, 4)
        assert order(play.queue) == [2, 4, 3]

    def test_arrays_too_as_a_whole(self) -> None:
        play, (lot, job, other) = busy(array(3), spec(), array(2))
        to_the_front(play, ANZE, other)
        assert order(play.queue) == [other, lot, job]
        to_the_front(play, ANZE, job)
        assert order(play.queue) == [job, other, lot]
        play.ended(1, BINE)
        started = [start for start in play.orders if start.startswith("start")]
        assert [start.split()[1] for start in started] == ["3.1", "4.1", "4.1", "2.1"]
        check(play.queue)

    def test_tasks_that_wait_for_another_attempt_keep_their_place(self) -> None:
        play = Play("a:4")
        first, second = play.submit(ANZE, array(5, need("bycore", 4)), spec(need("bycore", 4)))
        draft = Draft(play.queue, play.now)
        draft.apply(Requeued(id=JobId(first), task=0, why="its node went"))
        draft.settle()
        to_the_front(play, ANZE, second)
        check(play.queue)
        assert list(play.queue.active) == [(first, 0)]
        assert order(play.queue) == [second, first]

    def test_who_is_held_is_the_first_when_he_is_released(self) -> None:
        play, _ = busy(*[spec()] * 3)
        play.say(ANZE, SetHold(held=True, ids=one(4)))
        to_the_front(play, ANZE, 4)
        assert order(play.queue) == [2, 3]
        play.say(ANZE, SetHold(held=False, ids=one(4)))
        assert order(play.queue) == [4, 2, 3]
        check(play.queue)

    def test_in_the_tick_of_its_submission(self) -> None:
        play, _ = busy(*[spec()] * 2)
        play.say(ANZE, Top(ids=one(3)))
        play.turn((ANZE, Top(ids=one(2))), (ANZE, SetHold(held=True, ids=one(2))), (ANZE, Top(ids=one(3))))
        assert order(play.queue) == [3]
        check(play.queue)

    def test_a_dropped_tick_leaves_no_trace(self) -> None:
        play, _ = busy(*[spec()] * 4)
        play.draft((ANZE, Top(ids=one(5))))
        assert order(play.queue) == [2, 3, 4, 5]
        check(play.queue)

    def test_who_is_the_first_already_stays_so(self) -> None:
        play, _ = busy(spec(), spec())
        assert to_the_front(play, ANZE, 2) == {"changed": [2], "refused": [], "missing": []}
        assert not [event for event in play.last.events if isinstance(event, TurnSet)]


class TestRefusals:
    def test_what_does_not_wait_is_named(self) -> None:
        play, _ = busy(spec())
        play.submit(ANZE, spec())
        facts = play.say(ANZE, Top(ids=((1, 1), (3, 3), (9, 9), (20, 30))))
        assert facts == {
            "changed": [3],
            "refused": [{"id": 1, "why": "it belongs to bine; only bine, the server's owner (owner) and root may"}],
            "missing": [9],
        }
        assert play.say(BINE, Top(ids=one(1))) == {
            "changed": [],
            "refused": [{"id": 1, "why": "it does not wait any more"}],
            "missing": [],
        }

    def test_the_owner_may_but_to_the_front_of_its_users_jobs(self) -> None:
        play, _ = busy(spec(), spec())
        play.submit(OWNER, spec())
        to_the_front(play, OWNER, 3)
        assert order(play.queue) == [3, 2, 4]

    def test_of_a_range_ones_own_that_wait(self) -> None:
        play, _ = busy(spec(), spec())
        play.submit(OWNER, spec())
        assert play.say(ANZE, Top(ids=((1, 1_000_000_000),) * 200)) == {"changed": [2, 3], "refused": [], "missing": []}
        assert play.say(OWNER, Top(ids=((1, 3),))) == {"changed": [], "refused": [], "missing": []}

    def test_too_many_at_once(self) -> None:
        play, _ = busy(*[spec()] * 101)
        assert "too many jobs to put to the front" in str(play.say(ANZE, Top(ids=((1, 1000),))))
        assert "at most 200" in str(play.say(ANZE, Top(ids=tuple((n, n) for n in range(1, 202)))))


class TestSteps:
    def test_others_have_their_turn_in_between(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(top, "PASSED_AT_ONCE", 3)
        play, jobs = busy(*[spec()] * 10)
        play.say(ANZE, Top(ids=one(jobs[-1])))
        ((_, rest),) = play.last.unfinished
        assert isinstance(rest, Unfinished)
        assert order(play.queue) == [2, 3, 4, 5, 6, 7, 11, 8, 9, 10]
        assert not [event for event in play.last.events if isinstance(event, Topped)]
        to_the_front(play, ANZE, 11, 9)
        assert order(play.queue) == [11, 9, 2, 3, 4, 5, 6, 7, 8, 10]

    def test_what_is_over_by_then_is_passed_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(top, "PASSED_AT_ONCE", 3)
        play, _ = busy(*[spec()] * 10)
        play.say(ANZE, Top(ids=((10, 10), (11, 11))))
        ((_, rest),) = play.last.unfinished
        play.turn((ANZE, Remove(ids=one(11))), (ANZE, rest.rest))
        while play.last.unfinished:
            play.turn((ANZE, play.last.unfinished[0][1].rest))
        assert order(play.queue) == [10, 2, 3, 4, 5, 6, 7, 8, 9]
        check(play.queue)


def wish(random: Random, job: int) -> Request:
    """Something that its user wants of a job."""
    match random.choice(["top", "top", "hold", "release", "edit", "remove"]):
        case "hold":
            return SetHold(held=True, ids=one(job))
        case "release":
            return SetHold(held=False, ids=one(job))
        case "edit":
            kind = need("bycore", random.choice([1, 2]), priority=random.choice(["low", "med"]))
            return Edit(id=JobId(job), requirement=kind)
        case "remove" if random.random() < 0.2:
            return Remove(ids=one(job))
        case _:
            return Top(ids=one(job))


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_asked_for_at_once_the_line_stays_whole(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while jobs come and go; and turns are only passed on from one job to another."""
    monkeypatch.setattr(top, "PASSED_AT_ONCE", 4)
    random = Random(seed)
    play = Play("a:2 b:2")
    for _ in range(25):
        incoming: list[tuple[Who, Request]] = [(who, rest.rest) for (who, rest) in pending(play.last)]
        for _ in range(random.choice([0, 1, 3, 8])):
            incoming.append((ANZE, wish(random, random.randint(1, play.queue.next_id))))
        play.turn(*incoming)
        check(play.queue)
        if random.random() < 0.5:
            kinds = [spec(need("bycore", 2)), spec(), array(3), array(2, need("bycore", 2))]
            play.submit(random.choice([ANZE, BINE]), *random.choices(kinds, k=random.randint(1, 6)))
        for job in [*play.queue.active.values()]:
            if random.random() < 0.2 and job.state is not State.STOPPING:
                ended = AttemptEnded(id=job.id, task=job.task, attempt=job.attempt, outcome=EXITED)
                play.say(ANZE if job.spec.uid == ANZE.uid else BINE, ended)
        check(play.queue)
        jobs = [job for jobs in (play.queue.queued, play.queue.held) for job in jobs.values() if job.task is None]
        waiting: list[Waiting] = [*jobs, *play.queue.arrays.values()]
        turns = [place_of(job)[0] for job in waiting]
        assert len(turns) == len(set(turns))


def pending(draft: Draft) -> list[tuple[Who, Unfinished]]:
    return [(item.who, rest) for item, rest in draft.unfinished]
