"""What wq is measured against: making, finding and driving it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bench.measure import HERE, Failed, Row, Site
from tests.e2e import rig


def venv(base: rig.Base, python: str, *packages: str) -> Path | str:
    """The Python of a virtual environment with these packages, made with pip; why there is none, in words."""
    path = base.directory("venv")
    with (base.path / "pip.log").open("ab") as log:
        for argv in ([python, "-m", "venv", path], [path / "bin" / "python", "-m", "pip", "install", "-q", *packages]):
            try:
                done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=300)
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"pip cannot install {' '.join(packages)}: {error}"
            if done.returncode:
                return f"pip cannot install {' '.join(packages)}: exit {done.returncode}"
    return path / "bin" / "python"


class HyperQueue:
    """HyperQueue as PyPI has it: a Python package that runs server and worker in one process (`bench/hq.py`)."""

    def __init__(self, site: Site, python: Path, cores: int) -> None:
        self.site = site
        script = site.base.directory("hq") / "hq.py"
        shutil.copyfile(HERE / "hq.py", script)
        home = site.fresh()
        self.process = rig.popen_as(site.user, [python, script, home, str(cores)], stdin=subprocess.PIPE, cwd=home)
        self.version = self.answer()["version"]

    def answer(self) -> Row:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(b"{"):
                found: Row = json.loads(line)
                return found
        assert self.process.stderr is not None
        raise Failed(f"HyperQueue: {self.process.stderr.read().decode(errors='replace')}")

    def run(self, argv: Sequence[str], count: int, *, files: bool) -> float:
        """Seconds for so many tasks, from the submission to the last end."""
        assert self.process.stdin is not None
        cwd = self.site.fresh()
        wanted = {"argv": list(argv), "count": count, "files": files, "cwd": str(cwd)}
        self.process.stdin.write(json.dumps(wanted).encode() + b"\n")
        self.process.stdin.flush()
        return float(self.answer()["seconds"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hyperqueue(site: Site, cores: int) -> HyperQueue | str:
    """HyperQueue, with a worker of so many cores, or why there is none."""
    python = venv(site.base, site.python, "hyperqueue")
    if isinstance(python, str):
        return python
    try:
        return HyperQueue(site, python, cores)
    except Failed as error:
        return str(error)


def missing(program: str, package: str) -> str | None:
    """Why a peer is skipped; None if it is there."""
    return None if shutil.which(program, path=rig.SYSTEM_PATH) else f"not installed (apt-get install {package})"


def static_noop(base: rig.Base) -> Path | str:
    """A program that does nothing and needs no dynamic loader, or why there is none."""
    where = base.directory("noop")
    source = where / "noop.c"
    source.write_text("int main(void) { return 0; }\n")
    compiler = shutil.which("cc")
    if compiler is None:
        return "no C compiler (apt-get install gcc libc6-dev)"
    done = subprocess.run(
        [compiler, "-O2", "-static", "-o", where / "noop", source], capture_output=True, text=True, timeout=60
    )
    return where / "noop" if done.returncode == 0 else f"cc -static: {done.stderr.strip()}"
