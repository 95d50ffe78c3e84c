"""A task: what a network is trained for, as pure functions.

`loss` gives values and weights per example (or per pixel, node …), so that padding, masks and class weights are one
mechanism: the step minimises Σ value·weight / Σ weight over the whole global batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from zoo.train.losses import cross_entropy, huber
from zoo.train.metrics import classification_report, classification_sums, regression_report, regression_sums

# A batch: {"image": (B, …, C), "label": (B,) or "target": (B, D), "mask": (B,) 1 = real, 0 = padding, …}.
Batch = Mapping[str, jax.Array]
# Sums that are merged by addition.
Sums = Mapping[str, Any]


def image_of(batch: Batch) -> jax.Array:
    """The entry `image` of a batch."""
    return batch["image"]


def mask_of(batch: Batch, size: int) -> jax.Array:
    """The entry `mask` (B,) of a batch, ones where it has none."""
    return batch["mask"] if "mask" in batch else jnp.ones(size, jnp.float32)


@dataclass(frozen=True)
class Task:
    """Pure functions that say what to minimise, count and predict.

    Attributes:
        loss: (outputs, batch) → (values, weights), arrays of one shape.
        metrics: (outputs, batch) → sums, merged by addition.
        finalise: sums → numbers, on the host.
        predict: outputs → predictions (for classification, probabilities).
        inputs: batch → what the model takes.
        truth: entry of the batch that loss and metrics need; batches without it can still be predicted.
        maps: entries of the batch that belong to pixels, and move with the image in augmentation.
    """

    loss: Callable[[Any, Batch], tuple[jax.Array, jax.Array]]
    metrics: Callable[[Any, Batch], Sums]
    finalise: Callable[[Sums], dict[str, Any]]
    predict: Callable[[Any], Any]
    inputs: Callable[[Batch], Any] = image_of
    truth: str = "label"
    maps: tuple[str, ...] = ()


def classification(
    *,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    class_names: Sequence[str] | None = None,
) -> Task:
    """Choose one of K classes: softmax cross-entropy on logits (B, K) and integer labels (B,).

    Args:
        class_weights: K weights of the classes in the loss; `losses.balanced_weights` makes them from counts.
        label_smoothing: ε of `losses.cross_entropy`; training loss only, `nll` in the metrics is unsmoothed.
        class_names: names for the report.
    """
    weights_of_class = None if class_weights is None else tuple(float(w) for w in class_weights)

    def loss(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        values = cross_entropy(logits, batch["label"], label_smoothing=label_smoothing)
        weights = mask_of(batch, values.shape[0]).astype(values.dtype)
        if weights_of_class is not None:
            if len(weights_of_class) != logits.shape[-1]:
                raise ValueError(f"{logits.shape[-1]} classes need as many class_weights, got {len(weights_of_class)}.")
            weights = weights * jnp.asarray(weights_of_class, values.dtype)[batch["label"]]
        return values, weights

    def metrics(logits: jax.Array, batch: Batch) -> Sums:
        return classification_sums(logits, batch["label"], mask_of(batch, logits.shape[0]))

    def finalise(sums: Sums) -> dict[str, Any]:
        return classification_report(sums, class_names)

    return Task(loss=loss, metrics=metrics, finalise=finalise, predict=jax.nn.softmax)


def regression(
    *, centre: Sequence[float] = (0.0,), scale: Sequence[float] = (1.0,), delta: float = float("inf")
) -> Task:
    """Predict D numbers: Huber's loss on standardised targets; predictions in the units of the targets.

    The network's outputs (B, D) are in units of `scale` around `centre`, so that one learning rate suits all targets.

    Args:
        centre: D values subtracted from the targets, such as their means over the training data.
        scale: D positive values the targets are then divided by, such as their standard deviations.
        delta: δ of `losses.huber` in standardised units; infinity for half the squared error.

    Raises:
        ValueError: a scale that is not positive, or not as many centres as scales.
    """
    centres, scales = tuple(float(c) for c in centre), tuple(float(s) for s in scale)
    if len(centres) != len(scales) or not all(s > 0 for s in scales):
        raise ValueError(f"centre and scale need D values each, scales above 0; got {centres} and {scales}.")

    def standardised(outputs: jax.Array, batch: Batch) -> jax.Array:
        targets = batch["target"]
        if not outputs.shape == targets.shape == (*outputs.shape[:-1], len(scales)):
            raise ValueError(
                f"{len(scales)} targets: expected outputs and targets (B, {len(scales)}), got "
                f"{outputs.shape} and {targets.shape}."
            )
        dtype = jnp.promote_types(outputs.dtype, jnp.float32)
        return (targets.astype(dtype) - jnp.asarray(centres, dtype)[None]) / jnp.asarray(scales, dtype)[None]

    def loss(outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        values = huber(outputs, standardised(outputs, batch), delta=delta)
        return values, mask_of(batch, values.shape[0]).astype(values.dtype)

    def metrics(outputs: jax.Array, batch: Batch) -> Sums:
        return regression_sums(outputs, standardised(outputs, batch), mask_of(batch, outputs.shape[0]))

    def finalise(sums: Sums) -> dict[str, Any]:
        return regression_report(sums, scales)

    def predict(outputs: jax.Array) -> jax.Array:
        dtype = jnp.promote_types(outputs.dtype, jnp.float32)
        return outputs.astype(dtype) * jnp.asarray(scales, dtype)[None] + jnp.asarray(centres, dtype)[None]

    return Task(loss=loss, metrics=metrics, finalise=finalise, predict=predict, truth="target")
