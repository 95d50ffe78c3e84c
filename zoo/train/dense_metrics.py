"""Overlap of predicted and true regions as mergeable sums: confusion of pixels, IoU, Dice, precision against recall.

Pixels of one image are not independent of each other, images are: the 95 % intervals of the reports take the image as
the unit. They are of ratios Σ x_i / Σ y_i of sums over images i, by the delta method with Student's t, hence merge like
all else. With few images, or where nothing is wrong, they are too narrow.

Everything here counts pixels where `valid` holds and does not look at the others, NaN included.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from zoo.train.losses import binary_cross_entropy, cross_entropy

# Bins of the log-odds of a probability, equal between ±LIMIT: as fine near 0 and 1 as in the middle, since what is rare
# is found at probabilities that equal bins of the probability itself would not tell apart.
SCORE_BINS = 2048
SCORE_LIMIT = 16.0


def confusion_by_image(predicted: jax.Array, labels: jax.Array, valid: jax.Array, classes: int) -> jax.Array:
    """Pixels of each true class (rows) that were given each class (columns), image by image.

    Args:
        predicted: (B, …) integers in [0, K).
        labels: (B, …) integers in [0, K).
        valid: (B, …) bool, pixels that count.
        classes: K.

    Returns:
        (B, K, K) float32.
    """
    pairs = labels.astype(jnp.int32) * classes + predicted.astype(jnp.int32)
    return _counts(pairs, valid, classes**2).reshape(-1, classes, classes)


def segmentation_sums(logits: jax.Array, labels: jax.Array, valid: jax.Array) -> dict[str, jax.Array]:
    """Sums of one batch of pixels that belong to one of K classes.

    Args:
        logits: (B, …, K).
        labels: (B, …) integers in [0, K).
        valid: (B, …) bool, pixels that count.

    Returns:
        float32: `images` () with a pixel that counts; `nll` () in nats; `confusion` (K, K), truth in rows; `moments`
        (K, 4) of overlaps and `accuracy_moments` (4,), see `ratio_interval`; `scores` (K, 2, 2048), histograms of the
        log-odds of each class against the rest where the truth is another class, and where it is this one.
    """
    logits, labels = _cleaned(logits, valid), jnp.where(valid, labels, 0)
    classes = logits.shape[-1]
    table = confusion_by_image(jnp.argmax(logits, axis=-1), labels, valid, classes)
    hits = jnp.diagonal(table, axis1=1, axis2=2)
    wrong = table.sum(axis=1) + table.sum(axis=2) - 2 * hits
    pixels = table.sum(axis=(1, 2))
    log_p = jax.nn.log_softmax(logits, axis=-1)
    truth = jax.nn.one_hot(labels, classes, dtype=bool)
    return {
        "images": jnp.sum(pixels > 0, dtype=jnp.float32),
        "nll": jnp.sum(jnp.where(valid, cross_entropy(logits, labels), 0), dtype=jnp.float32),
        "confusion": table.sum(axis=0),
        "moments": ratio_moments(wrong, wrong + hits),
        "accuracy_moments": ratio_moments(pixels - hits.sum(axis=1), pixels),
        "scores": _score_histograms(log_p - jnp.log(-jnp.expm1(log_p)), truth, valid),
    }


def segmentation_report(
    sums: Mapping[str, Any], class_names: Sequence[str] | None = None, *, background: int | None = None
) -> dict[str, Any]:
    """Numbers from the sums of `segmentation_sums`.

    Args:
        sums: merged sums.
        class_names: K names.
        background: number of a class that is left out of the means over classes.

    Returns:
        `count` (pixels), `images`, `accuracy` with `accuracy_interval`, `nll` in nats per pixel, means over classes
        `iou`, `dice`, `average_precision`; {class: value} as `iou_of`, `dice_of`, `precision_of`, `recall_of`,
        `average_precision_of`, with `iou_interval_of` and `dice_interval_of`; `confusion` as nested lists. A value is
        `None` where a class is absent from what it is a share of; means are over those that are there, 0 if none is.
    """
    table = np.asarray(sums["confusion"], np.float64)
    hits, total = np.diagonal(table), table.sum()
    names = [str(name) for name in class_names] if class_names else [str(k) for k in range(len(table))]
    kept = [name for k, name in enumerate(names) if k != background]
    return {
        "count": round(total),
        "images": round(float(sums["images"])),
        "accuracy": float(hits.sum() / max(total, 1)),
        "accuracy_interval": _complement(ratio_interval(total - hits.sum(), total, sums["accuracy_moments"])),
        "nll": float(sums["nll"]) / max(total, 1),
        **_overlaps(hits, table.sum(axis=0) - hits, table.sum(axis=1) - hits, sums, names, kept),
        "confusion": table.round().astype(int).tolist(),
    }


def mask_sums(logits: jax.Array, masks: jax.Array, valid: jax.Array) -> dict[str, jax.Array]:
    """Sums of one batch of M yes/no maps, predicted yes where the logit is above 0.

    Args:
        logits: (B, …, M).
        masks: (B, …, M), 0 or 1.
        valid: (B, …) bool, pixels that count.

    Returns:
        float32: `images` (); `nll` () in nats, summed over pixels and maps; `counts` (M, 4): true positives, false
        positives, false negatives, true negatives; `moments` (M, 4), `accuracy_moments` (4,) and `scores` (M, 2, 2048)
        as in `segmentation_sums`.
    """
    logits, truth = _cleaned(logits, valid), (masks > 0) & valid[..., None]
    predicted, counted = (logits > 0) & valid[..., None], valid[..., None]
    kinds = (predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth & counted)
    pixels = tuple(range(1, valid.ndim))
    counts = jnp.stack([jnp.sum(kind, axis=pixels, dtype=jnp.int32) for kind in kinds], axis=-1).astype(jnp.float32)
    wrong = counts[..., 1] + counts[..., 2]
    entropy = jnp.where(counted, binary_cross_entropy(logits, truth), 0)
    return {
        "images": jnp.sum(jnp.any(valid, axis=pixels), dtype=jnp.float32),
        "nll": jnp.sum(entropy, dtype=jnp.float32),
        "counts": counts.sum(axis=0),
        "moments": ratio_moments(wrong, wrong + counts[..., 0]),
        "accuracy_moments": ratio_moments(wrong.sum(axis=1), counts.sum(axis=(1, 2))),
        "scores": _score_histograms(logits, truth, valid),
    }


def mask_report(sums: Mapping[str, Any], names: Sequence[str] | None = None) -> dict[str, Any]:
    """Numbers from the sums of `mask_sums`.

    Returns:
        As `segmentation_report`, with maps in place of classes and without `confusion`; `accuracy` and `nll` are means
        over pixels and maps, `count` is the number of pixels.
    """
    counts = np.asarray(sums["counts"], np.float64)
    hits, false, missed, _ = counts.T
    names = [str(name) for name in names] if names else [str(k) for k in range(len(counts))]
    total, wrong = counts.sum(), (false + missed).sum()
    return {
        "count": round(total / len(counts)),
        "images": round(float(sums["images"])),
        "accuracy": float((total - wrong) / max(total, 1)),
        "accuracy_interval": _complement(ratio_interval(wrong, total, sums["accuracy_moments"])),
        "nll": float(sums["nll"]) / max(total, 1),
        **_overlaps(hits, false, missed, sums, names, names),
    }


def average_precision(scores: np.ndarray) -> float | None:
    """Area under the curve of precision against recall, Σ_b (R_b − R_{b+1}) P_b over thresholds at the bins b.

    Args:
        scores: (2, n) histograms of the score, of negatives and positives.

    Returns:
        The average precision; what shares a bin is tied, which lowers it by some 1e-3 where few score high. `None`
        without positives.
    """
    negatives, positives = np.cumsum(np.asarray(scores, np.float64)[:, ::-1], axis=1)
    if positives[-1] == 0:
        return None
    precision = positives / np.maximum(positives + negatives, 1)
    return float(np.sum(np.diff(positives, prepend=0) * precision) / positives[-1])


def ratio_moments(x: jax.Array, y: jax.Array) -> jax.Array:
    """Moments for `ratio_interval` of x and y (B, …): sums (…, 4) over images of 1 where y > 0, and of x², x·y, y²."""
    return jnp.stack([jnp.sum(part, axis=0) for part in ((y > 0).astype(x.dtype), x * x, x * y, y * y)], axis=-1)


def ratio_interval(x: float, y: float, moments: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a ratio x / y of sums over images, by the delta method (Cochran 1977, §6.3) and Student's t.

    Args:
        x: Σ x_i ≥ 0.
        y: Σ y_i ≥ 0.
        moments: (4,) as `ratio_moments` gives them.
        level: probability that it covers.

    Returns:
        (low, high) with low ≥ 0; (0, ∞) where fewer than two images have anything.
    """
    images, xx, xy, yy = np.asarray(moments, np.float64)
    if images < 2 or y <= 0:
        return 0.0, float("inf")
    ratio = x / y
    residual = max(xx - 2 * ratio * xy + ratio**2 * yy, 0.0)
    half = stats.t.ppf((1 + level) / 2, images - 1) * np.sqrt(residual * images / (images - 1)) / y
    return float(max(ratio - half, 0.0)), float(ratio + half)


