"""Figures of the run report: learning curves, confusion, recall, calibration, examples and explanations.

Pure functions from arrays to `matplotlib.figure.Figure`. Figures are built through matplotlib's object interface on the
Agg canvas, never through pyplot: there is no global state, nothing to close, and nothing depends on a display or on
the user's style. Colours are Okabe and Ito's, and viridis, cividis and RdBu, which colour-blind readers tell apart.
"""

import base64
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from zoo.train import interval

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
SPLITS = {"train": (BLUE, "-", "o"), "validation": (VERMILION, "-", "s"), "test": (GREEN, "-", "D")}
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"

SMALL, NORMAL = 9, 11  # points; legible when a figure is shown at half its size


def learning_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, and Dice coefficient, accuracy or R², against the training step, one line per split.

    Args:
        rows: dictionaries with "step", "epoch", "split", "loss" and "accuracy", "dice" or "r2", in any order; loss in
            nats (of squared standard deviations for numbers), accuracy a fraction. A value that is missing or None is
            skipped, one that is not finite leaves a gap.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("learning_curves expected at least one row of metrics, got none: has the run logged anything?")
    figure = new_figure(9.0, 3.6)
    panels = figure.subplots(1, 2)
    splits = list(dict.fromkeys(str(row["split"]) for row in rows))
    there = {name for row in rows for name, value in row.items() if value is not None}
    if "dice" in there:
        shown = {"loss": "loss", "dice": "Dice coefficient"}
    elif "r2" in there and "accuracy" not in there:
        shown = {"loss": "loss (standard deviations²)", "r2": "R²"}
    else:
        shown = {"loss": "loss (nats)", "accuracy": "accuracy (%)"}
    for axes, (name, label) in zip(panels, shown.items(), strict=True):
        for split in splits:
            chosen = sorted((row for row in rows if str(row["split"]) == split), key=lambda row: row["step"])
            points = [(row["step"], row[name]) for row in chosen if row.get(name) is not None]
            if not points:
                continue
            steps, values = np.array(points, float).T
            values = np.where(np.isfinite(values), values, np.nan)
            colour, line, marker = SPLITS.get(split, (GREY, ":", "^"))
            axes.plot(
                steps,
                100 * values if name == "accuracy" else values,
                color=colour,
                linestyle=line,
                marker=marker if len(steps) <= 40 else None,
                markersize=4,
                linewidth=1.6,
                label=split,
            )
        dress(axes, "training step", label)
        if name == "r2":
            # The first values may be far below 0 and would hide the rest.
            axes.set_ylim(bottom=max(axes.get_ylim()[0], -0.1))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _add_epochs(axes, rows)
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        panels[0].legend(handles, labels, fontsize=SMALL, frameon=False)
    return figure


