"""Hand-made features: closed forms, laws, and slow twins."""

import sys

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv
from skimage.measure import moments_central, moments_hu, moments_normalized

from zoo.errors import UserError
from zoo_experiments.verbs import features
from zoo_experiments.verbs.features import extract

DIRECTED = ("x", "y", "e1", "e2")
IN_UNITS = ("background", "noise", "flux", "peak")
# Sums in another order, then logarithms and roots.
ROUNDING = 1e-9


def blobs(count=6, size=32, seed=0, margin=6):
    """Lopsided sources of a few elliptical Gaussians on black, (count, size, size, 2), none near the edge."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    images = np.zeros((count, size, size, 2))
    for image in images:
        for channel in range(2):
            for _ in range(3):
                cy, cx = rng.uniform(-4, 4, 2)
                a, b, angle = rng.uniform(1, 3), rng.uniform(0.5, 1.5), rng.uniform(0, np.pi)
                u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
                v = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
                image[..., channel] += rng.uniform(0.5, 2) * np.exp(-(u**2) / 2 / a**2 - v**2 / 2 / b**2)
    images[images < 1e-3] = 0
    images[:, :margin], images[:, -margin:], images[:, :, :margin], images[:, :, -margin:] = 0, 0, 0, 0
    return images


def table(images):
    values, names = extract(images)
    return dict(zip(names, values.T, strict=True))


def profile(kind, radius, size=257):
    """A round source with half-light radius `radius` whose flux in each pixel is averaged over 9 × 9 points."""
    fine = (np.arange(size * 9) - (size * 9 - 1) / 2) / 9
    r = np.hypot(fine[:, None], fine)
    light = {"gauss": 0.5, "exponential": 1.0, "vaucouleurs": 4.0}[kind]
    b = gammaincinv(2 * light, 0.5)
    image = np.exp(-b * (r / radius) ** (1 / light))
    image[r > size / 2 - 9] = 0  # black at the frame, so that no background is taken away
    return image.reshape(size, 9, size, 9).mean((1, 3))[None, ..., None]


def concentration(kind, radius, edge):
    """5 log₁₀(r80/r20) of a Sérsic profile (Graham & Driver 2005, eq. 2) that ends at `edge`."""
    index = {"gauss": 0.5, "exponential": 1.0, "vaucouleurs": 4.0}[kind]
    b = gammaincinv(2 * index, 0.5)

    def light(r):
        return gammainc(2 * index, b * (r / radius) ** (1 / index))

    r20, r80 = (brentq(lambda r, s=share: light(r) - s * light(edge), 1e-6, edge) for share in (0.2, 0.8))
    return 5 * np.log10(r80 / r20)


@pytest.mark.parametrize("kind", ["gauss", "exponential", "vaucouleurs"])
def test_concentration_of_the_sersic_profiles(kind):
    """Pixels blur the steep centre of de Vaucouleurs' profile, whose r20 is 5 pixels: hence 2 %."""
    radius = {"gauss": 30, "exponential": 30, "vaucouleurs": 20}[kind]
    found = table(profile(kind, radius))
    assert found["concentration_0"][0] == pytest.approx(concentration(kind, radius, 257 / 2 - 9), rel=0.02)


def test_concentration_grows_from_gaussian_to_exponential_to_de_vaucouleurs():
    values = [table(profile(kind, 15))["concentration_0"][0] for kind in ("gauss", "exponential", "vaucouleurs")]
    assert values == sorted(values)
    # Closed form: half of the flux of a Gaussian is within σ √(2 ln 2), a share s within σ √(−2 ln(1 − s)).
    assert values[0] == pytest.approx(2.5 * np.log10(np.log(5) / np.log(1.25)), abs=0.01)


def test_radii_and_moments_of_a_gaussian():
    sigma = 8.0
    y, x = np.mgrid[:129, :129] - 64
    found = table(np.exp(-(x**2 + y**2) / 2 / sigma**2)[None, ..., None])
    for share in (0.2, 0.5, 0.8):
        expected = sigma * np.sqrt(-2 * np.log(1 - share))
        assert found[f"r{round(100 * share)}_0"][0] == pytest.approx(expected, rel=0.01)
    assert found["size_0"][0] == pytest.approx(sigma * np.sqrt(2), rel=1e-6)
    assert found["flux_0"][0] == pytest.approx(2 * np.pi * sigma**2, rel=1e-6)
    for name in ("ellipticity_0", "x_0", "y_0", "e1_0", "e2_0", "asymmetry_0"):
        assert found[name][0] == pytest.approx(0, abs=1e-9), name


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2, 2.5])
def test_ellipticity_and_orientation_of_an_elliptical_gaussian(angle):
    a, b = 9.0, 4.5
    y, x = np.mgrid[:129, :129] - 64
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    found = table(np.exp(-(u**2) / 2 / a**2 - v**2 / 2 / b**2)[None, ..., None])
    assert found["ellipticity_0"][0] == pytest.approx(0.5, abs=1e-6)
    e = (a**2 - b**2) / (a**2 + b**2)
    np.testing.assert_allclose(
        [found["e1_0"][0], found["e2_0"][0]], [e * np.cos(2 * angle), e * np.sin(2 * angle)], atol=1e-6
    )


