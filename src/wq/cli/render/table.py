"""Columns that line up: padded to their widest, one space between, no blanks at the end of a line."""

from __future__ import annotations

from .sanitise import WIDEST, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    paint: Mapping[int, Callable[[str], str]] | None = None,
) -> list[str]:
    """The lines of a table whose cells are sanitised already.

    right: columns (from 0) that are aligned right. paint: what colours the cells of a column, after they are measured.
    """
    widths = [min(WIDEST, max(map(width, column))) for column in zip(header, *rows, strict=True)]
    lines = [_line(header, widths, right, {})]
    lines.extend(_line(row, widths, right, paint or {}) for row in rows)
    return lines


def number(amount: float) -> str:
    """An amount with as few digits as it needs, two after the point at most: `48`, `48.5`."""
    return str(amount) if isinstance(amount, int) else f"{amount:.2f}".rstrip("0").rstrip(".")


def _line(
    cells: Sequence[str], widths: Sequence[int], right: Collection[int], paint: Mapping[int, Callable[[str], str]]
) -> str:
    parts: list[str] = []
    for column, cell in enumerate(cells):
        blanks = " " * (widths[column] - width(cell))
        shown = paint[column](cell) if column in paint else cell
        parts.append(blanks + shown if column in right else shown + blanks)
    return " ".join(parts).rstrip(" ")
