"""The queue as a function: who may do what, what follows from it, and that nothing happens before it is settled."""

from __future__ import annotations

import copy
import typing

import pytest
from msgspec.structs import replace

from tests.unit.core.engines import ANZE, BINE, EXITED, MYSELF, OWNER, ROOT, Play, array, spec
from tests.unit.core.worlds import cluster, need
from wq.core import ranges
from wq.core.admit import LONGEST_COMMAND, LONGEST_NAME, MOST_CORES
from wq.core.cluster import NodeState
from wq.core.engine import planned
from wq.core.job import AttemptNo, HostName, JobId, Outcome, OutcomeKind, Requirement, State, Uid
from wq.core.lifecycle import Submitted
from wq.core.listing import out_of_sight
from wq.core.news import MOST_NAMED, PAUSE_FIRST_S, PAUSE_MOST_S
from wq.core.plan import Limit
from wq.core.queue import ArraySubmitted, AtMostSet, LimitSet, NodeMarked, Queue, TasksRemoved, effective_limit
from wq.core.ranges import Ranges
from wq.core.reasons import ReasonCode
from wq.core.requests import (
    Answer,
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    ClusterRead,
    Edit,
    Gone,
    HoldRest,
    LauncherGone,
    LauncherHere,
    LostRest,
    Named,
    NodeLooked,
    Refresh,
    Remove,
    RemoveRest,
    Reports,
    Request,
    SendSignal,
    SetAtMost,
    SetHold,
    SetLimit,
    SetNode,
    SetSuspended,
    SetTime,
    Sight,
    Stop,
    Submit,
    Top,
    TopRest,
    Who,
)

A, B = HostName("a"), HostName("b")


class TestSubmission:
    def test_ids_count_up_from_one(self) -> None:
        play = Play()
        assert play.submit(ANZE, spec(), spec()) == [1, 2]
        assert play.submit(BINE) == [3]

    def test_a_job_that_fits_is_granted_in_the_same_turn(self) -> None:
        play = Play("a:2")
        play.submit(ANZE, spec(need(n=2)), spec())
        assert play.orders == ["start 1.1 a:0,1"]
        assert [play.state(1), play.state(2)] == ["starting", "queued"]

    def test_who_it_is_from_is_what_the_kernel_said(self) -> None:
        play = Play()
        lie = replace(spec(), uid=ROOT.uid, user="root", token="other", index=9)
        (number,) = play.submit(ANZE, lie, token="mine")
        found = play.job(number).spec
        assert (found.uid, found.user, found.token, found.index) == (ANZE.uid, "anze", "mine", 0)

    def test_a_repeated_token_gives_the_same_ids_and_no_second_job(self) -> None:
        play = Play()
        first = play.submit(ANZE, spec(), spec(), token="t")
        assert play.submit(ANZE, spec(), spec(), token="t") == first
        assert play.last.events == []
        assert len(play.queue.active) == 2

    def test_even_when_both_arrive_in_one_turn(self) -> None:
        play = Play()
        again = Submit(token="t", jobs=(spec(),))
        draft = play.turn((ANZE, again), (ANZE, again))
        assert [answer for _, answer in draft.answers] == [Answer(facts={"ids": [1]})] * 2

    def test_even_when_the_jobs_are_long_over(self) -> None:
        play = Play()
        assert play.submit(ANZE, token="t") == [1]
        play.ended(1)
        assert play.submit(ANZE, token="t") == [1]

    def test_tokens_of_different_users_have_nothing_to_do_with_each_other(self) -> None:
        play = Play()
        assert play.submit(ANZE, token="t") == [1]
        assert play.submit(BINE, token="t") == [2]

    def test_without_a_token_nothing_is_a_repetition(self) -> None:
        play = Play()
        assert [play.submit(ANZE, token=""), play.submit(ANZE, token="")] == [[1], [2]]

    def test_all_or_none(self) -> None:
        play = Play("a:4")
        said = play.say(ANZE, Submit(token="t", jobs=(spec(), spec(need(n=5), name="big"))))
        assert isinstance(said, str)
        assert said.startswith("big: N: 5 cores")
        assert (play.queue.next_id, play.queue.queued, play.queue.active, play.queue.tokens) == (1, {}, {}, {})

    def test_block_can_be_forbidden(self) -> None:
        play = Play()
        play.queue.block_allowed = False
        said = play.say(ANZE, Submit(token="t", jobs=(spec(need(priority="block")),)))
        assert said == "priority: block is not allowed in this queue; low, med or high are"

    @pytest.mark.parametrize(
        ("requirement", "key"),
        [
            (Requirement(n=-3), "N:"),
            (Requirement(n=0), "N:"),
            (Requirement(n=MOST_CORES + 1), "N:"),
            (Requirement(n=10**400), "N:"),
            (Requirement(threads=0), "threads:"),
            (Requirement(n=3, threads=2), "N:"),
            (Requirement(min_cores=-1), "min_cores:"),
            (Requirement(min_mem_gb=float("nan")), "min_mem:"),
            (Requirement(min_mem_gb=float("inf")), "min_mem:"),
            (need("byhost"), "mode: byhost"),
            (need("bygroup"), "mode: bygroup"),
            (need(host="-oProxyCommand=x"), "host:"),
            (need(host="a\n"), "host:"),
            (Requirement(groups=("x y",)), "group:"),
            (Requirement(notgroups=("",)), "group:"),
            (need(host="nosuch"), "host:"),
        ],
    )
    def test_what_cannot_be_is_refused_by_its_key(self, requirement: Requirement, key: str) -> None:
        said = Play().say(ANZE, Submit(token="t", jobs=(spec(requirement),)))
        assert isinstance(said, str)
        assert said.startswith(key)

    @pytest.mark.parametrize(
        "long",
        [
            replace(spec(), name=""),
            replace(spec(), name="n" * (LONGEST_NAME + 1)),
            replace(spec(), command="c" * (LONGEST_COMMAND + 1)),
            replace(spec(), submit_dir="/d" * 500_000),
            spec(Requirement(groups=("g",) * 100_000)),
        ],
        ids=["no name", "name", "command", "directory", "groups"],
    )
    def test_nobody_fills_the_memory_of_others_with_one_job(self, long: object) -> None:
        said = Play("a:4:g").say(ANZE, Submit(token="t", jobs=(long,)))  # type: ignore[arg-type]
        assert isinstance(said, str)
        assert len(said) < 500

    def test_nor_with_a_long_token(self) -> None:
        said = Play().say(ANZE, Submit(token="t" * 100_000, jobs=(spec(),)))
        assert isinstance(said, str)


