"""The queue on disk: what was committed is there again, whatever became of the process."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.core.engines import ANZE, BINE, OWNER, Play, spec
from tests.unit.core.worlds import cluster, need
from wq.core.cluster import NodeState
from wq.core.job import JobId, Mode, Outcome, OutcomeKind, Priority, Requirement, State, Uid
from wq.core.plan import Limit
from wq.core.queue import Draft, Queue
from wq.core.requests import SetLimit, SetNode, Submit
from wq.store.store import SpoolInUse, Store

WEEK_S = 7 * 86400.0


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def store(spool: Path) -> Iterator[Store]:
    store = Store(spool)
    store.db.execute("PRAGMA synchronous=OFF")  # a test survives no power cut
    yield store
    store.close()


class Kept(Play):
    """A queue whose every turn is on disk before it is settled."""

    def __init__(self, store: Store, nodes: str = "a:4 b:4") -> None:
        self.store = store
        super().__init__(nodes)

    def draft(self, *incoming: object) -> Draft:
        draft = super().draft(*incoming)  # type: ignore[arg-type]
        self.store.commit(draft)
        return draft


def pruned(store: Store, now_s: float, *, most: int = 1_000_000, keep_s: float = WEEK_S) -> None:
    """All parts of it, one after the other."""
    for _ in store.past.prune(now_s - keep_s, most):
        assert not store.db.in_transaction


def loaded(store: Store, nodes: str = "a:4 b:4") -> Queue:
    queue = Queue(owner=OWNER.uid, nodes=cluster(nodes))
    store.load(queue)
    return queue


def every_state(play: Kept) -> None:
    """Jobs 1 starting, 2 running, 3 stopping, 4 queued, 5 and 6 done."""
    full = Requirement(
        mode=Mode.BYCORE,
        n=2,
        groups=("g",),
        notgroups=("h",),
        host="a",
        min_cores=2,
        min_mem_gb=0.5,
        threads=2,
        priority=Priority.HIGH,
    )
    play.submit(ANZE, spec(full), spec(), token="first")
    play.started(2)
    play.running(BINE)
    play.remove(BINE, 3)
    play.submit(ANZE, spec(need(n=8)), spec(), spec(), token="second")
    play.ended(5, outcome=Outcome(kind=OutcomeKind.SIGNALLED, signal=9, cpu_s=1.5))
    play.remove(ANZE, 6)
    play.ended(6)
    assert [play.state(number) for number in range(1, 7)] == [
        "starting",
        "running",
        "stopping",
        "queued",
        "gone",
        "gone",
    ]


class TestRoundTrip:
    @pytest.fixture
    def play(self, store: Store) -> Kept:
        play = Kept(store, "a:4:g b:4:g")
        every_state(play)
        return play

    def test_the_whole_queue_comes_back(self, store: Store, play: Kept) -> None:
        queue = loaded(store)
        assert (queue.queued, queue.held, queue.active) == (play.queue.queued, play.queue.held, play.queue.active)
        assert (queue.next_id, queue.tokens) == (play.queue.next_id, play.queue.tokens)

    def test_in_the_same_order(self, store: Store, play: Kept) -> None:
        queue = loaded(store)
        assert list(queue.queued) == sorted(play.queue.queued)
        assert list(queue.active) == sorted(play.queue.active)

    def test_after_a_kill_too(self, spool: Path, store: Store, play: Kept) -> None:
        store.db.close()  # without a checkpoint, as kill -9 leaves it
        store.close()
        again = Store(spool)
        assert loaded(again).active == play.queue.active
        again.close()

    def test_with_the_names_of_their_users(self, store: Store, play: Kept) -> None:
        assert loaded(store).users == {ANZE.uid: "anze", BINE.uid: "bine"}

    def test_a_repeated_submission_is_still_known(self, store: Store, play: Kept) -> None:
        again = Kept(store)
        again.queue = loaded(store, "a:4:g b:4:g")
        assert again.submit(ANZE, spec(need(n=8)), spec(), spec(), token="second") == [4, 5, 6]

    def test_what_was_not_committed_is_not_there(self, store: Store, play: Kept) -> None:
        before = loaded(store)
        Play.draft(play)
        assert loaded(store) == before

    def test_limits_come_back_in_both_layers(self, store: Store) -> None:
        play = Kept(store)
        play.say(ANZE, SetLimit(run=5))
        play.say(OWNER, SetLimit(target=ANZE.uid, target_name="anze", cores=9))
        play.say(OWNER, SetLimit(target=Uid(7), target_name="new", run=0))
        play.say(ANZE, SetLimit(run=-1, cores=3))
        queue = loaded(store)
        assert queue.limits == play.queue.limits
        assert queue.limits[(ANZE.uid, False)] == Limit(cores=3)
        assert queue.users[Uid(7)] == "new"

    def test_what_the_owner_said_of_nodes_comes_back(self, store: Store) -> None:
        play = Kept(store)
        play.say(OWNER, SetNode(hosts=("a",), state="drain", reason="new \u017eica"))
        (node,) = store.marked_nodes().values()
        assert (node.host, node.state, node.reason, node.by) == ("a", NodeState.DRAIN, "new \u017eica", "owner")

    def test_the_queue_keeps_its_name(self, spool: Path, store: Store) -> None:
        name = store.queue_name
        store.close()
        again = Store(spool)
        assert again.queue_name == name
        assert name.isalnum()
        again.close()


class TestCommit:
    def test_a_tick_without_events_writes_nothing(self, store: Store) -> None:
        play = Kept(store)
        statements: list[str] = []
        store.db.set_trace_callback(statements.append)
        play.turn()
        assert statements == []

    def test_each_event_leaves_a_row_in_the_trail(self, store: Store) -> None:
        play = Kept(store)
        play.ended(play.running())
        play.say(ANZE, SetLimit(run=5))
        rows = store.db.execute("SELECT job, kind FROM events ORDER BY seq").fetchall()
        assert rows == [(1, "Submitted"), (1, "Granted"), (1, "Started"), (1, "Ended"), (None, "LimitSet")]

    def test_is_all_or_nothing(self, store: Store) -> None:
        play = Kept(store)
        play.submit()
        before = loaded(store)
        draft = Play.draft(play, (ANZE, SetLimit(run=1)))
        draft.changed[JobId(1)] = "no job"  # type: ignore[assignment]
        with pytest.raises(AttributeError):
            store.commit(draft)
        assert loaded(store) == before
        play.submit()

    def test_a_job_that_is_over_without_an_end_is_refused_by_the_database_itself(self, store: Store) -> None:
        Kept(store).submit()
        for change in ("state = 'done'", "ended_s = 1.0"):
            with pytest.raises(sqlite3.IntegrityError):
                store.db.execute(f"UPDATE jobs SET {change} WHERE id = 1")

    def test_survives_the_power(self, spool: Path) -> None:
        store = Store(spool)
        assert store.db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        store.close()


class TestFinished:
    @pytest.fixture
    def play(self, store: Store) -> Kept:
        play = Kept(store)
        for _ in range(4):
            play.ended(play.running())
            play.boot_s += 100.0
        return play

    def ids(self, store: Store, *ranges: tuple[int, int]) -> list[int]:
        return [job.id for job in store.finished(ids=ranges)]

    def test_are_found_by_ranges_of_ids_newest_first(self, store: Store, play: Kept) -> None:
        assert self.ids(store, (1, 2), (4, 4), (77, 99)) == [4, 2, 1]

    def test_or_all_that_ended_since(self, store: Store, play: Kept) -> None:
        since_s = play.now.wall_s - 250.0
        assert [job.id for job in store.finished(ids=None, since_s=since_s)] == [4, 3]

    def test_no_ranges_are_no_jobs(self, store: Store, play: Kept) -> None:
        assert self.ids(store) == []

    def test_with_how_they_ended(self, store: Store, play: Kept) -> None:
        (job,) = store.finished(ids=[(2, 2)])
        assert job.state is State.DONE
        assert job.outcome == Outcome(kind=OutcomeKind.EXITED, exit_status=0)

    def test_those_that_are_not_over_are_not_among_them(self, store: Store, play: Kept) -> None:
        play.running()
        assert self.ids(store, (1, 100)) == [4, 3, 2, 1]

    @pytest.mark.parametrize("huge", [1 << 63, 1 << 64, 10**400, -(1 << 63) - 1])
    def test_no_number_is_too_large_to_be_asked_for(self, store: Store, play: Kept, huge: int) -> None:
        assert self.ids(store, (huge, huge)) == []
        assert len(self.ids(store, (-abs(huge), abs(huge)))) == 4

    def test_forgets_what_ended_more_than_a_week_ago(self, store: Store) -> None:
        play = Kept(store)
        play.ended(play.running())
        play.boot_s += 1000.0
        play.ended(play.running())
        pruned(store, play.now.wall_s + WEEK_S - 500.0)
        assert [job.id for job in store.finished(ids=[(1, 9)])] == [2]

    def test_and_the_events_of_that_time(self, store: Store) -> None:
        play = Kept(store)
        play.ended(play.running())
        pruned(store, play.now.wall_s + WEEK_S + 1.0)
        assert store.db.execute("SELECT count(*) FROM events").fetchone() == (0,)

    def test_never_a_job_that_is_not_over(self, store: Store) -> None:
        play = Kept(store)
        play.running()
        pruned(store, play.now.wall_s + 10 * WEEK_S)
        assert list(loaded(store).active) == [1]

    def test_ids_are_never_used_again(self, store: Store) -> None:
        play = Kept(store)
        for _ in range(3):
            play.ended(play.submit()[0])
        for _ in range(3):
            pruned(store, play.now.wall_s + 2 * WEEK_S)
        assert store.finished(ids=[(1, 9)]) == []
        assert loaded(store).next_id == 4

    def test_nor_when_some_of_them_are_left(self, store: Store) -> None:
        play = Kept(store)
        play.running()
        play.ended(play.submit()[0])
        pruned(store, play.now.wall_s + 2 * WEEK_S)
        assert loaded(store).next_id == 3

    def test_tokens_go_with_their_jobs(self, store: Store) -> None:
        play = Kept(store)
        play.ended(play.submit(token="old")[0])
        play.submit(token="new")
        assert store.tokens() == play.queue.tokens
        pruned(store, play.now.wall_s + 2 * WEEK_S)
        assert store.tokens() == {(ANZE.uid, "new"): (2,)}

    def test_a_submission_that_is_half_forgotten_is_not_repeated(self, store: Store) -> None:
        play = Kept(store)
        play.submit(ANZE, spec(), spec(), token="t")
        play.ended(1)
        pruned(store, play.now.wall_s + 2 * WEEK_S)
        play.queue = loaded(store)
        draft = play.draft()
        assert draft.tokens[(ANZE.uid, "t")] == (2,)
        said = play.say(ANZE, Submit(token="t", jobs=(spec(), spec())))
        assert said == "this submission was accepted long ago, and some of its jobs are forgotten"

    def test_that_fails_changes_nothing_and_leaves_no_transaction_open(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play = Kept(store)
        play.ended(play.running())
        with monkeypatch.context() as patch:
            broken = "INSERT INTO events VALUES (1, 2, 3, 4)"
            patch.setattr(store.past, "forget_ids", lambda table, ids: store.db.execute(broken))
            with pytest.raises(sqlite3.DatabaseError):
                pruned(store, play.now.wall_s + 2 * WEEK_S)
        assert not store.db.in_transaction
        assert play.submit() == [2]


class TestTheSpool:
    def test_is_made_for_its_owner_alone(self, spool: Path, store: Store) -> None:
        assert stat.S_IMODE(spool.stat().st_mode) == 0o700

    def test_a_second_server_is_turned_away(self, spool: Path, store: Store) -> None:
        with pytest.raises(SpoolInUse, match=f"another server uses the spool {spool}"):
            Store(spool)

    def test_and_may_have_it_when_the_first_has_gone(self, spool: Path, store: Store) -> None:
        store.close()
        Store(spool).close()

    def test_one_of_a_later_version_is_refused(self, spool: Path, store: Store) -> None:
        store.db.execute("PRAGMA user_version = 99")
        store.close()
        for _ in range(2):  # the second time, too: the first refusal has let go of the spool
            with pytest.raises(OSError, match=r"was written by wq \S+ \(format 99\); this is wq .*: use a later one"):
                Store(spool)

    def test_what_is_no_database_is_refused(self, spool: Path) -> None:
        spool.mkdir(mode=0o700)
        (spool / "queue.db").write_bytes(b"this is no database, but it is long enough to look at" * 100)
        with pytest.raises(OSError, match="cannot be used: file is not a database"):
            Store(spool)

    def test_a_link_planted_for_the_lock_is_not_followed(self, spool: Path, tmp_path: Path) -> None:
        spool.mkdir(mode=0o700)
        (spool / "lock").symlink_to(tmp_path / "planted")
        with pytest.raises(OSError, match="lock"):
            Store(spool)
        assert not (tmp_path / "planted").exists()

    def test_a_directory_that_is_used_for_other_things_is_left_as_it_is(self, tmp_path: Path) -> None:
        shared = tmp_path / "shared"
        shared.mkdir(mode=0o755)
        shared.chmod(0o755)
        (shared / "thesis.tex").touch()
        with pytest.raises(PermissionError, match="the spool is a directory of its own"):
            Store(shared)
        assert stat.S_IMODE(shared.stat().st_mode) == 0o755

    def test_an_empty_one_is_made_private(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        empty.chmod(0o755)
        Store(empty).close()
        assert stat.S_IMODE(empty.stat().st_mode) == 0o700
