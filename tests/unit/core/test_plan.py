"""Who starts, who waits, and what is said about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.unit.core.worlds import USERS, World, block, cluster, job, leaving, need, off, running, shown, world
from wq.core.cluster import Node, free_cores, usable
from wq.core.job import Allocation, HostName, Job, Mode, Priority, Requirement
from wq.core.line import group_of, line_of, place_of
from wq.core.place import eligible, fill, impossible, place
from wq.core.plan import Limit, plan
from wq.core.policies import Policy
from wq.core.policies.conservative import CONSERVATIVE
from wq.core.policies.easy import EASY
from wq.core.policies.fcfs import FCFS
from wq.core.policies.fifo import FIFO
from wq.core.policies.sjbf import SJBF
from wq.core.reasons import ReasonCode


class TestOrder:
    def test_first_in_first_out(self) -> None:
        assert world("a:2", job(3), job(1), job(2)).starts == {1: "a:0", 2: "a:1"}

    def test_higher_priorities_first(self) -> None:
        policy: Policy = FIFO
        jobs = [job(number, need(priority=it)) for number, it in enumerate(["low", "med", "high", "block", "med"], 1)]
        assert [one.id for one in sorted(jobs, key=lambda job: policy.order(group_of(job), place_of(job)))] == [
            4,
            3,
            2,
            5,
            1,
        ]
        assert list(world("a:5", *jobs[:3], jobs[4]).starts) == [3, 2, 5, 1]

    def test_ahead_counts_those_before_it(self) -> None:
        jobs = [job(5), job(6), job(7), job(8), job(9, need(priority="high")), job(4, need(n=3), "bine")]
        line = line_of(jobs)
        assert line.ahead(jobs[2]) == 4
        line.gone(jobs[0])
        line.gone(jobs[3])
        assert line.ahead(jobs[2]) == 3
        line.add(jobs[0])
        assert line.ahead(jobs[2]) == 4


class TestWhoeverFits:
    def test_who_does_not_fit_holds_nobody_back(self) -> None:
        assert world("a:4", job(1, need(n=5)), job(2, need(n=4))).starts == {2: "a:0,1,2,3"}

    def test_a_smaller_job_of_the_same_kind_still_gets_its_chance(self) -> None:
        assert world("a:3", job(1, need(n=4)), job(2, need(n=3))).starts == {2: "a:0,1,2"}

    def test_each_start_takes_its_cores_from_the_next(self) -> None:
        queue = [job(number, need("bycore1", 2)) for number in range(1, 5)]
        assert world("a:3 b:4", *queue).starts == {1: "a:0,1", 2: "b:0,1", 3: "b:2,3"}

    def test_different_shapes_share_what_is_left(self) -> None:
        starts = world("a:2 b:4 c:2", job(1), job(2, need("bynode")), job(3, need(n=3)), job(4)).starts
        assert starts == {1: "a:0", 2: "b:0,1,2,3", 3: "a:1 c:0,1"}

    def test_what_runs_keeps_its_cores(self) -> None:
        assert world("a:4", job(1, need(n=2)), busy="a:0,2").starts == {1: "a:1,3"}

    @pytest.mark.parametrize("state", ["offline", "drain"])
    def test_nodes_out_of_use_are_not_used(self, state: str) -> None:
        assert World(off(cluster("a:4 b:4"), "a", state), [job(1)]).starts == {1: "b:0"}

    def test_nor_is_one_that_leaves(self) -> None:
        assert World(leaving(cluster("a:4 b:4"), "a"), [job(1)]).starts == {1: "b:0"}


class TestBlock:
    def test_holds_later_jobs_back(self) -> None:
        assert world("a:4", job(1), job(2, block(n=4)), busy="a:0").starts == {}

    def test_runs_first_when_it_fits(self) -> None:
        assert world("a:4", job(1), job(2, block(n=3))).starts == {2: "a:0,1,2", 1: "a:3"}

    def test_holds_nobody_back_once_it_starts(self) -> None:
        assert world("a:4", job(1, block(n=2)), job(2), job(3)).starts == {1: "a:0,1", 2: "a:2", 3: "a:3"}

    def test_holds_back_only_on_nodes_it_could_use(self) -> None:
        nodes = "a:4:x b:4:x c:4:x d:4"
        queue = [job(1, block("bynode", 3, group="x")), *(job(number) for number in range(2, 8))]
        assert world(nodes, *queue, busy="b:0").starts == {2: "d:0", 3: "d:1", 4: "d:2", 5: "d:3"}

    def test_bycore1_holds_back_only_nodes_that_are_large_enough(self) -> None:
        assert world("a:2 b:4", job(1, block("bycore1", 4)), job(2), job(3, need(n=2)), busy="b:0").starts == {2: "a:0"}

    def test_holds_nobody_back_if_it_could_not_run_on_empty_nodes(self) -> None:
        nodes = off(cluster("a:4 b:4"), "b")
        assert World(nodes, [job(1, block(n=8)), job(2)]).starts == {2: "a:0"}

    def test_that_waits_for_its_users_limit_holds_nobody_back(self) -> None:
        here = World(cluster("a:4"), [job(1, block(n=4)), job(2, user="bine")], limits={"anze": Limit(cores=3)})
        assert here.starts == {2: "a:0"}

    def test_whose_launcher_is_away_holds_nobody_back(self) -> None:
        here = World(cluster("a:4"), [job(1, block(n=4)), job(2, user="bine")], away=["anze"])
        assert here.starts == {2: "a:0"}

    def test_does_not_hold_back_nodes_paused_for_its_user(self) -> None:
        here = world("a:4 b:4", job(1, block("bycore1", 4)), job(2, user="bine"), busy="b:0")
        here.paused = {"anze": {"a": "no key"}}
        assert here.starts == {2: "a:0"}

    def test_whole_nodes_beyond_its_users_limit_hold_nobody_back(self) -> None:
        here = world("a:4", job(1, block("bynode")), job(2, user="bine"), busy="a:0")
        here.limits = {"anze": Limit(cores=3)}
        assert here.starts == {2: "a:1"}

    def test_waits_for_smaller_nodes_if_its_users_limit_is_below_the_large_ones(self) -> None:
        here = world("a:4 b:2", job(1, block("bynode")), job(2, user="bine"), busy="b:0")
        here.limits = {"anze": Limit(cores=3)}
        assert here.starts == {}
        text = "whole nodes within limit cores: 3 wanted, the smallest free have 4 cores"
        assert here.because(1) == f"Resources: {text}"

    def test_is_held_back_by_an_earlier_one(self) -> None:
        queue = [job(1, block("byhost", 4, host="a")), job(2, block(n=6)), job(3)]
        assert world("a:4 b:4 c:2", *queue, busy="a:0").starts == {2: "b:0,1,2,3 c:0,1"}

    def test_that_is_held_back_holds_back_its_own(self) -> None:
        queue = [job(1, block("byhost", 4, host="a")), job(2, block(n=7)), job(3)]
        here = world("a:4 b:4 c:2", *queue, busy="a:0")
        assert here.starts == {}
        assert here.because(2) == "Block: held back by the block job 1 of anze"
        assert here.because(3) == "Block: held back by the block job 1 of anze"


class TestLimits:
    def test_of_jobs_counts_those_that_run_and_those_that_start(self) -> None:
        here = World(cluster("a:4"), [job(2), job(3), job(4)], [running(1, "a:0")], {"anze": Limit(run=2)})
        assert here.starts == {2: "a:1"}

    def test_of_cores_counts_the_new_job_too(self) -> None:
        queue = [job(2, need(n=3)), job(3, need(n=2)), job(4)]
        here = World(cluster("a:8"), queue, [running(1, "a:0")], {"anze": Limit(cores=3)})
        assert here.starts == {3: "a:1,2"}

    def test_hold_back_nobody_else(self) -> None:
        here = World(cluster("a:4"), [job(1), job(2, user="bine")], limits={"anze": Limit(run=0)})
        assert here.starts == {2: "a:0"}

    def test_of_cores_is_kept_with_whole_nodes_by_taking_smaller_ones(self) -> None:
        here = World(cluster("a:12 b:4 c:8 d:4"), [job(1, need("bynode", 2))], limits={"anze": Limit(cores=8)})
        assert here.starts == {1: "b:0,1,2,3 d:0,1,2,3"}

    def test_of_cores_is_kept_with_a_whole_group(self) -> None:
        here = World(cluster("a:4:x b:4:x"), [job(1, need("bygroup", group="x"))], limits={"anze": Limit(cores=7)})
        assert here.starts == {}
        assert here.because(1) == "Limit: limit cores: 7 reached (0 in use, 8 more wanted)"


class TestPauses:
    def test_are_for_one_user_only(self) -> None:
        here = World(cluster("a:4 b:4"), [job(1), job(2, user="bine")], paused={"anze": {"a": "no key"}})
        assert here.starts == {1: "b:0", 2: "a:0"}

    def test_of_one_user_do_not_spoil_the_same_shape_for_another(self) -> None:
        here = World(cluster("a:4"), [job(1), job(2, user="bine")], paused={"anze": {"a": "no key"}})
        assert here.starts == {2: "a:0"}

    def test_who_is_away_starts_nothing(self) -> None:
        assert World(cluster("a:4"), [job(1), job(2, user="bine")], away=["anze"]).starts == {2: "a:0"}


class TestBygroup:
    QUEUE = (job(1, need("bygroup", group="x")),)
    NODES = cluster("a:2:x b:2:x c:2")

    def test_leaves_out_offline_nodes(self) -> None:
        assert World(off(self.NODES, "a"), self.QUEUE).starts == {1: "b:0,1"}

    def test_leaves_out_nodes_that_leave(self) -> None:
        assert World(leaving(self.NODES, "b"), self.QUEUE).starts == {1: "a:0,1"}

    def test_waits_for_draining_nodes(self) -> None:
        here = World(off(self.NODES, "a", "drain", "new disk"), self.QUEUE)
        assert here.starts == {}
        assert here.because(1) == "NodeDown: node a is draining: new disk"

    def test_waits_for_paused_nodes(self) -> None:
        here = World(self.NODES, self.QUEUE, paused={"anze": {"b": "no key"}})
        assert here.starts == {}
        assert here.because(1) == "NodePaused: node b is paused for anze: no key"

    def test_waits_when_all_are_offline(self) -> None:
        here = World(off(self.NODES, "a b", reason="power"), self.QUEUE)
        assert here.starts == {}
        assert here.because(1) == "NodeDown: node a is offline: power; node b is offline: power"

    def test_block_holds_back_the_whole_group(self) -> None:
        here = World(self.NODES, [job(1, block("bygroup", group="x")), job(2)], [running(9, "b:0")])
        assert here.starts == {2: "c:0"}

    def test_block_that_waits_for_a_draining_node_holds_nobody_back(self) -> None:
        here = World(off(self.NODES, "b", "drain"), [job(1, block("bygroup", group="x")), job(2)])
        assert here.starts == {2: "a:0"}


class TestWhy:
    @pytest.mark.parametrize(
        ("requirement", "text"),
        [
            (need(n=9), "9 cores wanted, 5 are free"),
            (need(n=5, group="x"), "5 cores wanted on nodes of group x, 4 are free"),
            (need(n=6, threads=3), "6 cores in pieces of 3 wanted, 3 are free"),
            (need("bycore1", 4), "4 cores on one node wanted, at most 3 are free on one"),
            (need("bynode", 1, min_cores=4), "1 whole node wanted on nodes with at least 4 cores, 0 are wholly free"),
            (need("bynode", 2, notgroup="z"), "2 whole nodes wanted on nodes outside group z, 1 is wholly free"),
            (need("byhost", 4, host="b"), "4 cores on node b wanted, 3 are free"),
            (need("bygroup", group="x"), "all 2 nodes wanted on nodes of group x, 1 is wholly free"),
        ],
    )
    def test_cores_that_are_wanted_and_cores_that_are_free(self, requirement: Requirement, text: str) -> None:
        here = world("a:1:x b:4:x c:4:z", job(1, requirement), busy="b:0 c:0,1,2")
        assert here.because(1) == f"Resources: {text}"

    def test_counts_what_this_plan_has_given_away(self) -> None:
        assert world("a:4", job(1, need(n=3)), job(2, need(n=2))).because(2) == "Resources: 2 cores wanted, 1 is free"

    def test_the_block_job_that_holds_it_back(self) -> None:
        here = world("a:4", job(1, block(n=4)), job(2, user="bine"), busy="a:0")
        assert here.because(1) == "Resources: 4 cores wanted, 3 are free"
        assert here.because(2) == "Block: held back by the block job 1 of anze"

    def test_a_job_that_would_not_fit_anyway_does_not_blame_the_block_job(self) -> None:
        here = world("a:4", job(1, block(n=4)), job(2, need(n=4)), busy="a:0")
        assert here.because(2) == "Resources: 4 cores wanted, 3 are free"

    def test_the_limit_of_jobs(self) -> None:
        here = World(cluster("a:4"), [job(2), job(3)], [running(1, "a:0")], {"anze": Limit(run=2)})
        assert here.because(3) == "Limit: limit run: 2 reached (2 running)"

    def test_the_limit_of_cores(self) -> None:
        here = World(cluster("a:4"), [job(2, need(n=2))], [running(1, "a:0")], {"anze": Limit(cores=2)})
        assert here.because(2) == "Limit: limit cores: 2 reached (1 in use, 2 more wanted)"

    def test_the_limit_of_cores_even_behind_a_block_job(self) -> None:
        here = world("a:4 b:4", job(1, block(n=8)), job(2, need("bynode"), "bine"), busy="b:0")
        here.limits = {"bine": Limit(cores=3)}
        assert here.because(2) == "Limit: limit cores: 3 reached (0 in use, 4 more wanted)"

    def test_the_launcher(self) -> None:
        here = World(cluster("a:4"), [job(1)], away=["anze"])
        assert here.because(1) == "LauncherAway: the launcher of anze is away"

    def test_an_offline_node(self) -> None:
        here = World(off(cluster("a:4"), "a", reason="new disk"), [job(1)])
        assert here.because(1) == "NodeDown: node a is offline: new disk"

    def test_a_node_that_leaves(self) -> None:
        assert World(leaving(cluster("a:4"), "a"), [job(1)]).because(1) == "NodeDown: node a is leaving the cluster"

    def test_a_paused_node(self) -> None:
        here = World(cluster("a:4"), [job(1)], paused={"anze": {"a": "permission denied"}})
        assert here.because(1) == "NodePaused: node a is paused for anze: permission denied"

    def test_names_only_nodes_that_matter(self) -> None:
        nodes = off(cluster("a:4:x b:4:x c:4"), "a c")
        assert World(nodes, [job(1, need(n=8, group="x"))]).because(1) == "NodeDown: node a is offline"

    def test_names_paused_nodes_too_if_both_are_needed(self) -> None:
        here = World(off(cluster("a:4 b:4"), "a"), [job(1, need(n=8))], paused={"anze": {"b": "no key"}})
        assert here.because(1) == "NodeDown: node a is offline; node b is paused for anze: no key"

    def test_names_no_more_than_three_nodes(self) -> None:
        here = World(off(cluster("a:1 b:1 c:1 d:1 e:1"), "a b c d e"), [job(1)])
        assert here.because(1).endswith("node c is offline; and 2 more")

    def test_a_cluster_that_has_become_too_small(self) -> None:
        assert world("a:4", job(1, need(n=5))).because(1) == "Resources: N: 5 cores, but the cluster has 4"

    def test_is_known_even_if_the_queue_was_not_read_so_far(self) -> None:
        here = world("a:2", job(1), job(2, need(n=2)), job(3), busy="a:0")
        assert here.because(3) == "Resources: 1 core wanted, 0 are free"


class TestCost:
    def test_the_queue_is_read_only_until_no_core_is_open(self) -> None:
        here = world("a:4", *(job(number) for number in range(1, 1001)))
        assert (len(here.starts), here.looked_at) == (4, 5)

    def test_what_is_remembered_of_other_nodes_is_not_used(self) -> None:
        """A listing asks an old plan for its reasons, turn by turn, while the cluster file changes."""
        old = world("a:2", job(1, need(n=2)), job(2, need(n=3)), job(3, need(n=4)))
        made = old.plan()
        assert made.why(old.queue[1]).text == "N: 3 cores, but the cluster has 2"
        new = world("a:2 b:2", *old.queue)
        again = plan(
            queue=lambda: (), lanes={}, nodes=new.nodes, limits={}, present=set(), paused={}, fitting=made.fitting
        )
        assert again.fitting is not made.fitting
        assert made.why(old.queue[2]).text == "N: 4 cores, but the cluster has 2"
        assert (
            plan(
                queue=lambda: (), lanes={}, nodes=old.nodes, limits={}, present=set(), paused={}, fitting=made.fitting
            ).fitting
            is made.fitting
        )

    def test_a_shape_that_failed_is_not_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[Requirement] = []

        def counted(
            requirement: Requirement, nodes: Sequence[Node], free: Mapping[HostName, tuple[int, ...]]
        ) -> Allocation | None:
            tried.append(requirement)
            return fill(requirement, nodes, free)

        monkeypatch.setattr("wq.core.plan.fill", counted)
        wanted = need("bycore1", 2)
        assert world("a:1 b:1", *(job(number, wanted) for number in range(100))).starts == {}
        assert len(tried) == 1


# Any world at all: a few nodes, a few running jobs, a queue of everything that a user can ask for.

HOSTS = "abcde"
ALL: tuple[Policy, ...] = (FIFO, FCFS, EASY, SJBF, CONSERVATIVE)
names = st.sampled_from(["x", "y", "x,y", ""])
requirements = st.builds(
    need,
    st.sampled_from(list(Mode)),
    st.sampled_from([1, 2, 3, 4, 2, 1, 6]),
    group=st.sampled_from(["", "x", "y", "", "x,y"]),
    notgroup=st.sampled_from(["", "", "", "y"]),
    host=st.sampled_from(["a", None, "b", None]),
    min_cores=st.sampled_from([0, 0, 0, 3]),
    threads=st.sampled_from([None, None, None, 2]),
    priority=st.sampled_from(["block", "med", "block", "high", "low"]),
)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Node, ...]:
    """Nodes of one to four cores, most of them in use."""
    sizes = draw(st.lists(st.sampled_from([2, 4, 1, 3]), min_size=2, max_size=5))
    nodes = cluster(" ".join(f"{host}:{size}:{draw(names)}" for host, size in zip(HOSTS, sizes, strict=False)))
    down = draw(st.dictionaries(st.sampled_from(HOSTS), st.sampled_from(["drain", "offline", "leaving"]), max_size=2))
    for host, how in down.items():
        nodes = leaving(nodes, host) if how == "leaving" else off(nodes, host, how)
    return nodes


@st.composite
def worlds(draw: st.DrawFn, policies: Sequence[Policy] = (FIFO,)) -> World:
    nodes = draw(clusters())
    cores = st.sampled_from([f"{node.host}:{core}" for node in nodes for core in range(node.ncores)])
    busy = draw(st.lists(cores, unique=True, max_size=4))
    wanted = draw(st.lists(st.tuples(requirements, st.sampled_from(USERS)), min_size=3, max_size=16))
    admitted = [(requirement, user) for requirement, user in wanted if impossible(requirement, nodes) is None]
    most = st.sampled_from([None, 2, 4, 0, 7])
    policy = draw(st.sampled_from(policies))
    times = st.just(None) if policy is FIFO else st.sampled_from([None, 10.0, 20.0, 5.0, 40.0])
    pauses = st.dictionaries(st.sampled_from(HOSTS), st.just("no key"), max_size=2)
    return World(
        nodes,
        [job(number, *wishes, time_s=draw(times)) for number, wishes in enumerate(admitted, 1)],
        [running(100 + at, core, draw(st.sampled_from(USERS))) for at, core in enumerate(busy)],
        draw(st.dictionaries(st.sampled_from(USERS), st.builds(Limit, run=most, cores=most), max_size=2)),
        draw(st.sampled_from([(), (), (), ("bine",)])),
        draw(st.dictionaries(st.sampled_from(USERS), pauses, max_size=2)),
        policy,
        draw(
            st.dictionaries(st.sampled_from([100 + at for at in range(len(busy) or 1)]), st.sampled_from([5.0, 15.0]))
        ),
    )


def nodes_of(here: World, one: Job) -> tuple[Node, ...]:
    """The nodes where the job may be placed by its own lights; none for a bygroup that misses some of its own."""
    shut = here.paused.get(one.spec.user, {})
    able = [node for node in eligible(one.spec.requirement, here.nodes) if usable(node) and node.host not in shut]
    if one.spec.requirement.mode is Mode.BYGROUP:
        off_ = [node for node in eligible(one.spec.requirement, here.nodes) if node.leaving or node.state == "offline"]
        if len(able) + len(off_) < len(eligible(one.spec.requirement, here.nodes)):
            return ()
    return tuple(able)


def choices(
    requirement: Requirement, nodes: tuple[Node, ...], free: dict[HostName, tuple[int, ...]]
) -> Iterator[Allocation]:
    """What it could get, the usual first; for bynode then the smallest whole nodes."""
    first = place(requirement, nodes, free)
    if first is not None:
        yield first
        if requirement.mode is Mode.BYNODE:
            whole = [node for node in nodes if len(free[node.host]) == node.ncores]
            small = sorted(whole, key=lambda node: node.ncores)[: requirement.n]
            again = place(requirement, [node for node in nodes if node in small], free)
            assert again is not None
            yield again


def by_the_book(here: World) -> dict[int, str]:
    """The plan again, job by job, as the words of the specification have it, with no thought of speed."""
    held: set[str] = set()
    active = list(here.active)
    starts: dict[int, str] = {}
    for one in sorted(here.queue, key=lambda one: FIFO.order(group_of(one), place_of(one))):
        requirement, limit = one.spec.requirement, here.limits.get(one.spec.user, Limit())
        mine = [other.allocation.ncores for other in active if other.spec.uid == one.spec.uid and other.allocation]
        if one.spec.user in here.away or (limit.run is not None and len(mine) >= limit.run):
            continue
        room = 99 if limit.cores is None else limit.cores - sum(mine)
        free = free_cores(here.nodes, [other.allocation for other in active if other.allocation])
        empty = free_cores(here.nodes, [])
        own = nodes_of(here, one)
        open_ = tuple(node for node in own if node.host not in held)
        if requirement.mode is Mode.BYGROUP and len(open_) < len(own):
            open_ = ()
        fitting = [choice for choice in choices(requirement, open_, free) if choice.ncores <= room]
        if fitting:
            starts[one.id] = shown(fitting[0])
            active.append(structs.replace(one, allocation=fitting[0]))
        elif requirement.priority is Priority.BLOCK:
            could = any(choice.ncores <= room for choice in choices(requirement, own, empty))
            held |= {node.host for node in own if could}
    return starts


@settings(max_examples=200)
@given(worlds())
def test_the_plan_is_what_the_specification_says(here: World) -> None:
    assert here.starts == by_the_book(here)


@given(worlds(ALL))
def test_no_core_is_granted_twice(here: World) -> None:
    held = [one.allocation for one in here.active if one.allocation] + [one.allocation for one in here.plan().starts]
    cores = Counter((part.host, core) for allocation in held for part in allocation.slices for core in part.cores)
    assert all(times == 1 for times in cores.values())


@given(worlds(ALL))
def test_every_allocation_is_what_was_asked_for(here: World) -> None:
    for start in here.plan().starts:
        assert isinstance(start.job, Job)
        requirement, nodes = start.job.spec.requirement, nodes_of(here, start.job)
        size = {node.host: node.ncores for node in nodes}
        assert set(start.allocation.hosts) <= set(size)
        assert list(start.allocation.hosts) == [node.host for node in nodes if node.host in start.allocation.hosts]
        match requirement.mode:
            case Mode.BYCORE:
                assert start.allocation.ncores == requirement.n
                assert all(len(part.cores) % (requirement.threads or 1) == 0 for part in start.allocation.slices)
            case Mode.BYCORE1 | Mode.BYHOST:
                assert (start.allocation.ncores, start.allocation.nhosts) == (requirement.n, 1)
            case Mode.BYNODE | Mode.BYGROUP:
                assert start.allocation.nhosts == (requirement.n if requirement.mode is Mode.BYNODE else len(nodes))
                assert all(len(part.cores) == size[part.host] for part in start.allocation.slices)


@given(worlds(ALL))
def test_limits_are_kept(here: World) -> None:
    for user, limit in here.limits.items():
        old = [one.allocation.ncores for one in here.active if one.spec.user == user and one.allocation]
        new = [start.allocation.ncores for start in here.plan().starts if start.job.spec.user == user]
        assert not new or limit.run is None or len(old + new) <= limit.run
        assert not new or limit.cores is None or sum(old + new) <= limit.cores


@given(worlds())
def test_who_waits_and_is_not_held_back_truly_does_not_fit(here: World) -> None:
    made = here.plan()
    starts = {start.job.id: start.allocation for start in made.starts}
    held = [(one, one.allocation) for one in here.active if one.allocation is not None]
    held += [(one, starts[one.id]) for one in here.queue if one.id in starts]
    free = free_cores(here.nodes, [allocation for _, allocation in held])
    for one in here.queue:
        limit = here.limits.get(one.spec.user, Limit())
        mine = [allocation.ncores for other, allocation in held if other.spec.uid == one.spec.uid]
        may_run = one.spec.user not in here.away and (limit.run is None or len(mine) < limit.run)
        if may_run and one.id not in starts:
            room = 99 if limit.cores is None else limit.cores - sum(mine)
            fits = any(it.ncores <= room for it in choices(one.spec.requirement, nodes_of(here, one), free))
            assert fits == (made.why(one).code is ReasonCode.BLOCK)


@given(worlds(ALL))
def test_the_reason_is_one_that_holds(here: World) -> None:
    made = here.plan()
    started = {start.job.id for start in made.starts}
    for one in here.queue:
        if one.id in started:
            continue
        reason = made.why(one)
        assert reason.text != "about to start"
        match reason.code:
            case ReasonCode.BLOCK:
                assert any(
                    f"block job {other.id} of {other.spec.user}" in reason.text
                    and other.id not in started | {one.id}
                    and other.spec.requirement.priority is Priority.BLOCK
                    for other in here.queue
                )
            case ReasonCode.LAUNCHER_AWAY:
                assert one.spec.user in here.away
            case ReasonCode.LIMIT:
                assert one.spec.user in here.limits
            case ReasonCode.NODE_PAUSED:
                assert here.paused[one.spec.user]
            case ReasonCode.NODE_DOWN:
                assert not all(map(usable, here.nodes))
            case ReasonCode.RESERVATION:
                assert any(f"job {other} of" in reason.text for other in here.promises)
            case ReasonCode.PRIORITY:
                assert here.policy is FCFS
            case ReasonCode.RESOURCES:
                assert reason.text


@given(worlds(ALL))
def test_reasons_do_not_depend_on_the_order_in_which_they_are_asked(here: World) -> None:
    made, again = here.plan(), here.plan()
    waiting = [one for one in here.queue if one.id not in {start.job.id for start in made.starts}]
    assert [made.why(one) for one in waiting] == [again.why(one) for one in reversed(waiting)][::-1]


@given(worlds(), st.randoms(use_true_random=False))
def test_the_same_world_gives_the_same_plan(here: World, random: Random) -> None:
    shuffled = list(here.queue)
    random.shuffle(shuffled)
    assert replace(here, queue=shuffled).plan() == here.plan()
