"""Which nodes a requirement may use, which cores it gets, and what is said when it can never be met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.worlds import cluster, grant, leaving, need, off, shown
from wq.core.cluster import free_cores
from wq.core.job import Requirement
from wq.core.place import eligible, impossible, place


def hosts(requirement: Requirement, nodes: str) -> str:
    return " ".join(node.host for node in eligible(requirement, cluster(nodes)))


def placed(requirement: Requirement, nodes: str, busy: str = "") -> str:
    known = cluster(nodes)
    return shown(place(requirement, known, free_cores(known, [grant(busy)])))


NODES = "a:12:gen4,gen45 b:12:gen5,gen45:48 c:4:gen1,slow:8"


@pytest.mark.parametrize(
    ("requirement", "those"),
    [
        (need(), "a b c"),
        (need(group="gen45"), "a b"),
        (need(group="gen4,slow"), "a c"),
        (need(notgroup="gen4,slow"), "b"),
        (need(group="gen45", notgroup="gen4"), "b"),
        (need(host="b"), "b"),
        (need("byhost", host="c"), "c"),
        (need("byhost"), ""),
        (need(min_cores=5), "a b"),
        (need(min_mem=32), "a b"),
        (need(min_mem=32.5), "b"),
        (need("bynode", threads=5), "a b"),
        (need("bygroup", group="gen1,gen4", threads=5), "a"),
        (need("bycore1", n=5), "a b"),
        (need(n=5), "a b c"),
    ],
)
def test_eligible_nodes_meet_every_key_of_the_requirement(requirement: Requirement, those: str) -> None:
    assert hosts(requirement, NODES) == those


def test_eligible_nodes_may_be_in_any_state() -> None:
    assert len(eligible(need(), leaving(off(cluster("a:1 b:1 c:1"), "a"), "b"))) == 3


class TestBycore:
    def test_takes_cores_in_the_order_of_the_file(self) -> None:
        assert placed(need(n=3), "a:2 b:2 c:2") == "a:0,1 b:0"

    def test_takes_the_lowest_free_cores(self) -> None:
        assert placed(need(n=3), "a:4 b:4", busy="a:0,2") == "a:1,3 b:0"

    def test_waits_until_all_are_free(self) -> None:
        assert placed(need(n=4), "a:2 b:2", busy="b:1") == "-"

    def test_takes_multiples_of_threads_on_each_node(self) -> None:
        assert placed(need(n=8, threads=4), "a:6 b:3 c:7") == "a:0,1,2,3 c:0,1,2,3"

    def test_waits_when_free_cores_are_no_whole_ranks(self) -> None:
        assert placed(need(n=4, threads=4), "a:3 b:3") == "-"

    def test_never_splits_a_rank(self) -> None:
        assert placed(need(n=5, threads=2), "a:8") == "-"


class TestBycore1:
    def test_takes_the_first_node_that_has_them_all(self) -> None:
        assert placed(need("bycore1", 3), "a:4 b:4 c:4", busy="a:0,1") == "b:0,1,2"

    def test_does_not_add_up_nodes(self) -> None:
        assert placed(need("bycore1", 3), "a:2 b:2") == "-"


class TestBynode:
    def test_takes_the_first_nodes_on_which_nothing_runs(self) -> None:
        assert placed(need("bynode", 2), "a:2 b:3 c:1 d:4", busy="b:2") == "a:0,1 c:0"

    def test_waits_for_nodes_in_use(self) -> None:
        assert placed(need("bynode", 2), "a:2 b:2", busy="b:1") == "-"


class TestByhost:
    def test_takes_cores_of_the_node_named(self) -> None:
        assert placed(need("byhost", 2, host="b"), "a:4 b:4", busy="b:0") == "b:1,2"

    def test_waits_for_that_node(self) -> None:
        assert placed(need("byhost", 2, host="b"), "a:4 b:2", busy="b:0") == "-"


class TestBygroup:
    def test_takes_all_of_the_group(self) -> None:
        assert placed(need("bygroup", group="x"), "a:2:x b:9 c:1:x") == "a:0,1 c:0"

    def test_waits_for_the_last_of_them(self) -> None:
        assert placed(need("bygroup", group="x"), "a:2:x b:9 c:1:x", busy="a:1") == "-"

    def test_of_no_nodes_gets_nothing(self) -> None:
        assert placed(need("bygroup", group="y"), "a:2:x") == "-"


@pytest.mark.parametrize("n", [0, -3])
@pytest.mark.parametrize("mode", ["bycore", "bycore1", "bynode", "byhost"])
def test_nothing_is_not_an_allocation(mode: str, n: int) -> None:
    assert placed(need(mode, n, host="a"), "a:4") == "-"


@pytest.mark.parametrize(
    ("requirement", "sentence"),
    [
        (need("byhost", host="x"), "host: no node is called 'x'"),
        (need("byhost"), "host: byhost wants the name of a node"),
        (need(group="gen9"), "group: no node is in group 'gen9' (groups here: gen4, gen45, gen5, gen1, slow)"),
        (
            need(group="gen8,gen9"),
            "group: no node is in any of the groups 'gen8', 'gen9' (groups here: gen4, gen45, gen5, gen1, slow)",
        ),
        (need(notgroup="gen45,slow"), "notgroup: every node is in any of the groups 'gen45', 'slow'"),
        (need(min_cores=32), "min_cores: 32: the largest node has 12 cores"),
        (need(min_mem=64), "min_mem: 64: the largest node has 48 GB"),
        (need("bynode", threads=16), "threads: 16: the largest node has 12 cores"),
        (need(n=5, threads=2), "N: 5 cores is not a multiple of threads: 2"),
        (need(n=0), "N: 0: at least 1 is needed"),
        (need(group="slow", min_cores=12), "no node meets both group: slow and min_cores: 12"),
        (need("byhost", host="a", group="slow"), "no node meets both host: a and group: slow"),
        (
            need(group="gen1,gen4", notgroup="gen4", min_cores=5),
            "no node meets all of group: gen1, gen4, notgroup: gen4 and min_cores: 5",
        ),
        (need(n=100), "N: 100 cores, but the cluster has 28"),
        (need(n=100, group="gen45"), "N: 100 cores, but the nodes that meet group: gen45 have 24"),
        (need(n=25, threads=5), "N: 25 cores, but the nodes that meet threads: 5 have 20 in pieces of 5"),
        (need("bycore1", 13), "bycore1: N: 13 cores on one node, but the largest node has 12"),
        (
            need("bycore1", 5, group="slow"),
            "bycore1: N: 5 cores on one node, but the largest node of those that meet group: slow has 4",
        ),
        (need("byhost", 5, host="c"), "byhost: N: 5 cores, but node c has 4"),
        (need("bynode", 5), "bynode: N: 5 nodes, but the cluster has 3"),
        (need("bynode", 3, group="gen45"), "bynode: N: 3 nodes, but the nodes that meet group: gen45 are 2"),
        (need("bynode", 3), None),
        (need("bygroup", group="gen45"), None),
        (need(n=28), None),
    ],
)
def test_the_sentence_names_the_key_that_asks_too_much(requirement: Requirement, sentence: str | None) -> None:
    assert impossible(requirement, cluster(NODES)) == sentence


def test_an_offline_node_still_counts_as_possible() -> None:
    assert impossible(need(n=4), off(cluster("a:2 b:2"), "b")) is None


def test_a_leaving_node_does_not() -> None:
    assert impossible(need(n=4), leaving(cluster("a:2 b:2"), "b")) == "N: 4 cores, but the cluster has 2"


def test_a_cluster_without_nodes_can_do_nothing() -> None:
    assert impossible(need(), ()) == "the cluster has no nodes"


def test_a_cluster_without_groups_says_so() -> None:
    assert impossible(need(group="x"), cluster("a:1")) == "group: no node is in group 'x' (groups here: none)"


requirements = st.builds(
    need,
    st.sampled_from(["bycore", "bycore1", "bynode", "byhost", "bygroup"]),
    st.integers(0, 12),
    group=st.sampled_from(["", "x", "y", "x,y"]),
    notgroup=st.sampled_from(["", "x"]),
    host=st.sampled_from([None, "a", "b"]),
    min_cores=st.integers(0, 5),
    min_mem=st.sampled_from([0.0, 16.0, 48.0]),
    threads=st.sampled_from([None, 1, 2, 3]),
)
clusters = st.sampled_from(["a:4", "a:4:x b:2:y", "a:2:x,y:64 b:5:y c:3:z:8", "a:1 b:1 c:1 d:5:x"])


@given(requirements, clusters)
def test_only_what_does_not_fit_on_the_empty_cluster_is_impossible(requirement: Requirement, nodes: str) -> None:
    assert (impossible(requirement, cluster(nodes)) is None) == (placed(requirement, nodes) != "-")
