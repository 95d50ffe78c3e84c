"""Tasks whose truth belongs to the rows of an example, such as steps, nodes, edges or points: each is an example."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo.layers import PaddedGraphs, PointSet
from zoo.train.task import Batch, Sums, Task, mask_of

# Signature: (batch, R) → (B, R) float32, 1 for the rows that count.
CountedFn = Callable[[Batch, int], jax.Array]


def counted_rows(batch: Batch, rows: int) -> jax.Array:
    """(B, R) float32: 1 for the rows of real examples that count by the entry `valid` (B, R) of a batch.

    Raises:
        ValueError: no entry of this shape.
    """
    if "valid" not in batch or batch["valid"].shape[1:] != (rows,):
        got = batch["valid"].shape if "valid" in batch else "none"
        raise ValueError(f"Outputs of {rows} rows need an entry valid (B, {rows}) that says which count; got {got}.")
    return (batch["valid"] > 0) * mask_of(batch, batch["valid"].shape[0])[:, None]


def on_rows(task: Task, *, counted: CountedFn = counted_rows) -> Task:
    """A task such as `classification` or `regression`, whose outputs are (B, R, K) and whose truth is (B, R, …).

    Args:
        task: for outputs (B, K) and truth (B, …).
        counted: which rows count; the truth of the others is not looked at.
    """

    def loss(outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        values, weights = task.loss(_flat(outputs), as_examples(outputs, batch))
        return values.reshape(outputs.shape[:2]), weights.reshape(outputs.shape[:2])

    def metrics(outputs: jax.Array, batch: Batch) -> Sums:
        return task.metrics(_flat(outputs), as_examples(outputs, batch))

    def predict(outputs: jax.Array) -> jax.Array:
        return task.predict(_flat(outputs)).reshape(outputs.shape)

    def as_examples(outputs: jax.Array, batch: Batch) -> Mapping[str, Any]:
        mask, truth = counted(batch, outputs.shape[1]), batch[task.truth]
        # What stands in rows that do not count is no truth, and need not be a class.
        there = mask.reshape(*mask.shape, *[1] * (truth.ndim - 2)) > 0
        return {task.truth: _flat(jnp.where(there, truth, jnp.zeros((), truth.dtype))), "mask": _flat(mask)}

    return dataclasses.replace(task, loss=loss, metrics=metrics, predict=predict)


def graphs_of(batch: Batch) -> PaddedGraphs:
    """The graphs of a batch: the entries `nodes` (B, N, F), `senders` and `receivers` (B, E), `n_node` and `n_edge`
    (B,), and where they are there `edges` (B, E, …) and `pairs` (B, P, 2).
    """
    return PaddedGraphs(
        nodes=batch["nodes"],
        senders=batch["senders"],
        receivers=batch["receivers"],
        n_node=batch["n_node"],
        n_edge=batch["n_edge"],
        edges=batch.get("edges"),
        pairs=batch.get("pairs"),
    )


def points_of(batch: Batch) -> PointSet:
    """The sets of points of a batch: the entries `points` (B, N, C) and `n_point` (B,)."""
    points = batch["points"]
    return PointSet(points, jnp.arange(points.shape[1])[None] < batch["n_point"][:, None])


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[2:])
