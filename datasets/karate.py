"""Zachary's karate club: who went with whom when it split, from two people's sides and from who met whom?

34 members and the 78 pairs who met outside the club (Zachary 1977), as the package networkx has them. The club's
instructor (node 0) and its administrator (node 33) fell out, and every member went with one of them.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs, simulation
from zoo_datasets.loading.arrays import stratified_split
from zoo_datasets.loading.graph_records import UNKNOWN, undirected
from zoo_datasets.loading.records import Record

MEMBERS, PAIRS = 34, 78
# networkx's name of each side → ours.
SIDES = {"Mr. Hi": "instructor", "Officer": "administrator"}
CLASS_NAMES = tuple(SIDES.values())
# The two people after whom the sides are called, whose side is given.
LEADERS = (0, 33)
SPLIT_SEED = 0
# Of the members of each side that are no leaders.
VALIDATION_FRACTION = 0.25

TITLE = "Zachary's karate club: 34 members, 78 friendships, two sides; one graph"
UNITS = (
    "nodes: float32, 34 × 34: which member it is, 1 in one of 34 columns. "
    "senders, receivers: int32, 156: each of the 78 pairs of members who met outside the club, in both directions. "
    "node_label: int32, 34: 0 went with the instructor, 1 with the administrator, −1 belongs to another split."
)
LICENCE = "Zachary (1977) prints the matrix; package networkx, which carries it: BSD 3-Clause."
CREDIT = ""
SPLIT_SIZES = {"train": 1, "validation": 1, "test": 1}
FEATURES = {
    "nodes": "(34, 34) float32: one-hot",
    "senders": "(156,) int32",
    "receivers": "(156,) int32",
    "node_label": "(34,) int32: 0, 1; −1 in another split",
}
SPLIT_POLICY = (
    "Every split is the same graph. train knows the sides of the two leaders, nodes 0 and 33, and of nobody else; of "
    "the other 32 members four of each side, drawn with seed 0, are validation and 24 are test."
)
NOTES = (
    "One answer is 4 % of test: scores need many seeds of the network. Node 8 has more friends on the administrator's "
    "side and went with the instructor, to take the examination for the black belt that was three weeks away "
    "(Zachary). networkx also has how often a pair met, which is left out here."
)
CITATION = """\
@article{zachary1977information,
  title   = {An Information Flow Model for Conflict and Fission in Small Groups},
  author  = {Zachary, Wayne W.},
  journal = {Journal of Anthropological Research},
  volume  = {33},
  number  = {4},
  pages   = {452--473},
  year    = {1977},
  doi     = {10.1086/jar.33.4.3629752},
}"""


def read_club() -> tuple[np.ndarray, np.ndarray]:
    """Pairs (78, 2) of members who met, and the side (34,) of each, 0 or 1.

    Raises:
      SourceError: networkx is not installed.
    """
    club = simulation.extra("networkx", "sim").karate_club_graph()
    sides = np.array([list(SIDES).index(club.nodes[member]["club"]) for member in range(MEMBERS)], np.int32)
    return np.array(club.edges, np.int32), sides


def split(sides: np.ndarray) -> dict[str, np.ndarray]:
    """Members whose side each split knows, ascending: the leaders, a quarter of the others, and the rest."""
    others = np.setdiff1d(np.arange(len(sides)), LEADERS)
    test, validation = stratified_split(sides[others], seed=SPLIT_SEED, fractions=(VALIDATION_FRACTION,))
    return {"train": np.array(LEADERS), "validation": others[validation], "test": others[test]}


class Karate(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of "karate": nodes (34, 34), senders and receivers (156,), node_label (34,)."""

    name = "karate"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict({**graphs.fields(MEMBERS), "node_label": graphs.column()}),
            homepage="https://networkx.org/documentation/stable/reference/generated/"
            "networkx.generators.social.karate_club_graph.html",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Record]]]:
        pairs, sides = read_club()
        return {name: self._generate_examples(pairs, sides, known) for name, known in split(sides).items()}

    def _generate_examples(
        self, pairs: np.ndarray, sides: np.ndarray, known: np.ndarray
    ) -> Iterator[tuple[int, Record]]:
        """Yield (0, the graph with the sides of those `known`)."""
        senders, receivers = undirected(pairs, nodes=MEMBERS, where="karate")
        labels = np.full(MEMBERS, UNKNOWN, np.int32)
        labels[known] = sides[known]
        yield (
            0,
            {
                "nodes": np.eye(MEMBERS, dtype=np.float32),
                "senders": senders,
                "receivers": receivers,
                "node_label": labels,
            },
        )
