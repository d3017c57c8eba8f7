"""Databases that earlier versions wrote are read, with all that is in them: tests/released has those of each."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.unit.core.engines import ANZE, BINE, OWNER
from tests.unit.core.worlds import cluster
from wq import __version__
from wq.core.cluster import NodeState
from wq.core.job import JobId, Outcome, OutcomeKind, State, Uid
from wq.core.plan import Limit
from wq.core.queue import Queue
from wq.launcher.book import Book
from wq.launcher.ledger import Ledger, Phase
from wq.store.database import migrations
from wq.store.past import Wanted
from wq.store.store import Store

RELEASED = Path(__file__).parents[1] / "released"
VERSIONS = sorted(path.name for path in RELEASED.iterdir() if path.is_dir())
QUEUE = "0123456789abcdef"


def test_there_is_one_of_every_format_that_was_released() -> None:
    """(A format that came and went between two releases was never anybody's.)"""
    formats = {"queue.db": "wq.store", "ledger.db": "wq.launcher"}
    for name, package in formats.items():
        found = set()
        for version in VERSIONS:
            (number,) = sqlite3.connect(RELEASED / version / name).execute("PRAGMA user_version").fetchone()
            found.add(number)
        newest = len(migrations(package))
        assert {1, 2} <= found <= set(range(1, newest + 1))
        assert newest in found or __version__ not in VERSIONS  # a release has added its own


@pytest.mark.parametrize("version", VERSIONS)
class TestTheQueue:
    """Jobs 1 starting, 2 running, 3 stopping, 4 queued, 5 and 6 done; limits, and a node that drains."""

    @pytest.fixture
    def store(self, version: str, tmp_path: Path) -> Store:
        spool = tmp_path / "spool"
        spool.mkdir(mode=0o700)
        shutil.copy(RELEASED / version / "queue.db", spool)
        return Store(spool)

    def test_has_all_its_jobs(self, store: Store) -> None:
        queue = Queue(owner=OWNER.uid, nodes=cluster("a:4:g b:4:g"))
        store.load(queue)
        assert {job.id: job.state for job in queue.active.values()} == {
            1: State.STARTING,
            2: State.RUNNING,
            3: State.STOPPING,
        }
        assert [(job.id, job.spec.requirement.n) for job in queue.queued.values()] == [(4, 8)]
        assert all(job.allocation is not None and job.spec.requeue for job in queue.active.values())
        assert queue.next_id == 7
        assert queue.tokens[(ANZE.uid, "second")] == (4, 5, 6)
        store.close()

    def test_has_its_past_its_limits_and_what_was_said_of_nodes(self, store: Store) -> None:
        done = {job.id: job.outcome for job in store.finished(ids=None)}
        assert done[JobId(5)] == Outcome(kind=OutcomeKind.SIGNALLED, signal=9, cpu_s=1.5)
        assert set(done) == {5, 6}
        wanted = Wanted(uids=store.past.uids(), failed=True)
        assert [(entry.id, entry.name) for entry in store.past.entries(wanted)] == [(6, "job"), (5, "job")]
        queue = Queue(owner=OWNER.uid)
        store.load(queue)
        limits = {(Uid(ANZE.uid), False): Limit(run=3, cores=None), (Uid(ANZE.uid), True): Limit(run=None, cores=5)}
        assert queue.limits == limits
        assert (store.marked_nodes()["b"].state, store.queue_name) == (NodeState.DRAIN, QUEUE)
        assert BINE.uid in queue.users
        store.close()


@pytest.mark.parametrize("version", VERSIONS)
class TestTheLedger:
    """Jobs 1 running on a, 2 ended on a and b, 3 waiting; 12 ended, with nothing in it as it would be by default."""

    def test_has_all_its_entries(self, version: str, tmp_path: Path) -> None:
        shutil.copy(RELEASED / version / "ledger.db", tmp_path / f"ledger-{QUEUE}.db")
        book, ledger = Book(tmp_path, QUEUE), Ledger()
        book.load(ledger)
        assert {entry.id: (entry.phase, entry.attempt) for entry in ledger.entries.values()} == {
            1: (Phase.INTENDED, 1),
            2: (Phase.ENDED, 1),
            3: (Phase.WAITING, 0),
            12: (Phase.ENDED, 3),
        }
        one, full = ledger.by_id[JobId(1)], ledger.by_id[JobId(12)]
        assert (one.boots, one.again, one.task.requeue) == ({"a": "boot 1"}, False, True)
        assert ledger.by_id[JobId(3)].boots == {}
        assert full.task.argv == ("./fit", "a b", "\u017e\n")
        assert full.task.output == "/home/anze/fit-\0.wqlog"
        assert (full.rank_hosts, full.outcome is not None and full.outcome.exit_status) == (frozenset("b"), 3)
        assert book.setting(full.token).env == {"A": "b\nc"}
        book.database.close()

    def test_a_copy_of_it_as_it_was_stays_beside_it(self, version: str, tmp_path: Path) -> None:
        path = tmp_path / f"ledger-{QUEUE}.db"
        shutil.copy(RELEASED / version / "ledger.db", path)
        (before,) = sqlite3.connect(path).execute("PRAGMA user_version").fetchone()
        Book(tmp_path, QUEUE).database.close()
        if before < len(migrations("wq.launcher")):
            copy = path.with_name(f"{path.name}.v{before}")
            assert (copy.stat().st_mode & 0o777) == 0o600
            assert sqlite3.connect(copy).execute("SELECT count(*) FROM entries").fetchone() == (4,)
