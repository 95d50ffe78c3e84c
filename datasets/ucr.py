"""Real time series of the UCR archive: hands that draw a gun or point, days of power demand, outlines of arrowheads.

Three sets of the archive (Dau et al. 2019) as far as the package aeon carries them, with the archive's own division
into train and test, so that results compare with the many published ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation
from zoo_datasets.loading.arrays import stratified_split
from zoo_datasets.loading.records import DataError, Record
from zoo_datasets.loading.sources import WheelFile, fetch

PACKAGE, PACKAGE_VERSION = "aeon", "1.6.0"
SPLIT_SEED = 0
# Of each class of the archive's training series.
VALIDATION_FRACTION = 0.2


@dataclass(frozen=True)
class Series:
    """One set of the archive.

    Attributes:
      archive: its name there.
      steps: of every series.
      classes: label in the file → what it means, in the order of the numbers given to them here.
      sha256: of the file of its training series and of the file of its test series.
    """

    archive: str
    steps: int
    classes: dict[str, str]
    sha256: tuple[str, str]

    @property
    def files(self) -> dict[str, WheelFile]:
        """The archive's parts, "train" and "test", as files of the package."""
        names = {"train": "TRAIN", "test": "TEST"}
        return {
            part: WheelFile(
                PACKAGE, PACKAGE_VERSION, f"aeon/datasets/data/{self.archive}/{self.archive}_{name}.ts", sha256
            )
            for (part, name), sha256 in zip(names.items(), self.sha256, strict=True)
        }


SERIES = {
    "gunpoint": Series(
        "GunPoint",
        150,
        {"1": "gun", "2": "point"},
        (
            "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
            "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
        ),
    ),
    "italy_power": Series(
        "ItalyPowerDemand",
        24,
        {"1": "october to march", "2": "april to september"},
        (
            "341269cb7e6cef96846b30e774580beec79addb93848ba360145219115a74b7c",
            "26122451f87dd0387ef90b18bc8a86c041371b8a1c068004922b939971247144",
        ),
    ),
    "arrowhead": Series(
        "ArrowHead",
        251,
        {"0": "Avonlea", "1": "Clovis", "2": "Mix"},
        (
            "a83c470aaf611a5f5284377cce27a5fc9f6292bc3d110257b0fd4905ced5ee72",
            "5417dab42626d41df5e435bb22458c2df40dfad4bcd3b59559bbe72e20e84904",
        ),
    ),
}

CHANNELS = {"value": "standard deviations of the series"}
# Those of the default configuration; every prepared one names its own.
CLASS_NAMES = tuple(SERIES["gunpoint"].classes.values())
TITLE = "Time series of the UCR archive: GunPoint, ItalyPowerDemand and ArrowHead"
UNITS = (
    "sequence: float32, steps × 1, each series with mean 0 and standard deviation 1 (with n − 1 in its denominator), "
    "as the archive has them. gunpoint: 150 places of a hand's centre along x in a video of one movement, at even "
    "times; italy_power: 24 hours of a day's demand for electric power, the first after midnight; arrowhead: 251 "
    "numbers around the outline of a stone point, by angles. "
    "length: int32, the number of steps, the same for all of a configuration. "
    "label: gunpoint: 0 gun (drawn, aimed and put back), 1 point (with the finger); italy_power: 0 october to march, "
    "1 april to september; arrowhead: 0 Avonlea, 1 Clovis, 2 Mix. "
    "source: row of the archive's file, from 0, in that of train for train and validation; not an input."
)
LICENCE = (
    "The UCR archive offers the series freely and asks to be cited; it names no licence. Package aeon, which carries "
    "them: BSD 3-Clause."
)
CREDIT = "Series: UCR Time Series Classification Archive (Dau et al. 2019)"
SPLIT_SIZES = {
    "gunpoint": {"train": 40, "validation": 10, "test": 150},
    "italy_power": {"train": 53, "validation": 14, "test": 1029},
    "arrowhead": {"train": 30, "validation": 6, "test": 175},
}
PROPERTIES = {"source": "1"}
FEATURES = {
    "sequence": "(150, 1) float32 in gunpoint, (24, 1) in italy_power, (251, 1) in arrowhead: standard deviations",
    "length": "int32: 150, 24, 251",
    "label": "0, 1; arrowhead: 0, 1, 2",
    "source": "row of the archive's file; not an input",
}
SPLIT_POLICY = (
    "test is the archive's. 20 % of each class of the archive's training series, drawn with seed 0, are validation; to "
    "compare with published results, train on both in the end."
)
NOTES = (
    "Error of the nearest neighbour among the archive's training series on test: gunpoint 0.087 by Euclidean distance "
    "and 0.093 by dynamic time warping without limit; italy_power 0.045 and 0.050; arrowhead 0.200 and 0.297: what "
    "the archive publishes, found again with `zoo_experiments.verbs.dtw`. "
    "Small sets: one series of test is 0.7 % in gunpoint, 0.1 % in italy_power and 0.6 % in arrowhead, and validation "
    "can hardly tell two networks apart. gunpoint was acted by two people, and the files do not say by whom each. In "
    "arrowhead rows 138 and 143 of test are one series twice. In italy_power the files do not say which half of the "
    "year is which label: it is taken from the evening peak, in hour 19 in class 0 and in hour 21 in class 1."
)
CITATION = """\
@article{dau2019ucr,
  title   = {The {UCR} Time Series Archive},
  author  = {Dau, Hoang Anh and Bagnall, Anthony and Kamgar, Kaveh and Yeh, Chin-Chia Michael and Zhu, Yan and
             Gharghabi, Shaghayegh and Ratanamahatana, Chotirat Ann and Keogh, Eamonn},
  journal = {IEEE/CAA Journal of Automatica Sinica},
  volume  = {6},
  number  = {6},
  pages   = {1293--1305},
  year    = {2019},
  doi     = {10.1109/JAS.2019.1911747},
}"""


