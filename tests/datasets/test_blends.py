"""Blended galaxies: light, masks and targets against their definitions, the drawing against another one, settings."""

import math

import numpy as np
import pytest

from zoo_datasets import blends, simulation, sky

COUNT = 120
ABSENT = {"one": ("companion", "third"), "default": ("third",), "three": ()}
BACKGROUND = sky.sky_electrons(sky.BANDS["r"], blends.EXPOSURE)


def draw(setting, count):
    generators = (simulation.generator("blends", setting, "train", n) for n in range(count))
    records = [blends.simulate(random, blends.SETTINGS[setting]) for random in generators]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


@pytest.fixture(scope="module")
def records():
    """120 images; 1 s."""
    return draw("default", COUNT)


def test_targets_are_the_light_of_the_parts(records):
    flux = records["parts"].astype(float).sum((1, 2))
    # Sums of 4,096 numbers in float32.
    np.testing.assert_allclose(10 ** records["target"], flux, rtol=1e-4)
    np.testing.assert_allclose(records["flux_central"], flux[:, 0], rtol=1e-5)
    np.testing.assert_allclose(records["flux_companion"], flux[:, 1], rtol=1e-5)
    gap = -2.5 * np.log10(flux[:, 1] / flux[:, 0])
    np.testing.assert_allclose(records["gap"], gap, atol=1e-4)


def test_flux_is_that_of_the_magnitude(records):
    """20.5…22.5 mag in r for the central, in units of the square root of the sky's electrons."""
    bright, faint = (
        sky.electrons(magnitude, sky.BANDS["r"], blends.EXPOSURE) / math.sqrt(BACKGROUND)
        for magnitude in blends.MAGNITUDE
    )
    flux = records["flux_central"]
    assert faint <= flux.min() < 1.1 * faint and 0.9 * bright < flux.max() <= bright


def test_masks_are_where_a_galaxy_alone_exceeds_the_threshold(records):
    assert records["masks"].dtype == np.uint8 and records["masks"].shape == (COUNT, 64, 64, len(blends.MASKS))
    np.testing.assert_array_equal(records["masks"], records["parts"] > 1)
    assert records["masks"].sum((1, 2)).min() > 0
    assert (records["masks"].sum(-1) == 2).any(axis=(1, 2)).mean() > 0.5


def test_what_is_not_light_is_the_noise_of_counted_photons(records):
    light = records["parts"].astype(float).sum(-1)
    variance = 1 + light / math.sqrt(BACKGROUND)
    residual = (records["image"][..., 0] - light) / np.sqrt(variance)
    # 491,520 pixels: the mean is known to 0.0014, the variance to 0.002; four of them.
    assert abs(residual.mean()) < 0.006
    assert residual.var() == pytest.approx(1, abs=0.008)


@pytest.mark.parametrize(("index", "axis_ratio"), [(1.0, 0.8), (2.5, 0.4), (4.0, 0.6)])
def test_galaxy_is_that_of_another_drawing(index, axis_ratio):
    """GalSim in Fourier space against formulas on a grid of a fifth of a pixel."""
    galaxy = blends.Galaxy(
        row=30.2, column=35.9, half_light_radius=0.8, axis_ratio=axis_ratio, position_angle=30.0, index=index
    )
    optics = sky.Optics(64, 5, 0.7)
    x, y = sky.grid(320, sky.PIXEL / 5)
    along, across = sky.turned(x - (35.9 - 31.5) * sky.PIXEL, y - (30.2 - 31.5) * sky.PIXEL, 30.0)
    profile = sky.sersic(np.maximum(sky.elliptical_radius(along, across, axis_ratio), 1e-3), 0.8, index)
    expected = optics.image(profile)
    drawn = blends.stamp(galaxy, 0.7)
    assert drawn.sum() == pytest.approx(1) and drawn.min() >= 0
    # Relative to the brightest pixel: cusps of large index are not resolved by the grid.
    np.testing.assert_allclose(drawn, expected / expected.sum(), atol=0.02 * expected.max())


def test_places(records):
    rows, columns = records["rows"], records["columns"]
    assert (np.abs(rows[:, 0] - 31.5) <= 2).all() and (np.abs(columns[:, 0] - 31.5) <= 2).all()
    assert min(rows[:, :2].min(), columns[:, :2].min()) >= 0 and max(rows.max(), columns.max()) <= 63
    separation = np.hypot(rows[:, 1] - rows[:, 0], columns[:, 1] - columns[:, 0])
    np.testing.assert_allclose(separation, records["separation"], atol=1e-4)
    assert 2 <= separation.min() < 4 and 23 < separation.max() <= 25


def test_what_is_drawn_does_not_depend_on_each_other(records):
    angle = np.arctan2(
        records["rows"][:, 1] - records["rows"][:, 0], records["columns"][:, 1] - records["columns"][:, 0]
    )
    drawn = [records[field] for field in ("separation", "gap", "flux_central", "seeing")] + [
        np.cos(angle),
        np.sin(angle),
    ]
    correlations = np.corrcoef(drawn) - np.eye(len(drawn))
    # Independent draws: standard deviation 1/√120 = 0.09; four of them.
    assert np.abs(correlations).max() < 0.37


@pytest.mark.parametrize("setting", ["one", "default", "three"])
def test_settings_have_so_many_galaxies(setting):
    records = draw(setting, 12)
    number = blends.SETTINGS[setting]
    assert (records["sources"] == number).all()
    assert ((records["rows"] == blends.NOWHERE).sum(1) == 3 - number).all()
    assert (np.isfinite(records["target"])).all()
    for place, name in enumerate(("companion", "third"), start=1):
        absent = name in ABSENT[setting]
        assert ((records[f"flux_{name}"] == 0) == absent).all()
        assert ((records["rows"][:, place] == blends.NOWHERE) == absent).all()
    if setting == "one":
        assert not records["masks"][..., 1].any() and not records["parts"][..., 1].any()
        assert (records["target"][:, 1] == blends.FLOOR).all()
        assert (records["snr_companion"] == 0).all()
    # What is in no part is the third galaxy, and noise: 64 a frame, and that of light.
    rest = (records["image"][..., 0] - records["parts"].sum(-1)).sum((1, 2))
    spread = np.sqrt(64**2 + records["parts"].sum((1, 2, 3)) / math.sqrt(BACKGROUND) + records["flux_third"])
    assert (np.abs(rest - records["flux_third"]) < 5 * spread).all()


def test_floor_is_below_every_galaxy_that_there_is():
    faintest = sky.electrons(blends.MAGNITUDE[1] + blends.GAP[1], sky.BANDS["r"], blends.EXPOSURE)
    assert math.log10(faintest / math.sqrt(BACKGROUND)) > blends.FLOOR + 1


def test_signal_to_noise_is_that_of_the_parts_in_the_noise_of_all_light(records):
    parts = records["parts"].astype(float)
    variance = 1 + parts.sum(-1, keepdims=True) / math.sqrt(BACKGROUND)
    expected = np.sqrt((parts**2 / variance).sum((1, 2)))
    for number, name in enumerate(blends.MASKS):
        # Of float32 images.
        np.testing.assert_allclose(records[f"snr_{name}"], expected[:, number], rtol=1e-5)
