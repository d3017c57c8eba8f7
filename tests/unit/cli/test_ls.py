"""wq ls: what it asks for, and what it shows of the answer."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from wq.cli import main
from wq.cli.commands import ls
from wq.cli.render.sanitise import width

WAITS = ["queued", "med", None, None, "fit", 0.0, None, None, None, None, None]


class FakeServer:
    """A server with one answer; asked: what it was asked for."""

    def __init__(self, jobs: list[Any]) -> None:
        self.jobs = jobs
        self.asked: dict[str, Any] = {}

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        if kind == "newest":
            return {"id": 12}
        if kind == "hist":
            return {"jobs": [{"id": 7}], "more": 0}
        self.asked = fields
        return {"jobs": self.jobs}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WQ_SERVER", "")
    monkeypatch.setenv("WQ_PORT", "1")


def listed(patch: pytest.MonkeyPatch, jobs: list[Any], *words: str) -> tuple[int, dict[str, Any]]:
    """(exit status, what the server was asked for)"""
    server = FakeServer(jobs)
    patch.setattr(ls, "connect", lambda port, recall: server)
    return main.main(["ls", *words]), server.asked


def test_the_listing_asks_for_the_brief_form(monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked = listed(monkeypatch, [], "-u", "anze,erin", "12", "3-9")
    assert asked == {
        "users": ["anze", "erin"],
        "ids": [[12, 12], [3, 9]],
        "finished": False,
        "why": False,
        "brief": True,
    }


@pytest.mark.parametrize("option", ["-f", "--json"])
def test_what_is_shown_in_full_does_not(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    _, asked = listed(monkeypatch, [], option, "-a", "12.5")
    assert asked == {"users": [], "ids": [], "tasks": [[12, 5, 5]], "finished": True, "why": True}


@pytest.mark.parametrize(
    "words", [["--json"], ["-f"], ["-w"], ["-o", "id"], ["--sort", ""], ["--state", "running"], ["--name", ""]], ids=str
)
def test_a_tree_is_refused_with_what_it_would_not_heed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    status, asked = listed(monkeypatch, [], "--tree", *words)
    assert (status, asked) == (2, {})
    assert capsys.readouterr().err == "wq: ls: --tree goes with -u, -a and ids alone\n"


@pytest.mark.parametrize("options", [[], ["--json"], ["-f"], ["--tree"], ["-o", "id"], ["--state", "done"]], ids=str)
def test_the_last_one_and_ones_of_a_name_are_meant_beside_ids(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    status, asked = listed(monkeypatch, [], *options, "last", "3-5", "fit", "12.5")
    assert (asked["ids"], asked["tasks"]) == ([[12, 12], [3, 5], [7, 7]], [[12, 5, 5]])
    assert (status, capsys.readouterr().err) == (1, "wq: no job 12, 7, 12.5 is known\n")


@pytest.mark.parametrize("options", [[], ["--tree"], ["-o", "id"]], ids=str)
def test_a_bad_id_beside_a_name_is_refused_before_anybody_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert listed(monkeypatch, [], *options, "fit", "12x") == (2, {})
    assert "'12x' is not the id of a job" in capsys.readouterr().err


def test_both_forms_are_listed_by_id(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    array = [12, None, "anze", "queued", "med", None, None, "fit", 0.0, None, None, [9, 0, 0, 0], None, None]
    rows = [array, [12, 9, "anze", *WAITS], [12, 10, "anze", *WAITS], [13, None, "anze", *WAITS]]
    assert listed(monkeypatch, rows)[0] == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == "Id 12 12.9 12.10 13 Jobs:".split()
    names = "user state priority ncores nhosts name submitted_at started_at ended_at".split()
    named = [{"id": number, **dict(zip(names, ["anze", *WAITS], strict=False))} for number in (13, 12)]
    assert listed(monkeypatch, named)[0] == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == "Id 12 13 Jobs:".split()


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    last = [3, None, "anze", *WAITS[:-1], 5]
    rows = [last, [12, 5, "anze", *WAITS]]
    assert listed(monkeypatch, rows, "3", "4,5", "12.5", "12.9-20", "70-80")[0] == 0
    assert listed(monkeypatch, rows, "4", "6", "12.6,7", "7.1")[0] == 1
    assert capsys.readouterr().err == "wq: no job 6, 12.6, 7, 7.1 is known\n"


def test_for_programs_rows_pass_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": 12, "task": 5, "array": None}, {"id": 12, "task": None, "array": {"waiting": 9}}]
    assert listed(monkeypatch, list(rows), "--json", "12")[0] == 0
    assert json.loads(capsys.readouterr().out) == rows[::-1]
    assert listed(monkeypatch, list(rows), "-f", "12")[0] == 0
    assert "array:\n    waiting: 9\n" in capsys.readouterr().out


def test_jobs_that_nobody_can_hear_of_are_remarked_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = {"since": None, "hosts": ["a"], "why": "nobody knows"}
    row = [3, None, "anze", "running", "med", 1, 1, "fit", 0.0, 0.0, None, None, dark, 5]
    listed(monkeypatch, [row])
    assert "jobs 3-5 on a: nobody knows; they run on" in capsys.readouterr().err


class TestAWindow:
    """A terminal, which FORCE_COLOR and COLUMNS stand for here."""

    ROWS = (
        [3, None, "anze", *WAITS[:-1], 5],
        [6, None, "anze", *WAITS[:4], "a_name_" * 20, *WAITS[5:]],
        [7, 1, "anze", *WAITS[:4], "日本" * 20, *WAITS[5:]],
    )

    def shown(
        self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rows: list[Any], columns: str
    ) -> list[str]:
        patch.setenv("FORCE_COLOR", "1")
        patch.setenv("NO_COLOR", "1")
        patch.setenv("COLUMNS", columns)
        listed(patch, rows)
        return capsys.readouterr().out.splitlines()

    def test_lines_fit_into_it(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [[*row[:8], time.time(), *row[9:]] for row in self.ROWS]
        found = self.shown(monkeypatch, capsys, rows, "80")
        assert [line.split()[0] for line in found] == ["Id", "3", "4", "5", "6", "7.1", "Jobs:"]
        assert max(map(width, found)) == 80
        assert ["…" in line for line in found] == [False, False, False, False, True, True, False]
        assert found[-1] == "Jobs: 5 Running: 0 Waiting: 5"

    def test_what_fits_is_as_ever(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [[*row[:8], time.time(), *row[9:]] for row in self.ROWS]
        found = self.shown(monkeypatch, capsys, rows[:1], "80")
        monkeypatch.delenv("FORCE_COLOR")
        listed(monkeypatch, rows[:1])
        assert capsys.readouterr().out.splitlines() == found
