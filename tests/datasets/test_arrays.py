"""The user's own data: every format gives the same arrays, and what is wrong is named."""

import pickle

import h5py
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zoo_datasets.loading.arrays import load_arrays, stratified_split
from zoo_datasets.loading.records import DataError

SIZE = 40


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(SIZE, 6, 5, 2)).astype(np.float32)


@pytest.fixture
def labels():
    return np.arange(SIZE) % 3


def save_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def save_hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            text = values.dtype.kind == "U"
            file.create_dataset(
                name, data=values.astype(object) if text else values, dtype=h5py.string_dtype() if text else None
            )
    return path


def save_fits(path, images, labels=None, column="label"):
    units = [fits.PrimaryHDU(), fits.ImageHDU(images)]
    if labels is not None:
        kind = f"A{labels.dtype.itemsize // 4}" if labels.dtype.kind == "U" else "J"
        units.append(fits.BinTableHDU.from_columns([fits.Column(name=column, format=kind, array=labels)]))
    fits.HDUList(units).writeto(path)
    return path


def save_folder(path, images, names, pattern="{name}/{i:03d}.png"):
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        file = path / pattern.format(name=name, i=i)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return path


def paired(images, names):
    """(image bytes, class name) pairs, sorted."""
    return sorted((np.asarray(image).tobytes(), str(name)) for image, name in zip(images, names, strict=True))


def gathered(dataset):
    """`paired` of all records of all splits."""
    records = [split[i] for split in dataset.splits.values() for i in range(len(split))]
    return paired([record["image"] for record in records], [dataset.class_names[record["label"]] for record in records])


def test_npz_hdf5_and_fits_give_the_same_data_set(tmp_path, images, labels):
    sets = [
        load_arrays(save_npz(tmp_path / "a.npz", x=images, y=labels), labels=True, seed=3),
        load_arrays(
            save_npz(tmp_path / "b.npz", images=images, labels=labels.astype(float)[:, None]), labels=True, seed=3
        ),
        load_arrays(save_hdf5(tmp_path / "a.h5", inputs=images.astype(np.float64), label=labels), labels=True, seed=3),
        load_arrays(save_fits(tmp_path / "a.fits", images, labels), labels=True, seed=3),
        load_arrays(save_fits(tmp_path / "b.fits", images, labels, column="morphology"), labels=True, seed=3),
    ]
    for dataset in sets:
        assert list(dataset.splits) == ["train", "validation", "test"]
        assert dataset.class_names == ("0", "1", "2")
        for split, source in dataset.splits.items():
            for name, values in source.arrays.items():
                expected = sets[0].splits[split].arrays[name]
                assert values.dtype == expected.dtype
                np.testing.assert_array_equal(values, expected)
    assert gathered(sets[0]) == paired(images, labels)
    record = sets[0].splits["train"][0]
    assert record["image"].shape == (6, 5, 2)
    assert record["label"].dtype == np.int32
    assert "70/15/15" in sets[0].description and "seed 3" in sets[0].description


def test_sources_can_be_pickled(tmp_path, images, labels):
    source = load_arrays(save_npz(tmp_path / "a.npz", x=images, y=labels), labels=True, seed=0).splits["train"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[2]["image"], source[2]["image"])


@given(counts=st.lists(st.integers(3, 60), min_size=1, max_size=4), seed=st.integers(0, 2**64 - 1))
def test_split_is_a_partition_that_keeps_the_proportions(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = stratified_split(labels, seed=seed, fractions=(0.15, 0.15))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for label, count in enumerate(counts):
        train, validation, test = (int((labels[part] == label).sum()) for part in parts)
        assert validation == test == max(1, round(0.15 * count))
        assert train >= 1
    again = stratified_split(labels, seed=seed, fractions=(0.15, 0.15))
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))


def test_split_depends_on_the_seed():
    labels = np.zeros(100, int)
    one, other = (stratified_split(labels, seed=seed, fractions=(0.5,))[0] for seed in (0, 1))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("suffix", ["validation", "valid", "val"])
def test_own_splits_are_kept(tmp_path, images, labels, suffix):
    cut = {"train": slice(0, 20), suffix: slice(20, 30), "test": slice(30, 40)}
    arrays = {
        f"{key}_{split}": values[rows] for split, rows in cut.items() for key, values in (("x", images), ("y", labels))
    }
    for path in (save_npz(tmp_path / "a.npz", **arrays), save_hdf5(tmp_path / "a.hdf5", **arrays)):
        dataset = load_arrays(path, labels=True, seed=0)
        for split, rows in zip(("train", "validation", "test"), cut.values(), strict=True):
            np.testing.assert_array_equal(dataset.splits[split].arrays["image"], images[rows])
            np.testing.assert_array_equal(dataset.splits[split].arrays["label"], labels[rows])
        assert "the file's own" in dataset.description


