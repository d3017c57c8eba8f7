"""Plain job files are read without YAML, and nobody can tell the difference but by the clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

import wq
from wq.formats import MAX_FILE_BYTES, MAX_TEXT_BYTES, FormatError, jobfile
from wq.formats.jobfile import describe, parse_job_file

SOURCES = str(Path(wq.__path__[0]).parent)

KEYS = st.sampled_from(["command", "N", "group", "mode", "job_name", "X", "min_mem", "priorty", "not-group", "n", "y"])
WORDS = st.sampled_from(
    """./fit 17 gen1 4 32GB true no ~ null bynode fit_1 {a} [a] a: :a a:b # #a a#b - -x --- ... ' " 'q' "q" | > & && *
    ! % @ ` , a,b ? = << \\ \\n $HOME ~/bin č 日本 \x85 \u2028 \xa0 \ufeff \t \r <<: 010 1e3 []""".split(" ")
)
VALUES = st.lists(WORDS, max_size=4).map(" ".join)
LINES = st.one_of(
    st.builds("{}: {}".format, KEYS, VALUES),
    st.builds("{}{}:{}{}".format, st.sampled_from(["", " ", "  "]), KEYS, st.sampled_from(["", " ", "   "]), VALUES),
    st.sampled_from(
        ["---", "--- ", "---  # new", "...", "", "  ", "# note", "  # note", "%YAML 1.1", "- a", "\t", "#"]
    ),
    VALUES,
)
TEXTS = st.builds(
    "{}{}".format,
    st.lists(LINES, max_size=8).map("\n".join),
    st.sampled_from(["", "\n", "\n\n", " ", "\n---\n"]),
)
MOSTLY_PLAIN = st.lists(
    st.one_of(
        st.builds(
            "{}: {}".format, KEYS, st.sampled_from(["./fit 17", "4", "a b  ", "x#y", "gen1,gen2", "~", "{", "a:b"])
        ),
        st.sampled_from(["---", "", "# note", "   ", "--- "]),
    ),
    max_size=10,
).map("\n".join)


def read(text: str) -> object:
    """What a text is, or the error with its place."""
    try:
        found = parse_job_file(text, source="f")
        return found, [describe(fields) for fields in found]
    except FormatError as error:
        return str(error), error.line, error.column


def read_by_yaml(text: str, patch: pytest.MonkeyPatch) -> object:
    with patch.context() as without:
        without.setattr(jobfile, "_plain_documents", lambda text, source: None)
        return read(text)


@settings(max_examples=500)
@given(TEXTS | MOSTLY_PLAIN | st.text())
@example("command: a\n---\ncommand: b\n")
@example("command: a\n b\n")
@example("command: a\n # c\n b: c\n")
@example("---\n---\n# nothing\n")
@example("N: 4\nN: 5\n")
@example("a" * 99 + ": b")
@example("command: a  \n\n\nN: 4 ")
@example("command: x\n--- \nN: 4")
@example("N: \xa04")
def test_both_readers_find_the_same(text: str) -> None:
    patch = pytest.MonkeyPatch()
    assert read(text) == read_by_yaml(text, patch)
    try:
        plain = jobfile._plain_documents(text, "f")
    except FormatError:
        plain = None
    event("declined" if plain is None else "plain")
    if plain is not None:
        try:
            jobfile._check_characters(text, "f")
        except FormatError:
            return
        assert plain == list(jobfile._documents(text, "f"))


@pytest.mark.parametrize(
    "text",
    [
        "command: ./fit 17\n",
        "# mine\ncommand: ./fit --all a=1 | sort > out\nN: 4\n\ngroup: gen1,gen2\n",
        "command: a\n---\ncommand: b\n---\n",
        "---\ncommand: echo $HOME ~/x 'y' \"z\" {a,b} [c]\n",
        "command: a:b c#d\n",
    ],
)
def test_plain_lines_are_plain(text: str) -> None:
    assert jobfile._plain_documents(text, "f") is not None


@pytest.mark.parametrize(
    "text",
    [
        "command: |\n  a\n",
        "command: 'a'\n",
        "command: [a]\n",
        "command: &x a\n",
        "command: *x\n",
        "command: !x a\n",
        "command: a # b\n",
        "command: a: b\n",
        "command: a:\n",
        "command:\n",
        "command: a\n  b\n",
        "command: a\tb\n",
        "command: a\r\n",
        " command: a\n",
        "{command: a}\n",
        "- a\n",
        "--- a\n",
        "...\n",
        "%YAML 1.1\n---\n",
        "\ufeffcommand: a\n",
        "? command\n: a\n",
        "'command': a\n",
        "com mand: a\n",
    ],
)
def test_whatever_yaml_must_be_asked_about_is_not(text: str) -> None:
    assert jobfile._plain_documents(text, "f") is None


def test_yaml_is_not_even_imported() -> None:
    program = (
        f"import sys; sys.path.insert(0, {SOURCES!r})\n"
        "from wq.formats.jobfile import describe, parse_job_file, parse_requirement\n"
        "describe(parse_job_file('command: ./fit 17\\nN: 4\\n---\\ncommand: b\\n', source='f')[0])\n"
        "parse_requirement('N: 4; group: a,b')\n"
        "assert 'yaml' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)


class TestSizes:
    LINE = "# " + "x" * 97 + "\n"

    def many(self, nbytes: int, mark: str) -> str:
        """Many documents of some kilobytes."""
        document = f"command: ./fit\n{self.LINE * 100}{mark}\n"
        return document * (nbytes // len(document) + 1)

    def test_many_jobs_may_be_more_than_one_may(self) -> None:
        text = self.many(3 * MAX_TEXT_BYTES, "---")
        assert len(parse_job_file(text, source="f")) == text.count("command")

    @pytest.mark.parametrize("mark", ["---", "...\n---", "--- # new"])
    def test_also_if_yaml_is_asked(self, mark: str) -> None:
        text = self.many(MAX_TEXT_BYTES + 1, mark).replace("./fit", "'./fit'")
        assert len(parse_job_file(text, source="f")) == text.count("command")

    @pytest.mark.parametrize("filler", ["# x", "# č"])
    def test_but_one_may_not_be_larger(self, filler: str) -> None:
        large = f"{filler}\n" * (MAX_TEXT_BYTES // len(f"{filler}\n".encode()) + 1)
        with pytest.raises(FormatError, match=f"f:3: the text is too large; at most {MAX_TEXT_BYTES} bytes"):
            parse_job_file(f"command: a\n# b\n---\n{large}command: b\n", source="f")

    def test_nor_all_of_them(self) -> None:
        with pytest.raises(FormatError, match=f"f:1: the text is too large; at most {MAX_FILE_BYTES} bytes"):
            parse_job_file("command: ./fit\n---\n" * (MAX_FILE_BYTES // 19 + 1), source="f")

    def test_a_requirement_is_one_text(self) -> None:
        with pytest.raises(FormatError, match=f"at most {MAX_TEXT_BYTES} bytes"):
            jobfile.parse_requirement("N: 4;" + " " * MAX_TEXT_BYTES)
