"""Several tasks at once, for a network that gives a tuple of outputs, one for each task."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from zoo.train.task import Batch, Sums, Task, mask_of


def joint(*tasks: Task, weights: Sequence[float] | None = None) -> Task:
    """The weighted sum of the losses of several tasks, example by example.

    Of each task the mean loss of an example counts, whether it is about pixels or about the whole image.

    Args:
        tasks: one for each entry of the network's outputs.
        weights: of their losses; equal when not given.

    Returns:
        A task whose outputs and predictions are tuples. Its numbers are those of all tasks; of two of one name the
        first stays.

    Raises:
        ValueError: no task, or not one weight for each.
    """
    shares = tuple(1.0 for _ in tasks) if weights is None else tuple(float(weight) for weight in weights)
    if not tasks or len(shares) != len(tasks):
        raise ValueError(f"{len(tasks)} tasks need as many weights, and at least one; got {len(shares)}.")

    def loss(outputs: tuple[Any, ...], batch: Batch) -> tuple[jax.Array, jax.Array]:
        total, size = 0.0, jax.tree.leaves(outputs)[0].shape[0]
        for task, share, said in zip(tasks, shares, outputs, strict=True):
            values, counted = (part.reshape(size, -1) for part in jnp.broadcast_arrays(*task.loss(said, batch)))
            sums = jnp.sum(counted, axis=1)
            total += share * jnp.sum(values * counted, axis=1) / jnp.where(sums > 0, sums, 1)
        return total, mask_of(batch, size).astype(total.dtype)

    def metrics(outputs: tuple[Any, ...], batch: Batch) -> Sums:
        return {str(i): task.metrics(said, batch) for i, (task, said) in enumerate(zip(tasks, outputs, strict=True))}

    def finalise(sums: Sums) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for i, task in enumerate(tasks):
            found = {**task.finalise(sums[str(i)]), **found}
        return found

    def predict(outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(task.predict(said) for task, said in zip(tasks, outputs, strict=True))

    maps = tuple(dict.fromkeys(name for task in tasks for name in task.maps))
    return Task(loss, metrics, finalise, predict, inputs=tasks[0].inputs, truth=tasks[0].truth, maps=maps)
