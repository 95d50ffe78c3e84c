"""Maps of stellar populations: the law by hand, the noise against its floor, and what is valid."""

import math

import numpy as np
import pytest

from zoo_datasets import simulation, sky, stellar_maps

COUNT = 40
BACKGROUNDS = np.array([sky.sky_electrons(sky.BANDS[name], stellar_maps.EXPOSURE) for name in stellar_maps.BANDS])


@pytest.fixture(scope="module")
def records():
    """40 galaxies; 1 s."""
    generators = (simulation.generator("stellar_maps", "default", "train", n) for n in range(COUNT))
    records = [stellar_maps.simulate(random) for random in generators]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def test_law_by_hand():
    """At 1 Gyr and solar metallicity the constants; at 10 Gyr and +0.2 in u: −0.35 + 0.94 + 0.13 + 0.07 + 0.01."""
    law = stellar_maps.mass_to_light(np.array([0.0, 1.0]), np.array([0.0, 0.2]))
    np.testing.assert_allclose(law[0], [-0.35, -0.46, -0.42, -0.44, -0.48])
    assert law[1, 0] == pytest.approx(0.80)


def test_older_and_richer_stars_are_redder_and_fainter():
    ages = np.linspace(*stellar_maps.AGE, 12)
    metallicities = np.linspace(*stellar_maps.METALLICITY, 9)
    law = stellar_maps.mass_to_light(*np.meshgrid(ages, metallicities, indexing="ij"))
    assert (np.diff(law, axis=0) > 0).all()
    for axis in (0, 1):
        assert (np.diff(law[..., 0] - law[..., -1], axis=axis) > 0).all()


def test_brightness_of_one_sun_in_a_square_parsec():
    """One L☉ / pc² in r is 4.65 + 21.572 mag / arcsec², and M☉ / kpc² is a millionth of M☉ / pc²."""
    mass = 1e6 * 10 ** stellar_maps.mass_to_light(np.array(0.0), np.array(0.0))[2]
    counted = stellar_maps.electrons(np.array(mass), np.array(0.0), np.array(0.0))[2]
    assert counted == pytest.approx(sky.electrons(4.65 + 21.572, sky.BANDS["r"], stellar_maps.EXPOSURE))


def test_even_population_is_seen_as_it_is():
    """Constant maps: the targets are the constants and the light is the law's, but where light leaves the frame."""
    optics = sky.Optics(stellar_maps.SIZE, 2, 0.6)
    maps = [np.full((96, 96), value) for value in (1e8, 0.5, -0.2)]
    light, target = stellar_maps.seen(*maps, optics)
    inside = slice(12, -12)
    # Wings of the point-spread function that reach over 2.4 arcsec: 0.3 %.
    np.testing.assert_allclose(target[inside, inside, 0], 8, atol=3e-3)
    np.testing.assert_allclose(target[..., 1:], np.broadcast_to([0.5, -0.2], (48, 48, 2)), atol=1e-9)
    expected = stellar_maps.electrons(10 ** target[..., 0], target[..., 1], target[..., 2]) * sky.PIXEL**2
    np.testing.assert_allclose(light, expected, rtol=1e-9)


def test_floor_is_that_of_numbers_by_finite_differences():
    target = np.array([8.1, 0.4, -0.3])
    step = 1e-5

    def light(quantities):
        return stellar_maps.electrons(np.array(10 ** quantities[0]), quantities[1], quantities[2]) * sky.PIXEL**2

    jacobian = [(light(target + d) - light(target - d)) / (2 * step) for d in step * np.eye(3)]
    noise = light(target) + BACKGROUNDS
    information = np.array([[(one * other / noise).sum() for one in jacobian] for other in jacobian])
    covariance = np.linalg.inv(information + np.diag([1 / width**2 for width in stellar_maps.PRIOR]))
    # Differences of 1e-5 in float64: 1e-10 and the rounding 1e-11, amplified by the inverse.
    np.testing.assert_allclose(stellar_maps.noise_floor(target), np.sqrt(np.diag(covariance)), rtol=1e-6)


def test_floor_is_reached_by_the_linear_estimate():
    """Fluxes of one bright pixel with noise, solved by weighted least squares around the truth with the prior."""
    random = np.random.default_rng(0)
    truth = np.array([8.8, 0.5, 0.0])
    drawn = truth + random.normal(size=(4000, 3)) * 1e-3  # nearly the truth: the law is linear there
    light = stellar_maps.electrons(10 ** drawn[:, 0], drawn[:, 1], drawn[:, 2]) * sky.PIXEL**2
    counts = random.poisson(light + BACKGROUNDS) - BACKGROUNDS
    mean = stellar_maps.electrons(np.array(10 ** truth[0]), truth[1], truth[2]) * sky.PIXEL**2
    slopes = np.array(
        [
            (
                stellar_maps.electrons(np.array(10 ** (truth + d)[0]), *(truth + d)[1:])
                - stellar_maps.electrons(np.array(10 ** (truth - d)[0]), *(truth - d)[1:])
            )
            * sky.PIXEL**2
            / 2e-5
            for d in 1e-5 * np.eye(3)
        ]
    )
    weight = slopes / (mean + BACKGROUNDS)
    matrix = np.linalg.inv(weight @ slopes.T + np.diag(1 / np.square(stellar_maps.PRIOR)))
    estimate = (counts - mean) @ (matrix @ weight).T
    # Shrunk by the prior towards the truth: the spread is that of the estimate, below the floor by the prior's part.
    covariance = matrix @ (weight @ slopes.T) @ matrix
    np.testing.assert_allclose(estimate.std(0), np.sqrt(np.diag(covariance)), rtol=0.06)
    assert (np.sqrt(np.diag(covariance)) <= stellar_maps.noise_floor(truth)).all()


