"""ParticleNet against loops over particles and neighbours; jets of any number of particles; angles that wrap around."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers import PointSet
from zoo.models import ParticleNet

MASK = np.array([[True] * 6, [True, False, True, True, False, False], [False, True] + [False] * 4, [False] * 6])


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def relu(x):
    return np.maximum(x, 0)


@functools.cache
def compiled(model):
    return jax.jit(model.apply)


@pytest.fixture
def net(key, randomise):
    """`net(**options)` → model in float64 and random variables."""

    def build(**options):
        tiny = {"num_classes": 3, "widths": ((4, 5), (6,)), "k": 3, "dense": 5, "dropout": 0.0}
        model = ParticleNet(**{**tiny, "param_dtype": jnp.float64, **options})
        x = jax.ShapeDtypeStruct((1, 6, 4), jnp.float64)
        return model, jax.tree.map(np.asarray, randomise(1, jax.eval_shape(model.init, key, x)))

    return build


@pytest.fixture
def literal(literal_edge_conv, literal_norm):
    """`literal(model, variables, x, mask, places)`: outputs of one jet (N, C) in evaluation, as the paper has it.

    The first neighbours are the nearest in `places`, by default in the coordinates.
    """

    def run(model, variables, x, mask, places=None):
        params, stats = variables["params"], variables["batch_stats"]
        places = x[:, : model.coordinates] if places is None else places
        x = literal_norm(x, params["input_norm"], stats["input_norm"])
        for i in range(1, len(model.widths) + 1):
            block, block_stats = params[f"block{i}"], stats[f"block{i}"]
            options = {"places": places, "k": model.k, "include_self": False, "pool": np.mean, "activation": relu}
            edges = literal_edge_conv(x, mask, block["edges"], block_stats["edges"], **options)
            shortcut = literal_norm(
                x @ block["shortcut"]["kernel"], block["shortcut_norm"], block_stats["shortcut_norm"]
            )
            x = places = relu(shortcut + edges)
        if model.readout == "set":
            x = x[mask].mean(0) if mask.any() else np.zeros(x.shape[1])
        x = relu(x @ params["dense"]["kernel"] + params["dense"]["bias"])
        return x @ params["head"]["kernel"] + params["head"]["bias"]

    return run


@pytest.mark.parametrize(
    "options", [{}, {"readout": "points", "coordinates": None}], ids=["set", "points, all coordinates"]
)
def test_it_is_what_loops_give_jets_of_one_and_no_particle_included(options, net, literal, x64, close):
    model, variables = net(**options)
    x = normal(2, 4, 6, 4)
    with jax.debug_nans(False):
        outputs = compiled(model)(variables, PointSet(np.where(MASK[..., None], x, np.nan), MASK))
    assert np.all(np.isfinite(outputs))
    for example, mask in enumerate(MASK):
        expected = literal(model, variables, np.where(mask[:, None], x[example], 0), mask)
        there = mask if model.readout == "points" and mask.any() else slice(None)
        close(outputs[example][there], expected[there], 1e-12)
    # Of an array all particles count.
    close(compiled(model)(variables, x[:1]), outputs[:1], 1e-12)


def test_angles_wrap_around_for_neighbours_on_request(net, literal, x64, close):
    # Angles on both sides of π, and as what they are stored.
    angles = np.pi + 0.3 * normal(3, 6)
    x = normal(2, 1, 6, 4)
    x[0, :, 1] = np.where(angles > np.pi, angles - 2 * np.pi, angles)
    assert len(np.unique(np.sign(x[0, :, 1]))) == 2
    model, variables = net(k=2)
    places = np.stack([x[0, :, 0], angles], axis=1)
    expected = literal(model, variables, x[0], np.ones(6, bool), places)
    close(compiled(model.clone(periodic=True))(variables, x)[0], expected, 1e-12)
    assert not np.allclose(compiled(model)(variables, x)[0], expected, rtol=1e-6)


def test_full_size_parameters_are_the_published_ones():
    assert zoo.parameters("particlenet", num_classes=2) == 366_160
    assert zoo.parameters("particlenet_lite", num_classes=2) == 26_416


@pytest.mark.parametrize(
    ("shape", "options", "parts"),
    [
        ((2, 6), {}, ["ParticleNet takes sets of points (B, N, C)", "(2, 6)"]),
        ((2, 6, 2), {"in_channels": 7}, ["in_channels=7", "2 channels"]),
        ((2, 16, 7), {}, ["k should be in 1 … 15", "excluded", "got k = 16", "pad the arrays"]),
        ((2, 20, 1), {}, ["ParticleNet", "coordinates should be in 1 … 1", "got 2"]),
        ((2, 20, 7), {"periodic": True, "coordinates": 1}, ["angle as the second coordinate", "got 1"]),
        ((2, 20, 7), {"readout": "edges"}, ["'set' or 'points'", "'edges'"]),
        ((2, 20, 7), {"widths": ((4,), ())}, ["at least one layer", "((4,), ())"]),
        ((2, 20, 7), {"widths": ()}, ["at least one block"]),
        ((2, 20, 7), {"dense": 0}, ["dense 0", "at least 1"]),
    ],
)
def test_what_cannot_be_meant_is_refused(shape, options, parts, key):
    model = ParticleNet(**{"num_classes": 3, **options})
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert [part for part in parts if part not in str(caught.value)] == []
