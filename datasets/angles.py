"""Angles in noise: is the figure in the image the angle, or its mirror image?

The smallest task of translation symmetry. An image is noise and one figure of two strokes that meet, anywhere in the
frame; the other class is the figure's mirror image, so that brightness says nothing and only the arrangement of the
pixels does. One 11 × 11 filter and a maximum solve it; networks of that form, and larger ones, can learn it.
"""

from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation

SIZE = 32
CLASS_NAMES = ("mirrored", "angle")
# Standard deviation of the noise, in units of the strokes' height. With it the best threshold on the matched filter's
# maximum is right in 98 images of 100: a task with something to learn and a limit to be seen.
NOISE = 0.45

TITLE = "Simulated angles in noise: the figure or its mirror image, anywhere in the frame"
UNITS = (
    f"image: float32, 32 × 32 × 1. Strokes are 1 high, the noise is normal with mean 0 and standard deviation {NOISE}. "
    "label: 0 mirrored (horizontal stroke below, diagonal stroke falling to the right), 1 angle (diagonal stroke "
    'rising to the right), as drawn with the first row on top (origin="upper"). '
    "row, column: px, the pixel of the figure's upper left corner, 0…21; properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 2000, "validation": 500, "test": 1000},
    "tiny": {"train": 48, "validation": 24, "test": 24},
    "full": {"train": 20000, "validation": 2000, "test": 4000},
}
FEATURES = {
    "image": "(32, 32, 1) float32",
    "label": "0, 1",
    "row": "float32, px; a property, not an input",
    "column": "float32, px; a property, not an input",
}
SPLIT_POLICY = "Every record is drawn on its own; classes alternate, so that every split has equally many of each."
NOTES = (
    "Position and noise are drawn independently of the class, and both figures have 21 bright pixels. The angle cannot "
    "be turned by quarters into its mirror image, but a network that is invariant under reflections sees one class."
)
CITATION = """\
@misc{zoo_angles,
  title = {Simulated angles in noise},
  note  = {Data set of symmetry-zoo, simulated from a seed},
}"""


def figure() -> np.ndarray:
    """The angle, (11, 11) float32 of 0 and 1: the lowest row and the anti-diagonal."""
    pattern = np.fliplr(np.eye(11, dtype=np.float32))
    pattern[-1] = 1
    return pattern


def simulate(random: np.random.Generator, number: int) -> simulation.Record:
    """One record; odd numbers are angles, even ones mirrored."""
    label = number % 2
    row, column = random.integers(0, SIZE - 11 + 1, 2)
    image = random.normal(0, NOISE, (SIZE, SIZE))
    image[row : row + 11, column : column + 11] += figure() if label else np.fliplr(figure())
    return {
        "image": image[..., None].astype(np.float32),
        "label": label,
        "row": np.float32(row),
        "column": np.float32(column),
    }


class Angles(simulation.SimulatedBuilder):
    """TFDS builder of "angles": image (32, 32, 1) float32, label 0, 1, position of the figure."""

    name = "angles"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            "image": simulation.tensor(SIZE, SIZE, 1),
            "label": tfds.features.ClassLabel(names=CLASS_NAMES),
            "row": simulation.scalar(),
            "column": simulation.scalar(),
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random, number)
