"""Whatever a server answers, a command says something fit to be shown, and ends with a status; never a traceback."""

from __future__ import annotations

import copy
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wq.cli import connection, main, past
from wq.cli.commands import edit, hist, info, limit, ls, node, rm, stat, user, users
from wq.cli.errors import FAILED, WqError, failure
from wq.protocol.wire import WireError, encode, encode_chunk, frame

EVIL = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202e\u2066x\x7f\ud800"
NONSENSE = [
    *[None, True, -1, 0, 1 << 70, 1.5, 1e308, float("nan"), float("inf"), "", "x", EVIL],
    *[[], [None], [EVIL], [[EVIL]], [1, EVIL], {}, {"a": EVIL}, {EVIL: {EVIL: [EVIL]}}],
]
DARK = {"since": 1.0, "hosts": ["a"], "why": "why"}
COUNTS = {"waiting": 1, "running": 1, "done": 1, "failed": 1}
BRIEF = [5, None, "x", "running", "med", 1, 1, "name", 1.0, 2.0, None, [1, 2, 3, 4], DARK, 9]
PICKED = [5, None, "running", None, DARK, "/home/x", 9]
NAMED = {"id": 5, "task": None, "user": "x", "state": "running", "priority": "med", "ncores": 1, "nhosts": 1,
         "name": "name", "submitted_at": 1.0, "started_at": None, "ended_at": None, "array": COUNTS,
         "out_of_sight": DARK}  # fmt: skip
FULL = {**NAMED, "outcome": {"kind": "exited", "message": "why"}, "hosts": [{"host": "a", "cores": [0]}]}
NODE = {"host": "a", "state": "online", "ncores": 4, "used": [0], "mem_gb": 4.5, "groups": ["a"], "since": 1.0,
        "by": "x", "reason": "why"}  # fmt: skip
LIMITS = {"run": 5, "cores": None}
USER = {"user": "x", "uid": 5, "jobs": 1, "running": 1, "waiting": 0, "held": 0, "cores": 1, "limits": LIMITS,
        "limits_own": LIMITS, "limits_owner": LIMITS, "avoided": [{"host": "a", "why": "b"}]}  # fmt: skip
REMOVED = {"removed": [5], "ending": [6], "tasks": [{"id": 7, "removed": 1, "ending": 1}], "missing": [8],
           "refused": [{"id": 9, "why": "why"}]}  # fmt: skip
TASKS = {**COUNTS, "tasks": 9, "at_most": 2, "removed": 1, "removed_by": "x", "removed_why": "why"}
OUTCOME = {
    "kind": "signalled",
    "exit_status": 3,
    "signal": 9,
    "by": "x",
    "message": "why",
    "reason": "why",
    "cpu_s": 1.5,
}
NEED = {"group": ["g"], "notgroup": ["h"], "host": "a", "min_cores": 2, "min_mem": 1.5, "threads": 2, "X": True}
OVER = {**NAMED, "state": "done", "command": "./x", "uid": 5, "mode": "bycore", "n": 2, "requirement": NEED,
        "array": None, "foreground": True, "submit_dir": "/x", "started_at": 2.0, "ended_at": 3.0,
        "reason": {"code": "x", "text": "y"},
        "out_of_sight": None, "outcome": OUTCOME, "hosts": [{"host": "a", "cores": [0]}]}  # fmt: skip
TRY = {"attempt": 1, "granted_at": 1.0, "started_at": 2.0, "over_at": 3.0, "hosts": ["a"], "requeued_why": "why"}
STORY = {"job": {**OVER, "array": TASKS, "task": 3}, "attempts": [TRY, TRY],
         "events": [{"at": 1.0, "kind": "StopRequested", "by": "x", "reason": "why"}],
         "failed_tasks": [{"task": 1, "outcome": OUTCOME}]}  # fmt: skip
