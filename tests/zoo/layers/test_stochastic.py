import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import Dropout, example_keys


@functools.partial(jax.jit, static_argnames=("rate", "axis_name"))
def drop(key, x, rate=0.25, axis_name=None):
    return Dropout(rate, axis_name=axis_name).apply({}, x, train=True, rngs={"dropout": key})


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_scale(key, rate):
    outputs = np.asarray(drop(key, jnp.ones((20, 1000)), rate))
    assert np.unique(outputs).tolist() == pytest.approx([0, 1 / (1 - rate)])
    # 20,000 draws: five deviations of the binomial.
    assert np.mean(outputs == 0) == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / 20_000))


def test_every_example_has_its_own_mask(key):
    kept = np.asarray(drop(key, jnp.ones((4, 200)), 0.5)) > 0
    for i in range(4):
        for j in range(i):
            assert 0.3 < np.mean(kept[i] == kept[j]) < 0.7


@pytest.mark.parametrize("devices", [2, 3, 6])
def test_the_split_of_the_batch_does_not_matter(devices, key):
    x = jnp.ones((6, 7))
    whole = drop(key, x)
    shares = x.reshape(devices, 6 // devices, 7)
    split = jax.vmap(lambda x: drop(key, x, axis_name="devices"), axis_name="devices")(shares)
    assert np.array_equal(split.reshape(6, 7), whole)
    assert np.array_equal(drop(key, x[:2]), whole[:2])


def test_pmap_is_the_whole_batch(key):
    devices = jax.local_devices()[:2]
    assert len(devices) == 2
    x = jnp.ones((4, 7))
    split = jax.pmap(lambda x: drop(key, x, axis_name="devices"), axis_name="devices", devices=devices)
    assert np.array_equal(np.asarray(split(x.reshape(2, 2, 7))).reshape(4, 7), drop(key, x))


def test_example_keys_by_hand(key):
    expected = [jax.random.fold_in(key, i) for i in range(3)]
    assert jnp.array_equal(jax.random.key_data(example_keys(key, 3)), jax.random.key_data(jnp.stack(expected)))


def test_identity_in_evaluation_and_at_rate_zero(key):
    x = jnp.arange(6.0).reshape(2, 3)
    assert np.array_equal(Dropout(0.5).apply({}, x, train=False), x)
    assert np.array_equal(Dropout(0.0).apply({}, x, train=True), x)  # needs no key
    assert Dropout(0.5).init(key, x, train=True) == {}


def test_dtype_is_kept(key):
    assert drop(key, jnp.ones((2, 3), jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
@pytest.mark.parametrize("train", [True, False])
def test_a_rate_outside_is_refused(key, rate, train):
    with pytest.raises(ValueError, match=rf"rate must lie in \[0, 1\), got {rate}"):
        Dropout(rate).apply({}, jnp.ones((1, 2)), train=train, rngs={"dropout": key})
