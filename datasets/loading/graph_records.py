"""Graphs as records of arrays: how edges are stored, and what no record of a graph may hold.

A record has the fields
  nodes: (n, F) float, one row for each node;
  senders, receivers: (e,) int, numbers of nodes, 0 … n − 1: each edge goes from its sender to its receiver. Undirected
    edges are stored once in each direction; edges are sorted by receiver, and no node is joined to itself;
  edges: (e, D) float, where edges have features;
  edge_type: (e,) int, where they are of several kinds.
The truth is one of
  label: () int, of the graph;
  node_label: (n,) int, −1 where none is known or none counts;
  edge_label: (e,) int, likewise;
  node_target: (n, D) float with node_valid (n,): numbers, and whether they count;
  pair_label: (p,) int, of each of pairs (p, 2), two nodes that may be joined or not.
"""

from collections.abc import Mapping

import numpy as np

from zoo_datasets.loading.records import DataError

UNKNOWN = -1
# Field → the field whose rows it shares, and its number of axes.
_ROWS = {
    "nodes": ("nodes", 2),
    "node_label": ("nodes", 1),
    "node_target": ("nodes", 2),
    "node_valid": ("nodes", 1),
    "senders": ("senders", 1),
    "receivers": ("senders", 1),
    "edges": ("senders", 2),
    "edge_type": ("senders", 1),
    "edge_label": ("senders", 1),
    "pairs": ("pairs", 2),
    "pair_label": ("pairs", 1),
}
_WHOLE = ("senders", "receivers", "edge_type", "node_label", "edge_label", "pairs", "pair_label")
_LABELS = ("node_label", "edge_label", "pair_label")


def by_receiver(senders: np.ndarray, receivers: np.ndarray) -> np.ndarray:
    """Order (e,) of edges, by receiver and then by sender; those alike in both keep theirs."""
    return np.lexsort((senders, receivers))


def undirected(pairs: np.ndarray, *, nodes: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Both directions of undirected edges, each once, sorted by receiver and then by sender.

    Args:
      pairs: (m, 2) whole numbers of two nodes; the same pair may come again, in any direction, and a node with itself,
        which is left out.
      nodes: their number.
      where: the data, for the error's text.

    Returns:
      senders, receivers: (e,) int32.

    Raises:
      DataError: a number of no node.
    """
    pairs = np.asarray(pairs).reshape(-1, 2)
    _require_nodes(where, "an edge", pairs, nodes)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int32), axis=0)
    # Sorted by the first column and then by the second: the first is the receiver.
    return np.ascontiguousarray(both[:, 1]), np.ascontiguousarray(both[:, 0])


def require_graph(where: str, record: Mapping[str, np.ndarray], *, num_classes: int | None = None) -> None:
    """Refuse a record that is no graph as this module describes it.

    Graphs without edges, and without nodes, are legal.

    Args:
      where: the file and the record, for the error's text.
      record: see above; other fields are not looked at.
      num_classes: K, when given: labels of nodes, edges and pairs should be −1 … K − 1, that of the graph 0 … K − 1.

    Raises:
      DataError: a field that is missing, of another shape or type or not finite; a sender, receiver or pair of no node;
        a label of no class. The text says which.
    """
    for name in ("nodes", "senders", "receivers"):
        if name not in record:
            raise DataError(f"{where}: a graph should have nodes, senders and receivers, got {', '.join(record)}.")
    for name, (rows, axes) in _ROWS.items():
        if name in record:
            _require_rows(where, name, record[name], rows, record.get(rows), axes)
    count = len(record["nodes"])
    for name in ("senders", "receivers", "pairs"):
        if name in record:
            _require_nodes(where, name, record[name], count)
    if num_classes is not None:
        for name in _LABELS:
            if name in record:
                _require_labels(where, name, record[name], UNKNOWN, num_classes)
        if "label" in record:
            _require_labels(where, "label", np.asarray(record["label"]).reshape(1), 0, num_classes)


def _require_rows(where: str, name: str, values: np.ndarray, rows: str, model: np.ndarray | None, axes: int) -> None:
    if model is None:
        raise DataError(f"{where}: {name} needs the field {rows}, which is missing.")
    if values.ndim != axes or len(values) != len(model):
        shape = f"({len(model)}, …)" if axes == 2 else f"({len(model)},)"
        raise DataError(f"{where}: {name} should be {shape}, one row for each of {rows}, got {values.shape}.")
    if name in _WHOLE and values.dtype.kind not in "iu":
        raise DataError(f"{where}: {name} should be whole numbers, got {values.dtype}.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0]
        raise DataError(
            f"{where}: {name} should be finite, got {values[row]} in row {row}. Leave it out or replace it."
        )


def _require_nodes(where: str, name: str, numbers: np.ndarray, count: int) -> None:
    wrong = np.argwhere((numbers < 0) | (numbers >= count))
    if len(wrong):
        row = wrong[0][0]
        known = f"0 … {count - 1}" if count else "of which there are none"
        # Numbers from 1 on are the commonest reason.
        raise DataError(
            f"{where}: {name} should be numbers of nodes, {known}, got {numbers[tuple(wrong[0])]} in row {row} "
            f"({len(wrong)} out of range). Count nodes from 0 on."
        )


def _require_labels(where: str, name: str, labels: np.ndarray, lowest: int, num_classes: int) -> None:
    wrong = np.flatnonzero((labels < lowest) | (labels >= num_classes))
    if len(wrong):
        raise DataError(
            f"{where}: {name} should be in {lowest} … {num_classes - 1}{', −1 for unknown' if lowest < 0 else ''}, got "
            f"{labels[wrong[0]]} in row {wrong[0]} ({len(wrong)} out of range)."
        )
