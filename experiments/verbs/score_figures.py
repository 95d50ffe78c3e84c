"""Figures of scores: ROC, purity and completeness, predicted against true numbers, accuracy against training-set size.

Pure functions from arrays to `matplotlib.figure.Figure`, in the manner of `figures`.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from zoo_experiments.verbs.figures import (
    BLUE,
    DIVERGING,
    GREEN,
    GREY,
    NORMAL,
    SMALL,
    VERMILION,
    dress,
    new_figure,
)
from zoo_experiments.verbs.statistics import average_precision, roc_auc

COLOURS = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "P")


def detection(scores: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], *, positive: str) -> Figure:
    """ROC curve, and purity against completeness, of a search for one class.

    Args:
        scores: for each curve's name (N,) numbers that are larger the likelier the example is a positive.
        labels: for each curve's name (N,), 1 for a positive, 0 otherwise; both there.
        positive: name of the class that is searched for.

    Raises:
        ValueError: a curve without positives or without negatives.
    """
    figure = new_figure(9.0, 4.4)
    left, right = figure.subplots(1, 2)
    for colour, (name, values) in zip(COLOURS, scores.items(), strict=False):
        values, truth = np.asarray(values, np.float64), np.asarray(labels[name])
        positives, negatives = values[truth == 1], values[truth == 0]
        if not (positives.size and negatives.size):
            raise ValueError(f"detection needs positives and negatives, got {positives.size} and {negatives.size}.")
        # One point per distinct score: examples with equal scores are found together.
        thresholds = np.unique(values)[::-1]
        true = len(positives) - np.searchsorted(np.sort(positives), thresholds)
        false = len(negatives) - np.searchsorted(np.sort(negatives), thresholds)
        auc = float(roc_auc(negatives, positives))
        mean = float(average_precision(negatives, positives))
        completeness = true / len(positives)
        left.step(
            np.concatenate([[0], 100 * false / len(negatives)]),
            np.concatenate([[0], 100 * completeness]),
            where="post",
            color=colour,
            linewidth=1.6,
            label=f"{name}: area {auc:.3f}",
        )
        right.plot(
            100 * completeness,
            100 * true / (true + false),
            color=colour,
            linewidth=1.6,
            label=f"{name}: mean purity {mean:.3f}",
        )
        share = 100 * len(positives) / len(values)
        right.axhline(share, color=colour, linestyle=":", linewidth=1)
    left.plot([0, 100], [0, 100], color=GREY, linestyle=":", linewidth=1)
    dress(left, "other examples taken for one (%)", f"{positive}: found (%)")
    dress(right, f"completeness: {positive} found (%)", "purity: right among the found (%)")
    for axes in (left, right):
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 101)
        axes.legend(fontsize=SMALL, frameon=False, loc="lower right" if axes is left else "lower left")
    return figure


def predicted_against_true(
    predictions: np.ndarray, truth: np.ndarray, name: str, unit: str = "", *, note: str = ""
) -> Figure:
    """Predicted against true numbers, and below the residuals with their median and central 68 % in bins of the truth.

    Args:
        predictions: (N,).
        truth: (N,).
        name: what they are.
        unit: their unit; empty for none.
        note: line above.

    Raises:
        ValueError: not two arrays (N,), N ≥ 1.
    """
    predictions, truth = np.asarray(predictions, np.float64), np.asarray(truth, np.float64)
    if predictions.shape != truth.shape or truth.ndim != 1 or truth.size == 0:
        raise ValueError(f"expected two arrays (N,), N at least 1, got {predictions.shape} and {truth.shape}.")
    figure = new_figure(4.8, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    units = f" ({unit})" if unit else ""
    low, high = min(truth.min(), predictions.min()), max(truth.max(), predictions.max())
    size = float(np.clip(4000 / truth.size, 3, 16))
    upper.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1)
    upper.scatter(truth, predictions, s=size, color=BLUE, alpha=0.35, linewidths=0)
    dress(upper, "", f"predicted {name}{units}")
    residuals = predictions - truth
    lower.axhline(0, color=GREY, linestyle="--", linewidth=1)
    lower.scatter(truth, residuals, s=size, color=BLUE, alpha=0.25, linewidths=0)
    middles, quantiles = binned(truth, residuals)
    if len(middles):
        lower.plot(middles, quantiles[:, 1], color=VERMILION, marker="o", markersize=4, linewidth=1.4)
        for side in (0, 2):
            lower.plot(middles, quantiles[:, side], color=VERMILION, linestyle=":", linewidth=1.4)
    limit = max(float(np.percentile(np.abs(residuals), 99)), 1e-12) * 1.2
    lower.set_ylim(-limit, limit)
    dress(lower, f"true {name}{units}", f"residual{units}")
    if note:
        upper.set_title(note, fontsize=NORMAL)
    return figure


def binned(x: np.ndarray, y: np.ndarray, *, bins: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Median of x, and 16th, 50th and 84th percentile of y, in up to `bins` groups of equal size of at least 5."""
    groups = np.array_split(np.argsort(x, kind="stable"), max(1, min(bins, len(x) // 5)))
    groups = [group for group in groups if len(group) >= 5]
    middles = np.array([np.median(x[group]) for group in groups])
    return middles, np.array([np.percentile(y[group], [16, 50, 84]) for group in groups]).reshape(-1, 3)


def against_size(
    scores: Mapping[str, Mapping[int, Sequence[float]]],
    *,
    metric: str,
    percent: bool = True,
    levels: Mapping[str, float],
) -> Figure:
    """A score against the number of training examples: the mean over seeds and every single run.

    Args:
        scores: for each model's name, number of training examples → scores of the runs.
        metric: name of the score.
        percent: the score is a fraction, drawn in percent.
        levels: name → score of what does not depend on the size, such as chance or a hand-made filter.
    """
    figure = new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    factor = 100 if percent else 1
    for (name, values), colour, marker in zip(scores.items(), COLOURS, MARKERS, strict=False):
        sizes = sorted(values)
        means = [factor * float(np.mean(values[size])) for size in sizes]
        axes.plot(sizes, means, color=colour, marker=marker, markersize=6, linewidth=1.8, label=name)
        for size in sizes:
            axes.scatter([size] * len(values[size]), factor * np.asarray(values[size]), s=14, color=colour, alpha=0.45)
    for (name, level), line in zip(levels.items(), ("--", ":", "-."), strict=False):
        axes.axhline(factor * level, color=GREY, linestyle=line, linewidth=1.2, label=name)
    axes.set_xscale("log")
    every = sorted({size for values in scores.values() for size in values})
    axes.set_xticks(every, [f"{size:,}" for size in every])
    axes.minorticks_off()
    dress(axes, "training examples", f"{metric}{' (%)' if percent else ''}")
    axes.legend(fontsize=SMALL, frameon=False)
    return figure


def kernels(bank: np.ndarray, *, beside: Mapping[str, np.ndarray] | None = None, most: int = 32) -> Figure:
    """Convolution kernels as pictures, each from −s to s with zero white, s its own largest absolute value.

    Args:
        bank: (k, k, C, K); with several input channels their mean is drawn.
        beside: further kernels (k, k) by name, such as one made by hand.
        most: draw no more than this many of the bank.

    Raises:
        ValueError: not (k, k, C, K).
    """
    bank = np.asarray(bank, np.float64)
    if bank.ndim != 4:
        raise ValueError(f"expected kernels (k, k, C, K), got {bank.shape}.")
    total, drawn = bank.shape[-1], min(bank.shape[-1], most)
    named = {("learned" if total == 1 else f"{i}"): bank[..., i].mean(-1) for i in range(drawn)}
    named |= {name: np.asarray(kernel, np.float64) for name, kernel in (beside or {}).items()}
    cols = min(len(named), 8)
    rows = math.ceil(len(named) / cols)
    side = 2.4 if len(named) <= 4 else 1.15
    figure = new_figure(side * cols, (side + 0.25) * rows + 0.3)
    panels = figure.subplots(rows, cols, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (name, kernel) in zip(panels, named.items(), strict=False):
        scale = float(np.abs(kernel).max()) or 1.0
        axes.imshow(kernel, cmap=DIVERGING, vmin=-scale, vmax=scale, interpolation="nearest")
        axes.set_title(f"{name}, s = {scale:.2g}" if len(named) <= 4 else name, fontsize=SMALL)
    parts = [f"{drawn} of {total} kernels"] if drawn < total else []
    parts += ["mean over the input channels"] if bank.shape[2] > 1 else []
    if parts:
        figure.supxlabel("; ".join(parts), fontsize=8, color=GREY, ha="right", x=0.99)
    return figure
