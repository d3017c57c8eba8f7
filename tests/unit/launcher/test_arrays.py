"""Arrays at the launcher: tasks are split off when they are granted, their intents are ranges on disk, and they go to
their nodes in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.core.worlds import grant
from tests.unit.launcher.desk import start, view
from tests.unit.launcher.house import House, Word, a_house, batch
from wq.core.job import AttemptNo, JobId, Uid
from wq.core.ranges import Ranges
from wq.core.requests import NO_TASK, Gone, Gones, Start, Starts, Stop
from wq.launcher import launcher as launcher_module
from wq.launcher.ledger import REBOOTED, Entry
from wq.launcher.outputs import NO_ROOM_AGAIN_S
from wq.launcher.task import ArrayTasks, Setting

BATCH = ["batch"]  # what the shepherd knows


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with a_house(monkeypatch) as house:
        yield house


def an_array(house: House, ntasks: int = 10, **more: Any) -> None:
    """Array 1 is accepted; its launcher is connected to nobody else."""
    house.server_up()
    house.submits(batch(array=ArrayTasks(tasks=((0, ntasks - 1, 1),)), **more))
    house.accept()
    house.forget_what_was_said()


def first(task: int, cores: str = "a:0", attempt: int = 1, number: int = 1) -> Start:
    """The order to start a task on cores of its own."""
    return replace(start(number, cores, attempt), task=task)


def fed(*tasks: int, lane: str = "1_0.1", cores: str = "a:0", attempt: int = 1, number: int = 1) -> Starts:
    """The order to start tasks after those that are in the lane."""
    return Starts(
        uid=Uid(1000),
        lane=lane,
        allocation=grant(cores),
        declared=(8,),
        patience_s=0.3,
        tasks=tuple((number, task, attempt) for task in tasks),
    )


def go(house: House, host: str = "a", *views: Word, features: list[str] = BATCH, **more: Any) -> None:
    house.node_up(host, *views, features=features, **more)


def running(house: House, ntasks: int = 10) -> None:
    """Task 0 runs on a, and 1 to 3 wait behind it."""
    an_array(house, ntasks)
    house.order(first(0))
    go(house)
    house.order(fed(1, 2, 3))
    house.word("a", {"say": "tasks", "started": [["1_0.1", 7, []]], "ended": [], "never": [], "shared": {}})
    house.forget_what_was_said()


def ended(*atts: str, chs: list[int] | None = None) -> Word:
    rows = [[att, {"exit": 0}, chs or [], 0.01] for att in atts]
    apart = dict.fromkeys(atts, False) if chs else {}
    return {"say": "tasks", "started": [], "ended": rows, "never": [], "shared": apart}


def given_back(*atts: str, why: str = "") -> Word:
    return {"say": "tasks", "started": [], "ended": [], "never": [[att, why] for att in atts], "shared": {}}


def gone(*tasks: int) -> Gones:
    """Tasks of array 1 are on the server's disk; NO_TASK: the array."""
    return Gones(uid=Uid(1000), tasks=tuple((1, task) for task in tasks))


def task(house: House, number: int) -> Entry | None:
    return house.launcher.ledger.by_id.get((JobId(1), number))


def at_once(house: House, *orders: object) -> None:
    """Orders that come in one turn of the loop."""

    def come() -> None:
        for order in orders:
            house.launcher.ordered(order)

    house.inside(come)


def over(house: House) -> Ranges:
    """The tasks of array 1 that never start again."""
    return house.launcher.ledger.by_id[JobId(1)].over_tasks


def tasks(house: House) -> list[int]:
    """The numbers of those that are in the ledger."""
    return sorted(e.number for e in house.launcher.ledger.entries.values() if e.number is not None)


def words(house: House, do: str) -> list[Word]:
    return [word for _, word in house.wires.to_nodes if word["do"] == do]


def batches(house: House) -> list[list[str]]:
    """The attempts of each batch that was sent."""
    return [[one["att"] for one in word["tasks"]] for word in words(house, "batch")]


