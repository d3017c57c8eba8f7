"""All jobs of a submission, or none: in messages that the server takes, repeated until it has answered."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.launcher.desk import SETTING
from tests.unit.launcher.house import House, a_house, batch
from wq.core.job import Requirement
from wq.core.requests import Submit
from wq.launcher import submissions
from wq.launcher.session import Refused
from wq.protocol.messages import encode_word
from wq.protocol.wire import MAX_FRAME_BYTES, WireError


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with a_house(monkeypatch) as house:
        house.server_up()
        yield house


@pytest.fixture
def small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "JOBS_PER_MESSAGE", 2)


@pytest.mark.usefixtures("small_messages")
class TestLargeOnes:
    def test_go_in_several_messages_one_after_the_other(self, house: House) -> None:
        client = house.submits(*[batch()] * 5)
        house.forget_what_was_said()
        sizes = []
        while house.session.asked:
            sizes.append(len(house.session.asked[0][0].jobs))
            house.accept()
        assert sizes == [2, 2, 1]
        assert [job["id"] for job in client.heard[-1]["ok"]["jobs"]] == [1, 2, 3, 4, 5]

    def test_what_was_accepted_of_one_that_is_refused_is_removed(self, house: House) -> None:
        client = house.submits(*[batch()] * 3)
        house.accept()
        house.forget_what_was_said()
        house.refuse(Refused("no", 2))
        assert house.reports == ["remove 1", "remove 2"]
        assert client.heard == [{"error": "no", "status": 2}]
        house.gone(1)
        house.gone(2)
        assert house.launcher.ledger.entries == {}

    def test_what_was_accepted_of_one_that_failed_is_removed_when_the_server_is_back(self, house: House) -> None:
        client = house.submits(*[batch()] * 3)
        house.accept()
        house.forget_what_was_said()
        house.server_down()
        assert client.heard[-1]["status"] == 75
        assert house.reports == []
        house.server_up()
        assert house.reports == ["here 1,2", "remove 1", "remove 2"]

    def test_even_by_the_next_launcher(self, house: House) -> None:
        house.submits(*[batch()] * 3)
        house.accept()
        house.server_down()
        house.killed_and_started_again()
        house.server_up()
        assert house.reports == ["here 1,2", "remove 1", "remove 2"]


class TestMessages:
    @pytest.mark.parametrize(
        ("njobs", "name", "command", "directory"),
        [
            (2500, "fit", "./fit", "/home/anze"),
            (500, "fit", "./fit " + "x" * 4000, "/home/anze"),
            (300, "n" * 200, "ž" * 4000, "/" + "long/" * 200),
            (100, "fit", "\x01" * 4000, "/home"),
        ],
        ids=["usual", "long", "all long", "escaped"],
    )
    def test_are_never_too_large_for_the_server(
        self, house: House, njobs: int, name: str, command: str, directory: str
    ) -> None:
        task = replace(batch(name), command=command, requirement=Requirement(groups=("gen1", "gen2")))
        house.submits(*[task] * njobs, setting=replace(SETTING, cwd=directory))
        asked = 0
        while house.session.asked:
            request = house.session.asked[0][0]
            asked += len(request.jobs)
            assert len(encode_word(request, 1)) <= MAX_FRAME_BYTES
            house.accept()
        assert asked == njobs

    def test_have_a_command_to_show_and_nothing_to_run(self, house: House) -> None:
        house.submits(replace(batch(), command="x" * 10_000))
        (job,) = house.session.asked[0][0].jobs
        assert len(job.command) == 4096

    def test_keep_back_what_is_private(self, house: House) -> None:
        house.submits(replace(batch("private"), command="secret", private=True))
        sent = msgspec.json.encode(house.session.asked[0][0])
        assert b"secret" not in sent
        assert SETTING.cwd.encode() not in sent

    def test_never_have_the_environment(self, house: House) -> None:
        house.submits(batch(), setting=replace(SETTING, env={"TOKEN": "canary"}))
        assert b"canary" not in msgspec.json.encode(house.session.asked[0][0])

    def test_each_submission_has_a_token_of_its_own(self, house: House) -> None:
        for _ in range(3):
            house.submits(batch())
        requests = [request for request, _, _ in house.session.asked]
        assert all(isinstance(request, Submit) for request in requests)
        assert len({request.token for request in requests}) == 3


class TestRepeats:
    def test_the_same_jobs_in_the_same_order_under_the_same_token(self, house: House) -> None:
        house.submits(*(batch(f"j{number}") for number in range(12)))
        first = house.session.asked[0][0]
        house.killed_and_started_again()
        house.server_up()
        assert house.session.asked[0][0] == first

    def test_a_refused_one_is_forgotten_with_a_word_in_the_log(self, house: House) -> None:
        house.submits(batch())
        house.killed_and_started_again()
        house.server_up()
        house.refuse(Refused("no such group", 2))
        assert house.launcher.ledger.entries == {}
        assert "no such group" in house.notes[-1]


class TestIds:
    """Whatever a server answers: an id is a number, and of one job."""

    @pytest.mark.parametrize(
        "ids",
        [
            None,
            "x",
            {},
            [],
            [7],
            [7, 8, 9],
            [7, 7],
            [7, 0],
            [7, -1],
            [7, 1 << 62],
            [7, True],
            [7, 8.0],
            [7, "8"],
            [7, 1],
        ],
        ids=str,
    )
    def test_such_an_answer_counts_as_none(self, house: House, ids: object) -> None:
        house.submits(batch())
        house.accept()
        client = house.submits(batch(), batch())
        (_, at_once, _) = house.session.asked[-1]
        with pytest.raises(WireError):
            at_once({"ids": ids})
        with pytest.raises(WireError):
            at_once({})
        with pytest.raises(WireError):
            at_once({"ids": [7, 1]})  # which the first job has
        assert list(house.entries) == [1]
        house.next_id = 5
        house.accept()
        assert list(house.entries) == [1, 5, 6]
        assert "ok" in client.heard[-1]

    def test_nor_does_a_job_get_another_one(self, house: House) -> None:
        house.submits(batch(), batch())
        (_, at_once, _) = house.session.asked[0]
        house.accept()
        with pytest.raises(WireError):
            at_once({"ids": [3, 4]})
        house.inside(lambda: at_once({"ids": [1, 2]}))
