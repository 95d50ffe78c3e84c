"""Galaxies as a survey camera sees them: light profiles, point-spread function, photometry and noise, in NumPy.

Lengths are in arcsec, magnitudes are AB, position angles are in degrees from the columns' axis (+x) towards the rows'
(+y). Images are arrays [row, column] = [y, x]. Numbers of the camera are rounded from those of an 8 m class survey
telescope (Ivezić et al. 2019, doi:10.3847/1538-4357/ab042c) and stand for no instrument.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

PIXEL = 0.2
MOFFAT_BETA = 3.5


@dataclass(frozen=True)
class Band:
    """One filter of the camera.

    Attributes:
      zero_point: AB magnitude that gives one electron a second.
      sky: brightness of the dark sky, mag / arcsec².
      seeing: full width of the point-spread function, relative to that in r.
      edges: first and last wavelength, Å; the filter is a top hat.
    """

    zero_point: float
    sky: float
    seeing: float
    edges: tuple[float, float]


BANDS = {
    "u": Band(27.0, 23.0, 1.11, (3200.0, 4000.0)),
    "g": Band(28.4, 22.2, 1.06, (4000.0, 5500.0)),
    "r": Band(28.2, 21.2, 1.0, (5500.0, 7000.0)),
    "i": Band(27.9, 20.5, 0.96, (7000.0, 8200.0)),
    "z": Band(27.5, 19.6, 0.93, (8200.0, 9200.0)),
}


def electrons(magnitude: float, band: Band, exposure: float) -> float:
    """Electrons from a source of this magnitude in `exposure` seconds."""
    return exposure * 10 ** (0.4 * (band.zero_point - magnitude))


def sky_electrons(band: Band, exposure: float) -> float:
    """Electrons from the sky in one pixel."""
    return electrons(band.sky, band, exposure) * PIXEL**2


def observe(random: np.random.Generator, light: np.ndarray, sky: float) -> np.ndarray:
    """Count electrons with Poisson noise and subtract the sky.

    Args:
      random: generator.
      light: (H, W) expected electrons of the sources.
      sky: expected electrons of the sky in a pixel.

    Returns:
      (H, W) in units of the sky's standard deviation: without sources, mean 0 and standard deviation 1.
    """
    counts = random.poisson(np.maximum(light, 0) + sky)
    return (counts - sky) / math.sqrt(sky)


def signal_to_noise(light: np.ndarray, background: np.ndarray | float) -> float:
    """Signal-to-noise ratio of the best linear measurement of a source's flux, √Σ light² / (light + background)."""
    light = np.maximum(light, 0)
    return float(np.sqrt((light**2 / (light + background)).sum()))


