"""Times as people write them."""

from __future__ import annotations

import time

import pytest

from wq.cli import when
from wq.cli.errors import BAD_INPUT, WqError
from wq.formats import duration
from wq.formats.jobfile import describe, parse_requirement

NOW_S = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC

pytestmark = pytest.mark.usefixtures("utc")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("1w", 604800), ("0s", 0)],
)
def test_a_duration_has_its_units(text: str, seconds: float) -> None:
    assert when.duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["90s", "45min", "2h 30m", "2H", "2:30:00", "1-12:00", "1w2d"])
def test_it_is_written_as_the_time_limit_of_a_job(text: str) -> None:
    assert when.duration(text, "--timeout") == duration.seconds(text) == jobfile_s(text)


def jobfile_s(text: str) -> float | None:
    return describe(parse_requirement(f"time: {text}")).time_s


@pytest.mark.parametrize("text", ["", "5", "m", "1x", "-1m", "1.2.3m", ".m", "1m5", "²m", "9" * 50 + "s", "999999w"])
def test_what_is_none_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(WqError, match=r"--timeout: .* is not a time with its units, such as 90s") as refused:
        when.duration(text, "--timeout")
    assert refused.value.status == BAD_INPUT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2d", "2027-01-13 08:00:00"),
        ("1h 30m", "2027-01-15 06:30:00"),
        ("today", "2027-01-15 00:00:00"),
        ("yesterday", "2027-01-14 00:00:00"),
        ("07:05", "2027-01-15 07:05:00"),
        ("07:05:06", "2027-01-15 07:05:06"),
        ("2026-11-20", "2026-11-20 00:00:00"),
        ("2026-11-20T14:05", "2026-11-20 14:05:00"),
        ("2026-11-20 14:05:06", "2026-11-20 14:05:06"),
    ],
)
def test_a_moment_is_so_long_ago_or_by_the_clock(text: str, shown: str) -> None:
    at_s = when.moment(text, "--since", NOW_S)
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s)) == shown


@pytest.mark.parametrize(
    "text", ["", "x", "tomorrow", "25:00", "12:60", "2026-13-01", "2026-02-30", "2026-11", "1-2-3", "T", "::", "5"]
)
def test_any_other_is_refused(text: str) -> None:
    with pytest.raises(WqError, match="--since: "):
        when.moment(text, "--since", NOW_S)


@pytest.mark.parametrize("text", ["25:00:00", "1-12", "1-12:00"])
def test_what_has_a_colon_or_a_dash_is_by_the_clock_alone(text: str) -> None:
    assert duration.seconds(text) is not None
    with pytest.raises(WqError, match="--since: "):
        when.moment(text, "--since", NOW_S)
