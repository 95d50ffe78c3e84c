"""Papers that cite each other, Cora and Citeseer: what is a paper about, and does one cite the other?

The two graphs of Sen et al. (2008) in the form and with the division of Yang et al. (2016), on which most published
numbers are, which the user fetches as files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs
from zoo_datasets.loading.columns import read_columns
from zoo_datasets.loading.graph_records import UNKNOWN, require_graph, undirected
from zoo_datasets.loading.records import DataError, Record
from zoo_datasets.loading.sources import manual_file

FOLDER = "planetoid_cora_citeseer"
PAGE = (
    "https://github.com/kimiyoung/planetoid (data/ind.NAME.*, made into arrays: indptr, indices, values and n_features "
    "of the sparse matrix of words, labels, −1 for none, edges (m, 2), train_idx, val_idx, test_idx)"
)
_ARRAYS = ("indptr", "indices", "values", "n_features", "labels", "edges", "train_idx", "val_idx", "test_idx")
_INDICES = {"train": "train_idx", "validation": "val_idx", "test": "test_idx"}
SPLIT_SEED = 0
# Of the edges, hidden for validation and for test (Kipf & Welling 2016, variational graph auto-encoders).
HIDDEN = {"validation": 0.05, "test": 0.1}


@dataclass(frozen=True)
class Graph:
    """One of the two graphs.

    Attributes:
      papers: their number.
      words: of the vocabulary.
      classes: subjects, in the order of the labels.
    """

    papers: int
    words: int
    classes: tuple[str, ...]


GRAPHS = {
    "cora": Graph(
        2708,
        1433,
        (
            "theory",
            "reinforcement learning",
            "genetic algorithms",
            "neural networks",
            "probabilistic methods",
            "case based",
            "rule learning",
        ),
    ),
    "citeseer": Graph(
        3327,
        3703,
        (
            "artificial intelligence",
            "machine learning",
            "information retrieval",
            "databases",
            "agents",
            "human-computer interaction",
        ),
    ),
}
_LINKS = "_links"
CONFIGS = (*GRAPHS, *(f"{name}{_LINKS}" for name in GRAPHS))
CLASS_NAMES = {
    config: ("no citation", "citation") if config.endswith(_LINKS) else GRAPHS[config].classes for config in CONFIGS
}

TITLE = "Citations among papers, Cora and Citeseer: subjects of papers, or hidden citations; one graph"
UNITS = (
    "nodes: float32, papers × words: which words a paper has, divided by their number, so that rows sum to 1 (0 for a "
    "paper without words). "
    "senders, receivers: int32: each citation in both directions, for who cites whom is not in the files. "
    "node_label (cora, citeseer): int32, the subject, −1 for a paper without one or of another split. "
    "pairs (cora_links, citeseer_links): int32, p × 2: two papers; pair_label: int32, 1 if one cites the other."
)
LICENCE = "MIT (Planetoid, Zhilin Yang 2016), fetched by the user."
CREDIT = "Graphs: Sen et al. (2008), division of Yang et al. (2016)"
SPLIT_SIZES = {config: dict.fromkeys(_INDICES, 1) for config in CONFIGS}
FEATURES = {
    "nodes": "(2708, 1433) float32 in cora, (3327, 3703) in citeseer: shares of words",
    "senders": "(10556,) int32 in cora, (9104,) in citeseer, fewer in _links",
    "receivers": "as senders",
    "node_label": "(n,) int32: 0…6 in cora, 0…5 in citeseer; −1 unknown or in another split; not in _links",
    "pairs": "(p, 2) int32: two papers; only in _links",
    "pair_label": "(p,) int32: 0, 1; only in _links",
}
SPLIT_POLICY = (
    "Every split is the same graph. cora, citeseer: the division of Yang et al. (2016): 20 papers of each subject are "
    "train, 500 papers validation, 1,000 test; the others' labels are not in any split. "
    "_links: 5 % of the citations, drawn with seed 0, are validation and 10 % test, and no split has them among its "
    "edges; each is joined by as many pairs that do not cite each other. pairs of train are all other citations and as "
    "many pairs without; all pairs of all splits are different. Draw other pairs without a citation in training, if "
    "you like."
)
NOTES = (
    "Published, on this division: features only (multi-layer perceptron) 56.6 % in cora and 60.0 % in citeseer, graph "
    "convolution 81.5 and 70.3 % (Kipf & Welling 2017), graph attention 83.0 and 72.5 %; link prediction of cora by a "
    "graph auto-encoder AUC 0.910 (Kipf & Welling 2016). The names of the subjects come from Sen et al. and are put "
    "to the numbers by their sizes. citeseer: 15 papers have neither words nor a label, 48 papers no citation. The "
    "words stand on no list. In training on train, the test papers' words and citations are in sight, as is usual "
    "here (transductive)."
)
CITATION = """\
@inproceedings{yang2016revisiting,
  title     = {Revisiting Semi-Supervised Learning with Graph Embeddings},
  author    = {Yang, Zhilin and Cohen, William W. and Salakhutdinov, Ruslan},
  booktitle = {Proceedings of the 33rd International Conference on Machine Learning},
  pages     = {40--48},
  year      = {2016},
}
@article{sen2008collective,
  title   = {Collective Classification in Network Data},
  author  = {Sen, Prithviraj and Namata, Galileo and Bilgic, Mustafa and Getoor, Lise and Gallagher, Brian and
             Eliassi-Rad, Tina},
  journal = {AI Magazine},
  volume  = {29},
  number  = {3},
  pages   = {93--106},
  year    = {2008},
  doi     = {10.1609/aimag.v29i3.2157},
}"""


@dataclass(frozen=True)
class Content:
    """The contents of a file.

    Attributes:
      words: (n, W) float32, rows that sum to 1 or are 0.
      labels: (n,) int32, −1 for none.
      pairs: (m, 2) int32, each citation once, the smaller number first.
      known: split → numbers of the papers whose labels it knows, ascending.
    """

    words: np.ndarray
    labels: np.ndarray
    pairs: np.ndarray
    known: dict[str, np.ndarray]


def read_file(path: Path, graph: Graph) -> Content:
    """The graph of a file, checked.

    Raises:
      DataError: the file cannot be read, or its arrays are not those of the graph; the text says which, what was
        expected and what came.
    """
    arrays = read_columns(path, _ARRAYS, page=PAGE)
    words = _dense(path, arrays, graph)
    labels, pairs = arrays["labels"].astype(np.int32), arrays["edges"]
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise DataError(f"{path}: edges should be whole numbers (m, 2), got {pairs.dtype} {pairs.shape}.")
    senders, receivers = undirected(pairs, nodes=graph.papers, where=str(path))
    record = {"nodes": words, "senders": senders, "receivers": receivers, "node_label": labels}
    require_graph(str(path), record, num_classes=len(graph.classes))
    known = {split: arrays[name] for split, name in _INDICES.items()}
    for split, numbers in known.items():
        _require_known(f"{path}: {_INDICES[split]}", numbers, labels)
    whole = np.concatenate(list(known.values()))
    repeated = np.flatnonzero(np.bincount(whole) > 1)
    if len(repeated):
        raise DataError(
            f"{path}: train_idx, val_idx and test_idx should have no paper in common, got paper {repeated[0]} twice "
            f"({len(repeated)} papers)."
        )
    once = np.stack([receivers, senders], axis=1)[receivers < senders]
    return Content(words, labels, once, {split: np.sort(numbers) for split, numbers in known.items()})


def _dense(path: Path, arrays: dict[str, np.ndarray], graph: Graph) -> np.ndarray:
    """The matrix of words (n, W), its rows divided by their sums."""
    start, column, values = arrays["indptr"], arrays["indices"], arrays["values"]
    shape = (len(start) - 1, int(arrays["n_features"]))
    if shape != (graph.papers, graph.words):
        raise DataError(
            f"{path}: expected {graph.papers} papers and {graph.words} words, got {shape[0]} and {shape[1]}. Is it the "
            "file of the other graph?"
        )
    consistent = start[0] == 0 and (np.diff(start) >= 0).all() and start[-1] == len(column) == len(values)
    if not consistent or (len(column) and not 0 <= column.min() <= column.max() < graph.words):
        raise DataError(
            f"{path}: indptr, indices and values should be a sparse matrix {shape} by rows, got indptr that ends at "
            f"{start[-1]}, {len(column)} indices up to {column.max(initial=-1)} and {len(values)} values."
        )
    words = np.zeros(shape, np.float32)
    words[np.repeat(np.arange(graph.papers), np.diff(start)), column] = values
    return words / np.maximum(words.sum(1, keepdims=True), np.finfo(np.float32).tiny)


def _require_known(where: str, numbers: np.ndarray, labels: np.ndarray) -> None:
    outside = (numbers < 0) | (numbers >= len(labels))
    if outside.any():
        raise DataError(
            f"{where} should be numbers of papers, 0 … {len(labels) - 1}, got {numbers[outside][0]} "
            f"({outside.sum()} out of range): labels of papers that are not in the graph."
        )
    without = numbers[labels[numbers] == UNKNOWN]
    if len(without):
        raise DataError(
            f"{where} should be papers whose label is known, got paper {without[0]} without one ({len(without)} such)."
        )


def split_links(pairs: np.ndarray, papers: int, *, seed: int = SPLIT_SEED) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Split → (pairs of papers that cite each other, as many that do not), each (p, 2) int32, the smaller number first.

    Args:
      pairs: (m, 2) of all citations, each once.
      papers: their number n; there should be some 3 m pairs of papers or more.
      seed: of the draws, the raw ones of Philox, which NumPy keeps the same for ever.
    """
    order = np.argsort(np.random.Philox(key=np.array([seed, 0], np.uint64)).random_raw(len(pairs)), kind="stable")
    absent = _without_citation(pairs, papers, np.random.Philox(key=np.array([seed, 1], np.uint64)))
    parts, taken = {}, 0
    for name, share in HIDDEN.items():
        size = round(share * len(pairs))
        parts[name] = slice(taken, taken + size)
        taken += size
    parts["train"] = slice(taken, None)
    return {name: (pairs[order[parts[name]]], absent[parts[name]]) for name in _INDICES}


