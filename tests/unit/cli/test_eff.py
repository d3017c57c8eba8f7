"""wq eff: what it asks for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from wq.cli import main
from wq.cli.commands import eff

pytestmark = pytest.mark.usefixtures("utc")

NOW_S = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WQ_SERVER", "")
    monkeypatch.setenv("WQ_PORT", "1")
    monkeypatch.setattr(time, "time", lambda: NOW_S)


def asked(patch: pytest.MonkeyPatch, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """(exit status, what the server was asked for)"""
    found: list[dict[str, Any]] = []

    class Server:
        def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
            if kind == "newest":
                return {"id": 12}
            if kind == "hist":
                return {"jobs": [{"id": 7}], "more": 0}
            if kind == "eff":
                found.append({"kind": kind, **fields})
            return {"jobs": []}

    patch.setattr(eff, "connect", lambda port, recall: Server())
    return main.main(["eff", *words]), found


@pytest.mark.parametrize(
    ("words", "since_s"),
    [
        ([], 7 * 86400),
        (["--since", "2h"], 7200),
        (["--since", "today"], 8 * 3600),
        (["--since", "07:05"], 55 * 60),
        (["--since", "2027-01-14T08:00"], 86400),
    ],
    ids=str,
)
def test_since_is_a_moment_as_of_the_history(monkeypatch: pytest.MonkeyPatch, words: list[str], since_s: float) -> None:
    status, (request,) = asked(monkeypatch, *words)
    assert (status, request["kind"], request["since_s"]) == (0, "eff", since_s)


@pytest.mark.parametrize("text", ["soon", "", "25:00"])
def test_what_is_none_is_refused_before_anybody_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert asked(monkeypatch, "--since", text) == (2, [])
    said = capsys.readouterr().err
    assert said.startswith(f"wq: eff: --since: {text!r} is no time; 2d (so long ago), today")
    assert said.count("\n") == 1


def test_the_last_one_and_ones_of_a_name_are_meant_beside_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (request,) = asked(monkeypatch, "last", "3-5", "fit", "12.5")
    assert (request["ids"], request["tasks"], request["users"]) == ([[12, 12], [3, 5], [7, 7]], [[12, 5, 5]], [])


def test_a_bad_id_beside_a_name_is_refused_before_anybody_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, "fit", "12x") == (2, [])
    assert "'12x' is not the id of a job" in capsys.readouterr().err