# --- who may do what: every request, by every kind of sender, at a queue with jobs of anze's

JOB, WAITING = JobId(1), JobId(2)
NEW_ATTEMPT = AttemptNo(1)
REQUESTS: dict[str, Request] = {
    "submit": Submit(token="m", jobs=(spec(),)),
    "remove a running job": Remove(ids=((1, 1),)),
    "remove a waiting job": Remove(ids=((2, 2),)),
    "remove a range": Remove(ids=((1, 9),)),
    "remove all of one's own": Remove(all=True),
    "go on with a removal": RemoveRest(jobs=((1, -1), (2, -1)), lost=False, grace_s=1.0),
    "declare a job lost": Remove(ids=((1, 1),), lost=True),
    "declare all lost": Remove(all=True, lost=True),
    "limit oneself": SetLimit(run=0),
    "limit anze": SetLimit(target=ANZE.uid, target_name="anze", run=0),
    "take a node offline": SetNode(hosts=("a",), state="offline"),
    "drain a node": SetNode(hosts=("a",), state="drain"),
    "declare a node lost": SetNode(hosts=("a",), state="lost"),
    "refresh": Refresh(),
    "say that a launcher is here": LauncherHere(),
    "say that a launcher is gone": LauncherGone(),
    "go on with jobs that are lost": LostRest(jobs=((1, -1),)),
    "name jobs that may be over": Named(ids=((1, 9),), tasks=((5, 0, 9),)),
    "report a start": AttemptStarted(id=JobId(3), attempt=NEW_ATTEMPT),
    "report an end": AttemptEnded(id=JOB, attempt=NEW_ATTEMPT, outcome=EXITED),
    "say what is out of sight": Sight(unseen={B: "no answer"}),
    "take an attempt back": AttemptTakenBack(id=JOB, attempt=NEW_ATTEMPT, host=A, why="no"),
    "report many ends": Reports(news=(AttemptEnded(id=JOB, attempt=NEW_ATTEMPT, outcome=EXITED),)),
    "say how many tasks may run": SetAtMost(id=JobId(5), at_most=3),
    "remove tasks that wait": Remove(tasks=((5, 3, 4),)),
    "hold a job": SetHold(held=True, ids=((2, 2),)),
    "hold all of one's own": SetHold(held=True, all=True),
    "go on with holding": HoldRest(jobs=(WAITING,), held=True),
    "edit a job": Edit(id=JobId(2), name="x"),
    "put an array to the front": Top(ids=((5, 5),)),
    "go on with that": TopRest(jobs=(JobId(5),)),
    "change a time limit": SetTime(id=JOB, time_s=60.0),
    "change that of an array": SetTime(id=JobId(5), time_s=60.0),
    "suspend a job": SetSuspended(ids=((1, 1),), suspended=True),
    "suspend all of one's own": SetSuspended(all=True, suspended=True),
    "have a job go on": SetSuspended(ids=((6, 6),), suspended=False),
    "send a signal": SendSignal(ids=((1, 9),), number=10),
}
EVERYBODY = ("anze", "other", "server's owner", "root")
PEOPLE: dict[str, Who] = dict(zip(EVERYBODY, (ANZE, BINE, OWNER, ROOT), strict=True))
HIMSELF, OPERATORS = {"anze"}, {"server's owner", "root"}
MAY_TOUCH_ANZES: dict[str, set[str]] = {
    "submit": HIMSELF,  # others submit too, but not for anze
    "remove a running job": HIMSELF | OPERATORS,
    "remove a waiting job": HIMSELF | OPERATORS,
    "remove a range": HIMSELF | OPERATORS,
    "remove all of one's own": HIMSELF,
    "go on with a removal": HIMSELF | OPERATORS,
    "declare a job lost": OPERATORS,
    "declare all lost": set(),  # for the operators it means all of their own
    "limit oneself": HIMSELF,
    "limit anze": OPERATORS,
    "take a node offline": OPERATORS,
    "drain a node": OPERATORS,
    "declare a node lost": OPERATORS,
    "refresh": HIMSELF | OPERATORS,
    "say that a launcher is here": HIMSELF,
    "say that a launcher is gone": HIMSELF,
    "go on with jobs that are lost": HIMSELF,
    "name jobs that may be over": set(),
    "report a start": HIMSELF,
    "report an end": HIMSELF,
    "say what is out of sight": HIMSELF,
    "take an attempt back": HIMSELF,
    "report many ends": HIMSELF,
    "say how many tasks may run": HIMSELF | OPERATORS,
    "remove tasks that wait": HIMSELF | OPERATORS,
    "hold a job": HIMSELF | OPERATORS,
    "hold all of one's own": HIMSELF,
    "go on with holding": HIMSELF | OPERATORS,
    "edit a job": HIMSELF | OPERATORS,
    "put an array to the front": HIMSELF | OPERATORS,
    "go on with that": HIMSELF | OPERATORS,
    "change a time limit": HIMSELF | OPERATORS,
    "change that of an array": HIMSELF | OPERATORS,
    "suspend a job": HIMSELF | OPERATORS,
    "suspend all of one's own": HIMSELF,
    "have a job go on": HIMSELF | OPERATORS,
    "send a signal": set(),  # it changes nothing in the queue; see test_control.py
}


def a_full_queue() -> Play:
    """Anze has jobs: 1 runs on a, 2 waits, 3 starts on b, 5 is an array, 6 is suspended; and he avoids a node."""
    play = Play("a:4 b:4 c:4 d:4")
    play.running(ANZE, need("bynode", host="a"))
    play.submit(ANZE, spec(need("bynode", host="a")))
    play.submit(ANZE, spec(need("bynode", host="b")))
    (number,) = play.submit(ANZE, spec(need(host="c")))
    play.taken_back(number, "c")
    play.say(ANZE, Remove(ids=((number, number),)))
    assert play.submit(ANZE, array(10, need("bynode", host="a"))) == [5]
    assert [play.state(1), play.state(2), play.state(3)] == ["running", "queued", "starting"]
    assert play.running(ANZE, need(host="d")) == 6
    play.say(ANZE, SetSuspended(ids=((6, 6),), suspended=True))
    return play


