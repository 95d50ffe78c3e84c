"""A ball in a box: where will it be at the next step? (G1)

One look at a ball tells where it is, two tell where it goes, and more average out the noise of the looks. The ball
moves freely with weak drag between walls that reflect it without loss; its motion is known in closed form, with
gravity from one wall to the next. A network sees places, or frames of a video, and knows neither speed nor drag.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from scipy.optimize import brentq

from zoo_datasets import simulation

# Of the ball; its centre stays this far from the walls. Sides of the box.
RADIUS = 0.08
# At the start, sides of the box per step; and drag, per step.
SPEED, DRAG = (0.03, 0.1), (0.005, 0.03)
FRAME = 16
# Standard deviation of the ball's image, which is 1 high, sides of the box.
BLUR = 0.08


@dataclass(frozen=True)
class Setting:
    """A setting of the simulator.

    Attributes:
      steps: that are seen.
      noise: standard deviation of an observed coordinate, sides of the box; of a pixel, where there are frames.
      gravity: towards y = 0, sides of the box per step squared.
      frames: whether frames are seen instead of coordinates.
    """

    steps: int = 32
    noise: float = 0.01
    gravity: float = 0.0
    frames: bool = False


# The noise of the video's pixels lets a fit of the ball's image find its place in one frame to 0.01, as in "default".
SETTINGS = {
    "default": Setting(),
    "noisy": Setting(noise=0.05),
    "gravity": Setting(gravity=0.006),
    "video": Setting(steps=16, noise=0.2, frames=True),
}

CHANNELS = {"x": "sides of the box", "y": "sides of the box"}
VIDEO_CHANNELS = {"brightness": "1"}
TARGETS = {"next_x": "sides of the box", "next_y": "sides of the box"}
TITLE = "Simulated ball in a box with walls, drag and noise: where will it be at the next step?"
UNITS = (
    "sequence: float32, 32 × 2, observed x and y of the ball's centre, in sides of the box, one row per step, with "
    "normal noise of standard deviation 0.01 (noisy: 0.05); in video 16 × 16 × 16 × 1 (step, y, x, brightness), the "
    "image of the ball, 1 high, with noise of 0.2 in each pixel; a pixel's middle is at (number + 0.5) / 16, so that y "
    'grows with the row (origin="lower"). '
    "length: int32, number of steps, all of them. "
    "target: float32, (steps, 2), the true x and y at the step after, for each step, 0.08…0.92. "
    "positions: float32, (steps, 2), the true x and y; bounced: uint8, (steps,), how often the ball hits walls before "
    "the next step; speed: at the first step, sides per step; drag: per step; bounces: walls hit in all: properties, "
    "not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
_SIZES = {"train": 4000, "validation": 500, "test": 1000}
SPLIT_SIZES = {
    "default": _SIZES,
    "tiny": {"train": 24, "validation": 12, "test": 12},
    "full": {"train": 40000, "validation": 4000, "test": 8000},
    "noisy": _SIZES,
    "gravity": _SIZES,
    "video": _SIZES,
}
PROPERTIES = {"speed": "sides per step", "drag": "1 / step", "bounces": "1"}
FEATURES = {
    "sequence": "(32, 2) float32: observed x, y, sides of the box; video: (16, 16, 16, 1) float32, brightness",
    "length": "int32: number of steps, 32; video: 16",
    "target": "(32, 2) float32: true x, y at the next step, sides of the box; video: (16, 2)",
    "positions": "(32, 2) float32: true x, y, sides of the box; video: (16, 2); not an input",
    "bounced": "(32,) uint8: walls hit before the next step; video: (16,); not an input",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    "Errors are root mean squares of a coordinate, in sides of the box. From one place without noise the direction is "
    "unknown and the best answer is the place itself, a little inwards near walls: 0.037, the root of half the mean "
    "square step. Two places give the velocity, and going on straight misses only the drag, 0.0007, until a wall; "
    "three give the drag, and the next place exactly, until a wall. Of noise σ, going on straight from the line fitted "
    "to the last k places makes σ √((4k + 2) / (k (k − 1))), 2.2 σ with two: 0.022 in default, 0.112 in noisy, where "
    "staying put, 0.062, is better. Least squares of the true physics, started at the truth, reach 0.0083 from 8 "
    "places and 0.0047 from 32 (noisy: 0.037 and 0.020). A wall is hit in 7.5 % of the steps. "
    "gravity: 0.006 sides per step squared towards y = 0; the ball still loses nothing at a wall. "
    "video: a fit of the ball's image to one frame finds a coordinate to 0.01, the noise of default, so that the two "
    "can be compared; positions says where the ball truly is. There is no rotation, no second ball, and the walls do "
    "not move."
)
CITATION = """\
@misc{zoo_bouncing_ball,
  title = {Simulated ball in a box},
  note  = {Data set of symmetry-zoo, simulated from a seed},
}"""


def reach(drag: float, time: np.ndarray) -> np.ndarray:
    """How far a speed of 1 goes in `time` steps against `drag` per step: (1 − exp(−drag · time)) / drag."""
    return time if drag == 0 else -np.expm1(-drag * time) / drag


def reflected(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where walls at RADIUS and 1 − RADIUS leave a ball that without them would run along `path`.

    Without loss and without gravity the free path is the path in the box, folded at the walls: drag acts against the
    velocity, whichever its sign.

    Args:
      path: places of the centre, any shape.

    Returns:
      Places in the box, and the number of the cell of the free path: the walls hit between two of them are the
      difference of their numbers. Both of the shape of `path`.
    """
    width = 1 - 2 * RADIUS
    cell = np.floor((path - RADIUS) / width).astype(int)
    inside = path - RADIUS - cell * width
    return RADIUS + np.where(cell % 2 == 0, inside, width - inside), cell


