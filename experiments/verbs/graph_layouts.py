"""What is drawn of a graph, and where: places of its nodes in the plane, the neighbourhood of a node of a large one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import networkx
import numpy as np

# Beyond so many nodes places come from springs: shortest paths between all of them would take too long.
MANY = 150


@dataclass(frozen=True)
class Drawing:
    """A graph and what is shown on it.

    Attributes:
        senders: (e,) rows of `places`; an edge and its way back are one line.
        receivers: (e,) likewise.
        places: (n, 2), such as `layout` gives.
        nodes: (n,) whole numbers: classes, −1 for none; or floating: numbers on a scale; None: all nodes alike.
        true_nodes: (n,) classes, where they are known beside predicted ones; −1 for none.
        given: (n,) bool, nodes whose class the network was told; they are squares.
        edges: (e,) classes, −1 for none; None: all edges alike.
        true_edges: (e,) likewise, beside predicted ones.
    """

    senders: np.ndarray
    receivers: np.ndarray
    places: np.ndarray
    nodes: np.ndarray | None = None
    true_nodes: np.ndarray | None = None
    given: np.ndarray | None = None
    edges: np.ndarray | None = None
    true_edges: np.ndarray | None = None

    def __post_init__(self) -> None:
        count, ends = len(self.places), np.concatenate([self.senders, self.receivers])
        if len(self.senders) != len(self.receivers) or (ends.size and not 0 <= ends.min() <= ends.max() < count):
            raise ValueError(
                f"A drawing takes senders and receivers (e,), numbers of its {count} places; got {len(self.senders)} "
                f"and {len(self.receivers)}, {ends.min(initial=count)} … {ends.max(initial=-1)}."
            )
        for name in ("nodes", "true_nodes", "given", "edges", "true_edges"):
            values, rows = getattr(self, name), len(self.senders) if "edges" in name else count
            if values is not None and np.shape(values) != (rows,):
                raise ValueError(f"A drawing takes {name} ({rows},), got {np.shape(values)}.")


def layout(
    senders: np.ndarray, receivers: np.ndarray, nodes: int, *, positions: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Places of the nodes in the plane: those that are joined are near each other.

    Each connected part is laid out by itself (Kamada & Kawai 1989 from classical scaling of the shortest paths, springs
    beyond 150 nodes), turned so that it lies, scaled so that the median edge has length 1, and put beside the others.

    Args:
        senders: (e,) 0 … `nodes` − 1; directions, repeated edges and loops do not matter.
        receivers: (e,) likewise.
        nodes: their number.
        positions: (nodes, 2 or more), for graphs whose nodes have places; the first two coordinates are taken as they
            are.
        seed: of the small random numbers that keep nodes apart at the beginning.

    Returns:
        (nodes, 2).
    """
    if positions is not None:
        positions = np.asarray(positions, np.float64)
        if positions.ndim != 2 or len(positions) != nodes or positions.shape[1] < 2:
            raise ValueError(f"layout takes positions ({nodes}, 2 or more), got {positions.shape}.")
        return positions[:, :2]
    graph = networkx.Graph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from((int(a), int(b)) for a, b in zip(senders, receivers, strict=True) if a != b)
    if len(graph) != nodes:
        raise ValueError(f"layout takes senders and receivers in 0 … {nodes - 1}, got {min(graph)} … {max(graph)}.")
    parts = sorted((sorted(part) for part in networkx.connected_components(graph)), key=len, reverse=True)
    placed = [_place(graph.subgraph(part), part, seed) for part in parts]
    places = np.zeros((nodes, 2))
    for part, here in zip(parts, _side_by_side(placed), strict=True):
        places[part] = here
    return places


def around(
    senders: np.ndarray, receivers: np.ndarray, node: int, *, hops: int = 2, most: int = 60
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The neighbourhood of a node: what can be drawn of a graph that is too large.

    Args:
        senders: (e,); edges are walked in both directions.
        receivers: (e,).
        node: its number.
        hops: how many edges away nodes may be.
        most: no more than so many nodes, the nearest first, and of the farthest those with the smallest numbers.

    Returns:
        Numbers (m,) of the nodes kept, `node` first, and (k,) of the edges between them; their senders and receivers
        (k,) as rows of the nodes kept.
    """
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    kept = [node]
    for _ in range(hops):
        near = np.union1d(receivers[np.isin(senders, kept)], senders[np.isin(receivers, kept)])
        kept += np.setdiff1d(near, kept)[: most - len(kept)].tolist()
    edges = np.flatnonzero(np.isin(senders, kept) & np.isin(receivers, kept))
    row = {number: row for row, number in enumerate(kept)}
    ends = (np.array([row[int(number)] for number in of[edges]], int) for of in (senders, receivers))
    return np.array(kept), edges, *ends


def _place(graph: networkx.Graph, part: Sequence[int], seed: int) -> np.ndarray:
    """A connected graph, centred and lying, with a median edge of length 1."""
    if len(part) == 1:
        return np.zeros((1, 2))
    if len(part) > MANY:
        found = networkx.spring_layout(graph, seed=seed)
    else:
        paths = dict(networkx.all_pairs_shortest_path_length(graph))
        lengths = np.array([[paths[a][b] for b in part] for a in part], float)
        start = _scaled(lengths) + np.random.default_rng(seed).normal(0, 0.05, (len(part), 2))
        found = networkx.kamada_kawai_layout(graph, dist=paths, pos=dict(zip(part, start, strict=True)))
    places = np.array([found[node] for node in part])
    places, _ = principal(places)
    index = {node: row for row, node in enumerate(part)}
    lengths = [np.linalg.norm(places[index[a]] - places[index[b]]) for a, b in graph.edges]
    return places / (np.median(lengths) or 1)


def _scaled(distances: np.ndarray) -> np.ndarray:
    """Classical scaling: places (n, 2) whose distances are most like those given."""
    squares = distances**2
    inner = -0.5 * (squares - squares.mean(0) - squares.mean(1)[:, None] + squares.mean())
    values, vectors = np.linalg.eigh(inner)
    return vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0))


def _side_by_side(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Places of each part, moved so that their boxes stand in rows, one edge apart."""
    boxes = [np.ptp(part, axis=0) + 1 for part in parts]
    width = max(1.2 * math.sqrt(sum(map(np.prod, boxes))), max((box[0] for box in boxes), default=0))
    x = y = tall = 0.0
    moved = []
    for part, box in zip(parts, boxes, strict=True):
        if x and x + box[0] > width:
            x, y, tall = 0.0, y - tall, 0.0
        moved.append(part - part.min(0) + [x, y - box[1]])
        x, tall = x + box[0], max(tall, box[1])
    return moved


def principal(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First two principal components (n, 2) and their shares (2,) of the variance; 0 where there is none.

    The largest weight of each component is positive: singular vectors leave their sign open.
    """
    centred = points - points.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(1)])[:, None]
    shares = sizes[:2] ** 2 / max(float((sizes**2).sum()), 1e-300)
    missing = 2 - len(axes)
    return np.pad(centred @ axes.T, ((0, 0), (0, missing))), np.pad(shares, (0, missing))
