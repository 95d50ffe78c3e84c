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
NAMES = ("angles", "circles", "galaxies", "lenses", "photoz", "blends", "baryons", "stellar_maps", *DENSE)
# Fields of whole numbers.
WHOLE = {"objects": np.int32, "kinds": np.int32, "masks": np.uint8, "valid": np.uint8}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


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


def test_sizes_are_those_described(name, dataset, arrays, folder):
    description = catalogue.describe(f"{name}/tiny", data_dir=folder)
    assert {split: len(source) for split, source in dataset.splits.items()} == description.splits
    assert tuple(dataset.splits) == SPLITS
    assert description.location == folder / name / "tiny" / "1.0.0"
    assert all(len(fields["image"]) == description.splits[split] for split, fields in arrays.items())


def test_fields_are_float32_and_described(name, module, arrays):
    types = WHOLE | {"label": np.uint8 if name in DENSE else np.int32}
    for fields in arrays.values():
        assert fields.keys() == module.FEATURES.keys()
        for field, values in fields.items():
            assert values.dtype == types.get(field, np.float32), field
        assert fields["image"].ndim in (4, 5)
        assert str(fields["image"].shape[1:]) in module.FEATURES["image"]


def test_properties_are_declared_as_no_inputs(name, module):
    inputs = {"image", "label", "target", "masks", "valid"} | (
        {"magnitudes", "magnitude_errors"} if name == "photoz" else set()
    )
    for field, text in module.FEATURES.items():
        assert ("not an input" in text) == (field not in inputs)
    assert "not inputs" in module.UNITS


def test_classes_are_balanced_and_targets_differ(name, dataset, arrays):
    for fields in arrays.values():
        if name in DENSE:
            assert set(np.unique(fields["label"])) == set(range(len(dataset.class_names)))
        elif dataset.targets is None:
            counts = np.bincount(fields["label"], minlength=len(dataset.class_names))
            assert len(set(counts.tolist())) == 1
        else:
            assert fields["target"].shape[-1] == len(dataset.targets)
            assert len(np.unique(fields["target"], axis=0)) == len(fields["target"])


def test_sizes_of_all_configurations_allow_balanced_classes(name, module):
    # A record of a dense set has several classes.
    classes = 1 if name in DENSE else len(getattr(module, "CLASS_NAMES", ("one",)))
    for config, sizes in module.SPLIT_SIZES.items():
        assert tuple(sizes) == SPLITS
        assert max(size % classes for size in sizes.values()) <= 1, config


def test_what_is_read_is_what_is_computed(name, dataset, folder):
    tiny = builder(name, "tiny", folder)
    for split, source in dataset.splits.items():
        computed = {content(record)["image"]: record for record in (tiny.record(split, n) for n in range(len(source)))}
        assert len(computed) == len(source)
        for number in range(len(source)):
            read = source[number]
            expected = computed[read["image"].tobytes()]
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


def test_no_image_occurs_twice_in_any_split(arrays):
    images = [image.tobytes() for fields in arrays.values() for image in fields["image"]]
    assert len(set(images)) == len(images)


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
    with pytest.raises(SourceError, match=r"simulated with no_such_simulator.*pip install 'symmetry-zoo\[sim\]'"):
        simulation.extra("no_such_simulator", "sim")
