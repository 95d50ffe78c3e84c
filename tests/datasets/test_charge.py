"""Paths and diffusion of charge, against sums over pixels one by one."""

import math

import numpy as np
import pytest

from zoo_datasets import charge


def share(pixel, place, width):
    """Part of a Gaussian around `place` that lies in pixel `pixel`."""
    low, high = ((pixel + side - place) / (width * math.sqrt(2)) for side in (-0.5, 0.5))
    return (math.erf(high) - math.erf(low)) / 2


@pytest.mark.parametrize("dimensions", [2, 3])
def test_deposit_is_the_sum_over_points_and_pixels(dimensions):
    random = np.random.default_rng(dimensions)
    points, amounts, widths = random.uniform(-1, 7, (5, dimensions)), random.random(5), random.uniform(0.3, 1, 5)
    expected = np.zeros((6,) * dimensions)
    for place in np.ndindex(expected.shape):
        for point, amount, width in zip(points, amounts, widths, strict=True):
            expected[place] += amount * math.prod(share(k, x, width) for k, x in zip(place, point, strict=True))
    # Cut at six widths, where 1e-9 of the Gaussian is left.
    np.testing.assert_allclose(charge.deposit(points, amounts, widths, 6), expected, atol=1e-8)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_charge_inside_is_kept_at_its_place_and_as_wide_as_asked(dimensions):
    point = np.array([[9.3, 8.1, 10.6][:dimensions]])
    image = charge.deposit(point, np.array([5.0]), 1.2, 20)
    assert image.sum() == pytest.approx(5)
    for axis, middle in enumerate(point[0]):
        profile = image.sum(axis=tuple(other for other in range(dimensions) if other != axis)) / 5
        mean = profile @ np.arange(20)
        assert mean == pytest.approx(middle, abs=1e-4)
        # A pixel adds the variance of its own width, 1/12, to that of the Gaussian.
        assert profile @ (np.arange(20) - mean) ** 2 == pytest.approx(1.2**2 + 1 / 12, rel=1e-3)


def test_charge_beyond_the_sides_is_lost():
    assert charge.deposit(np.array([[-0.5, 5.0]]), np.array([2.0]), 0.5, 12).sum() == pytest.approx(1)
    assert charge.deposit(np.array([[40.0, 5.0]]), np.array([2.0]), 0.5, 12).sum() == 0


def test_straight_path_is_even_and_as_long_as_asked():
    points = charge.straight(np.array([1.0, 2.0, 3.0]), np.array([0.0, 3.0, 4.0]), 10.1)
    distances = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(distances, 10.1 / len(points))
    assert distances[0] <= charge.STEP
    np.testing.assert_allclose(points.mean(axis=0), [1, 2 + 5.05 * 0.6, 3 + 5.05 * 0.8])
    assert charge.steps(0.1).tolist() == [0.05]


def test_steps_do_not_show_along_a_path():
    points = charge.straight(np.array([10.0, -20.0]), np.array([0.0, 1.0]), 70.0)
    profile = charge.deposit(points, np.full(len(points), 70 / len(points)), 0.3, 30).sum(axis=0)
    np.testing.assert_allclose(profile, 1, atol=2e-3)


def test_directions_are_alike():
    random = np.random.default_rng(0)
    found = np.stack([charge.direction(random, 3) for _ in range(2000)])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    # Components have mean 0 and variance 1/3: standard errors 0.013 and 0.0067, four of them.
    assert np.abs(found.mean(axis=0)).max() < 0.052
    assert np.abs((found**2).mean(axis=0) - 1 / 3).max() < 0.027


def test_dominant_layer_is_the_strongest_above_the_threshold():
    layers = np.array([[0.0, 3.0, 1.0, 2.0], [0.0, 1.0, 1.5, 2.0]])
    found = charge.dominant(layers, 1.5)
    assert found.dtype == np.int32
    # Not above the threshold: 0. Alike: the first.
    assert found.tolist() == [0, 1, 0, 1]
