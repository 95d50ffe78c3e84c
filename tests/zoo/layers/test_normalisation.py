import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import BatchNorm, masked_moments


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def start(features, dtype=jnp.float32):
    return {
        "params": {"scale": jnp.linspace(0.5, 1.5, features, dtype=dtype), "bias": jnp.arange(features, dtype=dtype)},
        "batch_stats": {
            "mean": jnp.linspace(-1, 1, features, dtype=dtype),
            "var": jnp.linspace(0.3, 2, features, dtype=dtype),
        },
    }


@functools.partial(jax.jit, static_argnums=0)
def train(layer, variables, x, mask=None):
    outputs, updates = layer.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])
    return outputs, updates["batch_stats"]


def test_running_averages_by_hand(key):
    layer = BatchNorm(momentum=0.9)
    x = jnp.array([8.0, 12.0] * 4).reshape(4, 2, 1)  # mean 10, variance 4
    variables = layer.init(key, x, train=True)
    assert variables["batch_stats"]["mean"].tolist() == [0], "initialisation must not count as a batch"
    outputs, stats = train(layer, variables, x)
    assert stats["mean"] == pytest.approx([1.0])
    assert stats["var"] == pytest.approx([0.9 * 1 + 0.1 * 4])
    assert np.allclose(outputs.ravel(), [-1, 1] * 4, atol=1e-5)
    _, stats = train(layer, {**variables, "batch_stats": stats}, x)
    assert stats["mean"] == pytest.approx([1.9])


def test_unbiased_running_variance_by_hand():
    x = jnp.array([1.0, 2.0, 6.0]).reshape(3, 1)  # mean 3, squares 14: biased 14/3, unbiased 7
    _, biased = train(BatchNorm(momentum=0.0), start(1), x)
    _, unbiased = train(BatchNorm(momentum=0.0, running_variance="unbiased"), start(1), x)
    assert biased["var"] == pytest.approx([14 / 3])
    assert unbiased["var"] == pytest.approx([7])
    _, masked = train(
        BatchNorm(momentum=0.0, running_variance="unbiased"),
        start(1),
        jnp.concatenate([x, jnp.full((1, 1), 99.0)]),
        mask=jnp.array([1, 1, 1, 0]),
    )
    assert masked["var"] == pytest.approx([7])


def test_an_unknown_convention_is_refused(key):
    with pytest.raises(ValueError, match="running_variance must be 'biased' or 'unbiased', got 'torch'"):
        BatchNorm(running_variance="torch").init(key, jnp.ones((2, 3)), train=True)


def test_variance_survives_a_large_mean():
    x = np.asarray(1e4 + draw(4096, 1), np.float32)
    _, variance, _ = masked_moments(jnp.asarray(x))
    # E[x²] − E[x]² in float32 would be wrong by several units here.
    assert float(variance[0]) == pytest.approx(float(np.var(x.astype(np.float64))), rel=1e-4)


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 3), (3, 4, 4, 3), (2, 3, 2, 2, 3)])
def test_moments_equal_numpy(shape, x64, close):
    x = draw(*shape)
    mean, variance, count = masked_moments(x)
    axes = tuple(range(len(shape) - 1))
    close((mean, variance), (np.mean(x, axes), np.var(x, axes)), 1e-13)
    assert count == x.size / 3


def test_half_precision_is_summed_in_float32():
    x = jnp.full((4096, 1), 1.5, jnp.bfloat16)
    mean, variance, _ = masked_moments(x)
    assert mean.dtype == variance.dtype == jnp.float32
    assert mean.tolist() == [1.5]
    outputs, stats = train(BatchNorm(dtype=jnp.bfloat16), start(1), x)
    assert outputs.dtype == jnp.bfloat16
    assert stats["mean"].dtype == jnp.float32


@settings(max_examples=10, deadline=None)
@given(mask=st.lists(st.booleans(), min_size=5, max_size=5).filter(any))
def test_masked_is_without_the_masked(mask):
    with jax.enable_x64(True):
        x, kept = draw(5, 2, 3), np.array(mask)
        got = jax.jit(masked_moments)(jnp.where(kept[:, None, None], x, 1e3), jnp.asarray(kept))
        expected = masked_moments(x[kept])
        for a, b in zip(got, expected, strict=True):
            assert np.allclose(a, b, rtol=1e-12, atol=1e-14)