def started_again(house: House) -> None:
    """kill -9 when all that can wait a little has been stored; the next launcher is connected to the server."""
    house.turn(launcher_module.LATER_S)
    house.killed_and_started_again()
    house.server_up()


def chunks(house: House) -> list[tuple[int, int, int]]:
    """(first, last, attempt) of the intents on disk."""
    assert house.launcher.book is not None
    rows = house.launcher.book.db.execute("SELECT first, last, attempt FROM chunks ORDER BY serial")
    return [tuple(row) for row in rows]


class TestSplittingOff:
    def test_an_array_is_one_entry_until_its_tasks_are_granted(self, house: House) -> None:
        an_array(house, 1_000_000)
        assert tasks(house) == []
        house.order(first(7))
        assert tasks(house) == [7]
        assert house.opened == ["a"]

    def test_a_task_that_there_is_not_is_lost(self, house: House) -> None:
        an_array(house, 10)
        house.order(first(10))
        assert (tasks(house), house.reports) == ([], ["tell ended 1.1 lost"])

    def test_so_is_an_array_that_is_ordered_as_if_it_were_a_job(self, house: House) -> None:
        an_array(house)
        house.start(1, "a:0")
        assert (house.opened, house.reports) == ([], ["tell ended 1.1 lost"])

    def test_its_tasks_have_outputs_and_names_of_their_own(self, house: House) -> None:
        an_array(house)
        house.order(first(4))
        go(house)
        (word,) = words(house, "batch")
        (one,) = word["tasks"]
        assert (one["att"], one["out"]) == ("1_4.1", f"{house.place}/out-1_4.wqlog")
        assert (one["set"]["WQ_TASK_ID"], one["set"]["WQ_JOB_ID"]) == ("4", "1")

    def test_before_its_id_is_known_nothing_is_started_and_nothing_is_lost(self, house: House) -> None:
        house.server_up()
        house.submits(batch(array=ArrayTasks(tasks=((0, 9, 1),))))
        house.forget_what_was_said()
        house.order(first(0))
        house.order(fed(1, 2))
        assert (house.opened, house.reports) == ([], [])
        house.accept()
        house.order(first(0))
        assert house.opened == ["a"]


