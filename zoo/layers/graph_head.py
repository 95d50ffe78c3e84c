"""From the nodes of a graph to what is asked for: pools over nodes, normalisation of nodes and edges, three heads.

Functions that are called inside a compact module, so that the layers are the caller's own and have flat names.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.graph import Graph
from zoo.layers.normalisation import BatchNorm
from zoo.layers.segment import segment_max, segment_mean, segment_softmax, segment_sum
from zoo.layers.stochastic import Dropout
from zoo.layers.tap import Tap

Readout = Literal["graph", "nodes", "edges"]
GraphPool = Literal["sum", "mean", "max", "attention"]
GraphNorm = Literal["none", "batch", "layer"]

_POOLS = {"sum": segment_sum, "mean": segment_mean, "max": segment_max}


def check_graph_options(readout: str, pool: str, norm: str) -> None:
    """Raise `ValueError` for a read-out, pool or normalisation that is not known."""
    for what, got, known in (
        ("readout", readout, ("graph", "nodes", "edges")),
        ("pool", pool, ("sum", "mean", "max", "attention")),
        ("norm", norm, ("none", "batch", "layer")),
    ):
        if got not in known:
            raise ValueError(f"{what} must be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}, got {got!r}.")


def graph_norm(
    x: jax.Array,
    norm: GraphNorm,
    *,
    name: str,
    mask: jax.Array | None,
    train: bool,
    axis_name: str | None = None,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> jax.Array:
    """Rows (N, C) normalised: by the batch of those that count in `mask` (N,), each by itself, or not at all."""
    types = {"dtype": dtype, "param_dtype": param_dtype}
    if norm == "batch":
        return BatchNorm(axis_name=axis_name, name=name, **types)(x, train=train, mask=mask)
    if norm == "layer":
        # E[x²] − E[x]² loses all digits where the mean is large beside the spread.
        return nn.LayerNorm(use_fast_variance=False, name=name, **types)(x)
    return x


def pool_nodes(
    x: jax.Array, graph: Graph, pool: GraphPool, *, dtype: Any = None, param_dtype: Any = jnp.float32
) -> jax.Array:
    """Nodes (N, C) → graphs (G, C), 0 for a graph without nodes.

    `"attention"` is the mean with learned weights, the softmax over the nodes of a graph of `attention`, one number
    for each (Bahdanau+14, https://arxiv.org/abs/1409.0473, with one query); its tap `pool_weights` is (N, 1).
    """
    if pool != "attention":
        return _POOLS[pool](x, graph.graph_of_node, graph.graphs)
    # A bias would move all scores alike, and hence nothing.
    scores = nn.Dense(1, use_bias=False, name="attention", dtype=dtype, param_dtype=param_dtype)(jnp.tanh(x))
    weights = Tap(name="pool_weights")(segment_softmax(scores, graph.graph_of_node, graph.graphs))
    return segment_sum(x * weights, graph.graph_of_node, graph.graphs)


def graph_head(
    nodes: jax.Array,
    graph: Graph,
    num_classes: int,
    *,
    readout: Readout,
    pool: GraphPool,
    dropout: float,
    train: bool,
    edges: jax.Array | None = None,
    globals: jax.Array | None = None,
    axis_name: str | None = None,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> jax.Array:
    """What the network says of each graph (G, K), node (N, K) or edge (E, K).

    A graph is its pooled nodes, beside its `globals` (G, P) if there are any, and a node its row. An edge is a hidden
    layer of its sender, its receiver and its own `edges` (E, D) if there are any, as wide as a node: neither direction
    of an undirected edge is like the other. Dropout comes before the last layer, `head`.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype}
    if readout == "graph":
        x = pool_nodes(nodes, graph, pool, **types)
        x = x if globals is None else jnp.concatenate([x, globals.astype(x.dtype)], axis=-1)
        x = Tap(name="pooled")(x)
    elif readout == "edges":
        x = nn.relu(edge_layer(nodes, graph, nodes.shape[-1], name="pair", edges=edges, **types))
        x = Tap(name="pairs")(x)
    else:
        x = nodes
    x = Dropout(dropout, axis_name=axis_name, name="dropout")(x, train=train)
    return nn.Dense(num_classes, name="head", **types)(x)


def edge_layer(
    nodes: jax.Array,
    graph: Graph,
    width: int,
    *,
    name: str,
    edges: jax.Array | None = None,
    globals: jax.Array | None = None,
    use_bias: bool = True,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> jax.Array:
    """A dense layer (E, width) on sender, receiver, edge and globals side by side.

    It is the sum of one product for each: nodes and globals are multiplied before they are gathered, there being fewer
    of them than of edges. Layers `{name}_senders`, `{name}_receivers`, `{name}_edges`, `{name}_globals`.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype}
    x = nn.Dense(width, use_bias=use_bias, name=f"{name}_senders", **types)(nodes)[graph.senders]
    x = x + nn.Dense(width, use_bias=False, name=f"{name}_receivers", **types)(nodes)[graph.receivers]
    if edges is not None:
        x = x + nn.Dense(width, use_bias=False, name=f"{name}_edges", **types)(edges)
    if globals is not None:
        x = x + nn.Dense(width, use_bias=False, name=f"{name}_globals", **types)(globals)[graph.graph_of_edge]
    return x
