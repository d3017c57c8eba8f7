"""Arrays, and tasks that are fed ahead: what the queue does with them, told as stories of a few lines."""

from __future__ import annotations

import pytest

from tests.unit.core.engines import ANZE, BINE, EXITED, Play, array, spec
from tests.unit.core.worlds import need, shown
from wq.core import listing, ranges
from wq.core.engine import planned
from wq.core.job import AttemptNo, HostName, JobId, Outcome, OutcomeKind, State
from wq.core.lane import FED_AHEAD_S, MOST_IN_LANE
from wq.core.line import Waiting, group_of, place_of
from wq.core.plan import Limit
from wq.core.queue import Queue
from wq.core.requests import (
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    Gone,
    Gones,
    Remove,
    Reports,
    SetAtMost,
    SetLimit,
    Start,
    Starts,
)

FAILED = Outcome(kind=OutcomeKind.EXITED, exit_status=3)
SHORT_S = FED_AHEAD_S / 10


def ended(play: Play, task: int, run_s: float = SHORT_S, number: int = 1, outcome: Outcome = EXITED) -> None:
    job = play.queue.active[(JobId(number), task)]
    play.say(ANZE, AttemptEnded(id=JobId(number), task=task, attempt=job.attempt, outcome=outcome, run_s=run_s))
    check(play.queue)


def check(queue: Queue) -> None:
    """Lanes are what the jobs say; no core is in two of them; the line has everybody who waits."""
    sizes: dict[str, int] = {}
    for job in queue.active.values():
        assert job.allocation == queue.lanes[job.runs_in].allocation
        sizes[job.runs_in] = sizes.get(job.runs_in, 0) + 1
    assert sizes == {name: lane.size for name, lane in queue.lanes.items()}
    cores = [(p.host, c) for lane in queue.lanes.values() for p in lane.allocation.slices for c in p.cores]
    assert len(cores) == len(set(cores))
    line = queue.line
    for group, places in line.groups.items():
        found = {place: queue.at(place) for place in places}
        assert list(found) == sorted(places)
        assert {group_of(one) for one in found.values() if one is not None} <= {group}
        assert {place for place, one in found.items() if one is None} == line.stale.get(group, set())
    assert set(line.stale) <= set(line.groups)
    standing = [place for places in line.groups.values() for place in places if queue.at(place) is not None]
    waiting: list[Waiting] = [*queue.queued.values(), *(array for array in queue.arrays.values() if array.in_line)]
    assert sorted(standing) == sorted(map(place_of, waiting))
    for one in queue.arrays.values():
        layers = (queue.active, queue.queued, queue.held)
        live = [job for jobs in layers for job in jobs.values() if job.id == one.id]
        assert one.live == len(live)


def active(play: Play) -> list[int]:
    return sorted(job.task for job in play.queue.active.values() if job.task is not None)


