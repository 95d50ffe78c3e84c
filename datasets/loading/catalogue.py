"""The data sets by name: what there is, what it is, how to prepare it and read it."""

import dataclasses
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from zoo_datasets.loading.arrays import VALIDATION_FRACTION, load_arrays, stratified_split
from zoo_datasets.loading.own_sequences import holds_sequences, load_sequences
from zoo_datasets.loading.records import DataError, Dataset, Source, Subset
from zoo_datasets.loading.sources import SourceError
from zoo_datasets.loading.sources import data_dir as default_data_dir
from zoo_datasets.loading.tfds_source import TfdsSource, find_prepared, open_builder, read_labels

# Name of the data set and of its module in this package → its builder. Loaded when asked for.
_BUILDERS = {
    "radio_galaxies": "RadioGalaxies",
    "angles": "Angles",
    "circles": "Circles",
    "galaxies": "Galaxies",
    "lenses": "Lenses",
    "photoz": "Photoz",
    "digits": "Digits",
    "galaxy10": "Galaxy10",
    "deepmerge": "DeepMerge",
    "nuclei": "Nuclei",
    "blends": "Blends",
    "real_blends": "RealBlends",
    "pixel_morphology": "PixelMorphology",
    "ccd_tracks": "CcdTracks",
    "tracks3d": "Tracks3D",
    "baryons": "Baryons",
    "stellar_maps": "StellarMaps",
    "light_curves": "LightCurves",
    "spcc": "Spcc",
    "bouncing_ball": "BouncingBall",
    "long_memory": "LongMemory",
    "text": "Text",
    "ucr": "Ucr",
    "karate": "Karate",
    "citations": "Citations",
    "tudataset": "Tudataset",
    "rings": "Rings",
    "halos": "Halos",
    "coauthors": "Coauthors",
    "cherenkov": "Cherenkov",
    "jets": "Jets",
    "ttbar": "Ttbar",
}
_TFDS = "tfds:"
# Fields that are left out where no labels are wanted.
_TRUTHS = (
    "label",
    "target",
    "masks",
    "objects",
    "valid",
    "node_label",
    "edge_label",
    "pair_label",
    "node_target",
    "node_valid",
    "assignment",
)
# Those that are classes, and those that are numbers.
_LABELS = ("label", "node_label", "edge_label", "pair_label")
_TARGETS = ("target", "node_target")


