"""Data sets by name: preparing once, reading back, saying what is wrong. A small builder stands in for a real one."""

import errno
import json
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from zoo_datasets.loading import catalogue
from zoo_datasets.loading.catalogue import UnknownName
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 5, 4)).astype(np.uint8)


class ToyShapes(tfds.core.GeneratorBasedBuilder):
    """Six images in two classes."""

    VERSION = tfds.core.Version("1.0.0")
    name = "toy_shapes"
    runs: ClassVar[list[int]] = []
    failure: ClassVar[list[Exception]] = []
    meanwhile: ClassVar[list[Callable[[], None]]] = []

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(5, 4, 1)),
            "label": tfds.features.ClassLabel(names=["round", "square"]),
            "title": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, description="Toys.", features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        self.runs.append(1)
        return {"train": self._generate_examples(range(4)), "test": self._generate_examples(range(4, 6))}

    def _generate_examples(self, numbers):
        for number in numbers:
            if self.failure and number == 2:
                raise self.failure[0]
            if self.meanwhile:
                self.meanwhile.pop()()
            yield number, {"image": Image.fromarray(IMAGES[number]), "label": number % 2, "title": f"toy {number}"}


class ToySizes(tfds.core.GeneratorBasedBuilder):
    """Images whose size is to be found, in two configurations."""

    VERSION = tfds.core.Version("1.0.0")
    name = "toy_sizes"
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="default"), tfds.core.BuilderConfig(name="tiny")]

    def _info(self):
        vector = tfds.features.Tensor(shape=(1,), dtype=np.float32)
        features = {"image": tfds.features.Image(shape=(5, 4, 1)), "target": vector, "flux": vector}
        return tfds.core.DatasetInfo(builder=self, description="Sizes.", features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples({"default": 3, "tiny": 2}[self.builder_config.name])}

    def _generate_examples(self, count):
        for number in range(count):
            value = np.array([number], np.float32)
            yield number, {"image": Image.fromarray(IMAGES[number]), "target": value, "flux": value}


TITLE, UNITS, LICENCE, CREDIT = "Toys", "grey", "free", ""
CITATION, SPLIT_POLICY, NOTES = "@misc{toys}", "As made.", "None."
SPLIT_SIZES, FEATURES = {"train": 4, "test": 2}, {"image": "(5, 4, 1) uint8", "label": "0, 1"}


SIZES = types.ModuleType("zoo_datasets.toy_sizes")
SIZES.__dict__.update(
    ToySizes=ToySizes, TITLE="Sizes", UNITS="px", LICENCE="free", CREDIT="", CITATION="@misc{sizes}", SPLIT_POLICY="-",
    NOTES="-", SPLIT_SIZES={"default": {"train": 3}, "tiny": {"train": 2}}, FEATURES={"image": "", "target": "px"},
    TARGETS={"size": "px"},
)  # fmt: skip


@pytest.fixture
def sizes(monkeypatch):
    """The catalogue with one data set that has configurations and one that has none."""
    monkeypatch.setitem(sys.modules, "zoo_datasets.toy_sizes", SIZES)
    monkeypatch.setitem(sys.modules, "zoo_datasets.toy_shapes", sys.modules[__name__])
    monkeypatch.setattr(catalogue, "_BUILDERS", {"toy_sizes": "ToySizes", "toy_shapes": "ToyShapes"})


@pytest.fixture
def toys(monkeypatch):
    """The catalogue with this module as its only data set."""
    ToyShapes.runs.clear()
    ToyShapes.failure.clear()
    ToyShapes.meanwhile.clear()
    monkeypatch.setitem(sys.modules, "zoo_datasets.toy_shapes", sys.modules[__name__])
    monkeypatch.setattr(catalogue, "_BUILDERS", {"toy_shapes": "ToyShapes"})
    return ToyShapes


def test_every_name_is_described_without_preparing_it(tmp_path):
    bases = catalogue.names()
    for name in (*bases, *(f"{base}/{config}" for base in bases for config in catalogue.configurations(base))):
        description = catalogue.describe(name, data_dir=tmp_path)
        assert not description.prepared
        assert description.location.is_relative_to(tmp_path / name)
        for text in ("title", "units", "licence", "citation", "notes"):
            assert getattr(description, text).strip(), f"{name} has no {text}"
        assert {"train", "validation", "test"} <= description.splits.keys()