def of_anze(queue: Queue) -> tuple[object, ...]:
    """All that belongs to anze, or to the cluster."""
    mine = ANZE.uid
    jobs = [*queue.active.values(), *queue.queued.values(), *queue.held.values()]
    return (
        [job for job in jobs if job.spec.uid == mine],
        {key: limit for key, limit in queue.limits.items() if key[0] == mine},
        {key: ids for key, ids in queue.tokens.items() if key[0] == mine},
        {key: pause for key, pause in queue.pauses.items() if key[0] == mine},
        {key: unseen for key, unseen in queue.out_of_sight.items() if key[0] == mine},
        [array for array in queue.arrays.values() if array.spec.uid == mine],
        mine in queue.present,
        queue.nodes,
        queue.unseen,
        queue.owner,
        queue.users.get(mine),
    )


class TestAuthorisation:
    def test_the_matrix_knows_every_request(self) -> None:
        by_others = {type(request) for request in REQUESTS.values()}
        assert by_others | {ClusterRead, NodeLooked} == set(typing.get_args(Request))
        assert set(MAY_TOUCH_ANZES) == set(REQUESTS)

    @pytest.mark.parametrize("person", EVERYBODY)
    @pytest.mark.parametrize("what", REQUESTS)
    def test_who_may(self, what: str, person: str) -> None:
        play = a_full_queue()
        before = of_anze(copy.deepcopy(play.queue))
        play.say(PEOPLE[person], REQUESTS[what])
        assert (of_anze(play.queue) != before) == (person in MAY_TOUCH_ANZES[what])

    @pytest.mark.parametrize("person", ["other"])
    @pytest.mark.parametrize("what", REQUESTS)
    def test_others_orders_never_reach_anzes_launcher(self, what: str, person: str) -> None:
        play = a_full_queue()
        play.say(PEOPLE[person], REQUESTS[what])
        assert [order for order in play.last.orders if order.uid == ANZE.uid] == []

    def test_a_refused_removal_says_who_may(self) -> None:
        play = a_full_queue()
        assert play.remove(BINE, 1) == {
            "refused": [{"id": 1, "why": "it belongs to anze; only anze, the server's owner (owner) and root may"}]
        }

    def test_the_word_lost_is_the_owners(self) -> None:
        said = a_full_queue().say(ANZE, Remove(ids=((1, 1),), lost=True))
        assert said == "only the server's owner (owner) and root may declare a job lost"

    def test_nobody_learns_of_others_jobs_by_reporting_them(self) -> None:
        play = a_full_queue()
        for report in ("report a start", "report an end", "take an attempt back"):
            play.say(BINE, REQUESTS[report])
            assert play.orders == []


class TestRemoval:
    def test_a_waiting_job_is_gone_at_once(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, spec(), spec())
        assert play.remove(ANZE, 2) == {"removed": [2]}
        assert play.outcome(2) == Outcome(kind=OutcomeKind.REMOVED, by="anze", message="removed before it started")
        assert play.orders == ["gone 2"]

    @pytest.mark.parametrize("state", ["starting", "running"])
    def test_one_that_holds_cores_is_stopped_first(self, state: str) -> None:
        play = Play()
        play.submit()
        if state == "running":
            play.started(1)
        assert play.state(1) == state
        assert play.remove(OWNER, 1) == {"ending": [1]}
        assert play.orders == ["stop 1.1 by owner"]
        assert play.state(1) == "stopping"

    def test_the_second_word_changes_nothing(self) -> None:
        play = Play()
        play.running()
        play.remove(OWNER, 1)
        assert play.remove(ANZE, 1) == {"ending": [1]}
        assert (play.orders, play.job(1).stop_by) == ([], "owner")

    def test_its_cores_stay_its_own_until_it_is_known_to_be_dead(self) -> None:
        play = Play("a:1")
        play.running()
        play.submit()
        play.remove(ANZE, 1)
        assert play.state(2) == "queued"
        play.ended(1, outcome=Outcome(kind=OutcomeKind.SIGNALLED, signal=15))
        assert play.orders == ["gone 1", "start 2.1 a:0"]

    def test_whoever_was_being_removed_ends_as_removed_and_keeps_its_status(self) -> None:
        play = Play()
        play.running()
        play.remove(OWNER, 1)
        play.ended(1, outcome=Outcome(kind=OutcomeKind.EXITED, exit_status=4, cpu_s=1.5))
        assert play.outcome(1) == Outcome(kind=OutcomeKind.REMOVED, exit_status=4, by="owner", cpu_s=1.5)

    def test_one_that_never_ran_is_removed_and_not_queued_again(self) -> None:
        play = Play()
        play.submit()
        play.remove(ANZE, 1)
        play.taken_back(1)
        assert play.outcome(1) == Outcome(kind=OutcomeKind.REMOVED, by="anze", message="removed before it started")

    @pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.STOPPING])
    def test_the_owners_word_that_it_is_lost_frees_its_cores(self, state: State) -> None:
        play = Play("a:1")
        play.submit(ANZE, spec(), spec())
        if state is not State.STARTING:
            play.started(1)
        if state is State.STOPPING:
            play.remove(ANZE, 1)
        assert play.state(1) == state
        assert play.remove(OWNER, 1, lost=True) == {"removed": [1]}
        assert play.orders == ["gone 1", "start 2.1 a:0"]

    def test_ranges_take_what_there_is_and_only_single_ids_are_missed(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, spec(), spec(), spec())
        facts = play.say(ANZE, Remove(ids=((2, 2), (3, 1000), (77, 77))))
        assert isinstance(facts, dict)
        assert (facts["removed"], facts["missing"]) == ([2, 3], [77])

    def test_all_means_ones_own_even_for_root(self) -> None:
        play = Play("a:1")
        play.submit(ANZE)
        assert play.say(ROOT, Remove(all=True)) == {
            "removed": [],
            "ending": [],
            "tasks": [],
            "refused": [],
            "missing": [],
        }

    @pytest.mark.parametrize(("asked", "given"), [(-5.0, 0.0), (7.0, 7.0), (1e9, 3600.0), (float("inf"), 3600.0)])
    def test_the_grace_is_bounded(self, asked: float, given: float) -> None:
        play = Play()
        play.running()
        play.say(ANZE, Remove(ids=((1, 1),), grace_s=asked))
        (stop,) = play.last.orders
        assert isinstance(stop, Stop)
        assert stop.grace_s == given

    def test_many_ranges_on_a_long_queue_cost_no_product_of_both(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, *(spec() for _ in range(2000)))
        looked = 0

        class Counting(int):
            def __le__(self, other: int) -> bool:
                nonlocal looked
                looked += 1
                return int(self) <= other

        many = tuple((Counting(10**6 + 2 * n), Counting(10**6 + 2 * n)) for n in range(5000))
        play.draft((BINE, Remove(ids=many)))
        assert looked < 1_000_000, "two thousand jobs and five thousand ranges were compared each with each"


