"""What people write, turned into typed values: text in, values or one clear line out; no file is opened here."""

from __future__ import annotations

MAX_TEXT_BYTES = 1 << 20
MAX_FILE_BYTES = 64 << 20  # of a job file, which may hold many jobs; each is a text of its own


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


def check_size(text: str, *, source: str, most: int = MAX_TEXT_BYTES, line: int = 1) -> None:
    """Refuse a text of more than so many bytes."""
    if len(text) > most or (len(text) > most // 4 and len(text.encode("utf-8", "surrogatepass")) > most):
        raise FormatError(f"the text is too large; at most {most} bytes", source=source, line=line)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
