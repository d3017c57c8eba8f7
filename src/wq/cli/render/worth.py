"""What schedules are worth, side by side."""

from __future__ import annotations

from .sanitise import word
from .table import number, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wq.core.cluster import Node
    from wq.simulate.measure import Worth
    from wq.simulate.workload import Workload

HEADER = ("Policy", "Slowdown", "Largest", "Wait", "Median", "Longest", "Use", "User", "Theirs")
DAY_S = 86400.0


def lines(worths: Sequence[Worth], workload: Workload, nodes: Sequence[Node]) -> list[str]:
    """A line for each policy, always of nine columns; and a footer. Waits are seconds."""
    body = [
        (
            word(worth.policy),
            f"{worth.slowdown:.6f}",
            number(worth.slowdown_max),
            number(worth.wait_s),
            number(worth.wait_median_s),
            number(worth.wait_max_s),
            f"{100 * worth.use:.1f}%",
            "-" if worth.worst_user is None else word(workload.user(worth.worst_user)),
            "-" if worth.worst_user_slowdown is None else f"{worth.worst_user_slowdown:.2f}",
        )
        for worth in worths
    ]
    counts = {
        "Jobs": len(workload.tasks),
        "Users": len({task.user for task in workload.tasks}),
        "Cores": sum(node.ncores for node in nodes),
        "Nodes": len(nodes),
        "Days": f"{max(worth.makespan_s for worth in worths) / DAY_S:.1f}",
    }
    footer = " ".join(f"{name}: {count}" for name, count in counts.items())
    return [*table(HEADER, body, right={1, 2, 3, 4, 5, 6, 8}), footer]