def falling(
    height: float, velocity: float, drag: float, gravity: float, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Heights under gravity and drag between floor and ceiling, followed exactly from wall to wall.

    Args:
      height: at time 0, in RADIUS … 1 − RADIUS.
      velocity: upwards at time 0.
      drag: per step, above 0.
      gravity: above 0.
      times: (T,) ascending, steps.

    Returns:
      Heights (T,), and the walls hit until then (T,).
    """

    def rise(v: float, t: np.ndarray) -> np.ndarray:
        return v * reach(drag, t) - gravity * (t - reach(drag, t)) / drag

    heights, hits = np.empty(len(times)), np.zeros(len(times), int)
    start, count, number = 0.0, 0, 0
    while number < len(times):
        # Highest point, or the start when it falls already; before it the path only rises, after it it only falls.
        top = math.log1p(drag * velocity / gravity) / drag if velocity > 0 else 0.0
        if height + rise(velocity, top) > 1 - RADIUS:
            wall, low, high = 1 - RADIUS, 0.0, top
        else:
            wall, low, high = RADIUS, top, top + 1.0
            while height + rise(velocity, high) > wall:
                high *= 2
        hit = brentq(lambda t, v, h, w: h + rise(v, t) - w, low, high, args=(velocity, height, wall), xtol=1e-13)
        while number < len(times) and times[number] <= start + hit:
            heights[number] = height + rise(velocity, times[number] - start)
            hits[number] = count
            number += 1
        velocity = gravity * reach(drag, hit) - velocity * math.exp(-drag * hit)
        start, height, count = start + hit, wall, count + 1
    return heights, hits


def trajectory(
    place: np.ndarray, velocity: np.ndarray, drag: float, gravity: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """True places at the steps 0 … `steps`, and how often walls are hit after each of them and before the next.

    Args:
      place: (2,) x and y at the start.
      velocity: (2,) at the start, sides per step.
      drag: per step.
      gravity: towards y = 0.
      steps: one less than the places.

    Returns:
      (steps + 1, 2) and (steps,).
    """
    times = np.arange(steps + 1.0)
    places, hits = reflected(place + velocity * reach(drag, times)[:, None])
    if gravity:
        places[:, 1], hits[:, 1] = falling(place[1], velocity[1], drag, gravity, times)
    return places, np.abs(np.diff(hits, axis=0)).sum(1)


def frames(places: np.ndarray) -> np.ndarray:
    """Images (T, 16, 16, 1) of the ball without noise, a Gaussian 1 high, at `places` (T, 2) x and y."""
    middles = (np.arange(FRAME) + 0.5) / FRAME
    along, across = (np.exp(-0.5 * ((middles - places[:, axis, None]) / BLUR) ** 2) for axis in (0, 1))
    return (across[:, :, None] * along[:, None, :])[..., None]


def simulate(random: np.random.Generator, setting: str) -> simulation.Record:
    """One record of a setting."""
    options = SETTINGS[setting]
    speed, angle = random.uniform(*SPEED), random.uniform(0, 2 * math.pi)
    drag = random.uniform(*DRAG)
    place = random.uniform(RADIUS, 1 - RADIUS, 2)
    velocity = speed * np.array([math.cos(angle), math.sin(angle)])
    places, bounced = trajectory(place, velocity, drag, options.gravity, options.steps)
    seen = frames(places[:-1]) if options.frames else places[:-1]
    return {
        "sequence": (seen + random.normal(0, options.noise, seen.shape)).astype(np.float32),
        "length": np.int32(options.steps),
        "target": places[1:].astype(np.float32),
        "positions": places[:-1].astype(np.float32),
        "bounced": bounced.astype(np.uint8),
        "speed": np.float32(speed),
        "drag": np.float32(drag),
        "bounces": np.float32(bounced.sum()),
    }


class BouncingBall(simulation.SimulatedBuilder):
    """TFDS builder of "bouncing_ball": sequence of places (32, 2) or frames (16, 16, 16, 1), target the next places."""

    name = "bouncing_ball"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        options = SETTINGS[simulation.setting_of(self.builder_config.name)]
        seen = (FRAME, FRAME, 1) if options.frames else (len(CHANNELS),)
        return {
            "sequence": simulation.tensor(options.steps, *seen),
            "length": tfds.features.Scalar(np.int32),
            "target": simulation.tensor(options.steps, len(TARGETS)),
            "positions": simulation.tensor(options.steps, len(TARGETS)),
            "bounced": simulation.tensor(options.steps, dtype=np.uint8),
            **{field: simulation.scalar() for field in PROPERTIES},
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random, setting)
