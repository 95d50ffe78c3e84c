"""Photometric redshifts: images of galaxies in u, g, r, i, z, and how far away they are.

Spectra are power laws with a break at 4000 Å, in a sequence from elliptical to irregular with scatter and dust;
redshift moves the break through the bands. A dusty galaxy and one of earlier type can have the same colours at
different redshifts: there concentration and size of the image, which follow type and distance, are a further hint.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation, sky

SIZE = 32
BANDS = ("u", "g", "r", "i", "z")
COLOURS = (3, 2, 1)
EXPOSURE = 100.0
REDSHIFT = (0.05, 1.0)
FAINTEST = 23.0
_OVERSAMPLING = 3
_STEP = sky.PIXEL / _OVERSAMPLING

TARGETS = {"redshift": ""}
TITLE = "Simulated photometric redshifts: images and magnitudes in u, g, r, i and z of galaxies with redshift 0.05…1"
UNITS = (
    "image: float32, 32 × 32 × 5 (u, g, r, i, z), 0.2 arcsec a pixel; sky subtracted, in units of the standard "
    "deviation of the sky in that band, so that empty sky has mean 0 and standard deviation 1. "
    "target: redshift, 0.05…1. "
    "magnitudes: u, g, r, i, z, inverse hyperbolic sine magnitudes (Lupton, Gunn & Szalay 1999) of the flux that a fit "
    "of the galaxy's profile to this image finds; magnitude_errors: their standard errors. Both may be inputs. "
    "galaxy_type: 0 elliptical … 1 irregular; dust: attenuation at 5500 Å, mag; absolute_magnitude: r, "
    "rest frame; half_light_radius: arcsec; axis_ratio; position_angle: degrees; seeing: full width of the "
    "point-spread function in r, arcsec: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 4000, "validation": 800, "test": 1500},
    "tiny": {"train": 36, "validation": 12, "test": 12},
    "full": {"train": 40000, "validation": 4000, "test": 8000},
}
PROPERTIES = {
    "galaxy_type": "0…1",
    "dust": "mag",
    "absolute_magnitude": "mag",
    "half_light_radius": "arcsec",
    "axis_ratio": "1",
    "position_angle": "degrees",
    "seeing": "arcsec",
}
FEATURES = {
    "image": "(32, 32, 5) float32, sky's standard deviation",
    "magnitudes": "(5,) float32, mag; may be inputs",
    "magnitude_errors": "(5,) float32, mag; may be inputs",
    "target": "(1,) float32: redshift",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    f"Galaxies fainter than {FAINTEST} in i are not in the set, so that distant ones are luminous, as in a survey. "
    "Type, size in kpc and absolute magnitude depend on each other and not on the redshift, save through that limit: "
    "there is no evolution and no emission line. Distances: flat universe, H0 = 70 km/s/Mpc, Ωm = 0.3. "
    "All light of a galaxy is put into the frame, although the nearest ones are larger. The profile of the fit is the "
    "true one, as no real survey has it. Colours know most: the true type and a size, given to a random forest beside "
    "the magnitudes, hardly improve it."
)
CITATION = """\
@article{lupton1999asinh,
  title   = {A Modified Magnitude System that Produces Well-Behaved Magnitudes, Colors, and Errors Even for Low
             Signal-to-Noise Ratio Measurements},
  author  = {Lupton, Robert H. and Gunn, James E. and Szalay, Alexander S.},
  journal = {The Astronomical Journal},
  volume  = {118},
  pages   = {1406--1410},
  year    = {1999},
  doi     = {10.1086/301004},
}"""


@dataclass(frozen=True)
class Spectrum:
    """Flux per wavelength at rest: two power laws that meet in a step at 4000 Å, 200 Å wide, behind dust.

    Attributes:
      red: exponent above the break.
      blue: exponent below it.
      step: brightness just above the break over that just below.
      dust: attenuation at 5500 Å, mag, growing as λ^−0.7 (Charlot & Fall 2000).
    """

    red: float
    blue: float
    step: float
    dust: float = 0.0

    def flux(self, wavelength: np.ndarray) -> np.ndarray:
        """F_λ at `wavelength` in Å, which without dust is 1 just above the break."""
        above = 1 / (1 + np.exp(-(wavelength - 4000) / 50))
        ratio = wavelength / 4000
        stars = above * ratio**self.red + (1 - above) / self.step * ratio**self.blue
        return stars * 10 ** (-0.4 * self.dust * (wavelength / 5500) ** -0.7)


def template(galaxy_type: float) -> Spectrum:
    """The dustless spectrum of a type, from 0 (elliptical) to 1 (irregular)."""
    return Spectrum(red=-1.6 * galaxy_type, blue=3.5 - 5.3 * galaxy_type, step=2.5 - 1.35 * galaxy_type)


def draw_spectrum(random: np.random.Generator, galaxy_type: float) -> Spectrum:
    """The type's spectrum with scatter in all its parts, and dust in all but the earliest types."""
    mean = template(galaxy_type)
    return Spectrum(
        red=mean.red + random.normal(0, 0.4),
        blue=mean.blue + random.normal(0, 0.8),
        step=mean.step * math.exp(random.normal(0, 0.15)),
        dust=random.exponential(1.0) * min(1.0, 3 * galaxy_type),
    )


