"""The queue on disk: SQLite in the spool directory, one transaction for a tick.

An answer means that it is on disk: WAL with a full sync at each commit. Only one process may have the
database: a lock on the spool says so, and it dies with its holder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from wq.core import ranges
from wq.core.array import Array
from wq.core.cluster import Node
from wq.core.job import Allocation, AttemptNo, Job, JobId, JobSpec, Outcome, OutcomeKind, Requirement, State, Uid, Waits
from wq.core.lifecycle import Granted, Requeued, Submitted, advance
from wq.core.plan import Limit
from wq.core.queue import (
    ArrayEnded,
    ArrayHeld,
    ArraySubmitted,
    ArrayTimeSet,
    AtMostSet,
    Draft,
    Edited,
    LimitSet,
    NodeMarked,
    Queue,
    TasksFreed,
    TasksRemoved,
    Topped,
    TurnSet,
)
from wq.core.ranges import Ranges
from wq.store.database import Database, migrations
from wq.store.past import FAILED_TASK, Past

KEEP_TOKENS_S = 7 * 86400.0  # so long after its end a job's submission is kept in memory
MOST_FINISHED = 10_000  # in one answer
OURS = frozenset({"lock", "server.log"})  # and the database, with all that lies beside it
LARGEST_ID = (1 << 63) - 1  # that SQLite can compare with
MOST_TASKS_READ = 1_000_000
NEW_JOB = (
    "INSERT INTO jobs (state, ended_s, job, failed, name, id, uid, token, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
SET_JOB = "UPDATE jobs SET state = ?, ended_s = ?, job = ?, failed = ?, name = ? WHERE id = ?"
PUT_ARRAY = (
    "INSERT INTO arrays (id, uid, token, place, ended_s, spec, state, failed, name, size)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET ended_s = excluded.ended_s, state = excluded.state, failed = excluded.failed"
)
TASK_COLUMNS = (
    "task, state, attempt, lane, allocation, started_s, ended_s, stop_by, stop_grace_s, requeued_why,"
    " kind, exit_status, signal, removed_by, message, cpu_s, wall_s, peak_mem_bytes, io_read_bytes, io_write_bytes,"
    " time_s, suspensions, stop_reason, begin_s"
)
NEWEST = "ORDER BY ended_s DESC, id DESC"
OF_JOBS = 0  # where a grant has the id of its array, and is of jobs
OUTCOME_COLUMNS = 10
GRANTS = "SELECT first, last, attempt, lane, allocation FROM grants"
PUT_GRANT = "INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?, ?, ?)"
NTASK_COLUMNS = TASK_COLUMNS.count(",") + 1
PUT_TASK = f"INSERT OR REPLACE INTO tasks (job, {TASK_COLUMNS}) VALUES (?{', ?' * NTASK_COLUMNS})"
encode = msgspec.json.Encoder().encode


class ArrayState(msgspec.Struct, kw_only=True):
    """What of an array changes, as it is stored."""

    submitted_s: float
    waiting: Ranges
    removed: Ranges = ()
    removed_by: str = ""
    removed_why: str = ""
    live: int = 0
    failed: int = 0
    at_most: int | None = None
    started_s: float | None = None
    ended_s: float | None = None
    blocked: Ranges = ()
    waits: Waits | None = None
    time_s: float | None = None
    turn: int | None = None


class SpoolInUse(Exception):
    """Another server has this spool."""


def make_private(spool: Path) -> None:
    """A directory that its owner alone can enter. Raises OSError if it is somebody else's, or for something else."""
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = spool.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"the spool {spool} is not a directory of uid {os.getuid()}")
    if found.st_mode & 0o077:
        strange = [name for name in os.listdir(spool) if name not in OURS and not name.startswith("queue.db")]
        if strange:  # `-s /tmp` must not shut the others out of /tmp
            raise PermissionError(f"{spool} has other things in it; the spool is a directory of its own")
        spool.chmod(0o700)


