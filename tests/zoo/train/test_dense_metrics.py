"""Overlap of regions, precision against recall: scikit-learn agrees, sums merge, what does not count is left out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, jaccard_score, log_loss

from zoo.train import (
    average_precision,
    confusion_by_image,
    mask_report,
    mask_sums,
    ratio_interval,
    ratio_moments,
    segmentation_report,
    segmentation_sums,
)

IMAGES, SIDE, CLASSES = 6, 8, 4
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, (IMAGES, SIDE, SIDE)).astype(np.uint8)
LOGITS = (RNG.normal(0, 2, (IMAGES, SIDE, SIDE, CLASSES)) + np.eye(CLASSES)[LABELS]).astype(np.float32)
MASKS = RNG.integers(0, 2, (IMAGES, SIDE, SIDE, CLASSES)).astype(np.uint8)
VALID = RNG.uniform(size=(IMAGES, SIDE, SIDE)) < 0.8
SUMS, MASK_SUMS = jax.jit(segmentation_sums), jax.jit(mask_sums)
CASES = {"classes": (SUMS, LABELS), "masks": (MASK_SUMS, MASKS)}


def merge(parts):
    return functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)


def check_equal(merged, whole):
    assert merged.keys() == whole.keys()
    for name in whole:
        # Counts are exact; nll is a sum of at most 1536 float32 in another order.
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-5 if name == "nll" else 0, err_msg=name)


def softmax(logits):
    e = np.exp(np.asarray(logits, np.float64))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None, max_examples=20)
@given(part_of=st.lists(st.integers(0, 2), min_size=IMAGES, max_size=IMAGES))
def test_any_partition_of_images_merges_to_the_same_sums(case, part_of):
    sums, truth = CASES[case]
    parts = [VALID & (np.array(part_of) == p)[:, None, None] for p in range(3)]
    check_equal(merge([sums(LOGITS, truth, part) for part in parts]), sums(LOGITS, truth, VALID))


@pytest.mark.parametrize("case", CASES)
def test_batches_order_and_compilation_do_not_matter(case):
    sums, truth = CASES[case]
    whole = sums(LOGITS, truth, VALID)
    cuts = [slice(0, 1), slice(1, IMAGES)]
    check_equal(merge([sums(LOGITS[c], truth[c], VALID[c]) for c in cuts]), whole)
    order = np.array([3, 0, 5, 1, 2, 4])
    check_equal(sums(LOGITS[order], truth[order], VALID[order]), whole)
    eager = {"classes": segmentation_sums, "masks": mask_sums}[case]
    check_equal(eager(jnp.asarray(LOGITS), jnp.asarray(truth), jnp.asarray(VALID)), whole)
    one_by_one = jax.jit(jax.vmap(lambda *x: eager(*(a[None] for a in x))))(LOGITS, truth, VALID)
    check_equal(jax.tree.map(lambda x: x.sum(0), one_by_one), whole)


@pytest.mark.parametrize("case", CASES)
def test_pixels_that_do_not_count_may_hold_anything(case):
    sums, truth = CASES[case]
    hidden = ~VALID
    logits, other = LOGITS.copy(), truth.copy()
    logits[hidden], other[hidden] = np.nan, 255
    check_equal(sums(logits, other, VALID), sums(LOGITS, truth, VALID))


def test_classes_against_scikit_learn():
    report = segmentation_report(SUMS(LOGITS, LABELS, VALID), ["a", "b", "c", "d"])
    truth, predicted = LABELS[VALID], LOGITS[VALID].argmax(-1)
    np.testing.assert_array_equal(report["confusion"], confusion_matrix(truth, predicted, labels=range(CLASSES)))
    assert report["count"] == VALID.sum() and report["images"] == IMAGES
    assert report["accuracy"] == pytest.approx((truth == predicted).mean(), rel=1e-12)
    iou, dice = jaccard_score(truth, predicted, average=None), f1_score(truth, predicted, average=None)
    assert list(report["iou_of"].values()) == pytest.approx(iou, rel=1e-12)
    assert list(report["dice_of"].values()) == pytest.approx(dice, rel=1e-12)
    assert report["iou"] == pytest.approx(iou.mean(), rel=1e-12)
    assert report["dice"] == pytest.approx(dice.mean(), rel=1e-12)
    assert report["nll"] == pytest.approx(log_loss(truth, softmax(LOGITS[VALID]), labels=range(CLASSES)), rel=1e-5)
    table = np.asarray(report["confusion"])
    assert report["recall_of"]["c"] == pytest.approx(table[2, 2] / table[2].sum())
    assert report["precision_of"]["c"] == pytest.approx(table[2, 2] / table[:, 2].sum())


def test_masks_against_scikit_learn():
    report = mask_report(MASK_SUMS(LOGITS, MASKS, VALID))
    truth, predicted = MASKS[VALID], LOGITS[VALID] > 0
    assert list(report["iou_of"].values()) == pytest.approx(jaccard_score(truth, predicted, average=None), rel=1e-12)
    assert list(report["dice_of"].values()) == pytest.approx(f1_score(truth, predicted, average=None), rel=1e-12)
    assert report["accuracy"] == pytest.approx((truth == predicted).mean(), rel=1e-12)
    assert report["count"] == VALID.sum() and report["images"] == IMAGES
    p = 1 / (1 + np.exp(-LOGITS[VALID].astype(float)))
    assert report["nll"] == pytest.approx(-np.log(np.where(truth > 0, p, 1 - p)).mean(), rel=1e-5)


def test_the_background_can_be_left_out_of_the_means():
    sums = SUMS(LOGITS, LABELS, VALID)
    whole, without = segmentation_report(sums), segmentation_report(sums, background=0)
    for what in ("iou", "dice", "average_precision"):
        assert whole[f"{what}_of"] == without[f"{what}_of"]
        assert without[what] == pytest.approx(np.mean([whole[f"{what}_of"][k] for k in "123"]))


def test_confusion_by_image_in_three_dimensions():
    labels, predicted = (RNG.integers(0, 3, (2, 3, 4, 5)) for _ in range(2))
    valid = RNG.uniform(size=labels.shape) < 0.7
    table = confusion_by_image(jnp.asarray(predicted), jnp.asarray(labels), jnp.asarray(valid), 3)
    for i in range(2):
        expected = confusion_matrix(labels[i][valid[i]], predicted[i][valid[i]], labels=range(3))
        np.testing.assert_array_equal(table[i], expected)


def test_average_precision_of_ties_is_exact():
    # Scores on a grid of the bins' own centres: what is tied is tied for scikit-learn too.
    rng = np.random.default_rng(1)
    truth = rng.uniform(size=2000) < 0.1
    logits = ((np.round(rng.normal(-2 + 2 * truth, 2) * 8) + 0.5) / 32).astype(np.float32)
    sums = MASK_SUMS(*map(jnp.asarray, (logits.reshape(1, -1, 1), truth.reshape(1, -1, 1), np.ones((1, 2000), bool))))
    expected = average_precision_score(truth, logits)
    assert mask_report(sums)["average_precision"] == pytest.approx(expected, rel=1e-12)
    assert float(sums["scores"].sum()) == 2000


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_average_precision_of_continuous_scores(share):
    rng = np.random.default_rng(2)
    truth = rng.uniform(size=(4, 100, 100, 1)) < share
    logits = rng.normal(np.log(share) + 5 * truth, 1.5).astype(np.float32)
    sums = MASK_SUMS(jnp.asarray(logits), jnp.asarray(truth), jnp.ones((4, 100, 100), bool))
    expected = average_precision_score(truth.ravel(), logits.ravel())
    assert 0.7 < expected < 0.99
    # What shares a bin of 1/64 in log-odds is tied.
    assert mask_report(sums)["average_precision"] == pytest.approx(expected, abs=1.5e-3)


def test_average_precision_of_classes_is_one_against_the_rest():
    truth, p = LABELS.ravel(), softmax(LOGITS).reshape(-1, CLASSES)
    report = segmentation_report(SUMS(LOGITS, LABELS, np.ones_like(VALID)))
    for k in range(CLASSES):
        expected = average_precision_score(truth == k, p[:, k])
        # 384 pixels: one swapped pair moves it by some 1e-3.
        assert report["average_precision_of"][str(k)] == pytest.approx(expected, abs=3e-3)


def test_average_precision_by_hand():
    # From the top: 1 of 1 right, then 2 of 4.
    assert average_precision(np.array([[3, 2, 0], [0, 1, 1]])) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    assert average_precision(np.array([[3, 2], [0, 0]])) is None


def test_sure_pixels_fall_into_the_outer_bins():
    logits = jnp.array([[[1e4, -1e4], [-1e4, 1e4]]])
    scores = SUMS(logits, jnp.array([[0, 0]]), jnp.ones((1, 2), bool))["scores"]
    assert float(scores[0, 1, -1]) == 1 and float(scores[0, 1, 0]) == 1
    assert float(scores[1, 0, -1]) == 1 and float(scores[1, 0, 0]) == 1 and float(scores.sum()) == 4


def test_images_without_objects():
    logits = jnp.full((2, 4, 4, 3), -5.0)
    report = mask_report(MASK_SUMS(logits, jnp.zeros((2, 4, 4, 3), jnp.uint8), jnp.ones((2, 4, 4), bool)), "abc")
    assert report["iou_of"] == report["dice_of"] == report["average_precision_of"] == dict.fromkeys("abc")
    assert report["accuracy"] == 1.0 and report["dice"] == 0.0
    assert report["dice_interval_of"] == dict.fromkeys("abc", (0.0, 1.0))
    invented = mask_report(MASK_SUMS(-logits, jnp.zeros((2, 4, 4, 3)), jnp.ones((2, 4, 4), bool)), "abc")
    assert invented["dice_of"] == dict.fromkeys("abc", 0.0) and invented["recall_of"] == dict.fromkeys("abc")


def test_images_of_one_class():
    logits = jnp.tile(jnp.array([3.0, 0.0, -1.0]), (2, 4, 4, 1))
    report = segmentation_report(SUMS(logits, jnp.zeros((2, 4, 4), jnp.uint8), jnp.ones((2, 4, 4), bool)))
    assert report["iou_of"] == report["dice_of"] == {"0": 1.0, "1": None, "2": None}
    assert report["iou"] == report["dice"] == report["accuracy"] == 1.0


@pytest.mark.parametrize("case", CASES)
def test_nothing_at_all(case):
    sums, truth = CASES[case]
    report = (segmentation_report if case == "classes" else mask_report)(sums(LOGITS, truth, np.zeros_like(VALID)))
    for name in ("count", "images", "accuracy", "nll", "iou", "dice", "average_precision"):
        assert report[name] == 0, name
    assert report["accuracy_interval"] == (0.0, 1.0)


def test_half_precision_logits_are_counted_in_float32():
    for sums, truth in CASES.values():
        found = sums(LOGITS.astype(jnp.bfloat16), truth, VALID)
        assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}


def test_interval_of_a_ratio_is_the_textbook_formula(x64):
    x, y = RNG.uniform(0, 3, 9), RNG.uniform(2, 6, 9)
    y[4] = x[4] = 0.0  # has nothing, hence tells nothing
    moments = np.asarray(ratio_moments(jnp.asarray(x), jnp.asarray(y)))
    ratio, n = x.sum() / y.sum(), 8
    error = np.sqrt(n / (n - 1) * np.sum((x - ratio * y) ** 2)) / y.sum()
    expected = ratio + stats.t.ppf([0.025, 0.975], n - 1) * error
    assert ratio_interval(x.sum(), y.sum(), moments) == pytest.approx(expected, rel=1e-10)


def test_intervals_of_iou_and_dice_are_those_of_their_own_ratios():
    valid = np.ones_like(VALID)
    report = mask_report(MASK_SUMS(LOGITS, MASKS, valid))
    for m in range(CLASSES):
        truth, ours = MASKS[..., m] > 0, LOGITS[..., m] > 0
        hits, wrong = (truth & ours).sum((1, 2)), (truth ^ ours).sum((1, 2))
        for what, y in (("iou", hits + wrong), ("dice", 2 * hits + wrong)):
            moments = [IMAGES, (wrong**2).sum(), (wrong * y).sum(), (y**2).sum()]
            low, high = ratio_interval(wrong.sum(), y.sum(), moments)
            assert report[f"{what}_interval_of"][str(m)] == pytest.approx((1 - high, 1 - low), rel=1e-9)
            assert 1 - high < report[f"{what}_of"][str(m)] < 1 - low


def test_intervals_cover():
    """95 % intervals of Dice over 40 images hold the Dice of the population in about 95 of 100 repetitions."""
    rng, trials, images = np.random.default_rng(3), 2000, 40
    skill = rng.beta(8, 2, (trials, images))
    size = rng.integers(20, 200, (trials, images))
    missed = rng.binomial(size, 1 - skill)
    # Every object of `size` pixels is found but for `missed` of them: Dice = 2 Σ(size − missed) / Σ(2 size − missed).
    truth = 2 * 0.8 / (2 * 0.8 + 0.2)
    inside = 0
    for wrong, whole in zip(missed, size, strict=True):
        y = 2 * whole - wrong
        low, high = ratio_interval(wrong.sum(), y.sum(), [images, (wrong**2).sum(), (wrong * y).sum(), (y**2).sum()])
        inside += 1 - high <= truth <= 1 - low
    assert 0.925 < inside / trials < 0.965  # ±3σ of a binomial is 0.015; skew costs about 0.01
