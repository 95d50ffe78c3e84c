"""Fields of small galaxies and stars in g, r and i: what kind of source does each pixel show?

The task of Morpheus (Hausen & Robertson 2020): background, spheroid, disk, irregular or point source, pixel by pixel.
Theirs are Hubble's images with classes by people; here sources are drawn by formulas (`zoo_datasets.sky`), so that the
class of each pixel follows from what was drawn.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import charge, simulation, sky

SIZE = 64
BANDS = ("g", "r", "i")
COLOURS = (2, 1, 0)
EXPOSURE = 450.0
CLASS_NAMES = ("background", "spheroid", "disk", "irregular", "point_source")
# Numbers of sources in a field.
FEWEST, MOST = 3, 8
MAGNITUDE = (19.5, 24.5)
COLOUR_GR = (0.2, 1.2)
HALF_LIGHT_RADIUS = (0.5, 1.1)
SEEING = (0.5, 0.7)
# Distance of a source's centre from the edge of the frame, px.
MARGIN = 4.0
# A pixel shows a source when the source gives it more than this in r, in units of the sky's standard deviation.
THRESHOLD = 1.0
_OVERSAMPLING = 2
_STEP = sky.PIXEL / _OVERSAMPLING

TITLE = "Simulated fields in g, r and i: background, spheroid, disk, irregular or point source, pixel by pixel"
UNITS = (
    "image: float32, 64 × 64 × 3 (g, r, i), 0.2 arcsec a pixel; sky subtracted, in units of the standard deviation of "
    "the sky in that band, so that empty sky has mean 0 and standard deviation 1. "
    "label: uint8, class of the source that gives the pixel most light in r, where that is more than 1 unit: "
    "0 background (76 % of the pixels), 1 spheroid (8 %), 2 disk (8 %), 3 irregular (6 %), 4 point source (3 %). "
    "objects: int32, number of that source, 1…8, 0 background. "
    "kinds: int32 (8,), class of each source, 1…4, −1 where there is none; magnitudes: r, AB, 19.5…24.5; colours: "
    "g − r, mag; half_light_radii: arcsec, of the ellipse of half the light before the point-spread function, the "
    "geometric mean of its axes, 0 for point sources; rows, columns: px from the centre of the first pixel, of their "
    "centres; all float32 (8,), 0 where there is no source. seeing: full width of the point-spread function, arcsec: "
    "properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 1500, "validation": 300, "test": 600},
    "tiny": {"train": 24, "validation": 12, "test": 12},
    "full": {"train": 15000, "validation": 1500, "test": 3000},
}
SOURCES = {
    "kinds": "1…4, −1 none",
    "magnitudes": "mag",
    "colours": "mag",
    "half_light_radii": "arcsec",
    "rows": "px",
    "columns": "px",
}
FEATURES = {
    "image": "(64, 64, 3) float32, sky's standard deviation",
    "label": "(64, 64) uint8: " + ", ".join(f"{number} {name}" for number, name in enumerate(CLASS_NAMES)),
    "objects": "(64, 64) int32: number of the source, 0 background; not an input",
    **{
        field: f"(8,) {'int32' if field == 'kinds' else 'float32'}, {unit}; a property of each source, not an input"
        for field, unit in SOURCES.items()
    },
    "seeing": "float32, arcsec; a property, not an input",
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    "Three to eight sources in each field. Class, magnitude, colours and position are drawn independently of each "
    "other, and so is the half-light radius of those that have one: brightness and colour do not tell the class. (Real "
    "spheroids are redder; a network trained here has not seen that.) The point-spread function is one for all bands. "
    "Sources overlap as they fall; one that is everywhere outshone, or too faint, has no pixel. Point sources are told "
    "by their width alone, so that small spheroids are the hardest to tell from them. Axis ratios of spheroids are "
    "0.6…1, of disks 0.25…1. Light beyond the frame is lost: of a spheroid's, 5 % or more."
)
CITATION = """\
@article{hausen2020morpheus,
  title   = {Morpheus: A deep learning framework for the pixel-level analysis of astronomical image data},
  author  = {Hausen, Ryan and Robertson, Brant E.},
  journal = {Astrophysical Journal Supplement Series},
  volume  = {248},
  pages   = {20},
  year    = {2020},
  doi     = {10.3847/1538-4365/ab8868},
}"""


@dataclass(frozen=True)
class Place:
    """Where a source is, how large, and how it is turned.

    Attributes:
      column, row: arcsec from the middle of the frame.
      radius: half-light radius, arcsec.
      position_angle: degrees.
    """

    column: float
    row: float
    radius: float
    position_angle: float

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (128, 128) along and across the source's axis on the fine grid, arcsec."""
        x, y = sky.grid(SIZE * _OVERSAMPLING, _STEP)
        return sky.turned(x - self.column, y - self.row, self.position_angle)


def spheroid(random: np.random.Generator, place: Place) -> np.ndarray:
    """Sérsic profile of index 3…4: brightness (128, 128), of total light 1."""
    radius = sky.elliptical_radius(*place.axes(), random.uniform(0.6, 1))
    # The cusp is narrower than the grid; its mean over a step is about the value at 0.3 steps.
    return sky.sersic(np.hypot(radius, 0.3 * _STEP), place.radius, random.uniform(3, 4))