def test_missing_validation_split_is_taken_from_the_training_split(tmp_path, images, labels):
    arrays = {"x_train": images[:30], "y_train": labels[:30], "x_test": images[30:], "y_test": labels[30:]}
    dataset = load_arrays(save_npz(tmp_path / "a.npz", **arrays), labels=True, seed=0)
    assert {split: len(source) for split, source in dataset.splits.items()} == {
        "train": 24,
        "validation": 6,
        "test": 10,
    }
    np.testing.assert_array_equal(dataset.splits["test"].arrays["image"], images[30:])
    assert "15 % of the train split" in dataset.description


def test_text_labels_become_sorted_class_names(tmp_path, images, labels):
    text = np.array(["spiral", "elliptical", "irregular"])[labels]
    expected = paired(images, text)
    for path in (
        save_npz(tmp_path / "a.npz", x=images, y=text),
        save_npz(tmp_path / "b.npz", x=images, y=text.astype("S12")),
        save_hdf5(tmp_path / "a.h5", x=images, y=text),
        save_fits(tmp_path / "a.fits", images, text),
    ):
        dataset = load_arrays(path, labels=True, seed=0)
        assert dataset.class_names == ("elliptical", "irregular", "spiral")
        assert gathered(dataset) == expected


def test_class_names_of_the_file_give_the_order(tmp_path, images, labels):
    names = np.array(["spiral", "elliptical", "irregular"])
    for labels_as in (labels, names[labels]):
        dataset = load_arrays(
            save_npz(tmp_path / "a.npz", x=images, y=labels_as, class_names=names), labels=True, seed=0
        )
        assert dataset.class_names == tuple(names)
        assert gathered(dataset) == paired(images, names[labels])


def test_channel_axis_is_added_or_moved_never_reshaped(tmp_path, labels):
    flat = np.random.default_rng(0).integers(0, 255, (SIZE, 7, 9)).astype(np.uint8)
    dataset = load_arrays(save_npz(tmp_path / "a.npz", x=flat), labels=False)
    np.testing.assert_array_equal(dataset.splits["all"].arrays["image"], flat[..., None])
    assert dataset.splits["all"].arrays["image"].dtype == np.uint8
    first = np.random.default_rng(0).normal(size=(4, 3, 34, 40)).astype(np.float32)
    dataset = load_arrays(save_fits(tmp_path / "a.fits", first), labels=False)
    got = dataset.splits["all"].arrays["image"]
    assert all(got[n, i, j, c] == first[n, c, i, j] for n, c, i, j in [(0, 0, 0, 0), (3, 2, 33, 39), (1, 0, 20, 5)])
    assert got.shape == (4, 34, 40, 3)
    assert "transposed" in dataset.description


def test_bytes_of_fits_become_native(tmp_path, images):
    got = load_arrays(save_fits(tmp_path / "a.fits", images), labels=False).splits["all"].arrays["image"]
    assert got.dtype.isnative and got.flags.c_contiguous
    integers = np.arange(4 * 6 * 5, dtype=np.int16).reshape(4, 6, 5)
    got = load_arrays(save_fits(tmp_path / "b.fits", integers), labels=False).splits["all"].arrays["image"]
    assert got.dtype == np.int16 and got.dtype.isnative
    np.testing.assert_array_equal(got[..., 0], integers)


def test_prediction_needs_no_labels(tmp_path, images):
    one = load_arrays(save_fits(tmp_path / "one.fits", images[0, :, :, 0]), labels=False)
    np.testing.assert_array_equal(one.splits["all"][0]["image"], images[0, :, :, :1])
    parts = {"x_train": images[:30], "x_test": images[30:]}
    both = load_arrays(save_npz(tmp_path / "a.npz", **parts), labels=False)
    np.testing.assert_array_equal(both.splits["all"].arrays["image"], images)
    assert both.class_names is None and both.splits["all"].arrays.keys() == {"image"}
    assert "train, test are read one after the other" in both.description


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_image_folder(tmp_path, labels, suffix):
    pictures = np.random.default_rng(0).integers(0, 255, (SIZE, 6, 5, 3)).astype(np.uint8)
    names = np.array(["cat", "ant", "bee"])[labels]
    root = save_folder(tmp_path / "images", pictures, names, "{name}/{i:03d}." + suffix)
    (root / "notes.txt").write_text("not an image")
    dataset = load_arrays(root, labels=True, seed=0)
    assert dataset.class_names == ("ant", "bee", "cat")
    assert gathered(dataset) == paired(pictures, names)
    whole = load_arrays(root, labels=False)
    assert whole.record_names["all"][0] == f"ant/001.{suffix}"
    np.testing.assert_array_equal(whole.splits["all"][0]["image"], pictures[1])


