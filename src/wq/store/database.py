"""One SQLite file of one process: its versions, what happens when the disk is full, and what when it fails.

The server's queue and a launcher's ledger lie in such files. A commit is on disk when it returns (WAL, full sync).
Two things can go wrong with a disk, and they are not the same. It takes nothing just now (full, quota, read-only):
nothing was stored, nothing is broken, and a reserve is kept for what must be stored even then. Or it fails (an error of
a write or of a sync): what is on disk is not known, and the process must end, for the disk is the truth.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from wq import __version__

RESERVE_BYTES = 1 << 20
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
MAYBE_NO_ROOM = frozenset(
    {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_CANTOPEN}
)


def migrations(package: str) -> list[str]:
    """The steps of a database, from the files NNNN.sql of a package's migrations, in their order."""
    found = [file for file in files(package).joinpath("migrations").iterdir() if file.name.endswith(".sql")]
    return [file.read_text("utf-8") for file in sorted(found, key=lambda file: file.name)]


class NoRoom(Exception):
    """The disk takes nothing just now; its text is why. Nothing was stored, and nothing is broken."""


class DiskFailed(Exception):
    """A write or a sync failed, so that what is on disk is not known. The process must end."""


class Database:
    """A database in a private directory. steps[n] makes version n + 1 out of version n, in SQL.

    Raises OSError if the file was written by a later version, or cannot be used.
    """

    def __init__(self, path: Path, steps: Sequence[str]) -> None:
        self.path = path
        self.reserve = path.with_name(f"{path.name}.reserve")
        self.db = sqlite3.connect(path, isolation_level=None)
        try:
            os.chmod(path, 0o600)
            self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
            self.prepare(steps)
        except sqlite3.Error as error:
            self.db.close()
            raise OSError(f"{path} cannot be used: {error}") from None
        except BaseException:
            self.db.close()
            raise
        self.keep_reserve()

    def prepare(self, steps: Sequence[str]) -> None:
        """Bring the tables to the newest version, all of it or nothing; a copy of what was there stays beside it."""
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        if version > len(steps):
            (writer,) = self.db.execute("SELECT value FROM meta WHERE key = 'written_by'").fetchone()
            ours = f"this is wq {__version__}, which knows formats up to {len(steps)}"
            raise OSError(f"{self.path} was written by wq {writer} (format {version}); {ours}: use a later one")
        if version == len(steps):
            return
        if version:
            with contextlib.closing(sqlite3.connect(self.path.with_name(f"{self.path.name}.v{version}"))) as copy:
                self.db.backup(copy)
            os.chmod(self.path.with_name(f"{self.path.name}.v{version}"), 0o600)
        script = "\n".join(steps[version:])
        written = f"INSERT OR REPLACE INTO meta VALUES ('written_by', '{__version__}');"
        self.db.executescript(f"BEGIN IMMEDIATE; {script} {written} PRAGMA user_version = {len(steps)}; COMMIT;")

    def write(self, body: Callable[[], None], *, urgent: bool = False) -> None:
        """Run `body` in one transaction. After this returns, what it wrote outlives a power cut.

        urgent: it may use the reserve. Raises NoRoom, DiskFailed; then nothing of it is stored.
        """
        try:
            self.transact(body)
        except NoRoom:
            if not urgent or not self.has_reserve:
                raise
            self.use_reserve()
            self.transact(body)

    def transact(self, body: Callable[[], None]) -> None:
        try:
            self.db.execute("BEGIN IMMEDIATE")
            body()
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            self.roll_back()
            raise self.trouble(error) from error
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    def trouble(self, error: sqlite3.Error) -> Exception:
        """Is the disk full, or has it failed? What is neither is a bug of ours, and stays what it is."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return error
        if code == sqlite3.SQLITE_FULL:
            return NoRoom(os.strerror(errno.ENOSPC))
        if code & 0xFF == sqlite3.SQLITE_READONLY:
            return NoRoom(os.strerror(errno.EROFS))
        if code in MAYBE_NO_ROOM and (why := self.why_no_room()) is not None:
            return NoRoom(why)
        if code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN):
            return DiskFailed(f"{self.path}: {error} ({error.sqlite_errorname})")
        return error

    def why_no_room(self) -> str | None:
        """What the disk says against a few bytes more; None if it takes them."""
        trial = self.path.with_name(f"{self.path.name}.trial")
        try:
            put(trial, 1 << 16)
        except OSError as error:
            return os.strerror(error.errno or 0) if error.errno in NO_ROOM else None
        finally:
            with contextlib.suppress(OSError):
                trial.unlink()
        return None

    # the reserve

    @property
    def has_reserve(self) -> bool:
        return self.reserve.exists()

    def use_reserve(self) -> None:
        """Make room for what must be stored."""
        with contextlib.suppress(OSError):
            self.reserve.unlink()
        with contextlib.suppress(sqlite3.Error):
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def keep_reserve(self) -> bool:
        """True if there is room, as far as is known: the reserve is there, or could be made again."""
        if self.has_reserve:
            return True
        try:
            put(self.reserve, RESERVE_BYTES)
        except OSError:
            with contextlib.suppress(OSError):
                self.reserve.unlink()
            return False
        return True

    def close(self) -> None:
        self.db.close()


def put(path: Path, size_bytes: int) -> None:
    """A file with so many bytes that really take their room. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        left = size_bytes
        while left:
            left -= os.write(fd, os.urandom(min(left, 1 << 16)))
        os.fsync(fd)
    finally:
        os.close(fd)