class UnknownName(KeyError):
    """No data set of this name; the text gives the closest names and the list."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        close = difflib.get_close_matches(name, known, cutoff=0.7)
        close = close or difflib.get_close_matches(name.partition("/")[0], known, cutoff=0.7)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        self.text = (
            f"there is no data set '{name}'.{hint} Known: {', '.join(known)}; tfds:NAME for one that TFDS has "
            "prepared; or the path of a .npz, HDF5, FITS or .txt file or of a folder of images."
        )
        super().__init__(self.text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Description:
    """What a data set is.

    Attributes:
      title: one line.
      splits: split name → number of records.
      features: field → shape, type and meaning.
      units: units, ranges and orientation of the inputs, meaning of the labels.
      licence: terms of use.
      credit: line that pictures of the data must carry, empty when none is asked for.
      citation: BibTeX.
      notes: split policy, leakage and known faults.
      prepared: whether it can be read at once.
      location: folder where it is, or will be, prepared.
      colours: channels drawn as red, green and blue, long wavelengths as red; empty to draw images as they are.
    """

    title: str
    splits: dict[str, int]
    features: dict[str, str]
    units: str
    licence: str
    credit: str
    citation: str
    notes: str
    prepared: bool
    location: Path
    colours: tuple[int, ...] = ()


def names() -> tuple[str, ...]:
    """Names of the data sets that this package can prepare, without their configurations."""
    return tuple(_BUILDERS)


def configurations(name: str) -> tuple[str, ...]:
    """Names of a data set's configurations, the default one first; empty when there is only one.

    Args:
      name: one of `names()`; with a configuration C of it, the whole name is NAME/C.

    Raises:
      UnknownName: no such data set.
    """
    if name not in _BUILDERS:
        raise UnknownName(name, names())
    return tuple(config.name for config in _class(name)[1].BUILDER_CONFIGS)


def is_known(name: str) -> bool:
    """Whether this package can prepare a data set of this name, NAME or NAME/CONFIGURATION."""
    base, slash, config = name.partition("/")
    return base in _BUILDERS and (not slash or config in configurations(base))


def describe(name: str, *, data_dir: str | Path | None = None) -> Description:
    """What is known of a data set, prepared or not.

    Args:
      name: one of `names()`, or NAME/CONFIGURATION.
      data_dir: folder of prepared data sets; `sources.data_dir()` when None.

    Raises:
      UnknownName: no such data set.
    """
    module, builder = _builder(name, data_dir)
    location = Path(builder.data_path)
    sizes = module.SPLIT_SIZES[builder.builder_config.name] if builder.builder_config else module.SPLIT_SIZES
    return Description(
        title=module.TITLE,
        splits=dict(sizes),
        features=dict(module.FEATURES),
        units=module.UNITS,
        licence=module.LICENCE,
        credit=module.CREDIT,
        citation=module.CITATION,
        notes=f"{module.SPLIT_POLICY} {module.NOTES}",
        prepared=(location / "dataset_info.json").is_file(),
        location=location,
        colours=getattr(module, "COLOURS", ()),
    )


def prepare(name: str, *, data_dir: str | Path | None = None) -> Path:
    """Download and write a data set as array_record, unless that is done; the folder it is in.

    TFDS writes into a folder `incomplete.*` beside it and renames that at the end: an interrupted preparation leaves
    nothing under the final name.

    Raises:
      UnknownName: no such data set.
      SourceError: the download failed, a package that simulates the data is missing, or the disk is full.
      DataError: the folder is there, and is not a complete data set.
    """
    _, builder = _builder(name, data_dir)
    location = Path(builder.data_path)
    if not location.exists():
        _quiet_without_terminal()
        try:
            builder.download_and_prepare()
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise SourceError(
                    f"the disk is full: {location} could not be written ({error}). Free space there, or set "
                    "ZOO_DATA_DIR to a folder on another disk."
                ) from error
            if not location.exists():  # else another process has just finished the same work
                raise
    open_builder(location)
    return location


def load(
    name_or_path: str | Path, *, data_dir: str | Path | None = None, labels: bool = True, seed: int = 0
) -> Dataset:
    """A data set ready for reading; prepared first when this package can.

    Args:
      name_or_path: one of `names()`, or NAME/CONFIGURATION; `tfds:NAME` or `tfds:NAME/CONFIG` for a set of the TFDS
        catalogue that is already prepared as array_record; or a path for `arrays.load_arrays`, or for
        `own_sequences.load_sequences` where it is a text or holds sequences. A name wins over a path: write `./NAME`
        for that.
      data_dir: folder of prepared data sets; `sources.data_dir()` when None.
      labels: False leaves the labels and the regression targets out.
      seed: of the split of data that come without one, and of the validation split that is taken from train where a
        TFDS set has none; other published splits are kept as they are.

    Raises:
      UnknownName: neither a known name nor a path that exists.
      DataError, SourceError, FileNotFoundError: the data cannot be had or used; the text says what to do.
    """
    name = str(name_or_path)
    if is_known(name):
        location = prepare(name, data_dir=data_dir)
        return _prepared(name, location, labels=labels, module=_class(name)[0])
    if name.startswith(_TFDS):
        return _from_tfds(name, data_dir, labels=labels, seed=seed)
    base = name.partition("/")[0]
    if base != name and difflib.get_close_matches(base, _BUILDERS, cutoff=0.8) and not Path(name).exists():
        raise _unknown(name)
    if isinstance(name_or_path, Path) or Path(name).exists() or os.sep in name or "/" in name or Path(name).suffix:
        if holds_sequences(Path(name)):
            return load_sequences(name_or_path, labels=labels, seed=seed)
        return load_arrays(name_or_path, labels=labels, seed=seed)
    raise UnknownName(name, names())


def _class(name: str) -> tuple[ModuleType, Any]:
    """Module and builder class of a known name, with or without a configuration."""
    base = name.partition("/")[0]
    module = importlib.import_module(f"zoo_datasets.{base}")
    return module, getattr(module, _BUILDERS[base])


def _builder(name: str, data_dir: str | Path | None) -> tuple[ModuleType, Any]:
    if not is_known(name):
        raise _unknown(name)
    module, builder = _class(name)
    root = Path(data_dir) if data_dir is not None else default_data_dir()
    config = name.partition("/")[2] or None
    return module, builder(config=config, data_dir=root, file_format="array_record")


def _unknown(name: str) -> UnknownName:
    """The error for a name that is not known: with a known base, the choice is among its configurations."""
    base = name.partition("/")[0]
    if base not in _BUILDERS:
        return UnknownName(name, names())
    return UnknownName(name, (base, *(f"{base}/{config}" for config in configurations(base))))


def _prepared(
    name: str,
    location: Path,
    *,
    labels: bool,
    fields: tuple[str, ...] | None = None,
    module: ModuleType | None = None,
) -> Dataset:
    builder = open_builder(location)
    info = builder.info
    fields = tuple(info.features) if fields is None else fields
    if not labels:
        fields = tuple(field for field in fields if field not in _TRUTHS)
    splits: dict[str, Source] = {split: TfdsSource(location, split, fields) for split in info.splits}
    config = builder.builder_config.name if builder.builder_config else ""
    class_names = None
    if truth := [field for field in _LABELS if field in fields]:
        # Classes of pixels, nodes or edges are plain numbers for TFDS: the data set's module names them.
        label = info.features[truth[0]]
        class_names = tuple(label.names if hasattr(label, "names") else _of_config(module.CLASS_NAMES, config))
    has_target = any(field in fields for field in _TARGETS) and hasattr(module, "TARGETS")
    targets = dict(module.TARGETS) if has_target else None
    masks = tuple(module.MASKS) if "masks" in fields and hasattr(module, "MASKS") else None
    channels, vocabulary = _of_sequences(info.features, fields, module)
    if "points" in fields:
        channels = dict(_of_config(module.CHANNELS, config))
    return Dataset(
        name,
        splits,
        class_names,
        info.description,
        targets=targets,
        masks=masks,
        channels=channels,
        vocabulary=vocabulary,
        node_channels=_named(module, "NODE_CHANNELS", "nodes", fields),
        edge_channels=_named(module, "EDGE_CHANNELS", "edges", fields),
        edge_types=_named(module, "EDGE_TYPES", "edge_type", fields),
    )


def _of_config(texts: Any, config: str) -> Any:
    """What a module says of a configuration: the entry of that name, or, where there is none, the same of all."""
    return texts[config] if isinstance(texts, Mapping) and config in texts else texts


def _named(module: ModuleType | None, texts: str, field: str, fields: tuple[str, ...]) -> Any:
    """What a module calls the columns of a field, None where it or the field says nothing."""
    return getattr(module, texts, None) if field in fields else None


def _of_sequences(
    features: Mapping[str, Any], fields: tuple[str, ...], module: ModuleType | None
) -> tuple[dict[str, str] | None, tuple[str, ...] | None]:
    """Names of the channels of sequences of numbers or frames, and the vocabulary of sequences of symbols."""
    if "sequence" not in fields:
        return None, None
    feature = features["sequence"]
    if np.issubdtype(feature.np_dtype, np.integer):
        return None, tuple(module.VOCABULARY)
    named = getattr(module, "VIDEO_CHANNELS" if len(feature.shape) == 4 else "CHANNELS")
    return dict(named), None


def _from_tfds(name: str, data_dir: str | Path | None, *, labels: bool, seed: int) -> Dataset:
    bare = name.removeprefix(_TFDS)
    roots = [Path(data_dir) if data_dir is not None else default_data_dir()]
    roots.append(Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser())
    location = find_prepared(bare, roots) if bare else None
    if location is None:
        raise DataError(
            f"{name} is not prepared: looked in {' and '.join(str(root / bare) for root in roots)}. Prepare it with "
            f"tfds build {bare or 'NAME'} --file_format=array_record --data_dir={roots[0]} "
            "(some sets need TensorFlow for that, none for reading)."
        )
    features = open_builder(location).info.features
    needed = ("image", "label") if labels else ("image",)
    if any(field not in features for field in needed):
        raise DataError(f"{name} should have the features {' and '.join(needed)}, got {', '.join(features)}.")
    if labels and not hasattr(features["label"], "names"):
        raise DataError(f"{name}: the feature label should be a ClassLabel, got {features['label']}.")
    dataset = _prepared(name, location, labels=labels, fields=needed)
    if not labels or "validation" in dataset.splits or "train" not in dataset.splits:
        return dataset
    return _with_validation(dataset, read_labels(location, "train"), seed=seed)


def _with_validation(dataset: Dataset, train_labels: np.ndarray, *, seed: int) -> Dataset:
    """A data set whose train split gives up a part of every class as validation split."""
    names, counts = np.unique(train_labels, return_counts=True)
    if not len(names) or names[0] < 0 or counts.min() < 2:
        raise DataError(
            f"{dataset.name} has no validation split, and every class should have two records or more in train to make "
            f"one, got {dict(zip(names.tolist(), counts.tolist(), strict=True))} (label: records)."
        )
    parts = stratified_split(train_labels, seed=seed, fractions=(VALIDATION_FRACTION,))
    train, validation = (Subset(dataset.splits["train"], part) for part in parts)
    note = (
        f"{VALIDATION_FRACTION:.0%} of the train split, class by class, with seed {seed}, became the validation split."
    )
    splits = {"train": train, "validation": validation, **{k: v for k, v in dataset.splits.items() if k != "train"}}
    return dataclasses.replace(dataset, splits=splits, description=f"{dataset.description}\n{note}")


def _quiet_without_terminal() -> None:
    if not sys.stderr.isatty():
        import tensorflow_datasets as tfds

        tfds.disable_progress_bar()
