"""A picture of schedules, side by side: use of the cores and waits over time, and what each policy is worth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

from wq.simulate.measure import (
    Schedule,
    Worth,
    edges,
    use_over_time,
    waiting_over_time,
    waits_over_time,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NBINS = 300
BROADER = 5  # stretches for waits: of few jobs the average says little
UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
SIZE_INCHES = (10.0, 11.0)
DOTS_PER_INCH = 110
BARS = ("average bounded slowdown", "average wait", "longest wait", "slowdown of the worst-off user")


def draw(schedules: Sequence[Schedule], worths: Sequence[Worth], ncores: int, title: str, file: BinaryIO) -> None:
    """Write a PNG. Raises ImportError without matplotlib, OSError if it cannot be written."""
    from matplotlib.figure import Figure  # not pyplot: no window, no state that outlives the picture

    first_s = min(schedule.span_s()[0] for schedule in schedules)
    last_s = max(schedule.span_s()[1] for schedule in schedules)
    unit_s, unit = unit_of(last_s - first_s)
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    figure.suptitle(title, parse_math=False)
    grid = figure.add_gridspec(4, len(BARS), height_ratios=(1, 1, 1, 1.2))
    use, waiting, waits = (figure.add_subplot(grid[row, :]) for row in range(3))
    borders, broad = edges(first_s, last_s, NBINS), edges(first_s, last_s, NBINS // BROADER)
    for schedule in schedules:
        stairs(use, [(at - first_s) / unit_s for at in borders], use_over_time(schedule, borders), schedule.policy)
        stairs(waiting, [(at - first_s) / unit_s for at in borders], waiting_over_time(schedule, borders))
        middles = [((low + high) / 2 - first_s) / unit_s for low, high in pairwise(broad)]
        points = [(x, y) for x, y in zip(middles, waits_over_time(schedule, broad), strict=True) if y is not None]
        waits.plot([x for x, _ in points], [y / unit_of_waits(worths)[0] for _, y in points], linewidth=1)
    use.axhline(ncores, color="grey", linewidth=0.8, linestyle=":")
    use.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    labelled(use, "cores in use")
    labelled(waiting, "jobs that wait")
    labelled(waits, f"wait of those that come ({unit_of_waits(worths)[1]})")
    waits.set_xlabel(f"time ({unit})")
    for axes in (use, waiting, waits):
        axes.set_xlim(0, (last_s - first_s) / unit_s)
    bars([figure.add_subplot(grid[3, column]) for column in range(len(BARS))], worths)
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)


def unit_of(span_s: float) -> tuple[float, str]:
    """The largest unit of which a span has two or more."""
    return next((unit for unit in UNITS if span_s >= 2 * unit[0]), UNITS[-1])


def unit_of_waits(worths: Sequence[Worth]) -> tuple[float, str]:
    return unit_of(max(worth.wait_max_s for worth in worths))


def stairs(axes: Axes, borders: Sequence[float], heights: Sequence[float], label: str | None = None) -> None:
    axes.stairs(heights, borders, label=label, linewidth=1, baseline=None)


def labelled(axes: Axes, what: str) -> None:
    axes.set_ylabel(what)
    axes.set_ylim(bottom=0)


def bars(places: Sequence[Axes], worths: Sequence[Worth]) -> None:
    """One small chart for each figure, a bar for each policy."""
    unit_s, unit = unit_of_waits(worths)
    values = (
        [worth.slowdown for worth in worths],
        [worth.wait_s / unit_s for worth in worths],
        [worth.wait_max_s / unit_s for worth in worths],
        [worth.worst_user_slowdown or 0.0 for worth in worths],
    )
    for axes, what, heights in zip(places, BARS, values, strict=True):
        drawn = axes.bar(range(len(worths)), heights, color=[f"C{at}" for at in range(len(worths))])
        axes.bar_label(drawn, labels=[f"{height:.3g}" for height in heights], fontsize="small")
        axes.set_xticks(range(len(worths)), [worth.policy for worth in worths], rotation=45, ha="right")
        axes.set_title(f"{what} ({unit})" if "wait" in what else what, fontsize="small", wrap=True)
        axes.margins(y=0.15)