class TestBatches:
    def test_those_of_one_lane_go_together_and_the_template_once(self, house: House) -> None:
        running(house)
        house.order(fed(4, 5))
        assert batches(house) == [["1_4.1", "1_5.1"]]
        assert words(house, "template") == []

    def test_a_new_link_brings_its_templates_again(self, house: House) -> None:
        running(house)
        house.node_down("a")
        go(house, "a", view("1_0.1", "running"))
        house.order(fed(4))
        assert [word["name"] for word in words(house, "template")] == ["t0"]

    def test_one_probe_for_each_batch(self, house: House) -> None:
        running(house)
        house.order(fed(4, 5))
        (word,) = words(house, "batch")
        path, token = word["probe"]
        assert path == f"{house.place}/out-1_4.wqlog"
        assert (house.place / "out-1_4.wqlog").read_text() == token
        assert not (house.place / "out-1_5.wqlog").exists()

    def test_the_first_of_a_lane_waits_for_ever_and_those_behind_it_do_not(self, house: House) -> None:
        an_array(house)
        house.order(first(0))
        go(house)
        house.forget_what_was_said()
        at_once(house, first(1, "a:1"), fed(2, 3, lane="1_1.1", cores="a:1"))
        assert batches(house) == [["1_1.1"], ["1_2.1", "1_3.1"]]
        alone, behind = words(house, "batch")
        assert (alone["patience_s"], behind["patience_s"]) == (None, 0.3)
        assert alone["lane"] == behind["lane"]

    def test_lanes_are_kept_apart(self, house: House) -> None:
        running(house)
        at_once(house, first(4, "a:1"), fed(5, 6), fed(7, lane="1_4.1", cores="a:1"))
        assert batches(house) == [["1_4.1"], ["1_5.1", "1_6.1"], ["1_7.1"]]
        assert len({word["lane"] for word in words(house, "batch")}) == 2

    def test_jobs_of_one_setting_have_one_template_and_arrays_another(self, house: House) -> None:
        house.server_up()
        for _ in range(2):
            house.submits(batch())
            house.accept()
        house.submits(batch(array=ArrayTasks(tasks=((0, 9, 1),))))
        house.submits(batch(), setting=Setting(cwd="/elsewhere", umask=0o022, env={}))
        house.accept()
        house.accept()
        house.start(1, "a:0")
        go(house)
        house.start(2, "a:1")
        house.order(first(0, "a:2", number=3))
        house.start(4, "a:3")
        assert [word["name"] for word in words(house, "template")] == ["t0", "t1", "t2"]
        assert [word["template"] for word in words(house, "batch")] == ["t0", "t0", "t1", "t2"]
        assert "script" in words(house, "template")[1]["spec"]
        assert "script" not in words(house, "template")[0]["spec"]

    def test_without_room_for_its_output_a_whole_batch_is_taken_back(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running(house)
        with house.full_disk(monkeypatch, "ftruncate"):
            house.order(fed(4, 5))
        told = house.reports
        assert [word.split(":")[0] for word in told] == ["tell taken back 1.1 because of a"] * 2
        assert batches(house) == []

    def test_an_output_that_cannot_be_made_is_the_end_of_its_task_alone(self, house: House) -> None:
        running(house)
        (house.place / "out-1_4.wqlog").symlink_to("/dev/null")
        house.order(fed(4, 5))
        assert batches(house) == [["1_5.1"]]
        house.turn(3.0)
        assert house.reports == ["tell ended 1.1 failed"]


class TestEnds:
    def test_pass_through_and_the_node_may_forget_them_when_the_server_knows(self, house: House) -> None:
        running(house)
        house.word("a", ended("1_0.1", "1_1.1"))
        assert (house.reports, words(house, "acks")) == (["tell ended 1.1 exited 0"] * 2, [])
        house.order(gone(0, 1))
        assert [word["atts"] for word in words(house, "acks")] == [["1_0.1", "1_1.1"]]
        assert tasks(house) == [2, 3]

    def test_nothing_is_stored_of_them_but_that_they_are_over(self, house: House) -> None:
        running(house)
        house.word("a", ended("1_0.1", "1_1.1"))
        house.order(gone(0, 1))
        house.turn(launcher_module.LATER_S)
        assert house.launcher.book is not None
        assert house.launcher.book.db.execute("SELECT count(*) FROM tasks").fetchone() == (0,)
        assert over(house) == ((0, 1),)

    def test_a_replayed_grant_of_one_that_is_over_starts_nothing(self, house: House) -> None:
        running(house)
        house.word("a", ended("1_0.1"))
        house.order(gone(0))
        house.forget_what_was_said()
        for attempt in (1, 2, 3):
            house.order(first(0, attempt=attempt))
            house.order(fed(0, attempt=attempt))
        assert batches(house) == []
        started_again(house)
        go(house)
        house.order(first(0))
        assert batches(house) == []

    def test_one_that_the_server_has_not_heard_of_is_told_again_by_the_next_launcher(self, house: House) -> None:
        running(house)
        house.server_down()
        house.word("a", ended("1_0.1"))
        started_again(house)
        assert house.reports == ["here 1 1.0-3", "tell ended 1.1 exited 0"]

    def test_nor_if_the_launcher_was_killed_at_once(self, house: House) -> None:
        running(house)
        house.word("a", ended("1_0.1"))
        started_again(house)
        assert house.reports == ["here 1 1.0-3"]
        go(house, "a", view("1_0.1", "ended", run_s=0.01), *[view(f"1_{n}.1", "intent") for n in (1, 2, 3)])
        assert house.reports == ["tell ended 1.1 exited 0"]
        house.order(gone(0))
        assert [word["atts"] for word in words(house, "acks")] == [["1_0.1"]]

    def test_one_whose_output_is_on_its_way_is_not_over_for_the_next_launcher(self, house: House) -> None:
        running(house)
        house.word("a", ended("1_0.1", chs=[1]))
        house.turn(3.0)
        assert house.reports == ["tell ended 1.1 exited 0"]
        house.order(gone(0))
        assert words(house, "acks") == []
        started_again(house)
        go(house, "a", view("1_0.1", "ended", shared=False, chs=[1]))
        house.order(gone(0))
        assert words(house, "ack") == []
        house.word("a", ("1_0.1", 1, 0, b"hi"))
        house.word("a", {"say": "eof", "att": "1_0.1", "ch": 1, "off": 2})
        assert [word["atts"] for word in words(house, "acks")] == [["1_0.1"]]
        assert (house.place / "out-1_0.wqlog").read_text() == "hi"

    def test_the_array_is_forgotten_with_its_last_task(self, house: House) -> None:
        running(house, 4)
        atts = [f"1_{number}.1" for number in range(4)]
        house.word("a", ended(*atts))
        house.order(gone(0, 1, 2, 3, NO_TASK))
        assert house.launcher.ledger.entries == {}
        house.turn(launcher_module.LATER_S)
        assert chunks(house) == []

    def test_and_not_before_it(self, house: House) -> None:
        running(house, 4)
        house.word("a", ended("1_1.1", "1_2.1", "1_3.1"))
        house.word("a", ended("1_0.1", chs=[1]))
        house.turn(3.0)
        house.order(gone(0, 1, 2, 3, NO_TASK))
        assert tasks(house) == [0]
        started_again(house)
        assert house.reports == ["here 1 1.0-0"]
        house.order(gone(0, NO_TASK))
        go(house, "a", view("1_0.1", "ended", shared=False, chs=[1]))
        house.word("a", {"say": "eof", "att": "1_0.1", "ch": 1, "off": 0})
        assert house.launcher.ledger.entries == {}

    def test_one_that_was_declared_lost_is_ended_where_it_still_runs(self, house: House) -> None:
        running(house)
        house.order(gone(0))
        assert house.sent == ["a: stop 1_0.1"]
        house.word("a", ended("1_0.1"))
        house.order(gone(0))
        assert words(house, "acks") == [{"do": "acks", "atts": ["1_0.1"]}]
        assert (tasks(house), over(house)) == ([1, 2, 3], ((0, 0),))

    def test_one_that_was_declared_lost_before_it_was_sent_never_starts(self, house: House) -> None:
        an_array(house)
        house.order(first(0))
        house.order(gone(0))
        go(house)
        house.order(first(0))
        assert batches(house) == []

    def test_one_that_could_not_be_started_has_the_reason_in_its_output(self, house: House) -> None:
        running(house)
        house.word("a", {**ended("1_0.1"), "ended": [["1_0.1", {"error": "no such directory"}, [], 0.0]]})
        assert (house.place / "out-1_0.wqlog").read_text() == "wq: no such directory\n"
        assert house.reports == ["tell ended 1.1 failed"]


class TestGivingBack:
    def test_what_waited_too_long_is_told_to_the_server(self, house: House) -> None:
        running(house)
        house.word("a", given_back("1_2.1", "1_3.1"))
        assert house.reports == ["tell taken back 1.1"] * 2
        assert house.sent == ["a: ack 1_2.1", "a: ack 1_3.1"]

    def test_an_order_of_it_that_was_on_its_way_starts_nothing(self, house: House) -> None:
        running(house)
        house.word("a", given_back("1_2.1"))
        house.forget_what_was_said()
        house.order(fed(2))
        house.order(first(2))
        assert (batches(house), house.reports) == ([], ["tell taken back 1.1"] * 2)

    def test_its_next_attempt_writes_to_the_same_file(self, house: House) -> None:
        running(house)
        house.word("a", given_back("1_2.1"))
        house.order(first(2, "a:1", attempt=2))
        (word,) = words(house, "batch")
        assert (word["tasks"][0]["att"], word["tasks"][0]["out"]) == ("1_2.2", f"{house.place}/out-1_2.wqlog")

    def test_the_server_is_told_again_if_it_was_away(self, house: House) -> None:
        running(house)
        house.server_down()
        house.word("a", given_back("1_2.1"))
        house.server_up()
        assert house.reports == ["here 1 1.0-3", "tell started 1.1", "tell taken back 1.1"]

    def test_one_that_is_removed_meanwhile_is_forgotten(self, house: House) -> None:
        running(house)
        house.word("a", given_back("1_2.1"))
        house.order(Gone(uid=Uid(1000), id=JobId(1), task=2, outcome=None))
        assert tasks(house) == [0, 1, 3]
        assert over(house) == ((2, 2),)

    def test_a_removed_one_that_waits_is_ended_by_its_node(self, house: House) -> None:
        running(house)
        house.order(Stop(uid=Uid(1000), id=JobId(1), task=2, attempt=AttemptNo(1), grace_s=1.0, by="anze"))
        assert house.sent == ["a: stop 1_2.1"]


class TestOnDisk:
    def test_what_was_granted_together_is_one_row(self, house: House) -> None:
        an_array(house, 1000)
        house.order(first(0))
        go(house)
        house.order(fed(*range(1, 500)))
        assert chunks(house) == [(0, 0, 1), (1, 499, 1)]

    def test_and_is_asked_about_after_a_restart(self, house: House) -> None:
        running(house)
        started_again(house)
        assert house.reports == ["here 1 1.0-3"]
        assert house.opened == ["a"]
        go(house, "a", view("1_0.1", "running"))
        assert house.sent == ["a: resume 1_0.1"] + [f"a: query 1_{n}.1" for n in (1, 2, 3)]
        for number in (1, 2, 3):
            house.word("a", {"say": "state", **view(f"1_{number}.1", "never")})
        assert house.reports == ["tell started 1.1", *["tell taken back 1.1"] * 3]

    def test_nothing_starts_again_by_that(self, house: House) -> None:
        running(house)
        started_again(house)
        go(house, "a", view("1_0.1", "running"), *[view(f"1_{n}.1", "intent") for n in (1, 2, 3)])
        house.order(fed(1, 2, 3))
        house.order(first(0))
        assert batches(house) == []

    def test_in_the_middle_of_an_array(self, house: House) -> None:
        running(house)
        house.word("a", ended("1_0.1", "1_1.1"))
        house.order(gone(0, 1))
        started_again(house)
        assert house.reports == ["here 1 1.2-3"]
        assert over(house) == ((0, 1),)
        house.order(fed(2, 3, 4, lane="1_2.1"))
        go(house, "a", view("1_2.1", "running"), view("1_3.1", "intent"))
        assert batches(house) == [["1_4.1"]]

    def test_a_reboot_is_seen_by_the_next_launcher(self, house: House) -> None:
        running(house)
        started_again(house)
        go(house, boot="boot 2")
        for number in range(4):
            house.word("a", {"say": "state", **view(f"1_{number}.1", "never")})
        assert house.reports[1:] == ["tell ended 1.1 lost"] * 4
        house.order(first(1, "a:1", attempt=2))
        assert words(house, "batch")[-1]["tasks"][0]["out"] == f"{house.place}/out-1_1.2.wqlog"

    def test_an_attempt_of_one_that_came_back_leaves_the_others_of_its_chunk(self, house: House) -> None:
        running(house)
        house.word("a", given_back("1_1.1"))
        house.order(first(1, "a:1", attempt=2))
        house.word("a", ended("1_1.2"))
        house.order(gone(1))
        started_again(house)
        assert house.reports == ["here 1 1.0-0 1.2-3"]
        assert [task(house, n).att for n in (0, 2, 3)] == ["1_0.1", "1_2.1", "1_3.1"]  # type: ignore[union-attr]

    def test_the_newest_attempt_counts(self, house: House) -> None:
        running(house)
        house.word("a", given_back("1_1.1", "1_2.1"))
        house.order(first(1, "b:0", attempt=2))
        started_again(house)
        assert [task(house, n).att for n in range(4)] == ["1_0.1", "1_1.2", "1_2.1", "1_3.1"]  # type: ignore[union-attr]
        assert sorted(house.opened) == ["a", "b"]

    def test_two_arrays_and_their_jobs(self, house: House) -> None:
        running(house)
        house.submits(batch(array=ArrayTasks(tasks=((5, 9, 2),))))
        house.accept()
        house.order(first(5, "a:1", number=2))
        house.order(fed(7, 9, lane="2_5.1", cores="a:1", number=2))
        started_again(house)
        assert house.reports == ["here 1,2 1.0-3 2.5-5 2.7-7 2.9-9"]
        assert chunks(house) == [(0, 0, 1), (1, 3, 1), (5, 5, 1), (7, 7, 1), (9, 9, 1)]

    def test_nothing_is_sent_before_its_intent_has_room(self, house: House) -> None:
        running(house)
        with house.full_ledger():
            house.order(fed(4, 5))
            assert batches(house) == []
        house.turn(NO_ROOM_AGAIN_S)
        assert batches(house) == [["1_4.1", "1_5.1"]]

    def test_a_node_is_asked_again_where_the_last_acknowledgement_may_be_lost(self, house: House) -> None:
        running(house, 4)
        house.word("a", ended(*[f"1_{number}.1" for number in range(4)]))
        house.order(gone(0, 1, 2, 3, NO_TASK))
        started_again(house)
        assert house.opened == ["a"]
        go(house, "a", view("1_3.1", "ended"))
        assert house.sent == ["a: resume 1_3.1", "a: ack 1_3.1"]
        house.node_down("a")
        go(house)
        house.node_down("a")
        assert house.opened == ["a", "a"]
        house.submits(batch())
        house.accept()
        house.killed_and_started_again()
        house.server_up()
        assert house.opened == []


class TestAnOldShepherd:
    """It knows no batches: each start is a word of its own, and there are no lanes."""

    def test_gets_starts_one_by_one(self, house: House) -> None:
        an_array(house)
        house.order(first(0))
        go(house, features=[])
        assert house.sent == ["a: start 1_0.1"]

    def test_nothing_is_fed_to_it(self, house: House) -> None:
        an_array(house)
        house.order(first(0))
        go(house, features=[])
        house.forget_what_was_said()
        house.order(fed(1, 2))
        assert (house.sent, house.reports) == ([], ["tell taken back 1.1"] * 2)

    def test_nor_when_that_is_learnt_later(self, house: House) -> None:
        an_array(house)
        house.order(first(0))
        house.order(fed(1, 2))
        go(house, features=[])
        assert house.sent == ["a: start 1_0.1"]
        assert house.reports == ["tell taken back 1.1"] * 2

    def test_is_acknowledged_one_by_one(self, house: House) -> None:
        an_array(house)
        for number in (0, 1):
            house.order(first(number, f"a:{number}"))
        go(house, features=[])
        house.forget_what_was_said()
        for number in (0, 1):
            house.word("a", {"say": "ended", "att": f"1_{number}.1", "state": "ended", "end": {"exit": 0}, "chs": []})
        assert house.sent == []
        house.order(gone(0, 1))
        assert house.sent == ["a: ack 1_0.1", "a: ack 1_1.1"]


class TestASubmissionThatIsSentAgain:
    def test_is_answered_with_the_array_and_not_with_its_tasks(self, house: House) -> None:
        token, array = "0123456789abcdef", batch(array=ArrayTasks(tasks=((0, 9, 1),)))
        house.server_up()
        house.submits(array, token=token)
        house.accept()
        house.order(first(3))
        client = house.submits(array, token=token)
        (job,) = client.heard[0]["ok"]["jobs"]
        assert job == {
            "id": 1,
            "name": "fit",
            "output": f"{house.place}/out-1_%task%.wqlog",
            "error": None,
            "tasks": 10,
        }

    def test_gets_the_orders_for_its_tasks_after_the_answer(self, house: House) -> None:
        house.server_up()
        house.submits(batch(array=ArrayTasks(tasks=((0, 9, 1),))), token="0123456789abcdef")
        house.killed_and_started_again()
        house.server_up()
        house.order(first(3))
        assert house.opened == []
        house.accept()
        house.order(first(3))
        assert house.opened == ["a"]


class TestJobsInLanes:
    """Separate batch jobs that are fed ahead are kept as tasks of arrays are."""

    def jobs(self, house: House, njobs: int = 6) -> None:
        house.server_up()
        house.submits(*[batch() for _ in range(njobs)])
        house.accept()
        house.order(start(1, "a:0"))
        go(house)
        house.order(self.fed(2, 3, 4))
        house.forget_what_was_said()

    def fed(self, *numbers: int, attempt: int = 1) -> Starts:
        return replace(fed(), lane="1.1", tasks=tuple((number, NO_TASK, attempt) for number in numbers))

    def gone(self, *numbers: int) -> Gones:
        return Gones(uid=Uid(1000), tasks=tuple((number, NO_TASK) for number in numbers))

    def phases(self, house: House) -> dict[int, str]:
        return {number: entry.phase.value for number, entry in house.entries.items()}

    def test_their_intents_are_one_row(self, house: House) -> None:
        self.jobs(house)
        assert chunks(house) == [(0, 0, 1), (1, 3, 1)]
        started_again(house)
        now = self.phases(house)
        assert now == dict.fromkeys((1, 2, 3, 4), "intended") | dict.fromkeys((5, 6), "waiting")
        assert house.opened[-1] == "a"

    def test_their_ends_pass_through_and_the_node_keeps_them_until_the_server_has_them(self, house: House) -> None:
        self.jobs(house)
        house.word("a", ended("1.1", "2.1"))
        assert house.reports == ["tell ended 1.1 exited 0", "tell ended 2.1 exited 0"]
        assert words(house, "acks") == []
        house.order(self.gone(1, 2))
        assert [word["atts"] for word in words(house, "acks")] == [["1.1", "2.1"]]
        started_again(house)
        assert sorted(house.entries) == [3, 4, 5, 6]
        assert chunks(house) == [(1, 3, 1)]

    def test_a_later_attempt_counts(self, house: House) -> None:
        self.jobs(house)
        house.word("a", given_back("3.1"))
        house.order(self.fed(3, attempt=2))
        started_again(house)
        assert [house.entries[number].att for number in (1, 2, 3, 4)] == ["1.1", "2.1", "3.2", "4.1"]

    def test_one_that_an_earlier_launcher_took_in_is_started_too(self, house: House) -> None:
        self.jobs(house)
        house.killed_and_started_again()
        house.server_up()
        go(house)
        house.forget_what_was_said()
        house.order(self.fed(5, 6))
        assert batches(house)[-1] == ["5.1", "6.1"]

    def test_jobs_of_one_submission_that_want_other_environments_are_other_batches(self, house: House) -> None:
        house.server_up()
        house.submits(*[batch(env_mode="clean" if number == 3 else "submit") for number in range(1, 6)])
        house.accept()
        house.order(start(1, "a:0"))
        go(house)
        house.order(self.fed(2, 3, 4, 5))
        sent = words(house, "batch")
        assert [[task["att"] for task in word["tasks"]] for word in sent] == [["1.1"], ["2.1"], ["3.1"], ["4.1", "5.1"]]
        assert sent[1]["template"] == sent[3]["template"] != sent[2]["template"]

    def test_one_with_a_past_is_stored_by_itself(self, house: House) -> None:
        self.jobs(house)
        house.word("a", {"say": "tasks", "started": [], "ended": [["1.1", dict(REBOOTED), [], 0.1]], "never": []})
        house.order(start(1, "b:0", attempt=2))
        started_again(house)
        assert (house.entries[1].att, house.entries[1].ran_before) == ("1.2", True)
