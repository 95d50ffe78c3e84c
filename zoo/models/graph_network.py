"""Graph networks: edges, nodes and the graph as a whole have features, and each step renews all three.

Battaglia+18, https://arxiv.org/abs/1806.01261, algorithm 1: an edge is renewed from itself, its two nodes and the
globals; a node from the edges that arrive, itself and the globals; the globals from all edges, all nodes and
themselves. Steps have weights of their own and are added to what they renew (encode, process, decode: section 4.3);
globals that are not given begin as nothing. The interaction network (Battaglia+16, https://arxiv.org/abs/1612.00222)
has edges and nodes alone, works on the features as they are, and puts what is new in the place of what was.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    Graph,
    GraphNorm,
    GraphPool,
    Readout,
    Tap,
    as_graph,
    check_graph_options,
    edge_layer,
    graph_head,
    graph_norm,
    segment_max,
    segment_mean,
    segment_sum,
)
from zoo.models.card import Card
from zoo.models.message_passing import GRAPH_INPUTS, PERMUTATIONS

_SUMS = {"sum": segment_sum, "mean": segment_mean, "max": segment_max}

State = tuple[jax.Array, jax.Array | None, jax.Array | None]


class GraphNetwork(nn.Module):
    """A `jraph.GraphsTuple` → (G, num_classes), (ΣN, num_classes) or (ΣE, num_classes).

    Edges may have features (ΣE, D) or types (ΣE,), and graphs globals (G, P); neither need be there. Layers are
    `encode_nodes`, `encode_edges`, `encode_globals`, `step{l}`, `attention`, `head`; taps `nodes{l}`, `edges{l}`,
    `globals{l}`. Outputs of graphs, nodes and edges that do not count are finite and mean nothing.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of channels of a node, checked when given.
        width: channels of nodes, edges and globals after each step.
        layers: number of steps: how many edges away a node sees, and with globals everything from the second one on.
        depth: dense layers of each update, rectified between them.
        norm: of each update: `"none"`, `"batch"` over what counts, `"layer"` each row by itself.
        aggregate: edges of a node, and edges and nodes of a graph, by `"sum"`, `"mean"` or `"max"`.
        use_globals: whether the graph as a whole has features.
        encode: whether a dense layer comes before the first step.
        residual: whether a step is added to what was there, from the second one on if nothing is encoded.
        edge_types: number of types of edges, which then are `graph.edges`, whole numbers (ΣE,), and begin as rows of
            a table; 0 for none.
        readout: `"graph"` (pooled nodes and globals), `"nodes"` or `"edges"`.
        pool: nodes of a graph by `"sum"`, `"mean"`, `"max"` or `"attention"`.
        dropout: rate before the head.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    width: int = 64
    layers: int = 2
    depth: int = 2
    norm: GraphNorm = "layer"
    aggregate: Literal["sum", "mean", "max"] = "sum"
    use_globals: bool = True
    encode: bool = True
    residual: bool = True
    edge_types: int = 0
    readout: Readout = "graph"
    pool: GraphPool = "mean"
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graph: Any, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        self._check()
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        graph = as_graph(
            type(self).__name__,
            graph,
            mask=mask,
            channels=self.in_channels,
            edges="types" if self.edge_types else "features",
            edge_types=self.edge_types,
            dtype=self.dtype,
        )
        state = self._encode(graph, types)
        for i in range(1, self.layers + 1):
            step = GraphStep(
                width=self.width,
                depth=self.depth,
                norm=self.norm,
                aggregate=self.aggregate,
                # Globals that nothing reads any more are not renewed.
                use_globals=self.use_globals and (i < self.layers or self.readout == "graph"),
                axis_name=self.axis_name,
                name=f"step{i}",
                **types,
            )
            new = step(graph, state, train=train)
            if self.residual and (self.encode or i > 1):
                new = tuple(_added(old, renewed) for old, renewed in zip(state, new, strict=True))
            state = tuple(
                part if part is None else Tap(name=f"{what}{i}")(part)
                for what, part in zip(("nodes", "edges", "globals"), new, strict=True)
            )
        nodes, edges, everywhere = state
        return graph_head(
            nodes,
            graph,
            self.num_classes,
            readout=self.readout,
            pool=self.pool,
            dropout=self.dropout,
            train=train,
            edges=edges,
            globals=everywhere,
            axis_name=self.axis_name,
            **types,
        )

    def _encode(self, graph: Graph, types: dict[str, Any]) -> State:
        nodes, edges, everywhere = graph.nodes, graph.edges, graph.globals if self.use_globals else None
        if self.edge_types:
            edges = nn.Embed(self.edge_types, self.width, name="encode_edges", **types)(edges).astype(nodes.dtype)
        if self.encode:
            nodes = nn.Dense(self.width, name="encode_nodes", **types)(nodes)
            if edges is not None and not self.edge_types:
                edges = nn.Dense(self.width, name="encode_edges", **types)(edges)
            if everywhere is not None:
                everywhere = nn.Dense(self.width, name="encode_globals", **types)(everywhere)
        return nodes, edges, everywhere

    def _check(self) -> None:
        if min(self.width, self.layers, self.depth) < 1 or self.edge_types < 0:
            raise ValueError(
                f"width {self.width}, layers {self.layers} and depth {self.depth} must be at least 1, edge_types "
                f"{self.edge_types} at least 0."
            )
        if self.aggregate not in _SUMS:
            raise ValueError(f"aggregate must be 'sum', 'mean' or 'max', got {self.aggregate!r}.")
        check_graph_options(self.readout, self.pool, self.norm)


