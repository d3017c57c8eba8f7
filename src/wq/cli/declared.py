"""The options of every command as they are declared: what completions, manual pages and the reference are made from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wq.cli import options

INTERNAL = "for internal use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option, or (without names) the words of a command. metavar: of its value; None for a flag."""

    names: tuple[str, ...]
    metavar: str | None
    help: str
    choices: tuple[str, ...] = ()
    nargs: str | None = None
    many: bool = False  # it may be given again and again


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: what it says of itself, and its options in the order of their declaration."""

    verb: str
    help: str
    examples: str
    options: tuple[Option, ...]
    words: Option | None


class Recorder:
    """Takes declarations as argparse does, and keeps them. Those for internal use are left out."""

    def __init__(self) -> None:
        self.found: list[Option] = []

    def add_argument(self, *names: str, **how: Any) -> None:
        is_option = names[0].startswith("-")
        text = how.get("help") or ""
        if text == INTERNAL:
            return
        flag = str(how.get("action", "store")).startswith(("store_true", "store_false", "store_const"))
        dest = how.get("dest") or next((name for name in names if name.startswith("--")), names[0]).lstrip("-")
        self.found.append(
            Option(
                names=names if is_option else (),
                metavar=None if flag else str(how.get("metavar") or dest.replace("-", "_").upper()),
                help=text.replace("%%", "%"),
                choices=tuple(map(str, how.get("choices") or ())),
                nargs=how.get("nargs"),
                many=how.get("action") == "append",
            )
        )

    def add_argument_group(self, *_: Any, **__: Any) -> Recorder:
        return self

    def add_mutually_exclusive_group(self, *_: Any, **__: Any) -> Recorder:
        return self


def command(verb: str) -> Command:
    """What a command has declared."""
    module = import_module(f"wq.cli.commands.{verb}")
    recorder = Recorder()
    options.declare(recorder, module)
    return Command(
        verb=verb,
        help=module.HELP,
        examples=module.EXAMPLES,
        options=tuple(option for option in recorder.found if option.names),
        words=next((option for option in recorder.found if not option.names), None),
    )


def commands() -> list[Command]:
    """All of them, as `wq -h` lists them."""
    from wq.cli.main import VERBS

    return [command(verb) for verb in VERBS]


def synopsis(command: Command) -> str:
    """The form of a call, as the help has it: `wq ls [-p PORT] [-f] [ID ...]`."""
    parts = []
    for option in command.options:
        value = "" if option.metavar is None else f" {option.metavar}"
        parts.append(f"[{option.names[0]}{value}]")
    if command.words is not None:
        word = command.words.metavar or "WORD"
        parts.append({"*": f"[{word} ...]", "+": f"{word} [{word} ...]", "?": f"[{word}]"}[command.words.nargs or "?"])
    return " ".join(["wq", command.verb, *parts])