def read_series(path: Path, *, steps: int, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Series (N, steps) float64 and labels (N,) int64 of a .ts file of one channel and equal lengths.

    Below the line "@data" each line is a series: numbers with commas between them, a colon, the label.

    Args:
      path: the file.
      steps: that every series should have.
      classes: the labels as the file writes them; their places are the numbers returned.

    Raises:
      DataError: no such lines, numbers that are missing or too few, or an unknown label; the text names the series.
    """
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    data = [number for number, line in enumerate(lines) if line.lower() == "@data"]
    rows = [line for line in lines[data[0] + 1 :] if line] if data else []
    if not rows:
        raise DataError(f"{path}: expected series below a line @data, got {len(lines)} lines without any.")
    series, labels = np.empty((len(rows), steps)), np.empty(len(rows), np.int64)
    for row, line in enumerate(rows):
        values, _, label = line.rpartition(":")
        try:
            numbers = np.array([float(value) for value in values.split(",")])
        except ValueError as error:
            raise DataError(f"{path}, series {row}: expected numbers with commas between them ({error}).") from error
        if len(numbers) != steps or not np.isfinite(numbers).all():
            raise DataError(
                f"{path}, series {row}: expected {steps} finite numbers, got {np.isfinite(numbers).sum()} of "
                f"{len(numbers)}."
            )
        if label not in classes:
            raise DataError(f"{path}, series {row}: the label should be one of {', '.join(classes)}, got {label!r}.")
        series[row], labels[row] = numbers, classes.index(label)
    return series, labels


class Ucr(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder of "ucr": sequence (T, 1), label, source (row of the archive's file)."""

    name = "ucr"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "aeon 1.6.0."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [tfds.core.BuilderConfig(name=name) for name in SERIES]

    def _info(self) -> tfds.core.DatasetInfo:
        chosen = SERIES[self.builder_config.name]
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((TITLE, UNITS, SPLIT_POLICY, NOTES)),
            features=tfds.features.FeaturesDict(
                {
                    "sequence": simulation.tensor(chosen.steps, len(CHANNELS)),
                    "length": tfds.features.Scalar(np.int32),
                    "label": tfds.features.ClassLabel(names=list(chosen.classes.values())),
                    "source": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://www.cs.ucr.edu/~eamonn/time_series_data_2018/",
            license=LICENCE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Record]]]:
        chosen = SERIES[self.builder_config.name]
        parts = {
            part: read_series(
                fetch(file, cache=Path(dl_manager.download_dir)), steps=chosen.steps, classes=tuple(chosen.classes)
            )
            for part, file in chosen.files.items()
        }
        train, validation = stratified_split(parts["train"][1], seed=SPLIT_SEED, fractions=(VALIDATION_FRACTION,))
        return {
            "train": self._generate_examples(*parts["train"], train),
            "validation": self._generate_examples(*parts["train"], validation),
            "test": self._generate_examples(*parts["test"], np.arange(len(parts["test"][1]))),
        }

    def _generate_examples(
        self, series: np.ndarray, labels: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[int, Record]]:
        """Yield (row, record) for each of the rows."""
        for row in rows.tolist():
            yield (
                row,
                {
                    "sequence": series[row, :, None].astype(np.float32),
                    "length": np.int32(series.shape[1]),
                    "label": int(labels[row]),
                    "source": row,
                },
            )
