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

import msgspec

from wq.core.cluster import Node
from wq.core.job import Job, JobId, State, Uid
from wq.core.lifecycle import Submitted
from wq.core.plan import Limit
from wq.core.queue import Draft, LimitSet, NodeMarked, Queue
from wq.store.database import Database, migrations

KEEP_FINISHED_S = 7 * 86400.0
MOST_FINISHED = 10_000  # in one answer
OURS = frozenset({"lock", "server.log"})  # and the database, with all that lies beside it
LARGEST_ID = (1 << 63) - 1  # that SQLite can compare with


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

    def load(self, queue: Queue) -> None:
        """Fill an empty queue with what is on disk."""
        (last,) = self.db.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone()
        (pruned,) = self.db.execute("SELECT coalesce(max(value + 0), 0) FROM meta WHERE key = 'last_id'").fetchone()
        queue.next_id = max(last, pruned) + 1
        for (text,) in self.db.execute("SELECT job FROM jobs WHERE state != 'done' ORDER BY id"):
            job = msgspec.json.decode(text, type=Job)
            place = {State.QUEUED: queue.queued, State.HELD: queue.held}.get(job.state, queue.active)
            place[job.id] = job
            queue.users[job.spec.uid] = job.spec.user
        queue.tokens = self.tokens()
        for uid, by_owner, user, run, cores in self.db.execute("SELECT * FROM limits"):
            queue.limits[(Uid(uid), bool(by_owner))] = Limit(run=run, cores=cores)
            queue.users.setdefault(Uid(uid), user)

    def tokens(self) -> dict[tuple[Uid, str], tuple[JobId, ...]]:
        """The submissions that are remembered, with the ids that they were given."""
        found: dict[tuple[Uid, str], list[JobId]] = {}
        for uid, token, job_id in self.db.execute("SELECT uid, token, id FROM jobs WHERE token != '' ORDER BY id"):
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
        encode = msgspec.json.encode
        at_s = draft.now.wall_s
        events: list[tuple[float, int | None, str, bytes]] = []
        for event in draft.events:
            job = event.job.id if isinstance(event, Submitted) else getattr(event, "id", None)
            body = b"{}" if isinstance(event, Submitted) else encode(event)  # the job's row has the rest
            events.append((at_s, job, type(event).__name__, body))
            if isinstance(event, LimitSet):
                row = (event.uid, event.by_owner, event.user, event.limit.run, event.limit.cores)
                self.db.execute("INSERT OR REPLACE INTO limits VALUES (?, ?, ?, ?, ?)", row)
            elif isinstance(event, NodeMarked):
                row2 = (event.node.host, encode(event.node).decode())
                self.db.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?)", row2)
        self.db.executemany("INSERT INTO events (at_s, job, kind, event) VALUES (?, ?, ?, ?)", events)
        self.db.executemany(
            "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " state = excluded.state, ended_s = excluded.ended_s, job = excluded.job",
            (
                (
                    job.id,
                    job.spec.uid,
                    job.spec.token,
                    job.spec.index,
                    job.state.value,
                    job.ended_s,
                    encode(job).decode(),
                )
                for job in draft.changed.values()
            ),
        )

    def finished(self, *, ids: Iterable[tuple[int, int]] | None, since_s: float = 0.0) -> list[Job]:
        """Jobs that are over, newest first: by ranges of ids (first, last), or all that ended since."""
        if ids is None:
            where, values = "ended_s >= ?", [since_s]
        else:
            pairs = list(ids)
            where = " OR ".join("id BETWEEN ? AND ?" for _ in pairs) or "0"
            values = [max(-LARGEST_ID, min(value, LARGEST_ID)) for pair in pairs for value in pair]
        sql = f"SELECT job FROM jobs WHERE state = 'done' AND ({where}) ORDER BY id DESC LIMIT {MOST_FINISHED}"
        return [msgspec.json.decode(text, type=Job) for (text,) in self.db.execute(sql, values)]

    def outcome_of(self, job: JobId) -> Job | None:
        """A finished job, if it is still remembered."""
        found = self.finished(ids=[(job, job)])
        return found[0] if found else None

    def prune(self, now_s: float) -> None:
        """Forget finished jobs and events that are older than a week; ids are never used again."""
        self.database.write(lambda: self.forget(now_s - KEEP_FINISHED_S))

    def forget(self, old_s: float) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO meta SELECT 'last_id', max(coalesce((SELECT max(id) FROM jobs), 0),"
            " coalesce((SELECT value + 0 FROM meta WHERE key = 'last_id'), 0))"
        )
        self.db.execute("DELETE FROM jobs WHERE state = 'done' AND ended_s < ?", (old_s,))
        self.db.execute("DELETE FROM events WHERE at_s < ?", (old_s,))