def test_image_folder_with_splits_and_grey_images(tmp_path, labels):
    pictures = np.random.default_rng(0).integers(0, 255, (SIZE, 6, 5)).astype(np.uint8)
    for split, rows in {"train": slice(0, 20), "val": slice(20, 30), "test": slice(30, 40)}.items():
        save_folder(tmp_path / split, pictures[rows], [f"class{label}" for label in labels[rows]])
    dataset = load_arrays(tmp_path, labels=True, seed=0)
    assert {split: len(source) for split, source in dataset.splits.items()} == {
        "train": 20,
        "validation": 10,
        "test": 10,
    }
    assert dataset.class_names == ("class0", "class1", "class2")
    assert dataset.splits["train"][0]["image"].shape == (6, 5, 1)


def test_flat_folder_of_jpegs_and_deep_images_can_be_predicted(tmp_path):
    pictures = np.full((3, 8, 8, 3), 128, np.uint8)
    flat = load_arrays(save_folder(tmp_path / "flat", pictures, "abc", "{name}.jpg"), labels=False)
    assert flat.record_names["all"] == ("a.jpg", "b.jpg", "c.jpg")
    assert np.abs(flat.splits["all"].arrays["image"].astype(int) - 128).max() <= 2  # JPEG rounds
    deep = np.full((2, 4, 4), 40_000, np.uint16)
    got = (
        load_arrays(save_folder(tmp_path / "deep", deep, "ab", "{name}.png"), labels=False)
        .splits["all"]
        .arrays["image"]
    )
    np.testing.assert_array_equal(got[..., 0], deep)


def test_palettes_become_colours(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "a.png")
    got = load_arrays(tmp_path, labels=False).splits["all"][0]["image"]
    assert got.tolist() == [[[10, 20, 30], [40, 50, 60]]]


def bad_arrays(images, labels):
    nan = images.copy()
    nan[7, 0, 0, 0] = np.nan
    return {
        "no inputs": ({"pixels": images, "y": labels}, ["no inputs", "x, images, inputs, image", "keys pixels, y"]),
        "no labels": ({"x": images, "target": labels}, ["'x' without labels", "y, labels, label", "target"]),
        "two inputs": ({"x": images, "images": images, "y": labels}, ["x and images", "one of them"]),
        "whole and split": ({"x": images, "y": labels, "x_train": images, "y_train": labels}, ["x and also x_train"]),
        "two validations": (
            {"x_val": images, "y_val": labels, "x_valid": images, "y_valid": labels},
            ["two validation splits", "x_valid", "x_val"],
        ),
        "no train": ({"x_test": images, "y_test": labels}, ["has the splits test", "expected a train split"]),
        "lengths": ({"x": images, "y": labels[:-1]}, ["x has 40 images", "(39,)", "one label for each"]),
        "one-hot": ({"x": images, "y": np.eye(3)[labels]}, ["(40,)", "(40, 3)", "argmax"]),
        "fractions": ({"x": images, "y": labels + 0.5}, ["record 0 of x", "whole numbers", "0.5"]),
        "NaN label": ({"x": images, "y": np.where(labels == 2, np.nan, labels)}, ["record 2 of x", "nan"]),
        "negative": ({"x": images, "y": labels - 1}, ["record 0 of x", "0 … 1", "got -1", "from 0"]),
        "beyond the names": (
            {"x": images, "y": labels, "class_names": np.array(["a", "b"])},
            ["record 2 of x", "0 … 1", "got 2"],
        ),
        "not a name": (
            {"x": images, "y": np.array(["a", "b", "c"])[labels], "class_names": np.array(["a", "b"])},
            ["record 2", "one of a, b", "got 'c'"],
        ),
        "empty class": ({"x": images, "y": np.where(labels == 1, 3, labels)}, ["1 0", "at least 3", "without gaps"]),
        "small class": ({"x": images, "y": np.r_[np.zeros(38, int), 1, 1]}, ["at least 3 record(s)", "1 2"]),
        "one class": ({"x": images, "y": labels * 0}, ["at least 2 classes, got 1"]),
        "NaN pixel": ({"x": nan, "y": labels}, ["x, record 7", "finite", "1 record(s)"]),
        "overflow": ({"x": np.full((4, 2, 2), 1e300), "y": labels[:4]}, ["x, record 0", "finite (as float32)"]),
        "complex": ({"x": images + 1j, "y": labels}, ["should be numbers", "complex64"]),
        "vectors": ({"x": images[:, 0, 0], "y": labels}, ["(N, H, W)", "(40, 2)"]),
        "no records": ({"x": images[:0], "y": labels[:0]}, ["at least one image", "(0, 6, 5, 2)"]),
        "empty split": (
            {"x_train": images, "y_train": labels, "x_test": images[:0], "y_test": labels[:0]},
            ["x_test", "at least one image"],
        ),
        "unequal splits": (
            {"x_train": images, "y_train": labels, "x_test": images[:, 1:], "y_test": labels},
            ["one shape", "(6, 5, 2)", "(5, 5, 2)"],
        ),
        "kinds of labels": (
            {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels.astype(str)},
            ["text in some splits"],
        ),
    }


