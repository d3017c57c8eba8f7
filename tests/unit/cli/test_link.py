"""What a command does for its user beside its own business: launchers come back, news is shown once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wq.cli import config, connection, daemon
from wq.cli.commands import launcher
from wq.cli.errors import AWAY, ServerDown, WqError
from wq.cli.link import Queue, look_after
from wq.protocol import known, places
from wq.protocol.wire import encode

ERIN = 4242


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own home, with nothing configured, and meeting places of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(config, "files", list)
    monkeypatch.setattr(places, "meeting_dir", lambda uid, port: str(tmp_path / f"wq-{uid}-{port}"))
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """What would have been started. Whatever is started listens where a launcher would."""
    calls: list[list[str]] = []
    listening: list[socket.socket] = []

    def start(words: list[str], log_path: str) -> str | None:
        calls.append(words)
        port = int(words[words.index("-p") + 1])
        private = "--private" in words
        if words[0] == "serve":
            path = places.server_socket(os.getuid(), port, private=private)
        else:
            uid = int(words[words.index("--server-uid") + 1])
            path = places.launcher_socket(os.getuid(), port, uid, private=private)
        Path(path).parent.mkdir(exist_ok=True, mode=0o700)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
        listening.append(sock)
        return None

    monkeypatch.setattr(daemon, "start", start)
    yield calls
    for sock in listening:
        sock.close()


def state_of(queue: Queue) -> Path:
    return Path(places.state_dir(places.launcher_state_name(queue.port, queue.uid, private=queue.private))[0])


def mark(queue: Queue) -> None:
    (state_of(queue) / places.UNFINISHED).touch()


class TestLaunchersComeBack:
    def test_that_have_work(self, started: list[list[str]]) -> None:
        queue = Queue(ERIN, 7, private=False)
        look_after(queue)
        assert started == []
        mark(queue)
        look_after(queue)
        look_after(queue)
        assert started == [
            ["run_launcher", "-p", "7", "--server-uid", str(ERIN), "--state", str(state_of(queue))],
        ]

    def test_also_while_the_server_is_down(self, started: list[list[str]]) -> None:
        known.remember(7, ERIN, "erin", ["a"])
        mark(Queue(ERIN, 7, private=False))
        with pytest.raises(ServerDown) as down:
            connection.connect(7)
        assert (down.value.uid, down.value.port, down.value.private, down.value.status) == (ERIN, 7, False, AWAY)
        assert [words[0] for words in started] == ["run_launcher"]

    def test_or_it_is_a_remark_why_not(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        queue = Queue(ERIN, 7, private=False)
        mark(queue)
        monkeypatch.setattr(daemon, "start", lambda words, log_path: "no \x1broom")
        look_after(queue)
        assert capsys.readouterr().err == "wq: your launcher did not start: no \\x1broom\n"

    def test_all_of_them_by_their_own_command_in_silence(
        self, started: list[list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        queues = [Queue(ERIN, 7, private=False), Queue(os.getuid(), 8, private=True), Queue(5, 9, private=False)]
        for queue in queues[:2]:
            mark(queue)
        state_of(queues[2])  # has none
        assert launched() == 0
        assert [(words[0], words[words.index("-p") + 1], "--private" in words) for words in started] == [
            ("run_launcher", "7", False),
            ("serve", "8", True),
            ("run_launcher", "8", True),
        ]
        del started[:]
        assert launched() == 0
        assert started == []
        assert capsys.readouterr() == ("", "")

    def test_one_that_cannot_keeps_the_others_from_nothing(
        self, started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for port in (7, 8):
            mark(Queue(ERIN, port, private=False))
        start = daemon.start
        monkeypatch.setattr(daemon, "start", lambda words, log: "no" if "7" in words else start(words, log))
        assert launched() == 1
        assert capsys.readouterr().err == "wq: the queue on port 7: your launcher did not start: no\n"
        assert [words[words.index("-p") + 1] for words in started] == ["8"]


def launched() -> int:
    import argparse

    return launcher.run(argparse.Namespace(print_unit=False))


class TestNews:
    def test_is_shown_by_one_command_and_clean(self, capsys: pytest.CaptureFixture[str]) -> None:
        queue = Queue(ERIN, 7, private=False)
        news = state_of(queue) / places.NEWS
        news.write_text("a submission was refused: \x1b[2J\nanother\n")
        look_after(queue)
        look_after(queue)
        assert capsys.readouterr().err == "wq: a submission was refused: \\x1b[2J\nwq: another\n"
        assert list(news.parent.iterdir()) == []

    def test_that_somebody_else_has_taken_is_shown_by_that_one(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        queue = Queue(ERIN, 7, private=False)
        news = state_of(queue) / places.NEWS
        news.write_text("x\n")
        exists = os.path.exists

        def late(path: str) -> bool:
            there = exists(path)
            if path == str(news):
                news.unlink()
            return there

        monkeypatch.setattr(os.path, "exists", late)
        look_after(queue)
        assert capsys.readouterr().err == ""


class TestVersions:
    def told(self, answer: dict[str, Any]) -> str:
        """What a client says to this first word of its own server."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(encode(answer))
            server = connection.Server(ours, os.getuid(), 7, private=False)
            with pytest.raises(WqError) as refused:
                server.hello_only()
        return str(refused.value)

    @pytest.mark.parametrize(("theirs", "telling"), [(0, "started again with this wq"), (9, "use the newer wq")])
    def test_a_server_of_another_one_is_a_line_that_says_what_to_do(self, theirs: int, telling: str) -> None:
        told = self.told({"error": "whatever it says", "status": 2, "version": theirs})
        assert told.startswith(f"your server on port 7 speaks protocol {theirs}, this wq ")
        assert telling in told

    def test_another_refusal_is_what_the_server_says(self) -> None:
        assert self.told({"error": "too many connections", "status": 2}) == "too many connections"


def test_who_has_said_that_it_is_ready_says_no_trouble_into_another_file(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    daemon.say_ready(write_end)
    other = os.open(tmp_path / "precious", os.O_RDWR | os.O_CREAT)
    assert other == write_end
    daemon.say_trouble(write_end, "the disk has failed")
    os.close(other)
    assert os.read(read_end, 100) == daemon.READY
    os.close(read_end)
    assert (tmp_path / "precious").read_bytes() == b""
    daemon.told.clear()
