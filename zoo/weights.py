"""Weights in files: published ones in, our own in and out.

`read` gives the named tensors of a PyTorch, safetensors, NumPy or Keras HDF5 file as NumPy arrays; `convert` turns
published tensors into our variables; `save` and `load` keep variables as safetensors with a JSON card beside it.
"""

import hashlib
import importlib
import importlib.metadata
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from zoo import __version__
from zoo.errors import WeightsError
from zoo.published import Rule, convert, imagenet_preprocess, published_rules
from zoo.torch_file import LEGACY_START, legacy_tensors, pickle_name, zipped_tensors

__all__ = [
    "Rule",
    "WeightsError",
    "convert",
    "imagenet_preprocess",
    "load",
    "published_rules",
    "read",
    "read_card",
    "save",
]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"

_SAFETENSORS = {
    **{f"F{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{"BOOL": np.dtype(bool), "BF16": np.dtype(ml_dtypes.bfloat16)},
}


def read(path: str | os.PathLike[str], *, entry: str | None = None) -> dict[str, np.ndarray]:
    """Named tensors of a file of weights, told by its first bytes; nothing in the file is executed.

    Args:
        path: PyTorch (.pth, .pt, .bin; both of its formats), safetensors, .npz, or HDF5 (.h5: the names are the paths
            of its data sets).
        entry: where the tensors are in a PyTorch file that holds more, such as `"state_dict"`; a group of an HDF5 file.

    Returns:
        Name → array in the file's dtype, bfloat16 included.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: not one of these formats, damaged, not made of tensors alone, or a PyTorch file that names
            anything but what tensors are made of.
        ImportError: the extra for this format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        return _read(path, entry)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except ImportError:
        raise
    # Damaged bytes make the readers raise nearly anything.
    except Exception as error:
        raise WeightsError(f"{path}: damaged or incomplete ({type(error).__name__}: {error}). Get it again.") from error


def save(
    path: str | os.PathLike[str],
    variables: Any,
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write variables as safetensors, and beside it a card: what they are weights of, versions, and the SHA-256.

    Both files appear under their names only when they are complete; older ones of the same names are replaced.

    Args:
        path: ending in `.safetensors`; the card has the same name and ends in `.json`.
        variables: nested dicts of arrays, such as `{"params": …, "batch_stats": …}`.
        name: of the model, for `zoo.create`.
        options: of `zoo.create`; whatever JSON can hold, tuples included.
        notes: anything else worth keeping, such as data, score, licence.

    Returns:
        Path of the card.

    Raises:
        WeightsError: another ending, an option that JSON does not give back, a dtype or a name that cannot be kept.
        ImportError: the extra is not installed.
    """
    safetensors = _extra("safetensors.numpy")
    path, card_path = _pair(path)
    record = {"name": name, "options": dict(options or {}), "notes": dict(notes or {})}
    try:
        returned = _tuples(json.loads(json.dumps(record)))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"The card must be made of what JSON can hold: {error}.") from None
    if returned != _tuples(record):
        raise WeightsError(f"The card would not come back as it is: {record} would be read as {returned}.")
    # safetensors writes the memory as it lies, whatever the order of the axes: the copies are contiguous.
    arrays = {key: np.array(leaf, order="C") for key, leaf in _flat(variables).items()}
    strange = [f"{key} {_type(array)}" for key, array in arrays.items() if array.dtype not in _SAFETENSORS.values()]
    if strange:
        raise WeightsError(f"These arrays have a dtype that cannot be kept: {', '.join(strange)}.")
    content = safetensors.save(arrays)
    versions = {package: importlib.metadata.version(package) for package in ("jax", "flax", "numpy")}
    card = {**record, "sha256": hashlib.sha256(content).hexdigest(), "versions": {"zoo": __version__, **versions}}
    _replace_all({path: content, card_path: (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode()})
    return card_path


def load(path: str | os.PathLike[str], template: Any) -> Any:
    """Variables that `save` wrote, bit for bit.

    Args:
        path: of the safetensors file; its card must be beside it.
        template: variables of the model or their shapes (`jax.eval_shape(model.init, key, x)`).

    Returns:
        A tree like the template.

    Raises:
        FileNotFoundError: the file or its card is missing.
        WeightsError: the file is not the one the card was written for, or the tree is another model's; every missing,
            unexpected, mis-shaped and mis-typed name is listed.
        ImportError: the extra is not installed.
    """
    card, (path, _) = read_card(path), _pair(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != card["sha256"]:
        raise WeightsError(
            f"{path} is not the file that its card was written for: SHA-256 {found}, the card says {card['sha256']}. "
            "It is damaged or was exchanged: get both files again."
        )
    arrays, ours = _read_safetensors(content), _flat(template)
    problems = [f"missing: {key} {_type(leaf)}" for key, leaf in ours.items() if key not in arrays]
    for key, array in arrays.items():
        if key not in ours:
            problems.append(f"unexpected: {key} {_type(array)}")
        elif _type(array) != _type(ours[key]):
            problems.append(f"other shape or dtype: {key} is {_type(array)}, wanted {_type(ours[key])}")
        elif jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
            problems.append(f"64 bits: {key} is {_type(array)}, which needs JAX_ENABLE_X64=1")
    if problems:
        raise WeightsError(
            f"{path} holds weights of {card['name']} with options {card['options']}, which do not fit the template; "
            f"nothing was loaded. {len(problems)} names differ:\n  " + "\n  ".join(problems)
        )
    return jax.tree.unflatten(jax.tree.structure(template), [jnp.asarray(arrays[key]) for key in ours])


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of a safetensors file that `save` wrote: `name`, `options`, `notes`, `sha256` and `versions`.

    Lists come back as tuples, so that `zoo.create(card["name"], **card["options"])` is the model.

    Raises:
        FileNotFoundError: there is no card beside the file.
        WeightsError: it is not a card.
    """
    path, card_path = _pair(path)
    if not card_path.is_file():
        raise FileNotFoundError(f"{path} needs its card {card_path.name} beside it, and there is none.")
    try:
        card = json.loads(card_path.read_bytes())
    except ValueError as error:
        raise WeightsError(f"{card_path} is not JSON ({error}). Get it again.") from None
    wanted = {"name", "options", "notes", "sha256", "versions"}
    if not isinstance(card, dict) or not wanted <= set(card):
        raise WeightsError(f"{card_path} is not a card of zoo.weights.save: it must hold {', '.join(sorted(wanted))}.")
    return _tuples(card)


def _read(path: Path, entry: str | None) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        start = file.read(len(LEGACY_START))
        file.seek(0)
        if start.startswith(LEGACY_START):
            return legacy_tensors(file, entry)
        if start.startswith(_HDF5):
            return _read_hdf5(path, entry)
        pickled = pickle_name(file) if start.startswith(_ZIP) else None
        if pickled:
            return zipped_tensors(file, pickled, entry)
        if entry is not None:
            raise WeightsError(f"entry={entry!r} is for PyTorch and HDF5 files, and this is neither.")
        if start.startswith(_ZIP):
            return _read_npz(path)
        if start[8:9] == b"{":
            return _read_safetensors(path.read_bytes())
    raise WeightsError(f"neither a PyTorch, safetensors, .npz nor HDF5 file (first bytes {start[:8]!r}).")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        strange = [name for name in archive.namelist() if not name.endswith(".npy")]
    if strange:
        raise WeightsError(f"a zip file that holds {', '.join(strange[:5])} is neither PyTorch's nor NumPy's.")
    with np.load(path, allow_pickle=False) as archive:
        try:
            return dict(archive)
        except ValueError as error:
            raise WeightsError(f"an array cannot be read ({error}).") from None


def _read_safetensors(content: bytes) -> dict[str, np.ndarray]:
    # The package's own reader for NumPy does not know bfloat16.
    safetensors = _extra("safetensors")
    try:
        tensors = dict(safetensors.deserialize(content))
    except safetensors.SafetensorError as error:
        raise WeightsError(f"not a whole safetensors file ({error}). Get it again.") from None
    strange = sorted({tensor["dtype"] for tensor in tensors.values()} - set(_SAFETENSORS))
    if strange:
        raise WeightsError(f"dtype {', '.join(strange)} is not read here, only {', '.join(sorted(_SAFETENSORS))}.")
    return {
        name: np.frombuffer(tensor["data"], _SAFETENSORS[tensor["dtype"]]).reshape(tensor["shape"]).copy()
        for name, tensor in tensors.items()
    }


def _read_hdf5(path: Path, entry: str | None) -> dict[str, np.ndarray]:
    h5py = _extra("h5py")
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
            tensors[name] = item[()]

    with h5py.File(path, "r") as file:
        if entry is not None and not isinstance(file.get(entry), h5py.Group):
            raise WeightsError(f"there is no group {entry!r}; the file holds {', '.join(file) or 'nothing'}.")
        (file if entry is None else file[entry]).visititems(add)
    return tensors


def _extra(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f"This file needs the package {module.split('.')[0]}, which is not installed: "
            'pip install "symmetry-zoo[weights]".'
        ) from None


def _pair(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Paths of the weights and of their card."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"The name of a file of weights must end in .safetensors, got {path.name!r}.")
    return path, path.with_suffix(".json")


def _flat(tree: Any) -> dict[str, Any]:
    """Leaves by name, `params/stem/kernel`, in the order of `jax.tree.leaves`."""
    flat = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        names = [str(getattr(part, "key", part)) for part in path]
        if any("/" in name for name in names):
            raise WeightsError(f'Names in the tree must not hold "/", got {names}.')
        flat["/".join(names)] = leaf
    return flat


def _type(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _tuples(value: Any) -> Any:
    """`value` with every list turned into a tuple, all the way down."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _replace_all(contents: Mapping[Path, bytes]) -> None:
    """Write the files, and give them their names when all of them are on the disk."""
    partials = {path: path.with_name(path.name + ".partial") for path in contents}
    try:
        for path, partial in partials.items():
            partial.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, partial in partials.items():
            os.replace(partial, path)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
