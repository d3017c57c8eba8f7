"""What people write, turned into typed values: text in, values or one clear line out; no file is opened here."""

from __future__ import annotations

MAX_TEXT_BYTES = 1 << 20


class FormatError(ValueError):
    """A text that cannot be accepted; str() is one line: `SOURCE:LINE: what is wrong; what is allowed`.

    line and column count from 1; in a `-r` text the line is the number of the item.
    """

    def __init__(self, problem: str, *, source: str, line: int, column: int | None = None) -> None:
        super().__init__(_one_line(f"{source}:{line}: {problem}"))
        self.problem = problem
        self.source = source
        self.line = line
        self.column = column


def quoted(text: str, limit: int = 60) -> str:
    """The text in quotes for a message: what cannot be printed escaped, what is too long shortened."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def check_size(text: str, *, source: str) -> None:
    """Refuse a text of more than MAX_TEXT_BYTES."""
    if len(text) > MAX_TEXT_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise FormatError(f"the text is too large; at most {MAX_TEXT_BYTES} bytes", source=source, line=1)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
