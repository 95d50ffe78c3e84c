"""Isotropic power spectra of fields, their ratio and their cross-correlation, as mergeable sums.

Convention: F(n) = Σ_x f(x) exp(−2πi n·x/N) over the N^d pixels of a periodic square or cube, P(n) = |F(n)|² / N^d with
pixels as the unit of length. White noise of variance σ² per pixel has P = σ² at every n, and Parseval's theorem reads
Σ_n P(n) = Σ_x f(x)². Wave numbers are in cycles per box: shell k holds the modes with k − ½ < |n| < k + ½, the Nyquist
frequency is k = N/2, and the shells beyond it, in the corners of the spectrum, are there but incomplete.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.train.dense_metrics import ratio_interval, ratio_moments
from zoo.train.task import Sums


def shell_modes(side: int, ndim: int = 2) -> np.ndarray:
    """Number of modes in each shell, (K,) with K = 1 + round(√d · ⌊N/2⌋); the sum is N^d."""
    shell, multiplicity = _half_shells(side, ndim)
    return np.bincount(shell.ravel(), multiplicity.ravel())


def power_spectra(truth: jax.Array, predicted: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean power in each shell, image by image.

    Args:
        truth: (B, N, N, D) or (B, N, N, N, D), computed in float32 at least.
        predicted: the same shape.

    Returns:
        P of the truth, P of the prediction and the cross-power Re(F_true F*_pred) / N^d, each (B, K, D) in the squared
        units of the fields; shell 0 is N^d times the squared mean.

    Raises:
        ValueError: shapes that differ, or sides that do.
    """
    if truth.shape != predicted.shape or len(set(truth.shape[1:-1])) != 1:
        raise ValueError(
            "Spectra need two fields of one shape (B, N, N, D) or (B, N, N, N, D), with equal sides; got "
            f"{truth.shape} and {predicted.shape}. Cut out a square."
        )
    side, ndim = truth.shape[1], truth.ndim - 2
    shell, multiplicity = _half_shells(side, ndim)
    axes, volume = tuple(range(1, ndim + 1)), side**ndim
    modes = shell_modes(side, ndim)

    def transform(field: jax.Array) -> tuple[jax.Array, jax.Array]:
        field = field.astype(jnp.promote_types(field.dtype, jnp.float32))
        mean = jnp.mean(field, axis=axes, keepdims=True)
        # The mean apart: its rounding would be noise in every mode of a field with a small contrast.
        return jnp.fft.rfftn(field - mean, axes=axes), mean.reshape(mean.shape[0], mean.shape[-1])

    def shells(product: jax.Array, mean: jax.Array) -> jax.Array:
        weighted = product * jnp.asarray(multiplicity, product.dtype)[None, ..., None]
        flat = jnp.moveaxis(weighted.reshape(weighted.shape[0], -1, weighted.shape[-1]), 1, 0)
        total = jax.ops.segment_sum(flat, shell.ravel(), num_segments=len(modes))
        power = jnp.moveaxis(total, 0, 1) / (volume * jnp.asarray(modes, product.dtype)[None, :, None])
        return power.at[:, 0].set(volume * mean)

    (f, f_mean), (g, g_mean) = transform(truth), transform(predicted)
    return (
        shells(f.real**2 + f.imag**2, f_mean**2),
        shells(g.real**2 + g.imag**2, g_mean**2),
        shells(f.real * g.real + f.imag * g.imag, f_mean * g_mean),
    )


def spectrum_sums(truth: jax.Array, predicted: jax.Array, mask: jax.Array | None = None) -> Sums:
    """Sums of one batch.

    Args:
        truth: (B, N, N, D) or (B, N, N, N, D).
        predicted: the same shape.
        mask: (B,), 1 for real examples, 0 for padding, which may hold NaN.

    Returns:
        float32 at least: `images` (), and sums over images (K, D) `power_true`, `power_predicted`, `power_cross`;
        `power_moments` (K, D, 4) for the interval of the ratio.
    """
    truth, predicted = jax.lax.stop_gradient((truth, predicted))
    counted = jnp.ones(truth.shape[0], bool) if mask is None else mask > 0
    real = counted.reshape(-1, *[1] * (truth.ndim - 1))
    true, ours, cross = power_spectra(jnp.where(real, truth, 0), jnp.where(real, predicted, 0))
    return {
        "images": jnp.sum(counted, dtype=true.dtype),
        "power_true": true.sum(axis=0),
        "power_predicted": ours.sum(axis=0),
        "power_cross": cross.sum(axis=0),
        "power_moments": ratio_moments(ours, true),
    }


def spectrum_report(sums: Mapping[str, Any], names: Sequence[str] | None = None, *, side: int) -> dict[str, Any]:
    """Numbers from the sums of `spectrum_sums`, up to the Nyquist frequency.

    Args:
        sums: merged sums.
        names: D names of the fields.
        side: N in pixels.

    Returns:
        `images`; `k` from 1 to ⌊N/2⌋ in cycles per box; {field: list over k} of `power_true_of`, `power_predicted_of`,
        `ratio_of` = ΣP_pred / ΣP_true with `ratio_interval_of` (95 %, the image as the unit), and `correlation_of` =
        ΣP_cross / √(ΣP_true ΣP_pred), which is 0 where either has no power, as is the ratio where the truth has none.
        Up to half the Nyquist frequency, {field: value} and the worst field: `ratio_error_of` and `ratio_error`, the
        largest |ratio − 1|; `correlation_min_of` and `correlation_min`.
    """
    last = side // 2
    true, ours, cross = (
        np.asarray(sums[f"power_{what}"], np.float64)[1 : last + 1].T for what in ("true", "predicted", "cross")
    )
    moments = np.asarray(sums["power_moments"], np.float64)[1 : last + 1]
    names = [str(name) for name in names] if names else [str(d) for d in range(len(true))]
    both = np.sqrt(true * ours)
    ratio = np.where(true > 0, ours / np.where(true > 0, true, 1), 0.0)
    correlation = np.where(both > 0, cross / np.where(both > 0, both, 1), 0.0)
    half = max(side // 4, 1)
    error, lowest = np.abs(ratio[:, :half] - 1).max(axis=1), correlation[:, :half].min(axis=1)
    intervals = [
        [ratio_interval(ours[d, k], true[d, k], moments[k, d]) for k in range(len(moments))] for d in range(len(true))
    ]

    def named(values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(names, values, strict=True))

    return {
        "images": round(float(sums["images"])),
        "k": list(range(1, last + 1)),
        "ratio_error": float(error.max()),
        "correlation_min": float(lowest.min()),
        "ratio_error_of": named(error.tolist()),
        "correlation_min_of": named(lowest.tolist()),
        "power_true_of": named((true / max(float(sums["images"]), 1)).tolist()),
        "power_predicted_of": named((ours / max(float(sums["images"]), 1)).tolist()),
        "ratio_of": named(ratio.tolist()),
        "ratio_interval_of": named(intervals),
        "correlation_of": named(correlation.tolist()),
    }


def _half_shells(side: int, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Shell of each mode that a transform of real numbers keeps, and how many modes of the whole it stands for."""
    full = np.fft.fftfreq(side, 1 / side)
    kept = np.arange(side // 2 + 1)
    grids = np.meshgrid(*[full] * (ndim - 1), kept, indexing="ij")
    # √integer is never half an odd integer: no mode lies on the border of two shells.
    shell = np.rint(np.sqrt(sum(grid**2 for grid in grids))).astype(np.int32)
    own_mirror = (kept == 0) | (2 * kept == side)
    return shell, np.broadcast_to(np.where(own_mirror, 1.0, 2.0), shell.shape)
