"""`wq log -f`: what is shown of a file that grows, and when the showing ends, as the launcher tells it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from wq.cli.following import Following
from wq.cli.link import LauncherLink
from wq.cli.logs import NotThere, Shown

Facts = dict[str, Any]
Step = tuple[Callable[[], object], Facts]


class Story:
    """A launcher's side: what happens, and what it says after that."""

    sock = None

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.nconnects = 0
        self.asked: list[Facts] = []

    @property
    def waiting(self) -> bool:
        return True

    def send(self, message: Facts) -> None:
        self.asked.append(message)

    def connect(self) -> None:
        self.nconnects += 1

    def next_message(self) -> Facts:
        happens, facts = self.steps.pop(0)
        happens()
        if len(self.asked) > self.nanswers:
            self.nanswers += 1
            return {"ok": facts}
        return {"type": "output", "output": facts}

    nanswers = 0


@pytest.fixture(autouse=True)
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for: what comes next is there."""

    class Poll:
        def register(self, *_: object) -> None:
            pass

    monkeypatch.setattr("wq.cli.following.select.poll", Poll)
    monkeypatch.setattr(Story, "sock", type("Sock", (), {"fileno": lambda self: 0})())


def facts(path: Path | None, state: str, *, attempt: int | None = 1, **more: Any) -> Facts:
    complete = state == "ended"
    made: Facts = {
        "id": 7,
        "task": None,
        "name": "fit",
        "state": state,
        "attempt": attempt,
        "attempts": [],
        "error": None,
    }
    made |= {"output": None if path is None else str(path), "discarded": [], "keep_output": "always", "outcome": None}
    return {**made, "complete": complete, "host": "n1", **more}


def follow(*steps: Step, nlines: int | None = None) -> Story:
    story = Story(*steps)
    shown = Shown(err=False, nlines=nlines, headings=False)
    Following(cast(LauncherLink, story), steps[0][1], None, shown).to_the_end()
    return story


def nothing() -> None:
    pass


def gone() -> None:
    raise ConnectionResetError


def test_a_job_from_its_waiting_to_its_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f"
    path.write_text("of an earlier job\n")
    end = {"kind": "exited", "exit_status": 3, "signal": None, "message": None}
    follow(
        (nothing, facts(path, "waiting", attempt=None)),
        (nothing, facts(path, "starting")),
        (lambda: path.write_text("one\n"), facts(path, "running")),
        (lambda: path.write_text("one\ntwo\n"), facts(path, "ended", complete=False)),
        (lambda: path.write_text("one\ntwo\nthree\n"), facts(path, "ended", outcome=end)),
    )
    out, err = capfd.readouterr()
    assert out == "one\ntwo\nthree\n"
    assert err.splitlines() == [
        "wq: job 7 has not started yet; Ctrl-C ends the waiting, not the job",
        "wq: job 7 has ended; a part of its output is still on n1",
        "wq: job 7 has ended: exit status 3",
    ]


def test_the_end_of_a_file_that_is_deleted_at_once_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """keep_output: failed"""
    path = tmp_path / "f"
    path.write_text("one\n")

    def last() -> None:
        with path.open("a") as file:
            file.write("two\n")
        path.unlink()

    follow((nothing, facts(path, "running")), (last, facts(path, "ended")))
    assert capfd.readouterr().out == "one\ntwo\n"


def test_one_that_was_deleted_before_it_was_seen_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="succeeded"):
        follow((nothing, facts(tmp_path / "f", "ended", keep_output="failed")))


def test_the_next_attempt_is_followed_after_a_reboot(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "f", tmp_path / "f.2"
    one.write_text("one\n")
    two.write_text("two\n")
    follow(
        (nothing, facts(one, "running")),
        (nothing, facts(one, "waiting")),
        (nothing, facts(two, "running", attempt=2)),
        (nothing, facts(two, "ended", attempt=2)),
    )
    out, err = capfd.readouterr()
    assert (out, "attempt 2" in err) == ("one\ntwo\n", True)


def test_it_goes_on_with_the_next_launcher_where_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f"
    path.write_text("one\n")
    story = follow(
        (nothing, facts(path, "running")),
        (gone, {}),
        (lambda: path.write_text("one\ntwo\n"), facts(path, "running")),
        (nothing, facts(path, "ended")),
    )
    assert capfd.readouterr().out == "one\ntwo\n"
    assert (story.nconnects, len(story.asked)) == (1, 2)


def test_only_the_last_lines_and_what_comes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f"
    path.write_text("1\n2\n3\n")
    follow(
        (nothing, facts(path, "running")),
        (lambda: path.write_text("1\n2\n3\n4\n"), facts(path, "running")),
        (nothing, facts(path, "ended")),
        nlines=1,
    )
    assert capfd.readouterr().out == "3\n4\n"


def test_one_that_was_removed_before_it_ran(capfd: pytest.CaptureFixture[str]) -> None:
    follow((nothing, facts(None, "waiting", attempt=None)), (nothing, facts(None, "lost", attempt=None, complete=True)))
    out, err = capfd.readouterr()
    assert (out, "removed before it ran" in err) == ("", True)
