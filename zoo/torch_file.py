"""The tensors of a PyTorch file, without PyTorch and without executing anything.

PyTorch's files are pickles, and a pickle can name any function to be called. Here only the few names that tensors are
made of are known, they lead to descriptions, and any other name ends the reading. The arrays are then cut out of the
bytes that follow, within their bounds.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from zoo.errors import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = pickle.dumps(_MAGIC, protocol=2)  # the first bytes of files from before PyTorch 1.6

_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype(bool),
}


class _Storage(NamedTuple):
    key: str
    kind: str
    numel: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.numel * _DTYPES[self.kind].itemsize


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Reads a pickle that is made of tensors and plain Python values; `storages` collects what the tensors lie in."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for.

        Raises:
            WeightsError: it is no part of a tensor.
        """
        if module == "torch" and name in _DTYPES:
            return name
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
        }
        if (module, name) not in known:
            raise WeightsError(
                f"the file asks for {module}.{name}, which tensors are not made of; nothing was run. If you trust its "
                "source, save its state_dict alone, or as safetensors, with PyTorch."
            )
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that an id in the pickle describes."""
        word, kind, key, _, numel, *view = pid
        if word != "storage" or kind not in _DTYPES or any(part is not None for part in view):
            raise WeightsError(f"the file holds something other than plain tensors: {pid!r}.")
        storage = _Storage(str(key), kind, int(numel))
        if self.storages.setdefault(storage.key, storage) != storage:
            raise WeightsError(f"storage {storage.key} is described in two ways.")
        return storage

    def _tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
        tensor = _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
        negative = min((storage.numel, tensor.offset, *tensor.shape, *tensor.stride)) < 0
        # Steps of 0 would make an array of any size from a few bytes: none may hold more values than its storage.
        values = math.prod(tensor.shape)
        if negative or (values and (last >= storage.numel or values > storage.numel)):
            raise WeightsError(
                f"a tensor of shape {tensor.shape}, steps {tensor.stride} and offset {tensor.offset} does not fit into "
                f"its storage of {storage.numel} values."
            )
        return tensor

    def _parameter(self, data: Any, *_: Any) -> Any:
        return data


def pickle_name(file: BinaryIO) -> str | None:
    """Name of the pickle in a zip file of PyTorch; `None` where it is another kind of zip file."""
    with zipfile.ZipFile(file) as archive:
        found = [name for name in archive.namelist() if name.split("/")[-1] == "data.pkl"]
    return found[0] if len(found) == 1 else None


def zipped_tensors(file: BinaryIO, pickled: str, entry: str | None) -> dict[str, np.ndarray]:
    """Tensors of a file from PyTorch 1.6 or later: a zip of the pickle called `pickled` and a member per storage.

    Raises:
        WeightsError: `entry` is not there, or the file holds anything but tensors.
    """
    root = pickled.removesuffix("data.pkl")
    with zipfile.ZipFile(file) as archive:
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise WeightsError("the file was written on a big-endian machine, which is not read here.")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickled)))
        described = _described(unpickler.load(), entry)
        storages = {}
        for key in {tensor.storage.key for tensor in described.values()}:
            name = f"{root}data/{key}"
            _check_size(unpickler.storages[key], archive.getinfo(name).file_size)
            storages[key] = archive.read(name)
    return {name: _array(tensor, storages) for name, tensor in described.items()}


def legacy_tensors(file: BinaryIO, entry: str | None) -> dict[str, np.ndarray]:
    """Tensors of a file from before PyTorch 1.6.

    It is a sequence of pickles — magic number, version, machine, content, keys of the storages — and the storages, each
    after its number of values.

    Raises:
        WeightsError: `entry` is not there, or the file holds anything but tensors.
    """
    _, version, machine = (_Unpickler(file).load() for _ in range(3))
    if version != 1001 or machine.get("little_endian") is not True:
        raise WeightsError(f"only little-endian files of version 1001 are read; this is version {version}, {machine}.")
    unpickler = _Unpickler(file)
    described = _described(unpickler.load(), entry)
    storages = {}
    for key in map(str, _Unpickler(file).load()):
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.numel:
            raise WeightsError(f"storage {key} has another size than its tensors say.")
        storages[key] = file.read(storage.size)
        _check_size(storage, len(storages[key]))
    return {name: _array(tensor, storages) for name, tensor in described.items()}


def _check_size(storage: _Storage, size: int) -> None:
    if size != storage.size:
        raise WeightsError(f"storage {storage.key} holds {size} bytes instead of {storage.size}: the file is damaged.")


def _described(content: Any, entry: str | None) -> dict[str, _Tensor]:
    """The tensors of a file's content, or of its `entry`."""
    if entry is not None:
        if not isinstance(content, Mapping) or entry not in content:
            raise WeightsError(f"there is no entry {entry!r}; the file holds {_outline(content)}.")
        content = content[entry]
    if not isinstance(content, Mapping) or not all(isinstance(value, _Tensor) for value in content.values()):
        raise WeightsError(
            f"named tensors were expected, and the file holds {_outline(content)}. "
            'Say where the tensors are, as in entry="state_dict".'
        )
    return {str(name): tensor for name, tensor in content.items()}


def _outline(content: Any) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__.lstrip("_")
    parts = [f"{key!r} ({type(value).__name__.lstrip('_')})" for key, value in list(content.items())[:20]]
    return ", ".join(parts) or "nothing"


def _array(tensor: _Tensor, storages: Mapping[str, bytes]) -> np.ndarray:
    dtype = _DTYPES[tensor.storage.kind]
    if not math.prod(tensor.shape):
        return np.empty(tensor.shape, dtype)
    values = np.frombuffer(storages[tensor.storage.key], dtype)[tensor.offset :]
    strides = [step * dtype.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(values, tensor.shape, strides, writeable=False).copy()
