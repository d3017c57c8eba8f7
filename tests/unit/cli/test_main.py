"""The command `wq`: verbs, options on either side of them, one clear line for what goes wrong."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import wq
from wq.cli import config, main
from wq.cli.errors import WqError
from wq.cli.main import HIDDEN, MAYBE_VALUED, VALUED, VERBS, find_verb
from wq.protocol.wire import WireError

SOURCES = str(Path(wq.__path__[0]).parent)


def run(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    """`wq WORDS` in a process of its own."""
    script = f"import sys; sys.path.insert(0, {SOURCES!r}); from wq.cli.main import main; sys.exit(main(sys.argv[1:]))"
    options: dict[str, object] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 60}
    return subprocess.run([sys.executable, "-I", "-c", script, *words], check=False, **{**options, **more})  # type: ignore[call-overload,no-any-return]


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "files", lambda: [str(tmp_path / "wqrc")])
    for name in ("WQ_PORT", "WQ_SERVER", "WQ_SSH"):
        monkeypatch.delenv(name, raising=False)


class TestHelp:
    @pytest.mark.parametrize("verb", VERBS)
    def test_every_verb_has_it_with_examples(self, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
        for words in ([verb, "-h"], [verb, "--help"]):
            with pytest.raises(SystemExit) as end:
                main.main(words)
            assert end.value.code == 0
            out, err = capsys.readouterr()
            assert out.startswith(f"usage: wq {verb} ")
            assert f"\n  wq {verb}" in out.partition("examples:")[2], "no example"
            assert err == ""

    def test_no_line_of_it_is_wider_than_a_hundred_columns(self, capsys: pytest.CaptureFixture[str]) -> None:
        for verb in VERBS:
            with pytest.raises(SystemExit):
                main.main([verb, "-h"])
            assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 100] == []

    @pytest.mark.parametrize("words", [["-h"], ["--help"], ["-h", "ls"], ["-p", "5", "--help"]], ids=str)
    def test_of_the_whole_names_every_verb_and_a_first_step(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.main(words) == 0
        out = capsys.readouterr().out
        assert all(f"  {verb} " in out for verb in VERBS)
        assert "wq sub -c" in out
        assert not any(verb in out for verb in HIDDEN)

    def test_without_a_word_the_usage_is_an_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main([]) == 2
        out, err = capsys.readouterr()
        assert (out, err.startswith("usage: wq ")) == ("", True)

    def test_the_version_is_that_of_the_package(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["--version"]) == 0
        assert capsys.readouterr().out == f"wq {wq.__version__}\n"

    def test_there_is_a_file_for_every_verb_and_a_verb_for_every_file(self) -> None:
        commands = Path(SOURCES) / "wq/cli/commands"
        assert {path.stem for path in commands.glob("*.py")} - {"__init__"} == set(VERBS) | HIDDEN


class TestVerbs:
    @pytest.mark.parametrize(
        ("typo", "meant"), [("lst", "ls"), ("sbu", "sub"), ("remove", "rm"), ("users?", "users"), ("xyzzy", None)]
    )
    def test_one_that_is_none_is_refused_with_the_nearest(
        self, typo: str, meant: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.main([typo]) == 2
        out, err = capsys.readouterr()
        hint = f"did you mean `wq {meant}`?" if meant else "there are: sub, ls, stat, "
        assert (out, err.startswith(f"wq: there is no command {typo!r}; {hint}")) == ("", True)

    @pytest.mark.parametrize(
        ("words", "verb", "rest"),
        [
            (["ls"], "ls", []),
            (["-p", "5", "ls", "-f"], "ls", ["-p", "5", "-f"]),
            (["--port", "5", "ls"], "ls", ["--port", "5"]),
            (["--port=5", "ls"], "ls", ["--port=5"]),
            (["-p5", "ls"], "ls", ["-p5"]),
            (["--json", "ls"], "ls", ["--json"]),
            (["-b", "sub", "-c", "x"], "sub", ["-b", "-c", "x"]),
            (["-u", "anze", "ls"], "ls", ["-u", "anze"]),
            (["-r", "N: 2", "-b", "sub", "job"], "sub", ["-r", "N: 2", "-b", "job"]),
            (["-bc", "echo sub", "sub"], "sub", ["-bc", "echo sub"]),
            (["-c", "ls", "sub"], "sub", ["-c", "ls"]),
            (["-cls", "sub"], "sub", ["-cls"]),
            (["-bcls", "sub"], "sub", ["-bcls"]),
            (["--command=ls", "sub"], "sub", ["--command=ls"]),
            (["-w", "ls"], "ls", ["-w"]),
            (["-w", "5", "ls", "3"], "ls", ["-w", "5", "3"]),
            (["--watch", "0.5", "--sort", "-t_in", "ls"], "ls", ["--watch", "0.5", "--sort", "-t_in"]),
            (["--grace", "3", "rm", "7"], "rm", ["--grace", "3", "7"]),
            (["sub", "--", "ls", "-p", "5"], "sub", ["--", "ls", "-p", "5"]),
            (["-p"], None, ["-p"]),
            (["-p", "5"], None, ["-p", "5"]),
            ([], None, []),
        ],
        ids=str,
    )
    def test_options_may_stand_before_and_after_them(self, words: list[str], verb: str | None, rest: list[str]) -> None:
        assert find_verb(words) == (verb, rest)

    def test_all_options_with_a_value_are_known(self) -> None:
        found = {"-p", "--port"}
        for verb in VERBS:
            parser = argparse.ArgumentParser()
            import_module(f"wq.cli.commands.{verb}").options(parser)
            actions = [action for action in parser._actions if action.option_strings and action.nargs != 0]
            found |= {option for action in actions for option in action.option_strings}
        assert found - {"--ready-fd", "-f", "-n"} == VALUED | {*MAYBE_VALUED}  # (these are flags elsewhere)

    @pytest.mark.parametrize("verb", VERBS)
    def test_an_option_that_nobody_knows_is_refused_in_one_line(
        self, verb: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.main([verb, "--nosuch"]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n"), err.startswith(f"wq: {verb}: ")) == ("", 1, True)

    def test_options_are_written_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["ls", "--ful"]) == 2


class TestPorts:
    @pytest.mark.parametrize("port", ["", "x", "0", "65536", "-1", "5.5", "²", "1" * 5000, " 5", "5 "])
    def test_one_that_is_none_is_refused(self, port: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["ls", f"--port={port}"]) == 2
        err = capsys.readouterr().err
        assert "is not a port; a number from 1 to 65535 is" in err
        assert len(err) < 200

    def test_nor_may_the_environment_name_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WQ_PORT", "x")
        assert main.main(["ls"]) == 2

    def test_an_empty_variable_is_as_good_as_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WQ_PORT", "")
        assert main.port_number(None) == 51093

    def test_the_option_wins_over_the_environment_over_the_usual_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert main.port_number(None) == 51093
        monkeypatch.setenv("WQ_PORT", "7")
        assert (main.port_number(None), main.port_number("8")) == (7, 8)


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("error", "status", "line"),
        [
            (WqError("the queue is closed", 2), 2, "wq: the queue is closed"),
            (WqError("it failed"), 1, "wq: it failed"),
            (KeyboardInterrupt(), 130, ""),
            (ConnectionResetError(), 75, "wq: the server closed the connection; is it being stopped?"),
            (WireError("not JSON"), 1, "wq: what the other side says is not understood: not JSON"),
            (OSError(28, "No space left on device", "/x"), 1, "wq: No space left on device: /x"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_is_one_line_and_a_status(
        self,
        error: BaseException,
        status: int,
        line: str,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(verb: str, words: list[str], **_: object) -> int:
            raise error

        monkeypatch.setattr(main, "dispatch", fail)
        monkeypatch.setattr(main, "drop_stdout", lambda: None)
        assert main.main(["ls"]) == status
        assert capfd.readouterr().err == (f"{line}\n" if line else "")

    def test_nothing_in_it_reaches_the_terminal_raw(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        main.complain("\x1b[2J\r\nevil\u202e")
        assert set("\x1b\r\u202e").isdisjoint(capsys.readouterr().err)

    @pytest.mark.parametrize(
        "words",
        [
            ["rm", "1" * 5000],
            ["rm", "1x"],
            ["rm"],
            ["rm", "--mine", "1"],
            ["wait", "--timeout", "soon", "1"],
            ["hist", "--since", "x"],
            ["rm", "--grace", "nan", "1"],
            ["rm", "all", "1"],
            ["ls", "1" * 5000],
            ["ls", "-1"],
            ["limit", "run: " + "1" * 5000],
            ["limit", "run: x"],
            ["limit", "ran: 1"],
            ["limit", ""],
            ["node", "a[1-", "offline"],
            ["node", "offline"],
            ["node", "a", "status:splendid"],
            ["sub"],
            ["sub", "-b", "nosuch.yaml"],
            ["sub", "-b", "-c", ""],
            ["serve", "nosuch.txt", "-s", "SPOOL"],
        ],
        ids=lambda words: " ".join(words)[:30],
    )
    def test_bad_input_is_one_line_on_stderr_and_status_two(self, words: list[str], tmp_path: Path) -> None:
        words = [str(tmp_path / "spool") if word == "SPOOL" else word for word in words]
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "WQ_PORT": "64999"}
        done = run(*words, env=env, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith("wq: ")

    @pytest.mark.parametrize("closed", [0, 1, 2])
    @pytest.mark.parametrize(
        "words", [["--version"], ["ls", "-h"], ["sub", "-b", "-"], ["rm", "x"], ["init", "-f", "-"]], ids=str
    )
    def test_a_closed_standard_stream_is_no_traceback(self, closed: int, words: list[str], tmp_path: Path) -> None:
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "WQ_PORT": "64999"}
        done = run(*words, env=env, cwd=tmp_path, stdin=None, preexec_fn=lambda: os.close(closed))
        assert "Traceback" not in done.stderr + done.stdout

    def test_a_reader_that_goes_away_is_no_traceback(self, tmp_path: Path) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = run("ls", "-h", stdout=writing, capture_output=False, stderr=subprocess.PIPE)
        os.close(writing)
        assert "Traceback" not in done.stderr
