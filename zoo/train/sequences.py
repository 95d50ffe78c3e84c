"""Tasks on sequences: one truth for a whole sequence, or one for every step."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo.layers import Sequence, valid_steps
from zoo.train.task import Batch, Sums, Task, mask_of


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
    if not every_step:
        return dataclasses.replace(task, inputs=sequence_of)

    def loss(outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        values, weights = task.loss(_flat(outputs), _as_examples(task, outputs, batch))
        return values.reshape(outputs.shape[:2]), weights.reshape(outputs.shape[:2])

    def metrics(outputs: jax.Array, batch: Batch) -> Sums:
        return task.metrics(_flat(outputs), _as_examples(task, outputs, batch))

    def predict(outputs: jax.Array) -> jax.Array:
        return task.predict(_flat(outputs)).reshape(outputs.shape)

    return dataclasses.replace(task, loss=loss, metrics=metrics, predict=predict, inputs=sequence_of)


def counted_steps(batch: Batch, steps: int) -> jax.Array:
    """(B, T) float32: 1 for the steps that count, of real examples within their length and `valid`."""
    counted = valid_steps(batch["length"], steps)
    if "valid" in batch:
        counted = counted & (batch["valid"] > 0)
    return counted * mask_of(batch, counted.shape[0])[:, None]


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[2:])


def _as_examples(task: Task, outputs: jax.Array, batch: Batch) -> Mapping[str, Any]:
    counted = counted_steps(batch, outputs.shape[1])
    truth = batch[task.truth]
    # What stands in steps that do not count is no truth, and need not be a class.
    there = counted.reshape(*counted.shape, *[1] * (truth.ndim - 2)) > 0
    return {task.truth: _flat(jnp.where(there, truth, jnp.zeros((), truth.dtype))), "mask": _flat(counted)}
