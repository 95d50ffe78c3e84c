"""Objects found, missed and invented, and the errors of their fluxes. On the host: NumPy and SciPy, not JAX.

Objects are instance maps: integers per pixel, 0 for background, one number per object, in 2 or 3 dimensions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from zoo.train.metrics import interval

# Thresholds of the 2018 Data Science Bowl.
IOU_THRESHOLDS: tuple[float, ...] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Matches(NamedTuple):
    """One-to-one pairs of true and predicted objects.

    Attributes:
        true: (T,) numbers of the true objects, ascending.
        predicted: (P,) numbers of the predicted objects, ascending.
        pairs: (n, 2) indices into `true` and `predicted`.
        iou: (n,) intersection over union of each pair.
    """

    true: np.ndarray
    predicted: np.ndarray
    pairs: np.ndarray
    iou: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """(T,) bool, which true objects have a partner: completeness as a function of anything is a mean of it."""
        flags = np.zeros(len(self.true), bool)
        flags[self.pairs[:, 0]] = True
        return flags


def components(mask: np.ndarray, *, diagonal: bool = True, smallest: int = 1) -> np.ndarray:
    """Connected components of a mask as an instance map.

    Args:
        mask: (H, W) or (D, H, W), true where not 0.
        diagonal: pixels that touch at a corner only are connected too (8 neighbours in 2-D, 26 in 3-D).
        smallest: components of fewer pixels are dropped.

    Returns:
        The same shape, int32, numbered from 1 without gaps.
    """
    mask = np.asarray(mask) != 0
    structure = ndimage.generate_binary_structure(mask.ndim, mask.ndim if diagonal else 1)
    labelled, count = ndimage.label(mask, structure)
    sizes = np.bincount(labelled.ravel(), minlength=count + 1)
    kept = sizes >= smallest
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labelled]


def match_objects(true: np.ndarray, predicted: np.ndarray, *, threshold: float = 0.5) -> Matches:
    """Pair true with predicted objects, one to one: as many pairs as can be, then the largest sum of IoU.

    Args:
        true: instance map (H, W) or (D, H, W).
        predicted: instance map of the same shape.
        threshold: smallest IoU of a pair, in (0, 1]; from 0.5 on at most one partner is possible.

    Raises:
        ValueError: shapes that differ, a threshold out of range, or a map with negative numbers.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is an IoU in (0, 1], got {threshold}.")
    true_ids, predicted_ids, iou = _overlaps(true, predicted)
    pairs = _assigned(iou, threshold)
    return Matches(true_ids, predicted_ids, pairs, iou[pairs[:, 0], pairs[:, 1]])


