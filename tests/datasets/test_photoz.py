"""Photometric redshifts: spectra, distances and magnitudes against independent sums, errors against their scatter."""

import numpy as np
import pytest
from astropy import units
from astropy.cosmology import FlatLambdaCDM

from zoo_datasets import photoz, simulation, sky

COUNT = 200


@pytest.fixture(scope="module")
def records():
    """200 galaxies; 1 to 2 s."""
    records = [photoz.simulate(simulation.generator("photoz", "default", "train", n)) for n in range(COUNT)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def test_comoving_distance_is_astropys():
    cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    for redshift in (0.05, 0.3, 1.0):
        expected = cosmology.comoving_distance(redshift).to(units.Mpc).value
        # Radiation, which astropy leaves out too at Tcmb0 = 0; the table's step is 0.0005.
        assert photoz.comoving_distance(redshift) == pytest.approx(expected, rel=1e-4)


def test_spectrum_has_a_break_that_shrinks_with_type():
    around = np.array([3800.0, 4200.0])
    ratios = [np.divide(*photoz.template(galaxy_type).flux(around)[::-1]) for galaxy_type in (0.0, 0.5, 1.0)]
    assert ratios[0] > 2.5 and ratios[0] > ratios[1] > ratios[2]
    assert photoz.template(0.3).flux(np.array([4500.0])) == pytest.approx((4500 / 4000) ** -0.48, rel=1e-3)


def test_dust_dims_by_its_attenuation_and_reddens():
    bare, dusty = (photoz.Spectrum(red=0, blue=1, step=2, dust=dust) for dust in (0.0, 1.0))
    wavelength = np.array([3500.0, 5500.0, 8000.0])
    magnitudes = -2.5 * np.log10(dusty.flux(wavelength) / bare.flux(wavelength))
    np.testing.assert_allclose(magnitudes, (wavelength / 5500) ** -0.7)


@pytest.mark.parametrize("redshift", [0.0, 0.4])
def test_flux_through_a_band_is_the_mean_over_photons(redshift):
    """AB: f_ν = ∫ F_λ λ dλ / ∫ c dλ/λ, here with c = 1 and a literal sum in steps of 0.5 Å."""
    low, high = sky.BANDS["g"].edges
    wavelength = np.arange(low, high, 0.5) + 0.25
    spectrum = photoz.template(0.2).flux(wavelength / (1 + redshift)) / (1 + redshift)
    expected = (spectrum * wavelength).sum() / (1 / wavelength).sum()
    assert photoz.band_flux(photoz.template(0.2), redshift, (low, high)) == pytest.approx(
        expected, rel=5e-3
    )  # 101 points, edges whole


def test_nearby_galaxy_has_the_magnitude_of_its_distance():
    """At redshift 0.05 the correction for the shifted band is small, and (1 + z) of it is known."""
    magnitudes = photoz.apparent_magnitudes(-21.0, photoz.template(0.0), 0.05)
    modulus = FlatLambdaCDM(H0=70, Om0=0.3).distmod(0.05).value
    # Above the break the type 0 is flat in F_λ: F_ν through r is that at rest, divided by 1 + z.
    assert magnitudes[2] == pytest.approx(-21 + modulus + 2.5 * np.log10(1.05), abs=1e-3)


def test_break_moves_through_the_bands():
    """The colour of an early type in which it is redder than nearby: g − r at 0.35, r − i at 0.75."""
    near, middle, far = (
        photoz.apparent_magnitudes(-21.0, photoz.template(0.0), redshift) for redshift in (0.05, 0.35, 0.75)
    )
    assert middle[1] - middle[2] > near[1] - near[2] + 0.4
    assert far[2] - far[3] > middle[2] - middle[3] + 0.4


def test_inverse_hyperbolic_sine_magnitudes():
    softening = np.float64(1e-9)
    bright, slope = photoz.asinh_magnitude(np.array([1e-6]), softening)
    assert bright == pytest.approx(-2.5 * np.log10(1e-6), abs=1e-5)
    flux = np.array([-3e-9, 0.0, 2e-9])
    step = 1e-13
    ahead, behind = (photoz.asinh_magnitude(flux + sign * step, softening)[0] for sign in (1, -1))
    values, slopes = photoz.asinh_magnitude(flux, softening)
    assert np.isfinite(values).all() and (np.diff(values) < 0).all()
    # Rounding of magnitudes of 20 in a difference of 1e-4: 1e-11 relative to the step.
    np.testing.assert_allclose(slopes, (ahead - behind) / (2 * step), rtol=1e-6)
    assert slope == pytest.approx(-2.5 / np.log(10) / 1e-6, rel=1e-5)


def test_magnitudes_scatter_around_the_truth_by_their_errors(records):
    truth = np.stack(
        [photoz.draw_galaxy(simulation.generator("photoz", "default", "train", n))[-1] for n in range(COUNT)]
    )
    bright = records["magnitude_errors"] < 0.1  # where magnitude and flux err alike
    pull = ((records["magnitudes"] - truth) / records["magnitude_errors"])[bright]
    # Their mean is known to 0.035, the standard deviation to 2.5 %; five of each.
    assert len(pull) > 800
    assert abs(pull.mean()) < 0.17
    assert pull.std() == pytest.approx(1, abs=0.12)


def test_ranges(records):
    assert photoz.REDSHIFT[0] <= records["target"].min() < 0.2
    assert 0.8 < records["target"].max() <= photoz.REDSHIFT[1]
    assert records["magnitudes"][:, 3].max() < photoz.FAINTEST + 0.3
    assert (records["magnitude_errors"] > 0).all()
    assert 0 <= records["galaxy_type"].min() < 0.05 and 0.95 < records["galaxy_type"].max() <= 1


def variance_explained(columns, target):
    """R² of a least-squares fit on the first half, on the second."""
    columns = np.column_stack([columns, np.ones(len(columns))])
    half = len(columns) // 2
    weights = np.linalg.lstsq(columns[:half], target[:half], rcond=None)[0]
    rest = target[half:] - columns[half:] @ weights
    return 1 - (rest**2).sum() / ((target[half:] - target[half:].mean()) ** 2).sum()


def test_magnitudes_know_the_redshift_and_what_is_drawn_independently_does_not(records):
    redshift = records["target"][:, 0].astype(np.float64)
    assert variance_explained(records["magnitudes"].astype(np.float64), redshift) > 0.5
    nuisance = np.column_stack([records[field] for field in ("seeing", "axis_ratio", "position_angle", "galaxy_type")])
    assert variance_explained(nuisance.astype(np.float64), redshift) < 0.1


def test_image_shows_the_type():
    """At one size and seeing an early type is more concentrated: more of its light in the central pixels."""
    optics = sky.Optics(photoz.SIZE, photoz._OVERSAMPLING, 0.7)
    stamps = [
        optics.image(photoz.brightness(np.random.default_rng(0), galaxy_type, 1.0, 0.8, 0.0))
        for galaxy_type in (0.0, 0.5, 1.0)
    ]
    central = [stamp[14:18, 14:18].sum() / stamp.sum() for stamp in stamps]
    assert central[0] > 1.3 * central[1] > 1.3 * 0.9 * central[2]
