"""Cross-entropy against a literal formula in NumPy and against Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.train import balanced_weights, cross_entropy


def literal(logits, labels, smoothing):
    """−Σ_k q_k log p_k, one example at a time."""
    values = []
    for row, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        q = np.full(len(row), smoothing / len(row))
        q[label] += 1 - smoothing
        values.append(-(q * np.log(p)).sum())
    return np.array(values)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_is_the_formula(x64, smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (7, 5)), rng.integers(0, 5, 7)
    values = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), label_smoothing=smoothing)
    np.testing.assert_allclose(values, literal(logits, labels, smoothing), rtol=1e-13)
    smoothed = optax.smooth_labels(jax.nn.one_hot(labels, 5, dtype=jnp.float64), smoothing)
    np.testing.assert_allclose(values, optax.softmax_cross_entropy(jnp.asarray(logits), smoothed), rtol=1e-13)


def test_leading_axes_are_kept():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.integers(0, 4, (2, 3))
    values = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), label_smoothing=0.2)
    assert values.shape == (2, 3)
    expected = literal(logits.reshape(6, 4), labels.reshape(6), 0.2).reshape(2, 3)
    np.testing.assert_allclose(values, expected, rtol=1e-5)  # float32 rounding of a sum of four


def test_gradient_is_probability_minus_target(x64):
    logits, labels = jnp.array([[0.3, -1.0, 2.0]]), jnp.array([1])
    gradient = jax.grad(lambda z: cross_entropy(z, labels, label_smoothing=0.3).sum())(logits)
    expected = jax.nn.softmax(logits) - jnp.array([[0.1, 0.8, 0.1]])
    np.testing.assert_allclose(gradient, expected, atol=1e-15)


def test_half_precision_is_reduced_in_float32():
    logits, labels = jnp.array([[3.0, -2.0, 0.5]], jnp.bfloat16), jnp.array([0])
    values = cross_entropy(logits, labels)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, literal(logits, [0], 0.0), rtol=1e-5)


def test_extreme_logits_stay_finite():
    values = cross_entropy(jnp.array([[1e4, -1e4], [1e4, -1e4]]), jnp.array([0, 1]))
    np.testing.assert_array_equal(values, [0.0, 2e4])


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range(smoothing):
    with pytest.raises(ValueError, match=r"\[0, 1\), got " + str(smoothing)):
        cross_entropy(jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32), label_smoothing=smoothing)


def test_balanced_weights_by_hand():
    weights = balanced_weights(jnp.array([6, 3, 1]))
    np.testing.assert_allclose(weights, [10 / 18, 10 / 9, 10 / 3], rtol=1e-6)
    np.testing.assert_allclose(jnp.sum(weights * jnp.array([6, 3, 1])) / 10, 1.0, rtol=1e-6)