class TestArrays:
    def test_as_many_tasks_start_as_there_are_cores(self) -> None:
        play = Play("a:2")
        assert play.submit(ANZE, array(1_000_000)) == [1]
        assert play.orders == ["start 1.1 a:0", "start 1.1 a:1"]
        assert [order.task for order in play.last.orders if isinstance(order, Start)] == [0, 1]
        assert play.queue.arrays[JobId(1)].waiting == ((2, 999_999),)
        check(play.queue)

    def test_the_next_starts_when_one_has_ended(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(5))
        ended(play, 0, run_s=60.0)
        assert (active(play), play.queue.arrays[JobId(1)].ndone) == ([1, 2], 1)

    def test_it_is_over_with_its_last_task_and_its_launcher_may_forget_it(self) -> None:
        play = Play("a:3")
        play.submit(ANZE, array(3))
        ended(play, 2, outcome=FAILED)
        ended(play, 0)
        ended(play, 1)
        assert (play.queue.arrays, play.queue.lanes) == ({}, {})
        assert [o.tasks for o in play.last.orders if isinstance(o, Gones)] == [((1, 1),)]
        assert [(o.id, o.task) for o in play.last.orders if isinstance(o, Gone)] == [(1, None)]
        over = play.last.changed_arrays[JobId(1)]
        assert (over.ended_s, over.failed, over.ndone) == (play.now.wall_s, 1, 3)

    def test_a_task_that_never_ran_has_another_turn(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(3))
        play.say(ANZE, AttemptTakenBack(id=JobId(1), task=0, attempt=AttemptNo(1), why="no"))
        check(play.queue)
        assert [(o.task, o.attempt) for o in play.last.orders if isinstance(o, Start)] == [(0, 2)]

    def test_first_in_first_out_with_jobs(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(2))
        play.submit(BINE)
        ended(play, 0, run_s=60.0)
        assert active(play) == [1]
        ended(play, 1, run_s=60.0)
        assert play.state(2) == "starting"

    @pytest.mark.parametrize("at_most", [1, 3])
    def test_at_most_so_many_run(self, at_most: int) -> None:
        play = Play("a:8")
        play.submit(ANZE, array(9, at_most=at_most))
        play.submit(ANZE)
        assert (len(active(play)), play.state(2)) == (at_most, "starting")
        play.say(ANZE, SetAtMost(id=JobId(1), at_most=5))
        assert len(active(play)) == 5
        play.say(ANZE, SetAtMost(id=JobId(1)))
        assert len(active(play)) == 7

    def test_a_limit_of_the_user_counts_tasks(self) -> None:
        play = Play("a:8")
        play.say(ANZE, SetLimit(run=3))
        play.submit(ANZE, array(9))
        assert len(active(play)) == 3

    def test_tasks_of_strange_numbers(self) -> None:
        from msgspec.structs import replace

        from wq.core.job import ArraySpec

        play = Play("a:2")
        odd = replace(spec(), array=ArraySpec(pieces=((1, 1, 1), (10, 20, 5))))
        play.submit(ANZE, odd)
        assert active(play) == [1, 10]
        ended(play, 10)
        assert active(play)[1:] == [15, 20][: len(active(play)) - 1]


class TestRemoval:
    def test_of_the_whole(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(100))
        facts = play.remove(ANZE, 1)
        assert facts == {"ending": [1], "tasks": [{"id": 1, "removed": 98, "ending": 2}]}
        assert [o.removesuffix(" by anze") for o in play.orders] == ["stop 1.1", "stop 1.1"]
        ended(play, 0)
        ended(play, 1)
        over = play.last.changed_arrays[JobId(1)]
        assert (over.ndone, ranges.count(over.removed), over.failed) == (100, 98, 2)

    def test_of_one_that_waits_wholly(self) -> None:
        play = Play("a:2", here=())
        play.submit(ANZE, array(100))
        assert play.remove(ANZE, 1) == {"removed": [1], "tasks": [{"id": 1, "removed": 100, "ending": 0}]}
        assert play.queue.arrays == {}

    def test_of_some_tasks(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(100))
        facts = play.say(ANZE, Remove(tasks=((1, 1, 9), (1, 50, 200))))
        assert isinstance(facts, dict)
        assert facts["tasks"] == [{"id": 1, "removed": 58, "ending": 1}]
        assert (facts["removed"], facts["ending"]) == ([], [])
        assert play.queue.arrays[JobId(1)].waiting == ((10, 49),)

    def test_others_may_not(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(100))
        facts = play.remove(BINE, 1)
        assert list(facts) == ["refused"]
        assert play.queue.arrays[JobId(1)].waiting == ((2, 99),)


