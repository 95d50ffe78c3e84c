"""Matching of objects against brute force, counts by hand, and errors of fluxes by their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.train import (
    IOU_THRESHOLDS,
    components,
    flux_errors,
    flux_report,
    interval,
    match_objects,
    object_counts,
    object_report,
)

# Truth: a 3×3 square, a 2×2 square, one pixel. Prediction: the first without a column, the second shifted by one.
TRUE, PREDICTED = np.zeros((2, 8, 10), np.int32)
TRUE[0:3, 0:3], TRUE[5:7, 0:2], TRUE[7, 9] = 4, 9, 2
PREDICTED[0:3, 0:2], PREDICTED[5:7, 1:3], PREDICTED[0:2, 6:8] = 7, 1, 3


def random_map(rng, objects, shape=(7, 8)):
    return rng.integers(0, objects + 1, shape) * (rng.uniform(size=shape) < 0.8)


def literal_iou(true, predicted):
    ids, others = (sorted(set(x.ravel()) - {0}) for x in (true, predicted))
    table = [
        [np.sum((true == a) & (predicted == b)) / np.sum((true == a) | (predicted == b)) for b in others] for a in ids
    ]
    return np.array(table).reshape(len(ids), len(others))


def best_by_force(iou, threshold):
    """(number of pairs, sum of IoU) of the best one-to-one assignment, all of them tried."""
    rows, columns = iou.shape
    if rows > columns:
        return best_by_force(iou.T, threshold)
    best = (0, 0.0)
    for chosen in itertools.permutations(range(columns), rows):
        values = [iou[i, j] for i, j in enumerate(chosen) if iou[i, j] >= threshold]
        best = max(best, (len(values), sum(values)))
    return best


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), sizes=st.tuples(st.integers(0, 5), st.integers(0, 5)))
@pytest.mark.parametrize("threshold", [0.05, 0.15, 0.5])
def test_matching_is_the_best_there_is(threshold, seed, sizes):
    rng = np.random.default_rng(seed)
    true, predicted = (random_map(rng, n) for n in sizes)
    # Neighbours copied from the truth, so that there are overlaps above one half too.
    predicted = np.where(rng.uniform(size=true.shape) < 0.5, true, predicted)
    found, iou = match_objects(true, predicted, threshold=threshold), literal_iou(true, predicted)
    assert len(set(found.pairs[:, 0])) == len(set(found.pairs[:, 1])) == len(found.pairs)
    np.testing.assert_allclose(found.iou, [iou[i, j] for i, j in found.pairs])
    assert np.all(found.iou >= threshold)
    count, total = best_by_force(iou, threshold)
    assert len(found.pairs) == count and found.iou.sum() == pytest.approx(total)
    assert found.found.sum() == count and len(found.found) == len(iou)


def test_matching_by_hand():
    found = match_objects(TRUE, PREDICTED)
    np.testing.assert_array_equal(found.true, [2, 4, 9])
    np.testing.assert_array_equal(found.predicted, [1, 3, 7])
    np.testing.assert_array_equal(found.pairs, [[1, 2]])  # 4 with 7; 9 and 1 share 2 of 6 pixels
    np.testing.assert_allclose(found.iou, [6 / 9])
    np.testing.assert_array_equal(found.found, [False, True, False])
    assert len(match_objects(TRUE, PREDICTED, threshold=1 / 3).pairs) == 2
    assert len(match_objects(TRUE, PREDICTED, threshold=0.7).pairs) == 0


def test_numbers_and_order_of_objects_do_not_matter():
    rng = np.random.default_rng(0)
    true, predicted = random_map(rng, 5), random_map(rng, 4)
    renamed = np.array([0, 40, 3, 17, 9, 1])[true]
    a, b = match_objects(true, predicted, threshold=0.05), match_objects(renamed, predicted, threshold=0.05)
    assert sorted(a.iou) == pytest.approx(sorted(b.iou)) and len(a.iou) > 1
    swapped = match_objects(predicted, true, threshold=0.05)
    assert swapped.iou.sum() == pytest.approx(a.iou.sum())


def test_counts_merge_and_are_reported():
    thresholds = (0.3, 0.5, 0.7)
    empty = np.zeros((8, 10), np.int32)
    images = [(TRUE, PREDICTED), (TRUE, TRUE), (TRUE, empty), (empty, PREDICTED), (empty, empty)]
    parts = [object_counts(*pair, thresholds=thresholds) for pair in images]
    counts = {name: sum(part[name] for part in parts) for name in parts[0]}
    np.testing.assert_array_equal(counts["found"], [2 + 3, 1 + 3, 0 + 3])
    np.testing.assert_array_equal(counts["missed"], [1 + 3, 2 + 3, 3 + 3])
    np.testing.assert_array_equal(counts["spurious"], [1 + 3, 2 + 3, 3 + 3])
    report = object_report(counts, thresholds=thresholds)
    assert report["images"] == 5 and report["objects"] == 9
    assert report["completeness"] == pytest.approx(5 / 9) and report["completeness_interval"] == interval(5, 9)
    assert report["purity_of"]["0.5"] == pytest.approx(4 / 9) and report["purity_interval"] == interval(5, 9)
    assert report["f1_of"]["0.5"] == pytest.approx(8 / 18)
    assert report["average_precision_of"]["0.7"] == pytest.approx(3 / 15)
    assert report["panoptic_quality_of"]["0.3"] == pytest.approx((6 / 9 + 2 / 6 + 3) / (5 + 8 / 2))
    by_image = [np.mean([2 / 4, 1 / 5, 0]), 1, 0, 0, 1]  # where nothing is, nothing is right
    assert report["mean_precision"] == pytest.approx(np.mean(by_image))


def test_nothing_at_all():
    empty = np.zeros((4, 4), np.int32)
    report = object_report(object_counts(empty, empty))
    assert report["completeness"] is None and report["purity"] is None and report["mean_precision"] == 1.0
    assert report["completeness_interval"] == (0.0, 1.0)
    assert list(report["average_precision_of"]) == [f"{t:g}" for t in IOU_THRESHOLDS]
    assert len(match_objects(empty, TRUE[:4, :4]).pairs) == 0


def test_components():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]])
    np.testing.assert_array_equal(components(mask), [[1, 0, 0, 2], [0, 1, 0, 2], [0] * 4, [3, 0, 4, 4]])
    assert components(mask, diagonal=False).max() == 5
    np.testing.assert_array_equal(components(mask, smallest=2), [[1, 0, 0, 2], [0, 1, 0, 2], [0] * 4, [0, 0, 3, 3]])
    volume = np.zeros((3, 3, 3))
    volume[0, 0, 0] = volume[1, 1, 1] = 1
    assert components(volume).max() == 1 and components(volume, diagonal=False).max() == 2
    assert components(np.zeros((2, 2))).max() == 0 and components(mask).dtype == np.int32


def test_components_of_separate_objects_are_the_objects():
    found = match_objects(TRUE, components(TRUE), threshold=1.0)
    assert len(found.pairs) == 3


def test_errors_of_fluxes():
    errors = flux_errors(np.array([10.0, 1.0, np.nan, -2.0, 0.0]), np.array([1.0, 10, 5, 5, 5]))
    np.testing.assert_allclose(errors["relative"], [9, -0.9, np.nan, -1.4, -1])
    np.testing.assert_allclose(errors["magnitude"], [-2.5, 2.5, np.nan, np.inf, np.inf])


def test_flux_report_by_definition():
    rng = np.random.default_rng(1)
    true = rng.uniform(1, 100, 500)
    predicted = true * 10 ** (-0.4 * rng.normal(0.02, 0.3, 500))
    predicted[:30] = np.nan
    report = flux_report(predicted, true)
    magnitude = -2.5 * np.log10(predicted[30:] / true[30:])
    assert report["count"] == 470 and report["undetected"] == 30 and report["not_positive"] == 0
    assert report["mape"] == pytest.approx(np.abs(predicted[30:] / true[30:] - 1).mean())
    assert report["median"] == pytest.approx(np.median(magnitude))
    assert report["nmad"] == pytest.approx(1.4826 * np.median(np.abs(magnitude - np.median(magnitude))))
    assert report["nmad"] == pytest.approx(0.3, rel=0.15) and report["sigma"] == pytest.approx(magnitude.std())
    wild = np.sum(np.abs(magnitude) > 0.75)
    assert report["outliers"] == wild / 470 and wild > 0 and report["outliers_interval"] == interval(wild, 470)


def test_fluxes_that_are_not_positive_are_outliers():
    report = flux_report(np.array([-1.0, 5, 5]), np.array([5.0, 5, 5]))
    assert report["not_positive"] == 1 and report["outliers"] == pytest.approx(1 / 3)
    assert report["median"] == report["nmad"] == report["sigma"] == 0.0 and report["mape"] == pytest.approx(0.4)
    report = flux_report(np.array([-1.0, 0]), np.array([5.0, 5]))
    assert report["median"] is report["nmad"] is report["sigma"] is None and report["outliers"] == 1.0


def test_no_flux_measured():
    report = flux_report(np.array([np.nan]), np.array([5.0]))
    assert report["count"] == 0 and report["undetected"] == 1 and report["mape"] is None
    assert flux_report(np.zeros(0), np.zeros(0))["count"] == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: match_objects(TRUE, TRUE, threshold=0.0), r"threshold is an IoU in \(0, 1\], got 0.0"),
        (lambda: match_objects(TRUE, TRUE[:3]), r"one shape; got \(8, 10\) true and \(3, 10\) predicted"),
        (lambda: match_objects(TRUE - 1, TRUE), "the true one has -1"),
        (lambda: object_counts(TRUE, TRUE, thresholds=(0.5, 1.5)), r"IoUs in \(0, 1\], got \(0.5, 1.5\)"),
        (
            lambda: flux_errors(np.ones(2), np.ones(3)),
            r"One measured flux per object: \(3,\) true ones, \(2,\) measured",
        ),
        (lambda: flux_errors(np.ones(2), np.array([1.0, 0])), "True fluxes must be above 0, got 0.0"),
    ],
)
def test_wrong_arguments(function, message):
    with pytest.raises(ValueError, match=message):
        function()
