"""Power spectra against direct Fourier sums, Parseval's theorem and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.train import power_spectra, ratio_interval, shell_modes, spectrum_report, spectrum_sums

SPECTRA, SUMS = jax.jit(power_spectra), jax.jit(spectrum_sums)


def fields(seed, shape):
    rng = np.random.default_rng(seed)
    truth = rng.normal(3, 1, shape)
    return truth, 0.7 * truth + rng.normal(0, 0.5, shape)


def direct(first, second):
    """Mean of Re(F G*) / N^d in shells, from sums over pixels written out: slow, and nothing of an FFT."""
    side, ndim = first.shape[0], first.ndim
    x = np.stack(np.meshgrid(*[np.arange(side)] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    n = np.where(x > side // 2, x - side, x)  # −N/2 and N/2 are one mode
    phases = np.exp(-2j * np.pi * (n @ x.T) / side)
    power = ((phases @ first.ravel()) * np.conj(phases @ second.ravel())).real / side**ndim
    shell = np.floor(np.sqrt((n**2).sum(1)) + 0.5).astype(int)
    return np.array([power[shell == k].mean() if (shell == k).any() else 0 for k in range(shell.max() + 1)])


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (6, 6, 6), (5, 5, 5)])
def test_against_direct_sums(x64, shape):
    truth, predicted = fields(0, (2, *shape, 2))
    found = SPECTRA(truth, predicted)
    for i, d in np.ndindex(2, 2):
        f, g = truth[i, ..., d], predicted[i, ..., d]
        for power, pair in zip(found, ((f, f), (g, g), (f, g)), strict=True):
            np.testing.assert_allclose(power[i, :, d], direct(*pair), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("side", "ndim"), [(8, 2), (9, 2), (6, 3), (7, 3), (64, 2)])
def test_parseval(x64, side, ndim):
    truth, predicted = fields(1, (3, *[side] * ndim, 1))
    modes = shell_modes(side, ndim)
    assert modes.sum() == side**ndim
    for power, product in zip(SPECTRA(truth, predicted), (truth**2, predicted**2, truth * predicted), strict=True):
        total = product.reshape(3, -1).sum(1)
        np.testing.assert_allclose(np.asarray(power)[..., 0] @ modes, total, rtol=1e-12)


def test_a_wave_by_hand(x64):
    side = 16
    x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    wave = 2 + 3 * np.cos(2 * np.pi * (3 * x + 4 * y) / side)
    power = np.array(SPECTRA(wave[None, ..., None], wave[None, ..., None])[0][0, :, 0])
    expected = np.zeros_like(power)
    expected[0] = side**2 * 2**2
    expected[5] = 2 * side**2 * (3 / 2) ** 2 / shell_modes(side)[5]  # |n| = 5, and its mirror image
    np.testing.assert_allclose(power, expected, atol=1e-10)


def test_white_noise_has_its_variance_everywhere():
    noise = np.random.default_rng(2).normal(0, 2, (200, 16, 16, 1)).astype(np.float32)
    power = np.asarray(SPECTRA(noise, noise)[0]).mean(0)[1:, 0]
    # |F|² is exponential, with a relative deviation of 1, and a mode and its mirror image are one: at worst √2.
    assert np.all(np.abs(power / 4 - 1) < 4 * np.sqrt(2 / (200 * shell_modes(16)[1:])))


def test_a_small_contrast_on_a_large_mean_in_float32():
    contrast = np.random.default_rng(3).normal(0, 1, (1, 32, 32, 1))
    exact = np.asarray(SPECTRA(contrast, contrast)[0])[0, 1:, 0]
    found = np.asarray(SPECTRA((contrast + 1000).astype(np.float32), contrast.astype(np.float32))[0])[0, 1:, 0]
    # Values near 1000 are rounded to 6e-5, noise with a power of 1e-9 and a cross term of 1e-4.
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_scaled_and_blurred_predictions(x64):
    truth, _ = fields(4, (4, 16, 16, 2))
    report = spectrum_report(SUMS(truth, 1.5 * truth), ["gas", "stars"], side=16)
    assert report["k"] == list(range(1, 9)) and report["images"] == 4
    np.testing.assert_allclose(report["ratio_of"]["gas"], 2.25)
    np.testing.assert_allclose(report["correlation_of"]["stars"], 1)
    assert report["ratio_error"] == pytest.approx(1.25) and report["correlation_min"] == pytest.approx(1)
    np.testing.assert_allclose(report["ratio_interval_of"]["gas"], 2.25)
    minus = spectrum_report(SUMS(truth, -truth), side=16)
    np.testing.assert_allclose(minus["correlation_of"]["0"], -1)
    # A blur along the first axis: its transfer function is cos²(π n / N).
    blurred = truth / 2 + (np.roll(truth, 1, 1) + np.roll(truth, -1, 1)) / 4
    ratio = np.array(spectrum_report(SUMS(truth, blurred), side=16)["ratio_of"]["0"])
    assert np.all(np.diff(ratio) < 0) and ratio[0] > 0.9 and ratio[-1] < 0.5


def test_report_is_of_the_sums(x64):
    truth, predicted = fields(5, (5, 12, 12, 1))
    true, ours, cross = (np.asarray(power)[..., 0] for power in SPECTRA(truth, predicted))
    report = spectrum_report(SUMS(truth, predicted), side=12)
    np.testing.assert_allclose(report["power_true_of"]["0"], true.mean(0)[1:7])
    np.testing.assert_allclose(report["power_predicted_of"]["0"], ours.mean(0)[1:7])
    ratio, correlation = ours.sum(0) / true.sum(0), cross.sum(0) / np.sqrt(true.sum(0) * ours.sum(0))
    np.testing.assert_allclose(report["ratio_of"]["0"], ratio[1:7])
    np.testing.assert_allclose(report["correlation_of"]["0"], correlation[1:7])
    assert report["ratio_error"] == pytest.approx(np.abs(ratio[1:4] - 1).max())
    assert report["correlation_min_of"]["0"] == pytest.approx(correlation[1:4].min())
    x, y = ours[:, 3], true[:, 3]
    expected = ratio_interval(x.sum(), y.sum(), [5, (x * x).sum(), (x * y).sum(), (y * y).sum()])
    assert report["ratio_interval_of"]["0"][2] == pytest.approx(expected)


def test_sums_merge_and_padding_does_not_count(x64):
    truth, predicted = fields(6, (5, 8, 8, 2))
    mask = np.array([1, 1, 0, 1, 0.0])
    real = mask > 0
    truth[~real], predicted[~real] = np.nan, np.nan
    whole = SUMS(truth, predicted, mask)
    alone = [SUMS(truth[i : i + 1], predicted[i : i + 1]) for i in (3, 0, 1)]
    for name, value in whole.items():
        np.testing.assert_allclose(value, sum(part[name] for part in alone), rtol=1e-12, err_msg=name)
    eager = spectrum_sums(jnp.asarray(truth[real]), jnp.asarray(predicted[real]))
    for name, value in eager.items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-12, err_msg=name)


def test_fields_without_power():
    report = spectrum_report(SUMS(np.zeros((2, 8, 8, 1)), np.ones((2, 8, 8, 1))), side=8)
    assert report["ratio_of"]["0"] == report["correlation_of"]["0"] == [0.0] * 4
    nothing = spectrum_report(SUMS(np.ones((2, 8, 8, 1)), np.ones((2, 8, 8, 1)), np.zeros(2)), side=8)
    assert nothing["images"] == 0 and nothing["ratio_error"] == 1.0


@pytest.mark.parametrize(("truth", "predicted"), [((1, 4, 6, 1), (1, 4, 6, 1)), ((1, 4, 4, 1), (1, 5, 5, 1))])
def test_wrong_shapes(truth, predicted):
    with pytest.raises(ValueError, match=r"Spectra need two fields of one shape .* got \(1, 4, .*Cut out a square"):
        power_spectra(jnp.zeros(truth), jnp.zeros(predicted))
