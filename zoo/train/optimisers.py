"""Optimisers by name, with warm-up, cosine decay, decoupled weight decay on kernels only, and clipping.

All of it is Optax; this file only fixes the order in which its parts are chained.
"""

from typing import Any

import jax
import optax

from zoo.errors import UserError, unknown

OPTIMISERS = {
    "adam": lambda momentum: optax.scale_by_adam(),
    "adamw": lambda momentum: optax.scale_by_adam(),
    "lion": lambda momentum: optax.scale_by_lion(),
    "lamb": lambda momentum: optax.scale_by_adam(eps=1e-6),
    "rmsprop": lambda momentum: optax.scale_by_rms(),
    "sgd": lambda momentum: optax.trace(decay=momentum, nesterov=True),
}


def warmup_cosine(peak: float, *, steps: int, warmup: int = 0, final: float = 0.0) -> optax.Schedule:
    """Learning rate that rises linearly to `peak` over `warmup` steps and falls to `final`·peak on a half cosine.

    (Loshchilov & Hutter 2016, https://arxiv.org/abs/1608.03983, without restarts.)

    Raises:
        UserError: when the warm-up does not end before the training does.
    """
    if not 0 <= warmup < steps:
        raise UserError(f"The warm-up ({warmup} steps) must end before the training does ({steps} steps).")
    return optax.warmup_cosine_decay_schedule(0.0 if warmup else peak, peak, warmup, steps, final * peak)


def kernels_only(params: Any) -> Any:
    """True for parameters with two axes or more: biases and normalisation scales are not decayed."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def optimiser(
    name: str,
    learning_rate: float | optax.Schedule,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    clip: float | None = None,
) -> optax.GradientTransformation:
    """Chain: clip the global gradient norm → direction → + weight_decay · kernel → × −learning rate.

    Of Adam the decay is part of the gradient, as a penalty would be, and of all that Adam makes of gradients: where the
    loss has almost none, it rules (Kingma & Ba 2014, https://arxiv.org/abs/1412.6980, as in Kipf & Welling's GCN).
    LAMB scales direction plus decay by its trust ratio (You+19, https://arxiv.org/abs/1904.00962, algorithm 2).

    Args:
        name: `adam`, `adamw`, `lamb`, `lion`, `rmsprop` or `sgd` (Nesterov).
        learning_rate: number or schedule of the step.
        weight_decay: decoupled (Loshchilov & Hutter 2017, https://arxiv.org/abs/1711.05101) but of `adam`; on kernels
            only.
        momentum: of `sgd`.
        clip: largest global norm of the gradient, `None` for no clipping.

    Raises:
        UnknownName: with the closest names.
    """
    if name not in OPTIMISERS:
        raise unknown("optimiser", name, OPTIMISERS)
    parts = [OPTIMISERS[name](momentum)]
    if weight_decay:
        decay = optax.add_decayed_weights(weight_decay, mask=kernels_only)
        parts = [decay, *parts] if name == "adam" else [*parts, decay]
    if clip is not None:
        parts.insert(0, optax.clip_by_global_norm(clip))
    if name == "lamb":
        parts.append(optax.scale_by_trust_ratio())
    return optax.chain(*parts, optax.scale_by_learning_rate(learning_rate))
