"""Placeholders in commands: `%name%` becomes the value of that name, in shell text so that it stays one word."""

from __future__ import annotations

from functools import lru_cache
from shlex import quote as shell_word

TYPE_CHECKING = False  # importing typing would cost the client 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Heredoc = tuple[str, bool, bool]

# Where in a shell text a placeholder stands: so a value is quoted.
ARGV, BARE, ARITHMETIC, SINGLE, DOUBLE, COMMENT, HERE, HERE_RAW = range(8)


def filled(text: str, values: Mapping[str, str], quote: bool) -> str:
    """The text with `%name%` replaced for each name of `values`; every other `%` stays as it is.

    quote: the text is for a shell, where a value stays one word, or a part of one, whatever is in it: outside of quotes
    it gets its own, within quotes what means something there is escaped. A backslash before the `%` keeps it.
    """
    if "%" not in text:
        return text
    parts = _parts(text, tuple(values), quote)
    return "".join([part if isinstance(part, str) else _guarded(values[part[0]], part[1]) for part in parts])


def candidates(text: str) -> Iterator[str]:
    """Every word between two `%` that could be meant as a placeholder."""
    at = text.find("%")
    while at >= 0:
        end = text.find("%", at + 1)
        name = text[at + 1 : end]
        if end > 0 and name and all(c.isalnum() or c in "_-." for c in name):
            yield name
        at = end


def _guarded(value: str, where: int) -> str:
    if where == BARE:
        return shell_word(value)
    if where == SINGLE:
        return value.replace("'", "'\"'\"'")
    if where == COMMENT:
        return value.replace("\n", " ")
    if where in (DOUBLE, HERE):
        for special in '\\$`"' if where == DOUBLE else "\\$`":
            value = value.replace(special, f"\\{special}")
    return value


@lru_cache(maxsize=64)  # the tasks of an array have one text
def _parts(text: str, names: tuple[str, ...], quote: bool) -> tuple[str | tuple[str, int], ...]:
    """The text in pieces: literal ones, and (name, where it stands)."""
    shell = _Shell(text) if quote else None
    known = set(names)
    parts: list[str | tuple[str, int]] = []
    done = 0
    at = text.find("%")
    while at >= 0 and (end := text.find("%", at + 1)) >= 0:
        name = text[at + 1 : end]
        where = ARGV if shell is None else shell.where(at)
        if name in known and where is not None:
            parts += [text[done:at], (name, where)]
            done = end + 1
            if shell is not None:
                shell.at = done  # a quote in a name is none of the shell's
            end = text.find("%", done)
        at = end
    parts.append(text[done:])
    return tuple(parts)


class _Shell:
    """Goes along a shell text, and knows what is quoted at each place: enough of the shell's grammar for that.

    stack: what we are within, and the sign that ends it. announced: heredocs that begin with the next line; open: those
    that we are within; each is its last line, whether tabs before that are cut, and whether its text is taken as it is.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.stack = [(BARE, "")]
        self.lines: dict[bool, dict[str, int]] = {}  # where each line begins for the last time; True: its tabs cut
        self.announced: list[Heredoc] = []
        self.open: list[Heredoc] = []

    def where(self, place: int) -> int | None:
        """What is quoted at a place, the places in order; None if a backslash stands before it."""
        while self.at < place:
            self._step()
        mode = self.stack[-1][0]
        return None if self.at > place else BARE if mode == ARITHMETIC else mode

    def _step(self) -> None:
        """One sign, or several that belong together."""
        mode, end = self.stack[-1]
        char = self.text[self.at]
        self.at += 1
        if char == "\n" and mode in (HERE, HERE_RAW):
            self._line_of_heredoc()
        elif mode in (SINGLE, COMMENT, HERE_RAW):
            if char == end:
                self.stack.pop()
                self.at -= mode == COMMENT  # the end of the line is none of the comment's
        elif char == "\\":
            self.at += 1
        elif char == "\n" and self.announced:
            heredoc = self.announced.pop(0)
            self.open.append(heredoc)
            self.stack.append((HERE_RAW if heredoc[2] else HERE, ""))
            self._line_of_heredoc()
        elif char == end:
            self.stack.pop()
        else:
            self._step_in_words(mode, char)

    def _step_in_words(self, mode: int, char: str) -> None:
        """A sign that may open something."""
        text, at = self.text, self.at
        if char == "`":
            self.stack.append((BARE, "`"))
        elif char == "$" and text.startswith("(", at):
            self.at += 1
            self._open_bracket()
        elif char == '"' and mode != HERE:
            self.stack.append((DOUBLE, '"'))
        elif mode in (DOUBLE, HERE):
            pass
        elif char == "'":
            self.stack.append((SINGLE, "'"))
        elif char == "(":
            self._open_bracket()
        elif char == "#" and mode == BARE and (at == 1 or text[at - 2] in " \t\n;&|()"):
            self.stack.append((COMMENT, "\n"))
        elif char == "<" and mode == BARE and text.startswith("<", at):
            self._announce_heredoc()

    def _open_bracket(self) -> None:
        inner = self.stack[-1][0] == ARITHMETIC or self.text.startswith("(", self.at)
        self.stack.append((ARITHMETIC if inner else BARE, ")"))

    def _announce_heredoc(self) -> None:
        """At the second `<` of `<<EOF`, `<<-EOF` or `<<'EOF'`; `<<<` announces none, nor does what never ends."""
        text, start = self.text, self.at + 1
        self.at = start
        if text.startswith("<", start):
            self.at += 1
            return
        tabs = text.startswith("-", start)
        start += tabs
        while text.startswith((" ", "\t"), start):
            start += 1
        end = start
        while end < len(text) and text[end] not in " \t\n;&|<>()":
            end += 1
        written = text[start:end]
        word = "".join(c for c in written if c not in "'\"\\")
        if word and self._last_line(word, tabs) > end:
            self.announced.append((word, tabs, word != written))
            self.at = end

    def _last_line(self, word: str, tabs: bool) -> int:
        """Where the last line begins that is this word; -1: none is. (Looked up: a text may announce very many.)"""
        if tabs not in self.lines:
            found = self.lines[tabs] = {}
            at = 0
            for line in self.text.split("\n"):
                found[line.lstrip("\t") if tabs else line] = at
                at += len(line) + 1
        return self.lines[tabs].get(word, -1)

    def _line_of_heredoc(self) -> None:
        """At the beginning of a line: is it the last of the heredoc?"""
        word, tabs, _ = self.open[-1]
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        line = self.text[self.at : end]
        if (line.lstrip("\t") if tabs else line) == word:
            self.at = end  # the end of this line may open the next heredoc
            self.open.pop()
            self.stack.pop()
