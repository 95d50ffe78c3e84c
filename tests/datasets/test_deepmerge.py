"""The reader of DeepMerge, on a small file made as the published ones were: the real ones are the user's to fetch."""

import numpy as np
import pytest
from astropy.io import fits
from sklearn.model_selection import train_test_split

from zoo_datasets import deepmerge as module
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError

# 30 mergers and 400 others seen from four sides, two views of others missing.
SMALL = module.Layout(galaxies=430, mergers=120, others=1598, side=6)
# Non-mergers' views that are left out, counted before: each galaxy keeps some.
MISSING = (5, 902)


def galaxy_of(missing):
    """Galaxy of every row, and its images, as the authors' notebook builds them; `missing` names two left-out views."""
    rng = np.random.default_rng(3)
    galaxies = np.repeat(np.arange(SMALL.galaxies), SMALL.views)
    views = rng.random((len(galaxies), 3, SMALL.side, SMALL.side)).astype(np.float32)
    merger, other = np.split(np.arange(len(galaxies)), [SMALL.mergers])
    other = np.delete(other, missing)
    copies = [
        [np.stack([turn(band) for band in views[i]]) for i in merger]
        for turn in (lambda b: b, np.flipud, np.fliplr, np.rot90, lambda b: np.rot90(np.rot90(b)))
    ]
    images = np.concatenate([*map(np.stack, copies), views[other]])
    return np.concatenate([np.tile(galaxies[merger], 5), galaxies[other]]), images


