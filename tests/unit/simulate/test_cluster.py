"""Clusters for a replay: nodes that are not there yet."""

from __future__ import annotations

import pytest

from wq.core.cluster import Node
from wq.core.job import HostName
from wq.simulate.cluster import pool, with_added

HERE = (Node(host=HostName("Added1"), ncores=4, mem_gb=48.0, groups=("old",)),)


def test_nodes_are_added_behind_those_that_are_there() -> None:
    nodes = with_added(with_added(HERE, "2x16:gen5,fast"), "1x8")
    assert [(node.host, node.ncores, node.groups) for node in nodes] == [
        ("Added1", 4, ("old",)),
        ("added2", 16, ("gen5", "fast")),
        ("added3", 16, ("gen5", "fast")),
        ("added4", 8, ()),
    ]


def test_they_have_as_much_memory_as_the_largest() -> None:
    assert with_added(HERE, "1x1")[-1].mem_gb == 48.0


def test_a_pool_may_have_more_nodes_beside_it() -> None:
    assert [(node.host, node.ncores) for node in with_added(pool(100), "1x8")] == [("pool", 100), ("added1", 8)]


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        ("two nodes", "'two nodes' is not understood; allowed: NODESxCORES"),
        ("2x", "not understood"),
        ("2x16 gen5", "not understood"),
        ("-1x16", "not understood"),
        ("0x16", "from 1 to 10000 nodes in all"),
        ("10000x16", "from 1 to 10000 nodes in all"),
        ("999999x16", "from 1 to 10000 nodes in all"),
        ("2x0", "a node has from 1 to 4096 cores"),
        ("2x5000", "a node has from 1 to 4096 cores"),
        ("2x16:", "'' cannot be the name of a group"),
        ("2x16:a b", "'a b' cannot be the name of a group"),
        ("9" * 5000, "not understood"),
    ],
)
def test_what_cannot_be_is_refused(text: str, telling: str) -> None:
    with pytest.raises(ValueError) as caught:
        with_added(HERE, text)
    assert telling in str(caught.value)
    assert len(str(caught.value)) < 300
