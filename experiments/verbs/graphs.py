"""From a record of a graph, or of a set of points, to what a network takes: once per record, in NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from zoo.errors import UserError
from zoo.layers import PaddedGraphs
from zoo_datasets.loading.buckets import MOST
from zoo_datasets.loading.graph_records import require_graph
from zoo_datasets.loading.ragged import ROWS
from zoo_datasets.loading.records import DataError
from zoo_experiments.verbs.checks import require, require_at_least

# Field of a truth about rows → the rows it is about.
ROWS_OF_TRUTH = {
    "pair_label": "pair",
    "edge_label": "edge",
    "node_label": "node",
    "node_target": "node",
}
# Rows → the field whose rows they are.
FIELD_OF_ROWS = {"node": "nodes", "edge": "senders", "pair": "pairs", "point": "points"}
# Rows → the field that says how many of them are real.
COUNT_OF_ROWS = {rows: ROWS[name] for rows, name in FIELD_OF_ROWS.items()}


@dataclass(frozen=True)
class Graphs:
    """Scaling of features, types of edges, and sizes of arrays.

    Attributes:
        node_centre: of each feature of a node, subtracted; () for none.
        node_scale: of each feature of a node, by which it is then divided; () for none.
        edge_centre: of each feature of an edge.
        edge_scale: of each feature of an edge.
        types: what becomes of types of edges: `features` puts one channel for each beside an edge's features,
            `weights` lets the network have weights for each (its option edge_types), which then sees no features of
            edges; `none` leaves them out.
        embedding: where pairs of nodes are asked about, numbers by which the network describes a node.
        redraw: where pairs of nodes are asked about, whether those that are not joined are other ones at every step of
            training, drawn at random.
        buckets: largest number of array sizes in training, and so of compilations.

    Raises:
        UserError: a value out of range.
    """

    node_centre: tuple[float, ...] = ()
    node_scale: tuple[float, ...] = ()
    edge_centre: tuple[float, ...] = ()
    edge_scale: tuple[float, ...] = ()
    types: Literal["features", "weights", "none"] = "features"
    embedding: int = 16
    redraw: bool = True
    buckets: int = MOST

    def __post_init__(self) -> None:
        require(1 <= self.buckets <= MOST, "graphs.buckets", f"1 … {MOST}", self.buckets)
        require_at_least("graphs.embedding", self.embedding, 1)
        for name in ("node_scale", "edge_scale"):
            _require_scale(f"graphs.{name}", getattr(self, name))

    def prepared(self, record: Mapping[str, Any], *, edge_types: int = 0, truth: bool = True) -> dict[str, Any]:
        """A record with `nodes` and `edges` as the network takes them, and the truth as `label` or `target`.

        Where the truth is about rows, `valid` says which of them count.

        Args:
            record: as `zoo_datasets.loading.graph_records` says.
            edge_types: number of types of edges of the data.
            truth: whether there must be a truth.
        """
        found = {name: value for name, value in record.items() if name not in (*ROWS_OF_TRUTH, "node_valid")}
        found["nodes"] = scaled("graphs.node", record["nodes"], self.node_centre, self.node_scale)
        if "edges" in record:
            found["edges"] = scaled("graphs.edge", record["edges"], self.edge_centre, self.edge_scale)
        if "edge_type" in record and self.types == "weights":
            found["edges"] = record["edge_type"]
        elif "edge_type" in record and self.types == "features":
            kinds = np.eye(edge_types, dtype=np.float32)[record["edge_type"]]
            found["edges"] = np.concatenate([found["edges"], kinds], axis=1) if "edges" in record else kinds
        return {**found, **(truth_of_rows(record) if truth else {})}


@dataclass(frozen=True)
class Points:
    """Scaling of the channels of points, and sizes of arrays.

    Attributes:
        centre: of each channel, subtracted; () for none.
        scale: of each channel, by which it is then divided; () for none.
        channels: number of leading channels that are kept; 0 for all.
        buckets: largest number of array sizes in training, and so of compilations.

    Raises:
        UserError: a value out of range.
    """

    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    channels: int = 0
    buckets: int = MOST

    def __post_init__(self) -> None:
        require(1 <= self.buckets <= MOST, "points.buckets", f"1 … {MOST}", self.buckets)
        require_at_least("points.channels", self.channels, 0)
        _require_scale("points.scale", self.scale)

    def prepared(self, record: Mapping[str, Any], *, edge_types: int = 0, truth: bool = True) -> dict[str, Any]:
        """A record with `points` as the network takes them; where every point has a `label`, all are `valid`."""
        points = scaled("points", record["points"], self.centre, self.scale)
        found = {**record, "points": points[:, : self.channels or None]}
        if not truth:
            return {name: value for name, value in found.items() if name != "label"}
        many = np.ndim(record.get("label", 0)) > 0
        return {**found, "valid": np.ones(len(points), np.float32)} if many else found


def redrawn_pairs(
    key: jax.Array, graphs: PaddedGraphs, maps: Mapping[str, jax.Array]
) -> tuple[PaddedGraphs, dict[str, jax.Array]]:
    """A graph whose pairs with `label` 0 are two of its nodes at random: of few links, hardly any is drawn by chance.

    With the same pairs all the time a network learns by heart which nodes are asked about in vain.

    Args:
        key: of the draws.
        graphs: one graph, without an axis of graphs.
        maps: `label` (P,).
    """
    drawn = jax.random.randint(key, graphs.pairs.shape, 0, jnp.maximum(graphs.n_node, 1), graphs.pairs.dtype)
    return graphs.replace(pairs=jnp.where(maps["label"][:, None] == 0, drawn, graphs.pairs)), dict(maps)


def truth_of_rows(record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """`label` or `target`, and `valid`, of the rows of a graph; nothing where the truth is about the whole."""
    for name in ROWS_OF_TRUTH:
        if name not in record:
            continue
        values = np.asarray(record[name])
        if name == "node_target":
            return {"target": values, "valid": (np.asarray(record["node_valid"]) > 0).astype(np.float32)}
        return {"label": np.maximum(values, 0).astype(np.int32), "valid": (values >= 0).astype(np.float32)}
    return {}


def scaled(name: str, values: np.ndarray, centre: Sequence[float], scale: Sequence[float]) -> np.ndarray:
    """(values − centre) / scale as float32, column by column.

    Raises:
        UserError: not as many numbers as columns.
    """
    values, columns = np.asarray(values, np.float32), values.shape[1]
    for what, given in (("centre", centre), ("scale", scale)):
        if given and len(given) != columns:
            raise UserError(f"{name}: {what} has {len(given)} numbers, the data {columns} columns.")
    values = values - np.asarray(centre, np.float32) if centre else values
    return values / np.asarray(scale, np.float32) if scale else values


def require_records(where: str, records: Sequence[Mapping[str, Any]], *, num_classes: int | None) -> None:
    """Refuse graphs whose edges lead nowhere, points that are not finite, and labels of no class.

    Raises:
        DataError: names the record and what is wrong.
    """
    for number, record in enumerate(records):
        place = f"{where}, record {number}"
        if "points" not in record:
            require_graph(place, record, num_classes=num_classes)
            continue
        points, labels = np.asarray(record["points"]), np.asarray(record.get("label", 0))
        if points.ndim != 2 or not np.isfinite(points).all():
            raise DataError(f"{place}: points should be (n, C) finite numbers, got {points.shape} with NaN or Inf.")
        if num_classes and ((labels < 0) | (labels >= num_classes)).any():
            raise DataError(f"{place}: label should be in 0 … {num_classes - 1}, got {labels.min()} … {labels.max()}.")


def _require_scale(name: str, scale: tuple[float, ...]) -> None:
    require(all(np.isfinite(value) and value > 0 for value in scale), name, "numbers above 0", scale)