def test_floor_falls_with_mass_and_never_exceeds_the_prior():
    targets = np.stack([np.linspace(5, 10, 30), np.full(30, 0.4), np.full(30, -0.3)], axis=-1)
    floors = stellar_maps.noise_floor(targets)
    assert (np.diff(floors, axis=0) < 0).all()
    assert (floors <= stellar_maps.PRIOR).all()
    np.testing.assert_allclose(floors[0], stellar_maps.PRIOR, rtol=0.2)


def test_ripples_have_the_strength_that_is_given():
    field = stellar_maps.ripples(np.random.default_rng(0), 0.5, 0.07)
    assert field.shape == (96, 96) and field.std() == pytest.approx(0.07)
    # 0.1 arcsec a step, smoothed over 0.5: neighbours are alike, exp(−1 / (4 · 5²)) = 0.99.
    assert np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1] > 0.97


def test_valid_and_floor_belong_together(records):
    valid = records["valid"].astype(bool)
    assert records["valid"].dtype == np.uint8 and valid.shape == (COUNT, 48, 48)
    assert valid.mean((1, 2)).min() > 0.1 and 0.4 < valid.mean() < 0.8
    assert (records["floor"][valid] > 0).all() and (records["floor"][~valid] == 0).all()
    # Of the targets in float32.
    np.testing.assert_allclose(records["floor"][valid], stellar_maps.noise_floor(records["target"][valid]), rtol=1e-4)
    assert np.isfinite(records["target"]).all() and np.isfinite(records["image"]).all()


@pytest.fixture(scope="module")
def light():
    """Expected electrons (40, 48, 48, 5) of the records, drawn again without noise."""
    drawn = []
    for number in range(COUNT):
        random = simulation.generator("stellar_maps", "default", "train", number)
        optics = sky.Optics(stellar_maps.SIZE, 2, random.uniform(*stellar_maps.SEEING))
        *maps, _ = stellar_maps.draw_maps(random)
        drawn.append(stellar_maps.seen(*maps, optics)[0])
    return np.stack(drawn)


def test_noise_is_that_of_counted_photons_and_grows_with_the_light(records, light):
    variance = 1 + light / BACKGROUNDS
    residual = records["image"] - light / np.sqrt(BACKGROUNDS)
    # 92,160 pixels: the variance is known to 0.5 %, the mean to 0.003; four of them.
    np.testing.assert_allclose((residual / np.sqrt(variance)).var((0, 1, 2)), 1, atol=0.02)
    np.testing.assert_allclose((residual / np.sqrt(variance)).mean((0, 1, 2)), 0, atol=0.014)
    bright = variance > 4
    assert residual[bright].var() == pytest.approx(variance[bright].mean(), rel=0.1)


def test_valid_pixels_are_those_of_the_threshold(records, light):
    red = light[..., stellar_maps.BANDS.index("r")]
    np.testing.assert_array_equal(records["valid"], red / np.sqrt(red + BACKGROUNDS[2]) >= 5)


def test_law_at_the_targets_is_nearly_the_light_of_the_pixel(records, light):
    """What the floor takes for granted: mixing by the point-spread function is worth some per cent."""
    valid = records["valid"].astype(bool)
    target = records["target"][valid].astype(float)
    law = stellar_maps.electrons(10 ** target[:, 0], target[:, 1], target[:, 2]) * sky.PIXEL**2
    difference = np.log10(law / light[valid])
    assert (np.sqrt((difference**2).mean(0)) < 0.02).all()


def test_prior_is_the_spread_of_the_targets(records):
    spread = records["target"][records["valid"].astype(bool)].std(0)
    # 40 galaxies: 11 %; three of them.
    np.testing.assert_allclose(spread, stellar_maps.PRIOR, rtol=0.33)


def test_properties_have_their_ranges_and_do_not_depend_on_each_other(records):
    fields = ("density", "scale_length", "bulge", "axis_ratio", "position_angle", "seeing")
    ranges = {"density": stellar_maps.DENSITY, "scale_length": stellar_maps.SCALE_LENGTH, "seeing": stellar_maps.SEEING}
    for field, (low, high) in ranges.items():
        # Rounded to float32.
        assert low - 1e-6 <= records[field].min() < records[field].max() <= high + 1e-6
    correlations = np.corrcoef([records[field] for field in fields]) - np.eye(len(fields))
    # Independent draws: standard deviation 1/√40 = 0.16; four of them.
    assert np.abs(correlations).max() < 0.64


def test_centre_is_heavier_and_its_colour_follows_from_its_stars(records):
    target = records["target"]
    assert (target[:, 23:25, 23:25, 0].mean((1, 2)) > target[:, :3, :3, 0].mean((1, 2)) + 1).all()
    law = stellar_maps.mass_to_light(*(target[:, 23, 23, place].astype(float) for place in (1, 2)))
    # Colour g − i from the image, and from the law: magnitudes of the Sun, zero points and sky.
    flux = records["image"][:, 23, 23].astype(float) * np.sqrt(BACKGROUNDS)
    seen = -2.5 * np.log10(flux[:, 1] / flux[:, 3])
    zero = [stellar_maps.SUN[band] - sky.BANDS[name].zero_point for band, name in ((1, "g"), (3, "i"))]
    expected = 2.5 * (law[:, 1] - law[:, 3]) + zero[0] - zero[1]
    # Noise of the central pixel, and mixing of populations there.
    assert np.abs(seen - expected).max() < 0.15
    assert math.sqrt(np.mean((seen - expected) ** 2)) < 0.06
