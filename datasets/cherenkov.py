"""Rings of Cherenkov light in a tank of water: was it an electron or a muon?

A muon goes straight and draws a sharp ring on the walls; an electron makes a shower, whose ring is fuzzy. The same
events come as an image of the unrolled walls and as the set of hits in space, for a network on either.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import graphs, simulation

# Of the tank, m; of the sensors on its walls, m; around, from top to bottom, and across an end.
RADIUS, HALF_HEIGHT, PITCH = 4.0, 4.0, 0.5
COLUMNS, ROWS, ACROSS = 48, 16, 16
SIZE = COLUMNS
# Refractive index; speed of light, m/ns; mean path before scattering, m.
INDEX, LIGHT, SCATTERING = 1.33, 0.299792458, 40.0
# Standard deviations of a sensor's time, ns, and of the charge of one photoelectron.
TIME_ERROR, CHARGE_ERROR = 1.0, 0.3
# Photoelectrons: fewest and most of an event; of each MeV; of the dark, in an event.
PHOTOELECTRONS, YIELD, DARK = (400.0, 1500.0), 2.25, 5.0
WINDOW = (-50.0, 100.0)
# Muon: mass, MeV; loss, MeV/m; bend, rad/m (both axes).
MUON, LOSS, BEND = 105.658, 200.0, 0.04
# Shower: radiation length, m; critical energy, MeV; spread of directions of its core and its halo, rad; their shares.
RADIATION_LENGTH, CRITICAL = 0.361, 78.0
SPREAD, CORE = (0.08, 0.3), 0.65

CLASS_NAMES = ("electron", "muon")
CHANNELS = {"x": "m", "y": "m", "z": "m", "time": "ns", "charge": "photoelectrons"}
TITLE = "Simulated Cherenkov rings in a water tank: electron or muon, as unrolled images or as hits in space"
UNITS = (
    "The tank is a cylinder of 4 m radius and 8 m height, its walls covered by sensors half a metre apart. "
    "points (hits): float32, n × 5, one row for each sensor that was hit, by time: x, y, z of the sensor, m, from the "
    "middle of the tank, z upwards; time, ns, of its first photoelectron, the median of the event being 0; charge, "
    "photoelectrons. "
    "image (images): float32, 48 × 48 × 2 (charge, time), the same hits: rows 16…31 are the wall from top to bottom, "
    "from azimuth −180° to 180°, the column in the middle being x > 0, y = 0; above and below it in columns 16…31 are "
    "top and bottom, folded away at x > 0. 0 where there is no hit or no sensor. "
    "label: 0 electron, 1 muon. photoelectrons: of the particle's light; vertex: where it began, m; direction: of its "
    "motion: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
_SIZES = {"train": 3000, "validation": 500, "test": 1000}
_TINY = {"train": 16, "validation": 8, "test": 8}
SPLIT_SIZES = {"images": _SIZES, "hits": _SIZES, "images_tiny": _TINY, "hits_tiny": _TINY}
PROPERTIES = {"photoelectrons": "1", "vertex": "m", "direction": "1"}
FEATURES = {
    "image": "(48, 48, 2) float32: charge, photoelectrons; time, ns; in images",
    "points": "(n, 5) float32: x, y, z, m; time, ns; charge, photoelectrons; in hits, n 35…650",
    "label": "0 electron, 1 muon",
    "photoelectrons": "float32, 1; a property, not an input",
    "vertex": "(3,) float32, m; a property, not an input",
    "direction": "(3,) float32, 1; a property, not an input",
}
SPLIT_POLICY = (
    "Every event is drawn on its own; classes alternate. Records of images and of hits with the same place are the "
    "same events, in other words with the same vertex."
)
NOTES = (
    "Both classes have the same distribution of light, vertices and directions. A muon's light comes from its track, "
    "of 1 to 3.3 m, at the angle arccos(1 / (n β)), which shrinks as the muon slows down, in numbers ∝ sin² of it; an "
    "electron's from a shower with the mean profile of depth (gamma distribution) and particles whose directions are "
    "spread by 0.08 rad for 65 % and by 0.3 rad for the rest, at 41.2°. Light scatters once (mean path 40 m), and is "
    "neither absorbed nor reflected. Five dark photoelectrons are on sensors anywhere. The track of a muon stays "
    "inside, and the electron's vertex is drawn as if it were one. The number of hits and the charge together are "
    "right in 0.67 (boosted trees); with the spread of charges and times in 0.69: the rest is the form of the ring. "
    "Where image and hits differ: an image has neighbours that are far apart in space (beyond the fold and on both "
    "edges), and hits have no place for a sensor that saw nothing."
)
CITATION = """\
@article{frank1937coherent,
  title   = {Coherent visible radiation of fast electrons passing through matter},
  author  = {Frank, I. M. and Tamm, I. E.},
  journal = {Comptes Rendus de l'Acad{\\'e}mie des Sciences de l'URSS},
  volume  = {14},
  pages   = {109--114},
  year    = {1937},
}
@article{longo1975monte,
  title   = {Monte {Carlo} calculation of photon-initiated electromagnetic showers in lead glass},
  author  = {Longo, Egidio and Sestili, Ignazio},
  journal = {Nuclear Instruments and Methods},
  volume  = {128},
  pages   = {283--307},
  year    = {1975},
  doi     = {10.1016/0029-554X(75)90679-5},
}"""


@dataclass(frozen=True)
class Sensors:
    """The sensors on the walls.

    Attributes:
      position: (S, 3), m.
      pixel: (S, 2) row and column in the image.
      number: (48, 48), number of the sensor at a pixel, −1 where there is none.
    """

    position: np.ndarray
    pixel: np.ndarray
    number: np.ndarray


@functools.lru_cache(maxsize=1)
def sensors() -> Sensors:
    """Where the sensors are, in space and in the image."""
    row, column = (axis.ravel() for axis in np.mgrid[:SIZE, :SIZE])
    angle = 2 * math.pi * (column + 0.5) / COLUMNS - math.pi
    wall = np.stack([RADIUS * np.cos(angle), RADIUS * np.sin(angle), HALF_HEIGHT - PITCH * (row - ROWS + 0.5)], axis=1)
    side = PITCH * (column - (COLUMNS - ACROSS) // 2 + 0.5) - RADIUS
    top = np.stack([PITCH * (row + 0.5) - RADIUS, side, np.full(len(row), HALF_HEIGHT)], axis=1)
    bottom = np.stack([RADIUS - PITCH * (row - 2 * ROWS + 0.5), side, np.full(len(row), -HALF_HEIGHT)], axis=1)
    part = row // ROWS
    position = np.select([part[:, None] == 0, part[:, None] == 1], [top, wall], bottom)
    there = (part == 1) | (np.hypot(position[:, 0], position[:, 1]) < RADIUS)
    number = np.full((SIZE, SIZE), -1)
    number[row[there], column[there]] = np.arange(there.sum())
    return Sensors(position[there], np.stack([row, column], axis=1)[there], number)


def sensor_at(place: np.ndarray) -> np.ndarray:
    """Number (N,) of the sensor that each place (N, 3) on the walls, m, belongs to; −1 where there is none."""
    x, y, z = place.T
    angle = np.arctan2(y, x)
    column = np.clip(np.floor((angle + math.pi) / (2 * math.pi) * COLUMNS), 0, COLUMNS - 1)
    row = ROWS + np.clip(np.floor((HALF_HEIGHT - z) / PITCH), 0, ROWS - 1)
    side = np.clip(np.floor((y + RADIUS) / PITCH), 0, ACROSS - 1) + (COLUMNS - ACROSS) // 2
    along = np.clip(np.floor((x + RADIUS) / PITCH), 0, ACROSS - 1)
    end = np.isclose(np.abs(z), HALF_HEIGHT)
    row = np.where(end, np.where(z > 0, along, 3 * ROWS - 1 - along), row)
    return sensors().number[row.astype(int), np.where(end, side, column).astype(int)]


def to_walls(start: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Length (N,) of the way from points (N, 3) in the tank along unit vectors (N, 3) to the wall."""
    a = (direction[:, :2] ** 2).sum(1)
    b = (start[:, :2] * direction[:, :2]).sum(1)
    c = (start[:, :2] ** 2).sum(1) - RADIUS**2
    # Rays along the axis never meet the wall, rays across never an end.
    never = np.full(len(a), np.inf)
    around = np.divide(np.sqrt(np.maximum(b * b - a * c, 0)) - b, a, out=never.copy(), where=a > 1e-12)
    rise = direction[:, 2]
    ends = np.divide(HALF_HEIGHT - np.sign(rise) * start[:, 2], np.abs(rise), out=never, where=np.abs(rise) > 1e-6)
    return np.maximum(np.minimum(around, ends), 0)


