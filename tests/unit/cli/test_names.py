"""What the command line gives a name is used somewhere: a constant that nothing reads would only mislead."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import wq

ROOT = Path(wq.__path__[0])
TREES = {path: ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
OF_COMMANDS = {"HELP", "EXAMPLES", "DASHED"}  # which wq.cli.options reads from whichever command it is


def constants(tree: ast.Module) -> Iterator[str]:
    """The names in capitals that a module gives at its top."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        yield from (name for name in found if name.isupper())


def read_in(tree: ast.Module) -> set[str]:
    """What is read by its bare name."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def read_from(tree: ast.Module) -> set[tuple[str, str]]:
    """(module, name) of what is read of other modules, by the last part of their names."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add((node.value.id, node.attr))
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {(node.module.rpartition(".")[2], alias.name) for alias in node.names}
    return found


def test_every_constant_is_read() -> None:
    elsewhere = {pair for tree in TREES.values() for pair in read_from(tree)}
    dead = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, tree in TREES.items()
        if path.is_relative_to(ROOT / "cli")
        for name in constants(tree)
        if name not in read_in(tree) | OF_COMMANDS and (path.stem, name) not in elsewhere
    ]
    assert dead == []
