"""One file of one process: a full disk is waited out, a disk that fails is not."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wq.store.database import Database, DiskFailed, NoRoom

STEPS = [
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); CREATE TABLE things (name TEXT NOT NULL);",
    "ALTER TABLE things ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey';",
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "it.db", STEPS)
    yield database
    database.close()


def names(database: Database) -> list[str]:
    return [name for (name,) in database.db.execute("SELECT name FROM things ORDER BY name")]


def put_in(database: Database, name: str, *, urgent: bool = False) -> None:
    def body() -> None:
        database.db.execute("INSERT INTO things (name) VALUES (?)", (name,))

    database.write(body, urgent=urgent)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """As on a disk that is full: this process can make no file longer than that (Python ignores SIGXFSZ)."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


class TestVersions:
    def test_a_new_one_is_made_by_all_steps(self, database: Database) -> None:
        put_in(database, "x")
        assert database.db.execute("SELECT * FROM things").fetchall() == [("x", "grey")]

    def test_an_old_one_is_brought_to_the_newest_with_all_that_is_in_it(self, tmp_path: Path) -> None:
        old = Database(tmp_path / "it.db", STEPS[:1])
        put_in(old, "x")
        old.close()
        new = Database(tmp_path / "it.db", STEPS)
        assert new.db.execute("SELECT * FROM things").fetchall() == [("x", "grey")]
        new.close()

    def test_a_step_that_fails_changes_nothing(self, tmp_path: Path) -> None:
        old = Database(tmp_path / "it.db", STEPS[:1])
        put_in(old, "x")
        old.close()
        with pytest.raises(OSError, match="cannot be used"):
            Database(tmp_path / "it.db", [*STEPS, "ALTER TABLE nothing ADD COLUMN x;"])
        again = Database(tmp_path / "it.db", STEPS[:1])
        assert again.db.execute("SELECT * FROM things").fetchall() == [("x",)]
        again.close()

    def test_one_of_a_later_version_says_whose_it_is(self, database: Database, tmp_path: Path) -> None:
        database.db.execute("UPDATE meta SET value = '7.0' WHERE key = 'written_by'")
        database.close()
        with pytest.raises(OSError, match=r"was written by wq 7.0 \(format 2\); this is wq .* formats up to 1"):
            Database(tmp_path / "it.db", STEPS[:1])


class TestAFullDisk:
    def test_takes_nothing_and_breaks_nothing(self, database: Database) -> None:
        put_in(database, "before")
        with files_of_at_most(1), pytest.raises(NoRoom, match=os.strerror(errno.EFBIG)):
            put_in(database, "x" * 10_000)
        put_in(database, "between")
        assert names(database) == ["before", "between"]

    def test_what_must_be_stored_has_the_reserve(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """The disk is as full as it can be: there is room for something only when the reserve is given up."""
        transact = database.transact

        def on_a_full_disk(body: object) -> None:
            if database.has_reserve:
                raise NoRoom("No space left on device")
            transact(body)  # type: ignore[arg-type]

        monkeypatch.setattr(database, "transact", on_a_full_disk)
        with pytest.raises(NoRoom):
            put_in(database, "wish")
        put_in(database, "end of a job", urgent=True)
        assert names(database) == ["end of a job"]
        assert not database.has_reserve

    def test_without_the_reserve_not_even_that(self, database: Database) -> None:
        with files_of_at_most(1), pytest.raises(NoRoom):
            put_in(database, "x" * 10_000, urgent=True)
        assert not database.has_reserve

    def test_the_reserve_is_made_again_when_there_is_room(self, database: Database) -> None:
        database.use_reserve()
        with files_of_at_most(1000):
            assert not database.keep_reserve()
            assert not database.reserve.exists()
        assert database.keep_reserve()
        assert database.reserve.stat().st_blocks * 512 >= 1 << 20


class TestADiskThatFails:
    def test_is_not_taken_for_a_full_one(self, database: Database) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"
        assert isinstance(database.trouble(error), DiskFailed)

    def test_a_write_that_fails_though_there_is_room_is_a_failure(self, database: Database) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE"
        assert isinstance(database.trouble(error), DiskFailed)

    def test_a_bug_of_ours_stays_one(self, database: Database) -> None:
        def bug() -> None:
            database.db.execute("INSERT INTO nowhere VALUES (1)")

        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            database.write(bug)
        assert not database.db.in_transaction
