"""Time limits: in the order to start, changed while a job waits or runs, and told again when a launcher comes back."""

from __future__ import annotations

from msgspec.structs import replace

from tests.unit.core.engines import ANZE, BINE, OWNER, Play, array, spec
from wq.core.job import JobId, Outcome, OutcomeKind
from wq.core.listing import job_row
from wq.core.requests import LauncherGone, Remove, SetTime, Start, Starts


def set_time(play: Play, number: int, time_s: float | None) -> object:
    return play.say(OWNER, SetTime(id=JobId(number), time_s=time_s))


class TestAJob:
    def test_its_launcher_knows_what_was_submitted_and_the_listing_shows_it(self) -> None:
        play = Play()
        play.submit(ANZE, replace(spec(), time_s=60.0))
        (start,) = play.last.orders
        assert isinstance(start, Start)
        assert start.time_s is None
        assert job_row(play.job(1))["time_limit"] == 60.0

    def test_one_that_waits_is_started_with_the_new_one(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, spec(), replace(spec(), time_s=60.0))
        assert set_time(play, 2, 7200.0) == {"id": 2, "time_limit": 7200.0}
        assert (play.orders, play.state(2)) == ([], "queued")
        play.say(ANZE, Remove(ids=((1, 1),)))
        play.ended(1)
        start = play.last.orders[-1]
        assert isinstance(start, Start)
        assert (start.id, start.time_s) == (2, 7200.0)

    def test_one_that_runs_is_steered_and_again_when_its_launcher_is_back(self) -> None:
        play = Play()
        play.running()
        set_time(play, 1, None)
        assert play.orders == ["steer 1.1 time 0"]
        play.say(ANZE, LauncherGone())
        play.here(ANZE, 1)
        assert play.orders == ["steer 1.1 time 0"]

    def test_nothing_is_to_be_said_of_one_whose_limit_never_changed(self) -> None:
        play = Play()
        play.submit(ANZE, replace(spec(), time_s=60.0))
        play.started(1)
        play.here(ANZE, 1)
        assert play.orders == []

    def test_one_that_starts_is_ordered_again(self) -> None:
        play = Play()
        play.submit()
        set_time(play, 1, 60.0)
        (start,) = play.last.orders
        assert isinstance(start, Start)
        assert (start.attempt, start.time_s) == (1, 60.0)
        assert play.queue.lanes["1.1"].size == 1

    def test_it_stays_with_the_job_when_an_attempt_comes_back(self) -> None:
        play = Play()
        play.running()
        set_time(play, 1, 60.0)
        play.taken_back(1)
        start = play.last.orders[-1]
        assert isinstance(start, Start)
        assert (start.attempt, start.time_s) == (2, 60.0)

    def test_what_is_refused(self) -> None:
        play = Play()
        play.running()
        assert set_time(play, 9, 60.0) == "no job 9 is in the queue"
        assert set_time(play, 1, 0.5) == "time: from one second to 3650 days is allowed"
        assert set_time(play, 1, float("nan")) == "time: from one second to 3650 days is allowed"
        said = play.say(BINE, SetTime(id=JobId(1), time_s=60.0))
        assert said == "job 1 belongs to anze; only anze, the server's owner (owner) and root may change it"
        play.remove(ANZE, 1)
        assert set_time(play, 1, 60.0) == "job 1 is being ended"

    def test_an_end_by_it_is_an_end_of_its_own_kind(self) -> None:
        play = Play()
        play.running()
        outcome = Outcome(kind=OutcomeKind.TIME_LIMIT, signal=15, message="time limit 2h reached")
        play.ended(1, outcome=outcome)
        assert play.outcome(1) == outcome


class TestAnArray:
    def test_all_its_tasks_have_the_new_one(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(10))
        assert set_time(play, 1, 60.0) == {"id": 1, "time_limit": 60.0}
        assert {job.limit_s for job in play.queue.active.values()} == {60.0}
        assert play.queue.arrays[JobId(1)].limit_s == 60.0
        _, jobs = play.queue.arrays[JobId(1)].split_off(8, 0.0)
        assert {job.limit_s for job in jobs} == {60.0}
        orders = play.last.orders
        assert {order.time_s for order in orders if isinstance(order, Start | Starts)} == {60.0}
