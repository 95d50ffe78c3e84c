"""How graphs are stored, and which records are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo_datasets.loading import graph_records as module
from zoo_datasets.loading.records import DataError


def graph(**changes):
    """A path of three nodes with all fields; changed."""
    record = {
        "nodes": np.ones((3, 2), np.float32),
        "senders": np.array([1, 0, 2, 1], np.int32),
        "receivers": np.array([0, 1, 1, 2], np.int32),
        "edges": np.zeros((4, 1), np.float32),
        "edge_type": np.zeros(4, np.int32),
        "node_label": np.array([-1, 0, 1], np.int32),
        "edge_label": np.array([-1, 0, 1, 1], np.int32),
        "node_target": np.zeros((3, 1), np.float32),
        "node_valid": np.ones(3, np.uint8),
        "pairs": np.array([[0, 2]], np.int32),
        "pair_label": np.array([0], np.int32),
        "label": 1,
    }
    return {**record, **changes}


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_undirected_edges_are_each_direction_once_and_sorted(drawn):
    nodes, pairs = drawn
    senders, receivers = module.undirected(np.array(pairs, int).reshape(-1, 2), nodes=nodes, where="here")
    got = list(zip(receivers.tolist(), senders.tolist(), strict=True))
    assert got == sorted({(i, j) for a, b in pairs if a != b for i, j in ((a, b), (b, a))})
    assert senders.dtype == receivers.dtype == np.int32
    module.require_graph("here", {"nodes": np.zeros((nodes, 1)), "senders": senders, "receivers": receivers})


def test_order_by_receiver_keeps_edges_of_the_same_pair_in_place():
    senders, receivers = np.array([2, 1, 2, 0, 1]), np.array([1, 0, 1, 2, 0])
    assert module.by_receiver(senders, receivers).tolist() == [1, 4, 0, 2, 3]


def test_graphs_without_edges_or_nodes_are_legal():
    none = np.zeros(0, np.int32)
    module.require_graph("here", {"nodes": np.zeros((3, 2)), "senders": none, "receivers": none})
    module.require_graph("here", {"nodes": np.zeros((0, 2)), "senders": none, "receivers": none})
    senders, receivers = module.undirected(np.zeros((0, 2), int), nodes=0, where="here")
    assert len(senders) == len(receivers) == 0
    module.require_graph("here", graph(), num_classes=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"senders": np.array([1, 0, 3, 1])}, r"senders should be numbers of nodes, 0 … 2, got 3 in row 2 \(1 out of"),
        ({"receivers": np.array([0, -1, 1, 2])}, r"receivers should be numbers of nodes, .* got -1 in row 1 .*from 0"),
        ({"pairs": np.array([[0, 9]])}, r"pairs should be numbers of nodes, 0 … 2, got 9 in row 0"),
        ({"receivers": np.array([0, 1, 1])}, r"receivers should be \(4,\), one row for each of senders, got \(3,\)"),
        ({"edges": np.zeros((3, 1))}, r"edges should be \(4, …\), one row for each of senders, got \(3, 1\)"),
        ({"senders": np.array([1.0, 0, 2, 1])}, r"senders should be whole numbers, got float64"),
        ({"nodes": np.array([[1, 1], [1, np.nan], [0, 0]])}, r"nodes should be finite, got \[ 1. nan\] in row 1"),
        ({"node_label": np.array([0, 1])}, r"node_label should be \(3,\), one row for each of nodes, got \(2,\)"),
        ({"node_label": np.array([0, 2, 1])}, r"node_label should be in -1 … 1, −1 for unknown, got 2 in row 1"),
        ({"edge_label": np.array([0, 1, -2, 1])}, r"edge_label should be in -1 … 1, .* got -2 in row 2"),
        ({"label": -1}, r"label should be in 0 … 1, got -1"),
        ({"pair_label": np.array([0, 1])}, r"pair_label should be \(1,\), one row for each of pairs, got \(2,\)"),
    ],
)
def test_other_records_are_refused(changes, message):
    with pytest.raises(DataError, match=f"graph 7: {message}"):
        module.require_graph("graph 7", graph(**changes), num_classes=2)


def test_missing_fields_are_named():
    record = graph()
    del record["senders"]
    with pytest.raises(DataError, match="should have nodes, senders and receivers, got nodes, receivers"):
        module.require_graph("here", record)
    record = graph()
    del record["pairs"]
    with pytest.raises(DataError, match="pair_label needs the field pairs, which is missing"):
        module.require_graph("here", record)


def test_edges_of_a_graph_without_nodes_are_refused():
    with pytest.raises(DataError, match="an edge should be numbers of nodes, of which there are none, got 0 in row 0"):
        module.undirected(np.array([[0, 1]]), nodes=0, where="here")