class TestCaps:
    def test_a_user_has_so_many_unfinished_jobs_and_no_more(self) -> None:
        play = Play("a:1")
        play.queue.most_jobs = 3
        play.submit(ANZE, spec(), spec())
        said = play.say(ANZE, Submit(token="more", jobs=(spec(), spec())))
        assert said == "you have 2 unfinished jobs here; 3 are allowed (cap jobs)"
        assert play.submit(ANZE, spec()) == [3]
        assert play.submit(BINE, spec(), spec(), spec()) == [4, 5, 6]

    def test_those_that_are_over_do_not_count(self) -> None:
        play = Play("a:1")
        play.queue.most_jobs = 1
        for _ in range(3):
            play.ended(play.submit()[0])

    def test_those_that_are_held_and_arrays_as_a_whole_count(self) -> None:
        play = Play("a:1 b:1")
        held = replace(spec(), hold=True)
        ids = play.submit(ANZE, held, array(9), replace(array(9), hold=True), held)
        play.queue.most_jobs = 5
        said = play.say(ANZE, Submit(token="more", jobs=(held, held)))
        assert said == "you have 4 unfinished jobs here; 5 are allowed (cap jobs)"
        assert play.submit(ANZE, held)
        play.say(ANZE, AttemptEnded(id=JobId(ids[1]), task=0, attempt=AttemptNo(1), outcome=EXITED))
        assert isinstance(play.say(ANZE, Submit(token="one", jobs=(spec(),))), str)
        play.remove(ANZE, ids[0], ids[2])
        assert play.queue.njobs == {ANZE.uid: 3}
        loaded = Queue(owner=OWNER.uid)
        queue = play.queue
        loaded.take_up([*queue.active.values(), *queue.queued.values(), *queue.held.values()], queue.arrays.values())
        assert loaded.njobs == queue.njobs
        play.say(ANZE, Remove(all=True))
        for task in list(queue.active):
            assert not isinstance(task, int)
            play.say(ANZE, AttemptEnded(id=task[0], task=task[1], attempt=AttemptNo(1), outcome=EXITED))
        assert queue.njobs == {}

    def test_a_repeated_submission_does_not_count_twice(self) -> None:
        play = Play("a:1")
        play.queue.most_jobs = 2
        assert play.submit(ANZE, spec(), spec(), token="t") == play.submit(ANZE, spec(), spec(), token="t")


class TestAReboot:
    def rebooted(self, play: Play, *, foreground: bool = False, stopped: bool = False) -> None:
        """Job 1 ran, and its launcher says that a reboot ended it."""
        play.running(foreground=foreground)
        if stopped:
            play.say(ANZE, Remove(ids=((1, 1),)))
        lost = Outcome(kind=OutcomeKind.LOST, message="a was rebooted while it ran")
        play.say(ANZE, AttemptEnded(id=JobId(1), attempt=AttemptNo(1), outcome=lost, again=True))

    def test_ends_the_attempt_and_the_job_waits_for_another(self) -> None:
        play = Play("a:1")
        self.rebooted(play)
        assert play.orders == ["start 1.2 a:0"]
        assert play.job(1).requeued_why == "a was rebooted while it ran"

    @pytest.mark.parametrize("what", [{"foreground": True}, {"stopped": True}])
    def test_is_the_end_of_a_job_that_nobody_wants_any_more(self, what: dict[str, bool]) -> None:
        play = Play("a:1")
        self.rebooted(play, **what)
        assert play.state(1) == "gone"

    def test_that_is_told_twice_starts_nothing_twice(self) -> None:
        play = Play("a:1")
        self.rebooted(play)
        lost = Outcome(kind=OutcomeKind.LOST)
        play.say(ANZE, AttemptEnded(id=JobId(1), attempt=AttemptNo(1), outcome=lost, again=True))
        assert (play.orders, play.state(1)) == ([], "starting")


class TestOutOfSight:
    def dark(self, play: Play, job: int = 1) -> dict[str, object] | None:
        return out_of_sight(play.queue, play.job(job))

    def test_a_job_whose_node_its_launcher_does_not_see_runs_on(self) -> None:
        play = Play("a:1 b:1")
        play.running()
        since_s = play.now.wall_s
        play.say(ANZE, Sight(unseen={HostName("a"): "no answer"}))
        play.later(60.0)
        play.say(ANZE, Sight(unseen={HostName("a"): "no answer"}))
        assert play.state(1) == "running"
        assert self.dark(play) == {"since": since_s, "hosts": ["a"], "why": "no answer"}

    def test_until_it_is_seen_again(self) -> None:
        play = Play("a:1")
        play.running()
        play.say(ANZE, Sight(unseen={HostName("a"): "no answer"}))
        play.say(ANZE, Sight(unseen={}))
        assert self.dark(play) is None

    def test_what_one_launcher_does_not_see_says_nothing_of_the_jobs_of_others(self) -> None:
        play = Play("a:2")
        play.running()
        play.running(BINE)
        play.say(BINE, Sight(unseen={HostName("a"): "no answer"}))
        assert self.dark(play) is None
        assert self.dark(play, 2) is not None

    def test_a_job_whose_launcher_is_away_is_out_of_sight_too(self) -> None:
        play = Play("a:1")
        play.running()
        play.say(ANZE, LauncherGone())
        dark = self.dark(play)
        assert dark is not None
        assert (dark["since"], dark["hosts"]) == (play.now.wall_s, ["a"])
        play.say(ANZE, LauncherHere(ids=((1, 1),)))
        assert self.dark(play) is None

    def test_a_launcher_cannot_fill_the_memory_with_nodes_that_are_none(self) -> None:
        play = Play("a:1")
        play.say(ANZE, Sight(unseen={HostName(f"x{n}"): "no answer" for n in range(1000)}))
        assert play.queue.out_of_sight == {}


