"""The past on disk: what is too old, or too much, goes by parts, with all that belongs to it."""

from __future__ import annotations

import pytest

from tests.unit.core.engines import ANZE, BINE, array, spec
from tests.unit.store.test_store import Kept, loaded, pruned
from wq.core.job import JobId, Outcome, OutcomeKind
from wq.core.requests import AttemptEnded, Remove, Reports
from wq.store import past
from wq.store.past import Wanted
from wq.store.store import Store


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "FORGOTTEN_AT_ONCE", 2)
    monkeypatch.setattr(past, "TASKS_FORGOTTEN_AT_ONCE", 3)
    monkeypatch.setattr(past, "READ_FIRST", 2)
    monkeypatch.setattr(past, "READ_AT_ONCE", 3)
    monkeypatch.setattr(past, "COUNTED_AT_ONCE", 3)


def finish(play: Kept, status: int = 0) -> None:
    """All that runs, in this turn and in those that follow."""
    outcome = Outcome(kind=OutcomeKind.EXITED, exit_status=status)
    while play.queue.active:
        for who in (ANZE, BINE):
            mine = [job for job in play.queue.active.values() if job.spec.uid == who.uid]
            news = [AttemptEnded(id=j.id, task=j.task, attempt=j.attempt, outcome=outcome, run_s=0.01) for j in mine]
            play.say(who, Reports(news=tuple(news)))


def left(store: Store) -> list[int]:
    return [entry.id for entry in store.past.entries(Wanted(uids=store.past.uids()))]


@pytest.fixture
def play(store: Store) -> Kept:
    """Jobs 1 to 4 of one user, array 5 of ten tasks, job 6 of another: over, each ten seconds after the one before."""
    play = Kept(store, "a:4")
    for who, one in [*[(ANZE, spec())] * 4, (ANZE, array(10)), (BINE, spec(name="other"))]:
        play.boot_s += 10.0
        play.submit(who, one)
        finish(play)
    return play


def test_all_of_it_newest_first(store: Store, play: Kept) -> None:
    assert left(store) == [6, 5, 4, 3, 2, 1]
    assert store.past.uids() == (ANZE.uid, BINE.uid)
    assert [store.past.newest_id(who.uid) for who in (ANZE, BINE)] == [5, 6]


def test_of_one_user_and_how_many_are_older_than_one(store: Store, play: Kept) -> None:
    wanted = Wanted(uids=(ANZE.uid,))
    entries = list(store.past.entries(wanted))
    assert [entry.id for entry in entries] == [5, 4, 3, 2, 1]
    assert [sum(store.past.count_older(wanted, entry)) for entry in entries] == [4, 3, 2, 1, 0]


def test_in_a_span_of_time(store: Store, play: Kept) -> None:
    now_s = play.now.wall_s
    wanted = Wanted(uids=store.past.uids(), since_s=now_s - 25.0, until_s=now_s - 5.0)
    assert [entry.id for entry in store.past.entries(wanted)] == [5, 4]


def test_those_that_failed(store: Store, play: Kept) -> None:
    play.submit(ANZE, spec(), array(3))
    finish(play, 3)
    (removed,) = play.submit(ANZE, array(500))
    play.say(ANZE, Remove(ids=((removed, removed),), reason="no"))
    finish(play)
    wanted = Wanted(uids=(ANZE.uid,), failed=True)
    assert [entry.id for entry in store.past.entries(wanted)] == [9, 8, 7]
    (array_,) = store.finished_arrays(ids=[(9, 9)])
    assert (array_.removed_by, array_.removed_why) == ("anze", "no")


@pytest.mark.parametrize(
    ("most", "kept"), [(15, [6, 5, 4, 3, 2, 1]), (13, [6, 5, 4, 3]), (11, [6, 5]), (5, [6]), (0, [])]
)
def test_the_newest_are_kept_and_a_task_counts_as_one(store: Store, play: Kept, most: int, kept: list[int]) -> None:
    pruned(store, play.now.wall_s, most=most)
    assert left(store) == kept
    assert loaded(store).next_id == 7
    rows = store.db.execute("SELECT DISTINCT job FROM events WHERE job IS NOT NULL").fetchall()
    assert sorted(number for (number,) in rows) == sorted(kept)
    (ntasks,) = store.db.execute("SELECT count(*) FROM tasks").fetchone()
    assert ntasks == (10 if 5 in kept else 0)


def test_what_is_too_old_goes(store: Store, play: Kept) -> None:
    pruned(store, play.now.wall_s, keep_s=25.0)
    assert left(store) == [6, 5, 4]


def test_what_lives_stays_with_its_events(store: Store, play: Kept) -> None:
    (number,) = play.submit()
    pruned(store, play.now.wall_s + 1e9, most=0)
    assert left(store) == []
    assert list(loaded(store).active) == [number]
    kinds = [kind for some in store.past.events_of(number) for _, kind, _ in some]
    assert kinds == ["Submitted", "Granted"]


def test_a_crash_in_the_middle_of_an_array_is_gone_on_with(store: Store, play: Kept) -> None:
    parts = store.past.prune(play.now.wall_s + 1e9, 0)
    for _ in parts:
        if store.db.execute("SELECT count(*) FROM tasks").fetchone()[0] < 10:
            break
    assert 5 in left(store)
    pruned(store, play.now.wall_s + 1e9, most=0)
    assert store.db.execute("SELECT count(*) FROM tasks").fetchone() == (0,)


def test_why_a_task_is_to_be_ended_is_kept(store: Store) -> None:
    play = Kept(store, "a:1")
    (number,) = play.submit(ANZE, array(3))
    play.say(ANZE, Remove(tasks=((number, 0, 0),), reason="wrong"))
    (job,) = [job for job in loaded(store).active.values() if job.task == 0]
    assert (job.stop_by, job.stop_reason) == ("anze", "wrong")
    play.say(ANZE, AttemptEnded(id=JobId(number), task=0, attempt=job.attempt, outcome=Outcome(kind=OutcomeKind.LOST)))
    (over,) = store.tasks_of(play.queue.arrays[JobId(number)], "state = 'done'")
    assert over.outcome is not None
    assert (over.outcome.kind, over.outcome.reason) == (OutcomeKind.REMOVED, "wrong")
