"""Tracks and showers in a volume: straight and helical paths of charged particles, and clouds of showers, per voxel.

Segmentation in three dimensions with three classes. A magnetic field along the first axis bends tracks into helices;
charge drifts along the same axis and spreads the wider the farther it comes, as in a time projection chamber.
"""

import math
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import charge, simulation

SIZE = 24
CLASS_NAMES = ("background", "track", "shower")
MOST_TRACKS = 3
# Number of the shower in `objects`.
SHOWER = MOST_TRACKS + 1
STRAIGHT = 0.4
SHOWERS = 0.6
LENGTH, RADIUS = (15.0, 50.0), (3.0, 12.0)
# Charge for each voxel of length, and of a shower, in units of the noise.
IONISATION, SHOWER_CHARGE = (8.0, 32.0), (400.0, 1600.0)
# Standard deviation of the diffusion at the near and at the far side, voxels; its square grows with the drift.
WIDTH = (0.35, 0.8)
# Distance of the places where objects start from the sides, voxels.
MARGIN = 3.0
# Mean depth and mean distance from the axis of a shower's charges, voxels, and how many they are.
DEPTH, WIDTH_OF_SHOWER, CHARGES = 5.0, 1.2, 150
# A voxel is labelled when one object gives it more than this, in units of the noise.
THRESHOLD = 1.0

TITLE = "Simulated volumes of a tracking detector: background, track or shower, voxel by voxel"
UNITS = (
    "image: float32, 24 × 24 × 24 × 1 (drift, row, column), charge in units of the noise, so that empty voxels have "
    "mean 0 and standard deviation 1. "
    "label: uint8, class of the object that gives the voxel most, where that is more than 1 unit: 0 background, "
    "98.0 % of the voxels; 1 track, 1.2 %; 2 shower, 0.8 %. "
    "objects: int32, number of that object: 1, 2, 3 the tracks, 4 the shower, 0 background. "
    "charge: float32 (4,), of each object in the volume, 0 where there is none; curvature: float32 (4,), 1 / voxels, "
    "of each track seen along the field, positive where it turns from the rows' axis to the columns', 0 for straight "
    "ones, showers and objects that are not there: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 1000, "validation": 200, "test": 400},
    "tiny": {"train": 24, "validation": 12, "test": 12},
    "full": {"train": 10000, "validation": 1000, "test": 2000},
}
FEATURES = {
    "image": "(24, 24, 24, 1) float32, noise",
    "label": "(24, 24, 24) uint8: 0 background, 1 track, 2 shower",
    "objects": "(24, 24, 24) int32: 1 … 3 tracks, 4 shower, 0 background; not an input",
    "charge": "(4,) float32, noise; a property, not an input",
    "curvature": "(4,) float32, 1 / voxels; a property, not an input",
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    "One to three tracks and, in 60 % of the volumes, one shower, all drawn independently and from places of their "
    "own: there is no common vertex. 40 % of the tracks are straight, the others helices around the first axis with "
    "radii of 3 to 12 voxels. Tracks and showers are about equally bright where they are labelled: their form tells. "
    "Simplifications: no energy loss (a helix keeps its radius), charge is even along a track, the noise is Gaussian "
    "and the same everywhere, and a shower is a cloud of 150 points with depths of a gamma distribution around an axis."
)
CITATION = """\
@misc{zoo_tracks3d,
  title = {Simulated tracks and showers in three dimensions},
  note  = {Data set of symmetry-zoo, simulated from a seed},
}"""


def width(drift: np.ndarray) -> np.ndarray:
    """Standard deviation of the diffusion for charge from this depth, voxels; outside the volume as at its sides."""
    near, far = (value**2 for value in WIDTH)
    return np.sqrt(near + (far - near) * np.clip(drift / (SIZE - 1), 0, 1))