class TestReports:
    def test_a_start_makes_it_run(self) -> None:
        play = Play()
        play.submit()
        play.started(1)
        assert (play.state(1), play.job(1).started_s) == ("running", play.now.wall_s)

    def test_an_end_frees_the_cores_and_is_acknowledged(self) -> None:
        play = Play("a:1")
        play.running()
        play.submit(BINE)
        play.ended(1)
        assert play.orders == ["gone 1", "1001: start 2.1 a:0"]

    def test_an_end_may_come_without_a_start(self) -> None:
        play = Play()
        play.submit()
        play.ended(1)
        assert play.state(1) == "gone"

    def test_what_never_ran_waits_again_and_its_next_attempt_has_the_next_number(self) -> None:
        play = Play("a:1")
        play.submit()
        play.taken_back(1)
        assert play.orders == ["start 1.2 a:0"]

    def test_an_end_told_again_is_acknowledged_again(self) -> None:
        play = Play()
        play.running()
        play.ended(1)
        play.ended(1)
        assert (play.orders, play.last.events) == (["gone 1"], [])

    @pytest.mark.parametrize("attempt", [0, 1, 3])
    def test_news_of_another_attempt_is_not_obeyed(self, attempt: int) -> None:
        play = Play("a:1")
        play.submit()
        play.taken_back(1)
        before = play.job(1)
        assert before.attempt == 2
        play.started(1, attempt=attempt)
        play.ended(1, attempt=attempt)
        play.taken_back(1, "a", attempt=attempt)
        assert play.job(1) == before
        assert play.queue.pauses == {}

    def test_news_of_a_job_that_waits_is_not_obeyed(self) -> None:
        play = Play("a:1")
        play.running()
        play.submit()
        for attempt in (0, 1):
            play.started(2, attempt=attempt)
            play.ended(2, attempt=attempt)
            play.taken_back(2, attempt=attempt)
        assert play.state(2) == "queued"

    def test_news_of_a_job_that_nobody_knows_is_answered(self) -> None:
        play = Play()
        play.ended(99)
        assert play.orders == ["gone 99"]

    def test_a_start_that_comes_after_the_wish_to_stop_changes_nothing(self) -> None:
        play = Play()
        play.submit()
        play.remove(ANZE, 1)
        play.started(1)
        assert play.state(1) == "stopping"

    def test_a_running_attempt_can_turn_out_never_to_have_been(self) -> None:
        play = Play("a:1")
        play.running()
        play.taken_back(1)
        assert play.orders == ["start 1.2 a:0"]

    def test_no_report_is_as_long_as_its_sender_likes(self) -> None:
        play = Play("a:1 b:1")
        play.running()
        play.ended(1, outcome=Outcome(kind=OutcomeKind.FAILED, message="x" * 500_000, by="y" * 500_000))
        said = play.outcome(1)
        play.submit()
        play.taken_back(2, "a", why="z" * 500_000)
        assert len(said.message or "") + len(said.by or "") < 10_000
        assert all(len(pause.why) < 10_000 for pause in play.queue.pauses.values())


class TestPauses:
    def test_a_node_that_failed_is_avoided_for_this_user_alone(self) -> None:
        play = Play("a:4 b:4")
        play.submit()
        assert play.cores(1) == "a:0"
        play.taken_back(1, "a", why="a refuses your key")
        assert play.orders == ["start 1.2 b:0"]
        play.submit(BINE)
        assert play.orders == ["1001: start 2.1 a:0"]

    def test_the_wait_doubles_up_to_five_minutes_and_the_turn_says_when_to_wake(self) -> None:
        play = Play("a:1")
        play.submit()
        waits = []
        for attempt in range(1, 10):
            play.taken_back(1, "a", attempt=attempt)
            assert play.state(1) == "queued"
            assert play.last.wake_s is not None
            waits.append(play.last.wake_s - play.boot_s)
            assert play.later(waits[-1] - 0.001).orders == []
            assert [type(order).__name__ for order in play.later(0.001).orders] == ["Start"]
        assert waits == [PAUSE_FIRST_S, 10.0, 20.0, 40.0, 80.0, 160.0, *[PAUSE_MOST_S] * 3]

    def test_nothing_to_wake_for_without_a_pause(self) -> None:
        play = Play()
        play.running()
        assert play.last.wake_s is None

    def test_a_start_that_succeeds_forgets_the_failures(self) -> None:
        play = Play("a:1")
        play.submit()
        play.taken_back(1, "a")
        play.later(PAUSE_FIRST_S)
        play.started(1, attempt=2)
        assert play.queue.pauses == {}

    def test_a_node_may_fail_for_years(self) -> None:
        play = Play("a:1")
        play.submit()
        for attempt in range(1, 1200):
            play.taken_back(1, "a", attempt=attempt)
            assert play.last.wake_s is not None
            play.later(play.last.wake_s - play.boot_s)
        assert play.state(1) == "starting"

    def test_only_a_node_of_the_attempt_can_be_blamed(self) -> None:
        play = Play("a:1 b:1")
        play.submit()
        play.taken_back(1, "b")
        assert play.queue.pauses == {}

    def test_no_node_is_blamed_for_what_no_node_did(self) -> None:
        play = Play()
        play.submit()
        play.taken_back(1, None)
        assert play.queue.pauses == {}

    def test_the_reason_names_the_node_and_what_it_said(self) -> None:
        play = Play("a:1")
        play.submit()
        play.taken_back(1, "a", why="a refuses your key")
        reason = planned(play.queue, play.now).why(play.job(1))
        assert (reason.code, reason.text) == (ReasonCode.NODE_PAUSED, "node a is paused for anze: a refuses your key")


class TestRefresh:
    def paused(self) -> Play:
        play = Play("a:1 b:1")
        for who, host in ((ANZE, "a"), (BINE, "b")):
            (number,) = play.submit(who, spec(need(host=host)))
            play.taken_back(number, host, who=who)
        assert set(play.queue.pauses) == {(ANZE.uid, A), (BINE.uid, B)}
        return play

    def test_forgets_ones_own_pauses(self) -> None:
        play = self.paused()
        assert play.say(ANZE, Refresh()) == {}
        assert set(play.queue.pauses) == {(BINE.uid, B)}
        assert play.orders == ["start 1.2 a:0"]

    @pytest.mark.parametrize("who", [OWNER, ROOT], ids=["owner", "root"])
    def test_the_owner_forgets_everybodys(self, who: Who) -> None:
        play = self.paused()
        play.say(who, Refresh())
        assert play.queue.pauses == {}