def _cleaned(logits: jax.Array, valid: jax.Array) -> jax.Array:
    """Logits in float32 at least, 0 where they do not count, and without a gradient: sums are not trained on."""
    logits = jax.lax.stop_gradient(logits).astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jnp.where(valid[..., None], logits, 0)


def _counts(values: jax.Array, valid: jax.Array, size: int) -> jax.Array:
    """How often each of `size` integers occurs in each image: (B, …) → (B, size) float32."""
    images = values.shape[0]
    start = jnp.arange(images, dtype=jnp.int32).reshape(-1, *[1] * (values.ndim - 1)) * size
    # Integers: a count in float32 stops at 2²⁴. What does not count goes beyond the end and is dropped.
    place = jnp.where(valid, start + values, images * size).reshape(-1)
    return jnp.zeros(images * size, jnp.int32).at[place].add(1, mode="drop").reshape(images, size).astype(jnp.float32)


def _score_histograms(scores: jax.Array, truth: jax.Array, valid: jax.Array) -> jax.Array:
    """Histograms (K, 2, bins) of log-odds (B, …, K) where the truth (B, …, K) is no and where it is yes."""
    share = (jnp.clip(scores, -SCORE_LIMIT, SCORE_LIMIT) / SCORE_LIMIT + 1) / 2
    bins = jnp.minimum((share * SCORE_BINS).astype(jnp.int32), SCORE_BINS - 1) + SCORE_BINS * truth.astype(jnp.int32)
    classes = scores.shape[-1]
    # One "image" for each class.
    bins = jnp.moveaxis(bins.reshape(-1, classes), -1, 0)
    counted = jnp.broadcast_to(valid.reshape(1, -1), bins.shape)
    return _counts(bins, counted, 2 * SCORE_BINS).reshape(classes, 2, SCORE_BINS)


