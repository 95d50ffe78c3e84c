"""`zoo predict`: the user's own images without labels, by their names."""

import csv

import numpy as np
import pytest
from PIL import Image


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def probabilities(rows):
    return np.array([[float(value) for name, value in row.items() if name.startswith("p ")] for row in rows])


@pytest.fixture
def images(arrays, tmp_path):
    """A .npz with the validation images and nothing else."""
    np.savez(tmp_path / "images.npz", x=arrays["x_validation"])
    return tmp_path / "images.npz"


def test_images_without_labels_get_the_probabilities_of_evaluation(zoo, trained, images, tmp_path):
    out = tmp_path / "deep" / "mine.csv"
    outcome = zoo("predict", trained.folder, "--data", images, "--out", out)
    assert outcome.code == 0, outcome.err
    rows, known = table(out), table(trained.file("predictions_validation.csv"))
    assert list(rows[0]) == ["record", "name", "predicted", *(f"p {name}" for name in trained.class_names)]
    np.testing.assert_array_equal(probabilities(rows), probabilities(known))
    counts = {name: sum(row["predicted"] == name for row in rows) for name in trained.class_names}
    assert outcome.out.splitlines() == [", ".join(f"{count} {name}" for name, count in counts.items()), str(out)]


def test_a_folder_of_images_keeps_its_names(zoo, trained, arrays, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    pictures = np.round(arrays["x_test"][:3, ..., 0] * 255).astype(np.uint8)
    for name, picture in zip(("ngc1068", "m87", "cygnus a"), pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
    np.savez(tmp_path / "same.npz", x=pictures)
    outcomes = [
        zoo("predict", trained.folder, "--data", data, "--out", tmp_path / f"{number}.csv")
        for number, data in enumerate((folder, tmp_path / "same.npz"))
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    named, numbered = table(tmp_path / "0.csv"), table(tmp_path / "1.csv")
    assert [row["name"].rsplit("/")[-1] for row in named] == ["cygnus a.png", "m87.png", "ngc1068.png"]
    np.testing.assert_array_equal(probabilities(named)[::-1], probabilities(numbered)[[0, 1, 2]])


@pytest.mark.parametrize("channels", [2, 3])
def test_another_number_of_channels_is_refused(channels, zoo, trained, tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros((2, 16, 16, channels), np.float32))
    out = tmp_path / "p.csv"
    outcome = zoo("predict", trained.folder, "--data", tmp_path / "other.npz", "--out", out)
    assert outcome.code == 2 and f"(16, 16, {channels})" in outcome.err and "takes (16, 16, 1)" in outcome.err
    assert not out.exists()


def test_images_of_another_size_are_resized(zoo, trained, arrays, tmp_path):
    doubled = arrays["x_validation"].repeat(2, axis=1).repeat(2, axis=2)
    np.savez(tmp_path / "large.npz", x=doubled)
    assert zoo("predict", trained.folder, "--data", tmp_path / "large.npz", "--out", tmp_path / "p.csv").code == 0
    known = probabilities(table(trained.file("predictions_validation.csv")))
    np.testing.assert_allclose(probabilities(table(tmp_path / "p.csv")), known, atol=2e-5)  # float32, six digits


def test_nan_is_refused_by_its_record(zoo, trained, arrays, tmp_path):
    images = arrays["x_test"].copy()
    images[4, 2, 3] = np.nan
    np.savez(tmp_path / "nan.npz", x=images)
    outcome = zoo("predict", trained.folder, "--data", tmp_path / "nan.npz", "--out", tmp_path / "p.csv")
    assert outcome.code == 2 and "record 4" in outcome.err and "NaN" in outcome.err


def test_a_place_that_cannot_be_written_is_named(zoo, trained, images, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "p.csv", tmp_path):
        outcome = zoo("predict", trained.folder, "--data", images, "--out", out)
        assert outcome.code == 2 and str(out if out.is_dir() else out.parent) in outcome.err