class TestLimits:
    def test_the_smaller_of_both_layers_holds(self) -> None:
        play = Play("a:4")
        play.say(ANZE, SetLimit(run=3, cores=2))
        play.say(OWNER, SetLimit(target=ANZE.uid, target_name="anze", run=1))
        layers = [limit for (uid, _), limit in play.queue.limits.items() if uid == ANZE.uid]
        assert effective_limit(layers) == Limit(run=1, cores=2)
        play.submit(ANZE, spec(), spec())
        assert play.orders == ["start 1.1 a:0"]

    def test_ones_own_word_does_not_lift_the_owners(self) -> None:
        play = Play()
        play.say(OWNER, SetLimit(target=ANZE.uid, target_name="anze", run=0))
        play.say(ANZE, SetLimit(run=-1, cores=-1))
        play.say(ANZE, SetLimit(clear=True))
        play.submit()
        assert play.state(1) == "queued"

    def test_a_lifted_limit_lets_the_next_one_start_in_the_same_turn(self) -> None:
        play = Play()
        play.say(ANZE, SetLimit(run=0))
        play.submit()
        assert play.state(1) == "queued"
        assert play.say(ANZE, SetLimit(run=-1)) == {"user": "anze", "run": None, "cores": None}
        assert play.orders == ["start 1.1 a:0"]

    def test_a_key_that_is_not_named_stays(self) -> None:
        play = Play()
        play.say(ANZE, SetLimit(run=5))
        assert play.say(ANZE, SetLimit(cores=7)) == {"user": "anze", "run": 5, "cores": 7}

    def test_clear_lifts_all(self) -> None:
        play = Play()
        play.say(ANZE, SetLimit(run=5, cores=5))
        assert play.say(ANZE, SetLimit(clear=True)) == {"user": "anze", "run": None, "cores": None}

    def test_what_runs_is_not_ended_by_a_smaller_limit(self) -> None:
        play = Play()
        play.running()
        play.say(ANZE, SetLimit(run=0, cores=0))
        assert (play.state(1), play.orders) == ("running", [])

    def test_a_limit_is_an_event_so_that_it_outlives_the_server(self) -> None:
        play = Play()
        play.say(ANZE, SetLimit(run=5))
        assert play.last.events == [LimitSet(uid=ANZE.uid, user="anze", by_owner=False, limit=Limit(run=5))]

    def test_a_limit_beyond_all_reason_is_refused(self) -> None:
        assert Play().say(ANZE, SetLimit(run=1 << 63)) == "a limit is at most 1000000"
        assert Play().say(ANZE, SetLimit(cores=10**300)) == "a limit is at most 1000000"

    def test_a_user_who_was_never_seen_can_be_limited(self) -> None:
        play = Play()
        play.say(OWNER, SetLimit(target=Uid(7777), target_name="new", run=1))
        assert play.queue.users[Uid(7777)] == "new"


class TestNodes:
    @pytest.mark.parametrize("word", ["offline", "drain"])
    def test_a_node_out_of_use_starts_nothing_and_ends_nothing(self, word: str) -> None:
        play = Play("a:2 b:2")
        play.running()
        facts = play.say(OWNER, SetNode(hosts=("a",), state=word, reason="new disk"))
        assert facts == {"nodes": ["a"], "state": word, "lost": []}
        play.submit()
        assert (play.state(1), play.cores(2)) == ("running", "b:0")

    def test_who_said_it_and_why_is_kept_and_stored(self) -> None:
        play = Play()
        play.say(OWNER, SetNode(hosts=("a",), state="offline", reason="new disk"))
        node = play.queue.nodes[0]
        assert (node.state, node.reason, node.by) == (NodeState.OFFLINE, "new disk", "owner")
        assert node.since_s == play.now.wall_s
        assert play.last.events == [NodeMarked(node=node)]

    def test_online_again_it_is_used_in_the_same_turn(self) -> None:
        play = Play("a:1")
        play.say(OWNER, SetNode(hosts=("a",), state="offline"))
        play.submit()
        play.say(OWNER, SetNode(hosts=("a",), state="online"))
        assert play.orders == ["start 1.1 a:0"]

    def test_a_node_that_nobody_knows_is_refused_and_nothing_is_done(self) -> None:
        play = Play("a:1 b:1")
        said = play.say(OWNER, SetNode(hosts=("a", "x"), state="offline"))
        assert said == "no node is called 'x'; there are: a, b"
        assert play.last.events == []

    @pytest.mark.parametrize("hosts", [(), ("a",)], ids=["no node", "a node"])
    @pytest.mark.parametrize("word", ["", "up", "ONLINE", "x" * 10_000])
    def test_a_state_that_is_none_is_refused(self, hosts: tuple[str, ...], word: str) -> None:
        said = Play().say(OWNER, SetNode(hosts=hosts, state=word))
        assert isinstance(said, str)
        assert said.startswith("state: ")
        assert len(said) < 200

    def test_lost_gives_batch_jobs_another_turn_and_ends_the_others(self) -> None:
        play = Play("a:3 b:4")
        play.running()
        play.running(foreground=True)
        play.running()
        play.remove(ANZE, 3)
        assert [play.cores(number) for number in (1, 2, 3)] == ["a:0", "a:1", "a:2"]
        facts = play.say(OWNER, SetNode(hosts=("a",), state="lost", reason="fire"))
        assert facts == {"nodes": ["a"], "state": "lost", "lost": [1, 2, 3]}
        assert play.orders == ["recall 1.1", "gone 2", "gone 3", "start 1.2 b:0"]
        assert play.outcome(2) == Outcome(kind=OutcomeKind.LOST, by="owner", message="owner declared its node lost")
        assert play.queue.nodes[0].state is NodeState.OFFLINE

    def test_lost_leaves_jobs_on_other_nodes_alone(self) -> None:
        play = Play("a:1 b:1")
        play.running()
        play.running()
        play.say(OWNER, SetNode(hosts=("a",), state="lost"))
        assert (play.state(1), play.state(2)) == ("queued", "running")

    def test_a_launcher_that_was_away_is_told_when_it_comes_back(self) -> None:
        play = Play("a:1")
        play.running()
        play.gone(ANZE)
        play.say(OWNER, SetNode(hosts=("a",), state="lost"))
        play.here(ANZE, 1)
        assert play.orders == ["recall 1.1"]

    def test_late_news_of_an_attempt_that_was_declared_lost_is_not_obeyed(self) -> None:
        play = Play("a:1 b:1")
        play.running()
        play.say(OWNER, SetNode(hosts=("a",), state="lost"))
        play.ended(1, attempt=1)
        assert (play.state(1), play.job(1).attempt) == ("starting", 2)

    def test_the_owners_own_look_takes_a_node_out_of_use(self) -> None:
        play = Play("a:1")
        play.say(MYSELF, NodeLooked(host=A, ok=False, why="a does not answer"))
        play.submit()
        reason = planned(play.queue, play.now).why(play.job(1))
        assert (reason.code, reason.text) == (ReasonCode.NODE_DOWN, "node a is offline: a does not answer")
        play.say(MYSELF, NodeLooked(host=A, ok=True))
        assert play.orders == ["start 1.1 a:0"]

    def test_the_owners_word_is_worth_more_than_his_look(self) -> None:
        play = Play("a:1")
        play.say(MYSELF, NodeLooked(host=A, ok=False, why="no"))
        play.say(OWNER, SetNode(hosts=("a",), state="online"))
        play.submit()
        assert play.orders == ["start 1.1 a:0"]