def disk(random: np.random.Generator, place: Place) -> np.ndarray:
    """Inclined exponential disk with arms, and a small bulge: brightness (128, 128), of total light 1."""
    axis_ratio, bulge = random.uniform(0.25, 1), random.uniform(0, 0.15)
    arms = sky.draw_arms(random, contrast=(0.5, 1.0))
    along, across = place.axes()
    body = sky.sersic(sky.elliptical_radius(along, across, axis_ratio), place.radius, 1.0)
    stretched = math.sqrt(axis_ratio)
    body = body * arms.factor(along * stretched, across / stretched, scale=0.6 * place.radius)
    return (1 - bulge) * body + bulge * sky.sersic(np.hypot(along, across), 0.25 * place.radius, 1.0)


def irregular(random: np.random.Generator, place: Place) -> np.ndarray:
    """Clumps of several sizes scattered around the centre, in a faint common haze: brightness (128, 128), light 1."""
    count, haze = random.integers(4, 8), random.uniform(0.1, 0.3)
    shares = random.uniform(0.5, 1.5, count)
    shares /= shares.sum()
    # Distances and widths in half-light radii. With this root mean square distance half of the light is within about
    # one of them.
    places = random.normal(0, 1, (count, 2))
    places -= shares @ places
    places *= 1.1 / math.sqrt(shares @ (places**2).sum(axis=1))
    widths = random.uniform(0.15, 0.4, count)
    along, across = place.axes()
    image = haze * sky.sersic(np.hypot(along, across), place.radius, 1.0)
    for share, (x, y), width in zip(shares, places * place.radius, widths * place.radius, strict=True):
        blob = np.exp(-0.5 * ((along - x) ** 2 + (across - y) ** 2) / width**2) / (2 * math.pi * width**2)
        image = image + (1 - haze) * share * blob
    return image


_GALAXIES = {1: spheroid, 2: disk, 3: irregular}
POINT = 4


def simulate(random: np.random.Generator) -> simulation.Record:
    """One record."""
    seeing = random.uniform(*SEEING)
    optics = sky.Optics(SIZE, _OVERSAMPLING, seeing)
    # Layers of sources that are not there are empty.
    stamps, light = np.zeros((MOST, SIZE, SIZE)), np.zeros((MOST, len(BANDS)))
    properties = {field: np.zeros(MOST, np.float32) for field in SOURCES}
    properties["kinds"] = np.full(MOST, -1, np.int32)
    for number in range(random.integers(FEWEST, MOST + 1)):
        kind = int(random.integers(1, len(CLASS_NAMES)))
        magnitude, colour = random.uniform(*MAGNITUDE), random.uniform(*COLOUR_GR)
        magnitudes = (magnitude + colour, magnitude, magnitude - 0.4 * colour - random.normal(0, 0.05))
        light[number] = [
            sky.electrons(value, sky.BANDS[name], EXPOSURE) for name, value in zip(BANDS, magnitudes, strict=True)
        ]
        row, column = random.uniform(MARGIN, SIZE - 1 - MARGIN, 2)
        radius = math.exp(random.uniform(*np.log(HALF_LIGHT_RADIUS)))
        middle = (SIZE - 1) / 2
        place = Place((column - middle) * sky.PIXEL, (row - middle) * sky.PIXEL, radius, random.uniform(0, 180))
        if kind == POINT:
            stamps[number], radius = point(place, seeing), 0.0
        else:
            stamps[number] = optics.image(_GALAXIES[kind](random, place))
        drawn = (kind, magnitude, colour, radius, row, column)
        for field, value in zip(SOURCES, drawn, strict=True):
            properties[field][number] = value
    bands = []
    for number, name in enumerate(BANDS):
        expected = (light[:, number, None, None] * stamps).sum(axis=0)
        bands.append(sky.observe(random, expected, sky.sky_electrons(sky.BANDS[name], EXPOSURE)))
    noise = math.sqrt(sky.sky_electrons(sky.BANDS["r"], EXPOSURE))
    objects = charge.dominant(light[:, BANDS.index("r"), None, None] * stamps, THRESHOLD * noise)
    return {
        "image": np.stack(bands, axis=-1).astype(np.float32),
        "label": np.concatenate([[0], properties["kinds"]])[objects].astype(np.uint8),
        "objects": objects,
        **properties,
        "seeing": np.float32(seeing),
    }


def point(place: Place, fwhm: float) -> np.ndarray:
    """A point source through the point-spread function: its light in each pixel (64, 64), of total 1."""
    fine = sky.moffat(*place.axes(), fwhm) * _STEP**2
    return fine.reshape(SIZE, _OVERSAMPLING, SIZE, _OVERSAMPLING).sum(axis=(1, 3))


class PixelMorphology(simulation.SimulatedBuilder):
    """TFDS builder of "pixel_morphology": image (64, 64, 3), label and objects (64, 64), properties of 8 sources."""

    name = "pixel_morphology"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            "image": simulation.tensor(SIZE, SIZE, len(BANDS)),
            "label": simulation.tensor(SIZE, SIZE, dtype=np.uint8),
            "objects": simulation.tensor(SIZE, SIZE, dtype=np.int32),
            **{field: simulation.tensor(MOST) for field in SOURCES},
            "kinds": simulation.tensor(MOST, dtype=np.int32),
            "seeing": simulation.scalar(),
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random)
