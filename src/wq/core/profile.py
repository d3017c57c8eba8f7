"""What will be free: how many cores of each node from now on, as those that run end and those with a promise start.

The planner's picture of the future for reservations, as in Mu'alem and Feitelson 2001 (Utilization, predictability,
workloads, and user runtime estimates in scheduling the IBM SP2 with backfilling, IEEE TPDS 12:529). Cores are only
counted here; which ones a job gets is decided when it starts.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from wq.core.cluster import Node
from wq.core.job import Allocation, HostName, Mode, Requirement
from wq.core.place import WHOLE_NODES, fill

NEVER_S = float("inf")


class Promise(Struct, frozen=True, kw_only=True):
    """A start that is promised: when, for how long (in seconds), and how many cores of which nodes."""

    start_s: float
    run_s: float
    cores: tuple[tuple[HostName, int], ...]


class Profile:
    """The number of free cores of each node over time.

    times: when it changes, ascending, from now on; rows: the numbers from that time on, by node. What ends later than
    the last of them is in `later`, and comes when it is asked for.
    """

    def __init__(
        self,
        now_s: float,
        nodes: Sequence[Node],
        free: Mapping[HostName, Sequence[int]],
        held: Iterable[tuple[float, Allocation]],
        promises: Iterable[Promise] = (),
    ) -> None:
        """held: of all that runs, when it ends, and what it has. What never ends is in the way for ever.

        promises: that are kept from before.
        """
        self.place = {node.host: at for at, node in enumerate(nodes)}
        self.times = [now_s]
        self.rows = [[len(free[node.host]) for node in nodes]]
        self.starts: list[float] = []  # of promises: where what is free may become less
        self.closed: set[HostName] = set()
        self.later = [
            (end_s, number, 1, tuple((part.host, len(part.cores)) for part in allocation.slices))
            for number, (end_s, allocation) in enumerate(held)
            if end_s < NEVER_S
        ]
        for promise in promises:
            start_s = max(promise.start_s, now_s)
            self.later.append((start_s, len(self.later), -1, promise.cores))
            if promise.run_s < NEVER_S:
                self.later.append((promise.start_s + promise.run_s, len(self.later), 1, promise.cores))
            self.starts.append(start_s)
        self.starts = sorted(set(self.starts))
        heapq.heapify(self.later)

    def extend(self) -> bool:
        """One more row, if anything else ends."""
        if not self.later:
            return False
        end_s = self.later[0][0]
        row = self.rows[-1].copy()
        while self.later and self.later[0][0] == end_s:
            _, _, sign, cores = heapq.heappop(self.later)
            for host, ncores in cores:
                at = self.place.get(host)
                if at is not None and host not in self.closed:
                    row[at] += sign * ncores
        if end_s <= self.times[-1]:
            self.rows[-1] = row
        else:
            self.times.append(end_s)
            self.rows.append(row)
        return True

    def has(self, at: int) -> bool:
        """Whether there is such a row. (What ends when the last row begins makes no new one.)"""
        while at >= len(self.times):
            if not self.extend():
                return False
        return True

    def known_until(self, time_s: float) -> None:
        """Have all rows up to this time."""
        while self.later and self.later[0][0] <= time_s:
            self.extend()

    def earliest(self, requirement: Requirement, nodes: Sequence[Node], run_s: float) -> Promise | None:
        """The first time from which on it fits for so long, on these eligible nodes, in their order; None: never."""
        places = [self.place[node.host] for node in nodes]
        whole = requirement.mode in WHOLE_NODES
        missing = len(nodes) if requirement.mode is Mode.BYGROUP else requirement.n
        at = 0
        while self.has(at):
            row = self.rows[at]
            if not whole and (row[places[0]] if len(places) == 1 else sum([row[i] for i in places])) < missing:
                at += 1
                continue
            end_s = self.times[at] + run_s
            spoilt = at
            if bisect_right(self.starts, self.times[at]) < bisect_left(self.starts, end_s):
                self.known_until(end_s)
                row, spoilt = self.least_from(at, end_s, places, 0 if whole else missing)
            if spoilt > at:
                at = spoilt  # no window that has this row will do
                continue
            found = fill(requirement, nodes, {node.host: _any(row[i]) for i, node in zip(places, nodes, strict=True)})
            if found is not None:
                cores = tuple((part.host, len(part.cores)) for part in found.slices)
                return Promise(start_s=self.times[at], run_s=run_s, cores=cores)
            at += 1
        return None

    def least_from(self, at: int, end_s: float, places: Sequence[int], missing: int) -> tuple[list[int], int]:
        """(what is free all the time from a row until then; the last row that has too little by itself, or `at`)."""
        rows = self.rows[at : bisect_left(self.times, end_s, at + 1)]
        if len(places) == 1:
            column = places[0]
            for number in range(len(rows) - 1, 0, -1):
                if rows[number][column] < missing:
                    return rows[0], at + number
            least = rows[0].copy()
            least[column] = min(row[column] for row in rows)
            return least, at
        for number in range(len(rows) - 1, 0, -1):
            if sum([rows[number][i] for i in places]) < missing:
                return rows[0], at + number
        return (list(map(min, *rows)) if len(rows) > 1 else rows[0]), at

    def row_from(self, time_s: float) -> int:
        """The row that begins then; it is made if there is none."""
        at = bisect_left(self.times, time_s)
        if at < len(self.times) and self.times[at] == time_s:
            return at
        self.times.insert(at, time_s)
        self.rows.insert(at, self.rows[at - 1].copy())
        return at

    def change(self, promise: Promise, sign: int) -> None:
        end_s = promise.start_s + promise.run_s
        self.known_until(end_s)
        first = self.row_from(promise.start_s)
        last = len(self.times) if end_s == NEVER_S else self.row_from(end_s)
        for host, ncores in promise.cores:
            at = self.place[host]
            for row in self.rows[first:last]:
                row[at] += sign * ncores

    def take(self, allocation: Allocation, run_s: float) -> None:
        """Somebody starts now."""
        cores = tuple((part.host, len(part.cores)) for part in allocation.slices)
        self.change(Promise(start_s=self.times[0], run_s=run_s, cores=cores), -1)

    def close(self, host: HostName) -> None:
        """Nothing is free on this node, now and later."""
        self.closed.add(host)
        for row in self.rows:
            row[self.place[host]] = 0

    def starts_before(self, end_s: float) -> int:
        """How many different starts were promised until then."""
        return bisect_left(self.starts, end_s)

    def least_at(self, nstarts: int) -> list[int]:
        """What is free for others at all of the first promised starts."""
        rows = [self.rows[bisect_left(self.times, start_s)] for start_s in self.starts[:nstarts]]
        return rows[0] if nstarts == 1 else list(map(min, *rows))

    def keep(self, promise: Promise) -> None:
        """Nobody else gets these cores then."""
        self.change(promise, -1)
        at = bisect_left(self.starts, promise.start_s)
        if at == len(self.starts) or self.starts[at] != promise.start_s:
            self.starts.insert(at, promise.start_s)

    def give_back(self, promise: Promise) -> None:
        """The promise is taken back. (Its start stays among the starts: one row more is looked at.)"""
        self.change(promise, 1)


def _any(ncores: int) -> tuple[int, ...]:
    """So many cores."""
    return tuple(range(ncores))
