"""Draws what `bench.plan` has measured: `plot.py FILE.png`, with its rows in JSON on stdin. Needs matplotlib."""

import json
import sys

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

rows = json.load(sys.stdin)
figure = Figure(figsize=(9.0, 4.0), dpi=110)
FigureCanvasAgg(figure)
titles = {"end": "a job ends, others start on its cores", "stuck": "a job ends, nothing that waits fits"}
both = figure.subplots(1, 2, sharey=True)
for axes, (kind, title) in zip(both, titles.items(), strict=True):
    for nodes in sorted({row["nodes"] for row in rows}):
        mine = sorted((row for row in rows if row["nodes"] == nodes), key=lambda row: row["queue"])
        lengths = [row["queue"] for row in mine]
        (line,) = axes.plot(lengths, [row[kind] for row in mine], "o-", ms=4, label=f"{nodes:,} nodes of 16 cores")
        least, most = ([row[f"{kind}_{end}"] for row in mine] for end in ("min", "max"))
        axes.fill_between(lengths, least, most, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("jobs that wait (200 shapes, 4 users)")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
both[0].set_ylabel("ms for the tick: median, least to most")
both[0].legend(frameon=False, fontsize=9)
figure.tight_layout()
figure.savefig(sys.argv[1])
