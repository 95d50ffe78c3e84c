"""Blended galaxies: two Sérsic profiles at any separation and magnitude gap, with the light of each known.

A network is to say which pixels each galaxy reaches, or how much light it has (as Boucaud et al. 2020 do on images of
the Hubble Space Telescope). Profiles are drawn by GalSim (Rowe et al. 2015) with a point-spread function; the noise is
that of counted photons. In the configuration "one" the companion is not there, in "three" there is another one.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation, sky

SIZE = 64
BAND = "r"
EXPOSURE = 450.0
MASKS = ("central", "companion")
# Of the noise-free light of one galaxy in a pixel, in units of the sky's standard deviation.
THRESHOLD = 1.0
MAGNITUDE = (20.5, 22.5)
GAP = (-2.0, 2.0)
SEPARATION = (2.0, 25.0)
OFFSET = 2.0
HALF_LIGHT_RADIUS = (0.4, 1.2)
AXIS_RATIO = (0.3, 1.0)
# A few values, for GalSim computes a table for each.
INDICES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
SEEING = (0.55, 0.9)
# Number of galaxies by setting of the simulator.
SETTINGS = {"default": 2, "one": 1, "three": 3}
# Target of a companion that is not there: ten standard deviations of one pixel in all, which nobody would see.
FLOOR = 1.0
# Row and column of a galaxy that is not there.
NOWHERE = -1.0
MOST = max(SETTINGS.values())

TARGETS = {"log_flux_central": "dex", "log_flux_companion": "dex"}
TITLE = "Simulated pairs of overlapping galaxies with the pixels and the flux of each"
UNITS = (
    "image: float32, 64 × 64 × 1 (r), 0.2 arcsec a pixel; sky subtracted, in units of the standard deviation of the "
    "sky, so that empty sky has mean 0 and standard deviation 1. "
    "masks: uint8, 64 × 64 × 2 (central, companion): 1 where the light of that galaxy alone, through the point-spread "
    "function and without noise, exceeds 1 in the image's unit; they overlap. "
    "target: log10 of the flux of the central galaxy and of the companion, dex; the flux is the galaxy's light in the "
    "frame, summed over the pixels in the image's unit; 1.0 for a companion that is not there. "
    "parts: float32, 64 × 64 × 2, the light of central and companion without noise; flux_central, flux_companion, "
    "flux_third: their fluxes and that of a third galaxy, 0 where there is none; gap, gap_third: magnitude of the "
    "companion and of the third galaxy minus that of the central, uniform −2…2; separation, separation_third: their "
    "distances from the central, uniform 2…25 px; rows, columns: centres of central, companion and third galaxy, px "
    "from the centre of the first pixel, −1 where there is none; snr_central, snr_companion: signal-to-noise ratio of "
    "the best linear measurement of its flux, in the photon noise of sky and all light; seeing: full width of the "
    "point-spread function, arcsec; sources: number of galaxies, 1…3; gaps and separations are 0 where there is no "
    "such galaxy: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 3000, "validation": 500, "test": 1000},
    "tiny": {"train": 32, "validation": 16, "test": 16},
    "full": {"train": 20000, "validation": 2000, "test": 4000},
    "one": {"train": 500, "validation": 250, "test": 1000},
    "three": {"train": 500, "validation": 250, "test": 1000},
}
PROPERTIES = {
    "separation": "px",
    "gap": "mag",
    "flux_central": "sky's standard deviation",
    "flux_companion": "sky's standard deviation",
    "separation_third": "px",
    "gap_third": "mag",
    "flux_third": "sky's standard deviation",
    "snr_central": "1",
    "snr_companion": "1",
    "seeing": "arcsec",
    "sources": "1…3",
}
FEATURES = {
    "image": "(64, 64, 1) float32, sky's standard deviation",
    "masks": "(64, 64, 2) uint8: 1 where the galaxy alone exceeds 1; central, companion",
    "target": "(2,) float32: log10 flux of central and companion, dex",
    "parts": "(64, 64, 2) float32, light of each without noise; a property, not an input",
    "rows": "(3,) float32, px; a property, not an input",
    "columns": "(3,) float32, px; a property, not an input",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    "Sizes, shapes, position angles, seeing, separation and magnitude gap are drawn independently of each other and of "
    "the central's flux; the companion's flux is that and the gap. The central galaxy is within 2 px of the frame's "
    "middle in both directions, and this alone says which of the two it is: below about 4 px of separation the "
    "companion may be as near, and nothing tells them apart. The light in the frame is what was drawn: a companion "
    "near the edge is not fainter for what falls outside. The configurations one and "
    "three are for trying networks on numbers of galaxies that they were not trained on; a third galaxy is in no mask, "
    "target or part."
)
CITATION = """\
@article{boucaud2020blended,
  title   = {Photometry of high-redshift blended galaxies using deep learning},
  author  = {Boucaud, Alexandre and Huertas-Company, Marc and Heneka, Caroline and others},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume  = {491},
  pages   = {2481--2495},
  year    = {2020},
  doi     = {10.1093/mnras/stz3056},
}
@article{rowe2015galsim,
  title   = {{GalSim}: The modular galaxy image simulation toolkit},
  author  = {Rowe, Barnaby T. P. and Jarvis, Mike and Mandelbaum, Rachel and others},
  journal = {Astronomy and Computing},
  volume  = {10},
  pages   = {121--150},
  year    = {2015},
  doi     = {10.1016/j.ascom.2015.02.002},
}"""


@dataclass(frozen=True)
class Galaxy:
    """A Sérsic profile somewhere in the frame.

    Attributes:
      row, column: centre, px from the centre of the first pixel.
      half_light_radius: of the circle with the ellipse's area, arcsec.
      axis_ratio: minor over major axis.
      position_angle: degrees.
      index: Sérsic's.
    """

    row: float
    column: float
    half_light_radius: float
    axis_ratio: float
    position_angle: float
    index: float


def draw_galaxy(random: np.random.Generator, row: float, column: float) -> Galaxy:
    """A galaxy of random size, shape and profile at this place."""
    return Galaxy(
        row=row,
        column=column,
        half_light_radius=math.exp(random.uniform(*np.log(HALF_LIGHT_RADIUS))),
        axis_ratio=random.uniform(*AXIS_RATIO),
        position_angle=random.uniform(0, 180),
        index=float(random.choice(INDICES)),
    )


def stamp(galaxy: Galaxy, seeing: float) -> np.ndarray:
    """The galaxy through the point-spread function, without noise: (64, 64), summing to 1.

    Args:
      galaxy: its profile and place.
      seeing: full width of the point-spread function, arcsec.
    """
    galsim = simulation.extra("galsim", "sim")
    middle = (SIZE - 1) / 2
    profile = galsim.Sersic(n=galaxy.index, half_light_radius=galaxy.half_light_radius)
    profile = profile.shear(q=galaxy.axis_ratio, beta=galaxy.position_angle * galsim.degrees)
    profile = profile.shift((galaxy.column - middle) * sky.PIXEL, (galaxy.row - middle) * sky.PIXEL)
    seen = galsim.Convolve(profile, galsim.Moffat(beta=sky.MOFFAT_BETA, fwhm=seeing))
    # Rounding in Fourier space leaves values just below 0 where there is no light.
    drawn = np.maximum(seen.drawImage(nx=SIZE, ny=SIZE, scale=sky.PIXEL).array.astype(float), 0)
    return drawn / drawn.sum()


def simulate(random: np.random.Generator, sources: int) -> simulation.Record:
    """One record with one, two or three galaxies."""
    seeing = random.uniform(*SEEING)
    magnitude = random.uniform(*MAGNITUDE)
    middle = (SIZE - 1) / 2
    first = draw_galaxy(random, *(middle + random.uniform(-OFFSET, OFFSET, 2)))
    galaxies, separations, gaps = [first], [0.0], [0.0]
    for _ in range(sources - 1):
        separation, angle = random.uniform(*SEPARATION), random.uniform(0, 2 * math.pi)
        place = first.row + separation * math.sin(angle), first.column + separation * math.cos(angle)
        galaxies.append(draw_galaxy(random, *place))
        separations.append(separation)
        gaps.append(random.uniform(*GAP))

    band = sky.BANDS[BAND]
    background = sky.sky_electrons(band, EXPOSURE)
    # Electrons, of all galaxies that there may be.
    light = np.zeros((MOST, SIZE, SIZE))
    for number, (galaxy, gap) in enumerate(zip(galaxies, gaps, strict=True)):
        light[number] = stamp(galaxy, seeing) * sky.electrons(magnitude + gap, band, EXPOSURE)
    image = sky.observe(random, light.sum(axis=0), background)
    parts = light / math.sqrt(background)
    flux = parts.sum(axis=(1, 2))
    rest = MOST - sources
    places = np.pad([(galaxy.row, galaxy.column) for galaxy in galaxies], ((0, rest), (0, 0)), constant_values=NOWHERE)
    separations, gaps = separations + [0.0] * rest, gaps + [0.0] * rest
    properties = {
        "separation": separations[1],
        "gap": gaps[1],
        "flux_central": flux[0],
        "flux_companion": flux[1],
        "separation_third": separations[2],
        "gap_third": gaps[2],
        "flux_third": flux[2],
        "snr_central": sky.signal_to_noise(light[0], background + light[1:].sum(axis=0)),
        "snr_companion": sky.signal_to_noise(light[1], background + light[0] + light[2]),
        "seeing": seeing,
        "sources": sources,
    }
    return record(image, parts[: len(MASKS)], properties, places)


def record(
    image: np.ndarray,
    parts: np.ndarray,
    properties: dict[str, float],
    places: np.ndarray,
    masks: np.ndarray | None = None,
) -> simulation.Record:
    """A record from an image and the light of its two galaxies: its target, and masks unless given, are derived here.

    Args:
      image: (H, W) with noise.
      parts: (2, H, W) light of central and companion; a companion of zeros is not there.
      properties: one number each.
      places: (K, 2) rows and columns of the galaxies.
      masks: (2, H, W) bool; where the parts exceed `THRESHOLD` when None.
    """
    flux = parts.sum(axis=(1, 2))
    masks = parts > THRESHOLD if masks is None else masks
    return {
        "image": image[..., None].astype(np.float32),
        "masks": np.ascontiguousarray(np.moveaxis(masks, 0, -1), np.uint8),
        "target": np.log10(np.maximum(flux, 10**FLOOR)).astype(np.float32),
        "parts": np.ascontiguousarray(np.moveaxis(parts, 0, -1), np.float32),
        "rows": places[:, 0].astype(np.float32),
        "columns": places[:, 1].astype(np.float32),
        **{field: np.float32(value) for field, value in properties.items()},
    }


def features(properties: dict[str, str], places: int) -> dict[str, Any]:
    """Field → TFDS feature of a record with these properties and so many places."""
    return {
        "image": simulation.tensor(SIZE, SIZE, 1),
        "masks": simulation.tensor(SIZE, SIZE, len(MASKS), dtype=np.uint8),
        "target": simulation.tensor(len(TARGETS)),
        "parts": simulation.tensor(SIZE, SIZE, len(MASKS)),
        "rows": simulation.tensor(places),
        "columns": simulation.tensor(places),
        **{field: simulation.scalar() for field in properties},
    }


class Blends(simulation.SimulatedBuilder):
    """TFDS builder of "blends": image (64, 64, 1), masks (64, 64, 2), target (2,), parts and properties."""

    name = "blends"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return features(PROPERTIES, MOST)

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random, SETTINGS[setting])
