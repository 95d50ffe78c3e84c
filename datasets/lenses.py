"""Strong gravitational lenses in g, r and i: a red galaxy with, or without, the arcs of a blue one behind it.

The mass is a singular isothermal ellipsoid with external shear; rays are shot from the image back to the source
(Kormann, Schneider & Bartelmann 1994). Where there is no lens, blue companions, straight blue slivers or spiral arms
around the same galaxies have the light that the arcs would have had, so that neither colour nor brightness tells.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation, sky

SIZE = 64
BANDS = ("g", "r", "i")
COLOURS = (2, 1, 0)
CLASS_NAMES = ("no_lens", "lens")
_OVERSAMPLING = 2
_STEP = sky.PIXEL / _OVERSAMPLING


@dataclass(frozen=True)
class Setting:
    """A setting of the simulator; ranges are uniform; g − r is normal around the value given, and r − i follows it.

    Attributes:
      exposure: seconds.
      seeing: full width of the point-spread function in r, arcsec.
      einstein_radius: arcsec.
      source_magnitude: r, before magnification.
      deflector_colour, source_colour: mag.
      colour_scatter: standard deviation of g − r.
      impostors: fractions of images without lens with (companions, slivers, spiral arms).
    """

    exposure: float
    seeing: tuple[float, float]
    einstein_radius: tuple[float, float]
    source_magnitude: tuple[float, float]
    deflector_colour: tuple[float, float]
    source_colour: tuple[float, float]
    colour_scatter: float
    impostors: tuple[float, float, float]


SETTINGS = {
    "default": Setting(
        exposure=450.0,
        seeing=(0.55, 0.85),
        einstein_radius=(1.2, 2.5),
        source_magnitude=(22.5, 24.5),
        deflector_colour=(1.4, 0.6),
        source_colour=(0.2, 0.1),
        colour_scatter=0.1,
        impostors=(0.5, 0.35, 0.15),
    ),
    "other": Setting(
        exposure=200.0,
        seeing=(0.75, 1.1),
        einstein_radius=(1.0, 2.1),
        source_magnitude=(22.0, 24.0),
        deflector_colour=(1.1, 0.5),
        source_colour=(0.5, 0.25),
        colour_scatter=0.2,
        impostors=(0.25, 0.25, 0.5),
    ),
}

TITLE = "Simulated strong gravitational lenses in g, r and i, with impostors"
UNITS = (
    "image: float32, 64 × 64 × 3 (g, r, i), 0.2 arcsec a pixel; sky subtracted, in units of the standard deviation of "
    "the sky in that band, so that empty sky has mean 0 and standard deviation 1. "
    "label: 0 no_lens, 1 lens. "
    "einstein_radius: arcsec, 0 where there is no lens; source_magnitude: r, AB, of the source without magnification; "
    "arc_magnitude: r, of the arcs, or of the impostors, which have the light of the arcs of a lens that is not there; "
    "deflector_magnitude: r; source_colour, deflector_colour: g − r; seeing: full width of the point-spread function "
    "in r, arcsec; snr: signal-to-noise ratio of arcs or impostors, all bands; impostor: 0 none (lens), 1 companions, "
    "2 a sliver, 3 spiral arms: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 3000, "validation": 600, "test": 1000},
    "tiny": {"train": 36, "validation": 12, "test": 12},
    "full": {"train": 30000, "validation": 3000, "test": 6000},
    "other": {"train": 3000, "validation": 600, "test": 1000},
}
PROPERTIES = {
    "einstein_radius": "arcsec",
    "source_magnitude": "mag",
    "arc_magnitude": "mag",
    "source_colour": "mag",
    "deflector_magnitude": "mag",
    "deflector_colour": "mag",
    "seeing": "arcsec",
    "snr": "1",
    "impostor": "0…3",
}
FEATURES = {
    "image": "(64, 64, 3) float32, sky's standard deviation",
    "label": "0, 1",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = "Every record is drawn on its own; classes alternate, so that every split has equally many of each."
NOTES = (
    "Deflector, source colour and light of arcs or impostors, field galaxies, seeing and exposure are drawn "
    "independently of the class. Half of the images being lenses is for training: in the sky it is one in thousands, "
    "and precision has to be scaled to that. The configuration other is the same sky through another simulator: worse "
    "seeing, less exposure, smaller Einstein radii, colours closer together, more spirals. "
    "Some arcs are faint or blended: not every lens can be recognised."
)
CITATION = """\
@article{kormann1994isothermal,
  title   = {Isothermal elliptical gravitational lens models},
  author  = {Kormann, R. and Schneider, P. and Bartelmann, M.},
  journal = {Astronomy and Astrophysics},
  volume  = {284},
  pages   = {285--299},
  year    = {1994},
}"""


@dataclass(frozen=True)
class Lens:
    """Singular isothermal ellipsoid at the centre, and external shear.

    Attributes:
      einstein_radius: of the circle with the mass that the critical ellipse encloses, arcsec.
      axis_ratio: of the surface density, below 1.
      position_angle: of its major axis, degrees.
      shear: strength γ of the external shear.
      shear_angle: degrees.
    """

    einstein_radius: float
    axis_ratio: float
    position_angle: float
    shear: float = 0.0
    shear_angle: float = 0.0

    def source_plane(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the rays through x, y in the image come from: position minus deflection (Kormann et al., eq. 27)."""
        along, across = sky.turned(x, y, self.position_angle)
        rest = math.sqrt(1 - self.axis_ratio**2)
        distance = np.sqrt((self.axis_ratio * along) ** 2 + across**2)
        strength = self.einstein_radius * math.sqrt(self.axis_ratio) / rest
        deflection = sky.turned(
            strength * np.arctan(rest * along / distance),
            strength * np.arctanh(rest * across / distance),
            -self.position_angle,
        )
        one = self.shear * math.cos(math.radians(2 * self.shear_angle))
        two = self.shear * math.sin(math.radians(2 * self.shear_angle))
        return x - deflection[0] - one * x - two * y, y - deflection[1] - two * x + one * y