def test_data_set_is_prepared_once_and_read_back(tmp_path, toys):
    assert not catalogue.describe("toy_shapes", data_dir=tmp_path).prepared
    dataset = catalogue.load("toy_shapes", data_dir=tmp_path)
    assert catalogue.describe("toy_shapes", data_dir=tmp_path).prepared
    assert catalogue.prepare("toy_shapes", data_dir=tmp_path) == tmp_path / "toy_shapes" / "1.0.0"
    catalogue.load("toy_shapes", data_dir=tmp_path)
    assert toys.runs == [1]
    assert dataset.class_names == ("round", "square")
    records = [dataset.splits["train"][i] for i in range(4)] + [dataset.splits["test"][i] for i in range(2)]
    for record in records:
        number = int(record["title"].decode().split()[1])
        np.testing.assert_array_equal(record["image"][..., 0], IMAGES[number])
        assert record["label"] == number % 2


def test_data_dir_comes_from_the_environment(tmp_path, toys, monkeypatch):
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    assert catalogue.prepare("toy_shapes").is_relative_to(tmp_path)


def test_labels_can_be_left_out(tmp_path, toys):
    dataset = catalogue.load("toy_shapes", data_dir=tmp_path, labels=False)
    assert "label" not in dataset.splits["test"][0]
    assert dataset.class_names is None


def test_interrupted_preparation_leaves_nothing_that_looks_finished(tmp_path, toys):
    toys.failure.append(RuntimeError("the power went off"))
    with pytest.raises(RuntimeError, match="the power went off"):
        catalogue.prepare("toy_shapes", data_dir=tmp_path)
    assert not catalogue.describe("toy_shapes", data_dir=tmp_path).prepared
    toys.failure.clear()
    assert len(catalogue.load("toy_shapes", data_dir=tmp_path).splits["train"]) == 4


def test_two_processes_that_prepare_the_same_set_both_get_it(tmp_path, toys):
    """The other one finishes while this one is still writing; here both are in one process."""
    toys.meanwhile.append(lambda: ToyShapes(data_dir=tmp_path, file_format="array_record").download_and_prepare())
    assert len(catalogue.load("toy_shapes", data_dir=tmp_path).splits["train"]) == 4
    assert toys.runs == [1, 1]


