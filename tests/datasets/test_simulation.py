"""The laws of every simulated data set, on its configuration "tiny" and on records computed without writing them."""

import importlib

import numpy as np
import pytest

from zoo_datasets import simulation
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.sources import SourceError

# Those with a class for each pixel.
DENSE = ("ccd_tracks", "pixel_morphology", "tracks3d")
# Those of sequences.
SEQUENCES = ("bouncing_ball", "light_curves", "long_memory")
NAMES = ("angles", "circles", "galaxies", "lenses", "photoz", "blends", "baryons", "stellar_maps", *DENSE, *SEQUENCES)
# Field that is what a network looks at, where it is no image.
MAIN = dict.fromkeys(SEQUENCES, "sequence")
# Three classes in sizes that three does not divide: one record more of some.
UNEVEN = ("light_curves",)
# Fields of whole numbers.
WHOLE = {"objects": np.int32, "kinds": np.int32, "masks": np.uint8, "valid": np.uint8, "bounced": np.uint8}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def main(name):
    return MAIN.get(name, "image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("simulated")


@pytest.fixture(scope="module")
def dataset(name, folder):
    return catalogue.load(f"{name}/tiny", data_dir=folder)


@pytest.fixture(scope="module")
def arrays(dataset):
    return {split: in_memory(source).arrays for split, source in dataset.splits.items()}


@pytest.fixture
def module(name):
    return importlib.import_module(f"zoo_datasets.{name}")


def builder(name, config, folder):
    module = importlib.import_module(f"zoo_datasets.{name}")
    return getattr(module, catalogue._BUILDERS[name])(config=config, data_dir=folder, file_format="array_record")


def content(record):
    """The bytes of a record, field by field."""
    return {field: np.asarray(value).tobytes() for field, value in record.items()}


def test_sizes_are_those_described(name, main, dataset, arrays, folder):
    description = catalogue.describe(f"{name}/tiny", data_dir=folder)
    assert {split: len(source) for split, source in dataset.splits.items()} == description.splits
    assert tuple(dataset.splits) == SPLITS
    assert description.location == folder / name / "tiny" / str(builder(name, "tiny", folder).version)
    assert all(len(fields[main]) == description.splits[split] for split, fields in arrays.items())


def test_fields_are_float32_and_described(name, main, module, arrays):
    types = WHOLE | {"label": np.uint8 if name in DENSE else np.int32}
    types |= {"length": np.int32} if name in SEQUENCES else {}
    for fields in arrays.values():
        assert fields.keys() == module.FEATURES.keys()
        for field, values in fields.items():
            assert values.dtype == types.get(field, np.float32), field
        assert fields[main].ndim in ((3,) if name in SEQUENCES else (4, 5))
        assert str(fields[main].shape[1:]) in module.FEATURES[main]


def test_properties_are_declared_as_no_inputs(name, module):
    inputs = {"image", "label", "target", "masks", "valid"}
    inputs |= {"magnitudes", "magnitude_errors"} if name == "photoz" else set()
    inputs |= {"sequence", "times", "length", "redshift", "host_photoz"} if name in SEQUENCES else set()
    for field, text in module.FEATURES.items():
        assert ("not an input" in text) == (field not in inputs), field
    assert "not inputs" in module.UNITS or "not an input" in module.UNITS


def test_classes_are_balanced_and_targets_differ(name, dataset, arrays):
    for fields in arrays.values():
        if name in DENSE:
            assert set(np.unique(fields["label"])) == set(range(len(dataset.class_names)))
        elif dataset.targets is None:
            counts = np.bincount(fields["label"], minlength=len(dataset.class_names))
            assert counts.max() - counts.min() == (len(fields["label"]) % len(counts) > 0)
        else:
            assert fields["target"].shape[-1] == len(dataset.targets)
            assert len(np.unique(fields["target"], axis=0)) == len(fields["target"])


def test_sizes_of_all_configurations_allow_balanced_classes(name, module):
    # A record of a dense set has several classes.
    classes = 1 if name in (*DENSE, *UNEVEN) else len(getattr(module, "CLASS_NAMES", ("one",)))
    for config, sizes in module.SPLIT_SIZES.items():
        assert tuple(sizes) == SPLITS
        assert max(size % classes for size in sizes.values()) <= 1, config


def test_what_is_read_is_what_is_computed(name, main, dataset, folder):
    tiny = builder(name, "tiny", folder)
    for split, source in dataset.splits.items():
        computed = {content(record)[main]: record for record in (tiny.record(split, n) for n in range(len(source)))}
        assert len(computed) == len(source)
        for number in range(len(source)):
            read = source[number]
            expected = computed[read[main].tobytes()]
            assert read.keys() == expected.keys()
            for field, value in read.items():
                np.testing.assert_array_equal(value, expected[field], err_msg=field)


@pytest.mark.parametrize("number", [0, 1, 47])
def test_record_does_not_depend_on_how_many_there_are(name, folder, number):
    small, middle, large = (builder(name, config, folder) for config in ("tiny", "default", "full"))
    record = content(small.record("train", number))
    assert content(small.record("train", number)) == record
    assert content(middle.record("train", number)) == content(large.record("train", number)) == record


def test_other_settings_of_the_simulator_give_other_records(name, module, folder):
    for config in module.SPLIT_SIZES:
        if simulation.setting_of(config) != "default":
            assert content(builder(name, config, folder).record("train", 0)) != content(
                builder(name, "default", folder).record("train", 0)
            )


def test_no_image_or_sequence_occurs_twice_in_any_split(name, main, arrays):
    # The shortest sequences of long_memory are three symbols: some of those are alike.
    kept = [f[main][f["length"] > 10] if name == "long_memory" else f[main] for f in arrays.values()]
    images = [image.tobytes() for some in kept for image in some]
    assert len(set(images)) == len(images) > 0


def test_labels_and_targets_can_be_left_out(name, dataset, module, folder):
    blind = catalogue.load(f"{name}/tiny", data_dir=folder, labels=False)
    assert blind.class_names is None and blind.targets is None
    full, without = dataset.splits["test"][0].keys(), blind.splits["test"][0].keys()
    assert full - without == full & {"label", "target", "masks", "objects", "valid"}
    assert dataset.targets == getattr(module, "TARGETS", None)
    assert dataset.class_names == getattr(module, "CLASS_NAMES", None)


def test_generators_differ_by_every_part_of_their_place():
    places = [("a", "default", "train", 0), ("b", "default", "train", 0), ("a", "other", "train", 0)]
    places += [("a", "default", "test", 0), ("a", "default", "train", 1)]
    draws = [simulation.generator(*place).random() for place in places]
    assert len(set(draws)) == len(places)
    assert simulation.generator(*places[0]).random() == draws[0]


def test_missing_simulator_says_how_to_install_it():
    with pytest.raises(SourceError, match=r"needs no_such_simulator.*pip install 'symmetry-zoo\[sim\]'"):
        simulation.extra("no_such_simulator", "sim")
