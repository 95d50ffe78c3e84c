"""Stellar populations pixel by pixel: from images in five bands to mass, age and metallicity, after Buck & Wolf (2021).

Galaxies are drawn by formulas. Their light follows from their stars by one smooth law, which has the age–metallicity
degeneracy of real colours; it is rounded from numbers of models of single stellar populations and stands for none. The
camera blurs the light and counts photons, so that the noise grows with the flux and the maps get worse outwards.
"""

import math
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from scipy import ndimage

from zoo_datasets import simulation, sky

SIZE = 48
BANDS = ("u", "g", "r", "i", "z")
COLOURS = (3, 2, 1)
EXPOSURE = 900.0
SEEING = (0.55, 0.9)
# Expected signal-to-noise ratio of a pixel in r from which it counts.
THRESHOLD = 5.0
# AB magnitudes of the Sun (Willmer 2018, doi:10.3847/1538-4365/aabfdf).
SUN = (6.39, 5.11, 4.65, 4.53, 4.50)
# log10 of mass over light, solar units: constant, age, age², metallicity, age · metallicity; of log10(age / Gyr) and
# [Z/H], by band.
LAW = np.array(
    [
        (-0.35, 0.94, 0.13, 0.35, 0.05),
        (-0.46, 0.77, 0.23, 0.22, 0.03),
        (-0.42, 0.63, 0.17, 0.13, 0.01),
        (-0.44, 0.57, 0.15, 0.07, 0.00),
        (-0.48, 0.53, 0.16, 0.02, -0.01),
    ]
)
AGE, METALLICITY = (-0.8, 1.1), (-1.0, 0.4)
# Mean density at the centre of the disc, log10(M☉ / kpc²), and its scale length, arcsec.
DENSITY, SCALE_LENGTH = (8.2, 9.2), (0.7, 1.3)
LEAST_DENSITY = 1e4
# Spread of the three quantities over the valid pixels of the data set: what is known without looking.
PRIOR = (0.6, 0.25, 0.25)
_OVERSAMPLING = 2
_STEP = sky.PIXEL / _OVERSAMPLING

TARGETS = {"log_density": "log10(M☉ / kpc²)", "log_age": "log10(Gyr)", "metallicity": "dex"}
TITLE = "Simulated galaxies in u, g, r, i and z with maps of stellar mass, age and metallicity"
UNITS = (
    "image: float32, 48 × 48 × 5 (u, g, r, i, z), 0.2 arcsec a pixel; sky subtracted, in units of the standard "
    "deviation of the sky in that band, so that empty sky has mean 0 and standard deviation 1, and light adds noise. "
    "target: float32, 48 × 48 × 3: surface density of stellar mass, log10(M☉ / kpc²); age, log10(Gyr), and "
    "metallicity [Z/H], dex, both weighted by light in r; all as seen through the point-spread function. "
    "valid: uint8, 48 × 48: 1 where the expected signal-to-noise ratio of the pixel in r is 5 or more; elsewhere the "
    "target is not to be used. "
    "floor: float32, 48 × 48 × 3, standard deviation of the best estimate of each target from the five fluxes of the "
    "pixel alone, 0 where not valid; seeing: full width of the point-spread function, arcsec; snr: of the galaxy in r; "
    "density: of mass at the disc's centre, log10(M☉ / kpc²), 8.2…9.2; scale_length: of the disc, arcsec, 0.7…1.3; "
    "bulge: fraction of the mass; axis_ratio: of the disc; position_angle: degrees: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 2000, "validation": 300, "test": 500},
    "tiny": {"train": 16, "validation": 8, "test": 8},
    "full": {"train": 20000, "validation": 2000, "test": 4000},
}
PROPERTIES = {
    "seeing": "arcsec",
    "snr": "1",
    "density": "log10(M☉ / kpc²)",
    "scale_length": "arcsec",
    "bulge": "1",
    "axis_ratio": "1",
    "position_angle": "degrees",
}
FEATURES = {
    "image": "(48, 48, 5) float32, sky's standard deviation",
    "target": "(48, 48, 3) float32: log_density, log_age, metallicity",
    "valid": "(48, 48) uint8: 1 where the target counts",
    "floor": "(48, 48, 3) float32, standard deviations; a property, not an input",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    "All properties are drawn independently of each other. The floor is the Bayesian Cramér–Rao bound with the law "
    "made linear at the truth, the noise of the five fluxes and normal priors of 0.6, 0.25 and 0.25 dex. It takes each "
    "pixel by itself and the light in it as of one population: a network that uses the neighbours, and knows which "
    "maps are likely, can be better where a pixel says little; through the point-spread function, pixels with steep "
    "gradients mix populations, and there it can be worse."
)
CITATION = """\
@article{buck2021predicting,
  title   = {Predicting resolved galaxy properties from photometric images using convolutional neural networks},
  author  = {Buck, Tobias and Wolf, Steffen},
  journal = {arXiv e-prints},
  eprint  = {2111.01154},
  year    = {2021},
}"""