class TestClusterFile:
    def read(self, play: Play, text: str) -> None:
        play.say(MYSELF, ClusterRead(nodes=cluster(text)))

    def test_a_new_node_is_used_in_the_same_turn(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, spec(), spec())
        self.read(play, "a:1 b:1")
        assert play.orders == ["start 2.1 b:0"]

    def test_an_idle_node_goes_at_once(self) -> None:
        play = Play("a:1 b:1")
        self.read(play, "a:1")
        assert [node.host for node in play.queue.nodes] == ["a"]

    def test_a_busy_node_drains_and_goes_with_its_last_job(self) -> None:
        play = Play("a:2 b:1")
        play.running()
        play.running()
        self.read(play, "b:1")
        assert [(node.host, node.leaving) for node in play.queue.nodes] == [("b", False), ("a", True)]
        play.submit(ANZE, spec(), spec())
        assert [play.cores(3), play.state(4)] == ["b:0", "queued"]
        play.ended(1)
        assert [node.host for node in play.queue.nodes] == ["b", "a"]
        play.ended(2)
        assert [node.host for node in play.queue.nodes] == ["b"]

    def test_it_goes_too_when_its_last_job_is_taken_back(self) -> None:
        play = Play("a:1 b:1")
        play.submit()
        play.say(MYSELF, NodeLooked(host=B, ok=False, why="no"))
        self.read(play, "b:1")
        assert [node.host for node in play.queue.nodes] == ["b", "a"]
        play.taken_back(1)
        assert [node.host for node in play.queue.nodes] == ["b"]

    def test_a_node_that_comes_back_is_used_again(self) -> None:
        play = Play("a:2")
        play.running()
        self.read(play, "b:1")
        self.read(play, "a:2 b:1")
        play.submit()
        assert play.cores(2) == "a:1"

    def test_what_the_owner_said_stays_said(self) -> None:
        play = Play("a:1 b:1")
        play.say(OWNER, SetNode(hosts=("a",), state="drain", reason="disk"))
        self.read(play, "a:8 b:1")
        node = play.queue.nodes[0]
        assert (node.ncores, node.state, node.reason, node.by) == (8, NodeState.DRAIN, "disk", "owner")

    def test_a_look_at_a_node_that_is_gone_is_forgotten(self) -> None:
        play = Play("a:1 b:1")
        play.say(MYSELF, NodeLooked(host=B, ok=False, why="no"))
        self.read(play, "a:1")
        assert play.queue.unseen == {}

    def test_the_order_to_start_says_how_many_cores_each_node_has(self) -> None:
        play = Play("a:2 b:8")
        play.submit(ANZE, spec(need(n=4)))
        (start,) = play.last.orders
        assert getattr(start, "declared", None) == (2, 8)


