"""Writes the manual pages, wq.1 and one for each command, where an installation takes them from.

python -m tools.man          (from the root of a checkout, with wq importable)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import wq
from tools import facts, reference
from wq.cli import config, declared
from wq.cli.main import VERBS

DIRECTORY = facts.ROOT / "data" / "share" / "man" / "man1"
ABOUT = "A work queue for machines that everyone can reach by ssh."


def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    found = {"wq.1": page_of_all()}
    for command in declared.commands():
        found[f"wq-{command.verb}.1"] = page(command)
    return found


def page(command: declared.Command) -> str:
    name = f"wq-{command.verb}"
    lines = [*head(name, VERBS[command.verb]), ".SH SYNOPSIS", *synopsis(command), ".SH DESCRIPTION"]
    lines += [text(" ".join(command.help.split())), ".SH OPTIONS"]
    for option in [*reference.all_of(command)]:
        lines += [".TP", tag(option), text(explained(option))]
    lines += [".TP", r"\fB\-h\fR, \fB\-\-help\fR", "show the help"]
    lines += [".SH EXAMPLES", *literal(reference.examples(command)), *exit_status(), ".SH SEE ALSO", r"\fBwq\fR(1)"]
    return "\n".join(lines) + "\n"


def page_of_all() -> str:
    lines = [*head("wq", "a work queue for machines that everyone can reach by ssh"), ".SH SYNOPSIS"]
    lines += [r"\fBwq\fR [\fB\-p\fR \fIPORT\fR] \fICOMMAND\fR ...", ".SH DESCRIPTION", text(ABOUT)]
    lines += [text("Options may stand before or after the command. `wq COMMAND -h` has options and examples.")]
    lines.append(".SH COMMANDS")
    for verb, what in VERBS.items():
        lines += [".TP", rf"\fBwq\-{verb}\fR(1)", text(what)]
    lines.append(".SH FILES")
    lines += [".TP", text("/etc/wq/config.yaml, ~/.config/wq/config.yaml, ~/.wqrc"), text("The configuration, YAML:")]
    for key, meaning in config.KEYS.items():
        lines += [".RS", ".TP", rf"\fB{text(key)}\fR", text(meaning), ".RE"]
    lines.append(".SH ENVIRONMENT")
    for variable, meaning in facts.variables():
        lines += [".TP", rf"\fB{text(variable)}\fR", text(plain(meaning))]
    lines += [*exit_status(), ".SH SEE ALSO"]
    lines.append(", ".join([r"\fBssh\fR(1)", *(rf"\fBwq\-{verb}\fR(1)" for verb in VERBS)]))
    return "\n".join(lines) + "\n"


def head(name: str, what: str) -> list[str]:
    title = text(name.upper())
    return [
        r".\" made by `python -m tools.man`; not to be edited",
        f'.TH {title} 1 "" "wq {text(wq.__version__)}" "wq"',
        ".SH NAME",
        rf"{text(name)} \- {text(what)}",
    ]


def synopsis(command: declared.Command) -> Iterator[str]:
    """The form of a call: what is typed as it is in bold, what stands for something else in italics."""
    parts = [rf"\fBwq {command.verb}\fR"]
    for option in command.options:
        value = "" if option.metavar is None else rf" \fI{text(option.metavar)}\fR"
        parts.append(rf"[\fB{text(option.names[0])}\fR{value}]")
    if command.words is not None:
        word = rf"\fI{text(command.words.metavar or 'WORD')}\fR"
        parts.append({"*": f"[{word} ...]", "+": f"{word} ...", "?": f"[{word}]"}[command.words.nargs or "?"])
    yield " ".join(parts)


def tag(option: declared.Option) -> str:
    value = "" if option.metavar is None else rf" \fI{text(option.metavar)}\fR"
    return ", ".join(rf"\fB{text(name)}\fR{value}" for name in option.names) or value.strip()


def explained(option: declared.Option) -> str:
    return option.help + (" (may be given more than once)" if option.many else "")


def exit_status() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for status, meaning in facts.statuses():
        yield from (".TP", rf"\fB{text(status)}\fR", text(plain(meaning)))


def literal(lines: list[str]) -> Iterator[str]:
    """Lines that stay as they are."""
    yield ".nf"
    yield from (text(line) for line in lines)
    yield ".fi"


def text(words: str) -> str:
    r"""Words for roff: no backslash, dash or dot means anything. An empty line is `\&`."""
    escaped = words.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    escaped = escaped.replace("^", r"\(ha").replace("~", r"\(ti")
    return rf"\&{escaped}" if not escaped or escaped[0] in ". " else escaped


def plain(words: str) -> str:
    """Without the marks of Markdown."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", words).replace("`", "").replace("**", "").replace("\\|", "|")


def main() -> int:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    made = pages()
    for path in DIRECTORY.glob("wq*.1"):
        if path.name not in made:
            path.unlink()
    for name, content in made.items():
        (DIRECTORY / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
