"""Graphs: sums over edges and nodes, and graphs brought into the form in which nothing that is padding can leak.

A model takes a `jraph.GraphsTuple`, several graphs in one: nodes (ΣN, F) and edges (ΣE, …) of one graph after those of
the one before, `senders` and `receivers` (ΣE,) as rows of `nodes`, `n_node` and `n_edge` (G,), `globals` (G, P) or
None. Messages run from senders to receivers; an undirected edge is stored both ways. `as_graph` makes a `Graph` of it,
in which whatever does not count is zero and points to a place behind the last one, where sums drop it: so nothing
after it needs a mask but normalisation.

Numbers of nodes, edges and graphs are shapes; what belongs to which graph is traced, so that all batches of one shape
share one compilation.
"""

from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from zoo.layers.graph_checks import check_numbers, checked_arrays, checked_edges, known
from zoo.layers.segment import column, nowhere, segment_mean, segment_sum

if TYPE_CHECKING:
    from jraph import GraphsTuple

_PARTS = ("nodes", "edges", "senders", "receivers", "globals", "n_node", "n_edge")


@struct.dataclass
class Graph:
    """Graphs as `as_graph` leaves them: zeros where nothing counts, and indices that lead nowhere.

    Attributes:
        nodes: (N, F).
        senders: (E,) rows of `nodes`; 0 of edges that do not count.
        receivers: (E,) rows of `nodes`; N of edges that do not count: sums drop it.
        edges: (E, D) features, (E,) types, or None.
        globals: (G, P) or None.
        graph_of_node: (N,) number of the graph; G of nodes that do not count.
        graph_of_edge: (E,) likewise.
        node_mask: (N,) bool, which nodes count; None: all.
        edge_mask: (E,) bool likewise.
        graph_mask: (G,) bool likewise.
        graphs: G.
    """

    nodes: jax.Array
    senders: jax.Array
    receivers: jax.Array
    edges: jax.Array | None
    globals: jax.Array | None
    graph_of_node: jax.Array
    graph_of_edge: jax.Array
    node_mask: jax.Array | None
    edge_mask: jax.Array | None
    graph_mask: jax.Array | None
    graphs: int = struct.field(pytree_node=False)


def graph_index(graph: "GraphsTuple") -> jax.Array:
    """(N,) int32: the number of the graph that each node belongs to; G for nodes beyond the sum of `n_node`."""
    return _index(graph.n_node, graph.nodes.shape[0])


def node_mask(graph: "GraphsTuple", mask: jax.Array) -> jax.Array:
    """(N,) bool: nodes of the graphs that count by `mask` (G,)."""
    return _belongs(_index(graph.n_node, graph.nodes.shape[0]), mask)


def edge_mask(graph: "GraphsTuple", mask: jax.Array) -> jax.Array:
    """(E,) bool: edges of the graphs that count by `mask` (G,)."""
    return _belongs(_index(graph.n_edge, graph.senders.shape[0]), mask)