ASKED: list[tuple[list[str], Any]] = [
    (["ls"], {"jobs": [BRIEF, BRIEF]}),
    (["ls"], {"jobs": [NAMED]}),
    (["ls", "5"], {"jobs": [BRIEF]}),
    (["ls", "-f"], {"jobs": [FULL]}),
    (["ls", "--json"], {"jobs": [FULL]}),
    (["ls", "--sort", "-name", "--state", "R,W"], {"jobs": [BRIEF, BRIEF]}),
    (["ls", "-o", "id,counts,out_of_sight,t_run", "--name", "*"], {"jobs": [NAMED]}),
    (["ls", "-o", "id,dir", "5"], {"jobs": [PICKED]}),
    (["stat"], {"nodes": [NODE, NODE]}),
    (["node"], {"nodes": [NODE, NODE]}),
    (["node", "a", "lost"], {"lost": [5]}),
    (["user"], {"users": [USER]}),
    (["users"], {"users": [USER, USER]}),
    (["rm", "5"], REMOVED),
    (["hist"], {"jobs": [OVER, {**OVER, "array": TASKS, "outcome": None}], "more": 3}),
    (["hist", "--json"], {"jobs": [OVER], "more": 3}),
    (["info", "5"], STORY),
    (
        ["info", "5.3"],
        {**STORY, "job": {**OVER, "state": "running", "outcome": None, "out_of_sight": DARK}, "failed_tasks": []},
    ),
    (["info", "--json", "5"], STORY),
    (
        ["simulate", "--history", "--limit", "cores: 3"],
        {"jobs": [{**OVER, "time_limit": 9.0, "requirement": {**NEED, "threads": 1}}], "nodes": [NODE], "more": 3},
    ),
    (["limit", "run: 1"], {"user": "x", "run": 1, "cores": 2}),
    (["edit", "5", "at_most=1"], {"id": 5, "at_most": 1}),
]


def spoilt(value: Any) -> Iterator[Any]:
    """The value with one thing in it replaced, or left out; once for each."""
    yield from NONSENSE
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        for other in spoilt(one):
            whole = copy.copy(value)
            whole[key] = other
            yield whole
        whole = copy.copy(value)
        del whole[key]
        yield whole


@pytest.mark.parametrize(("words", "facts"), ASKED, ids=lambda it: " ".join(it) if isinstance(it, list) else "")
def test_nonsense_is_shown_harmlessly_or_said_to_be_that(
    words: list[str], facts: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: Any = facts

    class Answering:
        def ask(self, kind: str, **fields: object) -> Any:
            return said

    for module in (past, edit, hist, info, limit, ls, node, rm, stat, user, users):
        monkeypatch.setattr(module, "connect", lambda *_, **__: Answering())
    monkeypatch.setattr(connection.Server, "heard", True)
    main.main(words)
    assert "makes no sense" not in capsys.readouterr().err
    for said in spoilt(facts):
        if not isinstance(said, dict):
            continue  # Server.ask refuses that
        status = main.main(words)
        shown = "".join(capsys.readouterr())
        assert status in (0, 1, 75), said
        assert all(char.isprintable() or char == "\n" for char in shown), (said, shown)


@pytest.fixture
def a_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., connection.Server]]:
    """One that says these bytes, and goes."""
    monkeypatch.setattr(connection, "look_after", lambda queue: None)
    ours, theirs = socket.socketpair()

    def made(*frames: bytes) -> connection.Server:
        theirs.sendall(b"".join(frames))
        theirs.shutdown(socket.SHUT_WR)
        server = connection.Server(ours, 4242, 1, private=True)
        server.welcome = {"queue": "q1"}
        return server

    with ours, theirs:
        yield made


@pytest.mark.parametrize(
    "said",
    [
        frame(b"{}"),
        frame(b"[]"),
        frame(b'{"ok":5}'),
        frame(b'{"ok":' + b"[" * 100_000),
        encode_chunk(1, b"x"),
        encode({"page": []}) + encode_chunk(1, b"x"),
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
    ],
)
def test_what_is_no_answer_is_not_understood(a_server: Callable[..., connection.Server], said: bytes) -> None:
    with pytest.raises(WireError):
        a_server(said).ask("ls")


def test_an_answer_has_an_end(monkeypatch: pytest.MonkeyPatch, a_server: Callable[..., connection.Server]) -> None:
    monkeypatch.setattr(connection, "MOST_LISTING_BYTES", 1000)
    with pytest.raises(WqError, match="longer than"):
        a_server(*[encode({"page": [[1] * 50]})] * 20).ask("ls")


@pytest.mark.parametrize("status", [0, -1, 1 << 70, 256, True, None, "x", [0], 1])
def test_a_refusal_is_never_a_success(a_server: Callable[..., connection.Server], status: object) -> None:
    assert failure(status) == FAILED
    with pytest.raises(WqError) as refused:
        a_server(encode({"error": "x" * 10_000, "status": status})).ask("ls")
    assert refused.value.status == FAILED
    assert len(str(refused.value)) < 5000
