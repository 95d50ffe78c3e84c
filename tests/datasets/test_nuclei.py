"""The reader of the nuclei, on small files made for it, and on the real file where it is at hand."""

import numpy as np
import pytest
from scipy import ndimage

from zoo_datasets import nuclei as module
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError
from zoo_datasets.loading.tfds_source import TfdsSource

SIDE = module.SIDE
COUNT = 40


def field(random, side):
    """A field of view with smooth structure everywhere: image and nuclei (side, side)."""
    light = ndimage.gaussian_filter(random.normal(size=(side, side)), 4)
    light = (light - light.min()) / (light.max() - light.min())
    return (255 * light).astype(np.uint8), ndimage.label(light > 0.7)[0].astype(np.uint16)


def renumbered(labels):
    """The same objects, numbered 1, 2, … without gaps."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint16)


@pytest.fixture(scope="module")
def made():
    """24 single fields and 4 fields cut into quarters, in mixed order: field of every image, images, labels."""
    random = np.random.default_rng(5)
    fields = [field(random, SIDE) for _ in range(24)]
    names = list(range(24))
    for large in range(4):
        image, labels = field(random, 2 * SIDE)
        for rows in (slice(0, SIDE), slice(SIDE, None)):
            for columns in (slice(0, SIDE), slice(SIDE, None)):
                fields.append((image[rows, columns], renumbered(labels[rows, columns])))
                names.append(24 + large)
    order = random.permutation(COUNT)
    images, labels = (np.stack([fields[i][part] for i in order]) for part in (0, 1))
    return np.array(names)[order], images, labels


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function (arrays by name) that writes the file into the manual folder; its path."""
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    monkeypatch.setattr(module.Nuclei, "count", COUNT)
    (tmp_path / module.FOLDER).mkdir()

    def write(**arrays):
        path = tmp_path / module.FOLDER / module.FILE
        np.savez(path, **arrays)
        return path

    return write


def prepare(folder, config="default"):
    """Arrays of each split."""
    builder = module.Nuclei(config=config, data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return {split: in_memory(TfdsSource(builder.data_path, split)).arrays for split in builder.info.splits}


def test_records_are_those_of_the_file(tmp_path, made, write):
    _, images, labels = made
    write(images=images, labels=labels, ids=np.array(["a"] * COUNT))
    splits = prepare(tmp_path / "data")
    assert tuple(splits) == module.SPLIT_NAMES
    for fields in splits.values():
        assert fields.keys() == module.FEATURES.keys()
        assert fields["image"].dtype == np.uint8 and fields["label"].dtype == np.uint8
        assert fields["objects"].dtype == np.int32
        np.testing.assert_array_equal(fields["image"], images[fields["source"]][..., None])
        np.testing.assert_array_equal(fields["objects"], labels[fields["source"]])
        np.testing.assert_array_equal(fields["label"], labels[fields["source"]] > 0)
    sources = np.concatenate([fields["source"] for fields in splits.values()])
    assert sorted(sources) == list(range(COUNT))


def test_tiny_is_the_beginning_of_each_split(tmp_path, made, write):
    write(images=made[1], labels=made[2])
    whole, tiny = prepare(tmp_path / "data"), prepare(tmp_path / "data", "tiny")
    for split, size in module.SPLIT_SIZES["tiny"].items():
        sources = sorted(tiny[split]["source"])
        assert len(sources) == size
        assert sources == sorted(whole[split]["source"])[:size]


def test_quarters_of_a_field_are_found_and_stay_on_one_side(made):
    names, images, labels = made
    groups = module.group_numbers(images)
    pairs = groups[:, None] == groups
    np.testing.assert_array_equal(pairs, names[:, None] == names)
    splits = module.grouped_split(groups, (labels > 0).mean((1, 2)))
    sides = [set(names[rows].tolist()) for rows in splits.values()]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_mismatch_is_that_of_its_definition():
    random = np.random.default_rng(0)
    ends, starts = random.normal(size=(3, 20)), random.normal(size=(4, 20))
    found = module._mismatch(ends, starts)
    for i, end in enumerate(ends):
        for j, start in enumerate(starts):
            expected = np.mean((end - start) ** 2) / min(end.var(), start.var())
            assert found[i, j] == pytest.approx(expected, rel=1e-12)


def test_dark_edges_are_no_evidence():
    """Images without structure along their edges fit everything; that puts no two of them together."""
    images = np.full((5, 16, 16), 7, np.uint8)
    images[:, 4:12, 4:12] = np.random.default_rng(0).integers(0, 255, (5, 8, 8))
    assert len(set(module.group_numbers(images))) == 5


def test_groups_of_each_kind_are_divided_in_the_same_proportions():
    covered = np.repeat([0.01, 0.05, 0.1, 0.3], 100)
    splits = module.grouped_split(np.arange(400), covered)
    for name, share in {"train": 60, "validation": 20, "test": 20}.items():
        assert np.unique(covered[splits[name]], return_counts=True)[1].tolist() == [share] * 4


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:, :, 1:]), r"should have one shape, \(40, 256, 256\), got .* and \(40, 256, 255\)"),
        (lambda x, y: (x[:-1], y), r"should have one shape, .* got \(39, 256, 256\) and \(40, 256, 256\)"),
        (lambda x, y: (x[:-1], y[:-1]), r"images should be uint8 \(40, 256, 256\), got uint8 \(39, 256, 256\)"),
        (
            lambda x, y: (x[:, :128], y[:, :128]),
            r"images should be uint8 \(40, 256, 256\), got uint8 \(40, 128, 256\)",
        ),
        (lambda x, y: (x / np.float32(255), y), r"images should be uint8 .* got float32 .*BBBC038"),
        (lambda x, y: (x, y.astype(np.int64)), "labels should be uint16 .* got int64"),
        (lambda x, y: (x, changed(y, 3, 0)), r"image 3: expected at least one nucleus, got labels that are all 0"),
        (
            lambda x, y: (x, changed(y, (6, y[6] == 1), 999)),
            r"image 6: nuclei should be numbered 1 … 999 without gaps, got none of number 1 ",
        ),
    ],
)
def test_another_file_is_refused(tmp_path, made, write, change, message):
    images, labels = change(*made[1:])
    path = write(images=images, labels=labels)
    with pytest.raises(DataError, match=message) as error:
        prepare(tmp_path / "data")
    assert str(path) in str(error.value)


