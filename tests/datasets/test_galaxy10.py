"""The reader of Galaxy10, on small files of the published layout: the real ones are the user's to fetch."""

import dataclasses

import h5py
import numpy as np
import pytest

from zoo_datasets import galaxy10 as module
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError

COUNT, SIDE = 300, 8
# Rows that are put next to each other on the sky, in arcsec, one pair across the meridian and one at the pole.
PAIRS = {(3, 200): 1.0, (17, 18): 66.0, (40, 250): 30.0, (41, 251): 30.0}
APART = (60, 61)


def columns(rng):
    labels = np.arange(COUNT) % 10
    rng.shuffle(labels)
    ra, dec = rng.uniform(0, 360, COUNT), rng.uniform(-60, 60, COUNT)
    ra[40], dec[40], ra[41], dec[41] = 359.999, 10, 0, 89.999
    for (first, second), separation in {**PAIRS, APART: 69.0}.items():
        ra[second], dec[second] = ra[first], dec[first] - separation / 3600
    ra[250], dec[250] = 359.999 + 30 / 3600 / np.cos(np.radians(10)) - 360, 10
    images = rng.integers(0, 256, (COUNT, SIDE, SIDE, 3), np.uint8)
    return {"images": images, "ans": labels.astype(np.uint8), "ra": ra, "dec": dec, "redshift": np.full(COUNT, np.nan)}


