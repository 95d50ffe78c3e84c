"""The reader of molecules, on small files made for it, and on the real ones where they are at hand."""

import dataclasses

import numpy as np
import pytest

from zoo_datasets import tudataset as module
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.graph_records import require_graph
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError

# A triangle with a tail, a pair, a single node.
TEXT = """3
4 2
5 2 1 2
5 2 0 2
7 3 0 1 3
5 1 2
2 0
7 1 1
7 1 0
1 2
5 0
"""
TOY = module.Collection("MUTAG", 3, {0: "no", 2: "yes"}, (5, 7), 1, (1,) * 10)


def write(folder, text):
    path = folder / "graphs.txt"
    path.write_text(text)
    return path


def test_file_by_hand(tmp_path):
    first, second, third = module.read_graphs(write(tmp_path, TEXT), TOY)
    assert first["nodes"].tolist() == [[1, 0], [1, 0], [0, 1], [1, 0]]
    assert first["receivers"].tolist() == [0, 0, 1, 1, 2, 2, 2, 3]
    assert first["senders"].tolist() == [1, 2, 0, 2, 0, 1, 3, 2]
    assert [record["label"] for record in (first, second, third)] == [1, 0, 1]
    assert second["senders"].tolist() == [1, 0] and third["senders"].shape == (0,)
    for record in (first, second, third):
        require_graph("by hand", record, num_classes=2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3\n4 2", "4\n4 2", r"line 1: expected 3, the number of graphs, got \['4'\]"),
        ("4 2", "4 1", r"graph 0, line 2: the label should be one of 0, 2, got 1"),
        ("7 3 0 1 3", "7 3 0 1 4", r"graph 0, line 2: an edge should be numbers of nodes, 0 … 3, got 4"),
        ("5 1 2\n", "5 1 1\n", r"graph 0, line 2: node 3 has 1 for a neighbour, but 1 does not have 3"),
        ("5 1 2\n", "5 0\n", r"graph 0, line 2: node 2 has 3 for a neighbour, but 3 does not have 2"),
        ("7 3 0 1 3", "7 4 0 1 3", r"graph 0, .*node 2 should be a tag, a number m and m neighbours, got '7 4 0 1 3'"),
        ("5 0\n", "6 0\n", r"graph 2, line 10: the tag of node 0 should be one of 5, 7, got 6"),
        ("5 0\n", "", r"graph 2, line 10: expected 1 lines of nodes below it, got 0"),
        ("1 2\n5 0\n", "", r"graph 2, line 10: expected the number of nodes and a label, got 'the end of the file'"),
        ("5 0\n", "5 0\n1 2\n", r"line 12: expected the end of the file after 3 graphs"),
        ("2 0\n7", "2 zero\n7", r"line 7: expected whole numbers, got '2 zero'"),
        (TEXT, "", r"line 1: expected 3, the number of graphs, got \[\]"),
    ],
)
def test_another_file_is_refused(tmp_path, old, new, message):
    path = write(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(DataError, match=message) as error:
        module.read_graphs(path, TOY)
    assert str(path) in str(error.value)


def folds(folder, tests, count=7, trains=None):
    """Files of folds whose test parts are `tests` and whose training parts the rest, or `trains`."""
    trains = trains or [[number for number in range(count) if number not in test] for test in tests]
    paths = {"train": [], "test": []}
    for fold, numbers in enumerate(zip(trains, tests, strict=True), start=1):
        for part, values in zip(paths, numbers, strict=True):
            paths[part].append(folder / f"{part}_idx-{fold}.txt")
            paths[part][-1].write_text("\n".join(map(str, values)))
    return paths


def test_folds_by_hand(tmp_path):
    first, second = module.read_folds(folds(tmp_path, [[4, 1], [6, 0, 2]]), 7)
    assert first["test"].tolist() == [1, 4] and first["train"].tolist() == [0, 2, 3, 5, 6]
    assert second["test"].tolist() == [0, 2, 6]
    parts = module.split({"train": np.arange(3, 40), "test": np.arange(3)}, np.repeat([0, 1], [23, 17]))
    assert [len(rows) for rows in parts.values()] == [33, 4, 3]
    assert (parts["validation"] < 23).sum() == 2
    assert sorted(np.concatenate(list(parts.values()))) == list(range(40))


@pytest.mark.parametrize(
    ("tests", "trains", "message"),
    [
        ([[0, 7]], [[1, 2, 3, 4, 5, 6]], r"test_idx-1.*0 … 6, got 7\. Is it a fold of another set\?"),
        ([[0, "x"]], [[1, 2, 3, 4, 5, 6]], r"test_idx-1.*expected numbers of graphs, one a line, got x"),
        ([[0, -1]], [[1, 2, 3, 4, 5, 6]], r"expected numbers of graphs, one a line, got -1"),
        ([[]], [[0, 1, 2, 3, 4, 5, 6]], r"test_idx-1.*expected numbers of graphs, one a line, got nothing"),
        ([[0, 1]], [[1, 2, 3, 4, 5, 6]], r"no graph should be in train and test of one fold, got graph 1 in both"),
        ([[0, 1]], [[2, 3, 4, 6]], r"train_idx-1.* all 7 graphs between them, graph 5 is missing \(1 such\)"),
        ([[0, 0]], [[1, 2, 3, 4, 5, 6]], r"test_idx-1.*a graph should be in it once, got 0 twice"),
        ([[0, 1], [1, 2]], None, r"test_idx-2.*tested in one fold, graph 1 is in test_idx-1\.txt, too"),
    ],
)
def test_other_folds_are_refused(tmp_path, tests, trains, message):
    with pytest.raises(DataError, match=message):
        module.read_folds(folds(tmp_path, tests, trains=trains), 7)


def test_configurations_are_folds():
    assert module.parts_of("mutag") == ("mutag", 0) and module.parts_of("ptc_fold7") == ("ptc", 7)
    assert len(module.CONFIGS) == len(set(module.CONFIGS)) == 44 and module.CONFIGS[0] == "mutag"
    for config, sizes in module.SPLIT_SIZES.items():
        assert sum(sizes.values()) == module.COLLECTIONS[module.parts_of(config)[0]].count
    for field, text in module.FEATURES.items():
        assert ("not an input" in text) == (field in module.PROPERTIES)


def test_records_are_those_of_the_file(tmp_path, monkeypatch):
    """Twenty copies of two graphs, ten folds of two."""
    two = "2 0\n7 1 1\n7 1 0\n1 2\n5 0\n"
    root = tmp_path / module.FOLDER / "MUTAG_10fold_idx"
    root.mkdir(parents=True)
    (root.parent / "MUTAG.txt").write_text("20\n" + 10 * two)
    folds(root, [[2 * fold, 2 * fold + 1] for fold in range(10)], count=20)
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    monkeypatch.setitem(module.COLLECTIONS, "mutag", dataclasses.replace(TOY, count=20))
    dataset = catalogue.load("tudataset/mutag_fold3", data_dir=tmp_path / "data")
    assert dataset.class_names == ("no", "yes")
    records = {split: [source[i] for i in range(len(source))] for split, source in dataset.splits.items()}
    assert {split: len(some) for split, some in records.items()} == {"train": 16, "validation": 2, "test": 2}
    assert sorted(record["source"] for record in records["test"]) == [6, 7]
    for some in records.values():
        for record in some:
            assert record.keys() == module.FEATURES.keys()
            assert record["label"] == record["source"] % 2 and len(record["senders"]) == 2 * (record["label"] == 0)


def test_missing_file_says_what_it_is_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    with pytest.raises(SourceError, match=r"PTC\.txt is missing.*muhanzhang/pytorch_DGCNN.*put it there"):
        catalogue.load("tudataset/ptc_fold2", data_dir=tmp_path)
    (tmp_path / module.FOLDER).mkdir()
    (tmp_path / module.FOLDER / "PTC.txt").write_text("344")
    with pytest.raises(DataError, match="graph 0"):
        catalogue.load("tudataset/ptc_fold2", data_dir=tmp_path)


KNOWN = {"mutag": (0.665, 8, 6), "ptc": (0.558, 4, 6), "proteins": (0.596, 3, 37), "enzymes": (0.167, 0, 5)}


@pytest.mark.manual_data
@pytest.mark.parametrize("name", KNOWN)
def test_the_real_files_are_as_described(manual, name):
    """Proteins 3 s."""
    collection, (commonest, untested, copies) = module.COLLECTIONS[name], KNOWN[name]
    path = manual(f"{module.FOLDER}/{collection.file}.txt")
    records = module.read_graphs(path, collection)
    labels = np.array([record["label"] for record in records])
    assert np.bincount(labels).max() / len(labels) == pytest.approx(commonest, abs=6e-4)
    tags = np.concatenate([record["nodes"] for record in records]).sum(0)
    assert (tags > 0).all()
    found = module.read_folds(module.fold_files(collection), collection.count)
    for fold, parts in enumerate(found):
        rows = module.split(parts, labels)
        assert {split: len(numbers) for split, numbers in rows.items()} == module.SPLIT_SIZES[f"{name}_fold{fold}"]
    assert collection.count - sum(len(parts["test"]) for parts in found) == untested
    written = {tuple(record[field].tobytes() for field in ("nodes", "senders", "receivers")) for record in records}
    assert len(records) - len(written) == copies
