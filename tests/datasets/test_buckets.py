"""Buckets of sequences: the least padding, every record once, a batch from its number alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_datasets.loading.buckets import (
    MOST,
    BucketPlan,
    bucket_lengths,
    cut_steps,
    draws,
    padding_share,
    require_sequences,
)
from zoo_datasets.loading.pipeline import batch_count, batches, in_memory
from zoo_datasets.loading.records import ArraySource, DataError

pytestmark = pytest.mark.smoke

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(np.array)


def computed_steps(lengths, buckets):
    """Slow twin: every sequence takes the shortest bucket that it fits into."""
    return sum(min(bucket for bucket in buckets if bucket >= length) for length in lengths)


@settings(max_examples=150, deadline=None)
@given(lengths=LENGTHS, count=st.integers(1, 4))
def test_no_choice_of_buckets_computes_fewer_steps(lengths, count):
    found = bucket_lengths(lengths, count)
    assert list(found) == sorted(set(found)) and 1 <= len(found) <= count and found[-1] == lengths.max()
    # Buckets between two lengths that occur are never better than the lower one.
    others = [
        (*chosen, int(lengths.max()))
        for size in range(count)
        for chosen in itertools.combinations(np.unique(lengths)[:-1].tolist(), size)
    ]
    assert computed_steps(lengths, found) == min(computed_steps(lengths, buckets) for buckets in others)
    assert padding_share(lengths, found) == pytest.approx(1 - lengths.sum() / computed_steps(lengths, found))


def test_padding_by_hand():
    lengths = np.array([2, 2, 3, 10])
    assert bucket_lengths(lengths, 1) == (10,) and padding_share(lengths, (10,)) == 1 - 17 / 40
    assert bucket_lengths(lengths, 2) == (3, 10) and padding_share(lengths, (3, 10)) == 1 - 17 / 19
    assert bucket_lengths(lengths, MOST) == (2, 3, 10) and padding_share(lengths, (2, 3, 10)) == 0
    assert bucket_lengths(np.full(5, 7)) == (7,)


def make_source(lengths):
    """Record i holds i in every field and step."""
    count, steps = len(lengths), int(max(lengths)) + 1
    numbers = np.arange(count)
    return ArraySource(
        {
            "sequence": np.tile(numbers[:, None, None], (1, steps, 2)).astype(np.float32),
            "times": np.tile(np.arange(steps, dtype=np.float32), (count, 1)),
            "valid": np.ones((count, steps), np.uint8),
            "label": np.tile(numbers[:, None], (1, steps)),
            "target": np.tile(numbers[:, None, None], (1, steps, 3)).astype(np.float32),
            "path": np.tile(numbers[:, None, None], (1, steps, 2)),
            "redshift": numbers.astype(np.float32),
            "length": np.asarray(lengths, np.int32),
        }
    )


def read_all(source, **options):
    with batches(source, **options) as stream:
        return list(stream)


@settings(max_examples=40, deadline=None)
@given(
    lengths=LENGTHS,
    size=st.integers(1, 4),
    shards=st.integers(1, 3),
    seed=st.integers(0, 2**64 - 1),
    epochs=st.integers(1, 3),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_every_record_is_in_every_epoch_once_in_a_batch_of_its_bucket(
    lengths, size, shards, seed, epochs, shuffle, data
):
    source, buckets = make_source(lengths), bucket_lengths(lengths, data.draw(st.integers(1, 4)))
    options = {"batch_size": size * shards, "seed": seed, "epochs": epochs, "shuffle": shuffle, "buckets": buckets}
    total = batch_count(source, batch_size=size * shards, epochs=epochs, buckets=buckets)
    whole = read_all(source, **options)
    assert len(whole) == total and total % epochs == 0
    for epoch in range(epochs):
        part = whole[epoch * total // epochs : (epoch + 1) * total // epochs]
        real = np.concatenate([batch["index"][batch["mask"] > 0] for batch in part])
        assert sorted(real.tolist()) == list(range(len(lengths)))
        # No more batches than the buckets need, each with its last one filled up.
        members = np.bincount(np.searchsorted(buckets, lengths), minlength=len(buckets))
        assert len(part) == sum(-(-count // (size * shards)) for count in members.tolist())
    assert len({batch["sequence"].shape for batch in whole}) <= len(buckets)
    for batch in whole:
        steps = batch["sequence"].shape[1]
        assert steps in buckets and set(np.unique(batch["mask"])) <= {0, 1} and batch["mask"][0] == 1
        # Padding, too, has a length that fits.
        assert (batch["length"] <= steps).all()
        assert all(previous < steps for previous in buckets if previous < batch["length"].min())
        assert min(bucket for bucket in buckets if bucket >= batch["length"].max()) == steps
        for name, values in batch.items():
            if name in ("sequence", "times", "valid", "label", "target"):
                assert values.shape[1] == steps
            elif name == "path":
                assert values.shape[1] == lengths.max() + 1
            if name not in ("times", "valid", "length", "mask"):
                first = values.reshape(len(values), -1)
                np.testing.assert_array_equal(first, np.broadcast_to(batch["index"][:, None], first.shape))
        np.testing.assert_array_equal(batch["length"], lengths[batch["index"]])
    # Any part of the stream is that part of the whole, and the shards together are it.
    start = data.draw(st.integers(0, total))
    parts = [read_all(source, **options, start=start, shard=(shard, shards)) for shard in range(shards)]
    for number, expected in enumerate(whole[start:]):
        for name, values in expected.items():
            together = np.concatenate([part[number][name] for part in parts])
            np.testing.assert_array_equal(together, values)
            assert together.dtype == values.dtype


def test_a_batch_is_a_function_of_seed_and_number():
    lengths = np.random.default_rng(0).integers(1, 30, 50)
    buckets = bucket_lengths(lengths)
    one, two, other = (BucketPlan(lengths, buckets, 8, seed) for seed in (3, 3, 4))
    numbers = range(3 * one.per_epoch)
    forward, backward = [one(n) for n in numbers], [two(n) for n in reversed(numbers)][::-1]
    for (rows, steps), (again, same) in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(rows, again)
        assert steps == same
    assert any(not np.array_equal(one(n)[0], other(n)[0]) for n in numbers)
    epochs = [[tuple(rows) for rows, _ in forward[e * one.per_epoch : (e + 1) * one.per_epoch]] for e in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]


def test_lengths_of_batches_come_in_random_order():
    """Sorted by length, the batches would teach short sequences first in every epoch."""
    lengths = np.repeat([1, 5, 9], 40)
    plan = BucketPlan(lengths, (1, 5, 9), 4, 0)
    steps = [plan(n)[1] for n in range(plan.per_epoch)]
    assert steps != sorted(steps) and [plan(n)[1] for n in range(plan.per_epoch, 2 * plan.per_epoch)] != steps


def test_without_a_seed_the_order_is_that_of_the_source():
    plan = BucketPlan(np.array([3, 1, 2, 3, 1]), (1, 3), 2, None)
    found = [(rows.tolist(), steps) for rows, steps in map(plan, range(2 * plan.per_epoch))]
    assert found == [([1, 4], 1), ([0, 2], 3), ([3], 3)] * 2


def test_the_two_permutations_of_an_epoch_are_streams_of_their_own():
    np.testing.assert_array_equal(draws(6, 5, 2), draws(6, 5, 2))
    streams = [draws(50, 5, 2).tolist(), draws(50, 5, 2, stream=1).tolist(), draws(50, 5, 3).tolist()]
    assert all(sorted(stream) == list(range(50)) for stream in streams)
    assert streams[0] != streams[1] != streams[2] != streams[0]


def test_order_is_the_same_for_ever():
    """Numbers of the first release: an order that changed would break every resumed run."""
    plan = BucketPlan(np.array([3, 1, 2, 3, 1, 2, 3]), (1, 3), 2, 3)
    assert [(rows.tolist(), steps) for rows, steps in map(plan, range(plan.per_epoch))] == ORDER


ORDER = [([0], 3), ([6, 5], 3), ([2, 3], 3), ([1, 4], 1)]


def test_fields_are_cut_where_they_have_steps():
    batch = {
        "sequence": np.zeros((2, 5, 4, 4, 1)), "times": np.zeros((2, 5)), "label": np.zeros(2), "index": np.zeros(2),
        "target": np.zeros((2, 5)), "image": np.zeros((2, 5, 5, 1)), "valid": np.zeros((2, 5)),
    }  # fmt: skip
    shapes = {name: values.shape for name, values in cut_steps(batch, 3).items()}
    assert shapes == {
        "sequence": (2, 3, 4, 4, 1), "times": (2, 3), "label": (2,), "index": (2,),
        # Five numbers of the whole, not one of each step.
        "target": (2, 5), "image": (2, 5, 5, 1), "valid": (2, 3),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"length": np.array([3, 0, 2])}, r"toy, train, record 1: length should be in 1 … 4.*got 0. Leave out"),
        ({"length": np.array([3, 4, -2])}, r"record 2: length should be in 1 … 4.*got -2"),
        ({"length": np.array([5, 0, 2])}, r"record 0: length should be in 1 … 4, the steps of the array, got 5"),
        ({"length": np.array([3.0, 1.0, 2.0])}, r"length should be one whole number a record, got float64\(\)"),
        ({"length": np.array([[3], [1], [2]])}, r"one whole number a record, got int64\(1,\)"),
        ({"times": np.array([[0.0, 1, 2, 0], [0, 0, 0, 0], [3, 3, 0, 0]])}, r"record 2: times should ascend.*sort"),
        ({"times": np.array([[0.0, 2, 1, 0], [0, 0, 0, 0], [3, 4, 0, 0]])}, r"record 0: times should ascend"),
        ({"times": np.zeros((3, 3))}, r"times should have the 4 steps of the sequences, got 3"),
        ({"label": np.zeros((3, 5), int)}, r"label should have the 4 steps of the sequences, got 5"),
        ({"target": np.zeros((3, 5, 2))}, r"target should have the 4 steps of the sequences, got 5"),
        ({"sequence": np.array([[0, 1, 2, 0], [3, 0, 0, 0], [1, 6, 0, 0]])}, r"record 2: symbols .* 0 … 5, got 6"),
        ({"sequence": np.array([[0, 1, 2, 0], [-1, 0, 0, 0], [1, 5, 0, 0]])}, r"record 1: symbols .* 0 … 5, got -1"),
        ({"sequence": np.zeros((3, 4))}, r"symbols should be whole numbers, got float64"),
    ],
)
def test_bad_sequences_are_refused(changes, words):
    arrays = {
        "sequence": np.zeros((3, 4, 2)),
        "length": np.array([3, 1, 2]),
        "times": np.array([[0.0, 1, 2, 0], [7, 0, 0, 0], [3, 4, 0, 0]]),
    }
    require_sequences("toy, train", arrays)
    with pytest.raises(DataError, match=words):
        require_sequences("toy, train", {**arrays, **changes}, symbols=6 if "sequence" in changes else 0)
    with pytest.raises(DataError, match="toy, train: a field sequence needs a field length"):
        require_sequences("toy, train", {"sequence": arrays["sequence"]})


def test_truth_of_the_whole_has_no_steps():
    arrays = {"sequence": np.zeros((3, 4, 2)), "length": np.array([3, 1, 2])}
    require_sequences("toy", {**arrays, "label": np.zeros(3, int), "target": np.zeros((3, 7))})
    # What stands beyond the end of a sequence is nothing.
    symbols = np.array([[0, 1, 2, 9], [3, -1, 0, 0], [1, 5, 0, 0]])
    require_sequences("toy", {**arrays, "sequence": symbols}, symbols=6)


def test_what_cannot_be_bucketed_is_refused():
    source = make_source([1, 3])
    with pytest.raises(ValueError, match=r"reach the largest record, of size 3, got \(1, 2\)"):
        batches(source, batch_size=2, buckets=(1, 2))
    with pytest.raises(ValueError, match=r"buckets should ascend.*got \(3, 1\)"):
        batches(source, batch_size=2, buckets=(3, 1))
    for other, more in (
        (source, {"transform": dict}),
        (ArraySource({"image": np.zeros((2, 3))}), {}),
        ([source[0], source[1]], {}),
    ):
        with pytest.raises(ValueError, match="buckets need records in memory, without a transform, with a field 'le"):
            batches(other, batch_size=2, buckets=(1, 3), **more)
    with pytest.raises(ValueError, match="at most the number of batches, 2, got 3"):
        batches(source, batch_size=2, buckets=(1, 3), start=3)
    assert batch_count(source, batch_size=2, epochs=None, buckets=(1, 3)) is None


def test_endless_batches_are_filled_up_in_every_epoch():
    source = in_memory(make_source([2, 2, 2]))
    with batches(source, batch_size=2, epochs=None, seed=1, buckets=(2,)) as stream:
        found = [next(stream) for _ in range(6)]
    masks = [tuple(batch["mask"].tolist()) for batch in found]
    assert all(set(masks[first : first + 2]) == {(1, 1), (1, 0)} for first in (0, 2, 4))
    assert {batch["sequence"].shape for batch in found} == {(2, 2, 2)}
