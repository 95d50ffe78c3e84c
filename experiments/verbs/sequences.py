"""From a record of a sequence to what a network takes: once per record, in NumPy; and the augmentation of sequences."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo.errors import UserError
from zoo_datasets.loading.buckets import MOST
from zoo_experiments.verbs.checks import require, require_at_least, require_finite


@dataclass(frozen=True)
class Sequences:
    """Compression of values, numbers of the whole beside every step, and lengths.

    Attributes:
        softening: values v become arcsinh(v / softening): linear below, logarithmic above; 0 leaves them. Bounds what a
            rare bright step does.
        add: fields of the record, one number each, that stand beside the channels of every step, as they are.
        last: number of steps that are kept, the last ones before the length; 0 for all.
        random_end: in training every sequence ends at a random step, anew each time, so that the network learns to
            speak before the end. For one truth of the whole sequence.
        buckets: largest number of array lengths in training, and so of compilations.

    Raises:
        UserError: a value out of range.
    """

    softening: float = 0.0
    add: tuple[str, ...] = ()
    last: int = 0
    random_end: bool = False
    buckets: int = MOST

    def __post_init__(self) -> None:
        require_finite("sequences.softening", self.softening)
        require_at_least("sequences.last", self.last, 0)
        require(1 <= self.buckets <= MOST, "sequences.buckets", f"1 … {MOST}", self.buckets)

    def __call__(self, record: dict) -> dict:
        """Replace `sequence` (T, C) by float32 (T, C + fields added), zeros beyond the length; symbols stay (T,)."""
        if "length" not in record:
            raise UserError("A record with a field sequence needs a field length, the number of its steps.")
        values, length = record["sequence"], int(record["length"])
        if values.ndim == 1 and (self.softening or self.add):
            raise UserError("sequences.softening and sequences.add are for numbers; these sequences are of symbols.")
        if values.ndim > 1:
            values = values.astype(np.float32)
            values = np.arcsinh(values / self.softening) if self.softening else values
            missing = [name for name in self.add if np.ndim(record.get(name, ())) or name not in record]
            if missing:
                raise UserError(f"sequences.add names {missing[0]!r}, which is no number of the records.")
            if self.add:
                whole = np.broadcast_to(
                    np.array([record[name] for name in self.add], np.float32), (len(values), len(self.add))
                )
                values = np.concatenate([values, whole], axis=1)
            values = np.where(np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1)) < length, values, 0)
        return self._cut({**record, "sequence": values.astype(np.float32) if values.ndim > 1 else values}, length)

    def _cut(self, record: dict, length: int) -> dict:
        total = record["sequence"].shape[0]
        if not self.last or total <= self.last:
            return record
        first = min(max(length - self.last, 0), total - self.last)
        steps = {n: v[first : first + self.last] for n, v in record.items() if _has_steps(n, v, record["sequence"])}
        # A length beyond the array stays as it is, to be refused with the number of its record.
        return {**record, **steps, "length": np.int32(length - first if length <= total else length)}


def _has_steps(name: str, value: object, sequence: np.ndarray) -> bool:
    return name in ("sequence", "times", "valid", "label", "target") and np.shape(value)[:1] == sequence.shape[:1]


def random_end(key: jax.Array, sequence: zoo.Sequence) -> zoo.Sequence:
    """A sequence (T, …) that ends at one of its steps, each as likely as any other."""
    length = jax.random.randint(key, (), 1, jnp.maximum(sequence.lengths, 1) + 1, sequence.lengths.dtype)
    return zoo.Sequence(sequence.values, length)