def as_graph(
    name: str,
    graph: "GraphsTuple",
    *,
    mask: jax.Array | None = None,
    channels: int | None = None,
    edges: Literal["ignored", "weights", "features", "types"] = "ignored",
    edge_types: int = 0,
    dtype: Any = None,
) -> Graph:
    """`graph` as a `Graph`: checked, zero where nothing counts.

    Args:
        name: of the network, for messages.
        graph: a `jraph.GraphsTuple` or any tuple with its fields.
        mask: (G,) which graphs count; None: all.
        channels: number F of channels of a node that it was made for, `None` for any.
        edges: what the network takes of the edges: nothing; one weight (E, 1); features (E, D), if there are any;
            their types (E,), whole numbers 0 … `edge_types` − 1.
        edge_types: number of types.
        dtype: of nodes, edge features and globals in the computation; `None` leaves theirs.

    Raises:
        ValueError: no graph; arrays of wrong shapes or types; channels other than expected; and, where the numbers are
            known (under `jit` they are not), senders, receivers or types out of range, an edge between two graphs,
            `n_node` or `n_edge` that do not add up.
    """
    missing = [part for part in _PARTS if not hasattr(graph, part)]
    if missing:
        raise ValueError(
            f"{name} takes a jraph.GraphsTuple; got {type(graph).__name__}, without {', '.join(missing)}. "
            "zoo.layers.from_padded makes one of padded arrays."
        )
    nodes, senders, receivers, n_node, n_edge = checked_arrays(name, graph, channels)
    features = checked_edges(name, graph.edges, len(senders), edges, edge_types)
    everywhere = graph.globals if graph.globals is None else jnp.asarray(graph.globals)
    if everywhere is not None and (everywhere.ndim != 2 or len(everywhere) != len(n_node)):
        raise ValueError(
            f"{name} takes globals (G, P) with a row for each of the {len(n_node)} graphs; got shape "
            f"{tuple(everywhere.shape)}."
        )
    count, size = len(n_node), len(nodes)
    of_node, of_edge = _index(n_node, size), _index(n_edge, len(senders))
    check_numbers(name, n_node, n_edge, size, senders, receivers)
    counted = counted_nodes = counted_edges = None
    if mask is not None:
        counted = jnp.asarray(mask) > 0
        if counted.shape != (count,):
            raise ValueError(
                f"{name} takes a mask (G,) with one entry for each of the {count} graphs; got {counted.shape}."
            )
        counted_nodes, counted_edges = _belongs(of_node, counted), _belongs(of_edge, counted)
        of_node, of_edge = nowhere(of_node, count, counted_nodes), nowhere(of_edge, count, counted_edges)
        senders = jnp.where(counted_edges, senders, 0)
        receivers = nowhere(receivers, size, counted_edges)
    kept = [
        _zeroed(array, which, dtype)
        for array, which in ((nodes, counted_nodes), (features, counted_edges), (everywhere, counted))
    ]
    return Graph(
        nodes=kept[0],
        senders=senders,
        receivers=receivers,
        edges=kept[1],
        globals=kept[2],
        graph_of_node=of_node,
        graph_of_edge=of_edge,
        node_mask=counted_nodes,
        edge_mask=counted_edges,
        graph_mask=counted,
        graphs=count,
    )


def with_self_loops(graph: Graph, *, edge_types: int = 0) -> Graph:
    """`graph` with an edge from each node that counts to itself after all others, E + N in all.

    Its features are the means of those of the edges that arrive, its type is `edge_types`, one more than there are.
    Loops that were there already stay.
    """
    size = graph.nodes.shape[0]
    every = jnp.arange(size, dtype=graph.senders.dtype)
    edges = graph.edges
    if edges is not None and edges.ndim == 1:
        edges = jnp.concatenate([edges, jnp.full(size, edge_types, edges.dtype)])
    elif edges is not None:
        edges = jnp.concatenate([edges, segment_mean(edges, graph.receivers, size)])
    masked = graph.node_mask is not None
    return graph.replace(
        senders=jnp.concatenate([graph.senders, every]),
        receivers=jnp.concatenate([graph.receivers, nowhere(every, size, graph.node_mask)]),
        edges=edges,
        graph_of_edge=jnp.concatenate([graph.graph_of_edge, graph.graph_of_node]),
        edge_mask=jnp.concatenate([graph.edge_mask, graph.node_mask]) if masked else None,
    )


def degrees(graph: Graph, weights: jax.Array | None = None, *, dtype: Any = jnp.float32) -> jax.Array:
    """(N,): how many edges arrive at each node, or the sum of their `weights` (E,)."""
    weights = jnp.ones(graph.receivers.shape, dtype) if weights is None else weights.astype(dtype)
    return segment_sum(weights, graph.receivers, graph.nodes.shape[0])