def blob(
    x: np.ndarray, y: np.ndarray, size: float, axis_ratio: float, position_angle: float, index: float
) -> np.ndarray:
    """Elliptical Sérsic galaxy at the origin, of total light 1."""
    along, across = sky.turned(x, y, position_angle)
    return sky.sersic(sky.elliptical_radius(along, across, axis_ratio), size, index)


def companions(random: np.random.Generator, einstein_radius: float) -> np.ndarray:
    """One to three blue galaxies where arcs would be, brightness (128, 128)."""
    x, y = sky.grid(SIZE * _OVERSAMPLING, _STEP)
    image = np.zeros_like(x)
    for _ in range(random.integers(1, 4)):
        distance, angle = einstein_radius * random.uniform(0.8, 1.6), random.uniform(0, 2 * math.pi)
        shape = random.uniform(0.2, 0.5), random.uniform(0.4, 1), random.uniform(0, 180)
        image += random.uniform(0.3, 1) * blob(
            x - distance * math.cos(angle), y - distance * math.sin(angle), *shape, 1.0
        )
    return image


def sliver(random: np.random.Generator, einstein_radius: float) -> np.ndarray:
    """A blue disc seen from the edge, across the direction to the centre like an arc but straight, (128, 128)."""
    x, y = sky.grid(SIZE * _OVERSAMPLING, _STEP)
    distance, angle = einstein_radius * random.uniform(0.9, 1.5), random.uniform(0, 360)
    along, across = sky.turned(x, y, angle)
    tilt = random.normal(0, 15)
    return blob(along - distance, across, random.uniform(0.4, 0.8), random.uniform(0.15, 0.35), 90 + tilt, 1.0)


def spiral_arms(random: np.random.Generator, einstein_radius: float) -> np.ndarray:
    """Blue arms around the centre, so that the deflector looks like the bulge of a spiral, (128, 128)."""
    x, y = sky.grid(SIZE * _OVERSAMPLING, _STEP)
    axis_ratio, position_angle = random.uniform(0.5, 1), random.uniform(0, 180)
    arms = sky.draw_arms(random, contrast=(0.85, 1.0))
    along, across = sky.turned(x, y, position_angle)
    across = across / axis_ratio
    size = einstein_radius * random.uniform(0.9, 1.4)
    hole = 1 - np.exp(-(along**2 + across**2) / (0.6 * size) ** 2)
    return sky.sersic(np.hypot(along, across), size, 1.0) * arms.factor(along, across, scale=0.6 * size) * hole


_IMPOSTORS = (companions, sliver, spiral_arms)


def lensed_source(random: np.random.Generator, einstein_radius: float) -> tuple[np.ndarray, float]:
    """A source near the optical axis through a random lens: brightness (128, 128), and magnification of its light.

    The brightness is that of a source of total light 1, which lensing conserves.
    """
    lens = Lens(
        einstein_radius=einstein_radius,
        axis_ratio=random.uniform(0.6, 0.98),
        position_angle=random.uniform(0, 180),
        shear=random.uniform(0, 0.08),
        shear_angle=random.uniform(0, 180),
    )
    distance, angle = einstein_radius * 0.5 * math.sqrt(random.random()), random.uniform(0, 2 * math.pi)
    shape = math.exp(random.uniform(*np.log((0.08, 0.25)))), random.uniform(0.4, 1), random.uniform(0, 180)
    x, y = lens.source_plane(*sky.grid(SIZE * _OVERSAMPLING, _STEP))
    image = blob(x - distance * math.cos(angle), y - distance * math.sin(angle), *shape, 1.0)
    return image, float(image.sum()) * _STEP**2


