"""Refuse graphs that a network cannot mean, in words that say what was expected and what came."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jraph import GraphsTuple


def known(*arrays: jax.Array) -> bool:
    """Whether the numbers are there to be looked at: under `jit` they are not, unless they are constants."""
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def checked_arrays(name: str, graph: "GraphsTuple", channels: int | None) -> tuple[jax.Array, ...]:
    """Nodes, senders, receivers, n_node and n_edge of `graph`, or `ValueError` for their shapes and types."""
    if graph.nodes is None:
        raise ValueError(f"{name} takes nodes (N, F); got None. Nodes without features: give ones (N, 1).")
    nodes = jnp.asarray(graph.nodes)
    if nodes.ndim != 2 or not jnp.issubdtype(nodes.dtype, jnp.floating):
        raise ValueError(f"{name} takes nodes (N, F), floating; got {nodes.dtype} of shape {tuple(nodes.shape)}.")
    if channels is not None and nodes.shape[1] != channels:
        raise ValueError(
            f"{name} was made for in_channels={channels}, but the nodes have {nodes.shape[1]} channels "
            f"(shape {tuple(nodes.shape)}, channels last)."
        )
    pairs = {}
    for first, second, letter in (("senders", "receivers", "E"), ("n_node", "n_edge", "G")):
        pair = [jnp.asarray(getattr(graph, part)) for part in (first, second)]
        shapes = [array.shape for array in pair]
        whole = all(jnp.issubdtype(array.dtype, jnp.integer) for array in pair)
        if shapes[0] != shapes[1] or len(shapes[0]) != 1 or not whole:
            raise ValueError(
                f"{name} takes {first} and {second} ({letter},), whole numbers; got "
                + " and ".join(f"{array.dtype} of shape {tuple(array.shape)}" for array in pair)
                + "."
            )
        pairs |= {first: pair[0], second: pair[1]}
    if not len(pairs["n_node"]):
        raise ValueError(f"{name} takes one graph at least; got n_node of shape (0,).")
    if len(pairs["senders"]) and not len(nodes):
        raise ValueError(f"{name}: {len(pairs['senders'])} edges, but no node that they could join.")
    return nodes, *pairs.values()


def checked_edges(name: str, edges: Any, size: int, kind: str, types: int) -> jax.Array | None:
    """What a network takes of the edges by `kind` (`as_graph`), or `ValueError` if that is not what came."""
    if kind == "ignored" or (kind == "features" and edges is None):
        return None
    layouts = {"weights": "weights (E, 1)", "features": "features (E, D)", "types": "types (E,), whole numbers"}
    got = "None" if edges is None else ""
    if edges is not None:
        edges = jnp.asarray(edges)
        expected = jnp.integer if kind == "types" else jnp.floating
        fits = edges.ndim == (1 if kind == "types" else 2) and len(edges) == size
        if fits and jnp.issubdtype(edges.dtype, expected) and (kind != "weights" or edges.shape[1] == 1):
            if kind == "types" and size and known(edges) and (int(edges.min()) < 0 or int(edges.max()) >= types):
                raise ValueError(
                    f"{name}: types of edges should be in 0 … {types - 1} (edge_types={types}); got "
                    f"{int(edges.min())} … {int(edges.max())}."
                )
            return edges
        got = f"{edges.dtype} of shape {tuple(edges.shape)}"
    raise ValueError(f"{name} takes edges as {layouts[kind]}, with E = {size}; got {got}.")


def check_numbers(
    name: str, n_node: jax.Array, n_edge: jax.Array, size: int, senders: jax.Array, receivers: jax.Array
) -> None:
    """Raise `ValueError` for what can only be seen where the numbers are known: indices and sums."""
    if not known(n_node, n_edge, senders, receivers):
        return
    for what, numbers, total in (("n_node", n_node, size), ("n_edge", n_edge, len(senders))):
        numbers = np.asarray(numbers)
        if numbers.min() < 0 or numbers.sum() != total:
            raise ValueError(
                f"{name}: {what} should not be negative and add up to {total}, the rows there are; got "
                f"{numbers[:8].tolist()}{' …' if len(numbers) > 8 else ''} with the sum {numbers.sum()}."
            )
    # In NumPy: under `jit` graphs that are constants are known, but nothing that JAX makes of them is.
    of_node, of_edge = (np.repeat(np.arange(len(n_node)), np.asarray(numbers)) for numbers in (n_node, n_edge))
    for what, ends in (("senders", senders), ("receivers", receivers)):
        ends = np.asarray(ends)
        wrong = np.flatnonzero((ends < 0) | (ends >= size))
        if len(wrong):
            raise ValueError(
                f"{name}: {what} should be in 0 … {size - 1}, the rows of nodes; edge {wrong[0]} has {ends[wrong[0]]}."
            )
        wrong = np.flatnonzero(of_node[ends] != of_edge) if len(ends) else ()
        if len(wrong):
            raise ValueError(
                f"{name}: {what} of an edge should be nodes of its own graph; edge {wrong[0]} of graph "
                f"{of_edge[wrong[0]]} has {ends[wrong[0]]}, a node of graph {of_node[ends[wrong[0]]]}. Edges stand in "
                "the order of their graphs, n_edge of each, and count nodes from the first one of all."
            )
