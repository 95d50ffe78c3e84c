"""Figures of scores: what is drawn is what is true, read back from the axes."""

import numpy as np
import pytest

from zoo_experiments.verbs.score_figures import against_size, binned, detection, kernels, predicted_against_true


def test_detection_draws_the_curves_of_scikit_learn():
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50)
    scores = np.round(10 * (0.4 * labels + rng.random(50)))
    left, right = detection({"net": scores}, {"net": labels}, positive="lens").axes
    x, y = left.lines[0].get_data()
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(x, 100 * false)
    np.testing.assert_allclose(y, 100 * true)
    completeness, purity = right.lines[0].get_data()
    found = [scores >= threshold for threshold in np.unique(scores)[::-1]]
    np.testing.assert_allclose(completeness, [100 * labels[f].sum() / labels.sum() for f in found])
    np.testing.assert_allclose(purity, [100 * labels[f].mean() for f in found])
    assert "lens" in right.get_xlabel() and "%" in left.get_ylabel()


def test_detection_needs_both_kinds():
    with pytest.raises(ValueError, match="got 3 and 0"):
        detection({"net": np.arange(3.0)}, {"net": np.ones(3, int)}, positive="lens")


def test_residuals_lie_below_the_points():
    truth = np.linspace(0, 1, 40)
    figure = predicted_against_true(truth + 0.1, truth, "radius", "px", note="R² = 0.9")
    upper, lower = figure.axes
    np.testing.assert_allclose(upper.collections[0].get_offsets(), np.stack([truth, truth + 0.1], 1))
    np.testing.assert_allclose(lower.collections[0].get_offsets()[:, 1], 0.1)
    assert lower.get_xlabel() == "true radius (px)" and upper.get_title() == "R² = 0.9"
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        predicted_against_true(np.zeros(3), np.zeros(2), "radius")


def test_bins_have_equal_numbers_and_literal_percentiles():
    rng = np.random.default_rng(1)
    x, y = rng.random(50), rng.normal(size=50)
    middles, quantiles = binned(x, y, bins=5)
    groups = np.argsort(x).reshape(5, 10)
    np.testing.assert_allclose(middles, np.median(x[groups], axis=1))
    np.testing.assert_allclose(quantiles, np.percentile(y[groups], [16, 50, 84], axis=1).T)
    assert binned(x[:4], y[:4])[1].shape == (0, 3)


def test_curve_draws_the_mean_over_the_seeds():
    figure = against_size({"cnn": {10: [0.5, 0.7], 100: [0.9]}}, metric="accuracy", levels={"chance": 0.5})
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_data()[1], [60, 90])
    assert axes.get_ylabel() == "accuracy (%)" and axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cnn", "chance"]


def test_kernels_are_centred_on_zero_and_named():
    figure = kernels(np.arange(-4.0, 5.0).reshape(3, 3, 1, 1), beside={"made by hand": np.eye(3)})
    first, second = figure.axes
    assert first.images[0].get_clim() == (-4, 4) and first.get_title() == "learned, s = 4"
    assert "made by hand" in second.get_title()
    many = kernels(np.ones((3, 3, 2, 40)), most=10)
    assert many.get_supxlabel() == "10 of 40 kernels; mean over the input channels"
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        kernels(np.ones((3, 3)))
