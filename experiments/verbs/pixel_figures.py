"""Figures of networks whose truth is about pixels: input, truth, prediction and difference side by side; curves.

Pure functions from arrays to `matplotlib.figure.Figure`, in the manner of `figures`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from zoo_experiments.verbs.figures import (
    BLUE,
    DIVERGING,
    GREY,
    NORMAL,
    SEQUENTIAL,
    SMALL,
    VERMILION,
    dress,
    new_figure,
    show_image,
)
from zoo_experiments.verbs.score_figures import COLOURS, MARKERS, binned

# Classes of pixels: the first is the background.
CLASS_COLOURS = ("#F2F2F2", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclass(frozen=True)
class Panel:
    """One column of `panels`.

    Attributes:
        name: above the column.
        values: (N, H, W), or (N, H, W, C) for an image.
        kind: `image`, by the rule of `show_image`; `classes`, whole numbers; `amount`, from the smallest to the largest
            value; `share`, from 0 to 1; `signed`, blue below 0 and red above; `errors`, 1 where a pixel is wrong.
        group: panels of one group share the scale of each row.
    """

    name: str
    values: np.ndarray
    kind: Literal["image", "classes", "amount", "share", "signed", "errors"]
    group: str = ""


def panels(
    columns: Sequence[Panel], titles: Sequence[str], *, class_names: Sequence[str] = (), credit: str = ""
) -> Figure:
    """Rows of examples, columns of what is known of each; every panel says its scale.

    Args:
        columns: each with N values.
        titles: N captions of rows.
        class_names: K names of the classes, for the key.
        credit: line at the foot.

    Raises:
        ValueError: a column with another number of values than there are titles, or none.
    """
    count = len(titles)
    for column in columns:
        if len(column.values) != count or not count:
            raise ValueError(f"{column.name} has {len(column.values)} values for {count} titles: give one for each.")
    height, width = columns[0].values.shape[1:3]
    side = 1.75
    label = 0.3 + 0.075 * max(len(line) for title in titles for line in title.split("\n"))
    key = 0.35 if class_names else 0.0
    figure = new_figure(side * len(columns) + label, (side * height / width + 0.3) * count + 0.45 + key)
    grid = figure.subplots(count, len(columns), squeeze=False)
    limits = _limits(columns, count)
    for row, title in enumerate(titles):
        for axes, column in zip(grid[row], columns, strict=True):
            _draw(axes, column, row, limits.get((column.group or column.name, row)))
        grid[row, 0].set_ylabel(title, fontsize=SMALL, rotation=0, ha="right", va="center", labelpad=8)
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(column.name, fontsize=NORMAL)
    if class_names:
        patches = [Patch(facecolor=CLASS_COLOURS[k], edgecolor="0.6") for k in range(len(class_names))]
        figure.legend(
            patches,
            class_names,
            loc="outside lower center",
            ncols=min(len(class_names), 6),
            fontsize=SMALL,
            frameon=False,
        )
    if credit:
        figure.supxlabel(credit, fontsize=8, color=GREY, ha="right", x=0.99)
    return figure


def against_property(values: np.ndarray, prop: np.ndarray, *, metric: str, name: str) -> Figure:
    """A score of every image against a property, with the median and the central 68 % in groups of equal size.

    Args:
        values: (N,) score of each image; NaN where there is none.
        prop: (N,) property of each.
        metric: name of the score, with its unit.
        name: of the property, with its unit.
    """
    figure = new_figure(4.6, 3.6)
    axes = figure.add_subplot()
    there = np.isfinite(values) & np.isfinite(prop)
    values, prop = values[there], prop[there]
    size = float(np.clip(4000 / max(values.size, 1), 3, 16))
    axes.scatter(prop, values, s=size, color=BLUE, alpha=0.3, linewidths=0)
    middles, quantiles = binned(prop, values)
    if len(middles):
        axes.plot(middles, quantiles[:, 1], color=VERMILION, marker="o", markersize=4, linewidth=1.6)
        for side in (0, 2):
            axes.plot(middles, quantiles[:, side], color=VERMILION, linestyle=":", linewidth=1.4)
        low, high = np.percentile(values, [0.5, 99.5])
        margin = 0.08 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)
    dress(axes, name, metric)
    return figure


def curves(
    x: Sequence[float],
    lines: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    x_label: str,
    y_label: str,
    level: float | None = None,
) -> Figure:
    """Several curves with their bands over one axis.

    Args:
        x: (B,) places.
        lines: name → values (B,), lower and upper ends of their intervals (B,).
        x_label: with its unit.
        y_label: with its unit.
        level: a value drawn dashed, such as a floor.
    """
    figure = new_figure(5.6, 4.0)
    axes = figure.add_subplot()
    for (name, (values, low, high)), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, values, color=colour, marker=marker, markersize=5, linewidth=1.6, label=name)
    if level is not None:
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1)
    dress(axes, x_label, y_label)
    if len(lines) > 1:
        axes.legend(fontsize=SMALL, frameon=False)
    return figure


def over_floor(lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Error against the floor that the data state, in groups of pixels; dashed where they are equal.

    Args:
        lines: name → root mean squares of floor and error (G,) each, in standard deviations of the target.
    """
    figure = new_figure(4.6, 3.6)
    axes = figure.add_subplot()
    every = np.concatenate([np.concatenate(line) for line in lines.values()])
    ends = [0.8 * every[every > 0].min(), 1.25 * every.max()]
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1.2)
    for (name, (floor, error)), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        axes.plot(floor, error, color=colour, marker=marker, markersize=4, linewidth=1.4, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    dress(axes, "floor (standard deviations)", "error (standard deviations)")
    axes.legend(fontsize=SMALL, frameon=False)
    return figure


def precision_recall(lines: Mapping[str, tuple[np.ndarray, np.ndarray, float]], *, share: float | None) -> Figure:
    """Purity against completeness of pixels.

    Args:
        lines: name → completeness (T,), purity (T,) and the area under the curve.
        share: of the pixels that are positive, which chance would reach; drawn dotted.
    """
    figure = new_figure(4.8, 4.0)
    axes = figure.add_subplot()
    for (name, (completeness, purity, area)), colour in zip(lines.items(), COLOURS, strict=False):
        axes.plot(100 * completeness, 100 * purity, color=colour, linewidth=1.6, label=f"{name}: area {area:.3f}")
    if share is not None:
        axes.axhline(100 * share, color=GREY, linestyle=":", linewidth=1)
    dress(axes, "completeness: pixels found (%)", "purity: right among the found (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 101)
    axes.legend(fontsize=SMALL, frameon=False, loc="lower left")
    return figure


def spectra(k: np.ndarray, ratio: Mapping[str, np.ndarray], correlation: Mapping[str, np.ndarray]) -> Figure:
    """Power of predicted maps beside that of the true ones, and their correlation, against the wave number.

    Args:
        k: (B,) wave numbers in cycles per box.
        ratio: name → (B,) power of the prediction divided by that of the truth.
        correlation: name → (B,) cross power divided by the root of both.
    """
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2)
    for values, axes in ((ratio, left), (correlation, right)):
        for (name, line), colour in zip(values.items(), COLOURS, strict=False):
            axes.plot(k, line, color=colour, linewidth=1.8, label=name)
        axes.axhline(1, color=GREY, linestyle="--", linewidth=1)
        axes.axvline(k.max() / 2, color=GREY, linestyle=":", linewidth=1)
        axes.set_xscale("log")
        if len(values) > 1:
            axes.legend(fontsize=SMALL, frameon=False)
    left.axhspan(0.95, 1.05, color="0.9", zorder=0)
    left.set_ylim(0, 1.5)
    right.set_ylim(0, 1.02)
    dress(left, "wave number (cycles per box)", "power, predicted / true")
    dress(right, "wave number (cycles per box)", "cross-correlation")
    return figure


def standardised_errors(z: Mapping[str, np.ndarray]) -> Figure:
    """Errors in units of the predicted standard deviation, beside the normal distribution that they should have.

    Args:
        z: name → errors divided by their predicted standard deviation, any number.
    """
    figure = new_figure(4.8, 3.8)
    axes = figure.add_subplot()
    edges = np.linspace(-5, 5, 51)
    middles = (edges[1:] + edges[:-1]) / 2
    for (name, values), colour in zip(z.items(), COLOURS, strict=False):
        density, _ = np.histogram(np.clip(values, -5, 5), edges, density=True)
        axes.step(
            middles, density, where="mid", color=colour, linewidth=1.6, label=f"{name}: spread {values.std():.2f}"
        )
    axes.plot(middles, np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi), color=GREY, linestyle="--", linewidth=1.2)
    dress(axes, "error / predicted standard deviation", "density")
    axes.legend(fontsize=SMALL, frameon=False)
    return figure


