"""Losses as values per example; weights and masks are applied once, by the training step."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array, *, label_smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy −Σ_k q_k log p_k with q = (1 − ε)·onehot + ε/K (Szegedy+16, https://arxiv.org/abs/1512.00567, §7).

    Args:
        logits: (…, K), reduced in float32 at least.
        labels: (…) integers in [0, K).
        label_smoothing: ε in [0, 1).

    Returns:
        (…) in nats.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}.")
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    log_p = jax.nn.log_softmax(logits, axis=-1)
    picked = jnp.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    return -(1 - label_smoothing) * picked - label_smoothing * jnp.mean(log_p, axis=-1)


def huber(outputs: jax.Array, targets: jax.Array, *, delta: float = 1.0) -> jax.Array:
    """Huber's loss, Σ over the last axis of e²/2 where |e| ≤ δ and δ(|e| − δ/2) beyond (Huber 1964).

    Args:
        outputs: (…, D), reduced in float32 at least.
        targets: (…, D), in the same units.
        delta: δ > 0, in the units of the targets; infinity gives half the squared error.

    Returns:
        (…).
    """
    if not delta > 0:
        raise ValueError(f"delta must be above 0, got {delta}.")
    dtype = jnp.promote_types(outputs.dtype, jnp.float32)
    size = jnp.abs(outputs.astype(dtype) - targets.astype(dtype))
    # Both branches finite for every δ: inf · 0 would be NaN in the gradient.
    inside = jnp.minimum(size, delta)
    return jnp.sum(inside * (size - inside / 2), axis=-1)


def balanced_weights(counts: jax.Array) -> jax.Array:
    """Class weights N / (K · n_k), so that every class carries the same total weight.

    Args:
        counts: (K,) numbers of training examples, all positive.

    Returns:
        (K,) float32; the mean over the training examples is 1.
    """
    counts = jnp.asarray(counts, jnp.float32)
    return jnp.sum(counts) / (counts.shape[0] * counts)
