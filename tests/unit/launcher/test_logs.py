"""Where the outputs of jobs are, as their user's launcher knows: before, during and long after they run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.launcher.desk import start
from tests.unit.launcher.house import House, QuietClient, a_house, batch
from tests.unit.launcher.test_arrays import ended, first, go, gone, running
from wq.core.job import AttemptNo, HostName, JobId
from wq.core.requests import NO_TASK
from wq.formats.outputs import NOWHERE
from wq.launcher import book as book_module
from wq.launcher.clients import OutputAsked
from wq.launcher.startspec import files_of
from wq.protocol.wire import encode


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with a_house(monkeypatch) as house:
        yield house


def ask(house: House, number: int | None = 1, client: QuietClient | None = None, **more: Any) -> dict[str, Any]:
    """The answer: facts, or a refusal."""
    client = client or house.client()
    house.inside(lambda: house.launcher.output_asked(client, OutputAsked(id=number, **more)))
    answer = client.heard[-1]
    facts = answer.get("ok", answer)
    assert isinstance(facts, dict)
    return facts


def over(house: House, **more: Any) -> None:
    """Job 1 has ended, and the server knows."""
    house.says_ended(**more)
    house.gone(1)
    house.word("a", {"say": "acked", "att": "1.1"})


class TestOneJob:
    def test_from_before_it_starts_until_it_is_forgotten(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        path = str(house.place / "out-1.wqlog")
        facts = ask(house)
        assert (facts["state"], facts["attempt"], facts["output"], facts["error"]) == ("waiting", None, path, None)
        house.start(1, "a:0")
        house.node_up("a")
        assert ask(house)["state"] == "starting"
        house.says_started()
        assert (ask(house)["state"], ask(house)["attempt"]) == ("running", 1)
        over(house)
        assert house.entries == {}
        facts = ask(house)
        assert (facts["state"], facts["complete"], facts["output"]) == ("ended", True, path)
        assert facts["outcome"]["exit_status"] == 0

    def test_is_the_last_one_whether_it_is_over_or_not(self, house: House) -> None:
        house.server_up()
        assert ask(house, None)["code"] == "none"
        house.job()
        assert ask(house, None)["id"] == 1
        over(house)
        assert ask(house, None)["id"] == 1
        house.turn(1.0)
        assert house.launcher.ledger.outputs_over == {}  # it is on disk
        assert ask(house, None)["id"] == 1

    def test_is_found_by_the_next_launcher(self, house: House) -> None:
        house.job()
        over(house)
        house.turn(1.0)
        house.killed_and_started_again()
        house.server_up()
        assert ask(house)["state"] == "ended"

    def test_one_that_an_earlier_launcher_has_sent_may_run(self, house: House) -> None:
        house.job()
        house.killed_and_started_again()
        house.server_up()
        assert ask(house)["state"] == "running"

    def test_ended_and_a_part_of_its_output_still_on_the_node(self, house: House) -> None:
        house.job()
        house.says_started()
        house.says_ended(chs=[1])
        assert [ask(house)[name] for name in ("state", "complete", "host")] == ["ended", False, "a"]

    def test_that_was_declared_lost_may_still_run(self, house: House) -> None:
        house.job()
        house.says_started()
        house.gone(1)
        assert (ask(house)["state"], ask(house)["host"]) == ("lost", "a")

    @pytest.mark.parametrize("more", [{"number": 7}, {"task": 3}, {"attempt": 2}], ids=str)
    def test_what_there_is_not_is_refused_in_a_sentence(self, house: House, more: dict[str, Any]) -> None:
        house.job()
        assert set(ask(house, **more)) == {"error", "status", "code"}

    def test_a_foreground_job_has_none(self, house: House) -> None:
        house.job(foreground=True)
        assert ask(house)["code"] == "foreground"

    def test_of_one_that_was_removed_before_it_ran_nothing_is_remembered(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        house.gone(1)
        house.turn(1.0)
        assert ask(house)["code"] == "unknown"

    def test_a_launcher_without_a_ledger_asks_the_server_which_one_it_is(self, house: House) -> None:
        client = house.client()
        house.inside(lambda: house.launcher.output_asked(client, OutputAsked(id=1)))
        house.turn(10.0)
        assert client.heard == [{"error": "the server is away", "status": 75}]

    @pytest.mark.parametrize("asked", [{"id": 1 << 63}, {"id": 0}, {"id": "x"}, {"task": -1}, {"attempt": 0}], ids=str)
    def test_what_makes_no_sense_ends_that_connection_alone(self, house: House, asked: dict[str, Any]) -> None:
        house.job()
        client = house.client()
        client.known = True
        house.inside(lambda: client.data_received(encode({"type": "output", **asked})))
        assert str(client.heard[-1]["error"]).startswith("not understood")


class TestAttempts:
    def rebooted(self, house: House) -> None:
        """Attempt 1 ran on a, which was rebooted; attempt 2 runs on b."""
        house.server_up()
        house.submits(batch(output=str(house.place / "x-\2.log")))
        house.accept()
        house.start(1, "a:0")
        house.node_up("a")
        house.says_started()
        house.node_down("a")
        house.node_up(
            "a", {"att": "1.1", "state": "ended", "end": {"lost": "x", "rebooted": True}, "chs": []}, boot="2"
        )
        assert (ask(house)["state"], ask(house)["attempt"]) == ("waiting", 1)
        house.start(1, "b:0", attempt=2)
        house.node_up("b")
        house.says_started(attempt=2, host="b")

    def test_each_has_its_own_file_which_is_found_by_its_number(self, house: House) -> None:
        self.rebooted(house)
        files = [str(house.place / name) for name in ("x-a.log", "x-b.log.2")]
        assert (ask(house)["attempts"], ask(house)["output"]) == ([1, 2], files[1])
        assert (ask(house, attempt=1)["state"], ask(house, attempt=1)["output"]) == ("ended", files[0])
        house.says_ended(host="b", att="1.2")
        house.gone(1)
        house.word("b", {"say": "acked", "att": "1.2"})
        house.turn(1.0)
        assert house.entries == {}
        assert [ask(house, attempt=number)["output"] for number in (1, 2)] == files

    def test_they_are_known_after_a_restart(self, house: House) -> None:
        self.rebooted(house)
        house.killed_and_started_again()
        house.server_up()
        assert ask(house)["attempts"] == [1, 2]

    def test_one_that_was_taken_back_has_no_file(self, house: House) -> None:
        house.job()
        house.word("a", {"say": "state", "att": "1.1", "state": "never", "why": "no room"})
        assert (ask(house)["state"], ask(house)["attempts"]) == ("waiting", [])
        house.start(1, "a:0", attempt=2)
        house.says_started(attempt=2)
        facts = ask(house)
        assert (facts["attempts"], facts["output"]) == ([2], str(house.place / "out-1.wqlog"))


class TestArrays:
    def test_the_array_tells_which_of_its_tasks_have_had_an_attempt(self, house: House) -> None:
        running(house)
        facts = ask(house)
        assert (facts["tasks"], facts["all"]) == (((0, 3),), ((0, 9, 1),))
        assert [ask(house, task=number)["state"] for number in (0, 1, 9)] == ["running", "starting", "waiting"]
        house.word("a", ended("1_0.1"))
        house.order(gone(0))
        facts = ask(house, task=0)
        assert (facts["state"], facts["attempt"], facts["output"]) == ("ended", 1, str(house.place / "out-1_0.wqlog"))

    def test_its_last_task_and_itself_over_in_one_word(self, house: House) -> None:
        running(house, ntasks=4)
        house.word("a", ended("1_0.1", "1_1.1", "1_2.1", "1_3.1"))
        house.order(gone(0, 1, 2, 3, NO_TASK))
        assert house.launcher.ledger.entries == {}
        house.turn(1.0)
        assert (ask(house)["tasks"], ask(house)["all"]) == (((0, 3),), ())
        assert ask(house, task=3)["state"] == "ended"
        assert ask(house, task=4)["code"] == "never_ran"

    def test_a_later_attempt_of_a_task_is_remembered(self, house: House) -> None:
        running(house, ntasks=4)
        house.word("a", {"say": "tasks", "started": [], "ended": [], "never": [["1_1.1", ""]], "shared": {}})
        house.order(replace(first(1), attempt=AttemptNo(2)))
        house.word("a", ended("1_0.1", "1_1.2", "1_2.1", "1_3.1"))
        house.order(gone(0, 1, 2, 3, NO_TASK))
        house.turn(1.0)
        house.killed_and_started_again()
        house.server_up()
        assert [ask(house, task=number)["attempt"] for number in (0, 1, 2)] == [1, 2, 1]


class TestFollowers:
    def test_hear_of_each_change_once(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        client = house.client()
        ask(house, client=client, follow=True)
        client.heard = []
        house.start(1, "a:0")
        house.node_up("a")
        house.says_started()
        house.says_ended(chs=[1])
        house.word("a", ("1.1", 1, 0, b"hello"))
        house.word("a", {"say": "eof", "att": "1.1", "ch": 1, "off": 5})
        house.gone(1)
        house.turn(1.0)
        told = [(word["output"]["state"], word["output"]["complete"]) for word in client.heard]
        assert told == [("starting", False), ("running", False), ("ended", False), ("ended", True)]

    def test_of_one_that_is_removed_before_it_runs(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        client = house.client()
        ask(house, client=client, follow=True)
        house.gone(1)
        told = client.heard[-1]["output"]
        assert (told["state"], told["complete"], told["attempt"]) == ("lost", True, None)

    def test_who_has_gone_is_told_nothing(self, house: House) -> None:
        house.job()
        client = house.client()
        ask(house, client=client, follow=True)
        house.leaves(client)
        assert house.launcher.logs.followers == {}


class TestFiles:
    def test_errors_of_a_far_node_come_home_to_their_own_file(self, house: House) -> None:
        house.server_up()
        house.submits(batch(output=str(house.place / "o"), error=str(house.place / "e")))
        house.accept()
        house.start(1, "a:0")
        house.node_up("a", features=["errors"])
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"out"))
        house.word("a", ("1.1", 2, 0, b"errors"))
        house.says_ended(chs=[1, 2])
        house.word("a", {"say": "eof", "att": "1.1", "ch": 1, "off": 3})
        assert not ask(house)["complete"]
        house.word("a", {"say": "eof", "att": "1.1", "ch": 2, "off": 6})
        assert ask(house)["complete"]
        assert [(house.place / name).read_bytes() for name in "oe"] == [b"out", b"errors"]

    def test_a_shepherd_that_cannot_part_them_is_told_of_in_the_file_of_errors(self, house: House) -> None:
        house.server_up()
        house.submits(batch(output=str(house.place / "o"), error=str(house.place / "e")))
        house.accept()
        house.start(1, "a:0")
        house.node_up("a")
        assert "errors are in the output" in (house.place / "e").read_text()

    def test_what_nobody_wants_is_let_go(self, house: House) -> None:
        house.server_up()
        house.submits(batch(output=NOWHERE))
        house.accept()
        house.start(1, "a:0")
        house.node_up("a")
        assert files_of(house.entry()) == []
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"out"))
        house.says_ended(chs=[1])
        house.word("a", {"say": "eof", "att": "1.1", "ch": 1, "off": 3})
        assert "a: ack 1.1" not in house.sent
        house.gone(1)
        assert house.sent == ["a: ack 1.1"]
        assert ask(house)["discarded"] == ["output"]

    @pytest.mark.parametrize(("exit_status", "stays"), [(0, False), (1, True)])
    def test_those_of_a_success_go_when_the_server_has_its_end(
        self, house: House, exit_status: int, stays: bool
    ) -> None:
        house.server_up()
        house.submits(batch(keep_output="failed"))
        house.accept()
        house.start(1, "a:0")
        house.node_up("a")
        path = house.place / "out-1.wqlog"
        house.says_ended(end={"exit": exit_status})
        assert path.exists()
        house.gone(1)
        house.word("a", {"say": "acked", "att": "1.1"})
        assert path.exists() is stays

    def test_while_they_wait_to_go_no_other_job_takes_their_name(self, house: House) -> None:
        house.server_up()
        house.submits(batch(output=str(house.place / "o"), keep_output="failed"))
        house.accept()
        house.start(1, "a:0")
        house.node_up("a")
        house.says_ended()
        house.submits(batch(output=str(house.place / "o")))
        house.accept()
        assert house.entry(2).output == str(house.place / "o-2")

    def test_jobs_whose_files_are_in_other_directories_go_in_other_batches(self, house: House) -> None:
        """Whether the node sees the one says nothing of the other."""
        (house.place / "d").mkdir()
        house.server_up()
        house.submits(*[batch(output=str(house.place / name)) for name in ("one", "d/two", "d/three")])
        house.accept()
        for number in (1, 2, 3):
            house.order(replace(start(number, "a:0"), lane="1.1", patience_s=0.3))
        go(house)
        words = [word for _, word in house.wires.to_nodes if word["do"] == "batch"]
        assert [[task["att"] for task in word["tasks"]] for word in words] == [["1.1"], ["2.1", "3.1"]]


def test_what_is_remembered_goes_with_age_and_number(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.job()
    book = house.launcher.book
    assert book is not None
    monkeypatch.setattr(book_module, "MOST_KEPT", 3)
    now = 1e9
    book.clock = lambda: now
    entry = house.entry()
    for number in range(10, 15):
        entry.id = JobId(number)
        book.keep([entry])
    now += book_module.TIDY_EVERY_S + 1
    entry.id = JobId(15)
    book.keep([entry])
    assert [number for number in range(10, 16) if book.kept(number)] == [13, 14, 15]
    now += book_module.KEPT_S + 1
    entry.id = JobId(16)
    book.keep([entry])
    assert [number for number in range(10, 17) if book.kept(number)] == [16]
    assert HostName("a") == entry.main_host