class Store:
    """The database of one queue."""

    def __init__(self, spool: Path) -> None:
        """Open or make it. Raises SpoolInUse if another process has it, OSError if the directory is unusable."""
        make_private(spool)
        self.lock_fd = os.open(spool / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.lock_fd)
            raise SpoolInUse(f"another server uses the spool {spool}") from None
        try:
            self.database = Database(spool / "queue.db", migrations("wq.store"))
        except BaseException:
            self.release()
            raise
        self.db = self.database.db
        self.db.execute("INSERT OR IGNORE INTO meta VALUES ('queue', ?)", (secrets.token_hex(8),))
        self.past = Past(self)

    def close(self) -> None:
        self.database.close()
        self.release()

    def release(self) -> None:
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
        self.lock_fd = -1

    @property
    def queue_name(self) -> str:
        """The name of this queue: made once, and never that of another."""
        (value,) = self.db.execute("SELECT value FROM meta WHERE key = 'queue'").fetchone()
        return str(value)

    def load(self, queue: Queue, since_s: float = 0.0) -> None:
        """Fill an empty queue with what is on disk. since_s: as for tokens()."""
        most = "SELECT max(coalesce((SELECT max(id) FROM jobs), 0), coalesce((SELECT max(id) FROM arrays), 0))"
        (last,) = self.db.execute(most).fetchone()
        (pruned,) = self.db.execute("SELECT coalesce(max(value + 0), 0) FROM meta WHERE key = 'last_id'").fetchone()
        queue.next_id = max(last, pruned) + 1
        rows = self.db.execute("SELECT job FROM jobs WHERE state != 'done' ORDER BY id")
        same: dict[Requirement, Requirement] = {}
        jobs = self.granted([shared(msgspec.json.decode(text, type=Job), same) for (text,) in rows])
        arrays = self.arrays("ended_s IS NULL", ())
        for array in arrays:
            jobs += self.live_tasks(array)
        queue.take_up(jobs, arrays)
        queue.tokens = self.tokens(since_s)
        for uid, by_owner, user, run, cores in self.db.execute("SELECT * FROM limits"):
            queue.limits[(Uid(uid), bool(by_owner))] = Limit(run=run, cores=cores)
            queue.users.setdefault(Uid(uid), user)

    def granted(self, jobs: list[Job]) -> list[Job]:
        """Jobs as their rows have them, with the grants that are newer than these."""
        texts: dict[str, Allocation] = {}
        newer: dict[int, tuple[int, str, str]] = {}
        for first, last, *grant in self.db.execute(f"{GRANTS} WHERE job = {OF_JOBS} ORDER BY attempt"):
            newer.update(dict.fromkeys(range(first, last + 1), tuple(grant)))
        found = []
        for job in jobs:
            attempt, lane, text = newer.get(job.id, (0, "", ""))
            if attempt > job.attempt:
                event = Granted(id=job.id, attempt=AttemptNo(attempt), lane=lane, allocation=read(text, texts))
                job = advance(job, event)
            found.append(job)
        return found

    def tokens(self, since_s: float = 0.0) -> dict[tuple[Uid, str], tuple[JobId, ...]]:
        """The submissions of what is not over, or ended since then, with the ids that they were given."""
        found: dict[tuple[Uid, str], list[JobId]] = {}
        live = ("jobs WHERE state != 'done'", "arrays WHERE ended_s IS NULL")
        over = ("jobs WHERE ended_s >= ?", "arrays WHERE ended_s >= ?")
        both = " UNION ALL ".join(f"SELECT uid, token, id FROM {those} AND token != ''" for those in (*live, *over))
        for uid, token, job_id in self.db.execute(f"{both} ORDER BY id", (since_s, since_s)):
            found.setdefault((uid, token), []).append(job_id)
        return {key: tuple(ids) for key, ids in found.items()}

    def marked_nodes(self) -> dict[str, Node]:
        """What the owner has said of nodes."""
        rows = self.db.execute("SELECT host, node FROM nodes")
        return {host: msgspec.json.decode(text, type=Node) for host, text in rows}

    def commit(self, draft: Draft, *, urgent: bool = False) -> None:
        """All events of a tick, in one transaction. After this returns they outlive a power cut.

        urgent: it may use what is kept in reserve for a full disk. Raises NoRoom, DiskFailed.
        """
        if draft.events:
            self.database.write(lambda: self.write(draft), urgent=urgent)

    def write(self, draft: Draft) -> None:
        self.db.executemany("INSERT INTO events (at_s, job, kind, event) VALUES (?, ?, ?, ?)", event_rows(draft))
        for event in draft.events:
            if isinstance(event, LimitSet):
                row = (event.uid, event.by_owner, event.user, event.limit.run, event.limit.cores)
                self.db.execute("INSERT OR REPLACE INTO limits VALUES (?, ?, ?, ?, ?)", row)
            elif isinstance(event, NodeMarked):
                row2 = (event.node.host, encode(event.node).decode())
                self.db.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?)", row2)
        new: list[Job] = []
        old: list[Job] = []
        grants: list[Job] = []
        tasks: list[Job] = []
        before = draft.queue
        for job in draft.changed.values():
            was = before.find(job.key)
            granted = job.state is State.STARTING and (was is None or was.attempt != job.attempt)
            if job.task is not None:
                (grants if granted and job.requeued_why is None else tasks).append(job)  # (a grant does not say why)
            elif (
                granted
                and job.lane is not None
                and was is not None
                and was == before.queued.get(job.id)
                and (was.time_s, was.turn) == (job.time_s, job.turn)
                and was.spec is job.spec
            ):
                grants.append(job)  # (and else its row says nothing new)
            else:
                (new if was is None else old).append(job)
        texts: dict[int, str] = {}
        self.db.executemany(NEW_JOB, ((*job_state(job), *job_place(job)) for job in new))
        self.db.executemany(SET_JOB, ((*job_state(job), job.id) for job in old))
        self.db.executemany(PUT_GRANT, grant_rows(grants, texts))
        self.db.executemany(PUT_TASK, [task_row(job, texts) for job in tasks])
        if draft.changed_arrays:
            self.db.executemany(PUT_ARRAY, map(array_row, draft.changed_arrays.values()))
            over = [(array.id,) for array in draft.changed_arrays.values() if array.ended_s is not None]
            self.db.executemany("DELETE FROM grants WHERE job = ?", over)
            edited = [event for event in draft.events if isinstance(event, Edited)]
            rows = [(encode(event.spec).decode(), event.spec.name, event.id) for event in edited]
            self.db.executemany("UPDATE arrays SET spec = ?, name = ? WHERE id = ?", rows)

    def finished(self, *, ids: Iterable[tuple[int, int]] | None, since_s: float = 0.0) -> list[Job]:
        """Jobs that are over, newest first: by ranges of ids (first, last), or all that ended since."""
        if ids is None:
            where, values = f"id IN (SELECT id FROM jobs WHERE ended_s >= ? {NEWEST} LIMIT {MOST_FINISHED})", [since_s]
        else:
            pairs = list(ids)
            where = " OR ".join("id BETWEEN ? AND ?" for _ in pairs) or "0"
            values = [storable(value) for pair in pairs for value in pair]
        sql = f"SELECT job FROM jobs WHERE state = 'done' AND ({where}) ORDER BY id DESC LIMIT {MOST_FINISHED}"
        return [msgspec.json.decode(text, type=Job) for (text,) in self.db.execute(sql, values)]

    def finished_arrays(self, *, ids: Iterable[tuple[int, int]] | None, since_s: float = 0.0) -> list[Array]:
        """Arrays that are over, as finished() has jobs."""
        if ids is None:
            newest = f"id IN (SELECT id FROM arrays WHERE ended_s >= ? {NEWEST} LIMIT {MOST_FINISHED})"
            return self.arrays(newest, (since_s,))
        found: list[Array] = []
        over = (
            "id IN (SELECT id FROM arrays WHERE ended_s IS NOT NULL AND id BETWEEN ? AND ?"
            f" ORDER BY id DESC LIMIT {MOST_FINISHED})"
        )
        for low, high in ids:
            found += self.arrays(over, (storable(low), storable(high)))
        return found

    def arrays(self, where: str, values: tuple[object, ...]) -> list[Array]:
        """The arrays for which this is true."""
        found = []
        same: dict[Requirement, Requirement] = {}
        sql = f"SELECT id, spec, state FROM arrays WHERE {where} ORDER BY id"
        for job_id, spec, state in self.db.execute(sql, values):
            kept = msgspec.json.decode(state, type=ArrayState)
            known = msgspec.json.decode(spec, type=JobSpec)
            need = same.setdefault(known.requirement, known.requirement)
            facts = {name: getattr(kept, name) for name in kept.__struct_fields__}
            found.append(Array(id=JobId(job_id), spec=replace(known, requirement=need), **facts))
        return found

    def live_tasks(self, array: Array) -> list[Job]:
        """Tasks that are somewhere: those that were granted, and whose row does not say that more became of them."""
        texts: dict[str, Allocation] = {}
        tasks: dict[int, Job] = {}
        grants = f"{GRANTS} WHERE job = ? ORDER BY attempt"
        ndone = "SELECT count(*) FROM tasks WHERE job = ? AND task BETWEEN ? AND ? AND state = 'done'"
        for first, last, attempt, lane, text in self.db.execute(grants, (array.id,)).fetchall():
            if self.db.execute(ndone, (array.id, first, last)).fetchone()[0] == last - first + 1:
                continue
            for task in range(first, last + 1):
                row = (
                    task,
                    State.STARTING,
                    attempt,
                    lane,
                    text,
                    *[None] * 5,
                    *[None] * OUTCOME_COLUMNS,
                    array.time_s,
                    0,
                    None,
                    None,
                )
                tasks[task] = task_of(array, row, texts)
            for (task,) in self.db.execute(
                "SELECT task FROM tasks WHERE job = ? AND task BETWEEN ? AND ? AND state = 'done'",
                (array.id, first, last),
            ):
                del tasks[task]
        for job in self.tasks_of(array, "state != 'done'"):
            assert job.task is not None
            if job.task not in tasks or tasks[job.task].attempt <= job.attempt:
                tasks[job.task] = job
        return list(tasks.values())

    def tasks_of(
        self,
        array: Array,
        where: str,
        values: tuple[object, ...] = (),
        most: int = MOST_TASKS_READ,
        *,
        failed: bool = False,
    ) -> list[Job]:
        """Tasks of an array that were granted at some time, and for which this is true, in their order.

        failed: of those alone that did not end as they should.
        """
        allocations: dict[str, Allocation] = {}
        source = f"tasks INDEXED BY tasks_failed WHERE {FAILED_TASK} AND" if failed else "tasks WHERE"
        sql = f"SELECT {TASK_COLUMNS} FROM {source} job = ? AND {where} ORDER BY task LIMIT {most}"
        return [task_of(array, row, allocations) for row in self.db.execute(sql, (array.id, *values))]


