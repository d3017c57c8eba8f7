"""wq edit: what is refused before anything is changed, and what is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from wq.cli.commands import edit
from wq.cli.errors import BAD_INPUT, WqError

ROW = {
    "id": 12,
    "mode": "bycore",
    "n": 2,
    "priority": "med",
    "requirement": {"group": [], "notgroup": [], "host": None, "min_cores": 0, "min_mem": 0.0, "threads": None},
}


class Server:
    """With one job in its queue; asked: what it was asked to change."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        if kind == "ls":
            return {"jobs": [ROW]}
        self.asked.append((kind, fields))
        return {}


@pytest.mark.parametrize("word", ["max_fails=none", "command= ", "name="])
def test_what_has_no_meaning_is_refused_before_anybody_is_asked(word: str) -> None:
    with pytest.raises(WqError, match=r"^edit: ") as refused:
        edit.parse([word])
    assert refused.value.status == BAD_INPUT


def test_none_is_as_if_it_had_not_been_given() -> None:
    server = Server()
    edit.apply(server, 12, edit.parse(["begin=none", "host=none", "N=none"]))  # type: ignore[arg-type]
    ((kind, fields),) = server.asked
    assert (kind, fields["begin_s"], fields["requirement"]["host"], fields["requirement"]["n"]) == (
        "edit",
        0.0,
        None,
        1,
    )


def test_a_name_may_be_that_word() -> None:
    server = Server()
    edit.apply(server, 12, edit.parse(["name=none"]))  # type: ignore[arg-type]
    assert server.asked == [("edit", {"id": 12, "name": "none"})]


def test_the_launcher_changes_nothing_where_the_rest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(edit, "recommand", lambda server, number, command: told.append(command))
    server = Server()
    edit.apply(server, 12, edit.parse(["command=./fit", "threads=2"]))  # type: ignore[arg-type]
    assert (told, len(server.asked)) == (["./fit"], 1)
    with pytest.raises(WqError, match="multiple of threads"):
        edit.apply(server, 12, edit.parse(["command=./new", "threads=3"]))  # type: ignore[arg-type]
    assert (told, len(server.asked)) == (["./fit"], 1)
