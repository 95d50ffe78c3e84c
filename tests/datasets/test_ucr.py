"""The real time series: what the builder says of them is true of the files."""

import numpy as np
import pytest

from zoo_datasets import ucr as module
from zoo_datasets.loading import catalogue, sources
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError
from zoo_experiments.verbs.dtw import nearest_neighbour


@pytest.fixture(scope="module", params=list(module.SERIES))
def config(request):
    return request.param


@pytest.fixture(scope="module")
def tables(config):
    """The files, read by another way than the builder's: part → (N, T + 1), labels in the last column."""
    cache = sources.data_dir() / "downloads"
    paths = {part: sources.fetch(file, cache=cache) for part, file in module.SERIES[config].files.items()}
    return {
        part: np.genfromtxt(path.read_text().partition("@data")[2].replace(":", ",").split(), delimiter=",")
        for part, path in paths.items()
    }


@pytest.fixture(scope="module")
def arrays(config):
    dataset = catalogue.load(f"ucr/{config}")
    assert dataset.class_names == tuple(module.SERIES[config].classes.values())
    return {split: in_memory(source).arrays for split, source in dataset.splits.items()}


def test_splits_have_the_stated_sizes_and_fields(config, arrays):
    assert {split: len(fields["label"]) for split, fields in arrays.items()} == module.SPLIT_SIZES[config]
    for fields in arrays.values():
        assert fields.keys() == module.FEATURES.keys()
        assert fields["sequence"].shape[1:] == (module.SERIES[config].steps, 1)
        assert fields["sequence"].dtype == np.float32
        assert (fields["length"] == module.SERIES[config].steps).all()


def test_test_is_the_archives_and_train_and_validation_are_its_train(config, arrays, tables):
    first = float(next(iter(module.SERIES[config].classes)))
    rows = np.concatenate([arrays["train"]["source"], arrays["validation"]["source"]])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(tables["train"])))
    np.testing.assert_array_equal(np.sort(arrays["test"]["source"]), np.arange(len(tables["test"])))
    for split, fields in arrays.items():
        table = tables["test" if split == "test" else "train"][fields["source"]]
        np.testing.assert_array_equal(fields["sequence"][..., 0], table[:, :-1].astype(np.float32))
        np.testing.assert_array_equal(fields["label"], table[:, -1] - first)


def test_validation_is_a_fifth_of_each_class(arrays):
    kept, held = (np.bincount(arrays[split]["label"]) for split in ("train", "validation"))
    assert held.tolist() == [max(1, round(0.2 * count)) for count in kept + held]


def test_series_are_standardised(tables):
    for table in tables.values():
        # The files have seven or so digits behind the point.
        np.testing.assert_allclose(table[:, :-1].mean(1), 0, atol=1e-6)
        np.testing.assert_allclose(table[:, :-1].std(1, ddof=1), 1, atol=1e-6)


def test_notes_on_series_that_occur_twice(config, tables):
    whole = np.concatenate([tables["train"][:, :-1], tables["test"][:, :-1]])
    same = np.argwhere(np.triu((whole[:, None] == whole).all(2), 1)) - len(tables["train"])
    assert same.tolist() == ([[138, 143]] if config == "arrowhead" else [])


def test_notes_on_the_evening_peak():
    source = catalogue.load("ucr/italy_power").splits["test"]
    fields = in_memory(source).arrays
    peaks = [fields["sequence"][fields["label"] == label, 12:, 0].mean(0) for label in (0, 1)]
    assert (12 + peaks[0].argmax(), 16 + peaks[1][4:].argmax()) == (19, 21)


PUBLISHED = {"gunpoint": (0.0867, 0.0933), "italy_power": (0.0447, 0.0496), "arrowhead": (0.2000, 0.2971)}


@pytest.mark.parametrize("name", ["gunpoint", "italy_power", pytest.param("arrowhead", marks=pytest.mark.slow)])
def test_nearest_neighbours_have_the_published_errors(name):
    """1-NN by Euclid and by unlimited dynamic time warping, Dau et al. (2019); gunpoint 2 s, arrowhead 5 s."""
    splits = catalogue.load(f"ucr/{name}").splits
    fields = {split: in_memory(source).arrays for split, source in splits.items()}
    train, labels = (
        np.concatenate([fields["train"][field], fields["validation"][field]]) for field in ("sequence", "label")
    )
    for window, error in zip((0, None), PUBLISHED[name], strict=True):
        found = nearest_neighbour(train, labels, fields["test"]["sequence"], window=window)
        assert np.mean(found != fields["test"]["label"]) == pytest.approx(error, abs=5e-5)


def write(folder, *lines):
    path = folder / "series.ts"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_file_by_hand(tmp_path):
    path = write(tmp_path, "#a comment: 1,2", "@classLabel true a b", "@DATA", "1,2.5,-3:b", "", " 0,1e-1,2:a ")
    series, labels = module.read_series(path, steps=3, classes=("a", "b"))
    assert series.tolist() == [[1, 2.5, -3], [0, 0.1, 2]] and labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("1,2,3:a",), r"series below a line @data, got 1 lines without any"),
        (("@data", ""), r"below a line @data, got 1 lines"),
        (("@data", "1,2,3:a", "1,2:a"), r"series 1: expected 3 finite numbers, got 2 of 2"),
        (("@data", "1,?,3:a"), r"series 0: expected numbers .*'\?'"),
        (("@data", "1,nan,3:a"), r"series 0: expected 3 finite numbers, got 2 of 3"),
        (("@data", "1,2,3:c"), r"series 0: the label should be one of a, b, got 'c'"),
        (("@data", "1,2,3"), r"series 0: expected numbers"),
    ],
)
def test_another_file_is_refused(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        module.read_series(write(tmp_path, *lines), steps=3, classes=("a", "b"))


def test_description_names_source_and_split():
    description = catalogue.describe("ucr/arrowhead")
    assert description.splits == {"train": 30, "validation": 6, "test": 175}
    assert "10.1109/JAS.2019.1911747" in description.citation and "aeon" in description.licence
    assert "seed 0" in description.notes
    assert catalogue.configurations("ucr") == tuple(module.SERIES) == tuple(module.SPLIT_SIZES)
    for field, text in module.FEATURES.items():
        assert ("not an input" in text) == (field in module.PROPERTIES)
