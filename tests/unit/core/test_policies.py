"""Policies: who may start before whom, and that what was promised is kept."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.core.engines import ANZE, OWNER, Play, array, spec
from tests.unit.core.worlds import World, cluster, job, need, running
from wq.core.cluster import Node
from wq.core.engine import planned
from wq.core.job import Job, JobId, Requirement
from wq.core.place import impossible
from wq.core.plan import Limit
from wq.core.policies import Policy
from wq.core.policies.conservative import CONSERVATIVE
from wq.core.policies.easy import EASY
from wq.core.policies.fcfs import FCFS
from wq.core.policies.fifo import FIFO
from wq.core.policies.sjbf import SJBF
from wq.core.profile import Promise
from wq.core.requests import SetNode
from wq.simulate.replay import Ran, Replay, Task

WIDE = need(n=4)


def busy(policy: Policy, *jobs: Job, ends: dict[int, float] | None = None) -> World:
    """Four cores, two of which are taken by job 101, for ten seconds."""
    known = {101: 10.0} if ends is None else ends
    return World(cluster("a:4"), jobs, [running(101, "a:0,1")], policy=policy, ends=known)


class TestEasy:
    def test_the_first_who_must_wait_is_promised_a_start(self) -> None:
        here = busy(EASY, job(1, WIDE, time_s=60.0), job(2, need(n=3), time_s=60.0))
        assert here.starts == {}
        assert here.promises == {1: 10.0}
        assert here.because(1) == "Resources: 4 cores wanted, 2 are free"
        assert here.why(1).start_s == 10.0

    def test_who_is_over_by_then_may_start_before(self) -> None:
        here = busy(EASY, job(1, WIDE, time_s=60.0), job(2, need(n=2), time_s=10.0))
        assert here.starts == {2: "a:2,3"}

    def test_who_is_not_may_not_nor_who_says_no_time(self) -> None:
        for time_s in (11.0, None):
            here = busy(EASY, job(1, WIDE, time_s=60.0), job(2, need(n=2), time_s=time_s))
            assert here.starts == {}
            assert here.because(2) == "Reservation: it would delay job 1 of anze, which is promised a start"

    def test_unless_there_are_cores_left_over(self) -> None:
        here = busy(EASY, job(1, need(n=3), time_s=60.0), *[job(n, need(n=1), time_s=1e6) for n in (2, 3)])
        assert here.starts == {2: "a:2"}

    def test_on_nodes_that_it_does_not_need(self) -> None:
        here = World(
            cluster("a:2:x b:2:y"),
            [job(1, need("bynode", 1, group="x"), time_s=9.0), job(2, need(n=2), time_s=99.0)],
            [running(101, "a:0")],
            policy=EASY,
            ends={101: 10.0},
        )
        assert here.starts == {2: "b:0,1"}

    def test_where_nobody_knows_when_there_is_nothing_to_promise(self) -> None:
        here = busy(EASY, job(1, WIDE, time_s=60.0), job(2, need(n=2)), ends={})
        assert (here.promises, here.starts) == ({}, {2: "a:2,3"})

    def test_who_is_at_his_limit_holds_nobody_back(self) -> None:
        here = busy(EASY, job(1, WIDE, "bine", time_s=60.0), job(2, need(n=2), time_s=60.0))
        here.limits = {"bine": Limit(cores=3)}
        assert here.starts == {2: "a:2,3"}


class TestOthers:
    def test_fifo_lets_whoever_fits_start(self) -> None:
        here = busy(FIFO, job(1, WIDE, time_s=60.0), job(2, need(n=2)))
        assert (here.promises, here.starts) == ({}, {2: "a:2,3"})

    def test_fcfs_lets_nobody_pass(self) -> None:
        here = busy(FCFS, job(1, need(n=1)), job(2, WIDE), job(3, need(n=1), time_s=1.0))
        assert here.starts == {1: "a:2"}
        assert here.because(3) == "Priority: others came before it, and nobody passes them"

    def test_fcfs_waits_for_nobody_who_waits_for_something_else_than_cores(self) -> None:
        here = busy(FCFS, job(1, WIDE, "bine"), job(2, need(n=1)))
        here.away = ("bine",)
        assert here.starts == {2: "a:2"}

    def test_sjbf_takes_the_shortest_of_those_behind(self) -> None:
        jobs = [job(1, WIDE, time_s=60.0), job(2, need(n=2), time_s=9.0), job(3, need(n=2), time_s=5.0)]
        assert busy(EASY, *jobs).starts == {2: "a:2,3"}
        assert busy(SJBF, *jobs).starts == {3: "a:2,3"}

    def test_conservative_promises_everybody_a_start(self) -> None:
        jobs = [job(1, WIDE, time_s=60.0), job(2, need(n=3), time_s=60.0), job(3, need(n=1), time_s=60.0)]
        here = busy(CONSERVATIVE, *jobs, job(4, need(n=2), time_s=10.0))
        assert here.starts == {4: "a:2,3"}
        assert here.promises == {1: 10.0, 2: 70.0, 3: 70.0}

    def test_and_keeps_what_it_has_promised(self) -> None:
        here = busy(CONSERVATIVE, job(1, WIDE, time_s=60.0), job(2, need(n=1), time_s=60.0))
        promise = Promise(start_s=30.0, run_s=60.0, cores=((cluster("a:4")[0].host, 4),))
        here.kept = {(1, 1, -1): promise}
        assert here.promises == {1: 10.0, 2: 70.0}

    def test_block_keeps_its_meaning(self) -> None:
        for policy in (EASY, SJBF, CONSERVATIVE):
            here = busy(policy, job(1, need(n=4, priority="block"), time_s=60.0), job(2, need(n=1), time_s=5.0))
            assert here.starts == {}
            assert here.because(2) == "Block: held back by the block job 1 of anze"


class TestInTheQueue:
    def test_what_runs_on_after_its_time_keeps_its_cores(self) -> None:
        play = Play("a:4")
        play.queue.policy = EASY
        timed = replace(spec(need(n=4)), time_s=10.0)
        first, second = play.submit(ANZE, timed, timed)
        play.started(first)
        play.later(1000.0)
        assert (play.state(first), play.state(second)) == ("running", "queued")

    def test_tasks_of_arrays_start_all_at_once(self) -> None:
        for policy in (EASY, SJBF, FCFS, CONSERVATIVE):
            play = Play("a:4")
            play.queue.policy = policy
            (lot,) = play.submit(ANZE, array(9))
            assert play.queue.arrays[JobId(lot)].live == 4
            assert len(play.queue.lanes) == 4

    def test_a_promise_can_be_told_also_where_no_core_is_open(self) -> None:
        play = Play("a:4")
        play.queue.policy = EASY
        timed = replace(spec(need(n=4)), time_s=10.0)
        first, second = play.submit(ANZE, timed, timed)
        play.started(first)
        assert planned(play.queue, play.now).why(play.job(second)).start_s is None
        told = planned(play.queue, play.now, fully=True).why(play.job(second))
        assert (told.code, told.start_s) == ("Resources", play.now.wall_s + 10.0)

    def test_a_promise_on_a_node_that_goes_is_made_anew(self) -> None:
        play = Play("a:4 b:4")
        play.queue.policy = CONSERVATIVE
        play.submit(ANZE, spec(need(n=8)), spec(need(n=4)))
        play.say(OWNER, SetNode(hosts=("b",), state="offline"))
        assert play.queue.promises.keys() <= {(2, 2, -1)}
        play.ended(1)
        assert play.state(2) == "starting"


# Any workload on any small cluster: what was promised is kept, when nobody runs for longer than he says.


class Watched(Replay):
    """It notes the first start that each job was promised, and the last while it waited."""

    first: dict[int, float]
    last: dict[int, float]

    def step(self) -> list[Ran]:
        ran = super().step()
        for number, start_s in ((place[1], promise.start_s) for place, promise in self.promises.items()):
            self.first.setdefault(number, start_s)
            assert start_s <= self.last.get(number, start_s)
            self.last[number] = start_s
        return ran


@st.composite
def workloads(draw: st.DrawFn) -> tuple[tuple[Node, ...], list[Task]]:
    nodes = cluster(draw(st.sampled_from(["a:4", "a:2 b:2 c:4", "a:1:x b:2:x c:3:y d:4:y"])))
    tasks = []
    for number in range(draw(st.integers(2, 25))):
        kind = need(
            draw(st.sampled_from(["bycore", "bycore", "bycore1", "bynode", "bygroup"])),
            draw(st.integers(1, 4)),
            group=draw(st.sampled_from(["", "", "x", "y"])),
        )
        if impossible(kind, nodes) is not None:
            kind = Requirement(n=1)
        estimate_s = draw(st.sampled_from([1.0, 3.0, 10.0, 30.0]))
        run_s = min(estimate_s, draw(st.sampled_from([1.0, 2.0, 30.0])))
        times = {"submit_s": float(draw(st.integers(0, 20))), "run_s": run_s, "estimate_s": estimate_s}
        tasks.append(Task(number=number, requirement=kind, user=number % 3, **times))
    return nodes, tasks


@settings(max_examples=70)
@given(workloads(), st.sampled_from([EASY, SJBF, CONSERVATIVE]))
def test_what_is_promised_is_kept(workload: tuple[tuple[Node, ...], list[Task]], policy: Policy) -> None:
    nodes, tasks = workload
    replay = Watched(tasks, nodes, policy)
    replay.first, replay.last = {}, {}
    ran = list(replay.play())
    assert len(ran) == len(tasks)  # nobody starves
    order = {task.number: number for number, task in enumerate(replay.tasks, 1)}
    for one in ran:
        number = order[one.task.number]
        assert one.start_s <= replay.first.get(number, one.start_s)
        assert one.start_s >= one.task.submit_s
    taken = sorted(
        (one.start_s, one.end_s, part.host, core)
        for one in ran
        for part in one.allocation.slices
        for core in part.cores
    )
    for before, after in ((a, b) for at, a in enumerate(taken) for b in taken[at + 1 :]):
        assert before[2:] != after[2:] or before[1] <= after[0]
