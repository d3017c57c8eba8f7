"""The launcher between server, nodes and clients: what it says to whom, and when it may forget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.launcher.desk import start, view
from tests.unit.launcher.house import House, a_house, batch, foreground_task
from wq.core.job import Allocation, AttemptNo, HostName, Outcome, OutcomeKind, Slice
from wq.core.requests import Start, Submit
from wq.launcher import submissions as submissions_module
from wq.launcher.clients import MOST_MENTIONED_BYTES
from wq.launcher.launcher import CONNECT_PATIENCE_S, KEEPING_PATIENCE_S, LATER_S, remembered_queue
from wq.launcher.ledger import Phase
from wq.launcher.outputs import NO_ROOM_AGAIN_S
from wq.launcher.session import Refused
from wq.protocol import known, places
from wq.protocol.messages import Waiting


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with a_house(monkeypatch) as house:
        yield house


class TestSubmissions:
    def test_a_job_is_on_disk_before_the_server_hears_of_it_and_its_id_before_the_client(self, house: House) -> None:
        house.server_up()
        client = house.submits(batch())
        assert (client.heard, house.reports) == ([], ["here ", "submit 1"])
        house.accept()
        assert client.heard == [
            {
                "ok": {
                    "jobs": [
                        {"id": 1, "name": "fit", "output": f"{house.place}/out-1.wqlog", "error": None, "tasks": None}
                    ]
                }
            }
        ]

    def test_the_mark_that_there_is_work_is_made_with_the_first_job(self, house: House) -> None:
        house.server_up()
        mark = house.place / places.UNFINISHED
        assert not mark.exists()
        house.submits(batch())
        assert mark.exists()

    def test_and_goes_with_the_last(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        house.gone(1)
        assert house.entries == {}
        house.turn(LATER_S)
        assert not (house.place / places.UNFINISHED).exists()

    def test_a_refusal_is_passed_on_and_nothing_is_kept(self, house: House) -> None:
        house.server_up()
        client = house.submits(batch())
        house.refuse(Refused("N: 99 cores, but the cluster has 4", 2))
        assert client.heard == [{"error": "N: 99 cores, but the cluster has 4", "status": 2}]
        assert house.launcher.ledger.entries == {}
        assert house.launcher.foreground == {}

    def test_without_a_server_the_client_is_told_so_after_a_while(self, house: House) -> None:
        client = house.submits(batch())
        house.turn(10.0)
        assert client.heard == [{"error": "the server is away", "status": 75}]
        assert house.launcher.ledger.entries == {}

    def test_a_client_that_left_meanwhile_has_submitted_nothing(self, house: House) -> None:
        client = house.submits(foreground_task())
        house.leaves(client)
        house.server_up()
        assert house.launcher.ledger.entries == {}

    def test_nothing_is_kept_of_a_foreground_submission_that_failed(self, house: House) -> None:
        house.server_up()
        client = house.submits(foreground_task())
        house.server_down()
        assert client.heard[-1]["status"] == 75
        assert (house.launcher.ledger.entries, house.launcher.foreground, client.entry) == ({}, {}, None)

    def test_a_foreground_client_hears_its_id_before_anything_else(self, house: House) -> None:
        client = house.job(foreground=True)
        assert [next(iter(message)) if "type" not in message else message["type"] for message in client.heard] == [
            "ok",
            "starting",
        ]

    def test_one_that_left_before_its_id_was_known_is_removed_then(self, house: House) -> None:
        house.server_up()
        client = house.submits(foreground_task())
        house.leaves(client)
        house.wires.to_server = []
        house.accept()
        assert house.reports == ["remove 1"]


class TestTheServerComesBack:
    def test_it_is_told_what_there_is(self, house: House) -> None:
        house.job()
        house.server_down()
        house.server_up()
        assert house.reports == ["here 1"]

    def test_a_start_that_it_may_have_missed(self, house: House) -> None:
        house.job()
        house.server_down()
        house.says_started()
        house.server_up()
        assert house.reports == ["here 1", "tell started 1.1"]

    def test_an_end_that_it_may_have_missed(self, house: House) -> None:
        house.job()
        house.says_started()
        house.server_down()
        house.says_ended()
        house.forget_what_was_said()
        house.server_up()
        assert house.reports == ["here 1", "tell ended 1.1 exited 0"]

    def test_and_that_an_attempt_never_ran(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        house.start(1, "a:0")
        house.server_down()
        house.node_down("a", "a refuses your key")
        assert house.entry().phase is Phase.WAITING
        assert house.reports == ["here ", "submit 1"]
        house.server_up()
        assert house.reports == ["here 1", "tell taken back 1.1"]

    def test_a_removal_that_it_may_have_missed(self, house: House) -> None:
        client = house.job(foreground=True)
        house.server_down()
        house.leaves(client)
        assert house.reports == []
        house.server_up()
        assert house.reports == ["here 1", "remove 1"]

    def test_it_is_not_told_again_what_it_has_on_its_disk(self, house: House) -> None:
        house.job()
        house.says_started()
        house.says_ended(chs=[1])
        house.gone(1)
        house.server_down()
        house.forget_what_was_said()
        house.server_up()
        assert "tell ended 1.1 exited 0" not in house.reports

    def test_a_submission_without_an_answer_is_repeated_after_a_restart(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.killed_and_started_again()
        house.server_up()
        assert house.reports == ["here  and 1 to come", "submit 1"]
        house.accept()
        assert house.entry().id == 1

    def test_and_again_if_the_server_goes_away_once_more(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.killed_and_started_again()
        for _ in range(3):
            house.server_up()
            assert house.reports == ["here  and 1 to come", "submit 1"]
            house.server_down()

    def test_foreground_jobs_of_an_earlier_launcher_are_removed(self, house: House) -> None:
        house.job(foreground=True)
        house.killed_and_started_again()
        house.server_up()
        assert house.reports == ["here 1", "remove 1"]

    def test_another_queue_is_not_told_of_this_ones_jobs(self, house: House) -> None:
        house.job()
        house.server_down()
        house.server_up("q2")
        assert house.reports == []
        assert house.launcher.done.is_set()


class TestWhatIsOver:
    def test_an_end_goes_to_the_server_and_is_acknowledged_to_the_node(self, house: House) -> None:
        house.job()
        house.says_started()
        house.says_ended()
        assert house.reports == ["tell started 1.1", "tell ended 1.1 exited 0"]
        assert house.sent == []  # the end is nowhere else
        house.gone(1)
        assert house.sent == ["a: ack 1.1"]

    def test_while_the_server_is_away_it_is_kept_here(self, house: House) -> None:
        house.job()
        house.says_started()
        house.server_down()
        house.says_ended()
        assert house.sent == ["a: ack 1.1"]
        house.killed_and_started_again()
        house.server_up()
        assert house.reports == ["here 1", "tell ended 1.1 exited 0"]

    def test_or_as_soon_as_it_goes_away(self, house: House) -> None:
        house.job()
        house.says_ended()
        assert house.sent == []
        house.server_down()
        assert house.sent == ["a: ack 1.1"]
        house.killed_and_started_again()
        house.server_up()
        assert house.reports == ["here 1", "tell ended 1.1 exited 0"]

    def test_also_if_it_was_taken_back_just_before(self, house: House) -> None:
        """Its submission was refused in the end, and it was short."""
        house.job()
        house.says_ended()
        house.entries[1].cancelled = True
        house.gone(1)
        assert house.sent == ["a: ack 1.1"]

    def test_a_job_is_forgotten_when_both_know(self, house: House) -> None:
        house.job()
        house.says_ended()
        house.gone(1)
        assert 1 in house.entries
        house.word("a", {"say": "acked", "att": "1.1"})
        assert house.entries == {}

    def test_in_whatever_order(self, house: House) -> None:
        house.job()
        house.says_ended()
        house.word("a", {"say": "acked", "att": "1.1"})
        assert 1 in house.entries
        house.gone(1)
        assert house.entries == {}

    def test_an_end_told_twice_is_one_end(self, house: House) -> None:
        client = house.job(foreground=True)
        house.says_started()
        house.inside(lambda: house.launcher.cancel(client, 2.0))
        house.stop(1)
        house.says_ended(end={"signal": 15}, chs=[1, 2])
        for channel in (1, 2):
            house.word("a", {"say": "eof", "att": "1.1", "ch": channel, "off": 0})
        assert "a: ack 1.1" in house.sent
        house.says_ended(end={"signal": 15}, chs=[1, 2])
        house.gone(1)
        house.word("a", {"say": "acked", "att": "1.1"})
        assert house.entries == {}

    def test_one_whose_acknowledgement_was_lost_is_forgotten_on_the_next_link(self, house: House) -> None:
        house.job()
        house.says_ended()
        house.gone(1)
        house.node_down("a")
        house.node_up("a")
        assert house.entries == {}

    def test_one_that_was_removed_before_it_reached_the_node_is_forgotten(self, house: House) -> None:
        house.job()
        house.node_down("a")
        house.stop(1)
        house.node_up("a")
        assert house.sent[-1] == "a: query 1.1"
        house.word("a", {"say": "state", "att": "1.1", "state": "never", "shared": None, "chs": []})
        assert house.reports == ["out of sight: a", "out of sight: ", "tell taken back 1.1"]
        house.gone(1, Outcome(kind=OutcomeKind.REMOVED, by="anze"))
        assert house.entries == {}

    def test_one_that_was_never_sent_is_not_sent_once_it_is_over(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        house.start(1, "a:0")
        house.gone(1, Outcome(kind=OutcomeKind.LOST))
        house.gone(1)
        house.node_up("a")
        assert house.sent == []
        assert house.entries == {}

    def test_one_that_runs_is_ended_because_its_cores_are_anothers(self, house: House) -> None:
        house.job()
        house.says_started()
        house.gone(1, Outcome(kind=OutcomeKind.LOST))
        assert house.sent == ["a: stop 1.1"]
        house.says_ended(end={"signal": 15})
        house.word("a", {"say": "acked", "att": "1.1"})
        assert house.entries == {}

    def test_a_client_that_waits_hears_of_it(self, house: House) -> None:
        house.server_up()
        client = house.submits(foreground_task())
        house.accept()
        house.gone(1, Outcome(kind=OutcomeKind.REMOVED, by="owner", message="removed before it started"))
        assert client.heard[-1]["outcome"]["by"] == "owner"

    @pytest.mark.parametrize("state", ["ended", "never"])
    def test_what_nobody_knows_is_acknowledged(self, house: House, state: str) -> None:
        house.job()
        house.word("a", {"say": "state", "att": "7.1", "state": state, "end": {"exit": 0}, "chs": []})
        assert house.sent == ["a: ack 7.1"]


class TestOutput:
    def test_is_brought_home_before_the_node_may_forget_it(self, house: House) -> None:
        house.job()
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"hello "))
        house.says_ended(chs=[1])
        house.gone(1)
        assert house.sent == []
        house.word("a", ("1.1", 1, 6, b"world"))
        house.word("a", {"say": "eof", "att": "1.1", "ch": 1, "off": 11})
        assert house.sent == ["a: ack 1.1"]
        assert (house.place / "out-1.wqlog").read_bytes() == b"hello world"

    def test_the_end_is_told_without_it_after_two_seconds(self, house: House) -> None:
        house.job()
        house.says_ended(chs=[1])
        assert house.reports == []
        house.turn(2.0)
        assert house.reports == ["tell ended 1.1 exited 0"]

    def test_what_was_written_while_the_link_was_down_comes_home(self, house: House) -> None:
        house.job()
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"hello "))
        house.node_down("a")
        house.node_up("a", view("1.1", "ended", shared=False, chs=[1]))
        house.gone(1)
        assert "a: ack 1.1" not in house.sent
        house.word("a", ("1.1", 1, 6, b"world"))
        house.word("a", {"say": "eof", "att": "1.1", "ch": 1, "off": 11})
        assert house.sent == ["a: ack 1.1"]
        assert (house.place / "out-1.wqlog").read_bytes() == b"hello world"

    @pytest.mark.parametrize("foreground", [False, True])
    def test_nobody_waits_for_what_a_node_has_lost(self, house: House, foreground: bool) -> None:
        """It burnt, say, after the end had come through and before the output had."""
        client = house.job(foreground=foreground)
        house.says_started()
        house.says_ended(chs=[1])
        house.turn(2.0)
        house.node_down("a")
        house.gone(1)
        assert house.entries != {}
        house.node_up("a")
        assert house.entries == {}
        assert not foreground or client.heard[-1]["type"] == "ended"

    def test_a_piece_that_was_had_already_is_not_written_twice(self, house: House) -> None:
        house.job()
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"hello "))
        house.word("a", ("1.1", 1, 0, b"hello "))
        house.word("a", ("1.1", 1, 3, b"lo world"))
        assert (house.place / "out-1.wqlog").read_bytes() == b"hello world"

    def test_the_word_by_which_a_node_sees_the_file_is_never_part_of_it(self, house: House) -> None:
        house.job()
        probe = (house.place / "out-1.wqlog").read_bytes()
        assert probe.startswith(b"wq ")
        house.node_down("a")
        house.node_up("a", view("1.1", "running", shared=False, chs=[1]))
        house.word("a", ("1.1", 1, 0, b"hi"))
        assert (house.place / "out-1.wqlog").read_bytes() == b"hi"

    def test_without_room_for_it_the_node_keeps_it_and_sends_it_again(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.job()
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"hello "))
        with house.full_disk(monkeypatch, "pwrite"):
            house.word("a", ("1.1", 1, 6, b"world"))
            house.says_ended(chs=[1])
            house.word("a", {"say": "eof", "att": "1.1", "ch": 1, "off": 11})
        house.turn(2.0)
        assert house.reports[-1] == "tell ended 1.1 exited 0"  # the cores are free
        house.gone(1)
        assert house.sent == []
        house.turn(NO_ROOM_AGAIN_S)
        assert house.sent == ["a: resume 1.1"]
        house.word("a", ("1.1", 1, 6, b"world"))
        assert house.sent == ["a: ack 1.1"]
        assert (house.place / "out-1.wqlog").read_bytes() == b"hello world"

    def test_nor_is_it_lost_when_there_was_no_room_for_the_file(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.job()
        with house.full_disk(monkeypatch, "ftruncate"):
            house.says_started()
            house.word("a", ("1.1", 1, 0, b"hello"))
        house.turn(NO_ROOM_AGAIN_S)
        house.word("a", ("1.1", 1, 0, b"hello"))
        assert (house.place / "out-1.wqlog").read_bytes() == b"hello"

    def test_what_could_not_be_synced_is_written_again_from_the_beginning(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.job()
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"hello"))
        house.says_ended(chs=[1])
        with house.full_disk(monkeypatch, "fsync"):
            house.word("a", {"say": "eof", "att": "1.1", "ch": 1, "off": 5})
        assert "a: ack 1.1" not in house.sent
        house.turn(NO_ROOM_AGAIN_S)
        house.gone(1)
        assert "a: resume 1.1" in house.sent
        house.word("a", ("1.1", 1, 0, b"hello"))
        assert "a: ack 1.1" in house.sent

    def test_a_job_is_not_to_blame_when_there_is_no_room_to_begin_it(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        house.start(1, "a:0")
        with house.full_disk(monkeypatch, "ftruncate"):
            house.node_up("a")
        assert house.reports[-1].startswith("tell taken back 1.1 because of a: cannot write the output file")
        assert "a: start 1.1" not in house.sent

    def test_a_client_gets_all_of_it_before_it_hears_of_the_end(self, house: House) -> None:
        client = house.job(foreground=True)
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"hello"))
        house.says_ended(chs=[1, 2])
        assert client.heard[-1]["type"] == "running"
        for channel, size in ((1, 5), (2, 0)):
            house.word("a", {"say": "eof", "att": "1.1", "ch": channel, "off": size})
        assert (client.output, client.heard[-1]["type"]) == (b"hello", "ended")

    def test_a_client_hears_that_a_part_went_with_the_shepherd(self, house: House) -> None:
        client = house.job(foreground=True)
        house.says_started()
        house.word("a", ("1.1", 1, 0, b"hel"))
        house.node_down("a")
        house.node_up("a", view("1.1", "ended", torn=True))
        assert (client.heard[-1]["type"], client.heard[-1]["outcome"]["torn"]) == ("ended", True)

    def test_but_not_if_all_of_it_had_come(self, house: House) -> None:
        client = house.job(foreground=True)
        house.says_started()
        for channel in (1, 2):
            house.word("a", {"say": "eof", "att": "1.1", "ch": channel, "off": 0})
        house.node_down("a")
        house.node_up("a", view("1.1", "ended", torn=True))
        assert (client.heard[-1]["type"], client.heard[-1]["outcome"]["torn"]) == ("ended", False)

    def test_what_nobody_reads_is_complete_whatever_an_earlier_launcher_had(self, house: House) -> None:
        house.job(foreground=True)
        house.killed_and_started_again()
        house.server_up()
        house.node_up("a", view("1.1", "ended", chs=[1, 2]))
        house.word("a", ("1.1", 1, 2400, b"the rest"))
        house.word("a", {"say": "eof", "att": "1.1", "ch": 1, "off": 2408})
        house.word("a", {"say": "eof", "att": "1.1", "ch": 2, "off": 17})
        assert house.sent[-1] == "a: ack 1.1"

    def test_a_file_that_cannot_be_made_is_the_end_of_the_job_in_a_sentence(self, house: House) -> None:
        house.server_up()
        house.submits(batch(), stem="/nosuch/directory/out")
        house.accept()
        house.start(1, "a:0")
        house.node_up("a")
        assert house.sent == []
        assert house.reports[-1] == "tell ended 1.1 failed"
        outcome = house.entry().outcome
        assert outcome is not None
        path = "/nosuch/directory/out-1.wqlog"
        assert outcome.message == f"cannot write the output file {path}: No such file or directory"

    def test_two_jobs_never_write_to_one_file(self, house: House) -> None:
        house.server_up()
        path = str(house.place / "fit.yaml.wqlog")
        house.submits(batch(output=path), batch(output=path))
        house.accept()
        assert [entry.output for entry in house.entries.values()] == [path, str(house.place / "fit.yaml-2.wqlog")]


CALL = {"rank": "1.1/7.1", "att": "1.1", "host": "b", "command": "orted"}


class TestTheServerIsAway:
    """A batch submission is kept until it is back, if its user wants that."""

    def kept(self, house: House, *names: str) -> None:
        """They were submitted while the server, which was met before, was away."""
        house.server_up()
        house.server_down()
        for name in names:
            client = house.submits(batch(name=name), keep=True)
            house.turn(KEEPING_PATIENCE_S)
            (answer,) = client.heard
            assert (answer["ok"]["jobs"][0]["id"], answer["ok"]["away"]) == (None, "the server is away")

    def test_it_is_submitted_when_the_server_is_back(self, house: House) -> None:
        self.kept(house, "fit")
        house.server_up()
        house.accept()
        assert house.reports[-1] == "submit 1"
        assert house.entry().output == f"{house.place}/out-1.wqlog"

    def test_in_the_order_in_which_they_came_also_by_the_next_launcher(self, house: House) -> None:
        names = [f"fit{number}" for number in range(12)]
        self.kept(house, *names)
        house.killed_and_started_again()
        house.server_up()
        asked = [request.jobs[0].name for request in house.wires.to_server if isinstance(request, Submit)]
        assert asked == names

    def test_a_launcher_that_starts_before_the_server_is_back_has_the_ledger(self, house: House) -> None:
        self.kept(house, "fit")
        house.killed_and_started_again()
        assert remembered_queue(house.place) == "q1"
        house.launcher.open_book("q1")
        assert [entry.task.name for entry in house.launcher.ledger.entries.values()] == ["fit"]

    def test_one_that_does_not_want_to_be_kept_is_refused(self, house: House) -> None:
        house.server_up()
        house.server_down()
        client = house.submits(batch())
        house.turn(CONNECT_PATIENCE_S)
        assert client.heard == [{"error": "the server is away", "status": 75}]
        assert house.launcher.ledger.entries == {}

    def test_a_server_that_was_never_met_keeps_nobody(self, house: House) -> None:
        client = house.submits(batch(), keep=True)
        house.turn(CONNECT_PATIENCE_S)
        assert client.heard == [{"error": "the server is away", "status": 75}]

    def test_one_whose_answer_is_lost_is_kept_too(self, house: House) -> None:
        house.server_up()
        client = house.submits(batch(), keep=True)
        house.server_down()
        assert client.heard[0]["ok"]["jobs"][0]["id"] is None
        house.server_up()
        assert house.reports[-1] == "submit 1"

    def test_one_that_is_sent_again_after_the_death_of_a_launcher_is_not_another_one(self, house: House) -> None:
        token = "0123456789abcdef"
        house.server_up()
        house.submits(batch(), batch(), token=token)
        house.killed_and_started_again()
        house.server_up()
        client = house.submits(batch(), batch(), token=token)
        names = {request.token for request in house.wires.to_server if isinstance(request, Submit)}
        assert names == {f"{token}.0"}
        house.accept()
        house.accept()
        assert [job["id"] for job in client.heard[0]["ok"]["jobs"]] == [1, 2]
        assert len(house.launcher.ledger.entries) == 2

    def test_nor_if_it_is_being_repeated_just_then(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submissions_module, "JOBS_PER_MESSAGE", 1)
        house.server_up()
        house.submits(batch(), batch(), token="0123456789abcdef")
        house.killed_and_started_again()
        house.server_up()
        client = house.submits(batch(), batch(), token="0123456789abcdef")
        while house.session.asked:
            house.accept()
        assert [job["id"] for job in client.heard[0]["ok"]["jobs"]] == [1, 2]

    def test_one_that_was_refused_meanwhile_is_not_kept(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submissions_module, "JOBS_PER_MESSAGE", 1)
        house.server_up()
        house.submits(batch(), batch(), token="0123456789abcdef")
        house.killed_and_started_again()
        house.server_up()
        client = house.submits(batch(), batch(), token="0123456789abcdef", keep=True)
        house.accept()
        house.refuse(Refused("no such group", 2))
        while house.session.asked:
            house.accept()
        assert client.heard[0]["status"] == 1

    def test_nor_if_some_of_its_jobs_are_over(self, house: House) -> None:
        token = "0123456789abcdef"
        house.server_up()
        house.submits(batch(), batch(), token=token)
        house.accept()
        house.gone(1)
        client = house.submits(batch(), batch(), token=token)
        assert ([job["id"] for job in client.heard[0]["ok"]["jobs"]], client.heard[0]["ok"]["over"]) == ([2], 1)

    def test_one_that_is_not_to_be_kept_is_not_kept_by_an_earlier_launcher_either(self, house: House) -> None:
        token = "0123456789abcdef"
        house.server_up()
        house.submits(batch(), token=token)
        house.killed_and_started_again()
        house.launcher.open_book("q1")
        client = house.submits(batch(), token=token)
        house.turn(CONNECT_PATIENCE_S)
        assert client.heard[0]["status"] == 75
        assert house.launcher.ledger.entries == {}

    def test_nor_if_its_ids_are_known_already(self, house: House) -> None:
        house.server_up()
        house.submits(batch(), token="0123456789abcdef")
        house.accept()
        client = house.submits(batch(), token="0123456789abcdef")
        assert [job["id"] for job in client.heard[0]["ok"]["jobs"]] == [1]
        assert len(house.entries) == 1

    def test_what_the_server_has_no_room_for_just_then_is_offered_again(self, house: House) -> None:
        self.kept(house, "fit")
        house.server_up()
        house.refuse(Refused("the server has no room on its disk", 1, for_now=True))
        assert len(house.launcher.ledger.entries) == 1
        house.turn(5.0)
        house.accept()
        assert list(house.launcher.ledger.by_id) == [1]
        assert not (house.place / places.NEWS).exists()

    def test_what_the_server_then_refuses_is_told_by_the_next_command(self, house: House) -> None:
        self.kept(house, "fit")
        house.server_up()
        house.refuse(Refused("no node has 99 cores", 2))
        news = (house.place / places.NEWS).read_text()
        assert "(fit), kept while the server was away, was refused: no node has 99 cores" in news
        assert house.launcher.ledger.entries == {}


class TestAFullDisk:
    def test_refuses_new_jobs_and_keeps_none_of_them(self, house: House) -> None:
        house.server_up()
        with house.full_ledger():
            client = house.submits(batch())
        assert client.heard[0]["status"] == 1
        assert client.heard[0]["error"].startswith("no room for your jobs in ")
        assert (house.launcher.ledger.entries, house.reports) == ({}, ["here "])

    def test_holds_back_what_is_not_stored_until_there_is_room(self, house: House) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        with house.full_ledger():
            house.start(1, "a:0")
            assert house.opened == []
        house.turn(NO_ROOM_AGAIN_S)
        assert house.opened == ["a"]

    def test_an_end_is_told_when_it_is_stored(self, house: House) -> None:
        house.job(foreground=True)
        house.says_started()
        house.forget_what_was_said()
        with house.full_ledger():
            house.says_ended()
            assert house.reports == []
        house.turn(NO_ROOM_AGAIN_S)
        assert house.reports == ["tell ended 1.1 exited 0"]


class TestRanks:
    """MPI's processes on other nodes, for which the agent on the first node waits."""

    def asked(self, house: House) -> None:
        house.job("a:0 b:0")
        house.says_started()
        house.word("a", {"say": "rank", "att": "1.1", "rank": "1.1/7.1", "host": "b", "command": "orted"})
        assert house.sent == ["b: start 1.1/7.1", "b: eof 1.1/7.1"]

    def test_its_end_is_told_to_the_agent_and_acknowledged_to_its_node(self, house: House) -> None:
        self.asked(house)
        house.says_ended("b", "1.1/7.1", end={"exit": 4})
        assert house.sent == ["a: rank_report 1.1/7.1", "b: ack 1.1/7.1"]
        assert house.wires.to_nodes == []

    def test_also_when_it_ended_while_the_link_was_down(self, house: House) -> None:
        self.asked(house)
        house.node_down("b")
        house.node_up("b", view("1.1/7.1", "ended"))
        assert "a: rank_report 1.1/7.1" in house.sent
        house.says_ended()
        assert house.entry().phase is Phase.ENDED

    def test_with_the_output_that_was_still_there(self, house: House) -> None:
        self.asked(house)
        house.node_down("b")
        house.node_up("b", view("1.1/7.1", "ended", chs=[1]))
        assert "b: ack 1.1/7.1" not in house.sent
        house.word("b", ("1.1/7.1", 1, 0, b"hi"))
        house.word("b", {"say": "eof", "att": "1.1/7.1", "ch": 1, "off": 2})
        assert house.sent == ["a: rank_report 1.1/7.1", "a: rank_report 1.1/7.1", "b: ack 1.1/7.1"]

    def test_one_whose_start_was_lost_is_an_error_for_the_agent(self, house: House) -> None:
        self.asked(house)
        house.node_down("b")
        house.node_up("b")
        assert "b: query 1.1/7.1" in house.sent
        house.word("b", {"say": "state", "att": "1.1/7.1", "state": "never", "shared": None, "chs": []})
        assert "a: rank_report 1.1/7.1" in house.sent
        house.says_ended()
        assert house.entry().phase is Phase.ENDED

    def test_an_end_that_the_agent_may_not_have_heard_is_told_again(self, house: House) -> None:
        self.asked(house)
        house.says_ended("b", "1.1/7.1", end={"exit": 4})
        house.forget_what_was_said()
        house.node_down("a")
        house.node_up("a", view("1.1", "running"), agents=[CALL])
        assert "a: rank_report 1.1/7.1" in house.sent

    def test_a_call_that_was_lost_on_its_way_is_answered_on_the_next_link(self, house: House) -> None:
        house.job("a:0 b:0")
        house.says_started()
        house.node_down("a")
        house.node_up("a", view("1.1", "running"), agents=[CALL])
        assert "b: start 1.1/7.1" in house.sent

    def test_nothing_is_started_twice_for_it(self, house: House) -> None:
        self.asked(house)
        house.node_down("a")
        house.node_up("a", view("1.1", "running"), agents=[CALL])
        assert not [word for word in house.sent if "start" in word]

    def test_output_that_comes_while_the_agent_is_out_of_reach_comes_again(self, house: House) -> None:
        self.asked(house)
        house.node_down("a")
        house.word("b", ("1.1/7.1", 1, 0, b"hi"))
        assert not [word for word in house.sent if "1.1/7.1" in word]
        house.node_up("a", view("1.1", "running"), agents=[CALL])
        assert "b: resume 1.1/7.1" in house.sent
        house.word("b", ("1.1/7.1", 1, 0, b"hi"))
        assert "a: rank_report 1.1/7.1" in house.sent

    def test_one_whose_agent_has_given_up_goes_too(self, house: House) -> None:
        self.asked(house)
        house.node_down("a")
        house.node_up("a", view("1.1", "running"), agents=[])
        assert "b: stop 1.1/7.1" in house.sent
        house.says_ended("b", "1.1/7.1", end={"signal": 15}, chs=[1])
        assert "b: ack 1.1/7.1" in house.sent

    def test_the_next_launcher_answers_the_agent(self, house: House) -> None:
        """It asks what became of the process; it starts nothing that may run."""
        self.asked(house)
        house.killed_and_started_again()
        house.server_up()
        house.node_up("a", view("1.1", "running"), agents=[{**CALL, "told": True}])
        house.node_up("b", view("1.1/7.1", "running", chs=[1]))
        said = house.sent
        assert "b: resume 1.1/7.1" in said
        assert not [word for word in said if "start" in word]
        house.word("b", ("1.1/7.1", 1, 500, b"hi"))
        house.word("b", {"say": "eof", "att": "1.1/7.1", "ch": 1, "off": 502})
        house.says_ended("b", "1.1/7.1", chs=[1])
        assert house.sent == ["a: rank_report 1.1/7.1", "a: rank_report 1.1/7.1", "b: ack 1.1/7.1"]

    def test_or_starts_what_no_launcher_was_ever_asked_for(self, house: House) -> None:
        house.job("a:0 b:0")
        house.says_started()
        house.killed_and_started_again()
        house.server_up()
        house.node_up("b")
        house.node_up("a", view("1.1", "running"), agents=[{**CALL, "told": False}])
        assert "b: start 1.1/7.1" in house.sent

    def test_only_on_nodes_of_the_job(self, house: House) -> None:
        house.job("a:0 b:0")
        house.word("a", {"say": "rank", "att": "1.1", "rank": "1.1/7.1", "host": "prod-db", "command": "x"})
        assert house.sent == ["a: rank_report 1.1/7.1"]
        assert house.opened == ["a", "b"]

    def test_none_for_a_job_that_has_ended(self, house: House) -> None:
        house.job("a:0 b:0")
        house.says_ended()
        house.forget_what_was_said()
        house.word("a", {"say": "rank", "att": "1.1", "rank": "1.1/7.1", "host": "b", "command": "x"})
        assert house.sent == []


