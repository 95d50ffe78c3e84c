"""Short straight tracks of decays in the image of a CCD, rare among muons, electrons, hits and hot pixels.

Segmentation with classes far from balanced: about one pixel in 400 belongs to a track. The kinds of event are those of
dark-matter detectors made of thick CCDs (DAMIC, Aguilar-Arevalo et al. 2016); numbers are simplified, see `NOTES`.
"""

import math
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import charge, simulation

SIZE = 64
CLASS_NAMES = ("other", "track")
# Standard deviation of the read-out, electrons: the unit of the image.
READ_NOISE = 20.0
# Energy that makes one pair of charges in silicon, keV.
PAIR_ENERGY = 3.75e-3
# Electrons a pixel of length, whatever the particle.
IONISATION = (120.0, 800.0)
# Diffusion: pixels, at the surface and at the far side.
WIDTH = (0.3, 0.9)
TRACK_LENGTH, MUON_LENGTH, WORM_LENGTH = (4.0, 9.0), (20.0, 90.0), (15.0, 45.0)
# Chances of no, one and two tracks in an image.
TRACKS = (0.55, 0.35, 0.1)
MOST = len(TRACKS) - 1
# Mean numbers of the others in an image.
MUONS, WORMS, HITS, HOT_PIXELS, HOT_COLUMNS = 1.5, 1.5, 5.0, 4.0, 0.3
# Distance of a track's middle from the edge of the frame: all of the longest one, with its diffusion, is inside.
MARGIN = 7.0
# A pixel belongs to a track when the track gives it more than this, in units of the read-out noise.
THRESHOLD = 1.0

TITLE = "Simulated CCD images: which pixels belong to a short straight track of a decay?"
UNITS = (
    "image: float32, 64 × 64 × 1, electrons in units of the read-out noise, 20 electrons; empty pixels have a standard "
    "deviation of 1 around a background of −1…1. "
    "label: uint8, 1 where a track gives the pixel more than 1 unit, 0 elsewhere: 0.27 % of the pixels are 1. "
    "objects: int32, 1 or 2 where that track gives more than 1 unit and more than the other, 0 elsewhere. "
    "energy: float32 (2,), keV, of the tracks that objects numbers 1 and 2, with 3.75 eV an electron; length: float32 "
    "(2,), px; both 0 where there is no such track: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 2000, "validation": 500, "test": 1000},
    "tiny": {"train": 48, "validation": 24, "test": 24},
    "full": {"train": 20000, "validation": 2000, "test": 4000},
}
FEATURES = {
    "image": "(64, 64, 1) float32, read-out noise",
    "label": "(64, 64) uint8: 0 other, 1 track",
    "objects": "(64, 64) int32: number of the track, 0 none; not an input",
    "energy": "(2,) float32, keV; a property, not an input",
    "length": "(2,) float32, px; a property, not an input",
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    "55 % of the images have no track, 35 % one, 10 % two. Muons (long, straight, sharp at one end and wide at the "
    "other, where the charge had to drift far), worms of slow electrons (crooked), hits of X-rays (round), hot pixels "
    "and hot columns are drawn independently of the tracks, and the charge for each pixel of length has one "
    "distribution for tracks, muons and worms: only the form tells. "
    "Simplifications: in a real detector the charge differs between the kinds, and by more than here; muons that cross "
    "the silicon steeply, and so are short, are left out, as are worms that stop early; a track lies at one depth; "
    "charge fluctuates as if counted, without the long tail of hard collisions. Muons and worms are cut by the frame, "
    "tracks never are."
)
CITATION = """\
@article{aguilararevalo2016damic,
  title   = {Search for low-mass {WIMPs} in a 0.6 kg day exposure of the {DAMIC} experiment at {SNOLAB}},
  author  = {{DAMIC Collaboration} and Aguilar-Arevalo, A. and others},
  journal = {Physical Review D},
  volume  = {94},
  pages   = {082006},
  year    = {2016},
  doi     = {10.1103/PhysRevD.94.082006},
}"""


def ionisation(random: np.random.Generator) -> float:
    """Electrons a pixel of length, uniform in its logarithm."""
    return math.exp(random.uniform(*np.log(IONISATION)))


