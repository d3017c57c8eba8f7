"""wq info says where the output of one's own jobs is, as one's own launcher knows; it starts none to be told."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.cli.test_hostile_answers import OUTCOME, OVER, TASKS
from wq.cli import daemon, link, main
from wq.cli.commands import info
from wq.protocol import places
from wq.protocol.wire import Frames, decode, encode

WELL = {**OUTCOME, "kind": "exited", "exit_status": 0, "signal": None, "by": None, "message": None}
Facts = dict[str, Any]
Answers = dict[Any, Facts]
Launches = Callable[[Answers], list[Facts]]


def over(number: int, **changes: Any) -> Facts:
    return {**OVER, "id": number, "uid": os.getuid(), "foreground": False, "outcome": WELL, **changes}


def output(path: str | None, **changes: Any) -> Facts:
    known: Facts = {"output": path, "error": None, "keep_output": "always", "outcome": WELL, "discarded": []}
    return {"ok": {**known, **changes}}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where launchers would meet us; none is started."""
    monkeypatch.setenv("WQ_SERVER", "")
    monkeypatch.setenv("WQ_PORT", "7")
    monkeypatch.setattr(places, "meeting_dir", lambda uid, port: str(tmp_path))
    monkeypatch.setattr(daemon, "start", lambda words, log_path: pytest.fail(f"started: {words}"))


@pytest.fixture
def launches(tmp_path: Path) -> Iterator[Launches]:
    """launches(what it answers by (job, task)): a launcher runs; what it was asked."""
    listening = socket.socket(socket.AF_UNIX)
    threads: list[threading.Thread] = []

    def run(answers: Answers) -> list[Facts]:
        asked: list[Facts] = []
        listening.bind(places.launcher_socket(os.getuid(), 7, 4242))
        listening.listen()
        threads.append(threading.Thread(target=serve, args=(listening, answers, asked)))
        threads[0].start()
        return asked

    yield run
    if threads:
        with socket.socket(socket.AF_UNIX) as last:  # if nobody came
            last.connect(listening.getsockname())
        threads[0].join()
    listening.close()


def serve(listening: socket.socket, answers: Answers, asked: list[Facts]) -> None:
    """One client, to its end."""
    client, _ = listening.accept()
    frames = Frames(1 << 20)
    with client:
        while data := client.recv(1 << 16):
            for message in map(decode, frames.feed(data)):
                assert isinstance(message, dict)
                if message["type"] == "output":
                    asked.append(message)
                    client.sendall(encode(answers[message["id"], message["task"]]))


def shown(
    patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rows: list[Facts], *options: str
) -> tuple[list[str], Any]:
    """(the lines of outputs and errors that `wq info` prints, what --json has)"""
    stories = {row["id"]: {"job": row, "attempts": [], "events": [], "failed_tasks": []} for row in rows}
    server = SimpleNamespace(uid=4242, port=7, private=False, ask=lambda kind, id, task=None: stories[id])
    patch.setattr(info, "connect", lambda *_, **__: server)
    words = [str(row["id"]) if row["task"] is None else f"{row['id']}.{row['task']}" for row in rows]
    assert main.main(["info", *options, *words]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    if options:
        return [], json.loads(said.out)
    return [line for line in said.out.splitlines() if line.startswith(("Output:", "Errors:"))], None


def test_the_paths_that_the_launcher_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], launches: Launches
) -> None:
    asked = launches({(5, None): output("/x/fit-5.wqlog", error="/x/fit.err"), (6, 3): output("/x/many-6_3.wqlog")})
    lines, _ = shown(monkeypatch, capsys, [over(5), over(6, task=3)])
    assert lines == ["Output:     /x/fit-5.wqlog", "Errors:     /x/fit.err", "Output:     /x/many-6_3.wqlog"]
    assert [(one["id"], one["task"], one["follow"]) for one in asked] == [(5, None, False), (6, 3, False)]


def test_for_programs_too_where_they_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], launches: Launches
) -> None:
    launches({(5, None): output("/x/fit-5.wqlog"), (6, None): {"error": "unknown", "code": "unknown"}})
    _, (known, unknown) = shown(monkeypatch, capsys, [over(5), over(6)], "--json")
    assert (known["output"], "error" in known) == ("/x/fit-5.wqlog", False)
    assert {*unknown} == {"job", "attempts", "events", "failed_tasks"}


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        (over(5), {"error": "no output of job 5 is known here", "code": "unknown"}),
        (over(5), output(None, discarded=["output"])),
        (over(5), output("/x/gone.wqlog", keep_output="failed")),
        (over(5, array=TASKS, outcome=None), {"ok": {"id": 5, "name": "x", "tasks": [[1, 3]], "all": []}}),
    ],
    ids=["unknown", "discarded", "gone", "array"],
)
def test_how_to_see_it_where_there_is_no_path(
    row: Facts,
    answer: Facts,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    launches: Launches,
) -> None:
    launches({(5, None): answer})
    assert shown(monkeypatch, capsys, [row])[0] == ["Output:     wq log 5"]


def test_how_to_see_it_where_no_launcher_runs_and_none_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [over(5, state="running", outcome=None, ended_at=None), over(6, task=3)]
    assert shown(monkeypatch, capsys, rows)[0] == ["Output:     wq log 5", "Output:     wq log 6.3"]
    _, found = shown(monkeypatch, capsys, rows, "--json")
    assert [{*facts} for facts in found] == [{"job", "attempts", "events", "failed_tasks"}] * 2


def test_nobody_waits_long_for_a_launcher_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(link, "PATIENCE_S", 0.05)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(places.launcher_socket(os.getuid(), 7, 4242))
        mute.listen()
        assert shown(monkeypatch, capsys, [over(5), over(6)])[0] == ["Output:     wq log 5", "Output:     wq log 6"]


@pytest.mark.parametrize(
    "row",
    [
        over(5, uid=os.getuid() + 1),
        over(5, foreground=True),
        over(5, started_at=None, outcome={**WELL, "kind": "removed", "exit_status": None}),
    ],
    ids=["of somebody else", "in the foreground", "never started"],
)
def test_nothing_is_said_where_there_is_none_of_ones_own(
    row: Facts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(monkeypatch, capsys, [row]) == ([], None)
