"""Sequences of unequal lengths in few array shapes: every batch holds sequences of one bucket, cut to its length.

A compiled step serves one shape, so that the number of buckets is the number of compilations, and what lies between a
sequence's length and its bucket's is computed for nothing. The lengths of the buckets are those that waste the least.

Batch n is a function of (seed, n): an epoch is a permutation of the records; each bucket's records are cut into batches
in that order, the last one filled up with copies of a record whose mask is 0; the batches of all buckets are permuted.
"""

import numpy as np

from zoo_datasets.loading.records import DataError, Record

# Fields with an axis of steps behind that of the records, and the number of axes that tells they have it.
STEP_AXES = {"sequence": 2, "times": 2, "valid": 2, "label": 2, "target": 3}
MOST = 4


def bucket_lengths(lengths: np.ndarray, count: int = MOST) -> tuple[int, ...]:
    """The `count` array lengths (or fewer) with the fewest steps of padding in all, ascending; the last is the longest.

    Args:
      lengths: (N,) numbers of steps, at least 1.
      count: of buckets, at least 1.
    """
    values, numbers = np.unique(lengths, return_counts=True)
    # Steps computed for all sequences up to the j-th length are a sum over buckets, each as long as its longest.
    before = np.concatenate([[0], np.cumsum(numbers)])
    size = len(values)
    cost = np.full((count + 1, size + 1), np.inf)
    cut = np.zeros((count + 1, size + 1), int)
    cost[0, 0] = 0
    for k in range(1, count + 1):
        for j in range(1, size + 1):
            steps = cost[k - 1, :j] + (before[j] - before[:j]) * values[j - 1]
            cut[k, j] = np.argmin(steps)
            cost[k, j] = steps[cut[k, j]]
    k, j, chosen = int(np.argmin(cost[:, size])), size, []
    while j:
        chosen.append(int(values[j - 1]))
        k, j = k - 1, int(cut[k, j])
    return tuple(chosen[::-1])


def padding_share(lengths: np.ndarray, buckets: tuple[int, ...]) -> float:
    """Share of the computed steps that belong to no sequence."""
    computed = np.asarray(buckets)[np.searchsorted(buckets, lengths)].sum()
    return float(1 - np.sum(lengths) / computed)


def cut_steps(batch: Record, steps: int) -> Record:
    """The first `steps` steps of every field of a batch that has steps."""
    return {
        name: values[:, :steps] if values.ndim >= STEP_AXES.get(name, np.inf) else values
        for name, values in batch.items()
    }


def require_sequences(where: str, arrays: Record, *, symbols: int = 0) -> None:
    """Refuse lengths that are no numbers of steps, times that do not ascend, and fields of another number of steps.

    Args:
      where: the data and split, for the message.
      arrays: stacked fields with "sequence" (N, T, …) and "length" (N,).
      symbols: in the vocabulary, of which the sequences (N, T) then are; 0 for numbers.

    Raises:
      DataError: names the record and what is wrong.
    """
    if "length" not in arrays:
        raise DataError(f"{where}: a field sequence needs a field length, the number of its steps.")
    steps, lengths = arrays["sequence"].shape[1], arrays["length"]
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise DataError(f"{where}: length should be one whole number a record, got {lengths.dtype}{lengths.shape[1:]}.")
    wrong = np.flatnonzero((lengths < 1) | (lengths > steps))
    if len(wrong):
        raise DataError(
            f"{where}, record {wrong[0]}: length should be in 1 … {steps}, the steps of the array, got "
            f"{lengths[wrong[0]]}. Leave out records without a step."
        )
    for name, axes in STEP_AXES.items():
        if name in arrays and arrays[name].ndim >= axes and arrays[name].shape[1] != steps:
            raise DataError(
                f"{where}: {name} should have the {steps} steps of the sequences, got {arrays[name].shape[1]}."
            )
    if symbols:
        _require_symbols(where, arrays["sequence"], lengths, symbols)
    if "times" in arrays:
        inside = np.arange(1, steps) < lengths[:, None]
        unsorted = np.flatnonzero(((np.diff(arrays["times"], axis=1) <= 0) & inside).any(1))
        if len(unsorted):
            raise DataError(f"{where}, record {unsorted[0]}: times should ascend from step to step; sort the steps.")


def _require_symbols(where: str, values: np.ndarray, lengths: np.ndarray, symbols: int) -> None:
    if values.dtype.kind not in "iu":
        raise DataError(f"{where}: symbols should be whole numbers, got {values.dtype}.")
    inside = np.arange(values.shape[1]) < lengths[:, None]
    unknown = inside & ((values < 0) | (values >= symbols))
    wrong = np.flatnonzero(unknown.any(1))
    if len(wrong):
        raise DataError(
            f"{where}, record {wrong[0]}: symbols should be numbers of the vocabulary, 0 … {symbols - 1}, got "
            f"{values[wrong[0]][unknown[wrong[0]]][0]}."
        )


class BucketPlan:
    """Which records are in which batch.

    Args:
      lengths: (N,) numbers of steps, or what else is a record's size.
      buckets: ascending sizes of the buckets.
      batch_size: records in a batch.
      seed: of the permutations; None keeps the order of records and buckets.

    Attributes:
      buckets: as given.
      per_epoch: number of batches in which every record is once.
    """

    def __init__(self, lengths: np.ndarray, buckets: tuple[int, ...], batch_size: int, seed: int | None) -> None:
        if not buckets or list(buckets) != sorted(set(buckets)) or buckets[-1] < lengths.max(initial=0):
            raise ValueError(
                f"buckets should ascend and reach the largest record, of size {lengths.max(initial=0)}, got {buckets}."
            )
        self.buckets = buckets
        self._bucket = np.searchsorted(buckets, lengths)
        self._size = batch_size
        self._seed = seed
        counts = np.bincount(self._bucket, minlength=len(buckets))
        self.per_epoch = int(np.sum(-(-counts // batch_size)))

    def __call__(self, number: int) -> tuple[np.ndarray, int]:
        """Records (≤ batch_size,) of batch `number`, and the size of its bucket."""
        epoch, place = divmod(number, self.per_epoch)
        size = len(self._bucket)
        order = np.arange(size) if self._seed is None else draws(size, self._seed, epoch)
        batches = [
            (rows[start : start + self._size], length)
            for bucket, length in enumerate(self.buckets)
            if len(rows := order[self._bucket[order] == bucket])
            for start in range(0, len(rows), self._size)
        ]
        if self._seed is not None:
            # Another stream of the same epoch: the records' own has even keys.
            place = draws(len(batches), self._seed, epoch, stream=1)[place]
        return batches[place]


def draws(size: int, seed: int, epoch: int, *, stream: int = 0) -> np.ndarray:
    """Permutation (size,) int64 of one epoch: the argsort of raw 64-bit draws, the same on all platforms (NEP 19)."""
    key = np.array([seed, epoch], np.uint64)
    random = np.random.Philox(key=key, counter=[0, 0, 0, stream])
    return np.argsort(random.random_raw(size), kind="stable")
