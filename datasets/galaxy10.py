"""Galaxy10: colour images of galaxies in ten shapes, voted on by the volunteers of Galaxy Zoo.

Two versions by Leung & Bovy: "decals" (17,736 images of the DESI Legacy Imaging Surveys, 256 × 256) and "sdss" (21,785
images of the Sloan Digital Sky Survey, 69 × 69). Both are HDF5 files that the user fetches:
https://astronn.readthedocs.io/en/latest/galaxy10.html.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from scipy.spatial import KDTree

from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import manual_file


@dataclass(frozen=True)
class Layout:
    """What the file of one version holds: images (count, side, side, 3) uint8 and ans (count,) 0…9.

    Attributes:
      file: its name in the folder galaxy10 of the manual folder.
      count: number of images.
      side: of an image, in pixels.
      class_names: of the labels, in order.
      separation: arcsec within which two sources are kept on one side; 0 where the file has no ra and dec.
    """

    file: str
    count: int
    side: int
    class_names: tuple[str, ...]
    separation: float


LAYOUTS = {
    "decals": Layout(
        file="Galaxy10_DECals.h5",
        count=17736,
        side=256,
        class_names=(
            "Disturbed",
            "Merging",
            "Round smooth",
            "In-between round smooth",
            "Cigar-shaped smooth",
            "Barred spiral",
            "Unbarred tight spiral",
            "Unbarred loose spiral",
            "Edge-on without bulge",
            "Edge-on with bulge",
        ),
        # 256 pixels of 0.262 arcsec: farther apart, two images share no sky along one axis.
        separation=67.1,
    ),
    "sdss": Layout(
        file="Galaxy10.h5",
        count=21785,
        side=69,
        class_names=(
            "Disk, face-on, no spiral",
            "Smooth, completely round",
            "Smooth, in-between round",
            "Smooth, cigar-shaped",
            "Disk, edge-on, rounded bulge",
            "Disk, edge-on, boxy bulge",
            "Disk, edge-on, no bulge",
            "Disk, face-on, tight spiral",
            "Disk, face-on, medium spiral",
            "Disk, face-on, loose spiral",
        ),
        separation=0.0,
    ),
}
PAGE = "https://astronn.readthedocs.io/en/latest/galaxy10.html"
FOLDER = "galaxy10"
SPLIT_NAMES = ("train", "validation", "test")
SPLIT_SEED = 0
# Number of the split of each of ten sources that follow each other by class: 70, 10 and 20 %.
TURNS = (0, 0, 1, 0, 2, 0, 0, 2, 0, 0)
# Images read at once: 100 MB of the larger ones.
BLOCK = 512
# Data sets of the positions and their range in degrees.
POSITIONS = {"ra": (0, 360), "dec": (-90, 90)}

TITLE = "Galaxy10: galaxies in ten shapes, from Galaxy Zoo (decals: Legacy Surveys, sdss: Sloan survey)"
UNITS = (
    "image: uint8, three colours, made for the eye, so that values are no fluxes. decals: 256 × 256 × 3 of the bands "
    "g, r, z, mostly 0.262 arcsec a pixel; sdss: 69 × 69 × 3 of g, r, i, the central 207 × 207 of "
    "Galaxy Zoo's 424 × 424 at a third of the size. label: the class with the most votes, decals "
    "and sdss with classes of their own. source: row of the file, from 0, by which its ra, dec, redshift and pxscale "
    "(decals) can be looked up; not an input."
)
LICENCE = (
    "Fetched by the user, under the terms stated on the page of Galaxy10, which asks to acknowledge Galaxy Zoo and the "
    "DESI Legacy Imaging Surveys or the Sloan Digital Sky Survey."
)
CREDIT = "Images: DESI Legacy Imaging Surveys (decals), Sloan Digital Sky Survey (sdss); classes: Galaxy Zoo"
SPLIT_SIZES = {
    "decals": {"train": 12415, "validation": 1774, "test": 3547},
    "sdss": {"train": 15249, "validation": 2179, "test": 4357},
}
FEATURES = {
    "image": "(256, 256, 3) uint8, sdss (69, 69, 3)",
    "label": "0…9",
    "source": "row of the file; not an input",
}
SPLIT_POLICY = (
    "Ours, for none is published: 70/10/20 %, class by class, with seed 0. decals: sources closer than 67.1 arcsec, "
    "whose images overlap, are all in train."
)
NOTES = (
    "sdss has no positions, so that neighbours, and a source that occurs twice, may lie in different splits; in both, "
    "nothing was done about sources that merely look alike. The classes are uneven: sdss has 17 edge-on discs with a "
    "boxy bulge, decals 334 cigars. The files themselves were not at hand when this was written: layout, numbers and "
    "classes are those that the pages of Galaxy10 state, and the reader refuses any other. (The class counts that the "
    "page of sdss gives add up to 21,830, not to its 21,785.)"
)
CITATION = """\
@article{leung2019deep,
  title   = {Deep learning of multi-element abundances from high-resolution spectroscopic data},
  author  = {Leung, Henry W. and Bovy, Jo},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume  = {483},
  pages   = {3255--3277},
  year    = {2019},
  doi     = {10.1093/mnras/sty3217},
}
@article{walmsley2022galaxy,
  title   = {Galaxy Zoo {DECaLS}: Detailed visual morphology measurements from volunteers and deep learning for 314 000
             galaxies},
  author  = {Walmsley, Mike and Lintott, Chris and others},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume  = {509},
  pages   = {3966--3988},
  year    = {2022},
  doi     = {10.1093/mnras/stab2093},
}
@article{lintott2011galaxy,
  title   = {Galaxy Zoo 1: data release of morphological classifications for nearly 900 000 galaxies},
  author  = {Lintott, Chris and others},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume  = {410},
  pages   = {166--178},
  year    = {2011},
  doi     = {10.1111/j.1365-2966.2010.17432.x},
}"""


class Galaxy10(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of "galaxy10": image uint8, label 0…9, source (row of the file)."""

    name = "galaxy10"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Split by class, neighbours on one side."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name="decals", description="17,736 images of the DESI Legacy Imaging Surveys."),
        tfds.core.BuilderConfig(name="sdss", description="21,785 images of the Sloan Digital Sky Survey."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        layout = LAYOUTS[self.builder_config.name]
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(layout.side, layout.side, 3), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=layout.class_names),
                    "source": tfds.features.Scalar(np.int64),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=PAGE,
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        layout = LAYOUTS[self.builder_config.name]
        path = manual_file(FOLDER, layout.file, page=PAGE)
        labels, neighbours = read_table(path, layout)
        rows = split_rows(labels, neighbours)
        return {split: self._generate_examples(path, labels, rows[split]) for split in SPLIT_NAMES}

    def _generate_examples(
        self, path: Path, labels: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row, record) for each of the rows, ascending."""
        with h5py.File(path, "r") as file:
            # Rows that are compressed together are read together, each once for a split.
            for start in range(0, len(labels), BLOCK):
                block = file["images"][start : start + BLOCK]
                for row in rows[(rows >= start) & (rows < start + BLOCK)].tolist():
                    yield (
                        row,
                        {"image": Image.fromarray(block[row - start]), "label": int(labels[row]), "source": row},
                    )


def read_table(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) int64 and whether each source has a neighbour within `layout.separation` (N,), after all checks.

    Raises:
      DataError: the file is not of this layout; the text names the data set in it, what was expected and what came.
    """
    try:
        with h5py.File(path, "r") as file:
            return _checked_labels(path, file, layout), _neighbours(path, file, layout)
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5 ({error}). Download it again.") from error