def storable(number: int) -> int:
    """The nearest number that SQLite can compare with."""
    return max(-LARGEST_ID, min(number, LARGEST_ID))


def storable_text(text: str) -> str:
    """Without halves of characters, which SQLite does not take. (In JSON they would not be either.)"""
    return text.encode("utf-8", "replace").decode()


def shared(job: Job, same: dict[Requirement, Requirement]) -> Job:
    """The job, with the requirement object of those that need the same."""
    need = same.setdefault(job.spec.requirement, job.spec.requirement)
    return job if need is job.spec.requirement else replace(job, spec=replace(job.spec, requirement=need))


def job_place(job: Job) -> tuple[object, ...]:
    return (job.id, job.spec.uid, job.spec.token, job.spec.index)


def job_state(job: Job) -> tuple[object, ...]:
    failed = job.outcome is not None and not job.outcome.succeeded
    return (job.state.value, job.ended_s, encode(job).decode(), failed, storable_text(job.spec.name))


def array_row(array: Array) -> tuple[object, ...]:
    state = ArrayState(**{name: getattr(array, name) for name in ArrayState.__struct_fields__})
    spec = array.spec
    head = (array.id, spec.uid, spec.token, spec.index, array.ended_s, encode(spec).decode(), encode(state).decode())
    return (*head, bool(array.failed or array.removed), storable_text(spec.name), array.size)


