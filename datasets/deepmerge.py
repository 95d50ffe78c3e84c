"""DeepMerge: simulated merging and non-merging galaxies at redshift 2, as Hubble and Webb would see them.

Images of the Illustris-1 simulation in three filters, without noise ("pristine") and with ("noisy"), from Ćiprijanović,
Snyder, Nord & Peek (Astronomy and Computing 32, 2020, doi:10.1016/j.ascom.2020.100390). The FITS files are a high-level
science product of MAST (doi:10.17909/t9-vqk6-pc80) that the user fetches: https://archive.stsci.edu/hlsp/deepmerge.

The published way to split these images puts turned copies of one image, and views of one galaxy, on both sides: see
`NOTES`. The configurations "pristine_grouped" and "noisy_grouped" keep each galaxy on one side.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets.loading.arrays import stratified_split
from zoo_datasets.loading.readers import ALL, read_fits
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import manual_file

# The copies of each merger in the order of the file; of images (N, C, H, W).
COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda images: images,
    "upside down": lambda images: images[:, :, ::-1],
    "left to right": lambda images: images[..., ::-1],
    "turned by 90° to the left": lambda images: np.rot90(images, axes=(2, 3)),
    "turned by 180°": lambda images: images[:, :, ::-1, ::-1],
}


@dataclass(frozen=True)
class Layout:
    """How many images a file holds; the defaults are those of the published ones.

    The rows are the mergers' images, sorted by galaxy with its views in a row, then four turned copies of them all
    (`COPIES`), then the images of the other galaxies, sorted in the same way.

    Attributes:
      galaxies: number of galaxies, mergers and others.
      views: cameras around each.
      mergers: images of mergers, without the copies: all views of each are there.
      others: images of other galaxies; a few views are missing, and the file does not say which.
      side: of an image, in pixels.
    """

    galaxies: int = 2233
    views: int = 4
    mergers: int = 1624
    others: int = 7306
    side: int = 75

    @property
    def count(self) -> int:
        """Number of images."""
        return len(COPIES) * self.mergers + self.others

    @property
    def missing(self) -> int:
        """Number of views that are missing among the other galaxies."""
        return self.views * self.galaxies - self.mergers - self.others


PUBLISHED = Layout()
PAGE = "https://archive.stsci.edu/hlsp/deepmerge"
FOLDER = "deepmerge"
FILE = "hlsp_deepmerge_hst-jwst_acs-wfc3-nircam_illustris-z2_f814w-f160w-f356w_v1_sim-{}.fits"
BANDS = ("F814W", "F160W", "F356W")
CLASS_NAMES = ("non-merger", "merger")
SPLIT_NAMES = ("train", "validation", "test")
GROUPED = "_grouped"
# Of the published split: `random_state`, and `test_size` of the first and of the second division.
PUBLISHED_SEED, PUBLISHED_FRACTIONS = 42, (0.3, 0.666)
# Of ours: validation and test.
SPLIT_SEED, FRACTIONS = 0, (0.1, 0.2)
# Galaxies that stay together where the file does not tell them apart.
BLOCK = 10

TITLE = "DeepMerge: simulated galaxy mergers at redshift 2 as seen by Hubble and Webb, without and with noise"
UNITS = (
    "image: float32, 75 × 75 × 3, bands F814W (ACS), F160W (WFC3) and F356W (NIRCam), brightness in the units of the "
    "file, untouched. label: 0 non-merger, 1 merger (within 250 million years before or after, from the merger trees). "
    "source: row of the file, from 0; group: galaxy (mergers) or run of ten neighbouring ones (non-mergers); both are "
    "no inputs."
)
LICENCE = (
    "Public high-level science product of MAST, fetched by the user; cite Ćiprijanović et al. (2020) and "
    "doi:10.17909/t9-vqk6-pc80."
)
CREDIT = "Images: DeepMerge (Ćiprijanović et al. 2020) from the Illustris simulation, MAST"
SPLIT_SIZES = {
    "pristine": {"train": 10798, "validation": 1545, "test": 3083},
    "noisy": {"train": 10798, "validation": 1545, "test": 3083},
    "pristine_grouped": {"train": 10704, "validation": 1504, "test": 3038},
    "noisy_grouped": {"train": 10704, "validation": 1504, "test": 3038},
}
FEATURES = {
    "image": "(75, 75, 3) float32",
    "label": "0 non-merger, 1 merger",
    "source": "row of the file; not an input",
    "group": "which images show one galaxy; not an input",
}
SPLIT_POLICY = (
    "pristine, noisy: the split of the published tutorials, image by image at random, 70/10/20 % "
    "(train_test_split of scikit-learn with random_state=42, test_size 0.3 and then 0.666). pristine_grouped, "
    "noisy_grouped: 70/10/20 % of the groups, class by class, with seed 0; 180 images of non-mergers at the edges of "
    "groups are left out."
)
NOTES = (
    "The published split leaks. The 1,624 images of mergers (406 galaxies seen from four sides) are in the file five "
    "times: as they are, mirrored twice, turned by 90° and by 180°; the 7,306 of non-mergers (1,827 galaxies) once. "
    "Split image by image, 99 % of the mergers in test have a turned copy of themselves in train, all of them a view "
    "of their galaxy, and 97 to 98 % of the non-mergers a view of theirs: published accuracies (0.79 pristine, 0.76 "
    "noisy, in two bands and with a random split of the paper's own) are of such a split. Being turned is also a mark "
    "of the class. In the grouped splits the copies are still there: five images of a merger count as one. Groups "
    "follow from the order of the rows, of which the mergers' copies are checked pixel by pixel; two views of "
    "non-mergers are missing at places unknown, so that ten neighbouring non-mergers form one group. Galaxies near "
    "each other in the simulation may still show up in each other's images. The files were not at hand when this was "
    "written: layout and order are those of the authors' published notebooks, and the reader refuses any other."
)
CITATION = """\
@article{ciprijanovic2020deepmerge,
  title   = {{DeepMerge}: Classifying high-redshift merging galaxies with deep neural networks},
  author  = {{\\'C}iprijanovi{\\'c}, Aleksandra and Snyder, Gregory F. and Nord, Brian and Peek, J. E. G.},
  journal = {Astronomy and Computing},
  volume  = {32},
  pages   = {100390},
  year    = {2020},
  doi     = {10.1016/j.ascom.2020.100390},
}
@misc{deepmerge2022hlsp,
  title  = {Mock Image Training Sets for {DeepMerge}},
  author = {{\\'C}iprijanovi{\\'c}, Aleksandra and Snyder, Gregory F.},
  year   = {2022},
  doi    = {10.17909/t9-vqk6-pc80},
}"""


class DeepMerge(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of "deepmerge": image (75, 75, 3) float32, label 0 or 1, source (row), group (galaxy)."""

    name = "deepmerge"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Version 1 of the files at MAST."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name="pristine", description="Without noise, published split (leaks)."),
        tfds.core.BuilderConfig(name="noisy", description="With noise, published split (leaks)."),
        tfds.core.BuilderConfig(name="pristine_grouped", description="Without noise, each galaxy on one side."),
        tfds.core.BuilderConfig(name="noisy_grouped", description="With noise, each galaxy on one side."),
    ]
    # Tests put a smaller one here.
    layout: ClassVar[Layout] = PUBLISHED

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.layout.side
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(side, side, len(BANDS)), dtype=np.float32),
                    "label": tfds.features.ClassLabel(names=CLASS_NAMES),
                    "source": tfds.features.Scalar(np.int64),
                    "group": tfds.features.Scalar(np.int64),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=PAGE,
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        config = self.builder_config.name
        path = manual_file(FOLDER, FILE.format(config.removesuffix(GROUPED)), page=PAGE)
        images = read_images(path, self.layout)
        split = grouped_split if config.endswith(GROUPED) else published_split
        return {name: self._generate_examples(images, rows) for name, rows in split(self.layout).items()}

    def _generate_examples(self, images: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row, record) for each of the rows of images (N, 3, H, W)."""
        groups, labels = group_numbers(self.layout), row_labels(self.layout)
        for row in rows.tolist():
            image = np.ascontiguousarray(images[row].transpose(1, 2, 0), np.float32)
            yield row, {"image": image, "label": int(labels[row]), "source": row, "group": int(groups[row])}


def read_images(path: Path, layout: Layout = PUBLISHED) -> np.ndarray:
    """Images (N, 3, H, W) of a file in its own type, after a check of everything that the splits rely on.

    The mergers' copies are compared pixel by pixel with what they are copies of; labels are those of `row_labels`.

    Raises:
      DataError: the file cannot be read or is not of this layout; the text names the row, what was expected and what
        came.
    """
    part = read_fits(path, labels=True).parts[ALL]
    images, labels = np.asarray(part.inputs), np.asarray(part.labels)
    expected = (layout.count, len(BANDS), layout.side, layout.side)
    if images.shape != expected or images.dtype.kind != "f":
        raise DataError(
            f"{path}: {part.where} should be floats {expected}, channels first, got {images.dtype.name} {images.shape}."
        )
    if labels.shape != (layout.count,):
        raise DataError(f"{path}: the labels should have the shape ({layout.count},), got {labels.shape}.")
    wrong = np.flatnonzero(labels != row_labels(layout))
    if len(wrong):
        raise DataError(
            f"{path}, row {wrong[0]}: the label should be {row_labels(layout)[wrong[0]]}, for the first "
            f"{len(COPIES) * layout.mergers} rows are mergers and the others are not, got {labels[wrong[0]]} "
            f"({len(wrong)} row(s))."
        )
    _require_finite(path, images)
    _require_copies(path, images, layout)
    return images


def row_labels(layout: Layout = PUBLISHED) -> np.ndarray:
    """Label (N,) of every row: 1 for the mergers and their copies, then 0."""
    return (np.arange(layout.count) < len(COPIES) * layout.mergers).astype(np.int64)


def group_numbers(layout: Layout = PUBLISHED) -> np.ndarray:
    """Group (N,) of every row, from the order of the file.

    A merger's group is its galaxy, with all views and copies. The views of the other galaxies follow each other, but
    `layout.missing` of them are left out at places unknown, so that a galaxy cannot be told from the next: a group is
    the room of `BLOCK` galaxies, and the last `layout.missing` rows of it may belong to the first galaxy of the next.
    """
    merger = np.tile(np.arange(layout.mergers) // layout.views, len(COPIES))
    other = layout.mergers // layout.views + np.arange(layout.others) // (layout.views * BLOCK)
    return np.concatenate([merger, other])


def published_split(layout: Layout = PUBLISHED) -> dict[str, np.ndarray]:
    """Row numbers, ascending, of the split of the tutorials, which ignores groups.

    It repeats `sklearn.model_selection.train_test_split`: a permutation whose first ⌈test_size · N⌉ entries are held
    out. NumPy keeps the stream of `RandomState` the same for ever.
    """
    rows = np.arange(layout.count)
    parts = []
    for fraction in PUBLISHED_FRACTIONS:
        rows = rows[np.random.RandomState(PUBLISHED_SEED).permutation(len(rows))]
        held_out = int(np.ceil(fraction * len(rows)))
        parts.append(rows[held_out:])
        rows = rows[:held_out]
    return {name: np.sort(part) for name, part in zip(SPLIT_NAMES, (*parts, rows), strict=True)}


def grouped_split(layout: Layout = PUBLISHED) -> dict[str, np.ndarray]:
    """Row numbers, ascending, of a split with each galaxy on one side.

    Where a group of non-mergers and the next are on different sides, the last `layout.missing` rows of the first are
    left out, for they may show the first galaxy of the next: with k ≤ `missing` views missing before it, galaxy g
    starts in row 4 g − k.
    """
    groups = group_numbers(layout)
    first_other = layout.mergers // layout.views
    labels = (np.arange(groups.max() + 1) < first_other).astype(np.int64)
    side = np.empty(len(labels), np.int64)
    for number, members in enumerate(stratified_split(labels, seed=SPLIT_SEED, fractions=FRACTIONS)):
        side[members] = number
    kept = np.ones(len(groups), bool)
    for group in range(first_other, len(side) - 1):
        if side[group] != side[group + 1]:
            end = len(COPIES) * layout.mergers + (group + 1 - first_other) * layout.views * BLOCK
            kept[end - layout.missing : end] = False
    return {name: np.flatnonzero(kept & (side[groups] == number)) for number, name in enumerate(SPLIT_NAMES)}


def _require_finite(path: Path, images: np.ndarray) -> None:
    for row, image in enumerate(images):
        if not np.isfinite(image).all():
            raise DataError(f"{path}, row {row}: pixels should be finite, got NaN or Inf.")


def _require_copies(path: Path, images: np.ndarray, layout: Layout) -> None:
    """Refuse images whose groups are not those of `group_numbers`."""
    originals = images[: layout.mergers]
    for number, (name, copy) in enumerate(COPIES.items()):
        start = number * layout.mergers
        for row in range(layout.mergers):
            if not np.array_equal(images[start + row], copy(originals[row : row + 1])[0]):
                raise DataError(
                    f"{path}, row {start + row}: expected a copy of row {row}, {name}, pixel by pixel, got another "
                    "image. The galaxies cannot be told from the order of this file's rows."
                )
