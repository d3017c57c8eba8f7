"""The picture: it is one, whatever the schedules are."""

from __future__ import annotations

import io
import sys

import pytest

from tests.unit.simulate.test_measure import schedule
from wq.simulate import plot
from wq.simulate.measure import Schedule, worth_of

pytest.importorskip("matplotlib")


def picture(*schedules: Schedule, title: str = "") -> bytes:
    file = io.BytesIO()
    plot.draw(schedules, [worth_of(one, 4) for one in schedules], 4, title, file)
    return file.getvalue()


def test_it_is_a_png() -> None:
    some, others = schedule((0, 0, 100, 4), (10, 100, 50, 2)), schedule((0, 0, 100, 4), (10, 110, 50, 2))
    assert picture(some, others, title="a & b: $x_1^ 100%").startswith(b"\x89PNG\r\n")


def test_one_job_in_no_time_can_be_drawn() -> None:
    assert picture(schedule((0, 0, 1e-9, 1))).startswith(b"\x89PNG\r\n")


def test_it_opens_no_window_and_keeps_nothing() -> None:
    picture(schedule((0, 0, 100, 4)))
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    ("span_s", "unit"),
    [(0, "seconds"), (119, "seconds"), (120, "minutes"), (7200, "hours"), (90_000, "hours"), (200_000, "days")],
)
def test_times_are_in_the_largest_unit_that_fits(span_s: float, unit: str) -> None:
    assert plot.unit_of(span_s)[1] == unit
