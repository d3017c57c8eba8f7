"""What is over: the history of the queue on disk, read a part at a time, and forgotten a part at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from wq.core import ranges
from wq.core.array import Array
from wq.core.job import Allocation, ArraySpec, Job, JobId, State, Uid
from wq.core.listing import Used, together
from wq.core.ranges import Ranges
from wq.core.requests import Became

if TYPE_CHECKING:
    from wq.store.store import Store

READ_FIRST = 50  # entries; few ask for more
READ_AT_ONCE = 500
COUNTED_AT_ONCE = 50_000
LOOKED_AT_ONCE = 2000  # jobs and arrays, to find the oldest that is kept
FORGOTTEN_AT_ONCE = 200  # jobs; others have their turn in between
TASKS_FORGOTTEN_AT_ONCE = 1000
LAST_ID = 1 << 62  # above every id
FOR_EVER_S = 1e300

Gone: TypeAlias = list[tuple[Uid, str, JobId]]
"""Of jobs that were forgotten: uid, token, id."""


class Entry(NamedTuple):
    """One job or array that is over. They come newest first, and by ids where several ended together."""

    ended_s: float
    id: int
    is_array: bool
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of those that are over. uids: of these users; failed: only those that did not end as they should."""

    uids: tuple[Uid, ...]
    since_s: float = 0.0
    until_s: float = FOR_EVER_S
    failed: bool = False


