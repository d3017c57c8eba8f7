"""What wq stands on is pinned, and each of it is justified in docs/security.md."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def wanted(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """Each dependency, with the oldest version that is good enough."""
    found = [re.fullmatch(r"([\w-]+) >=([\d.]+)", text) for text in texts]
    assert all(found)
    return {one[1]: numbers(one[2]) for one in found if one}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = wanted(PROJECT["dependencies"])
EXTRA = {extra: wanted(texts) for extra, texts in PROJECT["optional-dependencies"].items() if extra != "test"}


def test_each_dependency_is_pinned_and_no_other() -> None:
    every = NEEDED | {name: oldest for some in EXTRA.values() for name, oldest in some.items()}
    assert PINNED.keys() == every.keys()
    assert all(numbers(PINNED[name]) >= oldest for name, oldest in every.items())


def test_what_is_not_needed_is_tested_all_the_same() -> None:
    tested = set(PROJECT["optional-dependencies"]["test"])
    assert all(set(PROJECT["optional-dependencies"][extra]) <= tested for extra in EXTRA)


@pytest.mark.parametrize("name", PINNED)
def test_each_is_justified_with_its_version(name: str) -> None:
    assert f"| {name} {PINNED[name]} |" in (ROOT / "docs" / "security.md").read_text()


@pytest.mark.parametrize("name", NEEDED)
def test_it_brings_nothing_else_along(name: str) -> None:
    needs = [need for need in metadata.requires(name) or [] if "extra ==" not in need]
    assert {re.split(r"[^\w-]", need)[0].lower() for need in needs} <= {one.lower() for one in PINNED}


def test_the_nodes_need_none_of_it() -> None:
    text = (ROOT / "src" / "wq" / "node" / "shepherd.py").read_text()
    assert not [
        name
        for name in ("yaml", "msgspec", "ClusterShell", "matplotlib", "wq")
        if re.search(rf"^\s*(import|from) {name}\b", text, re.M)
    ]
