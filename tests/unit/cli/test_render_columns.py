"""Listings with chosen columns: what is in them, their order, and how they fit into a window."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.cli.render import columns, jobs
from wq.cli.render.colour import Style
from wq.cli.render.columns import COLUMNS, Facts, in_order, lines, rows_for_programs
from wq.cli.render.sanitise import painted_width, printable, width

NOW_S = 10_000.0
TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)
BRIEF = jobs.FIELDS[1:-1]


def job(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": 12,
        "task": None,
        "user": "anze",
        "uid": 1001,
        "name": "fit",
        "command": "./fit --all\n",
        "state": "queued",
        "priority": "med",
        "mode": "bycore",
        "n": 4,
        "ncores": None,
        "nhosts": None,
        "hosts": [],
        "attempt": 0,
        "requeue": True,
        "requeued_why": None,
        "out_of_sight": None,
        "array": None,
        "foreground": False,
        "submit_dir": "/home/anze/my work",
        "requirement": {"group": ["gen4", "gen5"], "notgroup": [], "host": None, "min_cores": 0, "min_mem": 48.5,
                        "threads": None, "X": False},
        "submitted_at": 9_000.0,
        "started_at": None,
        "ended_at": None,
        "reason": None,
        "outcome": None,
    }  # fmt: skip
    assert changes.keys() <= {*row, "starts_at"}
    return row | changes


def outcome(**changes: Any) -> dict[str, Any]:
    found = {"kind": "exited", "exit_status": 0, "signal": None, "by": None, "message": None, "cpu_s": 61.5}
    return found | changes


def facts(*rows: dict[str, Any]) -> Facts:
    return Facts(rows, (), NOW_S)


def cell(name: str, **changes: Any) -> str:
    """What stands in this column."""
    _, line = lines(facts(job(**changes)), [name, "id"])
    return line.removesuffix(" 12").rstrip(" ")


def value(name: str, **changes: Any) -> Any:
    """The same for programs."""
    [row] = rows_for_programs(facts(job(**changes)), [name])
    assert list(row) == [name]
    return row[name]


ROWS = st.lists(
    st.builds(
        job,
        id=st.integers(1, 10**6),
        user=TEXT,
        name=TEXT,
        state=st.sampled_from([*columns.STATES, "new"]),
        ncores=st.none() | st.integers(0, 5000),
        submitted_at=st.floats(0, 1e6),
        started_at=st.none() | st.floats(0, 1e6),
        ended_at=st.none() | st.floats(0, 1e6),
        array=st.none() | st.just({"waiting": 5, "running": 1, "done": 0, "failed": 0}),
    ),
    max_size=5,
)


class TestTheUsualColumns:
    @given(ROWS, st.booleans())
    def test_are_those_of_the_plain_listing(self, rows: list[dict[str, Any]], colour: bool) -> None:
        plain = jobs.listing(rows, NOW_S, Style(enabled=colour))
        seen = facts(*rows)
        assert [*lines(seen, style=Style(enabled=colour)), seen.footer()] == plain
        assert [*lines(seen, style=Style(enabled=colour), window=10_000), seen.footer()] == plain
        short = Facts([jobs.brief(row) for row in rows], BRIEF, NOW_S)
        assert lines(short, style=Style(enabled=colour)) == plain[:-1]

    def test_a_row_that_stands_for_many_jobs_is_spread(self) -> None:
        row = [8, None, "anze", "queued", "med", None, None, "fit", 0.0, None, None, None, None, 11]
        short = Facts([row, [20, *row[1:-1], None]], BRIEF, NOW_S)
        assert short.footer() == "Jobs: 5 Running: 0 Waiting: 5"
        assert short.spread()["id"] == [8, 9, 10, 11, 20]
        assert [*lines(short.spread()), short.spread().footer()] == jobs.listing([row, [20, *row[1:-1], None]], NOW_S)

    def test_more_may_stand_behind_them(self) -> None:
        head, line = lines(
            facts(job(reason={"code": "Limit", "text": "the limit"})), [*columns.USUAL, "reason", "name"]
        )
        assert head.split() == [*jobs.HEADER, "Reason", "Name"]
        assert line.split()[-2:] == ["Limit", "fit"]

    @pytest.mark.parametrize("rows", [[["x"] * 14], [[1, "x", *[None] * 11, None]], [[1, *[None] * 12, 1 << 60]]])
    def test_what_is_no_number_is_not_taken_for_one(self, rows: list[Any]) -> None:
        with pytest.raises(ValueError):
            Facts(rows, BRIEF, NOW_S).spread()


class TestCells:
    @given(st.sampled_from(sorted(COLUMNS)), TEXT)
    def test_are_one_word_each_whatever_is_in_them(self, name: str, text: str) -> None:
        reason = {"code": text, "text": text}
        row = job(name=text, command=text, submit_dir=text, user=text, requeued_why=text, reason=reason,
                  hosts=[{"host": text, "cores": [0]}], outcome=outcome(kind=text, message=text))  # fmt: skip
        _, line = lines(facts(row), [name, "id"])
        assert len(line.split()) == 2
        assert printable(line) == line

    def test_times_are_one_word_on_this_hosts_clock(self) -> None:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(9_000))
        assert cell("submitted") == text
        assert (cell("started"), value("submitted"), value("started")) == ("-", 9000.0, None)

    def test_how_long(self) -> None:
        assert (cell("t_in"), value("t_in")) == ("16m40s", 1000)
        assert (cell("t_run"), value("t_run")) == ("-", None)
        ended = {"state": "done", "started_at": 9_010.0, "ended_at": 9_015.0, "outcome": outcome()}
        assert (cell("t_in", **ended), cell("t_run", **ended), cell("cpu", **ended)) == ("15s", "5s", "1m01s")

    @pytest.mark.parametrize(
        ("end", "status", "how"),
        [
            (None, None, "-"),
            (outcome(), 0, "exit-status-0"),
            (outcome(exit_status=3), 3, "exit-status-3"),
            (outcome(kind="signalled", exit_status=None, signal=9), 137, "killed-by-signal-9-(KILL)"),
            (outcome(kind="removed", exit_status=None, by="erin"), None, "removed-by-erin"),
        ],
    )
    def test_how_it_ended(self, end: Any, status: int | None, how: str) -> None:
        row = {"state": "done", "outcome": end}
        assert (value("exit", **row), cell("exit", **row)) == (status, "-" if status is None else str(status))
        assert cell("how", **row) == how
        assert cell("outcome", **row) == (end["kind"] if end else "-")

    def test_why_it_waits(self) -> None:
        reason = {"code": "Resources", "text": "4 cores wanted, 2 are free"}
        assert (cell("reason", reason=reason), value("reason", reason=reason)) == ("Resources", "Resources")
        assert cell("why", reason=reason) == "4-cores-wanted,-2-are-free"
        assert value("why", reason=reason) == "4 cores wanted, 2 are free"
        assert (cell("reason"), value("why")) == ("-", None)
        assert (cell("reason", state="held"), value("why", state="held")) == ("Hold", "it is held")

    def test_when_it_starts_is_not_known_before_a_server_says_so(self) -> None:
        assert (cell("start"), value("start")) == ("-", None)
        assert (cell("start", starts_at=9_000.0), value("start", starts_at=9_000.0)) == (cell("submitted"), 9_000.0)

    def test_where(self) -> None:
        hosts = [{"host": "node1", "cores": [0]}, {"host": "node2", "cores": [0, 1]}]
        assert (cell("nodes", hosts=hosts), value("nodes", hosts=hosts)) == ("node1,node2", ["node1", "node2"])
        assert (cell("nodes"), value("nodes")) == ("-", [])
        assert (cell("dir"), value("dir")) == ("/home/anze/my-work", "/home/anze/my work")

    def test_what_was_asked_for(self) -> None:
        assert [
            cell(name) for name in ("group", "notgroup", "min_cores", "min_mem", "x")
        ] == "gen4,gen5 - - 48.5 no".split()
        assert value("group") == ["gen4", "gen5"]

    def test_arrays(self) -> None:
        array = {"waiting": 8, "running": 2, "done": 5, "failed": 1, "tasks": 15, "at_most": None, "removed": 0}
        assert cell("counts", array=array) == cell("status", array=array) == "W8/R2/D5/F1"
        assert value("counts", array=array) == {"waiting": 8, "running": 2, "done": 5, "failed": 1}
        assert (value("tasks", array=array), cell("at_most", array=array), cell("counts")) == (15, "-", "-")
        assert lines(facts(job(task=5)), ["id", "task"])[1].split() == ["12.5", "5"]

    def test_out_of_sight(self) -> None:
        dark = {"since": 1.0, "hosts": ["a", "b"], "why": "x"}
        assert (cell("out_of_sight", out_of_sight=dark), value("out_of_sight", out_of_sight=dark)) == ("a,b", dark)


class TestOrder:
    def ids(self, *sort: tuple[str, bool], rows: list[dict[str, Any]]) -> list[int]:
        seen = facts(*rows)
        return [seen["id"][at] for at in in_order(seen, range(len(rows)), sort)]

    def test_is_that_of_the_ids_where_nothing_else_is_said(self) -> None:
        assert self.ids(rows=[job(id=3), job(id=1), job(id=2)]) == [1, 2, 3]
        seen = facts(job(id=2, task=1), job(id=2), job(id=1))
        assert list(in_order(seen, range(3), [])) == [2, 1, 0]

    def test_the_first_column_counts_first_and_equal_ones_stay_in_the_order_of_ids(self) -> None:
        rows = [job(id=1, user="b", name="y"), job(id=2, user="a", name="y"), job(id=3, user="b", name="x")]
        assert self.ids(("user", False), ("name", False), rows=rows) == [2, 3, 1]
        assert self.ids(("user", True), rows=rows) == [1, 3, 2]
        assert self.ids(("id", True), rows=rows) == [3, 2, 1]

    def test_what_has_nothing_there_stands_behind_in_both_directions(self) -> None:
        rows = [job(id=1), job(id=2, started_at=5.0), job(id=3, started_at=7.0)]
        assert self.ids(("started", False), rows=rows) == [2, 3, 1]
        assert self.ids(("started", True), rows=rows) == [3, 2, 1]

    def test_priorities_and_states_have_an_order_of_their_own(self) -> None:
        rows = [job(id=n, priority=word) for n, word in enumerate(["med", "block", "low", "new", "high"], 1)]
        assert self.ids(("priority", False), rows=rows) == [3, 1, 5, 2, 4]
        rows = [job(id=n, state=word) for n, word in enumerate(["done", "queued", "running"], 1)]
        assert self.ids(("state", False), rows=rows) == [2, 3, 1]

    @pytest.mark.parametrize("name", sorted(COLUMNS))
    def test_every_column_can_be_sorted_by(self, name: str) -> None:
        array = {"waiting": 8, "running": 2, "done": 5, "failed": 1, "tasks": 15, "at_most": 2, "removed": 0}
        dark = {"since": 1.0, "hosts": ["a"], "why": "x"}
        rows = [job(id=1), job(id=2, array=array, out_of_sight=dark, outcome=outcome(), started_at=1.0), job(id=3)]
        assert sorted(self.ids((name, True), rows=rows)) == [1, 2, 3]


class TestAWindow:
    LONG = job(name="a_name_that_has_no_end_" * 5 + "7", command="c" * 300)

    @given(ROWS, st.integers(70, 200), st.booleans())
    def test_lines_fit_while_names_can_be_shortened(
        self, rows: list[dict[str, Any]], window: int, colour: bool
    ) -> None:
        rows = [row | {"user": "anze", "ncores": 1, "submitted_at": 9e3, "ended_at": None} for row in rows]
        for line in lines(facts(*rows), style=Style(enabled=colour), window=window):
            assert painted_width(line) <= max(window, 78)

    def test_nothing_is_shortened_where_there_is_none(self) -> None:
        assert self.LONG["name"] in lines(facts(self.LONG))[1]
        assert self.LONG["command"] in lines(facts(self.LONG), ["id", "command"])[1]

    def test_names_keep_their_ends_and_commands_their_beginnings(self) -> None:
        _, line = lines(facts(self.LONG), ["id", "name", "user"], window=30)
        assert width(line) == 30
        assert re.fullmatch(r"12 a_name_\w+…\w+_7 anze", line)
        _, line = lines(facts(self.LONG), ["id", "command"], window=30)
        assert line == "12 " + "c" * 26 + "…"

    def test_the_widest_gives_first(self) -> None:
        _, line = lines(facts(self.LONG | {"name": "n" * 20}), ["name", "command"], window=60)
        assert line == "n" * 20 + " " + "c" * 38 + "…"
        _, line = lines(facts(self.LONG | {"name": "n" * 20}), ["name", "command"], window=31)
        assert [len(word) for word in line.split()] == [15, 15]

    def test_no_cell_becomes_too_narrow_to_be_read(self) -> None:
        _, line = lines(facts(self.LONG), ["name", "user", "command"], window=5)
        assert [len(word) for word in line.split()] == [8, 4, 8]

    def test_only_so_many_lines_are_made(self) -> None:
        assert len(lines(facts(*[job(id=n) for n in range(1, 50)]), most=5)) == 6
