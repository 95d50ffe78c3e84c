"""Losses against literal formulas in NumPy, against Optax, and at the ends of what a logit can be."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from zoo.train import (
    LOG_VARIANCE_FLOOR,
    balanced_weights,
    binary_cross_entropy,
    binary_focal,
    binary_soft_dice,
    cross_entropy,
    focal,
    gaussian_nll,
    huber,
    soft_dice,
)


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


EXTREME = jnp.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [0.0, 0.0, 0.0], [80.0, -80.0, 79.9], [3e3, 3e3, 3e3]])


def probabilities(logits):
    e = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_is_the_formula(x64, gamma):
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(0, 3, (2, 3, 4, 5)), rng.integers(0, 5, (2, 3, 4))
    values = focal(jnp.asarray(logits), jnp.asarray(labels), gamma=gamma)
    p = np.take_along_axis(probabilities(logits), labels[..., None], -1)[..., 0]
    np.testing.assert_allclose(values, -((1 - p) ** gamma) * np.log(p), rtol=1e-12)
    np.testing.assert_allclose(jax.jit(lambda z: focal(z, labels, gamma=gamma))(logits), values, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_binary_losses_are_those_of_two_classes(x64, gamma):
    rng = np.random.default_rng(3)
    logits, truth = rng.normal(0, 4, (3, 6)), rng.integers(0, 2, (3, 6))
    pair = jnp.stack([jnp.zeros((3, 6)), jnp.asarray(logits)], axis=-1)
    values = binary_focal(jnp.asarray(logits), jnp.asarray(truth), gamma=gamma)
    np.testing.assert_allclose(values, focal(pair, jnp.asarray(truth), gamma=gamma), rtol=1e-12)
    entropy = binary_cross_entropy(jnp.asarray(logits), jnp.asarray(truth))
    np.testing.assert_allclose(entropy, optax.sigmoid_binary_cross_entropy(logits, truth), rtol=1e-12)


def test_without_focus_focal_loss_is_cross_entropy():
    labels = jnp.array([0, 0, 1, 2, 1])
    np.testing.assert_array_equal(focal(EXTREME, labels, gamma=0.0), cross_entropy(EXTREME, labels))


LOSSES = {
    "focal": lambda z: focal(z, jnp.array([0, 0, 1, 2, 1])),
    "focal, weak": lambda z: focal(z, jnp.array([0, 0, 1, 2, 1]), gamma=0.3),
    "binary_focal": lambda z: binary_focal(z, jnp.array([[1, 0, 1]] * 5)),
    "binary_focal, weak": lambda z: binary_focal(z, jnp.array([[1, 0, 1]] * 5), gamma=0.3),
    "binary_cross_entropy": lambda z: binary_cross_entropy(z, jnp.array([[1, 0, 1]] * 5)),
    "soft_dice": lambda z: soft_dice(z[None], jnp.array([[0, 0, 1, 2, 1]])),
    "binary_soft_dice": lambda z: binary_soft_dice(z[None], jnp.array([[[1, 0, 1]] * 5])),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_logits_have_a_finite_loss_and_gradient(name, dtype):
    logits = EXTREME.astype(dtype)
    values = jax.jit(LOSSES[name])(logits)
    assert values.dtype == jnp.float32
    assert bool(jnp.all(jnp.isfinite(values))) and bool(jnp.all(values >= 0))
    gradient = jax.jit(jax.grad(lambda z: LOSSES[name](z).sum()))(logits)
    assert bool(jnp.all(jnp.isfinite(gradient)))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_differences(x64, name):
    logits = jnp.asarray(np.random.default_rng(4).normal(0, 2, (5, 3)))
    total = jax.jit(lambda z: LOSSES[name](z).sum())
    gradient = jax.jit(jax.grad(total))(logits)
    assert float(jnp.abs(gradient).max()) > 1e-3
    steps = 1e-5 * jnp.eye(15).reshape(15, 5, 3)
    slopes = jnp.stack([(total(logits + step) - total(logits - step)) / 2e-5 for step in steps]).reshape(5, 3)
    np.testing.assert_allclose(gradient, slopes, atol=1e-8)  # third derivatives × 1e-10, rounding


def literal_dice(p, truth, weights, class_weights, smooth):
    """1 − Σ_k ω_k (2 Σ w p t + s) / (Σ w (p + t) + s), one pixel at a time."""
    losses = []
    for probability, t, w in zip(p, truth, weights, strict=True):
        loss = 0.0
        for k, share in enumerate(np.asarray(class_weights) / np.sum(class_weights)):
            shared = total = 0.0
            for where in np.ndindex(w.shape):
                shared += w[where] * probability[(*where, k)] * t[(*where, k)]
                total += w[where] * (probability[(*where, k)] + t[(*where, k)])
            loss += share * (1 - (2 * shared + smooth) / (total + smooth))
        losses.append(loss)
    return losses


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4)])
def test_soft_dice_is_the_formula(x64, shape):
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(0, 2, (2, *shape, 3)), rng.integers(0, 3, (2, *shape))
    weights, truth = rng.integers(0, 3, (2, *shape)) / 2, np.eye(3)[labels]
    got = soft_dice(jnp.asarray(logits), jnp.asarray(labels), weights=jnp.asarray(weights), smooth=0.5)
    p = probabilities(logits)
    np.testing.assert_allclose(got, literal_dice(p, truth, weights, [1, 1, 1], 0.5), rtol=1e-12)
    got = soft_dice(jnp.asarray(logits), jnp.asarray(labels), class_weights=jnp.array([0.0, 1, 3]))
    np.testing.assert_allclose(got, literal_dice(p, truth, np.ones_like(weights), [0, 1, 3], 1.0), rtol=1e-12)
    got = binary_soft_dice(jnp.asarray(logits), jnp.asarray(truth), weights=jnp.asarray(weights))
    sigmoid = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(got, literal_dice(sigmoid, truth, weights, [1, 1, 1], 1.0), rtol=1e-12)


def test_dice_of_empty_and_of_perfect_images():
    sure = jnp.full((1, 4, 4, 1), -1e4)
    nothing = jnp.zeros((1, 4, 4, 1), jnp.uint8)
    np.testing.assert_array_equal(binary_soft_dice(sure, nothing), [0.0])  # nothing there, nothing predicted
    np.testing.assert_allclose(binary_soft_dice(-sure, nothing), [1 - 1 / 17])  # 16 pixels invented
    np.testing.assert_array_equal(binary_soft_dice(-sure, nothing + 1), [0.0])
    gradient = jax.grad(lambda z: binary_soft_dice(z, nothing).sum())(jnp.zeros((1, 4, 4, 1)))
    assert bool(jnp.all(gradient > 0))  # an empty image still teaches: less is better


def test_dice_without_a_pixel_that_counts():
    masks = logits = np.full((2, 3, 3, 2), np.nan, np.float32)
    labels, weights = jnp.full((2, 3, 3), 255, jnp.uint8), jnp.zeros((2, 3, 3))
    for loss in (soft_dice, binary_soft_dice):
        truth = labels if loss is soft_dice else masks
        value, gradient = jax.jit(jax.value_and_grad(lambda *x, f=loss: f(*x, weights=weights).sum()))(logits, truth)
        assert float(value) == 0.0 and not gradient.any()


def test_gaussian_likelihood_is_the_formula(x64):
    rng = np.random.default_rng(6)
    mean, spread, targets = rng.normal(size=(3, 4, 2)), rng.normal(0, 2, (3, 4, 2)), rng.normal(size=(3, 4, 2))
    got = gaussian_nll(jnp.asarray(mean), jnp.asarray(spread), jnp.asarray(targets))
    expected = -norm.logpdf(targets, mean, np.exp(spread / 2)) - np.log(2 * np.pi) / 2
    np.testing.assert_allclose(got, expected.sum(-1), rtol=1e-12)
    flat = gaussian_nll(jnp.asarray(mean), jnp.zeros((3, 4, 2)), jnp.asarray(targets))
    np.testing.assert_allclose(flat, huber(jnp.asarray(mean), jnp.asarray(targets), delta=float("inf")), rtol=1e-12)


def test_the_best_variance_is_the_squared_error(x64):
    error = jnp.array([0.3])
    slope = jax.grad(lambda s: gaussian_nll(jnp.zeros(1), s, error))(jnp.log(error**2))
    np.testing.assert_allclose(slope, [0.0], atol=1e-15)


def test_with_beta_one_the_mean_learns_as_from_squared_errors_and_the_best_variance_stays(x64):
    rng = np.random.default_rng(7)
    mean, spread, targets = (jnp.asarray(x) for x in rng.normal(size=(3, 5, 2)))
    total = lambda mean, spread, beta: gaussian_nll(mean, spread, targets, beta=beta).sum()
    slope = jax.grad(total)(mean, spread, 1.0)
    np.testing.assert_allclose(slope, mean - targets, rtol=1e-12)
    plain, half = (jax.grad(total, argnums=1)(mean, spread, beta) for beta in (0.0, 0.5))
    np.testing.assert_allclose(half, plain * jnp.exp(spread / 2), rtol=1e-12)
    best = jnp.log((mean - targets) ** 2)
    np.testing.assert_allclose(jax.grad(total, argnums=1)(mean, best, 1.0), np.zeros((5, 2)), atol=1e-15)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("spread", [-1e4, -100.0, 100.0, 1e4])
def test_any_variance_has_a_finite_loss(spread, beta):
    loss = lambda mean, s: gaussian_nll(mean, s, jnp.array([0.0]), beta=beta)
    for mean in (0.0, 1e3):
        value, gradient = jax.value_and_grad(loss, argnums=(0, 1))(jnp.array([mean]), jnp.array([spread]))
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in (value, *gradient))


@pytest.mark.parametrize("spread", [-1e4, -100.0, LOG_VARIANCE_FLOOR, 100.0, 1e4])
def test_any_variance_has_a_finite_likelihood(spread):
    loss = lambda mean, s: gaussian_nll(mean, s, jnp.array([0.0]))
    for mean in (0.0, 1e3):
        arguments = (jnp.array([mean]), jnp.array([spread]))
        value, gradient = jax.value_and_grad(loss, argnums=(0, 1))(*arguments)
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in (value, *gradient))
        limit = max(spread, LOG_VARIANCE_FLOOR)
        np.testing.assert_allclose(value, (limit + mean**2 * np.exp(-np.float64(limit))) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: focal(jnp.zeros((1, 2)), jnp.zeros(1, int), gamma=-1.0), "gamma must be 0 or more, got -1.0"),
        (lambda: binary_focal(jnp.zeros(1), jnp.zeros(1), gamma=float("nan")), "gamma must be 0 or more, got nan"),
        (lambda: soft_dice(jnp.zeros((1, 1, 2)), jnp.zeros((1, 1), int), smooth=0.0), "smooth must be above 0"),
    ],
)
def test_wrong_options(function, message):
    with pytest.raises(ValueError, match=message):
        function()
