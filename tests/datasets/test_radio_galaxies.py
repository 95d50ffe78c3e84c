"""The real radio galaxies: what the builder says of them is true of the file."""

import pickle
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from zoo_datasets import radio_galaxies as module
from zoo_datasets.loading import catalogue, sources
from zoo_datasets.loading.pipeline import batches, in_memory

pytestmark = pytest.mark.smoke


@pytest.fixture(scope="module")
def groups(radio_galaxies):
    """The catalogue's own file, whose archive the preparation left in the cache."""
    archive = sources.fetch(module.FILE, cache=sources.data_dir() / "downloads")
    with module.open_catalogue(archive) as file:
        yield file


@pytest.fixture(scope="module")
def table(groups):
    """Split, label, position (degrees) and image of every group, in the order of their numbers."""
    members = [groups[f"data_{number}"] for number in range(len(groups))]
    return {
        "split": np.array([member["Split_literature"][()].decode() for member in members]),
        "label": np.array([int(member["Label_literature"][()]) for member in members]),
        "position": np.array([[member["Img"].attrs[key] for key in ("RA", "DEC")] for member in members]),
        "image": np.stack([member["Img"][()] for member in members]),
    }


@pytest.fixture(scope="module")
def arrays(radio_galaxies):
    return {split: in_memory(source, num_classes=4).arrays for split, source in radio_galaxies.splits.items()}


def test_splits_and_classes_are_the_published_ones(radio_galaxies, arrays):
    """Table of the publication (doi:10.1016/j.dib.2023.108974)."""
    published = {"train": [395, 824, 291, 248], "validation": [50, 50, 50, 50], "test": [50, 50, 50, 50]}
    assert list(radio_galaxies.splits) == list(published)
    assert {split: np.bincount(fields["label"]).tolist() for split, fields in arrays.items()} == published
    assert {split: len(source) for split, source in radio_galaxies.splits.items()} == module.SPLIT_SIZES
    assert radio_galaxies.class_names == module.CLASS_NAMES


def test_every_image_is_read_back_bit_for_bit(arrays, table):
    numbers = np.concatenate([fields["source"] for fields in arrays.values()])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(2158))
    for split, fields in arrays.items():
        assert fields["image"].dtype == np.uint8
        np.testing.assert_array_equal(fields["image"][..., 0], table["image"][fields["source"]])
        np.testing.assert_array_equal(fields["label"], table["label"][fields["source"]])
        assert set(table["split"][fields["source"]]) == {module.SPLITS[split]}


def test_one_image_is_blank_and_all_others_span_the_range(table):
    highest, lowest = table["image"].max((1, 2)), table["image"].min((1, 2))
    assert np.flatnonzero(highest == 0).tolist() == [1910]
    assert (table["split"][1910], table["label"][1910]) == ("valid", 3)
    assert set(np.delete(highest, 1910)) == {255}
    assert set(lowest) == {0}


def separations(position):
    """Angles between all sources (N, N) in arcsec, infinite on the diagonal and below."""
    ra, dec = np.radians(position).T
    unit = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = np.sqrt(np.maximum(2 - 2 * (unit @ unit.T), 0))
    angle = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1))) * 3600
    return np.where(np.triu(np.ones_like(angle, bool), 1), angle, np.inf)


def test_nothing_occurs_twice_but_neighbours_are_in_different_splits(table):
    assert len({image.tobytes() for image in table["image"]}) == 2158
    angle = separations(table["position"])
    assert angle.min() > 5
    pairs = np.argwhere(angle < 270)
    pairs = pairs[table["split"][pairs[:, 0]] != table["split"][pairs[:, 1]]]
    assert len(pairs) == 14
    assert (table["label"][pairs[:, 0]] == table["label"][pairs[:, 1]]).sum() == 8
    closest = min(pairs.tolist(), key=lambda pair: angle[tuple(pair)])
    assert closest == [1945, 1994]
    assert round(angle[1945, 1994]) == 56


def test_pixel_is_1_8_arcsec_with_rows_to_the_north_and_columns_to_the_west(table):
    """Two images of one neighbourhood differ by a shift, found by correlation, that their positions predict."""
    for one, other in [(59, 1845), (503, 763), (609, 983), (660, 1509), (763, 1572)]:
        first, second = (np.fft.rfft2(table["image"][number].astype(float), (600, 600)) for number in (one, other))
        correlation = np.fft.fftshift(np.fft.irfft2(first * second.conj()))
        rows, columns = np.array(np.unravel_index(correlation.argmax(), correlation.shape)) - 300
        (ra, dec), (other_ra, other_dec) = table["position"][[one, other]]
        north = (other_dec - dec) * 3600
        east = (other_ra - ra) * 3600 * np.cos(np.radians(dec))
        # Positions are rounded to 0.001° = 3.6 arcsec, two pixels.
        np.testing.assert_allclose([rows, -columns], [north / 1.8, east / 1.8], atol=2)


def test_description_is_complete(radio_galaxies):
    description = catalogue.describe("radio_galaxies")
    assert description.prepared
    assert description.splits == {split: len(source) for split, source in radio_galaxies.splits.items()}
    assert description.features.keys() == radio_galaxies.splits["train"][0].keys()
    assert "University of California" in description.licence
    assert "1910" in description.notes and "1910" in radio_galaxies.description
    assert description.location.parent.name == "radio_galaxies"
    assert "10.1016/j.dib.2023.108974" in description.citation


def test_source_can_be_pickled_and_batched(radio_galaxies):
    source = pickle.loads(pickle.dumps(radio_galaxies.splits["test"]))
    with batches(source, batch_size=8, seed=1) as stream:
        batch = next(stream)
    assert {name: (str(values.dtype), values.shape) for name, values in batch.items()} == {
        "image": ("uint8", (8, 300, 300, 1)),
        "label": ("int32", (8,)),
        "source": ("int32", (8,)),
        "index": ("int32", (8,)),
        "mask": ("float32", (8,)),
    }
    assert len(source) == 200
    with pytest.raises(IndexError, match="0 … 199, got 200"):
        source[200]


def test_reading_needs_neither_tensorflow_nor_jax_nor_zoo(radio_galaxies):
    """A process of its own (2 s), since this one has imported JAX."""
    script = textwrap.dedent(
        """
        import sys
        from zoo_datasets.loading import catalogue
        assert "tensorflow_datasets" not in sys.modules
        dataset = catalogue.load("radio_galaxies")
        assert dataset.splits["test"][0]["image"].shape == (300, 300, 1)
        print(sorted({"tensorflow", "jax", "torch", "zoo", "zoo_experiments", "firstgalaxydata"} & sys.modules.keys()))
        """
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert "OpenCV" not in result.stderr


def test_archive_holds_what_the_builder_reads(groups):
    assert isinstance(groups, h5py.File)
    assert len(groups) == 2158
    assert groups["data_0/Img"].shape == module.IMAGE_SHAPE[:2]