def deflector(random: np.random.Generator) -> np.ndarray:
    """An elliptical galaxy in the middle of the frame, of total light 1 in it, (128, 128)."""
    size, axis_ratio, position_angle = random.uniform(0.5, 1.1), random.uniform(0.6, 1), random.uniform(0, 180)
    image = blob(*sky.grid(SIZE * _OVERSAMPLING, _STEP), size, axis_ratio, position_angle, 4.0)
    return image / (image.sum() * _STEP**2)


def field_galaxies(random: np.random.Generator) -> list[tuple[np.ndarray, float, tuple[float, float]]]:
    """Galaxies anywhere in the frame, of either class of image: (brightness, r magnitude, colours) of each."""
    x, y = sky.grid(SIZE * _OVERSAMPLING, _STEP)
    half = SIZE * sky.PIXEL / 2
    found = []
    for _ in range(random.poisson(1.0)):
        column, row = random.uniform(-half, half, 2)
        shape = random.uniform(0.2, 0.6), random.uniform(0.3, 1), random.uniform(0, 180)
        red = random.uniform(0.1, 1.4)
        found.append((blob(x - column, y - row, *shape, 1.0), random.uniform(21.5, 24), (red, 0.4 * red)))
    return found


def draw_colours(random: np.random.Generator, mean: tuple[float, float], scatter: float) -> tuple[float, float]:
    """g − r and r − i of one galaxy: redder in one is redder in the other, as along a sequence of spectra."""
    excess = random.normal(0, scatter)
    return mean[0] + excess, mean[1] + 0.4 * excess + random.normal(0, 0.03)


def simulate(random: np.random.Generator, number: int, setting: Setting) -> simulation.Record:
    """One record; odd numbers are lenses, even ones are not."""
    label = number % 2
    einstein_radius = random.uniform(*setting.einstein_radius)
    source_magnitude = random.uniform(*setting.source_magnitude)
    deflector_magnitude = random.uniform(19, 21)
    source_colours = draw_colours(random, setting.source_colour, setting.colour_scatter)
    deflector_colours = draw_colours(random, setting.deflector_colour, setting.colour_scatter)
    optics = sky.Optics(SIZE, _OVERSAMPLING, random.uniform(*setting.seeing))
    red = deflector(random)
    blue, magnification = lensed_source(random, einstein_radius)
    others = field_galaxies(random)
    kind = int(random.choice(len(_IMPOSTORS), p=setting.impostors))
    if not label:
        blue = _IMPOSTORS[kind](random, einstein_radius)
    arc_magnitude = source_magnitude - 2.5 * math.log10(magnification)
    blue = blue / (blue.sum() * _STEP**2)
    layers = [(blue, arc_magnitude, source_colours), (red, deflector_magnitude, deflector_colours), *others]
    image, snr = exposed(random, layers, optics, setting.exposure)
    properties = {
        "einstein_radius": einstein_radius if label else 0.0,
        "source_magnitude": source_magnitude,
        "arc_magnitude": arc_magnitude,
        "source_colour": source_colours[0],
        "deflector_magnitude": deflector_magnitude,
        "deflector_colour": deflector_colours[0],
        "seeing": optics.fwhm,
        "snr": snr,
        "impostor": 0 if label else 1 + kind,
    }
    return {
        "image": image.astype(np.float32),
        "label": label,
        **{field: np.float32(value) for field, value in properties.items()},
    }


def exposed(
    random: np.random.Generator,
    layers: list[tuple[np.ndarray, float, tuple[float, float]]],
    optics: sky.Optics,
    exposure: float,
) -> tuple[np.ndarray, float]:
    """Noisy image (64, 64, 3) of (brightness, r magnitude, colours g − r and r − i); the first one's S/N, all bands."""
    # One point-spread function for the three bands: each layer is blurred once.
    stamps = [(optics.image(brightness), magnitude, colours) for brightness, magnitude, colours in layers]
    bands, squares = [], 0.0
    for index, name in enumerate(BANDS):
        band = sky.BANDS[name]
        light = np.stack(
            [
                stamp * sky.electrons(magnitude + (colours[0], 0.0, -colours[1])[index], band, exposure)
                for stamp, magnitude, colours in stamps
            ]
        )
        background = sky.sky_electrons(band, exposure)
        bands.append(sky.observe(random, light.sum(axis=0), background))
        squares += sky.signal_to_noise(light[0], background + light[1:].sum(axis=0)) ** 2
    return np.stack(bands, axis=-1), math.sqrt(squares)


class Lenses(simulation.SimulatedBuilder):
    """TFDS builder of "lenses": image (64, 64, 3) float32, label 0, 1, and the properties that were drawn."""

    name = "lenses"
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
        return simulate(random, number, SETTINGS[setting])
