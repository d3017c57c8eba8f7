"""Options are declared once and read by two readers: whatever the quick one reads, argparse reads alike."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from wq.cli import options
from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.main import HIDDEN, VERBS
from wq.cli.options import NotPlain, PlainReader

EVERY = [*VERBS, *sorted(HIDDEN)]


def command_of(verb: str) -> Any:
    return import_module(f"wq.cli.commands.{verb}")


def quickly(verb: str, words: list[str]) -> dict[str, Any] | None:
    """What the quick reader finds; None if it leaves it to argparse."""
    reader = PlainReader()
    options.declare(reader, command_of(verb))
    try:
        return vars(reader.read(words))
    except NotPlain:
        return None


def by_argparse(verb: str, words: list[str]) -> dict[str, Any] | None:
    """None if it refuses."""
    try:
        found: dict[str, Any] = vars(options.read_by_argparse(verb, command_of(verb), words))
    except WqError:
        return None
    return found


def names_of(verb: str) -> list[str]:
    parser = argparse.ArgumentParser(add_help=False)
    options.declare(parser, command_of(verb))
    return sorted(parser._option_string_actions)


FREE = st.sampled_from(
    ["12", "3-9", "a b", "-", "--", "-1", "-x y", "", "x=1", "--no", "-.5", "1e3", "-é", "0.5", "all"]
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A verb and words for it: its own options in all spellings, and others."""
    verb = draw(st.sampled_from(EVERY))
    name = st.sampled_from(names_of(verb))
    short = st.sampled_from([name[1] for name in names_of(verb) if not name.startswith("--")])
    cluster = st.builds("-{}{}".format, st.lists(short, min_size=1, max_size=3).map("".join), FREE | st.just(""))
    word = name | FREE | FREE | st.builds("{}={}".format, name, FREE) | cluster | st.text(max_size=4)
    return verb, draw(st.lists(word, max_size=6))


@settings(max_examples=300)
@given(calls())
def test_both_readers_find_the_same(call: tuple[str, list[str]]) -> None:
    verb, words = call
    if {"-h", "--help"} & set(words) or any(word.startswith("-") and "h" in word[1:] for word in words):
        return  # argparse shows the help then, and ends
    found = quickly(verb, words)
    event("left to argparse" if found is None else "read")
    if found is not None:
        assert found == by_argparse(verb, words)


@pytest.mark.parametrize("verb", EVERY)
def test_the_quick_reader_knows_the_options_of_every_verb(verb: str) -> None:
    options.declare(PlainReader(), command_of(verb))


@pytest.mark.parametrize(
    ("verb", "words", "telling"),
    [
        ("ls", [], {"ids": [], "user": None, "full": False, "port": None}),
        ("ls", ["12", "3-9", "-f"], {"ids": ["12", "3-9"], "full": True}),
        ("ls", ["-fau", "anze", "7"], {"full": True, "all": True, "user": "anze", "ids": ["7"]}),
        ("ls", ["-p5", "--user=a,b"], {"port": "5", "user": "a,b"}),
        ("sub", ["-bc", "echo -x"], {"batch": True, "command": "echo -x"}),
        ("sub", ["-bcx", "-r", "N: 2"], {"batch": True, "command": "x", "require": "N: 2"}),
        ("sub", ["-b", "-"], {"files": ["-"]}),
        ("sub", ["--command="], {"command": ""}),
        ("sub", ["-c", ""], {"command": ""}),
        ("rm", ["--grace", "1.5", "7"], {"grace": 1.5, "ids": ["7"]}),
        ("user", [], {"name": None}),
        ("user", ["anze"], {"name": "anze"}),
        ("run_launcher", ["--server-uid", "7", "--state", "/x"], {"server_uid": 7, "state": "/x", "ready_fd": None}),
    ],
    ids=str,
)
def test_what_is_plain_is_read_without_argparse(verb: str, words: list[str], telling: dict[str, Any]) -> None:
    found = quickly(verb, words)
    assert found is not None
    assert {key: found[key] for key in telling} == telling
    assert found == by_argparse(verb, words)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("ls", ["-h"]),
        ("ls", ["--ful"]),
        ("ls", ["-u"]),
        ("ls", ["-u", "-f"]),
        ("ls", ["1", "-f", "2"]),
        ("ls", ["--", "1"]),
        ("ls", ["--full=yes"]),
        ("ls", ["-fx"]),
        ("ls", ["-1"]),
        ("edit", []),
        ("rm", ["--grace", "x", "1"]),
        ("sub", ["-bc=x"]),
        ("sub", ["--require=--"]),
        ("stat", ["x"]),
        ("user", ["a", "b"]),
        ("run_launcher", ["--server-uid", "7"]),
    ],
    ids=str,
)
def test_the_rest_is_for_argparse(verb: str, words: list[str]) -> None:
    assert quickly(verb, words) is None


class TestDeclarations:
    def test_that_are_not_known_are_for_argparse(self) -> None:
        kinds: list[tuple[tuple[str, ...], dict[str, Any]]] = [
            (("--x",), {"nargs": 2}),
            (("--x",), {"action": "count"}),
            (("--x",), {"action": "store_const", "const": 1}),
            (("--x",), {"type": int, "default": "5"}),
            (("-long",), {}),
            (("-1",), {}),
            (("word",), {}),
        ]
        for names, how in kinds:
            with pytest.raises(NotPlain):
                PlainReader().add_argument(*names, **how)
        with pytest.raises(NotPlain):
            PlainReader().add_mutually_exclusive_group()

    def test_of_choices_lists_and_groups_are_read(self) -> None:
        def declare(parser: Any) -> None:
            parser.add_argument("-s", "--state", choices=["up", "down"], default="up")
            parser.add_argument_group("more").add_argument("-x", action="append", type=int, default=None)
            parser.add_argument("words", nargs="+")

        for words in (["a"], ["-s", "down", "a", "b"], ["-x1", "-x", "2", "a"], ["--state=up", "a"]):
            reader, parser = PlainReader(), argparse.ArgumentParser()
            declare(reader)
            declare(parser)
            assert vars(reader.read(words)) == vars(parser.parse_args(words))
        reader = PlainReader()
        declare(reader)
        for words in (["-s", "left", "a"], ["-x", "z", "a"], []):
            with pytest.raises(NotPlain):
                reader.read(words)


def test_what_is_refused_is_one_line() -> None:
    with pytest.raises(WqError, match=r"ls: .*; see `wq ls -h`") as refused:
        options.read("ls", command_of("ls"), ["--nosuch"])
    assert refused.value.status == BAD_INPUT
