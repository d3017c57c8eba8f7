"""The bar: on a terminal, after a second, gone at the end."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from wq.cli import progress
from wq.cli.commands import sub
from wq.cli.progress import Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=screen))  # pytest replaces the true one
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    monkeypatch.setattr(progress, "columns", lambda: 80)
    return screen


def visible(screen: io.StringIO) -> str:
    """The one line, as a terminal would show it."""
    line = ""
    for part in screen.getvalue().split("\r"):
        line = part + line[len(part) :]
    return line.rstrip()


def test_what_is_done_within_a_second_has_no_bar(clock: Clock, terminal: io.StringIO) -> None:
    with Progress("reading") as bar:
        for done in range(10):
            bar.at(done, 10)
            clock.now += 0.09
    assert terminal.getvalue() == ""


def test_it_shows_how_far_things_are_and_goes(clock: Clock, terminal: io.StringIO) -> None:
    with Progress("reading") as bar:
        clock.now += 1
        bar.at(5, 10)
        assert visible(terminal) == f"reading [{'#' * 15}{'.' * 15}] 5/10"
        bar.at(6, 10)
        assert visible(terminal).endswith("5/10"), "ten times a second is enough"
        clock.now += 0.1
        bar.at(11, 10)
        assert visible(terminal) == f"reading [{'#' * 30}] 11/10"
    assert visible(terminal) == ""
    assert terminal.getvalue().endswith(" \r")


def test_it_goes_when_something_fails(clock: Clock, terminal: io.StringIO) -> None:
    def failing() -> None:
        with Progress("reading") as bar:
            clock.now += 2
            bar.at(5, 10)
            raise ValueError

    with pytest.raises(ValueError):
        failing()
    assert visible(terminal) == ""


def test_it_fits_a_narrow_terminal(clock: Clock, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "columns", lambda: 20)
    bar = Progress("reading")
    clock.now += 2
    bar.at(5, 10)
    assert len(visible(terminal)) == 19


def test_nothing_is_shown_where_there_is_no_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading") as bar:
        clock.now += 5
        bar.at(1, 2)
    assert capsys.readouterr().err == ""


def test_nothing_to_do_and_a_terminal_that_is_gone_do_no_harm(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError

    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=Gone()))
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    with Progress("reading") as bar:
        clock.now += 5
        bar.at(0, 0)
        bar.at(1, 2)
        clock.now += 5
        bar.at(2, 2)


def test_many_job_files_have_one(
    clock: Clock, terminal: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_file(path: str, *_: object) -> list[object]:
        clock.now += 1
        return []

    monkeypatch.setattr(sub, "from_file", from_file)
    args = type("Args", (), {"files": ["x"] * 30})()
    assert sub.from_files(args, False, None) == []
    assert "reading job files [" in terminal.getvalue()
    assert visible(terminal) == ""


def test_the_launchers_word_moves_one(clock: Clock, terminal: io.StringIO) -> None:
    bar = sub.stepped(None, {"type": "progress", "done": 0, "of": 4})
    clock.now += 2
    assert sub.stepped(bar, {"type": "progress", "done": 2, "of": 4}) is bar
    assert visible(terminal) == f"submitting [{'#' * 15}{'.' * 15}] 2/4"
