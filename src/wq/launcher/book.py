"""The ledger on disk: SQLite in the user's own private directory, one transaction for a turn of the loop."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from wq.core.job import Allocation, AttemptNo, HostName, JobId, Outcome
from wq.core.ranges import Ranges, contains
from wq.launcher.kept import ArrayPast, Kept, Past
from wq.launcher.ledger import JOBS, Chunk, Entry, Ledger, Phase
from wq.launcher.task import Setting, Task
from wq.store.database import Database, migrations

KEPT_S = 90 * 86400.0  # where the files of a job are is known for so long after its end
MOST_KEPT = 200_000  # jobs of which that is known
TIDY_EVERY_S = 3600.0


LONGEST_KEPT = 4 << 20  # of a task; an array of very many rows is not kept
USED = (
    "SELECT 1 FROM submissions WHERE submissions.setting = settings.name UNION ALL"
    " SELECT 1 FROM outputs WHERE outputs.setting = settings.name"
)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What of an entry is stored, besides its task, which never changes."""

    id: int | None
    phase: Phase
    attempt: int
    allocation: Allocation | None
    declared: tuple[int, ...]
    outcome: Outcome | None
    rank_hosts: tuple[str, ...]
    cancelled: bool
    ran_before: bool = False
    boots: dict[str, str] = {}
    rank_lost: str | None = None
    reboots: int = 0
    replaced: int = 0
    tried: int = 0
    again: bool = False
    wait_s: float = 0.0
    kept: bool = False
    server_knows: bool
    node_done: bool
    over_tasks: Ranges = ()
    past: Past = ()
    array_past: ArrayPast | None = None


class StoredChunk(msgspec.Struct, frozen=True, kw_only=True):
    """What of a chunk is stored, besides its numbers."""

    allocation: Allocation
    declared: tuple[int, ...]
    boots: dict[str, str]


