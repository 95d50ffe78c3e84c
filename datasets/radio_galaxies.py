"""Radio galaxies of the FIRST survey: 2,158 images in four morphological classes.

Images of extended radio sources at 1.4 GHz from the VLA survey FIRST (Becker, White & Helfand 1995), with the
morphology that six published catalogues give them, collected by Griese, Kummer et al. (Data in Brief 47, 2023,
doi:10.1016/j.dib.2023.108974; data doi:10.5281/zenodo.7120632).

What the file was checked for, beyond its SHA-256, is written in `NOTES` and held by tests/datasets.
"""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zoo_datasets.loading.sources import WheelFile, fetch

FILE = WheelFile(
    package="firstgalaxydata",
    version="0.2.1",
    path="firstgalaxydata/galaxy_data_h5.zip",
    sha256="1f9656a9fe2519857a5b7c7498f60087a6af73d8015b85559418ce30cc212c52",
)
CLASS_NAMES = ("FRI", "FRII", "Compact", "Bent")
IMAGE_SHAPE = (300, 300, 1)
# Our split name → the file's.
SPLITS = {"train": "train", "validation": "valid", "test": "test"}

TITLE = "Radio galaxies of the VLA survey FIRST at 1.4 GHz in four morphological classes"
UNITS = (
    "image: uint8, 300 × 300 × 1. Brightness scaled image by image to 0…255 (the flux scale is lost), after pixels "
    "below three times the local noise were set to that threshold. 1.8 arcsec a pixel, so 9 arcmin a side; rows run "
    'north and columns run west, so that origin="lower" shows north up and east left. '
    "label: 0 FRI (edge-darkened), 1 FRII (edge-brightened), 2 Compact, 3 Bent (bent tails). "
    "source: number N of the group data_N in the file; not an input."
)
LICENCE = (
    "Images: FIRST survey, R.J. Becker, D.H. Helfand, R.L. White, M.D. Gregg, S.A. Laurent-Muehleisen; copyright 1994 "
    "University of California; may be published and reproduced for scholarly, educational and private non-commercial "
    "use. Package firstgalaxydata: MIT."
)
CREDIT = (
    "Images: FIRST survey (R.J. Becker, D.H. Helfand, R.L. White, M.D. Gregg, S.A. Laurent-Muehleisen), "
    "© 1994 University of California"
)
SPLIT_SIZES = {"train": 1758, "validation": 200, "test": 200}
FEATURES = {"image": "(300, 300, 1) uint8", "label": "0…3", "source": "group number; not an input"}
SPLIT_POLICY = (
    "The official split, untouched: train 1,758 (FRI 395, FRII 824, Compact 291, Bent 248), validation and test 200 "
    "each, 50 of each class."
)
NOTES = (
    "No image and no position occurs twice, but the split was not made by position: 14 pairs of sources in different "
    "splits are less than 4.5 arcmin apart, so that each lies in the other's image (the closest, validation 1945 "
    "and test 1994, are 56 arcsec apart); 8 of these pairs share their class. "
    "One validation image (source 1910, Bent) is blank: all its pixels are 0."
)
CITATION = """\
@article{griese2023first,
  title   = {FIRST radio galaxy data set containing curated labels of classes FRI, FRII, compact and bent},
  author  = {Griese, Florian and Kummer, Janis and others},
  journal = {Data in Brief},
  volume  = {47},
  pages   = {108974},
  year    = {2023},
  doi     = {10.1016/j.dib.2023.108974},
}
@article{becker1995first,
  title   = {The FIRST Survey: Faint Images of the Radio Sky at Twenty Centimeters},
  author  = {Becker, Robert H. and White, Richard L. and Helfand, David J.},
  journal = {The Astrophysical Journal},
  volume  = {450},
  pages   = {559},
  year    = {1995},
}"""


class RadioGalaxies(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of "radio_galaxies": image (300, 300, 1) uint8, label 0…3, source (group number)."""

    name = "radio_galaxies"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "firstgalaxydata 0.2.1, official split."}

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
            homepage="https://doi.org/10.5281/zenodo.7120632",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        groups = open_catalogue(fetch(FILE, cache=Path(dl_manager.download_dir)))
        split_of = [groups[f"data_{number}/Split_literature"][()].decode() for number in range(len(groups))]
        return {
            ours: self._generate_examples(groups, [n for n, split in enumerate(split_of) if split == theirs])
            for ours, theirs in SPLITS.items()
        }

    def _generate_examples(self, groups: h5py.File, numbers: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (group number, record) for each of the groups."""
        for number in numbers:
            yield (
                number,
                {
                    # TFDS without TensorFlow encodes PIL images, not arrays.
                    "image": Image.fromarray(groups[f"data_{number}/Img"][()]),
                    "label": int(groups[f"data_{number}/Label_literature"][()]),
                    "source": number,
                },
            )


def open_catalogue(archive: Path) -> h5py.File:
    """The catalogue's HDF5 file (201 MB), read into memory from its zip archive.

    Groups data_0 … data_2157, each with Img (300, 300) uint8 (attributes RA, DEC in degrees, J2000; Source, the
    catalogue), Label_literature (float, 0…3) and Split_literature (bytes: train, valid or test).
    """
    with zipfile.ZipFile(archive) as zipped:
        return h5py.File(io.BytesIO(zipped.read("galaxy_data_h5.h5")), "r")
