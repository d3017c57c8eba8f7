"""The one sanitiser: whatever others wrote passes through here before it reaches a terminal.

What is not fit to be shown is shown escaped, as Python writes it (`\\x1b`, `\\n`, `\\u202e`, `\\U000e0041`), so that a
reader sees that something was there and what. It is not reversible (a name may hold a true backslash): that is
what --json is for.

Unfit are: control characters, format characters (bidi controls, zero widths, tags, soft hyphen), separators of lines
and paragraphs, surrogates, private use, unassigned, characters that show nothing, and combining marks that stand on
no letter or in a crowd of more than MARKS. White space of other scripts is shown as a plain space.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing costs more than this whole package
if TYPE_CHECKING:
    from collections.abc import Callable

MARKS = 4  # marks on one letter: Vietnamese needs two, Hebrew three, a flood climbs over the lines above

# A wider cell of a table is shown whole, but it does not widen its column: one absurd name would otherwise cost every
# line of everybody's listing its own length in blanks.
WIDEST = 80

_SPACES = "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"

# Unicode calls these letters, marks or symbols, but they leave no ink: two names that look alike would differ.
_NO_INK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U0001d159"


def printable(text: str) -> str:
    """The text on one line, fit for a terminal. Spaces are kept."""
    if text.isascii() and text.isprintable():
        return text
    return walk(text, _visible)


def word(text: str) -> str:
    """The text as one word, fit for a column: runs of white space become `-`, and so does nothing at all."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text or "-"
    parts = text.split()
    if not parts:
        return "-"
    joined = "-".join(parts)
    before = "-" if text[0].isspace() else ""
    after = "-" if text[-1].isspace() else ""
    return printable(before + joined + after)


def walk(text: str, escape: Callable[[str], str]) -> str:
    """The text with `escape` called for each character that is not fit to be shown, and nothing else changed."""
    from unicodedata import category

    shown: list[str] = []
    room = 0  # how many more marks the letter before may carry
    for char in text:
        if not char.isprintable() or _without_ink(char):
            room = 0
            shown.append(escape(char))
        elif char < "\u0300":
            room = 0 if char == " " else MARKS
            shown.append(char)
        elif not (category(char)[0] == "M" or _is_joined_jamo(char)):
            room = MARKS
            shown.append(char)
        elif room:
            room -= 1
            shown.append(char)
        else:
            shown.append(escape(char))
    return "".join(shown)


def width(text: str) -> int:
    """How many columns of a terminal a sanitised text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    columns = 0
    for char in text:
        if category(char) in ("Mn", "Me") or _is_joined_jamo(char):
            continue
        columns += 2 if east_asian_width(char) in "WF" else 1
    return columns


def shortened(text: str, room: int, *, middle: bool = False) -> str:
    """A sanitised text in so many columns: where it does not fit, `…` stands for its end or its middle."""
    if width(text) <= room:
        return text
    if room < 2:
        return "…"[:room]
    after = _within(text[::-1], (room - 1) // 2)[::-1] if middle else ""
    return f"{_within(text, room - 1 - width(after))}…{after}"


def _within(text: str, room: int) -> str:
    """As much of its beginning as fits."""
    if text.isascii():
        return text[:room]
    columns = 0
    for at, char in enumerate(text):
        columns += width(char)
        if columns > room:
            return text[:at]
    return text


def cut(line: str, room: int) -> str:
    """A sanitised line, which may be painted, in so many columns of a terminal; the paint does not count."""
    if len(line) <= room and line.isascii():
        return line
    parts: list[str] = []
    painted = False
    for number, part in enumerate(line.split("\x1b[")):
        if number:
            code, _, part = part.partition("m")
            painted = code != "0"
            parts.append(f"\x1b[{code}m")
        found = _within(part, room)
        parts.append(found)
        if found != part:
            return "".join(parts) + ("\x1b[0m" if painted else "")
        room -= width(part)
    return "".join(parts)


def painted_width(line: str) -> int:
    """How many columns a sanitised line takes that may be painted."""
    first, *parts = line.split("\x1b[")
    return width(first) + sum(width(part.partition("m")[2]) for part in parts)


def _is_joined_jamo(char: str) -> bool:
    """Whether this is a Korean letter that a terminal draws into the one before (as macOS writes file names)."""
    return "\u1160" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7fb"


def _visible(char: str) -> str:
    # ascii() quotes what it escapes; every character that comes here is one that it escapes, or a space.
    return " " if char in _SPACES else ascii(char)[1:-1]


def _without_ink(char: str) -> bool:
    return char >= "\u034f" and (
        char in _NO_INK or "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    )