class GraphStep(nn.Module):
    """One step: nodes (N, C), edges (E, D) or None, globals (G, P) or None → all of them with `width` channels.

    Each update is a dense layer on all it sees side by side, written as a sum of products (`edge_layer`), then
    `{what}2` … `{what}{depth}` after rectifiers, and `{what}_norm`; what is one of edges, nodes and globals. Globals
    are None without `use_globals`, though those that came are read.
    """

    width: int
    depth: int
    norm: GraphNorm
    aggregate: Literal["sum", "mean", "max"]
    use_globals: bool
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graph: Graph, state: State, *, train: bool) -> State:
        nodes, edges, everywhere = state
        collect = _SUMS[self.aggregate]
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def dense(x: jax.Array, name: str, *, use_bias: bool = False) -> jax.Array:
            return nn.Dense(self.width, use_bias=use_bias, name=name, **types)(x)

        def finish(x: jax.Array, what: str, mask: jax.Array | None) -> jax.Array:
            for i in range(2, self.depth + 1):
                x = dense(nn.relu(x), f"{what}{i}", use_bias=i < self.depth or bias)
            options = {"train": train, "axis_name": self.axis_name, **types}
            return graph_norm(x, self.norm, name=f"{what}_norm", mask=mask, **options)

        # Batch normalisation takes out a bias before it.
        bias = self.norm != "batch"
        first_bias = bias or self.depth > 1
        edges = edge_layer(
            nodes, graph, self.width, name="edges", edges=edges, globals=everywhere, use_bias=first_bias, **types
        )
        edges = finish(edges, "edges", graph.edge_mask)

        arrived = collect(edges, graph.receivers, nodes.shape[0])
        nodes = dense(nodes, "nodes_nodes", use_bias=first_bias) + dense(arrived, "nodes_edges")
        if everywhere is not None:
            nodes = nodes + dense(everywhere, "nodes_globals")[graph.graph_of_node]
        nodes = finish(nodes, "nodes", graph.node_mask)
        if not self.use_globals:
            return nodes, edges, None

        of_nodes = collect(nodes, graph.graph_of_node, graph.graphs)
        of_edges = collect(edges, graph.graph_of_edge, graph.graphs)
        new = dense(of_nodes, "globals_nodes", use_bias=first_bias) + dense(of_edges, "globals_edges")
        if everywhere is not None:
            new = new + dense(everywhere, "globals_globals")
        return nodes, edges, finish(new, "globals", graph.graph_mask)


def _added(old: jax.Array | None, new: jax.Array | None) -> jax.Array | None:
    return new if old is None or new is None else old + new


_INPUTS = f"{GRAPH_INPUTS}; edges (ΣE, D) and globals (G, P) if there are any"
# Wide enough for a layer normalisation that does not blow up rounding.
_TINY = {"num_classes": 3, "width": 8, "dropout": 0.25}

VARIANTS = {
    "graph_network": Card(
        module=GraphNetwork,
        config={},
        title="graph network: edges, nodes and globals, renewed in residual steps",
        paper="https://arxiv.org/abs/1806.01261",
        inputs=_INPUTS,
        kind="graph",
        example=(1, 100, 600, 4, 4),
        tiny=_TINY,
        tiny_example=(2, 5, 12, 3, 2),
        symmetries=PERMUTATIONS,
    ),
    "interaction_network": Card(
        module=GraphNetwork,
        config={"layers": 1, "norm": "none", "use_globals": False, "encode": False, "residual": False, "pool": "sum"},
        title="interaction network: edges and nodes, without globals",
        paper="https://arxiv.org/abs/1612.00222",
        inputs=f"{GRAPH_INPUTS}; edges (ΣE, D) if there are any",
        kind="graph",
        example=(1, 100, 600, 4, 4),
        tiny={**_TINY, "layers": 2, "pool": "max"},
        tiny_example=(2, 5, 12, 3, 2),
        symmetries=PERMUTATIONS,
    ),
}