def test_a_quarter_turn_leaves_all_but_the_direction():
    images = blobs()
    before, after = table(images), table(np.rot90(images, axes=(1, 2)).copy())
    for name in before:
        if name.rsplit("_", 1)[0] not in DIRECTED:
            np.testing.assert_allclose(after[name], before[name], rtol=ROUNDING, atol=ROUNDING, err_msg=name)
    for c in ("0", "1"):
        # To the left, with rows downwards: x becomes −y, and y becomes x … seen in rows: x → y, y → −x.
        np.testing.assert_allclose(after[f"x_{c}"], before[f"y_{c}"], atol=ROUNDING)
        np.testing.assert_allclose(after[f"y_{c}"], -before[f"x_{c}"], atol=ROUNDING)
        np.testing.assert_allclose(after[f"e1_{c}"], -before[f"e1_{c}"], atol=ROUNDING)
        np.testing.assert_allclose(after[f"e2_{c}"], -before[f"e2_{c}"], atol=ROUNDING)


def test_a_shift_moves_the_centroid_only():
    images = blobs()
    before, after = table(images), table(np.roll(images, (3, -4), axis=(1, 2)))
    for name in before:
        if name.rsplit("_", 1)[0] not in ("x", "y", "offset"):
            np.testing.assert_allclose(after[name], before[name], rtol=ROUNDING, atol=ROUNDING, err_msg=name)
    np.testing.assert_allclose(after["y_0"] - before["y_0"], 3 / 32, atol=ROUNDING)
    np.testing.assert_allclose(after["x_1"] - before["x_1"], -4 / 32, atol=ROUNDING)


def test_brightness_and_background_are_told_apart_from_the_shape():
    images = blobs()
    # Powers of two, whose products and sums are exact: else grey levels and ties at the threshold could change.
    images = np.round(images * 1024) / 1024
    before, brighter, lifted = table(images), table(images * 8), table(images + 2.0)
    for name in before:
        scale = 8 if name.rsplit("_", 1)[0] in IN_UNITS else 1
        np.testing.assert_allclose(brighter[name], scale * before[name], rtol=ROUNDING, atol=ROUNDING, err_msg=name)
        lift = 2.0 if name.startswith("background") else 0
        np.testing.assert_allclose(lifted[name], before[name] + lift, rtol=ROUNDING, atol=ROUNDING, err_msg=name)


def test_hu_invariants_are_those_of_scikit_image():
    images = blobs()
    found = table(images)
    # scikit-image takes rows for x, which mirrors the image.
    for row, image in enumerate(images[..., 0].transpose(0, 2, 1)):
        h = moments_hu(moments_normalized(moments_central(image / image.max(), order=3), order=3))
        expected = np.sign(h) * np.log10(1 + np.abs(h) / 1e-10)
        np.testing.assert_allclose([found[f"hu{i}_0"][row] for i in range(1, 8)], expected, rtol=1e-6, atol=1e-6)


def test_hu_invariants_depend_neither_on_size_nor_on_any_angle():
    """A lopsided source drawn twice as large and turned by 0.7: pixels of a fortieth of it, hence 1 %."""

    def draw(scale, angle):
        y, x = (np.mgrid[:257, :257] - 128) / scale
        u, v = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
        image = np.exp(-((u - 4) ** 2) / 18 - v**2 / 32) + 0.6 * np.exp(-((u + 7) ** 2) / 8 - (v - 5) ** 2 / 8)
        return table(image[None, ..., None])

    one, other = draw(2.0, 0.0), draw(4.0, 0.7)
    for i in range(1, 8):
        np.testing.assert_allclose(other[f"hu{i}_0"], one[f"hu{i}_0"], rtol=0.01)


def literal_gini(values):
    values = np.sort(values[values > 0])
    count = len(values)
    pairs = sum(abs(a - b) for a in values for b in values)
    return pairs / (2 * count * (count - 1) * values.mean())


