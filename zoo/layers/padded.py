"""Graphs of one batch with an axis of graphs in front, as the pipeline and the devices of `pmap` share them."""

from typing import TYPE_CHECKING

import jax
from flax import struct

from zoo.layers.graph import from_padded

if TYPE_CHECKING:
    from jraph import GraphsTuple


@struct.dataclass
class PaddedGraphs:
    """B graphs, each padded to N nodes and E edges, N above the number of nodes of each.

    Attributes:
        nodes: (B, N, F); rows from `n_node` on are padding and may hold anything.
        senders: (B, E) rows 0 … n − 1 of the graph's own nodes; from `n_edge` on anything.
        receivers: (B, E) likewise.
        n_node: (B,) how many nodes each graph has.
        n_edge: (B,) how many edges.
        edges: (B, E, D) features, (B, E) types, or None.
        pairs: (B, P, 2) pairs of the graph's own nodes that are asked about, or None.
    """

    nodes: jax.Array
    senders: jax.Array
    receivers: jax.Array
    n_node: jax.Array
    n_edge: jax.Array
    edges: jax.Array | None = None
    pairs: jax.Array | None = None

    def together(self) -> tuple["GraphsTuple", jax.Array]:
        """One `jraph.GraphsTuple` of 2 B graphs, each followed by its padding, and the mask of the real ones (2 B,)."""
        return from_padded(self.nodes, self.senders, self.receivers, self.n_node, self.n_edge, edges=self.edges)
