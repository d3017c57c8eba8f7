"""The queue as a function: tick(queue, inbox, now) -> events, orders, answers, and when to wake.

A tick never changes the queue that it is given: what happens in it lies in a draft, which the caller
settles once it is on disk, or drops. Orders are derived from the state, so that after a restart, or
when a launcher comes back, they are derived again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from wq.core import commands, news
from wq.core.job import AttemptNo, HostName, Uid
from wq.core.lifecycle import Granted
from wq.core.plan import Limit, Plan, plan
from wq.core.policies.fifo import Fifo
from wq.core.queue import Draft, Now, Queue, effective_limit, with_looks
from wq.core.requests import (
    Answer,
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    ClusterRead,
    Incoming,
    LauncherGone,
    LauncherHere,
    NodeLooked,
    Refresh,
    Refusal,
    Remove,
    Request,
    SetLimit,
    SetNode,
    Sight,
    Submit,
    Who,
)


def tick(queue: Queue, inbox: Sequence[Incoming], now: Now, *, start: bool = True) -> Draft:
    """Handle all that has arrived, then (if `start`) start whoever can. The queue stays as it was until `settle`."""
    draft = Draft(queue, now)
    for item in inbox:
        answer = handle(draft, item.who, item.request)
        if answer is not None and item.reply_to:
            draft.answers.append((item.reply_to, answer))
    if start:
        start_jobs(draft)
    draft.wake_s = min((p.until_s for p in draft.pauses.values() if p.until_s > now.boot_s), default=None)
    return draft


def start_jobs(draft: Draft) -> None:
    """Grant what the plan says."""
    if not draft.queued:
        return
    for start in planned(draft, draft.now).starts:
        job = draft.queued[start.job]
        draft.apply(Granted(id=job.id, attempt=AttemptNo(job.attempt + 1), allocation=start.allocation))


def planned(view: Draft | Queue, now: Now) -> Plan:
    """The plan for the queue as it is; it also knows why each other job waits."""
    paused: dict[Uid, dict[HostName, str]] = {}
    for (uid, host), pause in view.pauses.items():
        if pause.until_s > now.boot_s:
            paused.setdefault(uid, {})[host] = pause.why
    layers: dict[Uid, list[Limit]] = {}
    for (uid, _), limit in view.limits.items():
        layers.setdefault(uid, []).append(limit)
    return plan(
        queue=Fifo().order(view.queued.values()),
        active=list(view.active.values()),
        nodes=with_looks(view.nodes, view.unseen),
        limits={uid: effective_limit(limits) for uid, limits in layers.items()},
        present=view.present,
        paused=paused,
    )


def handle(draft: Draft, who: Who, request: Request) -> Answer | Refusal | None:
    """One request or report."""
    if not who.is_self:
        draft.users[who.uid] = who.user
    match request:
        case Submit():
            return commands.submit(draft, who, request)
        case Remove():
            return commands.remove(draft, who, request)
        case SetLimit():
            return commands.set_limit(draft, who, request)
        case SetNode():
            return commands.set_node(draft, who, request)
        case Refresh():
            return commands.refresh(draft, who)
        case LauncherHere():
            return news.launcher_here(draft, who, request)
        case LauncherGone():
            news.launcher_gone(draft, who)
        case Sight():
            news.sight(draft, who, request)
        case AttemptStarted() | AttemptEnded() | AttemptTakenBack():
            news.report(draft, who, request)
        case ClusterRead():
            news.cluster_read(draft, request.nodes)
        case NodeLooked():
            news.looked(draft, request)
        case _:
            assert_never(request)
    return None
