"""Durations and signals as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.core.job import OutcomeKind
from wq.formats import FormatError
from wq.formats.duration import in_words, seconds
from wq.formats.jobfile import describe, parse_job_file, parse_requirement
from wq.formats.signals import SignalError, name_of, number_of


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("90s", 90), ("45m", 2700), ("45min", 2700), ("2h", 7200), ("2h30m", 9000), ("2h 30m", 9000), ("1d12h", 129600),
        ("1.5h", 5400), ("2H", 7200), ("2:30:00", 9000), ("0:00:05", 5), ("100:00:00", 360000), ("1-12", 129600),
        ("1-12:00", 129600), ("1-12:30:05", 131405), (" 5s ", 5), ("1w", 604800), ("1w 1d", 691200),
    ],
)  # fmt: skip
def test_what_is_a_duration(text: str, duration_s: float) -> None:
    assert seconds(text) == duration_s


@pytest.mark.parametrize(
    "text",
    ["", "90", "1:30", "1:60:00", "1-24:00", "h", "-5s", "1h2d", "5 apples", "1e3s", "inf", "nan", "\u0661s", "s5"],
)
def test_what_is_none(text: str) -> None:
    assert seconds(text) is None


def test_nor_is_a_long_text_and_that_is_known_at_once() -> None:
    assert seconds("1d" + " " * 1_000_000 + "x") is None


@given(st.integers(min_value=1, max_value=10**8))
def test_what_is_said_can_be_read_again(duration_s: int) -> None:
    assert seconds(in_words(duration_s)) == duration_s


def test_in_words() -> None:
    assert [in_words(it) for it in (7200.0, 9000.0, 90.0, 129600.0, 0.3)] == ["2h", "2h30m", "1m30s", "1d12h", "0.3s"]
    assert in_words(604800.0) == "7d"


@pytest.mark.parametrize(("text", "number"), [("USR1", 10), ("sigusr1", 10), ("10", 10), ("TERM", 15), ("64", 64)])
def test_a_signal_has_a_name_or_a_number(text: str, number: int) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-1", "USR3", "\u0661", "1.0", "1000000"])
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(SignalError, match="is no signal"):
        number_of(text)


def test_names_of_signals() -> None:
    assert [name_of(number) for number in (10, 9, 60)] == ["USR1", "KILL", "60"]


class TestInAJobFile:
    def test_the_text_is_what_counts_and_not_what_yaml_makes_of_it(self) -> None:
        for text in ("time: 1:30:00", "time: 1h30m", 'time: "1:30:00"', "time: 0-01:30"):
            (fields,) = parse_job_file(f"command: x\n{text}", source="j")
            assert describe(fields).time_s == 5400.0

    def test_on_the_command_line_too(self) -> None:
        found = describe(parse_requirement("time:1:30:00; signal: USR1@5m; N:2"))
        assert (found.time_s, found.signal, found.signal_s) == (5400.0, 10, 300.0)

    @pytest.mark.parametrize(("text", "parts"), [("USR1", (10, 60.0)), ("10@30", (10, 30.0)), ("TERM@1m", (15, 60.0))])
    def test_a_signal_comes_a_minute_before_the_end_or_as_it_says(self, text: str, parts: tuple[int, float]) -> None:
        found = describe(parse_requirement(f"time: 1h; signal: {text}"))
        assert (found.signal, found.signal_s) == parts

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("time: 90", "without a unit; write 90m for minutes"),
            ("time: 1:30", "write 1:30:00 for hours and minutes, or 1m30s"),
            ("time: soon", "allowed: a time with its units"),
            ("time: 0s", "from 1s to 3650d"),
            ("time: 4000d", "from 1s to 3650d"),
            ("signal: USR1", "signal needs the key time"),
            ("time: 45s; signal: USR1", "signal comes 1m before the end, and time is 45s"),
            ("time: 1h; signal: USR7", "is no signal"),
            ("time: 1h; signal: KILL", "which no program can heed"),
            ("time: 1h; signal: USR1@soon", "SIGNAL@TIME"),
        ],
    )
    def test_what_is_refused(self, text: str, says: str) -> None:
        with pytest.raises(FormatError) as caught:
            describe(parse_requirement(text))
        assert says in str(caught.value)

    def test_the_outcome_has_the_status_of_timeout(self) -> None:
        from wq.core.job import Outcome

        assert Outcome(kind=OutcomeKind.TIME_LIMIT, signal=15).shell_status == 124
