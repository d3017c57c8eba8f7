"""The queue as a function: tick(queue, inbox, now) -> events, orders, answers, and when to wake.

A tick never changes the queue that it is given: what happens in it lies in a draft, which the caller
settles once it is on disk, or drops. Orders are derived from the state, so that after a restart, or
when a launcher comes back, they are derived again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from wq.core import commands, dependencies, news, top
from wq.core.array import Array
from wq.core.job import Allocation, AttemptNo, HostName, Uid
from wq.core.lifecycle import Granted
from wq.core.line import Waiting, place_of
from wq.core.plan import Limit, Plan, feed, plan
from wq.core.profile import NEVER_S
from wq.core.queue import Draft, Now, Queue, effective_limit, joined, with_looks
from wq.core.requests import (
    Answer,
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    ClusterRead,
    Edit,
    HoldRest,
    Incoming,
    LauncherGone,
    LauncherHere,
    LostRest,
    Named,
    NodeLooked,
    Refresh,
    Refusal,
    Remove,
    RemoveRest,
    Reports,
    Request,
    SendSignal,
    SetAtMost,
    SetHold,
    SetLimit,
    SetNode,
    SetSuspended,
    SetTime,
    Sight,
    Submit,
    Top,
    TopRest,
    Unfinished,
    Who,
)

SOON_S = 5.0


def tick(queue: Queue, inbox: Sequence[Incoming], now: Now, *, start: bool = True) -> Draft:
    """Handle all that has arrived, then (if `start`) start whoever can. The queue stays as it was until `settle`."""
    draft = Draft(queue, now)
    for item in inbox:
        answer = handle(draft, item.who, item.request)
        if isinstance(answer, Unfinished):
            draft.unfinished.append((item, answer))
        elif answer is not None and item.reply_to:
            draft.answers.append((item.reply_to, answer))
    dependencies.resolve(draft)
    if start:
        start_jobs(draft)
    draft.orders = joined(draft.orders)
    wakes = [pause.until_s for pause in draft.pauses.values() if pause.until_s > now.boot_s]
    begin_s = dependencies.wake_s(draft)
    draft.wake_s = min([*wakes, *([begin_s] if begin_s is not None else [])], default=None)
    return draft


def start_jobs(draft: Draft) -> None:
    """Grant what the plan says."""
    if not draft.queued and not draft.arrays:
        return
    found = planned(draft, draft.now)
    if draft.policy.promises is None:
        draft.promises = {place_of(job): promise for job, promise in found.promises}
    for start in found.starts:
        grant(draft, start.job, 1, start.allocation, None)
    for more in feed(found, draft.walks, dict(draft.lanes), draft.pace, draft.policy):
        grant(draft, more.job, more.ntasks, draft.lanes[more.lane].allocation, more.lane)


def grant(draft: Draft, job: Waiting, ntasks: int, allocation: Allocation, lane: str | None) -> None:
    """Give a job, or the next tasks of an array, these cores: in a lane of its own, or after others in theirs."""
    if isinstance(job, Array):
        draft.grant_tasks(job.id, ntasks, allocation, lane)
    else:
        attempt = AttemptNo(job.attempt + 1)
        draft.apply(Granted(id=job.id, task=job.task, attempt=attempt, allocation=allocation, lane=lane))


def planned(view: Draft | Queue, now: Now, *, fully: bool = False) -> Plan:
    """The plan for the queue as it is, which also knows why each other job waits; fully: and what is promised."""
    paused: dict[Uid, dict[HostName, str]] = {}
    for (uid, host), pause in view.pauses.items():
        if pause.until_s > now.boot_s:
            paused.setdefault(uid, {})[host] = pause.why
    layers: dict[Uid, list[Limit]] = {}
    for (uid, _), limit in view.limits.items():
        layers.setdefault(uid, []).append(limit)
    found = plan(
        queue=view.walks,
        lanes=dict(view.lanes),
        nodes=with_looks(view.nodes, view.unseen),
        limits={uid: effective_limit(limits) for uid, limits in layers.items()},
        present=view.present,
        paused=paused,
        arrays=view.arrays,
        policy=view.policy,
        now_s=now.wall_s,
        ends=lambda: expected_ends(view, now.wall_s),
        kept=view.promises,
        fitting=view.fitting,
        fully=fully,
    )
    view.fitting = found.fitting
    return found


def expected_ends(view: Draft | Queue, now_s: float) -> dict[str, float]:
    """When each lane is free, by the time limits of what runs in it and waits there; those without any are left out.

    What has run for longer than it should is on its way out: it is expected to be gone soon, not to be gone.
    """
    ends: dict[str, float] = {}
    for job in view.active.values():
        since_s = job.started_s if job.started_s is not None else now_s
        left_s = NEVER_S if job.limit_s is None else max(since_s + job.limit_s - now_s, SOON_S)
        ends[job.runs_in] = ends.get(job.runs_in, now_s) + left_s
    return ends


def handle(draft: Draft, who: Who, request: Request) -> Answer | Refusal | Unfinished | None:
    """One request or report."""
    if not who.is_self:
        draft.users[who.uid] = who.user
    match request:
        case Submit():
            return commands.submit(draft, who, request)
        case Remove():
            return commands.remove(draft, who, request)
        case RemoveRest():
            return commands.remove_rest(draft, who, request)
        case SetHold():
            return commands.set_hold(draft, who, request)
        case HoldRest():
            return commands.hold_some(draft, who, request, {})
        case Edit():
            return commands.edit(draft, who, request)
        case Top():
            return top.top(draft, who, request)
        case TopRest():
            return top.top_rest(draft, who, request)
        case SetAtMost():
            return commands.set_at_most(draft, who, request)
        case SetTime():
            return commands.set_time(draft, who, request)
        case SetSuspended():
            return commands.set_suspended(draft, who, request)
        case SendSignal():
            return commands.send_signal(draft, who, request)
        case SetLimit():
            return commands.set_limit(draft, who, request)
        case SetNode():
            return commands.set_node(draft, who, request)
        case Refresh():
            return commands.refresh(draft, who)
        case LauncherHere():
            return news.launcher_here(draft, who, request)
        case LostRest():
            return news.lost_rest(draft, who, request)
        case Named():
            news.named(draft, who, request)
        case LauncherGone():
            news.launcher_gone(draft, who)
        case Sight():
            news.sight(draft, who, request)
        case AttemptStarted() | AttemptEnded() | AttemptTakenBack():
            news.report(draft, who, request)
        case Reports():
            for one in request.news:
                news.report(draft, who, one)
        case ClusterRead():
            news.cluster_read(draft, request.nodes)
        case NodeLooked():
            news.looked(draft, request)
        case _:
            assert_never(request)
    return None
