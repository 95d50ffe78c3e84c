"""The regression task: Huber's loss, standardisation, and metrics that merge, against literal formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.train import finalise, huber, regression, regression_report, regression_sums

CENTRE, SCALE = (3.0, -1.0), (2.0, 0.5)
DRAW = np.random.default_rng(0)
TARGETS = DRAW.normal(CENTRE, SCALE, (7, 2))
OUTPUTS = (TARGETS - CENTRE) / SCALE + DRAW.normal(0, 0.3, (7, 2))
MASK = np.array([1.0, 1, 1, 1, 1, 0, 0])
BATCH = {"target": jnp.asarray(TARGETS, jnp.float32), "mask": jnp.asarray(MASK, jnp.float32)}


def literal_huber(error, delta):
    return error**2 / 2 if abs(error) <= delta else delta * (abs(error) - delta / 2)


@settings(deadline=None, max_examples=50)
@given(
    error=st.floats(-50, 50).filter(lambda e: e == 0 or abs(e) > 1e-6),
    delta=st.sampled_from([0.1, 1.0, 7.0, float("inf")]),
)
def test_huber_is_the_formula(error, delta):
    got = huber(jnp.array([error, 0.0], jnp.float32), jnp.zeros(2), delta=delta)
    # Rounding of float32.
    np.testing.assert_allclose(got, literal_huber(error, delta), rtol=1e-6)


def test_gradient_of_huber_is_the_clipped_error():
    errors = jnp.array([-5.0, -0.5, 0.25, 3.0])
    gradient = jax.vmap(jax.grad(lambda e: huber(e[None], jnp.zeros(1), delta=1.0)))(errors)
    np.testing.assert_allclose(gradient, np.clip(errors, -1, 1))


def test_loss_is_on_standardised_targets_and_masked():
    values, weights = regression(centre=CENTRE, scale=SCALE).loss(jnp.asarray(OUTPUTS, jnp.float32), BATCH)
    expected = (((TARGETS - CENTRE) / SCALE - OUTPUTS) ** 2).sum(1) / 2
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_array_equal(weights, MASK)


def test_predictions_are_in_units_of_the_targets():
    predicted = regression(centre=CENTRE, scale=SCALE).predict(jnp.asarray(OUTPUTS, jnp.float32))
    np.testing.assert_allclose(predicted, OUTPUTS * SCALE + CENTRE, rtol=1e-6)


def test_report_is_that_of_the_literal_formulas_and_merges(x64):
    task = regression(centre=CENTRE, scale=SCALE)
    whole = {"target": jnp.asarray(TARGETS)}
    parts = [
        task.metrics(jnp.asarray(OUTPUTS[part]), {"target": jnp.asarray(TARGETS[part])})
        for part in (slice(0, 3), slice(3, 7))
    ]
    merged = jax.tree.map(jnp.add, *parts)
    numbers = task.finalise(merged)
    error = OUTPUTS * SCALE + CENTRE - TARGETS
    spread = ((TARGETS - TARGETS.mean(0)) ** 2).sum(0)
    assert numbers == pytest.approx(
        {
            "count": 7,
            "r2": np.mean(1 - (error**2).sum(0) / spread),
            "rmse": np.sqrt((error**2).mean(0)).mean(),
            "mae": np.abs(error).mean(),
            "bias": error.mean(),
        },
        rel=1e-10,
    )
    assert numbers == pytest.approx(task.finalise(task.metrics(jnp.asarray(OUTPUTS), whole)), rel=1e-12)


def test_padding_does_not_count():
    task = regression(centre=CENTRE, scale=SCALE)
    outputs = jnp.asarray(OUTPUTS, jnp.float32)
    masked = task.finalise(task.metrics(outputs, BATCH))
    alone = task.finalise(task.metrics(outputs[:5], {"target": BATCH["target"][:5]}))
    assert masked == pytest.approx(alone, rel=1e-6)


def test_equal_targets_have_no_r2():
    sums = regression_sums(jnp.ones((3, 1)), jnp.zeros((3, 1)), jnp.ones(3))
    assert regression_report(sums)["r2"] == 0.0
    assert regression_report(sums)["bias"] == 1.0


def test_finalise_gives_the_mean_loss():
    task = regression(centre=CENTRE, scale=SCALE)
    outputs = jnp.asarray(OUTPUTS, jnp.float32)
    values, weights = task.loss(outputs, BATCH)
    sums = {"loss": jnp.sum(values * weights), "weight": jnp.sum(weights), **task.metrics(outputs, BATCH)}
    assert finalise(task, sums)["loss"] == pytest.approx(float(np.average(values, weights=weights)), rel=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: regression(scale=(0.0,)), "scales above 0"),
        (lambda: regression(centre=(0.0, 1.0)), "D values each"),
        (lambda: huber(jnp.ones(1), jnp.ones(1), delta=0.0), "delta must be above 0, got 0.0"),
        (
            lambda: regression().loss(jnp.ones((3, 2)), {"target": jnp.ones((3, 1))}),
            r"1 targets: expected outputs and targets \(B, 1\), got \(3, 2\)",
        ),
    ],
)
def test_wrong_arguments(function, message):
    with pytest.raises(ValueError, match=message):
        function()
