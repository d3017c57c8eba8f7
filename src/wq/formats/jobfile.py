"""Job files and `-r` texts: YAML whose values are read from their raw text, each key as its own type.

Only the events of a YAML parser are used. Nothing is resolved, so that `no`, `010` and `1:30:00` stay what
was written; nothing is composed, so that aliases and deep nesting are refused before they cost anything.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from wq.core.requirement import GROUP_PATTERN, HOST_PATTERN, LONGEST_TIME_S, Mode, Priority, Requirement
from wq.formats import MAX_FILE_BYTES, MAX_TEXT_BYTES, FormatError, check_size, quoted

if TYPE_CHECKING:
    import yaml

MAX_COUNT = 1_000_000
MAX_MEM_GB = 1e9
MAX_JOB_NAME_CHARS = 200
MAX_PATH_CHARS = 4096
MAX_AFTER = 200
MAX_WAIT_S = 30 * 86400.0
RETRY_ON = ("signal", "node", "time")
NOTIFY_ON = ("end", "failure", "start")
AUTO = "auto"
SIGNAL_S = 60.0  # before the end, where nothing else is said

Env = Literal["submit", "login", "clean"]
Value = str | int | float | bool | tuple[str, ...]
T = TypeVar("T")


class Given(NamedTuple):
    """A typed value and where it was given; in a `-r` text the line is the number of the item."""

    value: Value
    source: str
    line: int

    def error(self, problem: str) -> FormatError:
        return FormatError(problem, source=self.source, line=self.line)


@dataclass(frozen=True, slots=True)
class JobFields:
    """The keys that were given, under their canonical names, and only those."""

    given: Mapping[str, Given]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDescription:
    """What a job asks for, checked as a whole.

    hostfile: a path, or "auto"; env: where the environment comes from; private: the command stays with its user;
    requeue: it is started again if a reboot of a node ends it; array: its tasks, as formats.array writes them.
    after...: ids, `last`, or names of jobs; begin: as formats.when reads it; retry_wait: seconds; retry_on: exit
    statuses, `signal`, `node`; notify: `mail` or a command; notify_on: `end`, `failure`, `start`.
    time_s: its time limit; signal: the number of one that it gets signal_s before that.
    output, error: paths with placeholders (formats.outputs); keep_output: which outputs are kept.
    """

    command: str | None
    job_name: str | None
    hostfile: str | None
    x: bool
    env: Env
    private: bool
    requeue: bool
    requirement: Requirement
    array: str | None = None
    after: tuple[str, ...] | None = None
    after_any: tuple[str, ...] | None = None
    after_notok: tuple[str, ...] | None = None
    after_each: tuple[str, ...] | None = None
    begin: str | None = None
    hold: bool | None = None
    max_fails: int | None = None
    retries: int | None = None
    retry_wait: float | None = None
    retry_on: tuple[str, ...] | None = None
    notify: str | None = None
    notify_on: tuple[str, ...] | None = None
    time_s: float | None = None
    signal: int | None = None
    signal_s: float = SIGNAL_S
    output: str | None = None
    error: str | None = None
    keep_output: str | None = None


# ---- what a user calls


def parse_job_file(text: str, *, source: str) -> list[JobFields]:
    """The jobs of a job file, one a document; empty documents count for nothing. Raises FormatError."""
    check_size(text, source=source, most=MAX_FILE_BYTES)
    _check_documents(text, source)
    _check_characters(text, source)
    plain = _plain_documents(text, source)
    jobs = [_typed(entries) for entries in (_documents(text, source) if plain is None else plain)]
    if not jobs:
        raise FormatError("there is no job here; at least 'command: ...' is needed", source=source, line=1)
    return jobs


def parse_requirement(text: str, *, source: str = "-r") -> JobFields:
    """The keys of a `-r` text: items between semicolons or newlines, each `key: value`. Raises FormatError."""
    check_size(text, source=source)
    _check_characters(text, source)
    given: dict[str, Given] = {}
    for line, item in enumerate(_items(text, source), start=1):
        try:
            _add(given, *_entry_of_item(item, source, line))
        except FormatError as error:
            raise _in_item(error.problem, item, source, line) from None
    return JobFields(MappingProxyType(given))


def command_fields(command: str, *, source: str = "-c") -> JobFields:
    """A command that came as an argument, as the one key that it is. Raises FormatError."""
    raw = _Text(text=command, source=source, line=1, column=1, plain=False)
    return JobFields(MappingProxyType({"command": Given(_command("command", raw), source, 1)}))


def raw_values(text: str, *, source: str) -> dict[str, str]:
    """The keys and values of a job file of one document, as they are written. Raises FormatError."""
    check_size(text, source=source)
    _check_characters(text, source)
    plain = _plain_documents(text, source)
    documents = list(_documents(text, source) if plain is None else plain)
    if len(documents) != 1:
        raise FormatError("one job is wanted here", source=source, line=1)
    found: dict[str, str] = {}
    for key, raw in documents[0]:
        if key.text in found:
            raise key.error(f"{key.text} is given twice; give it once")
        found[key.text] = ",".join(item.text for item in raw.items) if isinstance(raw, _List) else raw.text
    return found


def option_fields(options: Mapping[str, str | Sequence[str]], *, sign: str = "") -> JobFields:
    """Keys that came as options of their own: `--begin 20:00` as the key begin. Raises FormatError.

    sign: how they were written otherwise, with `{}` for the key.
    """
    given: dict[str, Given] = {}
    for key, value in options.items():
        source = sign.format(key) if sign else f"--{key.replace('_', '-')}"
        words = [value] if isinstance(value, str) else value
        items = tuple([_Text(text=word, source=source, line=1, column=1, plain=True) for word in words])
        raw: _Raw = items[0] if len(items) == 1 else _List(items=items, opening=items[0])
        _add(given, _Text(text=key, source=source, line=1, column=1, plain=True), raw)
    return JobFields(MappingProxyType(given))


def merge(base: JobFields, override: JobFields) -> JobFields:
    """The keys of both; where both have one, that of `override`."""
    return JobFields(MappingProxyType({**base.given, **override.given}))


def describe(fields: JobFields) -> JobDescription:
    """The job that the fields ask for. Raises FormatError where two keys contradict each other."""
    requirement = Requirement(
        mode=_get(fields, "mode", Mode) or Mode.BYCORE,
        n=_get(fields, "N", int) or 1,
        groups=_get(fields, "group", tuple) or (),
        notgroups=_get(fields, "notgroup", tuple) or (),
        host=_get(fields, "host", str),
        min_cores=_get(fields, "min_cores", int) or 0,
        min_mem_gb=_get(fields, "min_mem", float) or 0.0,
        threads=_get(fields, "threads", int),
        priority=_get(fields, "priority", Priority) or Priority.MED,
    )
    _check_together(fields, requirement)
    number, before_s = _signal_parts(_get(fields, "signal", str))
    return JobDescription(
        command=_get(fields, "command", str),
        job_name=_get(fields, "job_name", str),
        hostfile=_get(fields, "hostfile", str),
        x=_get(fields, "X", bool) or False,
        env=_ENVS[_get(fields, "env", str) or "submit"],
        private=_get(fields, "private", bool) or False,
        requeue=_get(fields, "requeue", bool) is not False,
        requirement=requirement,
        array=_get(fields, "array", str),
        after=_get(fields, "after", tuple),
        after_any=_get(fields, "after_any", tuple),
        after_notok=_get(fields, "after_notok", tuple),
        after_each=_get(fields, "after_each", tuple),
        begin=_get(fields, "begin", str),
        hold=_get(fields, "hold", bool),
        max_fails=_get(fields, "max_fails", int),
        retries=_get(fields, "retries", int),
        retry_wait=_get(fields, "retry_wait", float),
        retry_on=_get(fields, "retry_on", tuple),
        notify=_get(fields, "notify", str),
        notify_on=_get(fields, "notify_on", tuple),
        time_s=_get(fields, "time", float),
        signal=number,
        signal_s=before_s,
        output=_get(fields, "output", str),
        error=_get(fields, "error", str),
        keep_output=_get(fields, "keep_output", str),
    )


# ---- keys that depend on each other


def _get(fields: JobFields, key: str, kind: type[T]) -> T | None:
    given = fields.given.get(key)
    if given is None:
        return None
    if not isinstance(given.value, kind):
        raise TypeError(f"{key} holds {given.value!r}, which is no {kind.__name__}")
    return given.value


def _check_together(fields: JobFields, requirement: Requirement) -> None:
    mode, given = requirement.mode, fields.given
    if mode is Mode.BYHOST and requirement.host is None:
        raise given["mode"].error("mode byhost needs the key host; add, say, host: NODE")
    if mode is Mode.BYGROUP and not requirement.groups:
        raise given["mode"].error("mode bygroup needs the key group; add, say, group: GROUP")
    if mode is Mode.BYGROUP and requirement.n != 1:
        raise given["N"].error("N is not used by mode bygroup, which takes all nodes of the group; leave N out")
    if mode not in (Mode.BYNODE, Mode.BYGROUP):
        _check_threads(given, requirement.n, requirement.threads or 1)
    if "signal" in given:
        _check_signal(given)


def _check_signal(given: Mapping[str, Given]) -> None:
    """It comes before the end, so there must be one, and it must be after the start."""
    if "time" not in given:
        raise given["signal"].error("signal needs the key time, before whose end it comes; add, say, time: 2h")
    _, before_s = _signal_parts(_get(JobFields(given), "signal", str))
    time_s = given["time"].value
    if isinstance(time_s, float) and before_s >= time_s:
        from wq.formats.duration import in_words

        problem = f"signal comes {in_words(before_s)} before the end, and time is {in_words(time_s)}"
        raise given["signal"].error(f"{problem}; allowed: less than that, such as USR1@10s")


def _signal_parts(text: str | None) -> tuple[int | None, float]:
    """(number, seconds before the end) of a signal as _signal has it."""
    number, _, before_s = (text or "").partition("@")
    return (int(number), float(before_s)) if number else (None, SIGNAL_S)


def _check_threads(given: Mapping[str, Given], n: int, threads: int) -> None:
    if n % threads == 0:
        return
    below = n - n % threads
    nearest = [str(count) for count in (below, below + threads) if 1 <= count <= MAX_COUNT]
    where = given.get("N") or given["threads"]
    problem = f"N is {n} and threads is {threads}; N must be a multiple of threads"
    raise where.error(f"{problem}, the nearest: {' or '.join(nearest)}")


# ---- raw values, and the documents and items that they come in


class _Text(NamedTuple):
    """One value as it was written. plain: without quotes and not a block."""

    text: str
    source: str
    line: int
    column: int
    plain: bool

    def error(self, problem: str) -> FormatError:
        return FormatError(problem, source=self.source, line=self.line, column=self.column)


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """A list of values; `opening` stands for the place where it begins."""

    items: tuple[_Text, ...]
    opening: _Text

    def error(self, problem: str) -> FormatError:
        return self.opening.error(problem)


_Raw = _Text | _List
_Entry = tuple[_Text, _Raw]

# What YAML allows in a text, without a byte order mark (which may only be at the very beginning).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_MARK = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)  # a document begins
_HINTS = {
    "mapping values are not allowed": "quote a value that contains ': ', or put it on lines of its own under 'key: |'",
    "cannot start any token": "indent with spaces, and quote a value that starts with one of % @ `",
    "tab character": "indent with spaces",
    "end of stream": "close what was opened here",
}
_HINT = "write 'key: value' lines, quote a value as a whole, and put a long command under 'command: |'"


def _check_documents(text: str, source: str) -> None:
    """Each job may be as long as a text. Where one begins is told by its mark alone."""
    if len(text) <= MAX_TEXT_BYTES // 4:
        return
    bounds = [0, *(found.start() for found in _MARK.finditer(text)), len(text)]
    for start, end in itertools.pairwise(bounds):
        if end - start > MAX_TEXT_BYTES // 4:
            check_size(text[start:end], source=source, line=text.count("\n", 0, start) + 1)


def _check_characters(text: str, source: str) -> None:
    found = _FORBIDDEN.search(text, 1 if text.startswith("\ufeff") else 0)
    if found is None:
        return
    start = found.start()
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    problem = f"the character {found[0]!a} is not allowed; allowed: printable text in UTF-8"
    raise FormatError(problem, source=source, line=line, column=column)


# What lines of `key: value` are made of where YAML could read them in one way only, and need not be asked.
_PLAIN_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,99}): +([^ \-?:,\[\]{}#&*!|>'\"%@`].*)")
_NEVER_PLAIN = re.compile("[\t\r\x85\u2028\u2029\ufeff]")


def _plain_documents(text: str, source: str) -> list[list[_Entry]] | None:
    """The same as `_documents` for a text of plain lines, ten times faster and without YAML; None for any other."""
    if _NEVER_PLAIN.search(text):
        return None
    documents: list[list[_Entry]] = [[]]
    for number, line in enumerate(text.split("\n"), 1):
        if found := _PLAIN_LINE.fullmatch(line):
            key, value = found.groups()
            value = value.rstrip(" ")
            if ": " in value or " #" in value or value[-1] == ":":
                return None
            column = found.start(2) + 1
            documents[-1].append((_Text(key, source, number, 1, True), _Text(value, source, number, column, True)))
        elif line.rstrip(" ") == "---":
            documents.append([])
        elif line.lstrip(" ")[:1] not in ("", "#"):
            return None
    return [entries for entries in documents if entries]


def _documents(text: str, source: str) -> Iterator[list[_Entry]]:
    """The keys and values of each document that is not empty."""
    import yaml

    events = _events(text, source)
    for event in events:
        match event:
            case yaml.MappingStartEvent():
                yield _entries(events, source)
            case yaml.ScalarEvent(value="", style=None | ""):
                pass
            case yaml.ScalarEvent() | yaml.SequenceStartEvent():
                hint = "a script is submitted with: wq sub -- ./SCRIPT" if text.startswith("#!") else _HINT
                raise _error_at(event, source, f"this is not a job file, which has a key on each line; {hint}")


def _entries(events: Iterator[yaml.Event], source: str) -> list[_Entry]:
    import yaml

    entries: list[_Entry] = []
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise _error_at(event, source, "a list or a map cannot be a key; write 'key: value'")
        entries.append((_text_of(event, source), _value(events, source)))
    return entries


def _value(events: Iterator[yaml.Event], source: str) -> _Raw:
    import yaml

    event = next(events)
    if isinstance(event, yaml.ScalarEvent):
        return _text_of(event, source)
    if isinstance(event, yaml.MappingStartEvent):
        raise _error_at(event, source, "a value cannot be a map; allowed: a text, or a list of texts")
    items: list[_Text] = []
    while not isinstance(item := next(events), yaml.SequenceEndEvent):
        if not isinstance(item, yaml.ScalarEvent):
            raise _error_at(item, source, "a list or a map cannot be inside a list; write [a, b]")
        items.append(_text_of(item, source))
    return _List(items=tuple(items), opening=_text_of(event, source))


def _events(text: str, source: str) -> Iterator[yaml.Event]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            _refuse_extras(event, source)
            yield event
    except yaml.YAMLError as error:
        raise _yaml_error(error, text, source) from None
    except (ValueError, OverflowError) as error:  # the pure loader's, for an escape that is no character
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"YAML cannot read this: {error}; {_HINT}", source=source, line=1) from None


def _refuse_extras(event: yaml.Event, source: str) -> None:
    import yaml

    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise _error_at(event, source, "YAML's anchors (&) and aliases (*) are not allowed; quote a text such as '*'")
    if getattr(event, "tag", None) is not None:
        raise _error_at(event, source, "YAML's tags (!) are not allowed; quote a text that starts with '!'")


def _text_of(event: yaml.Event, source: str) -> _Text:
    mark = event.start_mark
    return _Text(
        text=getattr(event, "value", ""),
        source=source,
        line=mark.line + 1 if mark else 1,
        column=mark.column + 1 if mark else 1,
        plain=not getattr(event, "style", None),
    )


def _error_at(event: yaml.Event, source: str, problem: str) -> FormatError:
    return _text_of(event, source).error(problem)


def _yaml_error(error: yaml.YAMLError, text: str, source: str) -> FormatError:
    import yaml

    problem, mark = str(error), None
    if isinstance(error, yaml.MarkedYAMLError):
        problem = error.problem or problem
        opened = error.context_mark if "end of stream" in problem else None
        mark = opened or error.problem_mark
    hint = next((hint for words, hint in _HINTS.items() if words in problem), _HINT)
    problem = f"YAML cannot read this: {problem}; {hint}"
    if mark is None:
        return FormatError(problem, source=source, line=1)
    line = min(mark.line, text.rstrip().count("\n")) + 1  # the C loader may mean the line after the last
    return FormatError(problem, source=source, line=line, column=mark.column + 1)


def _items(text: str, source: str) -> Iterator[str]:
    """The items of a `-r` text that are not empty: parted by ; and newlines outside of quotes and brackets."""
    ends, still_open = _ends_of_items(text)
    starts = [0, *(end + 1 for end in ends)]
    items = [text[start:end].strip() for start, end in zip(starts, [*ends, len(text)], strict=True)]
    items = [item for item in items if item]
    if still_open:
        raise _in_item(f"{still_open} is never closed; close it", items[-1], source, len(items))
    yield from items


def _ends_of_items(text: str) -> tuple[list[int], str]:
    """Where the items end, and the sign that is still open at the end of the text.

    A quote opens only where no word goes on (not in `don't`), a bracket only where a value begins.
    """
    ends: list[int] = []
    quote, bracket, depth = "", "", 0
    escaped, before, mark = False, "", ""  # before: the character before; mark: the last one that was no space
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif quote:
            escaped = char == "\\" and quote == '"'
            quote = "" if char == quote else quote
        elif char in "'\"" and not (before.isalnum() or before == "\\"):
            quote = char
        elif char in "[{" and (depth or mark == ":"):
            depth, bracket = depth + 1, char
        elif char in "]}" and depth:
            depth -= 1
        elif char in ";\n\r" and not depth:
            ends.append(index)
        before, mark = char, char if not char.isspace() else mark
    return ends, quote or (bracket if depth else "")


def _entry_of_item(item: str, source: str, line: int) -> _Entry:
    name, colon, value = item.partition(":")
    key = _Text(text=name.strip(), source=source, line=line, column=1, plain=True)
    if not colon:
        raise key.error("there is no colon; write 'key: value'")
    value = value.strip()
    if not value.startswith(("[", "{", "'", '"')):
        return key, _Text(text=value, source=source, line=line, column=len(name) + 2, plain=True)
    documents = list(_documents(f"value: {value}", source))
    if [len(entries) for entries in documents] != [1]:
        raise key.error("there is more than one value; write 'key: value'")
    return key, documents[0][0][1]


def _in_item(problem: str, item: str, source: str, line: int) -> FormatError:
    return FormatError(f"in {quoted(item)}: {problem}", source=source, line=line)


# ---- from raw values to typed ones, key by key


def _typed(entries: Iterable[_Entry]) -> JobFields:
    given: dict[str, Given] = {}
    for key, raw in entries:
        _add(given, key, raw)
    return JobFields(MappingProxyType(given))


def _add(given: dict[str, Given], key: _Text, raw: _Raw) -> None:
    name = _ALIASES.get(key.text, key.text)
    if name not in _READERS:
        hint = _nearest(key.text, [*_READERS, *_ALIASES])
        raise key.error(f"unknown key {quoted(key.text)}{hint}; allowed: {', '.join(_READERS)}")
    if name in given:
        first = given[name]
        raise key.error(f"{name} is given twice, first at {first.source}:{first.line}; give it once")
    given[name] = Given(_READERS[name](name, raw), key.source, key.line)


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib

    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word[:MAX_JOB_NAME_CHARS].lower(), folded, n=1)
    return f" (did you mean {folded[close[0]]}?)" if close else ""


def _present(key: str, raw: _Text) -> str:
    if not raw.text.strip() or (raw.plain and raw.text in ("~", "null", "Null", "NULL")):
        raise raw.error(f"{key} has no value; give it one, or leave it out")
    return raw.text.strip()


def _scalar(key: str, raw: _Raw) -> str:
    if isinstance(raw, _List):
        raise raw.error(f"{key} is a list; allowed: one value")
    return _present(key, raw)


def _choice(key: str, raw: _Raw, table: Mapping[str, T]) -> T:
    text = _scalar(key, raw)
    if (value := table.get(text.lower())) is not None:
        return value
    allowed = [word for word, value in table.items() if str(value) == word] or table
    raise raw.error(f"{key} is {quoted(text)}{_nearest(text, table)}; allowed: {', '.join(allowed)}")


def _count(key: str, raw: _Raw, least: int) -> int:
    text = _scalar(key, raw)
    if re.fullmatch(r"[0-9]{1,18}", text) and least <= int(text) <= MAX_COUNT:
        return int(text)
    raise raw.error(f"{key} is {quoted(text)}; allowed: a whole number from {least} to {MAX_COUNT}")


def _gigabytes(key: str, raw: _Raw) -> float:
    text = _scalar(key, raw)
    if found := _MEMORY.fullmatch(text):
        mem_gb = float(found["number"]) * _GB_IN[(found["unit"] or "g").lower()]
        if mem_gb <= MAX_MEM_GB:
            return mem_gb
    raise raw.error(f"{key} is {quoted(text)}; allowed: a number of gigabytes, such as 32, 1.5 or 32GB")


def _names(key: str, raw: _Raw) -> tuple[str, ...]:
    items = raw.items if isinstance(raw, _List) else (raw,)
    names: list[str] = []
    for item in items:
        text = _present(key, item)
        parts = [text] if isinstance(raw, _List) else [part.strip() for part in text.split(",")]
        for name in parts:
            if not GROUP_PATTERN.fullmatch(name):
                raise item.error(
                    f"{key} {quoted(name)} cannot be a group; allowed: letters, digits, '_', '.', '+', '-'"
                )
        names += parts
    return tuple(dict.fromkeys(names))


def _host(key: str, raw: _Raw) -> str:
    text = _scalar(key, raw)
    if not HOST_PATTERN.fullmatch(text):
        raise raw.error(f"host {quoted(text)} cannot be a node; allowed: one name of letters, digits, '.', '_', '-'")
    return text


def _command(key: str, raw: _Raw) -> str:
    if isinstance(raw, _List):
        raise raw.error("command is a list; allowed: one text, or a block under 'command: |'")
    _present(key, raw)
    if _NO_COMMAND.search(raw.text):
        raise raw.error("command holds a NUL or text that is not UTF-8; allowed: UTF-8 without NUL")
    return raw.text


def _line_of_text(key: str, raw: _Raw, limit: int) -> str:
    text = _scalar(key, raw)
    if len(text) > limit or _CONTROL.search(text):
        raise raw.error(f"{key} is {quoted(text)}; allowed: at most {limit} characters, no control characters")
    return text


def _hostfile(key: str, raw: _Raw) -> str:
    text = _line_of_text(key, raw, MAX_PATH_CHARS)
    return AUTO if text.lower() == AUTO else text


def _array(key: str, raw: _Raw) -> str:
    from wq.formats.array import ArrayError, parse_array

    items = raw.items if isinstance(raw, _List) else (raw,)
    try:
        return str(parse_array(",".join(_present(key, item) for item in items)))
    except ArrayError as error:
        raise raw.error(f"{key}: {error}") from None


def _words(key: str, raw: _Raw) -> Iterator[tuple[str, _Text]]:
    """The words of a list, or of a text with commas between them."""
    for item in raw.items if isinstance(raw, _List) else (raw,):
        for word in _present(key, item).split(","):
            if word.strip():
                yield word.strip(), item


def _jobs(key: str, raw: _Raw) -> tuple[str, ...]:
    found = []
    for word, item in _words(key, raw):
        if len(word) > MAX_JOB_NAME_CHARS or _CONTROL.search(word):
            raise item.error(
                f"{key} is {quoted(word)}; allowed: the id of a job, `last`, or the name of one of your jobs"
            )
        found.append(word)
    if not found or len(found) > MAX_AFTER:
        raise raw.error(f"{key} names {len(found)} jobs; allowed: 1 to {MAX_AFTER}")
    return tuple(dict.fromkeys(found))


def _begin(key: str, raw: _Raw) -> str:
    from wq.formats.when import ALLOWED, begin_s

    text = _scalar(key, raw)
    if begin_s(text, 0.0) is None:
        raise raw.error(f"{key} is {quoted(text)}; allowed: {ALLOWED}")
    return text


def _wait(key: str, raw: _Raw) -> float:
    from wq.formats.duration import ALLOWED, seconds

    text = _scalar(key, raw)
    duration_s = seconds(text)
    if duration_s is None or duration_s > MAX_WAIT_S:
        raise raw.error(f"{key} is {quoted(text)}; allowed: {ALLOWED}, up to 30d")
    return duration_s


def _retry_on(key: str, raw: _Raw) -> tuple[str, ...]:
    found = []
    for word, item in _words(key, raw):
        if word not in RETRY_ON and not (re.fullmatch("[0-9]{1,3}", word) and 1 <= int(word) <= 255):
            raise item.error(f"{key} is {quoted(word)}; allowed: exit statuses from 1 to 255, {', '.join(RETRY_ON)}")
        found.append(word)
    return tuple(dict.fromkeys(found))


def _notify_on(key: str, raw: _Raw) -> tuple[str, ...]:
    found = []
    for word, item in _words(key, raw):
        if word not in NOTIFY_ON:
            raise item.error(f"{key} is {quoted(word)}; allowed: {', '.join(NOTIFY_ON)}")
        found.append(word)
    return tuple(dict.fromkeys(found))


def _time(key: str, raw: _Raw) -> float:
    from wq.formats.duration import ALLOWED, seconds

    text = _scalar(key, raw)
    time_s = seconds(text)
    if time_s is not None and 1 <= time_s <= LONGEST_TIME_S:
        return time_s
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise raw.error(f"{key} is {quoted(text)}, without a unit; write {text}m for minutes, or {text}s, or {text}h")
    if re.fullmatch(r"[0-9]+:[0-9]{2}", text):
        hours, minutes = text.split(":")
        raise raw.error(f"{key} is {quoted(text)}; write {text}:00 for hours and minutes, or {hours}m{minutes}s")
    raise raw.error(f"{key} is {quoted(text)}; allowed: {ALLOWED}; from 1s to {LONGEST_TIME_S / 86400:.0f}d")


def _signal(key: str, raw: _Raw) -> str:
    """The number, and how many seconds before the end it comes: `10@60.0`."""
    from wq.formats.duration import seconds
    from wq.formats.signals import SignalError, number_of

    text = _scalar(key, raw)
    name, at, before = text.partition("@")
    try:
        number = number_of(name)
    except SignalError as error:
        raise raw.error(f"{key}: {error}") from None
    if number in (9, 19):  # KILL and STOP
        raise raw.error(f"{key} is {quoted(text)}, which no program can heed; allowed: one that it can, such as USR1")
    before = f"{before}s" if re.fullmatch(r"[0-9]{1,9}", before) else before
    before_s = seconds(before) if at else SIGNAL_S
    if before_s is None or before_s < 1:
        raise raw.error(f"{key} is {quoted(text)}; allowed: a signal, or SIGNAL@TIME such as USR1@60s or TERM@5m")
    return f"{number}@{before_s!r}"


def _output(key: str, raw: _Raw) -> str:
    from wq.formats.outputs import OutputError, check_template

    text = _line_of_text(key, raw, MAX_PATH_CHARS)
    try:
        check_template(text)
    except OutputError as error:
        raise raw.error(f"{key}: {error}") from None
    return text


_NO_COMMAND = re.compile("[\0\ud800-\udfff]")
# Control characters, and those that end a line or turn the direction of the text round it.
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MEMORY = re.compile(
    r"(?P<number>[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})\s*(?:(?P<unit>[MGT])(?:i?B)?)?", re.IGNORECASE | re.ASCII
)
_GB_IN = {"m": 1 / 1024, "g": 1.0, "t": 1024.0}
_MODES = {str(mode): mode for mode in Mode} | {f"by_{mode.removeprefix('by')}": mode for mode in Mode}
_PRIORITIES = {str(priority): priority for priority in Priority} | {"medium": Priority.MED}
_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_KEPT = {"always": "always", "failed": "failed"}
_ENVS: dict[str, Env] = {"submit": "submit", "login": "login", "clean": "clean"}

_READERS: dict[str, Callable[[str, _Raw], Value]] = {
    "command": _command,
    "mode": lambda key, raw: _choice(key, raw, _MODES),
    "N": lambda key, raw: _count(key, raw, least=1),
    "group": _names,
    "notgroup": _names,
    "host": _host,
    "min_cores": lambda key, raw: _count(key, raw, least=0),
    "min_mem": _gigabytes,
    "X": lambda key, raw: _choice(key, raw, _FLAGS),
    "priority": lambda key, raw: _choice(key, raw, _PRIORITIES),
    "job_name": lambda key, raw: _line_of_text(key, raw, MAX_JOB_NAME_CHARS),
    "hostfile": _hostfile,
    "threads": lambda key, raw: _count(key, raw, least=1),
    "env": lambda key, raw: _choice(key, raw, _ENVS),
    "private": lambda key, raw: _choice(key, raw, _FLAGS),
    "requeue": lambda key, raw: _choice(key, raw, _FLAGS),
    "array": _array,
    "after": _jobs,
    "after_any": _jobs,
    "after_notok": _jobs,
    "after_each": _jobs,
    "begin": _begin,
    "hold": lambda key, raw: _choice(key, raw, _FLAGS),
    "max_fails": lambda key, raw: _count(key, raw, least=0),
    "retries": lambda key, raw: _count(key, raw, least=0),
    "retry_wait": _wait,
    "retry_on": _retry_on,
    "notify": lambda key, raw: _line_of_text(key, raw, MAX_PATH_CHARS),
    "notify_on": _notify_on,
    "time": _time,
    "signal": _signal,
    "output": _output,
    "error": _output,
    "keep_output": lambda key, raw: _choice(key, raw, _KEPT),
}
_ALIASES = {"groups": "group", "not_group": "notgroup", "notgroups": "notgroup", "not_groups": "notgroup"}
