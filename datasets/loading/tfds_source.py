"""Prepared TFDS folders as sources of records, without TensorFlow and without the code that prepared them."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from zoo_datasets.loading.records import DataError, Record


class TfdsSource:
    """One split of a folder that TFDS wrote as array_record. Opened on first use; pickled as its address.

    Args:
      directory: the folder of one version, which holds `dataset_info.json`.
      split: name of the split.
      fields: fields of the records to hand out; all when None.
    """

    def __init__(self, directory: str | Path, split: str, fields: tuple[str, ...] | None = None) -> None:
        self.directory = str(directory)
        self.split = split
        self.fields = fields
        self._opened: Any = None

    def __len__(self) -> int:
        return len(self._open())

    def __getitem__(self, index: int) -> Record:
        opened = self._open()
        if not 0 <= index < len(opened):
            raise IndexError(f"record should be in 0 … {len(opened) - 1}, got {index}.")
        try:
            record = opened[index]
        except (RuntimeError, OSError, ValueError) as error:  # of array_record, with its checksums, or of the decoder
            raise DataError(
                f"record {index} of {self.directory} ({self.split}) cannot be read ({error}): the files are damaged. "
                "Delete the folder and prepare it again."
            ) from error
        return record if self.fields is None else {name: record[name] for name in self.fields}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __repr__(self) -> str:
        return f"TfdsSource({self.directory!r}, {self.split!r}, fields={self.fields})"

    def _open(self) -> Any:
        if self._opened is None:
            self._opened = open_builder(self.directory).as_data_source(self.split)
        return self._opened


def open_builder(directory: str | Path) -> Any:
    """The `tfds.core.DatasetBuilder` of a prepared folder, whose shards are all there.

    Raises:
      DataError: no such folder, prepared in a format without random access, or with files missing.
    """
    # Imported here: whoever reads their own arrays does not need it.
    import tensorflow_datasets as tfds

    directory = Path(directory)
    information = directory / "dataset_info.json"
    if not information.is_file():
        raise DataError(
            f"{directory} is not a prepared data set: expected {information}. Delete the folder and prepare it again."
        )
    formats = json.loads(information.read_text())
    formats = {formats.get("fileFormat", "tfrecord"), *formats.get("alternativeFileFormats", [])}
    if "array_record" not in formats:
        raise DataError(
            f"{directory} is prepared as {', '.join(sorted(formats))}, expected array_record, which can be read in any "
            "order. Prepare it again in another folder: "
            f"tfds build {directory.parent.name} --file_format=array_record --data_dir=FOLDER"
        )
    _quieten()
    builder = tfds.builder_from_directory(directory, file_format="array_record")
    for split in builder.info.splits.values():
        missing = [path for path in split.filepaths if not Path(path).is_file()]
        if missing:
            raise DataError(
                f"{directory} is incomplete: {missing[0]} is missing. Delete the folder and prepare it again."
            )
    return builder


def read_labels(directory: str | Path, split: str) -> np.ndarray:
    """Labels (N,) int64 of a split of a prepared folder; its images are not decoded."""
    builder = open_builder(directory)
    import tensorflow_datasets as tfds

    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    return np.array([source[i]["label"] for i in range(len(source))], np.int64)


def find_prepared(name: str, roots: list[Path]) -> Path | None:
    """Folder of the newest prepared version of `name` or `name/config` below the first root that has one."""
    for root in roots:
        found = [path.parent for path in (root / name).glob("**/dataset_info.json")]
        found = [folder for folder in found if not folder.name.startswith("incomplete.")]
        if found:
            return max(found, key=_version)
    return None


def _version(directory: Path) -> tuple[int, ...]:
    parts = directory.name.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


class _NoAdvert(logging.Filter):
    """Drops TFDS's advice to install OpenCV, which Pillow's users would read once for each worker."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep the record."""
        return "OpenCV is not installed" not in record.getMessage()


_NO_ADVERT = _NoAdvert()


def _quieten() -> None:
    logging.getLogger("absl").addFilter(_NO_ADVERT)
