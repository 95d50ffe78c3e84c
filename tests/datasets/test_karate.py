"""The karate club: the graph that everybody has, and who is known in which split."""

import numpy as np
import pytest

from zoo_datasets import karate as module
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.graph_records import require_graph


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    dataset = catalogue.load("karate", data_dir=tmp_path_factory.mktemp("karate"))
    assert dataset.class_names == module.CLASS_NAMES
    assert {split: len(source) for split, source in dataset.splits.items()} == module.SPLIT_SIZES
    return {split: source[0] for split, source in dataset.splits.items()}


def test_every_split_is_the_same_graph(records):
    for record in records.values():
        assert record.keys() == module.FEATURES.keys()
        require_graph("karate", record, num_classes=2)
        np.testing.assert_array_equal(record["nodes"], np.eye(34))
        for field in ("senders", "receivers"):
            np.testing.assert_array_equal(record[field], records["train"][field])


def test_graph_has_the_known_degrees(records):
    """Zachary's table: the leaders know 16 and 17, and 78 pairs met."""
    senders, receivers = records["train"]["senders"], records["train"]["receivers"]
    assert len(senders) == 2 * module.PAIRS
    degrees = np.bincount(receivers)
    assert degrees[[0, 33, 32, 2, 1]].tolist() == [16, 17, 12, 10, 9] and degrees.min() == 1
    assert set(zip(senders.tolist(), receivers.tolist(), strict=True)) == set(
        zip(receivers.tolist(), senders.tolist(), strict=True)
    )


def test_train_knows_the_leaders_and_every_member_is_in_one_split(records):
    known = {split: np.flatnonzero(record["node_label"] >= 0) for split, record in records.items()}
    assert known["train"].tolist() == [0, 33]
    assert records["train"]["node_label"][[0, 33]].tolist() == [0, 1]
    assert [len(members) for members in known.values()] == [2, 8, 24]
    assert sorted(np.concatenate(list(known.values()))) == list(range(34))
    whole = sum(np.where(record["node_label"] >= 0, record["node_label"], 0) for record in records.values())
    assert np.bincount(whole).tolist() == [17, 17]
    assert np.bincount(records["validation"]["node_label"] + 1)[1:].tolist() == [4, 4]


def test_notes_on_node_8(records):
    """More friends on the other side than on its own."""
    whole = np.max([record["node_label"] for record in records.values()], axis=0)
    friends = records["train"]["senders"][records["train"]["receivers"] == 8]
    assert whole[8] == 0 and whole[friends].mean() > 0.5


def test_labels_can_be_left_out(tmp_path):
    blind = catalogue.load("karate", data_dir=tmp_path, labels=False)
    assert blind.class_names is None and "node_label" not in blind.splits["train"][0]