@functools.lru_cache(maxsize=8)
def grid(size: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y (size, size) of the pixels' centres, `step` apart; 0 is the middle of the frame. Not to be written to."""
    axis = (np.arange(size) - (size - 1) / 2) * step
    x, y = np.broadcast_arrays(axis, axis[:, None])
    return x, y


def turned(x: np.ndarray, y: np.ndarray, position_angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across an axis at `position_angle` degrees."""
    cos, sin = math.cos(math.radians(position_angle)), math.sin(math.radians(position_angle))
    return x * cos + y * sin, y * cos - x * sin


def elliptical_radius(along: np.ndarray, across: np.ndarray, axis_ratio: float) -> np.ndarray:
    """Geometric mean radius of the ellipse through each point: √(q·along² + across²/q), q the axis ratio."""
    return np.sqrt(axis_ratio * along**2 + across**2 / axis_ratio)


def sersic(radius: np.ndarray, half_light_radius: float, index: float) -> np.ndarray:
    """Surface brightness of Sérsic's profile, of total light 1: half of it lies within `half_light_radius`.

    The constant b is the asymptotic series of Ciotti & Bertin (1999, A&A 352, 447), eq. 18, good to 1e-4 for
    index ≥ 0.5; index 1 is the exponential disc, 4 de Vaucouleurs' law.
    """
    b = 2 * index - 1 / 3 + 4 / (405 * index) + 46 / (25515 * index**2)
    total = 2 * math.pi * index * math.gamma(2 * index) * b ** (-2 * index) * half_light_radius**2
    return np.exp(-b * (radius / half_light_radius) ** (1 / index)) / total


@dataclass(frozen=True)
class Arms:
    """Logarithmic spiral arms.

    Attributes:
      count: number of arms.
      pitch: angle between an arm and the circle, degrees.
      phase: angle of an arm at the scale radius, degrees.
      hand: 1 or −1, the sense in which the arms wind.
      contrast: 0 (none) to 1 (dark between the arms).
    """

    count: int
    pitch: float
    phase: float
    hand: int
    contrast: float

    def factor(self, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
        """What the disc's brightness is multiplied with at x, y in its plane; the mean over a circle is 1.

        Within about half the radius `scale` the arms fade: they would wind up without end.
        """
        radius = np.maximum(np.hypot(x, y), 1e-3 * scale)
        angle = self.hand * np.arctan2(y, x) - np.log(radius / scale) / math.tan(math.radians(self.pitch))
        wave = (0.5 + 0.5 * np.cos(self.count * (angle - math.radians(self.phase)))) ** 2 / 0.375
        contrast = self.contrast * radius**2 / (radius**2 + (0.5 * scale) ** 2)
        return 1 + contrast * (wave - 1)


def draw_arms(random: np.random.Generator, contrast: tuple[float, float]) -> Arms:
    """Arms of random number (2, 3 or 4, mostly 2), pitch (12°…30°), phase, hand and contrast."""
    return Arms(
        count=int(random.choice((2, 3, 4), p=(0.6, 0.2, 0.2))),
        pitch=random.uniform(12, 30),
        phase=random.uniform(0, 360),
        hand=int(random.choice((-1, 1))),
        contrast=random.uniform(*contrast),
    )


@functools.lru_cache(maxsize=1)
def _edge_on_table() -> tuple[np.ndarray, np.ndarray]:
    """x and ∫ exp(−√(x² + s²)) ds along the line of sight, which is 2 x K₁(x)."""
    x, s = np.linspace(0, 30, 601), np.linspace(0, 40, 2001)
    values = 2 * np.exp(-np.hypot(x[:, None], s)).sum(axis=1) * (s[1] - s[0])
    return x, values - np.exp(-x) * (s[1] - s[0])  # the trapezoidal rule: the point s = 0 counts half on each side


def edge_on_disc(along: np.ndarray, across: np.ndarray, scale: float, height: float) -> np.ndarray:
    """Exponential disc of scale length `scale` seen from the edge, falling as sech² with `height`; total light 1."""
    profile = np.interp(np.abs(along) / scale, *_edge_on_table())
    # ∫ profile d(along) = 2π scale (the disc's whole light), ∫ sech² = 2 height.
    return profile / np.cosh(np.minimum(np.abs(across) / height, 50)) ** 2 / (4 * math.pi * scale * height)


@functools.lru_cache(maxsize=4)
def _by_radius(size: int) -> tuple[np.ndarray, np.ndarray]:
    radius = np.hypot(*grid(size, 1.0)).ravel()
    order = np.argsort(radius, kind="stable")
    return order, radius[order]


def half_light_radius(image: np.ndarray, step: float) -> float:
    """Radius of the circle around the middle of a square image that holds half of its light."""
    order, radius = _by_radius(len(image))
    growth = np.cumsum(image.ravel()[order])
    return float(np.interp(0.5 * growth[-1], growth, radius)) * step


def moffat(x: np.ndarray, y: np.ndarray, fwhm: float) -> np.ndarray:
    """Moffat's point-spread function with β = 3.5 (Moffat 1969), total light 1."""
    scale = fwhm / (2 * math.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    base = 1 + (x**2 + y**2) / scale**2
    # base^−3.5 by products: a power with a fractional exponent takes several times as long.
    return (MOFFAT_BETA - 1) / (math.pi * scale**2) / (base**3 * np.sqrt(base))


class Optics:
    """From surface brightness on a fine grid to light in pixels, for one full width of the point-spread function.

    Args:
      size: pixels along a side of the image.
      oversampling: points of the fine grid along a side of a pixel.
      fwhm: full width at half maximum of the point-spread function, arcsec.
    """

    def __init__(self, size: int, oversampling: int, fwhm: float) -> None:
        self.size, self.oversampling, self.fwhm = size, oversampling, fwhm
        self.step = PIXEL / oversampling
        # Room beside the frame, so that light that leaves on one side does not return on the other.
        self._padded = size * oversampling * 5 // 4
        offset = np.fft.fftfreq(self._padded, 1 / self._padded) * self.step
        kernel = moffat(offset, offset[:, None], fwhm)
        self._transfer = np.fft.rfft2(kernel / kernel.sum())

    def image(self, brightness: np.ndarray) -> np.ndarray:
        """Light in each pixel (size, size) from the brightness per arcsec² on `grid(size · oversampling, step)`."""
        shape = (self._padded, self._padded)
        fine = self.size * self.oversampling
        blurred = np.fft.irfft2(np.fft.rfft2(brightness, shape) * self._transfer, shape)[:fine, :fine]
        blocks = blurred.reshape(self.size, self.oversampling, self.size, self.oversampling)
        return blocks.sum(axis=(1, 3)) * self.step**2
