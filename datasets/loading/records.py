"""What a data set is once its bytes are there: named splits of records that can be read in any order.

A record is a dict of NumPy values, such as `{"image": (H, W, C) array, "label": int}`. A `Source` is a sequence of
records: `len(source)` and `source[i]`. It can be pickled, so that worker processes can read it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

Record = dict[str, Any]
# Signature: record (dict of NumPy values) → record. NumPy only, picklable.
Transform = Callable[[Record], Record]


class DataError(ValueError):
    """Data that cannot be used as they are; the text names the file, the record, what was expected and what came."""


@runtime_checkable
class Source(Protocol):
    """Random access to the records of one split."""

    def __len__(self) -> int:
        """Number of records."""
        ...

    def __getitem__(self, index: int) -> Record:
        """Record number `index`, 0 ≤ index < len."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A data set ready for reading.

    Attributes:
      name: its name, or the user's path.
      splits: split name ("train", "validation", "test", or "all") → source.
      class_names: name of each value of the labels (of records, pixels, steps, nodes, edges or pairs), or None where
        there are none.
      description: one paragraph for people, with anything done to the data on the way.
      record_names: split name → name of each record (file names of images), or None.
      targets: name of each number in the field "target" (D,), or (H, W, D) for each pixel, or "node_target" (n, D) for
        each node → its unit; None where there is none.
      masks: name of each map of yes and no in the field "masks" (H, W, M); None where there is none.
      channels: name of each channel of the field "sequence" (T, C) or "points" (n, C) → its unit; None where there is
        none.
      vocabulary: what each whole number in a field "sequence" (T,) stands for; None where there are no symbols.
      node_channels: name of each feature of the field "nodes" (n, F) of graphs → its unit; None where they have none.
      edge_channels: likewise of the field "edges" (e, D).
      edge_types: what each number in the field "edge_type" (e,) stands for; None where all edges are alike.
    """

    name: str
    splits: dict[str, Source]
    class_names: tuple[str, ...] | None
    description: str
    record_names: dict[str, tuple[str, ...]] | None = None
    targets: dict[str, str] | None = None
    masks: tuple[str, ...] | None = None
    channels: dict[str, str] | None = None
    vocabulary: tuple[str, ...] | None = None
    node_channels: dict[str, str] | None = None
    edge_channels: dict[str, str] | None = None
    edge_types: tuple[str, ...] | None = None


class ArraySource:
    """Records kept in memory as stacked arrays.

    Args:
      arrays: field name → array whose first axis is the record; all of one length. Not copied.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        lengths = {name: len(values) for name, values in arrays.items()}
        if not lengths:
            raise DataError("an ArraySource needs at least one array, got none.")
        if len(set(lengths.values())) != 1:
            raise DataError(f"all arrays should have the same number of records, got {lengths}.")
        self.arrays = dict(arrays)
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Record:
        return {name: values[index] for name, values in self.arrays.items()}

    def take(self, indices: np.ndarray) -> Record:
        """The records `indices` (any order, repeats allowed), stacked; each array (len(indices), …)."""
        return {name: values[indices] for name, values in self.arrays.items()}

    def part(self, numbers: np.ndarray) -> "ArraySource":
        """The records `numbers` as a source of their own."""
        return ArraySource(self.take(numbers))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name} {values.dtype}{values.shape}" for name, values in self.arrays.items())
        return f"ArraySource({fields})"


class Subset:
    """Some records of a source, as a source of their own.

    Args:
      source: the whole.
      numbers: (N,) numbers of the records in it.
    """

    def __init__(self, source: Source, numbers: np.ndarray) -> None:
        self.source = source
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record should be in 0 … {len(self) - 1}, got {index}.")
        return self.source[int(self.numbers[index])]

    def __repr__(self) -> str:
        return f"Subset({self.source!r}, {len(self)} records)"


def as_array(name: str, value: object, record: int) -> np.ndarray:
    """One field of a record as an array of numbers; Python ints become int32, Python floats float32.

    Raises:
      DataError: the value is not numeric, with the record's number.
    """
    if isinstance(value, bool):
        array = np.asarray(value)
    elif isinstance(value, int):
        if abs(value) > np.iinfo(np.int32).max:
            raise DataError(f"record {record}: field '{name}' is {value}, which does not fit into int32.")
        array = np.asarray(value, np.int32)
    elif isinstance(value, float):
        array = np.asarray(value, np.float32)
    else:
        array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise DataError(
            f"record {record}: field '{name}' should be numbers, got {array.dtype} ({value!r:.40}). "
            "Drop or encode the field in the transform."
        )
    return array


def stack(records: list[Record], numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Stack records into arrays (len(records), …), field by field.

    Args:
      records: at least one record.
      numbers: (len(records),) the records' numbers in their source, for the error's text.

    Raises:
      DataError: the records differ in fields, shapes or types.
    """
    first = {name: as_array(name, value, int(numbers[0])) for name, value in records[0].items()}
    stacked = {name: np.empty((len(records), *value.shape), value.dtype) for name, value in first.items()}
    for row, (number, record) in enumerate(zip(numbers, records, strict=True)):
        put(stacked, row, record, int(number), reference=int(numbers[0]))
    return stacked


def put(arrays: dict[str, np.ndarray], row: int, record: Record, number: int, *, reference: int) -> None:
    """Write one record into row `row` of the stacked arrays, refusing other fields, shapes or types.

    Args:
      arrays: field → (N, …), changed in place.
      row: where to write.
      record: the record.
      number: the record's number in its source, for the error's text.
      reference: number of the record that set the arrays' shapes, for the error's text.

    Raises:
      DataError: the record does not fit.
    """
    if record.keys() != arrays.keys():
        raise DataError(
            f"record {number} has the fields {sorted(record)}, record {reference} has {sorted(arrays)}: "
            "all records should have the same."
        )
    for name, value in record.items():
        array = as_array(name, value, number)
        expected = arrays[name]
        if array.shape != expected.shape[1:] or array.dtype != expected.dtype:
            raise DataError(
                f"record {number}: field '{name}' is {array.dtype}{array.shape}, record {reference} has "
                f"{expected.dtype}{expected.shape[1:]}. All records should have one shape and type: "
                "resize, crop or cast in the transform."
            )
        expected[row] = array
