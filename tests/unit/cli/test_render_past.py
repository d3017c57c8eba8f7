"""The history as a table, and one job in full."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.test_hostile_answers import NEED, OUTCOME, OVER, STORY, TASKS, TRY
from wq.cli.render.past import history, page

DAY_S = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC

pytestmark = pytest.mark.usefixtures("utc")


def over(**changes: Any) -> dict[str, Any]:
    times = {"submitted_at": DAY_S - 70, "started_at": DAY_S - 62, "ended_at": DAY_S}
    plain = {
        "kind": "exited",
        "exit_status": 0,
        "signal": None,
        "by": None,
        "message": None,
        "reason": None,
        "cpu_s": 1.5,
    }
    return {**OVER, **times, "reason": None, "outcome": plain, **changes}


def story(row: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"job": row, "attempts": [], "events": [], "failed_tasks": [], **more}


def test_the_history_has_always_eight_columns() -> None:
    killed = over(
        outcome={**OUTCOME, "exit_status": None, "message": None},
        name="a b",
        hosts=[{"host": h, "cores": []} for h in "abcd"],
    )
    many = over(array=TASKS, outcome=None, hosts=[])
    assert history([over(), killed, many], 7) == [
        "Id User Name Outcome     Exit t_run Ended            Nodes",
        "5  x    name exited      0    1m02s 2026-11-18T11:06 a",
        "5  x    a-b  signalled   KILL 1m02s 2026-11-18T11:06 a,b,+2",
        "5  x    name W1/R1/D1/F1 -    1m02s 2026-11-18T11:06 -",
        "Jobs: 3 Failed: 2 (7 older: -n shows more)",
    ]


def test_an_exit_status_that_nobody_knows_is_no_success() -> None:
    unknown = {**over()["outcome"], "exit_status": None}
    assert history([over(outcome=unknown)], 0)[-1] == "Jobs: 1 Failed: 1"


def test_an_empty_one_is_a_header_and_a_footer() -> None:
    assert history([], 0) == ["Id User Name Outcome Exit t_run Ended Nodes", "Jobs: 0 Failed: 0"]


def test_a_job_in_full() -> None:
    plain: dict[str, Any] = {key: [] if isinstance(value, list) else None for key, value in NEED.items()}
    row = over(requirement=plain, foreground=False)
    assert page(story(row), DAY_S) == [
        "Job:        5",
        "Name:       name",
        "Command:    ./x",
        "User:       x (uid 5)",
        "State:      done: exit status 0",
        "Wants:      2 cores; priority med",
        "Submitted:  2026-11-18 11:05:30",
        "From:       /x",
        "Started:    2026-11-18 11:05:38, after 8s",
        "Ended:      2026-11-18 11:06:40, it ran 1m02s",
        "CPU time:   1.5 s",
        "Nodes:      a, core 0",
    ]


def test_where_its_output_is_stands_behind_the_nodes() -> None:
    row = over(foreground=False)
    lines = page(story(row, output="/x/fit-5.wqlog", error="/x/\x1b.err"), DAY_S)
    assert lines[-3:] == ["Nodes:      a, core 0", "Output:     /x/fit-5.wqlog", "Errors:     /x/\\x1b.err"]


def test_what_was_asked_for_is_said_in_words() -> None:
    (wants,) = [line for line in page(story(over()), DAY_S) if line.startswith("Wants")]
    told = "2 cores, host a, group g, notgroup h, min_cores 2, min_mem 1.5, threads 2, X windows; priority med"
    assert wants == f"Wants:      {told}"


def test_attempts_and_what_became_of_each() -> None:
    killed = over(outcome={**OUTCOME, "exit_status": None, "message": None})
    first = {**TRY, "granted_at": DAY_S, "over_at": DAY_S + 1, "hosts": ["b"], "requeued_why": "node b was rebooted"}
    last = {**first, "attempt": 2, "hosts": ["a"], "requeued_why": None}
    lines = page(story(killed, attempts=[first, last]), DAY_S)
    assert lines[-3:] == [
        "Attempts:",
        "  1: 2026-11-18 11:06:40 on b, started, over 2026-11-18 11:06:41: node b was rebooted",
        "  2: 2026-11-18 11:06:40 on a, started, over 2026-11-18 11:06:41: killed by signal 9 (KILL) on a",
    ]
    assert "State:      done: killed by signal 9 (KILL) on a" in lines


def test_who_wanted_its_end_and_why() -> None:
    removed = over(outcome={**OUTCOME, "kind": "removed", "by": "anze", "reason": "wrong catalogue"})
    events = [{"at": DAY_S, "kind": kind, "by": "anze", "reason": "no"} for kind in ("Submitted", "StopRequested")]
    lines = page(story(removed, events=events), DAY_S)
    assert "State:      done: removed by anze: wrong catalogue" in lines
    assert lines[-2:] == ["Events:", "  2026-11-18 11:06:40 its end was asked for by anze: no"]


def test_an_array_with_those_of_its_tasks_that_failed() -> None:
    lines = page({**STORY, "job": {**over(array={**TASKS, "failed": 5}, outcome=None), "task": None}}, DAY_S)
    assert lines[0] == "Array:      5"
    counted = "9: 1 waiting, 1 running, 1 done, 5 failed, 1 removed (removed by x: why), at most 2 at one time"
    assert f"Tasks:      {counted}" in lines
    at = lines.index("Failed tasks:")
    assert lines[at + 1 : at + 3] == ["  5.1: why", "  and 4 more"]


def test_why_it_waits() -> None:
    row = over(state="queued", outcome=None, started_at=None, ended_at=None, reason={"code": "x", "text": "no cores"})
    lines = page(story(row), DAY_S)
    assert lines[4:6] == ["State:      queued", "Waits:      no cores"]
