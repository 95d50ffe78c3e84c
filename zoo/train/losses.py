"""Losses as values per example or per pixel; weights and masks are applied once, by the training step."""

import jax
import jax.numpy as jnp

# Smallest log-variance that `gaussian_nll` and what reads it take at its word: σ = 3e-4 of the unit.
LOG_VARIANCE_FLOOR = -16.0


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
    log_p = jax.nn.log_softmax(_at_least_float32(logits), axis=-1)
    picked = jnp.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    return -(1 - label_smoothing) * picked - label_smoothing * jnp.mean(log_p, axis=-1)


def binary_cross_entropy(logits: jax.Array, masks: jax.Array) -> jax.Array:
    """Cross-entropy of yes/no maps, −t log σ(z) − (1 − t) log(1 − σ(z)), entry by entry.

    Args:
        logits: any shape, reduced in float32 at least.
        masks: truth t of the same shape, 0 or 1 (or between).

    Returns:
        The same shape, in nats.
    """
    logits = _at_least_float32(logits)
    truth = masks.astype(logits.dtype)
    return truth * jax.nn.softplus(-logits) + (1 - truth) * jax.nn.softplus(logits)


def focal(logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0) -> jax.Array:
    """Focal loss −(1 − p_t)^γ log p_t of the true class t (Lin+17, https://arxiv.org/abs/1708.02002, eq. 4).

    The weights α_t of its equation 5 are class weights, which a task applies.

    Args:
        logits: (…, K), reduced in float32 at least.
        labels: (…) integers in [0, K).
        gamma: γ ≥ 0; 0 gives the cross-entropy.

    Returns:
        (…) in nats.
    """
    _check_gamma(gamma)
    log_p = jax.nn.log_softmax(_at_least_float32(logits), axis=-1)
    picked = jnp.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    # log(1 − p_t) from the other classes: 1 − p_t itself would lose its digits, and its power its gradient, near 0.
    true = jax.nn.one_hot(labels, log_p.shape[-1], dtype=bool)
    others = jax.nn.logsumexp(jnp.where(true, jnp.finfo(log_p.dtype).min, log_p), axis=-1)
    return -jnp.exp(gamma * others) * picked


def binary_focal(logits: jax.Array, masks: jax.Array, *, gamma: float = 2.0) -> jax.Array:
    """Focal loss of yes/no maps, entry by entry: `focal` of the two classes no (logit 0) and yes (the logit).

    Args:
        logits: any shape, reduced in float32 at least.
        masks: truth of the same shape, 0 or 1.
        gamma: γ ≥ 0; 0 gives `binary_cross_entropy`.

    Returns:
        The same shape, in nats.
    """
    _check_gamma(gamma)
    logits = _at_least_float32(logits)
    margin = jnp.where(masks > 0, logits, -logits)
    return jnp.exp(-gamma * jax.nn.softplus(margin)) * jax.nn.softplus(-margin)


def soft_dice(
    logits: jax.Array,
    labels: jax.Array,
    *,
    weights: jax.Array | None = None,
    class_weights: jax.Array | None = None,
    smooth: float = 1.0,
) -> jax.Array:
    """Soft Dice loss 1 − mean_k (2 Σ w p t + s) / (Σ w (p + t) + s), sums over the pixels of an example.

    After Milletari+16 (https://arxiv.org/abs/1606.04797), with p and t in the denominator instead of their squares as
    in Sudre+17 (https://arxiv.org/abs/1707.03237, eq. of DL₂), p by softmax and t one-hot. A class that an example has
    not is predicted rightly where p = 0: its term is then 1.

    Args:
        logits: (B, …, K), reduced in float32 at least.
        labels: (B, …) integers in [0, K).
        weights: (B, …) weights w ≥ 0 of the pixels; what stands where w = 0 does not matter, NaN included.
        class_weights: (K,) weights of the classes in the mean; equal when not given.
        smooth: s > 0, in pixels.

    Returns:
        (B,) in [0, 1); 0 where all weights are 0.
    """
    logits, weights = _selected(_at_least_float32(logits), weights)
    truth = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    scores = _dice(jax.nn.softmax(logits, axis=-1), truth, weights, smooth)
    if class_weights is None:
        return 1 - jnp.mean(scores, axis=-1)
    share = jnp.asarray(class_weights, logits.dtype) / jnp.sum(jnp.asarray(class_weights, logits.dtype))
    return jnp.sum((1 - scores) * share[None], axis=-1)


