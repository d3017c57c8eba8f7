"""Arrays on disk: whatever happens to their tasks, the next server has exactly what this one had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from tests.unit.core.engines import ANZE, BINE, EXITED, OWNER, array, spec
from tests.unit.core.test_lanes import check
from tests.unit.core.worlds import cluster, need
from tests.unit.store.test_store import Kept, pruned
from wq.core import ranges
from wq.core.job import After, AfterKind, AttemptNo, HostName, JobId, Outcome, OutcomeKind
from wq.core.line import Waiting
from wq.core.listing import Used, together, used_row
from wq.core.queue import Queue, waited_for
from wq.core.requests import (
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    Edit,
    Remove,
    Reports,
    SetAtMost,
    SetHold,
    SetSuspended,
    SetTime,
)
from wq.store.database import Database, migrations
from wq.store.store import Store

NODES = "a:2 b:3"


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("spool"))
    store.db.execute("PRAGMA synchronous=OFF")
    yield store
    store.close()


def loaded(store: Store) -> Queue:
    queue = Queue(owner=OWNER.uid, nodes=cluster(NODES))
    store.load(queue)
    return queue


def same(store: Store, play: Kept) -> None:
    queue = loaded(store)
    check(queue)
    assert queue.arrays == play.queue.arrays
    assert queue.queued == play.queue.queued
    assert queue.active == play.queue.active
    assert queue.held == play.queue.held
    assert queue.dependents == {key: found for key, found in play.queue.dependents.items() if found & waiting(queue)}
    begins = [job.waits.begin_s for job in waiters(queue) if job.waits is not None]
    assert queue.next_begin_s == min(filter(None, begins), default=float("inf"))
    assert play.queue.next_begin_s <= queue.next_begin_s  # (whoever was the first may have gone)
    assert {name: lane.size for name, lane in queue.lanes.items()} == {n: o.size for n, o in play.queue.lanes.items()}
    assert queue.next_id == play.queue.next_id


def waiters(queue: Queue) -> list[Waiting]:
    """Who may wait for something but his turn."""
    return [*queue.held.values(), *queue.arrays.values()]


def waiting(queue: Queue) -> set[JobId]:
    """Who waits for others."""
    return {job.id for job in waiters(queue) if waited_for(job)}


def test_what_jobs_wait_for_outlives_the_server(store: Store) -> None:
    play = Kept(store, "a:4")
    first = play.running(ANZE)
    (lot,) = play.submit(ANZE, array(3, need(host="a", mode="bynode")))
    late = play.now.wall_s + 100.0
    waits = (After(job=first), After(job=lot, kind=AfterKind.ANY))
    play.submit(ANZE, replace(spec(), after=waits), replace(array(2), after=waits, begin_s=late))
    play.submit(ANZE, replace(spec(), hold=True), replace(array(3), after=(After(job=lot, each=True),)))
    same(store, play)
    play.say(ANZE, SetHold(held=True, ids=((lot, lot),)))
    play.say(ANZE, Edit(id=JobId(lot), name="other"))
    same(store, play)
    play.ended(first)
    same(store, play)
    play.say(ANZE, SetHold(held=False, ids=((lot, lot),)))
    same(store, play)
    play.later(101.0)
    same(store, play)
    assert loaded(store).arrays[JobId(lot)].spec.name == "other"


def test_what_is_edited_in_the_turn_in_which_it_is_fed_ahead_stays_so(store: Store) -> None:
    play = Kept(store, "a:1")
    play.submit(ANZE, *[spec() for _ in range(5)], array(5))
    end = AttemptEnded(id=JobId(1), attempt=AttemptNo(1), outcome=EXITED, run_s=0.01)
    play.turn((ANZE, Edit(id=JobId(3), name="other")), (ANZE, Edit(id=JobId(6), name="many")), (ANZE, end))
    assert (play.job(3).lane, play.job(3).spec.name) == ("2.1", "other")
    assert {job.spec.name for job in play.queue.active.values() if job.id == 6} == {"many"}
    same(store, play)


def tried_again_later(play: Kept, number: int, task: int, wait_s: float = 60.0) -> None:
    """An attempt of a task ends, and its user wants another one after a while."""
    failed = Outcome(kind=OutcomeKind.EXITED, exit_status=1, message="exit status 1")
    end = AttemptEnded(id=JobId(number), task=task, attempt=AttemptNo(1), outcome=failed, again=True, wait_s=wait_s)
    play.say(ANZE, end)


def test_a_task_that_waits_to_be_tried_again_does_so_after_a_restart(store: Store) -> None:
    play = Kept(store, NODES)
    (lot,) = play.submit(ANZE, array(3))
    tried_again_later(play, lot, 1)
    assert [job.task for job in play.queue.held.values()] == [1]
    same(store, play)
    play.queue = loaded(store)
    play.here(ANZE, lot)
    play.later(59.0)
    assert (JobId(lot), 1) in play.queue.held
    play.later(2.0)
    job = play.queue.active[(JobId(lot), 1)]
    assert (job.attempt, job.waits) == (2, None)
    same(store, play)


def test_one_that_an_older_server_had_held_for_ever_goes_on(store: Store, tmp_path: Path) -> None:
    play = Kept(store, NODES)
    (lot,) = play.submit(ANZE, array(3))
    tried_again_later(play, lot, 1)
    old = Database(tmp_path / "queue.db", migrations("wq.store")[:5])
    for table in ("arrays", "grants", "tasks"):
        columns = ", ".join(name for _, name, *_ in old.db.execute(f"PRAGMA table_info({table})"))
        rows = store.db.execute(f"SELECT {columns} FROM {table}").fetchall()
        old.db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(rows[0]))})", rows)
    old.close()
    tmp_path.chmod(0o700)
    newer = Store(tmp_path)
    play.store, play.queue = newer, loaded(newer)
    newer.close()
    assert [(job.task, job.attempt) for job in play.queue.queued.values()] == [(1, 1)]
    assert len(play.queue.active) == 2


@pytest.mark.parametrize("seed", range(25))
def test_a_life_of_arrays(store: Store, seed: int) -> None:
    random = Random(seed)
    play = Kept(store, NODES)
    play.submit(ANZE, array(random.randint(1, 60)), *[spec() for _ in range(random.randint(1, 40))])
    (last,) = play.submit(BINE, array(random.randint(1, 60), at_most=random.choice([None, 1, 2])))
    for _ in range(60):
        live = list(play.queue.active.values())
        chosen = random.sample(live, min(len(live), random.randint(0, 5)))
        for who in (ANZE, BINE):
            news = [news_of(random, job) for job in chosen if job.spec.uid == who.uid]
            play.turn((who, Reports(news=tuple(news))))
            check(play.queue)
        if random.random() < 0.1:
            first = random.randint(0, 60)
            play.say(ANZE, Remove(tasks=((1, first, first + random.randint(0, 9)),)))
        if random.random() < 0.05:
            play.say(BINE, SetAtMost(id=JobId(last), at_most=random.choice([None, 1, 5])))
        if random.random() < 0.2:
            job, time_s = random.randint(1, last), random.choice([None, 60.0, 3600.0])
            play.say(OWNER, SetTime(id=JobId(job), time_s=time_s))
        if random.random() < 0.2:
            play.say(OWNER, SetSuspended(ids=((1, last),), suspended=random.random() < 0.5))
        same(store, play)
        play.later(random.choice([0.0, 2.0]))
    for number, done in ((1, ANZE), (last, BINE)):
        play.say(done, Remove(ids=((number, number),)))
    same(store, play)


def news_of(random: Random, job: object) -> AttemptStarted | AttemptEnded | AttemptTakenBack:
    known = {"id": job.id, "task": job.task, "attempt": job.attempt}  # type: ignore[attr-defined]
    draw = random.random()
    if draw < 0.2:
        return AttemptStarted(**known)
    if draw < 0.35:
        return AttemptTakenBack(**known)
    status = random.choice([0, 0, 0, 1])
    said = random.choice([None, "node a was rebooted"])
    outcome = Outcome(kind=OutcomeKind.EXITED, exit_status=status, cpu_s=0.5, message=said)
    again, wait_s = random.random() < 0.2, random.choice([0.0, 5.0])
    return AttemptEnded(**known, outcome=outcome, run_s=0.01, again=again, wait_s=wait_s)


def test_what_is_over_is_a_row_a_task_and_the_grants_are_gone(store: Store) -> None:
    play = Kept(store, "a:1")
    play.submit(ANZE, array(30))
    while play.queue.arrays:
        news = [
            AttemptEnded(
                id=job.id,
                task=job.task,
                attempt=job.attempt,
                outcome=Outcome(kind=OutcomeKind.EXITED, exit_status=(job.task or 0) % 2),
                run_s=0.001,
            )
            for job in play.queue.active.values()
        ]
        play.say(ANZE, Reports(news=tuple(news)))
    (over,) = store.finished_arrays(ids=[(1, 1)])
    assert (over.ndone, over.failed, over.live) == (30, 15, 0)
    tasks = store.tasks_of(over, "state = 'done'")
    assert [(job.task, job.outcome and job.outcome.exit_status) for job in tasks] == [(n, n % 2) for n in range(30)]
    assert store.db.execute("SELECT count(*) FROM grants").fetchone() == (0,)
    assert loaded(store).next_id == 2
    pruned(store, play.now.wall_s + 8 * 86400.0)
    assert store.db.execute("SELECT count(*) FROM tasks").fetchone() == (0,)
    assert loaded(store).next_id == 2


def test_the_same_submission_again_gives_the_same_ids(store: Store) -> None:
    play = Kept(store, "a:1")
    ids = play.submit(ANZE, array(30), spec(), token="one")
    play.queue.tokens = loaded(store).tokens
    assert play.submit(ANZE, array(30), spec(), token="one") == ids


def test_the_audit_trail_has_tasks_as_ranges(store: Store) -> None:
    play = Kept(store, "a:1")
    play.submit(ANZE, array(100))
    outcome = Outcome(kind=OutcomeKind.EXITED, exit_status=0)
    play.say(ANZE, AttemptEnded(id=JobId(1), task=0, attempt=AttemptNo(1), outcome=outcome, run_s=0.01))
    rows = store.db.execute("SELECT kind, event FROM events WHERE job = 1 ORDER BY seq").fetchall()
    assert [kind for kind, _ in rows] == ["ArraySubmitted", "Granted", "Ended", "Granted"]
    assert rows[-1][1] == b'{"tasks":[[1,20]]}'
    assert ranges.count(play.queue.arrays[JobId(1)].waiting) == 79


def test_what_tasks_used_is_added_up(store: Store) -> None:
    play = Kept(store, "a:2")
    play.submit(ANZE, array(3, need(n=2)))
    for number in range(3):
        used = Outcome(
            kind=OutcomeKind.EXITED,
            exit_status=0,
            cpu_s=1.5 if number else None,
            wall_s=1.0,
            peak_mem_bytes=10 + number,
            io_read_bytes=100,
            io_write_bytes=1 << 40,
        )
        (job,) = [job for job in play.queue.active.values() if job.task == number]
        play.say(ANZE, AttemptEnded(id=job.id, task=job.task, attempt=job.attempt, outcome=used, run_s=1.0))
    used_together = together(list(store.past.used_by_tasks(1)))
    assert used_together[:4] == (3, 3.0, 3.0, 2.0)
    assert used_together[4:7] == (12, 300, 3 << 40)
    assert used_together.allocation is not None
    (over,) = store.finished_arrays(ids=[(1, 1)])
    row = used_row(over, used_together, {HostName("a"): 8.0})
    assert (row["tasks"], row["ncores"], row["cores_used"], row["node_mem_gb"]) == (3, 2, 1.5, 8.0)


def test_of_an_array_that_never_ran_nothing_is_known(store: Store) -> None:
    play = Kept(store, "a:1")
    play.submit(ANZE, array(3))
    play.say(ANZE, Remove(ids=((1, 1),)))
    assert list(store.past.used_by_tasks(1)) == [Used()]


@pytest.mark.parametrize(
    ("name", "value"), [("peak_mem_bytes", -1), ("io_read_bytes", 1 << 70), ("cpu_s", float("nan")), ("wall_s", 1e300)]
)
def test_numbers_that_cannot_be_are_not_believed(store: Store, name: str, value: float) -> None:
    play = Kept(store, "a:1")
    play.submit(ANZE, array(1))
    (job,) = play.queue.active.values()
    outcome = replace(Outcome(kind=OutcomeKind.EXITED, exit_status=0, cpu_s=1.0), **{name: value})
    play.say(ANZE, AttemptEnded(id=job.id, task=job.task, attempt=job.attempt, outcome=outcome))
    assert list(store.past.used_by_tasks(1)) == [Used()]
    (over,) = store.finished_arrays(ids=[(1, 1)])
    (task,) = store.tasks_of(over, "1")
    assert task.outcome == Outcome(kind=OutcomeKind.EXITED, exit_status=0)
