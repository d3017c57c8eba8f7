"""Users, in a table and one by one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wq.cli.render.sanitise import printable
from wq.cli.render.users import user_page, users

ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()))


def user(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "user": "anze",
        "uid": 1001,
        "jobs": 4,
        "running": 1,
        "waiting": 2,
        "held": 1,
        "cores": 132,
        "limits": {"run": 25, "cores": None},
        "limits_own": {"run": 25, "cores": None},
        "limits_owner": {"run": None, "cores": None},
    }
    assert changes.keys() <= row.keys()
    return row | changes


def test_limits_are_one_word_in_the_table() -> None:
    free = user(user="bor", jobs=0, limits={"run": None, "cores": None})
    both = user(user="cene", limits={"run": 25, "cores": 0})
    assert users([user(), free, both]) == [
        "User Jobs Running Waiting Cores Limits",
        "anze 4    1       2       132   run:25",
        "bor  0    1       2       132   -",
        "cene 4    1       2       132   run:25;cores:0",
    ]


def test_the_page_of_a_user_says_who_set_which_limit() -> None:
    assert user_page(user(limits={"run": 25, "cores": 100}, limits_owner={"run": 50, "cores": 100})) == [
        "User: anze (uid 1001)",
        "Jobs: 4 Running: 1 Waiting: 2 Held: 1",
        "Cores: 132",
        "Limits: run: 25; cores: 100",
        "  set by the user: run: 25",
        "  set by the owner: run: 50; cores: 100",
    ]


def test_who_has_no_limits_reads_none() -> None:
    nothing = {"run": None, "cores": None}
    page = user_page(user(limits=nothing, limits_own=nothing, limits_owner=nothing))
    assert page[-3:] == ["Limits: none", "  set by the user: none", "  set by the owner: none"]


@given(ANY_TEXT, ANY_TEXT)
def test_no_name_disturbs_the_table_or_the_page(name: str, key: str) -> None:
    row = user(user=name, limits={key: 1})
    assert [len(line.split()) for line in users([row])] == [6, 6]
    for line in users([row]) + user_page(row):
        assert printable(line) == line