def confusion(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Confusion matrix: counts and their share of the true class, coloured by share; recall with its interval.

    The diagonal also states the 95 % Wilson interval of the recall.

    Args:
        matrix: (K, K) counts, rows the true class, columns the predicted one.
        class_names: K names.

    Raises:
        ValueError: the matrix is not (K, K) counts for K names.
    """
    matrix = _checked_counts(matrix, class_names)
    classes = len(class_names)
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    cell = 1.0 if classes <= 6 else 0.74
    size = max(classes * cell, 1.6)
    figure = new_figure(size + 2.4, size + (0.8 if not _slanted(class_names) else 1.6))
    axes = figure.add_subplot()
    # cells as wide as the layout leaves them: with a fixed aspect it cuts off labels
    picture = axes.imshow(100 * shares, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    font = 10 if classes <= 6 else 8
    for true in range(classes):
        for predicted in range(classes):
            lines = [f"{matrix[true, predicted]:d}"]
            if totals[true, 0]:
                lines.append(f"{100 * shares[true, predicted]:.0f} %")
                if true == predicted:
                    low, high = interval(int(matrix[true, true]), int(totals[true, 0]))
                    lines.append(f"[{100 * low:.0f}, {100 * high:.0f}]")
            colour = "black" if shares[true, predicted] > 0.45 else "white"
            axes.text(predicted, true, "\n".join(lines), ha="center", va="center", fontsize=font, color=colour)
    axes.set_xticks(range(classes), _wrapped(class_names), fontsize=SMALL, **_slanted(class_names))
    names = [f"{name}\n(n = {total})" for name, total in zip(_wrapped(class_names), totals[:, 0], strict=True)]
    axes.set_yticks(range(classes), names, fontsize=SMALL)
    axes.set_xlabel("predicted class", fontsize=NORMAL)
    axes.set_ylabel("true class", fontsize=NORMAL)
    axes.tick_params(length=0)
    bar = figure.colorbar(picture, cax=axes.inset_axes((1 + 0.12 / size, 0.0, 0.25 / size, 1.0)))
    bar.set_label("share of the true class (%)", fontsize=NORMAL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def recall_bars(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Recall of each class with its 95 % Wilson interval, from a confusion matrix (K, K) as `confusion` takes it.

    A class without examples has no bar.

    Raises:
        ValueError: the matrix is not (K, K) counts for K names.
    """
    matrix = _checked_counts(matrix, class_names)
    totals, right = matrix.sum(1), np.diag(matrix)
    figure = new_figure(6.5, 1.2 + 0.45 * len(class_names))
    axes = figure.add_subplot()
    for row, (hits, total) in enumerate(zip(right, totals, strict=True)):
        if not total:
            axes.text(1, row, "no examples", va="center", fontsize=SMALL, color=GREY)
            continue
        recall = hits / total
        low, high = interval(int(hits), int(total))
        axes.barh(row, 100 * recall, height=0.6, color=BLUE, alpha=0.35)
        # rounding may put the bound of a recall of 0 or 1 a bit on the wrong side
        errors = 100 * np.maximum([[recall - low], [high - recall]], 0)
        axes.errorbar(100 * recall, row, xerr=errors, fmt="o", color=BLUE, markersize=5, capsize=4, clip_on=False)
        axes.text(103, row, f"{hits}/{total}", va="center", fontsize=SMALL, color=GREY)
    axes.set_yticks(range(len(class_names)), _wrapped(class_names))
    axes.set_ylim(len(class_names) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    dress(axes, "recall (%), 95 % Wilson interval", "true class")
    axes.grid(visible=False, axis="y")
    return figure


def reliability(confidence: np.ndarray, accuracy: np.ndarray, counts: np.ndarray) -> Figure:
    """Reliability diagram: accuracy against confidence in bins, with 95 % Wilson intervals, over the bins' sizes.

    Args:
        confidence: (bins,) mean predicted probability of the chosen class in each bin, in [0, 1].
        accuracy: (bins,) fraction that was right.
        counts: (bins,) number of examples; what confidence and accuracy hold where it is 0 does not matter.

    Raises:
        ValueError: the three do not have one shape (bins,).
    """
    confidence, accuracy, counts = (np.asarray(a) for a in (confidence, accuracy, counts))
    if not confidence.shape == accuracy.shape == counts.shape or counts.ndim != 1:
        raise ValueError(
            f"reliability expected three arrays of one shape (bins,), got {confidence.shape}, {accuracy.shape} and "
            f"{counts.shape}: give the mean confidence, the accuracy and the number of examples of each bin"
        )
    used = counts > 0
    confidence, accuracy, counts = confidence[used], accuracy[used], counts[used].astype(int)
    figure = new_figure(4.6, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1, label="perfect calibration")
    if counts.size:
        bounds = np.array([interval(round(a * n), n) for a, n in zip(accuracy, counts, strict=True)])
        errors = np.maximum(np.stack([accuracy - bounds[:, 0], bounds[:, 1] - accuracy]), 0)
        upper.errorbar(
            100 * confidence,
            100 * accuracy,
            yerr=100 * errors,
            fmt="o-",
            color=BLUE,
            markersize=5,
            capsize=3,
            linewidth=1.4,
            label="model, 95 % interval",
        )
        gap = float((counts * np.abs(accuracy - confidence)).sum() / counts.sum())
        upper.set_title(f"expected calibration error {100 * gap:.1f} %", fontsize=NORMAL)
        lower.vlines(100 * confidence, 0, counts, color=BLUE, linewidth=6)
    upper.legend(fontsize=SMALL, frameon=False, loc="upper left")
    upper.set_xlim(0, 100)
    upper.set_ylim(0, 101)
    lower.set_ylim(bottom=0)
    dress(upper, "", "accuracy (%)")
    dress(lower, "confidence (%)", "examples")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


def reliability_of(bins: np.ndarray) -> Figure:
    """`reliability` from the sums (3, bins) of counts, confidences and hits of a classifier."""
    count, confidence, hits = bins
    divisor = np.maximum(count, 1)
    return reliability(confidence / divisor, hits / divisor, count)


def gallery(
    images: np.ndarray,
    titles: Sequence[str],
    *,
    cols: int = 6,
    colours: Sequence[str] | None = None,
    centre: int | None = None,
    stretch: str = "linear",
    credit: str = "",
) -> Figure:
    """Images in a grid, each under its caption and, on request, in a coloured frame (`RIGHT`, `WRONG`).

    Args:
        images: (N, H, W) or (N, H, W, C), N ≥ 1; shown by the rule of `show_image`, each on its own scale.
        titles: N captions, for example from `caption`.
        cols: images in a row.
        colours: N colours of frames and captions.
        centre: show only the central `centre` × `centre` pixels; said at the foot.
        stretch: see `show_image`; said at the foot unless linear.
        credit: line at the foot, for images that must name their source.

    Raises:
        ValueError: no images, or not one title, or colour, per image.
    """
    images = np.asarray(images)
    _check_lengths("gallery", len(images), titles=titles, **({} if colours is None else {"colours": colours}))
    cols = max(1, min(cols, len(images)))
    rows = math.ceil(len(images) / cols)
    captions = [_fitted(title + _note(image), 24) for title, image in zip(titles, images, strict=True)]
    foot = _foot(images, centre, stretch, credit)
    lines = max(text.count("\n") + 1 for text in captions)
    figure = new_figure(1.75 * cols, (1.80 + 0.16 * lines) * rows + 0.1 + (0.25 if foot else 0))
    panels = figure.subplots(rows, cols, squeeze=False).ravel()
    for axes in panels[len(images) :]:
        axes.set_axis_off()
    for index, (axes, image, text) in enumerate(zip(panels, images, captions, strict=False)):
        colour = colours[index] if colours is not None else None
        _picture(axes, image, stretch)
        _narrow(axes, image.shape[:2], centre)
        axes.set_title(text, fontsize=SMALL, color=colour or "black", pad=4)
        if colour is not None:
            axes.spines[:].set(color=colour, linewidth=2.5)
    _add_foot(figure, foot)
    return figure


RIGHT, WRONG = BLUE, VERMILION


def caption(true: str, predicted: str, probability: float) -> str:
    """The gallery's caption of one example: the true class and the predicted one with its probability in [0, 1]."""
    return f"true {true}\npred. {predicted} {100 * probability:.0f} %"


def explanations(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    titles: Sequence[str],
    *,
    signed: Mapping[str, bool] | None = None,
    centre: int | None = None,
    stretch: str = "linear",
    credit: str = "",
) -> Figure:
    """Each image beside its explanations, one row per image and one column per method.

    Each panel has its own scale s, since methods have different units and images different scores, and states it
    below: a map with signs is coloured from −s to s with zero white, one without from 0 to s. s is the 99.5th
    percentile of the absolute values shown, so that single pixels do not hide the rest.

    Args:
        images: (N, H, W) or (N, H, W, C), N ≥ 1; shown by the rule of `show_image`.
        maps: for each method's name (N, h, w) of any resolution, stretched over the image; in the method's unit.
        titles: N captions of rows.
        signed: for a method's name whether its maps have signs; by default a method has if any value is negative.
        centre: show only the central `centre` × `centre` pixels of images and maps; said at the foot.
        stretch: of the images, see `show_image`; said at the foot unless linear.
        credit: line at the foot, for images that must name their source.

    Raises:
        ValueError: no images, or not one title and one map of each method per image.
    """
    images, maps = np.asarray(images), {name: np.asarray(values) for name, values in maps.items()}
    _check_lengths("explanations", len(images), titles=titles, **{f"maps {name}": m for name, m in maps.items()})
    for name, values in maps.items():
        if values.ndim != 3:
            raise ValueError(
                f"explanations expected maps (N, h, w), got {values.shape} for {name}: sum or choose over the channels"
            )
    has_signs = {name: (signed or {}).get(name, bool((values < 0).any())) for name, values in maps.items()}
    captions = [_fitted(title, 24) for title in titles]
    foot = _foot(images, centre, stretch, credit)
    rows, cols = len(images), 1 + len(maps)
    label = 0.3 + 0.075 * max(len(line) for text in captions for line in text.split("\n"))
    figure = new_figure(1.8 * cols + label, 2.05 * rows + 0.9 + (0.25 if foot else 0))
    panels = figure.subplots(rows, cols, squeeze=False)
    for row, (image, text) in enumerate(zip(images, captions, strict=True)):
        _picture(panels[row, 0], image, stretch)
        _narrow(panels[row, 0], image.shape[:2], centre)
        panels[row, 0].set_ylabel(text, fontsize=SMALL, rotation=0, ha="right", va="center", labelpad=8)
        panels[row, 0].set_xlabel(_note(image).strip(), fontsize=SMALL)
        for axes, (name, values) in zip(panels[row, 1:], maps.items(), strict=True):
            heat = _heat(axes, values[row], has_signs[name], image.shape[:2], centre)
            if row == rows - 1:
                _add_key(figure, axes, heat, has_signs[name])
    for axes, name in zip(panels[0], ("input", *maps), strict=True):
        axes.set_title(_fitted(name, 18), fontsize=NORMAL)
    _add_foot(figure, foot)
    return figure


def show_image(image: np.ndarray, *, stretch: str = "linear") -> tuple[np.ndarray, str]:
    """What of an image can be shown, and what to say about it.

    (H, W) and (H, W, 1) are grey, (H, W, 3) a red-green-blue composite, and of any other number of channels the first
    is shown. Values are stretched from the smallest to the largest finite one, linearly or by an inverse hyperbolic
    sine ("asinh") that turns logarithmic at 5 % of the range and shows what is faint; others are shown as the smallest.

    Returns:
        An array (H, W) or (H, W, 3) with values in [0, 1], and a note: empty, or which channel this is.

    Raises:
        ValueError: not (H, W) or (H, W, C), or an unknown stretch.
    """
    image = np.asarray(image, np.float64)
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"expected an image (H, W) or (H, W, C), got {image.shape}: show one example at a time")
    if stretch not in ("linear", "asinh"):
        raise ValueError(f'stretch must be "linear" or "asinh", got "{stretch}"')
    note = ""
    if image.ndim == 3 and image.shape[-1] != 3:
        note = "" if image.shape[-1] == 1 else f"channel 1 of {image.shape[-1]}"
        image = image[..., 0]
    finite = image[np.isfinite(image)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    image = np.where(np.isfinite(image), image, low)
    if not high > low:
        return np.zeros(image.shape), note
    image = (image - low) / (high - low)
    return (np.arcsinh(image / 0.05) / np.arcsinh(1 / 0.05) if stretch == "asinh" else image), note


def to_data_uri(figure: Figure, *, dpi: int = 120) -> str:
    """The figure as a PNG inside a `data:` address, for the `src` of an image in a self-contained page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of this size in inches, without any global state."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, x_label: str, y_label: str) -> None:
    """Labels, a light grid and two spines."""
    axes.set_xlabel(x_label, fontsize=NORMAL)
    axes.set_ylabel(y_label, fontsize=NORMAL)
    axes.tick_params(labelsize=SMALL)
    axes.grid(visible=True, color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _add_epochs(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """A second axis above that counts epochs, where rows say how many steps one takes."""
    last = max(rows, key=lambda row: row["step"])
    if not (last.get("epoch") and last["step"]):
        return
    steps = last["step"] / last["epoch"]
    axes.spines["top"].set_visible(False)
    upper = axes.secondary_xaxis("top", functions=(lambda step: step / steps, lambda epoch: epoch * steps))
    upper.set_zorder(3)  # above the grid, which would notch its line
    upper.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    upper.set_xlabel("epoch", fontsize=SMALL)
    upper.tick_params(labelsize=SMALL)


def _picture(axes: Axes, image: np.ndarray, stretch: str) -> None:
    axes.imshow(show_image(image, stretch=stretch)[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _note(image: np.ndarray) -> str:
    note = show_image(image)[1]
    return f"\n{note}" if note else ""


def _narrow(axes: Axes, shape: tuple[int, int], centre: int | None) -> None:
    height, width = (min(extent, centre or extent) for extent in shape)
    middle_y, middle_x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    axes.set_xlim(middle_x - width / 2, middle_x + width / 2)
    axes.set_ylim(middle_y + height / 2, middle_y - height / 2)


def _heat(axes: Axes, values: np.ndarray, has_signs: bool, shape: tuple[int, int], centre: int | None) -> AxesImage:
    values = np.where(np.isfinite(values), values, 0.0)
    shown = values
    for axis, extent in enumerate(shape):
        margin = int(values.shape[axis] * max(0.0, 1 - (centre or extent) / extent) / 2)
        shown = shown.take(range(margin, values.shape[axis] - margin), axis)
    scale = float(np.percentile(np.abs(shown), 99.5)) or float(np.abs(shown).max()) or 1.0
    heat = axes.imshow(
        values,
        cmap=DIVERGING if has_signs else SEQUENTIAL,
        vmin=-scale if has_signs else 0.0,
        vmax=scale,
        extent=(-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5),
        interpolation="nearest",
    )
    _narrow(axes, shape, centre)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"s = {scale:.2g}", fontsize=SMALL)
    return heat


def _add_key(figure: Figure, axes: Axes, heat: AxesImage, has_signs: bool) -> None:
    """The column's colours in units of each panel's own s, below its last panel."""
    bar = figure.colorbar(heat, cax=axes.inset_axes((0.0, -0.27, 1.0, 0.06)), orientation="horizontal")
    low, high = heat.get_clim()
    bar.set_ticks([low, 0.0, high] if has_signs else [low, high], labels=["−s", "0", "s"] if has_signs else ["0", "s"])
    bar.ax.tick_params(labelsize=SMALL, length=2)
    first, *_, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def _foot(images: np.ndarray, centre: int | None, stretch: str, credit: str) -> str:
    """What is said below pictures; refuses an empty set of them."""
    if len(images) == 0:
        raise ValueError("expected at least one image, got none: leave the figure out of the report")
    height, width = images.shape[1:3]
    parts = (
        [f"central {centre} × {centre} of {height} × {width} pixels"] if centre and centre < max(height, width) else []
    )
    parts += [f"{stretch} stretch"] if stretch != "linear" else []
    return "; ".join([*parts, credit] if credit else parts)


def _add_foot(figure: Figure, foot: str) -> None:
    if foot:
        figure.supxlabel(foot, fontsize=8, color=GREY, ha="right", x=0.99)


def _fitted(text: str, width: int) -> str:
    return "\n".join(line for part in str(text).split("\n") for line in textwrap.wrap(part, width) or [""])


def _wrapped(names: Sequence[str]) -> list[str]:
    return ["\n".join(textwrap.wrap(str(name), 16)) or " " for name in names]


def _slanted(names: Sequence[str]) -> dict[str, Any]:
    if max((len(str(name)) for name in names), default=0) <= 10 and len(names) <= 8:
        return {}
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}


def _checked_counts(matrix: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    matrix = np.asarray(matrix)
    classes = len(class_names)
    if matrix.shape != (classes, classes) or classes == 0 or (matrix < 0).any() or (matrix != np.round(matrix)).any():
        raise ValueError(
            f"expected counts, whole numbers ≥ 0, of shape ({classes}, {classes}) for {classes} class names, "
            f"got shape {matrix.shape}: give counts with rows the true class, and one name per class"
        )
    return matrix.astype(int)


def _check_lengths(name: str, expected: int, **others: Sequence) -> None:
    for other, values in others.items():
        if len(values) != expected:
            raise ValueError(f"{name} got {expected} images and {len(values)} {other}: give one for each image")