def test_full_disk_is_said(tmp_path, toys):
    toys.failure.append(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(SourceError, match=r"disk is full.*toy_shapes.*ZOO_DATA_DIR"):
        catalogue.prepare("toy_shapes", data_dir=tmp_path)


@pytest.mark.parametrize("missing", ["dataset_info.json", "toy_shapes-train.array_record-00000-of-00001"])
def test_half_a_folder_is_refused(tmp_path, toys, missing):
    location = catalogue.prepare("toy_shapes", data_dir=tmp_path)
    (location / missing).unlink()
    with pytest.raises(DataError, match=f"{missing}.*Delete .* and prepare it again"):
        catalogue.load("toy_shapes", data_dir=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damaged_records_are_refused(tmp_path, toys, damage):
    location = catalogue.prepare("toy_shapes", data_dir=tmp_path)
    shard = location / "toy_shapes-train.array_record-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.raises(DataError, match=r"record 0 of .*toy_shapes.* cannot be read .*Delete the folder"):
        catalogue.load("toy_shapes", data_dir=tmp_path).splits["train"][0]


def test_prepared_tfds_sets_are_read_by_name(tmp_path, toys):
    catalogue.prepare("toy_shapes", data_dir=tmp_path)
    (tmp_path / "toy_shapes" / "incomplete.ABCDEF_2.0.0").mkdir()
    (tmp_path / "toy_shapes" / "incomplete.ABCDEF_2.0.0" / "dataset_info.json").write_text("{}")
    dataset = catalogue.load("tfds:toy_shapes", data_dir=tmp_path)
    record = dataset.splits["train"][0]
    assert record.keys() == {"image", "label"}
    assert dataset.class_names == ("round", "square")


@pytest.fixture
def tfds_set(tmp_path):
    """Function (arrays by split (images, labels), number of classes, image shape) that prepares a TFDS set by hand."""

    def prepare(splits, classes, shape, name="handmade"):
        features = {"image": tfds.features.Image(shape=shape), "label": tfds.features.ClassLabel(num_classes=classes)}

        class Handmade(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            """Built once."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features_dict = tfds.features.FeaturesDict(features)
                return tfds.core.DatasetInfo(builder=self, description="By hand.", features=features_dict)

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(*arrays) for split, arrays in splits.items()}

            def _generate_examples(self, images, labels):
                for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                    yield number, {"image": Image.fromarray(image), "label": int(label)}

        Handmade.name = name
        Handmade(data_dir=tmp_path, file_format="array_record").download_and_prepare()
        return f"tfds:{name}"

    return prepare


def numbered(count, shape):
    """Images whose pixels are all the image's number."""
    return np.arange(count, dtype=np.uint8)[(slice(None), *[None] * len(shape))] * np.ones(shape, np.uint8)


@pytest.mark.parametrize("shape", [(6, 7), (5, 5, 3)], ids=["grey", "colour"])
def test_tfds_set_without_validation_gives_up_a_part_of_train(tmp_path, tfds_set, shape):
    labels = np.repeat([0, 1, 2], [40, 20, 3])
    feature = (*shape, 1)[:3]
    name = tfds_set({"train": (numbered(63, shape), labels), "test": (numbered(5, shape), labels[:5])}, 3, feature)
    dataset = catalogue.load(name, data_dir=tmp_path, seed=3)
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert "15% of the train split, class by class, with seed 3" in dataset.description
    arrays = {split: in_memory(pickle.loads(pickle.dumps(source))).arrays for split, source in dataset.splits.items()}
    assert np.bincount(arrays["validation"]["label"]).tolist() == [6, 3, 1]
    assert arrays["train"]["image"].shape[1:] == feature
    numbers = {split: fields["image"][:, 0, 0, 0].tolist() for split, fields in arrays.items()}
    assert sorted(numbers["train"] + numbers["validation"]) == list(range(63))
    for split in ("train", "validation"):
        np.testing.assert_array_equal(arrays[split]["label"], labels[numbers[split]])
    again, other = (
        [record["image"][0, 0, 0] for record in map(source.__getitem__, range(10))]
        for source in (catalogue.load(name, data_dir=tmp_path, seed=seed).splits["validation"] for seed in (3, 4))
    )
    assert again == numbers["validation"] != other
    with pytest.raises(IndexError, match="0 … 9, got 10"):
        dataset.splits["validation"][10]
    assert list(catalogue.load(name, data_dir=tmp_path, labels=False).splits) == ["train", "test"]


def test_tfds_set_with_validation_is_left_as_it_is(tmp_path, tfds_set):
    labels = [0, 1, 0, 1]
    arrays = {split: (numbered(4, (4, 4)), labels) for split in ("train", "validation", "test")}
    dataset = catalogue.load(tfds_set(arrays, 2, (4, 4, 1)), data_dir=tmp_path)
    assert {split: len(source) for split, source in dataset.splits.items()} == dict.fromkeys(arrays, 4)
    assert dataset.description == "By hand."


def test_tfds_set_with_one_record_of_a_class_cannot_be_divided(tmp_path, tfds_set):
    name = tfds_set({"train": (numbered(5, (4, 4)), [0, 0, 0, 0, 1])}, 2, (4, 4, 1))
    with pytest.raises(DataError, match=r"handmade has no validation split.*two records or more.*got \{0: 4, 1: 1\}"):
        catalogue.load(name, data_dir=tmp_path)


def test_tfds_images_of_several_sizes_are_refused_with_what_to_do(tmp_path, tfds_set):
    images = [np.zeros((4, 5), np.uint8), *numbered(5, (6, 6))]
    dataset = catalogue.load(tfds_set({"train": (images, [0, 1] * 3)}, 2, (None, None, 1)), data_dir=tmp_path)
    with pytest.raises(DataError, match=r"All records should have one shape and type: resize, crop or cast"):
        in_memory(dataset.splits["train"])
        in_memory(dataset.splits["validation"])


def test_tfds_set_that_is_not_there_says_how_to_prepare_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "theirs"))
    with pytest.raises(DataError) as error:
        catalogue.load("tfds:mnist", data_dir=tmp_path)
    text = str(error.value)
    assert f"tfds build mnist --file_format=array_record --data_dir={tmp_path}" in text
    assert str(tmp_path / "theirs" / "mnist") in text
    with pytest.raises(DataError, match="tfds: is not prepared"):
        catalogue.load("tfds:", data_dir=tmp_path)


def test_tfds_set_in_another_format_says_what_to_do(tmp_path, toys):
    location = catalogue.prepare("toy_shapes", data_dir=tmp_path)
    information = location / "dataset_info.json"
    content = json.loads(information.read_text())
    content["fileFormat"] = "tfrecord"
    information.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"prepared as tfrecord, expected array_record.*tfds build toy_shapes"):
        catalogue.load("tfds:toy_shapes", data_dir=tmp_path)


