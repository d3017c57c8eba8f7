"""The nodes, with who said what about them."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wq.cli.render.colour import Style
from wq.cli.render.nodes import nodes
from wq.cli.render.sanitise import printable

ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()))
NOW_S = 10_000.0


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


DOWN = node(host="astro0016", state="offline", reason="new  disk\n\x1b[2J", since=NOW_S - 7505, by="anze", groups=[])


def test_the_reason_stands_last_and_all_else_is_one_word() -> None:
    assert nodes([node(used=[0, 1], mem_gb=48.5), DOWN], NOW_S) == [
        "Node      State   Cores Used Mem  Groups     Since    By   Reason",
        "astro0010 online  12    2    48.5 gen5,gen45 -        -    -",
        "astro0016 offline 12    0    48   -          2h05m05s anze new  disk\\n\\x1b[2J",
    ]


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_no_text_moves_the_reason_out_of_its_column(host: str, by: str, group: str, reason: str) -> None:
    line = nodes([node(host=host, by=by, groups=[group], reason=reason)], NOW_S)[1]
    assert printable(line) == line
    assert line.split(maxsplit=8)[8:] == [printable(reason).strip() or "-"]


def test_colour_changes_nothing_but_the_colour() -> None:
    rows = [node(), DOWN, node(state="drain")]
    painted = nodes(rows, NOW_S, Style(enabled=True))
    assert [re.sub(r"\x1b\[[0-9]*m", "", line) for line in painted] == nodes(rows, NOW_S)
    assert sum("\x1b" in line for line in painted) == 2
