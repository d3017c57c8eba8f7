"""The ledger on disk: SQLite in the user's own private directory, one transaction for a turn of the loop."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from wq.core.job import Allocation, AttemptNo, HostName, JobId, Outcome
from wq.launcher.ledger import Entry, Ledger, Phase
from wq.launcher.task import Setting, Task
from wq.store.database import Database, migrations


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What of an entry is stored."""

    task: Task
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
    again: bool = False
    server_knows: bool
    node_done: bool


class Book:
    """One file for one queue of one server. Raises OSError if it cannot be used."""

    def __init__(self, directory: Path, queue: str) -> None:
        if not queue.isalnum():
            raise ValueError("not the name of a queue")
        self.database = Database(directory / f"ledger-{queue}.db", migrations("wq.launcher"))
        self.db = self.database.db
        self.settings: dict[str, tuple[Setting, str]] = {}  # token -> the setting and its name
        self.stored: set[str] = set()  # names of settings that are surely on disk

    def load(self, ledger: Ledger) -> None:
        """Read all that was stored."""
        rows = self.db.execute("SELECT name, setting FROM settings")
        settings = {name: msgspec.json.decode(blob, type=Setting) for name, blob in rows}
        for token, place, name, blob in self.db.execute("SELECT * FROM entries ORDER BY token, place"):
            stored = msgspec.json.decode(blob, type=Stored)
            self.settings[token] = (settings[name], name)
            entry = Entry(
                token=token,
                index=place,
                task=stored.task,
                id=JobId(stored.id) if stored.id is not None else None,
                phase=stored.phase,
                attempt=AttemptNo(stored.attempt),
                allocation=stored.allocation,
                declared=stored.declared,
                outcome=stored.outcome,
                rank_hosts=frozenset(HostName(host) for host in stored.rank_hosts),
                cancelled=stored.cancelled,
                ran_before=stored.ran_before,
                boots={HostName(host): boot for host, boot in stored.boots.items()},
                rank_lost=HostName(stored.rank_lost) if stored.rank_lost is not None else None,
                reboots=stored.reboots,
                again=stored.again,
                server_knows=stored.server_knows,
                node_done=stored.node_done,
            )
            ledger.add(entry, stored=True)

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
        if not ledger.dirty:
            return
        over = {token for (token, _), entry in ledger.dirty.items() if entry is None and not ledger.per_token[token]}
        try:
            self.database.write(lambda: self.write(ledger, over), urgent=urgent)
        except BaseException:
            self.stored.clear()
            raise
        for token in over:
            self.settings.pop(token, None)
            del ledger.per_token[token]
        ledger.dirty = {}

    def write(self, ledger: Ledger, over: set[str]) -> None:
        for (token, place), entry in ledger.dirty.items():
            if entry is None:
                self.db.execute("DELETE FROM entries WHERE token = ? AND place = ?", (token, place))
            else:
                self.put(entry)
        self.drop_settings(over)

    def drop_settings(self, tokens: set[str]) -> None:
        """The settings of submissions that are over, unless another one has the same."""
        for name in {self.settings[token][1] for token in tokens if token in self.settings}:
            used = "SELECT 1 FROM entries WHERE setting = ?"
            self.db.execute(f"DELETE FROM settings WHERE name = ? AND NOT EXISTS ({used})", (name, name))
            self.stored.discard(name)

    def put(self, entry: Entry) -> None:
        setting, name = self.settings[entry.token]
        if name not in self.stored:
            self.db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, msgspec.json.encode(setting)))
            self.stored.add(name)
        stored = Stored(
            task=entry.task,
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
            again=entry.again,
            server_knows=entry.server_knows,
            node_done=entry.node_done,
        )
        row = (entry.token, entry.index, name, msgspec.json.encode(stored))
        self.db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", row)