def written(allocation: Allocation | None, texts: dict[int, str]) -> str | None:
    """texts: of those that have been met, by identity; tasks of one lane have the same."""
    if allocation is None:
        return None
    text = texts.get(id(allocation))
    if text is None:
        text = texts[id(allocation)] = encode(allocation).decode()
    return text


def read(text: str, allocations: dict[str, Allocation]) -> Allocation:
    """allocations: those that have been met, so that what is in one lane has the same."""
    found = allocations.get(text)
    if found is None:
        found = allocations[text] = msgspec.json.decode(text, type=Allocation)
    return found


def grant_rows(jobs: list[Job], texts: dict[int, str]) -> list[list[object]]:
    """Tasks of an array, or jobs, that follow one another and were granted together are one row."""
    rows: list[list[object]] = []
    last: dict[tuple[object, ...], list[object]] = {}  # of each lane
    for job in jobs:
        array, number = (OF_JOBS, job.id) if job.task is None else (job.id, job.task)
        same = (array, job.lane, job.attempt, id(job.allocation))
        row = last.get(same) if job.lane is not None else None
        if row is not None and row[2] == number - 1:
            row[2] = number
        else:
            row = last[same] = [array, number, number, job.attempt, job.lane, written(job.allocation, texts)]
            rows.append(row)
    return rows