def _without_citation(pairs: np.ndarray, papers: int, draws: np.random.Philox) -> np.ndarray:
    """As many different pairs (m, 2) as there are citations, of papers that do not cite each other."""
    taken = set((pairs.min(1).astype(np.int64) * papers + pairs.max(1)).tolist())
    found: list[int] = []
    while len(found) < len(pairs):
        two = (draws.random_raw(2 * len(pairs)).reshape(-1, 2) % np.uint64(papers)).astype(np.int64)
        for code in (two.min(1) * papers + two.max(1))[two[:, 0] != two[:, 1]].tolist():
            if code not in taken:
                taken.add(code)
                found.append(code)
    return np.stack(np.divmod(np.array(found[: len(pairs)]), papers), axis=1).astype(np.int32)


class Citations(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of "citations": nodes (n, W), senders and receivers (e,), and node_label (n,) or pairs (p, 2)."""

    name = "citations"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [tfds.core.BuilderConfig(name=name) for name in CONFIGS]

    @property
    def _graph(self) -> Graph:
        return GRAPHS[self._base]

    @property
    def _base(self) -> str:
        return self.builder_config.name.removesuffix(_LINKS)

    @property
    def _of_links(self) -> bool:
        return self.builder_config.name.endswith(_LINKS)

    def _info(self) -> tfds.core.DatasetInfo:
        truth = {"node_label": graphs.column()}
        if self._of_links:
            truth = {"pairs": graphs.table(2, dtype=np.int32), "pair_label": graphs.column()}
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict({**graphs.fields(self._graph.words, sparse=True), **truth}),
            homepage="https://github.com/kimiyoung/planetoid",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Record]]]:
        content = read_file(manual_file(FOLDER, f"{self._base}.npz", page=PAGE), self._graph)
        records = links(content) if self._of_links else subjects(content)
        return {split: self._generate_examples(record) for split, record in records.items()}

    def _generate_examples(self, record: Record) -> Iterator[tuple[int, Record]]:
        """Yield (0, record)."""
        yield 0, record


def subjects(content: Content) -> dict[str, Record]:
    """Split → the graph, with the labels that the split knows."""
    senders, receivers = undirected(content.pairs, nodes=len(content.words), where="citations")
    graph = {"nodes": content.words, "senders": senders, "receivers": receivers}
    records = {}
    for split, known in content.known.items():
        labels = np.full(len(content.labels), UNKNOWN, np.int32)
        labels[known] = content.labels[known]
        records[split] = {**graph, "node_label": labels}
    return records


def links(content: Content) -> dict[str, Record]:
    """Split → the graph without any hidden edge, and the pairs that the split asks for, sorted."""
    parts = split_links(content.pairs, len(content.words))
    senders, receivers = undirected(parts["train"][0], nodes=len(content.words), where="citations")
    graph = {"nodes": content.words, "senders": senders, "receivers": receivers}
    records = {}
    for split, (joined, apart) in parts.items():
        pairs = np.concatenate([joined, apart])
        # The order of the pairs says nothing.
        order = np.lexsort(pairs.T[::-1])
        labels = np.repeat(np.array([1, 0], np.int32), [len(joined), len(apart)])
        records[split] = {**graph, "pairs": pairs[order], "pair_label": labels[order]}
    return records
