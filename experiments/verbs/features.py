"""Hand-made features of images: what was measured before networks, and what they must beat (B8).

Sizes, shapes and textures of the source in each channel, in NumPy. The definitions are those of Conselice (ApJS 147,
2003, https://arxiv.org/abs/astro-ph/0303065) for concentration, asymmetry and smoothness, Lotz, Primack & Madau (AJ
128, 2004, https://arxiv.org/abs/astro-ph/0311352) for Gini and M20, Hu (IRE Trans. Inf. Theory 8, 1962) for the moment
invariants, Haralick, Shanmugam & Dinstein (IEEE Trans. SMC 3, 1973) for grey-level co-occurrence, and Ojala,
Pietikäinen & Mäenpää (IEEE Trans. PAMI 24, 2002) for local binary patterns; what is done differently is said at each
function.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from zoo.errors import UserError
from zoo_experiments.verbs.checks import extra

# A pixel belongs to the source above this many times the noise.
THRESHOLD = 3.0
# Share of the side that the frame is wide in which background and noise are measured.
FRAME = 1 / 16
# Shares of the flux whose radii are measured.
SHARES = (0.2, 0.5, 0.8)
# Grey levels of the co-occurrence matrix.
LEVELS = 8
# Hu's invariants below this are compressed linearly, above it logarithmically.
HU_SCALE = 1e-10
# Colours are limited to this many magnitudes.
MOST_COLOUR = 10.0
SMALLEST_SIDE = 4
# Pixels that are worked on at once: what fits into a processor's cache.
CHUNK = 1 << 18

Values = dict[str, np.ndarray]


def extract(images: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Features of images, channel by channel, and colours between neighbouring channels.

    The background, the median of a frame, is subtracted; the source is what rises above three times the frame's noise
    (1.4826 times the median absolute deviation). Of each channel c: `background_c`, `noise_c`, `flux_c`, `peak_c`
    (in the images' units), `area_c` (share of the pixels), `x_c`, `y_c`, `offset_c` (of the centroid from the middle,
    in sides), `e1_c`, `e2_c`, `ellipticity_c`, `size_c`, `r20_c`, `r50_c`, `r80_c` (pixels), `concentration_c`,
    `asymmetry_c`, `smoothness_c`, `gini_c`, `m20_c`, `hu1_c` … `hu7_c`, four `grey_…_c` and ten `pattern…_c`; and
    `colour_c_d` in magnitudes. All are finite; of a channel without a source the ones of the source are 0. Images
    turned by 90° have the same features but for x, y, e1 and e2; times a positive factor, the same but for the first
    four; plus a constant, the same but for the background.

    Args:
      images: (N, H, W, C), N ≥ 1, any numbers, finite; at least 4 × 4 pixels.

    Returns:
      features (N, F) float64, names (F,).

    Raises:
      UserError: images of another shape or not finite, or scikit-image is missing.
    """
    images = _checked(images)
    count, height, width, channels = images.shape
    planes = np.moveaxis(images, -1, 1).reshape(count * channels, height, width)
    step = max(1, CHUNK // (height * width))
    chunks = [_measure(planes[start : start + step].astype(np.float64)) for start in range(0, len(planes), step)]
    measured = {name: np.concatenate([chunk[name] for chunk in chunks]).reshape(count, channels) for name in chunks[0]}
    columns = {f"{name}_{c}": values[:, c] for c in range(channels) for name, values in measured.items()}
    for c in range(channels - 1):
        columns[f"colour_{c}_{c + 1}"] = colour(measured["flux"][:, c], measured["flux"][:, c + 1])
    return np.stack(list(columns.values()), axis=1), tuple(columns)


def _measure(planes: np.ndarray) -> Values:
    """Name → (M,) of single-channel images (M, H, W) float64."""
    background, noise = background_and_noise(planes)
    signal = planes - background[:, None, None]
    source = np.where(signal > THRESHOLD * noise[:, None, None], signal, 0.0)
    flux = source.sum((1, 2))
    y, x = centroids(source)
    shape = second_moments(source, y, x)
    radii = flux_radii(source, y, x)
    height, width = planes.shape[1:]
    offset_x, offset_y = x / width - (width - 1) / (2 * width), y / height - (height - 1) / (2 * height)
    offset_x, offset_y = (np.where(flux > 0, offset, 0.0) for offset in (offset_x, offset_y))
    return {
        "background": background,
        "noise": noise,
        "flux": flux,
        "peak": source.max((1, 2)),
        "area": (source > 0).mean((1, 2)),
        "x": offset_x,
        "y": offset_y,
        "offset": np.hypot(offset_x, offset_y),
        **shape,
        **radii,
        "concentration": 5 * np.log10(_ratio(radii["r80"], radii["r20"], empty=1.0)),
        "asymmetry": asymmetry(signal, noise, y, x),
        "smoothness": smoothness(signal, noise, y, x, radii["r50"]),
        "gini": gini(source),
        "m20": m20(source, y, x),
        **hu_moments(source, y, x),
        **grey_levels(planes),
        **binary_patterns(planes),
    }


def background_and_noise(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of the frame of images (M, H, W) and 1.4826 times its median absolute deviation, (M,) each."""
    width = max(1, round(FRAME * min(planes.shape[1:])))
    inside = np.zeros(planes.shape[1:], bool)
    inside[width:-width, width:-width] = True
    frame = planes[:, ~inside]
    background = np.median(frame, axis=1)
    return background, 1.4826 * np.median(np.abs(frame - background[:, None]), axis=1)


def centroids(source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (M,) of the centre of flux of images (M, H, W) ≥ 0; the middle where there is none."""
    flux = source.sum((1, 2))
    return tuple(
        np.where(flux > 0, _ratio(source.sum(other) @ np.arange(size), flux), (size - 1) / 2)
        for other, size in ((2, source.shape[1]), (1, source.shape[2]))
    )


def second_moments(source: np.ndarray, y: np.ndarray, x: np.ndarray) -> Values:
    """Shape of images (M, H, W) ≥ 0 from second moments about (y, x).

    `size` is the root of ⟨r²⟩ in pixels; e1 = (⟨x²⟩ − ⟨y²⟩) / ⟨r²⟩, e2 = 2 ⟨xy⟩ / ⟨r²⟩; `ellipticity` is 1 − b/a of the
    axes, 0 for a disc and 1 for a line.
    """
    flux = source.sum((1, 2))
    rows, columns = _from_centre(source, y, x)
    xx = _ratio(np.einsum("mhw,mw->m", source, columns**2), flux)
    yy = _ratio(np.einsum("mhw,mh->m", source, rows**2), flux)
    xy = _ratio(np.einsum("mhw,mh,mw->m", source, rows, columns, optimize=True), flux)
    total = xx + yy
    e1, e2 = _ratio(xx - yy, total), _ratio(2 * xy, total)
    # a² and b² are (1 ± e) ⟨r²⟩ / 2.
    e = np.minimum(np.hypot(e1, e2), 1)
    return {"size": np.sqrt(total), "e1": e1, "e2": e2, "ellipticity": 1 - np.sqrt((1 - e) / (1 + e))}


def flux_radii(source: np.ndarray, y: np.ndarray, x: np.ndarray) -> Values:
    """Radii in pixels of the circles about (y, x) that hold 20, 50 and 80 % of the flux of images (M, H, W) ≥ 0.

    The flux is summed in rings half a pixel wide; within a ring it grows with the area. The radius is that of the
    circle with the area of the pixels inside.
    """
    rows, columns = _from_centre(source, y, x)
    distance = np.sqrt(rows[:, :, None] ** 2 + columns[:, None, :] ** 2)
    # Edges at k/2 − 1/8, where no pixel lies if the centre is on a pixel or between two: a turned image has the same.
    ring = np.floor(2 * distance + 0.25).astype(np.int64)
    rings = int(ring.max()) + 1
    which = (ring + rings * np.arange(len(source))[:, None, None]).ravel()
    shape = (len(source), rings)
    flux = np.bincount(which, source.ravel(), minlength=shape[0] * rings).reshape(shape)
    area = np.bincount(which, minlength=shape[0] * rings).reshape(shape).astype(np.float64)
    grown, covered = flux.cumsum(1), area.cumsum(1)
    every, radii = np.arange(len(source)), {}
    for share in SHARES:
        wanted = share * grown[:, -1]
        last = np.minimum((grown < wanted[:, None]).sum(1), rings - 1)
        part = _ratio(wanted - (grown - flux)[every, last], flux[every, last])
        inside = (covered - area)[every, last] + part * area[every, last]
        radii[f"r{round(100 * share)}"] = np.where(grown[:, -1] > 0, np.sqrt(inside / np.pi), 0.0)
    return radii


def asymmetry(signal: np.ndarray, noise: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A = Σ|I − I₁₈₀| / Σ I of images (M, H, W) without background, less what noise alone would give; (M,).

    Sums run over the pixels of the source and their counterparts. The centre is the one of the nine points, half a
    pixel apart, next to (y, x) that gives the least A: turning about them needs no interpolation. Gaussian noise of
    width `noise` gives each pixel 2/√π of it.
    """
    limit = THRESHOLD * noise[:, None, None]
    flux = np.where(signal > limit, signal, 0.0).sum((1, 2))
    every = np.arange(len(signal))[:, None, None]
    best = np.full(len(signal), np.inf)
    for shift_y in (-1, 0, 1):
        for shift_x in (-1, 0, 1):
            rows, inside_y = _counterpart(y, shift_y, signal.shape[1])
            columns, inside_x = _counterpart(x, shift_x, signal.shape[2])
            inside = inside_y[:, :, None] & inside_x[:, None, :]
            turned = np.where(inside, signal[every, rows[:, :, None], columns[:, None, :]], 0.0)
            # A pixel whose counterpart lies outside counts for that one too.
            counted = ((signal > limit) | (turned > limit)) * np.where(inside, 1.0, 2.0)
            difference = (counted * np.abs(signal - turned)).sum((1, 2))
            chance = counted.sum((1, 2)) * noise * 2 / np.sqrt(np.pi)
            best = np.minimum(best, _ratio(difference - chance, flux))
    return best


def _counterpart(centre: np.ndarray, shift: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (M, size) of the pixels opposite to each, and whether they are in the image."""
    opposite = np.rint(2 * centre).astype(np.int64)[:, None] + shift - np.arange(size)
    return np.clip(opposite, 0, size - 1), (opposite >= 0) & (opposite < size)


def smoothness(
    signal: np.ndarray, noise: np.ndarray, y: np.ndarray, x: np.ndarray, half_light: np.ndarray
) -> np.ndarray:
    """S = Σ max(I − Iₛ, 0) / Σ I of images (M, H, W) without background: the share of the flux in small clumps; (M,).

    Iₛ is I averaged over squares whose side is half the half-light radius, an odd number of pixels and at least 3. Sums
    run over the pixels of the source outside the central such circle, where every source is peaked; noise counts as
    for a Gaussian, whose positive part has the mean noise/√(2π).
    """
    source = signal > THRESHOLD * noise[:, None, None]
    flux = np.where(source, signal, 0.0).sum((1, 2))
    side = 2 * np.maximum(1, np.rint(half_light / 4).astype(np.int64)) + 1
    smooth = np.empty_like(signal)
    for width in np.unique(side):
        chosen = side == width
        smooth[chosen] = ndimage.uniform_filter(signal[chosen], size=(1, width, width), mode="nearest")
    rows, columns = _from_centre(signal, y, x)
    outside = rows[:, :, None] ** 2 + columns[:, None, :] ** 2 > (side[:, None, None] / 2) ** 2
    counted = source & outside
    clumps = np.where(counted, np.maximum(signal - smooth, 0.0), 0.0).sum((1, 2))
    return _ratio(clumps - counted.sum((1, 2)) * noise / np.sqrt(2 * np.pi), flux)


def gini(source: np.ndarray) -> np.ndarray:
    """Gini coefficient of the positive pixels of images (M, H, W) ≥ 0: 0 when all are alike, 1 when one has all; (M,).

    G = Σᵢ (2 i − n − 1) Iᵢ / (Ī n (n − 1)), i = 1 … n in order of brightness.
    """
    values = np.sort(source.reshape(len(source), -1), axis=1)
    count = (values > 0).sum(1)
    # The pixels without flux come first; their rank is of no account, for they add nothing.
    rank = np.arange(1, values.shape[1] + 1) - (values.shape[1] - count)[:, None]
    weighted = ((2 * rank - count[:, None] - 1) * values).sum(1)
    return _ratio(weighted, values.sum(1) * (count - 1))


def m20(source: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """M20 = log₁₀ of the share that the brightest 20 % of the flux has in Σ I r² about (y, x); (M,).

    Of images (M, H, W) ≥ 0; at least −5. Of the pixels as bright as the faintest that count, all count alike, with
    what is left to 20 %.
    """
    flux = source.sum((1, 2))
    descending = -np.sort(-source.reshape(len(source), -1), axis=1)
    wanted = 0.2 * flux
    place = np.minimum((descending.cumsum(1) < wanted[:, None]).sum(1), descending.shape[1] - 1)
    faintest = descending[np.arange(len(source)), place][:, None, None]
    rows, columns = _from_centre(source, y, x)
    square = rows[:, :, None] ** 2 + columns[:, None, :] ** 2
    brighter, equal = source > faintest, (source == faintest) & (faintest > 0)
    left = wanted - np.where(brighter, source, 0.0).sum((1, 2))
    tied = left * _ratio(np.where(equal, square, 0.0).sum((1, 2)), equal.sum((1, 2)))
    share = _ratio(np.where(brighter, source * square, 0.0).sum((1, 2)) + tied, (source * square).sum((1, 2)))
    return np.where(flux > 0, np.log10(np.maximum(share, 1e-5)), 0.0)


def hu_moments(source: np.ndarray, y: np.ndarray, x: np.ndarray) -> Values:
    """Hu's seven invariants of images (M, H, W) ≥ 0, compressed: sign(h) log₁₀(1 + |h| / 10⁻¹⁰).

    Each image is divided by its maximum first, so that they do not depend on brightness; they depend on neither place,
    nor size, nor orientation, but for the sign of the seventh, which mirroring changes.
    """
    relative = source / np.where((peak := source.max((1, 2))) > 0, peak, 1.0)[:, None, None]
    rows, columns = _from_centre(source, y, x)
    powers_y = np.stack([rows**p for p in range(4)], axis=1)
    powers_x = np.stack([columns**p for p in range(4)], axis=1)
    moments = powers_y @ relative @ powers_x.transpose(0, 2, 1)  # [m, power of y, power of x]
    total = moments[:, 0, 0]

    def eta(p: int, q: int) -> np.ndarray:
        return _ratio(moments[:, q, p], total ** (1 + (p + q) / 2))

    n20, n02, n11 = eta(2, 0), eta(0, 2), eta(1, 1)
    a, b = eta(3, 0) + eta(1, 2), eta(2, 1) + eta(0, 3)
    c, d = eta(3, 0) - 3 * eta(1, 2), 3 * eta(2, 1) - eta(0, 3)
    invariants = (
        n20 + n02,
        (n20 - n02) ** 2 + 4 * n11**2,
        c**2 + d**2,
        a**2 + b**2,
        c * a * (a**2 - 3 * b**2) + d * b * (3 * a**2 - b**2),
        (n20 - n02) * (a**2 - b**2) + 4 * n11 * a * b,
        d * a * (a**2 - 3 * b**2) - c * b * (3 * a**2 - b**2),
    )
    return {f"hu{i}": np.sign(h) * np.log10(1 + np.abs(h) / HU_SCALE) for i, h in enumerate(invariants, start=1)}


def grey_levels(planes: np.ndarray) -> Values:
    """Texture of images (M, H, W) from how often grey levels lie side by side, averaged over four directions.

    Eight levels between each image's minimum and maximum. `grey_contrast` (0 … 49), `grey_homogeneity`, `grey_energy`
    (0 … 1) and `grey_correlation` (−1 … 1); a constant image has contrast 0 and the others 1.
    """
    texture = _texture()
    low, high = planes.min((1, 2), keepdims=True), planes.max((1, 2), keepdims=True)
    scaled = (planes - low) / np.where(high > low, high - low, 1.0)
    levels = np.minimum((scaled * LEVELS).astype(np.uint8), LEVELS - 1)
    names = ("contrast", "homogeneity", "energy", "correlation")
    found = np.empty((len(planes), len(names)))
    for row, image in enumerate(levels):
        matrix = texture.graycomatrix(
            image, distances=[1], angles=np.arange(4) * np.pi / 4, levels=LEVELS, symmetric=True, normed=True
        )
        found[row] = [texture.graycoprops(matrix, name).mean() for name in names]
    return {f"grey_{name}": found[:, column] for column, name in enumerate(names)}


def binary_patterns(planes: np.ndarray) -> Values:
    """Shares of the local binary patterns of images (M, H, W), the eight neighbours of a pixel against it.

    `pattern0` … `pattern8`: uniform patterns (one run of neighbours at least as bright) by the number of those;
    `pattern9`: the others. The neighbours are those of the grid, not points on a circle, so that nothing is
    interpolated.
    """
    height, width = planes.shape[1:]
    around = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    centre = planes[:, 1:-1, 1:-1]
    brighter = np.stack([planes[:, y : y + height - 2, x : x + width - 2] >= centre for y, x in around])
    changes = (brighter != np.roll(brighter, 1, axis=0)).sum(0)
    kind = np.where(changes <= 2, brighter.sum(0), len(around) + 1)
    return {f"pattern{k}": (kind == k).mean((1, 2)) for k in range(len(around) + 2)}


def colour(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Colour 2.5 log₁₀(second / first) of fluxes ≥ 0 in magnitudes: the first band's minus the second's; (N,).

    Limited to ±10 where one has no flux, and 0 where both have none.
    """
    tiny = np.finfo(np.float64).tiny
    magnitudes = 2.5 * (np.log10(np.maximum(second, tiny)) - np.log10(np.maximum(first, tiny)))
    return np.clip(magnitudes, -MOST_COLOUR, MOST_COLOUR)


def _from_centre(source: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (M, H) and columns (M, W) of images (M, H, W), counted from (y, x)."""
    return np.arange(source.shape[1]) - y[:, None], np.arange(source.shape[2]) - x[:, None]


def _ratio(numerator: np.ndarray, denominator: np.ndarray, *, empty: float = 0.0) -> np.ndarray:
    """The quotient, or `empty` where the denominator is 0."""
    some = denominator != 0
    return np.where(some, numerator / np.where(some, denominator, 1.0), empty)


def _checked(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or 0 in images.shape or min(images.shape[1:3]) < SMALLEST_SIDE:
        raise UserError(
            f"Features need one image or more (N, H, W, C) of at least {SMALLEST_SIDE} × {SMALLEST_SIDE} pixels, got "
            f"{images.shape}."
        )
    if images.dtype.kind not in "biuf":
        raise UserError(f"Features need images of numbers, got {images.dtype}.")
    bad = np.flatnonzero(~np.isfinite(images).all((1, 2, 3))) if images.dtype.kind == "f" else []
    if len(bad):
        raise UserError(f"Features need finite images, got NaN or Inf in {len(bad)}, the first in image {bad[0]}.")
    return images


def _texture() -> Any:
    return extra("skimage.feature", what="Hand-made features", package="scikit-image", group="baselines")
