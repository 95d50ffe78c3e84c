"""Ragged records as padded arrays: nothing is lost, nothing invented, and buckets cut away nothing but padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo_datasets.loading.buckets import bucket_lengths
from zoo_datasets.loading.pipeline import batch_count, batches
from zoo_datasets.loading.ragged import PaddedSource, cut_rows, padded, padding_of, sizes, slots_of
from zoo_datasets.loading.records import ArraySource, DataError

pytestmark = pytest.mark.smoke


def graph(random, nodes, edges):
    return {
        "nodes": random.normal(size=(nodes, 2)).astype(np.float32),
        "senders": random.integers(0, max(nodes, 1), edges).astype(np.int32),
        "receivers": random.integers(0, max(nodes, 1), edges).astype(np.int32),
        "edges": random.normal(size=(edges, 3)).astype(np.float32),
        "positions": random.normal(size=(nodes, 3)).astype(np.float32),
        "label": np.int64(nodes % 2),
        "direction": random.normal(size=3).astype(np.float32),
        "ragged": np.zeros(nodes + edges + 1),
    }


def some_graphs(numbers, seed=0):
    random = np.random.default_rng(seed)
    return [graph(random, nodes, edges if nodes else 0) for nodes, edges in numbers]


GRAPHS = some_graphs([(3, 4), (0, 0), (5, 2), (1, 0), (7, 9), (2, 2)])


def test_every_record_is_found_again_and_behind_it_stand_zeros():
    found = padded({"train": GRAPHS[:4], "test": GRAPHS[4:]})
    assert {split: len(source) for split, source in found.items()} == {"train": 4, "test": 2}
    for split, some in (("train", GRAPHS[:4]), ("test", GRAPHS[4:])):
        arrays, rows = found[split].arrays, found[split].rows
        # One node more than the largest graph of all splits has.
        assert found[split].slots == {"n_node": 8, "n_edge": 9}
        assert "ragged" not in arrays and arrays["label"].dtype == np.int32
        np.testing.assert_array_equal(arrays["direction"], [record["direction"] for record in some])
        for number, record in enumerate(some):
            assert arrays["n_node"][number] == len(record["nodes"])
            assert arrays["n_edge"][number] == len(record["senders"])
            for name, count in rows.items():
                real = arrays[count][number]
                np.testing.assert_array_equal(arrays[name][number, :real], record[name])
                assert not arrays[name][number, real:].any()


def test_rows_of_a_truth_are_told_where_they_could_be_those_of_nodes_or_edges():
    graphs = some_graphs([(3, 3), (2, 2)])
    records = [{**record, "label": np.arange(len(record["senders"]))} for record in graphs]
    assert padded({"a": records})["a"].rows["label"] == "n_node"
    assert padded({"a": records}, rows={"label": "n_edge"})["a"].rows["label"] == "n_edge"


def test_there_is_room_for_at_least_so_many_points():
    sets = [{"points": np.ones((n, 4), np.float32), "label": 0} for n in (0, 3)]
    source = padded({"a": sets}, least=9)["a"]
    assert source.arrays["points"].shape == (2, 9, 4) and list(source.arrays["n_point"]) == [0, 3]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "split train is empty"),
        ([GRAPHS[0], {k: v for k, v in GRAPHS[2].items() if k != "edges"}], "record 1 has the fields"),
        ([GRAPHS[0], {**GRAPHS[2], "edges": GRAPHS[4]["edges"]}], r"record 1: edges should have 2 rows of \(3,\)"),
    ],
)
def test_records_that_do_not_belong_together_are_refused(records, words):
    with pytest.raises(DataError, match=words):
        padded({"train": records})


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_the_law_of_buckets(numbers, count, size, seed):
    """Every graph comes once in an epoch, whole, in one of at most `count` shapes with a node to spare."""
    graphs = some_graphs(numbers, seed)
    source = padded({"a": graphs})["a"]
    buckets = bucket_lengths(sizes(source.arrays), count)
    slots = slots_of(source, buckets)
    options = {"batch_size": size, "seed": seed, "buckets": buckets}
    with batches(source, **options) as stream:
        found = list(stream)
    assert len(found) == batch_count(source, batch_size=size, buckets=buckets)
    assert sorted(i for batch in found for i in batch["index"][batch["mask"] > 0]) == list(range(len(graphs)))
    assert len({(batch["nodes"].shape, batch["edges"].shape) for batch in found}) <= count
    for batch in found:
        assert (batch["n_node"] < batch["nodes"].shape[1]).all() and (batch["n_edge"] <= batch["edges"].shape[1]).all()
        assert batch["positions"].shape[1] == batch["nodes"].shape[1]
        for row, number in enumerate(batch["index"]):
            for name, rows in source.rows.items():
                real = batch[rows][row]
                np.testing.assert_array_equal(batch[name][row, :real], graphs[number][name])
                assert not batch[name][row, real:].any()
    # By hand, record by record.
    room = sum(sum(slots[min(b for b in buckets if b >= len(g["nodes"]) + len(g["senders"]))].values()) for g in graphs)
    real = sum(len(g["nodes"]) + len(g["senders"]) for g in graphs)
    assert padding_of(source, buckets) == pytest.approx(1 - real / room)


def test_a_bucket_of_points_is_as_large_as_it_says():
    sets = [{"points": np.ones((n, 2), np.float32), "label": 0} for n in (1, 2, 6)]
    source = padded({"a": sets}, least=4)["a"]
    slots = slots_of(source, (4, 6))
    assert slots == {4: {"n_point": 4}, 6: {"n_point": 6}}
    assert cut_rows(source.arrays, source.rows, slots[4])["points"].shape == (3, 4, 2)
    assert padding_of(source, (4, 6)) == 1 - 9 / 14 and padding_of(source, ()) == 1 - 9 / 18


def test_a_part_keeps_its_room_and_sizes_are_known_of_what_has_some():
    source = padded({"a": GRAPHS})["a"]
    part = source.part(np.array([1, 4]))
    assert isinstance(part, PaddedSource) and part.slots == source.slots and list(sizes(part.arrays)) == [0, 16]
    assert sizes({"image": np.zeros((2, 3))}) is None
    plain = ArraySource({"image": np.arange(3)})
    assert list(plain.part(np.array([2, 0])).arrays["image"]) == [2, 0]
    with pytest.raises(ValueError, match="buckets need records in memory"):
        batches(plain, batch_size=1, buckets=(1,))