class Book:
    """One file for one queue of one server. Raises OSError if it cannot be used."""

    def __init__(self, directory: Path, queue: str, clock: Callable[[], float] = time.time) -> None:
        if not queue.isalnum():
            raise ValueError("not the name of a queue")
        self.database = Database(directory / f"ledger-{queue}.db", migrations("wq.launcher"))
        self.db = self.database.db
        self.settings: dict[str, tuple[Setting, str]] = {}  # token -> the setting and its name
        self.stored: set[str] = set()  # names of settings that are surely on disk
        self.stored_tokens: set[str] = set()  # submissions that are surely on disk
        self.written: set[tuple[str, int]] = set()  # entries whose tasks are surely on disk
        self.clock = clock
        self.tidied_at = 0.0

    def load(self, ledger: Ledger) -> None:
        """Read all that was stored."""
        rows = self.db.execute("SELECT name, setting FROM settings")
        settings = {name: msgspec.json.decode(blob, type=Setting) for name, blob in rows}
        first_ids: dict[str, int] = {}
        for token, name, first in self.db.execute("SELECT * FROM submissions"):
            self.settings[token] = (settings[name], name)
            self.stored_tokens.add(token)
            if first is not None:
                first_ids[token] = first
        for token, place, task, state in self.db.execute("SELECT * FROM entries ORDER BY token, place"):
            self.written.add((token, place))
            entry = Entry(token=token, index=place, task=msgspec.json.decode(task, type=Task))
            take_in(entry, msgspec.json.decode(state, type=Stored))
            if entry.id is None and token in first_ids:
                entry.id = JobId(first_ids[token] + place)
            ledger.add(entry, stored=True)
        self.load_chunks(ledger)
        for (hosts,) in self.db.execute("SELECT value FROM meta WHERE key = 'hosts'"):
            ledger.hosts = set(map(HostName, hosts.split()))
        for token, place, number, state in self.db.execute("SELECT * FROM tasks"):
            array = ledger.entries.get((token, place, None))
            if array is not None:
                entry = ledger.entries.get((token, place, number)) or new_task(array, number)
                take_in(entry, msgspec.json.decode(state, type=Stored))
                entry.id = array.id
                ledger.add_again(entry)

    def load_chunks(self, ledger: Ledger) -> None:
        """What was granted and is not over: some of it may have been given back, and is asked about."""
        rows = self.db.execute("SELECT * FROM chunks ORDER BY attempt, serial").fetchall()
        for serial, token, place, first, last, attempt, blob in rows:
            stored = msgspec.json.decode(blob, type=StoredChunk)
            ledger.last_chunk = max(ledger.last_chunk, serial)
            chunk = Chunk(
                serial=serial,
                token=token,
                index=place,
                first=first,
                last=last,
                attempt=AttemptNo(attempt),
                allocation=stored.allocation,
                declared=stored.declared,
                boots={HostName(host): boot for host, boot in stored.boots.items()},
            )
            array = ledger.entries.get((token, place, None))
            for number in range(first, last + 1):
                if place == JOBS:
                    job = ledger.entries.get((token, number, None))
                    if job is not None and job.attempt < attempt:  # else its row is as new
                        ledger.see_placed(in_chunk(job, chunk))
                elif array is not None and not contains(array.over_tasks, number):
                    ledger.add_again(in_chunk(new_task(array, number), chunk))
            if not chunk.left:
                ledger.dirty_chunks[chunk] = None

    def setting(self, token: str) -> Setting:
        return self.settings[token][0]

    def keep_setting(self, token: str, setting: Setting) -> None:
        """The setting of a submission, stored once however many have the same; on disk with the next commit."""
        blob = msgspec.json.encode(setting)
        name = hashlib.sha256(blob).hexdigest()
        self.settings[token] = (setting, name)

    def commit(self, ledger: Ledger, *, urgent: bool = True) -> None:
        """Store what has changed. After this returns it outlives a power cut. Raises NoRoom, DiskFailed.

        urgent: it may use what is kept in reserve for a full disk.
        """
        if not (ledger.dirty or ledger.dirty_chunks or ledger.first_ids or ledger.hosts_changed):
            return
        over = {key[0] for key, entry in ledger.dirty.items() if entry is None and not ledger.per_token[key[0]]}
        try:
            self.database.write(lambda: self.write(ledger, over), urgent=urgent)
        except BaseException:
            self.stored.clear()
            self.stored_tokens.clear()
            self.written.clear()
            raise
        for token in over:
            self.settings.pop(token, None)
            del ledger.per_token[token]
        ledger.dirty = {}
        ledger.dirty_chunks = {}
        ledger.first_ids = {}
        ledger.outputs_over = {}
        ledger.urgent = ledger.hosts_changed = False

    def retask(self, entry: Entry, task: Task) -> None:
        """What an entry is to run from now on; on disk before it is so. Raises NoRoom, DiskFailed."""
        row = (msgspec.json.encode(task), entry.token, entry.index)

        def put() -> None:
            self.db.execute("UPDATE entries SET task = ? WHERE token = ? AND place = ?", row)

        self.database.write(put)
        entry.task = task

    def write(self, ledger: Ledger, over: set[str]) -> None:
        new: list[Entry] = []
        changed: list[tuple[object, ...]] = []
        gone: list[tuple[str, int]] = []
        tasks: list[tuple[object, ...]] = []
        for (token, place, number), entry in ledger.dirty.items():
            if number is not None:
                state = None if entry is None else msgspec.json.encode(stored_of(entry))
                tasks.append((token, place, number, state))
            elif entry is None:
                gone.append((token, place))
            elif (token, place) in self.written:
                changed.append((msgspec.json.encode(stored_of(entry)), token, place))
            else:
                new.append(entry)
        self.db.executemany("DELETE FROM entries WHERE token = ? AND place = ?", gone)
        self.written.difference_update(gone)
        self.db.executemany("UPDATE entries SET state = ? WHERE token = ? AND place = ?", changed)
        self.put(new)
        self.write_tasks(tasks, ledger.dirty_chunks)
        firsts = [(first, token) for token, first in ledger.first_ids.items()]
        self.db.executemany("UPDATE submissions SET first = ? WHERE token = ?", firsts)
        if ledger.outputs_over:
            self.keep(ledger.outputs_over.values())
        self.drop_settings(over)
        if ledger.hosts_changed:
            hosts = " ".join(sorted(ledger.hosts))
            self.db.execute("INSERT OR REPLACE INTO meta VALUES ('hosts', ?)", (hosts,))

    def write_tasks(self, tasks: list[tuple[object, ...]], chunks: Iterable[Chunk]) -> None:
        kept = [row for row in tasks if row[3] is not None]
        gone = [row[:3] for row in tasks if row[3] is None]
        self.db.executemany("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?)", kept)
        self.db.executemany("DELETE FROM tasks WHERE token = ? AND place = ? AND number = ?", gone)
        rows, empty = [], []
        for chunk in chunks:
            if chunk.left:
                boots = {str(host): boot for host, boot in chunk.boots.items()}
                stored = StoredChunk(allocation=chunk.allocation, declared=chunk.declared, boots=boots)
                whose = (chunk.serial, chunk.token, chunk.index, chunk.first, chunk.last, chunk.attempt)
                rows.append((*whose, msgspec.json.encode(stored)))
            else:
                empty.append((chunk.serial,))
        if empty:
            self.db.executemany("DELETE FROM chunks WHERE serial = ?", empty)
        if rows:
            self.db.executemany("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def drop_settings(self, tokens: set[str]) -> None:
        """Submissions that are over, and their settings, unless another one has the same."""
        self.db.executemany("DELETE FROM submissions WHERE token = ?", [(token,) for token in tokens])
        self.stored_tokens -= tokens
        for name in {self.settings[token][1] for token in tokens if token in self.settings}:
            self.db.execute(f"DELETE FROM settings WHERE name = ? AND NOT EXISTS ({USED})", (name,))
            self.stored.discard(name)

    # where the files of jobs that are over are

    def keep(self, entries: Iterable[Entry]) -> None:
        """Jobs that are forgotten: where their output is, for `wq log`."""
        now = self.clock()
        rows = []
        for entry in entries:
            task: bytes | None = msgspec.json.encode(entry.task)
            name = self.settings[entry.token][1] if entry.token in self.settings else None
            if name is None or task is None or len(task) > LONGEST_KEPT:
                name = task = None
            rows.append((entry.id, now, msgspec.json.encode(kept_of(entry)), name, task))
        self.db.executemany("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?, ?)", rows)
        if now - self.tidied_at > TIDY_EVERY_S:
            self.tidied_at = now
            self.db.execute("DELETE FROM outputs WHERE ended < ?", (now - KEPT_S,))
            newest = "SELECT id FROM outputs ORDER BY id DESC LIMIT 1 OFFSET ?"
            self.db.execute(f"DELETE FROM outputs WHERE id <= ({newest})", (MOST_KEPT,))
            self.db.execute(f"DELETE FROM settings WHERE NOT EXISTS ({USED})")
            self.stored.clear()

    def kept(self, number: int) -> Kept | None:
        """What is known of a job that is over."""
        row = self.db.execute("SELECT kept FROM outputs WHERE id = ?", (number,)).fetchone()
        return msgspec.json.decode(row[0], type=Kept) if row is not None else None

    def past(self, number: int) -> tuple[Task, Setting] | None:
        """What a job that is over was, and where it was submitted."""
        sql = "SELECT task, settings.setting FROM outputs JOIN settings ON name = outputs.setting WHERE id = ?"
        row = self.db.execute(sql, (number,)).fetchone()
        if row is None or row[0] is None:
            return None
        return msgspec.json.decode(row[0], type=Task), msgspec.json.decode(row[1], type=Setting)

    def last_kept(self) -> int:
        """The largest id of those; 0 if there is none."""
        (number,) = self.db.execute("SELECT max(id) FROM outputs").fetchone()
        return number or 0

    def put_submission(self, token: str) -> None:
        setting, name = self.settings[token]
        if name not in self.stored:
            self.db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, msgspec.json.encode(setting)))
            self.stored.add(name)
        self.db.execute("INSERT OR IGNORE INTO submissions VALUES (?, ?, NULL)", (token, name))
        self.stored_tokens.add(token)

    def put(self, entries: Iterable[Entry]) -> None:
        """Entries that are not there yet."""
        rows = []
        for entry in entries:
            if entry.token not in self.stored_tokens:
                self.put_submission(entry.token)
            new = entry.phase is Phase.WAITING and not entry.attempt and entry.id is None and not entry.cancelled
            state = NEW if new else msgspec.json.encode(stored_of(entry))
            rows.append((entry.token, entry.index, msgspec.json.encode(entry.task), state))
        self.db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", rows)
        self.written.update((entry.token, entry.index) for entry in entries)


