"""Painting baryons on dark matter: from a map of dark matter to the gas in it, as Harrington et al. (2022) do.

The maps are simulated by formulas and stand for no simulation of hydrodynamics. Dark matter is moved from a square
lattice by the approximation of Zel'dovich (1970); the gas is a known function of it, neither local nor linear, and a
little scatter. All is periodic: translations by whole pixels, quarter turns and reflections of the matter do the same
to the gas.
"""

import functools
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation

SIZE = 64
# Particles along a side of a pixel.
OVERSAMPLING = 3
# Initial density: P(k) ∝ k^SLOPE exp(−k² CUT²), k in radians per px.
SLOPE, CUT = -0.5, 0.5
# Root of the mean squared displacement of the particles along one axis, px.
DISPLACEMENT = (1.4, 2.2)
# Density relative to its mean below which voids are not followed.
LEAST = 0.02
# Pressure smooths the gas over a length, px, that grows with the density around: from the first scale at the first
# density to the last at the last, both relative to the mean; it follows a power of what is left.
SCALES = (0.4, 0.8, 1.6)
DENSITIES = (0.5, 3.0)
SURROUNDINGS = 1.5
POWER = 0.7
# Feedback: matter above a density, smoothed over `SURROUNDINGS`, heats the gas around it. The heat reaches as far as
# the two scales, px; the near one empties a cavity, the far one piles up a shell, until so much, dex, is lost or won.
HEATING_DENSITY = 1.6
REACH = (1.0, 3.0)
HEATED = (2.0, 4.0)
CAVITY, SHELL = 0.8, 0.6
SCATTER = 0.005

