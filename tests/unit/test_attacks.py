"""The table of attacks names tests that there are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.attacks import ATTACKS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("test", sorted({test for attack in ATTACKS for test in attack.tests}))
def test_every_test_of_an_attack_is_there(test: str) -> None:
    path, *names = test.split("::")
    file = ROOT / path
    assert file.exists()
    body: list[ast.stmt] = ast.parse(file.read_text()).body if names else []
    for name in names:
        (found,) = [each for each in body if isinstance(each, (ast.ClassDef, ast.FunctionDef)) and each.name == name]
        body = found.body


def test_all_rows_of_the_design_are_in_it() -> None:
    assert [attack.how_bad for attack in ATTACKS].count("C") == 8
    assert [attack.how_bad for attack in ATTACKS].count("H") == 6
    assert [attack.how_bad for attack in ATTACKS].count("M") >= 3