class TestFeedingAhead:
    def test_nothing_before_anything_is_known(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(100))
        assert active(play) == [0]

    def test_about_so_much_time_of_work(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(100))
        ended(play, 0)
        assert len(active(play)) == round(FED_AHEAD_S / SHORT_S)
        (lane,) = play.queue.lanes.values()
        assert shown(lane.allocation) == "a:0"

    def test_never_more_than_the_most(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(10_000))
        ended(play, 0, run_s=0.0)
        assert len(active(play)) == MOST_IN_LANE

    def test_nothing_behind_long_tasks(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(100))
        ended(play, 0, run_s=1.0)
        assert active(play) == [1]

    def test_all_lanes_evenly(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(100))
        ended(play, 0)
        assert [lane.size for lane in play.queue.lanes.values()] == [10, 10]

    def test_jobs_of_one_shape_too(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, *[spec() for _ in range(20)])
        play.say(ANZE, AttemptEnded(id=JobId(1), attempt=AttemptNo(1), outcome=EXITED, run_s=SHORT_S))
        assert len(play.queue.active) == 10
        assert [o.lane for o in play.last.orders if isinstance(o, Start | Starts)] == [None, "2.1"]
        check(play.queue)

    def test_others_jobs_come_first_if_it_is_their_turn(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(2))
        play.submit(BINE)
        play.submit(ANZE, array(100))
        ended(play, 0)
        assert active(play) == [1]  # behind it comes bine's job, so nothing of the next array
        ended(play, 1)
        assert play.state(2) == "starting"

    def test_a_higher_priority_is_served_as_soon_as_what_was_fed_is_through(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(100))
        ended(play, 0)
        fed = active(play)
        play.submit(BINE, spec(need(priority="high")))
        for task in fed:
            assert task is not None
            ended(play, task)
        assert (play.state(2), play.job(2).lane) == ("starting", None)

    def test_a_block_job_closes_its_nodes(self) -> None:
        play = Play("a:1 b:1")
        play.submit(ANZE, array(100))
        play.submit(BINE, spec(need("bynode", 2, priority="block")))
        ended(play, 0)
        assert active(play) == [1]

    def test_a_wide_job_that_cannot_start_soon_holds_nobody_back(self) -> None:
        play = Play("a:2")
        play.submit(BINE, spec(need(n=1)))
        play.submit(BINE, spec(need(n=2)))
        play.submit(ANZE, array(100))
        ended(play, 0, number=3)
        assert len(active(play)) > 1

    def test_foreground_jobs_are_never_fed(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, *[spec(foreground=True) for _ in range(3)])
        play.say(ANZE, AttemptEnded(id=JobId(1), attempt=AttemptNo(1), outcome=EXITED, run_s=SHORT_S))
        assert len(play.queue.active) == 1

    def test_an_array_with_a_most_keeps_to_its_own_lanes(self) -> None:
        play = Play("a:4")
        play.submit(ANZE, array(100))
        play.submit(ANZE, array(100, at_most=2))
        for task in (0, 1):
            ended(play, task)
        play.remove(ANZE, 1)
        for job in list(play.queue.active.values()):
            if job.id == 1:
                ended(play, job.task or 0)
        assert len(play.queue.lanes) == 2
        assert {lane.opened_by for lane in play.queue.lanes.values()} == {2}

    def test_what_comes_back_is_not_fed_again_until_something_ends_there(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(100))
        ended(play, 0)
        first, *fed = active(play)
        news = [AttemptTakenBack(id=JobId(1), task=task, attempt=AttemptNo(1)) for task in fed]
        play.say(ANZE, Reports(news=tuple(news)))
        check(play.queue)
        assert active(play) == [first]
        play.later(1.0)
        assert active(play) == [first]
        assert first is not None
        ended(play, first)
        assert fed[0] in active(play)

    def test_limits_count_lanes(self) -> None:
        play = Play("a:4")
        play.say(ANZE, SetLimit(run=1, cores=1))
        assert play.queue.limits[(ANZE.uid, False)] == Limit(run=1, cores=1)
        play.submit(ANZE, array(100))
        ended(play, 0)
        assert (len(play.queue.lanes), len(active(play))) == (1, 10)

    def test_the_cores_are_free_when_the_last_in_the_lane_is_over(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(3))
        ended(play, 0)
        assert active(play) == [1, 2]
        play.submit(BINE)
        ended(play, 1)
        assert play.state(2) == "queued"
        ended(play, 2)
        assert play.state(2) == "starting"

    def test_after_a_restart_lanes_are_what_the_jobs_say(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(50))
        ended(play, 0)
        again = Queue(owner=play.queue.owner, nodes=play.queue.nodes)
        jobs = [*play.queue.active.values(), *play.queue.queued.values()]
        again.take_up(jobs, play.queue.arrays.values())
        assert again.lanes == play.queue.lanes
        check(again)

    def test_a_node_that_is_gone_takes_its_lane_with_it(self) -> None:
        play = Play("a:1 b:1")
        play.submit(ANZE, array(50))
        ended(play, 0)
        on_a = [job.task for job in play.queue.active.values() if job.allocation and "a" in job.allocation.hosts]
        for task in on_a:
            host = HostName("a")
            play.say(ANZE, AttemptTakenBack(id=JobId(1), task=task, attempt=AttemptNo(1), host=host, why="no"))
        assert all(lane.allocation.hosts == ("b",) for lane in play.queue.lanes.values())
        check(play.queue)


