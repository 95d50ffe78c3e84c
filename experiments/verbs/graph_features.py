"""Features of graphs and sets of points made by hand: tables with a row for each record, node, edge, pair or point."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

PERCENTILES = (10, 25, 50, 75, 90)
# Channels that are coordinates → the channel that weighs the points, and what makes a weight of it.
COORDINATES: Mapping[tuple[str, ...], tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    ("x", "y", "z"): ("charge", np.asarray),
    ("delta_eta", "delta_phi"): ("log_pt", np.exp),
}
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Graph:
    """One graph without padding.

    Attributes:
        nodes: (n, F) features.
        senders: (e,) numbers of nodes.
        receivers: (e,) likewise.
        edges: (e, D) features, D = 0 where there are none.
        kinds: (e,) kind of each edge, 0 where all are alike.
    """

    nodes: np.ndarray
    senders: np.ndarray
    receivers: np.ndarray
    edges: np.ndarray
    kinds: np.ndarray

    def incoming(self) -> sparse.csr_array:
        """(n, e), 1 where an edge comes to a node."""
        e = len(self.senders)
        return sparse.csr_array((np.ones(e), (self.receivers, np.arange(e))), (len(self.nodes), e))

    def joined(self, weights: np.ndarray | None = None) -> sparse.csr_array:
        """(n, n), weights (e,) of the edges, 1 when None, added up from the row's node to the column's."""
        weights, n = np.ones(len(self.senders)) if weights is None else weights, len(self.nodes)
        return sparse.csr_array((weights, (self.senders, self.receivers)), (n, n))


def graphs_of(arrays: Arrays) -> Iterator[Graph]:
    """The graphs of stacked records, without their padding; `edges` (R, E) are kinds and no features."""
    featured = "edges" in arrays and arrays["edges"].ndim == 3
    for i, (n, e) in enumerate(zip(arrays["n_node"], arrays["n_edge"], strict=True)):
        senders, receivers = arrays["senders"][i, :e], arrays["receivers"][i, :e]
        edges = arrays["edges"][i, :e] if featured else np.zeros((e, 0), np.float32)
        kinds = arrays["edge_type"][i, :e] if "edge_type" in arrays else np.zeros(e, np.int32)
        yield Graph(arrays["nodes"][i, :n], senders, receivers, edges, kinds)


def bags(arrays: Arrays) -> np.ndarray:
    """(R, 2 F + 2): sums and means of the nodes' features, the numbers of nodes and of edges."""
    sums = np.stack([graph.nodes.sum(0, dtype=np.float64) for graph in graphs_of(arrays)])
    means = sums / np.maximum(arrays["n_node"], 1)[:, None]
    return np.column_stack([sums, means, arrays["n_node"], arrays["n_edge"]])


def counted_degrees(arrays: Arrays, most: int) -> np.ndarray:
    """(R, most + 3): how many nodes have 0 … `most` or more neighbours, the numbers of nodes and of edges."""
    bins = [np.bincount(np.minimum(degrees(graph), most), minlength=most + 1) for graph in graphs_of(arrays)]
    return np.column_stack([np.stack(bins), arrays["n_node"], arrays["n_edge"]]).astype(np.float64)


def degrees(graph: Graph) -> np.ndarray:
    """(n,), how many edges come to each node."""
    return np.bincount(graph.receivers, minlength=len(graph.nodes))


def of_set(points: np.ndarray, names: list[str]) -> np.ndarray:
    """What the channels of a set of points (n, C) are like as a whole, as `graph_baselines.set_features` lists it."""
    count, channels = len(points), points.shape[1]
    columns = [np.array([count]), points.sum(0)]
    # An empty set is described by zeros.
    some = points if count else np.zeros((1, channels))
    columns += [some.mean(0), some.std(0), some.max(0), np.percentile(some, PERCENTILES, axis=0).ravel()]
    for axes, (weighing, weigh) in COORDINATES.items():
        if set(axes) <= set(names):
            places = some[:, [names.index(axis) for axis in axes]]
            weights = weigh(some[:, names.index(weighing)]) if weighing in names else np.ones(len(some))
            weights = weights if weights.sum() > 0 else np.ones(len(some))
            share = weights / weights.sum()
            away = places - share @ places
            columns.append(np.linalg.eigvalsh((away * share[:, None]).T @ away)[::-1])
    return np.concatenate(columns)


