"""What draws tables must not cost the client its start-up."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import wq.cli.render

SOURCES = str(Path(wq.__path__[0]).parent)


def test_drawing_plain_rows_imports_nothing_but_built_ins() -> None:
    names = [module.name for module in pkgutil.iter_modules(wq.cli.render.__path__, "wq.cli.render.")]
    assert "wq.cli.render.jobs" in names
    script = f"""
import sys
sys.path.insert(0, {SOURCES!r})
before = set(sys.modules)
import {", ".join(names)}
from wq.cli.render import jobs
row = dict(id=1, user="a", state="running", priority="med", ncores=1, nhosts=1, name="x", submitted_at=0.0)
row |= dict(started_at=0.0, ended_at=None)
jobs.listing([row], 1.0)
jobs.full([row])
print(*sorted(name for name in set(sys.modules) - before if not name.startswith("wq")))
"""
    run = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["__future__"]
