"""Errors of predicted maps of numbers, and whether the predicted standard deviations are what they say, as sums.

The sums over pixels are those of `metrics.regression_sums`; beside them stand second moments over images, because the
95 % intervals take the image as the unit (see `dense_metrics`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from zoo.train.dense_metrics import ratio_interval, ratio_moments
from zoo.train.losses import LOG_VARIANCE_FLOOR
from zoo.train.metrics import regression_report, regression_sums

# Half-widths of the central intervals of 68.27 % and 95 % of a Gaussian, in standard deviations.
COVERED = (1.0, float(norm.ppf(0.975)))
PIT_BINS = 20


def map_sums(outputs: jax.Array, targets: jax.Array, valid: jax.Array) -> dict[str, jax.Array]:
    """Sums of one batch of maps, in whatever units outputs and targets share, of order one around zero.

    Args:
        outputs: (B, …, D) predictions, or (B, …, 2·D) means and then log-variances.
        targets: (B, …, D).
        valid: (B, …) bool, pixels that count; the others are not looked at, NaN included.

    Returns:
        float32 at least: the entries of `regression_sums` over pixels, `images` (), `squared_moments` (D, 4); with
        log-variances also `calibration` (3, D), numbers of pixels with |z| ≤ 1 and ≤ 1.96 and sum of z² of the
        standardised residual z = (target − mean) / σ, `calibration_moments` (3, D, 4), and `pit` (D, 20), histogram of
        the probability integral transform Φ(z).
    """
    size = targets.shape[-1]
    dtype = jnp.promote_types(outputs.dtype, jnp.float32)
    counted = valid[..., None]
    outputs = jnp.where(counted, jax.lax.stop_gradient(outputs), 0).astype(dtype)
    targets = jnp.where(counted, targets, 0).astype(dtype)
    mean, weights = outputs[..., :size], valid.astype(dtype)
    axes = tuple(range(1, valid.ndim))
    pixels = jnp.sum(weights, axis=axes)
    squared = jnp.sum((targets - mean) ** 2, axis=axes)
    sums = {
        **regression_sums(mean.reshape(-1, size), targets.reshape(-1, size), weights.reshape(-1)),
        "images": jnp.sum(pixels > 0, dtype=dtype),
        "squared_moments": ratio_moments(squared, jnp.broadcast_to(pixels[:, None], squared.shape)),
    }
    if outputs.shape[-1] == size:
        return sums
    z = (targets - mean) * jnp.exp(-jnp.maximum(outputs[..., size:], LOG_VARIANCE_FLOOR) / 2)
    inside = [jnp.sum((jnp.abs(z) <= width) & counted, axis=axes, dtype=dtype) for width in COVERED]
    calibration = jnp.stack([*inside, jnp.sum(z**2, axis=axes)], axis=1)
    of_pixels = jnp.broadcast_to(pixels[:, None, None], calibration.shape)
    bins = jnp.minimum((jax.scipy.special.ndtr(z) * PIT_BINS).astype(jnp.int32), PIT_BINS - 1)
    place = jnp.where(counted, bins + PIT_BINS * jnp.arange(size).reshape(*[1] * valid.ndim, size), size * PIT_BINS)
    pit = jnp.zeros(size * PIT_BINS, jnp.int32).at[place.reshape(-1)].add(1, mode="drop")
    return {
        **sums,
        "calibration": calibration.sum(axis=0),
        "calibration_moments": ratio_moments(calibration, of_pixels),
        "pit": pit.reshape(size, PIT_BINS).astype(dtype),
    }


def map_report(
    sums: Mapping[str, Any], names: Sequence[str] | None = None, *, scale: Sequence[float] | None = None
) -> dict[str, Any]:
    """Numbers from the sums of `map_sums`.

    Args:
        sums: merged sums.
        names: D names of the maps.
        scale: D units of the sums in units of the targets, by which errors are multiplied; 1 when not given.

    Returns:
        `count` (pixels), `images`, and as means over the maps and, {map: value}, under the name with `_of`: `r2`,
        `rmse`, `mae`, `bias` as in `regression_report`; `rmse_interval_of`. With variances also `coverage_68` and
        `coverage_95` (shares of pixels with |z| ≤ 1 and ≤ 1.96: 0.683 and 0.95 when calibrated) and `z_squared` (mean
        of z²: 1 when calibrated), each with `_of` and `_interval_of`, and `pit_of`, shares of the pixels in 20 equal
        bins of Φ(z) (0.05 each when calibrated; heaped at both ends when σ is too small).
    """
    size = len(np.asarray(sums["error"]))
    names = [str(name) for name in names] if names else [str(k) for k in range(size)]
    units = np.ones(size) if scale is None else np.asarray(scale, np.float64)
    count = float(sums["count"])
    keys = ("error", "absolute", "squared", "target", "target_squared")
    each = [
        regression_report({"count": count, **{k: np.asarray(sums[k])[d : d + 1] for k in keys}}, units[d : d + 1])
        for d in range(size)
    ]
    by_name = {what: [row[what] for row in each] for what in ("r2", "rmse", "mae", "bias")}
    squared = np.asarray(sums["squared"], np.float64)
    ends = np.sqrt([ratio_interval(squared[d], count, sums["squared_moments"][d]) for d in range(size)])
    intervals = {"rmse": [tuple(pair) for pair in (ends * units[:, None]).tolist()]}
    pit = {}
    if "calibration" in sums:
        totals = np.asarray(sums["calibration"], np.float64)
        for what, row, moments in zip(
            ("coverage_68", "coverage_95", "z_squared"), totals, sums["calibration_moments"], strict=True
        ):
            limit = np.inf if what == "z_squared" else 1.0
            by_name[what] = (row / max(count, 1)).tolist()
            ends = [ratio_interval(row[d], count, moments[d]) for d in range(size)]
            intervals[what] = [(low, float(min(high, limit))) for low, high in ends]
        shares = np.asarray(sums["pit"], np.float64) / max(count, 1)
        pit = {"pit_of": dict(zip(names, shares.tolist(), strict=True))}
    return {
        "count": round(count),
        "images": round(float(sums["images"])),
        **{what: float(np.mean(values)) for what, values in by_name.items()},
        **{f"{what}_of": dict(zip(names, values, strict=True)) for what, values in by_name.items()},
        **{f"{what}_interval_of": dict(zip(names, values, strict=True)) for what, values in intervals.items()},
        **pit,
    }
