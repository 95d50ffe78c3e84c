"""Readers of the user's own files: each turns one format into named parts of images and labels, as the file has them.

Checks that belong to a format (keys, truncated files, object arrays) are made here; those that belong to the data
(lengths, labels, NaN) in `arrays`.
"""

import lzma
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo_datasets.loading.records import DataError

INPUT_NAMES = ("x", "images", "inputs", "image")
LABEL_NAMES = ("y", "labels", "label")
TARGET_NAMES = ("targets",)
SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
ALL = "all"


@dataclass
class Part:
    """One split as the file has it.

    Attributes:
      inputs: array (N, …) of images.
      labels: (N, …) labels, or numbers to be predicted, of any type, or None.
      where: what the inputs are called in the file, for errors.
      names: name of each record (file names), or None.
    """

    inputs: np.ndarray
    labels: np.ndarray | None
    where: str
    names: tuple[str, ...] | None = None


@dataclass
class Raw:
    """What a file holds.

    Attributes:
      parts: split name → part, or one part called "all" when the file has no splits.
      class_names: names of the classes, where the file has them.
      targets: name of each number to be predicted → its unit, where the labels are such numbers.
      notes: what was done on the way.
    """

    parts: dict[str, Part]
    class_names: tuple[str, ...] | None = None
    targets: dict[str, str] | None = None
    notes: list[str] = field(default_factory=list)


