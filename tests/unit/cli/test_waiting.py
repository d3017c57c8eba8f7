"""Waiting: what is asked, what is told, and with which status it ends."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from wq.cli import connection, progress, waiting
from wq.cli.errors import AWAY, WqError
from wq.cli.waiting import INTERRUPTED, TIMED_OUT, Waiter, status_of, to_the_end
from wq.protocol.wire import Frames, decode, encode

EXITED_3 = {"kind": "exited", "exit_status": 3}
Facts = dict[str, Any]


def facts(ok: Any = (), failed: Any = (), arrays: Any = (), live: Any = (), missing: Any = ()) -> Facts:
    return {"ok": ok, "failed": failed, "arrays": arrays, "live": live, "missing": missing, "over": 0}


opened: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


class Script:
    """A server that answers so, one question after the other; an answer that is none ends the connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Facts | None) -> None:
        self.answers = list(answers)
        self.asked: list[Facts] = []
        monkeypatch.setattr(connection, "look_after", lambda queue: None)
        monkeypatch.setattr(waiting, "FIRST_PAUSE_S", 0.001)
        monkeypatch.setattr(waiting, "MOST_PAUSE_S", 0.001)
        monkeypatch.setattr(waiting, "connect", self.connect)
        monkeypatch.setattr(waiting, "send", self.answer)
        self.server = self.connect(1)

    def connect(self, port: int) -> connection.Server:
        ours, self.theirs = socket.socketpair()
        opened.extend((ours, self.theirs))
        server = connection.Server(ours, 4242, port, private=True)
        server.welcome = {"queue": "q"}
        return server

    def answer(self, sock: Any, message: Facts) -> None:
        self.asked.append({key: value for key, value in message.items() if key not in ("type", "seq")})
        assert decode(Frames(1 << 20).feed(encode(message))[0]) == message
        said = self.answers.pop(0)
        if said is None:
            self.theirs.close()
        elif "raise" in said:
            raise said["raise"]
        elif "error" in said:
            self.theirs.sendall(encode(said))
        elif said != {"silence": True}:
            self.theirs.sendall(encode({"ok": said, "seq": message["seq"]}))


def waited(
    monkeypatch: pytest.MonkeyPatch, ranges: list[list[int]], *answers: Facts | None, **more: Any
) -> tuple[int, list[Facts]]:
    script = Script(monkeypatch, *answers)
    status = to_the_end(Waiter(ranges, **more), script.server)
    assert script.answers == []
    return status, script.asked


def test_it_asks_on_for_what_is_left_and_how_much_was_over(monkeypatch: pytest.MonkeyPatch) -> None:
    array = [7, None, None, 3]
    status, asked = waited(
        monkeypatch,
        [[1, 3], [7, 7], [8, 8, 0, 4]],
        facts(ok=[[1, 1]], live=[[2, 3]], arrays=[[*array, 1, 0, 0], [8, 0, 4, 5, 2, 0, 0]]),
        facts(failed=[[2, EXITED_3]], live=[[3, 3]], arrays=[[*array, 3, 1, 5], [8, 0, 4, 5, 2, 0, 0]]),
        facts(ok=[[3, 3]], arrays=[[8, 0, 4, 5, 5, 0, 0]]),
    )
    assert asked == [
        {"ids": [[1, 3], [7, 7]], "tasks": [[8, 0, 4]]},
        {"ids": [[2, 3], [7, 7]], "tasks": [[8, 0, 4]], "seen": 3},
        {"ids": [[3, 3]], "tasks": [[8, 0, 4]], "seen": 2},
    ]
    assert status == 5


def test_what_did_not_end_as_it_should_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    removed = {"kind": "removed", "by": "anze\x1b", "reason": "no"}
    arrays = [[7, None, None, 9, 9, 2, 5], [8, 3, 3, 1, 1, 1, 4]]
    status, _ = waited(monkeypatch, [[1, 9]], facts(ok=[[3, 3]], failed=[[1, EXITED_3], [2, removed]], arrays=arrays))
    shown = capsys.readouterr()
    assert (status, shown.out) == (5, "")
    assert shown.err.splitlines() == [
        "wq: job 1: exit status 3",
        "wq: job 2: removed by anze\\x1b: no",
        "wq: job 7: 2 of 9 tasks did not succeed, the worst status is 5",
        "wq: job 8.3: status 4",
    ]


@pytest.mark.parametrize(
    ("outcome", "said", "status"),
    [
        (
            {"kind": "time_limit", "message": "its time limit of 1m was reached"},
            "its time limit of 1m was reached",
            124,
        ),
        ({"kind": "exited", "exit_status": 124}, "exit status 124", 124),
        ({"kind": "signalled", "signal": 2}, "killed by signal 2 (INT)", 130),
    ],
    ids=str,
)
def test_also_what_ended_with_a_status_that_the_waiting_itself_may_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: Facts, said: str, status: int
) -> None:
    found, _ = waited(monkeypatch, [[1, 1]], facts(failed=[[1, outcome]]))
    assert (found, capsys.readouterr().err) == (status, f"wq: job 1: {said}\n")


