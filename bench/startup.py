"""What the start of a command costs, beside an empty Python, measured in turn: `python -m bench.startup`.

The unit is `python3 -I -S -c pass`. First what some imports cost, those that the common commands use and those that
they do without; then the commands, warm, on an idle queue, and the other ways to start one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import measure
from bench.measure import Site, say

PYTHON = "python3 -I -S -c pass"
USED = ("os", "_socket", "_json", "__future__", "resource", "select")
DONE_WITHOUT = ("socket", "json", "argparse", "signal", "re", "typing", "dataclasses", "struct", "importlib", "yaml")
OURS = ("wq.cli.main", "wq.protocol.wire", "wq.cli.connection", "wq.cli.commands.ls", "wq.cli.commands.sub")
# What pip makes of a console script, in the environment of which it is one.
CONSOLE = "import re, sys\nfrom wq.cli.main import main\nsys.argv[0] = 'wq'\nsys.exit(main())"


def with_import(site: Site, name: str) -> measure.Run:
    program = f"import sys; sys.path.append({str(packages(site))!r}); import {name}"
    return lambda: site.time([site.python, "-I", "-S", "-c", program])


def packages(site: Site) -> Path:
    """Where the wq that is measured is, with what it needs."""
    return site.bin.parent / "site"


def imports(site: Site, rounds: int) -> None:
    runs: dict[str, measure.Run] = {PYTHON: lambda: site.time([site.python, "-I", "-S", "-c", "pass"])}
    runs |= {f"+ {name}": with_import(site, name) for name in (*USED, *OURS)}
    runs |= {f"without: {name}": with_import(site, name) for name in DONE_WITHOUT}
    measure.head("Imports")
    say(*measure.table(measure.in_turn(rounds, runs, warm=2), [PYTHON], unit="ms", digits=1))


def commands(site: Site, rounds: int) -> None:
    """The commands, and other ways to start `wq ls`: as a console script, and without files that hold its code."""
    site.serve("localhost 2 8\n")
    path = f"import sys; sys.path.append({str(packages(site))!r})\n"
    script = site.user.write(site.fresh() / "console", path + CONSOLE)
    source = site.base.directory("source")
    copied = [file for file in packages(site).rglob("*.py") if file.is_relative_to(packages(site) / "wq")]
    for file in copied:
        to = source / file.relative_to(packages(site))
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(file.read_bytes())
    uncompiled = f"import sys; sys.path.append({str(source)!r}); from wq.cli.main import script; script()"
    runs: dict[str, measure.Run] = {
        PYTHON: lambda: site.time([site.python, "-I", "-S", "-c", "pass"]),
        "python3 -c pass": lambda: site.time([site.python, "-c", "pass"]),
        "sh -c 'exec python3 -I -S -c pass'": lambda: site.time(["sh", "-c", f"exec {site.python} -I -S -c pass"]),
        "wq --version": lambda: site.time([site.wq, "--version"]),
        "wq ls": lambda: site.time([site.wq, "ls"]),
        "wq stat": lambda: site.time([site.wq, "stat"]),
        "wq sub -b -c true": lambda: site.time([site.wq, "sub", "-b", "-c", "true"], cwd=place),
        "wq sub -c true": lambda: site.time([site.wq, "sub", "-c", "true"]),
        "wq ls, as a console script": lambda: site.time([site.python, script, "ls"]),
        "wq ls, no .pyc can be written": lambda: site.time([site.python, "-I", "-S", "-B", "-c", uncompiled, "ls"]),
    }
    place = site.fresh()
    measure.head("Commands")
    say(*measure.table(measure.in_turn(rounds, runs, warm=2), [PYTHON], unit="ms", digits=1))


def main() -> int:
    args = measure.arguments("startup", __doc__, rounds=25).parse_args()
    rounds = min(args.rounds, 3) if args.small else args.rounds
    say(f"bench.startup: {measure.machine()}")
    with Site() as site:
        imports(site, rounds)
        commands(site, rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
