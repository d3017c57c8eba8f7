"""What a command does when the server goes away under its hands; and who it says that it is of."""

from __future__ import annotations

import os
import pwd
import socket
from typing import Any

import pytest

from wq.cli import main
from wq.cli.commands import eff, user
from wq.cli.link import send


def test_a_server_that_has_gone_is_not_taken_for_a_reader_of_our_output_that_has() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(ConnectionResetError):
        send(ours, {"type": "ls"})


@pytest.mark.parametrize(
    ("module", "words", "field", "status"),
    [(user, ["user"], {"user": f"uid {os.getuid()}"}, 1), (eff, ["eff"], {"users": [f"uid {os.getuid()}"]}, 0)],
    ids=["user", "eff"],
)
def test_a_user_without_a_name_is_called_by_the_uid(
    module: Any, words: list[str], field: dict[str, Any], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    class Server:
        def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
            asked.update(fields)
            return {"users": [], "jobs": []}

    def nobody(uid: int) -> Any:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(module, "connect", lambda *_, **__: Server())
    assert main.main(words) == status
    assert asked | field == asked
