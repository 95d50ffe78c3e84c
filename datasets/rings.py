"""Two rings in a graph: are they apart, or are they one long ring with a chord?

Every graph is connected and has V nodes and V + 1 edges, so that it has two rings however they lie, and neither the
number of edges nor that of rings says anything. Graphs come in pairs that differ in the ends of two edges and in which
every node has the same number of neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs, simulation
from zoo_datasets.loading.graph_records import undirected

Edge = tuple[int, int]
CLASS_NAMES = ("apart", "one")


@dataclass(frozen=True)
class Setting:
    """What graphs are like.

    Attributes:
      nodes: V.
      ring: fewest and most nodes of each of the two rings.
      path: fewest and most edges of the path between them.
      rounds: of colour refinement that must suffice to tell the two graphs of a pair apart.
    """

    nodes: int
    ring: tuple[int, int]
    path: tuple[int, int]
    rounds: int


SETTINGS = {
    "default": Setting(nodes=16, ring=(3, 4), path=(1, 3), rounds=4),
    "large": Setting(nodes=24, ring=(4, 6), path=(1, 4), rounds=6),
}

NODE_CHANNELS = {"one": "1"}
TITLE = "Connected graphs of V nodes and V + 1 edges: two rings apart, or one long ring with a chord"
UNITS = (
    "nodes: float32, V × 1: 1, for nodes have no features; V is 16, in large 24. "
    "senders, receivers: int32, 2 (V + 1): each edge in both directions. "
    "label: 0 two rings with a path between them, 1 one long ring with a chord, which is an edge or a path: two fused "
    "rings. Single nodes hang on either. "
    "rounds: after so many rounds of colour refinement (Weisfeiler & Leman 1968) graph and partner differ, 2…4, in "
    "large 2…6; not an input."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 8000, "validation": 1000, "test": 2000},
    "tiny": {"train": 24, "validation": 12, "test": 12},
    "full": {"train": 40000, "validation": 2000, "test": 4000},
    "large": {"train": 8000, "validation": 1000, "test": 2000},
}
PROPERTIES = {"rounds": "1"}
FEATURES = {
    "nodes": "(16, 1) float32: 1; large: (24, 1)",
    "senders": "(34,) int32; large: (50,)",
    "receivers": "(34,) int32; large: (50,)",
    "label": "0 apart, 1 one",
    "rounds": "float32, 1; a property, not an input",
}
SPLIT_POLICY = (
    "Records 2k and 2k + 1 of a split are a pair, the first apart, the second one ring; pairs are drawn on their own."
)
NOTES = (
    "In a pair each node has as many neighbours in one graph as in the other: degrees, and all that one round of "
    "message passing finds, are right in exactly half of the records. Two rounds are right in 0.54 (a linear "
    "classifier on the counts of all colours, trained on train), three in 0.94, four in 0.96; in large 0.50, 0.61 and "
    "0.71. Pairs that colour refinement cannot tell apart, as with two equal rings and a chord between opposite ends, "
    "or only in more rounds, are not in the set, so that message passing can tell all of them. There are not very "
    "many such graphs: about a third of test, in default, has the form of one in train; in large next to none. Rings "
    "of apart have 3 or 4 nodes, in large 4…6; the long ring has as many as both together, and which edges are cut "
    "says where its chord ends."
)
CITATION = """\
@inproceedings{xu2019powerful,
  title     = {How Powerful are Graph Neural Networks?},
  author    = {Xu, Keyulu and Hu, Weihua and Leskovec, Jure and Jegelka, Stefanie},
  booktitle = {International Conference on Learning Representations},
  year      = {2019},
  url       = {https://arxiv.org/abs/1810.00826},
}
@article{weisfeiler1968reduction,
  title   = {The reduction of a graph to canonical form and the algebra which appears therein},
  author  = {Weisfeiler, Boris and Leman, Andrei},
  journal = {Nauchno-Technicheskaya Informatsia},
  volume  = {2},
  number  = {9},
  pages   = {12--16},
  year    = {1968},
}"""


def draw_apart(random: np.random.Generator, setting: Setting) -> tuple[list[Edge], list[Edge], list[Edge]]:
    """Edges of two rings, and the other edges: of the path between them and of single nodes that hang on."""
    sizes = random.integers(setting.ring[0], setting.ring[1] + 1, 2).tolist()
    length = int(random.integers(setting.path[0], setting.path[1] + 1))
    first, second = _ring(0, sizes[0]), _ring(sizes[0], sizes[1])
    core = sum(sizes) + length - 1
    inner = list(range(sum(sizes), core))
    path = list(zip([0, *inner], [*inner, sizes[0]], strict=True))
    leaves = [(int(random.integers(core)), node) for node in range(core, setting.nodes)]
    return first, second, path + leaves


def _ring(start: int, size: int) -> list[Edge]:
    return [(start + node, start + (node + 1) % size) for node in range(size)]


def exchange(random: np.random.Generator, first: Sequence[Edge], second: Sequence[Edge]) -> list[Edge]:
    """Edges of one ring out of two: an edge of each is cut, and their ends are joined crosswise.

    Every node keeps its number of neighbours.
    """
    one, other = int(random.integers(len(first))), int(random.integers(len(second)))
    (a, b), (c, d) = first[one], second[other]
    if random.integers(2):
        c, d = d, c
    return [*first[:one], *first[one + 1 :], *second[:other], *second[other + 1 :], (a, c), (b, d)]


def rounds_apart(first: Sequence[Edge], second: Sequence[Edge], nodes: int) -> int | None:
    """Rounds of colour refinement after which two graphs have different colours; None if that never comes.

    All nodes begin alike; in each round those whose colours, or whose neighbours' colours, differ get different ones.
    As many rounds of message passing can tell the graphs apart, and no fewer (Xu et al. 2019).
    """
    neighbours = [[[] for _ in range(nodes)] for _ in range(2)]
    for table, edges in zip(neighbours, (first, second), strict=True):
        for a, b in edges:
            table[a].append(b)
            table[b].append(a)
    colours, count = [[0] * nodes, [0] * nodes], 1
    for number in range(1, nodes + 1):
        signatures = [
            [(own[node], *sorted(own[other] for other in table[node])) for node in range(nodes)]
            for own, table in zip(colours, neighbours, strict=True)
        ]
        if sorted(signatures[0]) != sorted(signatures[1]):
            return number
        known = {signature: colour for colour, signature in enumerate(sorted(set(signatures[0])))}
        if len(known) == count:
            return None
        colours, count = [[known[signature] for signature in some] for some in signatures], len(known)
    return None


def draw_pair(random: np.random.Generator, setting: Setting) -> tuple[list[Edge], list[Edge], int]:
    """Edges of two rings apart and of the same nodes in one ring, and the rounds that tell them apart.

    Pairs that the setting's rounds do not tell apart, or with an edge twice, are drawn anew.
    """
    while True:
        first, second, rest = draw_apart(random, setting)
        apart, one = [*first, *second, *rest], [*exchange(random, first, second), *rest]
        if len({frozenset(edge) for edge in one}) < len(one):
            continue
        rounds = rounds_apart(apart, one, setting.nodes)
        if rounds is not None and rounds <= setting.rounds:
            return apart, one, rounds


class Rings(simulation.SimulatedBuilder):
    """TFDS builder of "rings": nodes (V, 1), senders and receivers (2 V + 2,), label, rounds."""

    name = "rings"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            **graphs.fields(1),
            "label": tfds.features.ClassLabel(names=list(CLASS_NAMES)),
            "rounds": simulation.scalar(),
        }

    def record(self, split: str, number: int) -> simulation.Record:
        """Record `number` of a split; those of one pair are drawn with one generator."""
        setting = simulation.setting_of(self.builder_config.name)
        return self.simulate(simulation.generator(self.name, setting, split, number // 2), number, setting)

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `draw_pair` of this module."""
        chosen, label = SETTINGS[setting], number % 2
        *edges, rounds = draw_pair(random, chosen)
        # Drawn for both, so that the two have orders of their own.
        order = [random.permutation(chosen.nodes) for _ in CLASS_NAMES][label]
        senders, receivers = undirected(order[np.array(edges[label])], nodes=chosen.nodes, where="rings")
        return {
            "nodes": np.ones((chosen.nodes, 1), np.float32),
            "senders": senders,
            "receivers": receivers,
            "label": label,
            "rounds": np.float32(rounds),
        }
