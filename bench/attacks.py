"""Attacks on wq, and what became of each: the tests of every attack, sixteen regression checks, fuzzing, and abuse.

    python -m bench.attacks                        all, with a million fuzzed frames: about half an hour
    python -m bench.attacks --small                each part, but few frames and few rounds
    python -m bench.attacks --only tests           the two tables of tests alone

Three users of its own (useradd), a server that is not root's, nodes on loopback. It ends with 1 if any attack succeeds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from pathlib import Path

from bench import measure
from bench.measure import say
from tests.attacks import ATTACKS, SIXTEEN

ROOT = Path(__file__).parents[1]
KINDS = {"C": "breaks the promise", "H": "hurts others", "M": "a nuisance"}
PARTS = ("tests", "fuzz", "abuse")


def outcomes(ids: list[str]) -> tuple[dict[str, str], str]:
    """The outcome of each test (as tests/a/b.py::Class::name[case]), and the last line of pytest."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1"]
        argv += ["-n", "auto", "--maxprocesses", "4", "--dist", "loadgroup", f"--junit-xml={report}", *ids]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        if not report.exists():
            sys.exit(f"bench.attacks: pytest failed:\n{done.stdout}{done.stderr}")
        found = {}
        for case in xml.parse(report).getroot().iter("testcase"):
            file = case.get("file", "")
            within = case.get("classname", "").removeprefix(file.removesuffix(".py").replace("/", ".")).strip(".")
            name = "::".join(part for part in (file, within.replace(".", "::"), case.get("name", "")) if part)
            kinds = {child.tag for child in case}
            found[name] = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
    return found, (done.stdout.strip().splitlines() or [""])[-1]


def belongs(test: str, selected: str) -> bool:
    """Whether a test is among those that this id selects."""
    return test == selected or test.startswith((f"{selected}::", f"{selected}[", f"{selected}/"))


def verdict(found: dict[str, str], ids: tuple[str, ...]) -> tuple[str, str, bool]:
    """(result, how many tests, whether all is well) of the tests that these ids select."""
    mine = [what for test, what in found.items() if any(belongs(test, selected) for selected in ids)]
    passed, failed = mine.count("passed"), mine.count("failed")
    if failed:
        return "SUCCEEDED", f"{failed} of {len(mine)} failed", False
    if not passed:
        return "not tried", f"{len(mine)} skipped", False
    skipped = f", {mine.count('skipped')} skipped" if "skipped" in mine else ""
    return "met", f"{passed}{skipped}", True


def run_tests() -> bool:
    """The table of attacks, and that of the sixteen. True if all were met."""
    ids = sorted({test for attack in ATTACKS for test in attack.tests} | {SIXTEEN})
    outermost = [one for one in ids if not any(one != other and belongs(one, other) for other in ids)]
    began = time.monotonic()
    found, last = outcomes(outermost)
    cells: list[list[str]] = []
    well = True
    for attack in ATTACKS:
        result, tests, good = verdict(found, attack.tests)
        cells.append([attack.name, KINDS[attack.how_bad], result, tests])
        well = well and good
    say(*measure.grid(["attack", "it", "result", "tests"], cells), "")
    checks = {test.split("::")[-1].split("[")[0] for test in found if test.startswith(f"{SIXTEEN}::")}
    cells = []
    for name in sorted(checks, key=lambda name: int(name.split("_")[1])):
        result, tests, good = verdict(found, (f"{SIXTEEN}::{name}",))
        cells.append([name.removeprefix("test_").replace("_", " "), result, tests])
        well = well and good
    say(*measure.grid(["what such a queue was seen to do", "result", "tests"], cells), "")
    say(f"{last} ({time.monotonic() - began:.0f} s)", "")
    return well


def run_script(*words: str) -> bool:
    """Another script of bench/, which prints its own table."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT)
    say("")
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.attacks", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--small", action="store_true", help="few frames, few rounds")
    parser.add_argument("--frames", type=int, default=1_000_000, help="fuzzed frames (default a million)")
    args = parser.parse_args()
    parts = PARTS if args.only is None else (args.only,)
    say(f"bench.attacks: {measure.machine()}", "")
    well = True
    if "tests" in parts:
        well = run_tests()
    if "fuzz" in parts:
        frames = 20_000 if args.small else args.frames
        well = run_script("bench.fuzz", "--frames", str(frames), "--seed", "1") and well
    if "abuse" in parts:
        well = run_script("bench.abuse", *(["--small"] if args.small else [])) and well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
