"""Writes docs/reference.md: every command with its options, every key, variable and exit status.

python -m tools.reference          (from the root of a checkout, with wq importable)
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from tools import facts
from wq.cli import declared
from wq.cli.main import VERBS

PATH = facts.ROOT / "docs" / "reference.md"
HEAD = """\
# Reference

To look things up; [commands.md](commands.md) and [jobfile.md](jobfile.md) explain them. This page is made by
`python -m tools.reference` from the code, so it is not to be edited.
"""


def reference() -> str:
    """The text of the page."""
    return "\n".join([HEAD, *commands(), *keys()])


def commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "Options may stand before or after the command. `-h` shows the help of each.\n"
    for command in declared.commands():
        yield f"### wq {command.verb}\n"
        yield f"{sentence(VERBS[command.verb])}.\n"
        yield textwrap.fill(declared.synopsis(command), 110, initial_indent="    ", subsequent_indent="      ") + "\n"
        yield " ".join(command.help.split()) + "\n"
        yield from rows(("option", "meaning"), [option_row(option) for option in all_of(command)])
        yield "\n".join(f"    {line}".rstrip() for line in examples(command)) + "\n"


def all_of(command: declared.Command) -> list[declared.Option]:
    return [*command.options, *([command.words] if command.words is not None else [])]


def option_row(option: declared.Option) -> list[str]:
    value = "" if option.metavar is None else f" {option.metavar}"
    names = ", ".join(f"`{name}{value}`" for name in option.names) or f"`{option.metavar}`"
    choices = f" ({', '.join(option.choices)})" if option.choices and option.names else ""
    again = " (may be given more than once)" if option.many else ""
    return [names, f"{option.help}{choices}{again}".replace("|", "\\|")]


def examples(command: declared.Command) -> list[str]:
    lines = command.examples.splitlines()
    return lines[1:] if lines[:1] == ["examples:"] else lines


def keys() -> Iterator[str]:
    yield "## Keys of a job file\n"
    yield from rows(("key", "type", "default", "example", "meaning"), [linked(row) for row in facts.job_keys()])
    others: dict[str, list[str]] = {}
    for alias, key in facts.job_key_aliases().items():
        others.setdefault(key, []).append(f"`{alias}`")
    spelt = "; ".join(f"`{key}`: {', '.join(aliases)}" for key, aliases in others.items())
    yield f"Other spellings: {spelt}.\n"
    yield "## Keys of the configuration\n"
    yield from rows(("key", "meaning", "example"), facts.config_keys())
    yield "## Environment variables\n"
    yield from rows(("variable", "meaning"), facts.variables())
    yield "A job finds these:\n"
    yield from rows(("variable", "holds"), [linked(row) for row in facts.job_variables()])
    yield "## Exit statuses\n"
    yield from rows(("status", "meaning"), facts.statuses())


def linked(row: list[str]) -> list[str]:
    """Links within jobfile.md lead there from here, too."""
    return [cell.replace("](#", "](jobfile.md#") for cell in row]


def rows(header: tuple[str, ...], body: list[list[str]]) -> Iterator[str]:
    yield "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *body]) + "\n"


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def main() -> int:
    PATH.write_text(reference())
    return 0


if __name__ == "__main__":
    sys.exit(main())