def task_row(job: Job, texts: dict[int, str]) -> tuple[object, ...]:
    text = written(job.allocation, texts)
    head = (job.id, job.task, job.state.value, job.attempt, job.lane, text, job.started_s, job.ended_s)
    out = job.outcome
    ended: tuple[object, ...] = (None,) * OUTCOME_COLUMNS
    if out is not None:
        used = (out.cpu_s, out.wall_s, out.peak_mem_bytes, out.io_read_bytes, out.io_write_bytes)
        ended = (out.kind.value, out.exit_status, out.signal, out.by, out.message, *used)
    reason = job.stop_reason if out is None else out.reason or job.stop_reason
    begin_s = None if job.waits is None else job.waits.begin_s  # of a task that is all that it can wait for
    stop = (job.stop_by, job.stop_grace_s, job.requeued_why)
    return (*head, *stop, *ended, job.time_s, job.suspensions, reason, begin_s)


def task_of(array: Array, row: tuple[Any, ...], allocations: dict[str, Allocation]) -> Job:
    """A task from its row. allocations: those that have been met, so that tasks of one lane have the same."""
    (
        task,
        state,
        attempt,
        lane,
        text,
        started_s,
        ended_s,
        stop_by,
        grace_s,
        why,
        *ended,
        time_s,
        suspensions,
        reason,
        begin_s,
    ) = row
    return Job(
        id=array.id,
        task=task,
        spec=array.spec,
        state=State(state),
        submitted_s=array.submitted_s,
        attempt=AttemptNo(attempt),
        allocation=read(text, allocations) if text is not None else None,
        started_s=started_s,
        ended_s=ended_s,
        outcome=outcome_of(ended, reason),
        stop_by=stop_by,
        stop_grace_s=grace_s,
        stop_reason=reason,
        requeued_why=why,
        lane=lane,
        waits=None if begin_s is None else Waits(begin_s=begin_s),
        time_s=time_s,
        suspensions=suspensions or 0,
    )


def outcome_of(columns: list[Any], reason: str | None) -> Outcome | None:
    """An outcome from its columns."""
    kind, status, number, by, said, cpu_s, wall_s, peak, read_bytes, written_bytes = columns
    if kind is None:
        return None
    return Outcome(
        kind=OutcomeKind(kind),
        exit_status=status,
        signal=number,
        by=by,
        message=said,
        cpu_s=cpu_s,
        wall_s=wall_s,
        peak_mem_bytes=peak,
        io_read_bytes=read_bytes,
        io_write_bytes=written_bytes,
        reason=reason,
    )


def at_first(array: Array) -> dict[str, object]:
    """How an array begins, but for what its row says for ever."""
    facts = {"waits": array.waits, "blocked": array.blocked, "removed": array.removed, "removed_by": array.removed_by}
    return {name: value for name, value in facts.items() if value}


def event_rows(draft: Draft) -> list[tuple[float, int | None, str, bytes]]:
    """The audit trail of a tick: a row an event; those of one kind for tasks of one array are one row with ranges.

    why: of those that are to have another attempt.
    """
    at_s = draft.now.wall_s
    rows: list[tuple[float, int | None, str, bytes]] = []
    tasks: dict[tuple[int, str, str], list[int]] = {}
    for event in draft.events:
        kind = type(event).__name__
        match event:
            case Submitted():
                waits = event.job.waits
                body = b"{}" if waits is None else encode({"waits": waits})  # the job's row has the rest
                rows.append((at_s, event.job.id, kind, body))
            case ArraySubmitted():
                rows.append((at_s, event.array.id, kind, encode(at_first(event.array))))
            case TurnSet():
                pass  # one `wq top` may change many: the jobs' rows have it
            case LimitSet() | NodeMarked():
                rows.append((at_s, None, kind, encode(event)))
            case TasksRemoved() | AtMostSet() | ArrayTimeSet() | ArrayEnded() | ArrayHeld() | TasksFreed():
                rows.append((at_s, event.id, kind, encode(event)))
            case Edited() | Topped():
                rows.append((at_s, event.id, kind, encode(event)))
            case _ if event.task is not None:
                why = event.why if isinstance(event, Requeued) else ""
                tasks.setdefault((event.id, kind, why), []).append(event.task)
            case _:
                rows.append((at_s, event.id, kind, encode(event)))
    for (job, kind, why), numbers in tasks.items():
        facts = {"tasks": ranges.of(numbers)}
        rows.append((at_s, job, kind, encode({**facts, "why": why} if why else facts)))
    return rows
