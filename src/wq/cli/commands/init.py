"""wq init: make a cluster file by looking at the machines."""

from __future__ import annotations

import os
import sys

from wq.cli import stdin
from wq.cli.errors import BAD_INPUT, FAILED, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wq.cli.probing import Look

HELP = (
    "Make a cluster file: look at the machines over ssh (cores, memory, GPUs, python, clock, disks,\n"
    "home), and say what is wrong with which. What cannot be used becomes a comment, with the reason."
)
EXAMPLES = """examples:
  wq init astro0001 astro0004 "astro[0010-0019]"     makes cluster.txt
  wq init -f names.txt -o new.txt                    names from a file, or those of a cluster file
  wq init -f cluster.txt -o -                        look again, and only show what would be written
  wq init localhost                                  this machine

At most 8 logins at a time. Groups are suggested where they tell nodes apart: the letters before the
first digit of the name, the number of cores (c12), gpu. Nothing is left on the machines.
The exit status is 1 if a machine cannot be used."""
HEADER = ("Node", "Cores", "Mem", "GPUs", "Python", "Clock", "Home", "Here", "Trouble")
FACTS = ("cores", "mem_gb", "gpus", "python", "clock_offset_s", "home_shared", "here")
STDOUT = "-"
MOST_TEXT = 1 << 20


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="machines, as the users' ssh knows them; ranges, too")
    parser.add_argument("-f", "--file", metavar="FILE", help="names from a file (`-`: stdin): each line's first word")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="cluster.txt", help="what to write (default cluster.txt; `-`: stdout)"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    hosts = wanted(args)
    if args.output != STDOUT and not args.force and os.path.lexists(args.output):
        raise there_already(args.output)
    from wq.cli import probing, suggest
    from wq.cli.progress import Progress
    from wq.formats import FormatError

    with Progress("looking at machines") as bar:
        looks = probing.look_at(hosts, bar.at)
    try:
        text: str | None = suggest.cluster_text(looks)
    except FormatError:
        text = None
    path = args.output if text is not None and args.output != STDOUT else None
    if text is not None and path is not None:
        write(path, text, force=args.force)
    if args.json:
        import json

        rows = [as_row(look, suggest.groups_of(looks)) for look in looks]
        print(json.dumps({"nodes": rows, "file": path, "text": text}, indent=1))
    else:
        show(looks, text, path)
    return FAILED if any(look.troubles for look in looks) else 0


def wanted(args: argparse.Namespace) -> list[str]:
    """The names, each once, in their order. Raises WqError for what is none."""
    from wq.formats import FormatError
    from wq.formats.clusterfile import parse_host_words

    try:
        hosts = parse_host_words([(word, at) for at, word in enumerate(args.hosts, 1)], source="HOST")
        if args.file is not None:
            named = parse_host_words(first_words(args.file), source=args.file)
            known = {host.lower() for host in hosts}
            hosts += [host for host in named if host.lower() not in known]
    except FormatError as error:
        raise WqError(str(error), BAD_INPUT) from None
    if not hosts:
        raise WqError("init: no machine is named; `wq init HOST...`, or `-f FILE` with names", BAD_INPUT)
    return hosts


def first_words(path: str) -> list[tuple[str, int]]:
    """The first word of each line, with its number; comments and blank lines are left out."""
    try:
        if path == "-":
            text = stdin.opened().read(MOST_TEXT)
        else:
            with open(path, encoding="utf-8-sig") as file:
                text = file.read(MOST_TEXT)
    except UnicodeDecodeError:
        raise WqError(f"{path}: not UTF-8", BAD_INPUT) from None
    except OSError as error:
        raise WqError(f"{path}: {error.strerror}", BAD_INPUT) from None
    if len(text) >= MOST_TEXT:
        raise WqError(f"{path}: too large; at most {MOST_TEXT} characters", BAD_INPUT)
    lines = [(line.partition("#")[0].split(), at) for at, line in enumerate(text.split("\n"), 1)]
    return [(words[0], at) for words, at in lines if words]


def there_already(path: str) -> WqError:
    return WqError(f"{path} is there already; --force writes over it, -o names another one", BAD_INPUT)


def write(path: str, text: str, *, force: bool) -> None:
    """All of it or nothing; over what is there only by force."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = f"{path}.{os.getpid()}.new" if force else path
    try:
        with os.fdopen(os.open(target, flags, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            os.replace(target, path)
    except FileExistsError:
        raise there_already(target) from None
    except OSError as error:
        raise WqError(f"{path} cannot be written: {error.strerror}") from None


# ---- what is shown


def show(looks: list[Look], text: str | None, path: str | None) -> None:
    """The table; with the cluster file on stdout, the table stands on stderr."""
    from wq.cli.link import remark

    lines = "\n".join(table_of(looks))
    if text is None:
        print(lines)
        remark("none of these machines can be used; nothing was written")
    elif path is None:
        print(lines, file=sys.stderr)
        print(text, end="")
    else:
        print(lines)
        usable = sum(not look.troubles for look in looks)
        remark(f"written to {path}: {usable} of {len(looks)} machines; look it over, then `wq serve {path}`")


def table_of(looks: list[Look]) -> list[str]:
    from wq.cli.probing import dotted
    from wq.cli.render.sanitise import printable
    from wq.cli.render.table import number, table

    body = []
    for look in looks:
        facts = look.facts
        said = printable("; ".join([*look.troubles, *look.remarks])) or "-"
        if facts is None:
            body.append((look.host, *["-"] * 7, said))
            continue
        body.append(
            (
                look.host,
                str(facts.ncores),
                number(facts.mem_gb),
                str(facts.ngpus),
                dotted(facts.python),
                f"{facts.clock_offset_s:+.1f}s",
                "-" if facts.home is None else "shared" if facts.home else "own",
                facts.here or "-",
                said,
            )
        )
    return table(HEADER, body, right={1, 2, 3})


def as_row(look: Look, groups: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """For programs; what is not known is null."""
    from wq.cli.probing import dotted

    facts = look.facts
    row: dict[str, Any] = dict.fromkeys(FACTS)
    if facts is not None:
        offset_s = round(facts.clock_offset_s, 3)
        known = (facts.ncores, facts.mem_gb, facts.ngpus, dotted(facts.python), offset_s, facts.home, facts.here)
        row = dict(zip(FACTS, known, strict=True))
    return {
        "host": look.host,
        **row,
        "groups": list(groups.get(look.host, ())),
        "troubles": list(look.troubles),
        "remarks": list(look.remarks),
    }
