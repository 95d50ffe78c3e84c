"""Augmentation of images as pure functions of one image: turns, shifts, zooms, colour, blur and noise.

Contract. An image is a floating-point array (H, W, C) with any number of channels and values in any range and unit.
Outputs keep the dtype and are *not* clipped, so that functions chain and flux is not thrown away; clip afterwards
where a range is needed. bfloat16 and float16 are computed in float32. Rows run down and columns right: a position is
(y, x) in pixels, the centre of the image is ((H − 1)/2, (W − 1)/2), and a positive angle turns counter-clockwise as
seen with row 0 on top, as `numpy.rot90` does.

`f(image, …)` is deterministic and its parameters may be traced unless called static; `random_f(key, image, …)` draws
them: uniformly from their range, those of zoom, gain and exposure in the logarithm, so that twice as much is as likely
as half. Several transformations are composed by an `Augmentation`, which resamples the image at most once, because
every interpolation blurs. All work under `jit`, `vmap` and `grad` with respect to the image. Parameters given as Python
or NumPy numbers are checked; traced ones cannot be.

Resampling is bilinear (or nearest, order 0), without a low-pass filter: a zoom below 1 aliases unless the image is
blurred before. Outside the image stands the constant `fill` (`scipy.ndimage`'s "grid-constant") or, on request, the
image again (circular, "grid-wrap"). Blurs mirror the image at its edge, edge pixel included ("reflect").
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
Number = float | Array
Range = tuple[float, float]


def rot90(image: Array, k: int | Array) -> Array:
    """Turn a square image (N, N, C) by `k` quarter turns counter-clockwise, exactly; `k` any integer, may be traced.

    Raises:
        ValueError: the image is not square.
    """
    image = _square(_checked(image), "rot90")
    k = jnp.asarray(k) % 4
    turned = jnp.where(k % 2 == 1, image.swapaxes(0, 1), image)
    return flip(turned, up_down=(k == 1) | (k == 2), left_right=(k == 2) | (k == 3))


def flip(image: Array, *, up_down: bool | Array = False, left_right: bool | Array = False) -> Array:
    """Mirror an image (H, W, C): rows reversed if `up_down`, columns reversed if `left_right`; both may be traced."""
    image = _checked(image)
    image = jnp.where(up_down, image[::-1], image)
    return jnp.where(left_right, image[:, ::-1], image)


def d4(image: Array, element: int | Array) -> Array:
    """One of the eight symmetries of the square, exactly: `element` = k + 4 m, mirrored left-right if m, then turned.

    k = 0…3 counts quarter turns counter-clockwise (see `rot90`), m is 0 or 1; `element` may be traced.

    Raises:
        ValueError: the image is not square.
    """
    image = _square(_checked(image), "d4")
    element = jnp.asarray(element)
    return rot90(flip(image, left_right=element // 4 % 2 == 1), element % 4)


def crop(image: Array, corner: tuple[int | Array, int | Array], size: tuple[int, int]) -> Array:
    """Cut the window of `size` (static) whose first pixel is `corner` (may be traced) out of an image (H, W, C).

    A traced corner that would take the window outside is moved inside, as `jax.lax.dynamic_slice` does.

    Raises:
        ValueError: the window is larger than the image, or a known corner takes it outside.
    """
    image = _checked(image)
    _check_crop(image, size)
    for start, length, extent in zip(corner, size, image.shape, strict=False):
        if _is_known(start) and not 0 <= start <= extent - length:
            raise ValueError(
                f"a crop of {tuple(size)} from an image of {image.shape[:2]} needs a corner between (0, 0) and "
                f"{_last_corner(image, size)}, got {tuple(corner)}: move the corner inside or cut a smaller window"
            )
    starts = [jnp.asarray(start, jnp.int32) for start in (*corner, 0)]
    return lax.dynamic_slice(image, starts, (*size, image.shape[2]))


def affine(
    image: Array,
    matrix: Array,
    offset: Array = (0.0, 0.0),
    *,
    order: int = 1,
    fill: Number = 0.0,
    circular: bool = False,
) -> Array:
    """Resample an image (H, W, C): the pixel at p takes the value at `matrix` · (p − centre) + centre + `offset`.

    The map goes from output to input, as in `scipy.ndimage.affine_transform`, but about the centre: to enlarge by 2 the
    matrix is 1/2.

    Args:
        image: (H, W, C).
        matrix: (2, 2), acts on (y, x).
        offset: (2,), pixels of the input.
        order: static; 1 bilinear, 0 nearest (ties towards larger indices).
        fill: value outside the image; not used when `circular`.
        circular: static; the image repeats in both directions.

    Raises:
        ValueError: `order` is neither 0 nor 1.
    """
    image = _checked(image)
    _check_order(order)
    height, width, _ = image.shape
    values = _wide(image)
    matrix, offset = jnp.asarray(matrix, values.dtype), jnp.asarray(offset, values.dtype)
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y = jnp.arange(height, dtype=values.dtype)[:, None] - centre_y
    x = jnp.arange(width, dtype=values.dtype)[None, :] - centre_x
    source_y = matrix[0, 0] * y + matrix[0, 1] * x + centre_y + offset[0]
    source_x = matrix[1, 0] * y + matrix[1, 1] * x + centre_x + offset[1]
    # One ring around the image makes its surroundings, so that no masks are needed: of `fill` with clipped positions,
    # or of the opposite edge with positions wrapped as floats (integer remainders are slow).
    if circular:
        source_y, source_x = source_y % height, source_x % width
        values = jnp.pad(values, ((1, 1), (1, 1), (0, 0)), mode="wrap")
    else:
        source_y, source_x = jnp.clip(source_y, -1, height), jnp.clip(source_x, -1, width)
        values = jnp.pad(values, ((1, 1), (1, 1), (0, 0)), constant_values=fill)
    source_y, source_x = source_y + 1, source_x + 1

    def at(row: Array, column: Array) -> Array:
        return values.at[row, column].get(mode="clip")

    if order == 0:
        return at(_index(source_y + 0.5), _index(source_x + 0.5)).astype(image.dtype)
    low_y, low_x = _index(source_y), _index(source_x)
    part_y, part_x = (source_y - low_y)[..., None], (source_x - low_x)[..., None]
    upper = (1 - part_x) * at(low_y, low_x) + part_x * at(low_y, low_x + 1)
    lower = (1 - part_x) * at(low_y + 1, low_x) + part_x * at(low_y + 1, low_x + 1)
    return ((1 - part_y) * upper + part_y * lower).astype(image.dtype)


def rotate(image: Array, angle_rad: Number, *, order: int = 1, fill: Number = 0.0) -> Array:
    """Turn an image (H, W, C) about its centre, counter-clockwise by `angle_rad`; the shape is kept. See `affine`."""
    return affine(image, _turn_matrix(angle_rad), order=order, fill=fill)


def shift(
    image: Array, offset: tuple[Number, Number], *, order: int = 1, fill: Number = 0.0, circular: bool = False
) -> Array:
    """Move an image (H, W, C) by `offset` = (dy, dx) pixels, down and right; parts of pixels allowed. See `affine`."""
    return affine(image, jnp.eye(2), -jnp.asarray(offset), order=order, fill=fill, circular=circular)


def zoom(image: Array, factor: Number, *, order: int = 1, fill: Number = 0.0) -> Array:
    """Rescale an image (H, W, C) about its centre; above 1 magnifies; the shape is kept. See `affine`.

    Surface brightness is kept, so the sum grows with `factor`².

    Raises:
        ValueError: a known `factor` is not positive.
    """
    _check_at_least(factor, 0, "zoom factor", strictly=True)
    return affine(image, jnp.eye(2) / factor, order=order, fill=fill)


def brightness(image: Array, delta: Number) -> Array:
    """Add `delta`, in the image's unit, to every value of (H, W, C)."""
    image = _checked(image)
    return (_wide(image) + delta).astype(image.dtype)