def stored_of(entry: Entry) -> Stored:
    return Stored(
        id=entry.id,
        phase=entry.phase,
        attempt=entry.attempt,
        allocation=entry.allocation,
        declared=entry.declared,
        outcome=entry.outcome,
        rank_hosts=tuple(sorted(entry.rank_hosts)),
        cancelled=entry.cancelled,
        ran_before=entry.ran_before,
        boots={str(host): boot for host, boot in entry.boots.items()},
        rank_lost=entry.rank_lost,
        reboots=entry.reboots,
        replaced=entry.replaced,
        tried=entry.tried,
        again=entry.again,
        wait_s=entry.wait_s,
        kept=entry.kept,
        server_knows=entry.server_knows,
        node_done=entry.node_done,
        over_tasks=entry.over_tasks,
        past=entry.past,
        array_past=entry.array_past,
    )


def kept_of(entry: Entry) -> Kept:
    """What is to be known of a job, or of a task, to find its files."""
    return Kept(
        name=entry.task.name,
        output=entry.task.output,
        error=entry.task.error,
        keep_output=entry.task.keep_output,
        attempt=entry.attempt,
        host=entry.main_host if entry.allocation is not None and entry.node_in_output else "",
        past=entry.past,
        ran_before=entry.ran_before,
        outcome=entry.outcome,
        array=entry.is_array,
        tasks=entry.over_tasks,
        array_past=entry.array_past,
    )


