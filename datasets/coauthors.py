"""Who wrote with whom: is it supervision, the same group, or a collaboration of groups?

Simulated networks of researchers with edges of three types: joint papers, the same institute, and citations, which
have a direction. Joint papers are to be classified. What supervises is known by the company it keeps: a supervisor
writes with the whole group, and the group among itself.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs, simulation
from zoo_datasets.loading.graph_records import UNKNOWN

GROUPS, INSTITUTES = 8, 2
# Chance that an author's institute is known, and scatter of ln(1 + years), which archives do not know well.
KNOWN_INSTITUTE, YEARS_SCATTER = 0.7, 0.6

CLASS_NAMES = ("supervision", "group", "collaboration")
EDGE_TYPES = ("coauthors", "institute", "cites")
NODE_CHANNELS = {"log_papers": "ln(1 + papers)", "log_years": "ln(1 + years)"}
EDGE_CHANNELS = {"log_count": "ln(1 + papers or citations)", "share": "1 / authors"}
TITLE = (
    "Simulated networks of authors: supervision, group or collaboration, from joint papers, institutes and citations"
)
UNITS = (
    "nodes: float32, n × 2: ln(1 + papers) of an author, of whom most wrote others with people outside the network; "
    "ln(1 + years since the first paper), as an archive would guess it. "
    "edge_type: int32, e: 0 coauthors, in both directions; 1 the same institute, as far as known, in both directions; "
    "2 the sender cites the receiver, both as first authors, in this direction only. "
    "edges: float32, e × 2: ln(1 + number) of joint papers or citations, 0 for institutes; mean of 1 / number of "
    "authors over the joint papers, 0 for the others. "
    "edge_label: int32, e: of coauthors 0 supervision (one is the head of the other's group), 1 group (both are other "
    "members of one), 2 collaboration (of two groups), the same in both directions; −1 for other edges. "
    "group: int32, n: number of the group; truth, never an input."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 150, "validation": 30, "test": 60},
    "tiny": {"train": 6, "validation": 3, "test": 3},
    "full": {"train": 1500, "validation": 150, "test": 300},
}
PROPERTIES = {"group": "1"}
FEATURES = {
    "nodes": "(n, 2) float32: logarithms of papers and years; n about 50",
    "senders": "(e,) int32",
    "receivers": "(e,) int32",
    "edges": "(e, 2) float32: logarithm of a count, share of papers",
    "edge_type": "(e,) int32: 0 coauthors, 1 institute, 2 cites",
    "edge_label": "(e,) int32: 0 supervision, 1 group, 2 collaboration; −1 no coauthors",
    "group": "(n,) int32; truth, not an input",
}
SPLIT_POLICY = "Every network is drawn on its own."
NOTES = (
    "Eight groups of 3 to 8 authors, four in each of two institutes; the institutes of 30 % of the authors are not "
    "known. Everybody writes with the own group, the head above all, and again and again with two contacts elsewhere, "
    "and consortia join many who hardly know each other. Of the coauthors' edges 11 % are supervision, 20 % group and "
    "69 % collaboration: the commonest class is right in 0.69. Boosted trees are right in 0.79 on the edge's own "
    "features, in 0.88 with those of both authors, their institute and their citations of each other, and in 0.94 with "
    "counts of common coauthors and of neighbours: the rest is in the neighbourhood (means of the three classes' "
    "shares: 0.64, 0.82, 0.91). What the features mean: the head has the most years, as a rule, but years are known "
    "with a scatter of 0.6 in ln."
)
CITATION = """\
@inproceedings{wang2010mining,
  title     = {Mining advisor-advisee relationships from research publication networks},
  author    = {Wang, Chi and Han, Jiawei and Jia, Yuntao and Tang, Jie and Zhang, Duo and Yu, Yintao and Guo, Jingyi},
  booktitle = {Proceedings of the 16th ACM SIGKDD International Conference on Knowledge Discovery and Data Mining},
  pages     = {203--212},
  year      = {2010},
  doi       = {10.1145/1835804.1835833},
}"""


@dataclass(frozen=True)
class People:
    """The authors of a network.

    Attributes:
      group: (n,) number of each one's group.
      head: (n,) whether they head it.
      years: (n,) since their first paper.
      contacts: (n, 2) authors of other groups with whom each one collaborates.
    """

    group: np.ndarray
    head: np.ndarray
    years: np.ndarray
    contacts: np.ndarray

    def members(self, group: int) -> list[int]:
        """Numbers of the authors of a group, its head first."""
        return np.flatnonzero(self.group == group).tolist()


def draw_people(random: np.random.Generator) -> People:
    """Eight groups of a head, up to two postdocs and two to five students; all have two contacts in other groups."""
    group, head, years = [], [], []
    for number in range(GROUPS):
        postdocs, students = int(random.integers(0, 3)), int(random.integers(2, 6))
        group += [number] * (1 + postdocs + students)
        head += [True] + [False] * (postdocs + students)
        years += [random.uniform(10, 35), *random.uniform(4, 12, postdocs), *random.uniform(0, 5, students)]
    numbers, heads = np.array(group), np.array(head)
    # Heads are sought after.
    weights = np.where(heads, 2.0, 1.0) * (numbers != numbers[:, None])
    totals = np.cumsum(weights, axis=1)
    draws = random.random((len(numbers), 2)) * totals[:, -1:]
    contacts = np.stack([np.searchsorted(*row, side="right") for row in zip(totals, draws, strict=True)])
    return People(numbers, heads, np.array(years), contacts)


def draw_papers(random: np.random.Generator, people: People) -> list[tuple[int, ...]]:
    """Authors of each paper, all different, the first author first."""
    papers = []
    groups = [people.members(number) for number in range(GROUPS)]
    for author in range(len(people.group)):
        others = [other for other in groups[people.group[author]] if other != author]
        senior = people.years[author] >= 4
        # Students' papers are mostly with their head; postdocs', and heads' own, as often with other groups.
        with_head, with_member, outside = (0.5, 0.3, 0.4) if senior else (0.8, 0.3, 0.25)
        chances = np.where(people.head[others], with_head, with_member)
        for _ in range(1 + random.poisson(0.7 * min(people.years[author], 5))):
            joined = [
                other for other, within in zip(others, random.random(len(others)) < chances, strict=True) if within
            ]
            guests = people.contacts[author][random.random(2) < outside]
            papers.append((author, *joined, *sorted(set(guests.tolist()))))
    for _ in range(random.poisson(2)):
        # A consortium: many authors of a few groups.
        chosen = random.choice(GROUPS, int(random.integers(3, 5)), replace=False)
        authors = [author for number in chosen for author in groups[number] if random.random() < 0.5]
        if authors:
            papers.append(tuple(random.permutation(authors).tolist()))
    return papers


def draw_citations(random: np.random.Generator, people: People, papers: Sequence[tuple[int, ...]]) -> Counter:
    """(citing, cited) first authors → citations; nearly a third of a paper's go to the first author's own group."""
    first = np.array([paper[0] for paper in papers])
    own = [np.flatnonzero(people.group[first] == number) for number in range(GROUPS)]
    citations: Counter = Counter()
    for author in first.tolist():
        near = own[people.group[author]]
        for _ in range(random.poisson(2)):
            number = near[random.integers(len(near))] if random.random() < 0.3 else random.integers(len(papers))
            if first[number] != author:
                citations[author, int(first[number])] += 1
    return citations


def coauthor_edges(papers: Sequence[tuple[int, ...]]) -> dict[tuple[int, int], tuple[int, float]]:
    """Pair of authors, the smaller number first → number of joint papers, mean of 1 / number of their authors."""
    count: Counter = Counter()
    share: Counter = Counter()
    for paper in papers:
        for pair in itertools.combinations(sorted(paper), 2):
            count[pair] += 1
            share[pair] += 1 / len(paper)
    return {pair: (count[pair], share[pair] / count[pair]) for pair in sorted(count)}


def relation(people: People, first: int, second: int) -> int:
    """Class of a pair of authors, see `CLASS_NAMES`."""
    if people.group[first] != people.group[second]:
        return 2
    return 0 if people.head[first] or people.head[second] else 1


def simulate(random: np.random.Generator) -> simulation.Record:
    """One record."""
    people = draw_people(random)
    papers = draw_papers(random, people)
    # Sender, receiver, type, count, share, label.
    rows: list[tuple[int, int, int, float, float, int]] = []
    for (a, b), (count, share) in coauthor_edges(papers).items():
        label = relation(people, a, b)
        rows += [(i, j, 0, np.log1p(count), share, label) for i, j in ((a, b), (b, a))]
    institute = np.where(random.random(len(people.group)) < KNOWN_INSTITUTE, people.group % INSTITUTES, UNKNOWN)
    for a, b in itertools.permutations(np.flatnonzero(institute != UNKNOWN).tolist(), 2):
        if institute[a] == institute[b]:
            rows.append((a, b, 1, 0.0, 0.0, UNKNOWN))
    for (a, b), count in draw_citations(random, people, papers).items():
        rows.append((a, b, 2, np.log1p(count), 0.0, UNKNOWN))
    # Numbers of authors say nothing of their group.
    place = random.permutation(len(people.group))
    senders, receivers = (place[[row[end] for row in rows]].astype(np.int32) for end in (0, 1))
    kinds, labels = (np.array([row[column] for row in rows], np.int32) for column in (2, 5))
    order = np.lexsort((kinds, senders, receivers))
    elsewhere = random.poisson(people.years * random.lognormal(0, 0.7, len(people.years)))
    written = elsewhere + np.bincount([author for paper in papers for author in paper], minlength=len(people.group))
    years = np.log1p(people.years) + random.normal(0, YEARS_SCATTER, len(people.years))
    back = np.argsort(place)
    return {
        "nodes": np.stack([np.log1p(written), years], axis=1)[back].astype(np.float32),
        "senders": senders[order],
        "receivers": receivers[order],
        "edges": np.array([row[3:5] for row in rows], np.float32)[order],
        "edge_type": kinds[order],
        "edge_label": labels[order],
        "group": people.group[back].astype(np.int32),
    }


class Coauthors(simulation.SimulatedBuilder):
    """TFDS builder of "coauthors": nodes (n, 2), senders, receivers, edges (e, 2), edge_type and edge_label (e,)."""

    name = "coauthors"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            **graphs.fields(len(NODE_CHANNELS), edges=len(EDGE_CHANNELS), typed=True),
            "edge_label": graphs.column(),
            "group": graphs.column(),
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random)
