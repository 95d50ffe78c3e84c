"""Errors and calibration of maps against literal formulas; calibrated predictions are found calibrated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import r2_score

from zoo.train import LOG_VARIANCE_FLOOR, map_report, map_sums, ratio_interval

RNG = np.random.default_rng(0)
SHAPE = (5, 6, 7)
TARGETS = RNG.normal(0, [1, 2], (*SHAPE, 2)).astype(np.float32)
SPREAD = RNG.normal(-1, 0.5, (*SHAPE, 2)).astype(np.float32)
MEANS = (TARGETS + np.exp(SPREAD / 2) * RNG.normal(0.1, 1.3, (*SHAPE, 2))).astype(np.float32)
BOTH = np.concatenate([MEANS, SPREAD], axis=-1)
VALID = RNG.uniform(size=SHAPE) < 0.8
SUMS = jax.jit(map_sums)


def check_equal(merged, whole):
    assert merged.keys() == whole.keys()
    for name in whole:  # sums of at most 420 float32 in another order, of both signs for some
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-5, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("outputs", [MEANS, BOTH], ids=["means", "variances"])
def test_laws_of_sums(outputs):
    whole = SUMS(outputs, TARGETS, VALID)
    parts = [SUMS(outputs, TARGETS, VALID & (np.arange(5) % 2 == p)[:, None, None]) for p in range(2)]
    check_equal(jax.tree.map(jnp.add, *parts), whole)
    order = np.array([3, 0, 4, 1, 2])
    check_equal(SUMS(outputs[order], TARGETS[order], VALID[order]), whole)
    check_equal(map_sums(*map(jnp.asarray, (outputs, TARGETS, VALID))), whole)
    hidden, hidden_targets = outputs.copy(), TARGETS.copy()
    hidden[~VALID], hidden_targets[~VALID] = np.nan, np.nan
    check_equal(SUMS(hidden, hidden_targets, VALID), whole)


def test_report_is_that_of_the_literal_formulas(x64):
    arrays = (BOTH.astype(float), TARGETS.astype(float), VALID)
    report = map_report(SUMS(*arrays), ["mass", "age"], scale=[2.0, 0.5])
    for d, (name, unit) in enumerate([("mass", 2.0), ("age", 0.5)]):
        truth, mean, spread = (x[..., d][VALID].astype(float) for x in (TARGETS, MEANS, SPREAD))
        error = mean - truth
        z = -error / np.exp(spread / 2)
        expected = {
            "r2": r2_score(truth, mean),
            "rmse": unit * np.sqrt((error**2).mean()),
            "mae": unit * np.abs(error).mean(),
            "bias": unit * error.mean(),
            "coverage_68": (np.abs(z) <= 1).mean(),
            "coverage_95": (np.abs(z) <= 1.959963984540054).mean(),
            "z_squared": (z**2).mean(),
        }
        for what, value in expected.items():
            assert report[f"{what}_of"][name] == pytest.approx(value, rel=1e-10), what
        shares = np.histogram(norm.cdf(z), bins=20, range=(0, 1))[0] / len(z)
        np.testing.assert_allclose(report["pit_of"][name], shares, rtol=1e-12)
    for what in expected:
        assert report[what] == pytest.approx(np.mean(list(report[f"{what}_of"].values())))
    assert report["count"] == VALID.sum() and report["images"] == 5


def test_intervals_take_the_image_as_the_unit(x64):
    report = map_report(SUMS(BOTH.astype(float), TARGETS.astype(float), VALID), scale=[2.0, 0.5])
    z = (TARGETS - MEANS)[..., 1] / np.exp(SPREAD[..., 1] / 2)
    n = VALID.sum((1, 2))
    cases = {
        "rmse": ((TARGETS - MEANS)[..., 1].astype(float) ** 2, lambda x: 0.5 * np.sqrt(x)),
        "coverage_68": (np.abs(z) <= 1, lambda x: np.minimum(x, 1)),
        "z_squared": (z**2, lambda x: x),
    }
    for what, (values, change) in cases.items():
        x = (values * VALID).sum((1, 2)).astype(float)
        ends = ratio_interval(x.sum(), n.sum(), [5, (x**2).sum(), (x * n).sum(), (n**2).sum()])
        # The arrays were rounded to float32 before.
        assert report[f"{what}_interval_of"]["1"] == pytest.approx(change(np.array(ends)), rel=1e-5), what


def test_calibrated_variances_are_found_calibrated():
    rng = np.random.default_rng(1)
    shape = (20, 40, 40, 1)
    spread, mean = rng.normal(0, 1, shape), rng.normal(size=shape)
    targets = mean + np.exp(spread / 2) * rng.normal(size=shape)
    outputs = np.concatenate([mean, spread], axis=-1).astype(np.float32)
    valid = np.ones(shape[:-1], bool)
    report = map_report(SUMS(outputs, targets.astype(np.float32), valid))
    # 32,000 pixels: three standard errors.
    assert report["coverage_68"] == pytest.approx(0.6827, abs=3 * (0.68 * 0.32 / 32000) ** 0.5)
    assert report["coverage_95"] == pytest.approx(0.95, abs=3 * (0.95 * 0.05 / 32000) ** 0.5)
    assert report["z_squared"] == pytest.approx(1, abs=3 * (2 / 32000) ** 0.5)
    np.testing.assert_allclose(report["pit_of"]["0"], 0.05, atol=4 * (0.05 * 0.95 / 32000) ** 0.5)
    outputs[..., 1] -= np.log(4)  # half the standard deviation
    small = map_report(SUMS(outputs, targets.astype(np.float32), valid))
    assert small["z_squared"] == pytest.approx(4 * report["z_squared"], rel=1e-4)
    assert small["coverage_68"] < 0.4 and min(small["pit_of"]["0"][0], small["pit_of"]["0"][-1]) > 0.1


def test_nothing_and_equal_targets():
    report = map_report(SUMS(BOTH, TARGETS, np.zeros_like(VALID)))
    assert report["count"] == report["images"] == report["rmse"] == report["coverage_68"] == report["r2"] == 0
    assert report["rmse_interval_of"]["0"] == (0.0, np.inf) and report["coverage_95_interval_of"]["1"] == (0.0, 1.0)
    assert map_report(SUMS(MEANS, np.zeros_like(TARGETS), VALID))["r2"] == 0.0


@pytest.mark.parametrize("spread", [-1e4, LOG_VARIANCE_FLOOR, 200.0])
def test_any_variance_is_counted(spread):
    outputs = np.concatenate([MEANS, np.full_like(SPREAD, spread)], axis=-1)
    sums = SUMS(outputs, TARGETS, VALID)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(sums))
    np.testing.assert_array_equal(sums["pit"].sum(-1), [VALID.sum()] * 2)
