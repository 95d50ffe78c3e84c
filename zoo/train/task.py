"""A task: what a network is trained for, as pure functions.

`loss` gives values and weights per example (or per pixel, node …), so that padding, masks and class weights are one
mechanism: the step minimises Σ value·weight / Σ weight over the whole global batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from zoo.train.losses import cross_entropy
from zoo.train.metrics import classification_report, classification_sums

# A batch: {"image": (B, …, C), "label": (B,), "mask": (B,) 1 = real, 0 = padding, …}.
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
    """

    loss: Callable[[Any, Batch], tuple[jax.Array, jax.Array]]
    metrics: Callable[[Any, Batch], Sums]
    finalise: Callable[[Sums], dict[str, Any]]
    predict: Callable[[Any], Any]
    inputs: Callable[[Batch], Any] = image_of


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
