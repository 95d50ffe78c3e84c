"""Circles: the disc, its radius as the target, and properties that are independent of it."""

import math

import numpy as np
import pytest

from zoo_datasets import circles, simulation


def draw(setting, count):
    generators = (simulation.generator("circles", setting, "train", n) for n in range(count))
    records = [circles.simulate(random, centred=setting == "centred") for random in generators]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


@pytest.fixture(scope="module")
def records():
    return draw("default", 400)


def test_brightness_is_half_at_the_radius():
    image = circles.disc(24.0, 20.0, 7.0, 1.2)
    assert image[24, 27] == pytest.approx(0.5) and image[17, 20] == pytest.approx(0.5)
    assert image[24, 20] == pytest.approx(1) and image[0, 0] == pytest.approx(0)


@pytest.mark.parametrize(("radius", "blur"), [(3.0, 0.4), (6.0, 1.6), (10.0, 1.0)])
def test_light_of_a_disc_is_that_of_the_closed_form(radius, blur):
    """∫ 2πr Φ((R − r)/b) dr = π (R² + b²), up to Φ(−R/b); the sum over pixels errs at the edge, by less than 1 %."""
    total = circles.disc(23.3, 24.8, radius, blur).sum()
    assert total == pytest.approx(math.pi * (radius**2 + blur**2), rel=0.01)


def test_image_is_the_disc_of_the_properties_plus_noise(records):
    for number in range(50):
        place = [float(records[field][number]) for field in ("row", "column")]
        disc = circles.disc(*place, float(records["target"][number, 0]), float(records["blur"][number]))
        rest = records["image"][number, ..., 0] - records["brightness"][number] * disc
        # 2,304 pixels: the standard deviation is known to 1.5 %, five of them.
        assert rest.std() == pytest.approx(records["noise"][number], rel=0.075)


def test_ranges(records):
    ranges = {"target": circles.RADIUS, "brightness": circles.BRIGHTNESS, "blur": circles.BLUR, "noise": circles.NOISE}
    for field, (low, high) in ranges.items():
        assert low <= records[field].min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < records[field].max() <= high
    assert circles.RADIUS[1] + 2.5 * circles.BLUR[1] <= circles.MARGIN


def test_properties_do_not_depend_on_the_radius(records):
    for field in ("row", "column", "brightness", "blur", "noise"):
        # Correlation of independent draws: standard deviation 1/√400 = 0.05; four of them.
        assert abs(np.corrcoef(records["target"][:, 0], records[field])[0, 1]) < 0.2, field


def test_centred_discs_are_in_the_middle():
    records = draw("centred", 20)
    assert (records["row"] == 23.5).all() and (records["column"] == 23.5).all()
    assert len(set(records["target"][:, 0])) == 20
