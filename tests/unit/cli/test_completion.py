"""Completion: bash itself is asked what it would offer; zsh and fish where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wq.cli import completions, declared
from wq.cli.main import HIDDEN, VERBS, main


def run(shell: str, script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"not installed: {shell}")
    argv = [program, {"bash": "--norc", "zsh": "-f", "fish": "--no-config"}[shell], "-c", script]
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd)}
    return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env=env, timeout=60, check=False)


def offered_by_bash(cwd: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    (cwd / "wq.bash").write_text(completions.bash())
    script = (
        f"source wq.bash; rm wq.bash; complete -p wq >/dev/null || exit 9; COMP_WORDS=({' '.join(map(repr, words))}); "
        'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _wq; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = run("bash", script, cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return [line for line in done.stdout.splitlines() if line]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with files whose names a careless script would fall for."""
    for name in ("job.yaml", "a b", "*", "$(touch X)"):
        (tmp_path / name).touch()
    (tmp_path / "dir").mkdir()
    return tmp_path


FILES = ["$(touch X)", "*", "a b", "dir", "job.yaml"]


class TestBash:
    def test_offers_every_command(self, place: Path) -> None:
        assert set(VERBS) <= set(offered_by_bash(place, "wq", ""))
        assert offered_by_bash(place, "wq", "or") == ["orphans"]
        assert not HIDDEN & set(offered_by_bash(place, "wq", ""))

    @pytest.mark.parametrize("verb", VERBS)
    def test_offers_every_option_of_a_command(self, place: Path, verb: str) -> None:
        names = {name for option in declared.command(verb).options for name in option.names}
        assert set(offered_by_bash(place, "wq", verb, "-")) == {*names, "-h", "--help"}
        assert {"-h", "--help"} <= set(offered_by_bash(place, "wq", "-p", "5", verb, "-"))

    def test_offers_files_where_files_are_wanted_as_they_are(self, place: Path) -> None:
        offered = offered_by_bash(place, "wq", "sub", "")
        assert sorted(set(offered) & set(FILES)) == FILES
        assert offered_by_bash(place, "wq", "sub", "--each-line", "jo") == ["job.yaml"]
        assert offered_by_bash(place, "wq", "sub", "--", "./fit", "-b", "jo") == ["job.yaml"]
        assert offered_by_bash(place, "wq", "serve", "-s", "") == ["dir"]
        assert not set(offered_by_bash(place, "wq", "ls", "")) & set(FILES)
        assert not (place / "X").exists()

    def test_offers_words_that_are_known(self, place: Path) -> None:
        assert offered_by_bash(place, "wq", "node", "astro0010", "o") == ["online", "offline"]
        assert offered_by_bash(place, "wq", "completion", "z") == ["zsh"]
        assert offered_by_bash(place, "wq", "rm", "a") == ["all"]

    def test_offers_nothing_for_a_value_that_it_cannot_know(self, place: Path) -> None:
        for words in (["-p", ""], ["ls", "-u", ""], ["sub", "-c", ""], ["rm", "--grace", ""], ["lss", ""]):
            assert offered_by_bash(place, "wq", *words) == []


class TestZsh:
    def test_takes_the_script(self, place: Path) -> None:
        (place / "_wq").write_text(completions.zsh())
        done = run("zsh", "zsh -n _wq && compdef() { echo $*; } && source ./_wq", place)
        assert (done.stdout, done.stderr) == ("_wq wq\n", "")

    def test_every_option_stands_in_it_with_balanced_quotes(self) -> None:
        text = completions.zsh()
        for command in declared.commands():
            [case] = [part for part in text.split("\n        (") if part.startswith(f"{command.verb})")]
            assert all(name in case for option in command.options for name in option.names)
            assert case.replace("'\\''", "").count("'") % 2 == 0


class TestFish:
    def test_offers_commands_options_words_and_files(self, place: Path) -> None:
        (place / "wq.fish").write_text(completions.fish())

        def offered(line: str) -> set[str]:
            done = run("fish", f"source wq.fish; complete -C '{line}'", place)
            assert done.stderr == ""
            return {each.split("\t")[0] for each in done.stdout.splitlines()}

        assert set(VERBS) <= offered("wq ")
        assert {"--user", "--json", "--full"} <= offered("wq -p 5 ls --")
        assert {"online", "offline", "drain", "lost"} <= offered("wq node n1 ")
        assert "job.yaml" in offered("wq sub j")
        assert "job.yaml" not in offered("wq ls j")

    def test_every_option_stands_in_it(self) -> None:
        text = completions.fish()
        for command in declared.commands():
            mine = [line for line in text.splitlines() if f"'__wq_is {command.verb}'" in line]
            for option in command.options:
                names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
                assert [line for line in mine if all(f" {name} " in line for name in names)], option


@pytest.mark.parametrize("shell", completions.SHELLS)
def test_the_command_prints_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == completions.SHELLS[shell]()


@pytest.mark.parametrize("words", [[], ["tcsh"], ["bash", "zsh"]], ids=str)
def test_of_other_shells_nothing_is_known(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
