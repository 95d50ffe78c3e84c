"""Linear models and trees on tables: what they can learn, what they give, what they refuse."""

import sys

import numpy as np
import pytest

from zoo.errors import UserError
from zoo_experiments.verbs import baselines
from zoo_experiments.verbs.baselines import classify, regress

CLASSIFIERS = ["logistic regression", "random forest", "boosted trees"]
REGRESSORS = ["ridge regression", "random forest"]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Three hundred trees would take seconds and teach nothing about the code."""
    monkeypatch.setattr(baselines, "TREES", 30)


def clouds(count, seed=0):
    """Three Gaussian clouds in two of four features, 4 widths apart: a linear model errs on 1 in 20."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.array([[0, 0], [4, 0], [0, 4]])
    table = np.concatenate([centres[labels], np.zeros((count, 2))], axis=1) + rng.normal(size=(count, 4))
    return table * [1, 1, 1e3, 1e-3], labels


def line(count, seed=0):
    """Two targets that are linear in three features, in very different units, with noise of a tenth of their width."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(count, 3))
    exact = table @ np.array([[1.0, 2000.0], [-1.0, 0.0], [0.0, 1000.0]]) + [5, -3e4]
    return table, exact + rng.normal(size=(count, 2)) * [0.14, 220]


def test_clouds_are_told_apart():
    x, y = clouds(600)
    others, truth = clouds(300, seed=1)
    predicted = classify(x, y, others, num_classes=3, seed=0)
    assert list(predicted) == CLASSIFIERS
    # Of 4 widths, half is 2: P(N > 2) = 0.023 for each border, of which a cloud has one or two.
    for name, values in predicted.items():
        assert (values.argmax(1) == truth).mean() > 0.92, name


def test_log_probabilities_are_normalised_and_finite():
    x, y = clouds(90)
    for values in classify(x, y, 10 * x, num_classes=5, seed=0).values():
        assert values.shape == (90, 5)
        assert np.isfinite(values).all()
        np.testing.assert_allclose(np.exp(values).sum(1), 1, rtol=1e-12)
        # Classes 3 and 4 were never seen: the floor of 10⁻⁴, shared out.
        assert values[:, 3:].max() <= np.log(1e-4) and values[:, 3:].min() > np.log(0.9e-4)


def test_xor_is_for_trees_and_not_for_lines():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (800, 2))
    y = (x.prod(1) > 0).astype(np.int32)
    right = {
        name: (values.argmax(1) == y[400:]).mean()
        for name, values in classify(x[:400], y[:400], x[400:], num_classes=2, seed=0).items()
    }
    assert right["logistic regression"] < 0.65 < 0.9 < min(right["random forest"], right["boosted trees"])


def test_linear_targets_are_found_in_their_units():
    x, y = line(400)
    others, truth = line(200, seed=1)
    predicted = regress(x, y, others, seed=0)
    assert list(predicted) == REGRESSORS
    spread = (predicted["ridge regression"] - truth).std(0)
    # Nothing is left but the noise, whose width 200 rows give to 5 %.
    np.testing.assert_allclose(spread, [0.14, 220], rtol=0.15)
    for values in predicted.values():
        assert values.shape == (200, 2)
        assert (1 - (values - truth).var(0) / truth.var(0)).min() > 0.7


def test_one_target_may_come_without_an_axis_and_two_alone_or_together():
    x, y = line(100)
    alone = [regress(x, y[:, k], x, seed=0) for k in (0, 1)]
    column = regress(x, y[:, :1], x, seed=0)
    together = regress(x, y, x, seed=0)
    for name in REGRESSORS:
        assert alone[0][name].shape == (100, 1)
        np.testing.assert_array_equal(alone[0][name], column[name])
    both = np.concatenate([values["ridge regression"] for values in alone], axis=1)
    # One penalty for both or one each: next to none with so little noise.
    np.testing.assert_allclose(together["ridge regression"] / both, 1, atol=0.02)


@pytest.mark.parametrize("use", ["classify", "regress"])
def test_the_seed_decides_and_features_may_have_any_unit(use):
    def run(seed, scale=1.0):
        if use == "classify":
            x, y = clouds(120)
            return classify(x * scale, y, x[:40] * scale, num_classes=3, seed=seed)
        x, y = line(120)
        return regress(x * scale, y, x[:40] * scale, seed=seed)

    first = run(0)
    for name, values in run(0).items():
        np.testing.assert_array_equal(values, first[name])
    assert any(not np.array_equal(values, first[name]) for name, values in run(1).items())
    for name, values in run(0, 1024.0).items():
        np.testing.assert_allclose(values, first[name], rtol=1e-3, atol=1e-6)


def test_rare_classes_and_constant_features_are_no_trouble():
    x, y = clouds(61)
    x[:, 1] = 7.0
    y = y.copy()
    y[:] = y % 2
    y[5] = 2  # a single one
    for values in classify(x, y, x, num_classes=3, seed=0).values():
        assert np.isfinite(values).all()
    for values in regress(x, np.stack([y, np.ones(61)], axis=1), x, seed=0).values():
        np.testing.assert_allclose(values[:, 1], 1)


def test_nothing_is_learned_from_the_rows_to_predict():
    x, y = clouds(90)
    others, _ = clouds(60, seed=1)
    whole = classify(x, y, others, num_classes=3, seed=0)
    part = classify(x, y, others[20:30], num_classes=3, seed=0)
    for name in CLASSIFIERS:
        np.testing.assert_allclose(part[name], whole[name][20:30], rtol=1e-9)


X = np.random.default_rng(0).normal(size=(10, 3))
Y = np.arange(10) % 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y, X[:, :2]), r"the same features, got train_x \(10, 3\), train_y \(10,\), x \(10, 2\)"),
        ((X[:, 0], Y, X), r"tables \(N, F\) and \(M, F\)"),
        ((X, Y[:9], X), "one label or target for each of at least two rows"),
        ((X, Y + 2, X), r"in 0 … 2, got int64 \(10,\) from 2 to 3"),
        ((X, Y - 1, X), "from -1 to 0"),
        ((X, Y / 2, X), "whole numbers"),
        ((X, Y * 0, X), "at least two classes to train on, got only class 0"),
        ((np.where(np.arange(30).reshape(10, 3) == 7, np.nan, X), Y, X), "NaN or Inf in train_x, row 2, column 1"),
        ((X, Y, np.where(np.arange(30).reshape(10, 3) == 7, np.inf, X)), "NaN or Inf in x, row 2, column 1"),
    ],
)
def test_what_cannot_be_classified_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        classify(*arguments, num_classes=3, seed=0)


def test_what_cannot_be_regressed_is_refused():
    for targets in (np.where(Y == 1, np.nan, 0), np.zeros((10, 1, 1))):
        with pytest.raises(UserError, match=r"finite numbers \(N, D\)"):
            regress(X, targets, X, seed=0)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.utils", None)
    with pytest.raises(
        UserError, match=r"scikit-learn, which is not installed: pip install 'symmetry-zoo\[baselines\]'"
    ):
        classify(X, Y, X, num_classes=2, seed=0)
