"""Units for systemd and lines for a crontab: systemd reads the one, and a shell the other, as cron passes it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wq.cli import units
from wq.cli.commands import serve
from wq.cli.errors import BAD_INPUT, WqError

AWKWARD = "a b%c$d'e\"f\\g"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is called as wq: prints its words, and where it was told that state is, a line each."""
    place = tmp_path / "50% of $HOME"
    place.mkdir()
    path = place / "wq"
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$XDG_STATE_HOME" "$@"\n')
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    for name in units.CARRIED:
        monkeypatch.delenv(name, raising=False)
    return path


def cron_lines(text: str) -> dict[str, str]:
    """What cron would hand to sh, by when: the first bare % ends the command, and \\% is a %."""
    found = re.findall(r"^# (@reboot|\*/5 \* \* \* \*) (.*)$", text, re.MULTILINE)
    return {when: re.split(r"(?<!\\)%", command)[0].replace("\\%", "%") for when, command in found}


def words_of(text: str) -> list[str]:
    """The words of ExecStart, by systemd's rules: quotes, %% and (past the first word) $$."""
    (line,) = re.findall("^ExecStart=(.*)$", text, re.MULTILINE)
    first, *rest = (word.replace("%%", "%") for word in shlex.split(line))
    return [first, *(word.replace("$$", "$") for word in rest)]


@pytest.mark.parametrize("text", [units.for_server(["serve"], 7), units.for_launchers()], ids=["server", "launchers"])
def test_systemd_finds_nothing_to_say_against_a_unit(text: str, tmp_path: Path) -> None:
    assert verified(text, tmp_path) == ""


def test_systemd_finds_a_program_with_an_awkward_name(program: Path, tmp_path: Path) -> None:
    assert verified(units.for_launchers(), tmp_path) == ""
    assert "is not executable" in verified(units.for_launchers().replace("50%% of", "51%% of"), tmp_path)


def verified(text: str, tmp_path: Path) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not installed: systemd-analyze")
    unit = tmp_path / "wq-test.service"
    unit.write_text(text)
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    argv = ["systemd-analyze", "--user", "verify", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    return "".join(line for line in done.stderr.splitlines(keepends=True) if "wq-test.service" in line)


def test_the_given_arguments_come_along_with_absolute_names(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    serve.options(parser)
    args = parser.parse_args([AWKWARD, "-s", "spool", "--no-block", "--print-unit"])
    args.port = 51094
    assert serve.run(args) == 0
    text = capsys.readouterr().out
    words = ["serve", f"{tmp_path}/{AWKWARD}", "-p", "51094", "-s", f"{tmp_path}/spool", "--no-block"]
    assert words_of(text) == [str(program), *words]
    assert "~/.config/systemd/user/wq-51094.service\n" in text
    for command in cron_lines(text).values():
        assert command.endswith(" --detach >/dev/null")
        shown = subprocess.run(["sh", "-c", command.removesuffix(">/dev/null")], capture_output=True, text=True)
        assert shown.stdout.splitlines() == ["", *words, "--detach"]


def test_where_state_is_comes_along(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", f"/srv/{AWKWARD}")
    text = units.for_launchers()
    (setting,) = re.findall("^Environment=(.*)$", text, re.MULTILINE)
    assert [word.replace("%%", "%") for word in shlex.split(setting)] == [f"XDG_STATE_HOME=/srv/{AWKWARD}"]
    lines = cron_lines(text)
    assert list(lines) == ["@reboot", "*/5 * * * *"]
    for command in lines.values():
        shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        assert shown.stdout.splitlines() == [f"/srv/{AWKWARD}", "launcher"]


def test_a_name_that_would_end_the_line_is_refused(program: Path) -> None:
    with pytest.raises(WqError) as refused:
        units.for_server(["serve", "a\nb"], 7)
    assert refused.value.status == BAD_INPUT


def test_this_wq_is_the_one_that_was_called(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert units.this_wq() == [str(program)]
    monkeypatch.chdir(program.parent)
    monkeypatch.setattr(sys, "argv", ["./wq"])
    assert units.this_wq() == [str(program)]
    monkeypatch.setattr(sys, "argv", ["/nosuch/__main__.py"])
    (found, *rest) = units.this_wq()
    assert os.access(found, os.X_OK)
    assert rest in ([], ["-m", "wq"])