@pytest.mark.parametrize("case", bad_arrays(np.zeros((SIZE, 6, 5, 2), np.float32), np.arange(SIZE) % 3))
@pytest.mark.parametrize("save", [save_npz, save_hdf5], ids=["npz", "hdf5"])
def test_bad_arrays_are_refused_in_words(tmp_path, images, labels, case, save):
    arrays, words = bad_arrays(images, labels)[case]
    path = save(tmp_path / ("a.npz" if save is save_npz else "a.h5"), **arrays)
    with pytest.raises(DataError) as error:
        load_arrays(path, labels=True, seed=0)
    assert str(path) in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_python_objects_are_not_unpickled(tmp_path, labels):
    path = save_npz(tmp_path / "a.npz", x=np.array([np.zeros(2), np.zeros(3)], object), y=labels[:2])
    with pytest.raises(DataError, match="array of Python objects, expected arrays of numbers"):
        load_arrays(path, labels=True, seed=0)


@pytest.mark.parametrize("kind", ["npz", "h5", "fits", "png"])
def test_truncated_file_is_refused(tmp_path, images, labels, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "png":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)).save(path)
    else:
        {"npz": lambda: save_npz(path, x=images, y=labels), "h5": lambda: save_hdf5(path, x=images, y=labels)}.get(
            kind, lambda: save_fits(path, images, labels)
        )()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"a\.{kind} cannot be read .*truncated, damaged"):
        load_arrays(tmp_path if kind == "png" else path, labels=kind != "png", seed=0)


@pytest.mark.parametrize("position", [0.3, 0.5, 0.7])
def test_flipped_byte_in_npz_is_refused(tmp_path, images, labels, position):
    path = save_npz(tmp_path / "a.npz", x=images, y=labels)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(path, labels=True, seed=0)


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.fits", "a.fit"])
def test_file_of_another_format_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is not what the name says" * 200)
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        load_arrays(tmp_path / name, labels=True, seed=0)


def test_unknown_format_and_missing_file(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"expected \.npz, .*got '\.csv'.*numpy\.savez"):
        load_arrays(tmp_path / "a.csv", labels=True, seed=0)
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*none\.npz.*current folder"):
        load_arrays(tmp_path / "none.npz", labels=True, seed=0)


def test_images_in_fits_units_of_their_own(tmp_path, images, labels):
    planes = images[:3, :, :, 0]
    units = [fits.PrimaryHDU(planes[0]), *(fits.ImageHDU(plane) for plane in planes[1:])]
    fits.HDUList(units).writeto(tmp_path / "each.fits")
    dataset = load_arrays(tmp_path / "each.fits", labels=False)
    np.testing.assert_array_equal(dataset.splits["all"].arrays["image"][..., 0], planes)
    assert "3 image HDU(s)" in dataset.description

    fits.HDUList([*units, fits.ImageHDU(planes[0, :-1])]).writeto(tmp_path / "sizes.fits")
    with pytest.raises(DataError, match=r"one size .* in HDU 0 and .* in HDU 3 \(4 image HDUs\).*first"):
        load_arrays(tmp_path / "sizes.fits", labels=False)

    fits.HDUList([fits.PrimaryHDU(planes), fits.ImageHDU(planes[0])]).writeto(tmp_path / "cube.fits")
    dataset = load_arrays(tmp_path / "cube.fits", labels=False)
    assert len(dataset.splits["all"]) == 3
    assert "only HDU 0 was read" in dataset.description