def object_counts(
    true: np.ndarray, predicted: np.ndarray, *, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> dict[str, np.ndarray]:
    """Counts of one image at each of T thresholds of IoU; those of several images are added entry by entry.

    Args:
        true: instance map (H, W) or (D, H, W).
        predicted: instance map of the same shape.
        thresholds: T values in (0, 1].

    Returns:
        float64: `images` (); (T,) `found` (true positives), `missed` (false negatives), `spurious` (false positives),
        `iou` (sum over pairs) and `precision`, the image's own found / (found + missed + spurious), which is 1 for an
        image without objects where none was predicted.

    Raises:
        ValueError: as `match_objects`.
    """
    if not all(0 < t <= 1 for t in thresholds):
        raise ValueError(f"thresholds are IoUs in (0, 1], got {tuple(thresholds)}.")
    true_ids, predicted_ids, iou = _overlaps(true, predicted)
    rows = []
    for threshold in thresholds:
        pairs = _assigned(iou, threshold)
        found = len(pairs)
        every = len(true_ids) + len(predicted_ids) - found
        total = iou[pairs[:, 0], pairs[:, 1]].sum()
        rows.append((found, len(true_ids) - found, len(predicted_ids) - found, total, found / every if every else 1.0))
    names = ("found", "missed", "spurious", "iou", "precision")
    return {"images": np.float64(1), **dict(zip(names, np.array(rows, np.float64).T, strict=True))}


def object_report(counts: Mapping[str, Any], *, thresholds: Sequence[float] = IOU_THRESHOLDS) -> dict[str, Any]:
    """Numbers from the merged counts of `object_counts`.

    Args:
        counts: merged counts.
        thresholds: those the counts were made with.

    Returns:
        `images`, `objects` (true ones); {threshold as text: value} of `completeness_of` = found / true, `purity_of` =
        found / predicted, `f1_of`, `average_precision_of` = found / (found + missed + spurious) pooled over images (as
        StarDist, Schmidt+18, https://arxiv.org/abs/1806.03535), `panoptic_quality_of` = Σ IoU / (found + ½ missed + ½
        spurious) (Kirillov+19); `completeness`, `purity`, `f1`, `average_precision` at the first threshold with
        `completeness_interval` and `purity_interval` (Wilson's at 95 %, objects taken as independent);
        `mean_precision`, the mean over thresholds and then images, the score of the 2018 Data Science Bowl. A value is
        `None` where there is nothing to take a share of.
    """
    found, missed, spurious, overlap, precision = (
        np.asarray(counts[name], np.float64) for name in ("found", "missed", "spurious", "iou", "precision")
    )
    names = [f"{threshold:g}" for threshold in thresholds]

    def shares(parts: np.ndarray, wholes: np.ndarray) -> dict[str, float | None]:
        return {
            name: float(part / whole) if whole > 0 else None
            for name, part, whole in zip(names, parts, wholes, strict=True)
        }

    of = {
        "completeness": shares(found, found + missed),
        "purity": shares(found, found + spurious),
        "f1": shares(2 * found, 2 * found + missed + spurious),
        "average_precision": shares(found, found + missed + spurious),
    }
    images = float(counts["images"])
    return {
        "images": round(images),
        "objects": round(found[0] + missed[0]),
        **{what: values[names[0]] for what, values in of.items()},
        "completeness_interval": interval(found[0], found[0] + missed[0]),
        "purity_interval": interval(found[0], found[0] + spurious[0]),
        "mean_precision": float(np.mean(precision) / images) if images else None,
        **{f"{what}_of": values for what, values in of.items()},
        "panoptic_quality_of": shares(overlap, found + (missed + spurious) / 2),
    }


def flux_errors(predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Errors of measured fluxes, object by object.

    Args:
        predicted: (N,) measured fluxes; NaN for an object that was not detected.
        true: (N,) fluxes above 0, in the same units.

    Returns:
        (N,) float64: `relative` = (f_pred − f_true) / f_true and `magnitude` = −2.5 log₁₀(f_pred / f_true), which is
        infinite for a measured flux that is not above 0; both NaN for what was not detected.

    Raises:
        ValueError: shapes that differ, or a true flux that is not above 0.
    """
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if predicted.shape != true.shape:
        raise ValueError(f"One measured flux per object: {true.shape} true ones, {predicted.shape} measured.")
    if not np.all(true > 0):
        raise ValueError(f"True fluxes must be above 0, got {np.min(true)}: leave out objects that are not there.")
    ratio = predicted / true
    magnitude = np.full(ratio.shape, np.inf)
    np.log10(ratio, out=magnitude, where=ratio > 0)
    magnitude[ratio > 0] *= -2.5
    return {"relative": ratio - 1, "magnitude": np.where(np.isnan(ratio), np.nan, magnitude)}


def flux_report(predicted: np.ndarray, true: np.ndarray, *, limit: float = 0.75) -> dict[str, Any]:
    """Summary of the errors of `flux_errors`.

    Args:
        predicted: (N,) measured fluxes; NaN for an object that was not detected.
        true: (N,) fluxes above 0.
        limit: an error of more magnitudes is an outlier.

    Returns:
        `count` (measured objects), `undetected`, `not_positive` (measured fluxes of 0 or less); over the measured ones
        `mape`, the mean of |relative error| as a share (not in percent), `median` of Δm, `nmad` = 1.4826 · median
        |Δm − median|, `sigma`, the standard deviation of the finite Δm, `outliers`, the share of |Δm| > limit with
        Wilson's `outliers_interval`. `None` where nothing was measured, or where it would be infinite.
    """
    errors = flux_errors(predicted, true)
    measured = ~np.isnan(errors["magnitude"])
    relative, magnitude = errors["relative"][measured], errors["magnitude"][measured]
    count, finite = int(measured.sum()), np.isfinite(magnitude)
    report: dict[str, Any] = {
        "count": count,
        "undetected": int((~measured).sum()),
        "not_positive": int((~finite).sum()),
        **dict.fromkeys(("mape", "median", "nmad", "sigma", "outliers")),
        "outliers_interval": (0.0, 1.0),
    }
    if not count:
        return report
    median, wild = np.median(magnitude), np.sum(np.abs(magnitude) > limit)
    nmad = 1.4826 * np.median(np.abs(magnitude - median)) if np.isfinite(median) else np.inf
    return report | {
        "mape": float(np.abs(relative).mean()),
        "median": float(median) if np.isfinite(median) else None,
        "nmad": float(nmad) if np.isfinite(nmad) else None,
        "sigma": float(magnitude[finite].std()) if finite.any() else None,
        "outliers": float(wild / count),
        "outliers_interval": interval(wild, count),
    }


def _overlaps(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the true (T,) and predicted (P,) objects, and their IoU (T, P)."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape:
        raise ValueError(
            f"Instance maps of one image have one shape; got {true.shape} true and {predicted.shape} predicted."
        )
    for what, labels in (("true", true), ("predicted", predicted)):
        if labels.size and labels.min() < 0:
            raise ValueError(
                f"Instance maps hold 0 for background and 1, 2, … for objects; the {what} one has {labels.min()}."
            )
    true_ids, true_index = np.unique(np.append(0, true), return_inverse=True)
    predicted_ids, predicted_index = np.unique(np.append(0, predicted), return_inverse=True)
    width = len(predicted_ids)
    shared = np.bincount(true_index[1:] * width + predicted_index[1:], minlength=len(true_ids) * width)
    shared = shared.reshape(-1, width).astype(np.float64)
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
    return true_ids[1:], predicted_ids[1:], shared[1:, 1:] / np.maximum(union[1:, 1:], 1)


def _assigned(iou: np.ndarray, threshold: float) -> np.ndarray:
    """Pairs (n, 2) of an assignment with IoU ≥ threshold: the number of pairs counts before their IoU."""
    good = iou >= threshold
    # n pairs at best, whose IoUs add up to n at most: divided by more than that, no sum outweighs one pair.
    rows, columns = linear_sum_assignment(good * (1 + iou / (min(iou.shape) + 1)), maximize=True)
    kept = good[rows, columns]
    return np.stack([rows[kept], columns[kept]], axis=1)
