"""Batches: one order for every number of threads, workers and shards, exact resuming, padding used once."""

import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_datasets.loading.pipeline import Batches, batches, in_memory
from zoo_datasets.loading.records import ArraySource, DataError

pytestmark = pytest.mark.smoke


class ListSource:
    """A source that is not in memory as arrays."""

    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        return self.records[index]


def make_source(size):
    """Record i holds i in every field."""
    numbers = np.arange(size)
    images = np.broadcast_to(numbers[:, None, None, None], (size, 2, 3, 1)).astype(np.float32)
    return ArraySource({"image": images, "label": numbers % 3})


def read_all(stream: Batches):
    with stream:
        return list(stream)


def equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])


def literal_order(size, seed, epochs, shuffle):
    """Slow twin of the order: epoch after epoch, the records sorted by their draws."""
    order = []
    for epoch in range(epochs):
        draws = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(size)
        order += sorted(range(size), key=lambda i, draws=draws: draws[i]) if shuffle else range(size)
    return order


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 20),
    length=st.integers(1, 7),
    shards=st.integers(1, 3),
    seed=st.integers(0, 2**64 - 1),
    epochs=st.integers(1, 3),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_batches_are_the_literal_order_cut_into_slices(size, length, shards, seed, epochs, shuffle, data):
    source = make_source(size)
    batch_size = length * shards
    order = literal_order(size, seed, epochs, shuffle)
    total = -(-len(order) // batch_size)
    start = data.draw(st.integers(0, total))
    options = {"batch_size": batch_size, "seed": seed, "epochs": epochs, "shuffle": shuffle, "start": start}
    padded = np.array(order + [0] * (total * batch_size - len(order)))
    mask = np.arange(len(padded)) < len(order)
    for shard in range(shards):
        stream = batches(source, shard=(shard, shards), **options)
        assert len(stream) == total - start
        assert stream.total == total
        got = read_all(stream)
        assert len(got) == total - start
        for number, batch in enumerate(got, start=start):
            rows = slice(number * batch_size + shard * length, number * batch_size + (shard + 1) * length)
            np.testing.assert_array_equal(batch["index"], padded[rows])
            np.testing.assert_array_equal(batch["mask"], mask[rows])
            np.testing.assert_array_equal(batch["image"][:, 1, 2, 0], padded[rows])
            np.testing.assert_array_equal(batch["label"], padded[rows] % 3)


def test_types_and_shapes_of_a_batch():
    (batch,) = read_all(batches(make_source(3), batch_size=4))
    assert {name: (values.dtype, values.shape) for name, values in batch.items()} == {
        "image": (np.float32, (4, 2, 3, 1)),
        "label": (np.int64, (4,)),
        "index": (np.int32, (4,)),
        "mask": (np.float32, (4,)),
    }


def test_order_is_the_same_for_ever():
    """Numbers of the first release: an order that changed would break every resumed run."""
    first, second = read_all(batches(make_source(8), batch_size=8, seed=3, epochs=2))
    assert first["index"].tolist() == ORDER_OF_EPOCH_0
    assert second["index"].tolist() == ORDER_OF_EPOCH_1


ORDER_OF_EPOCH_0 = [6, 1, 5, 2, 7, 4, 3, 0]
ORDER_OF_EPOCH_1 = [7, 3, 5, 6, 4, 0, 2, 1]


def test_epochs_are_different_permutations_and_batches_cross_their_border():
    got = read_all(batches(make_source(10), batch_size=4, epochs=4, seed=1))
    order = np.concatenate([batch["index"] for batch in got])
    epochs = order.reshape(4, 10)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(10), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert all(batch["mask"].all() for batch in got)  # 40 records, 10 full batches, across the border at 10


def test_permutations_are_uniform():
    """Each record comes first in a fifth of 4,000 epochs, within five standard deviations of the binomial."""
    stream = batches(make_source(5), batch_size=20_000, epochs=4000)
    firsts = read_all(stream)[0]["index"].reshape(4000, 5)[:, 0]
    counts = np.bincount(firsts, minlength=5)
    assert np.abs(counts - 800).max() < 5 * np.sqrt(4000 * 0.2 * 0.8)


def test_transform_and_slow_source_give_the_same_batches_as_arrays():
    source = make_source(11)
    rows = ListSource([source[i] for i in range(11)])
    options = {"batch_size": 4, "epochs": 2, "seed": 5}
    expected = read_all(batches(source, **options))
    equal(read_all(batches(rows, **options)), expected)
    equal(read_all(batches(rows, transform=lambda record: dict(record), prefetch=5, **options)), expected)


def test_workers_give_the_same_batches_and_resume_exactly():
    """Two processes (3 s to start), resumed in the middle, equal none; close ends them."""
    source = make_source(11)
    options = {"batch_size": 4, "epochs": 3, "seed": 5, "transform": lambda record: {"image": record["image"] * 2}}
    expected = read_all(batches(source, **options))
    stream = batches(source, workers=2, start=1, **options)
    equal(read_all(stream), expected[1:])
    assert stream.state == len(expected)


def test_error_in_a_worker_reaches_the_caller():
    """One process (2 s to start)."""

    def refuse(record):
        raise ValueError("the transform said no")

    stream = batches(make_source(4), batch_size=2, workers=1, transform=lambda record: refuse(record))
    with stream, pytest.raises(ValueError, match="the transform said no"):
        next(stream)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    """SIGKILL gives the parent no chance to tidy up (4 s: a process that starts two others)."""
    script = textwrap.dedent(
        """
        import multiprocessing, time
        import numpy as np
        from zoo_datasets.loading.pipeline import batches
        from zoo_datasets.loading.records import ArraySource

        if __name__ == "__main__":
            stream = batches(ArraySource({"image": np.zeros((8, 2))}), batch_size=2, epochs=None, workers=2)
            next(stream), next(stream)
            print(*[child.pid for child in multiprocessing.active_children()], flush=True)
            time.sleep(600)
        """
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    with subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in children):
        assert time.monotonic() < deadline, f"workers {children} outlived their parent"
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_state_counts_what_the_caller_took_not_what_was_read_ahead():
    source = make_source(23)
    options = {"batch_size": 4, "epochs": None, "seed": 9}
    stream = batches(source, prefetch=6, **options)
    assert stream.state == 0
    taken = [next(stream) for _ in range(9)]
    assert stream.state == 9
    following = [next(stream) for _ in range(4)]
    stream.close()
    resumed = batches(source, start=9, **options)
    equal([next(resumed) for _ in range(4)], following)
    assert resumed.state == 13
    resumed.close()
    again = batches(source, **options)
    equal([next(again) for _ in range(9)], taken)
    again.close()


def test_endless_batches_have_no_length():
    with batches(make_source(3), batch_size=2, epochs=None) as stream:
        assert stream.total is None
        with pytest.raises(TypeError, match="never end"):
            len(stream)


def test_closed_batches_cannot_be_read_and_close_twice():
    stream = batches(make_source(3), batch_size=2)
    stream.close()
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        next(stream)


def test_threads_end_when_closed():
    before = set(threading.enumerate())
    stream = batches(make_source(8), batch_size=2, epochs=None)
    next(stream)
    started = set(threading.enumerate()) - before
    assert len(started) == 1
    stream.close()
    for thread in started:
        thread.join(timeout=5)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size should be at least 1, got 0"),
        ({"batch_size": 8, "shard": (0, 3)}, "multiple of the number of shards, got 8 for 3 shards: use 6 or 9"),
        ({"batch_size": 2, "shard": (0, 3)}, "use 3 or 3"),
        ({"batch_size": 4, "shard": (2, 2)}, r"0 ≤ p < P, got \(2, 2\)"),
        ({"batch_size": 4, "epochs": 0}, "epochs should be at least 1"),
        ({"batch_size": 4, "workers": -1}, "workers should be at least 0"),
        ({"batch_size": 4, "prefetch": 0}, "prefetch should be at least 1"),
        ({"batch_size": 4, "start": -1}, "start should be at least 0"),
        ({"batch_size": 4, "start": 3}, "at most the number of batches, 2, got 3"),
        ({"batch_size": 4, "seed": -1}, "seed should be in"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(options, words):
    with pytest.raises(ValueError, match=words):
        batches(make_source(5), **options)


def test_empty_source_is_refused():
    with pytest.raises(DataError, match="at least one record, got 0"):
        batches(ListSource([]), batch_size=2)
    with pytest.raises(DataError, match="at least one record, got 0"):
        in_memory(ListSource([]))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {"image": np.zeros((2, 3)), "label": 0},
            r"record 2: field 'image' is float64\(2, 3\), record \d has .*\(2, 2\)",
        ),
        ({"image": np.zeros((2, 2), np.float32), "label": 0}, "record 2: field 'image' is float32"),
        ({"image": np.zeros((2, 2))}, "record 2 has the fields"),
        ({"image": "text", "label": 0}, "record 2: field 'image' should be numbers, got <U4 .*transform"),
        ({"image": np.zeros((2, 2)), "label": 2**40}, "record 2: field 'label' is .* int32"),
    ],
)
def test_odd_record_is_named(record, words):
    good = {"image": np.zeros((2, 2)), "label": 0}
    source = ListSource([good, good, record])
    with pytest.raises(DataError, match=words):
        in_memory(source)
    with batches(source, batch_size=3, shuffle=False) as stream, pytest.raises(DataError, match=words):
        next(stream)


