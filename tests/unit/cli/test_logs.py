"""What of an output file is shown; where a job's files are put, as its user wrote it; the words of `wq log`."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from wq.cli import logs, main, outputs
from wq.cli.commands import log
from wq.cli.errors import WqError


def last(path: Path, nlines: int) -> bytes:
    fd = logs.opened(str(path))
    try:
        return path.read_bytes()[logs.start_of_last(fd, nlines) :]
    finally:
        os.close(fd)


class TestLastLines:
    @pytest.mark.parametrize(
        ("text", "nlines", "shown"),
        [
            (b"a\nb\nc\n", 2, b"b\nc\n"),
            (b"a\nb\nc", 2, b"b\nc"),
            (b"a\n\n\n", 2, b"\n\n"),
            (b"a\nb\n", 9, b"a\nb\n"),
            (b"a\nb\n", 0, b""),
            (b"", 3, b""),
            (b"\n", 1, b"\n"),
            (b"one line", 1, b"one line"),
        ],
    )
    def test_begin_where_they_begin(self, tmp_path: Path, text: bytes, nlines: int, shown: bytes) -> None:
        (tmp_path / "f").write_bytes(text)
        assert last(tmp_path / "f", nlines) == shown

    def test_of_a_file_of_many_blocks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(logs, "BLOCK_BYTES", 7)
        lines = [b"%d\n" % number * (number % 4 + 1) for number in range(100)]
        text = b"".join(lines)
        (tmp_path / "f").write_bytes(text)
        for nlines in range(1, 60):
            assert last(tmp_path / "f", nlines) == b"".join(text.splitlines(keepends=True)[-nlines:])


class TestFile:
    def test_bytes_are_shown_as_they_are(self, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        text = bytes(range(256)) * 2000
        (tmp_path / "f").write_bytes(text)
        fd = logs.opened(str(tmp_path / "f"))
        assert logs.copy(fd, 10) == len(text)
        os.close(fd)
        assert capfdbinary.readouterr().out == text[10:]

    def test_what_the_launcher_wrote_to_try_is_not_shown(
        self, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        (tmp_path / "f").write_bytes(b"wq " + b"0" * 32 + b"\n")
        fd = logs.opened(str(tmp_path / "f"))
        assert logs.copy(fd, 0) == 0
        os.close(fd)
        assert capfdbinary.readouterr().out == b""

    def test_neither_a_link_nor_a_pipe_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/etc/passwd")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="symbolic"):
            logs.opened(str(tmp_path / "link"))
        with pytest.raises(logs.NotThere):
            logs.opened(str(tmp_path / "pipe"))


def placed(here: Path, *, output: str | None = None, error: str | None = None, **task: Any) -> dict[str, Any]:
    made = {"name": "a/../b c", **task}
    outputs.placed(made, Namespace(output=output, error=error), str(here))
    return made


class TestPlaces:
    def test_names_are_of_the_directory_of_submission(self, tmp_path: Path) -> None:
        (tmp_path / "logs").mkdir()
        task = placed(tmp_path, output="logs/%x-%j.log", error="logs/%N")
        assert task["output"] == f"{tmp_path}/logs/b_c-\0.log"
        assert task["error"] == f"{tmp_path}/logs/\2"

    def test_an_option_counts_more_than_a_key(self, tmp_path: Path) -> None:
        assert placed(tmp_path, output="one", name="x")["output"] == f"{tmp_path}/one"
        task = {"name": "x", "output": "two", "error": "three"}
        assert outputs.placed(task, Namespace(output="one", error=None), str(tmp_path))
        assert (task["output"], task["error"]) == (f"{tmp_path}/one", f"{tmp_path}/three")

    def test_the_same_file_for_both_is_as_without_errors(self, tmp_path: Path) -> None:
        assert "error" not in placed(tmp_path, output="x", error="./x")

    def test_errors_alone_leave_the_output_where_it_usually_is(self, tmp_path: Path) -> None:
        task = {"name": "x"}
        assert not outputs.placed(task, Namespace(output=None, error="e"), str(tmp_path))
        assert task == {"name": "x", "error": f"{tmp_path}/e"}

    def test_nowhere_is_nowhere_for_all_tasks(self, tmp_path: Path) -> None:
        assert placed(tmp_path, output="/dev/./null", array={})["output"] == "/dev/null"

    @pytest.mark.parametrize("name", ["none/x", "d", "link", "%a", "f/x", "n" * 300, "", " ", "a\x1bb", "..", "%"])
    def test_what_cannot_be_written_is_refused_at_once(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "f").touch()
        (tmp_path / "link").symlink_to("f")
        with pytest.raises(WqError) as error:
            placed(tmp_path, output=name)
        assert (error.value.status, str(error.value).count("\n")) == (2, 0)

    def test_all_tasks_of_an_array_in_one_file_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(WqError, match="put %a in its name"):
            placed(tmp_path, output="x-%j", array={})


class TestWords:
    def test_ids_ranges_tasks_and_the_last_one(self) -> None:
        found = [*log.asked(["12", "3-9", "12.5", "12.5-7", "last"])]
        none = None
        assert found == [
            (12, 12, none, none),
            (3, 9, none, none),
            (12, 12, 5, 5),
            (12, 12, 5, 7),
            (none, none, none, none),
        ]

    @pytest.mark.parametrize(
        "words",
        [
            ["x"],
            ["-n", "x", "1"],
            ["-n", "-1", "1"],
            ["--attempt", "0", "1"],
            ["--json", "-f", "1"],
            ["1-200001"],
            ["1.0-200001"],
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused_before_anybody_is_asked(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.main(["log", *words]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)

    @pytest.mark.parametrize(
        ("words", "rest"),
        [(["-n", "50", "log", "12"], ["-n", "50", "12"]), (["--lines", "5", "log"], ["--lines", "5"])],
    )
    def test_the_number_of_lines_may_stand_before_the_command(self, words: list[str], rest: list[str]) -> None:
        assert main.find_verb(words) == ("log", rest)

    def test_a_dry_run_still_may(self) -> None:
        assert main.find_verb(["-n", "sub", "-b"]) == ("sub", ["-n", "-b"])

    def test_in_the_foreground_output_comes_here(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["sub", "-o", "x", "-c", "true"]) == 2
        assert "-o and -e go with -b" in capsys.readouterr().err
