"""Named arrays of one .npz file, for data sets whose files hold a table and not images."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoo_datasets.loading.records import DataError


def read_columns(path: Path, needed: Sequence[str], *, page: str) -> dict[str, np.ndarray]:
    """The file's arrays by name, all that are needed; nothing in it is unpickled.

    Args:
      path: the file.
      needed: names of the arrays.
      page: where the file comes from, for the error's text.

    Raises:
      DataError: the file cannot be read, or an array is missing.
    """
    try:
        # Asked first: NumPy leaves a damaged file open, and takes one without the zip's mark for a pickle.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("no zip archive")
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in needed if name not in archive.files]
            if missing:
                raise DataError(
                    f"{path} should have the arrays {', '.join(needed)}, got {', '.join(archive.files) or 'none'}: "
                    f"{missing[0]} is missing. Make the file from {page}."
                )
            return {name: archive[name] for name in needed}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): truncated, damaged or of another format.") from error