class TestOnesThatCameBack:
    def given_back(self, play: Play, *tasks: int | None) -> None:
        news = [AttemptTakenBack(id=JobId(1), task=task, attempt=AttemptNo(1)) for task in tasks]
        play.say(ANZE, Reports(news=tuple(news)))
        check(play.queue)

    def test_at_most_so_many_run_of_them_too(self) -> None:
        play = Play("a:4")
        play.submit(ANZE, array(100, at_most=1))
        ended(play, 0)
        first, *fed = active(play)
        assert len(play.queue.lanes) == 1
        self.given_back(play, *fed)
        assert active(play) == [first]
        assert [job.task for job in play.queue.queued.values()] == fed
        assert first is not None
        ended(play, first, run_s=60.0)
        assert len(play.queue.lanes) == 1

    def test_and_of_those_that_are_new_beside_them(self) -> None:
        play = Play("a:4")
        play.submit(ANZE, array(100, at_most=2))
        self.given_back(play, 0)
        assert active(play) == [0, 1]

    def test_they_are_not_put_into_others_lanes_either(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(100, at_most=1))
        play.submit(ANZE, array(100))
        ended(play, 0, number=2)
        ended(play, 0)
        _, *fed = sorted(job.task for job in play.queue.active.values() if job.id == 1 and job.task is not None)
        self.given_back(play, *fed)
        for job in [job for job in play.queue.active.values() if job.id == 2]:
            ended(play, job.task or 0, number=2)
            lanes = {job.runs_in for job in play.queue.active.values() if job.id == 1}
            assert {play.queue.lanes[name].opened_by for name in lanes} == {1}


def test_after_a_restart_a_lane_is_still_that_of_the_array_which_opened_it() -> None:
    play = Play("a:1")
    play.submit(ANZE, array(2))
    play.submit(ANZE, array(10))
    ended(play, 0)
    ended(play, 1)
    assert {job.id for job in play.queue.active.values()} == {2}
    again = Queue(owner=play.queue.owner, nodes=play.queue.nodes)
    again.take_up(list(play.queue.active.values()), play.queue.arrays.values())
    assert again.lanes == play.queue.lanes
    assert [lane.opened_by for lane in again.lanes.values()] == [1]


class TestLaunchers:
    def test_a_repeated_submission_is_answered_with_the_orders_for_its_tasks(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(5), token="t")
        assert play.submit(ANZE, array(5), token="t") == [1]
        assert play.orders == ["start 1.1 a:0", "start 1.1 a:1"]

    def test_one_that_has_lost_an_array_has_lost_its_tasks(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(5))
        play.here(ANZE)
        kinds = [type(event).__name__ for event in play.last.events]
        assert kinds == ["Ended", "Ended", "TasksRemoved", "ArrayEnded"]
        assert play.queue.arrays == {}