def split_rows(labels: np.ndarray, neighbours: np.ndarray) -> dict[str, np.ndarray]:
    """Row numbers, ascending, of each split: by class, with every source that has neighbours in train.

    The sources are put in order of class, at random within it, and take turns (systematic sampling), so that every
    class is divided 70/10/20 to within one source and the sizes depend on the number of sources alone. A source that
    must go to train changes places with the next of its class that need not.

    Args:
      labels: (N,) whole numbers.
      neighbours: (N,) bool.

    Raises:
      DataError: a class has too few sources without neighbours.
    """
    # Raw draws, which NumPy keeps the same for ever, unlike its `permutation`.
    draws = np.random.Philox(key=SPLIT_SEED).random_raw(len(labels))
    order = np.lexsort((draws, labels))
    split_of = np.empty(len(labels), np.int64)
    split_of[order] = np.resize(TURNS, len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        leaving = members[neighbours[members] & (split_of[members] > 0)]
        free = members[~neighbours[members] & (split_of[members] == 0)]
        if len(free) < len(leaving):
            raise DataError(
                f"class {label}: {len(leaving)} sources with neighbours should change places with others in train, "
                f"got {len(free)} sources without neighbours there."
            )
        split_of[free[: len(leaving)]] = split_of[leaving]
        split_of[leaving] = 0
    return {split: np.flatnonzero(split_of == number) for number, split in enumerate(SPLIT_NAMES)}


def close_pairs(ra: np.ndarray, dec: np.ndarray, separation: float) -> np.ndarray:
    """Pairs (P, 2) of row numbers of sources that are at most `separation` apart on the sky.

    Args:
      ra: (N,) right ascension in degrees.
      dec: (N,) declination in degrees.
      separation: arcsec.
    """
    alpha, delta = np.radians(ra), np.radians(dec)
    places = np.stack([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=1)
    chord = 2 * np.sin(np.radians(separation / 3600) / 2)
    return KDTree(places).query_pairs(chord, output_type="ndarray")


def _checked_labels(path: Path, file: h5py.File, layout: Layout) -> np.ndarray:
    images = _dataset(path, file, "images", (layout.count, layout.side, layout.side, 3))
    if images.dtype != np.uint8:
        raise DataError(f"{path}: 'images' should be uint8, got {images.dtype}.")
    labels = _dataset(path, file, "ans", (layout.count,))[()]
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: 'ans' should be whole numbers, got {labels.dtype}.")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(layout.class_names)))
    if len(wrong):
        raise DataError(
            f"{path}: 'ans' should be in 0 … {len(layout.class_names) - 1}, got {labels[wrong[0]]} in row {wrong[0]} "
            f"({len(wrong)} row(s))."
        )
    empty = np.setdiff1d(np.arange(len(layout.class_names)), labels)
    if len(empty):
        raise DataError(f"{path}: every class should have sources, got none of {layout.class_names[empty[0]]}.")
    return labels.astype(np.int64)


def _neighbours(path: Path, file: h5py.File, layout: Layout) -> np.ndarray:
    found = np.zeros(layout.count, bool)
    if layout.separation:
        ra, dec = (_degrees(path, file, name, layout, *limits) for name, limits in POSITIONS.items())
        found[close_pairs(ra, dec, layout.separation).ravel()] = True
    return found


def _degrees(path: Path, file: h5py.File, name: str, layout: Layout, low: int, high: int) -> np.ndarray:
    values = np.asarray(_dataset(path, file, name, (layout.count,))[()], np.float64)
    wrong = np.flatnonzero(~((values >= low) & (values <= high)))
    if len(wrong):
        raise DataError(
            f"{path}: '{name}' should be in {low} … {high} degrees, got {values[wrong[0]]} in row {wrong[0]} "
            f"({len(wrong)} row(s))."
        )
    return values


def _dataset(path: Path, file: h5py.File, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    if not isinstance(file.get(name), h5py.Dataset):
        raise DataError(f"{path} should have the data set '{name}' {shape}, got {', '.join(file) or 'an empty file'}.")
    if file[name].shape != shape:
        raise DataError(f"{path}: '{name}' should have the shape {shape}, got {file[name].shape}.")
    return file[name]
