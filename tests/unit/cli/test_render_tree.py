"""Who waits for whom, as a tree."""

from __future__ import annotations

from typing import Any

from wq.cli.render.tree import tree


def row(number: int, *after: int, kind: str = "ok", each: bool = False, **more: Any) -> dict[str, Any]:
    conditions = [{"job": other, "kind": kind, "each": each} for other in after]
    plain = {"task": None, "state": "held", "name": f"j{number}", "after": conditions, "array": None, "outcome": None}
    return {"id": number, **plain, **more}


def test_each_is_below_the_last_of_those_that_it_waits_for() -> None:
    over = {"kind": "exited", "exit_status": 3}
    rows = [
        row(1, state="done", outcome=over),
        row(2, state="running", array={"tasks": 9}),
        row(3, 1, 2),
        row(4, 3, kind="notok"),
        row(5, 2, each=True),
        row(6, 3),
        {**row(7), "task": 5},
        row(8, 99),
    ]
    assert tree(rows) == [
        "1 F j1",
        "2 R j2 [9]",
        "├─ 3 H j3  (after 1, 2)",
        "│  ├─ 4 H j4  (after failure of 3)",
        "│  └─ 6 H j6  (after 3)",
        "└─ 5 H j5  (after each of 2)",
        "8 H j8  (after 99)",
    ]


def test_a_long_chain_and_one_that_goes_round() -> None:
    chain = tree([row(1), *[row(number, number - 1) for number in range(2, 5000)]])
    assert len(chain) == 4999
    assert max(map(len, chain)) < 400
    assert tree([row(1, 2), row(2, 1)]) == ["1 H j1  (after 2)", "└─ 2 H j2  (after 1)"]


def test_a_name_is_no_more_than_a_name() -> None:
    (line,) = tree([row(1, name="a\x1b[2J b")])
    assert "\x1b" not in line
