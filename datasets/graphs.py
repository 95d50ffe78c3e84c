"""What the data sets of graphs have in common: the TFDS features of their records (`loading.graph_records`)."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation


def fields(nodes: int, *, edges: int = 0, typed: bool = False, sparse: bool = False) -> dict[str, Any]:
    """Field → TFDS feature of a graph, whose numbers of nodes and edges differ from record to record.

    Args:
      nodes: features of a node.
      edges: features of an edge; 0 where edges have none.
      typed: whether edges are of several types.
      sparse: whether most features of nodes are 0, so that they are worth compressing.
    """
    features: dict[str, Any] = {
        "nodes": table(nodes, sparse=sparse),
        "senders": column(),
        "receivers": column(),
    }
    if edges:
        features["edges"] = table(edges)
    if typed:
        features["edge_type"] = column()
    return features


def column(dtype: type = np.int32) -> tfds.features.Tensor:
    """One number for each node, edge or pair of a record."""
    return simulation.tensor(None, dtype=dtype)


def table(columns: int, *, dtype: type = np.float32, sparse: bool = False) -> tfds.features.Tensor:
    """Some numbers for each node, edge, pair or point of a record."""
    if sparse:
        return tfds.features.Tensor(shape=(None, columns), dtype=dtype, encoding=tfds.features.Encoding.ZLIB)
    return simulation.tensor(None, columns, dtype=dtype)
