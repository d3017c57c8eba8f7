"""wq sub: from what people type to what their launcher is told."""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wq.cli import config, connection
from wq.cli.commands import sub
from wq.cli.errors import AWAY, BAD_INPUT, FAILED, ServerDown, WqError
from wq.cli.link import LauncherLink
from wq.core.job import Mode, Priority, Requirement
from wq.launcher.clients import Sub
from wq.protocol.wire import Frames, encode

Task = dict[str, Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of submission, on no terminal, without a configuration."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("PWD", str(place))
    monkeypatch.setattr(config, "files", lambda: [str(tmp_path / "wqrc")])
    monkeypatch.setattr(sub, "on_terminal", lambda: False)
    return place


def parsed(*words: str) -> argparse.Namespace:
    """The options, as wq.cli.main makes them."""
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


def only(*words: str) -> Task:
    ((task, _),) = gathered(*words)
    return task


def refused(*words: str) -> str:
    with pytest.raises(WqError) as error:
        gathered(*words)
    assert error.value.status == BAD_INPUT
    assert "\n" not in str(error.value)
    return str(error.value)


def as_the_launcher_reads_it(*words: str) -> Sub:
    """Encoded, cut into frames and typed: nothing that the command sends may be refused there."""
    jobs = gathered(*words)
    message = {"tasks": [task for task, _ in jobs], "stems": [stem for _, stem in jobs], "setting": sub.setting()}
    (body,) = Frames(1 << 30).feed(encode(message))
    return msgspec.convert(msgspec.json.decode(body), Sub, strict=True)


@pytest.mark.usefixtures("here")
class TestACommand:
    def test_is_text_for_a_shell_and_its_first_word_a_name(self) -> None:
        task = only("-b", "-c", "./fit --all | sort")
        assert (task["command"], task["name"], task["requirement"]) == ("./fit --all | sort", "./fit", {})

    def test_or_a_program_word_by_word(self) -> None:
        task = only("-b", "--", "./fit", "a b", "$(x)", "--", "-b")
        assert (task["argv"], task["command"], task["name"]) == (["./fit", "a b", "$(x)", "--", "-b"], None, "./fit")

    @pytest.mark.parametrize(
        ("command", "name"),
        [
            ("  \n  # a comment\n  hostname -f", "hostname"),
            ("#!/bin/sh\nrun", "run"),
            ("#only", "job"),
            ("x" * 300, "x" * 200),
            ("\u017eaba", "\u017eaba"),
        ],
    )
    def test_is_named_by_the_first_word_past_comments(self, command: str, name: str) -> None:
        assert only("-b", "-c", command)["name"] == name

    @pytest.mark.parametrize("command", ["", "   ", "\n\t\n"])
    def test_that_is_empty_is_refused(self, command: str) -> None:
        assert refused("-b", "-c", command) == "sub: the command is empty"

    def test_without_a_program_after_the_dashes_is_refused(self) -> None:
        assert refused("-b", "--") == "sub: a program is wanted after --"

    @pytest.mark.parametrize("words", [["-c", "x caf\udce9"], ["--", "x", "caf\udce9"], ["--", "caf\udce9"]], ids=str)
    def test_that_is_no_text_is_refused_and_not_changed_on_the_way(self, words: list[str]) -> None:
        assert "UTF-8" in refused("-b", *words)

    def test_with_requirements_has_them_and_its_name(self) -> None:
        task = only("-b", "-r", "mode: bynode; N: 5; job_name: fit; priority:high; X:1", "-c", "./fit")
        assert (task["name"], task["x"]) == ("fit", True)
        assert task["requirement"]["mode"] == Mode.BYNODE
        assert (task["requirement"]["n"], task["requirement"]["priority"]) == (5, Priority.HIGH)

    def test_a_requirement_that_is_none_is_refused(self) -> None:
        assert "priorty" in refused("-b", "-r", "priorty: high", "-c", "x")

    @pytest.mark.parametrize("words", [[], ["-c", "x", "job"], ["-c", "x", "--", "y"], ["job", "--", "y"]], ids=str)
    def test_one_of_file_text_and_program_is_wanted(self, words: list[str]) -> None:
        assert "one of JOBFILE..., -c COMMAND, -- PROGRAM..., or `-` is wanted" in refused("-b", *words)


class TestAJobFile:
    def test_has_the_command_and_requirements(self, here: Path) -> None:
        (here / "fit.yaml").write_text("command: |\n  ./fit\n  ./plot\nN: 4\ngroup: [gen1, gen2]\nenv: clean\n")
        task = only("-b", "fit.yaml")
        assert (task["command"], task["name"], task["env_mode"]) == ("./fit\n./plot\n", "./fit", "clean")
        assert (task["requirement"]["n"], task["requirement"]["groups"]) == (4, ("gen1", "gen2"))

    def test_writes_its_output_beside_the_file(self, here: Path) -> None:
        (here / "dir").mkdir()
        (here / "dir/fit.yaml").write_text("command: x\n")
        assert only("-b", "dir/fit.yaml")["output"] == f"{here}/dir/fit.yaml.wqlog"
        assert only("-b", f"{here}/dir/fit.yaml")["output"] == f"{here}/dir/fit.yaml.wqlog"

    def test_of_several_documents_has_several_jobs(self, here: Path) -> None:
        (here / "all.yaml").write_text("command: a\n---\ncommand: b\n")
        assert [task["output"] for task, _ in gathered("-b", "all.yaml")] == [
            f"{here}/all.yaml-1.wqlog",
            f"{here}/all.yaml-2.wqlog",
        ]

    def test_is_overridden_by_the_command_line(self, here: Path) -> None:
        (here / "fit.yaml").write_text("command: x\nN: 4\nthreads: 2\n")
        need = only("-b", "-r", "N: 8", "fit.yaml")["requirement"]
        assert (need["n"], need["threads"]) == (8, 2)

    def test_several_files_are_several_jobs_in_their_order(self, here: Path) -> None:
        for name in ("b.yaml", "a.yaml"):
            (here / name).write_text(f"command: {name}\n")
        assert [task["command"] for task, _ in gathered("-b", "b.yaml", "a.yaml")] == ["b.yaml", "a.yaml"]

    def test_one_bad_file_refuses_them_all(self, here: Path) -> None:
        (here / "good.yaml").write_text("command: x\n")
        (here / "bad.yaml").write_text("command: x\nN: many\n")
        assert refused("-b", "good.yaml", "bad.yaml").startswith("bad.yaml:2: ")

    def test_without_a_command_is_refused(self, here: Path) -> None:
        (here / "fit.yaml").write_text("N: 4\n")
        assert refused("-b", "fit.yaml") == "fit.yaml: there is no command in it"
        (here / "two.yaml").write_text("command: x\n---\nN: 4\n")
        assert refused("-b", "two.yaml") == "two.yaml: there is no command in job 2 of it"

    def test_that_is_not_there_or_no_text_is_refused(self, here: Path) -> None:
        assert refused("-b", "nosuch.yaml") == "nosuch.yaml: No such file or directory"
        (here / "binary").write_bytes(b"\xff\xfe\0")
        assert refused("-b", "binary") == "binary: not UTF-8 text"
        assert refused("-b", ".") == ".: Is a directory"

    def test_that_is_a_script_is_refused_with_a_hint(self, here: Path) -> None:
        (here / "run.sh").write_text("#!/bin/sh\necho hello\n")
        assert refused("-b", "run.sh") == "run.sh is a script, not a job file; run it with `wq sub -- run.sh`"

    def test_whose_name_is_no_text_is_refused(self, here: Path) -> None:
        (here / "caf\udce9.yaml").write_text("command: x\n")
        assert "UTF-8" in refused("-b", "caf\udce9.yaml")

    def test_may_come_from_standard_input(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("command: hostname\n"))
        ((task, stem),) = gathered("-b", "-")
        assert (task["command"], task.get("output"), stem) == ("hostname", None, f"{here}/hostname")

    def test_an_error_there_names_it(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("comand: hostname\n"))
        assert refused("-b", "-").startswith("standard input:1: ")

    def test_a_standard_input_that_is_closed_is_one_clear_line(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert "standard input" in refused("-b", "-")


class TestTheOutput:
    @pytest.mark.parametrize(
        ("command", "stem"),
        [
            ("./fit", "fit"),
            ("/usr/bin/env", "env"),
            ("../../etc/passwd", "passwd"),
            (".hidden", "hidden"),
            ("a;b&c|d", "a_b_c_d"),
            ("...", "job"),
            ("/", "job"),
            ("x" * 300, "x" * 80),
            ("fit\x1b[2J", "fit__2J"),
        ],
    )
    def test_of_a_command_is_named_by_it_and_the_id(self, here: Path, command: str, stem: str) -> None:
        ((task, found),) = gathered("-b", "-c", command)
        assert ("output" in task, found) == (False, f"{here}/{stem}")

    def test_has_a_name_that_fits_whatever_the_letters(self, here: Path) -> None:
        ((_, stem),) = gathered("-b", "-c", "\U0001d49c" * 200)
        assert stem is not None
        assert len(os.path.basename(f"{stem}-12345678.wqlog").encode()) <= 255

    def test_of_a_foreground_job_comes_here(self) -> None:
        ((task, stem),) = gathered("-c", "x")
        assert (task["foreground"], task.get("output"), stem) == (True, None, None)

    @pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
    def test_a_directory_without_room_for_it_is_refused(self, here: Path) -> None:
        here.chmod(0o555)
        assert "no permission there" in refused("-b", "-c", "x")


@pytest.mark.usefixtures("here")
class TestPrivacy:
    @pytest.mark.parametrize(("words", "again"), [("requeue: no", False), ("requeue: true", True), ("N: 1", True)])
    def test_a_job_is_started_again_after_a_reboot_unless_it_says_no(self, words: str, again: bool) -> None:
        assert only("-b", "-r", words, "-c", "./fit")["requeue"] is again

    def test_a_private_job_has_no_telling_name(self) -> None:
        task = only("-b", "-r", "private: true", "-c", "./secret")
        assert (task["private"], task["name"]) == (True, "private")

    def test_unless_its_user_gave_it_one(self) -> None:
        assert only("-b", "-r", "private: true; job_name: open", "-c", "./secret")["name"] == "open"

    @pytest.mark.parametrize("value", ["true", "yes", "1", "on", "True"])
    def test_the_configuration_may_ask_for_it(self, tmp_path: Path, value: str) -> None:
        (tmp_path / "wqrc").write_text(f"private: {value}\n")
        (tmp_path / "wqrc").chmod(0o600)
        assert only("-b", "-c", "./secret")["name"] == "private"


class TestTheSetting:
    def test_is_the_directory_by_the_name_that_its_user_knows(
        self, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "link").symlink_to(here)
        monkeypatch.setenv("PWD", str(tmp_path / "link"))
        assert sub.setting()["cwd"] == str(tmp_path / "link")

    @pytest.mark.parametrize("lie", ["/", "/nosuch", "relative", ""])
    def test_unless_that_is_another_one(self, here: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
        monkeypatch.setenv("PWD", lie)
        assert sub.setting()["cwd"] == str(here)

    def test_a_directory_that_is_gone_is_one_clear_line(self, here: Path) -> None:
        here.rmdir()
        with pytest.raises(WqError, match="the current directory is gone") as error:
            sub.setting()
        assert error.value.status == BAD_INPUT

    def test_has_umask_and_limits_and_leaves_them_as_they_are(self, here: Path) -> None:
        old = os.umask(0o027)
        try:
            found = sub.setting()
            assert os.umask(0o027) == 0o027
        finally:
            os.umask(old)
        assert found["umask"] == 0o027
        assert found["limits"]["nofile"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def test_has_the_environment_but_for_what_is_no_text(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FIT", "\u017e\n")
        monkeypatch.setenv("BROKEN", "\udce9")
        env = sub.setting()["env"]
        assert env["FIT"] == "\u017e\n"
        assert "BROKEN" not in env


class TestWhatIsSent:
    def test_is_what_the_launcher_understands(self, here: Path) -> None:
        (here / "fit.yaml").write_text("command: x\nmode: bygroup\ngroup: g\nmin_mem: 1.5\nhostfile: auto\nX: 1\n")
        for words in (["-b", "-c", "x"], ["-c", "x"], ["-b", "--", "x", "y"], ["-b", "fit.yaml"], ["fit.yaml"]):
            as_the_launcher_reads_it(*words)

    def test_comes_out_as_it_went_in(self, here: Path) -> None:
        require = "N: 4; threads: 2; group: [a, b]; priority: low"
        found = as_the_launcher_reads_it("-b", "-r", require, "-c", "\u017e 'x'")
        (task,) = found.tasks
        assert task.command == "\u017e 'x'"
        assert task.requirement == Requirement(n=4, threads=2, groups=("a", "b"), priority=Priority.LOW)
        assert (found.stems, found.setting.cwd) == ([f"{here}/\u017e"], str(here))

    def test_an_argument_comes_out_word_by_word(self, here: Path) -> None:
        (task,) = as_the_launcher_reads_it("-b", "--", "x", "", "a\nb").tasks
        assert (task.argv, task.command) == (("x", "", "a\nb"), None)


class FakeLink:
    """A launcher that says what the test wants, and is gone then."""

    refusal = LauncherLink.refusal

    def __init__(self, *messages: dict[str, object], queue: object = None) -> None:
        self.said, self.queue = messages, queue
        self.sent: list[dict[str, Any]] = []

    def pid(self) -> int:
        return 4711

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def messages(self) -> Iterator[dict[str, object]]:
        yield from self.said


class TestTheAnswer:
    JOBS = ({"id": 7, "name": "fit\x1b[2J", "output": "OUT/fit-7.wqlog"}, {"id": 8, "name": "x", "output": "/tmp/x"})

    def answered(
        self, patch: pytest.MonkeyPatch, *messages: dict[str, object], words: tuple[str, ...] = ("-b", "-c", "x")
    ) -> int:
        link = FakeLink(*messages)
        patch.setattr(sub, "reach", lambda args, keep: link)
        patch.setattr(sub, "LauncherLink", lambda queue: FakeLink())
        status = sub.run(parsed(*words))
        assert [message["type"] for message in link.sent] == ["sub"]
        return status

    def jobs(self, here: Path) -> dict[str, object]:
        return {"ok": {"jobs": [{**job, "output": str(job["output"]).replace("OUT", str(here))} for job in self.JOBS]}}

    def test_is_a_line_a_job(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.answered(monkeypatch, self.jobs(here)) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith("job 7 queued: fit")
        assert first.endswith("output in fit-7.wqlog")
        assert "\x1b" not in first
        assert second.startswith("job 8 queued: x")

    def test_or_only_the_ids(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.answered(monkeypatch, self.jobs(here), words=("-b", "-q", "-c", "x"))
        assert capsys.readouterr().out == "7\n8\n"

    def test_or_all_for_a_program(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.answered(monkeypatch, self.jobs(here), words=("-b", "--json", "-c", "x"))
        assert [(job["id"], job["away"]) for job in json.loads(capsys.readouterr().out)] == [(7, False), (8, False)]

    @pytest.mark.parametrize(("status", "expected"), [(2, 2), (75, 75), (None, FAILED), ("x", FAILED)])
    def test_a_refusal_has_its_sentence_and_status(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, status: object, expected: int
    ) -> None:
        with pytest.raises(WqError, match="no such group") as error:
            self.answered(monkeypatch, {"error": "no such group", "status": status})
        assert error.value.status == expected

    def test_a_launcher_that_goes_away_leaves_the_status_of_an_absent_server(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(WqError, match="your launcher went away") as error:
            self.answered(monkeypatch)
        assert error.value.status == AWAY

    def test_of_a_launcher_that_is_killed_is_that_of_the_next_one_which_gets_the_same(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        links = [FakeLink(), FakeLink(), FakeLink(self.jobs(here))]
        first, *others = links
        monkeypatch.setattr(sub, "reach", lambda args, keep: first)
        monkeypatch.setattr(sub, "LauncherLink", lambda queue: others.pop(0))
        assert sub.run(parsed("-b", "-q", "-c", "x")) == 0
        assert capsys.readouterr().out == "7\n8\n"
        assert links[0].sent == links[1].sent == links[2].sent
        assert len(links[0].sent[0]["token"]) == 32

    KEPT = (
        {"id": 7, "name": "fit", "output": "/tmp/fit-7.wqlog"},
        {"id": None, "name": "x", "output": "/tmp/x-\0.wqlog"},
        {"id": None, "name": "y", "output": "/tmp/y.wqlog"},
    )

    def test_without_ids_is_a_remark_while_the_server_is_away(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for kept, telling in ((self.KEPT, "2 jobs; ids follow"), (self.KEPT[:2], "1 job; its id follows")):
            assert self.answered(monkeypatch, {"ok": {"jobs": list(kept), "away": "the server is away"}}) == 0
            out, err = capsys.readouterr()
            assert len(out.splitlines()) == 1
            assert err == f"wq: queued here, the server is away ({telling} when it is back)\n"

    def test_without_ids_says_so_to_a_program(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answer: dict[str, object] = {"ok": {"jobs": list(self.KEPT), "away": "the server is away"}}
        self.answered(monkeypatch, answer, words=("-b", "--json", "-c", "x"))
        rows = json.loads(capsys.readouterr().out)
        assert [(row["id"], row["away"], row["output"]) for row in rows] == [
            (7, False, "/tmp/fit-7.wqlog"),
            (None, True, None),
            (None, True, "/tmp/y.wqlog"),
        ]

    @pytest.mark.parametrize(("words", "keep"), [(("-b",), True), (("-b", "--json"), True), (("-b", "-q"), False)])
    def test_may_wait_for_the_server_unless_only_ids_are_wanted(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], keep: bool
    ) -> None:
        link = FakeLink(self.jobs(here))
        asked: list[bool] = []

        def reach(args: argparse.Namespace, *, keep: bool) -> FakeLink:
            asked.append(keep)
            return link

        monkeypatch.setattr(sub, "reach", reach)
        sub.run(parsed(*words, "-c", "x"))
        assert asked == [keep] == [link.sent[0]["keep"]]

    def test_of_a_launcher_that_never_met_the_server_is_that_nothing_was_kept(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        down = ServerDown("the server of erin does not answer", 5, 1)
        link = FakeLink({"error": "the server is away", "status": AWAY}, queue=down)
        monkeypatch.setattr(sub, "reach", lambda args, keep: link)
        with pytest.raises(WqError, match="the server of erin does not answer; nothing was kept") as error:
            sub.run(parsed("-b", "-c", "x"))
        assert error.value.status == AWAY

    def test_of_a_launcher_of_another_version_says_which_process_to_end(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(WqError, match=r"protocol 7, this wq .*`kill 4711`.*batch jobs go on") as error:
            self.answered(monkeypatch, {"error": "whatever it says", "status": 1, "version": 7})
        assert error.value.status == FAILED

    @pytest.mark.parametrize("option", ["-q", "--json"])
    def test_quiet_and_json_go_with_batch(self, here: Path, option: str) -> None:
        with pytest.raises(WqError, match="-q and --json go with -b"):
            sub.run(parsed(option, "-c", "x"))


class Asked:
    """A server that knows three jobs of ours; how often it was connected to, and asked."""

    def __init__(self) -> None:
        self.nconnected = self.nasked = self.nclosed = 0
        self.sock = self

    def connect(self, port: int) -> Any:
        self.nconnected += 1
        return self

    def ask(self, kind: str, **fields: Any) -> Any:
        self.nasked += 1
        rows = [[number, None, "me", "queued", "med", 1, 1, name, 0.0, None, None, None, None, None]
                for number, name in ((7, "prep"), (8, "fit"))]  # fmt: skip
        return {"newest": {"id": 9}, "ls": {"jobs": rows}}[kind]

    def close(self) -> None:
        self.nclosed += 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    for module in (sub, connection):
        monkeypatch.setattr(module, "connect", asked.connect)
    return asked


@pytest.mark.usefixtures("here")
class TestWhatIsWaitedFor:
    JOBS = "command: a\nafter: [prep, last]\n---\ncommand: b\nafter: [prep, fit, 3]\nafter_any: job\n"

    def test_is_looked_up_over_one_connection_each_name_once(
        self, server: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queued: list[Task] = []

        def queue(args: Any, jobs: list[tuple[Task, Any]]) -> int:
            queued.extend(task for task, _ in jobs)
            return 0

        monkeypatch.setattr(sub, "submit_batch", queue)
        Path("jobs.yaml").write_text(self.JOBS.replace("after_any: job", "after_any: a"))
        assert sub.run(parsed("-b", "jobs.yaml")) == 0
        assert [[one["job"] for one in task["after"]] for task in queued] == [[7, 9], [7, 8, 3, -1]]
        assert (server.nconnected, server.nasked, server.nclosed) == (1, 3, 1)

    def test_is_not_where_all_of_it_is_ids(self, server: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sub, "submit_batch", lambda args, jobs: 0)
        assert sub.run(parsed("-b", "--after", "3,4", "-c", "x")) == 0
        assert server.nconnected == 0

    @pytest.mark.parametrize("options", [[], ["--json"]], ids=str)
    def test_is_not_looked_up_to_show_it_and_that_is_said(
        self, server: Asked, capsys: pytest.CaptureFixture[str], options: list[str]
    ) -> None:
        Path("jobs.yaml").write_text(self.JOBS)
        assert sub.run(parsed("-n", "-b", *options, "jobs.yaml")) == 0
        assert server.nconnected == 0
        shown = capsys.readouterr()
        told = "no server was asked, so these jobs, which are waited for, are not looked up: "
        assert shown.err.splitlines()[0] == f"wq: {told}prep, last, fit, job"
        assert not options or [job["name"] for job in json.loads(shown.out)] == ["a", "b"]
