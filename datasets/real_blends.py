"""Blends of real galaxies: two stamps of the Hubble Space Telescope in one frame, with the light of each known.

One hundred galaxies of the COSMOS field in F814W (Koekemoer et al. 2007; Mandelbaum et al. 2012), which the user
fetches. Each stamp is binned, cleaned of its sky and neighbours, scaled, turned by right angles and shifted by whole
pixels; two of them and noise make an image. The records are like those of `zoo_datasets.blends`.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from scipy import ndimage

from zoo_datasets import blends, simulation
from zoo_datasets.loading.records import DataError, Record
from zoo_datasets.loading.sources import manual_file

SIZE = blends.SIZE
BIN = 2
FOLDER = "cosmos_hst_stamps"
FILE = "real_galaxy_images_extension.fits"
PAGE = "https://github.com/LSSTDESC/BlendingToolKit, folder data/cosmos"
COUNT = 100
MASKS = blends.MASKS
TARGETS = blends.TARGETS
# Of the smoothed galaxy, in units of the noise of a pixel, for the masks: about two of the galaxy's own, smoothed.
THRESHOLD = 0.5
GAP = blends.GAP
SEPARATION = blends.SEPARATION
OFFSET = blends.OFFSET
# Smoothing before a threshold, px: the noise of single pixels would make holes and islands.
SMOOTHING = 1.0
# Of the smoothed stamp, in standard deviations of one pixel: about two of the smoothed noise.
SEGMENT, MARGIN = 0.6, 2
# A galaxy is used when its flux is at least this many standard deviations of a pixel, and it reaches no farther.
LEAST_FLUX, LARGEST = 300.0, 24.0
# The noise that a stamp brings along, scaled with it, as a fraction of the image's: two of them leave room for more.
OWN_NOISE = (0.5, 0.7)
# Neighbours in one direction on either side, before normalising: pixels beside each other are correlated by 0.18, as
# they are in the binned stamps.
CORRELATION = 0.091
SPLIT_NAMES = ("train", "validation", "test")
SPLIT_SEED = 0
# Split of each of five galaxies that follow each other in brightness, before they are shuffled: 60/20/20 %.
_TURNS = (0, 0, 0, 1, 2)

TITLE = "Pairs of real galaxies from Hubble images, overlapping, with the pixels and the flux of each"
UNITS = (
    "image: float32, 64 × 64 × 1 (F814W), 0.06 arcsec a pixel (2 × 2 pixels of the stamps summed); without sky, in "
    "units of the noise's standard deviation, which is 1 everywhere; neighbouring pixels are correlated by 0.18. "
    "masks: uint8, 64 × 64 × 2 (central, companion): 1 where that galaxy alone, smoothed with a standard deviation of "
    "1 px, exceeds 0.5 in the image's unit; they overlap. "
    "target: log10 of the flux of the central galaxy and of the companion, dex; the flux is the sum of the galaxy's "
    "pixels in the frame, in the image's unit. "
    "parts: float32, 64 × 64 × 2, the two galaxies alone; each carries noise of its own of up to 0.7; "
    "flux_central, flux_companion: sums of the parts; gap: magnitude of the companion minus that of the central, "
    "about −2…2; separation: between the centres of light, about 2…25 px; rows, columns: these centres, px from the "
    "centre of the first pixel; snr_central, snr_companion: root of the sum of the squared smoothed part; sources: 2; "
    "stamp_central, stamp_companion: number of the stamp in the file, from 0: properties, not inputs."
)
LICENCE = (
    "Fetched by the user. Images of the Hubble Space Telescope, public domain (NASA/STScI), from a repository under "
    "the MIT licence."
)
CREDIT = "Images: NASA/ESA Hubble Space Telescope, COSMOS (Koekemoer et al. 2007; Mandelbaum et al. 2012)"
SPLIT_SIZES = {
    "default": {"train": 2000, "validation": 300, "test": 600},
    "tiny": {"train": 32, "validation": 16, "test": 16},
}
PROPERTIES = {
    "separation": "px",
    "gap": "mag",
    "flux_central": "noise's standard deviation",
    "flux_companion": "noise's standard deviation",
    "snr_central": "1",
    "snr_companion": "1",
    "sources": "2",
    "stamp_central": "number in the file",
    "stamp_companion": "number in the file",
}
FEATURES = {
    "image": "(64, 64, 1) float32, noise's standard deviation",
    "masks": "(64, 64, 2) uint8: 1 where the galaxy alone, smoothed, exceeds 0.5; central, companion",
    "target": "(2,) float32: log10 flux of central and companion, dex",
    "parts": "(64, 64, 2) float32, each galaxy alone; a property, not an input",
    "rows": "(2,) float32, px; a property, not an input",
    "columns": "(2,) float32, px; a property, not an input",
    **{field: f"float32, {unit}; a property, not an input" for field, unit in PROPERTIES.items()},
}
SPLIT_POLICY = (
    "By galaxy, 60/20/20 % with seed 0, alike in brightness: no galaxy is on two sides. Pairs are drawn from the "
    "galaxies of their split."
)
NOTES = (
    "Of the 100 stamps those are used whose galaxy, cut out, has a flux of at least 300 times the noise of a binned "
    "pixel and reaches no farther than 24 px: 46 of them, 27/9/10. Cut out is the region, connected in the middle, "
    "where the stamp without its sky (median of the border) and smoothed exceeds 0.6 times the noise, grown by 2 px, "
    "without what belongs to neighbours. Stamps are cut closely: light outside of them is missing, in image and "
    "truth alike. A stamp's noise is scaled with it; the noise that is added makes up for what is missing to 1 in "
    "each pixel, so that the cut's edge does not show. Fluxes are therefore as high as the noise of the two stamps "
    "allows, and a companion two magnitudes fainter may be lost in it. The point-spread function, full width 2 px, is "
    "turned with the stamp. With ten galaxies in test, scores are of these ten: pairs are not independent."
)
CITATION = """\
@misc{mandelbaum2012cosmos,
  title  = {{COSMOS} real galaxy dataset},
  author = {Mandelbaum, Rachel and Lackner, Claire and Leauthaud, Alexie and Rowe, Barnaby},
  year   = {2012},
  doi    = {10.5281/zenodo.3242143},
}
@article{koekemoer2007cosmos,
  title   = {The {COSMOS} Survey: {Hubble Space Telescope} {Advanced Camera for Surveys} Observations and Data
             Processing},
  author  = {Koekemoer, A. M. and Aussel, H. and Calzetti, D. and others},
  journal = {The Astrophysical Journal Supplement Series},
  volume  = {172},
  pages   = {196--202},
  year    = {2007},
  doi     = {10.1086/520086},
}"""


@dataclass(frozen=True)
class Stamp:
    """One galaxy, cut out.

    Attributes:
      number: of the stamp in the file, from 0.
      light: (N, N) in standard deviations of its noise, 0 outside of the galaxy.
      region: (N, N) bool, where the galaxy is.
    """

    number: int
    light: np.ndarray
    region: np.ndarray

    @property
    def flux(self) -> float:
        """Sum of the light."""
        return float(self.light.sum())

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the centre of light, smoothed to keep it out of the noise's reach."""
        weight = np.maximum(smoothed(self.light) - SEGMENT, 0)
        rows, columns = np.indices(weight.shape)
        return float((weight * rows).sum() / weight.sum()), float((weight * columns).sum() / weight.sum())

    @property
    def reach(self) -> float:
        """Distance of the region's farthest pixel from the centre of light, px."""
        row, column = self.centre
        rows, columns = np.nonzero(self.region)
        return float(np.hypot(rows - row, columns - column).max())

    def turned(self, quarters: int, mirrored: bool) -> "Stamp":
        """The stamp mirrored and turned by right angles."""
        arrays = (np.rot90(values[:, ::-1] if mirrored else values, quarters) for values in (self.light, self.region))
        return Stamp(self.number, *arrays)


