"""Lines of things, user by user."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.server.caps import Caps, parse_caps
from wq.server.intake import Intake


def filled(*things: tuple[int, str, int]) -> Intake[str]:
    intake: Intake[str] = Intake()
    for uid, thing, cost in things:
        intake.put(uid, thing, cost)
    return intake


class TestTaking:
    def test_one_of_each_line_however_little_may_be_taken(self) -> None:
        intake = filled((1, "a1", 9), (1, "a2", 1), (2, "b1", 1), (3, "c1", 5))
        assert intake.take(0) == ["a1", "b1", "c1"]
        assert intake.take(0) == ["a2"]
        assert not intake

    def test_then_the_second_of_each_until_enough_is_taken(self) -> None:
        intake = filled(*[(uid, f"{uid}.{number}", 1) for uid in (1, 2) for number in range(5)])
        assert intake.take(6) == ["1.0", "2.0", "1.1", "2.1", "1.2", "2.2"]

    def test_who_was_served_first_is_not_always_the_first(self) -> None:
        intake = filled(*[(uid, f"{uid}.{number}", 1) for uid in (1, 2) for number in range(5)])
        assert intake.take(3) == ["1.0", "2.0", "1.1"]
        assert intake.take(0)[0] == "2.1"

    def test_what_is_put_back_is_the_first_of_its_line(self) -> None:
        intake = filled((1, "later", 1))
        intake.put_back(1, "first")
        assert intake.take(9) == ["first", "later"]

    def test_what_waits_is_counted(self) -> None:
        intake = filled((1, "a", 7), (1, "b", 2), (2, "c", 1))
        assert [intake.waiting(uid) for uid in (1, 2, 3)] == [9, 1, 0]
        intake.take(0)
        assert [intake.waiting(uid) for uid in (1, 2, 3)] == [2, 0, 0]

    @given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=40), st.integers(0, 20))
    def test_each_users_things_come_once_and_in_order(self, sent: list[tuple[int, int]], most: int) -> None:
        intake: Intake[tuple[int, int]] = Intake()
        for number, (uid, cost) in enumerate(sent):
            intake.put(uid, (uid, number), cost)
        taken = []
        while intake:
            taken += intake.take(most)
        for uid in range(1, 5):
            expected = [(one, number) for number, (one, _) in enumerate(sent) if one == uid]
            assert [thing for thing in taken if thing[0] == uid] == expected


class TestCaps:
    def test_as_people_write_them(self) -> None:
        assert parse_caps("jobs: 5000; connections:100 ;") == Caps(jobs=5000, connections=100)
        assert parse_caps("") == Caps()

    @pytest.mark.parametrize(
        ("text", "telling"),
        [
            ("job: 5", "'job: 5' is not understood; `NAME: NUMBER` is, for jobs, connections, requests, bytes"),
            ("jobs", "'jobs' is not understood"),
            ("jobs: 1; jobs: 2", "jobs is given twice"),
            ("jobs: -1", "jobs: '-1' is not a number from 1"),
            ("jobs: 1e9", "jobs: '1e9' is not a number"),
            ("jobs: \u0661", "is not a number"),
            ("connections: 1", "connections: '1' is not a number from 4"),
            ("bytes: " + "9" * 5000, "is not a number"),
        ],
    )
    def test_bad_ones(self, text: str, telling: str) -> None:
        with pytest.raises(ValueError, match="caps: ") as caught:
            parse_caps(text)
        assert telling in str(caught.value)
        assert len(str(caught.value)) < 200
