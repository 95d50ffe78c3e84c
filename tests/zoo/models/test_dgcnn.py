"""DGCNN against loops over points and neighbours; what shifts and padding do and do not change."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers import PointSet, k_nearest
from zoo.models import DGCNN

MASK = np.array([[True] * 6, [True, False, True, True, False, False], [False] * 6])


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def leaky_relu(x):
    return np.where(x > 0, x, 0.2 * x)


@functools.cache
def compiled(model):
    return jax.jit(model.apply)


@pytest.fixture
def net(key, randomise):
    """`net(**options)` → model in float64 and random variables."""

    def build(**options):
        tiny = {"num_classes": 3, "widths": (4, 5), "k": 3, "embedding": 6, "dense": (7,), "dropout": 0.0}
        model = DGCNN(**{**tiny, "param_dtype": jnp.float64, **options})
        x = jax.ShapeDtypeStruct((1, 6, 3), jnp.float64)
        return model, jax.tree.map(np.asarray, randomise(1, jax.eval_shape(model.init, key, x)))

    return build


@pytest.fixture
def literal(literal_edge_conv, literal_norm):
    """`literal(model, variables, x, mask)`: outputs of one set (N, C) in evaluation, as the paper has it."""

    def run(model, variables, x, mask):
        params, stats = variables["params"], variables["batch_stats"]

        def stage(h, dense, norm):
            return leaky_relu(literal_norm(h @ params[dense]["kernel"], params[norm], stats[norm]))

        layers, places = [], x[:, : model.coordinates]
        for i in range(1, len(model.widths) + 1):
            places = layers[-1] if i > 1 and model.dynamic else places
            options = {"places": places, "k": model.k, "include_self": True, "pool": np.max, "activation": leaky_relu}
            name = f"edge{i}"
            layers.append(literal_edge_conv(layers[-1] if i > 1 else x, mask, params[name], stats[name], **options))
        points = np.concatenate(layers, axis=1)
        embedded = stage(points, "embed", "embed_norm")[mask]
        pooled = [embedded.max(0), embedded.mean(0)] if mask.any() else [np.zeros(model.embedding)] * 2
        h = np.concatenate(pooled)
        if model.readout == "points":
            h = np.concatenate([points, np.broadcast_to(h, (len(x), len(h)))], axis=1)
        for i in range(1, len(model.dense) + 1):
            h = stage(h, f"dense{i}", f"norm{i}")
        return h @ params["head"]["kernel"] + params["head"]["bias"]

    return run


@pytest.mark.parametrize(
    "options",
    [{}, {"readout": "points", "coordinates": 2}, {"dynamic": False, "dense": (7, 5)}],
    ids=["set", "points", "one graph"],
)
def test_it_is_what_loops_give_empty_sets_included(options, net, literal, x64, close):
    model, variables = net(**options)
    x = normal(2, 3, 6, 3)
    with jax.debug_nans(False):
        outputs = compiled(model)(variables, PointSet(np.where(MASK[..., None], x, np.nan), MASK))
    assert np.all(np.isfinite(outputs))
    for example, mask in enumerate(MASK):
        expected = literal(model, variables, np.where(mask[:, None], x[example], 0), mask)
        there = mask if model.readout == "points" and mask.any() else slice(None)
        close(outputs[example][there], expected[there], 1e-12)
    # Of an array all points count.
    close(compiled(model)(variables, x[:1]), outputs[:1], 1e-12)


def test_a_shift_changes_no_first_neighbour_but_the_output(net, x64):
    model, variables = net()
    x = jnp.asarray(normal(2, 2, 6, 3))
    assert np.array_equal(k_nearest(x, 3).index, k_nearest(x + 1.5, 3).index)
    outputs = compiled(model)(variables, x)
    assert np.max(np.abs(compiled(model)(variables, x + 1.5) - outputs)) > 1e-2 * np.max(np.abs(outputs))


def test_neighbours_are_found_anew_or_once(net, x64):
    model, variables = net()
    x = normal(2, 2, 6, 3)
    assert not np.allclose(compiled(model)(variables, x), compiled(model.clone(dynamic=False))(variables, x))


def test_full_size_parameters_are_those_of_the_authors_but_one_bias():
    assert zoo.parameters("dgcnn", num_classes=40) == 1_809_576 - 256


@pytest.mark.parametrize(
    ("shape", "options", "parts"),
    [
        ((2, 6), {}, ["DGCNN takes sets of points (B, N, C)", "(2, 6)"]),
        ((2, 6, 2), {"in_channels": 3}, ["in_channels=3", "2 channels"]),
        ((2, 6, 3), {}, ["k should be in 1 … 6", "included", "got k = 20", "fewer neighbours", "pad the arrays"]),
        ((2, 6, 3), {"k": 3, "coordinates": 4}, ["DGCNN", "coordinates should be in 1 … 3", "got 4"]),
        ((2, 6, 3), {"readout": "edges"}, ["'set' or 'points'", "'edges'"]),
        ((2, 6, 3), {"widths": ()}, ["widths ()", "at least one layer"]),
        ((2, 6, 3), {"k": 0}, ["k 0", "at least 1"]),
    ],
)
def test_what_cannot_be_meant_is_refused(shape, options, parts, key):
    model = DGCNN(**{"num_classes": 3, **options})
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert [part for part in parts if part not in str(caught.value)] == []
