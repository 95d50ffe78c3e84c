"""Records with any number of nodes, edges, pairs or points, kept in memory as arrays with room for the largest.

Behind the rows of a record stand zeros; how many rows there are say `n_node`, `n_edge`, `n_pair` and `n_point`. Arrays
of graphs have room for one node more than the largest has, to which padding edges can be tied. Batches of one bucket
are cut to what the largest record of the bucket needs.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from zoo_datasets.loading.records import ArraySource, DataError, Record

# Field → the field that says how many of its rows are real.
ROWS = {
    "nodes": "n_node",
    "senders": "n_edge",
    "receivers": "n_edge",
    "edges": "n_edge",
    "edge_type": "n_edge",
    "pairs": "n_pair",
    "points": "n_point",
}
# The field that tells how many rows there are → what is counted.
_COUNTED = {"nodes": "n_node", "senders": "n_edge", "pairs": "n_pair", "points": "n_point"}
# Rows that there must be room for beyond those of the largest record.
_ROOM = {"n_node": 1}
COUNTS = tuple(_COUNTED.values())


class PaddedSource(ArraySource):
    """Records as `padded` makes them.

    Args:
      arrays: field name → array whose first axis is the record.
      rows: field → which of `COUNTS` says how many of its rows, along the second axis, are real.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], rows: Mapping[str, str]) -> None:
        super().__init__(arrays)
        self.rows = dict(rows)

    def part(self, numbers: np.ndarray) -> "PaddedSource":
        """The records `numbers`, with as much room."""
        return PaddedSource(self.take(numbers), self.rows)

    @property
    def slots(self) -> dict[str, int]:
        """How many rows there is room for."""
        return {count: self.arrays[name].shape[1] for name, count in self.rows.items()}


def padded(
    splits: Mapping[str, Sequence[Record]], *, rows: Mapping[str, str] | None = None, least: int = 1
) -> dict[str, PaddedSource]:
    """Splits of ragged records as arrays of one size for all.

    A field with as many rows as the record has nodes, points or edges, in all records, is padded with them; one whose
    shape is the same in all records is stacked as it is; any other is left out.

    Args:
      splits: name → records, NumPy dicts with `nodes`, `senders` and `receivers` or with `points`.
      rows: fields besides those of `ROWS` → what counts their rows, where that must not be guessed.
      least: rows that arrays of nodes and points have room for at least.

    Raises:
      DataError: a split without records; a record with other fields than the first, or with rows of other shapes.
    """
    for name, records in splits.items():
        if not len(records):
            raise DataError(f"the split {name} is empty: expected at least one record, got 0.")
    every = [record for records in splits.values() for record in records]
    for number, record in enumerate(every):
        if record.keys() != every[0].keys():
            raise DataError(
                f"record {number} has the fields {sorted(record)}, record 0 has {sorted(every[0])}: all records should "
                "have the same."
            )
    counted = {count: name for name, count in _COUNTED.items() if name in every[0]}
    of = _rows_of(every, counted, {**ROWS, **(rows or {})})
    slots = {
        count: max(least if count in ("n_node", "n_point") else 1, _ROOM.get(count, 0) + _most(every, name))
        for count, name in counted.items()
    }
    whole = [name for name, value in every[0].items() if name not in of and _alike(every, name, np.shape(value))]
    return {split: _stacked(records, of, whole, counted, slots) for split, records in splits.items()}


def sizes(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """(N,) size by which records are sorted into buckets: steps, points, or nodes and edges; None of other records."""
    if "length" in arrays:
        return arrays["length"]
    if "n_point" in arrays:
        return arrays["n_point"]
    return arrays["n_node"] + arrays["n_edge"] if "n_node" in arrays else None


def slots_of(source: PaddedSource, buckets: tuple[int, ...]) -> dict[int, dict[str, int]]:
    """Size of a bucket → rows that its arrays have room for.

    Points have as many as the bucket's size, so that there can be room for more than any set has; nodes, edges and
    pairs as many as the records of the bucket need.
    """
    numbers, found = np.searchsorted(buckets, sizes(source.arrays)), {}
    for place, bucket in enumerate(buckets):
        here = numbers == place
        found[bucket] = {
            count: bucket
            if count == "n_point"
            else max(int(source.arrays[count][here].max(initial=0)) + _ROOM.get(count, 0), 1)
            for count in source.slots
        }
    return found


def cut_rows(batch: Record, rows: Mapping[str, str], slots: Mapping[str, int]) -> Record:
    """The first rows of every field of a batch that has some, as many as there is room for."""
    return {name: values[:, : slots[rows[name]]] if name in rows else values for name, values in batch.items()}


def padding_of(source: PaddedSource, buckets: tuple[int, ...]) -> float:
    """Share of the nodes, edges and points of an epoch that are padding."""
    found = slots_of(source, buckets) if buckets else {0: source.slots}
    numbers = np.searchsorted(buckets, sizes(source.arrays)) if buckets else np.zeros(len(source), int)
    room = np.array([sum(slots.values()) for slots in found.values()])[numbers].sum()
    return float(1 - sum(int(source.arrays[count].sum()) for count in source.slots) / room)


def _most(records: Sequence[Record], name: str) -> int:
    return max(len(record[name]) for record in records)


def _alike(records: Sequence[Record], name: str, shape: tuple[int, ...]) -> bool:
    return all(np.shape(record[name]) == shape for record in records)


def _rows_of(records: Sequence[Record], counted: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Field → what counts its rows, of all fields that have rows of their own."""
    found = {name: known[name] for name in records[0] if name in known}
    for name in records[0]:
        if name in found or np.ndim(records[0][name]) == 0:
            continue
        for count, model in counted.items():
            if all(np.shape(record[name])[:1] == np.shape(record[model])[:1] for record in records):
                found[name] = count
                break
    return found


def _stacked(
    records: Sequence[Record],
    rows: Mapping[str, str],
    whole: Sequence[str],
    counted: Mapping[str, str],
    slots: Mapping[str, int],
) -> PaddedSource:
    arrays = {}
    for name, count in rows.items():
        first = np.asarray(records[0][name])
        array = np.zeros((len(records), slots[count], *first.shape[1:]), first.dtype)
        for number, record in enumerate(records):
            values = np.asarray(record[name])
            if values.shape[1:] != first.shape[1:] or len(values) != len(record[counted[count]]):
                raise DataError(
                    f"record {number}: {name} should have {len(record[counted[count]])} rows of {first.shape[1:]}, one "
                    f"for each of {counted[count]}; got {values.shape}."
                )
            array[number, : len(values)] = values
        arrays[name] = array
    for count, name in counted.items():
        arrays[count] = np.array([len(record[name]) for record in records], np.int32)
    for name in whole:
        values = np.array([record[name] for record in records])
        # Python's own numbers, as those of `records.as_array`.
        narrow = {"int64": np.int32, "float64": np.float32}.get(values.dtype.name, values.dtype)
        arrays[name] = values.astype(narrow)
    return PaddedSource(arrays, rows)
