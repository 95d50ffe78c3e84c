"""The figures of a report about graphs and sets of points."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from zoo import taps, train
from zoo_datasets.loading.records import ArraySource
from zoo_experiments.verbs import figures, graph_figures, graph_layouts, score_figures
from zoo_experiments.verbs.experiment import Setup
from zoo_experiments.verbs.graph_layouts import Drawing
from zoo_experiments.verbs.graph_scores import counted, standardised_errors

SHOWN = 8
# Records, and rows of them, whose learned features are drawn; nodes of a graph that is too large to be drawn whole.
EMBEDDED, ROWS, DRAWN = 300, 3000, 60
# What the outputs are about → the last tap before them.
_TAPS = {"": r"pool|pooled", "node": r"nodes\d+", "edge": r"pairs", "point": r"points"}


def drawn(made: Setup, variables: Mapping[str, Any], source: ArraySource, raw: np.ndarray) -> dict[str, figures.Figure]:
    """Name → figure, of all but what any classifier or regression has.

    Args:
        made: functions of the run.
        variables: weights.
        source: the records.
        raw: outputs of the network.
    """
    found = {}
    if made.outputs.rows:
        found |= _numbers_of_rows(made, source, raw) if made.outputs.targets else _classes_of_rows(made, source, raw)
    if made.outputs.rows in ("node", "edge") and not made.outputs.targets:
        found["examples"] = _examples(made, source, raw)
    elif made.outputs.rows == "point":
        found["examples"] = _labelled_points(made, source, raw)
    return {**found, **_embedding(made, variables, source, raw), **_attention(made, variables, source)}


def gallery(
    made: Setup,
    source: ArraySource,
    chosen: np.ndarray,
    titles: list[str],
    *,
    colours: list[str] | None = None,
    credit: str = "",
) -> figures.Figure:
    """Some graphs or sets of points with captions."""
    chosen, titles = chosen[:SHOWN], titles[:SHOWN]
    colours = None if colours is None else colours[:SHOWN]
    if made.field == "points":
        records = [points_of(made, source, i) for i in chosen]
        how = axes_of(made)
        return graph_figures.point_sets(records, titles, _channels(made), **how, colours=colours, credit=credit)
    tags = _tags(source)
    drawings = [_drawing(source, i, nodes=None if tags is None else tags[i]) for i in chosen]
    names = list(made.channels) or [f"tag {k}" for k in range(source.arrays["nodes"].shape[-1])]
    return graph_figures.graphs(drawings, titles, class_names=names, colours=colours, credit=credit)


def points_of(made: Setup, source: ArraySource, record: int) -> np.ndarray:
    """The points (n, C) of a record in the units of the data."""
    values, how = source.arrays["points"][record, : source.arrays["n_point"][record]], made.experiment.points
    size = values.shape[1]
    values = values * np.asarray(how.scale[:size], np.float32) if how.scale else values
    return values + np.asarray(how.centre[:size], np.float32) if how.centre else values


def axes_of(made: Setup) -> dict[str, Any]:
    """Which channels of points are axes, colour and area: three axes where the first three are x, y and z."""
    names = list(_channels(made))
    count = 3 if names[:3] == ["x", "y", "z"] else 2
    rest = names[count:]
    area = next((name for name in rest if name.startswith("log_")), "")
    return {"coordinates": tuple(names[:count]), "area": area, "colour": "" if area or not rest else rest[0]}


def _channels(made: Setup) -> dict[str, str]:
    kept = made.shape[-1]
    named = list(made.channels.items()) or [(f"channel {k}", "") for k in range(kept)]
    return dict(named[:kept])


def _tags(source: ArraySource) -> np.ndarray | None:
    """(N, n) the class of every node where its features are one of several tags."""
    nodes = source.arrays["nodes"]
    real = np.arange(nodes.shape[1]) < source.arrays["n_node"][:, None]
    one_hot = ((nodes == 0) | (nodes == 1)).all() and (nodes.sum(-1)[real] == 1).all()
    return nodes.argmax(-1) if one_hot and nodes.shape[-1] > 1 else None


def _drawing(source: ArraySource, record: int, *, nodes: np.ndarray | None = None) -> Drawing:
    """A whole graph, its nodes coloured by `nodes`."""
    count, edges = (int(source.arrays[name][record]) for name in ("n_node", "n_edge"))
    senders, receivers = (source.arrays[name][record, :edges] for name in ("senders", "receivers"))
    places = graph_layouts.layout(senders, receivers, count)
    return Drawing(senders, receivers, places, None if nodes is None else nodes[:count])


def _classes_of_rows(made: Setup, source: ArraySource, raw: np.ndarray) -> dict[str, figures.Figure]:
    rows, truth = counted(made, raw, source)
    names = made.class_names
    sums = jax.device_get(train.classification_sums(rows, truth, np.ones(len(truth), np.float32)))
    found = {
        "confusion": figures.confusion(np.asarray(sums["confusion"]), names),
        "reliability": figures.reliability_of(np.asarray(sums["bins"])),
    }
    if len(names) == 2 and len(np.unique(truth)) == 2:
        positive = np.asarray(jax.nn.softmax(rows))[:, 1]
        found["detection"] = score_figures.detection({"network": positive}, {"network": truth}, positive=names[1])
    return found


def _numbers_of_rows(made: Setup, source: ArraySource, raw: np.ndarray) -> dict[str, figures.Figure]:
    there = source.arrays["valid"] > 0
    size = len(made.outputs.targets)
    predicted, truth = np.asarray(made.task.predict(raw))[there][:, :size], source.arrays["target"][there]
    found = {
        f"numbers_{d}" if d else "numbers": score_figures.predicted_against_true(
            predicted[:, d], truth[:, d], name, unit
        )
        for d, (name, unit) in enumerate(made.outputs.targets.items())
    }
    if not made.outputs.spread:
        return found
    errors, spread = standardised_errors(made, raw, source)
    unit = next(iter(made.outputs.targets.values()))
    floor = source.arrays["scatter"][there] if "scatter" in source.arrays else None
    found["spread"] = graph_figures.calibration_of_spread(errors[:, 0], spread[:, 0], unit=unit, floor=floor)
    if "positions" in source.arrays:
        counts = there[0]
        first = counted(made, raw[:1], source.part(np.arange(1)))[0]
        z = errors[: len(first), 0] / spread[: len(first), 0]
        found["map"] = graph_figures.positions_map(
            source.arrays["positions"][0][counts], z, quantity="error / σ", unit="Mpc", signed=True, title="record 0"
        )
    return found


def _examples(made: Setup, source: ArraySource, raw: np.ndarray) -> figures.Figure:
    """Graphs with what is said of their nodes or edges: whole ones, or the surroundings of some nodes."""
    predicted, there = raw.argmax(-1), source.arrays["valid"] > 0
    truth = np.where(there, source.arrays["label"], -1)
    if made.outputs.rows == "edge":
        return _labelled_edges(made, source, predicted, truth)
    if source.arrays["n_node"][0] <= graph_layouts.MANY:
        whole = [_drawing(source, i, nodes=predicted[i]) for i in range(min(len(source), 4))]
        drawings = [_with_truth(drawing, truth[i, : len(drawing.places)]) for i, drawing in enumerate(whole)]
        return graph_figures.graphs(drawings, [f"record {i}" for i in range(len(whole))], class_names=made.class_names)
    p = np.asarray(jax.nn.softmax(raw[0]))
    nodes = np.flatnonzero(there[0])
    right = p[nodes, truth[0, nodes]]
    order = nodes[np.argsort(right, kind="stable")]
    chosen = order[[len(order) // 20, len(order) // 4, len(order) // 2, (9 * len(order)) // 10]]
    edges = int(source.arrays["n_edge"][0])
    senders, receivers = (source.arrays[name][0, :edges] for name in ("senders", "receivers"))
    drawings, titles = [], []
    for node in chosen:
        kept, _, near_senders, near_receivers = graph_layouts.around(senders, receivers, int(node), most=DRAWN)
        places = graph_layouts.layout(near_senders, near_receivers, len(kept))
        drawings.append(Drawing(near_senders, near_receivers, places, predicted[0, kept], true_nodes=truth[0, kept]))
        titles.append(f"around node {node}\nprobability of its true class {p[node, truth[0, node]]:.2f}")
    return graph_figures.graphs(drawings, titles, class_names=made.class_names, columns=2)


def _with_truth(drawing: Drawing, truth: np.ndarray) -> Drawing:
    return Drawing(drawing.senders, drawing.receivers, drawing.places, drawing.nodes, true_nodes=truth)


def _labelled_edges(made: Setup, source: ArraySource, predicted: np.ndarray, truth: np.ndarray) -> figures.Figure:
    """Two graphs, with those edges alone that have a truth or are given a class that is not the commonest."""
    common = int(np.bincount(truth[truth >= 0]).argmax())
    drawings = []
    for i in range(min(len(source), 2)):
        there = truth[i] >= 0
        # The commonest class would hide the others, and pull all nodes together.
        rare = there & ((truth[i] != common) | (predicted[i] != common))
        senders, receivers = (source.arrays[name][i][rare] for name in ("senders", "receivers"))
        places = graph_layouts.layout(senders, receivers, int(source.arrays["n_node"][i]))
        drawings.append(Drawing(senders, receivers, places, edges=predicted[i][rare], true_edges=truth[i][rare]))
    left_out = f"without edges rightly called\n{made.class_names[common]}"
    titles = [f"record {i}, {left_out}" for i in range(len(drawings))]
    return graph_figures.graphs(drawings, titles, edge_names=made.class_names, columns=2)


def _labelled_points(made: Setup, source: ArraySource, raw: np.ndarray) -> figures.Figure:
    count = min(len(source), SHOWN)
    numbers = source.arrays["n_point"][:count]
    predicted, truth = raw[:count].argmax(-1), source.arrays["label"][:count]
    how = {**axes_of(made), "colour": ""}
    return graph_figures.point_sets(
        [points_of(made, source, i) for i in range(count)],
        [f"record {i}" for i in range(count)],
        _channels(made),
        **how,
        classes=[row[:n] for row, n in zip(predicted, numbers, strict=True)],
        true_classes=[row[:n] for row, n in zip(truth, numbers, strict=True)],
        class_names=made.class_names,
    )


def _embedding(
    made: Setup, variables: Mapping[str, Any], source: ArraySource, raw: np.ndarray
) -> dict[str, figures.Figure]:
    """Learned features before the outputs, of classes; nothing where the network has no tap for them."""
    if made.outputs.targets or made.outputs.rows not in _TAPS:
        return {}
    layers = [name for name in taps.names(made.model, made.example) if re.fullmatch(_TAPS[made.outputs.rows], name)]
    if not layers:
        return {}
    few = source.part(np.arange(min(len(source), EMBEDDED)))
    features = _read(made, variables, few, layers[-1])
    predicted, truth = raw[: len(few)].argmax(-1), few.arrays["label"]
    if made.outputs.rows:
        there = few.arrays["valid"] > 0
        features = features.reshape(*there.shape, -1)[there]
        drawn = np.random.default_rng(0).permutation(int(there.sum()))[:ROWS]
        features, predicted, truth = features[drawn], predicted[there][drawn], truth[there][drawn]
    elif made.field == "graph":
        # Every other graph is the padding of the one before.
        features = features[::2]
    title = "learned features before the outputs"
    return {"embedding": graph_figures.embedding(features, predicted, made.class_names, truth=truth, title=title)}


def _attention(made: Setup, variables: Mapping[str, Any], source: ArraySource) -> dict[str, figures.Figure]:
    """What the nodes of the first graph take from each other in the first layer, where there is attention."""
    layers = [name for name in taps.names(made.model, made.example) if re.fullmatch(r"layer\d+/weights", name)]
    if not layers or source.arrays["n_node"][0] > graph_layouts.MANY:
        return {}
    one = source.part(np.arange(1))
    weights = _read(made, variables, one, layers[0])
    nodes, edges, slots = (int(n) for n in (*[one.arrays[n][0] for n in ("n_node", "n_edge")], one.slots["n_edge"]))
    truth = np.where(one.arrays["valid"][0] > 0, one.arrays["label"][0], -1) if made.outputs.rows == "node" else None
    drawing = _drawing(one, 0, nodes=truth)
    figure = graph_figures.attention(
        drawing,
        weights[:edges],
        own=weights[slots : slots + nodes],
        class_names=made.class_names if truth is not None else (),
        title="first layer, record 0",
    )
    return {"attention": figure}


def _read(made: Setup, variables: Mapping[str, Any], source: ArraySource, layer: str) -> np.ndarray:
    read = jax.jit(lambda inputs: taps.read(made.model, variables, inputs, [layer])[1][layer])
    return np.asarray(read(jax.tree.map(np.asarray, made.inputs(source.arrays))))
