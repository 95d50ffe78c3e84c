"""Tasks whose truth belongs to pixels: one class for each, yes/no maps that may overlap, or maps of numbers.

A pixel counts where the example's `mask` and, if the batch has one, the entry `valid` (B, …) are not 0. What stands in
other pixels — labels outside the classes, NaN — touches neither loss, gradient nor metrics. An image without any
object, and a class without any pixel, are legal everywhere.

Loss per pixel, or per example? Cross-entropy, focal loss and regression are means over pixels that count. Dice is a
ratio of sums over one example, so the loss is a mean over examples; `cross_entropy+dice` is the mean over examples of
the example's mean cross-entropy plus its Dice loss.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from zoo.train.boundary import boundary_report, boundary_sums
from zoo.train.dense_metrics import mask_report, mask_sums, segmentation_report, segmentation_sums
from zoo.train.losses import (
    LOG_VARIANCE_FLOOR,
    binary_cross_entropy,
    binary_focal,
    binary_soft_dice,
    cross_entropy,
    focal,
    gaussian_nll,
    huber,
    soft_dice,
)
from zoo.train.map_metrics import map_report, map_sums
from zoo.train.task import Batch, Sums, Task, mask_of

DenseLoss = Literal["cross_entropy", "focal", "dice", "cross_entropy+dice"]
DENSE_LOSSES: tuple[str, ...] = get_args(DenseLoss)


def segmentation(
    *,
    class_names: Sequence[str] | None = None,
    class_weights: Sequence[float] | None = None,
    loss: DenseLoss = "cross_entropy",
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    background: int | None = None,
    boundary: float | None = None,
) -> Task:
    """Choose one of K classes for each pixel: logits (B, …, K), integer labels (B, …) in the entry `label`.

    Args:
        class_names: K names for the report.
        class_weights: K weights: of the pixels of each class, or of the classes' terms in Dice's loss.
        loss: which; `losses.cross_entropy`, `focal`, `soft_dice`, or the sum of the first and last.
        gamma: γ of the focal loss.
        label_smoothing: ε of the cross-entropy; `nll` in the metrics is unsmoothed.
        background: number of a class that is left out of the means over classes in the report.
        boundary: tolerance in pixels of the boundary F1, which is counted when it is given. Its time grows with the
            square of the tolerance: for evaluation rather than for every step.

    Returns:
        A task whose predictions are probabilities (B, …, K).

    Raises:
        ValueError: an unknown loss or an option that it does not have; later, outputs, labels or `valid` of sizes that
            do not belong together.
    """
    _check_loss(loss, label_smoothing=label_smoothing)
    names = None if class_names is None else tuple(str(name) for name in class_names)
    weights_of_class = None if class_weights is None else tuple(float(w) for w in class_weights)
    if names is not None and weights_of_class is not None and len(names) != len(weights_of_class):
        raise ValueError(f"{len(names)} classes need as many class_weights, got {len(weights_of_class)}.")

    def checked(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        classes = logits.shape[-1]
        for what, given in (("class_names", names), ("class_weights", weights_of_class)):
            if given is not None and len(given) != classes:
                raise ValueError(f"{classes} classes (outputs {logits.shape}) need as many {what}, got {len(given)}.")
        _check_shape("label", batch["label"], logits.shape[:-1], logits, "one class per pixel")
        weights = _pixel_weights(batch, logits)
        counted = weights > 0
        return jnp.where(counted[..., None], logits, 0), jnp.where(counted, batch["label"], 0), weights

    def values(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        logits, labels, weights = checked(logits, batch)
        dice = per_pixel = None
        if "dice" in loss:
            per_class = None if weights_of_class is None else jnp.asarray(weights_of_class, weights.dtype)
            dice = soft_dice(logits, labels, weights=weights, class_weights=per_class)
        if loss != "dice":
            per_pixel = (
                focal(logits, labels, gamma=gamma)
                if loss == "focal"
                else cross_entropy(logits, labels, label_smoothing=label_smoothing)
            )
        scaled = weights if weights_of_class is None else weights * jnp.asarray(weights_of_class, weights.dtype)[labels]
        return _combined(per_pixel, scaled, dice, weights)

    def metrics(logits: jax.Array, batch: Batch) -> Sums:
        logits, labels, weights = checked(logits, batch)
        sums = segmentation_sums(logits, labels, weights > 0)
        if boundary is not None:
            chosen = (jnp.argmax(logits, axis=-1), labels)
            predicted, truth = (jax.nn.one_hot(k, logits.shape[-1], dtype=bool) for k in chosen)
            sums |= boundary_sums(predicted, truth, weights > 0, tolerance=boundary)
        return sums

    def finalise(sums: Sums) -> dict:
        outlines = {} if boundary is None else boundary_report(sums, names, background=background)
        return segmentation_report(sums, names, background=background) | outlines

    return Task(loss=values, metrics=metrics, finalise=finalise, predict=jax.nn.softmax, maps=("label", "valid"))


def masks(
    *,
    names: Sequence[str] | None = None,
    loss: DenseLoss = "cross_entropy",
    positive_weight: float | Sequence[float] = 1.0,
    gamma: float = 2.0,
    boundary: float | None = None,
) -> Task:
    """M yes/no maps that may overlap: logits (B, …, M), truth 0 or 1 (B, …, M) in the entry `masks`.

    Args:
        names: M names for the report.
        loss: which; `losses.binary_cross_entropy`, `binary_focal`, `binary_soft_dice`, or the sum of first and last.
        positive_weight: weight of pixels where the truth is yes, beside 1 where it is no; one number, or one per map.
        gamma: γ of the focal loss.
        boundary: as in `segmentation`.

    Returns:
        A task whose predictions are probabilities (B, …, M), by the sigmoid.

    Raises:
        ValueError: an unknown loss or an option that it does not have; later, outputs, masks or `valid` of sizes that
            do not belong together.
    """
    weight_of_map = tuple(float(w) for w in np.atleast_1d(positive_weight))
    if not all(w > 0 for w in weight_of_map):
        raise ValueError(f"positive_weight must be above 0, got {positive_weight}.")
    _check_loss(loss, positive_weight=float(any(w != 1 for w in weight_of_map)))
    names = None if names is None else tuple(str(name) for name in names)

    def checked(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        count = logits.shape[-1]
        if names is not None and len(names) != count:
            raise ValueError(f"{count} maps (outputs {logits.shape}) need as many names, got {len(names)}.")
        if len(weight_of_map) not in (1, count):
            raise ValueError(f"{count} maps need 1 or {count} values of positive_weight, got {len(weight_of_map)}.")
        _check_shape("masks", batch["masks"], logits.shape, logits, "one 0 or 1 per pixel and map")
        weights = _pixel_weights(batch, logits)
        counted = weights[..., None] > 0
        return jnp.where(counted, logits, 0), jnp.where(counted, batch["masks"], 0), weights

    def values(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        logits, truth, weights = checked(logits, batch)
        dice = binary_soft_dice(logits, truth, weights=weights) if "dice" in loss else None
        per_pixel = None
        if loss != "dice":
            per_pixel = (
                binary_focal(logits, truth, gamma=gamma) if loss == "focal" else binary_cross_entropy(logits, truth)
            )
        positive = jnp.asarray(weight_of_map, weights.dtype).reshape(*[1] * weights.ndim, -1)
        scaled = jnp.where(truth > 0, positive, 1) * weights[..., None]
        return _combined(per_pixel, scaled, dice, weights)

    def metrics(logits: jax.Array, batch: Batch) -> Sums:
        logits, truth, weights = checked(logits, batch)
        sums = mask_sums(logits, truth, weights > 0)
        if boundary is not None:
            sums |= boundary_sums(logits > 0, truth > 0, weights > 0, tolerance=boundary)
        return sums

    def finalise(sums: Sums) -> dict:
        return mask_report(sums, names) | ({} if boundary is None else boundary_report(sums, names))

    return Task(
        loss=values,
        metrics=metrics,
        finalise=finalise,
        predict=jax.nn.sigmoid,
        truth="masks",
        maps=("masks", "valid"),
    )


def maps(
    *,
    centre: Sequence[float] = (0.0,),
    scale: Sequence[float] = (1.0,),
    delta: float = float("inf"),
    heteroscedastic: bool = False,
    beta: float = 0.0,
    names: Sequence[str] | None = None,
) -> Task:
    """D numbers for each pixel, with their standard deviations if wanted; truth (B, …, D) in the entry `target`.

    The outputs are in units of `scale` around `centre`: (B, …, D), or (B, …, 2·D) with the log-variances last. The loss
    is Huber's, or the Gaussian negative log-likelihood.

    Args:
        centre: D values subtracted from the targets, such as their means over the training data.
        scale: D positive values the targets are then divided by, such as their standard deviations.
        delta: δ of `losses.huber` in standardised units; infinity for half the squared error.
        heteroscedastic: the network also gives log-variances, and `losses.gaussian_nll` is the loss.
        beta: of that loss: how much of the weight that errors of small variance have is taken back.
        names: D names for the report.

    Returns:
        A task whose predictions are (B, …, D) in units of the targets, or (B, …, 2·D) with the standard deviations
        last.

    Raises:
        ValueError: a scale that is not positive, numbers of values that differ, a δ beside `heteroscedastic`; later,
            outputs, targets or `valid` of sizes that do not belong together.
    """
    centres, scales = tuple(float(c) for c in centre), tuple(float(s) for s in scale)
    if len(centres) != len(scales) or not all(s > 0 for s in scales):
        raise ValueError(f"centre and scale need D values each, scales above 0; got {centres} and {scales}.")
    names = None if names is None else tuple(str(name) for name in names)
    if names is not None and len(names) != len(scales):
        raise ValueError(f"{len(scales)} maps (centre, scale) need as many names, got {len(names)}.")
    if heteroscedastic and delta != float("inf"):
        raise ValueError(f"heteroscedastic maps have a Gaussian likelihood, which has no delta; got delta={delta}.")
    size = len(scales)
    channels = 2 * size if heteroscedastic else size

    def units(values: tuple[float, ...], like: jax.Array) -> jax.Array:
        # Predictions may be NumPy's, in a precision that JAX does not have on.
        return jnp.asarray(values, jnp.result_type(like)).reshape(*[1] * (like.ndim - 1), size)

    def checked(outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        if outputs.shape[-1] != channels:
            with_spread = " (means, then log-variances)" if heteroscedastic else ""
            raise ValueError(f"{size} maps need outputs (B, …, {channels}){with_spread}, got {outputs.shape}.")
        expected = (*outputs.shape[:-1], size)
        _check_shape("target", batch["target"], expected, outputs, f"{size} numbers per pixel")
        weights = _pixel_weights(batch, outputs)
        counted = weights[..., None] > 0
        # Selected before any arithmetic: the gradient of what is selected afterwards would be 0 · NaN.
        outputs = jnp.where(counted, outputs, 0).astype(weights.dtype)
        targets = jnp.where(counted, batch["target"], 0).astype(weights.dtype)
        return outputs, (targets - units(centres, targets)) / units(scales, targets), weights

    def values(outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        outputs, targets, weights = checked(outputs, batch)
        if heteroscedastic:
            return gaussian_nll(outputs[..., :size], outputs[..., size:], targets, beta=beta), weights
        return huber(outputs, targets, delta=delta), weights

    def metrics(outputs: jax.Array, batch: Batch) -> Sums:
        outputs, targets, weights = checked(outputs, batch)
        return map_sums(outputs, targets, weights > 0)

    def finalise(sums: Sums) -> dict:
        return map_report(sums, names, scale=scales)

    def predict(outputs: jax.Array) -> jax.Array:
        outputs = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
        mean = outputs[..., :size] * units(scales, outputs) + units(centres, outputs)
        if not heteroscedastic:
            return mean
        deviation = jnp.exp(jnp.maximum(outputs[..., size:], LOG_VARIANCE_FLOOR) / 2) * units(scales, outputs)
        return jnp.concatenate([mean, deviation], axis=-1)

    return Task(
        loss=values, metrics=metrics, finalise=finalise, predict=predict, truth="target", maps=("target", "valid")
    )


def _check_loss(loss: str, *, label_smoothing: float = 0.0, positive_weight: float = 0.0) -> None:
    if loss not in DENSE_LOSSES:
        raise ValueError(f"loss must be one of {', '.join(map(repr, DENSE_LOSSES))}; got {loss!r}.")
    if label_smoothing and loss in ("focal", "dice"):
        raise ValueError(f"label_smoothing belongs to the cross-entropy; loss {loss!r} has none.")
    if positive_weight and loss == "dice":
        raise ValueError("positive_weight belongs to losses per pixel; loss 'dice' has none.")


def _check_shape(name: str, truth: jax.Array, expected: tuple[int, ...], outputs: jax.Array, meaning: str) -> None:
    if truth.shape != expected:
        raise ValueError(
            f"Outputs {outputs.shape} need {name} of shape {tuple(expected)}, {meaning}; got {truth.shape}. "
            "Crop, pad or resample images and truth alike."
        )


def _pixel_weights(batch: Batch, outputs: jax.Array) -> jax.Array:
    """Weights (B, …) of the pixels: the example's mask times `valid`, in float32 at least."""
    dtype = jnp.promote_types(outputs.dtype, jnp.float32)
    sizes = outputs.shape[:-1]
    mask = mask_of(batch, sizes[0]).astype(dtype).reshape(-1, *[1] * (len(sizes) - 1))
    if "valid" not in batch:
        return jnp.broadcast_to(mask, sizes)
    _check_shape("valid", batch["valid"], sizes, outputs, "one 0 or 1 per pixel")
    return mask * batch["valid"].astype(dtype)


def _combined(
    per_pixel: jax.Array | None, scaled: jax.Array, dice: jax.Array | None, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Values and weights of a loss that has a part per pixel (B, …), a part per example (B,), or both.

    Args:
        per_pixel: values per pixel, or per pixel and map.
        scaled: their weights.
        dice: values per example.
        weights: (B, …) weights of the pixels without those of classes.
    """
    if dice is None:
        return per_pixel, scaled
    example = jnp.any(weights > 0, axis=tuple(range(1, weights.ndim))).astype(dice.dtype)
    if per_pixel is None:
        return dice, example
    axes = tuple(range(1, per_pixel.ndim))
    total = jnp.sum(scaled, axis=axes)
    return dice + jnp.sum(per_pixel * scaled, axis=axes) / jnp.where(total > 0, total, 1), example
