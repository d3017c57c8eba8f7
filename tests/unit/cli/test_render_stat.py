"""The usage bars, as people know them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.cli.render.colour import Style
from wq.cli.render.sanitise import printable
from wq.cli.render.stat import bars

ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()))


def node(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "host": "astro0010",
        "ncores": 12,
        "used": [],
        "mem_gb": 48.0,
        "groups": ["gen5", "gen45"],
        "state": "online",
        "reason": "",
        "since": None,
        "by": "",
    }
    assert changes.keys() <= row.keys()
    return row | changes


SMALL = node(host="astro0016", ncores=4, mem_gb=8, groups=["gen1", "slow"], state="offline")


def test_the_example_of_the_specification_character_by_character() -> None:
    assert bars([node(used=[*range(8)]), SMALL]) == [
        "usage           host      mem groups",
        "[********....]  astro0010  48 gen5,gen45",
        "[XXXX]          astro0016   8 gen1,slow",
        "Used/avail/active cores: 8/4/12 (66.7% load, 4 are offline)",
    ]


def test_without_nodes_there_is_no_load() -> None:
    assert bars([]) == ["usage  host mem groups", "Used/avail/active cores: 0/0/0 (0.0% load)"]


@pytest.mark.parametrize(
    ("state", "used", "bar", "summary"),
    [
        ("online", [], "[....]", "0/4/4 (0.0% load)"),
        ("online", [1, 3], "[**..]", "2/2/4 (50.0% load)"),
        ("drain", [1], "[*XXX]", "1/0/1 (100.0% load, 3 are offline)"),
        ("offline", [1], "[XXXX]", "0/0/0 (0.0% load, 4 are offline)"),
        ("online", [0, 1, 2, 3, 4, 5], "[****]", "4/0/4 (100.0% load)"),
    ],
)
def test_the_summary_adds_up_what_the_bars_show(state: str, used: list[int], bar: str, summary: str) -> None:
    lines = bars([node(ncores=4, state=state, used=used)])
    assert lines[1].split()[0] == bar
    assert lines[-1] == f"Used/avail/active cores: {summary}"


def test_the_server_may_have_counted_more_than_is_shown() -> None:
    lines = bars([SMALL], {"used": 1, "avail": 2, "active": 3, "offline": 0})
    assert lines[-1] == "Used/avail/active cores: 1/2/3 (33.3% load)"


def test_memory_is_aligned_right_with_no_more_digits_than_it_has() -> None:
    lines = bars([node(mem_gb=mem_gb) for mem_gb in (48.0, 48.5, 8, 1024.0, 0.25)])
    assert [line[26:30] for line in lines[:-1]] == [" mem", "  48", "48.5", "   8", "1024", "0.25"]


def test_a_node_of_many_cores_has_as_many_characters() -> None:
    lines = bars([node(ncores=192, used=[*range(100)]), node()])
    assert lines[1].startswith("[" + "*" * 100 + "." * 92 + "]  astro0010")
    assert {line.index("astro0010") for line in lines[1:3]} == {lines[0].index("host")}


@given(ANY_TEXT, st.lists(ANY_TEXT))
def test_there_are_four_columns_whatever_is_in_names(host: str, groups: list[str]) -> None:
    for line in bars([node(host=host, groups=groups), node(groups=[])])[:-1]:
        assert len(line.split()) == 4
        assert printable(line) == line


def test_colour_changes_nothing_but_the_colour() -> None:
    nodes = [node(used=[0]), node(state="drain", used=[0]), SMALL]
    painted = bars(nodes, style=Style(enabled=True))
    assert all("\x1b" in line for line in painted[1:4])
    assert [re.sub(r"\x1b\[[0-9]*m", "", line) for line in painted] == bars(nodes)


class TestAWindow:
    MIXED = (
        node(ncores=128, used=[1]),
        node(host="b", ncores=128, used=[*range(127)]),
        node(host="c", ncores=64, state="offline"),
        node(host="d", ncores=6, used=[*range(5)], state="drain"),
    )

    def test_that_is_wide_enough_changes_nothing(self) -> None:
        assert bars(self.MIXED, window=200) == bars(self.MIXED)

    def test_that_is_too_narrow_makes_a_character_of_many_cores_and_says_how_many_are_used(self) -> None:
        assert bars(self.MIXED, window=60) == [
            "usage(6/char)                used host      mem groups",
            "[*.....................]    1/128 astro0010  48 gen5,gen45",
            "[*********************.]  127/128 b          48 gen5,gen45",
            "[XXXXXXXXXXX]                0/64 c          48 gen5,gen45",
            "[*]                           5/6 d          48 gen5,gen45",
            bars(self.MIXED)[-1],
        ]

    @given(st.integers(1, 200), st.lists(st.integers(0, 300), min_size=1, max_size=5))
    def test_lines_fit_and_bars_are_never_rounded_to_none_or_all(self, window: int, ncores: list[int]) -> None:
        nodes = [node(ncores=n, used=[*range(used)]) for n in ncores for used in {0, 1, n // 2, max(n - 1, 0), n}]
        head, *lines, foot = bars(nodes, window=window)
        assert foot == bars(nodes)[-1]
        assert max(map(len, [head, *lines])) <= max(window, 54)
        for one, line in zip(nodes, lines, strict=True):
            bar = line.split()[0]
            used = min(len(one["used"]), one["ncores"])
            assert ("*" in bar) is (used > 0)
            assert "." in bar or used == one["ncores"] or len(bar) == 3

    def test_colour_changes_nothing_but_the_colour(self) -> None:
        painted = bars(self.MIXED, style=Style(enabled=True), window=60)
        assert [re.sub(r"\x1b\[[0-9]*m", "", line) for line in painted] == bars(self.MIXED, window=60)