def test_data_sets_inside_hdf5_groups_are_named(tmp_path, images):
    with h5py.File(tmp_path / "groups.h5", "w") as file:
        file["INPUTS/Source/images"] = images
    with pytest.raises(DataError, match="got the keys INPUTS/Source/images"):
        load_arrays(tmp_path / "groups.h5", labels=False)


def test_fits_without_images_labels_or_label_column(tmp_path, images, labels):
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "empty.fits")
    with pytest.raises(DataError, match=r"no inputs: expected an image cube .*0 PRIMARY \(PrimaryHDU\)"):
        load_arrays(tmp_path / "empty.fits", labels=True, seed=0)
    with pytest.raises(DataError, match="no labels: expected a binary table"):
        load_arrays(save_fits(tmp_path / "bare.fits", images), labels=True, seed=0)
    columns = [fits.Column(name=name, format="J", array=labels) for name in ("flux", "kind")]
    units = [fits.PrimaryHDU(images), fits.BinTableHDU.from_columns(columns)]
    fits.HDUList(units).writeto(tmp_path / "two.fits")
    with pytest.raises(DataError, match="y, labels, label, got the columns flux, kind"):
        load_arrays(tmp_path / "two.fits", labels=True, seed=0)


def test_images_of_two_sizes_are_named_with_their_sizes(tmp_path):
    save_folder(
        tmp_path, [np.zeros((6, 5), np.uint8), np.zeros((6, 5), np.uint8), np.zeros((4, 8, 3), np.uint8)], "aab"
    )
    with pytest.raises(DataError, match=r"a/000\.png is 5 × 6 pixels with 1 .*b/002\.png is 8 × 4 pixels with 3"):
        load_arrays(tmp_path, labels=True, seed=0)


def test_folder_without_classes_or_images(tmp_path):
    save_folder(tmp_path / "flat", np.zeros((2, 4, 4), np.uint8), "ab", "{name}.png")
    with pytest.raises(DataError, match=r"no class folders: expected CLASS/image\.png .*got a\.png, b\.png"):
        load_arrays(tmp_path / "flat", labels=True, seed=0)
    (tmp_path / "none" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cat holds no images: expected at least one of \*\.png"):
        load_arrays(tmp_path / "none", labels=True, seed=0)


def test_tiff_stack_is_refused(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (1, 2)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.tif holds 2 images, expected one"):
        load_arrays(tmp_path, labels=False)


def test_a_class_or_numbers_for_each_pixel(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((20, 8, 9, 2)).astype(np.float32)
    labels, targets = rng.integers(0, 3, (20, 8, 9)), rng.random((20, 8, 9, 2))
    np.savez(tmp_path / "classes.npz", x=images, y=labels, class_names=["sky", "star", "galaxy"])
    dataset = load_arrays(tmp_path / "classes.npz")
    assert dataset.class_names == ("sky", "star", "galaxy")
    assert {name: len(source) for name, source in dataset.splits.items()} == {"train": 14, "validation": 3, "test": 3}
    for source in dataset.splits.values():
        for record in (source[i] for i in range(len(source))):
            (where,) = np.flatnonzero((images == record["image"]).all((1, 2, 3)))
            assert record["label"].dtype == np.int32 and np.array_equal(record["label"], labels[where])
    np.savez(tmp_path / "maps.npz", x=images, targets=targets, target_names=["mass", "age"], target_units=["", "Gyr"])
    dataset = load_arrays(tmp_path / "maps.npz")
    assert dataset.targets == {"mass": "", "age": "Gyr"} and dataset.splits["train"][0]["target"].shape == (8, 9, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"y": np.zeros((6, 8, 7), int)}, r"should have the shape \(6,\), or \(6, 8, 8\) with one for each pixel; got"),
        ({"y": np.full((6, 8, 8), 0.5)}, r"record 0 .*labels should be whole numbers, got 0.5"),
        ({"y": np.eye(8, dtype=int)[None].repeat(6, 0) - 1}, r"label should be in 0 … 0, got -1"),
        ({"targets": np.zeros((6, 8, 7, 2))}, r"\(6, 8, 8\), D\) with D for each pixel; got float64 \(6, 8, 7, 2\)"),
        ({"targets": np.full((6, 8, 8, 1), np.nan)}, r"record 0 .*targets should be finite"),
    ],
)
def test_truth_of_pixels_that_cannot_be_meant_is_refused(values, message, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((6, 8, 8, 1), np.float32), **values)
    with pytest.raises(DataError, match=message):
        load_arrays(tmp_path / "data.npz")
