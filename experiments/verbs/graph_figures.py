"""Figures of graphs and sets of points: predictions on nodes and edges, attention, embeddings, clouds, calibration.

Pure functions from arrays to `matplotlib.figure.Figure`, in the manner of `figures`. Classes have the colours of Okabe
and Ito, and beyond eight of them other markers. What is predicted fills a node or an edge; where the truth is another
class, it makes the rim, so that a mistake has two colours.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from zoo_experiments.verbs.figures import BLUE, DIVERGING, GREY, NORMAL, SEQUENTIAL, SMALL, VERMILION, dress, new_figure
from zoo_experiments.verbs.graph_layouts import Drawing, principal
from zoo_experiments.verbs.score_figures import COLOURS

CLASS_COLOURS = (*COLOURS, "#000000", "#F0E442")
CLASS_MARKERS = ("o", "^", "D", "v")
UNKNOWN = "0.78"  # nodes without a class
# Weights: nothing is light, much is dark, as it should be on white.
WEIGHTS = "viridis_r"


def graphs(
    drawings: Sequence[Drawing],
    titles: Sequence[str],
    *,
    class_names: Sequence[str] = (),
    edge_names: Sequence[str] = (),
    quantity: str = "",
    signed: bool = False,
    colours: Sequence[str] | None = None,
    columns: int = 4,
    credit: str = "",
) -> Figure:
    """Graphs in a grid, each under its caption.

    Args:
        drawings: at least one.
        titles: a caption for each.
        class_names: of the classes of nodes, for the key.
        edge_names: of those of edges.
        quantity: what the numbers on nodes are, with their unit; one scale for all graphs.
        signed: numbers have a sign: blue below 0 and red above.
        colours: of the captions.
        columns: in a row.
        credit: line at the foot.
    """
    _check_titles("graphs", drawings, titles)
    numbers = [d.nodes for d in drawings if d.nodes is not None and np.asarray(d.nodes).dtype.kind == "f"]
    scale = _scale(np.concatenate(numbers), signed) if numbers else None
    columns = min(columns, len(drawings))
    rows = math.ceil(len(drawings) / columns)
    side = 6.4 if len(drawings) == 1 else 4.2 if max(len(d.senders) for d in drawings) > 300 else 2.6
    figure = new_figure(max(side * columns, 4.5), (0.8 * side + 0.2) * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.ravel()):
        axes.set_axis_off()
        if place < len(drawings):
            size = _size(len(drawings[place].places), side)
            _draw_edges(axes, drawings[place], size)
            _draw_nodes(axes, drawings[place], size, scale)
            _fit(axes, titles[place], colours[place] if colours else "black")
    _key(figure, drawings, class_names, edge_names)
    if scale is not None:
        _bar(figure, scale, list(grid.ravel()), quantity)
    if credit:
        figure.supxlabel(credit, fontsize=8, color=GREY, ha="right", x=0.99)
    return figure


def attention(
    drawing: Drawing,
    weights: np.ndarray,
    *,
    own: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    title: str = "",
    label: str = "attention, mean over heads",
) -> Figure:
    """What each node takes from its neighbours: the half of an edge at a node is wide and dark as it listens along it.

    Args:
        drawing: the graph, with classes of nodes or without; its edges are drawn by the weights.
        weights: (e,) or (e, heads), at least 0, of the message from sender to receiver.
        own: (n,) or (n, heads), what each node takes from itself: its ring.
        class_names: of the classes of nodes, for the key.
        title: above.
        label: of the scale.
    """
    if drawing.nodes is not None and np.asarray(drawing.nodes).dtype.kind == "f":
        raise ValueError("attention colours nodes by class, got numbers on nodes: leave them out, or use graphs.")
    weights = _mean_weights("weights", weights, len(drawing.senders))
    own = None if own is None else _mean_weights("own", own, len(drawing.places))
    largest = max(weights.max(initial=0), 0 if own is None else own.max(initial=0)) or 1.0
    scale = ScalarMappable(Normalize(0, largest), WEIGHTS)
    figure = new_figure(7.2, 5.8)
    axes = figure.add_subplot()
    axes.set_axis_off()
    order = np.argsort(weights, kind="stable")
    ends = drawing.places[np.stack([drawing.senders, drawing.receivers], 1).astype(int)][order]
    halves = np.stack([ends.mean(1), ends[:, 1]], 1)
    widths = 0.5 + 6 * weights[order] / largest
    axes.add_collection(LineCollection(halves, linewidths=widths, colors=scale.to_rgba(weights[order]), zorder=1))
    size = _size(len(drawing.places), 6.0)
    if own is not None:
        # Wide enough to be seen around nodes with a rim.
        inner = math.sqrt(1.5 * size) + 3
        for diameter, colour in ((inner + 1 + 6 * own / largest, scale.to_rgba(own)), (inner, "white")):
            axes.scatter(*drawing.places.T, s=diameter**2, color=colour, linewidths=0, zorder=2, clip_on=False)
    _draw_nodes(axes, drawing, size, None)
    _fit(axes, title, "black")
    _key(figure, [drawing], class_names, ())
    _bar(figure, scale, [axes], label)
    told = "half of an edge at a node: what it takes from the other end"
    told += "; ring: from itself" if own is not None else ""
    figure.supxlabel(told, fontsize=8, color=GREY, ha="right", x=0.99)
    return figure


def embedding(
    points: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    truth: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Learned features in the plane of their first two principal components, coloured by class.

    Args:
        points: (n, d) features, n at least 2.
        labels: (n,) classes, −1 for none, drawn grey.
        class_names: K names.
        truth: (n,) classes beside predicted labels; where they differ a point has a rim in the colour of the truth.
        title: above.
    """
    points, labels = np.asarray(points, np.float64), np.asarray(labels)
    if points.ndim != 2 or len(points) < 2 or len(points) != len(labels) or not np.isfinite(points).all():
        raise ValueError(
            f"embedding takes finite points (n, d), n at least 2, and labels (n,); got {points.shape} and "
            f"{labels.shape}."
        )
    places, shares = principal(points)
    figure = new_figure(7.0, 5.2)
    axes = figure.add_subplot()
    sizes = np.full(len(points), float(np.clip(16000 / len(points), 9, 60)))
    # In a random order, so that no class hides the others, but those without one below.
    order = np.random.default_rng(0).permutation(len(points))
    order = order[np.argsort(labels[order] >= 0, kind="stable")]
    true = None if truth is None else np.asarray(truth)
    wrong = _differ(labels, true)
    _classed(axes, places[order].T, sizes, labels[order], None if true is None else true[order], rim=0)
    named = [f"{name} ({np.sum(labels == k)})" for k, name in enumerate(class_names)]
    handles = [_dot(_colour(k), _marker(k)) for k in range(len(class_names))]
    if (labels < 0).any():
        handles, named = [*handles, _dot(UNKNOWN)], [*named, f"unknown ({np.sum(labels < 0)})"]
    if wrong.any():
        handles, named = [*handles, _two_colours()], [*named, f"rim: true class ({wrong.sum()})"]
    figure.legend(handles, named, loc="outside right upper", fontsize=SMALL, frameon=False)
    dress(
        axes, *(f"{nth} component ({100 * s:.0f} % of variance)" for nth, s in zip(("1st", "2nd"), shares, strict=True))
    )
    axes.set_title(title, fontsize=NORMAL)
    return figure