def gain(image: Array, factor: Number) -> Array:
    """Multiply every value of (H, W, C) by `factor`."""
    image = _checked(image)
    return (_wide(image) * factor).astype(image.dtype)


def colour_gain(image: Array, factors: Array) -> Array:
    """Multiply channel c of (H, W, C) by `factors[c]`.

    Raises:
        ValueError: `factors` is not (C,).
    """
    image = _checked(image)
    factors = jnp.asarray(factors)
    if factors.shape != image.shape[2:]:
        raise ValueError(
            f"colour_gain needs one factor per channel, shape {image.shape[2:]}, got shape {factors.shape}: "
            "use gain for one factor in all channels"
        )
    return (_wide(image) * factors[None, None, :]).astype(image.dtype)


def contrast(image: Array, factor: Number) -> Array:
    """Stretch the deviations of (H, W, C) from the mean of each channel by `factor`; the means are kept."""
    image = _checked(image)
    # one axis at a time: XLA's reduction of two axes takes five times as long on a CPU
    return _blend(image, _wide(image).mean(0, keepdims=True).mean(1, keepdims=True), factor)


def saturation(image: Array, factor: Number) -> Array:
    """Stretch the deviations of each pixel's channels from their mean by `factor`; 0 gives grey, 1 the image."""
    image = _checked(image)
    values = _wide(image)
    channels = image.shape[2]
    # a sum of slices: XLA's reduction of a short last axis is 20 times slower on a CPU
    return _blend(image, sum(values[..., c : c + 1] for c in range(channels)) / channels, factor)