class TestLaunchers:
    def test_nothing_starts_for_whom_no_launcher_is_there(self) -> None:
        play = Play(here=())
        play.submit()
        assert play.state(1) == "queued"
        assert planned(play.queue, play.now).why(play.job(1)).code is ReasonCode.LAUNCHER_AWAY
        play.here(ANZE, 1)
        assert play.orders == ["start 1.1 a:0"]

    def test_what_runs_goes_on_when_the_launcher_goes(self) -> None:
        play = Play()
        play.running()
        play.gone(ANZE)
        assert (play.state(1), play.orders) == ("running", [])
        play.submit()
        assert play.state(2) == "queued"

    def test_orders_that_are_due_are_given_again(self) -> None:
        play = Play("a:4")
        play.submit()
        play.running()
        play.running()
        play.remove(BINE, 3)
        play.remove(ANZE, 3)
        play.gone(ANZE)
        play.here(ANZE, 1, 2, 3)
        assert play.orders == ["start 1.1 a:0", "stop 3.1 by anze"]
        assert play.last.events == []

    def test_jobs_that_the_launcher_has_lost_are_over(self) -> None:
        play = Play("a:2")
        play.running()
        play.submit()
        play.submit(ANZE, spec(need(n=2)))
        play.here(ANZE, 3)
        assert play.orders == ["gone 1", "gone 2", "start 3.1 a:0,1"]
        assert play.outcome(1).kind is OutcomeKind.LOST

    def test_but_not_one_whose_answer_is_still_on_its_way(self) -> None:
        play = Play("a:1")
        play.submit(ANZE, token="t")
        play.here(ANZE, tokens=("t",))
        assert play.state(1) != "gone"
        assert play.submit(ANZE, token="t") == [1]

    def test_one_whose_id_it_learns_late_is_ordered_again_then(self) -> None:
        play = Play()
        play.submit(ANZE, spec(), spec(), token="t")
        play.remove(ANZE, 2)
        play.gone(ANZE)
        play.here(ANZE, tokens=("t",))
        play.submit(ANZE, spec(), spec(), token="t")
        assert play.orders == ["start 1.1 a:0", "stop 2.1 by anze"]

    def test_and_if_it_is_over_by_then_it_may_be_forgotten(self) -> None:
        play = Play(here=())
        play.submit(ANZE, token="t")
        play.remove(ANZE, 1)
        play.here(ANZE, tokens=("t",))
        play.submit(ANZE, token="t")
        assert play.orders == ["gone 1"]

    def test_jobs_that_are_over_here_may_be_forgotten_there(self) -> None:
        play = Play()
        play.here(ANZE, 17)
        assert play.orders == ["gone 17"]

    def test_jobs_of_others_are_none_of_its_business(self) -> None:
        play = Play()
        play.running(BINE)
        play.here(ANZE, 1)
        assert (play.orders, play.state(1)) == (["gone 1"], "running")

    def test_a_launcher_of_one_user_does_not_end_the_jobs_of_another(self) -> None:
        play = Play()
        play.running(BINE)
        play.here(ANZE)
        assert play.state(1) == "running"

    def test_after_a_restart_of_the_server_the_same_orders_are_derived(self) -> None:
        play = Play("a:4")
        play.submit()
        play.running()
        play.remove(ANZE, 2)
        play.running(BINE)
        again = Play("a:4", here=())
        again.queue.take_up(play.queue.active.values(), ())
        again.queue.next_id = play.queue.next_id
        again.here(ANZE, 1, 2)
        assert again.orders == ["start 1.1 a:0", "stop 2.1 by anze"]
        again.submit()
        assert (again.cores(4), again.state(3)) == ("a:3", "running")

    def test_a_report_and_a_new_launcher_in_one_turn(self) -> None:
        play = Play("a:1")
        play.submit()
        play.turn((ANZE, LauncherGone()), (ANZE, LauncherHere(ids=((1, 1),))))
        assert play.orders == ["start 1.1 a:0"]
        assert ANZE.uid in play.queue.present

    def test_what_is_named_twice_or_the_wrong_way_round_is_named_once_or_not_at_all(self) -> None:
        play = Play()
        tasks = ((7, 4, 5), (7, 0, 1), (7, 1, 2), (7, 9, 8), (8, 3, 3))
        draft = play.turn((ANZE, LauncherHere(tasks=tasks)))
        gone = [(order.id, order.task) for order in draft.orders if isinstance(order, Gone)]
        assert gone == [(7, 0), (7, 1), (7, 2), (7, 4), (7, 5), (8, 3)]
        many = 2 * MOST_NAMED
        assert play.turn((ANZE, LauncherHere(ids=((many, 1),), tasks=((7, 1, many),)))).orders == []

    def test_tasks_that_are_named_one_by_one_are_put_together_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        play = Play()
        given: list[int] = []
        union = ranges.union

        def counting(one: Ranges, other: Ranges) -> Ranges:
            given.append(len(one) + len(other))
            return union(one, other)

        monkeypatch.setattr(ranges, "union", counting)
        play.turn((ANZE, LauncherHere(tasks=tuple((7, 2 * place, 2 * place) for place in range(2000)))))
        assert sum(given) <= 4000


class TestDrafts:
    def everything(self) -> list[tuple[Who, Request]]:
        people = (ANZE, BINE, OWNER, ROOT)
        own: list[tuple[Who, Request]] = [
            (MYSELF, ClusterRead(nodes=cluster("b:4 c:4 d:8"))),
            (MYSELF, NodeLooked(host=B, ok=False, why="no")),
            (MYSELF, NodeLooked(host=HostName("c"), ok=True)),
        ]
        return [(who, request) for request in REQUESTS.values() for who in people] + own

    def test_a_draft_that_is_not_settled_has_changed_nothing(self) -> None:
        play = a_full_queue()
        play.say(MYSELF, NodeLooked(host=HostName("c"), ok=False, why="no"))
        play.say(ANZE, SetLimit(run=5))
        before = copy.deepcopy(play.queue)
        draft = play.draft(*self.everything())
        assert len(draft.events) > 10
        assert play.queue == before
        assert list(play.queue.active) == list(before.active)

    @pytest.mark.parametrize("number", range(len(REQUESTS) * 4 + 3))
    def test_nor_has_any_single_request(self, number: int) -> None:
        play = a_full_queue()
        before = copy.deepcopy(play.queue)
        play.draft(self.everything()[number])
        assert play.queue == before

    def test_a_draft_dropped_and_made_again_comes_to_the_same(self) -> None:
        play = a_full_queue()
        first, second = play.draft(*self.everything()), play.draft(*self.everything())
        assert (first.events, first.orders, first.answers) == (second.events, second.orders, second.answers)

    def test_the_changed_jobs_are_those_of_the_events(self) -> None:
        play = a_full_queue()
        draft = play.draft(*self.everything())
        others = LimitSet | NodeMarked | ArraySubmitted
        events = [event for event in draft.events if not isinstance(event, others)]
        of_arrays = {event.id for event in events if isinstance(event, TasksRemoved | AtMostSet)}
        ids = {event.job.id if isinstance(event, Submitted) else event.id for event in events}
        assert set(draft.changed) == ids - of_arrays
        assert set(draft.changed_arrays) == of_arrays

    def test_each_job_lies_where_its_state_says(self) -> None:
        play = a_full_queue()
        play.turn(*self.everything())
        queue = play.queue
        assert {job.state for job in queue.queued.values()} <= {State.QUEUED}
        assert {job.state for job in queue.held.values()} <= {State.HELD}
        assert {job.state for job in queue.active.values()} <= {State.STARTING, State.RUNNING, State.STOPPING}
        assert not set(queue.queued) & set(queue.active)
        assert all(job.allocation is not None for job in queue.active.values())

    def test_who_wants_no_answer_gets_none(self) -> None:
        play = Play()
        assert play.draft((ANZE, AttemptStarted(id=JobId(9), attempt=AttemptNo(1)))).answers == []


class TestMemory:
    def test_what_is_over_is_not_kept_but_for_its_token(self) -> None:
        play = Play()
        for _ in range(50):
            play.ended(play.submit()[0])
        queue = play.queue
        assert (len(queue.queued), len(queue.active), len(queue.held), len(queue.pauses)) == (0, 0, 0, 0)