def band_flux(spectrum: Spectrum, redshift: float, edges: tuple[float, float]) -> float:
    """Mean flux per frequency F_ν through a top-hat filter, up to a constant and the square of the luminosity distance.

    Photons are counted: ∫ F_λ λ dλ / ∫ (c / λ) dλ, with F_λ(λ) = F_rest(λ / (1 + z)) / (1 + z).
    """
    wavelength = np.linspace(*edges, 101)
    observed = spectrum.flux(wavelength / (1 + redshift)) / (1 + redshift)
    return float((observed * wavelength).mean() / (1 / wavelength).mean())


@functools.lru_cache(maxsize=1)
def _distances() -> tuple[np.ndarray, np.ndarray]:
    """Redshifts and comoving distances, Mpc."""
    redshift = np.linspace(0, REDSHIFT[1], 2001)
    inverse = 1 / np.sqrt(0.3 * (1 + redshift) ** 3 + 0.7)
    steps = (inverse[1:] + inverse[:-1]) / 2 * np.diff(redshift)
    return redshift, 299792.458 / 70 * np.concatenate([[0.0], np.cumsum(steps)])


def comoving_distance(redshift: float) -> float:
    """Comoving distance in Mpc, flat universe, H0 = 70 km/s/Mpc, Ωm = 0.3; redshift 0…1."""
    return float(np.interp(redshift, *_distances()))


def apparent_magnitudes(absolute_magnitude: float, spectrum: Spectrum, redshift: float) -> np.ndarray:
    """AB magnitudes (5,) in u, g, r, i, z of a galaxy whose rest-frame r magnitude at 10 pc is `absolute_magnitude`."""
    modulus = 5 * math.log10(comoving_distance(redshift) * (1 + redshift) * 1e5)
    reference = band_flux(spectrum, 0.0, sky.BANDS["r"].edges)
    fluxes = np.array([band_flux(spectrum, redshift, sky.BANDS[name].edges) for name in BANDS])
    return absolute_magnitude + modulus - 2.5 * np.log10(fluxes / reference)


def draw_galaxy(random: np.random.Generator) -> tuple[float, float, float, float, np.ndarray]:
    """Redshift, type, dust, absolute magnitude and magnitudes (5,) of a galaxy that is bright enough for the set.

    Redshifts are drawn from z² exp(−(z / 0.4)^1.5) (Smail et al. 1994) in `REDSHIFT`, by rejection.
    """
    while True:
        redshift = random.uniform(*REDSHIFT)
        density = redshift**2 * math.exp(-((redshift / 0.4) ** 1.5))
        chosen = random.random() < density / 0.062  # its largest value, at 0.48, is 0.0619
        galaxy_type = random.beta(0.8, 0.8)
        # Late types are fainter.
        absolute_magnitude = random.normal(-21.6 + 1.0 * galaxy_type, 0.6)
        if chosen:
            spectrum = draw_spectrum(random, galaxy_type)
            magnitudes = apparent_magnitudes(absolute_magnitude, spectrum, redshift)
            if magnitudes[BANDS.index("i")] < FAINTEST:
                return redshift, galaxy_type, spectrum.dust, absolute_magnitude, magnitudes