def cherenkov_cosine(length: np.ndarray) -> np.ndarray:
    """Cosine of the angle of the light of a muon that will go `length` m before its light ends: 1 / (n β)."""
    threshold = MUON * (1 / math.sqrt(1 - 1 / INDEX**2) - 1)
    gamma = 1 + (threshold + LOSS * length) / MUON
    return 1 / (INDEX * np.sqrt(1 - 1 / gamma**2))


def muon_light(random: np.random.Generator, count: int, length: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light of a muon along +z that goes `length` m: way to each photon's start, its side step (N, 2), its direction.

    Photons are as many as sin² of their angle says (Frank & Tamm 1937); the track bends a little.
    """
    grid = np.linspace(0, length, 401)
    middle = (grid[1:] + grid[:-1]) / 2
    emitted = np.concatenate([[0.0], np.cumsum(1 - cherenkov_cosine(length - middle) ** 2)])
    depth = np.interp(random.random(count), emitted / emitted[-1], grid)
    bend = random.normal(0, BEND, 2)
    rays = _cone(random, cherenkov_cosine(length - depth), bend * depth[:, None])
    return depth, bend * depth[:, None] ** 2 / 2, rays


def shower_light(random: np.random.Generator, count: int, energy: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light of an electron of `energy` MeV along +z, as of `muon_light`.

    Depths follow the mean profile of showers (Longo & Sestili 1975): a gamma distribution in radiation lengths with
    b = 0.5 and its maximum at ln(E / E_c) − 0.5. Directions of the shower's particles are spread in two parts.
    """
    shape = 1 + 0.5 * max(math.log(energy / CRITICAL) - 0.5, 0.1)
    depth = RADIATION_LENGTH * random.gamma(shape, 2.0, count)
    spread = np.where(random.random(count) < CORE, *SPREAD)[:, None] * random.normal(size=(count, 2))
    aside = random.normal(0, 0.05, (count, 2))
    return depth, aside, _cone(random, np.full(count, 1 / INDEX), spread)


def _cone(random: np.random.Generator, cosine: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 3) at angles of given cosine (N,) to axes that lean from +z by small angles `tilt` (N, 2)."""
    turn = random.uniform(0, 2 * math.pi, len(cosine))
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    local = np.stack([sine * np.cos(turn), sine * np.sin(turn), cosine], axis=1)
    return _turned(local, tilt)


def _turned(vectors: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Vectors (N, 3) turned as +z is turned towards (tilt, …) by the angle |tilt|, tilt (N, 2), by Rodrigues."""
    angle = np.hypot(*tilt.T)
    safe = np.maximum(angle, np.finfo(np.float64).tiny)
    axis = np.stack([-tilt[:, 1] / safe, tilt[:, 0] / safe, np.zeros(len(tilt))], axis=1)
    sine, cosine = np.sin(angle)[:, None], np.cos(angle)[:, None]
    along = (axis * vectors).sum(1, keepdims=True)
    return vectors * cosine + np.cross(axis, vectors) * sine + axis * along * (1 - cosine)


def frame(direction: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) whose last column is the unit vector `direction`."""
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    first = np.cross(helper, direction)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first), direction], axis=1)


def isotropic(random: np.random.Generator, count: int) -> np.ndarray:
    """Unit vectors (count, 3) in all directions alike."""
    vectors = random.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def draw_track(random: np.random.Generator, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertex (3,), m, and direction (3,) of which a muon of `length` m stays 30 cm inside; the same for electrons."""
    while True:
        vertex, direction = random.uniform(-1, 1, 3) * (RADIUS, RADIUS, HALF_HEIGHT), isotropic(random, 1)[0]
        ends = np.stack([vertex, vertex + length * direction])
        inside = (np.hypot(ends[:, 0], ends[:, 1]) < RADIUS - 0.3) & (np.abs(ends[:, 2]) < HALF_HEIGHT - 0.3)
        if inside.all():
            return vertex, direction


def event(random: np.random.Generator, label: int) -> simulation.Record:
    """Hits of one event by time, sensor (n,), time (n,), charge (n,); and photoelectrons, vertex, direction.

    Args:
      random: generator.
      label: 0 electron, 1 muon.
    """
    light = math.exp(random.uniform(*np.log(PHOTOELECTRONS)))
    count = random.poisson(light)
    vertex, direction = draw_track(random, light / YIELD / LOSS)
    draw = (
        functools.partial(muon_light, length=light / YIELD / LOSS)
        if label
        else functools.partial(shower_light, energy=light / YIELD)
    )
    depth, aside, rays = draw(random, count)
    axes = frame(direction)
    start = vertex + np.concatenate([aside, depth[:, None]], axis=1) @ axes.T
    within = (np.hypot(start[:, 0], start[:, 1]) < RADIUS) & (np.abs(start[:, 2]) < HALF_HEIGHT)
    start, rays, depth = start[within], rays[within] @ axes.T, depth[within]
    place, path = _propagate(random, start, rays)
    time = depth / LIGHT + path * INDEX / LIGHT + random.normal(0, TIME_ERROR, len(path))
    sensor = sensor_at(place)
    dark = random.poisson(DARK)
    sensor = np.concatenate([sensor, random.integers(0, len(sensors().position), dark)])
    time = np.concatenate([time - np.median(time), random.uniform(*WINDOW, dark)])
    hits = _collect(random, sensor, time)
    return {**hits, "photoelectrons": light, "vertex": vertex, "direction": direction}


def _propagate(random: np.random.Generator, start: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where photons meet the wall (N, 3), and the length of their way (N,); some scatter once, in any direction."""
    straight = to_walls(start, rays)
    free = random.exponential(SCATTERING, len(start))
    scattered = free < straight
    first = np.where(scattered, free, straight)
    middle = start + first[:, None] * rays
    anew = np.where(scattered[:, None], isotropic(random, len(start)), rays)
    second = np.where(scattered, to_walls(middle, anew), 0.0)
    return middle + second[:, None] * anew, first + second


def _collect(random: np.random.Generator, sensor: np.ndarray, time: np.ndarray) -> simulation.Record:
    """What the sensors record of photoelectrons: the time of the first, the charge of all."""
    seen = sensor >= 0
    number, which = np.unique(sensor[seen], return_inverse=True)
    first = np.full(len(number), np.inf)
    np.minimum.at(first, which, time[seen])
    single = np.maximum(random.normal(1, CHARGE_ERROR, seen.sum()), 0.1)
    charge = np.bincount(which, single, minlength=len(number))
    first -= np.median(first)
    order = np.lexsort((number, first))
    return {"sensor": number[order], "time": first[order], "charge": charge[order]}


def points(hits: simulation.Record) -> np.ndarray:
    """Hits as points (n, 5) float32: x, y, z, time, charge."""
    columns = (*sensors().position[hits["sensor"]].T, hits["time"], hits["charge"])
    return np.stack(columns, axis=1).astype(np.float32)


def image(hits: simulation.Record) -> np.ndarray:
    """Hits as an image (48, 48, 2) float32: charge, time."""
    picture = np.zeros((SIZE, SIZE, 2), np.float32)
    row, column = sensors().pixel[hits["sensor"]].T
    picture[row, column, 0], picture[row, column, 1] = hits["charge"], hits["time"]
    return picture


class Cherenkov(simulation.SimulatedBuilder):
    """TFDS builder of "cherenkov": image (48, 48, 2) or points (n, 5), label, and properties."""

    name = "cherenkov"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    @property
    def _as_image(self) -> bool:
        return self.builder_config.name.startswith("images")

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        # Most of an image is 0: compressed it is a tenth.
        sparse = tfds.features.Tensor(shape=(SIZE, SIZE, 2), dtype=np.float32, encoding=tfds.features.Encoding.ZLIB)
        return {
            **({"image": sparse} if self._as_image else {"points": graphs.table(len(CHANNELS))}),
            "label": tfds.features.ClassLabel(names=list(CLASS_NAMES)),
            "photoelectrons": simulation.scalar(),
            "vertex": simulation.tensor(3),
            "direction": simulation.tensor(3),
        }

    def record(self, split: str, number: int) -> simulation.Record:
        """Record `number` of a split; images and hits draw the same events."""
        return self.simulate(simulation.generator(self.name, "default", split, number), number, "default")

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `event` of this module."""
        label = number % len(CLASS_NAMES)
        hits = event(random, label)
        return {
            **({"image": image(hits)} if self._as_image else {"points": points(hits)}),
            "label": label,
            "photoelectrons": np.float32(hits["photoelectrons"]),
            "vertex": hits["vertex"].astype(np.float32),
            "direction": hits["direction"].astype(np.float32),
        }
