"""From a source to batches: one deterministic, resumable stream for one process or many (https://github.com/google/grain).

The stream is a `grain.MapDataset` over batch numbers: batch n is a function of (seed, n) alone, whatever the number of
threads, workers and shards. The whole state of an iterator is therefore one integer, the number of batches consumed.

The order of an epoch is the argsort of N raw 64-bit draws of Philox, counter-based, keyed by (seed, epoch). NumPy
guarantees the raw draws for all versions and platforms (NEP 19), which it does not for `Generator.permutation`.
"""

import functools
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from collections.abc import Iterator

import grain
import numpy as np
from grain.experimental import DatasetOptions, WithOptionsIterDataset

from zoo_datasets.loading.buckets import BucketPlan, cut_steps, draws
from zoo_datasets.loading.ragged import PaddedSource, cut_rows, sizes, slots_of
from zoo_datasets.loading.records import ArraySource, DataError, Record, Source, Transform, as_array, put, stack

Batch = dict[str, np.ndarray]
_RESERVED = ("index", "mask")


def in_memory(source: Source, transform: Transform | None = None, *, num_classes: int | None = None) -> ArraySource:
    """Read a source once, transform every record, and keep the results as stacked arrays.

    Args:
      source: N ≥ 1 records.
      transform: record → record, applied once to each; nothing random belongs here.
      num_classes: when given, each record's "label" should be a whole number in 0 … num_classes − 1, or an array of
        them; where there is a field "valid" of its shape, only its pixels that are not 0 are looked at.

    Returns:
      Arrays (N, …), one for each field. Python ints become int32, Python floats float32.

    Raises:
      DataError: an empty source; a record with NaN or Inf, another shape, type or field than the first, or a label
        out of range. The text names the record.
    """
    _require_records(source)
    arrays: dict[str, np.ndarray] = {}
    for number in range(len(source)):
        record = _read(source, number, transform)
        if number == 0:
            first = {name: as_array(name, value, 0) for name, value in record.items()}
            arrays = {name: np.empty((len(source), *value.shape), value.dtype) for name, value in first.items()}
        put(arrays, number, record, number, reference=0)
    for name, values in arrays.items():
        _require_finite(name, values)
    if num_classes is not None:
        _require_labels(arrays, num_classes)
    return ArraySource(arrays)


class Batches(Iterator[Batch]):
    """Iterator over batches, made by `batches`. A context manager; `close()` ends its threads and worker processes.

    Attributes:
      total: number of batches of the whole run, counted from batch 0; None when it never ends.
    """

    def __init__(self, dataset: grain.IterDataset, *, start: int, total: int | None) -> None:
        self.total = total
        self._start = start
        self._consumed = 0
        self._iterator = iter(dataset)

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        self._consumed += 1
        return batch

    def __len__(self) -> int:
        """Number of batches from `start` to the end, consumed ones included; TypeError when it never ends."""
        if self.total is None:
            raise TypeError("these batches never end (epochs=None) and have no length; count steps instead.")
        return self.total - self._start

    @property
    def state(self) -> int:
        """Number of batches handed out since batch 0; prefetched ones do not count. Resume with `start=state`."""
        return self._start + self._consumed

    def close(self) -> None:
        """End threads and worker processes; nothing can be read afterwards. May be called twice."""
        self._iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batches(
    source: Source,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    epochs: int | None = 1,
    transform: Transform | None = None,
    shard: tuple[int, int] = (0, 1),
    workers: int = 0,
    start: int = 0,
    prefetch: int = 2,
    buckets: tuple[int, ...] = (),
) -> Batches:
    """Batches of a source, in an order that depends on nothing but the seed.

    Every epoch is a new permutation with each record once; batches run over the border between epochs. The last batch
    is filled up with copies of record 0 whose mask is 0. Shard p of P sees the rows [p·L, (p + 1)·L) of every global
    batch, L = batch_size / P, and all shards see equally many batches.

    Each batch has the fields of the records, (L, …), and
      index: (L,) int32, the record's number in the source (in padding 0, or a record of the batch where there are
        buckets);
      mask: (L,) float32, 1 for a record, 0 for padding.

    Args:
      source: N ≥ 1 records.
      batch_size: size of the global batch, a multiple of the number of shards.
      seed: 0 ≤ seed < 2⁶⁴.
      shuffle: False keeps the source's order in every epoch.
      epochs: passes over the source; None never ends.
      transform: record → record, NumPy only, picklable; should be deterministic.
      shard: (this process, number of processes).
      workers: processes that read ahead; 0 reads ahead in one thread. Worth their start (about 2 s) for slow
        transforms only. As always with spawned processes, a script needs its `if __name__ == "__main__":`.
      start: batches to leave out: `Batches.state` of the run to be resumed.
      prefetch: batches read ahead, for each worker.
      buckets: sizes of records, ascending, for records in memory with the fields "sequence" (T, …) and "length", or
        padded graphs and sets of points (`zoo_datasets.loading.ragged`): each batch then has records of one bucket, cut
        to its size, and ends of buckets are filled up in every epoch (see `zoo_datasets.loading.buckets`).

    Raises:
      ValueError: an argument out of range, or buckets without sequences, graphs or points in memory.
      DataError: an empty source; while iterating, records of unequal shapes or with a field called index or mask.
    """
    _require_records(source)
    shard_index, shard_count = shard
    _require_options(batch_size, seed, epochs, shard_index, shard_count, workers, start, prefetch)
    plan = _plan(source, transform, buckets, batch_size, seed if shuffle else None)
    total = batch_count(source, batch_size=batch_size, epochs=epochs, buckets=buckets)
    records = None if epochs is None else epochs * len(source)
    if total is not None and start > total:
        raise ValueError(f"start should be at most the number of batches, {total}, got {start}.")
    assemble = _Assemble(
        source=source,
        transform=transform,
        order=_Order(len(source), seed if shuffle else None),
        batch_size=batch_size,
        shard=(shard_index, shard_count),
        records=records,
        plan=plan,
    )
    dataset = grain.MapDataset.range(sys.maxsize if total is None else total).map(assemble)[start:]
    # One thread: it hides the assembly behind the step, and a second would compete with XLA on few cores.
    stream = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch))
    if workers:
        _allow_worker_processes()
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
        stream = stream.mp_prefetch(options, worker_init_fn=_end_with_parent)
        # Through the pipe, not through shared memory: containers often have 64 MB of it and die by SIGBUS beyond, and
        # blocks that are still waiting to be freed at exit print warnings.
        stream = WithOptionsIterDataset(stream, DatasetOptions(min_shm_size=sys.maxsize))
    return Batches(stream, start=start, total=total)