def _limits(columns: Sequence[Panel], count: int) -> dict[tuple[str, int], tuple[float, float]]:
    """(group, row) → smallest and largest value that its panels show."""
    found: dict[tuple[str, int], tuple[float, float]] = {}
    for column in columns:
        if column.kind in ("amount", "signed"):
            for row in range(count):
                values = column.values[row][np.isfinite(column.values[row])]
                low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
                name = (column.group or column.name, row)
                before = found.get(name, (low, high))
                found[name] = (min(low, before[0]), max(high, before[1]))
    return found


def _draw(axes: object, column: Panel, row: int, limits: tuple[float, float] | None) -> None:
    values = column.values[row]
    axes.set_xticks([])
    axes.set_yticks([])
    style = {"interpolation": "nearest"}
    if column.kind == "image":
        axes.imshow(show_image(values)[0], cmap="gray", vmin=0, vmax=1, **style)
        axes.set_xlabel(show_image(values)[1], fontsize=SMALL)
    elif column.kind == "classes":
        axes.imshow(values, cmap=ListedColormap(CLASS_COLOURS), vmin=-0.5, vmax=len(CLASS_COLOURS) - 0.5, **style)
    elif column.kind == "share":
        axes.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=1, **style)
        axes.set_xlabel("0 … 1", fontsize=SMALL)
    elif column.kind == "errors":
        axes.imshow(values, cmap=ListedColormap(("#F2F2F2", VERMILION)), vmin=0, vmax=1, **style)
        axes.set_xlabel(f"{100 * np.mean(values):.1f} % wrong", fontsize=SMALL)
    elif column.kind == "amount":
        axes.imshow(values, cmap=SEQUENTIAL, vmin=limits[0], vmax=limits[1], **style)
        axes.set_xlabel(f"{limits[0]:.2g} … {limits[1]:.2g}", fontsize=SMALL)
    else:
        scale = max(abs(limits[0]), abs(limits[1])) or 1.0
        axes.imshow(values, cmap=DIVERGING, vmin=-scale, vmax=scale, **style)
        axes.set_xlabel(f"± {scale:.2g}", fontsize=SMALL)
