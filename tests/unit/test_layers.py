"""The house of docs: imports point down, and siblings never meet."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "wq"
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "formats": {"core"},
    "protocol": {"core"},
    "store": {"core"},
    "backends": {"core"},
    "node": set(),
    "server": {"store", "protocol", "formats", "backends", "core"},
    "simulate": {"formats", "core"},
    "launcher": {"store", "backends", "protocol", "node", "formats", "core"},
}


def imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, wherever in it they stand."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("wq.") and name.count(".") > 1}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_from_those_below_it(room: str) -> None:
    for path in (SOURCE / room).rglob("*.py"):
        assert rooms(path) <= MAY_IMPORT[room] | {room}, path


def test_every_room_has_its_place() -> None:
    assert {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()} == {*MAY_IMPORT, "cli"}


def test_the_core_knows_no_clock_dice_files_or_sockets() -> None:
    outside = {"time", "random", "secrets", "os", "socket", "logging", "sqlite3", "pathlib", "subprocess", "asyncio"}
    for path in (SOURCE / "core").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & outside, path


def test_the_shepherd_is_the_standard_library_alone() -> None:
    named = {name.split(".")[0] for name in imports(SOURCE / "node" / "shepherd.py")}
    assert named <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_opens_with_a_sentence(path: Path) -> None:
    sentence = ast.get_docstring(ast.parse(path.read_text()))
    assert sentence is not None
    assert sentence.split("\n\n")[0].rstrip()[-1] in ".:?", sentence
