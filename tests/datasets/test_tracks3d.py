"""Tracks and showers in volumes: helices as constructed, and labels that are where the charge is."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from zoo_datasets import simulation
from zoo_datasets import tracks3d as module

COUNT = 200


def simulate(number):
    return module.simulate(simulation.generator("tracks3d", "default", "train", number))


@pytest.fixture(scope="module")
def records():
    """200 volumes; 1 to 2 s."""
    records = [simulate(number) for number in range(COUNT)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def test_shapes_and_types(records):
    assert records.keys() == module.FEATURES.keys()
    assert records["image"].shape == (COUNT, 24, 24, 24, 1) and records["image"].dtype == np.float32
    assert records["label"].shape == (COUNT, 24, 24, 24) and records["label"].dtype == np.uint8
    assert records["objects"].shape == (COUNT, 24, 24, 24) and records["objects"].dtype == np.int32
    assert records["charge"].shape == records["curvature"].shape == (COUNT, 4)
    assert np.isfinite(records["image"]).all()


def test_same_generator_same_record():
    first, again, other = simulate(3), simulate(3), simulate(4)
    for field, value in first.items():
        np.testing.assert_array_equal(value, again[field])
    assert not np.array_equal(first["image"], other["image"])


def test_labels_objects_and_properties_agree(records):
    class_of = np.array([0, 1, 1, 1, 2])
    np.testing.assert_array_equal(records["label"], class_of[records["objects"]])
    for number in range(1, 5):
        shown = (records["objects"] == number).any((1, 2, 3))
        assert (records["charge"][shown, number - 1] > 0).all()
        # Those that show nothing are few: outshone, or outside.
        drawn = records["charge"][:, number - 1] > 0
        assert shown[drawn].mean() > 0.97
    absent = records["charge"] == 0
    assert not records["curvature"][absent].any() and not records["curvature"][:, 3].any()


def test_numbers_of_objects_and_shares_of_classes(records):
    tracks = np.bincount((records["charge"][:, :3] > 0).sum(1), minlength=4) / COUNT
    # Standard error at most √(0.25 / 200) = 0.035, four of them.
    np.testing.assert_allclose(tracks, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.14)
    assert (records["charge"][:, 3] > 0).mean() == pytest.approx(module.SHOWERS, abs=0.14)
    drawn = records["charge"][:, :3] > 0
    assert (records["curvature"][:, :3][drawn] == 0).mean() == pytest.approx(module.STRAIGHT, abs=0.1)
    shares = np.bincount(records["label"].ravel()) / records["label"].size
    np.testing.assert_allclose(shares, [0.980, 0.0124, 0.0076], atol=0.003)


def test_image_is_the_charge_and_noise_of_one(records):
    image = records["image"][..., 0].astype(np.float64)
    rest = image.sum((1, 2, 3)) - records["charge"].sum(1)
    # Noise of the sum over 13,824 voxels: 118; four and a half of them in 200 volumes.
    assert np.abs(rest).max() < 4.5 * 118
    assert rest.std() == pytest.approx(118, rel=0.25)
    empty = image[records["label"] == 0]
    # Charge below the threshold lifts it a little.
    assert 0 < empty.mean() < 0.05 and empty.std() == pytest.approx(1, abs=0.02)


def test_helix_has_its_radius_its_start_and_its_direction():
    heading = np.array([0.5, 0.5, np.sqrt(0.5)])
    points = module.helix(np.array([3.0, 10.0, 12.0]), heading, 60.0, 1 / 6)
    # The middle of the circle is a quarter turn from the direction of the start, towards the columns' axis.
    across = heading[1:] / np.linalg.norm(heading[1:])
    middle = np.array([10.0, 12.0]) + 6 * np.array([-across[1], across[0]])
    np.testing.assert_allclose(np.linalg.norm(points[:, 1:] - middle, axis=1), 6)
    np.testing.assert_allclose(np.diff(points[:, 0]), 0.5 * 60 / len(points))
    first = points[0] - [3, 10, 12]
    np.testing.assert_allclose(first / np.linalg.norm(first), heading, atol=0.02)
    total = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    assert total == pytest.approx(60 * (1 - 1 / len(points)), rel=1e-3)


def test_helix_of_little_curvature_is_straight():
    start, heading = np.array([3.0, 10.0, 12.0]), np.array([0.6, 0.0, 0.8])
    straight = module.helix(start, heading, 20.0, 0.0)
    np.testing.assert_allclose(module.helix(start, heading, 20.0, 1e-7), straight, atol=1e-4)
    mirrored = module.helix(start, heading, 20.0, -0.1)
    bent = module.helix(start, heading, 20.0, 0.1)
    # Heading along the columns, one turns to lower and one to higher rows.
    np.testing.assert_allclose(bent[:, 1] - 10, -(mirrored[:, 1] - 10), atol=1e-12)
    assert bent[-1, 1] < 10 < mirrored[-1, 1]


def test_diffusion_grows_with_the_drift():
    np.testing.assert_allclose(module.width(np.array([-5.0, 0.0, 23.0, 40.0])), [0.35, 0.35, 0.8, 0.8])
    assert module.width(np.array([11.5]))[0] ** 2 == pytest.approx((0.35**2 + 0.8**2) / 2)


def test_showers_are_compact_and_tracks_are_long(records):
    """Second moments of the voxels of each object: a shower is thicker than a track."""

    def thickness(volume, number):
        places = np.argwhere(volume == number)
        return np.sqrt(np.linalg.eigvalsh(np.cov(places.T))[1])

    showers = [thickness(v, 4) for v in records["objects"] if (v == 4).sum() > 30]
    straight = [
        thickness(v, 1)
        for v, c in zip(records["objects"], records["curvature"], strict=True)
        if c[0] == 0 and (v == 1).sum() > 30
    ]
    assert np.median(showers) > 1.5 * np.median(straight)


def test_brightness_tells_neither_tracks_from_showers_nor_all_objects_from_noise(records):
    image, label = records["image"][..., 0], records["label"]
    found = label > 0
    assert 0.4 < roc_auc_score(label[found] == 2, image[found]) < 0.65
    bright = image > 2
    dice = 2 * (bright & found).sum() / (bright.sum() + found.sum())
    assert dice < 0.6


def test_showers_and_tracks_are_drawn_independently(records):
    charges = records["charge"]
    # Standard error of the correlation 1/√200 = 0.071, four of them.
    assert abs(np.corrcoef(charges[:, :3].sum(1), charges[:, 3] > 0)[0, 1]) < 0.28
