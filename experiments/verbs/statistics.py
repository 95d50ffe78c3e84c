"""Every final metric with a 95 % interval, from the outputs on one split."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax

from zoo import train

RESAMPLES = 2000


def summary(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics of a classifier, each `{"name", "value", "interval", "method", "count"}`.

    Proportions (accuracy, recall of each class) carry Wilson intervals; means over classes or examples (balanced
    accuracy, nll in nats, expected calibration error) percentile bootstrap intervals over examples, stratified by
    class for the first (Efron & Tibshirani 1993, ch. 13).

    Args:
        logits: (N, K).
        labels: (N,) integers.
        class_names: K names.
    """
    log_p = log_softmax(np.asarray(logits, np.float64), axis=1)
    hits = (log_p.argmax(1) == labels).astype(np.float64)
    rows = [_proportion("accuracy", hits)]
    present = [k for k in range(len(class_names)) if np.any(labels == k)]
    rows += [_proportion(f"recall {class_names[k]}", hits[labels == k]) for k in present]
    groups = [np.flatnonzero(labels == k) for k in present]
    rows.append(
        _bootstrap("balanced_accuracy", lambda i: np.mean([hits[part].mean(axis=-1) for part in i], axis=0), groups)
    )
    nll = -np.take_along_axis(log_p, labels[:, None], 1)[:, 0]
    everything = [np.arange(len(labels))]
    rows.append(_bootstrap("nll", lambda i: nll[i[0]].mean(axis=-1), everything))
    confidence = np.exp(log_p.max(1))
    rows.append(_bootstrap("ece", lambda i: _calibration(confidence[i[0]], hits[i[0]]), everything))
    return rows


def _proportion(name: str, hits: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "value": float(hits.mean()),
        "interval": list(train.interval(hits.sum(), hits.size)),
        "method": "Wilson 95 %",
        "count": int(hits.size),
    }


def _bootstrap(
    name: str, statistic: Callable[[list[np.ndarray]], np.ndarray], groups: list[np.ndarray]
) -> dict[str, Any]:
    # The seed is fixed so that the same outputs give the same interval.
    rng = np.random.default_rng(0)
    draws = statistic([rng.choice(group, (RESAMPLES, group.size)) for group in groups])
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "name": name,
        "value": float(statistic([group[None] for group in groups])[0]),
        "interval": [float(low), float(high)],
        "method": f"bootstrap 95 %, {RESAMPLES} resamples",
        "count": int(sum(group.size for group in groups)),
    }


def _calibration(confidence: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Expected calibration error of each row of (R, N), with the bins of `zoo.train.metrics`."""
    bins = np.minimum((confidence * train.BINS).astype(int), train.BINS - 1)
    gaps = [np.abs(np.where(bins == b, hits - confidence, 0.0).sum(axis=-1)) for b in range(train.BINS)]
    return np.sum(gaps, axis=0) / confidence.shape[-1]