def gaussian_blur(image: Array, sigma: Number, *, radius: int) -> Array:
    """Convolve (H, W, C) with a Gaussian of standard deviation `sigma` pixels, cut at `radius` (static) and normalised.

    `sigma` = 0 returns the image; a radius of 4 `sigma` loses 6e-5 of the Gaussian.

    Raises:
        ValueError: a known `sigma` is negative, or `radius` is not a whole number ≥ 0.
    """
    image = _checked(image)
    _check_at_least(sigma, 0, "sigma")
    if radius != int(radius) or radius < 0:
        raise ValueError(f"radius must be a whole number of pixels ≥ 0, got {radius}: 4 sigma, rounded up, is usual")
    values = _wide(image)
    distance = jnp.arange(-radius, radius + 1, dtype=values.dtype)
    # Below 1/1000 pixel the Gaussian is a single pixel in floating point; the bound keeps sigma = 0 free of 0/0.
    weights = jnp.exp(-0.5 * (distance / jnp.maximum(jnp.asarray(sigma, values.dtype), 1e-3)) ** 2)
    weights = weights / weights.sum()
    # Two matrix products, one per axis: sums of shifted slices make XLA compute what came before again for every slice.
    rows, columns = (_mirrored_band(weights, length) for length in values.shape[:2])
    values = jnp.einsum("ij,jkc->ikc", rows, values, precision=lax.Precision.HIGHEST)
    return jnp.einsum("ij,kjc->kic", columns, values, precision=lax.Precision.HIGHEST).astype(image.dtype)


