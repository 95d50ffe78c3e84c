"""Message passing: each node takes in what its neighbours send, layer by layer, and so sees ever farther around it.

What GCN, GraphSAGE, GAT and GIN have in common (Gilmer+17, https://arxiv.org/abs/1704.01212): they differ in how
messages are weighed and added up, and in how the node's own features go in. All but GAT are linear before the sum, so
their dense layer comes before the edges or after them, wherever there are fewer channels. Typed edges: W of a type is
diag(g) W, one vector g of weights for each type (Schlichtkrull+18, https://arxiv.org/abs/1703.06103, with the simplest
matrices), all of them ones at the beginning.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    Dropout,
    Graph,
    GraphNorm,
    GraphPool,
    Readout,
    Tap,
    as_graph,
    check_graph_options,
    graph_head,
    graph_norm,
    pool_nodes,
)
from zoo.models.card import Symmetry


class MessagePassingNet(nn.Module):
    """A `jraph.GraphsTuple` → (G, num_classes), (ΣN, num_classes) or (ΣE, num_classes): what all four have in common.

    Layers are `layer{l}`, `norm{l}`, `attention`, `head`; taps `nodes{l}` after the rectifier, `pooled`. Outputs of
    graphs, nodes and edges that do not count are finite and mean nothing.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of channels of a node, checked when given.
        width: channels of each layer.
        layers: number of layers: how many edges away a node sees.
        norm: after each layer: `"none"`, `"batch"` over the nodes that count, `"layer"` each node by itself.
        jump: whether the head sees the inputs and all layers side by side (Xu+18, https://arxiv.org/abs/1806.03536),
            or the last layer alone.
        readout: `"graph"`, `"nodes"` or `"edges"`.
        pool: nodes of a graph by `"sum"`, `"mean"`, `"max"` or `"attention"`.
        head: `"dense"`, a dense layer on what is read out, or `"layer"`: the last layer itself makes num_classes
            channels, neither normalised nor rectified, and of graphs their pool is the output.
        edge_types: number of types of edges, which then are `graph.edges`, whole numbers (ΣE,); 0 for none.
        dropout: rate between layers and before the head.
        input_dropout: rate before the first layer.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    width: int = 64
    layers: int = 2
    norm: GraphNorm = "none"
    jump: bool = False
    readout: Readout = "graph"
    pool: GraphPool = "mean"
    head: Literal["dense", "layer"] = "dense"
    edge_types: int = 0
    dropout: float = 0.0
    input_dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graph: Any, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        self._check()
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        name = type(self).__name__
        edges = "types" if self.edge_types else self._edges()
        graph = as_graph(
            name, graph, mask=mask, channels=self.in_channels, edges=edges, edge_types=self.edge_types, dtype=self.dtype
        )
        x = Dropout(self.input_dropout, axis_name=self.axis_name, name="dropout0")(graph.nodes, train=train)
        kept = [x]
        for i in range(1, self.layers + 1):
            last = i == self.layers and self.head == "layer"
            x = self._layer(graph, x, i, last, train, types)
            if last:
                return pool_nodes(x, graph, self.pool, **types) if self.readout == "graph" else x
            x = graph_norm(
                x, self.norm, name=f"norm{i}", mask=graph.node_mask, train=train, axis_name=self.axis_name, **types
            )
            x = Tap(name=f"nodes{i}")(self._activation(x))
            kept.append(x)
            if i < self.layers:
                x = Dropout(self.dropout, axis_name=self.axis_name, name=f"dropout{i}")(x, train=train)
        return graph_head(
            jnp.concatenate(kept, axis=-1) if self.jump else x,
            graph,
            self.num_classes,
            readout=self.readout,
            pool=self.pool,
            dropout=self.dropout,
            train=train,
            axis_name=self.axis_name,
            **types,
        )

    def _edges(self) -> Literal["ignored", "weights", "features"]:
        """What the layers take of edges without types."""
        return "ignored"

    def _layer(
        self, graph: Graph, x: jax.Array, number: int, last: bool, train: bool, types: dict[str, Any]
    ) -> jax.Array:
        """Layer `number` with `num_classes` channels if it is the `last` and the head, with `width` otherwise."""
        raise NotImplementedError(f"{type(self).__name__} has no layer: take a model with layers of its own.")

    def _options(self, number: int, last: bool, types: dict[str, Any]) -> dict[str, Any]:
        # Batch normalisation takes out a bias before it.
        return {
            "features": self.num_classes if last else self.width,
            "use_bias": last or self.norm != "batch",
            "edge_types": self.edge_types,
            "name": f"layer{number}",
            **types,
        }

    def _activation(self, x: jax.Array) -> jax.Array:
        return nn.relu(x)

    def _check(self) -> None:
        if min(self.width, self.layers) < 1 or self.edge_types < 0:
            raise ValueError(
                f"width {self.width} and layers {self.layers} must be at least 1, edge_types {self.edge_types} at "
                "least 0."
            )
        check_graph_options(self.readout, self.pool, self.norm)
        if self.head not in ("dense", "layer"):
            raise ValueError(f"head must be 'dense' or 'layer', got {self.head!r}.")
        if self.head == "layer" and (self.jump or self.readout == "edges"):
            raise ValueError("head='layer' reads the last layer alone, of graphs or nodes: set head='dense'.")


def linear_around(layer: nn.Module, name: str, x: jax.Array, spread: Any, *, features: int | None = None) -> jax.Array:
    """Rows (N, F) spread along the edges and multiplied, in the order in which fewer channels travel."""
    features = features or layer.features
    dense = nn.Dense(features, use_bias=False, name=name, dtype=layer.dtype, param_dtype=layer.param_dtype)
    return spread(dense(x)) if layer.edge_types or x.shape[-1] > features else dense(spread(x))


def messages(
    layer: nn.Module, x: jax.Array, graph: Graph, weights: jax.Array | None = None, *, features: int | None = None
) -> jax.Array:
    """What travels along each edge: (N, C) → (E, C), times its weight, times the weights of its type."""
    messages = x[graph.senders]
    if weights is not None:
        messages = messages * weights.astype(x.dtype)[:, None]
    if layer.edge_types:
        shape = (layer.edge_types, features or x.shape[-1])
        gates = layer.param("types", nn.initializers.ones, shape, layer.param_dtype).astype(x.dtype)
        # The type behind the last one is that of self-loops.
        messages = messages * jnp.concatenate([gates, jnp.ones_like(gates[:1])])[graph.edges]
    return messages


def add_bias(layer: nn.Module, x: jax.Array) -> jax.Array:
    """Rows (N, C) with the parameter `bias` added, if the layer has one."""
    if not layer.use_bias:
        return x
    return x + layer.param("bias", nn.initializers.zeros, (x.shape[-1],), layer.param_dtype).astype(x.dtype)[None]


GRAPH_INPUTS = "GraphsTuple of nodes (ΣN, F), senders and receivers (ΣE,), n_node and n_edge (G,)"
PERMUTATIONS = (
    Symmetry("permutation", "invariant"),
    Symmetry("permutation", "equivariant", config={"readout": "nodes"}),
    Symmetry("permutation", "equivariant", config={"readout": "edges"}),
)
TINY = {"num_classes": 3, "width": 6, "dropout": 0.25}