def binary_soft_dice(
    logits: jax.Array, masks: jax.Array, *, weights: jax.Array | None = None, smooth: float = 1.0
) -> jax.Array:
    """Soft Dice loss of yes/no maps: `soft_dice` with p by the sigmoid of each map, mean over the maps.

    Args:
        logits: (B, …, M), reduced in float32 at least.
        masks: (B, …, M), 0 or 1.
        weights: (B, …) weights w ≥ 0 of the pixels; what stands where w = 0 does not matter, NaN included.
        smooth: s > 0, in pixels.

    Returns:
        (B,) in [0, 1); 0 where all weights are 0.
    """
    truth, _ = _selected(masks.astype(jnp.promote_types(logits.dtype, jnp.float32)), weights)
    logits, weights = _selected(_at_least_float32(logits), weights)
    return 1 - jnp.mean(_dice(jax.nn.sigmoid(logits), truth, weights, smooth), axis=-1)


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


def gaussian_nll(mean: jax.Array, log_variance: jax.Array, targets: jax.Array, *, beta: float = 0.0) -> jax.Array:
    """Negative log-likelihood Σ ½ (s + e² exp(−s)) of errors e with log-variance s, over the last axis.

    Nix & Weigend 1994; Kendall & Gal 17, https://arxiv.org/abs/1703.04977, eq. 5 and 8. Without the constant
    ½ log 2π, so that s = 0 gives half the squared error. The likelihood weights an error by its own variance, so that
    what is hard to learn is soon explained away as noise; `beta` takes that weight back (Seitzer+22,
    https://arxiv.org/abs/2203.09168, eq. 5): each term is multiplied by exp(β s), held constant in gradients. With
    β = 1 the mean learns as from the squared error; the best variance stays the same.

    Args:
        mean: (…, D), reduced in float32 at least.
        log_variance: (…, D), s; below `LOG_VARIANCE_FLOOR` it counts as that and has no gradient, which bounds exp(−s).
        targets: (…, D), in the units of the means.
        beta: β, 0 … 1; 0 is the likelihood.

    Returns:
        (…) in nats, where β is 0.
    """
    mean = _at_least_float32(mean)
    spread = jnp.maximum(log_variance.astype(mean.dtype), LOG_VARIANCE_FLOOR)
    terms = (spread + (targets.astype(mean.dtype) - mean) ** 2 * jnp.exp(-spread)) / 2
    if beta:
        # Bounded above as well: a wild start would overflow.
        terms *= jax.lax.stop_gradient(jnp.exp(beta * jnp.minimum(spread, -LOG_VARIANCE_FLOOR)))
    return jnp.sum(terms, axis=-1)


def balanced_weights(counts: jax.Array) -> jax.Array:
    """Class weights N / (K · n_k), so that every class carries the same total weight.

    Args:
        counts: (K,) numbers of training examples, all positive.

    Returns:
        (K,) float32; the mean over the training examples is 1.
    """
    counts = jnp.asarray(counts, jnp.float32)
    return jnp.sum(counts) / (counts.shape[0] * counts)


def _at_least_float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _check_gamma(gamma: float) -> None:
    if not gamma >= 0:
        raise ValueError(f"gamma must be 0 or more, got {gamma}.")


def _selected(maps: jax.Array, weights: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Maps that are 0 where the weight is 0, so that a NaN there stays out of sums and gradients; and the weights."""
    if weights is None:
        return maps, jnp.ones(maps.shape[:-1], maps.dtype)
    return jnp.where(weights[..., None] > 0, maps, 0), weights.astype(maps.dtype)


def _dice(p: jax.Array, truth: jax.Array, weights: jax.Array, smooth: float) -> jax.Array:
    """Dice coefficients (B, K) of maps of probability and truth (B, …, K)."""
    if not smooth > 0:
        raise ValueError(f"smooth must be above 0, or an empty image has no loss; got {smooth}.")
    pixels, weights = tuple(range(1, p.ndim - 1)), weights[..., None]
    shared = jnp.sum(weights * p * truth, axis=pixels)
    return (2 * shared + smooth) / (jnp.sum(weights * (p + truth), axis=pixels) + smooth)
