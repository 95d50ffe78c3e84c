"""Tasks on rows: each row that counts is an example, and no other is looked at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import train
from zoo.layers import PaddedGraphs

pytestmark = pytest.mark.smoke


def batch():
    return {
        "label": jnp.array([[0, 2, 9], [1, -7, 1]]),
        "valid": jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]),
        "mask": jnp.array([1.0, 1.0]),
    }


def test_rows_that_count_are_examples(x64, key):
    outputs = jax.random.normal(key, (2, 3, 4), jnp.float64)
    rows, task = train.on_rows(train.classification()), train.classification()
    there = np.asarray(batch()["valid"]) > 0
    flat = {"label": batch()["label"][there]}
    values, weights = rows.loss(outputs, batch())
    expected, ones = task.loss(outputs[there], flat)
    np.testing.assert_allclose(values[there], expected, rtol=1e-12)
    np.testing.assert_array_equal(weights, there)
    assert ones.all()
    for name, value in rows.metrics(outputs, batch()).items():
        np.testing.assert_allclose(value, task.metrics(outputs[there], flat)[name], rtol=1e-12)
    np.testing.assert_allclose(rows.predict(outputs)[1, 2], jax.nn.softmax(outputs[1, 2]), rtol=1e-12)


def test_examples_that_are_padding_count_for_nothing():
    masked = {**batch(), "mask": jnp.array([0.0, 1.0])}
    np.testing.assert_array_equal(train.counted_rows(masked, 3), [[0, 0, 0], [1, 0, 1]])


@pytest.mark.parametrize("given", [{}, {"valid": jnp.ones((2, 4))}])
def test_rows_need_to_be_told_which_count(given):
    entries = {name: value for name, value in batch().items() if name != "valid"} | given
    with pytest.raises(ValueError, match=r"Outputs of 3 rows need an entry valid \(B, 3\)"):
        train.on_rows(train.classification()).loss(jnp.zeros((2, 3, 4)), entries)


def test_graphs_and_points_of_a_batch():
    arrays = {
        "nodes": jnp.zeros((2, 3, 4)),
        "senders": jnp.zeros((2, 5), int),
        "receivers": jnp.ones((2, 5), int),
        "n_node": jnp.array([2, 1]),
        "n_edge": jnp.array([5, 0]),
    }
    graphs = train.graphs_of(arrays)
    assert isinstance(graphs, PaddedGraphs) and graphs.edges is None and graphs.pairs is None
    assert train.graphs_of({**arrays, "edges": jnp.zeros((2, 5, 1))}).edges.shape == (2, 5, 1)
    together, mask = graphs.together()
    assert together.n_node.tolist() == [2, 1, 1, 2] and mask.tolist() == [True, False, True, False]
    points = train.points_of({"points": jnp.ones((2, 3, 4)), "n_point": jnp.array([0, 2])})
    assert points.mask.tolist() == [[False, False, False], [True, True, False]]
