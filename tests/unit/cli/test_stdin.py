"""Standard input that is closed, and answers at a terminal that are none; and the editor, which needs one."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wq.cli import carried, connection, editor, install, stdin
from wq.cli.commands import afar, init
from wq.cli.errors import BAD_INPUT, WqError


class Terminal(io.TextIOWrapper):
    """On which this is typed."""

    def __init__(self, typed: bytes) -> None:
        super().__init__(io.BytesIO(typed), encoding="utf-8")

    def isatty(self) -> bool:
        return True


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`<&-`: Python has no stdin then."""
    monkeypatch.setattr(sys, "stdin", None)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """typed(what somebody types at a terminal)"""

    def type_it(text: bytes) -> None:
        for name in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(sys, name, Terminal(text if name == "stdin" else b""))

    return type_it


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    ("act", "telling"),
    [
        (lambda: init.first_words("-"), "^standard input is closed$"),
        (lambda: afar.put(), "^standard input is closed$"),
        (lambda: afar.take_along({"files": "stdin"}), "^standard input is closed$"),
        (lambda: install.meet("/opt/wq", 4242), "install_owner"),
        (lambda: connection.ask_which([4242, 4243], 5), "server_user: NAME"),
        (lambda: editor.changes(None, 12), "^edit: nothing to change"),  # type: ignore[arg-type]
    ],
    ids=["init", "put", "afar", "install", "server", "edit"],
)
def test_where_it_is_closed_a_command_says_what_it_wants(act: Callable[[], Any], telling: str) -> None:
    with pytest.raises(WqError, match=telling) as refused:
        act()
    assert refused.value.status == BAD_INPUT
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("closed")
def test_nothing_is_left_of_what_could_not_be_taken_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "parking", lambda: str(tmp_path))
    with pytest.raises(WqError):
        afar.put()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", [b"\xff\xfe\n", b"", b"no\n", b"yesss\n"])
def test_an_answer_that_is_none_is_no_consent(typed: Callable[[bytes], None], text: bytes) -> None:
    typed(text)
    with pytest.raises(WqError, match=r"^not run$"):
        install.meet("/opt/wq", 4242)


def test_an_answer_is_taken_as_it_is_typed(typed: Callable[[bytes], None]) -> None:
    typed(b" 4243 \n")
    assert stdin.answer_to("Which?") == "4243"


class TestTheEditor:
    @pytest.mark.parametrize("name", ["VISUAL", "EDITOR"])
    @pytest.mark.parametrize("text", [" ", "vi 'x", '"', "\\"])
    def test_is_a_program_and_its_options(
        self, typed: Callable[[bytes], None], name: str, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        typed(b"")
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv(name, text)
        with pytest.raises(WqError, match="allowed: a program and its options") as refused:
            editor.changes(None, 12)  # type: ignore[arg-type]
        assert str(refused.value).startswith(f"edit: ${name} is {text!r}; ")
        assert (refused.value.status, "\n" in str(refused.value)) == (BAD_INPUT, False)

    def test_is_vi_where_nothing_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VISUAL", "")
        monkeypatch.delenv("EDITOR", raising=False)
        assert editor.editor() == ["vi"]
        monkeypatch.setenv("EDITOR", "emacs -nw '-f x'")
        assert editor.editor() == ["emacs", "-nw", "-f x"]