def helix(start: np.ndarray, heading: np.ndarray, length: float, curvature: float) -> np.ndarray:
    """Points (P, 3) of a helix around the first axis, or of a straight line.

    Args:
      start: (3,).
      heading: (3,) unit vector at the start.
      length: of the path.
      curvature: 1 / radius as seen along the first axis; its sign is the sense, 0 is straight.
    """
    if curvature == 0:
        return charge.straight(start, heading, length)
    along = charge.steps(length)
    across = math.hypot(heading[1], heading[2])
    phase = math.atan2(heading[2], heading[1])
    turned = phase + curvature * across * along
    rows = (np.sin(turned) - math.sin(phase)) / curvature
    columns = (math.cos(phase) - np.cos(turned)) / curvature
    return start + np.stack([heading[0] * along, rows, columns], axis=1)


def track(random: np.random.Generator) -> tuple[np.ndarray, float]:
    """A track: expected charge (24, 24, 24), and its curvature."""
    curvature = random.choice((-1, 1)) / random.uniform(*RADIUS)
    if random.random() < STRAIGHT:
        curvature = 0.0
    length = random.uniform(*LENGTH)
    start = random.uniform(MARGIN, SIZE - 1 - MARGIN, 3)
    heading = charge.direction(random, 3)
    # Into the volume rather than out of it.
    heading *= np.where(heading @ ((SIZE - 1) / 2 - start) < 0, -1, 1)
    points = helix(start, heading, length, curvature)
    amount = math.exp(random.uniform(*np.log(IONISATION))) * length / len(points)
    return charge.deposit(points, np.full(len(points), amount), width(points[:, 0]), SIZE), curvature


def shower(random: np.random.Generator) -> np.ndarray:
    """A shower: expected charge (24, 24, 24)."""
    start = random.uniform(MARGIN, SIZE - 1 - MARGIN, 3)
    heading = charge.direction(random, 3)
    heading *= np.where(heading @ ((SIZE - 1) / 2 - start) < 0, -1, 1)
    depth = random.gamma(2, DEPTH / 2, CHARGES)
    # Away from the axis by a vector in the plane across it.
    away = random.normal(size=(CHARGES, 3))
    away -= (away @ heading)[:, None] * heading
    away *= (random.exponential(WIDTH_OF_SHOWER, CHARGES) / np.linalg.norm(away, axis=1))[:, None]
    points = start + depth[:, None] * heading + away
    parts = random.exponential(1, CHARGES)
    total = math.exp(random.uniform(*np.log(SHOWER_CHARGE)))
    return charge.deposit(points, total * parts / parts.sum(), width(points[:, 0]), SIZE)


def simulate(random: np.random.Generator) -> simulation.Record:
    """One record."""
    # Layers of objects that are not there are empty.
    layers, curvature = np.zeros((SHOWER, SIZE, SIZE, SIZE)), np.zeros(SHOWER, np.float32)
    for number in range(random.integers(1, MOST_TRACKS + 1)):
        layers[number], curvature[number] = track(random)
    if random.random() < SHOWERS:
        layers[SHOWER - 1] = shower(random)
    image = layers.sum(axis=0) + random.normal(0, 1, layers.shape[1:])
    objects = charge.dominant(layers, THRESHOLD)
    return {
        "image": image[..., None].astype(np.float32),
        "label": np.where(objects == SHOWER, 2, objects > 0).astype(np.uint8),
        "objects": objects,
        "charge": layers.sum(axis=(1, 2, 3)).astype(np.float32),
        "curvature": curvature,
    }


class Tracks3D(simulation.SimulatedBuilder):
    """TFDS builder of "tracks3d": image (24, 24, 24, 1), label and objects (24, 24, 24), charge and curvature (4,)."""

    name = "tracks3d"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        shape = (SIZE,) * 3
        return {
            "image": simulation.tensor(*shape, 1),
            "label": simulation.tensor(*shape, dtype=np.uint8),
            "objects": simulation.tensor(*shape, dtype=np.int32),
            "charge": simulation.tensor(SHOWER),
            "curvature": simulation.tensor(SHOWER),
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random)