def from_padded(
    nodes: jax.Array,
    senders: jax.Array,
    receivers: jax.Array,
    n_node: jax.Array,
    n_edge: jax.Array,
    *,
    edges: jax.Array | None = None,
    globals: jax.Array | None = None,
) -> tuple["GraphsTuple", jax.Array]:
    """B padded graphs as a `jraph.GraphsTuple` of 2 B graphs and the mask (2 B,) of those that are real.

    Graph 2 i is the i-th, and graph 2 i + 1 all of its padding: its padding nodes, of which there must be one at least,
    and its padding edges, which join the last of them with itself. Works under `jit`.

    Args:
        nodes: (B, N, F); rows from `n_node` on are padding and may hold anything.
        senders: (B, E) rows 0 … n − 1 of the graph's own nodes; from `n_edge` on anything.
        receivers: (B, E) likewise.
        n_node: (B,) 0 … N − 1, how many nodes each graph has.
        n_edge: (B,) 0 … E.
        edges: (B, E, D) features or (B, E) types.
        globals: (B, P); padding graphs get zeros.

    Raises:
        ValueError: shapes that do not fit, and, where it is known, a graph without a padding node.
    """
    from jraph import GraphsTuple  # not with `import zoo`: it brings half of its own dependencies

    if nodes.ndim != 3 or senders.ndim != 2 or senders.shape != receivers.shape or len(senders) != len(nodes):
        raise ValueError(
            "Padded graphs are nodes (B, N, F) with senders and receivers (B, E); got "
            f"{tuple(nodes.shape)}, {tuple(senders.shape)} and {tuple(receivers.shape)}."
        )
    (batch, slots), places = nodes.shape[:2], senders.shape[1]
    n_node, n_edge = jnp.asarray(n_node, jnp.int32), jnp.asarray(n_edge, jnp.int32)
    for what, numbers, most in (("n_node", n_node, slots - 1), ("n_edge", n_edge, places)):
        if numbers.shape != (batch,):
            raise ValueError(f"{what} should be ({batch},), one number for each graph; got {tuple(numbers.shape)}.")
        if known(numbers) and batch and (int(numbers.min()) < 0 or int(numbers.max()) > most):
            raise ValueError(
                f"{what} should be in 0 … {most} (one node at least is padding); got {int(numbers.min())} … "
                f"{int(numbers.max())}. Pad to more slots."
            )
    real = jnp.arange(places)[None] < n_edge[:, None]
    first = slots * jnp.arange(batch)[:, None]
    places_of = [
        jnp.where(real, first + jnp.asarray(ends), first + slots - 1).reshape(-1).astype(jnp.int32)
        for ends in (senders, receivers)
    ]
    if globals is not None:
        globals = jnp.stack([globals, jnp.zeros_like(globals)], axis=1).reshape(2 * batch, -1)
    graph = GraphsTuple(
        nodes=nodes.reshape(batch * slots, -1),
        edges=None if edges is None else edges.reshape(batch * places, *edges.shape[2:]),
        senders=places_of[0],
        receivers=places_of[1],
        globals=globals,
        n_node=jnp.stack([n_node, slots - n_node], axis=1).reshape(-1),
        n_edge=jnp.stack([n_edge, places - n_edge], axis=1).reshape(-1),
    )
    return graph, jnp.tile(jnp.array([True, False]), batch)


def _index(numbers: jax.Array, size: int) -> jax.Array:
    ends = jnp.cumsum(jnp.asarray(numbers))
    return jnp.searchsorted(ends, jnp.arange(size), side="right").astype(jnp.int32)


def _belongs(index: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.asarray(mask) > 0, jnp.zeros(1, bool)])[index]


def _zeroed(array: jax.Array | None, mask: jax.Array | None, dtype: Any) -> jax.Array | None:
    if array is None:
        return None
    if dtype is not None and jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(dtype)
    return array if mask is None else jnp.where(column(mask, array.ndim), array, 0)
