"""Deep sets against loops over points; sets of any size, in any order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import taps
from zoo.layers import PointSet
from zoo.models import DeepSets

MASK = np.array([[True] * 5, [False, True, False, True, True], [False] * 5])
POOLS = ["sum", "mean", "max", "attention"]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@functools.cache
def compiled(model):
    return jax.jit(model.apply)


@pytest.fixture
def net(key, randomise):
    """`net(**options)` → model in float64 and random variables."""

    def build(**options):
        model = DeepSets(**{"num_classes": 3, "phi": (5, 4), "rho": (6,), "param_dtype": jnp.float64, **options})
        x = jax.ShapeDtypeStruct((1, 2, 2), jnp.float64)
        return model, jax.tree.map(np.asarray, randomise(1, jax.eval_shape(model.init, key, x)))

    return build


def literal(params, x, pool):
    """Outputs (K,) of one set (n, C), point by point."""

    def dense(x, name):
        return x @ params[name]["kernel"] + params[name].get("bias", 0)

    def layers(x, stem):
        names = sorted(name for name in params if name.startswith(stem))
        return functools.reduce(lambda h, name: np.maximum(dense(h, name), 0), names, x)

    points = [layers(point, "phi") for point in x]
    if not points:
        pooled = np.zeros(params["head" if "rho1" not in params else "rho1"]["kernel"].shape[0])
    elif pool == "attention":
        weights = np.exp([dense(np.tanh(point), "attention")[0] for point in points])
        pooled = sum(w * point for w, point in zip(weights / weights.sum(), points, strict=True))
    else:
        pooled = {"sum": np.sum, "mean": np.mean, "max": np.max}[pool](points, axis=0)
    return dense(layers(pooled, "rho"), "head")


@pytest.mark.parametrize(("pool", "rho"), [*((pool, (6,)) for pool in POOLS), ("sum", ())])
def test_it_is_what_loops_give_empty_sets_included(pool, rho, net, x64, close):
    model, variables = net(pool=pool, rho=rho)
    x = normal(2, 3, 5, 2)
    with jax.debug_nans(False):
        outputs = compiled(model)(variables, PointSet(np.where(MASK[..., None], x, np.nan), MASK))
    for example, mask in enumerate(MASK):
        close(outputs[example], literal(variables["params"], x[example][mask], pool), 1e-13)
    # Of an array all points count.
    close(compiled(model)(variables, x[:1]), outputs[:1], 1e-13)


@pytest.mark.parametrize(("pool", "counts"), [("sum", True), ("mean", False), ("max", False), ("attention", False)])
def test_only_the_sum_can_count(pool, counts, net, x64):
    model, variables = net(pool=pool)
    x = normal(2, 1, 5, 2)
    once, twice = compiled(model)(variables, x), compiled(model)(variables, np.concatenate([x, x], axis=1))
    assert np.allclose(once, twice, rtol=1e-12) != counts


def test_taps_read_points_and_pool(net, x64, close):
    model, variables = net()
    x = normal(2, 2, 5, 2)
    _, read = jax.jit(lambda x: taps.read(model, variables, x, ["points", "pool"]))(x)
    assert read["points"].shape == (2, 5, 4)
    close(read["pool"], np.sum(read["points"], axis=1), 1e-13)


def test_full_size_parameters_are_those_of_the_particle_flow_network():
    assert zoo.parameters("deep_sets", (1, 100, 4), num_classes=2) == 82_558


@pytest.mark.parametrize(
    ("shape", "options", "parts"),
    [
        ((2, 5), {}, ["DeepSets takes sets of points (B, N, C)", "(2, 5)"]),
        ((2, 5, 2), {"in_channels": 3}, ["in_channels=3", "2 channels"]),
        ((2, 5, 2), {"pool": "median"}, ["'sum', 'mean', 'max' or 'attention'", "'median'"]),
        ((2, 5, 2), {"phi": ()}, ["phi ()", "at least one layer"]),
        ((2, 5, 2), {"rho": (4, 0)}, ["rho (4, 0)", "at least 1"]),
    ],
)
def test_what_cannot_be_meant_is_refused(shape, options, parts, key):
    model = DeepSets(**{"num_classes": 3, **options})
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert [part for part in parts if part not in str(caught.value)] == []
