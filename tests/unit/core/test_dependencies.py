"""Jobs that wait outside the line: held, for a time, for the ends of others; arrays as a whole and task by task."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.unit.core.engines import ANZE, BINE, EXITED, MYSELF, OWNER, Play, array, spec
from tests.unit.core.test_lanes import check
from tests.unit.core.worlds import cluster, need
from wq.core import commands, dependencies, ranges
from wq.core.dependencies import reason
from wq.core.job import After, AfterKind, AttemptNo, JobId, JobSpec, Outcome, OutcomeKind, Priority
from wq.core.requests import (
    Answer,
    AttemptEnded,
    Became,
    ClusterRead,
    Edit,
    Refusal,
    Remove,
    Request,
    SetHold,
    Submit,
    Who,
)

FAILED = Outcome(kind=OutcomeKind.EXITED, exit_status=3)
KILLED = Outcome(kind=OutcomeKind.SIGNALLED, signal=9)


def after(*jobs: int, kind: str = "ok", each: bool = False, base: JobSpec | None = None, **more: object) -> JobSpec:
    conditions = tuple(After(job=job, kind=AfterKind(kind), each=each) for job in jobs)
    return replace(base or spec(), after=conditions, **more)


def why(play: Play, number: int) -> str:
    job = play.queue.find(JobId(number)) or play.queue.arrays[JobId(number)]
    found = reason(job)
    assert found is not None
    return f"{found.code.value}: {found.text}"


def end_task(play: Play, number: int, task: int, outcome: Outcome = EXITED, who: Who = ANZE) -> None:
    play.say(who, AttemptEnded(id=JobId(number), task=task, attempt=AttemptNo(1), outcome=outcome))


class TestAfter:
    @pytest.mark.parametrize(
        ("kind", "outcome", "runs"),
        [
            ("ok", EXITED, True),
            ("ok", FAILED, False),
            ("ok", KILLED, False),
            ("notok", FAILED, True),
            ("notok", KILLED, True),
            ("notok", EXITED, False),
            ("any", EXITED, True),
            ("any", FAILED, True),
        ],
    )
    def test_it_runs_when_the_other_has_ended_as_wanted_and_never_otherwise(
        self, kind: str, outcome: Outcome, runs: bool
    ) -> None:
        play = Play()
        first = play.running()
        (second,) = play.submit(ANZE, after(first, kind=kind))
        assert play.state(second) == "held"
        assert why(play, second).startswith("Dependency: for the ")
        play.ended(first, outcome=outcome)
        assert play.state(second) == ("starting" if runs else "gone")
        if not runs:
            became = "was successful" if outcome is EXITED else "failed"
            assert play.outcome(second).kind is OutcomeKind.REMOVED
            assert play.outcome(second).message == f"it can never run: job {first}, after which it was to run, {became}"
            assert f"gone {second}" in play.orders

    def test_of_several_the_last_lets_it_go(self) -> None:
        play = Play()
        one, two = play.running(), play.running()
        (third,) = play.submit(ANZE, after(one, two))
        play.ended(two)
        assert play.state(third) == "held"
        assert why(play, third) == f"Dependency: for the success of {one}"
        play.ended(one)
        assert play.state(third) == "starting"

    def test_a_chain_falls_as_far_as_it_must(self) -> None:
        play = Play()
        first = play.running()
        chain = [after(-1, kind="ok"), after(-2, kind="ok"), after(-3, kind="notok"), after(-2, kind="any")]
        ids = play.submit(ANZE, after(first), *chain)
        play.ended(first, outcome=FAILED)
        assert [play.state(number) for number in ids] == ["gone", "gone", "gone", "starting", "starting"]

    def test_removal_of_the_other_is_no_success(self) -> None:
        play = Play("a:1")
        play.running(ANZE, need("bycore", 1))
        (waits,) = play.submit(ANZE, spec())
        (second, third) = play.submit(ANZE, after(waits), after(waits, kind="any"))
        play.remove(ANZE, waits)
        assert (play.state(second), play.state(third)) == ("gone", "queued")

    def test_what_is_over_already(self) -> None:
        play = Play()
        past = {1: Became(ok=True), 2: Became(ok=False)}
        play.queue.next_id = 3
        submit = {"token": "x", "past": past}
        assert isinstance(play.say(ANZE, Submit(jobs=(after(1),), **submit)), dict)  # type: ignore[arg-type]
        assert play.state(3) == "starting"
        said = play.say(ANZE, Submit(token="y", jobs=(spec(), after(2)), past=past))
        assert said == "job: after: job 2 failed, so this would never run"
        assert play.say(ANZE, Submit(token="z", jobs=(after(9),))) == "after: there is no job 9, or it is forgotten"
        assert play.say(ANZE, Submit(token="z", jobs=(after(-1),))) == "after: there is no such job before this one"
        assert play.queue.next_id == 4  # all or none

    def test_what_ends_in_the_same_turn(self) -> None:
        play = Play()
        first = play.running()
        end = AttemptEnded(id=JobId(first), attempt=AttemptNo(1), outcome=EXITED)
        play.turn((ANZE, end), (ANZE, Submit(token="t", jobs=(after(first),))))
        assert play.state(first + 1) == "starting"
        play.turn((ANZE, Submit(token="u", jobs=(after(first + 1),))), (ANZE, replace(end, id=JobId(first + 1))))
        assert play.state(first + 2) == "starting"

    def test_a_tick_that_is_dropped_leaves_no_trace(self) -> None:
        play = Play()
        first = play.running()
        (second,) = play.submit(ANZE, after(first))
        end = AttemptEnded(id=JobId(first), attempt=AttemptNo(1), outcome=EXITED)
        play.draft((ANZE, end))
        assert play.state(second) == "held"
        play.say(ANZE, end)
        assert play.state(second) == "starting"


class TestDependents:
    """Who waits for a job."""

    def test_so_many_that_all_can_go_on_in_one_tick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dependencies, "MOST_DEPENDENTS", 3)
        play = Play()
        first = play.running()
        play.submit(ANZE, after(first), after(first))
        said = play.say(ANZE, Submit(token="n", jobs=(after(first), after(first))))
        assert said == f"after: at most 3 jobs wait for job {first}; an array counts as one"
        play.submit(ANZE, after(first, base=array(9)))
        said = play.say(ANZE, Submit(token="m", jobs=(spec(), *[after(-1)] * 4)))
        assert said == f"after: at most 3 jobs wait for job {play.queue.next_id}; an array counts as one"

    def test_who_is_removed_is_forgotten(self) -> None:
        play = Play()
        first = play.running()
        (second, third, lot) = play.submit(ANZE, after(first), after(first), after(first, base=array(2)))
        play.say(ANZE, SetHold(held=True, ids=((second, second),)))
        assert play.queue.dependents == {first: {second, third, lot}}
        play.draft((ANZE, Remove(all=True)))  # and is dropped
        play.say(ANZE, Remove(ids=((second, second),)))
        assert play.queue.dependents == {first: {third, lot}}
        play.say(ANZE, Remove(ids=((third, lot),)))
        assert play.queue.dependents == {}

    def test_and_so_is_who_was_waited_for(self) -> None:
        play = Play()
        first = play.running()
        (second, _) = play.submit(ANZE, after(first), after(-1))
        play.ended(first)
        assert list(play.queue.dependents) == [second]


class TestArrays:
    def test_after_an_array_as_a_whole(self) -> None:
        play = Play()
        (first,) = play.submit(ANZE, array(2))
        (second, third) = play.submit(ANZE, after(first, base=array(2)), after(first, kind="notok"))
        end_task(play, first, 0)
        assert why(play, second) == f"Dependency: for the success of {first}"
        end_task(play, first, 1, FAILED)
        assert JobId(second) not in play.queue.arrays
        assert play.state(third) == "starting"

    def test_an_array_that_may_go(self) -> None:
        play = Play()
        first = play.running()
        (second,) = play.submit(ANZE, after(first, base=array(2)))
        assert play.queue.arrays[JobId(second)].waiting == ((0, 1),)
        play.ended(first)
        assert play.queue.arrays[JobId(second)].live == 2

    def test_task_by_task(self) -> None:
        play = Play("a:8")
        (first,) = play.submit(ANZE, array(4))
        (second,) = play.submit(ANZE, after(first, each=True, base=array(4)))
        assert why(play, second) == f"Dependency: for tasks of {first}"
        end_task(play, first, 2)
        assert [job.task for job in play.last.changed.values() if job.id == second] == [2]
        end_task(play, first, 1, FAILED)
        assert play.queue.arrays[JobId(second)].removed == ((1, 1),)
        end_task(play, first, 0)
        end_task(play, first, 3)
        for task in (0, 2, 3):
            end_task(play, second, task)
        assert not play.queue.arrays

    def test_task_by_task_when_some_are_over(self) -> None:
        play = Play("a:8")
        (first,) = play.submit(ANZE, array(4))
        end_task(play, first, 0)
        end_task(play, first, 1, FAILED)
        past = {first: Became(tasks=play.queue.arrays[JobId(first)].tasks, bad=((1, 1),))}
        facts = play.say(ANZE, Submit(token="e", jobs=(after(first, each=True, base=array(4)),), past=past))
        assert isinstance(facts, dict)
        found = play.queue.arrays[JobId(2)]
        assert (found.live, found.blocked, found.removed) == (1, ((2, 3),), ((1, 1),))

    @pytest.mark.parametrize(
        ("kind", "runs"), [("ok", [0, 2]), ("notok", [1, 3]), ("any", [0, 1, 2, 3])], ids=["ok", "notok", "any"]
    )
    def test_task_by_task_of_new_ones_of_which_some_never_run(self, kind: str, runs: list[int]) -> None:
        play = Play("a:8")
        (first,) = play.submit(ANZE, array(4))
        for task, outcome in ((0, EXITED), (1, FAILED), (2, EXITED), (3, FAILED)):
            end_task(play, first, task, outcome)
        past = {first: Became(ok=False, tasks=array(4).array, bad=((1, 1), (3, 3)))}
        one = after(first, each=True, base=array(4))
        other, last = (after(-job, each=True, kind=way, base=array(4)) for job, way in ((1, kind), (2, "any")))
        facts = play.say(ANZE, Submit(token="c", jobs=(one, other, last), past=past))
        assert isinstance(facts, dict)
        ran: dict[int, list[int]] = {}
        while play.queue.active:
            for job in list(play.queue.active.values()):
                assert job.task is not None
                ran.setdefault(int(job.id), []).append(job.task)
                end_task(
                    play, job.id, job.task, FAILED if job.id == 2 and kind == "notok" and job.task == 0 else EXITED
                )
        assert not play.queue.arrays
        wanted = [*runs, 0] if kind == "notok" else runs
        assert {job: sorted(tasks) for job, tasks in ran.items()} == {2: [0, 2], 3: sorted(wanted), 4: [0, 1, 2, 3]}

    def test_task_by_task_of_one_that_is_removed(self) -> None:
        play = Play("a:1")
        (first,) = play.submit(ANZE, array(4))
        (second,) = play.submit(ANZE, after(first, each=True, base=array(4)))
        play.say(ANZE, Remove(tasks=((first, 2, 3),)))
        assert play.queue.arrays[JobId(second)].blocked == ((0, 1),)

    def test_a_million_tasks_that_are_removed_are_a_range_for_those_who_wait_for_them(self) -> None:
        play = Play("a:1")
        (first,) = play.submit(ANZE, array(1_000_000))
        ok, notok = (after(first, each=True, kind=kind, base=array(1_000_000)) for kind in ("ok", "notok"))
        second, third = play.submit(ANZE, ok, notok)
        draft = play.turn((ANZE, Remove(ids=((first, first),))))
        assert JobId(second) not in play.queue.arrays or play.queue.arrays[JobId(second)].blocked == ((0, 0),)
        assert ranges.count(play.queue.arrays[JobId(third)].waiting) == 999_999
        assert len(draft.events) < 20
        assert draft.fresh_removals == {}

    @pytest.mark.parametrize("other", [array(3), spec()], ids=["another size", "no array"])
    def test_task_by_task_wants_the_same_tasks(self, other: JobSpec) -> None:
        play = Play("a:1")
        (first,) = play.submit(ANZE, other)
        said = play.say(ANZE, Submit(token="n", jobs=(after(first, each=True, base=array(4)),)))
        assert isinstance(said, str)
        assert said.startswith("after_each: ")

    @pytest.mark.parametrize("same_tick", [True, False])
    def test_one_of_which_no_task_could_run_is_refused(self, same_tick: bool) -> None:
        play = Play("a:1")
        play.running(BINE)
        (first,) = play.submit(ANZE, array(2))
        every = after(first, each=True, base=array(2))
        removal = (ANZE, Remove(ids=((first, first),)))
        tasks = play.queue.arrays[JobId(first)].tasks
        past = {first: Became(ok=False, tasks=tasks, bad=() if same_tick else ((0, 1),))}
        submission = (ANZE, Submit(token="z", jobs=(every, after(-1)), past=past))
        if not same_tick:
            play.turn(removal)
        answers = dict(play.turn(*([removal] if same_tick else []), submission).answers)
        answer = answers[2 if same_tick else 1]
        assert isinstance(answer, Refusal)
        assert f"no task of array {first} ended as it must" in answer.error
        assert not play.queue.arrays

    def test_too_many_failures_count_also_beside_a_removal(self) -> None:
        play = Play("a:1")
        (number,) = play.submit(ANZE, replace(array(9), max_fails=0))
        end = AttemptEnded(id=JobId(number), task=0, attempt=AttemptNo(1), outcome=FAILED)
        play.turn((ANZE, end), (BINE, Remove(all=True)))
        assert not play.queue.arrays

    def test_too_many_failures_stop_it(self) -> None:
        play = Play("a:2")
        (number,) = play.submit(ANZE, replace(array(100), max_fails=1))
        end_task(play, number, 0, FAILED)
        assert play.queue.arrays[JobId(number)].waiting
        end_task(play, number, 1, FAILED)
        left = play.queue.arrays[JobId(number)]
        assert (left.waiting, left.removed_by) == ((), "max_fails: 1")
        assert {job.state.value for job in play.queue.active.values()} == {"stopping"}


class TestHolding:
    def test_held_and_released(self) -> None:
        play = Play("a:1")
        play.running()
        (job, lot) = play.submit(ANZE, spec(), array(3))
        assert play.say(ANZE, SetHold(held=True, ids=((1, 9),))) == {
            "changed": [job, lot],
            "refused": [{"id": 1, "why": "it does not wait any more"}],
            "missing": [],
        }
        assert why(play, job) == "Hold: held by anze; `wq release` lets it go"
        play.ended(1)
        assert (play.state(job), play.queue.arrays[JobId(lot)].live) == ("held", 0)
        play.say(ANZE, SetHold(held=False, ids=((job, job),)))
        assert play.state(job) == "starting"
        play.ended(job)
        play.say(ANZE, SetHold(held=False, all=True))
        assert play.queue.arrays[JobId(lot)].live

    def test_many_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(commands, "CHANGED_AT_ONCE", 3)
        play = Play("a:1")
        play.running()
        jobs = play.submit(ANZE, *[spec()] * 7)
        changed = play.say(ANZE, SetHold(held=True, all=True))
        parts = []
        while play.last.unfinished:
            ((_, part),) = play.last.unfinished
            parts.append(part.facts["changed"])
            assert len(play.queue.held) == 2 + 3 * (len(parts) - 1)  # (what runs was one of the first three)
            changed = play.say(ANZE, part.rest)
        assert (parts, changed) == ([jobs[:2], jobs[2:5]], {"changed": jobs[5:], "refused": []})
        check(play.queue)

    def test_from_the_beginning(self) -> None:
        play = Play()
        (job,) = play.submit(ANZE, replace(spec(), hold=True))
        assert play.state(job) == "held"
        play.say(ANZE, SetHold(held=False, ids=((job, job),)))
        assert play.state(job) == "starting"

    def test_what_the_owner_holds_its_user_cannot_release(self) -> None:
        play = Play("a:1")
        play.running(BINE)
        (job,) = play.submit(ANZE, spec())
        play.say(OWNER, SetHold(held=True, ids=((job, job),)))
        facts = play.say(ANZE, SetHold(held=False, ids=((job, job),)))
        assert isinstance(facts, dict)
        assert facts["refused"] == [
            {"id": job, "why": "it is held by owner, and only the server's owner (owner) may release it"}
        ]
        assert play.say(BINE, SetHold(held=False, ids=((job, job),)))
        assert play.state(job) == "held"
        play.say(OWNER, SetHold(held=False, ids=((job, job),)))
        assert play.state(job) == "queued"

    def test_a_hold_does_not_forget_what_it_waits_for(self) -> None:
        play = Play()
        first = play.running()
        (job,) = play.submit(ANZE, after(first))
        play.say(ANZE, SetHold(held=True, ids=((job, job),)))
        play.ended(first)
        assert play.state(job) == "held"
        play.say(ANZE, SetHold(held=False, ids=((job, job),)))
        assert play.state(job) == "starting"

    def test_a_held_job_can_be_removed(self) -> None:
        play = Play()
        (job, lot) = play.submit(ANZE, replace(spec(), hold=True), replace(array(3), hold=True))
        play.remove(ANZE, job, lot)
        assert (play.state(job), play.queue.arrays) == ("gone", {})


class TestTimes:
    def test_it_begins_when_its_time_has_come(self) -> None:
        play = Play()
        begin_s = play.now.wall_s + 100.0
        (job, lot) = play.submit(ANZE, replace(spec(), begin_s=begin_s), replace(array(2), begin_s=begin_s + 50.0))
        assert play.last.wake_s == pytest.approx(play.boot_s + 100.0)
        assert why(play, job) == "Begin: until its time has come"
        play.later(99.0)
        assert play.state(job) == "held"
        play.later(1.5)
        assert play.state(job) == "starting"
        assert play.last.wake_s == pytest.approx(play.boot_s + 49.5)
        play.later(50.0)
        assert play.queue.arrays[JobId(lot)].live == 2
        assert play.last.wake_s is None

    def test_a_time_that_is_past_is_no_wait(self) -> None:
        play = Play()
        (job,) = play.submit(ANZE, replace(spec(), begin_s=play.now.wall_s - 1.0))
        assert play.state(job) == "starting"

    def test_another_attempt_after_a_while(self) -> None:
        play = Play()
        job = play.running()
        play.say(
            ANZE,
            AttemptEnded(
                id=JobId(job), attempt=AttemptNo(1), outcome=replace(FAILED, message="3"), again=True, wait_s=60.0
            ),
        )
        assert play.state(job) == "held"
        play.later(61.0)
        assert play.state(job) == "starting"
        assert play.job(job).attempt == 2


class TestEdit:
    def test_what_waits_can_be_changed(self) -> None:
        play = Play("a:4")
        play.running(ANZE, need("bycore", 4))
        (job, other) = play.submit(ANZE, spec(need("bycore", 4)), spec(need("bycore", 4)))
        play.say(ANZE, Edit(id=JobId(other), name="first", requirement=need("bycore", 4, priority=Priority.HIGH)))
        play.ended(1)
        assert (play.state(job), play.state(other)) == ("queued", "starting")
        assert play.job(other).spec.name == "first"
        said = play.say(ANZE, Edit(id=JobId(other), requirement=need("bycore", 1)))
        assert said == f"job {other} does not wait any more; its name and its priority can still be changed"
        assert play.say(ANZE, Edit(id=JobId(other), name="last")) == {"id": other}
        assert play.job(other).spec.name == "last"

    def test_it_stands_in_one_place_of_the_line_whatever_follows(self) -> None:
        play = Play("a:4 b:4")
        play.running(ANZE, need("bycore", 7))
        (job, lot, other) = play.submit(ANZE, spec(need("bycore", 2)), array(3, need("bycore", 2)), spec())
        assert play.state(other) == "starting"
        wider = Edit(id=JobId(job), requirement=need("bycore", 3))
        play.turn((ANZE, wider), (ANZE, Edit(id=JobId(lot), requirement=need("bycore", 4))), (ANZE, wider))
        play.turn((ANZE, Edit(id=JobId(job), requirement=need("bycore", 4))), (ANZE, Remove(ids=((other, other),))))
        play.draft((ANZE, wider))  # and is dropped
        check(play.queue)
        play.turn((ANZE, wider), (ANZE, Remove(ids=((job, job),))))
        check(play.queue)
        play.ended(1)
        assert play.queue.arrays[JobId(lot)].live == 1
        check(play.queue)

    @pytest.mark.parametrize("base", [spec(need("bycore", 2)), array(3, need("bycore", 2))], ids=["a job", "an array"])
    @pytest.mark.parametrize("order", ["HE", "HRE", "HER", "EH", "EHR", "EE", "EHE", "HERE", "HREH", "EHRE", "HEHR"])
    def test_also_when_it_is_held_and_released_in_the_same_turn(self, order: str, base: JobSpec) -> None:
        play = Play("a:4")
        first = play.running(ANZE, need("bycore", 4))
        (job,) = play.submit(ANZE, base)
        wishes: list[tuple[Who, Request]] = []
        for n, letter in enumerate(order):
            match letter:
                case "H" | "R":
                    wishes.append((ANZE, SetHold(held=letter == "H", ids=((job, job),))))
                case _:
                    wishes.append((ANZE, Edit(id=JobId(job), requirement=need("bycore", 3 + n % 2))))
        before = {group: list(places) for group, places in play.queue.line.groups.items()}
        play.draft(*wishes)  # and is dropped
        assert play.queue.line.groups == before
        answers = play.turn(*wishes).answers
        assert all(isinstance(answer, Answer) and not answer.facts.get("refused") for _, answer in answers)
        check(play.queue)
        play.submit(ANZE, spec(need("bycore", 2)))  # to the group where it stood
        if order.rfind("H") > order.rfind("R"):
            assert reason(play.queue.find(JobId(job)) or play.queue.arrays[JobId(job)]) is not None
            play.say(ANZE, SetHold(held=False, ids=((job, job),)))
        check(play.queue)
        play.ended(first)
        (allocation,) = {one.allocation for one in play.queue.active.values()}
        wanted = 3 + order.rindex("E") % 2
        assert allocation is not None
        assert (allocation.ncores, {one.id for one in play.queue.active.values()}) == (wanted, {job})
        check(play.queue)

    @pytest.mark.parametrize("base", [spec(need("bycore", 2)), array(3, need("bycore", 2))], ids=["a job", "an array"])
    def test_its_old_place_is_empty_also_if_it_was_held_long_before(self, base: JobSpec) -> None:
        """(While few of a group have gone, their places stay.)"""
        play = Play("a:4")
        first = play.running(ANZE, need("bycore", 4))
        job = play.submit(ANZE, *[spec(need("bycore", 2))] * 4, base, *[spec(need("bycore", 2))] * 5)[4]
        play.say(ANZE, SetHold(held=True, ids=((job, job),)))
        assert play.queue.line.stale
        play.say(ANZE, Edit(id=JobId(job), requirement=need("bycore", 1, priority="high")))
        play.say(ANZE, SetHold(held=False, ids=((job, job),)))
        check(play.queue)
        play.ended(first)
        assert {one.id for one in play.queue.active.values()} >= {job}
        check(play.queue)

    def test_not_to_what_can_never_run(self) -> None:
        play = Play("a:4")
        play.running(ANZE, need("bycore", 4))
        (job,) = play.submit(ANZE, spec())
        assert "5 cores" in str(play.say(ANZE, Edit(id=JobId(job), requirement=need("bycore1", 5))))
        assert play.say(BINE, Edit(id=JobId(job), name="mine")) == (
            f"job {job} belongs to anze; only anze, the server's owner (owner) and root may change it"
        )

    def test_what_waits_for_a_node_that_has_gone_may_be_called_otherwise(self) -> None:
        play = Play("a:4 b:4")
        play.running(ANZE, need("byhost", 4, host="b"))
        (job,) = play.submit(ANZE, spec(need("byhost", 4, host="b")))
        play.turn((MYSELF, ClusterRead(nodes=cluster("a:4"))))
        assert play.say(ANZE, Edit(id=JobId(job), name="later", begin_s=play.now.wall_s + 10.0)) == {"id": job}
        assert "b" in str(play.say(ANZE, Edit(id=JobId(job), requirement=need("byhost", 3, host="b"))))
        assert play.say(ANZE, Edit(id=JobId(job), requirement=need("byhost", 3, host="a"))) == {"id": job}

    def test_a_block_job_from_before_they_were_forbidden_may_be_changed_otherwise(self) -> None:
        play = Play("a:4")
        play.running(ANZE, need("bycore", 4))
        job, other = play.submit(ANZE, spec(need(priority="block")), spec())
        play.queue.block_allowed = False
        assert play.say(ANZE, Edit(id=JobId(job), name="later", requirement=need(priority="block"))) == {"id": job}
        for edit in (
            Edit(id=JobId(job), requirement=need("bycore", 2, priority="block")),
            Edit(id=JobId(other), requirement=need(priority="block")),
        ):
            assert "block is not allowed in this queue" in str(play.say(ANZE, edit))

    @pytest.mark.parametrize("most", [-1, 10**7 + 1, 10**25])
    def test_not_to_an_absurd_number_of_failures(self, most: int) -> None:
        play = Play("a:4")
        (lot,) = play.submit(ANZE, array(9))
        assert play.say(ANZE, Edit(id=JobId(lot), max_fails=0)) == {"id": lot}
        refused = f"max_fails: {most} is not between 0 and 10000000"
        assert play.say(ANZE, Edit(id=JobId(lot), max_fails=most)) == refused
        assert play.say(ANZE, Submit(token="t", jobs=(replace(array(9), max_fails=most),))) == refused

    def test_the_priority_also_of_what_runs(self) -> None:
        play = Play("a:1 b:1")
        high = need("bycore", 1, priority="high")
        (lot, other) = play.submit(ANZE, array(5), spec())
        assert play.queue.arrays[JobId(lot)].live == 2
        play.say(ANZE, Edit(id=JobId(other), requirement=high))
        assert play.say(ANZE, Edit(id=JobId(lot), requirement=need("bycore", 2, priority="high"))) == (
            f"tasks of array {lot} run already; its name and its priority can still be changed"
        )
        end_task(play, lot, 0)
        assert play.state(other) == "starting"
        play.submit(ANZE, spec())
        assert play.say(ANZE, Edit(id=JobId(lot), requirement=need("bycore", 1, priority="low"))) == {"id": lot}
        check(play.queue)
        end_task(play, lot, 1)
        assert {job.id for job in play.queue.active.values()} == {other, 3}
        assert play.say(ANZE, Edit(id=JobId(3), requirement=high)) == {"id": 3}
        assert play.job(3).spec.requirement == high
        check(play.queue)

    def test_arrays_too(self) -> None:
        play = Play("a:4")
        play.running(ANZE, need("bycore", 4))
        (lot,) = play.submit(ANZE, array(3, need("bycore", 4)))
        play.say(ANZE, Edit(id=JobId(lot), requirement=need("bycore", 1), begin_s=play.now.wall_s + 10.0))
        play.ended(1)
        assert play.queue.arrays[JobId(lot)].live == 0
        play.later(11.0)
        assert play.queue.arrays[JobId(lot)].live == 3
