"""Does an order make sense? Whoever serves may send anything; what no server would order is not looked at further.

Types are checked when a word is decoded; here it is what values mean. (Names of hosts are the fence's business.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from wq.core.job import Allocation
from wq.core.requests import NO_TASK, Gone, Gones, Signal, Start, Starts, Steer, Stop
from wq.protocol.messages import Waiting

MOST_ID = 1 << 62  # what the ledger's database can keep, and a little less
MOST_NUMBER = 1 << 40  # of tasks and attempts: parts of the number of a lane
MOST_CORES = 1 << 20  # of one node
LONGEST_S = 1e7
LONGEST_LIMIT_S = 1e9
LARGEST_SIGNAL = 64
LANE = re.compile(r"[0-9]{1,19}(?:_[0-9]{1,13})?\.[0-9]{1,13}")


def nonsense(order: Any) -> str | None:
    """What is wrong with an order, if anything is."""
    match order:
        case Start():
            wrong = names_attempt(order.id, order.task, order.attempt) or wrong_limit(order.time_s)
            return wrong or wrong_place(order.allocation, order.declared, order.lane, order.patience_s)
        case Starts():
            if any(names_attempt(number, one_task(task), attempt) for number, task, attempt in order.tasks):
                return "an attempt that cannot be"
            wrong = wrong_limit(order.time_s)
            return wrong or wrong_place(order.allocation, order.declared, order.lane, order.patience_s)
        case Steer():
            return names_attempt(order.id, order.task, order.attempt) or wrong_limit(order.time_s)
        case Signal():
            wrong = names_attempt(order.id, order.task, order.attempt)
            return wrong or (None if 1 <= order.number <= LARGEST_SIGNAL else "a signal that is none")
        case Stop():
            wrong = names_attempt(order.id, order.task, order.attempt)
            return wrong or (None if 0 <= order.grace_s <= LONGEST_S else "a grace that is none")
        case Gone():
            return names_attempt(order.id, order.task, 1)
        case Gones():
            if any(names_attempt(number, one_task(task), 1) for number, task in order.tasks):
                return "a job that cannot be"
        case Waiting():
            return names_attempt(order.id, None, 1)
    return None


def wrong_limit(time_s: float | None) -> str | None:
    return None if time_s is None or 0 <= time_s <= LONGEST_LIMIT_S else "a time limit that is none"


def one_task(task: int) -> int | None:
    return None if task == NO_TASK else task


def names_attempt(number: int, task: int | None, attempt: int) -> str | None:
    if not 1 <= number < MOST_ID or not (task is None or 0 <= task < MOST_NUMBER):
        return "a job that cannot be"
    return None if 1 <= attempt < MOST_NUMBER else "an attempt that cannot be"


def wrong_place(
    allocation: Allocation, declared: Sequence[int], lane: str | None, patience_s: float | None
) -> str | None:
    """What is wrong with where, and when, an attempt is to start."""
    hosts = allocation.hosts
    if not hosts or len(set(hosts)) < len(hosts):
        return "an allocation of no node, or of one node twice"
    for part in allocation.slices:
        if not part.cores or len(set(part.cores)) < len(part.cores):
            return "an allocation of no core, or of one core twice"
        if min(part.cores) < 0 or max(part.cores) >= MOST_CORES:
            return "a core that cannot be"
    if len(declared) > len(hosts) or not all(0 <= number <= MOST_CORES for number in declared):
        return "a number of cores that cannot be"
    if lane is not None and not LANE.fullmatch(lane):
        return "a lane that cannot be"
    return None if patience_s is None or 0 <= patience_s <= LONGEST_S else "a patience that is none"
