"""The simulated supernovae: black bodies, distances and noise against independent sums, and the laws of a data set."""

import numpy as np
import pytest
from astropy import units
from astropy.cosmology import FlatLambdaCDM
from astropy.modeling.physical_models import BlackBody
from scipy import stats

from zoo_datasets import light_curves as module
from zoo_datasets import simulation, sky, supernovae
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.pipeline import in_memory

COUNT = 300
PLAIN = module.Explosion(
    magnitude=-19.0, rise=16.0, slope=0.08, plateau=28.0, drop=1.5, tail=0.02, hot=10000.0, cool=5000.0, cooling=15.0,
    blanketing=0.0, bump=0.0, dust=0.0,
)  # fmt: skip


def replaced(**changes):
    return module.Explosion(**{**PLAIN.__dict__, **changes})


def generator(number):
    return simulation.generator("light_curves", "default", "train", number)


@pytest.fixture(scope="module")
def arrays():
    """300 records; about 1 s."""
    records = [module.simulate(generator(number), number) for number in range(COUNT)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def test_maximum_has_its_magnitude_and_its_colour_is_a_black_body():
    wavelength = np.array([3000.0, 4400.0, 5500.0, 9000.0])
    flux = PLAIN.flux(np.zeros(4), wavelength)
    body = BlackBody(temperature=10000 * units.K)(wavelength * units.AA).value
    np.testing.assert_allclose(flux, 10 ** (0.4 * 19) * body / body[2], rtol=1e-5)  # the constant hc/k has 7 digits


def test_profile_rises_from_the_explosion_declines_and_drops():
    at = {day: PLAIN.profile(np.array([float(day)]))[0] for day in (-20, -16, -8, 0, 10, 20, 28, 100, 150)}
    assert at[-20] == at[-16] == 0 and at[-8] == pytest.approx(0.75) and at[0] == 1
    magnitude = {day: -2.5 * np.log10(flux) for day, flux in at.items() if flux > 0}
    # Half of the drop is at the end of the plateau; the slope starts softly: 0.08 · 28² / 33.
    assert magnitude[28] == pytest.approx(0.08 * 28**2 / 33 + 1.5 * (0.5 - 1 / (1 + np.exp(28 / 5))), rel=1e-9)
    # Long after it, only the tail's slope is left.
    assert magnitude[150] - magnitude[100] == pytest.approx(50 * 0.02, rel=1e-4)
    flat = replaced(drop=0.0, slope=0.0, tail=0.0)
    np.testing.assert_array_equal(flat.profile(np.arange(0, 300.0)), 1)


def test_temperature_falls_from_hot_to_cool():
    temperature = PLAIN.temperature(np.array([-1e3, 0.0, 15.0, 1e3]))
    np.testing.assert_allclose(temperature, [15000, 10000, 5000 + 5000 / np.e, 5000])


def test_dust_dims_by_its_attenuation_and_metals_only_the_ultraviolet():
    wavelength, phase = np.array([3200.0, 5500.0, 8000.0]), np.full(3, 20.0)
    plain = PLAIN.flux(phase, wavelength)
    dusty = -2.5 * np.log10(replaced(dust=0.7).flux(phase, wavelength) / plain)
    np.testing.assert_allclose(dusty, 0.7 * (wavelength / 5500) ** -1.3)
    metals = -2.5 * np.log10(replaced(blanketing=1.5).flux(phase, wavelength) / plain)
    # 1000 Å below 4200 Å, once it has cooled by 1 − exp(−36 / 15).
    np.testing.assert_allclose(metals, [1.5 * (1 - np.exp(-36 / 15)), 0, 0], rtol=0.01, atol=0.002)


def test_bump_is_a_second_maximum_in_the_red_only():
    phase = np.arange(5.0, 60.0)
    bumpy = replaced(bump=0.3, drop=0.0)
    red, visible = (bumpy.flux(phase, np.array(wavelength)) for wavelength in (8000.0, 5500.0))
    rises = phase[:-1][np.diff(red) > 0]
    # The plateau ends on day 28.
    assert len(rises) and rises.min() > 15 and rises.max() < 30
    assert (np.diff(visible) < 0).all()


def test_maximum_in_blue_comes_before_that_at_the_reference():
    found = PLAIN.maximum()
    phase = np.arange(-16, 20, 0.001)
    assert found == pytest.approx(phase[PLAIN.flux(phase, np.array(4400.0)).argmax()], abs=0.1)  # its step
    assert -6 < found < -1


@pytest.mark.parametrize("redshift", [0.05, 0.6])
def test_flux_in_a_band_is_that_of_the_distance(redshift):
    """A literal sum over photons in 500 wavelengths, with astropy's distance."""
    distance = FlatLambdaCDM(H0=70, Om0=0.3).luminosity_distance(redshift).to(units.pc).value
    days = np.array([-8.0, 0.0, 30.0])
    found = module.band_fluxes(PLAIN, redshift, days)
    for number, band in enumerate(supernovae.BANDS):
        wavelength = np.linspace(*sky.BANDS[band].edges, 500)
        for day, flux in zip(days, found[:, number], strict=True):
            rest = PLAIN.flux(np.full(500, day / (1 + redshift)), wavelength / (1 + redshift))
            mean = (rest / wavelength).sum() / (1 / wavelength).sum() * (1 + redshift) * (10 / distance) ** 2
            # Five wavelengths a band for 500.
            assert flux == pytest.approx(mean * 10 ** (0.4 * 27.5), rel=0.03), (band, day)


def test_light_curves_are_stretched_by_redshift():
    near, far = (module.band_fluxes(PLAIN, redshift, np.arange(-30.0, 60, 0.5)) for redshift in (0.05, 0.8))
    width = [(flux[:, 3] > 0.5 * flux[:, 3].max()).sum() for flux in (near, far)]
    assert width[1] > 1.3 * width[0]


def test_errors_are_those_of_the_noise():
    random = np.random.default_rng(0)
    moments, bands = module.visits(random)
    faint = module.flux_errors(np.random.default_rng(1), moments, bands, np.zeros(len(bands)))
    bright = module.flux_errors(np.random.default_rng(1), moments, bands, np.full(len(bands), 1000.0))
    np.testing.assert_allclose(bright**2 - faint**2, 1000 / 8 + 10**2, rtol=1e-9)
    dark = np.array([module.SKY_ERROR[band] for band in supernovae.BANDS])[bands]
    assert ((faint > 0.3 * dark) & (faint < 6 * dark)).all()
    # In the mean of the logarithm seeing is 1 and the moon at most as bright as when full.
    assert 0 < np.log(faint / dark).mean() < 0.8


def test_observed_fluxes_scatter_around_the_truth_by_their_errors():
    pulls = []
    for seed in range(40):
        moments, bands, fluxes, errors, maximum = module.observe(np.random.default_rng(seed), PLAIN, 0.3)
        numbers = [supernovae.BANDS.index(band) for band in bands]
        truth = module.band_fluxes(PLAIN, 0.3, moments - maximum)[np.arange(len(bands)), numbers]
        pulls.append((fluxes - truth) / errors)
    pulls = np.concatenate(pulls)
    assert len(pulls) > 1500
    assert stats.kstest(pulls, "norm").pvalue > 1e-3


def test_visits_come_every_few_nights_in_order():
    gaps, shares = [], []
    for seed in range(30):
        moments, bands = module.visits(np.random.default_rng(seed))
        assert (np.diff(moments) > 0).all() and moments[0] >= 0 and moments[-1] < module.SEASON + 1
        nights = np.unique(moments.astype(int))
        gaps.append(np.median(np.diff(nights)))
        shares.append(len(bands) / len(nights))
    assert min(gaps) >= 3 and max(gaps) < 15
    # Two bands a night or four, less failures.
    assert min(shares) < 2 and max(shares) > 3.5


def test_slower_type_ia_are_brighter_and_type_ii_last_longer():
    draws = [module.draw_explosion(np.random.default_rng(seed), 0)[1] for seed in range(200)]
    rise, magnitude = (np.array([getattr(explosion, name) for explosion in draws]) for name in ("rise", "magnitude"))
    assert stats.pearsonr(rise, magnitude).statistic < -0.6
    assert magnitude.mean() == pytest.approx(-19.3, abs=0.1)
    for label, subtypes in ((0, {0}), (1, {1}), (2, {2, 3, 4})):
        assert {module.draw_explosion(np.random.default_rng(seed), label)[0] for seed in range(60)} == subtypes
    later = np.array([40.0])
    left = [
        np.median([module.draw_explosion(np.random.default_rng(seed), label)[1].profile(later) for seed in range(60)])
        for label in (0, 1, 2)
    ]
    assert left[2] > 2 * max(left[:2])


def test_host_photoz_scatters_and_has_outliers():
    values = np.array([module.host_photoz(np.random.default_rng(seed), 0.5) for seed in range(2000)])
    scaled = (values - 0.5) / 1.5
    assert 1.4826 * np.median(np.abs(scaled)) == pytest.approx(0.03, rel=0.1)
    # 5 % are drawn from 0.05 … 1, of which two thirds are farther than 5 standard deviations; of 2000, ± 0.4 %.
    assert (np.abs(scaled) > 0.15).mean() == pytest.approx(0.05 * (1 - 0.45 / 0.95), abs=0.012)
    assert min(module.host_photoz(np.random.default_rng(seed), 0.01) for seed in range(50)) == 0.01


def test_records_keep_the_conventions_of_sequences(arrays):
    valid = np.arange(supernovae.STEPS) < arrays["length"][:, None]
    assert arrays["length"].min() >= 2 and arrays["length"].max() <= supernovae.STEPS
    assert not arrays["sequence"][~valid].any() and not arrays["times"][~valid].any()
    assert (np.diff(arrays["times"], axis=1)[valid[:, 1:]] > 0).all()
    assert (arrays["times"] >= -20).all() and (arrays["times"] == 0).any(1).all()
    seen = arrays["sequence"][..., 2:12:3] > 0
    assert (seen.any(-1) == valid).all()
    assert ((arrays["sequence"][..., 1:12:3] > 0) == seen).all() and not arrays["sequence"][..., 0:12:3][~seen].any()
    assert len(set(arrays["label"].tolist())) == len(module.CLASS_NAMES)


def test_every_record_triggers_at_time_zero(arrays):
    for sequence, times, length in zip(arrays["sequence"], arrays["times"], arrays["length"], strict=True):
        ratio = supernovae.signal_to_noise(sequence[:length]).max(1)
        assert ratio[times[:length] == 0] > supernovae.TRIGGER
        # The other night may be more than 20 days before, and not be kept; none is between.
        assert (ratio[times[:length] < 0] > supernovae.TRIGGER).sum() <= 1


def test_redshifts_do_not_depend_on_the_type_and_luminosities_do(arrays):
    """By construction the same distribution: the test is for what a redrawn redshift would do to it."""
    of = [arrays["redshift"][arrays["label"] == label] for label in range(3)]
    assert min(stats.ks_2samp(one, two).pvalue for one, two in ((of[0], of[1]), (of[0], of[2]))) > 0.01
    assert all(module.REDSHIFT[0] <= values.min() and values.max() <= module.REDSHIFT[1] for values in of)
    magnitude = [np.median(arrays["absolute_magnitude"][arrays["label"] == label]) for label in range(3)]
    assert magnitude[0] < min(magnitude[1:]) - 0.8


def test_maximum_is_where_the_light_curve_is_bright(arrays):
    """The flux within 8 days of the true maximum of bright type Ia is near the largest, in r."""
    near = []
    for row in np.flatnonzero((arrays["label"] == 0) & (arrays["redshift"] < 0.4)):
        sequence, times = (arrays[name][row][: arrays["length"][row]] for name in ("sequence", "times"))
        seen = sequence[:, 5] > 0
        around = seen & (np.abs(times - arrays["peak"][row]) < 8)
        if around.any():
            near.append(sequence[around, 3].max() / sequence[seen, 3].max())
    assert len(near) > 20 and np.quantile(near, 0.1) > 0.8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("light_curves")


@pytest.fixture(scope="module")
def dataset(folder):
    return catalogue.load("light_curves/tiny", data_dir=folder)


def builder(config, folder):
    return module.LightCurves(config=config, data_dir=folder, file_format="array_record")


def content(record):
    return {field: np.asarray(value).tobytes() for field, value in record.items()}


def test_what_is_read_is_what_is_computed_and_described(dataset, folder):
    assert {split: len(source) for split, source in dataset.splits.items()} == module.SPLIT_SIZES["tiny"]
    assert dataset.class_names == module.CLASS_NAMES
    for split, source in dataset.splits.items():
        computed = [builder("tiny", folder).record(split, number) for number in range(len(source))]
        expected = {record["sequence"].tobytes(): record for record in computed}
        assert len(expected) == len(source)
        for number in range(len(source)):
            read = source[number]
            assert read.keys() == module.FEATURES.keys()
            for field, value in read.items():
                np.testing.assert_array_equal(value, expected[read["sequence"].tobytes()][field], err_msg=field)
    for field, values in in_memory(dataset.splits["train"]).arrays.items():
        assert values.dtype == (np.int32 if field in ("length", "label") else np.float32), field
    assert str(read["sequence"].shape) in module.FEATURES["sequence"]


@pytest.mark.parametrize("number", [0, 1, 2, 47])
def test_record_does_not_depend_on_how_many_there_are(folder, number):
    records = [content(builder(config, folder).record("train", number)) for config in ("tiny", "default", "full")]
    assert records[0] == records[1] == records[2]
    assert builder("tiny", folder).record("train", number)["label"] == number % 3


def test_truth_is_declared_as_no_input_and_left_out_without_labels(folder, dataset):
    for field, text in module.FEATURES.items():
        assert ("not an input" in text) == (field in module.PROPERTIES)
        assert ("may be an input" in text) == (field in ("redshift", "host_photoz"))
    blind = catalogue.load("light_curves/tiny", data_dir=folder, labels=False)
    assert blind.class_names is None and "label" not in blind.splits["test"][0]