def mass_to_light(age: np.ndarray, metallicity: np.ndarray) -> np.ndarray:
    """log10 of mass over light in solar units.

    Args:
      age: (...), log10(Gyr).
      metallicity: (...), [Z/H].

    Returns:
      (..., 5) in u, g, r, i and z.
    """
    terms = np.stack([np.ones_like(age), age, age**2, metallicity, age * metallicity], axis=-1)
    return terms @ LAW.T


def electrons(density: np.ndarray, age: np.ndarray, metallicity: np.ndarray) -> np.ndarray:
    """Expected electrons per arcsec² in `EXPOSURE` seconds, (..., 5).

    A surface brightness of 1 L☉ / pc² is M☉ + 21.572 mag / arcsec².

    Args:
      density: (...), M☉ / kpc².
      age, metallicity: see `mass_to_light`.
    """
    bands = zip(SUN, BANDS, strict=True)
    one = np.array([sky.electrons(sun + 21.572, sky.BANDS[name], EXPOSURE) for sun, name in bands])
    return one * (density / 1e6)[..., None] * 10 ** -mass_to_light(age, metallicity)


def noise_floor(target: np.ndarray) -> np.ndarray:
    """Least standard deviations (..., 3) of the three quantities from the five fluxes of one pixel and `PRIOR`.

    The bound of van Trees: the inverse of Jᵀ N⁻¹ J + P⁻¹, J the derivatives of the fluxes by the quantities, N the
    variances of the fluxes and P those of the prior.

    Args:
      target: (..., 3).
    """
    background = np.array([sky.sky_electrons(sky.BANDS[name], EXPOSURE) for name in BANDS])
    density, age, metallicity = np.moveaxis(np.asarray(target, float), -1, 0)
    light = electrons(10**density, age, metallicity) * sky.PIXEL**2
    # Of the exponent: mass raises the light, mass over light lowers it.
    by_age = LAW[:, 1] + 2 * age[..., None] * LAW[:, 2] + metallicity[..., None] * LAW[:, 4]
    by_metallicity = LAW[:, 3] + age[..., None] * LAW[:, 4]
    slopes = np.stack([np.ones_like(by_age), -by_age, -by_metallicity], axis=-1)
    jacobian = math.log(10) * light[..., None] * slopes
    weighted = jacobian / (light + background)[..., None]
    information = np.swapaxes(jacobian, -1, -2) @ weighted + np.diag(1 / np.square(PRIOR))
    return np.sqrt(np.diagonal(np.linalg.inv(information), axis1=-2, axis2=-1))


def ripples(random: np.random.Generator, size: float, strength: float) -> np.ndarray:
    """Smooth normal random field (96, 96) with structure of `size` arcsec and this standard deviation."""
    field = ndimage.gaussian_filter(random.normal(size=(SIZE * _OVERSAMPLING,) * 2), size / _STEP, mode="wrap")
    return field * (strength / field.std())


