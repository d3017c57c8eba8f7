"""wq sub, arrays: from options and job files to what the launcher is told, and -n."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wq.cli import arrays, config
from wq.cli.commands import sub
from wq.cli.errors import BAD_INPUT, WqError
from wq.formats.array import row_of
from wq.launcher import clients

Task = dict[str, Any]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of submission, on no terminal, without a configuration."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("PWD", str(place))
    monkeypatch.setattr(config, "files", lambda: [str(tmp_path / "wqrc")])
    monkeypatch.setattr(sub, "on_terminal", lambda: False)
    monkeypatch.setattr(arrays, "said", set())
    return place


def parsed(*words: str) -> argparse.Namespace:
    rest, tail = list(words), None
    if "--" in rest:
        at = rest.index("--")
        rest, tail = rest[:at], rest[at + 1 :]
    parser = argparse.ArgumentParser()
    sub.options(parser)
    args = parser.parse_args(rest)
    args.tail, args.port = tail, 1
    return args


def gathered(*words: str) -> list[tuple[Task, str | None]]:
    return sub.gather(parsed(*words))


def only(*words: str) -> Any:
    ((task, _),) = gathered(*words)
    return task["array"]


def refused(*words: str) -> str:
    with pytest.raises(WqError) as error:
        gathered(*words)
    assert error.value.status == BAD_INPUT
    assert "\n" not in str(error.value)
    return str(error.value)


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


class TestTheOptions:
    def test_of_numbers(self) -> None:
        ((task, stem),) = gathered("-b", "--array", "1,5,10-20:2%50", "-c", "./fit %task%")
        assert task["array"] == {
            "tasks": [[1, 1, 1], [5, 5, 1], [10, 20, 2]],
            "at_most": 50,
            "columns": [],
            "rows": None,
            "product": None,
        }
        assert (task["command"], task["name"], "output" in task) == ("./fit %task%", "./fit", False)
        assert stem == f"{os.getcwd()}/fit"

    def test_of_lines(self, here: Path) -> None:
        (here / "points").write_text("a\n\nb\n")
        array = only("-b", "--each-line", "points", "--", "./fit", "%line%")
        assert (array["tasks"], array["columns"], array["rows"]) == ([[1, 2, 1]], ["line"], [["a"], ["b"]])

    def test_of_lines_on_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin_of(monkeypatch, b"a\nb\n")
        assert only("-b", "--each-line", "-", "-c", "x")["rows"] == [["a"], ["b"]]

    def test_of_rows(self, here: Path) -> None:
        (here / "runs.csv").write_text("lr,seed\n0.1,1\n0.2,2\n")
        array = only("-b", "--each-csv", "runs.csv", "-c", "x")
        assert (array["columns"], array["rows"]) == (["lr", "seed"], [["0.1", "1"], ["0.2", "2"]])

    def test_of_combinations(self) -> None:
        array = only("-b", "--param", "lr=0.1,0.01", "--param", "seed=1-5", "-c", "x")
        assert (array["tasks"], array["columns"], array["rows"]) == ([[1, 10, 1]], ["lr", "seed"], None)
        assert row_of(array, 9) == {"task": "10", "lr": "0.01", "seed": "5"}

    @pytest.mark.parametrize("words", [("--array", "0-9"), ("--param", "a=0-9")])
    def test_cap_what_runs_at_once(self, words: tuple[str, ...]) -> None:
        assert only("-b", *words, "--at-most", "5", "-c", "x")["at_most"] == 5

    def test_hold_for_every_job_of_the_call(self, here: Path) -> None:
        for name in ("a.yaml", "b.yaml"):
            (here / name).write_text("command: x\n")
        found = gathered("-b", "--array", "0-9", "a.yaml", "b.yaml")
        assert [(task["array"]["tasks"], stem) for task, stem in found] == [
            ([[0, 9, 1]], f"{here}/a.yaml"),
            ([[0, 9, 1]], f"{here}/b.yaml"),
        ]

    def test_are_none_of_a_plain_job(self) -> None:
        ((task, _),) = gathered("-b", "-r", "N: 2", "-c", "x")
        assert "array" not in task


class TestTheKey:
    def test_of_a_job_file_makes_an_array(self, here: Path) -> None:
        (here / "fit.yaml").write_text(
            "command: x\narray: 0-9%5\n---\ncommand: y\n---\ncommand: z\narray: [1, 5-9:2]\n"
        )
        found = gathered("-b", "fit.yaml")
        assert [task.get("array", {}).get("tasks") for task, _ in found] == [
            [[0, 9, 1]],
            None,
            [[1, 1, 1], [5, 9, 2]],
        ]
        assert [stem for _, stem in found] == [f"{here}/fit.yaml-1", None, f"{here}/fit.yaml-3"]
        assert [task.get("output") for task, _ in found] == [None, f"{here}/fit.yaml-2.wqlog", None]
        assert found[0][0]["array"]["at_most"] == 5

    def test_of_a_requirement_does_too_and_wins(self, here: Path) -> None:
        (here / "fit.yaml").write_text("command: x\narray: 0-9\n")
        assert only("-b", "-r", "N: 2; array: 1,2%1", "-c", "x")["tasks"] == [[1, 2, 1]]
        assert only("-b", "-r", "array: 7", "fit.yaml")["tasks"] == [[7, 7, 1]]

    def test_loses_against_an_option(self, here: Path) -> None:
        (here / "fit.yaml").write_text("command: x\narray: 0-9%5\n")
        assert only("-b", "--array", "3", "fit.yaml") == only("-b", "--array", "3", "-c", "x")
        assert only("-b", "--at-most", "2", "fit.yaml")["at_most"] == 2

    def test_on_standard_input_is_named_by_its_command(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("command: ./fit\narray: 0-9\n"))
        ((task, stem),) = gathered("-b", "-")
        assert (task["array"]["tasks"], stem) == ([[0, 9, 1]], f"{here}/fit")

    def test_that_is_none_is_refused_with_its_line(self, here: Path) -> None:
        (here / "fit.yaml").write_text("command: x\narray: 0-x\n")
        assert refused("-b", "fit.yaml").startswith("fit.yaml:2: array: '0-x' is no task and no range; allowed: ")
        assert refused("-b", "-r", "N: 1; array: 9-1", "-c", "x").startswith("-r:2: in 'array: 9-1': array: the range")


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "words", [("--array", "1"), ("--each-line", "x"), ("--each-csv", "x"), ("--param", "a=1"), ("--at-most", "1")]
    )
    def test_an_array_in_the_foreground(self, words: tuple[str, ...]) -> None:
        assert refused(*words, "-c", "x") == "sub: arrays go with -b"

    def test_also_where_the_key_says_so(self, here: Path) -> None:
        (here / "fit.yaml").write_text("command: x\narray: 0-9\n")
        assert refused("fit.yaml") == refused("-r", "array: 0", "-c", "x") == "sub: arrays go with -b"

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("--array", "1", "--param", "a=1"), "--array and --param exclude each other"),
            (("--each-line", "x", "--each-csv", "y"), "--each-line and --each-csv exclude each other"),
            (("--at-most", "3"), "--at-most goes with an array"),
            (("--array", "1", "--at-most", "0"), "--at-most: at most '0' at once; allowed: a whole number from 1"),
            (("--array", "1%2", "--at-most", "2"), "--at-most and the % in --array mean the same"),
            (("--array", "1", "-r", "array: 2"), "there is an array in -r and another in the options"),
            (("--array", "x"), "--array: 'x' is no task and no range"),
            (("--param", "a"), "--param: 'a' is no parameter"),
            (("--param", "a=\udce9"), "not UTF-8"),
            (("--each-line", "nosuch"), "nosuch: No such file or directory"),
            (("--each-csv", "."), ".: Is a directory"),
            (("--array", "1", "-r", "hostfile: nodes.txt"), "all tasks of an array would write the same hostfile"),
        ],
    )
    def test_options_that_cannot_be(self, words: tuple[str, ...], why: str) -> None:
        assert why in refused("-b", *words, "-c", "x")

    def test_a_file_with_a_fault_names_it(self, here: Path) -> None:
        (here / "runs.csv").write_text("a,b\n1\n")
        assert refused("-b", "--each-csv", "runs.csv", "-c", "x").startswith("runs.csv:2: 1 field, but")
        (here / "points").write_bytes(b"\n\xff")
        assert refused("-b", "--each-line", "points", "-c", "x").startswith("points:2: the byte 0xff")

    def test_standard_input_for_two_things_and_a_closed_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "not both" in refused("-b", "--each-line", "-", "-")
        monkeypatch.setattr(sys, "stdin", None)
        assert refused("-b", "--each-line", "-", "-c", "x") == "standard input is closed"

    def test_hostfile_auto_is_for_each_task(self) -> None:
        assert only("-b", "--array", "1", "-r", "hostfile: auto", "-c", "x")["tasks"] == [[1, 1, 1]]

    def test_more_than_a_launcher_takes(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert arrays.MOST_BYTES == clients.MOST_SUBMISSION_BYTES
        (here / "points").write_text("\x01" * 1000 + "\n")
        args = parsed("-b", "--each-line", "points", "-c", "x")
        sub.message_of(args, sub.gather(args))
        monkeypatch.setattr(arrays, "MOST_BYTES", 5000)
        with pytest.raises(WqError, match="submit it in several calls"):
            sub.message_of(args, sub.gather(args))
        monkeypatch.setattr(arrays, "MOST_BYTES", 5_000_000)
        sub.message_of(args, sub.gather(args))


class TestARemark:
    @pytest.mark.parametrize(
        ("command", "meant"),
        [("fit %sed%", "seed"), ("fit %SEED%", "seed"), ("fit %tsk%", "task"), ("fit %seeds%", "seed")],
    )
    def test_is_made_of_a_placeholder_that_is_nearly_one(
        self, command: str, meant: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for words in (["-c", command], ["--", *command.split()]):
            gathered("-b", "--param", "seed=1", *words)
        err = capsys.readouterr().err
        wrong = command.split()[1]
        assert err == f"wq: {wrong} in the command stays as it is; did you mean %{meant}%?\n"

    @pytest.mark.parametrize(
        "command", ["fit %seed%", "printf %s%d%f%%", "x %hostfile% %threads% %task%", "date +%Y%m%d", "x %other%"]
    )
    def test_is_not_made_of_anything_else(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        gathered("-b", "--param", "seed=1", "--param", "d=1", "-c", command)
        assert capsys.readouterr().err == ""

    def test_is_not_made_where_there_is_no_array(self, capsys: pytest.CaptureFixture[str]) -> None:
        gathered("-b", "-c", "fit %tsk%")
        assert capsys.readouterr().err == ""


class TestDry:
    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def reach(*_: object, **__: object) -> None:
            pytest.fail("somebody was asked")

        monkeypatch.setattr(sub, "reach", reach)

    def shown(self, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        assert sub.run(parsed("-n", *words)) == 0
        out, err = capsys.readouterr()
        assert err.startswith("wq: nothing was submitted (")
        return out

    def test_shows_the_first_tasks_and_the_last(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = self.shown(
            capsys,
            "-b",
            "-r",
            "N: 4; group: [a, b]; threads: 2; min_mem: 1.5",
            "--array",
            "0-9999%50",
            "-c",
            "./fit %task% %threads%",
        )
        assert found == (
            "job 1: ./fit\n"
            "  requirement: mode: bycore; N: 4; group: [a, b]; min_mem: 1.5; threads: 2; priority: med\n"
            "  tasks: 10000 (0-9999, at most 50 at once)\n"
            "  output: fit-%id%_%task%.wqlog\n"
            "  task    0: ./fit 0 2\n"
            "  task    1: ./fit 1 2\n"
            "  task    2: ./fit 2 2\n"
            "  ...\n"
            "  task 9999: ./fit 9999 2\n"
        )

    def test_shows_all_where_they_are_few(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = self.shown(capsys, "-b", "--param", "a=x y,$z", "--param", "b=1,2", "--", "fit", "--a=%a%", "%b%")
        assert found.splitlines()[4:] == [
            "  task 1: fit '--a=x y' 1",
            "  task 2: fit '--a=x y' 2",
            "  task 3: fit '--a=$z' 1",
            "  task 4: fit '--a=$z' 2",
        ]

    def test_shows_plain_jobs_too_line_by_line(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (here / "two.yaml").write_text(
            'command: |\n  echo "\xad"\n  ./fit\nrequeue: no\nX: 1\nenv: login\n---\ncommand: y\narray: 1-2\n'
        )
        assert self.shown(capsys, "-b", "two.yaml").splitlines() == [
            "job 1: echo",
            "  requirement: mode: bycore; N: 1; priority: med; X: yes; env: login; requeue: no",
            "  output: two.yaml-1.wqlog",
            '  command: echo "\\xad"',
            "      ./fit",
            "job 2: y",
            "  requirement: mode: bycore; N: 1; priority: med",
            "  tasks: 2 (1-2)",
            "  output: two.yaml-2-%id%_%task%.wqlog",
            "  task 1: y",
            "  task 2: y",
        ]

    def test_shows_a_foreground_job(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "  output: here\n  command: ./fit\x1b".replace("\x1b", "\\x1b") in self.shown(capsys, "-c", "./fit\x1b")

    def test_its_requirement_can_be_given_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        require = "mode: bynode; N: 3; group: [a, b]; notgroup: [c]; min_cores: 8; priority: high; private: yes"
        line = self.shown(capsys, "-b", "-r", require, "-c", "x").splitlines()[1]
        again = self.shown(capsys, "-b", "-r", line.partition("requirement: ")[2], "-c", "x").splitlines()[1]
        assert line == again == f"  requirement: {require}"

    @pytest.mark.parametrize("batch", [["-b"], []])
    def test_is_there_for_programs(self, batch: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert sub.run(parsed("-n", "--json", *batch, "-r", "N: 2", "-c", "./fit")) == 0
        out, err = capsys.readouterr()
        (job,) = json.loads(out)
        assert err == ""
        assert job["requirement"]["N"] == 2
        assert (job["name"], job["tasks"], job["array"], job["columns"]) == ("./fit", None, None, [])
        assert job["output"] == (f"{os.getcwd()}/fit-%id%.wqlog" if batch else None)
        assert job["commands"] == [{"task": None, "command": "./fit", "argv": None}]

    def test_an_array_is_there_for_programs(self, capsys: pytest.CaptureFixture[str]) -> None:
        sub.run(parsed("-n", "--json", "-b", "--array", "0-9%2", "--", "./fit", "%task%"))
        (job,) = json.loads(capsys.readouterr().out)
        assert (job["tasks"], job["array"]) == (10, "0-9%2")
        assert job["output"] == f"{os.getcwd()}/fit-%id%_%task%.wqlog"
        assert [(one["task"], one["argv"]) for one in job["commands"]] == [(n, ["./fit", str(n)]) for n in (0, 1, 2, 9)]

    def test_makes_all_checks(self) -> None:
        with pytest.raises(WqError, match="arrays go with -b"):
            sub.run(parsed("-n", "--array", "1", "-c", "x"))
        with pytest.raises(WqError, match="priorty"):
            sub.run(parsed("-n", "-b", "-r", "priorty: high", "-c", "x"))


class FakeLink:
    """A launcher that says what the test wants."""

    queue = None

    def __init__(self, *messages: dict[str, object]) -> None:
        self.said = messages

    def send(self, message: dict[str, Any]) -> None:
        pass

    def messages(self) -> Iterator[dict[str, object]]:
        yield from self.said


class TestTheAnswer:
    def answered(self, patch: pytest.MonkeyPatch, *words: str, ntasks: object, before: list[dict[str, object]]) -> None:
        output = os.path.join(os.getcwd(), "fit-12_%task%.wqlog")
        facts = {"jobs": [{"id": 12, "name": "fit", "output": output, "tasks": ntasks}]}
        patch.setattr(sub, "reach", lambda args, keep: FakeLink(*before, {"ok": facts}))
        assert sub.run(parsed("-b", *words, "-c", "x")) == 0

    @pytest.mark.parametrize(("ntasks", "text"), [(10000, ", 10000 tasks"), (1, ", 1 task"), (None, "")])
    def test_tells_how_many_tasks(
        self, ntasks: object, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.answered(monkeypatch, ntasks=ntasks, before=[])
        assert capsys.readouterr().out == f"job 12 queued: fit{text}, output in fit-12_%task%.wqlog\n"
        self.answered(monkeypatch, "-q", ntasks=ntasks, before=[])
        assert capsys.readouterr().out == "12\n"
        self.answered(monkeypatch, "--json", ntasks=ntasks, before=[])
        (row,) = json.loads(capsys.readouterr().out)
        assert (row["tasks"], row["away"]) == (ntasks, False)

    def test_word_of_the_progress_before_it_does_no_harm(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told: list[dict[str, object]] = [
            {"type": "progress", "done": 1, "of": 9},
            {"type": "progress", "done": "x"},
            {"type": "something new"},
        ]
        self.answered(monkeypatch, ntasks=None, before=told)
        out, err = capsys.readouterr()
        assert (out, err) == ("job 12 queued: fit, output in fit-12_%task%.wqlog\n", "")
