"""Augmentation against NumPy and SciPy twins, and the laws that need no twin."""

import dataclasses
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from zoo import augment
from zoo.augment import Augmentation, augment_batch


def picture(*shape, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def per_channel(function, image):
    image = np.asarray(image)
    return np.stack([function(image[..., c]) for c in range(image.shape[-1])], -1)


def scipy_affine(image, matrix, offset, *, order, fill, circular):
    centre = (np.array(image.shape[:2]) - 1) / 2
    return per_channel(
        lambda plane: scipy.ndimage.affine_transform(
            plane,
            matrix,
            offset=centre - matrix @ centre + offset,
            order=order,
            mode="grid-wrap" if circular else "grid-constant",
            cval=fill,
        ),
        image,
    )


# name: (function of an image, parameters that leave the image as it is)
DETERMINISTIC = {
    "rot90": (lambda x: augment.rot90(x, 3), lambda x: augment.rot90(x, 4)),
    "flip": (lambda x: augment.flip(x, up_down=True), augment.flip),
    "d4": (lambda x: augment.d4(x, 6), lambda x: augment.d4(x, 0)),
    "affine": (
        lambda x: augment.affine(x, jnp.array([[1.1, 0.3], [-0.2, 0.9]]), (0.4, -1.2), fill=0.5),
        lambda x: augment.affine(x, jnp.eye(2), fill=7.0),
    ),
    "rotate": (lambda x: augment.rotate(x, 0.7), lambda x: augment.rotate(x, 0.0)),
    "shift": (lambda x: augment.shift(x, (1.25, -2.5)), lambda x: augment.shift(x, (0, 0))),
    "shift_circular": (
        lambda x: augment.shift(x, (1.25, -2.5), circular=True),
        lambda x: augment.shift(x, (0.0, 0.0), circular=True),
    ),
    "zoom": (lambda x: augment.zoom(x, 1.3), lambda x: augment.zoom(x, 1.0)),
    "crop": (lambda x: augment.crop(x, (2, 1), (5, 6)), lambda x: augment.crop(x, (0, 0), x.shape[:2])),
    "brightness": (lambda x: augment.brightness(x, 0.3), lambda x: augment.brightness(x, 0.0)),
    "gain": (lambda x: augment.gain(x, 1.7), lambda x: augment.gain(x, 1.0)),
    "colour_gain": (
        lambda x: augment.colour_gain(x, jnp.arange(1.0, 1 + x.shape[-1])),
        lambda x: augment.colour_gain(x, jnp.ones(x.shape[-1])),
    ),
    "contrast": (lambda x: augment.contrast(x, 1.7), lambda x: augment.contrast(x, 1.0)),
    "saturation": (lambda x: augment.saturation(x, 0.4), lambda x: augment.saturation(x, 1.0)),
    "gaussian_blur": (
        lambda x: augment.gaussian_blur(x, 1.1, radius=3),
        lambda x: augment.gaussian_blur(x, 0.0, radius=3),
    ),
    "convolve_psf": (lambda x: augment.convolve_psf(x, jnp.arange(15.0).reshape(3, 5)), None),
    "dilate": (lambda x: augment.dilate(x, 3), lambda x: augment.dilate(x, 1)),
    "gaussian_noise": (
        lambda x: augment.gaussian_noise(jax.random.key(1), x, 0.5),
        lambda x: augment.gaussian_noise(jax.random.key(1), x, 0.0),
    ),
    "poisson_noise": (lambda x: augment.poisson_noise(jax.random.key(1), x, 20.0), None),
}

RANDOM = {
    "random_rot90": augment.random_rot90,
    "random_flip": augment.random_flip,
    "random_d4": augment.random_d4,
    "random_crop": lambda k, x: augment.random_crop(k, x, size=(5, 6)),
    "random_rotate": augment.random_rotate,
    "random_shift": lambda k, x: augment.random_shift(k, x, max_shift=3.0),
    "random_zoom": lambda k, x: augment.random_zoom(k, x, factors=(0.5, 2.0)),
    "random_brightness": lambda k, x: augment.random_brightness(k, x, max_delta=0.5),
    "random_gain": lambda k, x: augment.random_gain(k, x, factors=(0.5, 2.0)),
    "random_colour_gain": lambda k, x: augment.random_colour_gain(k, x, factors=(0.5, 2.0)),
    "random_contrast": lambda k, x: augment.random_contrast(k, x, factors=(0.0, 2.0)),
    "random_saturation": lambda k, x: augment.random_saturation(k, x, factors=(0.0, 2.0)),
    "random_gaussian_blur": lambda k, x: augment.random_gaussian_blur(k, x, sigmas=(0.0, 1.0)),
    "random_dilate": lambda k, x: augment.random_dilate(k, x, size=3),
    "random_gaussian_noise": lambda k, x: augment.random_gaussian_noise(k, x, sigmas=(0.1, 1.0)),
    "random_poisson_noise": lambda k, x: augment.random_poisson_noise(k, x, exposures=(1.0, 10.0)),
    "geometry": Augmentation(d4=True, rotate=3.0, shift=2.0, zoom=(0.8, 1.25)),
    "values": Augmentation(
        flip=True, gain=(0.5, 2.0), colour_gain=(0.5, 2.0), contrast=(0.5, 2.0), saturation=(0.5, 2.0), brightness=0.5
    ),
    "degraded": Augmentation(crop=(6, 6), dilate=3, blur=(0.0, 0.5), noise=(0.0, 0.2)),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_jit_batches_and_dtypes(name):
    function, _ = DETERMINISTIC[name]
    images = picture(3, 9, 9, 2)
    one_by_one = np.stack([function(images[0]), *map(jax.jit(function), images[1:])])
    # fused and batched sums round differently: a few units in the last place of values of a few, or tens for the PSF
    tolerance = dict(rtol=1e-5, atol=1e-4 if name == "convolve_psf" else 2e-6)
    np.testing.assert_allclose(jax.jit(function)(images[0]), one_by_one[0], **tolerance)
    np.testing.assert_allclose(jax.jit(jax.vmap(function))(images), one_by_one, **tolerance)
    half = function(images[0].astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    # bfloat16 rounds the input and the output, to 2⁻⁸ of the largest value
    if "noise" not in name:
        assert np.abs(half.astype(jnp.float32) - one_by_one[0]).max() <= 2**-7 * np.abs(one_by_one[0]).max() * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_float64_is_kept_and_used(name, x64):
    function, identity = DETERMINISTIC[name]
    image = picture(9, 9, 2, dtype=np.float64)
    assert function(image).dtype == jnp.float64
    assert function(image.astype(jnp.float32)).dtype == jnp.float32
    if identity is not None:
        np.testing.assert_array_equal(identity(image), image)


@pytest.mark.parametrize("name", [name for name, (_, identity) in DETERMINISTIC.items() if identity is not None])
@pytest.mark.parametrize("size", [8, 9])
def test_identity_parameters_return_the_image_exactly(name, size):
    image = picture(size, size, 3)
    np.testing.assert_array_equal(DETERMINISTIC[name][1](image), image)


LINEAR = [name for name in DETERMINISTIC if name not in ("dilate", "poisson_noise")]


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_gradient_is_the_transpose(name, x64):
    # Each of these is affine in the image, so the gradient of <u, f(x)> along v is <u, f(x + v) − f(x)> without error.
    function, _ = DETERMINISTIC[name]
    x, v = picture(7, 7, 2, dtype=np.float64), picture(7, 7, 2, dtype=np.float64)[::-1]
    u = jnp.cos(jnp.arange(function(x).size)).reshape(function(x).shape)
    gradient = jax.grad(lambda image: (u * function(image)).sum())(x)
    np.testing.assert_allclose((gradient * v).sum(), (u * (function(x + v) - function(x))).sum(), rtol=1e-10)


def test_gradients_of_dilation_and_of_photon_noise():
    image = jnp.arange(9.0).reshape(3, 3, 1)
    gradient = jax.grad(lambda x: augment.dilate(x, 3).sum())(image)
    # the maximum of the windows falls on pixels 4, 5, 7 and 8 of an image that grows to the lower right
    np.testing.assert_array_equal(gradient[..., 0], [[0, 0, 0], [0, 1, 2], [0, 2, 4]])
    rates = image - 3.5
    gradient = jax.grad(lambda x: augment.poisson_noise(jax.random.key(0), x, 4.0).sum())(rates)
    np.testing.assert_array_equal(gradient, rates > 0)


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", [(9, 9, 2), (8, 11, 1)])
def test_affine_is_scipys(shape, order, circular, x64):
    image = picture(*shape, dtype=np.float64)
    rng = np.random.default_rng(1)
    for _ in range(4):
        matrix, offset = rng.normal(size=(2, 2)), 5 * rng.normal(size=2)
        got = augment.affine(image, matrix, offset, order=order, fill=0.7, circular=circular)
        expected = scipy_affine(image, matrix, offset, order=order, fill=0.7, circular=circular)
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_rotate_shift_and_zoom_are_scipys(x64):
    image = picture(10, 10, 2, dtype=np.float64)
    turned = scipy.ndimage.rotate(image, math.degrees(0.6), reshape=False, order=1, mode="grid-constant", cval=0.3)
    np.testing.assert_allclose(augment.rotate(image, 0.6, fill=0.3), turned, atol=1e-12)
    for circular, mode in ((False, "grid-constant"), (True, "grid-wrap")):
        moved = scipy.ndimage.shift(image, (1.3, -2.6, 0), order=1, mode=mode)
        np.testing.assert_allclose(augment.shift(image, (1.3, -2.6), circular=circular), moved, atol=1e-12)
    ramp = jnp.arange(9.0)[:, None, None] * jnp.ones((9, 9, 1))
    np.testing.assert_allclose(augment.zoom(ramp, 2.0)[:, 4, 0], 2 + np.arange(9) / 2)  # centre 4 stays, slope halves


def test_whole_circular_shifts_roll():
    image = picture(8, 7, 2)
    for offset in ((3, -2), (-17, 9), (8, 7)):
        np.testing.assert_array_equal(
            augment.shift(image, offset, circular=True), np.roll(np.asarray(image), offset, (0, 1))
        )


def test_circular_shift_keeps_the_sum(x64):
    image = picture(8, 7, 2, dtype=np.float64)
    moved = augment.shift(image, (0.37, -5.81), circular=True)
    np.testing.assert_allclose(moved.sum((0, 1)), image.sum((0, 1)), rtol=1e-10)


@pytest.mark.parametrize("size", [8, 9])
def test_quarter_turns(size):
    image = picture(size, size, 2)
    for k in range(-3, 6):
        np.testing.assert_array_equal(augment.rot90(image, k), np.rot90(image, k))
        np.testing.assert_array_equal(jax.jit(augment.rot90)(image, k), np.rot90(image, k))
        # float32 cosines of 90° are wrong by 4e-8, which at 4 pixels is a tiny part of the neighbour
        np.testing.assert_allclose(augment.rotate(image, k * math.pi / 2), np.rot90(image, k), atol=1e-5)


def test_flip_is_numpys():
    image = picture(4, 6, 2)
    for up_down in (False, True):
        for left_right in (False, True):
            expected = np.asarray(image)[:: -1 if up_down else 1, :: -1 if left_right else 1]
            np.testing.assert_array_equal(augment.flip(image, up_down=up_down, left_right=left_right), expected)


def test_d4_is_the_group_of_the_square():
    image = picture(5, 5, 1)
    elements = [augment.d4(image, e) for e in range(8)]
    assert len({np.asarray(e).tobytes() for e in elements}) == 8
    for e in range(8):
        k, mirrored = e % 4, e // 4
        expected = np.rot90(np.asarray(image)[:, ::-1] if mirrored else image, k)
        np.testing.assert_array_equal(elements[e], expected)
        for f in range(8):
            # r^a m^s · r^b m^t = r^(a ± b) m^(s + t), minus where a mirror stands between
            sign = -1 if mirrored else 1
            product = (k + sign * f) % 4 + 4 * (mirrored ^ f // 4)
            np.testing.assert_array_equal(augment.d4(elements[f], e), elements[product])


def test_crop_is_a_slice():
    image = picture(6, 8, 2)
    np.testing.assert_array_equal(augment.crop(image, (1, 3), (4, 5)), image[1:5, 3:8])
    inside = jax.jit(lambda y: augment.crop(image, (y, 0), (4, 5)))(99)
    np.testing.assert_array_equal(inside, image[2:6, 0:5])


def test_values_by_numpy(x64):
    image = np.asarray(picture(5, 6, 3, dtype=np.float64))
    mean, grey = image.mean((0, 1)), image.mean(2)[..., None]
    np.testing.assert_allclose(augment.brightness(image, 0.3), image + 0.3)
    np.testing.assert_allclose(augment.gain(image, 1.7), image * 1.7)
    np.testing.assert_allclose(augment.colour_gain(image, [1.0, 2.0, 3.0]), image * np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(augment.contrast(image, 1.7), mean + 1.7 * (image - mean))
    np.testing.assert_allclose(augment.saturation(image, 0.4), grey + 0.4 * (image - grey))
    np.testing.assert_allclose(augment.contrast(image, 1.7).mean((0, 1)), mean)
    np.testing.assert_allclose(augment.saturation(image, 0.4).mean(2)[..., None], grey)


def test_outputs_are_not_clipped():
    assert augment.brightness(jnp.ones((2, 2, 1)), 5.0).max() == 6
    assert augment.gain(jnp.ones((2, 2, 1)), -3.0).min() == -3


@pytest.mark.parametrize(("sigma", "radius"), [(0.8, 3), (2.0, 2), (3.0, 20), (1.0, 0)])
def test_blur_is_scipys_and_keeps_the_sum(sigma, radius, x64):
    image = picture(8, 6, 2, dtype=np.float64)
    got = augment.gaussian_blur(image, sigma, radius=radius)
    expected = per_channel(lambda p: scipy.ndimage.gaussian_filter(p, sigma, mode="reflect", radius=radius), image)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    np.testing.assert_allclose(got.sum((0, 1)), image.sum((0, 1)), rtol=1e-10)


def test_blur_gradient_in_sigma_is_finite_at_zero():
    image = picture(5, 5, 1)
    assert jax.grad(lambda s: (augment.gaussian_blur(image, s, radius=2) ** 2).sum())(0.0) == 0


def test_psf_is_scipys_convolution(x64):
    image = picture(8, 9, 2, dtype=np.float64)
    kernel = np.random.default_rng(3).normal(size=(3, 5, 2))
    same = per_channel(lambda p: scipy.ndimage.convolve(p, kernel[..., 0], mode="reflect"), image)
    own = np.stack(
        [scipy.ndimage.convolve(np.asarray(image[..., c]), kernel[..., c], mode="reflect") for c in (0, 1)], -1
    )
    np.testing.assert_allclose(augment.convolve_psf(image, kernel[..., 0]), same, atol=1e-12)
    np.testing.assert_allclose(augment.convolve_psf(image, kernel), own, atol=1e-12)
    point = jnp.zeros((9, 9, 1)).at[4, 4].set(1.0)
    np.testing.assert_allclose(augment.convolve_psf(point, kernel[..., 0])[3:6, 2:7, 0], kernel[..., 0], atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_dilation_is_scipys(size):
    image = picture(8, 9, 2)
    expected = per_channel(lambda p: scipy.ndimage.grey_dilation(p, size=(size, size), mode="nearest"), image)
    np.testing.assert_array_equal(augment.dilate(image, size), expected)


def test_gaussian_noise_has_its_sigma(key):
    noise = np.asarray(augment.gaussian_noise(key, jnp.zeros((100, 100, 2)), jnp.array([0.5, 3.0])))
    for channel, sigma in enumerate((0.5, 3.0)):
        # (n − 1) s² / σ² is χ² with 9,999 degrees of freedom: a band that one seed in 10,000 leaves
        low, high = scipy.stats.chi2.interval(0.9999, 9_999)
        assert low < 9_999 * noise[..., channel].var(ddof=1) / sigma**2 < high
        assert abs(noise[..., channel].mean()) < 4 * sigma / 100


def test_photon_noise_counts(key):
    exposure, rate = 4.0, 2.5
    counts = np.asarray(augment.poisson_noise(key, jnp.full((100, 100, 1), rate), exposure)) * exposure
    np.testing.assert_array_equal(counts, np.round(counts))
    assert scipy.stats.poisson.ppf(5e-5, 10_000 * rate * exposure) < counts.sum()
    assert counts.sum() < scipy.stats.poisson.ppf(1 - 5e-5, 10_000 * rate * exposure)
    # the variance of a Poisson variable is its mean; that of the estimate is (2 + 1/mean) mean² / n
    assert abs(counts.var() - 10) < 4 * math.sqrt(2.1 * 100 / 10_000)
    np.testing.assert_array_equal(augment.poisson_noise(key, jnp.full((3, 3, 1), -1.0), exposure), 0)


@pytest.mark.parametrize("name", RANDOM)
def test_random_depends_on_the_key_alone(name):
    function = RANDOM[name]
    images, keys = jnp.abs(picture(3, 9, 9, 2)), jax.random.split(jax.random.key(5), 3)
    single, batched = jax.jit(function), jax.jit(jax.vmap(function))
    one_by_one = np.stack([single(k, x) for k, x in zip(keys, images, strict=True)])
    np.testing.assert_allclose(batched(keys, images), one_by_one, rtol=1e-5, atol=5e-6)
    np.testing.assert_allclose(batched(keys[1:], images[1:]), one_by_one[1:], rtol=1e-5, atol=5e-6)
    others = [single(k, images[0]) for k in jax.random.split(jax.random.key(6), 12)]
    assert len({np.asarray(image).tobytes() for image in others}) > 1
    assert jax.eval_shape(function, keys[0], images[0].astype(jnp.bfloat16)).dtype == jnp.bfloat16
    gradient = jax.jit(jax.grad(lambda x: function(keys[0], x).sum()))(images[0])
    assert gradient.shape == images[0].shape and jnp.isfinite(gradient).all() and jnp.abs(gradient).max() > 0


@pytest.mark.parametrize("name", RANDOM)
def test_draws_do_not_depend_on_the_precision(name, key):
    image = jnp.abs(picture(9, 9, 2))
    single = np.asarray(jax.jit(RANDOM[name])(key, image))
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(RANDOM[name])(key, image), single, rtol=1e-5, atol=5e-6)


DRAWS = 2_000


def looks_uniform(draws, low, high):
    """Within the range, and each of ten bins inside the band that one seed in 10,000 leaves (Bonferroni)."""
    draws = np.asarray(draws).ravel()
    slack = 1e-4 * (high - low)  # the draws are recovered from float32 images
    assert draws.min() >= low - slack and draws.max() <= high + slack
    counts = np.histogram(draws, np.linspace(low - slack, high + slack, 11))[0]
    band = scipy.stats.binom.interval(1 - 1e-5, draws.size, 0.1)
    return bool(np.all((band[0] <= counts) & (counts <= band[1])))


def recovered(augmentation, keys):
    """Matrices (n, 2, 2) and offsets (n, 2) of an augmentation, from its action on an image of its own coordinates."""
    y, x = np.mgrid[:9, :9] - 4.0
    coordinates = jnp.asarray(np.stack([y, x, np.ones_like(y)], -1), jnp.float32)
    outputs = np.asarray(jax.jit(jax.vmap(augmentation, (0, None)))(keys, coordinates), np.float64)
    design = np.stack([y, x, np.ones_like(y)], -1)
    solutions = []
    for output in outputs:
        inside = output[..., 2] > 1 - 1e-6  # bilinear interpolation reproduces a ramp wherever no fill is mixed in
        solutions.append(np.linalg.lstsq(design[inside], output[inside][:, :2], rcond=None)[0].T)
    return np.stack(solutions)[..., :2], np.stack(solutions)[..., 2]


def test_geometry_is_drawn_uniformly():
    keys = jax.random.split(jax.random.key(11), DRAWS)
    matrices, offsets = recovered(Augmentation(rotate=1.0, zoom=(1.0, 2.0), shift=2.0), keys)
    zooms = 1 / np.sqrt(np.linalg.det(matrices))
    angles = np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0])
    assert looks_uniform(angles, -1, 1)
    assert looks_uniform(np.log(zooms), 0, math.log(2))
    moves = -np.linalg.solve(matrices, offsets[..., None])[..., 0]
    assert looks_uniform(moves[:, 0], -2, 2) and looks_uniform(moves[:, 1], -2, 2)
    # independent: |r| √n is normal, 4 is passed once in 16,000
    draws = np.stack([angles, np.log(zooms), moves[:, 0], moves[:, 1]])
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() * math.sqrt(DRAWS) < 4.5


def test_one_option_does_not_change_the_draws_of_another():
    keys = jax.random.split(jax.random.key(12), 20)
    alone, _ = recovered(Augmentation(rotate=1.0), keys)
    together, _ = recovered(Augmentation(d4=False, rotate=1.0, zoom=(1.0, 2.0), shift=1.0), keys)
    together = together / np.sqrt(np.linalg.det(together))[:, None, None]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_whole_geometry_is_one_resampling(x64):
    augmentation = Augmentation(d4=True, rotate=1.0, zoom=(0.7, 1.0), shift=2.0, fill=0.3)
    turn = dataclasses.replace(augmentation, d4=False)
    image = picture(9, 9, 2, dtype=np.float64)
    for key in jax.random.split(jax.random.key(13), 5):
        matrices, offsets = recovered(turn, key[None])
        turned_first = Augmentation(d4=True)(key, image)
        expected = scipy_affine(turned_first, matrices[0], offsets[0], order=1, fill=0.3, circular=False)
        np.testing.assert_allclose(augmentation(key, image), expected, atol=1e-4)  # recovered in float32


def test_values_are_drawn_uniformly():
    keys = jax.random.split(jax.random.key(14), DRAWS)
    ones = jnp.ones((1, 1, 2))
    step = jnp.array([-1.0, 1.0])[:, None, None]  # mean 0 over its two pixels, or, swapped, over its two channels
    drawn = lambda image, **ranges: jax.jit(jax.vmap(Augmentation(**ranges), (0, None)))(keys, image)
    assert looks_uniform(np.log(drawn(ones, gain=(0.5, 2.0))[:, 0, 0, 0]), -math.log(2), math.log(2))
    gains = np.log(drawn(ones, colour_gain=(0.5, 2.0)))[:, 0, 0]
    assert looks_uniform(gains[:, 0], -math.log(2), math.log(2)) and looks_uniform(
        gains[:, 1], -math.log(2), math.log(2)
    )
    assert abs(np.corrcoef(gains.T)[0, 1]) * math.sqrt(DRAWS) < 4
    assert looks_uniform(drawn(step, contrast=(0.0, 3.0))[:, 1, 0, 0], 0, 3)
    assert looks_uniform(drawn(step.reshape(1, 1, 2), saturation=(0.0, 3.0))[:, 0, 0, 1], 0, 3)
    assert looks_uniform(drawn(ones, brightness=2.0)[:, 0, 0, 0] - 1, -2, 2)


def test_discrete_draws_are_equally_likely():
    keys = jax.random.split(jax.random.key(15), DRAWS)
    image = jnp.arange(16.0).reshape(4, 4, 1)

    def counts(function):
        outputs = np.asarray(jax.jit(jax.vmap(function, (0, None)))(keys, image)).reshape(DRAWS, -1)
        return np.unique(outputs, axis=0, return_counts=True)[1]

    cases = (
        (augment.random_rot90, 4),
        (augment.random_flip, 4),
        (Augmentation(flip=True), 4),
        (augment.random_d4, 8),
        (Augmentation(d4=True), 8),
        (lambda k, x: augment.random_crop(k, x, size=(2, 3)), 6),
        (Augmentation(crop=(3, 3)), 4),
        (Augmentation(dilate=3), 2),
    )
    for function, outcomes in cases:
        seen = counts(function)
        low, high = scipy.stats.binom.interval(1 - 1e-5, DRAWS, 1 / outcomes)
        assert len(seen) == outcomes and low <= seen.min() and seen.max() <= high


def test_noise_level_is_drawn_per_image():
    keys = jax.random.split(jax.random.key(16), 300)
    outputs = jax.jit(jax.vmap(Augmentation(noise=(1.0, 3.0)), (0, None)))(keys, jnp.zeros((30, 30, 1)))
    levels = np.asarray(outputs).std((1, 2, 3))
    # 900 pixels give a sigma to 1/√1800 = 2.4 %: 4.5 of these either side of the range
    assert 0.89 < levels.min() < 1.2 and 2.8 < levels.max() < 3.33


def test_no_options_change_nothing(key):
    image = picture(4, 5, 2)
    np.testing.assert_array_equal(Augmentation()(key, image), image)


def test_augment_batch_is_the_loop_and_compiles_once(key):
    augmentation = Augmentation(d4=True, rotate=0.3, noise=(0.0, 0.1), crop=(6, 7))
    images, keys = picture(4, 8, 8, 2), jax.random.split(key, 4)
    step = jax.jit(augment_batch, static_argnums=0)
    got = step(augmentation, keys, images)
    assert got.shape == (4, 6, 7, 2) and got.dtype == images.dtype
    expected = np.stack([augmentation(k, x) for k, x in zip(keys, images, strict=True)])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)
    step(Augmentation(d4=True, rotate=0.3, noise=(0.0, 0.1), crop=(6, 7)), keys, images)
    assert step._cache_size() == 1  # an equal augmentation is the same static argument


def test_conventions():
    functions = {
        name: f
        for name, f in vars(augment).items()
        if inspect.isfunction(f) and not name.startswith("_") and f.__module__ == augment.__name__
    }
    for name, function in functions.items():
        if name == "augment_batch":
            continue
        parameters = list(inspect.signature(function).parameters.values())
        names = [p.name for p in parameters]
        assert names[:2] == ["key", "image"] or names[0] == "image", name
        if name.startswith("random_"):
            assert all(p.kind is p.KEYWORD_ONLY for p in parameters[2:]), name
            assert name.removeprefix("random_") in functions, name
            assert name in RANDOM
        else:
            assert name in DETERMINISTIC


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: augment.rotate(jnp.ones((4, 4, 1), jnp.int32), 1.0), ["int32", "(4, 4, 1)", "astype"]),
        (lambda: augment.rotate(jnp.ones((4, 4)), 1.0), ["(H, W, C)", "(4, 4)", "[..., None]"]),
        (lambda: augment.gain(jnp.ones((2, 4, 4, 1)), 1.0), ["(2, 4, 4, 1)", "vmap"]),
        (lambda: augment.rot90(jnp.ones((4, 5, 1)), 1), ["rot90", "square", "4 × 5", "flip"]),
        (lambda: Augmentation(d4=True)(jax.random.key(0), jnp.ones((4, 5, 1))), ["square", "4 × 5", "flip"]),
        (lambda: augment.zoom(jnp.ones((4, 4, 1)), 0.0), ["zoom factor", "above 0", "0.0"]),
        (lambda: augment.zoom(jnp.ones((4, 4, 1)), np.float32(-2)), ["zoom factor", "-2"]),
        (lambda: augment.affine(jnp.ones((4, 4, 1)), np.eye(2), order=3), ["order", "0", "1", "3"]),
        (lambda: augment.crop(jnp.ones((4, 4, 1)), (0, 0), (5, 2)), ["(5, 2)", "(4, 4)", "within"]),
        (lambda: augment.crop(jnp.ones((4, 4, 1)), (0, 3), (2, 2)), ["(2, 2)", "(0, 3)", "move"]),
        (lambda: augment.colour_gain(jnp.ones((4, 4, 3)), [1.0, 2.0]), ["(3,)", "(2,)", "gain"]),
        (lambda: augment.gaussian_blur(jnp.ones((4, 4, 1)), -1.0, radius=2), ["sigma", "at least 0", "-1.0"]),
        (lambda: augment.gaussian_blur(jnp.ones((4, 4, 1)), 1.0, radius=-2), ["radius", "-2", "4 sigma"]),
        (lambda: augment.convolve_psf(jnp.ones((4, 4, 2)), jnp.ones((2, 3))), ["odd", "(2, 3)", "pad"]),
        (lambda: augment.convolve_psf(jnp.ones((4, 4, 2)), jnp.ones((3, 3, 4))), ["(h, w, 2)", "(3, 3, 4)"]),
        (lambda: augment.convolve_psf(jnp.ones((4, 4, 2)), jnp.ones(3)), ["(h, w, 2)", "(3,)"]),
        (lambda: augment.dilate(jnp.ones((4, 4, 1)), 2), ["odd", "2", "use 3"]),
        (lambda: augment.gaussian_noise(jax.random.key(0), jnp.ones((4, 4, 1)), -0.1), ["sigma", "-0.1"]),
        (lambda: augment.poisson_noise(jax.random.key(0), jnp.ones((4, 4, 1)), 0.0), ["exposure", "above 0"]),
        (
            lambda: augment.random_zoom(jax.random.key(0), jnp.ones((4, 4, 1)), factors=(2.0, 1.0)),
            ["(smallest, largest)", "(2.0, 1.0)"],
        ),
        (lambda: augment.random_zoom(jax.random.key(0), jnp.ones((4, 4, 1)), factors=(0, 1)), ["above 0", "0"]),
        (lambda: Augmentation(zoom=(2.0, 1.0)), ["zoom", "(2.0, 1.0)", "swap"]),
        (lambda: Augmentation(gain=(0.0, 1.0)), ["gain", "above 0"]),
        (lambda: Augmentation(noise=(-1.0, 1.0)), ["noise", "at least 0", "-1.0"]),
        (lambda: Augmentation(rotate=-1.0), ["rotate", "at least 0", "-1.0"]),
        (lambda: Augmentation(d4=True, flip=True), ["d4", "flip", "leave"]),
        (lambda: Augmentation(order=2), ["order", "2"]),
        (lambda: Augmentation(dilate=4), ["odd", "4"]),
        (
            lambda: augment_batch(Augmentation(), jax.random.split(jax.random.key(0), 3), jnp.ones((2, 4, 4, 1))),
            ["(B,)", "(2, 4, 4, 1)", "(3,)", "split"],
        ),
        (
            lambda: augment_batch(Augmentation(), jax.random.PRNGKey(0), jnp.ones((2, 4, 4, 1))),
            ["uint32", "jax.random.key"],
        ),
    ],
)
def test_errors_say_what_to_do(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


MOVED = Augmentation(d4=True, shift=2.0, rotate=0.4, zoom=(0.8, 1.2), crop=(6, 7), gain=(0.5, 2.0), noise=(0.1, 0.2))


def test_maps_move_with_the_image_and_keep_their_values(key):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(8, 8, 2)), jnp.float32)
    maps = {"label": jnp.asarray(rng.integers(0, 5, (8, 8)), jnp.uint8), "target": image + 1}
    together = jax.jit(MOVED.together)
    for i in range(5):
        one = jax.random.fold_in(key, i)
        moved, moved_maps = together(one, image, maps)
        assert np.allclose(moved, MOVED(one, image), atol=1e-6)
        geometry = Augmentation(d4=True, shift=2.0, rotate=0.4, zoom=(0.8, 1.2), crop=(6, 7))
        # What comes in from outside is 0 in the map, hence 1 less than the image plus 1 (of which 0 becomes 1).
        seen = Augmentation(**{**vars(geometry), "fill": 0.0})(one, jnp.ones((8, 8, 1)))
        assert np.allclose(moved_maps["target"], geometry(one, image) + seen, atol=1e-5)
        nearest = Augmentation(**{**vars(geometry), "order": 0})(one, maps["label"][..., None].astype(jnp.float32))
        assert moved_maps["label"].dtype == jnp.uint8 and moved_maps["label"].shape == (6, 7)
        assert np.array_equal(moved_maps["label"], nearest[..., 0])


def test_maps_are_turned_exactly_with_the_image(key):
    image = jnp.arange(36.0).reshape(6, 6, 1)
    numbers = jnp.arange(36, dtype=jnp.int32).reshape(6, 6)
    for i in range(8):
        turned, maps = Augmentation(d4=True).together(jax.random.fold_in(key, i), image, {"objects": numbers})
        assert np.array_equal(turned[..., 0], maps["objects"])


def test_a_map_of_another_size_is_refused(key):
    with pytest.raises(ValueError, match=r"label should have a value for each pixel .*\(8, 8\); got \(8, 9\)"):
        Augmentation(d4=True).together(key, jnp.zeros((8, 8, 1)), {"label": jnp.zeros((8, 9), jnp.uint8)})
