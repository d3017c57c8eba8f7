"""An end, told to a human."""

from __future__ import annotations

from typing import Any

import pytest

from wq.cli.render.outcome import in_words, succeeded


def outcome(kind: str, **changes: Any) -> dict[str, Any]:
    return {"kind": kind, "exit_status": None, "signal": None, "by": None, "message": None} | changes


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (None, "not ended"),
        (outcome("exited", exit_status=0), "exit status 0"),
        (outcome("exited", exit_status=3), "exit status 3"),
        (outcome("exited"), "exit status unknown"),
        (outcome("signalled", signal=9), "killed by signal 9 (KILL)"),
        (outcome("signalled", signal=4000), "killed by signal 4000"),
        (outcome("signalled"), "killed by signal unknown"),
        (outcome("removed", by="anze"), "removed by anze"),
        (outcome("removed"), "removed"),
        (outcome("failed", message="no such directory: /x\x1b"), "failed: no such directory: /x\\x1b"),
        (outcome("failed"), "failed"),
        (outcome("lost", message="the node was reset"), "lost: the node was reset"),
        (outcome("evicted", message="newer than we"), "evicted: newer than we"),
    ],
)
def test_each_end_has_its_words(how: dict[str, Any] | None, words: str) -> None:
    assert in_words(how) == words


@pytest.mark.parametrize(
    ("how", "well"),
    [
        (None, False),
        (outcome("exited", exit_status=0), True),
        (outcome("exited", exit_status=3), False),
        (outcome("exited"), False),
        (outcome("removed"), False),
        (outcome("signalled", exit_status=0), False),
    ],
)
def test_only_the_exit_status_0_is_a_success(how: dict[str, Any] | None, well: bool) -> None:
    assert succeeded(how) is well
