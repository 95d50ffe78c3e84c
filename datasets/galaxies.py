"""Galaxies of three shapes: ellipticals, spirals with arms by construction, and discs seen from the edge.

Each galaxy is drawn as an image by formulas (`zoo_datasets.sky`), scaled to the half-light radius that was drawn for
it, and taken through the point-spread function and the pixels by GalSim (Rowe et al. 2015), in the bands g, r and i.
What is not shape is drawn independently of the class.
"""

import math
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation, sky

SIZE = 64
BANDS = ("g", "r", "i")
COLOURS = (2, 1, 0)
EXPOSURE = 450.0
CLASS_NAMES = ("elliptical", "spiral", "edge_on")
MAGNITUDE = (18.5, 20.5)
HALF_LIGHT_RADIUS = (0.8, 1.6)
SEEING = (0.55, 0.9)
# The model's own grid: ± 6 half-light radii in steps of a sixteenth.
_MODEL_SIZE, _MODEL_STEP = 192, 1 / 16

TITLE = "Simulated galaxies in g, r and i: elliptical, spiral, disc seen from the edge"
UNITS = (
    "image: float32, 64 × 64 × 3 (g, r, i), 0.2 arcsec a pixel; sky subtracted, in units of the standard deviation of "
    "the sky in that band, so that empty sky has mean 0 and standard deviation 1. "
    "label: 0 elliptical, 1 spiral, 2 edge_on. "
    "magnitude: r band, AB, of the light in the frame, 18.5…20.5; colour_gr, colour_ri: mag; half_light_radius: "
    "arcsec, of the circle with half of all light before the point-spread function, 0.8…1.6; seeing: full width of the "
    "point-spread function in r, arcsec; snr: signal-to-noise ratio in r; axis_ratio: of the projected body; "
    "position_angle: degrees from the columns' axis, 0…180: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 3000, "validation": 600, "test": 1000},
    "tiny": {"train": 36, "validation": 12, "test": 12},
    "full": {"train": 30000, "validation": 3000, "test": 6000},
}
PROPERTIES = {
    "magnitude": "mag",
    "colour_gr": "mag",
    "colour_ri": "mag",
    "half_light_radius": "arcsec",
    "seeing": "arcsec",
    "snr": "1",
    "axis_ratio": "1",
    "position_angle": "degrees",
}
FEATURES = {
    "image": "(64, 64, 3) float32, sky's standard deviation",
    "label": "0…2",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = "Every record is drawn on its own; classes take turns, so that each split has equally many of each."
NOTES = (
    "Magnitude, colours, half-light radius, seeing, position, position angle and exposure are drawn independently of "
    "the class: only the shape tells. (Real ellipticals are redder; a network trained here has not seen that.) "
    "Ellipticals and spirals have the same distribution of axis ratios, 0.5…1; discs seen from the edge 0.06…0.13. "
    "snr and the brightest pixel depend on the class, since light of another shape is differently concentrated."
)
CITATION = """\
@article{rowe2015galsim,
  title   = {{GalSim}: The modular galaxy image simulation toolkit},
  author  = {Rowe, Barnaby T. P. and Jarvis, Mike and Mandelbaum, Rachel and others},
  journal = {Astronomy and Computing},
  volume  = {10},
  pages   = {121--150},
  year    = {2015},
  doi     = {10.1016/j.ascom.2015.02.002},
}"""


def elliptical(random: np.random.Generator, position_angle: float) -> tuple[np.ndarray, float]:
    """Sérsic profile of index 3…5: model image (192, 192) and axis ratio."""
    axis_ratio = random.uniform(0.5, 1)
    along, across = sky.turned(*sky.grid(_MODEL_SIZE, _MODEL_STEP), position_angle)
    return sky.sersic(sky.elliptical_radius(along, across, axis_ratio), 1.0, random.uniform(3, 5)), axis_ratio


def spiral(random: np.random.Generator, position_angle: float) -> tuple[np.ndarray, float]:
    """Inclined exponential disc with logarithmic arms, and a bulge: model image (192, 192) and axis ratio."""
    axis_ratio = random.uniform(0.5, 1)
    bulge, bulge_size = random.uniform(0.05, 0.25), random.uniform(0.1, 0.25)
    arms = sky.draw_arms(random, contrast=(0.75, 1.0))
    along, across = sky.turned(*sky.grid(_MODEL_SIZE, _MODEL_STEP), position_angle)
    # Deprojected: the disc's plane is stretched along the minor axis.
    disc = sky.sersic(np.hypot(along, across / axis_ratio), 1.0, 1.0) / axis_ratio
    disc *= arms.factor(along, across / axis_ratio, scale=0.6)
    return (1 - bulge) * disc + bulge * sky.sersic(np.hypot(along, across), bulge_size, 2.0), axis_ratio


def edge_on(random: np.random.Generator, position_angle: float) -> tuple[np.ndarray, float]:
    """Exponential disc from the edge, a bulge, and in half of them a lane of dust: model image and axis ratio."""
    scale, height = 0.8, 0.8 * random.uniform(0.12, 0.25)
    bulge, bulge_size = random.uniform(0.05, 0.25), random.uniform(0.1, 0.25)
    dust = random.uniform(0.4, 0.8) * (random.random() < 0.5)
    lane = height * random.uniform(-0.3, 0.3)
    along, across = sky.turned(*sky.grid(_MODEL_SIZE, _MODEL_STEP), position_angle)
    image = (1 - bulge) * sky.edge_on_disc(along, across, scale, height)
    image = image + bulge * sky.sersic(np.hypot(along, across), bulge_size, 2.0)
    absorbed = dust * np.exp(-(((across - lane) / (0.4 * height)) ** 2)) * np.exp(-((along / (3 * scale)) ** 4))
    # Standard deviations: √3 scale along the disc (exponential), π/√12 height across it (sech²).
    return image * (1 - absorbed), math.pi / 6 * height / scale


_SHAPES = (elliptical, spiral, edge_on)


def simulate(random: np.random.Generator, number: int) -> simulation.Record:
    """One record, of class number mod 3."""
    label = number % 3
    magnitude = random.uniform(*MAGNITUDE)
    colour_gr = random.uniform(0.3, 1.1)
    colour_ri = 0.4 * colour_gr + random.normal(0, 0.05)
    size = math.exp(random.uniform(*np.log(HALF_LIGHT_RADIUS)))
    seeing = random.uniform(*SEEING)
    position_angle = random.uniform(0, 180)
    offset = random.uniform(-1.5 * sky.PIXEL, 1.5 * sky.PIXEL, 2)
    model, axis_ratio = _SHAPES[label](random, position_angle)

    magnitudes = (magnitude + colour_gr, magnitude, magnitude - colour_ri)
    light, skies = [], []
    for name, stamp, band_magnitude in zip(BANDS, stamps(model, size, seeing, offset), magnitudes, strict=True):
        light.append(stamp * sky.electrons(band_magnitude, sky.BANDS[name], EXPOSURE))
        skies.append(sky.sky_electrons(sky.BANDS[name], EXPOSURE))
    image = np.stack([sky.observe(random, *pair) for pair in zip(light, skies, strict=True)], axis=-1)
    properties = {
        "magnitude": magnitude,
        "colour_gr": colour_gr,
        "colour_ri": colour_ri,
        "half_light_radius": size,
        "seeing": seeing,
        "snr": sky.signal_to_noise(light[1], skies[1]),
        "axis_ratio": axis_ratio,
        "position_angle": position_angle,
    }
    return {
        "image": image.astype(np.float32),
        "label": label,
        **{field: np.float32(value) for field, value in properties.items()},
    }


def stamps(model: np.ndarray, half_light_radius: float, seeing: float, offset: np.ndarray) -> list[np.ndarray]:
    """The model in each band as the camera sees it, without noise: (64, 64) each, summing to 1.

    Args:
      model: (192, 192) surface brightness on a grid of any step.
      half_light_radius: arcsec, to which the model is scaled.
      seeing: full width of the point-spread function in r, arcsec.
      offset: (2,) shift along columns and rows, arcsec.
    """
    galsim = simulation.extra("galsim", "sim")
    step = half_light_radius / sky.half_light_radius(model, 1.0)
    # Steps in Fourier space are given, not measured: measuring takes ten times as long as drawing. The model fills its
    # array, and details finer than the pixels do not pass the point-spread function.
    galaxy = galsim.InterpolatedImage(
        galsim.Image(model),
        scale=step,
        flux=1.0,
        x_interpolant="linear",
        pad_factor=2.0,
        calculate_stepk=False,
        calculate_maxk=False,
    ).shift(*offset)
    drawn = []
    for name in BANDS:
        psf = galsim.Moffat(beta=sky.MOFFAT_BETA, fwhm=seeing * sky.BANDS[name].seeing)
        stamp = galsim.Convolve(galaxy, psf).drawImage(nx=SIZE, ny=SIZE, scale=sky.PIXEL).array.astype(float)
        drawn.append(stamp / stamp.sum())
    return drawn


class Galaxies(simulation.SimulatedBuilder):
    """TFDS builder of "galaxies": image (64, 64, 3) float32, label 0…2, and the properties that were drawn."""

    name = "galaxies"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            "image": simulation.tensor(SIZE, SIZE, len(BANDS)),
            "label": tfds.features.ClassLabel(names=CLASS_NAMES),
            **{field: simulation.scalar() for field in PROPERTIES},
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random, number)
