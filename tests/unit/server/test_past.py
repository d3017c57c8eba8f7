"""What is asked of the past, and of what becomes of jobs: history, one job in full, waiting, forgetting."""

from __future__ import annotations

import json
import time
import typing
from collections.abc import Iterator

import msgspec
import pytest

from tests.unit.server.desk import ANZE, BINE, Office, Visitor, an_office, job
from wq.protocol import messages
from wq.server import history, usage, watches
from wq.server.keep import Keep, parse_keep
from wq.server.watches import MOST_WATCHED
from wq.store import past
from wq.store.store import KEEP_TOKENS_S

Facts = dict[str, typing.Any]


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    with an_office(monkeypatch, "a 4 8\nb 4 8\n") as office:
        yield office


def submit(launcher: Visitor, *names: str, **more: object) -> list[int]:
    token = f"t{launcher.office.server.queue.next_id}"
    jobs = [job(name=name, **more) for name in names]
    ids: list[int] = launcher.ask(type="submit", token=token, jobs=jobs, seq=1)["ok"]["ids"]
    return ids


def end(launcher: Visitor, number: int, status: int = 0, *, task: int | None = None, **more: object) -> None:
    outcome = {"kind": "exited", "exit_status": status}
    launcher.say({"type": "attempt_ended", "id": number, "task": task, "attempt": 1, "outcome": outcome, **more})
    launcher.office.turn()
    launcher.heard()


def ran(launcher: Visitor, name: str = "fit", status: int = 0) -> int:
    (number,) = submit(launcher, name)
    end(launcher, number, status)
    return number


def asked(visitor: Visitor, **word: object) -> Facts:
    """The facts of an answer that may take several turns."""
    visitor.say({"seq": 1, **word})
    said: list[Facts] = []
    rows: list[object] = []
    for _ in range(1000):
        visitor.office.turn()
        said += [message for message in visitor.heard() if "type" not in message]
        if said and "page" not in said[-1]:
            break
    for message in said[:-1]:
        rows += message["page"]
    facts: Facts = said[-1].get("ok", said[-1])
    return {**facts, "jobs": rows + facts["jobs"]} if "jobs" in facts else facts


def ids(facts: Facts) -> list[int]:
    return [row["id"] for row in facts["jobs"]]


