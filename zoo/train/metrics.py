"""Metrics as mergeable sums: right over batches, devices and processes, because only sums are added up.

`classification_sums` is a pure function of outputs and labels; sums of two batches are added entry by entry;
`classification_report` turns the final sums into numbers with intervals on the host.
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