def track(random: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """A short straight track: expected electrons (64, 64), length in px, energy in keV."""
    length = random.uniform(*TRACK_LENGTH)
    angle = random.uniform(0, 2 * math.pi)
    heading = np.array([math.sin(angle), math.cos(angle)])
    middle = random.uniform(MARGIN, SIZE - 1 - MARGIN, 2)
    points = charge.straight(middle - length / 2 * heading, heading, length)
    electrons = ionisation(random) * length
    image = charge.deposit(points, np.full(len(points), electrons / len(points)), random.uniform(*WIDTH), SIZE)
    return image, length, electrons * PAIR_ENERGY


def muon(random: np.random.Generator) -> np.ndarray:
    """A long straight track that goes through the silicon and maybe out of the frame: expected electrons (64, 64)."""
    length = random.uniform(*MUON_LENGTH)
    angle = random.uniform(0, 2 * math.pi)
    heading = np.array([math.sin(angle), math.cos(angle)])
    points = charge.straight(random.uniform(0, SIZE, 2) - random.random() * length * heading, heading, length)
    widths = np.linspace(*WIDTH, len(points))
    return charge.deposit(points, np.full(len(points), ionisation(random) * length / len(points)), widths, SIZE)


def worm(random: np.random.Generator) -> np.ndarray:
    """The crooked track of a slow electron, most crooked and bright at its end: expected electrons (64, 64)."""
    length = random.uniform(*WORM_LENGTH)
    along = charge.steps(length)
    step = length / len(along)
    # Scattering grows as the electron slows down: directions are a random walk with more and more to each step.
    turns = random.normal(0, 1, len(along)) * np.sqrt(step) * (0.25 + 0.5 * along / length)
    angles = random.uniform(0, 2 * math.pi) + np.cumsum(turns)
    points = random.uniform(0, SIZE, 2) + step * np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=1), axis=0)
    profile = 1 + (along / length) ** 4
    electrons = ionisation(random) * length * profile / profile.sum()
    return charge.deposit(points, electrons, random.uniform(*WIDTH), SIZE)


def hit(random: np.random.Generator) -> np.ndarray:
    """A point that only diffusion spreads, with the charge that a track has: expected electrons (64, 64)."""
    electrons = ionisation(random) * random.uniform(1, TRACK_LENGTH[1])
    return charge.deposit(random.uniform(0, SIZE, (1, 2)), np.array([electrons]), random.uniform(*WIDTH), SIZE)


def defects(random: np.random.Generator) -> np.ndarray:
    """Hot pixels and hot columns, from a row on to the last: electrons (64, 64)."""
    image = np.zeros((SIZE, SIZE))
    for _ in range(random.poisson(HOT_PIXELS)):
        row, column = random.integers(0, SIZE, 2)
        image[row, column] += math.exp(random.uniform(*np.log(IONISATION)))
    for _ in range(random.poisson(HOT_COLUMNS)):
        row, column = random.integers(0, SIZE // 2), random.integers(0, SIZE)
        image[row:, column] += READ_NOISE * random.uniform(2, 10)
    return image


def background(random: np.random.Generator) -> np.ndarray:
    """What is left of the bias: a plane, electrons (64, 64)."""
    axis = np.linspace(-1, 1, SIZE)
    level, rows, columns = random.uniform(-1, 1, 3) * READ_NOISE / 3
    return level + rows * axis[:, None] + columns * axis


def simulate(random: np.random.Generator) -> simulation.Record:
    """One record."""
    tracks = [track(random) for _ in range(random.choice(len(TRACKS), p=TRACKS))]
    light = np.zeros((SIZE, SIZE))
    for kind, mean in ((muon, MUONS), (worm, WORMS), (hit, HITS)):
        for _ in range(random.poisson(mean)):
            light += kind(random)
    # Layers of tracks that are not there are empty.
    layers = np.zeros((MOST, SIZE, SIZE))
    energy, length = np.zeros(MOST, np.float32), np.zeros(MOST, np.float32)
    for number, (layer, extent, total) in enumerate(tracks):
        layers[number], length[number], energy[number] = layer, extent, total
    counts = random.poisson(light + layers.sum(axis=0)) + defects(random) + background(random)
    image = counts / READ_NOISE + random.normal(0, 1, counts.shape)
    objects = charge.dominant(layers, THRESHOLD * READ_NOISE)
    return {
        "image": image[..., None].astype(np.float32),
        "label": (objects > 0).astype(np.uint8),
        "objects": objects,
        "energy": energy,
        "length": length,
    }


class CcdTracks(simulation.SimulatedBuilder):
    """TFDS builder of "ccd_tracks": image (64, 64, 1), label and objects (64, 64), energy and length of each track."""

    name = "ccd_tracks"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            "image": simulation.tensor(SIZE, SIZE, 1),
            "label": simulation.tensor(SIZE, SIZE, dtype=np.uint8),
            "objects": simulation.tensor(SIZE, SIZE, dtype=np.int32),
            "energy": simulation.tensor(MOST),
            "length": simulation.tensor(MOST),
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random)
