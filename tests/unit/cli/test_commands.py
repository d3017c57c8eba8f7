"""The command line: every verb helps, bad input is one line and status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from wq.cli import config, hosts, ids, main
from wq.cli.commands import limit, node, sub
from wq.cli.errors import WqError


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WQ_PORT", "1")  # nobody serves there
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("WQ_SERVER", raising=False)


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([verb, "-h"])
    assert ended.value.code == 0
    assert f"wq {verb}" in capsys.readouterr().out.partition("examples:")[2]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which these words are refused, status 2."""
    assert main.main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err


@pytest.mark.parametrize(
    ("words", "telling"),
    [
        (["lss"], "did you mean `wq ls`?"),
        (["ls", "--jsn"], "--jsn"),
        (["-p", "x", "ls"], "'x' is not a port"),
        (["ls", "-p", "70000"], "not a port"),
        (["ls", "12x"], "12x"),
        (["ls", "9-3"], "9-3"),
        (["rm", "all", "3"], "either"),
        (["top"], "which jobs?"),
        (["top", "all"], "not `all`, but some"),
        (["top", "12.5"], "give its id"),
        (["hold", "12.5"], "give its id"),
        (["hold", "--state", "done"], "there are waiting"),
        (["suspend", "12", "--name", "fit*"], "either ids, or"),
        (["sub"], "JOBFILE"),
        (["sub", "-c", "true", "a.yaml"], "JOBFILE"),
        (["sub", "-q", "-c", "true"], "-b"),
        (["sub", "-c", " "], "empty"),
        (["sub", "--"], "after --"),
        (["sub", "nothing.yaml"], "nothing.yaml: No such file"),
        (["sub", "-r", "N: x", "-c", "true"], "N"),
        (["sub", "-r", "mode: bycore1; N: 3; threads: 2", "-c", "true"], "threads"),
        (["limit", "run 3"], "run"),
        (["edit", "12x", "at_most=3"], "'12x' is not the id"),
        (["edit", "at_most=3"], "'at_most=3' is not the id"),
        (["edit", "12", "at_most=0"], "at_most: '0'"),
        (["edit", "12", "n=3"], "'n=3' is not understood"),
        (["edit", "12", "N=x"], "N is 'x'; allowed"),
    ],
)
def test_bad_input_is_one_line(words: list[str], telling: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert telling in refused(words, capsys)


def test_without_a_server_the_status_is_75(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["ls"]) == 75
    assert "wq sub" in capsys.readouterr().err


def test_options_may_stand_before_the_command() -> None:
    assert main.find_verb(["-p", "5", "--json", "ls", "-f"]) == ("ls", ["-p", "5", "--json", "-f"])
    assert main.find_verb(["--port=5", "ls"]) == ("ls", ["--port=5"])


def test_ids_are_numbers_and_ranges() -> None:
    assert ids.id_ranges(["12", "3-9", "1,2-4"]) == [[12, 12], [3, 9], [1, 1], [2, 4]]
    for word in ("0", "-3", "a", "3-", "1--2", "²"):
        with pytest.raises(WqError):
            ids.id_ranges([word])


def test_the_name_is_the_first_word_past_comments() -> None:
    assert sub.first_word("# fit\n\n  ./fit.sh 1 2\n") == "./fit.sh"
    assert sub.first_word("# nothing") == "job"


def test_limits_as_people_write_them() -> None:
    assert limit.parse("run: 25; cores:100;") == {"run": 25, "cores": 100}
    assert limit.parse("cores: -1") == {"cores": -1}
    for text in ("", ";", "run", "run: x", "run: -2", "run: 1; run: 2", "mem: 3", "run: 99999999999"):
        with pytest.raises(WqError):
            limit.parse(text)


def test_the_older_form_of_a_nodes_status() -> None:
    assert node.wanted_state(["a", "status:offline"]) == "offline"
    assert node.wanted_state(["a", "drain"]) == "drain"
    assert node.wanted_state(["a"]) is None
    with pytest.raises(WqError):
        node.wanted_state(["a", "status:broken"])
    assert hosts.expand("n[1-3]") == ["n1", "n2", "n3"]


class TestConfiguration:
    def write(self, text: str, mode: int = 0o600) -> None:
        path = Path(config.files()[-1])
        path.write_text(text)
        path.chmod(mode)

    def test_plain_lines_need_no_yaml_library(self) -> None:
        self.write("# mine\nserver: head.example.org\n\nnodes: any\n")
        assert config.load() == {"server": "head.example.org", "nodes": "any"}

    def test_quoted_values_are_yaml(self) -> None:
        self.write("ssh_command: 'ssh -F file'\n")
        assert config.load() == {"ssh_command": "ssh -F file"}

    @pytest.mark.parametrize("text", ["sever: x\n", "[1, 2\n", "- a\n", "server: [a]\n"])
    def test_what_nobody_understands_is_refused(self, text: str) -> None:
        self.write(text)
        with pytest.raises(WqError) as refused:
            config.load()
        assert refused.value.status == 2
        assert "\n" not in str(refused.value)

    def test_a_file_that_others_can_write_is_not_read(self) -> None:
        self.write("server: evil\n", 0o666)
        with pytest.raises(WqError, match="chmod"):
            config.load()