class TestTheFence:
    """Where may a job of mine be sent? A server may ask for anything."""

    @pytest.mark.parametrize("evil", ["-oProxyCommand=x", "user@host", "a b", "%h", "$(touch X)", "", "a\n", "a" * 300])
    def test_no_evil_name_is_ever_called(self, house: House, evil: str) -> None:
        house.server_up()
        house.submits(batch())
        house.accept()
        house.order(start_on(evil))
        assert house.opened == []
        assert house.reports[-1].startswith("tell taken back 1.1")

    def test_a_node_that_was_not_accepted_is_not_called(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        with a_house(monkeypatch, server_uid=4242) as house:
            known.remember(1, 4242, "owner", ["a"])
            house.server_up()
            house.submits(batch())
            house.accept()
            house.start(1, "a:0 prod-db:0")
            assert house.opened == []
            assert house.reports[-1] == (
                "tell taken back 1.1 because of prod-db: "
                "prod-db is new in this cluster; accept it with: wq node --accept"
            )
            house.start(1, "a:0", attempt=2)
            assert house.opened == ["a"]

    def test_nothing_is_called_for_a_server_that_was_never_met(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        with a_house(monkeypatch, server_uid=4242) as house:
            known.remember(1, 4243, "somebody else", ["a"])
            house.server_up()
            house.submits(batch())
            house.accept()
            house.start(1, "a:0")
            assert house.opened == []

    def test_a_grant_that_is_refused_changes_nothing_for_what_runs(self, house: House) -> None:
        house.job()
        house.says_started()
        house.order(replace(start_on("user@host"), attempt=AttemptNo(2)))
        assert (house.sent, house.opened) == ([], ["a"])
        assert house.reports == ["tell started 1.1", "tell taken back 1.2 because of user@host: no host name"]
        house.says_ended()
        assert house.reports == ["tell ended 1.1 exited 0"]

    def test_nor_is_anything_begun_on_a_node_that_was_accepted_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        with a_house(monkeypatch, server_uid=4242) as house:
            known.remember(1, 4242, "owner", ["a"])
            house.job()
            known.remember(1, 4242, "owner", ["b"])
            house.submits(batch())
            house.accept()
            house.start(2, "a:1")
            assert house.sent == []
            assert house.reports[-1].startswith("tell taken back 2.1 because of a:")

    def test_a_replayed_grant_starts_nothing(self, house: House) -> None:
        house.job()
        for _ in range(100):
            house.start(1, "a:0")
        assert house.sent == []


class TestAServerThatLies:
    def test_how_a_job_exited_is_not_for_a_server_to_say(self, house: House) -> None:
        house.server_up()
        client = house.submits(foreground_task())
        house.accept()
        house.gone(1, Outcome(kind=OutcomeKind.EXITED, exit_status=0))
        told = client.heard[-1]["outcome"]
        assert (told["kind"], told["exit_status"]) == ("lost", None)

    def test_nor_with_a_status_where_it_has_one(self, house: House) -> None:
        house.server_up()
        client = house.submits(foreground_task())
        house.accept()
        house.gone(1, Outcome(kind=OutcomeKind.REMOVED, by="bine", exit_status=0, signal=1 << 70))
        told = client.heard[-1]["outcome"]
        assert (told["kind"], told["by"], told["exit_status"], told["signal"]) == ("removed", "bine", None, None)

    def test_a_client_that_does_not_read_is_not_told_without_end(self, house: House) -> None:
        house.server_up()
        client = house.submits(foreground_task())
        house.accept()
        heard = len(client.heard)
        client.waiting_bytes = lambda: MOST_MENTIONED_BYTES  # type: ignore[method-assign]
        for _ in range(100):
            house.order(Waiting(id=1, reason="x", code="x", ahead=1))
            house.start(1, "a:0")
        assert len(client.heard) == heard

    def test_for_another_queue_the_work_of_this_one_is_not_forgotten(self, house: House) -> None:
        house.job()
        (house.place / places.UNFINISHED).unlink()
        house.inside(lambda: house.launcher.server_up({"queue": "q2"}))
        assert house.launcher.done.is_set()
        assert (house.place / places.UNFINISHED).exists()


def start_on(host: str) -> Start:
    return replace(start(1, "a:0"), allocation=Allocation(slices=(Slice(host=HostName(host), cores=(0,)),)))
