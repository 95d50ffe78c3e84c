"""Every final metric with a 95 % interval, from the outputs on one split."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax
from scipy.stats import rankdata

from zoo import train

RESAMPLES = 2000


def summary(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics of a classifier, each `{"name", "value", "interval", "method", "count"}`.

    Proportions (accuracy, recall of each class) carry Wilson intervals; means over classes or examples (balanced
    accuracy, nll in nats, expected calibration error) percentile bootstrap intervals over examples, stratified by
    class for the first (Efron & Tibshirani 1993, ch. 13). Two classes also have the areas under the ROC curve
    (`roc_auc`) and under the curve of precision against recall (`average_precision`), with the second class as the
    positive one, by bootstrap stratified by class.

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
    if len(class_names) == 2 and len(present) == 2:
        margin = log_p[:, 1] - log_p[:, 0]
        rows.append(_bootstrap("roc_auc", lambda i: roc_auc(margin[i[0]], margin[i[1]]), groups))
        rows.append(_bootstrap("average_precision", lambda i: average_precision(margin[i[0]], margin[i[1]]), groups))
    return rows


def regression_summary(predictions: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics of predicted numbers, each with a percentile bootstrap interval over examples; rows as in `summary`.

    `r2` = 1 − Σe²/Σ(t − t̄)², `rmse`, `mae` and `bias` (mean of e = prediction − truth) of each target, in its units;
    with more than one target their names follow, after `r2` alone for the mean over targets. For a target called
    `redshift` also `sigma_nmad` = 1.4826 · median
    |d − median d| of d = e / (1 + z), and `outliers`, the share of |d| > 0.15 (Ilbert+06, Hildebrandt+10), with
    Wilson's interval.

    Args:
        predictions: (N, D) in the units of the targets.
        targets: (N, D).
        names: D names.
    """
    errors = np.asarray(predictions, np.float64) - np.asarray(targets, np.float64)
    everything = [np.arange(len(errors))]
    t = np.asarray(targets, np.float64)
    rows = []
    if len(names) > 1:
        rows.append(_bootstrap("r2", lambda i: _r2(errors[i[0]], t[i[0]], axis=-2).mean(-1), everything))
    for column, name in enumerate(names):
        e, t = errors[:, column], np.asarray(targets, np.float64)[:, column]
        ending = f" {name}" if len(names) > 1 else ""
        statistics = {
            "r2": lambda i, e=e, t=t: _r2(e[i], t[i], axis=-1),
            "rmse": lambda i, e=e: np.sqrt((e[i] ** 2).mean(-1)),
            "mae": lambda i, e=e: np.abs(e[i]).mean(-1),
            "bias": lambda i, e=e: e[i].mean(-1),
        }
        if name == "redshift":
            d = e / (1 + t)
            statistics["sigma_nmad"] = lambda i, d=d: _nmad(d[i])
        rows += [_bootstrap(what + ending, lambda i, f=f: f(i[0]), everything) for what, f in statistics.items()]
        if name == "redshift":
            rows.append(_proportion(f"outliers{ending}", (np.abs(d) > 0.15).astype(np.float64)))
    return rows


def mean_row(name: str, values: np.ndarray, *, what: str = "examples") -> dict[str, Any]:
    """The mean of numbers (N,), NaN left out, with a bootstrap interval over them; a row as in `summary`."""
    there = values[np.isfinite(values)]
    if not there.size:
        return {"name": name, "value": 0.0, "interval": [0.0, 1.0], "method": "none", "count": 0}
    row = _bootstrap(name, lambda i: there[i[0]].mean(axis=-1), [np.arange(len(there))])
    return {**row, "method": f"{row['method']} of {what}"}


def shares_by(hits: np.ndarray, quantity: np.ndarray, *, groups: int = 10) -> tuple[np.ndarray, ...]:
    """Share of hits in groups of equal size along a quantity, with Wilson's interval.

    Args:
        hits: (N,) yes or no.
        quantity: (N,) numbers.
        groups: how many at most; a group has at least 20 members, or is the only one.

    Returns:
        For each group the median of the quantity, the share, and the ends of its interval.
    """
    order = np.argsort(quantity, kind="stable")
    parts = np.array_split(order, max(1, min(groups, len(order) // 20)))
    shares = [float(np.mean(hits[part])) for part in parts]
    ends = [train.interval(np.sum(hits[part]), len(part)) for part in parts]
    low, high = np.array(ends).T
    return np.array([np.median(quantity[part]) for part in parts]), np.array(shares), low, high


def shares_kept(hits: np.ndarray, uncertainty: np.ndarray, *, points: int = 20) -> tuple[np.ndarray, ...]:
    """Share of hits among the most certain, against the share of all that these are, with Wilson's interval.

    Args:
        hits: (N,) yes or no.
        uncertainty: (N,) smaller is more certain.
        points: of the line, from 1 / points to 1.
    """
    order = np.argsort(uncertainty, kind="stable")
    counts = np.unique(np.maximum(np.rint(np.linspace(1 / points, 1, points) * len(order)), 1).astype(int))
    found = np.cumsum(hits[order])[counts - 1]
    low, high = np.array([train.interval(h, n) for h, n in zip(found, counts, strict=True)]).T
    return counts / len(order), found / counts, low, high


def roc_auc(negatives: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: share of pairs in which the positive has the larger score, ties half (…, n), (…, p)."""
    n, p = negatives.shape[-1], positives.shape[-1]
    ranks = rankdata(np.concatenate([negatives, positives], axis=-1), axis=-1)
    return (ranks[..., n:].sum(-1) - p * (p + 1) / 2) / (n * p)


def average_precision(negatives: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Mean over the positives of the precision among what scores at least as high (…, n), (…, p) → (…)."""
    n, p = negatives.shape[-1], positives.shape[-1]
    # Among all, and among the positives alone, the number that score at least as high as each positive.
    above = n + p + 1 - rankdata(np.concatenate([negatives, positives], axis=-1), method="min", axis=-1)[..., n:]
    true = p + 1 - rankdata(positives, method="min", axis=-1)
    return (true / above).mean(-1)


def _r2(errors: np.ndarray, targets: np.ndarray, *, axis: int) -> np.ndarray:
    return 1 - (errors**2).sum(axis) / ((targets - targets.mean(axis, keepdims=True)) ** 2).sum(axis)


def _nmad(values: np.ndarray) -> np.ndarray:
    return 1.4826 * np.median(np.abs(values - np.median(values, axis=-1, keepdims=True)), axis=-1)


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
