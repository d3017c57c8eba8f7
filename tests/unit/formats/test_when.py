"""When a job may begin: every form that is allowed, and what is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.formats.when import begin_s

NOW = datetime(2026, 11, 28, 14, 30, 15)


@pytest.fixture(autouse=True, params=["UTC", "Europe/Ljubljana", "Pacific/Auckland"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def then(text: str) -> str | None:
    found = begin_s(text, NOW.timestamp())
    return None if found is None else datetime.fromtimestamp(found).isoformat(" ")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("now", "2026-11-28 14:30:15"),
        ("+2h", "2026-11-28 16:30:15"),
        ("+1d12h", "2026-11-30 02:30:15"),
        ("20:00", "2026-11-28 20:00:00"),
        ("14:30", "2026-11-29 14:30:00"),
        ("8:05:07", "2026-11-29 08:05:07"),
        ("2026-12-01", "2026-12-01 00:00:00"),
        ("2026-12-01T08:00", "2026-12-01 08:00:00"),
        ("2026-12-01 08:00:30", "2026-12-01 08:00:30"),
        ("2020-01-01", "2020-01-01 00:00:00"),
    ],
)
def test_is_a_time(text: str, at: str) -> None:
    assert then(text) == at
    assert begin_s(text, 0.0) is not None  # so it is checked before there is a clock


@pytest.mark.parametrize(
    "text",
    ["", "soon", "25:00", "+", "+2", "2026-13-01", "2026-02-30", "9999-01-01", "0001-01-01", "12", "-2h", "+99999d"],
)
def test_is_none(text: str) -> None:
    assert then(text) is None


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_none(text: str) -> None:
    assert begin_s(text, NOW.timestamp()) is None or isinstance(begin_s(text, NOW.timestamp()), float)