def test_one_may_be_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    status, _ = waited(
        monkeypatch, [[1, 2]], facts(live=[[1, 2]]), facts(failed=[[2, EXITED_3]], live=[[1, 1]]), enough=True
    )
    assert status == 3


def test_nothing_to_wait_for_is_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, [], facts())[0] == 0


def test_what_nobody_knows_is_refused_at_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WqError, match=r"no job 9, 7\.5 is known"):
        waited(monkeypatch, [[9, 9]], facts(missing=["9", "7.5"]))


def test_and_counts_as_lost_later(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, [[9, 9]], facts(live=[[9, 9]]), facts(missing=["9"]))[0] == 1


def test_it_goes_on_when_the_server_is_back_and_says_once_that_it_was_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, asked = waited(monkeypatch, [[1, 1]], facts(live=[[1, 1]]), None, None, facts(ok=[[1, 1]]))
    assert status == 0
    assert capsys.readouterr().err == "wq: the server is away; waiting for it to come back\n"
    assert asked[-1] == {"ids": [[1, 1]], "tasks": [], "seen": 0}


def test_while_it_is_away_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, None, facts(ok=[[1, 1]]))
    tries: list[int] = []

    def connect(port: int) -> connection.Server:
        tries.append(port)
        if len(tries) < 3:
            raise WqError("away", AWAY)
        return script.connect(port)

    monkeypatch.setattr(waiting, "connect", connect)
    assert Waiter([[1, 1]]).wait(script.server) == 0
    assert tries == [1, 1, 1]


def test_a_refusal_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WqError, match="not understood"):
        waited(monkeypatch, [[1, 1]], {"error": "not understood: a message of no known type", "status": 2})


def test_ctrl_c_stops_the_waiting_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = waited(monkeypatch, [[1, 1]], facts(live=[[1, 1]]), {"raise": KeyboardInterrupt()})
    assert status == INTERRUPTED
    assert capsys.readouterr().err == "wq: stopped waiting; the job goes on, `wq rm` ends what runs\n"


def test_the_time_may_be_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    half = facts(ok=[[1, 1]], live=[[2, 2]])
    status, _ = waited(monkeypatch, [[1, 2]], half, {"silence": True}, timeout_s=0.05)
    assert status == TIMED_OUT
    assert "1 of 2 are over, 0 failed" in capsys.readouterr().err


def test_an_answer_that_does_not_come_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AGAIN_S", 0.01)
    status, asked = waited(monkeypatch, [[1, 1]], {"silence": True}, facts(ok=[[1, 1]]))
    assert (status, len(asked)) == (0, 2)


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    now = [100.0]
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    monkeypatch.setattr(progress, "columns", lambda: 100)
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    monkeypatch.setattr("wq.cli.waiting.time.monotonic", lambda: now[0])
    waiter = Waiter([[1, 1]])
    waiter.hear(facts(arrays=[[1, None, None, 100, 10, 0, 0]]), first=True)
    waiter.show()
    now[0] += 10.0
    waiter.hear(facts(arrays=[[1, None, None, 100, 40, 3, 0]]), first=False)
    waiter.show()
    assert f"waiting [{'#' * 12}{'.' * 18}] 40/100, 3 failed, about 20s to go" in screen.getvalue()


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ({"kind": "exited", "exit_status": 7}, 7),
        ({"kind": "exited", "exit_status": 1 << 70}, 255),
        ({"kind": "exited", "exit_status": None}, 1),
        ({"kind": "signalled", "signal": 9}, 137),
        ({"kind": "removed", "exit_status": 0}, 1),
        ({"kind": "lost"}, 1),
        ({"kind": "failed"}, 1),
    ],
    ids=str,
)
def test_the_status_of_an_end(outcome: Facts, status: int) -> None:
    assert status_of(outcome) == status


def test_for_programs_all_of_it_is_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    script = Script(monkeypatch, facts(ok=[[1, 1]], failed=[[2, EXITED_3]], arrays=[[3, 0, 4, 5, 5, 1, 2]]))
    assert to_the_end(Waiter([[1, 3]]), script.server, as_json=True) == 3
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], said["over"], said["unfinished"]) == (3, True, 0)
    assert [(row["id"], row["tasks"], row["failed"], row["status"]) for row in said["jobs"]] == [
        (1, None, 0, 0),
        (2, None, 1, 3),
        (3, [0, 4], 1, 2),
    ]