def test_a_mask_may_pick_pixels(x64):
    x, mask = draw(2, 4, 3), np.array([[1, 1, 0, 0], [0, 1, 1, 1]])
    mean, variance, count = masked_moments(x, jnp.asarray(mask))
    chosen = np.asarray(x)[mask.astype(bool)]
    assert np.allclose(mean, chosen.mean(0), rtol=1e-13)
    assert np.allclose(variance, chosen.var(0), rtol=1e-13)
    assert count == 5


def test_a_batch_without_a_real_example_changes_nothing():
    variables, x = start(3), draw(4, 3).astype(jnp.float32)
    for convention in ("biased", "unbiased"):
        layer = BatchNorm(running_variance=convention)
        outputs, stats = train(layer, variables, x, mask=jnp.zeros(4))
        assert np.all(np.isfinite(outputs))
        assert jax.tree.all(jax.tree.map(np.array_equal, stats, variables["batch_stats"]))
        gradient = jax.grad(lambda x, layer=layer: train(layer, variables, x, jnp.zeros(4))[0].sum())(x)
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("running", ["biased", "unbiased"])
def test_equals_flax(running, x64, close):
    x, weights = draw(4, 3, 3, 2), draw(4, 3, 3, 2, seed=1)
    variables = start(2, jnp.float64)
    ours = BatchNorm(momentum=0.8, epsilon=1e-3, running_variance=running, param_dtype=jnp.float64)
    flax = nn.BatchNorm(momentum=0.8, epsilon=1e-3, param_dtype=jnp.float64, use_fast_variance=False)

    def run_flax(params, x):
        outputs, updates = flax.apply(
            {**variables, "params": params}, x, use_running_average=False, mutable=["batch_stats"]
        )
        return jnp.sum(outputs * weights), (outputs, updates["batch_stats"])

    def run_ours(params, x):
        outputs, stats = train(ours, {**variables, "params": params}, x)
        return jnp.sum(outputs * weights), (outputs, stats)

    def differentiate(run):
        return jax.jit(jax.grad(run, (0, 1), has_aux=True))(variables["params"], x)

    gradients, (outputs, stats) = differentiate(run_ours)
    expected_gradients, (expected, expected_stats) = differentiate(run_flax)
    close(outputs, expected, 1e-12)
    close(gradients, expected_gradients, 1e-11)
    if running == "unbiased":  # Flax's is the biased one: 36 values a channel
        old = 0.8 * variables["batch_stats"]["var"]
        expected_stats = {**expected_stats, "var": old + (expected_stats["var"] - old) * 36 / 35}
    close(stats, expected_stats, 1e-12)
    evaluated = ours.apply(variables, x, train=False)
    close(evaluated, flax.apply(variables, x, use_running_average=True), 1e-12)


@pytest.mark.parametrize("running", ["biased", "unbiased"])
def test_devices_with_unequal_counts_are_the_whole_batch(running, x64, close):
    x, mask = draw(4, 3, 2, 2), jnp.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])
    variables = start(2, jnp.float64)
    options = {"running_variance": running, "param_dtype": jnp.float64}
    outputs, stats = train(BatchNorm(**options), variables, x.reshape(12, 2, 2), mask.reshape(12))
    shared = BatchNorm(axis_name="devices", **options)
    split, split_stats = jax.vmap(lambda x, mask: train(shared, variables, x, mask), axis_name="devices")(x, mask)
    close(split.reshape(12, 2, 2), outputs, 1e-12)
    for device in range(4):
        close(jax.tree.map(lambda leaf, device=device: leaf[device], split_stats), stats, 1e-12)


def test_gradients_over_devices_are_those_of_the_whole_batch(x64, close):
    x, weights = draw(2, 3, 2), draw(2, 3, 2, seed=1)
    variables = start(2, jnp.float64)

    def split(x):
        shared = BatchNorm(axis_name="devices", param_dtype=jnp.float64)
        return jax.vmap(lambda x: train(shared, variables, x)[0], axis_name="devices")(x)

    def whole(x):
        return train(BatchNorm(param_dtype=jnp.float64), variables, x.reshape(6, 2))[0].reshape(2, 3, 2)

    gradients = [jax.jit(jax.grad(lambda x, f=f: jnp.sum(f(x) * weights)))(x) for f in (split, whole)]
    close(*gradients, 1e-11)


def test_initialisation_needs_no_device_axis(key):
    shapes = jax.eval_shape(
        lambda: BatchNorm(axis_name="devices").init(key, jnp.ones((2, 3)), train=True),
    )
    assert shapes["batch_stats"]["mean"].shape == (3,)
