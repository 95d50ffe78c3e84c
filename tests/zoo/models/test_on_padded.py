"""Padded batches of graphs: the same network, the same weights, the same words as of each graph alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jraph import GraphsTuple

import zoo
from zoo.layers import PaddedGraphs
from zoo.models.on_padded import OnPadded

pytestmark = pytest.mark.smoke
SIZES = ((3, 4), (1, 0), (0, 0), (4, 6))
NODES, EDGES = 6, 7


def ragged(dtype=np.float64):
    random = np.random.default_rng(0)
    return [
        {
            "nodes": random.normal(size=(n, 2)).astype(dtype),
            "edges": random.normal(size=(e, 3)).astype(dtype),
            "senders": random.integers(0, max(n, 1), e),
            "receivers": random.integers(0, max(n, 1), e),
        }
        for n, e in SIZES
    ]


def batch_of(graphs, filler=0.0):
    def put(name, slots):
        shape = np.shape(graphs[0][name])[1:]
        array = np.full((len(graphs), slots, *shape), filler if shape else 5, np.asarray(graphs[0][name]).dtype)
        for row, graph in enumerate(graphs):
            array[row, : len(graph[name])] = graph[name]
        return jnp.asarray(array)

    return PaddedGraphs(
        nodes=put("nodes", NODES),
        senders=put("senders", EDGES),
        receivers=put("receivers", EDGES),
        n_node=jnp.array([len(graph["nodes"]) for graph in graphs]),
        n_edge=jnp.array([len(graph["senders"]) for graph in graphs]),
        edges=put("edges", EDGES),
    )


def alone(graph):
    return GraphsTuple(
        nodes=jnp.asarray(graph["nodes"]),
        edges=jnp.asarray(graph["edges"]),
        senders=jnp.asarray(graph["senders"]),
        receivers=jnp.asarray(graph["receivers"]),
        globals=None,
        n_node=jnp.array([len(graph["nodes"])]),
        n_edge=jnp.array([len(graph["senders"])]),
    )


@pytest.mark.parametrize("readout", ["graph", "nodes", "edges"])
def test_a_batch_says_what_each_graph_says_alone(x64, key, readout):
    network = zoo.create("gat", num_classes=3, width=4, heads=2, edge_features=True, readout=readout)
    graphs, model = ragged(), OnPadded(network)
    batch = batch_of(graphs)
    variables = model.init(key, batch)
    assert jax.tree.structure(variables) == jax.tree.structure(network.init(key, alone(graphs[0])))
    said = jax.jit(model.apply)(variables, batch)
    # What stands in padding is not looked at.
    np.testing.assert_array_equal(said, model.apply(variables, batch_of(graphs, filler=np.inf)))
    for row, graph in enumerate(graphs):
        expected = network.apply(variables, alone(graph))
        real = {"graph": slice(None), "nodes": slice(len(graph["nodes"])), "edges": slice(len(graph["senders"]))}
        got = said[row][None] if readout == "graph" else said[row][real[readout]]
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_examples_that_are_padding_do_not_reach_statistics(x64, key):
    model = OnPadded(zoo.create("gin", num_classes=2, width=4, norm="batch"))
    graphs = ragged()
    batch, fewer = batch_of(graphs), batch_of(graphs[:2])
    variables = model.init(key, batch)
    mask = jnp.array([1.0, 1.0, 0.0, 0.0])
    outputs, state = model.apply(variables, batch, train=True, mask=mask, mutable=["batch_stats"])
    expected, there = model.apply(variables, fewer, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(outputs[:2], expected, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), state, there)


def test_pairs_are_scored_by_inner_products(x64, key):
    network = zoo.create("gcn", num_classes=5, width=4, readout="nodes", head="layer")
    graphs = ragged()
    batch = batch_of(graphs)
    batch = batch.replace(pairs=jnp.array([[[0, 1], [2, 2]], [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[3, 1], [1, 3]]]))
    model = OnPadded(network, pairs=True)
    variables = model.init(key, batch)
    said = model.apply(variables, batch)
    assert said.shape == (4, 2, 2) and not said[..., 0].any()
    for row in (0, 3):
        z = np.asarray(network.apply(variables, alone(graphs[row])))
        expected = [z[a] @ z[b] for a, b in np.asarray(batch.pairs[row])]
        np.testing.assert_allclose(said[row, :, 1], expected, rtol=1e-12)
    for wrong in (OnPadded(network.clone(readout="edges"), pairs=True), OnPadded(network, pairs=True)):
        graphs = batch if wrong.network.readout == "edges" else batch.replace(pairs=None)
        with pytest.raises(ValueError, match="they need graphs with pairs and a network of nodes"):
            wrong.init(key, graphs)