def smoothed(image: np.ndarray) -> np.ndarray:
    """The image (H, W) convolved with a Gaussian of `SMOOTHING` px; outside of it there is nothing."""
    return ndimage.gaussian_filter(image, SMOOTHING, mode="constant")


def cut_out(number: int, pixels: np.ndarray) -> Stamp | None:
    """The galaxy in the middle of a stamp, without sky and neighbours; None where there is none.

    Args:
      number: of the stamp.
      pixels: (N, N) of the file.
    """
    side = len(pixels) // BIN
    binned = pixels[: side * BIN, : side * BIN].reshape(side, BIN, side, BIN).sum(axis=(1, 3))
    border = np.ones((side, side), bool)
    border[2:-2, 2:-2] = False
    light = binned - np.median(binned[border])
    # Median absolute deviation: neighbours at the border do not count as noise.
    noise = 1.4826 * np.median(np.abs(light[border]))
    if noise == 0:
        return None
    light = light / noise
    places, _ = ndimage.label(smoothed(light) > SEGMENT)
    middle = slice(side // 2 - 2, side // 2 + 2)
    candidates = [place for place in np.unique(places[middle, middle]) if place]
    if not candidates:
        return None
    galaxy = places == max(candidates, key=lambda place: light[places == place].sum())
    region = ndimage.binary_dilation(galaxy, iterations=MARGIN) & (galaxy | (places == 0))
    return Stamp(number, np.where(region, light, 0.0), region)


def read_stamps(path: Path, count: int = COUNT) -> list[Stamp]:
    """The galaxies of a file that are bright and small enough, see `NOTES`, in its order.

    Args:
      path: FITS file with one square image in each HDU.
      count: number of HDUs that are expected.

    Raises:
      DataError: the file cannot be read or is not of this layout; the text names the HDU, what was expected and what
        came.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with warnings.catch_warnings():
            # A truncated file is only warned about, and read with rubbish at its end.
            warnings.filterwarnings("error", "File may have been truncated", AstropyUserWarning)
            with fits.open(path, memmap=False) as units:
                images = [unit.data if unit.is_image else None for unit in units]
    except (OSError, TypeError, ValueError, EOFError, AstropyUserWarning) as error:
        raise DataError(f"{path} cannot be read as FITS ({error}). Fetch it again from {PAGE}.") from error
    if len(images) != count:
        raise DataError(f"{path}: expected {count} HDUs with a galaxy each, got {len(images)}. Fetch it from {PAGE}.")
    stamps = []
    for number, pixels in enumerate(images):
        if pixels is None or pixels.ndim != 2 or len(set(pixels.shape)) != 1 or len(pixels) < 8 * BIN:
            got = "no image" if pixels is None else f"the shape {pixels.shape}"
            raise DataError(f"{path}, HDU {number}: expected a square image of {8 * BIN} px or more, got {got}.")
        pixels = np.asarray(pixels, float)
        if not np.isfinite(pixels).all():
            raise DataError(f"{path}, HDU {number}: pixels should be finite, got NaN or Inf.")
        stamp = cut_out(number, pixels)
        if stamp is not None and stamp.flux >= LEAST_FLUX and stamp.reach <= LARGEST:
            stamps.append(stamp)
    return stamps


def split_stamps(stamps: list[Stamp]) -> dict[str, list[Stamp]]:
    """Split name → its galaxies; of five that follow each other in flux, three, one and one.

    Raises:
      DataError: a split would have fewer than two, too few for a pair.
    """
    random = np.random.default_rng(SPLIT_SEED)
    ordered = sorted(stamps, key=lambda stamp: stamp.flux)
    sides: dict[str, list[Stamp]] = {name: [] for name in SPLIT_NAMES}
    for start in range(0, len(ordered), len(_TURNS)):
        for stamp, side in zip(ordered[start : start + len(_TURNS)], random.permutation(_TURNS), strict=False):
            sides[SPLIT_NAMES[side]].append(stamp)
    small = {name: len(members) for name, members in sides.items() if len(members) < 2}
    if small:
        raise DataError(
            f"every split needs two galaxies or more, got {small} of {len(stamps)} that are brighter than "
            f"{LEAST_FLUX:g} times the noise of a pixel and within {LARGEST:g} px. Is {FILE} the one from {PAGE}?"
        )
    return sides


def placed(stamp: Stamp, row: float, column: float) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """A stamp in the frame, shifted by whole pixels so that its centre of light is as near as can be to this place.

    Returns:
      light (64, 64), region (64, 64), and where the centre of light is: row and column.
    """
    centre = stamp.centre
    shift = round(row - centre[0]), round(column - centre[1])
    light, region = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE), bool)
    side = len(stamp.light)
    to = tuple(slice(max(s, 0), min(s + side, SIZE)) for s in shift)
    source = tuple(slice(part.start - s, part.stop - s) for part, s in zip(to, shift, strict=True))
    light[to], region[to] = stamp.light[source], stamp.region[source]
    return light, region, (centre[0] + shift[0], centre[1] + shift[1])


def correlated_noise(random: np.random.Generator) -> np.ndarray:
    """Noise (64, 64) of standard deviation 1 whose neighbouring pixels are correlated like those of the stamps."""
    kernel = np.array([CORRELATION, 1.0, CORRELATION]) / math.sqrt(1 + 2 * CORRELATION**2)
    noise = random.normal(size=(SIZE + 2, SIZE + 2))
    for axis in (0, 1):
        noise = ndimage.convolve1d(noise, kernel, axis=axis)
    return noise[1:-1, 1:-1]


def simulate(random: np.random.Generator, stamps: list[Stamp]) -> simulation.Record:
    """One record: two different galaxies out of these."""
    middle = (SIZE - 1) / 2
    places = [tuple(middle + random.uniform(-OFFSET, OFFSET, 2))]
    separation, angle = random.uniform(*SEPARATION), random.uniform(0, 2 * math.pi)
    places.append((places[0][0] + separation * math.sin(angle), places[0][1] + separation * math.cos(angle)))
    gap = random.uniform(*GAP)
    pair = [stamps[number] for number in random.choice(len(stamps), 2, replace=False)]
    pair = [stamp.turned(int(random.integers(4)), bool(random.integers(2))) for stamp in pair]
    # Scale of a stamp: the noise that it brings along. That of the companion gives the gap, and the larger of the two
    # is what was drawn.
    ratio = 10 ** (-0.4 * gap) * pair[0].flux / pair[1].flux
    scale = random.uniform(*OWN_NOISE) / max(1.0, ratio)
    scales = np.array([scale, scale * ratio])

    put = [placed(stamp, *place) for stamp, place in zip(pair, places, strict=True)]
    parts = scales[:, None, None] * np.stack([light for light, _, _ in put])
    own = np.sum([(scale * region) ** 2 for scale, (_, region, _) in zip(scales, put, strict=True)], axis=0)
    image = parts.sum(axis=0) + np.sqrt(1 - own) * correlated_noise(random)
    flux = parts.sum(axis=(1, 2))
    shapes = np.stack([smoothed(part) for part in parts])
    centres = np.array([centre for _, _, centre in put])
    properties = {
        "separation": math.hypot(*(centres[1] - centres[0])),
        "gap": -2.5 * math.log10(flux[1] / flux[0]),
        "flux_central": flux[0],
        "flux_companion": flux[1],
        "snr_central": np.sqrt((shapes[0] ** 2).sum()),
        "snr_companion": np.sqrt((shapes[1] ** 2).sum()),
        "sources": 2,
        "stamp_central": pair[0].number,
        "stamp_companion": pair[1].number,
    }
    return blends.record(image, parts, properties, centres, shapes > THRESHOLD)


class RealBlends(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of "real_blends": image (64, 64, 1), masks (64, 64, 2), target (2,), parts and properties."""

    name = "real_blends"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name=name) for name in SPLIT_SIZES
    ]
    # Tests put a smaller one here.
    count: ClassVar[int] = COUNT

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(blends.features(PROPERTIES, len(MASKS))),
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Record]]]:
        stamps = split_stamps(read_stamps(manual_file(FOLDER, FILE, page=PAGE), self.count))
        sizes = SPLIT_SIZES[self.builder_config.name]
        return {split: self._generate_examples(split, stamps[split], size) for split, size in sizes.items()}

    def _generate_examples(self, split: str, stamps: list[Stamp], size: int) -> Iterator[tuple[int, Record]]:
        """Yield (number, record)."""
        setting = simulation.setting_of(self.builder_config.name)
        for number in range(size):
            yield number, simulate(simulation.generator(self.name, setting, split, number), stamps)
