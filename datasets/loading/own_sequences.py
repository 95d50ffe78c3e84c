"""The user's own sequences: series of unequal lengths in a .npz file, or a text."""

import zipfile
from pathlib import Path

import numpy as np

from zoo_datasets.loading.arrays import TEST_FRACTION, VALIDATION_FRACTION, stratified_split
from zoo_datasets.loading.buckets import require_sequences
from zoo_datasets.loading.records import ArraySource, DataError, Dataset

SPLITS = ("train", "validation", "test")
_KEY = "sequences"


def holds_sequences(path: Path) -> bool:
    """Whether a path is a text file, or a .npz file with sequences."""
    if path.suffix == ".txt":
        return True
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        # Opened here: of a broken archive NumPy would leave the file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return _KEY in archive.files
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError):
        # Whatever is wrong with the file, the reader of images says it.
        return False


def load_sequences(path: str | Path, *, labels: bool = True, seed: int = 0) -> Dataset:
    """Read sequences into memory.

    A .npz file holds `sequences` (N, T, C) or (N, T), numbers; with unequal lengths `lengths` (N,), 1 … T; with times
    `times` (N, T), ascending; and `labels`, whole numbers from 0 or texts (N,), or (N, T) with a class for each step,
    or `targets` (N, D) or (N, T, D). `class_names`, `target_names` and `channel_names` may name them. The records
    are split 70/15/15, class by class where a sequence has a class. A text (UTF-8) becomes windows of 128 characters
    with the next character as the label of each, split into blocks.

    Args:
      path: the file.
      labels: False leaves truth alone and gives one split, "all".
      seed: of the split that is made.

    Raises:
      FileNotFoundError: no such file.
      DataError: names the file, the key or record, what was expected and what came.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: expected a .txt or .npz file.")
    return _text(path, labels=labels) if path.suffix == ".txt" else _arrays(path, labels=labels, seed=seed)


def _text(path: Path, *, labels: bool) -> Dataset:
    # The module is a TFDS builder too, which takes long to import.
    from zoo_datasets.text import read_text, windows

    try:
        cut = windows(read_text(path))
    except DataError as error:
        raise DataError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    splits = {split: ArraySource(arrays) for split, arrays in cut.splits.items()}
    if not labels:
        kept = [{name: values for name, values in cut.splits[s].items() if name != "label"} for s in SPLITS]
        splits = {"all": ArraySource({name: np.concatenate([part[name] for part in kept]) for name in kept[0]})}
    note = f"{path}: windows of characters, {', '.join(f'{s} {len(source)}' for s, source in splits.items())}."
    names = cut.vocabulary if labels else None
    return Dataset(str(path), splits, names, note, vocabulary=cut.vocabulary)


def _arrays(path: Path, *, labels: bool, seed: int) -> Dataset:
    with np.load(path, allow_pickle=False) as archive:
        there = {name: archive[name] for name in archive.files}
    values = there[_KEY]
    if values.dtype.kind not in "biuf" or values.ndim not in (2, 3):
        raise DataError(f"{path}: sequences should be numbers (N, T, C) or (N, T), got {values.dtype} {values.shape}.")
    values = values[..., None] if values.ndim == 2 else values
    count, steps, channels = values.shape
    if not count:
        raise DataError(f"{path}: expected at least one sequence, got the shape {values.shape}.")
    arrays = {"sequence": values.astype(np.float32), "length": there.get("lengths", np.full(count, steps, np.int32))}
    if "times" in there:
        arrays["times"] = there["times"].astype(np.float32)
    for name, values in arrays.items():
        if len(values) != count or (name == "times" and values.shape != (count, steps)):
            raise DataError(
                f"{path}: {name} should belong to sequences {(count, steps, channels)}, got {values.shape}."
            )
    require_sequences(str(path), arrays)
    arrays["length"] = arrays["length"].astype(np.int32)
    _require_finite(path, arrays)
    named = _names(path, there, "channel_names", channels) or tuple(f"channel {c}" for c in range(channels))
    known = {"channels": dict.fromkeys(named, "")}
    if not labels:
        return Dataset(str(path), {"all": ArraySource(arrays)}, None, _told(path, arrays, ""), **known)
    class_names = None
    if "targets" in there:
        arrays["target"] = _targets(path, there["targets"], count, steps)
        width = arrays["target"].shape[-1]
        names = _names(path, there, "target_names", width) or tuple(f"target {d}" for d in range(width))
        known["targets"] = dict.fromkeys(names, "")
    elif "labels" in there:
        arrays["label"], class_names = _labels(path, there, count, steps)
    else:
        raise DataError(f"{path}: expected labels or targets beside the sequences; got {', '.join(sorted(there))}.")
    strata = arrays.get("label", np.zeros(count, int))
    strata = strata if strata.ndim == 1 else np.zeros(count, int)
    smallest = np.unique(strata, return_counts=True)[1].min()
    if smallest < len(SPLITS):
        raise DataError(f"{path}: every class needs {len(SPLITS)} sequences at least, one a split; one has {smallest}.")
    parts = stratified_split(strata, seed=seed, fractions=(VALIDATION_FRACTION, TEST_FRACTION))
    splits = {
        split: ArraySource({name: values[part] for name, values in arrays.items()})
        for split, part in zip(SPLITS, parts, strict=True)
    }
    told = _told(path, arrays, f" Split 70/15/15 with seed {seed}.")
    return Dataset(str(path), splits, class_names, told, **known)


def _targets(path: Path, targets: np.ndarray, count: int, steps: int) -> np.ndarray:
    targets = targets[:, None] if targets.ndim == 1 else targets
    if len(targets) != count or targets.ndim not in (2, 3) or (targets.ndim == 3 and targets.shape[1] != steps):
        raise DataError(
            f"{path}: targets should have the shape ({count}, D), or ({count}, {steps}, D) for each step; got "
            f"{targets.shape}."
        )
    if targets.dtype.kind not in "biuf" or not np.isfinite(targets).all():
        raise DataError(f"{path}: targets should be finite numbers.")
    return targets.astype(np.float32)


def _labels(path: Path, there: dict[str, np.ndarray], count: int, steps: int) -> tuple[np.ndarray, tuple[str, ...]]:
    labels = there["labels"]
    if labels.shape not in ((count,), (count, steps)):
        raise DataError(
            f"{path}: labels should have the shape ({count},), or ({count}, {steps}) for each step; got {labels.shape}."
        )
    if labels.dtype.kind in "US":
        found, labels = np.unique(labels.astype(str), return_inverse=True)
        return labels.reshape(there["labels"].shape).astype(np.int32), tuple(found.tolist())
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DataError(
            f"{path}: labels should be texts or whole numbers from 0, got {labels.dtype}, least {labels.min()}."
        )
    classes = int(labels.max()) + 1
    names = _names(path, there, "class_names", None) or tuple(str(k) for k in range(classes))
    if len(names) < max(classes, 2):
        raise DataError(f"{path}: labels reach {classes - 1}, for which {len(names)} class names are too few.")
    return labels.astype(np.int32), names


def _names(path: Path, there: dict[str, np.ndarray], key: str, count: int | None) -> tuple[str, ...] | None:
    if key not in there:
        return None
    names = tuple(str(name) for name in there[key])
    if count is not None and len(names) != count:
        raise DataError(f"{path}: {key} should be {count} names, got {len(names)}.")
    return names


def _require_finite(path: Path, arrays: dict[str, np.ndarray]) -> None:
    steps = np.arange(arrays["sequence"].shape[1])[None] < arrays["length"][:, None]
    wrong = np.argwhere(~np.isfinite(arrays["sequence"]).all(-1) & steps)
    if len(wrong):
        raise DataError(
            f"{path}, record {wrong[0][0]}: sequences should be finite, step {wrong[0][1]} is not. Leave such "
            "steps out, or fill them and say so in a channel of its own."
        )
    arrays["sequence"] = np.where(steps[..., None], arrays["sequence"], 0).astype(np.float32)
    if "times" in arrays:
        arrays["times"] = np.where(steps, arrays["times"], 0).astype(np.float32)


def _told(path: Path, arrays: dict[str, np.ndarray], ending: str) -> str:
    lengths = arrays["length"]
    return (
        f"{path}: {len(lengths)} sequences of {lengths.min()} to {lengths.max()} steps and "
        f"{arrays['sequence'].shape[-1]} channels.{ending}"
    )
