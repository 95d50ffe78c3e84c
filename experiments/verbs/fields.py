"""Images, sequences, graphs or sets of points: the field of the records that a network takes."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

import zoo
from zoo import train
from zoo.layers import PaddedGraphs, PointSet
from zoo_datasets.loading.records import Dataset

Field = Literal["image", "sequence", "graph", "points"]
# What a shape of each is made of, for messages.
LAYOUT = {
    "image": "images {} (height, width, channels)",
    "sequence": "sequences {} (steps, channels)",
    "graph": "graphs {} (features of a node, of an edge, types of edges)",
    "points": "sets of points {} (channels)",
}
# The field of a record that tells which it is.
_TOLD_BY = {"sequence": "sequence", "graph": "nodes", "points": "points"}
# What a model's card says it takes.
KINDS = {"image": "array", "sequence": "array", "graph": "graph", "points": "points"}
FOR_THE_NETWORK = (
    "image",
    "sequence",
    "length",
    "nodes",
    "senders",
    "receivers",
    "edges",
    "pairs",
    "points",
    "n_node",
    "n_edge",
    "n_point",
    "label",
    "target",
    "masks",
    "valid",
    "mask",
)


def field_of(dataset: Dataset) -> Field:
    """What its records are."""
    record = next((source[0] for source in dataset.splits.values() if len(source)), {})
    return next((field for field, name in _TOLD_BY.items() if name in record), "image")


def inputs_of(field: Field, arrays: Mapping[str, np.ndarray]) -> Any:
    """What a network takes, of stacked records."""
    if field == "sequence":
        return zoo.Sequence(arrays["sequence"], arrays["length"])
    if field == "graph":
        return train.graphs_of(arrays)
    return train.points_of(arrays) if field == "points" else arrays["image"]


def shape_of(field: Field, arrays: Mapping[str, np.ndarray], *, edge_types: int = 0) -> tuple[int, ...]:
    """What a network must know of the arrays: (H, W, C), (T, …), the features of a graph, or the channels of points.

    Args:
        field: what the records are.
        arrays: stacked records.
        edge_types: number of types of edges where `edges` are types.
    """
    if field == "graph":
        edges = arrays.get("edges")
        typed = edges is not None and edges.ndim == 2
        features = 0 if edges is None or typed else edges.shape[-1]
        return arrays["nodes"].shape[-1], features, edge_types if typed else 0
    return arrays["points"].shape[-1:] if field == "points" else arrays[field].shape[1:]


def example_of(field: Field, shape: tuple[int, ...], *, least: int = 1) -> Any:
    """One input of a network with a batch axis, zeros: only its shape matters.

    Args:
        field: what the records are.
        shape: as `shape_of` gives it.
        least: points that there must be room for.
    """
    if field == "image":
        return np.zeros((1, *shape), np.float32)
    if field == "points":
        return PointSet(np.zeros((1, least, *shape), np.float32), np.ones((1, least), bool))
    if field == "sequence":
        dtype = np.int32 if len(shape) == 1 else np.float32
        return zoo.Sequence(np.zeros((1, *shape), dtype), np.full(1, shape[0], np.int32))
    nodes, features, types = shape
    edges = np.zeros((1, 1, features), np.float32) if features else None
    one = np.ones(1, np.int32)
    return PaddedGraphs(
        nodes=np.zeros((1, 3, nodes), np.float32),
        senders=np.zeros((1, 1), np.int32),
        receivers=np.ones((1, 1), np.int32),
        n_node=2 * one,
        n_edge=one,
        edges=np.zeros((1, 1), np.int32) if types else edges,
        pairs=np.zeros((1, 4, 2), np.int32),
    )


def rows_in(rows: str, example: Any) -> int:
    """How many steps, nodes, edges, pairs or points an input has room for."""
    if rows in ("step", "point"):
        return example.values.shape[1]
    return {"node": example.nodes, "edge": example.senders, "pair": example.pairs}[rows].shape[1]
