"""What all simulated data sets share: seeds, configurations, and a TFDS builder around a function of a generator.

A record is a function of (data set, setting of the simulator, split, number) alone. The configurations "tiny",
"default" and "full" are one setting cut off after different numbers of records, so that "full" begins with the records
of "default" and a network trained on one may be tested on another: the splits have nothing in common in any of them.
"""

import abc
import importlib
import sys
import zlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets.loading.sources import SourceError

LICENCE = "Simulated by this package, which is Apache-2.0; free for any use."
# Cut off, but the same simulator: their records begin like those of "default".
_SIZES_ONLY = ("tiny", "default", "full")

Record = dict[str, Any]


def setting_of(config: str) -> str:
    """The simulator's setting behind a configuration: "default" for tiny, default and full, else its own name."""
    return "default" if config in _SIZES_ONLY else config


def generator(name: str, setting: str, split: str, number: int) -> np.random.Generator:
    """The generator of one record, independent of every other record's.

    Args:
      name: of the data set.
      setting: of the simulator, see `setting_of`.
      split: its name.
      number: of the record in the split, from 0.
    """
    place = zlib.crc32(f"{name}/{setting}/{split}".encode())
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([place, number])))


def extra(module: str, group: str) -> ModuleType:
    """A module of an optional dependency.

    Args:
      module: its name.
      group: the extra of this package that installs it.

    Raises:
      SourceError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SourceError(
            f"this data set needs {module}, which is not installed. "
            f"Install it with: pip install 'symmetry-zoo[{group}]'"
        ) from error


def tensor(*shape: int, dtype: type = np.float32) -> tfds.features.Tensor:
    """A feature of fixed shape, stored as bytes: ten times faster to write than TFDS's list of numbers.

    Whole numbers of pixels, of which most are those of their neighbours, are compressed.
    """
    encoding = tfds.features.Encoding
    dense = len(shape) > 1 and np.issubdtype(dtype, np.integer)
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=encoding.ZLIB if dense else encoding.BYTES)


def scalar() -> tfds.features.Scalar:
    """A float32 feature of one number."""
    return tfds.features.Scalar(dtype=np.float32)


class SimulatedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder whose records come from `simulate`; a subclass has a name, a version and two methods.

    The rest is said once, by the module that the subclass stands in: `SPLIT_SIZES` (configuration → split → number of
    records, the first configuration the default), the texts `TITLE`, `UNITS`, `SPLIT_POLICY`, `NOTES` and `CITATION`.
    """

    _module: ClassVar[ModuleType]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._module = sys.modules[cls.__module__]
        cls.BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in cls._module.SPLIT_SIZES]

    @abc.abstractmethod
    def fields(self) -> dict[str, Any]:
        """Field → TFDS feature."""

    @abc.abstractmethod
    def simulate(self, random: np.random.Generator, number: int, setting: str) -> Record:
        """Record `number` of a split: a function of its arguments."""

    def record(self, split: str, number: int) -> Record:
        """Record `number` of a split in this configuration, computed and not read."""
        setting = setting_of(self.builder_config.name)
        return self.simulate(generator(self.name, setting, split, number), number, setting)

    def _info(self) -> tfds.core.DatasetInfo:
        about = self._module
        return tfds.core.DatasetInfo(
            builder=self,
            description="\n".join((about.TITLE, about.UNITS, about.SPLIT_POLICY, about.NOTES)),
            features=tfds.features.FeaturesDict(self.fields()),
            license=LICENCE,
            citation=about.CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Record]]]:
        sizes = self._module.SPLIT_SIZES[self.builder_config.name]
        return {split: self._generate_examples(split, size) for split, size in sizes.items()}

    def _generate_examples(self, split: str, size: int) -> Iterator[tuple[int, Record]]:
        """Yield (number, record)."""
        for number in range(size):
            yield number, self.record(split, number)
