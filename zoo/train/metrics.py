"""Metrics as mergeable sums: right over batches, devices and processes, because only sums are added up.

`classification_sums` and `regression_sums` are pure functions of outputs and truth; sums of two batches are added entry
by entry; `classification_report` and `regression_report` turn the final sums into numbers on the host.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

BINS = 15


def classification_sums(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """Sums of one batch.

    Args:
        logits: (B, K).
        labels: (B,) integers in [0, K).
        mask: (B,), 1 for real examples, 0 for padding.

    Returns:
        `nll` (), `confusion` (K, K) with truth in rows and prediction in columns, `bins` (3, 15): count, sum of
        confidence and sum of hits over equal bins of confidence. float32.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    classes = logits.shape[-1]
    mask = mask.astype(logits.dtype)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    predicted = jnp.argmax(logits, axis=-1)
    nll = -jnp.sum(mask * jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0])
    truth = jax.nn.one_hot(labels, classes, dtype=logits.dtype) * mask[:, None]
    confusion = truth.T @ jax.nn.one_hot(predicted, classes, dtype=logits.dtype)
    confidence = jnp.exp(jnp.max(log_p, axis=-1))
    # A confidence of exactly 1 belongs to the last bin.
    bins = jax.nn.one_hot(jnp.minimum((confidence * BINS).astype(jnp.int32), BINS - 1), BINS, dtype=logits.dtype)
    hits = (predicted == labels).astype(logits.dtype)
    rows = jnp.stack([mask, mask * confidence, mask * hits])
    # On an accelerator a plain product would round the confidences to bfloat16 or TF32.
    return {"nll": nll, "confusion": confusion, "bins": jnp.matmul(rows, bins, precision="highest")}


def interval(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion (Wilson 1927); (0, 1) where nothing was tried."""
    if trials == 0:
        return 0.0, 1.0
    result = stats.binomtest(round(successes), round(trials)).proportion_ci(level, method="wilson")
    return float(result.low), float(result.high)


def expected_calibration_error(bins: np.ndarray) -> float:
    """Σ n_b |hits_b − confidence_b| / Σ n_b over bins (Guo+17, https://arxiv.org/abs/1706.04599, eq. 3).

    Args:
        bins: (3, n) count, sum of confidence and sum of hits, as `classification_sums` gives them.
    """
    count, confidence, hits = np.asarray(bins, np.float64)
    return float(np.sum(np.abs(hits - confidence)) / max(count.sum(), 1))


def classification_report(sums: Mapping[str, Any], class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Numbers from the sums of `classification_sums`.

    Returns:
        `count`, `accuracy` with `accuracy_interval`, `balanced_accuracy` (mean recall of the classes present), `nll`
        in nats, `ece`, `recall` {class: {value, interval, count}}, `confusion` as nested lists, `bins` likewise.
        Intervals are Wilson's at 95 %.
    """
    confusion = np.asarray(sums["confusion"], np.float64)
    total, hits = confusion.sum(), np.trace(confusion)
    names = [str(name) for name in class_names] if class_names else [str(k) for k in range(len(confusion))]
    rows = confusion.sum(axis=1)
    recall = {
        name: {
            "value": float(confusion[k, k] / rows[k]) if rows[k] else None,
            "interval": interval(confusion[k, k], rows[k]),
            "count": int(rows[k]),
        }
        for k, name in enumerate(names)
    }
    present = [entry["value"] for entry in recall.values() if entry["value"] is not None]
    return {
        "count": int(total),
        "accuracy": float(hits / max(total, 1)),
        "accuracy_interval": interval(hits, total),
        "balanced_accuracy": float(np.mean(present)) if present else 0.0,
        "nll": float(np.asarray(sums["nll"]) / max(total, 1)),
        "ece": expected_calibration_error(sums["bins"]),
        "recall": recall,
        "confusion": confusion.astype(int).tolist(),
        "bins": np.asarray(sums["bins"], np.float64).tolist(),
    }


def regression_sums(predictions: jax.Array, targets: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """Sums of one batch, in whatever units predictions and targets share.

    Targets should be of order one around zero (standardised): R² takes their variance from the sums of t and t².

    Args:
        predictions: (B, D).
        targets: (B, D).
        mask: (B,), 1 for real examples, 0 for padding.

    Returns:
        `count` (), and (D,) sums `error`, `absolute`, `squared`, `target`, `target_squared`. float32 at least.
    """
    dtype = jnp.promote_types(predictions.dtype, jnp.float32)
    weight = mask.astype(dtype)[:, None]
    targets = targets.astype(dtype)
    error = predictions.astype(dtype) - targets
    parts = {
        "error": error,
        "absolute": jnp.abs(error),
        "squared": error**2,
        "target": targets,
        "target_squared": targets**2,
    }
    return {"count": jnp.sum(weight), **{name: jnp.sum(weight * part, axis=0) for name, part in parts.items()}}


def regression_report(sums: Mapping[str, Any], scale: Sequence[float] | None = None) -> dict[str, Any]:
    """Numbers from the sums of `regression_sums`.

    Args:
        sums: merged sums.
        scale: D units of the sums in units of the targets, by which errors are multiplied; 1 when not given.

    Returns:
        `count`, and means over the D targets of `r2` (1 − Σe²/Σ(t − t̄)², 0 where all targets are equal), `rmse`, `mae`
        and `bias` (mean of prediction − truth); errors in units of the targets.
    """
    count = max(float(sums["count"]), 1.0)
    error, absolute, squared, target, target_squared = (
        np.asarray(sums[name], np.float64) / count
        for name in ("error", "absolute", "squared", "target", "target_squared")
    )
    unit = np.ones_like(error) if scale is None else np.asarray(scale, np.float64)
    spread = target_squared - target**2
    r2 = np.where(spread > 0, 1 - squared / np.where(spread > 0, spread, 1), 0.0)
    return {
        "count": int(float(sums["count"])),
        "r2": float(r2.mean()),
        "rmse": float((np.sqrt(squared) * unit).mean()),
        "mae": float((absolute * unit).mean()),
        "bias": float((error * unit).mean()),
    }
