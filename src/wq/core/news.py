"""What launchers report, and what the server's own loop has seen: the facts that a tick works in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wq.core.cluster import Node
from wq.core.job import HostName, JobId, Outcome, OutcomeKind, State, Uid
from wq.core.lifecycle import Ended, Requeued, Started
from wq.core.queue import Draft, Pause, Unseen, held_hosts, order_for
from wq.core.requests import (
    Answer,
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    Gone,
    LauncherHere,
    NodeLooked,
    Sight,
    Who,
)

PAUSE_FIRST_S = 5.0
PAUSE_MOST_S = 300.0
LONGEST_SENTENCE = 1000


def launcher_here(draft: Draft, who: Who, request: LauncherHere) -> Answer:
    """A launcher came (back): tell it what is over, order again what is due, and note what it has lost."""
    draft.present |= {who.uid}
    draft.absent.pop(who.uid, None)
    sight(draft, who, Sight(unseen={}))
    theirs = {held.id for held in request.jobs}
    for held in request.jobs:
        remind(draft, who.uid, held.id)
    mine = [*draft.active.values(), *draft.queued.values(), *draft.held.values()]
    for job in [job for job in mine if job.spec.uid == who.uid]:
        if job.id not in theirs and job.spec.token not in request.tokens:
            outcome = Outcome(kind=OutcomeKind.LOST, message="its launcher no longer knows it")
            draft.apply(Ended(id=job.id, outcome=outcome, at_s=draft.now.wall_s))
    return Answer()


def remind(draft: Draft, uid: Uid, job_id: JobId) -> None:
    """Order again what is due for a job that a launcher names, or tell it that the job is over."""
    job = draft.find(job_id)
    if job is None or job.spec.uid != uid:
        draft.orders.append(Gone(uid=uid, id=job_id, outcome=None))
    elif (order := order_for(job, draft.nodes)) is not None:
        draft.orders.append(order)


def report(draft: Draft, who: Who, news: AttemptStarted | AttemptEnded | AttemptTakenBack) -> None:
    """News of an attempt. Late news, and news of others' jobs, change nothing; an end is always acknowledged."""
    job = draft.active.get(news.id)
    if job is None or job.spec.uid != who.uid or job.attempt != news.attempt:
        if draft.find(news.id) is None:
            draft.orders.append(Gone(uid=who.uid, id=news.id, outcome=None))
        return
    match news:
        case AttemptStarted():
            for host in held_hosts(job):
                draft.pauses.pop((who.uid, host), None)
            if job.state is State.STARTING:
                draft.apply(Started(id=job.id, at_s=draft.now.wall_s))
        case AttemptEnded():
            outcome = replace(news.outcome, by=None, message=cut(news.outcome.message))
            if news.again and not job.spec.foreground and job.state is not State.STOPPING:
                draft.apply(Requeued(id=job.id, why=outcome.message or ""))
                return
            if job.state is State.STOPPING:
                outcome = replace(outcome, kind=OutcomeKind.REMOVED, by=job.stop_by)
            draft.apply(Ended(id=job.id, outcome=outcome, at_s=draft.now.wall_s))
        case AttemptTakenBack():
            if news.host is not None and news.host in held_hosts(job):
                pause(draft, who.uid, news.host, cut(news.why) or "")
            if job.state is State.STOPPING:
                outcome = Outcome(kind=OutcomeKind.REMOVED, by=job.stop_by, message="removed before it started")
                draft.apply(Ended(id=job.id, outcome=outcome, at_s=draft.now.wall_s))
            else:
                draft.apply(Requeued(id=job.id, why=cut(news.why) or ""))


def cut(text: str | None) -> str | None:
    """A sentence from a launcher, at the length of a sentence: others' listings carry it."""
    return text if text is None or len(text) <= LONGEST_SENTENCE else text[: LONGEST_SENTENCE - 3] + "..."


def pause(draft: Draft, uid: Uid, host: HostName, why: str) -> None:
    """This user's starts avoid this node for a while, twice as long each time."""
    old = draft.pauses.get((uid, host))
    failures = old.failures + 1 if old is not None else 1
    wait_s = min(PAUSE_FIRST_S * 2.0 ** min(failures - 1, 16), PAUSE_MOST_S)  # (2.0 ** 1024 is an error)
    draft.pauses[(uid, host)] = Pause(why=why, until_s=draft.now.boot_s + wait_s, failures=failures)


def cluster_read(draft: Draft, nodes: Sequence[Node]) -> None:
    """A new list of nodes: what the owner said of a node stays said; a node with jobs leaves when they end."""
    old = {node.host: node for node in draft.nodes}
    new = []
    for node in nodes:
        was = old.get(node.host)
        if was is not None:
            node = replace(node, state=was.state, reason=was.reason, since_s=was.since_s, by=was.by)
        new.append(node)
    names = {node.host for node in nodes}
    busy = {host for job in draft.active.values() for host in held_hosts(job)}
    leaving = [replace(node, leaving=True) for node in draft.nodes if node.host not in names and node.host in busy]
    draft.nodes = (*new, *leaving)
    for host in [host for host in draft.unseen if host not in names]:
        del draft.unseen[host]


def sight(draft: Draft, who: Who, news: Sight) -> None:
    """What a launcher does not see runs on; its nodes are remembered for those who ask."""
    known = {node.host for node in draft.nodes}
    for uid, host in list(draft.out_of_sight):
        if uid == who.uid and host not in news.unseen:
            del draft.out_of_sight[(uid, host)]
    for host, why in news.unseen.items():
        if host in known:
            old = draft.out_of_sight.get((who.uid, host))
            since_s = old.since_s if old is not None else draft.now.wall_s
            draft.out_of_sight[(who.uid, host)] = Unseen(why=cut(why) or "", since_s=since_s)


def launcher_gone(draft: Draft, who: Who) -> None:
    """Nobody hears of what this user has running until his launcher is back."""
    draft.present -= {who.uid}
    draft.absent[who.uid] = draft.now.wall_s


def looked(draft: Draft, look: NodeLooked) -> None:
    """The owner's own look at a node: one that does not answer is shown offline, and not used."""
    if look.ok:
        draft.unseen.pop(look.host, None)
        return
    old = draft.unseen.get(look.host)
    since_s = draft.now.wall_s if old is None else old.since_s
    draft.unseen[look.host] = Unseen(why=look.why, since_s=since_s)
