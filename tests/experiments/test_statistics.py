"""The final metrics against formulae by hand, and their intervals against what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from zoo_experiments.verbs.statistics import average_precision, regression_summary, roc_auc, summary

pytestmark = pytest.mark.smoke
NAMES = ("a", "b", "c")
Z = 1.959963984540054  # 97.5 % point of the normal distribution


def example(count=40, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, classes)) * 2, np.arange(count) % classes


def row(rows, name):
    return next(entry for entry in rows if entry["name"] == name)


def wilson(hits, count):
    """Wilson 1927, solved for the two ends."""
    p, shift = hits / count, Z**2 / (2 * count)
    half = Z * math.sqrt(p * (1 - p) / count + Z**2 / (4 * count**2))
    return (p + shift - half) / (1 + 2 * shift), (p + shift + half) / (1 + 2 * shift)


def probabilities(logits):
    out = []
    for values in logits:
        powers = [math.exp(v - max(values)) for v in values]
        out.append([p / sum(powers) for p in powers])
    return out


def test_accuracy_and_recalls_by_hand():
    logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]])
    rows = summary(logits, np.array([0, 1, 2, 2, 1]), NAMES)  # hits: 1, 1, 0, 1, 0
    for name, hits, count in (("accuracy", 3, 5), ("recall a", 1, 1), ("recall b", 1, 2), ("recall c", 1, 2)):
        entry = row(rows, name)
        assert entry["value"] == hits / count and entry["count"] == count
        np.testing.assert_allclose(entry["interval"], wilson(hits, count), atol=1e-12)
    assert row(rows, "balanced_accuracy")["value"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert row(rows, "nll")["value"] == pytest.approx(-(math.log(0.7 * 0.8 * 0.3 * 0.8 * 0.3)) / 5)


@settings(max_examples=15, deadline=None)  # 2000 resamples each
@given(st.integers(0, 1000), st.integers(2, 30))
def test_nll_and_calibration_error_are_their_definitions(seed, count):
    logits, labels = example(count, seed)
    rows, p = summary(logits, labels, NAMES), probabilities(logits)
    nll = sum(-math.log(p[i][labels[i]]) for i in range(count)) / count
    error = 0.0
    for b in range(15):
        inside = [i for i in range(count) if b / 15 <= max(p[i]) < (b + 1) / 15 or (b == 14 and max(p[i]) == 1)]
        hits = sum(np.argmax(p[i]) == labels[i] for i in inside)
        error += abs(hits - sum(max(p[i]) for i in inside)) / count
    assert row(rows, "nll")["value"] == pytest.approx(nll, abs=1e-12)
    assert row(rows, "ece")["value"] == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("count", [3, 40, 300])
def test_every_interval_is_ordered_and_holds_its_value(count):
    for entry in summary(*example(count), NAMES):
        low, high = entry["interval"]
        assert low <= high and all(math.isfinite(v) for v in (low, high, entry["value"])), entry
        # The absolute gaps of the calibration error grow under resampling: its interval may lie above the value.
        assert entry["value"] <= high and (entry["name"] == "ece" or low <= entry["value"]), entry


def test_the_same_outputs_give_the_same_intervals():
    assert summary(*example(), NAMES) == summary(*example(), NAMES)


def test_float32_outputs_and_shifted_logits_change_nothing_that_matters():
    logits, labels = example()
    for other in (logits.astype(np.float32), logits + 1e3):
        for one, two in zip(summary(logits, labels, NAMES), summary(other, labels, NAMES), strict=True):
            assert one["value"] == pytest.approx(two["value"], abs=1e-6), one["name"]  # float32 logits


def test_sure_outputs_stay_finite():
    logits = np.array([[1e4, 0.0], [0.0, 1e4], [1e4, 0.0]])
    rows = summary(logits, np.array([0, 1, 1]), ("a", "b"))
    assert row(rows, "nll")["value"] == pytest.approx(1e4 / 3)
    assert row(rows, "ece")["value"] == pytest.approx(1 / 3)


def test_a_class_without_examples_has_no_recall_and_does_not_count():
    logits, _ = example(20)
    labels = np.arange(20) % 2
    rows = summary(logits, labels, NAMES)
    names = [entry["name"] for entry in rows]
    assert "recall c" not in names and "recall b" in names
    recalls = [row(rows, f"recall {name}")["value"] for name in "ab"]
    assert row(rows, "balanced_accuracy")["value"] == pytest.approx(np.mean(recalls))


def test_bootstrap_intervals_cover_the_truth_as_often_as_they_say():
    # Known truth: hits come with probability 0.7 and the outputs say 0.8, so that the mean nll is in closed form.
    rng, trials, cover = np.random.default_rng(1), 100, {"nll": 0, "balanced_accuracy": 0}
    truth = {"nll": -(0.7 * math.log(0.8) + 0.3 * math.log(0.2)), "balanced_accuracy": 0.7}
    for _ in range(trials):
        labels = np.arange(80) % 2
        said = np.where(rng.random(80) < 0.7, labels, 1 - labels)
        rows = summary(np.log(np.where(np.eye(2)[said] > 0, 0.8, 0.2)), labels, ("a", "b"))
        for name, value in truth.items():
            low, high = row(rows, name)["interval"]
            cover[name] += low <= value <= high
    # Percentile intervals of 80 examples cover a little less than 95 %; 0.1 % binomial bands about 0.93.
    for name, hits in cover.items():
        assert binom.ppf(0.001, trials, 0.93) <= hits, (name, hits)
    wide, narrow = summary(*example(60), NAMES), summary(*example(960), NAMES)
    ratio = np.ptp(row(wide, "nll")["interval"]) / np.ptp(row(narrow, "nll")["interval"])
    assert 3 < ratio < 5.3, ratio  # 16 times the examples, a quarter of the width


@pytest.mark.parametrize("levels", [1000, 5])
def test_areas_are_those_of_scikit_learn_ties_included(levels):
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 80)
    scores = np.round(levels * (0.3 * labels + rng.random(80))) / levels
    negatives, positives = scores[labels == 0], scores[labels == 1]
    assert roc_auc(negatives, positives) == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    assert average_precision(negatives, positives) == pytest.approx(average_precision_score(labels, scores), rel=1e-12)


def test_two_classes_have_areas_with_intervals():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 60)
    logits = rng.normal(size=(60, 2)) + 1.5 * np.eye(2)[labels]
    rows = {row["name"]: row for row in summary(logits, labels, ("other", "lens"))}
    margin = logits[:, 1] - logits[:, 0]
    assert rows["roc_auc"]["value"] == pytest.approx(roc_auc(margin[labels == 0], margin[labels == 1]))
    for name in ("roc_auc", "average_precision"):
        low, high = rows[name]["interval"]
        assert low < rows[name]["value"] < high <= 1
    assert "roc_auc" not in {row["name"] for row in summary(logits, np.zeros(60, int), ("other", "lens"))}


def test_numbers_are_scored_by_the_literal_formulas():
    rng = np.random.default_rng(5)
    truth = rng.uniform(0, 1, (200, 1))
    predicted = truth + rng.normal(0, 0.05, (200, 1))
    predicted[:6] += 0.7
    rows = {row["name"]: row for row in regression_summary(predicted, truth, ("redshift",))}
    error = (predicted - truth)[:, 0]
    scaled = error / (1 + truth[:, 0])
    expected = {
        "r2": 1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum(),
        "rmse": np.sqrt((error**2).mean()),
        "mae": np.abs(error).mean(),
        "bias": error.mean(),
        "sigma_nmad": 1.4826 * np.median(np.abs(scaled - np.median(scaled))),
        "outliers": np.mean(np.abs(scaled) > 0.15),
    }
    assert {name: row["value"] for name, row in rows.items()} == pytest.approx(expected, rel=1e-12)
    assert all(row["interval"][0] < row["value"] < row["interval"][1] for row in rows.values())
    several = regression_summary(np.hstack([predicted, truth]), np.hstack([truth] * 2), ("a", "b"))
    names = ["r2"] + [f"{metric} {name}" for name in ("a", "b") for metric in ("r2", "rmse", "mae", "bias")]
    assert [row["name"] for row in several] == names
    assert several[0]["value"] == pytest.approx((expected["r2"] + 1) / 2)
