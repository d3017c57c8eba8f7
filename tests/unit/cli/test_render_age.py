"""A duration is one word in whole seconds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.cli.render.age import age


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.9, "0s"),
        (5, "5s"),
        (59.999, "59s"),
        (60, "1m00s"),
        (29 * 60 + 52, "29m52s"),
        (3600, "1h00m00s"),
        (12 * 3600 + 50 * 60 + 27, "12h50m27s"),
        (86_399, "23h59m59s"),
        (2 * 86_400 + 3 * 3600 + 4 * 60 + 5, "2d03h04m05s"),
        (-1, "0s"),
        (math.nan, "0s"),
        (-math.inf, "0s"),
        (math.inf, "99999d00h00m00s"),
        (10**400, "99999d00h00m00s"),
    ],
)
def test_age_is_written_as_in_the_listing(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


@given(st.floats() | st.integers())
def test_any_number_gives_one_word(seconds: float) -> None:
    assert age(seconds).isalnum()