def read(path: Path, *, labels: bool) -> Raw:
    """Read a `.npz`, HDF5 or FITS file or a folder of images.

    Raises:
      FileNotFoundError: nothing there.
      DataError: a format that is not known, or a file that cannot be read or lacks what is needed.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {path}. Check the path; the current folder is {Path.cwd()}.")
    if path.is_dir():
        return read_folder(path, labels=labels)
    name = path.name.lower().removesuffix(".gz")
    for suffixes, reader in (
        ((".npz",), read_npz),
        ((".h5", ".hdf5"), read_hdf5),
        ((".fits", ".fit", ".fts", ".fits.fz"), read_fits),
    ):
        if name.endswith(suffixes):
            return reader(path, labels=labels)
    raise DataError(
        f"{path} has a format that is not known: expected .npz, .h5, .hdf5, .fits or a folder of images, "
        f"got '{path.suffix}'. Save the arrays with numpy.savez(path, x=images, y=labels)."
    )


def read_npz(path: Path, *, labels: bool) -> Raw:
    """Arrays of a NumPy archive; nothing in it is unpickled."""
    try:
        # Asked first: NumPy leaves a damaged file open, and takes one without the zip's mark for a pickle.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("no zip archive")
        with np.load(path, allow_pickle=False) as archive:
            return _from_keys(path, {key: _npz_member(archive, key) for key in archive.files}, labels=labels)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        if "Object arrays" in str(error):
            raise DataError(
                f"{path} holds an array of Python objects, expected arrays of numbers or text. Save images of one size "
                f"as one array and text with dtype=str. ({error})"
            ) from error
        raise _unreadable(path, error) from error


def _npz_member(archive: Mapping[str, np.ndarray], key: str) -> Callable[[], np.ndarray]:
    return lambda: archive[key]


def read_hdf5(path: Path, *, labels: bool) -> Raw:
    """Data sets at the root of an HDF5 file."""
    import h5py

    def member(dataset: h5py.Dataset) -> Callable[[], np.ndarray]:
        text = h5py.check_string_dtype(dataset.dtype)
        return lambda: np.asarray(dataset.asstr()[()]).astype(str) if text else dataset[()]

    try:
        with h5py.File(path, "r") as file:
            keys: dict[str, Callable[[], np.ndarray]] = {}

            def visit(key: str, item: h5py.Group | h5py.Dataset) -> None:
                # Data sets inside groups go by their path: they are not found by name, and are named in messages.
                if isinstance(item, h5py.Dataset):
                    keys[key] = member(item)

            file.visititems(visit)
            return _from_keys(path, keys, labels=labels)
    except OSError as error:
        raise _unreadable(path, error) from error


def _from_keys(path: Path, keys: Mapping[str, Callable[[], np.ndarray]], *, labels: bool) -> Raw:
    """Parts from a mapping of names to arrays that are read on demand."""

    def find(names: tuple[str, ...], suffix: str = "") -> str | None:
        found = [name + suffix for name in names if name + suffix in keys]
        if len(found) > 1:
            raise DataError(f"{path} has {' and '.join(found)}: expected one of them, remove or rename the other.")
        return found[0] if found else None

    kinds = set()

    def part(input_key: str, suffix: str) -> Part:
        label_key = find((*LABEL_NAMES, *TARGET_NAMES), suffix) if labels else None
        if labels and label_key is None:
            raise DataError(
                f"{path} has inputs '{input_key}' without labels: expected one of "
                f"{_listed(name + suffix for name in LABEL_NAMES)}, or {TARGET_NAMES[0]}{suffix} for numbers to be "
                f"predicted, got the keys {_listed(keys)}."
            )
        kinds.add(label_key is not None and label_key.removesuffix(suffix) in TARGET_NAMES)
        return Part(keys[input_key](), keys[label_key]() if label_key else None, input_key)

    parts: dict[str, Part] = {}
    for split, suffixes in SPLIT_NAMES.items():
        for suffix in suffixes:
            if (key := find(INPUT_NAMES, f"_{suffix}")) is not None:
                if split in parts:
                    raise DataError(f"{path} has two {split} splits, {parts[split].where} and {key}: keep one.")
                parts[split] = part(key, f"_{suffix}")
    whole = find(INPUT_NAMES)
    if whole and parts:
        raise DataError(f"{path} has {whole} and also {parts[next(iter(parts))].where}: expected one or the other.")
    if whole:
        parts = {ALL: part(whole, "")}
    if not parts:
        raise DataError(
            f"{path} holds no inputs: expected an array called one of {_listed(INPUT_NAMES)} "
            f"(or x_train, x_validation, x_test), got the keys {_listed(keys)}."
        )
    if len(kinds) > 1:
        raise DataError(f"{path} has labels in some splits and targets in others, expected one kind.")
    raw = Raw(parts)
    if kinds == {True}:
        raw.targets = _target_names(path, keys, next(iter(parts.values())).labels)
    elif "class_names" in keys:
        raw.class_names = tuple(str(name) for name in as_text(keys["class_names"]()))
    return raw


def _target_names(path: Path, keys: Mapping[str, Callable[[], np.ndarray]], values: np.ndarray) -> dict[str, str]:
    """Name → unit of each target, from `target_names` and `target_units` where the file has them."""
    count = values.shape[-1] if np.ndim(values) in (2, 4) else 1
    default = ["target"] if count == 1 else [f"target {i}" for i in range(count)]
    found = {"target_names": default, "target_units": [""] * count}
    for key in found:
        if key in keys:
            found[key] = [str(name) for name in as_text(np.atleast_1d(keys[key]()))]
        if len(found[key]) != count or (key == "target_names" and len(set(found[key])) != count):
            raise DataError(
                f"{path}: {key} should have {count} entries, one per target and no name twice, got {found[key]}."
            )
    return dict(zip(found["target_names"], found["target_units"], strict=True))


def read_fits(path: Path, *, labels: bool) -> Raw:
    """The image cube of a FITS file, or its images of one size, one an HDU; labels from its first binary table."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with warnings.catch_warnings():
            # A truncated file is only warned about, and read with rubbish at its end.
            warnings.filterwarnings("error", "File may have been truncated", AstropyUserWarning)
            with fits.open(path, memmap=False) as units:
                images = [(i, unit.data) for i, unit in enumerate(units) if unit.is_image and unit.data is not None]
                tables = [unit.data for unit in units if isinstance(unit, fits.BinTableHDU) and not unit.is_image]
                contents = [f"{i} {unit.name or 'PRIMARY'} ({type(unit).__name__})" for i, unit in enumerate(units)]
    except (OSError, TypeError, ValueError, EOFError, AstropyUserWarning) as error:
        raise _unreadable(path, error) from error
    if not images:
        raise DataError(f"{path} holds no inputs: expected an image cube (N, …, H, W), got {_listed(contents)}.")
    number, cube = images[0]
    raw = Raw({ALL: Part(cube, None, f"HDU {number}")})
    if cube.ndim == 2:
        for other, image in images[1:]:
            if image.shape != cube.shape:
                raise DataError(
                    f"{path}: images of one size were expected, got {cube.shape} in HDU {number} and {image.shape} in "
                    f"HDU {other} ({len(images)} image HDUs). Cut or pad them to one size first."
                )
        raw.parts[ALL].inputs = np.stack([image for _, image in images])
        raw.notes.append(f"{len(images)} image HDU(s), each taken as one image.")
    elif len(images) > 1:
        raw.notes.append(f"Of {len(images)} image HDUs only HDU {number} was read.")
    if labels:
        if not tables:
            raise DataError(
                f"{path} holds no labels: expected a binary table with a column called one of {_listed(LABEL_NAMES)}, "
                f"got {_listed(contents)}."
            )
        raw.parts[ALL].labels = _fits_labels(path, tables[0])
    return raw