TARGETS = {"log_gas": "dex"}
TITLE = "Simulated maps of dark matter and of the gas in it, periodic"
UNITS = (
    "image: float32, 64 × 64 × 1, log10 of the density of dark matter relative to its mean, dex; periodic in both "
    "directions. "
    "target: float32, 64 × 64 × 1, log10 of the density of gas in arbitrary units, dex; 0.005 dex of it is scatter, "
    "normal and independent from pixel to pixel, which no network can know. "
    "displacement: root of the mean squared displacement of the particles along one axis, uniform 1.4…2.2 px; "
    "heated: share of the map where matter heats the gas: properties, not inputs."
)
LICENCE = simulation.LICENCE
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 2000, "validation": 300, "test": 500},
    "tiny": {"train": 16, "validation": 8, "test": 8},
    "full": {"train": 20000, "validation": 2000, "test": 4000},
}
PROPERTIES = {"displacement": "px", "heated": "1"}
FEATURES = {
    "image": "(64, 64, 1) float32: log10 density of dark matter, dex",
    "target": "(64, 64, 1) float32: log10 density of gas, dex",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = "Every record is drawn on its own."
NOTES = (
    "The gas is a power law, 0.7, of the dark matter smoothed over 0.4 to 1.6 px, the more the denser it is around, "
    "with cavities (down to −0.8 dex) and shells (up to +0.4 dex) where dense matter heats it, some 8 px far. "
    "The best linear filter of the image, one factor for each wave, reaches a cross-correlation of 0.78 with the gas, "
    "the best function of the pixel alone 0.82. The scatter is 0.1 % of the gas's power at half the Nyquist frequency "
    "and 8 % of it at the Nyquist frequency."
)
CITATION = """\
@article{harrington2022fast,
  title   = {Fast, High-fidelity {Lyman} α Forests with Convolutional Neural Networks},
  author  = {Harrington, Peter and Mustafa, Mustafa and Dornfest, Max and Horowitz, Benjamin and Luki{\\'c}, Zarija},
  journal = {The Astrophysical Journal},
  volume  = {929},
  pages   = {160},
  year    = {2022},
  doi     = {10.3847/1538-4357/ac5faa},
}
@article{zeldovich1970gravitational,
  title   = {Gravitational instability: an approximate theory for large density perturbations},
  author  = {Zel'dovich, Ya. B.},
  journal = {Astronomy and Astrophysics},
  volume  = {5},
  pages   = {84--89},
  year    = {1970},
}"""


@functools.lru_cache(maxsize=4)
def wave_numbers(size: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """k along rows and columns (size, size // 2 + 1), radians per px, of a grid `step` px apart; not to be changed."""
    rows = 2 * np.pi * np.fft.fftfreq(size, step)
    columns = 2 * np.pi * np.fft.rfftfreq(size, step)
    return np.broadcast_arrays(rows[:, None], columns)


def smoothed(field: np.ndarray, scale: float) -> np.ndarray:
    """A periodic field (N, N) convolved with a Gaussian of standard deviation `scale` px."""
    rows, columns = wave_numbers(len(field), 1.0)
    transfer = np.exp(-0.5 * (rows**2 + columns**2) * scale**2)
    return np.fft.irfft2(np.fft.rfft2(field) * transfer, field.shape)


def displacements(random: np.random.Generator) -> np.ndarray:
    """Displacement (2, N, N) of the particles along rows and columns, of root mean square 1; N = 64 · 3.

    It is the gradient of a potential whose Laplacian is a normal random field with the spectrum of `SLOPE` and `CUT`.
    """
    side = SIZE * OVERSAMPLING
    rows, columns = wave_numbers(side, 1 / OVERSAMPLING)
    k = np.hypot(rows, columns)
    k[0, 0] = 1.0
    potential = np.fft.rfft2(random.normal(size=(side, side))) * k ** (SLOPE / 2 - 2) * np.exp(-0.5 * (k * CUT) ** 2)
    # The mean, and waves at the Nyquist frequency, which have no derivative there.
    potential[0, 0] = potential[side // 2] = potential[:, side // 2] = 0
    moved = np.stack([np.fft.irfft2(1j * wave * potential, (side, side)) for wave in (rows, columns)])
    return moved / np.sqrt((moved**2).mean())


def deposited(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Density (64, 64) relative to the mean from particles at these places, px: each is spread over four pixels."""
    density = np.zeros(SIZE * SIZE)
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, right = rows - row, columns - column
    for down, weight_down in ((0, 1 - below), (1, below)):
        for along, weight_along in ((0, 1 - right), (1, right)):
            pixel = (row + down) % SIZE * SIZE + (column + along) % SIZE
            density += np.bincount(pixel.ravel(), (weight_down * weight_along).ravel(), SIZE * SIZE)
    return density.reshape(SIZE, SIZE) * (SIZE * SIZE / rows.size)


def dark_matter(random: np.random.Generator, displacement: float) -> np.ndarray:
    """Density (64, 64) relative to its mean, which is 1, from the lattice moved by this many px."""
    moved = displacement * displacements(random)
    lattice = (np.arange(SIZE * OVERSAMPLING) + 0.5) / OVERSAMPLING - 0.5
    return deposited(lattice[:, None] + moved[0], lattice + moved[1])


def heat(density: np.ndarray) -> np.ndarray:
    """Smoothed density (64, 64) above the one at which feedback begins, 0 below."""
    return np.maximum(smoothed(density, SURROUNDINGS) - HEATING_DENSITY, 0)


def feedback(density: np.ndarray) -> np.ndarray:
    """What feedback adds to the logarithm of the gas, (64, 64): less in cavities, more in the shells around them."""
    source = heat(density)
    near, far = (1 - np.exp(-by * smoothed(source, reach)) for by, reach in zip(HEATED, REACH, strict=True))
    return SHELL * far * (1 - near) - CAVITY * near


def gas(density: np.ndarray) -> np.ndarray:
    """log10 of the gas (64, 64) without scatter, from the density of dark matter relative to its mean (64, 64)."""
    low, high = np.log10(DENSITIES)
    place = (np.log10(np.maximum(smoothed(density, SURROUNDINGS), LEAST)) - low) / (high - low)
    place = np.clip(place, 0, 1) * (len(SCALES) - 1)
    weights = [np.maximum(1 - np.abs(place - number), 0) for number in range(len(SCALES))]
    pressed = sum(weight * smoothed(density, scale) for weight, scale in zip(weights, SCALES, strict=True))
    return POWER * np.log10(np.maximum(pressed, LEAST)) + feedback(density)


def simulate(random: np.random.Generator) -> simulation.Record:
    """One record."""
    displacement = random.uniform(*DISPLACEMENT)
    density = np.maximum(dark_matter(random, displacement), LEAST)
    target = gas(density) + random.normal(0, SCATTER, density.shape)
    return {
        "image": np.log10(density)[..., None].astype(np.float32),
        "target": target[..., None].astype(np.float32),
        "displacement": np.float32(displacement),
        "heated": np.float32((heat(density) > 0).mean()),
    }


class Baryons(simulation.SimulatedBuilder):
    """TFDS builder of "baryons": image (64, 64, 1) log dark matter, target (64, 64, 1) log gas, and properties."""

    name = "baryons"
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.1.0": "Feedback as a smooth field in place of separate bubbles."}

    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""
        return {
            "image": simulation.tensor(SIZE, SIZE, 1),
            "target": simulation.tensor(SIZE, SIZE, len(TARGETS)),
            **{field: simulation.scalar() for field in PROPERTIES},
        }

    def simulate(self, random: np.random.Generator, number: int, setting: str) -> simulation.Record:
        """See `simulate` of this module."""
        return simulate(random)
