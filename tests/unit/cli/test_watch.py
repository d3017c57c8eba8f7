"""-w: what stands in the window, and what becomes of a server that comes and goes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.test_render_columns import job
from wq.cli import watch
from wq.cli.commands import ls, stat
from wq.cli.errors import AWAY, WqError
from wq.cli.main import main
from wq.cli.render.sanitise import painted_width
from wq.cli.watch import Picture, Watched, arranged, drawing, seconds_in

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


class FakeServer:
    """A server with these answers, one after another; what is an exception is raised."""

    uid, port, private = 4242, 1, True

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sock = self

    def close(self) -> None:
        """As a socket."""

    def ask(self, kind: str, **_: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def jobs_of(*ids: int) -> dict[str, Any]:
    return {"jobs": [job(id=number) for number in ids]}


@pytest.fixture(autouse=True)
def _here(monkeypatch: Patch) -> None:
    monkeypatch.setenv("WQ_SERVER", "")
    monkeypatch.setenv("WQ_PORT", "1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)


class TestTheWindow:
    def test_what_has_room_is_shown_whole(self) -> None:
        picture = Picture(["head"], ["1", "2"], ["foot"])
        assert arranged(picture, None, 80, 4) == ["head", "1", "2", "foot"]

    def test_what_has_none_is_counted_in_the_last_line(self) -> None:
        picture = Picture(["head"], ["1", "2", "3"], ["foot"])
        assert arranged(picture, None, 80, 4) == ["head", "1", "foot", "… 2 more"]
        picture = Picture(["head"], ["1", "2", "3"], ["foot"], 1231)
        assert arranged(picture, None, 80, 5) == ["head", "1", "2", "foot", "… 1232 more"]

    def test_a_server_that_is_away_is_said_below_the_listing(self) -> None:
        picture = Picture(["head"], ["1", "2", "3"], ["foot"])
        assert arranged(picture, "away", 80, 5) == ["head", "1", "foot", "away", "… 2 more"]

    @given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 6), st.integers(0, 3), st.booleans())
    def test_no_line_is_too_long_and_none_too_many(
        self, columns: int, rows: int, n: int, nmore: int, away: bool
    ) -> None:
        picture = Picture(["a head that is long"], [f"\x1b[32m{at}\x1b[0m body" for at in range(n)], ["foot"], nmore)
        found = arranged(picture, "the server is away" if away else None, columns, rows)
        assert len(found) <= rows
        assert all(painted_width(line) <= columns for line in found)
        assert len(drawing(found, columns, rows).split("\r\n")) <= rows

    def test_a_line_that_fills_the_window_keeps_its_last_letter(self) -> None:
        assert drawing(["abc", "ab"], 3, 2) == "\x1b[Habc\r\nab\x1b[K"
        assert drawing(["abc"], 3, 2) == "\x1b[Habc\r\n\x1b[J"


@pytest.mark.parametrize(("text", "seconds"), [("2", 2.0), ("0.5", 0.5), ("1e2", 100.0)])
def test_seconds(text: str, seconds: float) -> None:
    assert seconds_in(text, "ls") == seconds


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "inf", "1e6", "12.5.6", "\x1b[2J"])
def test_no_seconds(text: str) -> None:
    with pytest.raises(WqError, match="number of seconds") as caught:
        seconds_in(text, "stat")
    assert caught.value.status == 2


class TestAServerThatGoes:
    def watched(self, *answers: Any) -> Watched:
        return Watched(FakeServer(*answers), lambda server: server.ask("ls"))  # type: ignore[arg-type]

    @pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), WqError("closed", AWAY)], ids=repr)
    def test_is_away_and_found_again(self, monkeypatch: Patch, error: Exception) -> None:
        watched = self.watched({"n": 1}, error)
        assert (watched.again(), watched.found, watched.trouble()) == (True, {"n": 1}, None)
        assert (watched.again(), watched.found) == (False, {"n": 1})
        assert "the server is away (since " in (watched.trouble() or "")
        since = watched.away_since_s
        monkeypatch.setattr(watched, "connected", lambda: None)
        assert (watched.again(), watched.away_since_s) == (False, since)
        monkeypatch.setattr(watched, "connected", lambda: FakeServer({"n": 2}))
        assert (watched.again(), watched.found, watched.trouble()) == (True, {"n": 2}, None)

    def test_is_looked_for_where_it_was_and_nothing_is_started(self, monkeypatch: Patch) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(watch, "try_connect", lambda uid, port, private: asked.append((uid, port, private)))
        watched = self.watched(ConnectionResetError())
        assert not watched.again()
        assert not watched.again()
        assert asked == [(4242, 1, True)]

    def test_what_will_not_pass_by_itself_ends_it(self) -> None:
        watched = self.watched(WqError("speaks protocol 9"))
        with pytest.raises(WqError, match="protocol 9"):
            watched.again()


class TestWithoutATerminal:
    """A new listing each time."""

    def watch(self, patch: Patch, answers: list[Any], *words: str) -> None:
        server = FakeServer(*answers, KeyboardInterrupt())
        for module in (ls, stat):
            patch.setattr(module, "connect", lambda *_, **__: server)
        patch.setattr(Watched, "connected", lambda _: server)
        assert main(list(words)) == 130

    def test_it_is_printed(self, monkeypatch: Patch, capsys: Capture) -> None:
        self.watch(monkeypatch, [jobs_of(1), jobs_of(1, 2)], "ls", "-w", "-o", "id")
        foot = "Running: 0 Waiting:"
        assert capsys.readouterr().out == f"Id\n1\nJobs: 1 {foot} 1\n\nId\n1\n2\nJobs: 2 {foot} 2\n"

    def test_for_programs_it_is_a_line_each(self, monkeypatch: Patch, capsys: Capture) -> None:
        self.watch(monkeypatch, [jobs_of(1), jobs_of(1, 2)], "ls", "--json", "-w0.5", "-o", "id")
        assert list(map(json.loads, capsys.readouterr().out.splitlines())) == [[{"id": 1}], [{"id": 1}, {"id": 2}]]

    def test_documents_are_separated_as_yaml_does_it(self, monkeypatch: Patch, capsys: Capture) -> None:
        self.watch(monkeypatch, [jobs_of(1), jobs_of(1)], "ls", "-f", "-w")
        assert [line for line in capsys.readouterr().out.splitlines() if line[0] == "-"] == [
            "- id: 1",
            "---",
            "- id: 1",
        ]

    def test_the_nodes_too(self, monkeypatch: Patch, capsys: Capture) -> None:
        node = {"host": "a", "ncores": 2, "used": [0], "mem_gb": 1, "groups": [], "state": "online"}
        self.watch(monkeypatch, [{"nodes": [node]}, {"nodes": [node]}], "stat", "-w", "3")
        assert capsys.readouterr().out.count("[*.]   a      1 -\n") == 2

    def test_a_server_that_goes_and_comes_is_remarked_on(self, monkeypatch: Patch, capsys: Capture) -> None:
        away = ConnectionResetError()
        self.watch(monkeypatch, [jobs_of(1), away, away, jobs_of(1)], "ls", "-o", "id", "-w")
        out, err = capsys.readouterr()
        assert (out.count("Jobs: 1"), err) == (2, "wq: the server is away\nwq: the server is back\n")

    def test_one_that_is_away_from_the_beginning_is_an_error_as_ever(self, monkeypatch: Patch, capsys: Capture) -> None:
        monkeypatch.setattr(ls, "connect", lambda *_, **__: FakeServer(WqError("no queue is running", AWAY)))
        assert main(["ls", "-w"]) == AWAY
        assert capsys.readouterr().err == "wq: no queue is running\n"
