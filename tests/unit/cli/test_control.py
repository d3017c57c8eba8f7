"""Commands that change jobs in the queue: whom they ask for, and what they say of the answer."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from wq.cli import control, select

NOTHING: dict[str, list[Any]] = {"changed": [], "refused": [], "missing": []}


class Server:
    """Answers that all of it was done."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        self.asked.append(fields)
        return {"changed": [low for low, _ in fields["ids"]], "missing": []}


def args(*ids: str) -> Namespace:
    return Namespace(ids=list(ids), mine=False, failed=False, name=None, state=None)


class TestAsk:
    def test_all_is_one_word_to_the_server(self) -> None:
        server = Server()
        control.ask("hold", server, args("all"), held=True)  # type: ignore[arg-type]
        assert server.asked == [{"ids": [], "all": True, "held": True}]

    def test_what_does_not_fit_into_one_request_is_several(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(select, "MOST_RANGES", 2)
        monkeypatch.setattr(select, "chosen", lambda server, args: [[1, 1], [3, 4], [6, 6]])
        server = Server()
        facts = control.ask("hold", server, args(), held=True)  # type: ignore[arg-type]
        assert facts == {"changed": [1, 3, 6], "missing": []}
        assert [one["ids"] for one in server.asked] == [[[1, 1], [3, 4]], [[6, 6]]]

    def test_where_nothing_is_chosen_the_answer_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(select, "chosen", lambda server, args: [])
        assert control.ask("hold", Server(), args()) == {"changed": [], "missing": []}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "said", "remarks", "status"),
    [
        ({"changed": [14, 9, 10]}, "at the front: 14, 9, 10\n", "", 0),
        ({}, "there is nothing to put there\n", "", 0),
        ({"refused": [{"id": 4, "why": "no\x1b"}]}, "", "wq: job 4 is not at the front: no\\x1b\n", 1),
        ({"missing": [7, 8]}, "", "wq: no job 7-8 is in the queue\n", 1),
    ],
    ids=["changed", "nothing", "refused", "missing"],
)
def test_it_says_what_was_done(
    facts: dict[str, Any], said: str, remarks: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = NOTHING | facts
    found = control.report_changed(whole, "at the front", "put there", as_json=False, in_order=True)
    assert (found, *capsys.readouterr()) == (status, said, remarks)
