"""The user's own sequences and texts: read, split, and refused with what is wrong."""

import numpy as np
import pytest

from zoo_datasets.loading.catalogue import load
from zoo_datasets.loading.own_sequences import holds_sequences
from zoo_datasets.loading.records import DataError

COUNT, STEPS = 40, 6


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return {
        "sequences": random.normal(size=(COUNT, STEPS, 2)),
        "lengths": random.integers(1, STEPS + 1, COUNT),
        "times": np.cumsum(random.uniform(0.1, 1, (COUNT, STEPS)), axis=1),
        "labels": np.arange(COUNT) % 2,
    }


@pytest.fixture
def own(tmp_path, arrays):
    def save(**changed):
        path = tmp_path / "mine.npz"
        np.savez(path, **{name: values for name, values in {**arrays, **changed}.items() if values is not None})
        return path

    return save


def all_of(dataset, field):
    return np.concatenate([source.arrays[field] for source in dataset.splits.values()])


def test_records_are_split_once_each_and_cleared_beyond_their_length(own, arrays):
    path = own(class_names=["quiet", "loud"], channel_names=["x", "y"])
    assert holds_sequences(path)
    dataset = load(str(path))
    assert {split: len(source) for split, source in dataset.splits.items()} == {"train": 28, "validation": 6, "test": 6}
    assert dataset.class_names == ("quiet", "loud")
    assert dataset.channels == {"x": "", "y": ""}
    for source in dataset.splits.values():
        assert np.bincount(source.arrays["label"]).tolist() == [len(source) // 2] * 2
    first = np.sort(all_of(dataset, "sequence")[:, 0, 0])
    np.testing.assert_array_equal(first, np.sort(arrays["sequences"][:, 0, 0].astype(np.float32)))
    beyond = np.arange(STEPS)[None] >= all_of(dataset, "length")[:, None]
    assert not all_of(dataset, "sequence")[beyond].any()
    assert not all_of(dataset, "times")[beyond].any()


def test_series_of_one_channel_and_one_length_need_no_more(own):
    dataset = load(str(own(sequences=np.ones((COUNT, STEPS)), lengths=None, times=None)))
    assert all_of(dataset, "sequence").shape == (COUNT, STEPS, 1)
    assert (all_of(dataset, "length") == STEPS).all()


@pytest.mark.parametrize("shape", [(COUNT,), (COUNT, 2), (COUNT, STEPS, 3)])
def test_numbers_of_sequences_and_of_steps(own, shape):
    dataset = load(str(own(targets=np.ones(shape))))
    assert all_of(dataset, "target").shape == (shape if len(shape) > 1 else (COUNT, 1))
    assert len(dataset.targets) == all_of(dataset, "target").shape[-1]


def test_texts_as_labels_and_classes_of_steps(own):
    assert load(str(own(labels=np.array(["b", "a"] * 20)))).class_names == ("a", "b")
    assert all_of(load(str(own(labels=np.zeros((COUNT, STEPS), int) + 1))), "label").shape == (COUNT, STEPS)


def test_without_labels_there_is_one_split(own):
    dataset = load(str(own(labels=None)), labels=False)
    assert list(dataset.splits) == ["all"]
    assert set(dataset.splits["all"].arrays) == {"sequence", "length", "times"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"lengths": np.zeros(COUNT, int)}, "record 0: length should be in 1 … 6"),
        ({"lengths": np.full(COUNT, 7)}, "got 7"),
        ({"lengths": np.full(COUNT, -1)}, "got -1"),
        ({"lengths": np.full(COUNT, 2.0)}, "one whole number"),
        ({"lengths": np.ones(3, int)}, "length should belong to sequences"),
        ({"times": np.zeros((COUNT, STEPS)), "lengths": np.full(COUNT, 3)}, "times should ascend"),
        ({"times": np.zeros((COUNT, 2))}, "times should belong"),
        ({"sequences": np.zeros((COUNT, STEPS, 2, 1))}, "(N, T, C) or (N, T)"),
        ({"sequences": np.full((COUNT, STEPS, 2), np.nan)}, "record 0: sequences should be finite, step 0"),
        ({"labels": np.full(COUNT, -1)}, "least -1"),
        ({"labels": np.zeros((COUNT, 2), int)}, "labels should have the shape (40,)"),
        ({"labels": None}, "expected labels or targets"),
        ({"targets": np.full(COUNT, np.inf)}, "finite"),
        ({"targets": np.zeros((COUNT, 5, 1))}, "(40, 6, D)"),
        ({"class_names": ["only"]}, "too few"),
        ({"channel_names": ["x"]}, "should be 2 names"),
        ({"labels": np.eye(COUNT, dtype=int)[0]}, "one a split"),
    ],
)
def test_what_cannot_be_meant_is_refused(own, changed, told):
    with pytest.raises(DataError) as caught:
        load(str(own(**changed)))
    assert told in str(caught.value)


def test_a_text_becomes_windows_with_the_next_character_as_label(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("abcdefgh" * 200, encoding="utf-8")
    dataset = load(str(path))
    assert dataset.vocabulary == dataset.class_names
    record = dataset.splits["train"][0]
    assert "".join(dataset.vocabulary[token] for token in record["sequence"][:8]) == "abcdefgh"
    np.testing.assert_array_equal(record["label"][:-1], record["sequence"][1:])
    assert "label" not in load(str(path), labels=False).splits["all"][0]


def test_a_text_too_short_or_not_there_is_refused(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("to be", encoding="utf-8")
    with pytest.raises(DataError, match="characters"):
        load(str(path))
    with pytest.raises(FileNotFoundError, match=r"expected a \.txt"):
        load(str(tmp_path / "none.txt"))