def point_sets(
    records: Sequence[np.ndarray],
    titles: Sequence[str],
    channels: Mapping[str, str],
    *,
    coordinates: Sequence[str],
    colour: str = "",
    area: str = "",
    log: bool = False,
    classes: Sequence[np.ndarray] = (),
    true_classes: Sequence[np.ndarray] = (),
    class_names: Sequence[str] = (),
    colours: Sequence[str] | None = None,
    columns: int = 4,
    credit: str = "",
) -> Figure:
    """Sets of points in a grid, each under its caption; axes, colours and areas are on one scale for all of them.

    Args:
        records: (n, C) points in the units of the channels, valid ones only.
        titles: a caption for each.
        channels: name → unit of each channel.
        coordinates: names of the channels that are the two or three axes.
        colour: name of the channel that is the colour, if any.
        area: name of the channel that the areas of the points are proportional to; of `log_…` its exponential.
        log: logarithmic scale of colour.
        classes: (n,) of the points of each record, in place of a channel's colour; −1 for none.
        true_classes: (n,) likewise, where `classes` are predicted.
        class_names: of the classes.
        colours: of the captions.
        columns: in a row.
        credit: line at the foot.
    """
    _check_titles("point_sets", records, titles)
    names = list(channels)
    missing = [name for name in (*coordinates, colour, area) if name and name not in names]
    if missing or len(coordinates) not in (2, 3):
        raise ValueError(
            f"point_sets takes two or three coordinates of the channels {', '.join(names)}; got "
            f"{', '.join([*coordinates, colour, area])}."
        )
    every = np.concatenate(records)
    if not len(every):
        raise ValueError("point_sets takes at least one point, got none: leave the figure out.")
    column = {name: every[:, i] for i, name in enumerate(names)}
    low, high = (np.array([end(column[name]) for name in coordinates]) for end in (np.min, np.max))
    margin = 0.06 * (high - low) + 1e-9
    scale = _scale(column[colour], False, log) if colour and not classes else None
    flat = len(coordinates) == 2
    columns = min(columns, len(records))
    rows = math.ceil(len(records) / columns)
    figure = new_figure((2.7 if flat else 3.2) * columns + (0.9 if scale else 0), (2.6 if flat else 2.9) * rows + 0.5)
    panels = []
    for place, (points, title) in enumerate(zip(records, titles, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1, projection=None if flat else "3d")
        panels.append(axes)
        sizes = _areas(points[:, names.index(area)], column[area], area) if area else np.full(len(points), 22.0)
        # Small points come last, so that large ones do not hide them.
        order = np.argsort(-sizes, kind="stable")
        at, sizes = points[np.ix_(order, [names.index(name) for name in coordinates])].T, sizes[order]
        if classes:
            true = np.asarray(true_classes[place])[order] if true_classes else None
            _classed(axes, at, sizes, np.asarray(classes[place])[order], true)
        else:
            shown = scale.to_rgba(points[order, names.index(colour)]) if scale else BLUE
            axes.scatter(*at, s=sizes, color=shown, alpha=0.85, edgecolors="white" if flat else "none", linewidths=0.4)
        axes.set_title(title, fontsize=SMALL, color=colours[place] if colours else "black", pad=3 if flat else -4)
        for which, name, start, stop in zip("xyz", coordinates, low - margin, high + margin, strict=False):
            getattr(axes, f"set_{which}lim")(start, stop)
            outer = not flat or (place + columns >= len(records) if which == "x" else place % columns == 0)
            if outer:
                getattr(axes, f"set_{which}label")(_with_unit(name, channels[name]), fontsize=SMALL, labelpad=1)
        axes.tick_params(labelsize=7, pad=1)
        axes.locator_params(nbins=5 if flat else 4)
        if flat:
            axes.spines[["top", "right"]].set_visible(False)
        else:
            axes.set_box_aspect(high - low + 2 * margin, zoom=0.8)
    if classes:
        wrong = any(
            _differ(np.asarray(k), np.asarray(true)).any() for k, true in zip(classes, true_classes, strict=False)
        )
        _legend(figure, [(_dot(_colour(k), _marker(k)), name) for k, name in enumerate(class_names)], wrong)
    if scale is not None:
        _bar(figure, scale, panels, _with_unit(colour, channels[colour]))
    foot = [f"area: {_with_unit(area.removeprefix('log_'), channels[area].removeprefix('ln '))}"] if area else []
    foot += [credit] if credit else []
    if foot:
        figure.supxlabel("; ".join(foot), fontsize=8, color=GREY, ha="right", x=0.99)
    return figure


def calibration_of_spread(
    errors: np.ndarray,
    spread: np.ndarray,
    *,
    unit: str = "",
    floor: np.ndarray | None = None,
    bins: int = 10,
) -> Figure:
    """Whether predicted standard deviations σ are true: errors over σ, and the errors' size in groups of equal σ.

    Args:
        errors: (n,) predicted less true numbers, n at least 5.
        spread: (n,) predicted σ, positive, in the same unit.
        unit: of both; empty for none.
        floor: (n,) true σ, where the data were made by a known law.
        bins: groups of equal size by σ, of at least five.
    """
    errors, spread = np.asarray(errors, np.float64), np.asarray(spread, np.float64)
    if errors.shape != spread.shape or errors.ndim != 1 or len(errors) < 5:
        raise ValueError(
            f"calibration_of_spread takes errors and spread (n,), n at least 5; got {errors.shape} and {spread.shape}."
        )
    if not (np.isfinite(errors).all() and np.isfinite(spread).all() and (spread > 0).all()):
        raise ValueError("calibration_of_spread takes finite errors and positive, finite spread: leave the others out.")
    z, units = errors / spread, f" ({unit})" if unit else ""
    figure = new_figure(9.2, 4.3)
    left, right = figure.subplots(1, 2)
    edges = np.linspace(-5, 5, 41 if len(z) > 500 else 21)
    # Of all errors, those beyond the axis too.
    share = np.full(len(z), 1 / (len(z) * (edges[1] - edges[0])))
    left.hist(z, edges, weights=share, color=BLUE, alpha=0.45, label="errors / σ")
    grid = np.linspace(-5, 5, 201)
    left.plot(grid, scipy.stats.norm.pdf(grid), color=VERMILION, linewidth=1.6, label="unit normal")
    beyond = int((np.abs(z) > 5).sum())
    left.set_title(f"mean {z.mean():.2f}, rms {_rms(z):.2f}, {beyond} of {len(z):,} beyond ±5", fontsize=SMALL)
    left.set_xlim(-5, 5)
    left.legend(fontsize=SMALL, frameon=False)
    dress(left, "error / predicted σ", "density")

    groups = np.array_split(np.argsort(spread, kind="stable"), max(1, min(bins, len(z) // 5)))
    said = np.array([_rms(spread[group]) for group in groups])
    found = np.array([_rms(errors[group]) for group in groups])
    counts = np.array([len(group) for group in groups])
    # Σ error² of n Gaussian errors is σ² times χ² with n degrees of freedom.
    ends = np.stack([np.sqrt(counts / scipy.stats.chi2.ppf(q, counts)) for q in (0.975, 0.025)]) * found
    shown = [said, *ends] if floor is None else [said, *ends, *[[_rms(np.asarray(floor)[g]) for g in groups]]]
    low, high = min(map(np.min, shown)), max(map(np.max, shown))
    margin = 0.06 * (high - low) or 0.05 * high
    span = [max(low - margin, 0), high + margin]
    right.plot(span, span, color=GREY, linestyle="--", linewidth=1, label="as predicted")
    right.errorbar(
        said, found, yerr=[found - ends[0], ends[1] - found], fmt="o", color=BLUE, capsize=3, markersize=5,
        label="actual, 95 % interval",
    )  # fmt: skip
    if floor is not None:
        right.plot(said, shown[-1], color=VERMILION, marker="s", markersize=4, linewidth=1.2, label="true scatter")
    right.set_xlim(span)
    right.set_ylim(span)
    right.legend(fontsize=SMALL, frameon=False, loc="upper left")
    dress(right, f"predicted σ{units}", f"rms error{units}")
    return figure


def positions_map(
    positions: np.ndarray,
    values: np.ndarray,
    *,
    quantity: str,
    unit: str,
    signed: bool = False,
    log_mass: np.ndarray | None = None,
    mass_unit: str = "solar masses",
    axes: tuple[int, int] = (0, 1),
    title: str = "",
) -> Figure:
    """Points of a box, projected on two of its axes, coloured by a number, those with mass larger.

    Args:
        positions: (n, D).
        values: (n,) numbers; the scale ends at the 99th percentile of what is shown.
        quantity: what they are, with their unit.
        unit: of the positions.
        signed: numbers have a sign: blue below 0, white at 0 and red above.
        log_mass: (n,) decimal logarithm of the masses: areas are as mass^⅔.
        mass_unit: theirs.
        axes: numbers of the two axes.
        title: above.
    """
    positions, values = np.asarray(positions, np.float64), np.asarray(values, np.float64)
    if positions.ndim != 2 or values.shape != positions.shape[:1] or not len(values):
        raise ValueError(
            f"positions_map takes positions (n, D) and values (n,); got {positions.shape}, {values.shape}."
        )
    mass = np.zeros(len(values)) if log_mass is None else np.asarray(log_mass, np.float64)
    if mass.shape != values.shape:
        raise ValueError(f"positions_map takes log_mass {values.shape}, got {mass.shape}.")
    top = mass.max()

    def area(lg: Any) -> Any:
        return 26.0 + 0 * lg if log_mass is None else np.maximum(420 * 10 ** ((lg - top) * 2 / 3), 4)

    figure = new_figure(6.8, 5.8)
    panel = figure.add_subplot()
    scale = _scale(values, signed)
    # Small ones come last, so that large ones do not hide them.
    order = np.argsort(-mass, kind="stable")
    panel.scatter(
        *positions[order][:, list(axes)].T, s=area(mass[order]), c=scale.to_rgba(values[order]), edgecolors="0.35",
        linewidths=0.5,
    )  # fmt: skip
    dress(panel, *(f"{'xyz'[i]} ({unit})" for i in axes))
    panel.set_aspect("equal")
    panel.set_title(title, fontsize=NORMAL)
    if log_mass is not None:
        steps = np.unique(np.round(np.linspace(mass.min(), top, 4)[1:], 1))
        handles = [_dot("0.8", size=math.sqrt(area(lg)), rim="0.35") for lg in steps]
        named = [f"$10^{{{lg:.1f}}}$ {mass_unit}" for lg in steps]
        figure.legend(handles, named, loc="outside lower center", ncols=len(steps), fontsize=SMALL, frameon=False)
    _bar(figure, scale, [panel], quantity)
    return figure


def _draw_edges(axes: Axes, drawing: Drawing, size: float) -> None:
    """An edge and its way back are one line if they are of one class."""
    count = len(drawing.senders)
    classes = np.full(count, -1) if drawing.edges is None else np.asarray(drawing.edges)
    true = classes if drawing.true_edges is None else np.asarray(drawing.true_edges)
    pairs = np.sort(np.stack([drawing.senders, drawing.receivers], 1).astype(int), axis=1)
    rows = np.unique(np.column_stack([classes, true, pairs]), axis=0)
    ends = drawing.places[rows[:, 2:]]
    wrong = _differ(rows[:, 0], rows[:, 1])
    width = float(np.clip(0.13 * math.sqrt(size), 0.6, 1.8)) * (1 if len(rows) < 150 else 0.5)
    plain = "0.55" if drawing.edges is None else "0.85"
    # Rare classes above common ones, mistakes above all.
    known, counts = np.unique(rows[:, 0], return_counts=True)
    often = counts[np.searchsorted(known, rows[:, 0])] * (rows[:, 0] >= 0) + count * (rows[:, 0] < 0)
    for chosen, zorder in ((~wrong, 1), (wrong, 2)):
        order = np.flatnonzero(chosen)[np.argsort(-often[chosen], kind="stable")]
        if zorder == 2:
            rims = [_colour(k) for k in rows[order, 1]]
            axes.add_collection(LineCollection(ends[order], linewidths=3.5 * width, colors=rims, zorder=1.5))
        shown = [plain if k < 0 else _colour(k) for k in rows[order, 0]]
        axes.add_collection(
            LineCollection(ends[order], linewidths=width * 1.3 ** (zorder - 1), colors=shown, zorder=zorder)
        )


def _draw_nodes(axes: Axes, drawing: Drawing, size: float, scale: ScalarMappable | None) -> None:
    count = len(drawing.places)
    values = None if drawing.nodes is None else np.asarray(drawing.nodes)
    given = np.zeros(count, bool) if drawing.given is None else np.asarray(drawing.given, bool)
    if values is None or values.dtype.kind == "f":
        faces = ["0.7"] * count if values is None else scale.to_rgba(values)
        axes.scatter(*drawing.places.T, s=size, c=faces, edgecolors="0.2", linewidths=0.5, zorder=3, clip_on=False)
        return
    true = None if drawing.true_nodes is None else np.asarray(drawing.true_nodes)
    for chosen, square in ((~given, False), (given, True)):
        rows = np.flatnonzero(chosen)
        at, here = drawing.places[rows].T, None if true is None else true[rows]
        _classed(
            axes,
            at,
            np.full(len(rows), size),
            values[rows],
            here,
            marker="s" if square else "",
            zorder=3,
            clip_on=False,
        )


def _classed(
    axes: Axes,
    at: Sequence[np.ndarray],
    sizes: np.ndarray,
    classes: np.ndarray,
    true: np.ndarray | None,
    *,
    marker: str = "",
    rim: float = 0.5,
    **options: Any,
) -> None:
    """Points coloured by class; a rim in the colour of the true one where it is another."""
    wrong = _differ(classes, true)
    markers = np.array([marker or _marker(k) for k in classes])
    for shape in np.unique(markers):
        rows = np.flatnonzero(markers == shape)
        here = [np.asarray(x)[rows] for x in at]
        rims = [_colour(true[row]) if wrong[row] else "0.2" for row in rows]
        axes.scatter(
            *here,
            s=np.where(wrong[rows], 1.5, 1) * sizes[rows],
            marker=str(shape),
            c=[_colour(classes[row]) for row in rows],
            edgecolors=rims,
            linewidths=np.where(wrong[rows], 0.28 * np.sqrt(sizes[rows]), rim),
            **options,
        )


def _differ(classes: np.ndarray, true: np.ndarray | None) -> np.ndarray:
    """Where the truth is known and another class."""
    return np.zeros(len(classes), bool) if true is None else (true != classes) & (true >= 0)


def _colour(k: int) -> str:
    return UNKNOWN if k < 0 else CLASS_COLOURS[int(k) % len(CLASS_COLOURS)]


def _marker(k: int) -> str:
    return CLASS_MARKERS[max(int(k), 0) // len(CLASS_COLOURS) % len(CLASS_MARKERS)]


def _dot(colour: str, marker: str = "o", *, size: float = 7, rim: str = "none") -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=size, markeredgecolor=rim)


def _two_colours() -> Line2D:
    return Line2D([], [], linestyle="", marker="o", color=UNKNOWN, markersize=7, markeredgecolor=GREY, mew=2.5)


def _key(figure: Figure, drawings: Sequence[Drawing], class_names: Sequence[str], edge_names: Sequence[str]) -> None:
    """The colours of classes, and what squares and rims are, as far as they are there."""
    nodes = _there([values for d in drawings for values in (d.nodes, d.true_nodes)])
    edges = _there([values for d in drawings for values in (d.edges, d.true_edges)])
    entries = [(_dot(_colour(k), _marker(k), rim="0.2"), name) for k, name in enumerate(class_names) if k in nodes]
    entries += [
        (Line2D([], [], color=_colour(k), linewidth=2.5), name) for k, name in enumerate(edge_names) if k in edges
    ]
    if any(d.given is not None and np.any(d.given) for d in drawings):
        entries.append((_dot("white", "s", rim="0.2"), "class was given"))
    pairs = [(d.nodes, d.true_nodes) for d in drawings] + [(d.edges, d.true_edges) for d in drawings]
    _legend(figure, entries, any(k is not None and _differ(k, true).any() for k, true in pairs))


def _there(classes: Sequence[np.ndarray | None]) -> set[int]:
    return {
        int(k) for some in classes if some is not None and np.asarray(some).dtype.kind != "f" for k in np.unique(some)
    }


def _legend(figure: Figure, entries: Sequence[tuple[Line2D, str]], rims: bool) -> None:
    entries = [*entries, (_two_colours(), "rim: true class")] if rims else list(entries)
    if entries:
        handles, names = zip(*entries, strict=True)
        longest = max(map(len, names))
        # So many as fit, at about 0.08 inches a letter.
        columns = max(1, int((figure.get_size_inches()[0] - 0.3) / (0.65 + 0.08 * longest)))
        figure.legend(
            handles, names, loc="outside upper center", ncols=min(len(names), columns), fontsize=SMALL, frameon=False
        )


def _scale(values: np.ndarray, signed: bool, log: bool = False) -> ScalarMappable:
    """Colours from the 1st to the 99th percentile, or to both sides of 0."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(values):
        raise ValueError(
            f"A scale of colours takes finite numbers{', positive if it is logarithmic' if log else ''}; got none."
        )
    if log:
        low, high = np.percentile(values, [1, 99])
        return ScalarMappable(LogNorm(low, max(high, low * 1.01)), SEQUENTIAL)
    if signed:
        end = float(np.percentile(np.abs(values), 99)) or 1.0
        return ScalarMappable(Normalize(-end, end), DIVERGING)
    low, high = np.percentile(values, [1, 99])
    return ScalarMappable(Normalize(low, high if high > low else low + 1), SEQUENTIAL)


def _bar(figure: Figure, scale: ScalarMappable, panels: Sequence[Axes], label: str) -> None:
    bar = figure.colorbar(scale, ax=panels, fraction=0.05, pad=0.02, shrink=0.8)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def _areas(values: np.ndarray, every: np.ndarray, name: str) -> np.ndarray:
    """In points²: 300 for the largest of all records; what would be too small to be seen has 3."""
    amount = np.exp if name.startswith("log_") else np.asarray
    return np.maximum(300 * amount(values) / max(float(amount(every).max()), 1e-300), 3)


def _with_unit(name: str, unit: str) -> str:
    told = name.replace("_", " ")
    return f"{told} ({unit})" if unit and unit != "1" else told


def _size(nodes: int, side: float) -> float:
    """Area of a node in points², in a panel of so many inches a side."""
    return float(np.clip(260 * side**2 / max(nodes, 1), 10, 130))


def _fit(axes: Axes, title: str, colour: str) -> None:
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    axes.autoscale_view()
    axes.set_title(title, fontsize=SMALL, color=colour, pad=3)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _mean_weights(name: str, weights: np.ndarray, rows: int) -> np.ndarray:
    weights = np.asarray(weights, np.float64)
    if weights.ndim not in (1, 2) or len(weights) != rows or not (weights >= 0).all():
        raise ValueError(
            f"attention takes {name} ({rows},) or ({rows}, heads), none negative; got {weights.shape}, from "
            f"{weights.min(initial=0):g} on."
        )
    return weights if weights.ndim == 1 else weights.mean(1)


def _check_titles(name: str, records: Sequence, titles: Sequence[str]) -> None:
    if not len(records) or len(records) != len(titles):
        raise ValueError(f"{name} takes at least one record and a title for each; got {len(records)}, {len(titles)}.")
