"""wq orphans: nodes are asked by a real child process; what they say becomes a table, or rows for a program."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from wq.cli import config, nodes
from wq.cli.commands import orphans
from wq.node import shepherd

ROW = {"pid": 77, "start": 1, "age_s": 61.0, "command": "sleep \x1b[2J", "queue": "q5-7-head@n1", "att": "12.2/1"}
STRANGER = {**ROW, "pid": 78, "queue": None, "att": None}
GREETING = shepherd.GREETING.decode()
COMPLAINT = shepherd.COMPLAINT.decode()


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that does what the script named like its host does; the others do not answer."""
    monkeypatch.setattr(config, "files", list)
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\nfor word; do [ "$host" = -- ] && break; host=$word; done; shift $(($# - 2))\n'
        f'echo "$*" >>{tmp_path}/calls\ncat >/dev/null & exec sh {tmp_path}/$1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("WQ_SSH", shlex.quote(str(program)))
    return tmp_path


def says(place: Path, host: str, text: str, status: int = 0) -> None:
    (place / f"{host}.text").write_text(text)
    (place / host).write_text(f"cat {place}/{host}.text\nexit {status}\n")


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    orphans.options(parser)
    args = parser.parse_args(words)
    args.port = 1
    return orphans.run(args)


def answer(**facts: list[dict[str, Any]]) -> str:
    return f"Welcome!\n\n{GREETING}{json.dumps(facts)}\n"


class TestTheTable:
    def test_has_what_was_found_in_the_order_of_the_nodes(
        self, fake_ssh: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        says(fake_ssh, "n1", answer(orphans=[ROW, STRANGER]))
        says(fake_ssh, "n2", answer(orphans=[]))
        says(fake_ssh, "n3", answer(orphans=[ROW]))
        assert run("n3", "n[1-2]") == 0
        out, err = capsys.readouterr()
        assert [line.split(maxsplit=5) for line in out.splitlines()] == [
            ["Node", "Pid", "Age", "Queue", "Job", "Command"],
            ["n3", "77", "1m01s", "q5-7-head", "12", "sleep \\x1b[2J"],
            ["n1", "77", "1m01s", "q5-7-head", "12", "sleep \\x1b[2J"],
            ["n1", "78", "1m01s", "-", "-", "sleep \\x1b[2J"],
        ]
        assert err == ""

    def test_names_beside_it_the_nodes_that_could_not_be_looked_at(
        self, fake_ssh: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        says(fake_ssh, "n1", answer(orphans=[ROW]))
        says(fake_ssh, "n2", "hello\n", 255)
        says(fake_ssh, "n3", f"hello\n\n{COMPLAINT}it is too full here\n")
        says(fake_ssh, "n4", f"\n{GREETING}nonsense\n")
        assert run("n1", "n2", "n3", "n4", "-oProxyCommand=touch x") == 1
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 2
        two, three, four, evil = err.splitlines()
        assert two == "wq: could not look at n2: n2 could not be used (ssh ended with status 255)"
        assert three == "wq: could not look at n3: it is too full here"
        assert four.startswith("wq: could not look at n4: ")
        assert "is not the name of a host" in evil
        assert "Proxy" not in (fake_ssh / "calls").read_text()

    def test_of_a_node_that_prints_without_end_is_given_up(
        self, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(nodes, "MOST_ANSWER_BYTES", 1 << 16)
        (fake_ssh / "n1").write_text("exec yes\n")
        assert run("n1") == 1
        assert "prints without end" in capsys.readouterr().err


class TestKilling:
    def test_says_what_has_ended_and_what_has_not(self, fake_ssh: Path, capsys: pytest.CaptureFixture[str]) -> None:
        says(fake_ssh, "n1", answer(ended=[ROW], left=[STRANGER]))
        assert run("--kill", "n1") == 1
        out, err = capsys.readouterr()
        assert [line.split()[1] for line in out.splitlines()] == ["Pid", "77", "78"]
        assert err.splitlines() == ["wq: process 78 on n1 could not be ended", "wq: ended: 1"]
        assert '"orphans":"kill"' in (fake_ssh / "calls").read_text()

    def test_is_not_what_is_done_without_that_word(self, fake_ssh: Path) -> None:
        says(fake_ssh, "n1", answer(orphans=[]))
        assert run("n1") == 0
        assert '"orphans":"list"' in (fake_ssh / "calls").read_text()


def test_rows_for_programs(fake_ssh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    says(fake_ssh, "n1", answer(ended=[ROW], left=[STRANGER]))
    says(fake_ssh, "n2", "", 255)
    assert run("--kill", "--json", "n1", "n2") == 1
    facts = json.loads(capsys.readouterr().out)
    same = {"host": "n1", "age_s": 61.0, "command": "sleep \x1b[2J"}
    assert facts["orphans"] == [
        {**same, "pid": 77, "queue": "q5-7-head@n1", "job": 12, "attempt": 2, "ended": True},
        {**same, "pid": 78, "queue": None, "job": None, "attempt": None, "ended": False},
    ]
    assert [one["host"] for one in facts["unseen"]] == ["n2"]


def test_this_machine_is_looked_at_without_ssh(fake_ssh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "localhost") == 0
    assert json.loads(capsys.readouterr().out)["unseen"] == []
    assert not (fake_ssh / "calls").exists()
