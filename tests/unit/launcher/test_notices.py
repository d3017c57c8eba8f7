"""Telling users: what a mail says, and that no name of a job becomes more than a name."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from email import message_from_string
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from tests.unit.core.worlds import grant
from wq.core.job import AttemptNo, JobId, Outcome, OutcomeKind
from wq.launcher import notices
from wq.launcher.ledger import Entry
from wq.launcher.notices import Notices, end_of_file, end_of_job, wants
from wq.launcher.task import Setting, Task

GB = 1 << 30


def entry(**more: Any) -> Entry:
    task = Task(command="x", notify="mail", **more)
    outcome = Outcome(kind=OutcomeKind.EXITED, exit_status=3, cpu_s=7.0, wall_s=65.0, peak_mem_bytes=3 * GB)
    return Entry(
        token="t", index=0, task=task, id=JobId(12), attempt=AttemptNo(1), allocation=grant("a:0,1"), outcome=outcome
    )


@pytest.fixture
def mailer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sendmail that keeps what it is given."""
    script = tmp_path / "sendmail"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/argv\ncat >{tmp_path}/sent\n')
    script.chmod(0o755)
    monkeypatch.setattr(notices, "SENDMAIL", (str(script),))
    return tmp_path


def sent(place: Path, one: Entry, env: dict[str, str] | None = None) -> str:
    said: list[str] = []

    async def send() -> None:
        await asyncio.wait_for(teller(said).tell(one, setting(place, env), "end", "exit status 3", ok=False), 30)

    asyncio.run(send())
    assert said == []
    return (place / "sent").read_text()


def teller(said: list[str]) -> Notices:
    return Notices("anze", None, spawn=lambda work: None, log=said.append)  # type: ignore[arg-type]


def setting(place: Path, env: dict[str, str] | None = None) -> Setting:
    return Setting(cwd=str(place), umask=0o22, env={"PATH": "/usr/bin:/bin", **(env or {})})


def test_a_mail_says_how_it_ended_and_what_it_used_and_shows_the_end_of_the_output(mailer: Path) -> None:
    (mailer / "log").write_text("".join(f"line {number}\n" for number in range(100)))
    text = sent(mailer, entry(name="fit", output=str(mailer / "log")))
    assert "To: anze\n" in text
    assert "Subject: wq: job 12 fit: exit status 3\n" in text
    text = message_from_string(text, policy=default).get_content()  # (long lines are folded on the way)
    for line in ("nodes: a (2 cores)", "used: 1m5s, 7 s of CPU, at least 3.0 GB of memory", f"directory: {mailer}"):
        assert line in text
    assert "line 99\n" in text
    assert "line 59\n" not in text
    assert (mailer / "argv").read_text() == "-t\n-oi\n"


def test_it_goes_where_the_environment_of_the_submission_says(mailer: Path) -> None:
    assert "To: a@example.org\n" in sent(mailer, entry(name="x"), {"MAILTO": "a@example.org", "EMAIL": "b@example.org"})


@pytest.mark.parametrize("name", ["x\nBcc: all@example.org", "x\r\n\r\nbody", "\x1b[2J", "é" * 100, "\u202e"])
def test_a_name_is_no_header(mailer: Path, name: str) -> None:
    text = sent(mailer, entry(name=name))
    head = text.partition("\n\n")[0]
    assert not [line for line in head.splitlines() if line.lower().startswith("bcc")]
    assert text.count("To: ") == 1


def test_what_fails_is_a_line_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(notices, "SENDMAIL", ())
    monkeypatch.setenv("PATH", str(tmp_path))

    async def send(how: str) -> None:
        one = entry(name="x")
        one.task = Task(command="x", notify=how)
        await teller(said).tell(one, setting(tmp_path), "end", "so")

    asyncio.run(send("mail"))
    asyncio.run(send("echo oh no >&2; exit 7"))
    assert said[0].startswith("job 12: notify: there is neither sendmail nor mail")
    assert said[1] == "job 12: notify: /bin/sh ended with status 7: oh no"


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(notices, "PATIENCE_S", 0.1)
    one = entry(name="x")
    one.task = Task(command="x", notify="sleep 1000")
    asyncio.run(teller(said).tell(one, setting(tmp_path), "end", "so"))
    assert said == ["job 12: notify: /bin/sh has not ended after 0 s"]


@pytest.mark.parametrize(
    ("outcome", "ok", "words"),
    [
        (Outcome(kind=OutcomeKind.EXITED, exit_status=0), True, "exit status 0"),
        (Outcome(kind=OutcomeKind.SIGNALLED, signal=9), False, "killed by signal 9"),
        (Outcome(kind=OutcomeKind.REMOVED, by="bine"), False, "removed by bine"),
        (Outcome(kind=OutcomeKind.TIME_LIMIT, message="time limit 2h reached"), False, "time limit 2h reached"),
        (Outcome(kind=OutcomeKind.LOST), False, "lost"),
        (None, False, "removed"),
    ],
)
def test_ends_in_words(outcome: Outcome | None, ok: bool, words: str) -> None:
    assert end_of_job(outcome) == (ok, words)


def test_who_wants_what() -> None:
    assert wants(Task(notify="mail"), "end")
    assert not wants(Task(notify="mail"), "failure")
    assert not wants(Task(), "end")
    assert wants(Task(notify="x", notify_on=("start",)), "start")
    assert end_of_file("/no/such") == b""


class TestOfAnArray:
    """Its tasks have its token and its place in the submission."""

    @pytest.fixture
    def told(self) -> list[str]:
        return []

    @pytest.fixture
    def notices(self, told: list[str]) -> Notices:
        def spawn(work: Any) -> None:
            told.append(work.cr_frame.f_locals.get("event", "end"))
            work.close()

        return Notices("anze", None, spawn=spawn, log=lambda line: None)  # type: ignore[arg-type]

    def test_the_start_is_told_once(self, notices: Notices, told: list[str], tmp_path: Path) -> None:
        array = entry(notify_on=("start", "end"))
        first, second = (replace(array, number=number) for number in (0, 1))
        notices.started(first, setting(tmp_path))
        notices.over(first, setting(tmp_path))
        notices.started(second, setting(tmp_path))
        assert told == ["start"]
        notices.over(array, setting(tmp_path))
        assert told == ["start", "end"]
