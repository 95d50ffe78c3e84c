"""Blurry circles: how large is the disc?

Regression with one number. Brightness, blur, noise and position are drawn independently of the radius, so that a
network has to find the edge. In the configuration "centred" all discs are in the middle of the frame.
"""

import math
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation

SIZE = 48
RADIUS = (3.0, 10.0)
BRIGHTNESS = (0.25, 4.0)
BLUR = (0.4, 1.6)
NOISE = (0.02, 0.08)
# Distance of the centre from the frame's edge, px: the largest disc and its blur stay inside, wherever a disc is, so
# that the position does not depend on the radius.
MARGIN = 14.0

TARGETS = {"radius": "px"}
TITLE = "Simulated blurry circles: the radius of a disc of unknown brightness, blur and position"
UNITS = (
    "image: float32, 48 × 48 × 1, arbitrary units of brightness; the background is 0. "
    "target: radius, 3…10 px, at which the brightness has fallen to half. "
    "row, column: centre of the disc, px from the centre of the first pixel; brightness of the disc, 0.25…4, uniform "
    "in its logarithm; blur, standard deviation of the edge, 0.4…1.6 px; noise, standard deviation of a pixel, "
    "0.02…0.08: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 2000, "validation": 500, "test": 1000},
    "tiny": {"train": 48, "validation": 24, "test": 24},
    "full": {"train": 20000, "validation": 2000, "test": 4000},
    "centred": {"train": 2000, "validation": 500, "test": 1000},
}
FEATURES = {
    "image": "(48, 48, 1) float32",
    "target": "(1,) float32: radius, px",
    **{
        field: f"float32, {unit}; a property, not an input"
        for field, unit in (("row", "px"), ("column", "px"), ("brightness", ""), ("blur", "px"), ("noise", ""))
    },
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    "All properties are drawn independently of the radius and of each other. The brightness summed over the image "
    "grows with the radius, as it must; it also varies by a factor of 16 at fixed radius."
)
CITATION = """\
@misc{zoo_circles,
  title = {Simulated blurry circles},
  note  = {Data set of symmetry-zoo, simulated from a seed},
}"""

_erf = np.vectorize(math.erf, otypes=[float])


def disc(row: float, column: float, radius: float, blur: float) -> np.ndarray:
    """Disc of brightness 1 whose edge is a normal distribution function of standard deviation `blur`, (48, 48)."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(rows - row, columns - column)
    return 0.5 - 0.5 * _erf((distance - radius) / (math.sqrt(2) * blur))


def simulate(random: np.random.Generator, *, centred: bool) -> simulation.Record:
    """One record."""
    radius = random.uniform(*RADIUS)
    row, column = random.uniform(MARGIN, SIZE - 1 - MARGIN, 2)
    if centred:
        row = column = (SIZE - 1) / 2
    brightness = math.exp(random.uniform(*np.log(BRIGHTNESS)))
    blur = random.uniform(*BLUR)
    noise = random.uniform(*NOISE)
    image = brightness * disc(row, column, radius, blur) + random.normal(0, noise, (SIZE, SIZE))
    properties = {"row": row, "column": column, "brightness": brightness, "blur": blur, "noise": noise}
    return {
        "image": image[..., None].astype(np.float32),
        "target": np.array([radius], np.float32),
        **{field: np.float32(value) for field, value in properties.items()},
    }


class Circles(simulation.SimulatedBuilder):
    """TFDS builder of "circles": image (48, 48, 1) float32, target (1,) radius in px, and how the disc was drawn."""

    name = "circles"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        properties = ("row", "column", "brightness", "blur", "noise")
        return {
            "image": simulation.tensor(SIZE, SIZE, 1),
            "target": simulation.tensor(len(TARGETS)),
            **{field: simulation.scalar() for field in properties},
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random, centred=setting == "centred")