def test_file_without_the_arrays_or_damaged_is_refused(tmp_path, write):
    path = write(pictures=np.zeros((3, 4, 4)))
    with pytest.raises(DataError, match="got the keys pictures"):
        module.read_file(path)
    np.savez(path, x_train=np.zeros((3, 4, 4)), y_train=np.zeros(3))
    with pytest.raises(DataError, match="splits of its own, expected the arrays images and labels"):
        module.read_file(path)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=module.FILE):
        module.read_file(path)


def test_missing_file_says_what_it_is_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    with pytest.raises(SourceError, match=r"dsb2018_256_fluo\.npz is missing.*BBBC038.*uint16.*put it there") as error:
        prepare(tmp_path / "data")
    assert str(tmp_path / module.FOLDER) in str(error.value)
    monkeypatch.delenv("ZOO_MANUAL_DIR")
    with pytest.raises(SourceError, match=r"ZOO_MANUAL_DIR is not set.*dsb2018_256_fluo\.npz.*dsb2018_nuclei.*BBBC038"):
        prepare(tmp_path / "data")


@pytest.mark.manual_data
def test_the_real_file_is_as_described(manual):
    path = manual(f"{module.FOLDER}/{module.FILE}")
    images, objects = module.read_file(path)
    assert objects.reshape(len(objects), -1).max(1).sum() == 9543
    groups, covered = module.group_numbers(images), (objects > 0).mean((1, 2))
    assert (np.bincount(groups)[groups] > 1).sum() == 250
    splits = module.grouped_split(groups, covered)
    assert {name: len(rows) for name, rows in splits.items()} == module.SPLIT_SIZES["default"]
    # No split has twice as much nucleus as another.
    shares = [covered[rows].mean() for rows in splits.values()]
    assert min(shares) > 0.06 and max(shares) < 0.09
    reversed_edges = (images[:, :, -1], images[:, ::-1, 0]), (images[:, -1], images[:, 0, ::-1])
    wrong = sum((module._mismatch(*map(np.float64, pair)) < module.CONTINUES).sum() for pair in reversed_edges)
    assert wrong <= 5