def test_gini_is_the_mean_difference_of_all_pairs():
    images = blobs(2)
    found = table(images)
    for row in range(2):
        assert found["gini_0"][row] == pytest.approx(literal_gini(images[row, ..., 0].ravel()), rel=1e-9)
    two = np.zeros((2, 8, 8, 1))
    two[0, 3:5, 3:5], two[1, 3, 3], two[1, 3, 4] = 5.0, 1.0, 3.0
    # All alike: 0. Of 1 and 3: |1 − 3| / (2 · 2) = 1/2.
    np.testing.assert_allclose(extract(two)[0][:, extract(two)[1].index("gini_0")], [0, 0.5])


def test_m20_of_a_source_that_can_be_counted():
    image = np.zeros((1, 11, 11, 1))
    # Flux 20 in four pixels at distance 2; the brightest 20 % is the 4 of them that lies in the centre.
    image[0, 5, 5] = 4
    image[0, [3, 7, 5, 5], [5, 5, 3, 7]] = 4
    # All five tie: each counts with its share of what is left: mean r² 16/5.
    found = table(image)["m20_0"][0]
    assert found == pytest.approx(np.log10(4 * (16 / 5) / (4 * 16)))
    image[0, 5, 5] = 8
    # 24 in all; 4.8 of the 8 in the centre are the brightest 20 %: no second moment at all, limited to −5.
    assert table(image)["m20_0"][0] == -5


def test_m20_is_the_sum_over_the_brightest_pixels():
    image = blobs(1)[0, ..., 0]
    y, x = np.mgrid[:32, :32]
    cy, cx = (image * y).sum() / image.sum(), (image * x).sum() / image.sum()
    order = np.argsort(-image.ravel())
    flux, square = image.ravel()[order], ((y - cy) ** 2 + (x - cx) ** 2).ravel()[order]
    inside = flux.cumsum() < 0.2 * flux.sum()
    least = (flux * square)[inside].sum()
    most = least + (flux * square)[inside.sum()]
    found = 10 ** table(image[None, ..., None])["m20_0"][0] * (flux * square).sum()
    assert least <= found <= most


def test_asymmetry_is_nothing_of_a_symmetric_source_and_two_of_opposite_halves():
    image = blobs(1)[0, ..., 0]
    symmetric = image + image[::-1, ::-1]
    symmetric = np.roll(symmetric, (2, -3), axis=(0, 1))
    assert table(symmetric[None, ..., None])["asymmetry_0"][0] == pytest.approx(0, abs=1e-12)
    alone = np.zeros((1, 16, 16, 1))
    alone[0, 5, 5], alone[0, 10, 6], alone[0, 4, 11] = 1, 1.1, 0.9
    # No two of three pixels are opposite to each other about a centre near their middle: every flux counts twice.
    assert table(alone)["asymmetry_0"][0] == pytest.approx(2)


