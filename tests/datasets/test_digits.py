"""The real digits: what the builder says of them is true of the file."""

import gzip

import numpy as np
import pytest

from zoo_datasets import digits as module
from zoo_datasets.loading import catalogue, sources
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError


@pytest.fixture(scope="module")
def table():
    """The file itself, read by another way than the builder's: (N, 28, 28) and (N,)."""
    path = sources.fetch(module.FILE, cache=sources.data_dir() / "downloads")
    values = np.genfromtxt(path, delimiter=",")
    return values[:, :-1].reshape(-1, 28, 28), values[:, -1]


@pytest.fixture(scope="module")
def arrays():
    dataset = catalogue.load("digits")
    assert dataset.class_names == tuple("0123456789")
    return {split: in_memory(source, num_classes=10).arrays for split, source in dataset.splits.items()}


def test_splits_have_the_stated_sizes_and_all_digits_alike(arrays):
    assert {split: len(fields["label"]) for split, fields in arrays.items()} == module.SPLIT_SIZES["default"]
    counts = {split: set(np.bincount(fields["label"]).tolist()) for split, fields in arrays.items()}
    assert counts == {"train": {350}, "validation": {50}, "test": {100}}


def test_every_row_is_in_one_split_bit_for_bit(arrays, table):
    images, labels = table
    rows = np.concatenate([fields["source"] for fields in arrays.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(5000))
    for fields in arrays.values():
        assert fields["image"].dtype == np.uint8
        np.testing.assert_array_equal(fields["image"][..., 0], images[fields["source"]])
        np.testing.assert_array_equal(fields["label"], labels[fields["source"]])


def test_notes_are_true_of_the_file(table):
    images, labels = table
    assert len({image.tobytes() for image in images}) == 5000
    assert np.all(np.diff(labels) >= 0)
    for axis in (1, 2):
        inked = np.any(images > 0, axis=axis)
        assert (28 - inked[:, ::-1].argmax(1) - inked.argmax(1)).max() == 20
        centre = images.sum(axis) @ np.arange(28) / images.sum((1, 2))
        assert np.abs(centre - 14).max() <= 0.5


def test_tiny_is_a_part_of_the_whole(arrays):
    tiny = catalogue.load("digits/tiny")
    for split, source in tiny.splits.items():
        fields = in_memory(source).arrays
        assert len(fields["label"]) == module.SPLIT_SIZES["tiny"][split]
        assert len(set(np.bincount(fields["label"]).tolist())) == 1
        assert set(fields["source"].tolist()) <= set(arrays[split]["source"].tolist())


def test_description_names_source_licence_and_split():
    description = catalogue.describe("digits")
    assert description.splits == {"train": 3500, "validation": 500, "test": 1000}
    assert "Corinna Cortes" in description.licence
    assert "10.1109/5.726791" in description.citation
    assert "seed 0" in description.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:, 1:], r"expected 784 pixels and a label in each line, got 784 columns"),
        (lambda t: np.where(t == 7, 256, t), r"pixels should be in 0 … 255, got 0 … 256"),
        (lambda t: np.concatenate([t[:, :-1], t[:, -1:] + 9], axis=1), r"labels should be in 0 … 9, got 9 … 10"),
    ],
)
def test_another_table_is_refused(tmp_path, change, message):
    table = np.zeros((2, 785), np.int64)
    table[0, 3], table[1, -1] = 7, 1
    path = tmp_path / "digits.csv.gz"
    with gzip.open(path, "wt") as file:
        np.savetxt(file, change(table), fmt="%d", delimiter=",")
    with pytest.raises(DataError, match=message):
        module.read_table(path)
