"""Boundary F1: do the outlines of predicted regions lie where the true ones do? As mergeable sums.

Csurka, Larlus & Perronnin 2013, "What is a good evaluation measure for semantic segmentation?" (BMVC).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats


def boundaries(regions: jax.Array, valid: jax.Array) -> jax.Array:
    """Pixels of a region that touch, along a side or a corner, a pixel outside of it.

    What lies beyond the frame or does not count is taken for the continuation of what is there: a region that the frame
    cuts has no boundary along the cut.

    Args:
        regions: (B, …, K) bool, in 1, 2 or 3 dimensions.
        valid: (B, …) bool, pixels that count.

    Returns:
        (B, …, K) bool.
    """
    counted = valid[..., None]
    outside = ~regions & counted
    box = list(itertools.product((-1, 0, 1), repeat=valid.ndim - 1))
    return regions & counted & _spread(outside, box)


def boundary_f1(
    predicted: jax.Array, truth: jax.Array, valid: jax.Array, *, tolerance: float = 2.0
) -> tuple[jax.Array, jax.Array]:
    """F1 of boundaries, image by image and region by region.

    Precision is the share of the predicted boundary's pixels that have a pixel of the true boundary within the
    tolerance, recall the other way round, F1 their harmonic mean.

    Args:
        predicted: (B, …, K) bool, in 1, 2 or 3 dimensions.
        truth: (B, …, K) bool.
        valid: (B, …) bool, pixels that count.
        tolerance: largest distance in pixels between centres; the time grows with its square.

    Returns:
        F1 (B, K) float32, 0 where only one of the two has a boundary or neither has; and (B, K) bool, where one of them
        has one: images without count for nothing.

    Raises:
        ValueError: a negative tolerance.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is a distance in pixels, 0 or more; got {tolerance}.")
    reach = range(-int(tolerance), int(tolerance) + 1)
    ball = [o for o in itertools.product(reach, repeat=valid.ndim - 1) if sum(i * i for i in o) <= tolerance**2]
    ours, theirs = boundaries(predicted, valid), boundaries(truth, valid)
    pixels = tuple(range(1, valid.ndim))

    def count(where: jax.Array) -> jax.Array:
        return jnp.sum(where, axis=pixels, dtype=jnp.int32).astype(jnp.float32)

    mine, yours = count(ours), count(theirs)
    precision = count(ours & _spread(theirs, ball)) / jnp.maximum(mine, 1)
    recall = count(theirs & _spread(ours, ball)) / jnp.maximum(yours, 1)
    both = precision + recall
    return 2 * precision * recall / jnp.where(both > 0, both, 1), mine + yours > 0


def boundary_sums(
    predicted: jax.Array, truth: jax.Array, valid: jax.Array, *, tolerance: float = 2.0
) -> dict[str, jax.Array]:
    """Sums of one batch: `boundary` (K, 3), over the images with a boundary, of 1, F1 and F1². Arguments as above."""
    score, there = boundary_f1(predicted, truth, valid, tolerance=tolerance)
    there = there.astype(score.dtype)
    return {"boundary": jnp.stack([jnp.sum(part, axis=0) for part in (there, score, score**2)], axis=-1)}


def boundary_report(
    sums: Mapping[str, Any], names: Sequence[str] | None = None, *, background: int | None = None
) -> dict[str, Any]:
    """Numbers from the sums of `boundary_sums`.

    Args:
        sums: merged sums.
        names: K names of the regions.
        background: number of a region that is left out of the mean.

    Returns:
        `boundary_f1`, the mean over regions; `boundary_f1_of` {region: mean over its images} and, likewise,
        `boundary_interval_of` (Student's t over images, 95 %) and `boundary_images_of`. `None` where no image has a
        boundary; the mean is over the others, 0 if there are none.
    """
    table = np.asarray(sums["boundary"], np.float64)
    names = [str(name) for name in names] if names else [str(k) for k in range(len(table))]
    values, intervals = {}, {}
    for name, (images, total, squares) in zip(names, table, strict=True):
        mean = total / max(images, 1)
        values[name] = float(mean) if images else None
        intervals[name] = (0.0, 1.0)
        if images >= 2:
            variance = max(squares / images - mean**2, 0.0) / (images - 1)
            half = stats.t.ppf(0.975, images - 1) * np.sqrt(variance)
            intervals[name] = float(max(mean - half, 0.0)), float(min(mean + half, 1.0))
    present = [value for k, value in enumerate(values.values()) if value is not None and k != background]
    return {
        "boundary_f1": float(np.mean(present)) if present else 0.0,
        "boundary_f1_of": values,
        "boundary_interval_of": intervals,
        "boundary_images_of": {name: round(row[0]) for name, row in zip(names, table, strict=True)},
    }


def _spread(regions: jax.Array, offsets: Sequence[tuple[int, ...]]) -> jax.Array:
    """Where a pixel of `regions` (B, …, K) lies at one of the offsets; nothing does beyond the frame."""
    reach = max(abs(step) for offset in offsets for step in offset)
    sizes = regions.shape[1:-1]
    padded = jnp.pad(regions, ((0, 0), *[(reach, reach)] * len(sizes), (0, 0)))
    found = jnp.zeros_like(regions)
    for offset in offsets:
        window = tuple(slice(reach + step, reach + step + size) for step, size in zip(offset, sizes, strict=True))
        found = found | padded[(slice(None), *window)]
    return found
