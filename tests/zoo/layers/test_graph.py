"""Sums over segments against loops, graphs by hand, and what padding may never do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from jraph import GraphsTuple

from zoo.layers import (
    as_graph,
    degrees,
    edge_mask,
    from_padded,
    graph_index,
    node_mask,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
    with_self_loops,
)

POOLS = {"sum": segment_sum, "mean": segment_mean, "max": segment_max}
FUNCTIONS = {**POOLS, "softmax": segment_softmax}
jitted = {name: jax.jit(function, static_argnums=2) for name, function in FUNCTIONS.items()}

# Eight nodes with the features 1 … 8, and eleven edges.
SENDERS = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 2])
RECEIVERS = np.array([1, 2, 2, 3, 0, 4, 5, 6, 4, 7, 7])
BY_HAND = {
    "sum": [4, 1, 3, 3, 11, 5, 6, 10],
    "mean": [4, 1, 1.5, 3, 5.5, 5, 6, 5],
    "max": [4, 1, 2, 3, 7, 5, 6, 7],
}
BOTH_WAYS = [9, 4, 15, 9, 17, 12, 19, 10]


def graph_of(senders, receivers, n_node, n_edge, *, nodes=None, edges=None, globals=None):
    nodes = np.arange(1.0, 1 + sum(n_node))[:, None] if nodes is None else nodes
    return GraphsTuple(
        nodes=nodes,
        edges=edges,
        senders=np.asarray(senders, np.int32),
        receivers=np.asarray(receivers, np.int32),
        globals=globals,
        n_node=np.asarray(n_node, np.int32),
        n_edge=np.asarray(n_edge, np.int32),
    )


EIGHT = functools.partial(graph_of, SENDERS, RECEIVERS, [8], [11])


@pytest.mark.parametrize("name", POOLS)
def test_eight_nodes_and_eleven_edges_by_hand(name):
    values = jnp.arange(1.0, 9)[:, None]
    assert jitted[name](values[SENDERS], RECEIVERS, 8)[:, 0].tolist() == BY_HAND[name]


def test_an_undirected_edge_is_stored_both_ways():
    values = jnp.arange(1.0, 9)[:, None]
    senders, receivers = np.concatenate([SENDERS, RECEIVERS]), np.concatenate([RECEIVERS, SENDERS])
    assert segment_sum(values[senders], receivers, 8)[:, 0].tolist() == BOTH_WAYS


def literal(name, values, segments, count):
    """By loops; softmax has a row for each row, the others one for each segment."""
    values = np.asarray(values, np.float64)
    out = np.zeros_like(values) if name == "softmax" else np.zeros((count, *values.shape[1:]))
    for segment in range(count):
        rows = np.flatnonzero(np.asarray(segments) == segment)
        if not len(rows):
            continue
        if name == "softmax":
            weights = np.exp(values[rows])
            out[rows] = weights / weights.sum(0)
        else:
            out[segment] = {"sum": np.sum, "mean": np.mean, "max": np.max}[name](values[rows], axis=0)
    return out


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(segments=st.lists(st.integers(0, 6), min_size=7, max_size=7), seed=st.integers(0, 2**16))
def test_segments_are_loops(name, segments, seed):
    """Of five segments: rows with 5 and 6 belong to none."""
    with jax.enable_x64(True):
        values = np.random.default_rng(seed).normal(0, 3, (7, 2))
        got = jitted[name](values, np.array(segments), 5)
        assert got.dtype == jnp.float64
        # At most seven numbers of order ten are added.
        np.testing.assert_allclose(got, literal(name, values, segments, 5), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked_rows_may_be_anything_and_take_no_gradient(name, x64):
    values, segments = np.random.default_rng(0).normal(size=(6, 2)), np.array([2, 0, 2, 0, 2, 1])
    mask = np.array([True, True, False, True, True, False])
    loud = np.where(mask[:, None], values, np.nan)
    weights = np.random.default_rng(1).normal(size=(6, 2))

    def total(values, mask=None):
        out = FUNCTIONS[name](values, segments, 4, mask=mask)
        return jnp.sum(out * weights[: len(out)]), out

    with jax.debug_nans(False):
        gradient, out = jax.grad(total, has_aux=True)(loud, mask)
    expected = literal(name, values[mask], segments[mask], 4)
    np.testing.assert_allclose(out[mask] if name == "softmax" else out, expected, rtol=1e-13)
    assert np.all(np.isfinite(out)) and not np.any(gradient[~mask]) and np.any(gradient[mask])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_finite_differences(name, x64):
    segments = np.array([2, 0, 2, 5, 2, 0])
    weights = np.random.default_rng(1).normal(size=(6, 2))

    def total(values):
        out = FUNCTIONS[name](values, segments, 4)
        return jnp.sum(out**2 * weights[: len(out)])

    # Forward and backward; central differences of a smooth function with steps of 1e-6 are good to 1e-9.
    check_grads(total, (np.random.default_rng(0).normal(size=(6, 2)),), order=2, rtol=1e-6, atol=1e-6)


def test_rows_as_large_as_each_other_share_the_gradient():
    values = jnp.array([[3.0], [1.0], [3.0], [5.0]])
    gradient = jax.grad(lambda values: jnp.sum(segment_max(values, np.array([0, 0, 0, 1]), 3)))(values)
    assert gradient[:, 0].tolist() == [0.5, 0, 0.5, 1]


def test_softmax_of_large_numbers_and_of_none_is_finite():
    values, segments = jnp.array([1e4, 1e4, -1e4, -1e4]), np.array([0, 0, 1, 3])
    value, gradient = jax.value_and_grad(lambda v: jnp.sum(segment_softmax(v, segments, 3) * jnp.arange(4.0)))(values)
    assert segment_softmax(values, segments, 3).tolist() == [0.5, 0.5, 1, 0]
    assert value == 2.5 and gradient.tolist() == [-0.25, 0.25, 0, 0]


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_half_precision_is_added_up_in_single(name):
    values = jnp.ones((1000, 1), jnp.bfloat16)
    assert FUNCTIONS[name](values, np.zeros(1000, int), 1).dtype == jnp.bfloat16
    # 256 + 1 is 256 in bfloat16.
    assert float(FUNCTIONS[name](values, np.zeros(1000, int), 1)[0, 0]) == {"sum": 1000, "mean": 1}[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_at_all_is_legal(name):
    assert FUNCTIONS[name](jnp.zeros((0, 2)), np.zeros(0, int), 3).shape == ((0 if name == "softmax" else 3), 2)
    assert FUNCTIONS[name](jnp.zeros((0, 2)), np.zeros(0, int), 0).shape == (0, 2)


@pytest.mark.parametrize(
    ("multisets", "equal"),
    [
        (([1, 3], [1, 1, 3]), {"max"}),
        (([2, 2], [1, 3]), {"sum", "mean"}),
        (([1, 3], [1, 1, 3, 3]), {"mean", "max"}),
    ],
)
def test_what_pools_cannot_tell_apart(multisets, equal):
    values, segments = (
        jnp.asarray(np.concatenate(multisets), jnp.float32),
        np.repeat([0, 1], [len(m) for m in multisets]),
    )
    same = {name for name, pool in POOLS.items() if np.ptp(pool(values[:, None], segments, 2)) == 0}
    assert same == equal


# Two graphs with one of two padding nodes between them, and a graph of nothing.
SENDERS3, RECEIVERS3, NODES3, EDGES3 = [0, 1, 2, 3, 5, 4], [1, 0, 2, 4, 6, 5], [2, 2, 3, 0], [2, 1, 3, 0]
SENDERS3[2:], RECEIVERS3[2:] = [3, 4, 5, 6], [3, 5, 6, 6]


def test_which_graph_a_node_belongs_to():
    graph = graph_of(SENDERS3, RECEIVERS3, NODES3, EDGES3)
    mask = np.array([True, False, True, True])
    assert graph_index(graph).tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert node_mask(graph, mask).tolist() == [True, True, False, False, True, True, True]
    assert edge_mask(graph, mask.astype(np.float32)).tolist() == [True, True, False, True, True, True]
    # Graphs without nodes in front of others.
    assert graph_index(graph_of([], [], [0, 2, 0, 1], [0, 0, 0, 0])).tolist() == [1, 1, 3]


def test_what_does_not_count_leads_nowhere_and_is_zero():
    nodes = np.full((7, 2), np.nan)
    nodes[[0, 1, 4, 5, 6]] = 1
    edges = np.where(np.arange(6)[:, None] == 2, np.nan, 1.0)
    globals_ = np.array([[1.0], [np.nan], [1.0], [1.0]])
    source = graph_of(SENDERS3, RECEIVERS3, NODES3, EDGES3, nodes=nodes, edges=edges, globals=globals_)
    mask = np.array([1, 0, 1, 1])
    with jax.debug_nans(False):
        graph = jax.jit(lambda source, mask: as_graph("net", source, mask=mask, edges="features"))(source, mask)
    assert graph.nodes[:, 0].tolist() == [1, 1, 0, 0, 1, 1, 1]
    assert graph.edges[:, 0].tolist() == [1, 1, 0, 1, 1, 1]
    assert graph.globals[:, 0].tolist() == [1, 0, 1, 1]
    assert graph.senders.tolist() == [0, 1, 0, 4, 5, 6] and graph.receivers.tolist() == [1, 0, 7, 5, 6, 6]
    assert graph.graph_of_node.tolist() == [0, 0, 4, 4, 2, 2, 2] and graph.graph_of_edge.tolist() == [0, 0, 4, 2, 2, 2]
    assert graph.node_mask.tolist() == [True, True, False, False, True, True, True]
    assert graph.edge_mask.tolist() == [True, True, False, True, True, True]
    everything = as_graph("net", source._replace(nodes=jnp.ones((7, 2)), edges=None, globals=None))
    assert everything.node_mask is everything.edge_mask is everything.graph_mask is everything.edges is None


def test_degrees_and_self_loops_by_hand():
    weights = np.arange(11.0)[:, None]
    graph = as_graph("net", EIGHT(edges=weights), edges="features")
    assert degrees(graph).tolist() == [1, 1, 2, 1, 2, 1, 1, 2]
    assert degrees(graph, graph.edges[:, 0]).tolist() == [4, 0, 3, 3, 13, 6, 7, 19]
    looped = with_self_loops(graph)
    assert looped.senders[11:].tolist() == looped.receivers[11:].tolist() == list(range(8))
    assert looped.edges[11:, 0].tolist() == [4, 0, 1.5, 3, 6.5, 6, 7, 9.5]
    assert degrees(looped).tolist() == [2, 2, 3, 2, 3, 2, 2, 3]
    assert looped.graph_of_edge.shape == (19,) and looped.edge_mask is None
    typed = with_self_loops(as_graph("net", EIGHT(edges=np.ones(11, int)), edges="types", edge_types=2), edge_types=2)
    assert typed.edges.tolist() == [1] * 11 + [2] * 8
    none = with_self_loops(as_graph("net", EIGHT(), mask=np.array([False])))
    assert not np.any(none.edge_mask) and degrees(none).tolist() == [0] * 8


def test_padded_arrays_are_graphs_with_their_padding_between_them():
    nodes = np.arange(1.0, 17).reshape(2, 4, 2)
    senders, receivers = np.array([[0, 1, 99], [0, -1, 99]]), np.array([[1, 0, 99], [0, 99, -1]])
    made, mask = jax.jit(from_padded)(
        nodes, senders, receivers, np.array([2, 3]), np.array([2, 1]),
        edges=np.ones((2, 3, 5)), globals=np.array([[1.0], [2.0]]),
    )  # fmt: skip
    assert made.n_node.tolist() == [2, 2, 3, 1] and made.n_edge.tolist() == [2, 1, 1, 2]
    assert made.senders.tolist() == [0, 1, 3, 4, 7, 7] and made.receivers.tolist() == [1, 0, 3, 4, 7, 7]
    assert made.globals[:, 0].tolist() == [1, 0, 2, 0] and mask.tolist() == [True, False, True, False]
    assert np.array_equal(made.nodes, nodes.reshape(8, 2)) and made.edges.shape == (6, 5)
    graph = as_graph("net", made, mask=mask, edges="features")
    assert graph.graph_of_node.tolist() == [0, 0, 4, 4, 2, 2, 2, 4]
    typed, _ = from_padded(
        nodes, senders, receivers, np.array([2, 3]), np.array([2, 1]), edges=np.zeros((2, 3), np.int32)
    )
    assert typed.edges.shape == (6,) and typed.globals is None


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"n_node": [2, 4]}, ["n_node", "0 … 3", "2 … 4", "one node at least is padding", "more slots"]),
        ({"n_edge": [4, 1]}, ["n_edge", "0 … 3", "1 … 4"]),
        ({"n_edge": [1]}, ["n_edge should be (2,)", "got (1,)"]),
        ({"receivers": np.zeros((2, 2), int)}, ["(B, N, F)", "(2, 3)", "(2, 2)"]),
    ],
)
def test_padded_arrays_that_do_not_fit_are_refused(changes, parts):
    ends = np.zeros((2, 3), int)
    arrays = {"senders": ends, "receivers": ends, "n_node": [2, 3], "n_edge": [2, 1], **changes}
    with pytest.raises(ValueError) as caught:
        from_padded(np.zeros((2, 4, 2)), **arrays)
    assert [part for part in parts if part not in str(caught.value)] == []


TWO = functools.partial(graph_of, [0, 1, 3], [1, 0, 2], [2, 2], [2, 1])


@pytest.mark.parametrize(
    ("source", "options", "parts"),
    [
        (np.ones((3, 2)), {}, ["net takes a jraph.GraphsTuple", "ndarray", "from_padded"]),
        (TWO()._replace(nodes=None), {}, ["nodes (N, F)", "got None", "ones (N, 1)"]),
        (TWO(nodes=np.ones(4)), {}, ["nodes (N, F)", "shape (4,)"]),
        (TWO(nodes=np.ones((4, 1), int)), {}, ["nodes (N, F), floating", "int"]),
        (TWO(), {"channels": 3}, ["in_channels=3", "1 channels"]),
        (TWO()._replace(senders=jnp.ones(3)), {}, ["senders and receivers (E,)", "whole numbers", "float32"]),
        (TWO()._replace(senders=jnp.ones(2, int)), {}, ["senders and receivers (E,)", "(2,)", "(3,)"]),
        (TWO()._replace(n_node=jnp.array([2, 3])), {}, ["n_node", "add up to 4", "[2, 3]", "sum 5"]),
        (TWO()._replace(n_edge=jnp.array([4, -1])), {}, ["n_edge", "not be negative", "[4, -1]"]),
        (TWO()._replace(senders=jnp.array([0, 4, 3])), {}, ["senders", "0 … 3", "edge 1 has 4"]),
        (TWO()._replace(receivers=jnp.array([0, 1, -1])), {}, ["receivers", "0 … 3", "edge 2 has -1"]),
        (TWO()._replace(receivers=jnp.array([0, 2, 2])), {}, ["its own graph", "1 of graph 0", "2, a node of graph 1"]),
        (TWO(), {"edges": "weights"}, ["weights (E, 1)", "E = 3", "got None"]),
        (TWO(edges=np.ones((3, 2))), {"edges": "weights"}, ["weights (E, 1)", "(3, 2)"]),
        (TWO(edges=np.ones((2, 2))), {"edges": "features"}, ["features (E, D)", "E = 3", "(2, 2)"]),
        (TWO(edges=np.ones(3)), {"edges": "types", "edge_types": 2}, ["types (E,), whole numbers", "float32"]),
        (TWO(edges=np.array([0, 1, 2])), {"edges": "types", "edge_types": 2}, ["0 … 1", "edge_types=2", "0 … 2"]),
        (TWO(globals=np.ones((3, 1))), {}, ["globals (G, P)", "2 graphs", "(3, 1)"]),
        (TWO(), {"mask": np.ones(3)}, ["mask (G,)", "2 graphs", "(3,)"]),
        (graph_of([], [], [], [], nodes=np.zeros((0, 1))), {}, ["one graph at least"]),
        (TWO(nodes=np.zeros((0, 1))), {}, ["3 edges, but no node"]),
    ],
)  # fmt: skip
def test_graphs_that_cannot_be_meant_are_refused(source, options, parts):
    with pytest.raises(ValueError) as caught:
        as_graph("net", source, **options)
    assert [part for part in parts if part not in str(caught.value)] == []
