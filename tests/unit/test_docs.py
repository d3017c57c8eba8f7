"""What the pages say can be typed can be typed: commands, options, keys of job files; and links lead somewhere."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import facts
from wq.cli import config, declared
from wq.cli.main import HIDDEN, VERBS
from wq.formats import jobfile

ROOT = facts.ROOT
DOCS = ROOT / "docs"
LINKING = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
FOR_PEOPLE = ["tutorial.md", "howto.md", "from-wq.md"]
TYPING = [ROOT / "README.md", *(DOCS / name for name in [*FOR_PEOPLE, "commands.md", "jobfile.md", "setup.md"])]
COMPARING = "howto.md"  # in whose tables only the last column is about wq
KEYS = {*jobfile._READERS, *jobfile._ALIASES, *config.KEYS}
NOT_KEYS = {"wq", "Jobs", "Held", "Suspended", "Done", "callback"}  # words of listings; a key of another tool
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SEPARATORS = {"|", ";", "&", "&&", "||", ">", "<", "2>", ">>", "(", ")"}
OPTIONS = {
    command.verb: {name: option for option in command.options for name in option.names}
    for command in declared.commands()
}
ALL_OPTIONS = {name: option for options in OPTIONS.values() for name, option in options.items()}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---- what a page has


def blocks(path: Path) -> Iterator[str]:
    """The lines of its indented blocks in which something is typed."""
    for line in path.read_text().splitlines():
        if not line.startswith("    "):
            continue
        line = re.split(r"\s{3,}(?=\S)", line.strip())[0]  # without a remark at its end
        if "$ " in line[:40]:
            yield line.partition("$ ")[2]
        elif line.startswith(("wq ", "nohup wq ")):
            yield line


def spans(path: Path) -> Iterator[str]:
    """What stands in backticks."""
    for line in path.read_text().splitlines():
        if line.startswith("    "):
            continue
        if path.name == COMPARING and line.startswith("|"):
            line = re.split(r"(?<!\\)\|", line.strip().strip("|"))[-1]
        yield from (span.replace("\\|", "|") for span in SPAN.findall(line))


def words(text: str) -> list[str]:
    """As a shell splits it; as it stands where that cannot be read (a sentence, or a piece of a command)."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|;&<>()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return text.split()


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """(verb, the words after it) of each call of wq in a line of shell."""
    split = words(text)
    for place, word in enumerate(split):
        before = split[place - 1] if place else ";"
        if word != "wq" or not (before in SEPARATORS | {"do", "nohup"} or re.match(r"[A-Z]+=", before)):
            continue
        rest = []
        for argument in split[place + 1 :]:
            if argument in SEPARATORS or argument.isspace():
                break
            rest.append(argument)
        while rest and rest[0] in ("-p", "-u"):
            rest = rest[2:]
        if rest:
            yield rest[0], rest[1:]


def options_in(arguments: list[str], known: dict[str, declared.Option]) -> Iterator[str]:
    """The options among them: neither the values of these, nor what stands behind `--`."""
    is_value = False
    for argument in arguments:
        if is_value:
            is_value = False
        elif argument == "--":
            return
        elif argument.startswith("-") and argument != "-":
            name = argument.partition("=")[0].rstrip(",.")
            yield name
            is_value = name in known and known[name].metavar is not None and "=" not in argument


# ---- the tests


@pytest.mark.parametrize("path", TYPING, ids=name_of)
def test_every_command_and_option_is_there(path: Path) -> None:
    wrong = []
    for text in [*blocks(path), *spans(path)]:
        for verb, arguments in calls(text):
            if verb in ("COMMAND", "VERB", "--version", "-h") or not re.fullmatch("[a-z]+", verb):
                continue
            if verb in HIDDEN:
                continue
            if verb not in VERBS:
                wrong.append(f"{text}: no command {verb}")
                continue
            known = OPTIONS[verb]
            wrong += [
                f"{text}: no option {name}" for name in options_in(arguments, known) if name not in {*known, "-h"}
            ]
    assert wrong == []


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_every_option_that_stands_alone_is_one_of_some_command(name: str) -> None:
    alone = [words(span) for span in spans(DOCS / name) if re.match(r"--?[a-z]", span)]
    assert alone
    found = [option for split in alone for option in options_in(split, ALL_OPTIONS)]
    assert [option for option in found if option not in ALL_OPTIONS] == []


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_every_key_of_a_job_file_is_one(name: str) -> None:
    found = []
    for text in [*blocks(DOCS / name), *spans(DOCS / name)]:
        if given := re.match(r"([A-Za-z_]+):(?: |$)", text):
            found.append(given.group(1))
        split = words(text)
        for option, value in itertools.pairwise(split):
            if option in ("-r", "--require") and ":" in value:
                found += [item.partition(":")[0].strip() for item in value.split(";") if item.strip()]
    assert [key for key in found if key not in KEYS | NOT_KEYS] == []


def headings(path: Path) -> set[str]:
    """The anchors of a page, as they are made from its headings."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in found}


@pytest.mark.parametrize("path", LINKING, ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^    .*$", "", path.read_text(), flags=re.MULTILINE)
    wrong = []
    for link in LINK.findall(re.sub(r"`[^`]*`", "", text)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in headings(target)):
            wrong.append(link)
    assert wrong == []


def test_every_page_is_in_the_index() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall((DOCS / "README.md").read_text())}
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= linked


class TestTheReader:
    def test_finds_commands_and_their_options(self) -> None:
        line = "ls | wq sub -b -r 'N: 4; time: 2h' --each-line - -c 'x -y' ; wq -p 1 log -f last"
        assert [(verb, list(options_in(rest, OPTIONS[verb]))) for verb, rest in calls(line)] == [
            ("sub", ["-b", "-r", "--each-line", "-c"]),
            ("log", ["-f"]),
        ]
        assert list(options_in(["-b", "--", "rm", "-rf"], OPTIONS["sub"])) == ["-b"]

    def test_finds_what_is_wrong(self) -> None:
        assert [verb for verb, _ in calls("wq kill 12 && wq ls")] == ["kill", "ls"]
        assert "--nonsense" not in ALL_OPTIONS
        assert "3-9" not in headings(DOCS / "commands.md")
        assert "wq-hold-wq-release" in headings(DOCS / "commands.md")
