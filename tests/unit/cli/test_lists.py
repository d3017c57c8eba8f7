"""wq ls -o, --sort, --state, --name: what is asked for, what is left of the answer, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.test_ls import listed
from tests.unit.cli.test_render_columns import job, outcome
from wq.cli import lists, main, select
from wq.cli.render import jobs
from wq.cli.render.columns import COLUMNS

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _here(monkeypatch: Patch) -> None:
    monkeypatch.setenv("WQ_SERVER", "")
    monkeypatch.setenv("WQ_PORT", "1")


ARRAY = {"waiting": 5, "running": 0, "done": 4, "failed": 1, "tasks": 9, "at_most": None, "removed": 0}
ROWS = [
    job(id=1, state="running", name="fit a", ncores=4, started_at=9_000.0),
    job(id=2, name="fit b"),
    job(id=3, state="held", name="Fit"),
    job(id=4, array=ARRAY, name="stack"),
    job(id=5, state="done", ended_at=9_500.0, outcome=outcome()),
    job(id=6, state="done", ended_at=9_500.0, outcome=outcome(exit_status=3)),
    job(id=7, state="done", ended_at=9_500.0, outcome=outcome(kind="removed", exit_status=None, by="erin")),
]


def seen(patch: Patch, capsys: Capture, *words: str, rows: list[Any] | None = None) -> list[str]:
    """The lines of the listing."""
    status, _ = listed(patch, list(ROWS if rows is None else rows), *words)
    assert status == 0
    return capsys.readouterr().out.splitlines()


def asked(patch: Patch, *words: str) -> dict[str, Any]:
    return listed(patch, [], *words)[1]


class TestWhatIsAskedFor:
    @pytest.mark.parametrize(
        "words", [["--sort", "t_in"], ["--name", "x"], ["--state", "W,R"], ["-o", "id,status,name,counts"]]
    )
    def test_the_brief_form_where_it_is_enough(self, monkeypatch: Patch, words: list[str]) -> None:
        found = asked(monkeypatch, *words)
        assert found == {"users": [], "ids": [], "finished": False, "why": False, "brief": True}
        assert lists.Wanted(args_of("-w")).request() == {"why": False, "brief": True}

    def test_else_the_fields_that_are_needed_and_reasons_only_for_those_who_show_them(self, monkeypatch: Patch) -> None:
        found = asked(monkeypatch, "-o", "id,dir", "--sort=exit", "--name", "x", "-u", "anze", "3")
        assert {*found.pop("fields")} == {"task", "state", "array", "out_of_sight", "submit_dir", "outcome", "name"}
        assert found == {"users": ["anze"], "ids": [[3, 3]], "finished": False, "why": False}
        found = asked(monkeypatch, "-o", "+why")
        assert (found["why"], "reason" in found["fields"], "name" in found["fields"]) == (True, True, True)

    @pytest.mark.parametrize("words", [["--json"], ["-f"]])
    def test_everything_where_everything_is_shown(self, monkeypatch: Patch, words: list[str]) -> None:
        found = asked(monkeypatch, *words, "--state", "waiting")
        assert found == {"users": [], "ids": [], "finished": False, "why": True}

    @pytest.mark.parametrize(("state", "finished"), [("waiting,held", False), ("running,failed", True), ("D", True)])
    def test_finished_ones_where_they_are_wanted(self, monkeypatch: Patch, state: str, finished: bool) -> None:
        assert asked(monkeypatch, "--state", state)["finished"] is finished


def args_of(*words: str) -> Any:
    from wq.cli import options
    from wq.cli.commands import ls

    return options.read("ls", ls, list(words))


class TestColumns:
    def test_stand_in_the_order_in_which_they_are_named(self, monkeypatch: Patch, capsys: Capture) -> None:
        found = seen(monkeypatch, capsys, "-o", "name, Id,state", "5", rows=[ROWS[4]])
        assert found == ["Name Id State", "fit  5  done", "Jobs: 1 Running: 0 Waiting: 0 Done: 1"]

    @pytest.mark.parametrize("page", ["commands.md", "json.md"])
    def test_are_all_documented(self, page: str) -> None:
        text = (Path(__file__).parents[3] / "docs" / page).read_text()
        _, _, part = text.partition("### Columns" if page == "commands.md" else "### wq ls --json -o")
        named = set(re.findall("`([a-z_]+)`", part))
        assert set(COLUMNS) - named == set()
        assert {*lists.STATES} - named == set() or page == "json.md"

    def test_a_plus_adds_to_the_usual_ones(self, monkeypatch: Patch, capsys: Capture) -> None:
        assert seen(monkeypatch, capsys, "-o", "+mode,n")[0].split() == [*jobs.HEADER, "Mode", "N"]

    def test_for_programs_there_are_exactly_these(self, monkeypatch: Patch, capsys: Capture) -> None:
        listed(monkeypatch, ROWS[:2], "--json", "-o", "id,name,ncores,start")
        assert json.loads(capsys.readouterr().out) == [
            {"id": 1, "name": "fit a", "ncores": 4, "start": None},
            {"id": 2, "name": "fit b", "ncores": None, "start": None},
        ]

    def test_rows_of_chosen_fields_are_read_as_they_come(self, monkeypatch: Patch, capsys: Capture) -> None:
        fields = lists.Wanted(args_of("-o", "id,dir")).fields
        row = [8, *(job()[name] for name in fields), 10]
        assert seen(monkeypatch, capsys, "-o", "id,dir", rows=[row])[1:4] == [
            "8  /home/anze/my-work",
            "9  /home/anze/my-work",
            "10 /home/anze/my-work",
        ]

    def test_ids_that_are_not_there_are_named(self, monkeypatch: Patch, capsys: Capture) -> None:
        assert listed(monkeypatch, ROWS[:1], "-o", "id", "1", "99", "--name", "nobody")[0] == 1
        assert capsys.readouterr().err == "wq: no job 99 is known\n"

    def test_remarks_are_made_as_ever(self, monkeypatch: Patch, capsys: Capture) -> None:
        dark = {"since": None, "hosts": ["a"], "why": "nobody knows"}
        listed(monkeypatch, [ROWS[0] | {"out_of_sight": dark}], "--sort", "id")
        assert "job 1 on a: nobody knows; it runs on" in capsys.readouterr().err


class TestWhatIsLeft:
    @pytest.mark.parametrize(
        ("states", "ids"),
        [
            ("waiting", [2, 4]),
            ("W", [2, 4]),
            ("running,held", [1, 3]),
            ("done", [5, 6, 7]),
            ("failed", [4, 6, 7]),
            ("F,R", [1, 4, 6, 7]),
            ("succeeded", [5]),
            ("removed", [7]),
            ("lost", []),
            ("starting,stopping", []),
        ],
    )
    @pytest.mark.parametrize("form", [["-o", "id"], ["--json"], ["-f"]])
    def test_by_state(self, monkeypatch: Patch, capsys: Capture, states: str, ids: list[int], form: list[str]) -> None:
        listed(monkeypatch, list(ROWS), *form, "--state", states)
        out = capsys.readouterr().out
        if form == ["--json"]:
            assert [row["id"] for row in json.loads(out)] == ids
        elif form == ["-f"]:
            assert [line for line in out.splitlines() if line.startswith("- id:")] == [f"- id: {n}" for n in ids]
        else:
            assert [int(line) for line in out.splitlines()[1:-1]] == ids

    @pytest.mark.parametrize(("pattern", "ids"), [("fit*", [1, 2]), ("[Ff]it", [3]), ("fit ?", [1, 2]), ("*x*", [])])
    def test_by_name(self, monkeypatch: Patch, capsys: Capture, pattern: str, ids: list[int]) -> None:
        found = seen(monkeypatch, capsys, "-o", "id", "--name", pattern, rows=ROWS[:4])
        assert [int(line) for line in found[1:-1]] == ids
        assert found[-1].startswith(f"Jobs: {len(ids)} ")  # what is shown is what is counted

    def test_of_a_row_that_stands_for_many_jobs(self, monkeypatch: Patch, capsys: Capture) -> None:
        waits = [8, None, "anze", "queued", "med", None, None, "fit", 0.0, None, None, None, None, 11]
        runs = [12, None, "anze", "running", "med", 1, 1, "fit", 0.0, 1.0, None, None, None, None]
        found = seen(monkeypatch, capsys, "--state", "W", "--sort", "-id", rows=[waits, runs])
        assert [line.split()[0] for line in found] == ["Id", "11", "10", "9", "8", "Jobs:"]

    def test_running_is_what_it_is_for_other_commands(self, monkeypatch: Patch, capsys: Capture) -> None:
        """Also while it is being ended."""
        rows = [job(id=n, state=state) for n, state in enumerate(("stopping", "suspended", "starting", "queued"), 1)]
        found = seen(monkeypatch, capsys, "-o", "id", "--state", "running", rows=rows)
        assert [int(line) for line in found[1:-1]] == [1, 3]
        assert {state: lists.STATES[state] for state in select.STATES} == select.STATES


class TestOrder:
    def test_states_are_in_the_order_of_a_jobs_life(self, monkeypatch: Patch, capsys: Capture) -> None:
        states = ("done", "suspended", "stopping", "running")
        rows = [job(id=n, state=state) for n, state in enumerate(states, 1)]
        found = seen(monkeypatch, capsys, "-o", "state", "--sort", "state", rows=rows)
        assert found[1:-1] == ["running", "suspended", "stopping", "done"]

    @pytest.mark.parametrize("words", [["--sort", "-name,id"], ["--sort=-name,id"]])
    def test_a_dash_turns_it_round(self, monkeypatch: Patch, capsys: Capture, words: list[str]) -> None:
        assert [line.split()[0] for line in seen(monkeypatch, capsys, *words, rows=ROWS[:3])[1:-1]] == ["2", "1", "3"]

    def test_it_holds_for_programs_too(self, monkeypatch: Patch, capsys: Capture) -> None:
        listed(monkeypatch, ROWS[:3], "--sort", "-id", "--json")
        assert json.loads(capsys.readouterr().out) == ROWS[2::-1]


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["-o", "nme"], "ls: there is no column 'nme'; there are: name, "),
            (["-o", "+id,submitted_at"], "ls: there is no column 'submitted_at'; there are: submitted, "),
            (["--sort", "-nme"], "ls: there is no column 'nme'; there are: name, "),
            (["--state", "runing"], "ls: there is no state 'runing'; there are: running, "),
            (["-o", ""], "ls: -o is empty"),
            (["-o", " , "], "ls: -o is empty"),
            (["--sort", ","], "ls: --sort is empty"),
            (["-o", "\x1b[2J"], "ls: there is no column '\\x1b[2j'"),
            (["-f", "-o", "id"], "ls: -f shows everything; -o chooses"),
            (["-w", "soon"], "ls: --watch: 'soon' is none"),
            (["-w", "0"], "ls: --watch: '0' is none"),
            (["--watch=nan"], "ls: --watch: 'nan' is none"),
            (["-w1e9"], "ls: --watch: '1e9' is none"),
            (["-o"], "ls: argument -o/--columns: expected one argument"),
            (["--sort"], "ls: argument --sort: expected one argument"),
        ],
        ids=str,
    )
    def test_are_one_line(self, monkeypatch: Patch, capsys: Capture, words: list[str], sentence: str) -> None:
        monkeypatch.setattr("wq.cli.commands.ls.connect", lambda *_, **__: pytest.fail("the server was asked"))
        assert main.main(["ls", *words]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"wq: {sentence}")


def test_what_is_drawn_is_fit_for_a_terminal() -> None:
    evil = "\x1b[2J\x07\u202e"
    dark = {"since": 1.0, "hosts": [evil], "why": evil}
    rows = [job(state="running", name=evil, user=evil, out_of_sight=dark), *(job(id=n) for n in range(20, 90))]
    for words in ([], ["-o", "id,name,out_of_sight"], ["-f"]):
        picture = lists.Wanted(args_of("-w", *words)).picture(rows, 80, 10)
        lines = [*picture.head, *picture.body, *picture.tail]
        assert all(line.isprintable() for line in lines)
        assert len(picture.body) == 10
        if not words:
            assert (picture.nmore, picture.tail[0]) == (61, "Jobs: 71 Running: 1 Waiting: 70")
            assert "out of sight since" in picture.tail[1]
