"""Metrics as sums: they merge over any partition, padding does not count, and scikit-learn agrees."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss

from zoo.train import BINS, classification_report, classification_sums, expected_calibration_error, interval

SIZE, CLASSES = 24, 4
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (SIZE, CLASSES)).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, SIZE).astype(np.int32)
SUMS = jax.jit(classification_sums)


def softmax(logits):
    e = np.exp(np.asarray(logits, np.float64))
    return e / e.sum(axis=-1, keepdims=True)


def merge(parts):
    return functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)


def check_equal(merged, whole):
    np.testing.assert_array_equal(merged["confusion"], whole["confusion"])
    for name in ("nll", "bins"):  # sums of at most 24 float32 in another order
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=SIZE, max_size=SIZE))
def test_any_partition_merges_to_the_same_sums(part_of):
    whole = SUMS(LOGITS, LABELS, np.ones(SIZE, np.float32))
    masks = [(np.array(part_of) == p).astype(np.float32) for p in range(4)]
    check_equal(merge([SUMS(LOGITS, LABELS, mask) for mask in masks]), whole)


def test_batches_of_unequal_sizes_merge():
    ones = np.ones(SIZE, np.float32)
    cuts = [slice(0, 1), slice(1, 8), slice(8, SIZE)]
    check_equal(merge([SUMS(LOGITS[c], LABELS[c], ones[c]) for c in cuts]), SUMS(LOGITS, LABELS, ones))


def test_padding_does_not_count():
    real = SUMS(LOGITS[:20], LABELS[:20], np.ones(20, np.float32))
    padding = np.concatenate([LOGITS[:20], np.full((4, CLASSES), 50, np.float32)])
    padded = SUMS(padding, LABELS, (np.arange(SIZE) < 20).astype(np.float32))
    check_equal(padded, real)


def test_against_scikit_learn():
    report = classification_report(SUMS(LOGITS, LABELS, np.ones(SIZE, np.float32)))
    predicted = LOGITS.argmax(axis=1)
    np.testing.assert_array_equal(report["confusion"], confusion_matrix(LABELS, predicted, labels=range(CLASSES)))
    assert report["count"] == SIZE
    assert report["accuracy"] == pytest.approx((predicted == LABELS).mean(), rel=1e-12)
    assert report["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(LABELS, predicted), rel=1e-12)
    expected = log_loss(LABELS, softmax(LOGITS), labels=range(CLASSES))
    assert report["nll"] == pytest.approx(expected, rel=1e-5)  # float32 sum of 24 terms


def test_confusion_has_truth_in_rows():
    logits = jnp.array([[0.0, 5.0, 0.0]])
    confusion = classification_sums(logits, jnp.array([2]), jnp.ones(1))["confusion"]
    assert float(confusion[2, 1]) == 1 and float(confusion.sum()) == 1


def test_calibration_error_is_the_literal_sum():
    probabilities = softmax(LOGITS)
    confidence, predicted = probabilities.max(axis=1), LOGITS.argmax(axis=1)
    expected = 0.0
    for b in range(BINS):
        inside = [i for i in range(SIZE) if b / BINS <= confidence[i] < (b + 1) / BINS]
        if inside:
            hits = sum(predicted[i] == LABELS[i] for i in inside) / len(inside)
            expected += len(inside) / SIZE * abs(hits - sum(confidence[i] for i in inside) / len(inside))
    sums = SUMS(LOGITS, LABELS, np.ones(SIZE, np.float32))
    assert expected > 0.05
    assert expected_calibration_error(sums["bins"]) == pytest.approx(expected, rel=1e-5)  # float32 confidences
    assert classification_report(sums)["ece"] == pytest.approx(expected, rel=1e-5)


def test_a_confidence_of_one_falls_into_the_last_bin():
    bins = classification_sums(jnp.array([[1000.0, 0.0]]), jnp.array([0]), jnp.ones(1))["bins"]
    np.testing.assert_array_equal(bins[:, -1], [1, 1, 1])
    assert float(bins[:, :-1].sum()) == 0


def test_wilson_interval_by_hand():
    z, n, p = 1.959963984540054, 10, 0.8
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert interval(8, 10) == pytest.approx((centre - half, centre + half), rel=1e-10)
    assert interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    narrow, wide = interval(8, 10, 0.5), interval(8, 10)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_interval_of_nothing_and_of_extremes():
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(0, 5)[0] == 0.0 and interval(5, 5)[1] == 1.0


def test_an_empty_class_has_no_recall():
    logits = jnp.array([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0]])
    report = classification_report(classification_sums(logits, jnp.array([0, 1, 1]), jnp.ones(3)), ["a", "b", "c"])
    assert report["recall"]["c"] == {"value": None, "interval": (0.0, 1.0), "count": 0}
    assert report["recall"]["a"]["value"] == 1.0 and report["recall"]["b"]["value"] == 0.5
    assert report["balanced_accuracy"] == 0.75


def test_nothing_at_all():
    report = classification_report(classification_sums(jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32), jnp.zeros(2)))
    assert report["count"] == 0 and report["accuracy"] == report["nll"] == report["ece"] == 0.0


def test_half_precision_logits_are_counted_in_float32():
    sums = classification_sums(LOGITS.astype(jnp.bfloat16), LABELS, jnp.ones(SIZE))
    assert {leaf.dtype for leaf in jax.tree.leaves(sums)} == {jnp.dtype("float32")}