def _fits_labels(path: Path, table: Any) -> np.ndarray:
    columns = list(table.names)
    named = [column for column in columns if column.lower() in LABEL_NAMES] or (columns if len(columns) == 1 else [])
    if len(named) != 1:
        raise DataError(
            f"{path}: the first binary table should have one column called one of {_listed(LABEL_NAMES)}, "
            f"got the columns {_listed(columns)}."
        )
    return np.asarray(table[named[0]])


def read_folder(path: Path, *, labels: bool) -> Raw:
    """Images below a folder: `CLASS/image`, `SPLIT/CLASS/image`, or, without labels, anywhere."""
    if not labels:
        return Raw({ALL: _read_images(path, _images_below(path))})
    splits = {
        split: path / name
        for split, names in SPLIT_NAMES.items()
        for name in names
        if (path / name).is_dir() and _folders(path / name)
    }
    roots = splits or {ALL: path}
    class_names = tuple(sorted({folder.name for root in roots.values() for folder in _folders(root)}))
    if not class_names:
        raise DataError(
            f"{path} has no class folders: expected CLASS/image.png or train/CLASS/image.png below it, "
            f"got {_listed(sorted(p.name for p in path.iterdir())[:5])}. "
            "Images without labels can be predicted on, but not trained on."
        )
    parts = {}
    for split, root in roots.items():
        files = {folder.name: _images_below(folder) for folder in _folders(root)}
        part = _read_images(path, [file for group in files.values() for file in group])
        part.labels = np.array([name for name, group in files.items() for _ in group])
        parts[split] = part
    return Raw(parts, class_names)


def _read_images(root: Path, files: list[Path]) -> Part:
    first = read_image(files[0])
    images = np.empty((len(files), *first.shape), first.dtype)
    for number, file in enumerate(files):
        image = first if number == 0 else read_image(file)
        if image.shape != first.shape or image.dtype != first.dtype:
            raise DataError(
                f"the images should have one size and type: {files[0]} is {_size(first)}, {file} is {_size(image)}. "
                "Crop or resize them to one size first."
            )
        images[number] = image
    return Part(images, None, str(root), tuple(str(file.relative_to(root)) for file in files))


def read_image(file: Path) -> np.ndarray:
    """One PNG, JPEG or TIFF image, (H, W, C); palettes and CMYK become RGB, other modes are kept."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"{file} holds {image.n_frames} images, expected one. Save them as single files.")
            convert = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "PA": "RGBA"}
            array = np.asarray(image.convert(convert[image.mode]) if image.mode in convert else image)
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's own errors are among these
        raise _unreadable(file, error) from error
    return array[..., None] if array.ndim == 2 else array


def _images_below(folder: Path) -> list[Path]:
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    )
    if not files:
        raise DataError(
            f"{folder} holds no images: expected at least one of *{', *'.join(IMAGE_SUFFIXES)}, "
            f"got {_listed(sorted(p.name for p in folder.iterdir())[:5])}."
        )
    return files


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def as_text(values: np.ndarray) -> np.ndarray:
    """Byte or text array (…) as text without the padding that FITS and HDF5 add."""
    values = np.asarray(values)
    return np.char.strip(np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values.astype(str))


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read ({error}): truncated, damaged or of another format. Save it again.")


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} × {image.shape[0]} pixels with {image.shape[2]} channel(s) of {image.dtype}"


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