def test_fields_that_the_batch_needs_are_refused():
    source = ArraySource({"mask": np.zeros((3, 2))})
    with batches(source, batch_size=3) as stream, pytest.raises(DataError, match=r"field 'mask'.*rename"):
        next(stream)


def test_in_memory_transforms_once_and_equals_one_by_one():
    source = make_source(7)
    calls = []

    def transform(record):
        calls.append(1)
        return {"image": record["image"] + 1, "label": int(record["label"]), "weight": 0.5}

    kept = in_memory(source, transform, num_classes=3)
    assert len(calls) == len(kept) == 7
    for i in range(7):
        record = kept[i]
        np.testing.assert_array_equal(record["image"], source[i]["image"] + 1)
        assert (record["label"], record["weight"]) == (i % 3, 0.5)
    assert {name: values.dtype for name, values in kept.arrays.items()} == {
        "image": np.float32,
        "label": np.int32,
        "weight": np.float32,
    }
    restored = pickle.loads(pickle.dumps(kept))
    np.testing.assert_array_equal(restored.take(np.array([6, 0, 6]))["label"], [0, 0, 0])


def test_in_memory_names_the_record_with_nan_and_the_label_out_of_range():
    source = make_source(5)
    source.arrays["image"][3, 1, 2, 0] = np.inf
    with pytest.raises(DataError, match=r"record 3: field 'image' should be finite, got 1 .* first at \(1, 2, 0\)"):
        in_memory(source)
    with pytest.raises(DataError, match=r"record 2: label should be in 0 … 1, got 2 \(1 record"):
        in_memory(make_source(4), num_classes=2)
    with pytest.raises(DataError, match="field 'label', got \\['image'\\]"):
        in_memory(make_source(4), lambda record: {"image": record["image"]}, num_classes=2)


def test_array_source_refuses_unequal_lengths():
    with pytest.raises(DataError, match=r"same number of records, got \{'image': 3, 'label': 2\}"):
        ArraySource({"image": np.zeros(3), "label": np.zeros(2)})
    with pytest.raises(DataError, match="at least one array"):
        ArraySource({})


def test_workers_give_the_same_bucketed_batches():
    """Two processes (3 s to start), resumed in the middle, equal none: the plan is picklable."""
    source = ArraySource({"sequence": np.arange(44.0).reshape(11, 4), "length": np.arange(11) % 4 + 1})
    options = {"batch_size": 4, "epochs": 2, "seed": 5, "buckets": (2, 4)}
    expected = read_all(batches(source, **options))
    assert {batch["sequence"].shape for batch in expected} == {(4, 2), (4, 4)}
    equal(read_all(batches(source, workers=2, start=1, **options)), expected[1:])
