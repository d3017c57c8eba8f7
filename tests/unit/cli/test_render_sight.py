"""Jobs out of sight, in words."""

from __future__ import annotations

import time
from typing import Any

from wq.cli.render.numbers import numbers
from wq.cli.render.sight import remarks

NOW_S = 1_795_382_000.0


def row(number: int, why: str = "node1 does not answer", *, ago_s: float | None = 180.0, host: str = "node1") -> Any:
    since = None if ago_s is None else NOW_S - ago_s
    return {"id": number, "out_of_sight": {"since": since, "hosts": [host], "why": why}}


def at(ago_s: float, form: str = "%H:%M") -> str:
    return time.strftime(form, time.localtime(NOW_S - ago_s))


def test_nothing_is_said_of_what_is_in_sight() -> None:
    assert remarks([{"id": 1, "out_of_sight": None}, {"id": 2}], NOW_S) == []


def test_one_remark_for_each_cause_the_oldest_first() -> None:
    rows = [row(14), row(3, "the launcher of anze is away", ago_s=200), row(12, ago_s=185), {"id": 5}]
    assert remarks(rows, NOW_S) == [
        f"out of sight since {at(200)} (3m20s): job 3 on node1: the launcher of anze is away; it runs on",
        f"out of sight since {at(185)} (3m05s): jobs 12, 14 on node1: node1 does not answer; they run on",
    ]


def test_after_half_a_day_the_day_is_said() -> None:
    (remark,) = remarks([row(1, ago_s=90_000)], NOW_S)
    assert f"since {at(90_000, '%Y-%m-%d %H:%M')} (1d01h00m00s): " in remark


def test_what_nobody_knows_the_beginning_of_begins_now() -> None:
    (remark,) = remarks([row(1, ago_s=None)], NOW_S)
    assert f"since {at(0)} (0s): " in remark


def test_long_lists_are_cut() -> None:
    rows = [row(number, host=f"node{number}") for number in range(2, 60, 2)]
    (remark,) = remarks(rows, NOW_S)
    assert (
        "jobs 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, ... (29 jobs) on node2, node4, node6, node8, node10 and 24 more: "
        in (remark)
    )


def test_numbers_fold_neighbours() -> None:
    assert numbers([]) == ""
    assert numbers([3, 1, 2, 9, 7, 8, 5]) == "1-3, 5, 7-9"