def _overlaps(
    hits: np.ndarray,
    false: np.ndarray,
    missed: np.ndarray,
    sums: Mapping[str, Any],
    names: Sequence[str],
    kept: Sequence[str],
) -> dict[str, Any]:
    wrong = false + missed
    by_name = {
        "iou": dict(zip(names, _shares(hits, hits + wrong), strict=True)),
        "dice": dict(zip(names, _shares(2 * hits, 2 * hits + wrong), strict=True)),
        "average_precision": dict(zip(names, map(average_precision, np.asarray(sums["scores"])), strict=True)),
        "precision": dict(zip(names, _shares(hits, hits + false), strict=True)),
        "recall": dict(zip(names, _shares(hits, hits + missed), strict=True)),
    }
    means = {}
    for what in ("iou", "dice", "average_precision"):
        present = [by_name[what][name] for name in kept if by_name[what][name] is not None]
        means[what] = float(np.mean(present)) if present else 0.0
    iou, dice = {}, {}
    for k, name in enumerate(names):
        n, ee, eu, uu = np.asarray(sums["moments"], np.float64)[k]
        iou[name] = _complement(ratio_interval(wrong[k], wrong[k] + hits[k], (n, ee, eu, uu)))
        # The denominator of Dice's coefficient is twice the union less what is wrong.
        doubled = (n, ee, 2 * eu - ee, 4 * uu - 4 * eu + ee)
        dice[name] = _complement(ratio_interval(wrong[k], wrong[k] + 2 * hits[k], doubled))
    of = {f"{what}_of": values for what, values in by_name.items()}
    return {**means, **of, "iou_interval_of": iou, "dice_interval_of": dice}


def _shares(parts: np.ndarray, wholes: np.ndarray) -> list[float | None]:
    return [float(part / whole) if whole > 0 else None for part, whole in zip(parts, wholes, strict=True)]


def _complement(interval: tuple[float, float]) -> tuple[float, float]:
    """The interval of 1 − x within [0, 1]."""
    low, high = interval
    return max(1 - high, 0.0), min(1 - low, 1.0)
