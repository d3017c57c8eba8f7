"""The facts that listings show: rows for programs, in the documented schema; the client makes sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wq.core.cluster import Node
from wq.core.job import Job, State, Uid
from wq.core.lifecycle import HOLDING_CORES
from wq.core.plan import Limit, Reason
from wq.core.queue import Queue, effective_limit, with_looks

Row = dict[str, object]


def out_of_sight(queue: Queue, job: Job) -> Row | None:
    """A job that holds cores, and of which nobody can hear just now: since when, where, and why."""
    uid = job.spec.uid
    hosts = job.allocation.hosts if job.state in HOLDING_CORES and job.allocation is not None else ()
    if hosts and uid not in queue.present:
        why = f"the launcher of {job.spec.user} is away; any command of {job.spec.user} brings it back"
        return {"since": queue.absent.get(uid), "hosts": list(hosts), "why": why}
    dark = {host: queue.out_of_sight[(uid, host)] for host in hosts if (uid, host) in queue.out_of_sight}
    if not dark:
        return None
    first = min(dark.values(), key=lambda unseen: unseen.since_s)
    return {"since": first.since_s, "hosts": list(dark), "why": first.why}


def job_row(job: Job, reason: Reason | None = None, dark: Row | None = None) -> Row:
    """A job, as `wq ls --json` has it. Times are seconds since 1970."""
    spec, need = job.spec, job.spec.requirement
    held = job.allocation
    outcome = job.outcome
    return {
        "id": job.id,
        "user": spec.user,
        "uid": spec.uid,
        "name": spec.name,
        "command": spec.command,
        "state": job.state.value,
        "priority": need.priority.value,
        "mode": need.mode.value,
        "n": need.n,
        "ncores": held.ncores if held else None,
        "nhosts": held.nhosts if held else None,
        "hosts": [{"host": part.host, "cores": list(part.cores)} for part in held.slices] if held else [],
        "attempt": job.attempt,
        "requeue": spec.requeue,
        "requeued_why": job.requeued_why,
        "out_of_sight": dark,
        "foreground": spec.foreground,
        "submit_dir": spec.submit_dir,
        "requirement": {
            "group": list(need.groups),
            "notgroup": list(need.notgroups),
            "host": need.host,
            "min_cores": need.min_cores,
            "min_mem": need.min_mem_gb,
            "threads": need.threads,
            "X": spec.x,
        },
        "submitted_at": job.submitted_s,
        "started_at": job.started_s,
        "ended_at": job.ended_s,
        "reason": {"code": reason.code.value, "text": reason.text} if reason else None,
        "outcome": {
            "kind": outcome.kind.value,
            "exit_status": outcome.exit_status,
            "signal": outcome.signal,
            "by": outcome.by,
            "message": outcome.message,
            "cpu_s": outcome.cpu_s,
        }
        if outcome
        else None,
    }


def job_rows(queue: Queue, jobs: Iterable[Job], why: Callable[[Job], Reason] | None) -> list[Row]:
    """Jobs in the order of their ids, the waiting ones with their reason where it is asked for."""
    return [
        job_row(job, why(job) if why is not None and job.state is State.QUEUED else None, out_of_sight(queue, job))
        for job in sorted(jobs, key=lambda job: job.id)
    ]


def live_jobs(queue: Queue) -> list[Job]:
    """All jobs that are not over."""
    return [*queue.active.values(), *queue.queued.values(), *queue.held.values()]


def node_rows(queue: Queue) -> list[Row]:
    """The nodes in their order, with the cores in use."""
    used: dict[str, set[int]] = {}
    for job in queue.active.values():
        for part in job.allocation.slices if job.allocation else ():
            used.setdefault(part.host, set()).update(part.cores)
    return [node_row(node, used.get(node.host, set())) for node in with_looks(queue.nodes, queue.unseen)]


def node_row(node: Node, used: set[int]) -> Row:
    return {
        "host": node.host,
        "ncores": node.ncores,
        "used": sorted(used),
        "mem_gb": node.mem_gb,
        "groups": list(node.groups),
        "state": "drain" if node.leaving else node.state.value,
        "reason": "no longer in the cluster file" if node.leaving else node.reason,
        "since": node.since_s,
        "by": node.by,
    }


def counts(queue: Queue) -> Row:
    """How many jobs there are, by what they do."""
    return {
        "jobs": len(queue.queued) + len(queue.active) + len(queue.held),
        "running": len(queue.active),
        "waiting": len(queue.queued),
        "held": len(queue.held),
    }


def user_rows(queue: Queue, only: str | None = None) -> list[Row]:
    """Users who have jobs or limits, or the one who is asked for."""
    names = dict(queue.users)
    limited = {uid for (uid, _), limit in queue.limits.items() if limit != Limit()}
    wanted = {job.spec.uid for job in live_jobs(queue)} | limited
    rows = []
    for uid in sorted(set(names) if only is not None else wanted):
        name = names.get(uid, f"uid {uid}")
        if only is None or name == only:
            rows.append(user_row(queue, uid, name))
    return rows


def user_row(queue: Queue, uid: Uid, name: str) -> Row:
    active = [job for job in queue.active.values() if job.spec.uid == uid]
    waiting = sum(job.spec.uid == uid for job in queue.queued.values())
    held = sum(job.spec.uid == uid for job in queue.held.values())
    own, owner = queue.limits.get((uid, False), Limit()), queue.limits.get((uid, True), Limit())
    both = effective_limit([own, owner])
    return {
        "user": name,
        "uid": uid,
        "jobs": len(active) + waiting + held,
        "running": len(active),
        "waiting": waiting,
        "held": held,
        "cores": sum(job.allocation.ncores for job in active if job.allocation),
        "limits": {"run": both.run, "cores": both.cores},
        "limits_own": {"run": own.run, "cores": own.cores},
        "limits_owner": {"run": owner.run, "cores": owner.cores},
        "avoided": [{"host": host, "why": pause.why} for (of, host), pause in queue.pauses.items() if of == uid],
    }
