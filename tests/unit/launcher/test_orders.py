"""What no server would order is known as that; what the core orders is not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.launcher.desk import signal_to, start, steer, stop
from wq.core.job import Allocation, HostName, JobId, Slice, Uid
from wq.core.requests import NO_TASK, Gone, Gones, Starts
from wq.launcher.orders import nonsense
from wq.protocol.messages import Waiting

PLAIN = start(1, "a:0,1 b:3")
MANY = Starts(
    uid=Uid(1),
    lane="1.1",
    allocation=PLAIN.allocation,
    declared=(8, 0),
    patience_s=5.0,
    tasks=((1, NO_TASK, 1), (2, 0, 3)),
)
GONE = Gone(uid=Uid(1), id=JobId(1), outcome=None)
GONES = Gones(uid=Uid(1), tasks=((1, NO_TASK), (2, 5)))
WAITING = Waiting(id=1, reason="x", code="x", ahead=0)
HUGE = 1 << 70


def on(*parts: tuple[str, tuple[int, ...]]) -> Allocation:
    return Allocation(slices=tuple(Slice(host=HostName(host), cores=cores) for host, cores in parts))


@pytest.mark.parametrize(
    "order",
    [
        PLAIN,
        replace(PLAIN, task=0, lane="12_7.3", patience_s=0.0),
        replace(PLAIN, declared=()),
        start(1, "-oProxyCommand=x:0"),  # the fence's business
        MANY,
        stop(1),
        stop(1, grace_s=0.0),
        steer(1, 0.0),
        steer(1, 3600.0),
        steer(1, suspended=True),
        signal_to(1, 1),
        signal_to(1, 64),
        GONE,
        GONES,
        WAITING,
    ],
    ids=repr,
)
def test_sense(order: Any) -> None:
    assert nonsense(order) is None


@pytest.mark.parametrize(
    "order",
    [
        *[replace(PLAIN, id=number) for number in (0, -1, 1 << 62, HUGE, -HUGE)],
        *[replace(PLAIN, task=number) for number in (-1, 1 << 62, HUGE)],
        *[replace(PLAIN, attempt=number) for number in (0, -1, 1 << 62, HUGE)],
        *[replace(PLAIN, declared=declared) for declared in ((-1,), (HUGE,), (1, 2, 3))],
        *[replace(PLAIN, lane=lane) for lane in ("", "x", "1", "1.x", "1.1\n", "-1.1", "../1.1", "\u0661.1")],
        *[replace(PLAIN, lane="1.1", patience_s=it) for it in (-1.0, 1e300, float("inf"), float("nan"))],
        *[replace(PLAIN, allocation=on(("a", it))) for it in ((), (-1,), (HUGE,), (0, 0), (1 << 40,))],
        replace(PLAIN, allocation=on()),
        replace(PLAIN, allocation=on(("a", (0,)), ("a", (1,)))),
        *[replace(MANY, tasks=((1, NO_TASK, 1), it)) for it in ((0, 0, 1), (HUGE, 0, 1), (1, -2, 1), (1, 0, 0))],
        replace(MANY, allocation=on()),
        replace(MANY, lane="x"),
        *[stop(number) for number in (0, HUGE)],
        stop(1, attempt=0),
        *[stop(1, grace_s=it) for it in (-1.0, 1e300, float("inf"), float("nan"))],
        *[steer(1, it) for it in (-1.0, 1e300, float("inf"), float("nan"))],
        *[steer(number, 60.0) for number in (0, HUGE)],
        steer(1, 60.0, attempt=0),
        *[signal_to(1, number) for number in (0, 65, -9, HUGE)],
        signal_to(HUGE, 9),
        *[replace(PLAIN, time_s=it) for it in (-1.0, float("nan"))],
        *[replace(GONE, id=number) for number in (0, -1, HUGE)],
        *[replace(GONES, tasks=((1, 1), it)) for it in ((0, 0), (HUGE, 0), (1, -2), (1, HUGE))],
        Waiting(id=HUGE, reason="x", code="x", ahead=0),
    ],
    ids=lambda order: repr(order)[:60],
)
def test_nonsense(order: Any) -> None:
    assert nonsense(order) is not None
