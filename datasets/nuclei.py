"""Nuclei of cells under a fluorescence microscope, drawn round by hand: which pixels, and which nucleus, are they?

The images of 256 × 256 pixels of the first training stage of the 2018 Data Science Bowl (Caicedo et al. 2019), which
the user fetches as one file. Many of them are quarters of one field of view: see `NOTES`; a field stays on one side.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from scipy.sparse.csgraph import connected_components

from zoo_datasets.loading.arrays import stratified_split
from zoo_datasets.loading.readers import ALL, read_npz
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import manual_file

COUNT, SIDE = 334, 256
CLASS_NAMES = ("background", "nucleus")
FOLDER, FILE = "dsb2018_nuclei", "dsb2018_256_fluo.npz"
PAGE = (
    "stage 1 of https://bbbc.broadinstitute.org/BBBC038 (made from its 334 fluorescence images of 256 × 256 px, sorted "
    "by name: images (334, 256, 256) uint8; labels (334, 256, 256) uint16, 0 background, 1, 2, … nuclei)"
)
SPLIT_NAMES = ("train", "validation", "test")
SPLIT_SEED, FRACTIONS = 0, (0.2, 0.2)
# Two images are of one field when the pixels along their edges differ by less than this part of their variance. Of
# the 223,000 pairs of edges of which one is reversed, so that they cannot fit, 5 do.
CONTINUES = 0.15
# Part of a field that nuclei cover: between these are the classes that the splits have in the same proportions.
COVERED = (0.03, 0.08, 0.15)

TITLE = "Nuclei under a fluorescence microscope, of the 2018 Data Science Bowl: nucleus or background, pixel by pixel"
UNITS = (
    "image: uint8, 256 × 256 × 1, brightness as in the file; the darkest images end at 66, the brightest at 255. "
    "label: uint8, 0 background, 1 nucleus. objects: int32, number of the nucleus, from 1 in each image, 0 background. "
    "source: number of the image in the file, from 0; group: number of the field of view that it is part of, as far as "
    "that can be told: both are properties, not inputs."
)
LICENCE = "CC0 (BBBC038v1, Broad Bioimage Benchmark Collection), fetched by the user."
CREDIT = "Images: 2018 Data Science Bowl (Caicedo et al. 2019), BBBC038v1"
SPLIT_SIZES = {
    "default": {"train": 195, "validation": 72, "test": 67},
    "tiny": {"train": 8, "validation": 4, "test": 4},
}
FEATURES = {
    "image": "(256, 256, 1) uint8",
    "label": "(256, 256) uint8: 0 background, 1 nucleus",
    "objects": "(256, 256) int32: number of the nucleus, 0 background; not an input",
    "source": "number of the image in the file; not an input",
    "group": "which images are of one field; not an input",
}
SPLIT_POLICY = (
    "60/20/20 % of the fields of view, with seed 0, divided alike by the part that nuclei cover and by how many images "
    "a field has. tiny: the first images of each split."
)
NOTES = (
    "Neighbouring images: 250 of the 334 continue another one beyond its edge, mostly as quarters of one field with "
    "the same cells, stain and exposure. They are found by comparing edges and stay on one side; fields whose edges "
    "are dark cannot be put together and may still be on two. "
    "The experiments cannot be told from the file: a few of them, recognisable by the size and brightness of the "
    "nuclei, are on all sides, so that scores are for new images of known experiments and not for new experiments. "
    "Nuclei cover 8 % of the pixels, 0.1 % to 38 % of an image, and every image has 1 to 101 of them; in two thirds of "
    "the images some touch, which label does not show and objects does. Outlines are by hand, so that the last pixel "
    "around a nucleus is a matter of taste. Brightness alone goes far: Otsu's threshold, image by image, has a Dice "
    "coefficient of 0.83 over all pixels of test."
)
CITATION = """\
@article{caicedo2019nucleus,
  title   = {Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl},
  author  = {Caicedo, Juan C. and Goodman, Allen and Karhohs, Kyle W. and others},
  journal = {Nature Methods},
  volume  = {16},
  pages   = {1247--1253},
  year    = {2019},
  doi     = {10.1038/s41592-019-0612-7},
}"""


class Nuclei(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of "nuclei": image (256, 256, 1) uint8, label and objects (256, 256), source, group."""

    name = "nuclei"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name=name) for name in SPLIT_SIZES
    ]
    # Tests put a smaller one here.
    count: ClassVar[int] = COUNT

    def _info(self) -> tfds.core.DatasetInfo:
        encoding = tfds.features.Encoding
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(SIDE, SIDE, 1), dtype=np.uint8, encoding=encoding.BYTES),
                    "label": tfds.features.Tensor(shape=(SIDE, SIDE), dtype=np.uint8, encoding=encoding.ZLIB),
                    "objects": tfds.features.Tensor(shape=(SIDE, SIDE), dtype=np.int32, encoding=encoding.ZLIB),
                    "source": tfds.features.Scalar(np.int32),
                    "group": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://bbbc.broadinstitute.org/BBBC038",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        images, objects = read_file(manual_file(FOLDER, FILE, page=PAGE), count=self.count)
        groups = group_numbers(images)
        sizes = SPLIT_SIZES["tiny"] if self.builder_config.name == "tiny" else {}
        parts = grouped_split(groups, (objects > 0).mean(axis=(1, 2)))
        return {
            name: self._generate_examples(images, objects, groups, rows[: sizes.get(name)])
            for name, rows in parts.items()
        }

    def _generate_examples(
        self, images: np.ndarray, objects: np.ndarray, groups: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (number in the file, record) for each of the rows of images and objects (N, 256, 256)."""
        for row in rows.tolist():
            yield (
                row,
                {
                    "image": images[row][..., None],
                    "label": (objects[row] > 0).astype(np.uint8),
                    "objects": objects[row].astype(np.int32),
                    "source": row,
                    "group": int(groups[row]),
                },
            )


def read_file(path: Path, *, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 256, 256) uint8 and numbers of the nuclei, of the same shape, uint16.

    Raises:
      DataError: the file cannot be read, or its arrays are not those; the text names the image, what was expected and
        what came.
    """
    part = read_npz(path, labels=True).parts.get(ALL)
    if part is None:
        raise DataError(f"{path} has splits of its own, expected the arrays images and labels of all {count} images.")
    images, labels = np.asarray(part.inputs), np.asarray(part.labels)
    expected = (count, SIDE, SIDE)
    if labels.shape != images.shape:
        raise DataError(
            f"{path}: images and labels should have one shape, {expected}, got {images.shape} and {labels.shape}: each "
            "pixel has a label."
        )
    for name, array, kind in (("images", images, np.uint8), ("labels", labels, np.uint16)):
        if array.shape != expected or array.dtype != kind:
            raise DataError(
                f"{path}: {name} should be {np.dtype(kind)} {expected}, got {array.dtype} {array.shape}. Make the file "
                f"from {PAGE}."
            )
    for number, nuclei in enumerate(labels):
        found = np.unique(nuclei)
        if found[-1] == 0:
            raise DataError(f"{path}, image {number}: expected at least one nucleus, got labels that are all 0.")
        missing = np.setdiff1d(np.arange(1, found[-1] + 1), found)
        if len(missing):
            raise DataError(
                f"{path}, image {number}: nuclei should be numbered 1 … {found[-1]} without gaps, got none of number "
                f"{missing[0]} ({len(missing)} missing). Number them anew."
            )
    return images, labels


def group_numbers(images: np.ndarray) -> np.ndarray:
    """Group (N,) of every image: those whose edges continue each other, directly or by way of others, share one.

    Args:
      images: (N, H, W).
    """
    images = images.astype(np.float64)
    beside = _mismatch(images[:, :, -1], images[:, :, 0]) < CONTINUES
    below = _mismatch(images[:, -1], images[:, 0]) < CONTINUES
    return connected_components(beside | below, directed=False)[1]


def _mismatch(ends: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean square difference of each of `ends` (N, L) from each of `starts`, in units of the smaller variance, (N, N).

    Where an edge has no variance there is nothing to compare: infinite.
    """
    length = ends.shape[1]
    squares = (ends**2).sum(1)[:, None] + (starts**2).sum(1) - 2 * ends @ starts.T
    variance = np.minimum(ends.var(1)[:, None], starts.var(1))
    return np.divide(squares, length * variance, out=np.full_like(squares, np.inf), where=variance > 0)


def grouped_split(groups: np.ndarray, covered: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of the images of each split, ascending: 60/20/20 % of the groups, each on one side.

    Args:
      groups: (N,) of the images, 0, 1, … without gaps.
      covered: (N,) part of each image that nuclei cover. Groups are divided in each class of it (`COVERED`) and of the
        number of images in a group (1, 2 and 3, more) alike.
    """
    sizes = np.bincount(groups)
    mean = np.bincount(groups, covered) / sizes
    stratum = 3 * np.digitize(mean, COVERED) + np.digitize(sizes, (2, 4))
    parts = stratified_split(stratum, seed=SPLIT_SEED, fractions=FRACTIONS)
    return {name: np.flatnonzero(np.isin(groups, members)) for name, members in zip(SPLIT_NAMES, parts, strict=True)}
