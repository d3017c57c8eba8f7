"""Ids for people: 12, 15-19."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def numbers(ids: Iterable[int]) -> str:
    """Sorted, neighbours folded. Raises ValueError, TypeError for what is no number."""
    runs: list[list[int]] = []
    for number in sorted(map(int, ids)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
