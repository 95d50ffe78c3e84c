"""Tasks on sequences: one truth for a whole sequence, or one for every step."""

import dataclasses

import jax

from zoo.layers import Sequence, valid_steps
from zoo.train.rows import on_rows
from zoo.train.task import Batch, Task, mask_of


def sequence_of(batch: Batch) -> Sequence:
    """The entries `sequence` (B, T, …) and `length` (B,) of a batch."""
    return Sequence(batch["sequence"], batch["length"])


def on_sequences(task: Task, *, every_step: bool = False) -> Task:
    """A task for images, such as `classification` or `regression`, for batches of sequences.

    Args:
        task: for outputs (B, K) and truth (B, …).
        every_step: outputs are (B, T, K) and the truth (B, T, …): every step within its sequence's length, and where
            the batch has an entry `valid` (B, T) above 0, is an example of its own.
    """
    task = on_rows(task, counted=counted_steps) if every_step else task
    return dataclasses.replace(task, inputs=sequence_of)


def counted_steps(batch: Batch, steps: int) -> jax.Array:
    """(B, T) float32: 1 for the steps that count, of real examples within their length and `valid`."""
    counted = valid_steps(batch["length"], steps)
    if "valid" in batch:
        counted = counted & (batch["valid"] > 0)
    return counted * mask_of(batch, counted.shape[0])[:, None]