def take_in(entry: Entry, stored: Stored) -> None:
    """What was stored of an entry."""
    entry.id = JobId(stored.id) if stored.id is not None else None
    entry.phase = stored.phase
    entry.attempt = AttemptNo(stored.attempt)
    entry.allocation, entry.declared, entry.outcome = stored.allocation, stored.declared, stored.outcome
    entry.rank_hosts = frozenset(HostName(host) for host in stored.rank_hosts)
    entry.cancelled, entry.ran_before = stored.cancelled, stored.ran_before
    entry.boots = {HostName(host): boot for host, boot in stored.boots.items()}
    entry.rank_lost = HostName(stored.rank_lost) if stored.rank_lost is not None else None
    entry.reboots, entry.replaced = stored.reboots, stored.replaced
    entry.again, entry.kept = stored.again, stored.kept
    entry.tried, entry.wait_s = stored.tried, stored.wait_s
    entry.server_knows, entry.node_done, entry.over_tasks = stored.server_knows, stored.node_done, stored.over_tasks
    entry.past, entry.array_past = stored.past, stored.array_past


def new_task(array: Entry, number: int) -> Entry:
    """An entry for a task of an array."""
    return Entry(token=array.token, index=array.index, task=array.task, number=number, id=array.id)


def in_chunk(entry: Entry, chunk: Chunk) -> Entry:
    """With the intent that is stored for its chunk."""
    if entry.chunk is not None:  # of an earlier attempt
        entry.chunk.left -= 1
    entry.phase, entry.attempt = Phase.INTENDED, chunk.attempt
    entry.allocation, entry.declared, entry.boots = chunk.allocation, chunk.declared, chunk.boots
    entry.node_done = False
    entry.chunk = chunk
    chunk.left += 1
    return entry


NEW = msgspec.json.encode(stored_of(Entry(token="", index=0, task=Task())))  # what most entries are at first