class TestTheHistory:
    def test_is_ones_own_newest_first(self, office: Office) -> None:
        launcher, other = office.launcher(), office.launcher(BINE)
        mine = [ran(launcher) for _ in range(3)]
        ran(other)
        facts = asked(office.visitor(), type="hist")
        assert (ids(facts), facts["more"]) == (mine[::-1], 0)
        assert facts["jobs"][0]["outcome"]["exit_status"] == 0

    def test_of_everybody(self, office: Office) -> None:
        one, other = ran(office.launcher()), ran(office.launcher(BINE))
        assert ids(asked(office.visitor(), type="hist", everybody=True)) == [other, one]

    def test_of_users_by_their_names(self, office: Office) -> None:
        ran(office.launcher())
        other = ran(office.launcher(BINE))
        facts = asked(office.visitor(), type="hist", users=[f"uid {BINE}"])
        assert ids(facts) == [other]

    def test_a_name_of_nobodys_is_said_to_be_that(self, office: Office) -> None:
        facts = asked(office.visitor(), type="hist", users=["nobody-at-all"])
        assert facts["error"] == "no user is called 'nobody-at-all'"

    def test_the_newest_ones_and_how_many_more_there_are(self, office: Office) -> None:
        launcher = office.launcher()
        mine = [ran(launcher) for _ in range(7)]
        facts = asked(office.visitor(), type="hist", most=2)
        assert (ids(facts), facts["more"]) == (mine[:-3:-1], 5)
        assert asked(office.visitor(), type="hist", most=0)["more"] == 7

    def test_those_that_did_not_end_as_they_should(self, office: Office) -> None:
        launcher = office.launcher()
        ran(launcher)
        failed = ran(launcher, status=3)
        (waits,) = submit(launcher, "big", requirement={"n": 8, "mode": "bycore"})
        (removed,) = submit(launcher, "late", requirement={"n": 8, "mode": "bycore"})
        launcher.ask(type="remove", ids=[[removed, removed]], seq=1)
        facts = asked(office.visitor(), type="hist", failed=True)
        assert (ids(facts), facts["more"]) == ([removed, failed], 0)
        assert waits in office.server.queue.active

    def test_by_a_pattern_of_their_names(self, office: Office) -> None:
        launcher = office.launcher()
        wanted = [ran(launcher, name) for name in ("fit1", "plot", "fit2", "fit3")]
        facts = asked(office.visitor(), type="hist", name="fit[12]")
        assert (ids(facts), facts["more"]) == ([wanted[2], wanted[0]], 0)
        facts = asked(office.visitor(), type="hist", name="fit*", most=1)
        assert (ids(facts), facts["more"]) == ([wanted[3]], 2)

    def test_an_absurd_pattern_is_refused(self, office: Office) -> None:
        assert "at most 200" in asked(office.visitor(), type="hist", name="x" * 201)["error"]

    def test_by_when_they_ended(self, office: Office) -> None:
        number = ran(office.launcher())
        now_s = time.time()
        assert ids(asked(office.visitor(), type="hist", since_s=now_s - 60, until_s=now_s + 60)) == [number]
        assert ids(asked(office.visitor(), type="hist", since_s=now_s + 60)) == []
        assert ids(asked(office.visitor(), type="hist", until_s=now_s - 60)) == []

    def test_an_array_is_one_row_with_counts(self, office: Office) -> None:
        launcher = office.launcher()
        (number,) = submit(launcher, "many", array={"pieces": [[0, 2, 1]]})
        for task in range(3):
            end(launcher, number, task, task=task)
        (row,) = asked(office.visitor(), type="hist")["jobs"]
        assert (row["array"]["done"], row["array"]["failed"]) == (3, 2)
        assert ids(asked(office.visitor(), type="hist", failed=True)) == [number]

    def test_others_come_in_between_a_long_one(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(history, "PAUSE", 1)
        monkeypatch.setattr("wq.server.server.SLICE_S", 0.0)
        launcher = office.launcher()
        for _ in range(5):
            ran(launcher)
        eager, patient = office.visitor(), office.visitor(BINE)
        eager.say({"type": "hist", "seq": 1})
        office.turn()
        assert eager.heard() == []
        assert "ok" in patient.ask(type="stat", seq=1)
        for _ in range(10):
            office.turn()
        (answer,) = eager.heard()
        assert len(answer["ok"]["jobs"]) == 5


class TestOneJob:
    def test_that_waits_says_why(self, office: Office) -> None:
        launcher = office.launcher()
        submit(launcher, "one", requirement={"n": 8, "mode": "bycore"})
        (number,) = submit(launcher, "two")
        facts = asked(office.visitor(BINE), type="info", id=number)
        assert (facts["job"]["state"], facts["job"]["reason"]["code"]) == ("queued", "Resources")
        assert facts["attempts"] == []

    def test_that_nobody_knows(self, office: Office) -> None:
        assert asked(office.visitor(), type="info", id=7) == {"error": "no job 7 is known", "status": 1, "seq": 1}
        number = ran(office.launcher())
        assert asked(office.visitor(), type="info", id=number, task=3)["error"] == f"no job {number}.3 is known"

    def test_has_its_attempts_and_what_became_of_them(self, office: Office) -> None:
        launcher = office.launcher()
        (number,) = submit(launcher, "fit")
        launcher.say({"type": "attempt_started", "id": number, "attempt": 1})
        lost = {"kind": "lost", "message": "node a was rebooted"}
        launcher.say({"type": "attempt_ended", "id": number, "attempt": 1, "outcome": lost, "again": True})
        office.turn()
        launcher.say(
            {"type": "attempt_ended", "id": number, "attempt": 2, "outcome": {"kind": "signalled", "signal": 9}}
        )
        office.turn()
        facts = asked(office.visitor(), type="info", id=number)
        first, second = facts["attempts"]
        assert (first["attempt"], first["hosts"], first["requeued_why"]) == (1, ["a"], "node a was rebooted")
        assert first["started_at"] is not None
        assert (second["attempt"], second["requeued_why"]) == (2, None)
        assert second["over_at"] == facts["job"]["ended_at"]

    def test_that_was_removed_says_by_whom_and_why(self, office: Office) -> None:
        launcher = office.launcher()
        (runs,) = submit(launcher, "one", requirement={"n": 8, "mode": "bycore"})
        (waits,) = submit(launcher, "two")
        for number in (waits, runs):
            launcher.ask(type="remove", ids=[[number, number]], reason="wrong catalogue", seq=1)
        end(launcher, runs, 143)
        for number in (waits, runs):
            outcome = asked(office.visitor(), type="info", id=number)["job"]["outcome"]
            assert (outcome["kind"], outcome["by"], outcome["reason"]) == ("removed", f"uid {ANZE}", "wrong catalogue")

    def test_a_task_whatever_became_of_it(self, office: Office) -> None:
        launcher = office.launcher()
        (number,) = submit(launcher, "many", array={"pieces": [[0, 99, 1]]})
        launcher.ask(type="remove", tasks=[[number, 90, 95]], reason="not these", seq=1)
        end(launcher, number, 3, task=0)
        tasks = {task: asked(office.visitor(), type="info", id=number, task=task) for task in (0, 1, 80, 93)}
        assert [facts["job"]["state"] for facts in tasks.values()] == ["done", "starting", "queued", "done"]
        assert tasks[0]["job"]["outcome"]["exit_status"] == 3
        assert [attempt["attempt"] for attempt in tasks[0]["attempts"]] == [1]
        assert tasks[93]["job"]["outcome"]["reason"] == "not these"
        assert tasks[93]["job"]["ended_at"] is not None

    def test_a_task_that_had_to_start_again(self, office: Office) -> None:
        launcher = office.launcher()
        (number,) = submit(launcher, "many", array={"pieces": [[0, 1, 1]]})
        lost = {"kind": "lost", "message": "node a was rebooted"}
        again = {"type": "attempt_ended", "id": number, "task": 0, "attempt": 1, "outcome": lost, "again": True}
        launcher.say(again)
        office.turn()
        facts = asked(office.visitor(), type="info", id=number, task=0)
        assert [one["requeued_why"] for one in facts["attempts"]] == ["node a was rebooted", None]

    def test_an_array_has_the_first_of_its_tasks_that_failed(self, office: Office) -> None:
        launcher = office.launcher()
        (number,) = submit(launcher, "many", array={"pieces": [[0, 3, 1]]})
        end(launcher, number, 0, task=0)
        end(launcher, number, 5, task=1)
        facts = asked(office.visitor(), type="info", id=number)
        assert [(task["task"], task["outcome"]["exit_status"]) for task in facts["failed_tasks"]] == [(1, 5)]
        assert facts["job"]["array"]["done"] == 2


class TestTheNewest:
    def test_is_ones_own_whatever_became_of_it(self, office: Office) -> None:
        launcher, other = office.launcher(), office.launcher(BINE)
        assert asked(office.visitor(), type="newest") == {"id": None}
        submit(launcher, "big", requirement={"n": 8, "mode": "bycore"})
        (last,) = submit(launcher, "small")
        launcher.ask(type="remove", ids=[[last, last]], seq=1)
        submit(other, "theirs")
        assert asked(office.visitor(), type="newest") == {"id": last}


class TestWaiting:
    def test_says_how_they_stand(self, office: Office) -> None:
        launcher = office.launcher()
        ok, failed = ran(launcher), ran(launcher, status=3)
        (live,) = submit(launcher, "runs")
        facts = asked(office.visitor(), type="wait", ids=[[ok, failed], [live, live], [99, 99]])
        assert (facts["ok"], facts["live"], facts["missing"]) == ([[ok, ok]], [[live, live]], ["99"])
        ((number, outcome),) = facts["failed"]
        assert (number, outcome["exit_status"], facts["over"]) == (failed, 3, 2)

    def test_an_answer_comes_when_something_has_changed(self, office: Office) -> None:
        launcher, visitor = office.launcher(), office.visitor()
        one, two = submit(launcher, "one", "two")
        visitor.say({"type": "wait", "seq": 1, "ids": [[one, two]], "seen": 0})
        submit(launcher, "another")
        for _ in range(5):
            office.turn()
        assert visitor.heard() == []
        end(launcher, two)
        office.turn()
        (answer,) = visitor.heard()
        assert (answer["seq"], answer["ok"]["ok"], answer["ok"]["live"]) == (1, [[two, two]], [[one, one]])

    def test_that_happened_meanwhile_is_answered_at_once(self, office: Office) -> None:
        launcher = office.launcher()
        one, two = submit(launcher, "one", "two")
        end(launcher, one)
        assert asked(office.visitor(), type="wait", ids=[[one, two]], seen=0)["over"] == 1

    def test_for_nothing_ends_at_once(self, office: Office) -> None:
        assert asked(office.visitor(), type="wait", seen=0)["over"] == 0

    def test_for_an_array_is_told_of_its_tasks(self, office: Office) -> None:
        launcher, visitor = office.launcher(), office.visitor()
        (number,) = submit(launcher, "many", array={"pieces": [[0, 2, 1]]})
        visitor.say({"type": "wait", "seq": 1, "ids": [[number, number]], "seen": 0})
        office.turn()
        assert visitor.heard() == []
        end(launcher, number, 0, task=0)
        office.turn()
        (answer,) = visitor.heard()
        assert answer["ok"]["arrays"] == [[number, None, None, 3, 1, 0, 0]]
        end(launcher, number, 4, task=1)
        end(launcher, number, 2, task=2)
        facts = asked(visitor, type="wait", ids=[[number, number]], seen=1)
        assert facts["arrays"] == [[number, None, None, 3, 3, 2, 4]]

    def test_for_an_array_that_waits_for_another_task_by_task_goes_on_until_it_is_over(self, office: Office) -> None:
        launcher = office.launcher()
        (first,) = submit(launcher, "first", array={"pieces": [[0, 2, 1]]})
        (second,) = submit(launcher, "second", array={"pieces": [[0, 2, 1]]}, after=[{"job": first, "each": True}])
        wait = {"type": "wait", "ids": [[second, second]], "tasks": [[second, 0, 1]]}
        counts = asked(office.visitor(), **wait)["arrays"]
        assert counts == [[second, None, None, 3, 0, 0, 0], [second, 0, 1, 2, 0, 0, 0]]
        end(launcher, first, task=0)
        end(launcher, second, task=0)
        counts = asked(office.visitor(), **wait)["arrays"]
        assert counts == [[second, None, None, 3, 1, 0, 0], [second, 0, 1, 2, 1, 0, 0]]
        (row,) = asked(office.visitor(), type="ls", ids=[[second, second]])["jobs"]
        assert (row["array"]["waiting"], row["array"]["done"]) == (2, 1)

    def test_for_some_tasks_of_an_array(self, office: Office) -> None:
        launcher = office.launcher()
        (number,) = submit(launcher, "many", array={"pieces": [[0, 99, 1]]})
        launcher.ask(type="remove", tasks=[[number, 90, 99]], seq=1)
        end(launcher, number, 3, task=0)
        tasks = [[number, 0, 0], [number, 0, 9], [number, 95, 200], [number, 200, 300]]
        facts = asked(office.visitor(), type="wait", tasks=tasks)
        assert facts["arrays"] == [
            [number, 0, 0, 1, 1, 1, 3],
            [number, 0, 9, 10, 1, 1, 3],
            [number, 95, 200, 5, 5, 5, 1],
        ]
        assert facts["missing"] == [f"{number}.200-300"]

    def test_a_second_question_takes_the_place_of_the_first(self, office: Office) -> None:
        launcher, visitor = office.launcher(), office.visitor()
        one, two = submit(launcher, "one", "two")
        for seq, number in ((1, one), (2, two)):
            visitor.say({"type": "wait", "seq": seq, "ids": [[number, number]], "seen": 0})
            office.turn()
        end(launcher, one)
        end(launcher, two)
        office.turn()
        assert [answer["seq"] for answer in visitor.heard()] == [2]
        assert not office.server.watches.by_id

    def test_whoever_has_gone_is_forgotten(self, office: Office) -> None:
        launcher, visitor = office.launcher(), office.visitor()
        (number,) = submit(launcher, "one")
        visitor.say({"type": "wait", "seq": 1, "ids": [[number, number]], "seen": 0})
        office.turn()
        assert office.server.watches
        visitor.leave()
        assert not office.server.watches
        assert not office.server.watches.by_id

    def test_two_hundred_who_wait_cost_a_turn_nothing(self, office: Office) -> None:
        launcher = office.launcher()
        (number, other) = submit(launcher, "one", "two")
        waiting = [office.visitor() for _ in range(190)]
        for visitor in waiting:
            visitor.say({"type": "wait", "seq": 1, "ids": [[number, number]], "seen": 0})
        while office.server.questions or office.server.talkers:
            office.turn()
        for visitor in waiting:
            visitor.heard()
        end(launcher, other)
        assert not office.server.questions
        assert not any(visitor.heard() for visitor in waiting)
        end(launcher, number)
        while office.server.questions:
            office.turn()
        assert sum(len(visitor.heard()) for visitor in waiting) == 190

    def test_what_ends_while_others_have_their_turns_is_not_overlooked(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wq.server.watches.PAUSE", 1)
        monkeypatch.setattr("wq.server.server.SLICE_S", 0.0)
        launcher, visitor = office.launcher(), office.visitor()
        numbers = submit(launcher, *"abcdef")
        visitor.say({"type": "wait", "seq": 1, "ids": [[number, number] for number in numbers], "seen": 0})
        office.turn()
        office.turn()
        end(launcher, numbers[0])
        for _ in range(40):
            office.turn()
        (answer,) = visitor.heard()
        assert answer["ok"]["over"] == 1

    def test_what_is_named_twice_is_counted_once(self, office: Office) -> None:
        launcher = office.launcher()
        first, last = ran(launcher), ran(launcher, status=3)
        (many,) = submit(launcher, "many", array={"pieces": [[0, 2, 1]]})
        end(launcher, many, task=1)
        named = [[first, many], [last, last], [many, many], [99, 99], [99, 99]]
        facts = asked(office.visitor(), type="wait", ids=named)
        assert (facts["ok"], [number for number, _ in facts["failed"]], facts["over"]) == ([[first, first]], [last], 3)
        assert (facts["arrays"], facts["missing"]) == ([[many, None, None, 3, 1, 0, 0]], ["99"])

    @pytest.mark.parametrize(
        ("named", "npauses"),
        [
            ({"ids": [[1000, 10**6]]}, 10),  # nothing of that is there
            ({"ids": [[41, 140]]}, 20),  # all of it waits
            ({"ids": [[low, low + 2] for low in range(1, 30, 4)]}, 7),  # all of it is over
            ({"ids": [[31, 40]]}, 10),  # arrays
            ({"tasks": [[31, 0, 1000]]}, 10),
        ],
    )
    def test_others_come_in_between_whatever_is_named(
        self, office: Office, monkeypatch: pytest.MonkeyPatch, named: Facts, npauses: int
    ) -> None:
        launcher = office.launcher()
        for _ in range(30):
            ran(launcher)
        submit(launcher, *["many"] * 10, array={"pieces": [[0, 2, 1]]})
        submit(launcher, *["fit"] * 100)
        monkeypatch.setattr(watches, "PAUSE", 10)
        monkeypatch.setattr(watches, "FEW", 0)
        monkeypatch.setattr(past, "READ_AT_ONCE", 10)
        server = office.server
        parts = list(watches.standing(server.queue, server.store, named.get("ids", ()), named.get("tasks", ())))
        assert parts.count(None) >= npauses
        assert parts[-1] is not None

    def test_a_question_about_too_much_is_refused(self, office: Office) -> None:
        facts = asked(office.visitor(), type="wait", ids=[[number, number] for number in range(20_001)])
        assert "too many at once" in facts["error"]
        assert MOST_WATCHED < 20_000


class TestWhatWasUsed:
    def test_of_jobs_arrays_and_tasks_in_the_order_of_their_ids(self, office: Office) -> None:
        launcher = office.launcher()
        many, live = submit(launcher, "many", "live", array={"pieces": [[0, 2, 1]]})
        one, last = ran(launcher), ran(launcher)
        for task in (0, 2, 1):
            end(launcher, many, task=task, run_s=2.0)
        end(launcher, live, task=1, run_s=2.0)
        tasks = [[many, 1, 9], [live, 0, 9], [many, 2, 2], [99, 0, 0]]
        rows = asked(office.visitor(), type="eff", ids=[[one, last], [many, live], [last, 99]], tasks=tasks)["jobs"]
        assert [(row["id"], row["task"]) for row in rows] == [
            (many, None),
            (many, 1),
            (many, 2),
            (live, 1),
            (one, None),
            (last, None),
        ]
        assert (rows[0]["tasks"], rows[0]["ncores"], rows[0]["cpu_s"]) == (3, 1, None)

    def test_of_what_has_ended_lately_by_users(self, office: Office) -> None:
        launcher, other = office.launcher(), office.launcher(BINE)
        mine, (many,) = ran(launcher), submit(launcher, "many", array={"pieces": [[0, 0, 1]]})
        theirs = ran(other)
        end(launcher, many, task=0)
        assert ids(asked(office.visitor(), type="eff")) == [mine, many, theirs]
        assert ids(asked(office.visitor(), type="eff", users=[f"uid {BINE}", "nobody-at-all"])) == [theirs]
        assert ids(asked(office.visitor(), type="eff", users=[f"uid {ANZE}"], ids=[[1, 99]])) == [mine, many]
        assert ids(asked(office.visitor(), type="eff", since_s=-1.0)) == []

    def test_others_come_in_between(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        launcher = office.launcher()
        (many,) = submit(launcher, "many", array={"pieces": [[0, 49, 1]]})
        for task in range(50):
            end(launcher, many, task=task)
        for module, name in ((past, "LOOKED_AT_ONCE"), (past, "READ_AT_ONCE"), (usage, "PAUSE")):
            monkeypatch.setattr(module, name, 5)
        for word in (messages.Eff(ids=((many, many),)), messages.Eff(tasks=((many, 0, 49),)), messages.Eff()):
            parts = list(office.server.used_pages(word))
            assert parts.count(None) >= (10 if word.ids or word.tasks else 1)
            assert len(parts) - parts.count(None) == 1

    def test_the_sums_of_those_who_lie_have_no_end(self, office: Office) -> None:
        launcher = office.launcher()
        (many,) = submit(launcher, "many", array={"pieces": [[0, 19, 1]]})
        for task in range(20):
            lie = {"kind": "exited", "exit_status": 0, "cpu_s": 1e18, "wall_s": 1e18, "io_read_bytes": (1 << 60) - 1}
            end(launcher, many, task=task, run_s=1.0, outcome=lie)
        (row,) = asked(office.visitor(), type="eff", ids=[[many, many]])["jobs"]
        assert (row["tasks"], row["io_read_bytes"], row["cores_used"]) == (20, 20 * ((1 << 60) - 1), 1.0)


class TestListingsOfWhatIsOver:
    @pytest.mark.parametrize("finished", [False, True])
    def test_others_come_in_between(self, office: Office, monkeypatch: pytest.MonkeyPatch, finished: bool) -> None:
        launcher = office.launcher()
        (many,) = submit(launcher, "many", array={"pieces": [[0, 49, 1]]})
        for task in range(50):
            end(launcher, many, 1, task=task)
        monkeypatch.setattr(past, "READ_AT_ONCE", 5)
        monkeypatch.setattr(usage, "PAUSE", 1)
        for word in (messages.Ls(ids=((many, many),), finished=finished), messages.Ls(tasks=((many, 0, 49),))):
            parts = list(office.server.pages_of(word))
            assert parts.count(None) >= 10
            assert len(parts) - parts.count(None) == 1
        assert list(office.server.pages_of(messages.Ls(finished=True))).count(None) >= 1

    def test_what_moves_on_meanwhile_is_there_once(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        launcher = office.launcher()
        one, two = ran(launcher), ran(launcher)
        (many,) = submit(launcher, "many", array={"pieces": [[0, 19, 1]]})
        monkeypatch.setattr(past, "READ_AT_ONCE", 2)
        monkeypatch.setattr(usage, "PAUSE", 1)
        nended = 0
        found: list[Facts] = []
        word = messages.Ls(ids=((one, many),), tasks=((many, 0, 19),), finished=True)
        for page in office.server.pages_of(word):
            if page is None:
                end(launcher, many, task=nended)
                nended += 1
            else:
                found += json.loads(msgspec.json.encode(page))["ok"]["jobs"]
        assert nended > 3
        numbered = [(many, task) for task in range(20)]
        assert [(row["id"], row["task"]) for row in found] == [(one, None), (two, None), (many, None), *numbered]
        assert [row["state"] for row in found[3:7]] == ["done"] * 4


class TestForgetting:
    def tidy(self, office: Office) -> None:
        office.loop.run_until_complete(office.server.tidy())

    def test_is_done_in_parts_and_takes_the_events_along(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        launcher = office.launcher()
        for _ in range(5):
            ran(launcher)
        keep = Keep(count=2)
        monkeypatch.setattr(type(office.server.settings), "keep", keep)
        self.tidy(office)
        assert ids(asked(office.visitor(), type="hist")) == [5, 4]
        left = office.server.store.db.execute("SELECT DISTINCT job FROM events").fetchall()
        assert [number for (number,) in left] == [4, 5]

    def test_a_submission_may_be_repeated_for_a_week(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        launcher = office.launcher()
        number = ran(launcher)
        assert list(office.server.queue.tokens.values()) == [(number,)]
        self.tidy(office)
        assert list(office.server.queue.tokens.values()) == [(number,)]
        later_s = time.time() + KEEP_TOKENS_S + 10.0
        monkeypatch.setattr("wq.server.server.time.time", lambda: later_s)
        self.tidy(office)
        assert office.server.queue.tokens == {}
        assert ids(asked(office.visitor(), type="hist")) == [number]

    def test_what_is_on_disk_is_never_accepted_again(self, office: Office) -> None:
        launcher = office.launcher()
        one: Facts = {"type": "submit", "seq": 1, "token": "t", "jobs": [job()]}
        two: Facts = {**one, "token": "u", "jobs": [job(), job(array={"pieces": [[0, 1, 1]]})]}
        for word, numbers in ((one, [1]), (two, [2, 3])):
            assert launcher.ask(**word)["ok"]["ids"] == numbers
        launcher.say({"type": "remove", "seq": 2, "all": True})
        for number in (1, 2):
            end(launcher, number)
        office.server.queue.tokens.clear()  # as after a week
        for word, numbers in ((one, [1]), (two, [2, 3])):
            assert launcher.ask(**word)["ok"]["ids"] == numbers
        assert [[2, -1]] in [order.get("tasks") for order in launcher.orders]
        assert office.server.queue.next_id == 4
        fewer = {**two, "jobs": [job()], "accepted": []}
        assert "some of its jobs are forgotten" in launcher.ask(**fewer)["error"]
        assert launcher.ask(**{**one, "token": "new", "accepted": [1]})["ok"]["ids"] == [4]
        assert office.visitor(BINE, "launcher").ask(**one)["ok"]["ids"] == [5]


class TestWhatToKeep:
    @pytest.mark.parametrize(
        ("text", "keep"),
        [
            ("", Keep()),
            ("90d; 1000000", Keep()),
            ("12h", Keep(age_s=43200.0)),
            ("30m;0", Keep(age_s=1800.0, count=0)),
            (" 5 ", Keep(count=5)),
        ],
    )
    def test_is_an_age_and_a_number(self, text: str, keep: Keep) -> None:
        assert parse_keep(text) == keep

    @pytest.mark.parametrize("text", ["x", "-1", "1.5d", "5w", "1; 2", "1d; 2d", "0d", "99999999d", "9" * 13, "²d"])
    def test_all_else_is_said_to_be_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="keep: "):
            parse_keep(text)
