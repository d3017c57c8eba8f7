"""JSON values as YAML that any parser reads alike and any terminal shows unharmed.

Our own writer and not PyYAML's, for three reasons. PyYAML leaves `1e3` and `0o17` bare, which YAML 1.2 reads as
numbers; it lets bidi controls through as they are; and importing it costs 19 ms. Reading is another matter: that
is PyYAML's.

Text is left bare only where no version of YAML could take it for anything else, written as a block where it has
several lines that are fit to be seen, and quoted otherwise.
"""

from __future__ import annotations

from .sanitise import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-@=")
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/")
_NOT_TEXT = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_BARE_MOST = 128  # characters; a longer one is quoted, as is one with anything unusual in it


def document(rows: Sequence[Mapping[str, Any]]) -> str:
    """One YAML document, a list, with a newline at the end; lone surrogates become the text `\\udc80`.

    YAML has no way to write half a character, and a file name with broken bytes is no reason to show nothing.
    """
    if not rows:
        return "[]\n"
    lines: list[str] = []
    for row in rows:
        _put(lines, "- ", row, 0)
    return "\n".join(lines) + "\n"


def _put(lines: list[str], lead: str, value: Any, indent: int) -> None:
    """Append `value` after `lead` (a `- ` or a `key:`), its further lines deeper than `indent` blanks."""
    inner = " " * (indent + 2)
    if isinstance(value, str):
        lead = lead.rstrip(" ")
        if _is_block(value):
            lines.append(lead + (" |" if value.endswith("\n") else " |-"))
            lines.extend(inner + line if line else "" for line in value.removesuffix("\n").split("\n"))
        else:
            lines.append(f"{lead} {_text(value)}")
    elif isinstance(value, (list, tuple)) and not all(isinstance(item, (int, float)) for item in value):
        if lead.endswith(" "):  # a list in a list
            _open(lines, lead, [("- ", item) for item in value], indent)
        else:
            lines.append(lead)
            for item in value:
                _put(lines, inner + "- ", item, indent + 2)
    elif isinstance(value, dict) and value:
        pairs = [(f"{_text(key)}:", item) for key, item in value.items()]
        if lead.endswith(" "):
            _open(lines, lead, pairs, indent)
        else:
            lines.append(lead)
            for key, item in pairs:
                _put(lines, inner + key, item, indent + 2)
    else:
        lines.append(f"{lead.rstrip(' ')} {_scalar(value)}")


def _open(lines: list[str], lead: str, parts: list[tuple[str, Any]], indent: int) -> None:
    """Append a collection whose first part stands on the line of the `- ` that holds it."""
    inner = " " * (indent + 2)
    for mark, item in parts:
        _put(lines, lead + mark, item, indent + 2)
        lead = inner


def _scalar(value: Any) -> str:
    """A value other than text, on one line."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float(value)
        case dict():
            return "{}"
        case list() | tuple():
            return "[" + ", ".join(map(_scalar, value)) + "]"
    raise TypeError(f"not a value of JSON: {type(value).__name__}")


def _float(value: float) -> str:
    text = repr(value)
    if not text.lstrip("-")[0].isdigit():  # nan, inf, -inf
        return "-.inf" if value < 0 else "." + text
    digits, e, exponent = text.partition("e")
    return f"{digits if '.' in digits else digits + '.0'}{e}{exponent}"  # YAML 1.1 takes 1e+16 for text


def _text(text: str) -> str:
    """Text on one line, bare or quoted."""
    if _is_bare(text):
        return text
    if "'" not in text and ('"' in text or "\\" in text) and _is_fit(text):
        return f"'{text}'"
    return '"' + walk(text.replace("\\", "\\\\").replace('"', '\\"'), _escape) + '"'


def _is_bare(text: str) -> bool:
    """Whether the text, left bare, is text to every parser: plain characters, a letter first, no blank last."""
    return (
        0 < len(text) <= _BARE_MOST
        and text[0] in _FIRST
        and _BARE.issuperset(text.replace(" ", "_"))
        and text[-1] != " "
        and text.lower() not in _NOT_TEXT
    )


def _is_block(text: str) -> bool:
    """Whether the text can stand as a literal block: several lines, all fit to be seen, blanks only where they are."""
    lines = text.removesuffix("\n").split("\n")
    return (
        "\n" in text
        and lines[0] != ""
        and lines[-1] != ""
        and not lines[0].startswith(" ")
        and not any(line.endswith(" ") for line in lines)
        and all(map(_is_fit, lines))
    )


def _is_fit(line: str) -> bool:
    if line.isascii():
        return line.isprintable()
    return walk(line, _escape) == line


def _escape(char: str) -> str:
    code = ord(char)
    if char == "\n":
        return "\\n"
    if char == "\t":
        return "\\t"
    if 0xD800 <= code <= 0xDFFF:
        return f"\\\\u{code:04x}"
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
