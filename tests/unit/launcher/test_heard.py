"""What a node says is looked at before it is believed."""

from __future__ import annotations

from typing import Any

import pytest

from wq.launcher.heard import check

END: dict[str, Any] = {
    "exit": 0,
    "cpu_s": 0.1,
    "wall_s": 2.5,
    "peak_mem_bytes": 1 << 30,
    "io_read_bytes": 0,
    "io_write_bytes": 5,
    "node_mem_bytes": 1 << 34,
    "limit_s": 7200.0,
    "oom": True,
}


def ended(end: dict[str, Any]) -> dict[str, Any]:
    return {"say": "ended", "att": "1.1", "state": "ended", "end": end}


def test_an_end_with_all_that_there_is() -> None:
    check(ended(END))
    check(ended({"lost": "the node no longer knows it"}))
    check({"say": "tasks", "ended": [["1_0.1", END, None, 0.5]], "never": [["1_1.1", None], ["1_2.1", "no room"]]})


@pytest.mark.parametrize("name", sorted(set(END) - {"oom"}))
@pytest.mark.parametrize("value", ["x", [], {}, 1 << 70, float("inf"), float("nan"), -(1 << 40)], ids=str)
def test_a_number_that_is_none(name: str, value: Any) -> None:
    for word in (ended({**END, name: value}), {"say": "tasks", "ended": [["1_0.1", {**END, name: value}, None, 0.5]]}):
        with pytest.raises(ValueError, match="not understood"):
            check(word)


@pytest.mark.parametrize("name", ["limit_s", "peak_mem_bytes", "oom"])
def test_what_must_be_there_if_it_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        check(ended({**END, name: None}))


@pytest.mark.parametrize("word", [{"lost": "\ud800"}, {"error": "a\udfff"}, {"lost": 3}], ids=str)
def test_text_that_cannot_be_written_down(word: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not understood"):
        check(ended(word))


def test_the_same_of_a_boot_id_and_of_a_reason() -> None:
    for word in (
        {"say": "here", "spool": "/s", "boot": "\ud800", "attempts": []},
        {"say": "state", "att": "1.1", "state": "never", "why": "\ud800"},
        {"say": "tasks", "never": [["1_1.1", "\ud800"]]},
    ):
        with pytest.raises(ValueError, match="not understood"):
            check(word)
