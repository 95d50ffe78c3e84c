"""The reader of citation graphs, on small files made for it, and on the real ones where they are at hand."""

import numpy as np
import pytest
from scipy import sparse

from zoo_datasets import citations as module
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.graph_records import require_graph
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError

TOY = module.Graph(60, 12, ("a", "b", "c"))


def arrays():
    """A file's arrays: 60 papers, 12 words, 150 citations; paper 59 has neither words nor a label."""
    random = np.random.default_rng(0)
    words = (random.random((60, 12)) < 0.3).astype(np.float32)
    words[np.arange(60), np.arange(60) % 12] = 1
    words[59] = 0
    matrix = sparse.csr_matrix(words)
    labels = np.arange(60, dtype=np.int8) % 3
    labels[59] = -1
    pairs = np.argwhere(np.triu(np.ones((60, 60)), 1))
    pairs = pairs[np.sort(random.permutation(len(pairs))[:150])].astype(np.int32)
    return {
        "indptr": matrix.indptr,
        "indices": matrix.indices,
        "values": matrix.data,
        "n_features": np.int64(12),
        "labels": labels,
        "edges": pairs,
        "train_idx": np.arange(9),
        "val_idx": np.arange(9, 20),
        "test_idx": np.arange(30, 59),
    }, words


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function (arrays) that writes the file of cora into the manual folder; its path."""
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    monkeypatch.setitem(module.GRAPHS, "cora", TOY)
    (tmp_path / module.FOLDER).mkdir()

    def write(content):
        path = tmp_path / module.FOLDER / "cora.npz"
        np.savez(path, **content)
        return path

    return write


def test_records_are_those_of_the_file(tmp_path, write):
    content, words = arrays()
    write(content)
    dataset = catalogue.load("citations/cora", data_dir=tmp_path / "data")
    known = {"train": content["train_idx"], "validation": content["val_idx"], "test": content["test_idx"]}
    for split, source in dataset.splits.items():
        record = source[0]
        require_graph(split, record, num_classes=3)
        np.testing.assert_allclose(record["nodes"][:59], words[:59] / words[:59].sum(1, keepdims=True), rtol=1e-6)
        np.testing.assert_array_equal(record["nodes"][59], 0)
        edges = np.stack([record["receivers"], record["senders"]], 1)
        np.testing.assert_array_equal(edges[edges[:, 0] < edges[:, 1]], content["edges"])
        np.testing.assert_array_equal(
            edges[edges[:, 0] > edges[:, 1]], np.array(sorted(content["edges"][:, ::-1].tolist()))
        )
        np.testing.assert_array_equal(np.flatnonzero(record["node_label"] >= 0), known[split])
        np.testing.assert_array_equal(record["node_label"][known[split]], content["labels"][known[split]])


def test_links_hide_edges_and_ask_for_as_many_pairs_without(tmp_path, write):
    content, _ = arrays()
    write(content)
    dataset = catalogue.load("citations/cora_links", data_dir=tmp_path / "data")
    assert dataset.class_names == ("no citation", "citation")
    records = {split: source[0] for split, source in dataset.splits.items()}
    cited = set(map(tuple, content["edges"].tolist()))
    sizes = {"train": 150 - 8 - 15, "validation": 8, "test": 15}
    asked = []
    for split, record in records.items():
        require_graph(split, record, num_classes=2)
        pairs, joined = record["pairs"], record["pair_label"] == 1
        assert joined.sum() == (~joined).sum() == sizes[split]
        assert [tuple(pair) in cited for pair in pairs.tolist()] == joined.tolist()
        assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.tolist() == sorted(pairs.tolist())
        asked += map(tuple, pairs.tolist())
        shown = np.stack([record["receivers"], record["senders"]], 1)
        kept = records["train"]["pairs"][records["train"]["pair_label"] == 1]
        assert shown.tolist() == sorted([*kept.tolist(), *kept[:, ::-1].tolist()])
    assert len(set(asked)) == len(asked) == 300


def test_pairs_without_citation_are_drawn_evenly():
    """Of the pairs of 30 papers of which 40 cite each other: each other pair about equally often over 400 seeds."""
    pairs = np.argwhere(np.triu(np.ones((30, 30)), 1))[::11][:40]
    counts = np.zeros((30, 30))
    for seed in range(400):
        for _, apart in module.split_links(pairs, 30, seed=seed).values():
            counts[apart[:, 0], apart[:, 1]] += 1
    open_ = np.triu(np.ones((30, 30)), 1) > 0
    open_[pairs[:, 0], pairs[:, 1]] = False
    assert counts.sum() == counts[open_].sum() == 400 * 40
    # Binomial around 40.5: six standard deviations, for 395 pairs.
    assert np.abs(counts[open_] - 400 * 40 / open_.sum()).max() < 6 * np.sqrt(40.5)


def changed(name, place, value):
    content, _ = arrays()
    content[name] = content[name].copy()
    content[name][place] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("edges", (3, 1), 60), r"an edge should be numbers of nodes, 0 … 59, got 60 in row 3"),
        (changed("edges", (0, 0), -1), r"an edge should be numbers of nodes, 0 … 59, got -1 in row 0"),
        (changed("labels", 5, 3), r"node_label should be in -1 … 2, .*got 3 in row 5"),
        (changed("train_idx", 2, 77), r"train_idx should be numbers of papers, 0 … 59, got 77 .*not in the graph"),
        (changed("test_idx", 0, 59), r"test_idx should be papers whose label is known, got paper 59 without one"),
        (changed("val_idx", 0, 4), r"should have no paper in common, got paper 4 twice"),
        (changed("indices", 0, 12), r"should be a sparse matrix \(60, 12\) by rows, .*indices up to 12"),
        ({**arrays()[0], "n_features": np.int64(13)}, r"expected 60 papers and 12 words, got 60 and 13.*other graph"),
        (
            {**arrays()[0], "edges": np.zeros((4, 3), int)},
            r"edges should be whole numbers \(m, 2\), got int64 \(4, 3\)",
        ),
        ({"labels": np.zeros(3)}, r"should have the arrays indptr, .*got labels: indptr is missing"),
    ],
)
def test_another_file_is_refused(write, content, message):
    path = write(content)
    with pytest.raises(DataError, match=message) as error:
        module.read_file(path, TOY)
    assert str(path) in str(error.value)


def test_damaged_file_is_refused(write):
    path = write(arrays()[0])
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=r"cora\.npz cannot be read"):
        module.read_file(path, TOY)


def test_missing_file_says_what_it_is_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    with pytest.raises(SourceError, match=r"citeseer\.npz is missing.*kimiyoung/planetoid.*put it there"):
        catalogue.load("citations/citeseer", data_dir=tmp_path)


@pytest.mark.manual_data
@pytest.mark.parametrize(("name", "edges", "alone"), [("cora", 5278, 0), ("citeseer", 4552, 48)])
def test_the_real_file_is_as_described(manual, name, edges, alone):
    path = manual(f"{module.FOLDER}/{name}.npz")
    graph = module.GRAPHS[name]
    content = module.read_file(path, graph)
    assert len(content.pairs) == edges
    assert np.setdiff1d(np.arange(graph.papers), content.pairs).size == alone
    assert (content.labels < 0).sum() == (content.words.sum(1) == 0).sum() == (15 if name == "citeseer" else 0)
    assert [len(numbers) for numbers in content.known.values()] == [20 * len(graph.classes), 500, 1000]
    assert set(np.bincount(content.labels[content.known["train"]])) == {20}
    record = module.links(content)["test"]
    assert len(record["pairs"]) == 2 * round(0.1 * edges)
    # Sen et al. (2008) name the subjects with these numbers of papers; each is told by it.
    sizes = {
        "cora": {"theory": 351, "neural networks": 818, "rule learning": 180, "reinforcement learning": 217},
        "citeseer": {
            "agents": 596,
            "databases": 701,
            "human-computer interaction": 508,
            "artificial intelligence": 249,
        },
    }
    for subject, size in sizes[name].items():
        assert (content.labels == graph.classes.index(subject)).sum() == size