def draw_maps(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, float]]:
    """Density, age and metallicity, (96, 96) each before the point-spread function, and what was drawn.

    A disc with arms of young stars and gradients outwards, an old bulge, and ripples in all three.
    """
    density, scale = random.uniform(*DENSITY), math.exp(random.uniform(*np.log(SCALE_LENGTH)))
    bulge, bulge_size = random.uniform(0.03, 0.35), scale * random.uniform(0.25, 0.6)
    axis_ratio, position_angle = random.uniform(0.4, 1), random.uniform(0, 180)
    arms = sky.draw_arms(random, contrast=(0.5, 1.0))
    x, y = sky.grid(SIZE * _OVERSAMPLING, _STEP)
    x, y = (axis + random.uniform(-sky.PIXEL, sky.PIXEL) for axis in (x, y))
    along, across = sky.turned(x, y, position_angle)
    across = across / axis_ratio
    radius = np.hypot(along, across) / scale
    arm = arms.factor(along, across, scale) - 1

    disc = np.exp(-radius) * (1 + 0.3 * arm)
    mass_of_disc = 2 * math.pi * scale**2 * axis_ratio
    middle = sky.sersic(np.hypot(x, y), bulge_size, 2.0) * mass_of_disc * bulge / (1 - bulge)
    share = middle / (middle + disc)
    age = random.uniform(0.35, 0.85) - random.uniform(0.0, 0.12) * radius - random.uniform(0.05, 0.3) * arm
    metallicity = random.uniform(-0.4, 0.2) - random.uniform(0.0, 0.12) * radius
    age = (1 - share) * age + share * random.uniform(0.75, 1.05)
    metallicity = (1 - share) * metallicity + share * random.uniform(-0.2, 0.3)
    age = np.clip(age + ripples(random, 0.5, 0.07), *AGE)
    metallicity = np.clip(metallicity + ripples(random, 0.5, 0.07), *METALLICITY)
    mass = 10**density * (disc + middle) * 10 ** ripples(random, 0.5, 0.1) + LEAST_DENSITY
    properties = {
        "density": density,
        "scale_length": scale,
        "bulge": bulge,
        "axis_ratio": axis_ratio,
        "position_angle": position_angle,
    }
    return mass, age, metallicity, properties


def seen(
    density: np.ndarray, age: np.ndarray, metallicity: np.ndarray, optics: sky.Optics
) -> tuple[np.ndarray, np.ndarray]:
    """What the camera sees: expected electrons in the pixels (48, 48, 5), and targets (48, 48, 3).

    Args:
      density, age, metallicity: (96, 96) each, before the point-spread function.
      optics: point-spread function and pixels.
    """
    light = electrons(density, age, metallicity)
    red = light[..., BANDS.index("r")]
    weight = optics.image(red)
    target = [
        np.log10(optics.image(density) / sky.PIXEL**2),
        optics.image(red * age) / weight,
        optics.image(red * metallicity) / weight,
    ]
    return np.stack([optics.image(band) for band in np.moveaxis(light, -1, 0)], axis=-1), np.stack(target, axis=-1)


def simulate(random: np.random.Generator) -> simulation.Record:
    """One record."""
    optics = sky.Optics(SIZE, _OVERSAMPLING, random.uniform(*SEEING))
    *maps, properties = draw_maps(random)
    light, target = seen(*maps, optics)
    backgrounds = [sky.sky_electrons(sky.BANDS[name], EXPOSURE) for name in BANDS]
    image = [sky.observe(random, band, sky_) for band, sky_ in zip(np.moveaxis(light, -1, 0), backgrounds, strict=True)]
    number = BANDS.index("r")
    red, background = light[..., number], backgrounds[number]
    valid = red / np.sqrt(red + background) >= THRESHOLD
    properties |= {"seeing": optics.fwhm, "snr": sky.signal_to_noise(red, background)}
    return {
        "image": np.stack(image, axis=-1).astype(np.float32),
        "target": target.astype(np.float32),
        "valid": valid.astype(np.uint8),
        "floor": np.where(valid[..., None], noise_floor(target), 0).astype(np.float32),
        **{field: np.float32(properties[field]) for field in PROPERTIES},
    }


class StellarMaps(simulation.SimulatedBuilder):
    """TFDS builder of "stellar_maps": image (48, 48, 5), target (48, 48, 3), valid (48, 48), floor and properties."""

    name = "stellar_maps"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            "image": simulation.tensor(SIZE, SIZE, len(BANDS)),
            "target": simulation.tensor(SIZE, SIZE, len(TARGETS)),
            "valid": simulation.tensor(SIZE, SIZE, dtype=np.uint8),
            "floor": simulation.tensor(SIZE, SIZE, len(TARGETS)),
            **{field: simulation.scalar() for field in PROPERTIES},
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random)
