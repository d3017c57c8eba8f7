"""The options of a command, declared once and read by one of two readers.

A command declares them as for argparse, which costs 7 ms to import. So what is plain is read here; whatever is not
(help, a mistake, a kind of option that is not known here) is left to argparse, which then reads it all from the
beginning. Where both can read some words, they find the same in them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

KNOWN = {"action", "choices", "const", "default", "dest", "help", "metavar", "nargs", "required", "type"}
ACTIONS = ("store", "store_true", "append")


class NotPlain(Exception):
    """These words, or these options, are for argparse."""


class Args:
    """What was found: an attribute for each option."""


class Option:
    """One option, or the words that stand without one."""

    def __init__(self, names: tuple[str, ...], how: dict[str, Any]) -> None:
        self.action: str = how.get("action", "store")
        self.nargs: str | None = how.get("nargs")
        self.type: Callable[[str], Any] | None = how.get("type")
        self.choices = how.get("choices")
        self.const: str | None = how.get("const")  # of an option whose value may be left out (nargs="?")
        self.default = how.get("default", False if self.action == "store_true" else None)
        self.required: bool = how.get("required", False)
        long = next((name for name in names if name.startswith("--")), names[0])
        self.dest: str = how.get("dest") or long.lstrip("-").replace("-", "_")
        if how.keys() - KNOWN or self.action not in ACTIONS or (self.type and isinstance(self.default, str)):
            raise NotPlain

    def value(self, word: str) -> Any:
        try:
            value = self.type(word) if self.type is not None else word
        except (ValueError, TypeError):
            raise NotPlain from None
        if self.choices is not None and value not in self.choices:
            raise NotPlain
        return value


class PlainReader:
    """Takes declarations as argparse does, and reads the words that are plain."""

    def __init__(self) -> None:
        self.options: dict[str, Option] = {}  # by each of their names
        self.words: Option | None = None

    def add_argument(self, *names: str, **how: Any) -> None:
        option = Option(names, how)
        if not names[0].startswith("-"):
            if self.words is not None or option.action != "store" or option.nargs not in ("*", "+", "?"):
                raise NotPlain
            self.words = option
            return
        plain = option.nargs is None if option.const is None else option.nargs == "?" and option.action == "store"
        if not plain or not all(is_plain_name(name) for name in names):
            raise NotPlain
        for name in names:
            self.options[name] = option

    def add_argument_group(self, *_: Any, **__: Any) -> PlainReader:
        """A group is a heading in the help, and nothing else."""
        return self

    def add_mutually_exclusive_group(self, *_: Any, **__: Any) -> PlainReader:
        raise NotPlain

    def read(self, words: list[str]) -> Args:
        """Raises NotPlain for what argparse is to read, or to refuse."""
        args = Args()
        found: dict[str, Any] = args.__dict__
        for option in self.options.values():
            found[option.dest] = option.default
        run: list[str] = []  # the words without an option
        ended = False  # they stand together: argparse refuses two runs of them
        rest = iter(words)
        for word in rest:
            if is_option(word):
                ended = bool(run)
                self.take(word, rest, found)
            elif ended:
                raise NotPlain
            else:
                run.append(word)
        self.take_words(run, found)
        if any(option.required and found[option.dest] is option.default for option in self.options.values()):
            raise NotPlain
        return args

    def take(self, word: str, rest: Any, found: dict[str, Any]) -> None:
        """One word: --long, --long VALUE, --long=VALUE, -s VALUE, -sVALUE, or with flags before it, -fsVALUE."""
        name, equals, given = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        option = self.options.get(name)
        while option is not None and option.action == "store_true" and equals and not name.startswith("--"):
            found[option.dest] = True
            name, equals, given = f"-{given[0]}", given[1:], given[1:]
            option = self.options.get(name)
        if option is None or (given.startswith("=") and not name.startswith("--")):
            raise NotPlain
        if option.action == "store_true":
            if equals:
                raise NotPlain
            found[option.dest] = True
            return
        if not equals:
            following = next(rest, None)
            if following is None and option.const is not None:
                given = option.const
            elif following is None or is_option(following):
                raise NotPlain
            else:
                given = following
        if given == "--":  # which argparse takes away, here too
            raise NotPlain
        value = option.value(given)
        found[option.dest] = value if option.action == "store" else [*(found[option.dest] or ()), value]

    def take_words(self, run: list[str], found: dict[str, Any]) -> None:
        option = self.words
        if option is None:
            if run:
                raise NotPlain
        elif option.nargs == "?":
            if len(run) > 1:
                raise NotPlain
            found[option.dest] = option.value(run[0]) if run else option.default
        elif run:
            found[option.dest] = [option.value(word) for word in run]
        elif option.nargs == "+":
            raise NotPlain
        else:
            found[option.dest] = [] if option.default is None else option.default


def joined(words: list[str], dashed: tuple[str, ...]) -> list[str]:
    """Each of these options in one word with its value, which may begin with a dash."""
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        value = next(rest, None) if word in dashed else None
        found.append(word if value is None else f"{word}={value}")
    return found


def is_option(word: str) -> bool:
    """Whether it begins as an option does. A single dash is a file."""
    return word.startswith("-") and len(word) > 1


def is_plain_name(name: str) -> bool:
    return (len(name) > 3 and name.startswith("--")) or (len(name) == 2 and name[1] not in "-0123456789")


def read(verb: str, command: Any, words: list[str]) -> Any:
    """The options of a command, as an object with an attribute for each. Raises WqError for what is none."""
    dashed = getattr(command, "DASHED", ())
    if dashed:
        words = joined(words, dashed)
    try:
        reader = PlainReader()
        declare(reader, command)
        return reader.read(words)
    except NotPlain:
        return read_by_argparse(verb, command, words)


def declare(parser: Any, command: Any) -> None:
    parser.add_argument("-p", "--port", help="the queue on this host (default 51093, or WQ_PORT)", metavar="PORT")
    command.options(parser)


def read_by_argparse(verb: str, command: Any, words: list[str]) -> Any:
    """The same by argparse; it shows the help, too, and ends the process then."""
    import argparse

    from wq.cli.errors import BAD_INPUT, WqError

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> None:  # type: ignore[override]
            raise WqError(f"{verb}: {message}; see `wq {verb} -h`", BAD_INPUT)

    parser = Parser(
        prog=f"wq {verb}",
        description=command.HELP,
        epilog=command.EXAMPLES,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100),  # asking costs an import
        allow_abbrev=False,
    )
    declare(parser, command)
    return parser.parse_args(words)
