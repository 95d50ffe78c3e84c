"""Rings of light: geometry of the tank, the angle of the light, and that images and hits are the same events."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from zoo_datasets import cherenkov as module
from zoo_datasets import simulation
from zoo_datasets.loading import catalogue

R, H = module.RADIUS, module.HALF_HEIGHT


@pytest.fixture(scope="module")
def events():
    """Two hundred events, electrons and muons in turn; 0.5 s."""
    return [module.event(simulation.generator("cherenkov", "default", "test", n), n % 2) for n in range(200)]


def test_every_sensor_is_on_the_wall_and_at_its_own_pixel():
    sensors = module.sensors()
    radius, height = np.hypot(*sensors.position[:, :2].T), sensors.position[:, 2]
    wall = np.isclose(radius, R)
    assert wall.sum() == 48 * 16 and (np.abs(height[wall]) < H).all()
    np.testing.assert_allclose(np.abs(height[~wall]), H)
    np.testing.assert_array_equal(sensors.number[tuple(sensors.pixel.T)], np.arange(len(sensors.position)))
    assert (sensors.number >= 0).sum() == len(sensors.position)
    # Top and bottom hold the same number: pixels of half a metre whose centre is in the circle.
    assert (height[~wall] > 0).sum() == (height[~wall] < 0).sum() == (~wall).sum() / 2
    assert (~wall).sum() / 2 * module.PITCH**2 == pytest.approx(math.pi * R**2, rel=0.05)


def test_every_sensor_sees_its_own_place():
    sensors = module.sensors()
    np.testing.assert_array_equal(module.sensor_at(sensors.position), np.arange(len(sensors.position)))


def test_neighbouring_pixels_are_neighbours_in_space():
    """Also across the two folds, in the middle columns; a diagonal of the grid is 0.75 m."""
    sensors = module.sensors()
    for step in ((0, 1), (1, 0)):
        number = sensors.number[:, 16:32] if step == (0, 1) else sensors.number[:, 23:25]
        first, second = (number[:, :-1], number[:, 1:]) if step == (0, 1) else (number[:-1], number[1:])
        both = (first >= 0) & (second >= 0)
        apart = np.linalg.norm(sensors.position[first[both]] - sensors.position[second[both]], axis=1)
        assert both.sum() > 40 and apart.max() < 0.75
    # The edges of the image meet at azimuth ±180°.
    ends = sensors.position[sensors.number[16:32, [0, 47]]]
    assert np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).max() < 0.6


@given(st.integers(0, 2**32 - 1))
def test_light_ends_on_the_wall(seed):
    random = np.random.default_rng(seed)
    start = random.uniform(-1, 1, (20, 3)) * (R / 1.5, R / 1.5, H)
    rays = module.isotropic(random, 20)
    rays[0], rays[1] = (0, 0, 1), (1, 0, 0)
    ends = start + module.to_walls(start, rays)[:, None] * rays
    radius, height = np.hypot(*ends[:, :2].T), np.abs(ends[:, 2])
    on_wall, on_end = np.isclose(radius, R), np.isclose(height, H)
    assert (on_wall | on_end).all() and (radius < R + 1e-9).all() and (height < H + 1e-9).all()
    assert on_end[0] and on_wall[1]
    seen = module.sensor_at(ends)
    where = module.sensors().position[seen[seen >= 0]]
    # No place is farther from its sensor than from the corner of its pixel.
    assert np.linalg.norm(where - ends[seen >= 0], axis=1).max() < 0.37


def test_angle_of_the_light_by_hand():
    """At the end none; fast muons 41.2°; in between 1 / (n β) with γ from the energy that is left."""
    assert module.cherenkov_cosine(np.array([0.0]))[0] == pytest.approx(1, abs=1e-12)
    assert np.degrees(np.arccos(module.cherenkov_cosine(np.array([1e4]))[0])) == pytest.approx(41.25, abs=0.01)
    # 400 MeV above the threshold of 54.6 MeV: γ = 1 + 454.6 / 105.658 = 5.3023, β = 0.98205.
    assert module.cherenkov_cosine(np.array([2.0]))[0] == pytest.approx(1 / (1.33 * 0.98205), abs=1e-5)


def test_muons_light_is_a_cone_and_its_number_follows_the_angle():
    random = np.random.default_rng(0)
    depth, aside, rays = module.muon_light(random, 40000, 2.5)
    assert depth.min() >= 0 and depth.max() <= 2.5
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1, rtol=1e-12)
    # The track's own direction at each depth is the derivative of the side step.
    bend = aside[np.argmax(depth)] * 2 / depth.max() ** 2
    tilt = bend * depth[:, None]
    size = np.hypot(*tilt.T)
    axis = np.concatenate([tilt / size[:, None] * np.sin(size)[:, None], np.cos(size)[:, None]], axis=1)
    cosine = (axis * rays).sum(1)
    np.testing.assert_allclose(cosine, module.cherenkov_cosine(2.5 - depth), atol=1e-9)
    weight = 1 - module.cherenkov_cosine(np.linspace(2.5, 0, 2001)) ** 2
    for limit in (0.5, 1.5, 2.2):
        share = weight[: int(limit / 2.5 * 2000)].sum() / weight.sum()
        assert np.mean(depth < limit) == pytest.approx(share, abs=5 * 0.5 / 200)


def test_showers_light_has_the_stated_depth_and_spread():
    random = np.random.default_rng(0)
    depth, _, rays = module.shower_light(random, 40000, 500.0)
    shape = 1 + 0.5 * (math.log(500 / module.CRITICAL) - 0.5)
    assert depth.mean() == pytest.approx(2 * shape * module.RADIATION_LENGTH, rel=0.02)
    # Mean cosine: that of the cone times that of the tilt, whose angle is Rayleigh distributed.
    tilt = sum(
        share * np.cos(random.rayleigh(spread, 400000)).mean()
        for share, spread in zip((module.CORE, 1 - module.CORE), module.SPREAD, strict=True)
    )
    assert rays[:, 2].mean() == pytest.approx(tilt / module.INDEX, abs=0.005)


@given(st.integers(0, 2**32 - 1))
def test_turning_keeps_lengths_and_brings_the_axis_there(seed):
    random = np.random.default_rng(seed)
    tilt = random.normal(0, 0.5, (5, 2))
    tilt[0] = 0
    vectors = random.normal(size=(5, 3))
    turned = module._turned(vectors, tilt)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(vectors, axis=1), rtol=1e-12)
    np.testing.assert_allclose(turned[0], vectors[0], rtol=1e-12)
    up = module._turned(np.tile([0.0, 0, 1], (5, 1)), tilt)
    np.testing.assert_allclose(up[:, 2], np.cos(np.hypot(*tilt.T)), atol=1e-12)
    np.testing.assert_allclose(up[:, 0] * tilt[:, 1], up[:, 1] * tilt[:, 0], atol=1e-12)
    axes = module.frame(module.isotropic(random, 1)[0])
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)


def test_hits_are_each_sensor_once_by_time(events):
    for hits in events:
        assert len(np.unique(hits["sensor"])) == len(hits["sensor"])
        assert (np.diff(hits["time"]) >= 0).all() and np.median(hits["time"]) == pytest.approx(0, abs=1e-9)
        assert hits["charge"].min() > 0.09


def test_charge_is_the_light(events):
    light = np.array([hits["photoelectrons"] for hits in events])
    assert light.min() > module.PHOTOELECTRONS[0] and light.max() < module.PHOTOELECTRONS[1]
    charge = np.array([hits["charge"].sum() for hits in events])
    # A few photons end at the rim of top and bottom, where there is no sensor, or start outside.
    assert np.mean(charge / light) == pytest.approx(1, abs=0.05)


def test_muons_rings_are_sharper(events):
    """Angles between the light and the direction, seen from the middle of the track: spread of those that hit early."""
    spread = []
    for label, hits in enumerate(events):
        from_vertex = module.sensors().position[hits["sensor"]] - hits["vertex"]
        cosine = from_vertex @ hits["direction"] / np.linalg.norm(from_vertex, axis=1)
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        spread.append(np.average(angle < 45, weights=hits["charge"]))
        assert 20 < np.median(angle) < 55 or label % 2 == 0
    # Nearly all of a muon's light is inside the cone of 41.2° around its vertex, an electron's is often outside.
    assert np.median(spread[1::2]) > 0.9 > np.median(spread[::2])


def test_both_classes_have_the_same_light_and_places(events):
    """Two-sample Kolmogorov–Smirnov at the level 1e-3 for each of five numbers."""
    for values in (
        [hits["photoelectrons"] for hits in events],
        *np.array([[np.hypot(*h["vertex"][:2]), h["vertex"][2], h["vertex"] @ h["direction"]] for h in events]).T,
    ):
        assert ks_2samp(values[::2], values[1::2]).pvalue > 1e-3


def test_image_and_points_hold_the_same_hits(events):
    for hits in events[:20]:
        picture, cloud = module.image(hits), module.points(hits)
        row, column = np.nonzero(picture[..., 0])
        assert len(row) == len(cloud)
        where = module.sensors().position[module.sensors().number[row, column]]
        seen = np.concatenate([where, picture[row, column][:, ::-1]], axis=1).astype(np.float32)
        assert sorted(seen.tolist()) == sorted(cloud.tolist())


def test_both_configurations_are_the_same_events(tmp_path):
    images = catalogue.load("cherenkov/images_tiny", data_dir=tmp_path)
    hits = catalogue.load("cherenkov/hits_tiny", data_dir=tmp_path)
    assert images.class_names == hits.class_names == module.CLASS_NAMES
    assert hits.channels == module.CHANNELS and images.channels is None
    for split, size in module.SPLIT_SIZES["hits_tiny"].items():
        assert len(images.splits[split]) == len(hits.splits[split]) == size
        labels = []
        for number in range(size):
            first, second = images.splits[split][number], hits.splits[split][number]
            np.testing.assert_array_equal(first["vertex"], second["vertex"])
            assert first["label"] == second["label"]
            assert (first["image"][..., 0] > 0).sum() == len(second["points"])
            assert first["image"][..., 0].sum() == pytest.approx(second["points"][:, 4].sum(), rel=1e-5)
            labels.append(second["label"])
        assert sum(labels) == size / 2


def test_record_is_a_function_of_its_place(tmp_path):
    small, large = (module.Cherenkov(config=config, data_dir=tmp_path) for config in ("hits_tiny", "hits"))
    np.testing.assert_array_equal(small.record("test", 3)["points"], large.record("test", 3)["points"])
    assert small.record("test", 3)["points"].tobytes() != small.record("train", 3)["points"].tobytes()


def test_texts_fit_the_fields():
    for field, told in module.FEATURES.items():
        assert ("not an input" in told) == (field in module.PROPERTIES)
