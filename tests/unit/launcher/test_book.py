"""The ledger on disk: what was stored is there again, all of it or nothing."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from tests.unit.core.worlds import grant
from tests.unit.launcher.desk import SETTING, Desk, start
from wq.core.job import AttemptNo, HostName, JobId, Mode, Outcome, OutcomeKind, Priority, Requirement
from wq.launcher.book import Book, Stored
from wq.launcher.kept import ArrayPast
from wq.launcher.ledger import Entry, Ledger, Phase
from wq.launcher.task import ArrayTasks, Setting, Task

OTHER = Setting(cwd="/tmp/ž", umask=0o077, env={"A": "b\nc"}, limits={"nofile": 1024, "core": -1})
LEARNT_AGAIN = {"maybe_sent", "started", "shared", "stop_grace_s", "main_end", "live_ranks", "rank_ends", "hosts_asked"}
LEARNT_AGAIN |= {"chunk", "lane", "fed", "patience_s", "time_s", "suspended", "run_s", "ntasks"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def full_entry() -> Entry:
    """One in which nothing is as it would be by default."""
    requirement = Requirement(
        mode=Mode.BYNODE,
        n=3,
        groups=("gen1", "gen2"),
        notgroups=("old",),
        host="a",
        min_cores=4,
        min_mem_gb=1.5,
        threads=2,
        priority=Priority.BLOCK,
    )
    task = Task(
        requirement=requirement,
        argv=("./fit", "a b", "\u017e\n"),
        name="fit",
        output="/home/anze/fit-\0.wqlog",
        error="/home/anze/fit.err",
        keep_output="failed",
        hostfile="auto",
        env_mode="login",
        x=True,
        requeue=False,
        private=True,
        foreground=True,
        tty=True,
        time_s=7200.0,
        signal=10,
        signal_s=30.0,
        array=ArrayTasks(tasks=((0, 9, 1),), at_most=3, columns=("x",), product=(("x", ("1", "2")),)),
    )
    return Entry(
        token="t.0",
        index=7,
        task=task,
        id=JobId(12),
        phase=Phase.ENDED,
        attempt=AttemptNo(3),
        allocation=grant("a:0,1 b:2"),
        declared=(8, 4),
        outcome=Outcome(kind=OutcomeKind.EXITED, exit_status=3, by="bine", message="so", cpu_s=0.5),
        rank_hosts=frozenset({HostName("b")}),
        cancelled=True,
        boots={HostName("a"): "boot 1", HostName("b"): "boot 7"},
        rank_lost=HostName("b"),
        reboots=2,
        replaced=1,
        tried=2,
        again=True,
        wait_s=60.0,
        ran_before=True,
        past=((1, "a"), (2, "b")),
        array_past=ArrayPast(attempts={2: ((3, 5),)}, hosts={"a": ((3, 3),)}, past={3: ((1, "b"),)}),
        kept=True,
        server_knows=True,
        node_done=False,
        over_tasks=((0, 4), (7, 7)),
    )


def stored_again(place: Path, *entries: Entry) -> Ledger:
    """Written by one launcher, read by the next."""
    ledger, book = Ledger(), Book(place, "q1")
    for entry in entries:
        book.keep_setting(entry.token, SETTING)
        ledger.add(entry)
    book.commit(ledger)
    book.db.close()
    again = Ledger()
    book = Book(place, "q1")
    book.load(again)
    book.db.close()
    return again


class TestRoundTrip:
    def test_all_that_is_stored_comes_back(self, place: Path) -> None:
        again = stored_again(place, full_entry())
        (entry,) = again.entries.values()
        expected = full_entry()
        for field in fields(Entry):
            if field.name not in LEARNT_AGAIN:
                assert getattr(entry, field.name) == getattr(expected, field.name), field.name

    def test_every_field_is_either_stored_or_learnt_again(self) -> None:
        named = {field.name for field in fields(Entry)} - LEARNT_AGAIN - {"token", "index", "number", "task"}
        assert named == set(Stored.__struct_fields__) - {"output"}  # (of the task, with the id in it)

    def test_an_entry_that_tests_forget_to_fill_would_prove_nothing(self) -> None:
        plain, full = Entry(token="t", index=0, task=Task()), full_entry()
        same = [f.name for f in fields(Entry) if getattr(plain, f.name) == getattr(full, f.name)]
        assert set(same) == LEARNT_AGAIN | {"number"}

    def test_nothing_is_to_be_stored_after_a_load_and_a_start_may_have_been_sent(self, place: Path) -> None:
        again = stored_again(place, full_entry())
        (entry,) = again.entries.values()
        assert (again.dirty, entry.maybe_sent) == ({}, True)
        assert again.by_id[JobId(12)] is entry

    def test_entries_come_back_in_their_order(self, place: Path) -> None:
        entries = [Entry(token="t", index=index, task=Task(name=f"j{index}")) for index in range(12)]
        again = stored_again(place, *reversed(entries))
        assert [entry.task.name for entry in again.entries.values()] == [f"j{index}" for index in range(12)]

    def test_the_setting_comes_back_with_each_submission(self, place: Path) -> None:
        book, ledger = Book(place, "q1"), Ledger()
        for token, setting in (("t1", SETTING), ("t2", OTHER)):
            book.keep_setting(token, setting)
            ledger.add(Entry(token=token, index=0, task=Task()))
        book.commit(ledger)
        book.db.close()
        again = Book(place, "q1")
        again.load(Ledger())
        assert (again.setting("t1"), again.setting("t2")) == (SETTING, OTHER)
        again.db.close()


class TestCommit:
    @pytest.fixture
    def book(self, place: Path) -> Iterator[Book]:
        book = Book(place, "q1")
        yield book
        book.db.close()

    def rows(self, book: Book) -> tuple[int, int]:
        """(entries, settings) on disk."""
        count = "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM settings)"
        entries, settings = book.db.execute(count).fetchone()
        return entries, settings

    def filled(self, book: Book, njobs: int = 3) -> Desk:
        desk = Desk(0)
        for number in range(1, njobs + 1):
            book.keep_setting(f"t{number}", SETTING)
            desk.add(number)
        book.commit(desk.ledger)
        return desk

    def test_stores_once_what_many_submissions_have_in_common(self, book: Book) -> None:
        self.filled(book)
        assert self.rows(book) == (3, 1)

    def test_leaves_nothing_to_be_stored(self, book: Book) -> None:
        assert self.filled(book).ledger.dirty == {}

    def test_forgets_what_was_dropped_and_the_setting_with_the_last(self, book: Book) -> None:
        desk = self.filled(book)
        for number, left in ((1, (2, 1)), (2, (1, 1)), (3, (0, 0))):
            desk.ledger.drop(desk.entry(number))
            book.commit(desk.ledger)
            assert self.rows(book) == left
        assert book.settings == {}

    def test_a_setting_may_come_back_in_the_transaction_in_which_it_went(self, book: Book) -> None:
        desk = self.filled(book, 1)
        desk.ledger.drop(desk.entry(1))
        book.keep_setting("t2", SETTING)
        desk.add(2)
        book.commit(desk.ledger)
        assert self.rows(book) == (1, 1)

    def test_and_after_it(self, book: Book) -> None:
        desk = self.filled(book, 1)
        desk.ledger.drop(desk.entry(1))
        book.commit(desk.ledger)
        book.keep_setting("t2", SETTING)
        desk.add(2)
        book.commit(desk.ledger)
        assert self.rows(book) == (1, 1)

    def test_one_that_was_never_stored_can_be_dropped(self, book: Book) -> None:
        book.keep_setting("t1", SETTING)
        desk = Desk(0)
        desk.ledger.drop(desk.add(1))
        book.commit(desk.ledger)
        assert (self.rows(book), book.settings) == ((0, 0), {})

    def test_is_all_or_nothing(self, book: Book) -> None:
        desk = self.filled(book, 2)
        desk.ordered(start(1, "a:0"))
        desk.ledger.store(desk.entry(1))
        desk.ledger.store(desk.entry(2))
        desk.entry(2).outcome = object()  # type: ignore[assignment]
        with pytest.raises(TypeError):
            book.commit(desk.ledger)
        assert len(desk.ledger.dirty) == 2
        desk.entry(2).outcome = None
        book.commit(desk.ledger)
        again = Ledger()
        book.load(again)
        assert again.by_id[JobId(1)].attempt == 1

    def test_costs_no_more_for_a_long_ledger(self, book: Book) -> None:
        desk = self.filled(book, 300)
        statements: list[str] = []
        book.db.set_trace_callback(statements.append)
        desk.ledger.drop(desk.entry(7))
        book.commit(desk.ledger)
        book.db.set_trace_callback(None)
        for statement in statements:
            plan = [] if statement in ("COMMIT",) or statement.startswith("BEGIN") else self.plan_of(book, statement)
            assert not [step for step in plan if step.startswith("SCAN")], statement

    def plan_of(self, book: Book, statement: str) -> list[str]:
        return [str(row[3]) for row in book.db.execute(f"EXPLAIN QUERY PLAN {statement}")]


class TestTheFile:
    def test_is_for_its_owner_alone(self, place: Path) -> None:
        stored_again(place, full_entry())
        for path in place.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path

    def test_each_queue_has_its_own(self, place: Path) -> None:
        stored_again(place, full_entry())
        other = Ledger()
        book = Book(place, "q2")
        book.load(other)
        book.db.close()
        assert other.entries == {}

    @pytest.mark.parametrize("name", ["../q", "q/1", "", "q.1", "q 1"])
    def test_the_name_of_a_queue_is_no_path(self, place: Path, name: str) -> None:
        with pytest.raises(ValueError, match="not the name of a queue"):
            Book(place, name)

    def test_one_of_a_later_version_is_refused(self, place: Path) -> None:
        stored_again(place, full_entry())
        db = sqlite3.connect(place / "ledger-q1.db")
        db.execute("PRAGMA user_version = 99")
        db.close()
        with pytest.raises(OSError, match=r"was written by wq \S+ \(format 99\)"):
            Book(place, "q1")

    def test_fields_that_an_older_version_did_not_have_have_their_defaults(self, place: Path) -> None:
        stored_again(place, full_entry())
        db = sqlite3.connect(place / "ledger-q1.db")
        db.execute("UPDATE entries SET state = json_remove(state, '$.boots', '$.ran_before', '$.reboots', '$.again')")
        db.commit()
        db.close()
        ledger, book = Ledger(), Book(place, "q1")
        book.load(ledger)
        book.db.close()
        (entry,) = ledger.entries.values()
        assert (entry.boots, entry.ran_before, entry.again) == ({}, False, False)
