"""Molecules and proteins as graphs: MUTAG, PTC, PROTEINS and ENZYMES, with ten fixed folds.

Four sets of the TU collection (Morris et al. 2020) as Zhang et al. (2018) and Xu et al. (2019) used them, which the
user fetches as text files: nodes have one tag and nothing else, edges have nothing. Each configuration is one fold.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs
from zoo_datasets.loading.arrays import stratified_split
from zoo_datasets.loading.graph_records import undirected
from zoo_datasets.loading.records import DataError, Record
from zoo_datasets.loading.sources import manual_file

FOLDER = "mutag_ptc_proteins"
PAGE = (
    "https://github.com/muhanzhang/pytorch_DGCNN (data/NAME/NAME.txt and data/NAME/10fold_idx, here NAME_10fold_idx, "
    "with train_idx-1.txt … test_idx-10.txt)"
)
FOLDS = 10
SPLIT_SEED, VALIDATION_FRACTION = 0, 0.1


@dataclass(frozen=True)
class Collection:
    """One of the sets.

    Attributes:
      file: its name in the files.
      count: of graphs.
      classes: label in the file → what it means, in the order of the numbers given to them here.
      tags: tags of nodes that occur, ascending; each has a column of its own.
      tested: graphs in the test part of each fold.
      held: graphs of validation in fold 0, 1, …: a tenth of each class, whose numbers in the training parts differ.
    """

    file: str
    count: int
    classes: dict[int, str]
    tags: tuple[int, ...]
    tested: int
    held: tuple[int, ...]


COLLECTIONS = {
    "mutag": Collection(
        "MUTAG",
        188,
        {0: "not mutagenic", 2: "mutagenic"},
        tuple(range(7)),
        18,
        (17, 17, 17, 17, 17, 17, 17, 17, 18, 17),
    ),
    "ptc": Collection("PTC", 344, {0: "0", 1: "1"}, (*range(1, 10), 11, *range(13, 22)), 34, (31,) * FOLDS),
    "proteins": Collection(
        "PROTEINS", 1113, {0: "0", 1: "1"}, (0, 1, 2), 111, (100, 101, 100, 101, 100, 100, 100, 100, 101, 100)
    ),
    "enzymes": Collection(
        "ENZYMES",
        600,
        {number: f"EC {number + 1}" for number in range(6)},
        (0, 1, 2),
        60,
        (54, 54, 55, 53, 54, 54, 53, 54, 54, 54),
    ),
}
CONFIGS = (*COLLECTIONS, *(f"{name}_fold{fold}" for name in COLLECTIONS for fold in range(FOLDS)))
_FOLD = re.compile(r"_fold(\d+)$")


def parts_of(config: str) -> tuple[str, int]:
    """Set and fold, 0 … 9, that a configuration stands for; without a fold it is 0."""
    fold = _FOLD.search(config)
    return _FOLD.sub("", config), int(fold[1]) if fold else 0


def _sizes(config: str) -> dict[str, int]:
    """Records in each split of a configuration."""
    name, fold = parts_of(config)
    collection = COLLECTIONS[name]
    held, tested = collection.held[fold], collection.tested
    return {"train": collection.count - held - tested, "validation": held, "test": tested}


SPLIT_SIZES = {config: _sizes(config) for config in CONFIGS}
TITLE = "Molecules and proteins as graphs: MUTAG, PTC, PROTEINS and ENZYMES, ten fixed folds each"
UNITS = (
    "nodes: float32, n × tags: 1 in the column of the node's tag (mutag 7 and ptc 19 kinds of atoms; proteins and "
    "enzymes 3 kinds of secondary structure). "
    "senders, receivers: int32: each bond, or each pair of neighbours in sequence or space, in both directions. "
    "label: mutag: 0 not mutagenic, 1 mutagenic (labels 0 and 2 of the file); ptc and proteins: the file's 0 and 1; "
    "enzymes: class EC 1 … EC 6 of the enzyme, by the file's 0 … 5. "
    "source: number of the graph in the file, from 0; not an input."
)
LICENCE = "MIT (pytorch_DGCNN, Muhan Zhang 2018), fetched by the user; the TU collection asks to be cited."
CREDIT = "Graphs: TU Dortmund collection (Morris et al. 2020), folds of Zhang et al. (2018)"
PROPERTIES = {"source": "1"}
FEATURES = {
    "nodes": "(n, 7) float32 in mutag, (n, 19) in ptc, (n, 3) in proteins and enzymes: one-hot tags",
    "senders": "(e,) int32",
    "receivers": "(e,) int32",
    "label": "0, 1; 0…5 in enzymes",
    "source": "number of the graph in the file; not an input",
}
SPLIT_POLICY = (
    "NAME_foldK, K = 0…9, is fold K + 1 of the files; NAME alone is fold 0. test is the fold's test part; a tenth of "
    "each class of its training part, drawn with seed 0, is validation. Published scores are means over the ten folds."
)
NOTES = (
    "Chance: the commonest class is 66.5 % of mutag, 55.8 % of ptc, 59.6 % of proteins, 16.7 % of enzymes. Published "
    "by ten folds: mutag DGCNN 85.8 ± 1.7 % (Zhang et al. 2018), GIN 89.4 ± 5.6 % (Xu et al. 2019, who chose the "
    "epoch on the test part itself); proteins GIN 76.2 %. A fold of mutag tests 18 graphs: nothing less than the mean "
    "over all of them means anything, and hardly that. The test parts are of equal size, so that 8 graphs of mutag, 4 "
    "of ptc and 3 of proteins are in no test part. Some graphs occur twice, with the nodes in the same order: 188 of "
    "mutag are 182 different ones, 344 of ptc 338, 1,113 of proteins 1,076, 600 of enzymes 595; copies may be on two "
    "sides. Attributes of nodes, which the collection has for proteins and enzymes, are not in these files. Which of "
    "ptc's and proteins' labels is which is not in the files either. What tags mean is known for mutag: carbon, "
    "nitrogen, oxygen, fluorine, iodine, chlorine, bromine, in another order."
)
CITATION = """\
@inproceedings{morris2020tudataset,
  title     = {{TUDataset}: A collection of benchmark datasets for learning with graphs},
  author    = {Morris, Christopher and Kriege, Nils M. and Bause, Franka and Kersting, Kristian and Mutzel, Petra and
               Neumann, Marion},
  booktitle = {ICML 2020 Workshop on Graph Representation Learning and Beyond},
  year      = {2020},
  url       = {https://arxiv.org/abs/2007.08663},
}
@inproceedings{zhang2018end,
  title     = {An End-to-End Deep Learning Architecture for Graph Classification},
  author    = {Zhang, Muhan and Cui, Zhicheng and Neumann, Marion and Chen, Yixin},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  volume    = {32},
  year      = {2018},
  doi       = {10.1609/aaai.v32i1.11782},
}"""


def read_graphs(path: Path, collection: Collection) -> list[Record]:
    """Records without `source` of all graphs of a file.

    The first line is their number. Each graph has a line "nodes label" and for each node a line "tag m n₁ … n_m" with
    the numbers of its m neighbours in the graph, from 0.

    Raises:
      DataError: another number of graphs or lines, a line that is none of these, a neighbour that is no node, an edge
        that only one end knows of, or an unknown label or tag; the text names line and graph.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [_numbers(path, number, line) for number, line in enumerate(lines, start=1)]
    if not rows or rows[0] != [collection.count]:
        raise DataError(f"{path}, line 1: expected {collection.count}, the number of graphs, got {lines[:1]}.")
    classes, at, records = list(collection.classes), 1, []
    for number in range(collection.count):
        where = f"{path}, graph {number}, line {at + 1}"
        if at >= len(rows) or len(rows[at]) != 2 or rows[at][0] < 0:
            found = lines[at] if at < len(rows) else "the end of the file"
            raise DataError(f"{where}: expected the number of nodes and a label, got {found!r}.")
        size, label = rows[at]
        if label not in classes:
            raise DataError(f"{where}: the label should be one of {', '.join(map(str, classes))}, got {label}.")
        nodes = rows[at + 1 : at + 1 + size]
        records.append({**_graph(where, nodes, size, collection), "label": classes.index(label)})
        at += 1 + size
    if at < len(rows):
        raise DataError(f"{path}, line {at + 1}: expected the end of the file after {collection.count} graphs.")
    return records


def _numbers(path: Path, number: int, line: str) -> list[int]:
    try:
        return [int(word) for word in line.split()]
    except ValueError as error:
        raise DataError(f"{path}, line {number}: expected whole numbers, got {line!r:.60}.") from error


def _graph(where: str, rows: list[list[int]], size: int, collection: Collection) -> Record:
    if len(rows) < size:
        raise DataError(f"{where}: expected {size} lines of nodes below it, got {len(rows)}.")
    nodes = np.zeros((size, len(collection.tags)), np.float32)
    pairs = []
    for node, row in enumerate(rows):
        if len(row) < 2 or len(row) != 2 + row[1]:
            raise DataError(
                f"{where}: node {node} should be a tag, a number m and m neighbours, got {' '.join(map(str, row))!r}."
            )
        if row[0] not in collection.tags:
            known = ", ".join(map(str, collection.tags))
            raise DataError(f"{where}: the tag of node {node} should be one of {known}, got {row[0]}.")
        nodes[node, collection.tags.index(row[0])] = 1
        pairs += [(node, neighbour) for neighbour in row[2:]]
    senders, receivers = undirected(np.array(pairs, np.int64), nodes=size, where=where)
    alone = set(zip(receivers.tolist(), senders.tolist(), strict=True)) - set(pairs)
    if alone:
        node, neighbour = min(alone)
        raise DataError(f"{where}: node {neighbour} has {node} for a neighbour, but {node} does not have {neighbour}.")
    return {"nodes": nodes, "senders": senders, "receivers": receivers}


def read_folds(paths: dict[str, list[Path]], count: int) -> list[dict[str, np.ndarray]]:
    """Numbers of the graphs in "train" and "test" of each fold, ascending.

    Args:
      paths: "train" and "test" → the files of folds 1, 2, ….
      count: of graphs.

    Raises:
      DataError: a file with something else than numbers of graphs, a fold whose parts overlap or leave graphs out, or
        a graph in two test parts; the text names the file.
    """
    folds, tested = [], {}
    for number in range(len(paths["test"])):
        parts = {part: _fold_numbers(files[number], count) for part, files in paths.items()}
        train, test = parts["train"], parts["test"]
        common = np.intersect1d(train, test)
        if len(common):
            raise DataError(
                f"{paths['test'][number]}: no graph should be in train and test of one fold, got graph {common[0]} in "
                f"both ({len(common)} such)."
            )
        missing = np.setdiff1d(np.arange(count), np.concatenate([train, test]))
        if len(missing):
            raise DataError(
                f"{paths['train'][number]} and {paths['test'][number].name} should have all {count} graphs between "
                f"them, graph {missing[0]} is missing ({len(missing)} such)."
            )
        for graph in test.tolist():
            if graph in tested:
                raise DataError(
                    f"{paths['test'][number]}: a graph should be tested in one fold, graph {graph} is in "
                    f"{tested[graph].name}, too."
                )
            tested[graph] = paths["test"][number]
        folds.append(parts)
    return folds


def _fold_numbers(path: Path, count: int) -> np.ndarray:
    words = path.read_text(encoding="utf-8").split()
    if not words or not all(word.isdigit() for word in words):
        strange = next((word for word in words if not word.isdigit()), "nothing")
        raise DataError(f"{path}: expected numbers of graphs, one a line, got {strange:.40}.")
    numbers = np.array([int(word) for word in words])
    if numbers.max() >= count:
        raise DataError(
            f"{path}: expected numbers of graphs, 0 … {count - 1}, got {numbers.max()}. Is it a fold of another set?"
        )
    if len(np.unique(numbers)) < len(numbers):
        raise DataError(
            f"{path}: a graph should be in it once, got {np.flatnonzero(np.bincount(numbers) > 1)[0]} twice."
        )
    return np.sort(numbers)


def split(fold: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of the graphs of each split of a fold, ascending; `labels` (N,) are those of all graphs."""
    kept, held = stratified_split(labels[fold["train"]], seed=SPLIT_SEED, fractions=(VALIDATION_FRACTION,))
    return {"train": fold["train"][kept], "validation": fold["train"][held], "test": fold["test"]}


class Tudataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of "tudataset": nodes (n, tags), senders and receivers (e,), label, source."""

    name = "tudataset"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [tfds.core.BuilderConfig(name=name) for name in CONFIGS]

    def _info(self) -> tfds.core.DatasetInfo:
        collection = COLLECTIONS[parts_of(self.builder_config.name)[0]]
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(
                {
                    **graphs.fields(len(collection.tags)),
                    "label": tfds.features.ClassLabel(names=list(collection.classes.values())),
                    "source": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://chrsmrrs.github.io/datasets/",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Record]]]:
        name, fold = parts_of(self.builder_config.name)
        collection = COLLECTIONS[name]
        records = read_graphs(manual_file(FOLDER, f"{collection.file}.txt", page=PAGE), collection)
        folds = read_folds(fold_files(collection), collection.count)
        rows = split(folds[fold], np.array([record["label"] for record in records]))
        return {part: self._generate_examples(records, numbers) for part, numbers in rows.items()}

    def _generate_examples(self, records: list[Record], rows: np.ndarray) -> Iterator[tuple[int, Record]]:
        """Yield (number in the file, record)."""
        for row in rows.tolist():
            yield row, {**records[row], "source": row}


def fold_files(collection: Collection) -> dict[str, list[Path]]:
    """Files of the ten folds in the manual folder."""
    return {
        part: [
            manual_file(FOLDER, f"{collection.file}_10fold_idx/{part}_idx-{fold + 1}.txt", page=PAGE)
            for fold in range(FOLDS)
        ]
        for part in ("train", "test")
    }