def convolve_psf(image: Array, kernel: Array) -> Array:
    """Convolve (H, W, C) with a point-spread function (h, w), the same for all channels, or (h, w, C); h and w odd.

    A true convolution, as `scipy.ndimage.convolve`: a point becomes the kernel, not its mirror image. The kernel is
    used as given: let it sum to 1 to keep the flux. Computed by FFT, whose time hardly depends on the kernel's size and
    whose rounding error is that of the brightest pixel, everywhere.

    Raises:
        ValueError: the kernel's shape is not one of these.
    """
    image = _checked(image)
    values = _wide(image)
    kernel = jnp.asarray(kernel, values.dtype)
    height, width = (*kernel.shape, 0, 0)[:2]
    channels = image.shape[2]
    if kernel.shape[2:] not in ((), (channels,)) or height % 2 == 0 or width % 2 == 0:
        raise ValueError(
            f"expected a kernel (h, w) or (h, w, {channels}) with h and w odd, got {kernel.shape}: pad it with a row "
            "or column of zeros so that it has a central pixel"
        )
    framed = _mirror(values, [height // 2] * 2, [width // 2] * 2)
    size = framed.shape[:2]
    spectrum = jnp.fft.rfft2(kernel if kernel.ndim == 3 else kernel[..., None], s=size, axes=(0, 1))
    blurred = jnp.fft.irfft2(jnp.fft.rfft2(framed, axes=(0, 1)) * spectrum, s=size, axes=(0, 1))
    # the first rows and columns hold what the FFT's periodicity folded over
    return blurred[height - 1 :, width - 1 :].astype(image.dtype)


def dilate(image: Array, size: int) -> Array:
    """Grey dilation: each value of (H, W, C) becomes the largest in the `size` × `size` window about it; static, odd.

    `-dilate(-image, size)` is the erosion.

    Raises:
        ValueError: `size` is not odd.
    """
    image = _checked(image)
    _check_window(size)
    for axis in (0, 1):
        reach, length = size // 2, image.shape[axis]
        widths = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded = jnp.pad(image, widths, constant_values=-jnp.inf)
        # The maximum of slices: the gradient of XLA's own window maximum is far slower on a CPU.
        image = lax.slice_in_dim(padded, 0, length, axis=axis)
        for start in range(1, size):
            image = jnp.maximum(image, lax.slice_in_dim(padded, start, start + length, axis=axis))
    return image


def gaussian_noise(key: Array, image: Array, sigma: Number) -> Array:
    """Add independent normal noise of standard deviation `sigma`, a number or one per channel (C,), to (H, W, C).

    Raises:
        ValueError: a known `sigma` is negative.
    """
    image = _checked(image)
    _check_at_least(sigma, 0, "sigma")
    values = _wide(image)
    sigma = jnp.broadcast_to(jnp.asarray(sigma, values.dtype), image.shape)
    return (values + sigma * jax.random.normal(key, image.shape, values.dtype)).astype(image.dtype)


def poisson_noise(key: Array, image: Array, exposure: Number) -> Array:
    """Count photons: an image (H, W, C) of rates becomes Poisson(rate · `exposure`) / `exposure`, of the same mean.

    Negative rates count as zero. The gradient is that of the mean. `jax.random.poisson` needs JAX's default key type
    and is slow: about 1 µs a value on a CPU.

    Raises:
        ValueError: a known `exposure` is not positive.
    """
    image = _checked(image)
    _check_at_least(exposure, 0, "exposure", strictly=True)
    rate = jnp.maximum(_wide(image), 0)
    counts = jax.random.poisson(key, lax.stop_gradient(rate) * exposure)
    return (counts / exposure + (rate - lax.stop_gradient(rate))).astype(image.dtype)


def random_rot90(key: Array, image: Array) -> Array:
    """`rot90` by 0 to 3 quarter turns, equally likely."""
    return rot90(image, jax.random.randint(key, (), 0, 4, jnp.int32))


def random_flip(key: Array, image: Array) -> Array:
    """`flip` along each axis with probability 1/2."""
    up_down, left_right = _uniform(key, (0.0, 1.0), (2,)) < 0.5
    return flip(image, up_down=up_down, left_right=left_right)


def random_d4(key: Array, image: Array) -> Array:
    """One of the eight symmetries of the square (`d4`), equally likely."""
    return d4(image, jax.random.randint(key, (), 0, 8, jnp.int32))


def random_crop(key: Array, image: Array, *, size: tuple[int, int]) -> Array:
    """`crop` of `size`, every position equally likely."""
    image = _checked(image)
    _check_crop(image, size)
    bounds = jnp.asarray(_last_corner(image, size)) + 1
    return crop(image, tuple(jax.random.randint(key, (2,), 0, bounds, jnp.int32)), size)


def random_rotate(key: Array, image: Array, *, max_angle: float = math.pi, order: int = 1, fill: Number = 0.0) -> Array:
    """`rotate` by an angle in ±`max_angle` rad."""
    return rotate(image, _uniform(key, (-max_angle, max_angle)), order=order, fill=fill)


def random_shift(
    key: Array, image: Array, *, max_shift: float, order: int = 1, fill: Number = 0.0, circular: bool = False
) -> Array:
    """`shift` by up to ±`max_shift` pixels along each axis."""
    offset = _uniform(key, (-max_shift, max_shift), (2,))
    return shift(image, tuple(offset), order=order, fill=fill, circular=circular)


def random_zoom(key: Array, image: Array, *, factors: Range, order: int = 1, fill: Number = 0.0) -> Array:
    """`zoom` by a factor in `factors`, uniform in its logarithm."""
    return zoom(image, _log_uniform(key, factors), order=order, fill=fill)


def random_brightness(key: Array, image: Array, *, max_delta: float) -> Array:
    """`brightness` by ±`max_delta`."""
    return brightness(image, _uniform(key, (-max_delta, max_delta)))


def random_gain(key: Array, image: Array, *, factors: Range) -> Array:
    """`gain` by a factor in `factors`, uniform in its logarithm."""
    return gain(image, _log_uniform(key, factors))


def random_colour_gain(key: Array, image: Array, *, factors: Range) -> Array:
    """`colour_gain`, each channel by its own factor in `factors`, uniform in its logarithm."""
    image = _checked(image)
    return colour_gain(image, _log_uniform(key, factors, image.shape[2:]))


def random_contrast(key: Array, image: Array, *, factors: Range) -> Array:
    """`contrast` by a factor in `factors`."""
    return contrast(image, _uniform(key, factors))


def random_saturation(key: Array, image: Array, *, factors: Range) -> Array:
    """`saturation` by a factor in `factors`."""
    return saturation(image, _uniform(key, factors))


def random_gaussian_blur(key: Array, image: Array, *, sigmas: Range, radius: int | None = None) -> Array:
    """`gaussian_blur` by a sigma in `sigmas` pixels; the radius is 4 times the largest unless given."""
    radius = math.ceil(4 * sigmas[1]) if radius is None else radius
    return gaussian_blur(image, _uniform(key, sigmas), radius=radius)


def random_dilate(key: Array, image: Array, *, size: int, probability: float = 0.5) -> Array:
    """`dilate` with the given probability."""
    return jnp.where(_uniform(key, (0.0, 1.0)) < probability, dilate(image, size), _checked(image))


def random_gaussian_noise(key: Array, image: Array, *, sigmas: Range) -> Array:
    """`gaussian_noise` of a sigma in `sigmas`, one for the image."""
    level, noise = jax.random.split(key)
    return gaussian_noise(noise, image, _uniform(level, sigmas))


def random_poisson_noise(key: Array, image: Array, *, exposures: Range) -> Array:
    """`poisson_noise` of an exposure in `exposures`, uniform in its logarithm."""
    level, noise = jax.random.split(key)
    return poisson_noise(noise, image, _log_uniform(level, exposures))


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from, all off by default; called with (key, image) it draws and applies them.

    In this order: geometry, crop, dilation, blur, gain, colour gain, contrast, saturation, brightness, photon noise,
    Gaussian noise. Geometry is one resampling: the image is mirrored or turned by `d4` or `flip`, then rotated and
    zoomed about the centre, then shifted. With `d4` or `flip` alone pixels are exchanged exactly. Each draw has its
    own key, so that switching one option on does not change what the others draw.

    Frozen and hashable: a static argument of `jit`.

    Attributes:
        d4: one of the eight symmetries of the square; square images only.
        flip: mirrored up-down and left-right, each with probability 1/2; for any shape.
        rotate: largest angle in rad, either way.
        shift: largest shift in pixels, along each axis, either way.
        zoom: smallest and largest magnification.
        order: 1 bilinear, 0 nearest.
        fill: value outside the image.
        circular: the image repeats outside; `fill` is not used.
        crop: size (h, w) of a random window of the result.
        dilate: odd window of a dilation applied to every second image, by chance; 1 is off.
        blur: smallest and largest Gaussian sigma in pixels.
        gain: smallest and largest factor for all values.
        colour_gain: smallest and largest factor, drawn for each channel.
        contrast: smallest and largest factor.
        saturation: smallest and largest factor.
        brightness: largest value added, either way.
        exposure: smallest and largest exposure of photon noise; None is off.
        noise: smallest and largest sigma of Gaussian noise.

    Raises:
        ValueError: a range that is reversed or outside what its function takes, or both `d4` and `flip`.
    """

    d4: bool = False
    flip: bool = False
    rotate: float = 0.0
    shift: float = 0.0
    zoom: Range = (1.0, 1.0)
    order: int = 1
    fill: float = 0.0
    circular: bool = False
    crop: tuple[int, int] | None = None
    dilate: int = 1
    blur: Range = (0.0, 0.0)
    gain: Range = (1.0, 1.0)
    colour_gain: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    brightness: float = 0.0
    exposure: Range | None = None
    noise: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("rotate", "shift", "brightness"):
            _check_at_least(getattr(self, name), 0, name)
        for name in ("zoom", "gain", "colour_gain", "exposure"):
            if getattr(self, name) is not None:
                _check_range(getattr(self, name), name)
                _check_at_least(getattr(self, name)[0], 0, f"{name}'s smallest value", strictly=True)
        for name in ("blur", "contrast", "saturation", "noise"):
            _check_range(getattr(self, name), name)
            _check_at_least(getattr(self, name)[0], 0, f"{name}'s smallest value")
        _check_order(self.order)
        _check_window(self.dilate)
        if self.d4 and self.flip:
            raise ValueError("expected d4 or flip, got both: d4 contains the flips, so leave flip out")

    def __call__(self, key: Array, image: Array) -> Array:
        """Draw and apply to one image (H, W, C); returns the same shape, or (h, w, C) with `crop`."""
        keys = self._keys(key)
        return self._values(keys, self._geometry(keys, _checked(image), order=self.order, fill=self.fill))

    def together(self, key: Array, image: Array, maps: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Draw and apply to one image and to what belongs to its pixels.

        Maps move with the image and keep their values: whole numbers (classes, masks, instances) by the nearest pixel,
        floating-point numbers by the `order` of the image. What comes in from outside the image is 0.

        Args:
            key: of the draws; the image becomes what `__call__` makes of it.
            image: (H, W, C).
            maps: name → (H, W) or (H, W, D), of any dtype. Whole numbers below 2²⁴.

        Returns:
            The image, and the maps in their dtypes, of the same or the cropped size.

        Raises:
            ValueError: a map of another height or width than the image.
        """
        keys = self._keys(key)
        moved = {}
        for name, values in maps.items():
            if values.shape[:2] != image.shape[:2] or values.ndim not in (2, 3):
                raise ValueError(
                    f"{name} should have a value for each pixel of the image, (H, W) or (H, W, D) with (H, W) = "
                    f"{image.shape[:2]}; got {values.shape}"
                )
            floating = jnp.issubdtype(values.dtype, jnp.floating)
            wide = values if floating else values.astype(jnp.float32)
            order = self.order if floating else 0
            wide = self._geometry(keys, wide.reshape(*values.shape[:2], -1), order=order, fill=0.0)
            moved[name] = wide.reshape(*wide.shape[:2], *values.shape[2:]).astype(values.dtype)
        return self(key, image), moved

    @staticmethod
    def _keys(key: Array) -> dict[str, Array]:
        return dict(zip(_DRAWS, (jax.random.fold_in(key, i) for i in range(len(_DRAWS))), strict=True))

    def _values(self, keys: dict[str, Array], image: Array) -> Array:
        if self.dilate != 1:
            image = random_dilate(keys["dilate"], image, size=self.dilate)
        if self.blur != (0, 0):
            image = random_gaussian_blur(keys["blur"], image, sigmas=self.blur)
        if self.gain != (1, 1):
            image = random_gain(keys["gain"], image, factors=self.gain)
        if self.colour_gain != (1, 1):
            image = random_colour_gain(keys["colour_gain"], image, factors=self.colour_gain)
        if self.contrast != (1, 1):
            image = random_contrast(keys["contrast"], image, factors=self.contrast)
        if self.saturation != (1, 1):
            image = random_saturation(keys["saturation"], image, factors=self.saturation)
        if self.brightness:
            image = random_brightness(keys["brightness"], image, max_delta=self.brightness)
        if self.exposure is not None:
            image = random_poisson_noise(keys["exposure"], image, exposures=self.exposure)
        if self.noise != (0, 0):
            image = random_gaussian_noise(keys["noise"], image, sigmas=self.noise)
        return image

    def _geometry(self, keys: dict[str, Array], image: Array, *, order: int, fill: float) -> Array:
        if self.d4:
            image = random_d4(keys["symmetry"], image)
        if self.flip:
            image = random_flip(keys["symmetry"], image)
        if self.rotate or self.shift or self.zoom != (1, 1):
            image = self._resampled(keys, image, order=order, fill=fill)
        return image if self.crop is None else random_crop(keys["crop"], image, size=self.crop)

    def _resampled(self, keys: dict[str, Array], image: Array, *, order: int, fill: float) -> Array:
        # rotate and zoom about the centre commute; the shift comes last, hence first on the way back to the input
        matrix = _turn_matrix(_uniform(keys["rotate"], (-self.rotate, self.rotate)))
        matrix = matrix / _log_uniform(keys["zoom"], self.zoom)
        move = _uniform(keys["shift"], (-self.shift, self.shift), (2,))
        offset = -(matrix * move[None, :]).sum(1)
        return affine(image, matrix, offset, order=order, fill=fill, circular=self.circular)


# Each name's place numbers its key: append only, or old seeds change their meaning.
_DRAWS = (
    "symmetry", "rotate", "shift", "zoom", "crop", "dilate", "blur", "gain", "colour_gain", "contrast", "saturation",
    "brightness", "exposure", "noise",
)  # fmt: skip


def augment_batch(augmentation: Augmentation, keys: Array, images: Array) -> Array:
    """Apply an augmentation to images (B, H, W, C) with one key per image, `keys` (B,); what `vmap` gives.

    What happens to an image depends on its key alone, not on the batch around it.

    Raises:
        ValueError: not one key per image.
    """
    if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or images.ndim != 4 or keys.shape != images.shape[:1]:
        raise ValueError(
            f"expected images (B, H, W, C) and one key for each, (B,), got images {images.shape} and keys {keys.shape} "
            f"of {keys.dtype}: make keys by jax.random.split(jax.random.key(seed), B)"
        )
    return jax.vmap(augmentation)(keys, images)


def _checked(image: Array) -> Array:
    image = jnp.asarray(image)
    if image.ndim != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"expected one floating-point image (H, W, C), got {image.dtype} {image.shape}: convert integers with "
            "image.astype('float32'), add a missing channel axis with image[..., None], and map over a batch with "
            "jax.vmap or augment_batch"
        )
    return image


def _square(image: Array, name: str) -> Array:
    if image.shape[0] != image.shape[1]:
        raise ValueError(
            f"{name} needs a square image, got {image.shape[0]} × {image.shape[1]} pixels: crop or pad it to a square, "
            "or use flip, which takes any shape"
        )
    return image


def _check_crop(image: Array, size: tuple[int, int]) -> None:
    if len(size) != 2 or not all(1 <= n <= extent for n, extent in zip(size, image.shape, strict=False)):
        raise ValueError(
            f"a crop of {tuple(size)} does not fit an image of {image.shape[:2]}: ask for (h, w) within it"
        )


def _check_order(order: int) -> None:
    if order not in (0, 1):
        raise ValueError(f"order must be 0 (nearest) or 1 (bilinear), got {order}: splines are not offered")


def _check_window(size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"dilate needs an odd window, got {size}: use {size + 1}, an even window has no centre")


def _last_corner(image: Array, size: tuple[int, int]) -> tuple[int, int]:
    return image.shape[0] - size[0], image.shape[1] - size[1]


def _is_known(value: Number) -> bool:
    return isinstance(value, int | float | np.generic | np.ndarray)


def _check_at_least(value: Number, bound: float, name: str, *, strictly: bool = False) -> None:
    if _is_known(value) and not np.all(np.asarray(value) > bound if strictly else np.asarray(value) >= bound):
        raise ValueError(f"{name} must be {'above' if strictly else 'at least'} {bound}, got {value}")


def _check_range(limits: Range, name: str) -> None:
    if len(limits) != 2 or (all(map(_is_known, limits)) and not limits[0] <= limits[1]):
        raise ValueError(f"{name} must be a range (smallest, largest), got {limits}: swap or complete its ends")


def _wide(image: Array) -> Array:
    return image.astype(jnp.promote_types(image.dtype, jnp.float32))


def _blend(image: Array, anchor: Array, factor: Number) -> Array:
    # this form, unlike anchor + factor · (image − anchor), returns the image exactly at factor 1
    return (factor * _wide(image) + (1 - factor) * jnp.broadcast_to(anchor, image.shape)).astype(image.dtype)


def _mirrored_band(weights: Array, length: int) -> Array:
    """The (length, length) matrix of a convolution with weights (2 r + 1,) of a line mirrored at its ends."""
    radius = weights.shape[0] // 2
    sources = np.pad(np.arange(length), radius, mode="symmetric")
    shifts = (jax.nn.one_hot(sources[i : i + length], length, dtype=weights.dtype) for i in range(2 * radius + 1))
    return sum(weight * shift for weight, shift in zip(weights, shifts, strict=True))


def _mirror(values: Array, rows: list[int], columns: list[int]) -> Array:
    return jnp.pad(values, (rows, columns, (0, 0)), mode="symmetric")


def _index(position: Array) -> Array:
    return jnp.floor(position).astype(jnp.int32)


def _turn_matrix(angle_rad: Number) -> Array:
    cosine, sine = jnp.cos(angle_rad), jnp.sin(angle_rad)
    return jnp.stack([jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])


def _uniform(key: Array, limits: Range, shape: tuple[int, ...] = ()) -> Array:
    # Here float32 and elsewhere int32 are asked for, so that the draws do not depend on whether 64 bits are enabled.
    _check_range(limits, "a random parameter")
    return jax.random.uniform(key, shape, jnp.float32, *limits)


def _log_uniform(key: Array, limits: Range, shape: tuple[int, ...] = ()) -> Array:
    _check_range(limits, "a random parameter")
    _check_at_least(limits[0], 0, "a range drawn in the logarithm", strictly=True)
    draw = jnp.exp(_uniform(key, (jnp.log(limits[0]), jnp.log(limits[1])), shape))
    return jnp.clip(draw, *limits)  # exp rounds, so the ends could be passed by a bit