def batch_count(
    source: Source, *, batch_size: int, epochs: int | None = 1, buckets: tuple[int, ...] = ()
) -> int | None:
    """Number of batches that `batches` gives from batch 0 on; None when they never end."""
    if epochs is None:
        return None
    if buckets:
        return epochs * _plan(source, None, buckets, batch_size, None).per_epoch
    return -(-epochs * len(source) // batch_size)


def _plan(
    source: Source, transform: Transform | None, buckets: tuple[int, ...], batch_size: int, seed: int | None
) -> BucketPlan | None:
    if not buckets:
        return None
    if transform is not None or not isinstance(source, ArraySource) or sizes(source.arrays) is None:
        raise ValueError(
            "buckets need records in memory, without a transform, with a field 'length', or graphs or points as "
            "zoo_datasets.loading.ragged.padded makes them."
        )
    return BucketPlan(sizes(source.arrays), tuple(buckets), batch_size, seed)


class _Order:
    """Record number at every position of the endless stream; keeps the permutations it met last."""

    def __init__(self, size: int, seed: int | None) -> None:
        self._size = size
        self._seed = seed
        self._permutations: dict[int, np.ndarray] = {}

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Record numbers (n,) int64 at `positions` (n,) int64, which ascend."""
        epochs, offsets = np.divmod(positions, self._size)
        if self._seed is None or not len(positions):
            return offsets
        numbers = np.empty_like(offsets)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            numbers[here] = self._permutation(epoch)[offsets[here]]
        return numbers

    def _permutation(self, epoch: int) -> np.ndarray:
        permutations = self._permutations
        if epoch not in permutations:
            permutation = draws(self._size, self._seed, epoch)
            # A new dict, not a changed one: threads that read the old one are not disturbed.
            kept = list(permutations.items())[-1:]
            self._permutations = permutations = {**dict(kept), epoch: permutation}
        return permutations[epoch]

    def __getstate__(self) -> dict[str, object]:
        return {"_size": self._size, "_seed": self._seed, "_permutations": {}}


class _Assemble:
    """Batch number → this shard's rows of the batch. Picklable."""

    def __init__(
        self,
        *,
        source: Source,
        transform: Transform | None,
        order: _Order,
        batch_size: int,
        shard: tuple[int, int],
        records: int | None,
        plan: BucketPlan | None = None,
    ) -> None:
        self._source = source
        self._transform = transform
        self._order = order
        self._batch_size = batch_size
        self._shard = shard
        self._records = records
        self._plan = plan
        self._slots = slots_of(source, plan.buckets) if plan and isinstance(source, PaddedSource) else None

    def __call__(self, number: int) -> Batch:
        index, count = self._shard
        length = self._batch_size // count
        numbers = np.zeros(length, np.int64)
        if self._plan is None:
            first = number * self._batch_size + index * length
            real = length if self._records is None else min(max(self._records - first, 0), length)
            numbers[:real] = self._order(np.arange(first, first + real))
            batch = self._gather(numbers, real)
        else:
            rows, size = self._plan(number)
            own = rows[index * length : (index + 1) * length]
            real = len(own)
            # Padding is a record of the batch itself, whose length fits the bucket.
            numbers[:], numbers[:real] = rows[0], own
            batch = self._cut(self._gather(numbers, real), size)
        for name in _RESERVED:
            if name in batch:
                raise DataError(
                    f"the records have a field '{name}', which the batch needs itself: rename it in the transform."
                )
        mask = np.zeros(length, np.float32)
        mask[:real] = 1
        return {**batch, "index": numbers.astype(np.int32), "mask": mask}

    def _cut(self, batch: Batch, size: int) -> Batch:
        if self._slots is None:
            return cut_steps(batch, size)
        return cut_rows(batch, self._source.rows, self._slots[size])

    def _gather(self, numbers: np.ndarray, real: int) -> Batch:
        if isinstance(self._source, ArraySource) and self._transform is None:
            return self._source.take(numbers)
        records = [_read(self._source, int(number), self._transform) for number in numbers[:real]]
        if real < len(numbers):
            records += [_read(self._source, 0, self._transform)] * (len(numbers) - real)
        return stack(records, numbers)


def _read(source: Source, number: int, transform: Transform | None) -> Record:
    record = source[number]
    return record if transform is None else transform(record)


def _require_records(source: Source) -> None:
    if len(source) == 0:
        raise DataError("the source is empty: expected at least one record, got 0.")


def _require_finite(name: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "fc":
        return
    for number, value in enumerate(values):
        bad = ~np.isfinite(value)
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"record {number}: field '{name}' should be finite, got {int(bad.sum())} NaN or Inf value(s), "
                f"the first at {place}. Mask or replace them before training."
            )


def _require_labels(arrays: dict[str, np.ndarray], num_classes: int) -> None:
    if "label" not in arrays:
        raise DataError(f"the records should have a field 'label', got {sorted(arrays)}.")
    labels = arrays["label"]
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels should be whole numbers, got {labels.dtype}.")
    outside = (labels < 0) | (labels >= num_classes)
    if "valid" in arrays and arrays["valid"].shape == labels.shape:
        # Pixels that do not count may have any label.
        outside &= arrays["valid"] > 0
    wrong = np.flatnonzero(outside.reshape(len(labels), -1).any(1))
    if len(wrong):
        first = labels[wrong[0]][outside[wrong[0]]].flat[0]
        raise DataError(
            f"record {wrong[0]}: label should be in 0 … {num_classes - 1}, got {first} "
            f"({len(wrong)} record(s) out of range)."
        )


def _require_options(
    batch_size: int,
    seed: int,
    epochs: int | None,
    shard_index: int,
    shard_count: int,
    workers: int,
    start: int,
    prefetch: int,
) -> None:
    smallest = {"batch_size": (batch_size, 1), "workers": (workers, 0), "start": (start, 0), "prefetch": (prefetch, 1)}
    if epochs is not None:
        smallest["epochs"] = (epochs, 1)
    for name, (value, least) in smallest.items():
        if value < least:
            raise ValueError(f"{name} should be at least {least}, got {value}.")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed should be in 0 … 2⁶⁴ − 1, got {seed}.")
    if not 0 <= shard_index < shard_count:
        raise ValueError(f"shard should be (p, P) with 0 ≤ p < P, got ({shard_index}, {shard_count}).")
    if batch_size % shard_count:
        raise ValueError(
            f"batch_size should be a multiple of the number of shards, got {batch_size} for {shard_count} shards: "
            f"use {batch_size - batch_size % shard_count or shard_count} or "
            f"{batch_size - batch_size % shard_count + shard_count}."
        )


def _allow_worker_processes() -> None:
    # Grain reads absl flags when it starts a worker, which fails where absl.app never parsed them.
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _end_with_parent(worker: int, count: int) -> None:
    """End this worker process as soon as its parent is gone, even by SIGKILL.

    Grain's workers otherwise live on for ever. Watching the pipe that spawned processes share with their parent works
    on every platform; Linux's PR_SET_PDEATHSIG would also fire when merely the thread that started the worker ends.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=functools.partial(_exit_after, parent.sentinel), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
