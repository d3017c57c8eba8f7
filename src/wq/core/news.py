"""What launchers report, and what the server's own loop has seen: the facts that a tick works in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from wq.core import ranges
from wq.core.cluster import Node
from wq.core.job import HostName, JobId, Key, Outcome, OutcomeKind, State, Uid, Waits
from wq.core.lane import paced
from wq.core.lifecycle import Ended, Held, Requeued, Started
from wq.core.line import shape_of
from wq.core.queue import Draft, Pause, Unseen, held_hosts, order_for, recall
from wq.core.ranges import Ranges
from wq.core.requests import (
    NO_TASK,
    Answer,
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    Gone,
    LauncherHere,
    LostRest,
    Named,
    NodeLooked,
    Sight,
    Unfinished,
    Who,
)

PAUSE_FIRST_S = 5.0
PAUSE_MOST_S = 300.0
LONGEST_SENTENCE = 1000
MOST_NAMED = 2_000_000  # jobs and tasks in a launcher's ledger
LOST_AT_ONCE = 500  # jobs that a launcher has lost; others have their turn in between
LONGEST_RUN_S = 1e9  # that is believed
LONGEST_WAIT_S = 30 * 86400.0  # before another attempt
MOST_USED = 1 << 60  # seconds, or bytes
LARGEST_STATUS = 255
LARGEST_SIGNAL = 64
USED = ("cpu_s", "wall_s", "peak_mem_bytes", "io_read_bytes", "io_write_bytes")


def launcher_here(draft: Draft, who: Who, request: LauncherHere) -> Answer | Unfinished:
    """A launcher came (back): tell it what is over, order again what is due, and note what it has lost."""
    draft.present |= {who.uid}
    draft.absent.pop(who.uid, None)
    sight(draft, who, Sight(unseen={}))
    ids = ranges.merged(request.ids)
    tasks = {JobId(number): some for number, some in ranges.grouped(request.tasks).items()}
    if ranges.count(ids) + sum(map(ranges.count, tasks.values())) > MOST_NAMED:
        return Answer()  # no launcher has so many
    tokens = frozenset(request.tokens)
    mine = [job for jobs in (draft.active, draft.queued, draft.held) for job in jobs.values()]
    lost: list[tuple[int, int]] = []
    for job in [job for job in mine if job.spec.uid == who.uid]:
        if ranges.contains(ids, job.id):
            if job.state is State.QUEUED and job.attempt > 0:
                draft.orders.append(recall(job))
            elif (order := order_for(job, draft.nodes, draft.pace)) is not None:
                draft.orders.append(order)
        elif job.spec.token not in tokens:
            lost.append((int(job.id), NO_TASK if job.task is None else job.task))
    answer = lost_rest(draft, who, LostRest(jobs=tuple(lost)))
    for array in [array for array in draft.arrays.values() if array.spec.uid == who.uid]:
        if array.unstarted and not ranges.contains(ids, array.id) and array.spec.token not in tokens:
            draft.remove_tasks(array, array.unstarted, who.user)
    if request.strangers:
        forget_strangers(draft, who.uid, ids, tasks)
    return answer


def lost_rest(draft: Draft, who: Who, request: LostRest) -> Answer | Unfinished:
    """Jobs that a launcher no longer knows are over."""
    outcome = Outcome(kind=OutcomeKind.LOST, message="its launcher no longer knows it")
    for number, task in request.jobs[:LOST_AT_ONCE]:
        job = draft.find(JobId(number) if task < 0 else (JobId(number), task))
        if job is not None and job.spec.uid == who.uid:
            draft.apply(Ended(id=job.id, task=job.task, outcome=outcome, at_s=draft.now.wall_s))
    later = request.jobs[LOST_AT_ONCE:]
    return Unfinished(facts={}, rest=LostRest(jobs=later)) if later else Answer()


def apart(request: LauncherHere, most: int) -> tuple[LauncherHere, list[Named]]:
    """A word of a launcher that has much, and the questions which of that is over, of so many jobs and tasks each."""
    ids = ranges.merged(request.ids)
    tasks = tuple(three for three in request.tasks if three[1] <= three[2])
    total = ranges.count(ids) + sum(last - first + 1 for _, first, last in tasks)
    if total <= most or total > MOST_NAMED:
        return request, []
    parts = []
    while ids:
        some, ids = ranges.split(ids, most)
        parts.append(Named(ids=some))
    for job, first, last in tasks:
        parts += [Named(tasks=((job, at, min(last, at + most - 1)),)) for at in range(first, last + 1, most)]
    return replace(request, strangers=False), parts


def named(draft: Draft, who: Who, request: Named) -> None:
    """A launcher is told which of these are over."""
    tasks = {JobId(job): ((first, last),) for job, first, last in request.tasks}
    forget_strangers(draft, who.uid, request.ids, tasks)


def forget_strangers(draft: Draft, uid: Uid, ids: Ranges, tasks: Mapping[JobId, Ranges]) -> None:
    """Tell a launcher which of the jobs and tasks that it names are over."""
    for number in map(JobId, ranges.numbers(ids)):
        job = draft.arrays.get(number) or draft.find(number)
        if job is None or job.spec.uid != uid:
            draft.orders.append(Gone(uid=uid, id=number, outcome=None))
    for number, theirs in tasks.items():
        for task in ranges.numbers(theirs):
            job = draft.find((number, task))
            if job is None or job.spec.uid != uid:
                draft.orders.append(Gone(uid=uid, id=number, task=task, outcome=None))


def remind(draft: Draft, uid: Uid, key: Key) -> None:
    """Order again what is due for a job that a launcher names, or tell it that the job is over."""
    if isinstance(key, int) and key in draft.arrays:
        for one in [job for job in draft.active.values() if job.id == key]:
            if (order := order_for(one, draft.nodes, draft.pace)) is not None:
                draft.orders.append(order)
        return
    job = draft.find(key)
    if job is None or job.spec.uid != uid:
        number, task = (key, None) if isinstance(key, int) else key
        draft.orders.append(Gone(uid=uid, id=number, task=task, outcome=None))
    elif (order := order_for(job, draft.nodes, draft.pace)) is not None:
        draft.orders.append(order)


def report(draft: Draft, who: Who, news: AttemptStarted | AttemptEnded | AttemptTakenBack) -> None:
    """News of an attempt. Late news, and news of others' jobs, change nothing; an end is always acknowledged."""
    key: Key = news.id if news.task is None else (news.id, news.task)
    job = draft.active.get(key)
    if job is None or job.spec.uid != who.uid or job.attempt != news.attempt:
        if draft.find(key) is None:
            draft.orders.append(Gone(uid=who.uid, id=news.id, task=news.task, outcome=None))
        return
    match news:
        case AttemptStarted():
            if draft.pauses:
                for host in held_hosts(job):
                    draft.pauses.pop((who.uid, host), None)
            if job.state is State.STARTING:
                draft.apply(Started(id=job.id, task=job.task, at_s=draft.now.wall_s))
        case AttemptEnded():
            outcome = news.outcome
            if outcome.by is not None or outcome.message is not None or outcome.reason is not None:
                outcome = replace(outcome, by=None, message=cut(outcome.message), reason=None)
            if not believable(outcome):
                outcome = replace(outcome, **dict.fromkeys(USED, None))
            if (
                not 0 <= (outcome.exit_status or 0) <= LARGEST_STATUS
                or not 0 <= (outcome.signal or 0) <= LARGEST_SIGNAL
            ):
                outcome = replace(outcome, exit_status=None, signal=None)
            now_s, started_s = draft.now.wall_s, None
            if news.run_s is not None and 0 <= news.run_s < LONGEST_RUN_S:
                started_s = max(now_s - news.run_s, job.submitted_s)
                kind = (who.uid, shape_of(job.spec.requirement))
                draft.pace[kind] = paced(draft.pace.get(kind), news.run_s)
            if news.again and not job.spec.foreground and job.state is not State.STOPPING:
                draft.apply(Requeued(id=job.id, task=job.task, why=outcome.message or ""))
                if 0 < news.wait_s <= LONGEST_WAIT_S:
                    waits = Waits(begin_s=draft.now.wall_s + news.wait_s)
                    draft.apply(Held(id=job.id, task=job.task, waits=waits))
                return
            if job.state is State.STOPPING:
                outcome = replace(outcome, kind=OutcomeKind.REMOVED, by=job.stop_by, reason=job.stop_reason)
            draft.apply(Ended(id=job.id, task=job.task, outcome=outcome, at_s=now_s, started_s=started_s))
        case AttemptTakenBack():
            if news.host is None and job.runs_in in draft.lanes:  # its turn did not come
                draft.lanes[job.runs_in] = replace(draft.lanes[job.runs_in], stuck=True)
            if news.host is not None and news.host in held_hosts(job):
                pause(draft, who.uid, news.host, cut(news.why) or "")
            if job.state is State.STOPPING:
                gone = Outcome(kind=OutcomeKind.REMOVED, by=job.stop_by, message="removed before it started")
                outcome = replace(gone, reason=job.stop_reason)
                draft.apply(Ended(id=job.id, task=job.task, outcome=outcome, at_s=draft.now.wall_s))
            else:
                draft.apply(Requeued(id=job.id, task=job.task, why=cut(news.why) or ""))


def believable(outcome: Outcome) -> bool:
    """Whether a job can have used so much: numbers that are none would spoil all sums."""
    used = [getattr(outcome, name) for name in USED]
    return all(value is None or 0 <= value < MOST_USED for value in used)


def cut(text: str | None) -> str | None:
    """A sentence from a launcher, at the length of a sentence: others' listings carry it."""
    return text if text is None or len(text) <= LONGEST_SENTENCE else text[: LONGEST_SENTENCE - 3] + "..."


def pause(draft: Draft, uid: Uid, host: HostName, why: str) -> None:
    """This user's starts avoid this node for a while, twice as long each time."""
    old = draft.pauses.get((uid, host))
    if old is not None and old.until_s > draft.now.boot_s:
        return  # one failure takes many starts with it
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
    busy = {host for lane in draft.lanes.values() for host in lane.allocation.hosts}
    leaving = [replace(node, leaving=True) for node in draft.nodes if node.host not in names and node.host in busy]
    draft.nodes = (*new, *leaving)
    draft.leaving = bool(leaving)
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
