"""The user's own arrays and images as a data set: checked record by record, split where they are not split yet."""

from pathlib import Path

import numpy as np

from zoo_datasets.loading.readers import ALL, SPLIT_NAMES, Part, Raw, as_text, read
from zoo_datasets.loading.records import ArraySource, DataError, Dataset

# Fractions of the split that is made for data without one; the rest trains.
VALIDATION_FRACTION = 0.15
TEST_FRACTION = 0.15
# (N, C, H, W) is told from (N, H, W, C) by few channels beside two larger axes.
MOST_CHANNELS = 32


def load_arrays(path: str | Path, *, labels: bool = True, seed: int = 0) -> Dataset:
    """Read the user's own images, and labels, into memory.

    Formats: `.npz` and HDF5 with images under x, images, inputs or image and labels under y, labels or label, or with
    the splits x_train, y_train, x_validation (valid, val), …, and optionally class_names; there, numbers to be
    predicted go under targets, (N,), (N, D) or for each pixel (N, H, W, D), with optional target_names and
    target_units, and labels may be (N, H, W), a class for each pixel; FITS with an image cube and
    a table column of labels; a folder of PNG, JPEG or TIFF images in class folders, optionally below train, validation
    and test.

    Images (N, H, W) get a channel axis; (N, C, H, W) with C ≤ 32 < H, W is transposed to (N, H, W, C). Floats become
    float32; integer images keep their type and range. Labels are whole numbers from 0, or text, which is numbered in
    sorted order (in the order of class_names when given). Without splits of its own, the data are split 70/15/15,
    class by class. What was done is told in the description.

    Args:
      path: file or folder.
      labels: False leaves labels alone and gives one split, "all".
      seed: of the split that is made, 0 ≤ seed < 2⁶⁴.

    Returns:
      Splits "train", "validation" and "test" of {"image": (H, W, C), "label": int32 () or (H, W)}, or of {"image",
      "target": (D,) or (H, W, D) float32}; or "all" of {"image": (H, W, C)}.

    Raises:
      FileNotFoundError: no such path.
      DataError: names the file, the key or record, what was expected and what came.
    """
    path = Path(path)
    raw = read(path, labels=labels)
    notes = list(raw.notes)
    images = {split: _images(path, part, notes) for split, part in raw.parts.items()}
    shapes = {split: array.shape[1:] for split, array in images.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{path}: the splits should have images of one shape, got {shapes}.")
    if not labels:
        notes += [f"The splits {', '.join(images)} are read one after the other."] if ALL not in images else []
        whole = np.concatenate(list(images.values())) if len(images) > 1 else next(iter(images.values()))
        description = _describe(path, {ALL: whole}, notes)
        return Dataset(str(path), {ALL: ArraySource({"image": whole})}, None, description, _names(raw))
    if raw.targets:
        targets = {split: _targets(path, part, images[split].shape) for split, part in raw.parts.items()}
        arrays = {split: {"image": images[split], "target": targets[split]} for split in images}
        arrays = _with_all_splits(path, arrays, (), seed, notes)
        description = _describe(path, {split: fields["image"] for split, fields in arrays.items()}, notes)
        splits = {split: ArraySource(fields) for split, fields in arrays.items()}
        return Dataset(str(path), splits, None, description, targets=raw.targets)
    numbers, class_names = _labels(path, raw, images, notes)
    arrays = {split: {"image": images[split], "label": numbers[split]} for split in images}
    arrays = _with_all_splits(path, arrays, class_names, seed, notes)
    _require_classes(path, arrays["train"]["label"], class_names)
    description = _describe(path, {split: fields["image"] for split, fields in arrays.items()}, notes)
    splits = {split: ArraySource(fields) for split, fields in arrays.items()}
    return Dataset(str(path), splits, class_names, description)


def stratified_split(labels: np.ndarray, *, seed: int, fractions: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """Divide records class by class, so that every part has the classes in the same proportions.

    Args:
      labels: (N,) whole numbers.
      seed: 0 ≤ seed < 2⁶⁴.
      fractions: of the parts after the first; each gets at least one record of every class.

    Returns:
      Record numbers, ascending, of the first part (what the fractions leave) and of one part for each fraction. Each
      record is in exactly one.
    """
    parts: list[list[np.ndarray]] = [[] for _ in range(len(fractions) + 1)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        # Raw draws keyed by (seed, class): NumPy keeps them the same for ever, unlike its `permutation`.
        draws = np.random.Philox(key=np.array([seed, label], np.uint64)).random_raw(len(members))
        members = members[np.argsort(draws, kind="stable")]
        taken = 0
        for part, fraction in enumerate(fractions, start=1):
            size = max(1, round(fraction * len(members)))
            parts[part].append(members[taken : taken + size])
            taken += size
        parts[0].append(members[taken:])
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def _images(path: Path, part: Part, notes: list[str]) -> np.ndarray:
    """A part's images as (N, H, W, C), native byte order, finite."""
    array, where = np.asarray(part.inputs), f"{path}, {part.where}"
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where}: images should be numbers, got {array.dtype}. Save them as one array of one size.")
    if array.ndim not in (3, 4):
        raise DataError(f"{where}: images should be (N, H, W) or (N, H, W, C), got the shape {array.shape}.")
    if 0 in array.shape:
        raise DataError(f"{where}: expected at least one image, got the shape {array.shape}.")
    if array.ndim == 3:
        array = array[..., None]
    elif array.shape[1] <= MOST_CHANNELS < min(array.shape[2:]):
        _note(notes, f"Taken as (N, C, H, W) = {array.shape[1:]} and transposed to (H, W, C).")
        array = array.transpose(0, 2, 3, 1)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is found below
            array = array.astype(np.float32)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))
        if len(bad):
            raise DataError(
                f"{where}, record {_record(part, bad[0])}: pixels should be finite (as float32), got NaN or Inf in "
                f"{len(bad)} record(s). Mask or replace them."
            )
    return array