def of_edges(graph: Graph, kinds: int) -> np.ndarray:
    """(e, D + kinds): each edge's own features and its kind."""
    return np.column_stack([graph.edges, np.eye(kinds)[graph.kinds]])


def with_ends(graph: Graph, kinds: int) -> np.ndarray:
    """(e, …): each edge's own features and kind, and the features of both ends."""
    return np.column_stack([of_edges(graph, kinds), graph.nodes[graph.senders], graph.nodes[graph.receivers]])


def around_edges(graph: Graph, kinds: int) -> np.ndarray:
    """(e, …): each edge and what is joined to its ends, as `graph_baselines.neighbourhood` lists it."""
    ends, columns = (graph.senders, graph.receivers), [with_ends(graph, kinds)]
    counted = np.column_stack([np.ones(len(graph.senders)), graph.edges])
    for kind in range(kinds):
        for weights in counted.T:
            there = graph.joined(weights * (graph.kinds == kind))
            for of_node in (there.sum(1), there.sum(0), there.max(1).toarray().ravel()):
                columns += [of_node[end] for end in ends]
            columns += [there[ends].ravel(), there[ends[::-1]].ravel(), _common(there + there.T, *ends).sum(1)]
    return np.column_stack(columns)


def around_nodes(graph: Graph, middle: np.ndarray | None = None) -> np.ndarray:
    """(n, …): each node and what comes to it, see `graph_baselines.neighbourhood`; masses with `middle` (F,)."""
    arriving, nodes = graph.incoming(), graph.nodes.astype(np.float64)
    number = arriving.sum(1)
    share = 1 / np.maximum(number, 1)[:, None]
    sums = arriving @ nodes[graph.senders]
    twice = arriving @ (sums * share)[graph.senders]
    columns = [nodes, number, sums * share, twice * share, arriving @ graph.edges * share]
    if middle is not None:
        # Features that are no logarithms of anything should not overflow.
        masses = arriving @ 10 ** np.clip(nodes[graph.senders] - middle, -30, 30)
        columns += [sums, np.log10(1 + masses)]
    return np.column_stack(columns)


def propagated_twice(graph: Graph) -> np.ndarray:
    """(n, F): S² X, S = D̃^−½ (A + 1) D̃^−½."""
    around = either(graph.joined()) + sparse.eye_array(len(graph.nodes), format="csr")
    half = sparse.diags_array(around.sum(1) ** -0.5)
    step = half @ around @ half
    return step @ (step @ graph.nodes)


def stacked(arrays: Arrays, describe: Callable[[Graph], np.ndarray]) -> np.ndarray:
    """Rows of all graphs, one graph after the other."""
    return np.concatenate([describe(graph) for graph in graphs_of(arrays)])


def of_all_edges(arrays: Arrays, kinds: int, describe: Callable[[Graph, int], np.ndarray]) -> np.ndarray:
    """Rows of the edges of all graphs, one graph after the other."""
    # Graphs without edges have no rows.
    return np.concatenate([describe(graph, kinds) for graph in graphs_of(arrays) if len(graph.senders)])


def of_pairs(arrays: Arrays) -> np.ndarray:
    """(p, 3): common neighbours, Adamic–Adar index and cosine of the features of all pairs that are asked about."""
    tables = []
    for i, graph in enumerate(graphs_of(arrays)):
        first, second = arrays["pairs"][i, : arrays["n_pair"][i]].T
        around = either(graph.joined())
        common = _common(around, first, second)
        # A common neighbour has two neighbours at least.
        rare = 1 / np.log(np.maximum(around.sum(1), 2))
        size = np.linalg.norm(graph.nodes, axis=1, keepdims=True)
        unit = graph.nodes / np.where(size > 0, size, 1)
        cosine = np.einsum("pf,pf->p", unit[first], unit[second])
        tables.append(np.column_stack([common.sum(1), common @ rare, cosine]))
    return np.concatenate(tables)


def either(there: sparse.csr_array) -> sparse.csr_array:
    """(n, n) symmetric: 1 where nodes are joined in one direction or both, and no node to itself."""
    both = (there + there.T).tocoo()
    off = both.row != both.col
    return sparse.csr_array((np.ones(off.sum()), (both.row[off], both.col[off])), both.shape)


def _common(around: sparse.csr_array, first: np.ndarray, second: np.ndarray) -> sparse.csr_array:
    """(p, n), 1 where a node is joined to both of a pair; of weights, their product."""
    return around[first].multiply(around[second]).tocsr()
