"""Figures of sequences: light curves and other series with what is said of them, texts, paths, scores against time."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo_experiments.verbs.figures import BLUE, GREEN, GREY, SEQUENTIAL, SMALL, VERMILION, dress, new_figure

# Okabe and Ito's colours, short waves to long ones; markers tell them apart without colour.
BANDS = ((BLUE, "o"), (GREEN, "s"), ("#E69F00", "^"), (VERMILION, "D"), ("#CC79A7", "v"), (GREY, "P"))


def series(
    axes: Axes,
    values: np.ndarray,
    times: np.ndarray | None,
    channels: Sequence[str],
) -> None:
    """One sequence in physical units.

    Channels `flux_X`, `error_X` and `seen_X` are drawn as points with errors, a colour for each band; others as lines.

    Args:
        axes: where to draw.
        values: (T, C) valid steps.
        times: (T,); step numbers when None.
        channels: C names.
    """
    x = np.arange(len(values)) if times is None else times
    names = list(channels)
    bands = [name.removeprefix("flux_") for name in names if name.startswith("flux_")]
    if bands:
        for band, (colour, marker) in zip(bands, BANDS, strict=False):
            flux, error = (values[:, names.index(f"{what}_{band}")] for what in ("flux", "error"))
            seen = values[:, names.index(f"seen_{band}")] > 0
            axes.errorbar(
                x[seen], flux[seen], error[seen], color=colour, marker=marker, markersize=3, linewidth=0.8, label=band
            )
        axes.axhline(0, color=GREY, linewidth=0.6)
        return
    for column, (colour, _) in zip(range(values.shape[1]), BANDS, strict=False):
        axes.plot(x, values[:, column], color=colour, linewidth=1.0, label=names[column] if names else None)


def series_gallery(
    records: Sequence[tuple[np.ndarray, np.ndarray | None]],
    titles: Sequence[str],
    channels: Mapping[str, str],
    *,
    colours: Sequence[str] | None = None,
    x_label: str = "step",
    columns: int = 4,
    credit: str = "",
) -> Figure:
    """Sequences in a grid, each under its caption.

    Args:
        records: (T, C) values and (T,) times, valid steps only.
        titles: a caption for each.
        channels: name → unit of each channel.
        colours: of the captions.
        x_label: of the times.
        columns: in a row.
        credit: line at the foot.
    """
    columns = min(columns, len(records))
    rows = math.ceil(len(records) / columns)
    figure = new_figure(2.7 * columns, 2.2 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.ravel()):
        if place >= len(records):
            axes.set_axis_off()
            continue
        series(axes, *records[place], list(channels))
        axes.set_title(titles[place], fontsize=SMALL, color=colours[place] if colours else "black", pad=3)
        axes.tick_params(labelsize=7)
        if place + columns >= len(records):
            axes.set_xlabel(x_label, fontsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=SMALL, frameon=False)
    if credit:
        figure.supxlabel(credit, fontsize=8, color=GREY, ha="right", x=0.99)
    return figure


def texts(lines: Sequence[str], titles: Sequence[str], *, colours: Sequence[str] | None = None) -> Figure:
    """Texts below each other, each under its caption; long ones show their end."""
    figure = new_figure(10.0, 0.75 * len(lines) + 0.3)
    for axes, line, title, colour in zip(
        figure.subplots(len(lines), 1, squeeze=False).ravel(),
        lines,
        titles,
        colours or ["black"] * len(lines),
        strict=True,
    ):
        axes.set_axis_off()
        axes.set_title(title, fontsize=SMALL, color=colour, loc="left", pad=2)
        shown = line if len(line) <= 120 else f"…{line[-119:]}"
        axes.text(0, 0.7, shown, fontsize=8, family="monospace", va="top", transform=axes.transAxes)
    return figure


def surprise(lines: Sequence[str], bits: Sequence[np.ndarray], *, most: float = 8.0) -> Figure:
    """Texts whose characters stand on the bits with which each came, from what stood before it.

    Args:
        lines: texts.
        bits: for each text the bits of its characters, NaN where there are none.
        most: bits of the strongest colour.
    """
    longest = max(map(len, lines))
    figure = new_figure(10.5, 0.42 * len(lines) + 0.9)
    axes = figure.add_subplot()
    grid = np.full((len(lines), longest), np.nan)
    for row, values in enumerate(bits):
        grid[row, : len(values)] = values
    picture = axes.imshow(grid, cmap=SEQUENTIAL, vmin=0, vmax=most, aspect="auto")
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            value = grid[row, column]
            dark = not np.isfinite(value) or value > 0.6 * most
            axes.text(column, row, character, fontsize=6, ha="center", va="center", color="black" if dark else "white")
    axes.set_axis_off()
    bar = figure.colorbar(picture, ax=axes, orientation="horizontal", fraction=0.08, pad=0.02)
    bar.set_label("surprise (bits)", fontsize=SMALL)
    bar.ax.tick_params(labelsize=7)
    return figure


def paths(
    truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray], titles: Sequence[str], *, unit: str = ""
) -> Figure:
    """True and predicted places (T, 2) of some sequences in the plane, joined where they belong together."""
    figure = new_figure(2.6 * len(truth), 3.1)
    for axes, true, ours, title in zip(
        figure.subplots(1, len(truth), squeeze=False).ravel(), truth, predicted, titles, strict=True
    ):
        axes.plot(*true.T, color=GREY, marker="o", markersize=3, linewidth=0.8, label="truth")
        axes.scatter(*ours.T, s=14, color=VERMILION, marker="x", linewidths=1, label="predicted", zorder=3)
        axes.plot(*np.stack([true, ours], 1).transpose(2, 1, 0), color=VERMILION, linewidth=0.5)
        axes.set_title(title, fontsize=SMALL)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=7)
        axes.set_xlabel(f"x ({unit})" if unit else "x", fontsize=SMALL)
        axes.set_ylabel(f"y ({unit})" if unit else "y", fontsize=SMALL)
    axes.legend(fontsize=7, frameon=False)
    return figure


def against(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    *,
    x_label: str,
    y_label: str,
    chance: float | None = None,
    log_x: bool = False,
    log_y: bool = False,
) -> Figure:
    """Scores against time, lag or another quantity, with their intervals.

    Args:
        lines: name → x, value, lower and upper end, (M,) each.
        x_label: with its unit.
        y_label: with its unit.
        chance: score without knowledge, dotted.
        log_x: logarithmic axis of x.
        log_y: logarithmic axis of the score.
    """
    figure = new_figure(6.2, 4.0)
    axes = figure.add_subplot()
    for (name, (x, value, low, high)), (colour, marker) in zip(lines.items(), BANDS * 3, strict=False):
        axes.plot(x, value, color=colour, marker=marker, markersize=4, linewidth=1.6, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", linewidth=1.2, label="chance")
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    dress(axes, x_label, y_label)
    axes.legend(fontsize=SMALL, frameon=False)
    return figure


def probability_over_time(
    records: Sequence[tuple[np.ndarray, np.ndarray]],
    probabilities: Sequence[tuple[np.ndarray, np.ndarray]],
    titles: Sequence[str],
    channels: Mapping[str, str],
    class_names: Sequence[str],
    *,
    x_label: str,
) -> Figure:
    """Some sequences, and below each the probabilities of the classes from what was seen until then.

    Args:
        records: (T, C) values and (T,) times, valid steps only.
        probabilities: for each, times (M,) and probabilities (M, K).
        titles: a caption for each.
        channels: name → unit of each channel.
        class_names: K names.
        x_label: of the times.
    """
    figure = new_figure(2.9 * len(records), 4.2)
    grid = figure.subplots(2, len(records), squeeze=False, sharex="col", height_ratios=(1.3, 1))
    for place, ((values, times), (at, p)) in enumerate(zip(records, probabilities, strict=True)):
        series(grid[0, place], values, times, list(channels))
        grid[0, place].set_title(titles[place], fontsize=SMALL)
        for k, (name, (colour, _)) in enumerate(zip(class_names, BANDS, strict=False)):
            grid[1, place].step(at, 100 * p[:, k], where="post", color=colour, linewidth=1.6, label=name)
        grid[1, place].set_ylim(-3, 103)
        grid[1, place].set_xlabel(x_label, fontsize=SMALL)
        for axes in grid[:, place]:
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].set_ylabel(_quantity(channels), fontsize=SMALL)
    grid[1, 0].set_ylabel("probability (%)", fontsize=SMALL)
    grid[0, 0].legend(fontsize=7, frameon=False)
    grid[1, 0].legend(fontsize=7, frameon=False)
    return figure


def _quantity(channels: Mapping[str, str]) -> str:
    first, unit = next(iter(channels.items()))
    return f"{first.partition('_')[0]} ({unit})" if unit else first.partition("_")[0]
