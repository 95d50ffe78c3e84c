"""The user's own numbers to be predicted, in .npz and HDF5 files."""

import h5py
import numpy as np
import pytest

from zoo_datasets.loading.arrays import load_arrays
from zoo_datasets.loading.records import DataError

IMAGES = np.random.default_rng(0).random((20, 6, 5)).astype(np.float32)
RADII = np.linspace(1, 3, 20)


@pytest.fixture
def saved(tmp_path):
    """Function (kind, **arrays) → path of a file that holds them."""

    def save(kind="npz", **arrays):
        path = tmp_path / f"mine.{kind}"
        if kind == "npz":
            np.savez(path, **arrays)
        else:
            with h5py.File(path, "w") as file:
                for name, values in arrays.items():
                    file[name] = values.astype("S") if values.dtype.kind == "U" else values
        return path

    return save


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_numbers_are_read_with_names_and_split_once(kind, saved):
    path = saved(kind, images=IMAGES, targets=RADII, target_names=np.array(["radius"]), target_units=np.array(["px"]))
    dataset = load_arrays(path, seed=3)
    assert dataset.targets == {"radius": "px"} and dataset.class_names is None
    assert {split: len(source) for split, source in dataset.splits.items()} == {
        "train": 14, "validation": 3, "test": 3,
    }  # fmt: skip
    assert "Split 70/15/15 into train, validation and test with seed 3." in dataset.description
    every = np.concatenate([source.arrays["target"] for source in dataset.splits.values()])
    assert every.shape == (20, 1) and every.dtype == np.float32
    np.testing.assert_allclose(np.sort(every[:, 0]), RADII, rtol=1e-6)
    for source in dataset.splits.values():
        for record in (source[i] for i in range(len(source))):
            number = np.argmin(np.abs(RADII - record["target"][0]))
            np.testing.assert_array_equal(record["image"][..., 0], IMAGES[number])


def test_several_numbers_and_own_splits(saved):
    both = np.stack([RADII, RADII**2], 1)
    path = saved(x_train=IMAGES[:12], targets_train=both[:12], x_val=IMAGES[12:], targets_val=both[12:])
    dataset = load_arrays(path)
    assert dataset.targets == {"target 0": "", "target 1": ""}
    np.testing.assert_allclose(dataset.splits["validation"].arrays["target"], both[12:], rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"targets": RADII[:-1]}, (r"(20,) or (20, D)", "(19,)")),
        ({"targets": np.where(RADII > 2, np.nan, RADII)}, ("record 10", "finite", "10 record(s)")),
        ({"targets": RADII, "y": RADII}, ("y and targets", "one of them")),
        ({"targets": RADII, "target_names": np.array(["a", "b"])}, ("target_names", "1 entries", "['a', 'b']")),
        ({}, ("without labels", "targets for numbers")),
    ],
)
def test_what_cannot_be_used_is_refused(arrays, words, saved):
    with pytest.raises(DataError) as caught:
        load_arrays(saved(x=IMAGES, **arrays))
    assert all(word in str(caught.value) for word in words), str(caught.value)