class TestListings:
    def test_an_array_is_one_row(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(50))
        ended(play, 0)
        ended(play, 1, outcome=FAILED)
        (row,) = listing.rows(play.queue, listing.live(play.queue), None)
        assert row["array"] == {
            "tasks": 50, "pieces": [[0, 49, 1]], "at_most": None,
            "waiting": 46, "running": 2, "done": 2, "failed": 1, "removed": 0,
            "removed_by": None, "removed_why": None,
        }  # fmt: skip
        assert (row["state"], row["ncores"], row["nhosts"]) == ("running", 2, 1)
        (brief,) = filter(None, listing.brief_rows(play.queue, listing.live(play.queue)))
        assert brief[3:7] == ["running", "med", 2, 1]
        assert brief[11] == [46, 2, 2, 1]

    def test_what_was_fed_ahead_waits_and_says_why(self) -> None:
        play = Play("a:2")
        play.say(ANZE, SetLimit(run=1))
        play.submit(ANZE, spec(), spec())
        play.say(ANZE, AttemptEnded(id=JobId(1), attempt=AttemptNo(1), outcome=EXITED, run_s=SHORT_S))
        play.submit(ANZE, spec())
        assert play.state(3) == "starting"
        rows = listing.rows(play.queue, listing.live(play.queue), planned(play.queue, play.now).why)
        shown = {row["id"]: (row["state"], row["ncores"], row["reason"]) for row in rows}
        full = {"code": "Limit", "text": "limit run: 1 reached (1 running)"}
        assert shown[2] == ("starting", 1, None)
        assert shown[3] == ("queued", None, full)

    def test_so_does_an_array_whose_last_tasks_were(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, array(3))
        ended(play, 0)
        assert (active(play), play.queue.arrays[JobId(1)].waiting) == ([1, 2], ())
        (row,) = listing.rows(play.queue, listing.live(play.queue), planned(play.queue, play.now).why)
        assert row["reason"] == {"code": "Resources", "text": "1 core wanted, 0 are free"}

    def test_jobs_that_are_alike_are_one_brief_row(self) -> None:
        play = Play("a:1", here=())
        play.submit(ANZE, *[spec() for _ in range(5)], spec(name="other"), spec(name="other"))
        rows = list(filter(None, listing.brief_rows(play.queue, listing.live(play.queue))))
        assert [(row[0], row[13]) for row in rows] == [(1, 5), (6, 7)]

    def test_so_are_they_where_only_some_fields_are_asked_for(self) -> None:
        play = Play("a:1", here=())
        play.submit(ANZE, *[spec() for _ in range(3)], array(5), spec(), spec(name="other"))

        def picked(*fields: str) -> list[listing.BriefRow]:
            found = listing.stretches(play.queue, listing.live(play.queue), planned(play.queue, play.now).why)
            return list(filter(None, listing.picked(found, fields)))

        ids = [row["id"] for row in listing.rows(play.queue, listing.live(play.queue), None)]
        assert ids == [1, 2, 3, 4, 5, 6]
        assert picked("name", "state", "nosuch") == [
            [1, "job", "queued", None, 3],
            [4, "job", "queued", None, None],
            [5, "job", "queued", None, None],
            [6, "other", "queued", None, None],
        ]
        assert picked("reason")[0] == [1, {"code": "LauncherAway", "text": "the launcher of anze is away"}, 3]
        assert len(picked(*["name"] * 100)[0]) == listing.MOST_FIELDS + 2

    def test_counts(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, array(50), spec())
        assert listing.counts(play.queue) == {"jobs": 2, "running": 1, "waiting": 1, "held": 0}
        play.say(ANZE, AttemptStarted(id=JobId(1), task=0, attempt=AttemptNo(1)))
        assert play.queue.active[(JobId(1), 0)].state is State.RUNNING
