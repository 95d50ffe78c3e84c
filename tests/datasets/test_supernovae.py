"""From observations to nights, trigger and record: against sums done by hand, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_datasets import supernovae
from zoo_datasets.loading.records import DataError

BANDS = supernovae.BANDS


def observations(seed, count, *, days=60.0):
    """Times, bands, fluxes and errors (N,) of a random light curve."""
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, days, count))
    return times, random.choice(BANDS, count), random.normal(20, 30, count), random.uniform(1, 9, count)


def literal_nights(times, bands, fluxes, errors):
    """The same by a loop over lists."""
    groups = []
    for row in zip(times, bands, fluxes, errors, strict=True):
        if not groups or row[0] > groups[-1][0][0] + 0.5:
            groups.append([])
        groups[-1].append(row)
    steps = []
    for group in groups:
        step = []
        for band in BANDS:
            members = [(flux, error) for _, of, flux, error in group if of == band]
            weights = [1 / error**2 for _, error in members]
            if members:
                mean = sum(w * flux for w, (flux, _) in zip(weights, members, strict=True)) / sum(weights)
                step += [mean, sum(weights) ** -0.5, 1]
            else:
                step += [0, 0, 0]
        steps.append(step)
    return np.array(steps), np.array([np.mean([row[0] for row in group]) for group in groups])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 80))
def test_nights_are_those_of_a_loop(seed, count):
    found, expected = supernovae.nights(*observations(seed, count)), literal_nights(*observations(seed, count))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)  # sums in another order
    assert (np.diff(found[1]) > 0).all()


def test_channels_are_in_the_order_of_the_steps():
    steps, times = supernovae.nights([3.0, 3.1, 8.0], ["z", "g", "i"], [7.0, -2.0, 5.0], [1.0, 2.0, 3.0])
    record = supernovae.light_curve(steps, times, 1)
    named = dict(zip(supernovae.CHANNELS, record["sequence"].T, strict=True))
    for name, values in {
        **{"flux_z": (7, 0), "error_z": (1, 0), "seen_z": (1, 0), "flux_g": (-2, 0), "error_g": (2, 0)},
        **{"seen_g": (1, 0), "flux_i": (0, 5), "error_i": (0, 3), "seen_i": (0, 1), "seen_r": (0, 0)},
        **{"since_last": (0, 4.95), "since_trigger": (-4.95, 0)},
    }.items():
        np.testing.assert_allclose(named[name][:2], values, rtol=1e-6, err_msg=name)  # float32


def test_two_observations_of_a_band_in_a_night_are_averaged_by_their_weights():
    steps, times = supernovae.nights([1.0, 1.2], ["r", "r"], [10.0, 20.0], [1.0, 2.0])
    # Weights 1 and 1/4: (10 + 5) / 1.25 = 12, error 1 / √1.25.
    np.testing.assert_allclose(steps[0, 3:6], [12.0, 1.25**-0.5, 1.0])
    assert steps.shape == (1, 12) and times == pytest.approx([1.1])


def test_night_over_midnight_is_one_and_the_next_is_another():
    times = np.array([10.95, 11.05, 11.4, 11.95, 12.3])
    steps, mean = supernovae.nights(times, ["g"] * 5, np.ones(5), np.ones(5))
    assert len(steps) == 2
    np.testing.assert_allclose(mean, [times[:3].mean(), times[3:].mean()])


def test_trigger_is_the_second_night_above_the_threshold():
    # In the first night two bands exceed it, which is one night.
    times, bands = [0.0, 0.01, 3.0, 6.0, 9.0], ["g", "r", "g", "z", "g"]
    steps, _ = supernovae.nights(times, bands, [60.0, 60.0, 50.0, 51.0, 90.0], [10.0] * 5)
    assert supernovae.trigger(steps) == 2
    assert supernovae.trigger(steps[:2]) is None
    assert supernovae.peak_flux(steps) == 90.0 and supernovae.peak_flux(steps[1:2]) == 0.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 200), share=st.floats(0, 0.999))
def test_record_keeps_what_is_near_the_trigger(seed, count, share):
    steps, times = supernovae.nights(*observations(seed, count, days=150.0))
    night = int(share * len(times))
    record = supernovae.light_curve(steps, times, night)
    length, sequence = record["length"], record["sequence"]
    kept = (times - times[night] >= -20).nonzero()[0][:48]
    assert length == len(kept) and night in kept
    assert sequence.shape == (48, 14) and sequence.dtype == record["times"].dtype == np.float32
    assert not sequence[length:].any() and not record["times"][length:].any()
    np.testing.assert_array_equal(sequence[:length, :12], steps[kept].astype(np.float32))
    np.testing.assert_allclose(record["times"][:length], times[kept] - times[night], rtol=1e-6, atol=1e-6)  # float32
    np.testing.assert_array_equal(sequence[:length, 13], record["times"][:length])
    np.testing.assert_allclose(sequence[1:length, 12], np.diff(times[kept]), rtol=1e-6)
    assert sequence[0, 12] == 0 and (np.diff(record["times"][:length]) > 0).all()
    about = supernovae.properties(record)
    assert about["observations"] == steps[kept][:, 2::3].sum()
    assert about["peak_snr"] == pytest.approx(max(0, (steps[kept, 0::3] / np.maximum(steps[kept, 1::3], 1e-9)).max()))


def test_flux_of_magnitudes():
    np.testing.assert_allclose(supernovae.magnitude_to_flux(np.array([27.5, 25.0, 22.5])), [1, 10, 100])


GOOD = {"times": [1.0, 2.0, 5.0], "bands": ["g", "r", "z"], "fluxes": [1.0, -2.0, 3.0], "errors": [1.0, 1.0, 2.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"fluxes": [1.0, np.nan, 3.0]},
            r"fluxes should be finite, got nan in observation 1 \(1 of 3\)\. Leave",
        ),
        ({"errors": [1.0, 1.0, np.nan]}, r"errors should be finite, got nan in observation 2"),
        ({"times": [1.0, np.inf, 2.0]}, "times should be finite, got inf in observation 1"),
        ({"errors": [1.0, 0.0, 2.0]}, r"errors should be above 0, got 0 in observation 1\. .*leave out"),
        ({"errors": [-3.0, 1.0, 2.0]}, "errors should be above 0, got -3 in observation 0"),
        ({"times": [1.0, 5.0, 2.0]}, r"times should ascend, got 2 in observation 2 after 5\. Sort"),
        ({"bands": ["g", "u", "z"]}, r"bands should be of g, r, i, z, got u in observation 1\. Leave out"),
        ({"bands": [0, 1, 3]}, "bands should be of g, r, i, z, got 0 in observation 0"),
        ({"fluxes": [1.0, 2.0]}, r"of one length.*times \(3,\).*fluxes \(2,\)"),
        ({"times": 1.0, "bands": "g", "fluxes": 1.0, "errors": 1.0}, r"lists of one length.*times \(\)"),
        ({name: [] for name in GOOD}, "should have at least one observation, got none"),
    ],
)
def test_what_is_no_light_curve_is_refused(change, message):
    supernovae.nights(**GOOD)
    with pytest.raises(DataError, match=message):
        supernovae.nights(**{**GOOD, **change})
