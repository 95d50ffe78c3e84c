"""Profiles, point-spread function, photometry and noise, each against a closed form or a literal sum."""

import math

import numpy as np
import pytest
from scipy import special

from zoo_datasets import sky


@pytest.mark.parametrize("axis_ratio", [1.0, 0.4])
@pytest.mark.parametrize(("index", "tolerance"), [(0.5, 1e-3), (1.0, 2e-3), (2.0, 5e-3)])
def test_sersic_profile_has_light_one_and_half_of_it_within_its_radius(index, axis_ratio, tolerance):
    """Sums over a grid: wings beyond the frame and the cusp limit the one, the ragged edge of the circle the other."""
    x, y = sky.grid(601, 0.05)
    radius = sky.elliptical_radius(*sky.turned(x, y, 30), axis_ratio)
    light = sky.sersic(radius, 1.2, index) * 0.05**2
    assert light.sum() == pytest.approx(1, abs=3 * tolerance)
    assert light[radius < 1.2].sum() == pytest.approx(0.5, abs=0.005 + tolerance)


@pytest.mark.parametrize("index", [1.0, 4.0])
def test_sersic_profile_is_the_exact_one(index):
    """With b from its definition, Γ(2n) = 2 γ(2n, b)."""
    b = special.gammaincinv(2 * index, 0.5)
    radius = np.array([0.1, 1.0, 4.0])
    total = 2 * math.pi * index * special.gamma(2 * index) * b ** (-2 * index) * 1.5**2
    # The series for b is good to 1e-4; the exponent multiplies that by up to 4.
    np.testing.assert_allclose(sky.sersic(radius, 1.5, index), np.exp(-b * (radius / 1.5) ** (1 / index)) / total, 2e-3)


