"""What is made from the source: the reference and the manual pages are those of this source, and can be read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tools import facts, man, reference
from wq.cli import declared
from wq.cli.main import VERBS
from wq.formats import jobfile

PAGES = man.pages()


def test_the_reference_is_up_to_date() -> None:
    assert reference.PATH.read_text() == reference.reference(), "python -m tools.reference"


def test_the_manual_pages_are_up_to_date() -> None:
    there = {path.name: path.read_text() for path in man.DIRECTORY.iterdir()}
    assert there == PAGES, "python -m tools.man"


class TestTheReference:
    def test_has_every_command_option_and_example(self) -> None:
        text = reference.reference()
        for command in declared.commands():
            part = text.partition(f"### wq {command.verb}\n")[2].partition("\n### ")[0]
            assert all(f"`{name}" in part for option in command.options for name in option.names)
            assert f"wq {command.verb}" in part.partition("| --- | --- |")[2]
            assert "for internal use" not in part

    def test_shows_examples_of_keys_that_are_accepted(self) -> None:
        for row in facts.job_keys():
            key = row[0].strip("`")
            for example in re.findall(r"`([^`]+)`", row[3]):
                fields = jobfile.parse_requirement(example)
                assert list(fields.given) == [key], example

    def test_fails_where_code_and_docs_name_different_things(self) -> None:
        with pytest.raises(facts.Differ, match=r"jobfile.md says nothing of the key time"):
            facts.same("the key", "jobfile.md", {"N"}, {"N", "time"})
        with pytest.raises(facts.Differ, match="does not know: old"):
            facts.same("the key", "jobfile.md", {"N", "old"}, {"N"})
        with pytest.raises(facts.Differ, match="no heading"):
            facts.table("jobfile.md", "## Nothing of the kind")


class TestTheManual:
    def test_has_a_page_for_each_command_and_one_for_all(self) -> None:
        assert set(PAGES) == {"wq.1", *(f"wq-{verb}.1" for verb in VERBS)}

    @pytest.mark.parametrize("name", PAGES)
    def test_a_page_has_the_sections_of_one(self, name: str) -> None:
        sections = re.findall(r"^\.SH (.*)$", PAGES[name], re.MULTILINE)
        assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
        assert sections[-2:] == ["EXIT STATUS", "SEE ALSO"]
        assert re.search(r"^wq\S* \\- [a-z].*$", PAGES[name], re.MULTILINE)  # what apropos finds

    @pytest.mark.parametrize("name", PAGES)
    def test_nothing_but_requests_begins_with_a_dot(self, name: str) -> None:
        requests = {line.split()[0] for line in PAGES[name].splitlines() if line.startswith((".", "'"))}
        assert requests <= {".TH", ".SH", ".TP", ".RS", ".RE", ".nf", ".fi", '.\\"'}
        assert PAGES[name].isascii()

    def test_words_mean_themselves(self) -> None:
        assert man.text(".x") == "\\&.x"
        assert man.text("'a' -b \\n ~ ^") == "\\(aqa\\(aq \\-b \\en \\(ti \\(ha"
        assert man.text("") == "\\&"
        assert man.plain("see [that](x.md#y), `a|b` \\| **c**") == "see that, a|b | c"

    @pytest.mark.parametrize("name", PAGES)
    def test_it_is_shown_without_a_warning(self, name: str) -> None:
        if shutil.which("groff") is None:
            pytest.skip("not installed: groff")
        done = subprocess.run(
            ["groff", "-man", "-Tascii", "-ww", "-rLL=100n"],
            input=PAGES[name],
            capture_output=True,
            text=True,
            env={**os.environ, "GROFF_NO_SGR": "1"},
            check=True,
        )
        assert done.stderr == ""
        shown = re.sub(".\b", "", done.stdout)
        if name != "wq.1":
            for example in re.findall(r"^  wq .*$", declared.command(name[3:-2]).examples, re.MULTILINE):
                assert example.strip() in shown

    def test_man_finds_it_where_it_lies(self) -> None:
        if shutil.which("man") is None:
            pytest.skip("not installed: man")
        argv = ["man", "-M", str(man.DIRECTORY.parent), "wq-sub"]
        done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "MANWIDTH": "80"}, check=False)
        if "minimized" in done.stdout:
            pytest.skip("this system has man without pages")
        assert "submit jobs" in re.sub(".\b", "", done.stdout)
