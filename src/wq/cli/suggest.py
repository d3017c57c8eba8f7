"""A cluster file from what the machines were found to be: what can be used as lines, the rest as comments.

Groups are suggested where they tell nodes apart: the letters before the first digit of a name (`astro` of astro0010),
if at least two nodes share them; `c12` for 12 cores; `gpu`. A group that all nodes would have is left out.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from wq.cli.probing import Look
from wq.cli.render.sanitise import printable
from wq.cli.render.table import number
from wq.core.cluster import GROUP_PATTERN
from wq.formats import MAX_TEXT_BYTES, FormatError
from wq.formats.clusterfile import parse_cluster_file, parse_host_words

LONGEST_REASON = 240
SHORT_REASON = 40  # where so many nodes are in trouble that the file would be too large
PREFIX = re.compile(r"([A-Za-z_][A-Za-z_-]*)[0-9]")
HEAD = """\
# Made by `wq init`. Look it over: the order counts (nodes are filled in it), and groups are yours to choose.
# host ncores mem(GB) groups
"""

Row = tuple[str, str, str, str, str]  # host, ncores, mem, groups, comment


def groups_of(looks: Sequence[Look]) -> dict[str, tuple[str, ...]]:
    """The groups that are suggested for those that can be used."""
    usable = [look for look in looks if not look.troubles]
    all_of = {look.host: candidates(look) for look in usable}
    count = Counter(itertools.chain.from_iterable(all_of.values()))
    prefixes = {look.host: prefix(look.host) for look in usable}
    found = {}
    for host, names in all_of.items():
        telling = [name for name in names if count[name] < len(usable)]
        found[host] = tuple(name for name in telling if name != prefixes[host] or count[name] > 1)
    return found


def candidates(look: Look) -> tuple[str, ...]:
    assert look.facts is not None
    named = prefix(look.host)
    names = [named, f"c{look.facts.ncores}", "gpu" if look.facts.ngpus else None]
    return tuple(dict.fromkeys(name for name in names if name is not None))


def prefix(host: str) -> str | None:
    found = PREFIX.match(host.partition(".")[0])
    name = found[1].rstrip("-_") if found is not None else ""
    return name if GROUP_PATTERN.fullmatch(name) else None


def cluster_text(looks: Sequence[Look]) -> str:
    """The text of a cluster file, which is what the parser makes of it. Raises FormatError if no node can be used."""
    groups = groups_of(looks)
    text = written(looks, groups, LONGEST_REASON)
    if len(text.encode()) > MAX_TEXT_BYTES:
        text = written(looks, groups, SHORT_REASON)
    parsed = [(node.host, node.ncores, node.mem_gb, node.groups) for node in parse_cluster_file(text, source="wq init")]
    meant = [
        (look.host, look.facts.ncores, look.facts.mem_gb, groups[look.host])
        for look in looks
        if look.facts is not None and not look.troubles
    ]
    assert parsed == meant, "what is written would be read otherwise"
    return text


def written(looks: Sequence[Look], groups: dict[str, tuple[str, ...]], longest: int) -> str:
    rows: list[Row | str] = []
    for alike, run in itertools.groupby(looks, lambda look: row_of(look, groups, longest)):
        hosts = [look.host for look in run]
        if isinstance(alike, str):
            rows += [alike] * len(hosts)
        else:
            rows += [(host, *alike) for host in folded(hosts)]
    lines = [row for row in rows if not isinstance(row, str)]
    widths = [max((len(row[column]) for row in lines), default=0) for column in range(4)]
    return HEAD + "".join(f"{row if isinstance(row, str) else aligned(row, widths)}\n" for row in rows)


def row_of(look: Look, groups: dict[str, tuple[str, ...]], longest: int) -> tuple[str, str, str, str] | str:
    """What stands behind the name; or, for a node in trouble, the comment that stands for it."""
    facts = look.facts
    if facts is None or look.troubles:
        return f"# {look.host}: {cut(look.troubles, longest)}"
    noted = [f"{facts.ngpus} GPU{'s' if facts.ngpus > 1 else ''}"] if facts.ngpus else []
    comment = cut([*noted, *look.remarks], longest)
    return str(facts.ncores), number(facts.mem_gb), ",".join(groups[look.host]), comment


def cut(sentences: Sequence[str], longest: int) -> str:
    text = printable("; ".join(sentences))
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def aligned(row: Row, widths: Sequence[int]) -> str:
    host, ncores, mem, groups, comment = row
    line = f"{host:<{widths[0]}} {ncores:>{widths[1]}} {mem:>{widths[2]}}"
    if widths[3]:
        line += f" {groups:<{widths[3]}}"
    return f"{line}  # {comment}" if comment else line.rstrip()


def folded(hosts: list[str]) -> list[str]:
    """The names as one range, if that means the same hosts in the same order; else as they are."""
    from ClusterShell.NodeSet import NodeSet  # type: ignore[import-untyped, unused-ignore]

    if len(hosts) == 1:
        return hosts
    word = str(NodeSet.fromlist(hosts))
    try:
        same = parse_host_words([(word, 1)], source="") == hosts
    except FormatError:
        same = False
    return [word] if same else hosts
