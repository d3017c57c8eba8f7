"""The database: what was committed is there again; what was not never happened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.core.worlds import cluster, need
from wq.core.engine import Now, Queue, tick
from wq.core.job import JobSpec, Outcome, OutcomeKind, Uid
from wq.core.requests import (
    Answer,
    AttemptEnded,
    AttemptStarted,
    ClusterRead,
    Incoming,
    LauncherHere,
    Refusal,
    Request,
    SetLimit,
    SetNode,
    Submit,
    Who,
)
from wq.store.store import SpoolInUse, Store

OWNER = Who(uid=Uid(500), user="owner")
ANZE = Who(uid=Uid(1000), user="anze")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "spool")
    yield made
    made.close()


def queue() -> Queue:
    made = Queue(owner=OWNER.uid)
    play(made, None, OWNER, ClusterRead(nodes=cluster("a:4 b:4")))
    play(made, None, ANZE, LauncherHere())
    return made


def play(
    queue: Queue, store: Store | None, who: Who, request: Request, at_s: float = 1000.0
) -> Answer | Refusal | None:
    """One turn of the server's loop, on disk if there is one."""
    draft = tick(queue, [Incoming(who=who, request=request, reply_to=1)], Now(wall_s=at_s, boot_s=at_s))
    if store is not None:
        store.commit(draft)
    draft.settle()
    return draft.answers[0][1] if draft.answers else None


def submission(count: int, token: str = "t", n: int = 1) -> Submit:
    job = JobSpec(uid=Uid(-1), user="", name="job", command="./job", requirement=need(n=n))
    return Submit(token=token, jobs=(job,) * count)


def reopened(store: Store, tmp_path: Path) -> tuple[Store, Queue]:
    store.close()
    again = Store(tmp_path / "spool")
    loaded = Queue(owner=OWNER.uid)
    again.load(loaded)
    return again, loaded


def test_a_whole_queue_is_there_again(store: Store, tmp_path: Path) -> None:
    before = queue()
    play(before, store, ANZE, submission(12))
    first = next(iter(before.active.values()))
    play(before, store, ANZE, AttemptStarted(id=first.id, attempt=first.attempt))
    play(before, store, ANZE, SetLimit(run=25, cores=100))
    play(before, store, OWNER, SetNode(hosts=("b",), state="drain", reason="new disk"))
    again, after = reopened(store, tmp_path)
    assert (after.queued, after.active, after.held) == (before.queued, before.active, before.held)
    assert (after.next_id, after.limits, after.tokens) == (before.next_id, before.limits, before.tokens)
    assert again.marked_nodes()["b"].reason == "new disk"
    again.close()


def test_a_repeated_submission_gives_the_same_ids_after_a_restart(store: Store, tmp_path: Path) -> None:
    before = queue()
    first = play(before, store, ANZE, submission(3))
    again, after = reopened(store, tmp_path)
    assert play(after, again, ANZE, submission(3)) == first
    assert after.next_id == 4
    again.close()


def test_finished_jobs_are_found_by_id_and_by_time(store: Store) -> None:
    made = queue()
    play(made, store, ANZE, submission(2))
    outcome = Outcome(kind=OutcomeKind.EXITED, exit_status=3)
    for job in list(made.active.values()):
        play(made, store, ANZE, AttemptEnded(id=job.id, attempt=job.attempt, outcome=outcome), at_s=2000.0 + job.id)
    assert [job.id for job in store.finished(ids=[(1, 1)])] == [1]
    assert [job.outcome for job in store.finished(ids=[(1, 9)])] == [outcome, outcome]
    assert [job.id for job in store.finished(ids=None, since_s=2002.0)] == [2]
    assert store.finished(ids=[(1 << 63, 1 << 70)]) == []


def test_ids_are_never_used_again_when_old_jobs_are_forgotten(store: Store, tmp_path: Path) -> None:
    made = queue()
    play(made, store, ANZE, submission(2))
    for job in list(made.active.values()):
        ended = AttemptEnded(id=job.id, attempt=job.attempt, outcome=Outcome(kind=OutcomeKind.EXITED, exit_status=0))
        play(made, store, ANZE, ended)
    for _ in range(2):
        store.prune(1e9)
    assert store.finished(ids=[(1, 9)]) == []
    again, after = reopened(store, tmp_path)
    assert after.next_id == 3
    again.close()


def test_a_commit_that_fails_leaves_nothing_behind(store: Store) -> None:
    made = queue()
    draft = tick(made, [Incoming(who=ANZE, request=submission(3))], Now(wall_s=1.0, boot_s=1.0))
    store.db.execute("CREATE TRIGGER no BEFORE INSERT ON jobs WHEN NEW.id = 3 BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(sqlite3.Error):
        store.commit(draft)
    assert store.db.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    assert not made.queued
    assert not made.active


def test_a_spool_has_one_server(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SpoolInUse):
        Store(tmp_path / "spool")


def test_a_database_of_the_future_is_refused(tmp_path: Path) -> None:
    made = Store(tmp_path / "other")
    made.db.execute("PRAGMA user_version = 99")
    made.close()
    with pytest.raises(OSError, match="version 99"):
        Store(tmp_path / "other")


def test_the_spool_is_private(store: Store, tmp_path: Path) -> None:
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