@pytest.fixture(scope="module")
def made():
    """(galaxy of every row, images (N, 3, 6, 6), labels)."""
    galaxies, images = galaxy_of(MISSING)
    return galaxies, images, np.repeat([1.0, 0.0], [5 * SMALL.mergers, SMALL.others])


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function (images, labels, version) that writes a file into the manual folder."""
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    monkeypatch.setattr(module.DeepMerge, "layout", SMALL)
    (tmp_path / "deepmerge").mkdir()

    def write(images, labels, version="pristine"):
        path = tmp_path / "deepmerge" / module.FILE.format(version)
        table = fits.BinTableHDU.from_columns([fits.Column("MERGER", "E", array=labels)])
        fits.HDUList([fits.PrimaryHDU(images), table]).writeto(path)
        return path

    return write


@pytest.mark.parametrize("config", ["pristine", "noisy", "pristine_grouped", "noisy_grouped"])
def test_images_are_transposed_not_reshaped(tmp_path, made, write, config):
    _, images, labels = made
    write(images, labels, config.split("_")[0])
    dataset = catalogue.load(f"deepmerge/{config}", data_dir=tmp_path / "data")
    assert dataset.class_names == ("non-merger", "merger")
    seen = []
    for source in dataset.splits.values():
        fields = in_memory(source, num_classes=2).arrays
        assert fields["image"].dtype == np.float32
        for band in range(3):
            np.testing.assert_array_equal(fields["image"][..., band], images[fields["source"], band])
        np.testing.assert_array_equal(fields["label"], labels[fields["source"]])
        np.testing.assert_array_equal(fields["group"], module.group_numbers(SMALL)[fields["source"]])
        seen.append(fields["source"])
    seen = np.concatenate(seen)
    assert len(np.unique(seen)) == len(seen)
    assert len(seen) == SMALL.count or config.endswith("_grouped")


def test_the_published_numbers():
    layout = module.PUBLISHED
    assert (layout.count, layout.missing) == (15426, 2)
    assert np.bincount(module.row_labels()).tolist() == [7306, 8120]
    for config, sizes in module.SPLIT_SIZES.items():
        split = module.grouped_split if config.endswith("_grouped") else module.published_split
        assert {name: len(rows) for name, rows in split().items()} == sizes
    assert layout.count - sum(module.SPLIT_SIZES["noisy_grouped"].values()) == 180


def test_published_split_is_that_of_scikit_learn():
    train, held_out = train_test_split(np.arange(15426), test_size=0.3, random_state=42, shuffle=True)
    validation, test = train_test_split(held_out, test_size=0.666, random_state=42, shuffle=True)
    for rows, expected in zip(module.published_split().values(), (train, validation, test), strict=True):
        np.testing.assert_array_equal(rows, np.sort(expected))


def test_leak_of_the_published_split_is_as_stated():
    rows = module.published_split()
    train, test = (rows[name] for name in ("train", "test"))
    is_merger = module.row_labels() == 1
    image = np.arange(15426) % 1624
    mergers, others = test[is_merger[test]], test[~is_merger[test]]
    assert round(np.isin(image[mergers], image[train[is_merger[train]]]).mean(), 2) == 0.99
    assert np.isin(image[mergers] // 4, image[train[is_merger[train]]] // 4).all()
    for missing in (0, 1, 2):
        galaxy = (np.arange(15426) - 8120 + missing) // 4
        assert 0.97 < np.isin(galaxy[others], galaxy[train[~is_merger[train]]]).mean() < 0.98


@pytest.mark.parametrize("missing", [(0, 1), (0, 1597), (5, 902), (37, 38), (39, 40), (158, 159), (1598, 1599)])
def test_no_galaxy_is_on_two_sides_wherever_views_are_missing(missing):
    galaxies, _ = galaxy_of(missing)
    sides = [set(galaxies[rows].tolist()) for rows in module.grouped_split(SMALL).values()]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    left_out = np.setdiff1d(np.arange(SMALL.count), np.concatenate(list(module.grouped_split(SMALL).values())))
    assert not module.row_labels(SMALL)[left_out].any()


def test_without_the_gap_a_galaxy_would_be_on_two_sides():
    """The rows that are left out are left out for a reason."""
    galaxies, _ = galaxy_of((0, 1))
    groups = module.group_numbers(SMALL)
    assert any(len(set(groups[galaxies == galaxy].tolist())) > 1 for galaxy in range(30, 430))


def test_grouped_split_divides_both_classes_alike():
    labels = module.row_labels()
    for name, share in {"train": 0.7, "validation": 0.1, "test": 0.2}.items():
        rows = module.grouped_split()[name]
        np.testing.assert_allclose(np.bincount(labels[rows]) / [7306, 8120], share, atol=0.02)


def swapped(images, first, second):
    images = images.copy()
    images[[first, second]] = images[[second, first]]
    return images


def put(images, row, value):
    images = images.copy()
    images[row, 1, 2, 3] = value
    return images


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (swapped(x, 0, 1), y), "row 120: expected a copy of row 0, upside down"),
        (lambda x, y: (swapped(x, 240, 241), y), "row 240: expected a copy of row 0, left to right"),
        (lambda x, y: (put(x, 361, 9), y), "row 361: expected a copy of row 1, turned by 90° to the left"),
        (lambda x, y: (put(x, 599, 9), y), "row 599: expected a copy of row 119, turned by 180°"),
        (lambda x, y: (put(x, 700, np.nan), y), "row 700: pixels should be finite"),
        (
            lambda x, y: (x[:-1], y),
            r"should be floats \(2198, 3, 6, 6\), channels first, got float32 \(2197, 3, 6, 6\)",
        ),
        (lambda x, y: (x.transpose(0, 2, 3, 1), y), r"channels first, got float32 \(2198, 6, 6, 3\)"),
        (lambda x, y: ((x * 9).astype(np.int16), y), r"should be floats .* got int16"),
        (lambda x, y: (x, y[:-1]), r"labels should have the shape \(2198,\), got \(2197,\)"),
        (
            lambda x, y: (x, np.roll(y, 1)),
            r"row 0: the label should be 1, for the first 600 rows are mergers .*got 0.0",
        ),
    ],
)
def test_another_file_is_refused(tmp_path, made, write, change, message):
    path = write(*change(*made[1:]))
    with pytest.raises(DataError, match=message) as error:
        catalogue.load("deepmerge", data_dir=tmp_path / "data")
    assert str(path) in str(error.value)
    assert not catalogue.describe("deepmerge", data_dir=tmp_path / "data").prepared


def test_missing_file_says_where_to_get_it(tmp_path, write):
    with pytest.raises(SourceError, match=r"sim-noisy\.fits .*https://archive\.stsci\.edu/hlsp/deepmerge"):
        catalogue.load("deepmerge/noisy_grouped", data_dir=tmp_path / "data")


def test_description_states_the_leak():
    assert catalogue.configurations("deepmerge")[0] == "pristine"
    assert "leaks" in catalogue.describe("deepmerge").notes
    assert "99 %" in catalogue.describe("deepmerge/noisy").notes