def _targets(path: Path, part: Part, images: tuple[int, ...]) -> np.ndarray:
    """Numbers to be predicted as (N, D), or as (N, H, W, D) where each pixel of (N, H, W, C) has some; float32."""
    values, expected = np.asarray(part.labels), images[0]
    dense = values.ndim == 4 and values.shape[:3] == images[:3]
    if values.dtype.kind not in "iuf" or not (dense or values.ndim in (1, 2)) or len(values) != expected:
        raise DataError(
            f"{path}: targets of {part.where} should be numbers ({expected},) or ({expected}, D), or "
            f"(*{images[:3]}, D) with D for each pixel; got {values.dtype} {values.shape}."
        )
    values = (values if dense else values.reshape(expected, -1)).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).reshape(expected, -1).all(1))
    if len(bad):
        raise DataError(
            f"{path}, record {_record(part, bad[0])} of {part.where}: targets should be finite, got NaN or Inf in "
            f"{len(bad)} record(s). Leave these records out."
        )
    return values


def _labels(
    path: Path, raw: Raw, images: dict[str, np.ndarray], notes: list[str]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Labels of every split as (N,) or, one for each pixel, (N, H, W) int32, and the names of the classes."""
    flat = {split: _shaped_labels(path, part, images[split].shape) for split, part in raw.parts.items()}
    if len({values.ndim for values in flat.values()}) > 1:
        raise DataError(f"{path}: some splits have labels of images and others of pixels, expected one kind.")
    text = {split: values.dtype.kind in "US" for split, values in flat.items()}
    if any(text.values()):
        if not all(text.values()):
            raise DataError(f"{path}: the labels are text in some splits and numbers in others, expected one kind.")
        texts = {split: as_text(values) for split, values in flat.items()}
        class_names = raw.class_names or tuple(sorted({str(name) for values in texts.values() for name in values}))
        _note(notes, "Text labels are numbered in the order of the class names.")
        return {split: _numbered(path, values, class_names) for split, values in texts.items()}, class_names
    numbers = {split: _whole(path, raw.parts[split], values) for split, values in flat.items()}
    count = len(raw.class_names) if raw.class_names else 1 + max(int(values.max()) for values in numbers.values())
    for split, values in numbers.items():
        outside = ((values < 0) | (values >= count)).reshape(len(values), -1)
        wrong = np.flatnonzero(outside.any(1))
        if len(wrong):
            first = values.reshape(len(values), -1)[wrong[0]][outside[wrong[0]]][0]
            raise DataError(
                f"{path}, record {_record(raw.parts[split], wrong[0])} of {raw.parts[split].where}: label should be in "
                f"0 … {count - 1}, got {first} ({len(wrong)} record(s)). Number the classes from 0."
            )
    class_names = raw.class_names or tuple(str(number) for number in range(count))
    return {split: values.astype(np.int32) for split, values in numbers.items()}, class_names


def _shaped_labels(path: Path, part: Part, images: tuple[int, ...]) -> np.ndarray:
    """Labels as (N,), or as (N, H, W) where every pixel of the images (N, H, W, C) has one."""
    labels, expected = np.asarray(part.labels), images[0]
    if labels.dtype.kind not in "biufUS":
        raise DataError(f"{path}: labels should be whole numbers or text, got {labels.dtype}.")
    if len(labels.shape) == 0 or len(labels) != expected:
        raise DataError(
            f"{path}: {part.where} has {expected} images, and its labels have the shape {labels.shape}: expected one "
            "label for each image, in the same order."
        )
    if labels.shape == images[:-1] and labels.dtype.kind in "biuf":
        return labels
    if labels.size != expected:
        raise DataError(
            f"{path}: the labels of {part.where} should have the shape ({expected},), or {images[:-1]} with one for "
            f"each pixel; got {labels.shape}. Turn one-hot labels into numbers with argmax(axis=1)."
        )
    return labels.reshape(expected)


def _numbered(path: Path, texts: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    number_of = {name: number for number, name in enumerate(class_names)}
    for record, name in enumerate(texts):
        if str(name) not in number_of:
            raise DataError(f"{path}, record {record}: label should be one of {', '.join(class_names)}, got '{name}'.")
    return np.array([number_of[str(name)] for name in texts], np.int32)


def _whole(path: Path, part: Part, labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind == "f":
        broken = (~np.isfinite(labels) | (labels != np.round(labels))).reshape(len(labels), -1)
        wrong = np.flatnonzero(broken.any(1))
        if len(wrong):
            first = labels.reshape(len(labels), -1)[wrong[0]][broken[wrong[0]]][0]
            raise DataError(
                f"{path}, record {_record(part, wrong[0])} of {part.where}: labels should be whole numbers, "
                f"got {first}."
            )
    return labels.astype(np.int64)


def _with_all_splits(
    path: Path, arrays: dict[str, dict[str, np.ndarray]], class_names: tuple[str, ...], seed: int, notes: list[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Add the splits that are missing: all three, or the validation split alone."""
    if ALL in arrays:
        source, fractions = ALL, (VALIDATION_FRACTION, TEST_FRACTION)
        made = ("train", "validation", "test")
        notes.append(f"Split 70/15/15 into train, validation and test, class by class, with seed {seed}.")
    elif "train" not in arrays:
        raise DataError(f"{path} has the splits {', '.join(arrays)}: expected a train split beside them.")
    elif "validation" not in arrays:
        source, fractions, made = "train", (VALIDATION_FRACTION,), ("train", "validation")
        notes.append(f"15 % of the train split, class by class, with seed {seed}, became the validation split.")
    else:
        notes.append("The splits are the file's own.")
        return arrays
    if arrays[source].get("label", np.zeros((0, 0))).ndim == 1:
        labels = arrays[source]["label"]
        _require_classes(path, labels, class_names, least=len(made))
    else:
        # Neither numbers nor images of several classes have classes to keep in proportion.
        labels = np.zeros(len(arrays[source]["image"]), np.int64)
        if len(labels) < len(made):
            raise DataError(f"{path}: expected at least {len(made)} records to split, got {len(labels)}.")
        notes[-1] = notes[-1].replace(", class by class,", "")
    parts = zip(made, stratified_split(labels, seed=seed, fractions=fractions), strict=True)
    divided = {split: {name: values[chosen] for name, values in arrays[source].items()} for split, chosen in parts}
    complete = {**{split: fields for split, fields in arrays.items() if split != source}, **divided}
    return {split: complete[split] for split in SPLIT_NAMES if split in complete}


def _require_classes(path: Path, labels: np.ndarray, class_names: tuple[str, ...], least: int = 1) -> None:
    counts = np.bincount(labels.ravel(), minlength=len(class_names))
    if labels.ndim > 1 and (absent := np.flatnonzero(counts == 0)).size:
        raise DataError(
            f"{path}: every class should have pixels to train on, got none of label {class_names[absent[0]]} "
            f"({absent.size} of {len(class_names)} classes). Numbers of instances are no classes: save labels > 0."
        )
    few = [f"{class_names[number]} {counts[number]}" for number in np.flatnonzero(counts < least)]
    if few:
        raise DataError(
            f"{path}: every class should have at least {least} record(s) to train on, got {', '.join(few)}. "
            "Add records, merge classes, or number the classes without gaps."
        )
    if len(class_names) < 2:
        raise DataError(f"{path}: expected at least 2 classes, got 1 ({class_names[0]}).")


def _describe(path: Path, images: dict[str, np.ndarray], notes: list[str]) -> str:
    sizes = ", ".join(f"{split} {len(array)}" for split, array in images.items())
    first = next(iter(images.values()))
    return " ".join([f"{path}: images {first.shape[1:]} of {first.dtype}; {sizes}.", *notes])


def _record(part: Part, number: int) -> str:
    return f"{number} ({part.names[number]})" if part.names else str(number)


def _names(raw: Raw) -> dict[str, tuple[str, ...]] | None:
    names = raw.parts[ALL].names if ALL in raw.parts else None
    return {ALL: names} if names else None


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