def test_paths_are_read_as_the_users_own_data(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", x=np.zeros((12, 4, 4)), y=np.arange(12) % 2)
    dataset = catalogue.load(str(tmp_path / "mine.npz"), seed=1)
    assert dataset.class_names == ("0", "1")
    assert "label" not in catalogue.load(tmp_path / "mine.npz", labels=False).splits["all"][0]
    monkeypatch.chdir(tmp_path)
    assert len(catalogue.load("mine.npz").splits) == 3
    for missing in ("none.npz", "./none", tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="none"):
            catalogue.load(missing)


@pytest.mark.parametrize("use", [catalogue.describe, catalogue.prepare, catalogue.load])
def test_unknown_name_gives_the_closest_and_the_list(use):
    with pytest.raises(UnknownName) as error:
        use("radio_galaxys")
    assert isinstance(error.value, KeyError)
    text = str(error.value)
    assert text.startswith("there is no data set 'radio_galaxys'. Did you mean radio_galaxies?")
    assert "tfds:NAME" in text and ".npz" in text


def test_configurations_have_folders_and_sizes_of_their_own(tmp_path, sizes):
    assert catalogue.names() == ("toy_sizes", "toy_shapes")
    assert catalogue.configurations("toy_sizes") == ("default", "tiny")
    assert catalogue.configurations("toy_shapes") == ()
    for name, config, size in [
        ("toy_sizes", "default", 3),
        ("toy_sizes/default", "default", 3),
        ("toy_sizes/tiny", "tiny", 2),
    ]:
        location = tmp_path / "toy_sizes" / config / "1.0.0"
        description = catalogue.describe(name, data_dir=tmp_path)
        assert (description.location, description.splits) == (location, {"train": size})
        assert catalogue.prepare(name, data_dir=tmp_path) == location
        dataset = catalogue.load(name, data_dir=tmp_path)
        assert (dataset.name, len(dataset.splits["train"])) == (name, size)


def test_regression_targets_have_names_and_units_and_can_be_left_out(tmp_path, sizes):
    dataset = catalogue.load("toy_sizes/tiny", data_dir=tmp_path)
    assert dataset.class_names is None
    assert dataset.targets == {"size": "px"}
    assert dataset.splits["train"][0].keys() == {"image", "target", "flux"}
    blind = catalogue.load("toy_sizes/tiny", data_dir=tmp_path, labels=False)
    assert blind.targets is None
    assert blind.splits["train"][0].keys() == {"image", "flux"}


@pytest.mark.parametrize("use", [catalogue.describe, catalogue.prepare, catalogue.load])
def test_unknown_configuration_gives_the_closest_and_the_list(use, sizes):
    with pytest.raises(
        UnknownName, match=r"no data set 'toy_sizes/tinny'. Did you mean toy_sizes/tiny.*Known: toy_sizes,"
    ):
        use("toy_sizes/tinny")
    with pytest.raises(UnknownName, match=r"no data set 'toy_sizes/'.*Known: toy_sizes, toy_sizes/default"):
        use("toy_sizes/")
    with pytest.raises(UnknownName, match=r"no data set 'toy_shapes/tiny'. Did you mean toy_shapes\?"):
        use("toy_shapes/tiny")
    with pytest.raises(UnknownName, match=r"no data set 'toy_size/tiny'. Did you mean toy_sizes"):
        use("toy_size/tiny")


def test_configurations_of_an_unknown_name_are_refused(sizes):
    with pytest.raises(UnknownName, match="no data set 'toy_cars'"):
        catalogue.configurations("toy_cars")


def test_which_names_are_known(sizes):
    assert all(map(catalogue.is_known, ["toy_sizes", "toy_sizes/tiny", "toy_sizes/default", "toy_shapes"]))
    assert not any(map(catalogue.is_known, ["toy_sizes/", "toy_sizes/large", "toy_shapes/tiny", "toy", "a.npz", ""]))


def test_folder_named_like_a_data_set_is_still_a_path(tmp_path, monkeypatch, sizes):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy_sizes").mkdir()
    np.savez(tmp_path / "toy_sizes" / "mine.npz", x=np.zeros((12, 4, 4)), y=np.arange(12) % 2)
    assert catalogue.load("toy_sizes/mine.npz").class_names == ("0", "1")
    assert catalogue.load("./toy_sizes/mine.npz").class_names == ("0", "1")


def test_importing_the_package_is_cheap():
    """A process of its own (1 s): neither TFDS nor anything that names it comes with the catalogue."""
    script = (
        "import sys, zoo_datasets.loading.catalogue; print('tensorflow_datasets' in sys.modules, 'jax' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