class Past:
    """The history in a database."""

    def __init__(self, store: Store) -> None:
        self.store, self.db = store, store.db

    def uids(self) -> tuple[Uid, ...]:
        """All users of whom something is over."""
        found: set[int] = set()
        for table in TABLES:
            last = -(1 << 62)
            while True:
                sql = f"SELECT uid FROM {table} WHERE ended_s IS NOT NULL AND uid > ? ORDER BY uid LIMIT 1"
                row = self.db.execute(sql, (last,)).fetchone()
                if row is None:
                    break
                last = row[0]
                found.add(last)
        return tuple(map(Uid, sorted(found)))

    def newest_id(self, uid: Uid) -> int | None:
        """The id of the last job that a user has submitted, whatever became of it; None if none is known."""
        ids = [self.db.execute(f"SELECT max(id) FROM {table} WHERE uid = ?", (uid,)).fetchone()[0] for table in TABLES]
        return max((int(found) for found in ids if found is not None), default=None)

    def entries(self, wanted: Wanted) -> Iterator[Entry]:
        """Newest first."""
        parts = [self.some(wanted, uid, is_array=is_array) for uid in wanted.uids for is_array in (False, True)]
        return heapq.merge(*parts, reverse=True)

    def some(self, wanted: Wanted, uid: Uid, *, is_array: bool) -> Iterator[Entry]:
        """The jobs, or the arrays, of one user."""
        sql = f"SELECT ended_s, id, name {source(is_array=is_array, failed=wanted.failed)} {ORDERED} LIMIT ?"
        at = (wanted.until_s, LAST_ID)
        most = READ_FIRST
        while True:
            rows = self.db.execute(sql, (uid, wanted.since_s, *at, most)).fetchall()
            yield from (Entry(ended_s, job_id, is_array, name) for ended_s, job_id, name in rows)
            if len(rows) < most:
                return
            at, most = rows[-1][:2], READ_AT_ONCE

    def count_older(self, wanted: Wanted, than: Entry) -> Iterator[int]:
        """How many there are before this one; the numbers are to be added up, and others may come in between."""
        for uid in wanted.uids:
            for is_array in (False, True):
                where = source(is_array=is_array, failed=wanted.failed)
                step = f"SELECT ended_s, id {where} {ORDERED} LIMIT 1 OFFSET {COUNTED_AT_ONCE - 1}"
                at: tuple[float, int] = (than.ended_s, than.id)
                while (row := self.db.execute(step, (uid, wanted.since_s, *at)).fetchone()) is not None:
                    at = row
                    yield COUNTED_AT_ONCE
                yield self.db.execute(f"SELECT count(*) {where}", (uid, wanted.since_s, *at)).fetchone()[0]

    def get(self, entry: Entry) -> Job | Array | None:
        """All of it; None if it was forgotten meanwhile."""
        if entry.is_array:
            return next(iter(self.store.arrays("id = ?", (entry.id,))), None)
        row = self.db.execute("SELECT job FROM jobs WHERE id = ? AND state = 'done'", (entry.id,)).fetchone()
        return msgspec.json.decode(row[0], type=Job) if row is not None else None

    def over_in(self, low: int, high: int) -> Iterator[Job | int | None]:
        """Of a range of ids, the jobs that are over: the id alone of one that ended as it should. None after each part.

        (Those that are not over are read as well: without them a part could be as long as the queue.)
        """
        sql = (
            "SELECT id, state = 'done', CASE WHEN failed THEN job END FROM jobs WHERE id BETWEEN ? AND ?"
            f" ORDER BY id LIMIT {READ_AT_ONCE}"
        )
        while True:
            rows = self.db.execute(sql, (low, high)).fetchall()
            for job_id, is_over, text in rows:
                if is_over:
                    yield job_id if text is None else msgspec.json.decode(text, type=Job)
            yield None
            if len(rows) < READ_AT_ONCE:
                return
            low = rows[-1][0] + 1

    def over(self, low: int, high: int, *, is_array: bool) -> Iterator[int | None]:
        """Of a range of ids, those of jobs, or of arrays, that are over. None after each part, as above."""
        table = TABLES[is_array]
        sql = f"SELECT id, ended_s FROM {table} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT {READ_AT_ONCE}"
        while True:
            rows = self.db.execute(sql, (low, high)).fetchall()
            yield from (number for number, ended_s in rows if ended_s is not None)
            yield None
            if len(rows) < READ_AT_ONCE:
                return
            low = rows[-1][0] + 1

    def tasks_over(self, array: Array, low: int, high: int, *, failed: bool = False) -> Iterator[Job | None]:
        """The tasks of an array with these numbers that are over, or have failed. None after each part, as above."""
        while True:
            some = self.store.tasks_of(array, "task BETWEEN ? AND ?", (low, high), READ_AT_ONCE, failed=failed)
            yield from (job for job in some if job.state is State.DONE)
            yield None
            if len(some) < READ_AT_ONCE:
                return
            low = (some[-1].task or 0) + 1

    def used_by_tasks(self, array_id: int) -> Iterator[Used]:
        """What the tasks of an array that are over had and used; by parts."""
        sql = f"SELECT {USED_COLUMNS} FROM tasks WHERE job = ? AND task > ? ORDER BY task LIMIT {LOOKED_AT_ONCE}"
        last = -1
        while True:
            rows = self.db.execute(sql, (array_id, last)).fetchall()
            yield used_in([columns for _, ran, *columns in rows if ran])
            if len(rows) < LOOKED_AT_ONCE:
                return
            last = rows[-1][0]

    def failed_tasks(self, array: Array, most: int) -> list[Job]:
        """The first tasks of an array that did not end as they should."""
        return self.store.tasks_of(array, "1", most=most, failed=True)

    def failures(self, array_id: int, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Of tasks of an array that did not end as they should: how many, and their worst status; by parts."""
        while True:
            rows = self.db.execute(STATUSES, (array_id, low, high)).fetchall()
            if rows:
                yield len(rows), max(max(1, status or 0) for _, status in rows)
            if len(rows) < LOOKED_AT_ONCE:
                return
            low = rows[-1][0] + 1

    def became(self, number: int) -> Became | None:
        """What became of a job that is over, or of an array as a whole; None if there is none of that id.

        bad: places of tasks that never ran.
        """
        job = self.get(Entry(0.0, number, is_array=False))
        if isinstance(job, Job):
            return Became(ok=job.outcome is not None and job.outcome.succeeded)
        array = self.get(Entry(0.0, number, is_array=True))
        if not isinstance(array, Array):
            return None
        ok = None if array.ended_s is None else not array.failed and not array.removed
        return Became(ok=ok, tasks=array.tasks, bad=array.removed)

    def failed_places(self, array_id: int, tasks: ArraySpec) -> Iterator[Ranges]:
        """The places of tasks of an array that did not end as they should; by parts."""
        where = f"WHERE job = ? AND {FAILED_TASK} AND task > ?"
        sql = f"SELECT task FROM tasks {where} ORDER BY task LIMIT {LOOKED_AT_ONCE}"
        last = -1
        while True:
            numbers = [task for (task,) in self.db.execute(sql, (array_id, last))]
            yield ranges.of(tasks.places_of(numbers))
            if len(numbers) < LOOKED_AT_ONCE:
                return
            last = numbers[-1]

    def events_of(self, job_id: int, without: frozenset[str] = frozenset()) -> Iterator[list[tuple[float, str, Any]]]:
        """What has happened to a job or an array, from the beginning: (when, kind, the event), by parts."""
        kinds = f" AND kind NOT IN ({', '.join('?' * len(without))})" if without else ""
        where = f"job = ?{kinds} AND seq > ?"
        sql = f"SELECT seq, at_s, kind, event FROM events WHERE {where} ORDER BY seq LIMIT {READ_AT_ONCE}"
        last = -1
        while True:
            rows = self.db.execute(sql, (job_id, *without, last)).fetchall()
            yield [(at_s, kind, msgspec.json.decode(event)) for _, at_s, kind, event in rows]
            if len(rows) < READ_AT_ONCE:
                return
            last = rows[-1][0]

    def accepted(self, uid: Uid, token: str) -> tuple[JobId, ...]:
        """The ids of all that is left of a submission, over or not; none if it is not known."""
        some = (f"SELECT place, id FROM {table} WHERE uid = ? AND token = ? AND token != ''" for table in TABLES)
        rows = self.db.execute(f"{' UNION ALL '.join(some)} ORDER BY place", (uid, token) * len(TABLES))
        return tuple(JobId(job_id) for _, job_id in rows)

    def tokens_between(self, since_s: float, until_s: float) -> Iterator[Gone]:
        """Of what ended then, the submissions; by parts."""
        for table in TABLES:
            sql = (
                f"SELECT uid, token, id, ended_s FROM {table} WHERE ended_s >= ? AND ended_s < ?"
                f" AND (ended_s, id) > (?, ?) ORDER BY ended_s, id LIMIT {LOOKED_AT_ONCE}"
            )
            at = (since_s, -1)
            while True:
                rows = self.db.execute(sql, (since_s, until_s, *at)).fetchall()
                yield [(Uid(uid), token, JobId(job_id)) for uid, token, job_id, _ in rows if token]
                if len(rows) < LOOKED_AT_ONCE:
                    break
                at = (rows[-1][3], rows[-1][2])

    # forgetting

    def prune(self, old_s: float, most: int) -> Iterator[Gone]:
        """Forget what ended before `old_s`, and beyond the newest `most` jobs and tasks, with its events; by parts.

        Each part is a transaction of its own, after which others may have their turn. Ids are never used again. Raises
        NoRoom, DiskFailed.
        """
        self.store.database.write(self.remember_last_id)
        edge = (old_s, 0)
        for found in self.beyond(most):
            if found is None:
                yield []
            else:
                edge = max(edge, (found.ended_s, found.id + 1))
        while gone := self.forget_jobs(edge):
            yield gone
        while (row := self.db.execute(OLDEST_ARRAY, edge).fetchone()) is not None:
            yield from self.forget_array(row[0])
        while self.forget_some("events", "seq", "job IS NULL AND at_s < ?", (old_s,)):
            yield []
        yield from self.forget_grants()

    def remember_last_id(self) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO meta SELECT 'last_id', max(coalesce((SELECT max(id) FROM jobs), 0),"
            " coalesce((SELECT max(id) FROM arrays), 0),"
            " coalesce((SELECT value + 0 FROM meta WHERE key = 'last_id'), 0))"
        )

    def beyond(self, most: int) -> Iterator[Entry | None]:
        """The newest of those that are too many, if there are any; None again and again before that."""
        at = (FOR_EVER_S, LAST_ID)
        left = most
        while True:
            rows = self.db.execute(ALL_OVER, (*at, *at)).fetchall()
            for ended_s, job_id, size in rows:
                left -= size
                if left < 0:
                    yield Entry(ended_s, job_id, is_array=False)
                    return
            if len(rows) < LOOKED_AT_ONCE:
                return
            at = rows[-1][:2]
            yield None

    def forget_jobs(self, edge: tuple[float, int]) -> Gone:
        """The oldest ones. Answers which; none if there are none before the edge."""
        rows = self.db.execute(OLDEST_JOBS, edge).fetchall()
        if rows:
            ids = [(job_id,) for _, _, job_id in rows]
            self.store.database.write(lambda: self.forget_ids("jobs", ids))
        return [(Uid(uid), token, JobId(job_id)) for uid, token, job_id in rows]

    def forget_ids(self, table: str, ids: Iterable[tuple[int]]) -> None:
        ids = list(ids)
        self.db.executemany("DELETE FROM events WHERE job = ?", ids)
        self.db.executemany(f"DELETE FROM {table} WHERE id = ?", ids)

    def forget_array(self, job_id: int) -> Iterator[Gone]:
        """The array goes last: what a crash interrupts is gone on with."""
        for table, key in (("tasks", "task"), ("events", "seq"), ("grants", "first")):
            while self.forget_some(table, key, "job = ?", (job_id,)):
                yield []
        uid, token = self.db.execute("SELECT uid, token FROM arrays WHERE id = ?", (job_id,)).fetchone()
        self.store.database.write(lambda: self.forget_ids("arrays", [(job_id,)]))
        yield [(Uid(uid), token, JobId(job_id))]

    def forget_some(self, table: str, key: str, where: str, values: tuple[object, ...]) -> bool:
        """Rows of a table, those with the smallest keys first. Answers whether there were any."""
        sql = f"SELECT {key} FROM {table} WHERE {where} ORDER BY {key} LIMIT {TASKS_FORGOTTEN_AT_ONCE}"
        keys = self.db.execute(sql, values).fetchall()
        if keys:
            delete = f"DELETE FROM {table} WHERE {where} AND {key} <= ?"
            self.write(delete, (*values, keys[-1][0]))
        return bool(keys)

    def write(self, sql: str, values: tuple[object, ...]) -> None:
        """In a transaction of its own."""

        def body() -> None:
            self.db.execute(sql, values)

        self.store.database.write(body)

    def forget_grants(self) -> Iterator[Gone]:
        """Of jobs that went behind others in a lane: grants of which all jobs are over."""
        last = -1
        live = "EXISTS (SELECT 1 FROM jobs WHERE id BETWEEN first AND last AND state != 'done')"
        while True:
            sql = f"SELECT first FROM grants WHERE job = 0 AND first > ? ORDER BY first LIMIT {FORGOTTEN_AT_ONCE}"
            rows = self.db.execute(sql, (last,)).fetchall()
            if not rows:
                return
            span = (last, rows[-1][0])
            delete = f"DELETE FROM grants WHERE job = 0 AND first > ? AND first <= ? AND NOT {live}"
            self.write(delete, span)
            last = rows[-1][0]
            yield []


def used_in(rows: list[list[Any]]) -> Used:
    """What tasks had and used, from their rows (added up here, for the sums of SQLite have an end)."""
    parts = [
        Used(1, cpu_s, wall_s, (wall_s or 0.0) if cpu_s is not None else 0.0, *rest) for cpu_s, wall_s, *rest, _ in rows
    ]
    held = next((text for *_, text in rows if text is not None), None)
    return together(parts)._replace(allocation=held and msgspec.json.decode(held, type=Allocation))


def source(*, is_array: bool, failed: bool) -> str:
    """Where those of one user are that are over: since a time, and before (when, id)."""
    table = TABLES[is_array]
    some = f"{table} INDEXED BY {table}_failed WHERE failed != 0 AND" if failed else f"{table} WHERE"
    return f"FROM {some} uid = ? AND ended_s >= ? AND (ended_s, id) < (?, ?)"


TABLES = ("jobs", "arrays")
USED_COLUMNS = (
    "task, state = 'done' AND started_s IS NOT NULL,"
    " cpu_s, wall_s, peak_mem_bytes, io_read_bytes, io_write_bytes, allocation"
)
ORDERED = "ORDER BY ended_s DESC, id DESC"
FAILED_TASK = "state = 'done' AND (kind != 'exited' OR exit_status != 0)"
STATUS = (
    "CASE kind WHEN 'exited' THEN exit_status WHEN 'signalled' THEN 128 + signal WHEN 'time_limit' THEN 124 ELSE 1 END"
)
STATUSES = (
    f"SELECT task, {STATUS} FROM tasks INDEXED BY tasks_failed WHERE job = ? AND {FAILED_TASK} AND task BETWEEN ? AND ?"
    f" ORDER BY task LIMIT {LOOKED_AT_ONCE}"
)
OLDEST_JOBS = (
    "SELECT uid, token, id FROM jobs WHERE ended_s IS NOT NULL AND (ended_s, id) < (?, ?)"
    f" ORDER BY ended_s, id LIMIT {FORGOTTEN_AT_ONCE}"
)
OLDEST_ARRAY = "SELECT id FROM arrays WHERE ended_s IS NOT NULL AND (ended_s, id) < (?, ?) ORDER BY ended_s, id LIMIT 1"
ALL_OVER = (
    "SELECT ended_s, id, 1 FROM jobs WHERE ended_s IS NOT NULL AND (ended_s, id) < (?, ?) UNION ALL"
    " SELECT ended_s, id, size FROM arrays WHERE ended_s IS NOT NULL AND (ended_s, id) < (?, ?)"
    f" ORDER BY 1 DESC, 2 DESC LIMIT {LOOKED_AT_ONCE}"
)
