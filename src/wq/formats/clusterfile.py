"""The cluster file: lines of `host ncores mem [groups]`, read into the nodes of the cluster."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from wq.core.cluster import GROUP_PATTERN, HOST_PATTERN, Node
from wq.core.job import HostName
from wq.formats import FormatError, check_size, quoted

MAX_NODES = 10_000
MAX_NCORES = 4096
LINE_FORM = "a line is: host ncores mem(GB) [group,group...]"
HOST_FORM = "allowed: letters, digits, '.', '_', '-', and ranges like n[1-3,7] without spaces"

# ClusterShell sees digits and '-' alone: to it '@', '%', '!', '&' and '/' would mean something.
_RANGE = r"[0-9]{1,9}(?:-[0-9]{1,9})?"
_BRACKET = re.compile(rf"\[({_RANGE}(?:,{_RANGE})*)\]")
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line that is not empty, without its comment."""

    words: list[str]
    source: str
    number: int

    def error(self, problem: str) -> FormatError:
        return FormatError(problem, source=self.source, line=self.number)


def parse_cluster_file(text: str, *, source: str) -> tuple[Node, ...]:
    """The nodes of a cluster file, in its order; memory in gigabytes. Raises FormatError."""
    check_size(text, source=source)
    nodes: list[Node] = []
    first_line: dict[str, int] = {}
    for line in _lines(text, source):
        hosts = _hosts(line, room=MAX_NODES - len(nodes))
        ncores, mem_gb, groups = _ncores(line), _mem_gb(line), _groups(line)
        for host in hosts:
            machine = host.lower()  # Astro1 and astro1 are one machine, and its cores must not count twice
            if machine in first_line:
                raise line.error(f"{host} is already named on line {first_line[machine]}; a host is named once")
            first_line[machine] = line.number
            nodes.append(Node(host=HostName(host), ncores=ncores, mem_gb=mem_gb, groups=groups))
    if not nodes:
        raise FormatError(f"no node is named here; {LINE_FORM}", source=source, line=1)
    return tuple(nodes)


def parse_host_words(words: Iterable[tuple[str, int]], *, source: str) -> list[str]:
    """The hosts that words mean, each with its line: names and ranges as in a cluster file; each host once, in order.

    Raises FormatError.
    """
    hosts: dict[str, str] = {}
    for word, number in words:
        line = _Line(words=[word], source=source, number=number)
        for host in _hosts(line, room=MAX_NODES):
            hosts.setdefault(host.lower(), host)
        if len(hosts) > MAX_NODES:
            raise line.error(f"there are too many nodes; at most {MAX_NODES} in all")
    return list(hosts.values())


def _lines(text: str, source: str) -> list[_Line]:
    numbered = enumerate(text.removeprefix("\ufeff").split("\n"), start=1)
    lines = [_Line(words=line.partition("#")[0].split(), source=source, number=number) for number, line in numbered]
    for line in lines:
        if 0 < len(line.words) < 3:
            found = " ".join(line.words)
            raise line.error(f"{quoted(found)} has too few words; {LINE_FORM}")
        if extra := line.words[4:]:
            raise line.error(_extra_words(extra[0]))
    return [line for line in lines if line.words]


def _extra_words(word: str) -> str:
    if "=" in word:
        return f"options of a node, such as {quoted(word)}, are not known to this version; {LINE_FORM}"
    return f"{quoted(word)} is one word too many; {LINE_FORM}, with no spaces between groups"


def _ncores(line: _Line) -> int:
    word = line.words[1]
    if re.fullmatch(r"[0-9]{1,18}", word) and 1 <= int(word) <= MAX_NCORES:
        return int(word)
    raise line.error(f"ncores is {quoted(word)}; allowed: a whole number from 1 to {MAX_NCORES}")


def _mem_gb(line: _Line) -> float:
    word = line.words[2]
    if _NUMBER.fullmatch(word) and float(word) > 0 and math.isfinite(float(word)):
        return float(word)
    raise line.error(f"mem is {quoted(word)}; allowed: a number of gigabytes above 0, such as 48.5, without a unit")


def _groups(line: _Line) -> tuple[str, ...]:
    if len(line.words) < 4:
        return ()
    word = line.words[3]
    names = word.split(",")
    for name in names:
        if "=" in name:
            raise line.error(_extra_words(word))
        if not GROUP_PATTERN.fullmatch(name):
            allowed = "letters, digits, '_', '.', '+', '-', at most 64, with a comma between two groups"
            raise line.error(f"group {quoted(name)} cannot be a name; allowed: {allowed}")
    return tuple(dict.fromkeys(names))


def _hosts(line: _Line, *, room: int) -> list[str]:
    """The hosts that the first word of a line means, at most `room` of them."""
    word = line.words[0]
    literals_and_ranges = _BRACKET.split(word)
    literals, ranges = literals_and_ranges[::2], literals_and_ranges[1::2]
    if not HOST_PATTERN.fullmatch("0".join(literals)):  # any digit, in the place of each range
        raise line.error(f"host {quoted(word)} cannot be a name; {HOST_FORM}")
    if math.prod(_range_size(line, text) for text in ranges) > room:
        raise line.error(f"with {quoted(word)} there are too many nodes; at most {MAX_NODES} in all")
    hosts = _expand(literals, ranges) if ranges else [word]
    for host in hosts:
        if not HOST_PATTERN.fullmatch(host):
            raise line.error(f"host {quoted(host)} cannot be a name; {HOST_FORM}")
    return hosts


def _range_size(line: _Line, text: str) -> int:
    """How many numbers `1-3,7` names, without making them."""
    size = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        last = last or first
        if int(first) > int(last):
            raise line.error(f"range {quoted(part)} runs backwards; write {last}-{first}")
        padded = any(end.startswith("0") and end != "0" for end in (first, last))
        if padded and len(first) != len(last):
            raise line.error(f"range {quoted(part)} is ambiguous; write both ends with equally many digits")
        size += int(last) - int(first) + 1
    return size


def _expand(literals: list[str], ranges: list[str]) -> list[str]:
    """The names in the order that is written: range by range, since ClusterShell would sort and fold them."""
    from ClusterShell.NodeSet import RangeSet  # type: ignore[import-untyped, unused-ignore]

    numbers = [[number for part in text.split(",") for number in RangeSet(part).striter()] for text in ranges]
    words = (itertools.zip_longest(literals, chosen, fillvalue="") for chosen in itertools.product(*numbers))
    return ["".join(itertools.chain.from_iterable(word)) for word in words]