def test_disc_from_the_edge_has_light_one_and_the_profile_of_the_bessel_function():
    x, y = sky.grid(800, 0.04)
    image = sky.edge_on_disc(x, y, 0.9, 0.3)
    assert image.sum() * 0.04**2 == pytest.approx(1, abs=1e-3)
    along = np.array([0.3, 1.0, 3.0])
    expected = along * special.k1(along)
    measured = sky.edge_on_disc(along, 0 * along, 1.0, 0.2)
    np.testing.assert_allclose(measured / measured[0], expected / expected[0], rtol=2e-3)  # a table of step 0.05
    assert sky.edge_on_disc(0.0, 0.2, 1.0, 0.2) / sky.edge_on_disc(0.0, 0.0, 1.0, 0.2) == pytest.approx(
        1 / math.cosh(1) ** 2
    )


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("hand", [-1, 1])
def test_arms_have_mean_one_on_circles_and_as_many_turns_as_arms(count, hand):
    arms = sky.Arms(count=count, pitch=20, phase=70, hand=hand, contrast=0.9)
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    for radius in (0.2, 1.0, 3.0):
        factor = arms.factor(radius * np.cos(angle), radius * np.sin(angle), 1.0)
        assert factor.mean() == pytest.approx(1)
        np.testing.assert_allclose(factor, np.roll(factor, 240 // count), atol=1e-9)
        assert factor.min() > 0


@pytest.mark.parametrize("hand", [-1, 1])
def test_arms_wind_with_their_pitch(hand):
    """On an arm, angle = hand · (phase + ln(r / scale) / tan pitch)."""
    arms = sky.Arms(count=2, pitch=15, phase=40, hand=hand, contrast=1.0)
    angle = np.linspace(-np.pi, np.pi, 3600, endpoint=False)
    for radius in (1.0, 1.5):
        brightest = angle[arms.factor(radius * np.cos(angle), radius * np.sin(angle), 1.0).argmax()]
        expected = hand * (math.radians(40) + math.log(radius) / math.tan(math.radians(15)))
        # Two arms: the angle is known up to half a turn; the grid's step is 0.1°.
        assert math.sin(brightest - expected) == pytest.approx(0, abs=2e-3)


def test_moffat_has_light_one_and_its_full_width():
    x, y = sky.grid(901, 0.05)
    assert sky.moffat(x, y, 0.7).sum() * 0.05**2 == pytest.approx(1, abs=1e-3)
    assert sky.moffat(0.35, 0.0, 0.7) / sky.moffat(0.0, 0.0, 0.7) == pytest.approx(0.5)


def test_half_light_radius_of_an_exponential_disc():
    """1.678 scale lengths."""
    x, y = sky.grid(400, 0.1)
    assert sky.half_light_radius(np.exp(-np.hypot(x, y) / 1.5), 0.1) == pytest.approx(1.678 * 1.5, rel=0.01)


def test_optics_conserve_light_and_let_none_return_on_the_other_side():
    optics = sky.Optics(40, 3, 0.7)
    brightness = np.zeros((120, 120))
    brightness[56:59, 63] = 2.0
    image = optics.image(brightness)
    # Beyond 4 arcsec there are (1 + (4 / 0.74)²)^−2.5 = 2e-4 of a Moffat function of this width.
    assert image.sum() == pytest.approx(3 * 2.0 * (0.2 / 3) ** 2, rel=5e-4)
    assert np.unravel_index(image.argmax(), image.shape) == (19, 21)
    edge = np.zeros((120, 120))
    edge[60, 119] = 1.0
    image = optics.image(edge)
    # Ten pixels of room: light at the far side is that of the wings, not a second image.
    assert image[:, 0].max() < 1e-3 * image[:, -1].max()


def test_optics_are_the_literal_convolution():
    optics = sky.Optics(8, 2, 0.8)
    brightness = np.random.default_rng(0).random((16, 16))
    x, y = sky.grid(16, 0.1)
    expected = np.zeros((16, 16))
    # The kernel is normalised on its own grid of 20 × 20.
    offsets = np.arange(-10, 10) * 0.1
    total = sky.moffat(offsets, offsets[:, None], 0.8).sum()
    for row in range(16):
        for column in range(16):
            dx, dy = np.abs(x - x[row, column]), np.abs(y - y[row, column])
            near = (dx < 1.05) & (dy < 1.05)  # further away the kernel's grid wraps around
            expected += np.where(near, brightness[row, column] * sky.moffat(dx, dy, 0.8) / total, 0)
    blocks = expected.reshape(8, 2, 8, 2).sum((1, 3)) * 0.1**2
    # In the middle, where nothing within reach is cut off; what lies beyond is wrapped, and weak.
    np.testing.assert_allclose(optics.image(brightness)[3:5, 3:5], blocks[3:5, 3:5], rtol=0.02)


def test_photometry():
    band = sky.BANDS["r"]
    assert sky.electrons(28.2, band, 1.0) == pytest.approx(1)
    assert sky.electrons(23.2, band, 450.0) == pytest.approx(45000)
    assert sky.sky_electrons(band, 450.0) == pytest.approx(450 * 10**2.8 * 0.04)


def test_empty_sky_has_mean_zero_and_standard_deviation_one():
    image = sky.observe(np.random.default_rng(0), np.zeros((100, 100)), 5000.0)
    # 10,000 pixels: 0.01 and 0.007, four of each.
    assert abs(image.mean()) < 0.04 and image.std() == pytest.approx(1, abs=0.03)


def test_light_adds_its_own_noise():
    image = sky.observe(np.random.default_rng(0), np.full((100, 100), 3000.0), 1000.0)
    assert image.mean() == pytest.approx(3000 / math.sqrt(1000), abs=0.08)
    assert image.std() == pytest.approx(2, abs=0.06)


def test_signal_to_noise_by_hand():
    assert sky.signal_to_noise(np.array([3.0, 0.0, 4.0]), 12.0) == pytest.approx(math.sqrt(9 / 15 + 16 / 16))


def test_turning():
    along, across = sky.turned(np.array([0.0, 1.0]), np.array([2.0, 1.0]), 90)
    np.testing.assert_allclose(along, [2, 1], atol=1e-12)
    np.testing.assert_allclose(across, [0, -1], atol=1e-12)