def test_noise_alone_adds_no_asymmetry_on_average():
    """A Gaussian source with noise, 200 times: the mean is 0 to within its standard error, and not without the term."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48] - 23.5
    source = 20 * np.exp(-(x**2 + y**2) / 2 / 5**2)
    images = source + rng.normal(size=(200, 48, 48))
    signal, noise = images, np.ones(200)
    centre = np.full(200, 23.5)
    corrected = features.asymmetry(signal, noise, centre, centre)
    # The least of nine centres is a little below the one at the true centre.
    assert abs(corrected.mean()) < 0.03
    flux = np.where(images > 3, images, 0).sum((1, 2))
    chance = (np.abs(images - images[:, ::-1, ::-1]) * ((images > 3) | (images[:, ::-1, ::-1] > 3))).sum((1, 2)) / flux
    assert chance.mean() > 0.08


def test_smoothness_rises_with_clumps():
    y, x = np.mgrid[:64, :64] - 31.5
    smooth = np.exp(-(x**2 + y**2) / 2 / 8**2)
    clumpy = smooth * (1 + 0.5 * (-1) ** np.indices((64, 64)).sum(0))
    found = table(np.stack([smooth, clumpy])[..., None])["smoothness_0"]
    assert found[0] < 0.02 < 0.1 < found[1]


def test_noise_and_threshold_of_a_noisy_frame():
    """25,600 pixels of noise of width 3 about 10: 1/16 of each side gives 6,000, a width to 2 %."""
    rng = np.random.default_rng(1)
    image = rng.normal(10, 3, (1, 160, 160, 1))
    found = table(image)
    assert found["background_0"][0] == pytest.approx(10, abs=0.2)
    assert found["noise_0"][0] == pytest.approx(3, rel=0.04)
    # A normal number is above 3 σ with probability 0.00135.
    assert found["area_0"][0] == pytest.approx(0.00135, abs=0.001)


def test_grey_levels_of_stripes_and_chequers():
    stripes = np.zeros((1, 8, 8, 1))
    stripes[:, ::2] = 1
    # Along rows 0, along columns and diagonals 7² each: mean of 0, 49, 49, 49.
    assert table(stripes)["grey_contrast_0"][0] == pytest.approx(49 * 3 / 4)
    chequers = np.indices((8, 8)).sum(0)[None, ..., None] % 2.0
    assert table(chequers)["grey_contrast_0"][0] == pytest.approx(49 * 2 / 4)
    assert table(chequers)["grey_correlation_0"][0] == pytest.approx(0, abs=0.1)


def test_binary_patterns_against_a_loop():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4, (9, 10))
    counts = np.zeros(10)
    for i in range(1, 8):
        for j in range(1, 9):
            ring = [image[i - 1, j - 1], image[i - 1, j], image[i - 1, j + 1], image[i, j + 1]]
            ring += [image[i + 1, j + 1], image[i + 1, j], image[i + 1, j - 1], image[i, j - 1]]
            bits = [value >= image[i, j] for value in ring]
            changes = sum(bits[k] != bits[k - 1] for k in range(8))
            counts[sum(bits) if changes <= 2 else 9] += 1
    found = table(image[None, ..., None])
    np.testing.assert_allclose([found[f"pattern{k}_0"][0] for k in range(10)], counts / counts.sum())


def test_colour_is_in_magnitudes():
    image = np.zeros((3, 8, 8, 2))
    image[0, 3, 3], image[1, 3, 3, 0], image[2] = (1, 100), 1, 0
    assert table(image)["colour_0_1"].tolist() == [5, -10, 0]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8, 1)),
        np.full((2, 8, 8, 3), 0.1),
        np.full((1, 5, 9, 1), 255, np.uint8),
        np.eye(6)[None, ..., None],
        -np.ones((1, 4, 4, 1)),
        np.random.default_rng(0).integers(0, 2, (3, 7, 12, 2)).astype(bool),
        1e30 * np.random.default_rng(0).random((2, 8, 8, 1)),
        np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float16),
    ],
    ids=["blank", "constant", "saturated", "diagonal", "negative", "bits", "huge", "half"],
)
def test_everything_is_finite(images):
    values, names = extract(images)
    assert values.shape == (len(images), len(names)) and values.dtype == np.float64
    assert np.isfinite(values).all(), [names[column] for column in np.argwhere(~np.isfinite(values))[:, 1]]


def test_single_pixel_has_no_shape():
    image = np.zeros((1, 9, 9, 1))
    image[0, 2, 7] = 3
    found = table(image)
    assert (found["size_0"][0], found["ellipticity_0"][0], found["gini_0"][0], found["asymmetry_0"][0]) == (0, 0, 0, 0)
    assert (found["x_0"][0], found["y_0"][0]) == pytest.approx((3 / 9, -2 / 9))


def test_chunks_and_batches_change_nothing(monkeypatch):
    images = blobs(7)
    whole, names = extract(images)
    monkeypatch.setattr(features, "CHUNK", 3 * 32 * 32)
    np.testing.assert_allclose(extract(images)[0], whole, rtol=ROUNDING, atol=ROUNDING)
    one_by_one = np.concatenate([extract(image[None])[0] for image in images])
    np.testing.assert_allclose(one_by_one, whole, rtol=ROUNDING, atol=ROUNDING)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((8, 8, 1)), r"images? or more \(N, H, W, C\) of at least 4 × 4 pixels, got \(8, 8, 1\)"),
        (np.zeros((0, 8, 8, 1)), r"one image or more .* got \(0, 8, 8, 1\)"),
        (np.zeros((2, 3, 8, 1)), r"at least 4 × 4 pixels, got \(2, 3, 8, 1\)"),
        (np.array([["a"]])[..., None, None] * np.ones((1, 4, 4, 1), int).astype(object), "images of numbers"),
        (np.where(np.arange(2 * 16).reshape(2, 4, 4, 1) == 20, np.nan, 0), r"NaN or Inf in 1, the first in image 1"),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(UserError, match=message):
        extract(images)


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(
        UserError, match=r"scikit-image, which is not installed: pip install 'symmetry-zoo\[baselines\]'"
    ):
        extract(np.zeros((1, 4, 4, 1)))