def brightness(
    random: np.random.Generator, galaxy_type: float, size: float, axis_ratio: float, position_angle: float
) -> np.ndarray:
    """Surface brightness (96, 96): a de Vaucouleurs bulge that shrinks with type, a disc, clumps in late types.

    Args:
      random: generator.
      galaxy_type: 0 elliptical … 1 irregular.
      size: half-light radius of the disc, arcsec; the bulge's is half of it, that of a pure bulge the same.
      axis_ratio: of bulge and disc.
      position_angle: degrees.
    """
    x, y = sky.grid(SIZE * _OVERSAMPLING, _STEP)
    along, across = sky.turned(x, y, position_angle)
    radius = sky.elliptical_radius(along, across, axis_ratio)
    bulge = max(0.0, 1 - 1.6 * galaxy_type)
    image = bulge * sky.sersic(radius, size * (0.5 + 0.5 * bulge), 4.0)
    disc = sky.sersic(radius, size, 1.0)
    arms = sky.draw_arms(random, contrast=(0.5, 0.9))
    stretch = math.sqrt(axis_ratio)
    image = image + (1 - bulge) * disc * arms.factor(along * stretch, across / stretch, scale=0.6 * size)
    distances, angles = size * random.uniform(0.2, 1.5, 6), random.uniform(0, 2 * math.pi, 6)
    clumps = 0.06 * max(0.0, 2 * galaxy_type - 1)
    if clumps:
        for column, row in zip(distances * np.cos(angles), distances * np.sin(angles), strict=True):
            image += clumps * sky.sersic(np.hypot(x - column, y - row), 0.15 * size + 0.1, 1.0)
    return image


def asinh_magnitude(flux: np.ndarray, softening: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Magnitude and its derivative by flux (negative), finite for every flux.

    Args:
      flux: in units of the flux of magnitude 0.
      softening: b, in the same unit; for flux ≫ b the magnitude is −2.5 lg flux.
    """
    scale = 2.5 / math.log(10)
    magnitude = -scale * (np.arcsinh(flux / (2 * softening)) + np.log(softening))
    return magnitude, -scale / np.sqrt(flux**2 + 4 * softening**2)


def simulate(random: np.random.Generator) -> simulation.Record:
    """One record."""
    redshift, galaxy_type, dust, absolute_magnitude, magnitudes = draw_galaxy(random)
    # Half-light radius in kpc grows with luminosity (Shen et al. 2003, roughly), with scatter.
    kiloparsec = 5 * 10 ** (-0.2 * (absolute_magnitude + 21.5)) * math.exp(random.normal(0, 0.25))
    size = math.degrees(kiloparsec / (1e3 * comoving_distance(redshift) / (1 + redshift))) * 3600
    axis_ratio = random.uniform(0.5, 1)
    position_angle = random.uniform(0, 180)
    seeing = random.uniform(0.6, 0.9)
    model = brightness(random, galaxy_type, size, axis_ratio, position_angle)
    bands, measured, errors = [], [], []
    for name, magnitude in zip(BANDS, magnitudes, strict=True):
        band = sky.BANDS[name]
        profile = sky.Optics(SIZE, _OVERSAMPLING, seeing * band.seeing).image(model)
        profile /= profile.sum()
        background = sky.sky_electrons(band, EXPOSURE)
        bands.append(sky.observe(random, profile * sky.electrons(magnitude, band, EXPOSURE), background))
        # Least squares with equal weights, which is right where the sky is the noise; the error knows of the rest.
        norm = (profile**2).sum()
        flux = (bands[-1] * profile).sum() / norm
        variance = ((1 + np.maximum(flux, 0) * profile / math.sqrt(background)) * profile**2).sum() / norm**2
        unit = sky.electrons(0.0, band, EXPOSURE) / math.sqrt(background)
        value, slope = asinh_magnitude(flux / unit, 1 / math.sqrt(norm) / unit)
        measured.append(value)
        errors.append(-slope * math.sqrt(variance) / unit)
    properties = {
        "galaxy_type": galaxy_type,
        "dust": dust,
        "absolute_magnitude": absolute_magnitude,
        "half_light_radius": size,
        "axis_ratio": axis_ratio,
        "position_angle": position_angle,
        "seeing": seeing,
    }
    return {
        "image": np.stack(bands, axis=-1).astype(np.float32),
        "magnitudes": np.array(measured, np.float32),
        "magnitude_errors": np.array(errors, np.float32),
        "target": np.array([redshift], np.float32),
        **{field: np.float32(value) for field, value in properties.items()},
    }


class Photoz(simulation.SimulatedBuilder):
    """TFDS builder of "photoz": image (32, 32, 5), magnitudes (5,), target (1,) redshift, and properties."""

    name = "photoz"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            "image": simulation.tensor(SIZE, SIZE, len(BANDS)),
            "magnitudes": simulation.tensor(len(BANDS)),
            "magnitude_errors": simulation.tensor(len(BANDS)),
            "target": simulation.tensor(len(TARGETS)),
            **{field: simulation.scalar() for field in PROPERTIES},
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random)