@pytest.fixture
def table():
    return columns(np.random.default_rng(5))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function (table, version) that writes its file into the manual folder; the layouts are made small."""
    small = {name: dataclasses.replace(layout, count=COUNT, side=SIDE) for name, layout in module.LAYOUTS.items()}
    monkeypatch.setattr(module, "LAYOUTS", small)
    monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    (tmp_path / "galaxy10").mkdir()

    def write(table, version):
        path = tmp_path / "galaxy10" / small[version].file
        with h5py.File(path, "w") as file:
            for name, values in table.items():
                file[name] = values
        return path

    return write


@pytest.mark.parametrize("version", ["decals", "sdss"])
def test_every_row_is_read_back_in_one_split(tmp_path, table, write, version):
    write(table if version == "decals" else {name: table[name] for name in ("images", "ans")}, version)
    dataset = catalogue.load(f"galaxy10/{version}", data_dir=tmp_path / "data")
    assert dataset.class_names == module.LAYOUTS[version].class_names
    arrays = {split: in_memory(source, num_classes=10).arrays for split, source in dataset.splits.items()}
    rows = np.concatenate([fields["source"] for fields in arrays.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(COUNT))
    for fields in arrays.values():
        np.testing.assert_array_equal(fields["image"], table["images"][fields["source"]])
        np.testing.assert_array_equal(fields["label"], table["ans"][fields["source"]])
    assert {split: len(fields["label"]) for split, fields in arrays.items()} == {
        "train": 210,
        "validation": 30,
        "test": 60,
    }
    if version == "decals":
        assert {row for pair in PAIRS for row in pair} <= set(arrays["train"]["source"].tolist())


def test_decals_is_the_default():
    assert catalogue.configurations("galaxy10") == ("decals", "sdss")
    assert catalogue.describe("galaxy10").splits == module.SPLIT_SIZES["decals"]


@pytest.mark.parametrize("version", ["decals", "sdss"])
def test_stated_sizes_follow_from_the_number_of_sources(version):
    layout = module.LAYOUTS[version]
    labels = np.random.default_rng(0).integers(0, 10, layout.count)
    rows = module.split_rows(labels, np.zeros(layout.count, bool))
    assert {split: len(chosen) for split, chosen in rows.items()} == module.SPLIT_SIZES[version]
    assert len(layout.class_names) == 10


def test_every_class_is_divided_alike(table):
    rows = module.split_rows(table["ans"], np.zeros(COUNT, bool))
    for split, share in {"train": 0.7, "validation": 0.1, "test": 0.2}.items():
        counts = np.bincount(table["ans"][rows[split]], minlength=10)
        assert np.abs(counts - share * COUNT / 10).max() <= 1


def test_sources_with_neighbours_change_places_within_their_class(table):
    labels = table["ans"]
    nobody = module.split_rows(labels, np.zeros(COUNT, bool))
    neighbours = np.zeros(COUNT, bool)
    neighbours[nobody["test"][:20]] = True
    rows = module.split_rows(labels, neighbours)
    assert np.isin(np.flatnonzero(neighbours), rows["train"]).all()
    for split in rows:
        np.testing.assert_array_equal(np.bincount(labels[rows[split]]), np.bincount(labels[nobody[split]]))
    with pytest.raises(DataError, match=r"class 0: 9 sources with neighbours should change places .* got 0"):
        module.split_rows(labels, np.ones(COUNT, bool))


def test_pairs_are_those_of_all_separations(table):
    """Against every pair of unit vectors, and the pairs that were put there."""
    ra, dec = np.radians(table["ra"]), np.radians(table["dec"])
    unit = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = np.linalg.norm(unit[:, None] - unit, axis=-1)
    angle = np.degrees(2 * np.arcsin(chord / 2)) * 3600
    for separation in (67.1, 20000.0):
        expected = {(i, j) for i, j in np.argwhere(angle <= separation).tolist() if i < j}
        found = module.close_pairs(table["ra"], table["dec"], separation)
        assert {tuple(sorted(pair)) for pair in found.tolist()} == expected
        assert len(found) == len(expected)
    assert set(PAIRS) <= expected
    assert {tuple(sorted(p)) for p in module.close_pairs(table["ra"], table["dec"], 67.1).tolist()} == set(PAIRS)


def test_no_pair_is_no_pair():
    assert module.close_pairs(np.array([0.0, 90.0]), np.array([0.0, 50.0]), 10).shape == (0, 2)


def replaced(name, change):
    return lambda table: {**table, name: change(table[name])}


def put(value):
    def change(values):
        values = values.astype(np.result_type(values, value))
        values[7] = value
        return values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"ans": t["ans"]}, r"should have the data set 'images' \(300, 8, 8, 3\), got ans"),
        (lambda t: {"images": t["images"]}, r"should have the data set 'ans' \(300,\), got images"),
        (lambda t: {k: v for k, v in t.items() if k != "ra"}, r"should have the data set 'ra'"),
        (
            replaced("images", lambda v: v[:, :5]),
            r"'images' should have the shape \(300, 8, 8, 3\), got \(300, 5, 8, 3\)",
        ),
        (replaced("images", lambda v: v / 255), "'images' should be uint8, got float64"),
        (replaced("ans", lambda v: v[:-1]), r"'ans' should have the shape \(300,\), got \(299,\)"),
        (replaced("ans", put(np.uint8(10))), r"'ans' should be in 0 … 9, got 10 in row 7 \(1 row\(s\)\)"),
        (replaced("ans", put(np.int16(-1))), r"'ans' should be in 0 … 9, got -1 in row 7"),
        (replaced("ans", put(np.nan)), "'ans' should be whole numbers, got float64"),
        (
            replaced("ans", lambda v: np.where(v == 4, 3, v)),
            "every class should have sources, got none of Cigar-shaped",
        ),
        (replaced("dec", put(np.nan)), r"'dec' should be in -90 … 90 degrees, got nan in row 7"),
        (replaced("ra", put(361.0)), r"'ra' should be in 0 … 360 degrees, got 361.0 in row 7"),
    ],
)
def test_another_layout_is_refused(tmp_path, table, write, change, message):
    path = write(change(table), "decals")
    with pytest.raises(DataError, match=message) as error:
        catalogue.load("galaxy10", data_dir=tmp_path / "data")
    assert str(path) in str(error.value)
    assert not catalogue.describe("galaxy10", data_dir=tmp_path / "data").prepared


def test_what_is_no_hdf5_is_refused(tmp_path, table, write):
    write(table, "decals").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"Galaxy10_DECals\.h5 cannot be read as HDF5 .*Download it again"):
        catalogue.load("galaxy10", data_dir=tmp_path / "data")


def test_missing_file_says_where_to_get_it_and_where_to_put_it(tmp_path, write, monkeypatch):
    with pytest.raises(SourceError) as error:
        catalogue.load("galaxy10/sdss", data_dir=tmp_path / "data")
    text = str(error.value)
    assert str(tmp_path / "galaxy10" / "Galaxy10.h5") in text
    assert "https://astronn.readthedocs.io" in text
    monkeypatch.delenv("ZOO_MANUAL_DIR")
    with pytest.raises(SourceError, match=r"set ZOO_MANUAL_DIR .* Galaxy10\.h5 in the folder galaxy10 .*astronn"):
        catalogue.load("galaxy10/sdss", data_dir=tmp_path / "data")
