"""Grad-CAM: which places of a layer speak for a class, for any named layer of any Flax module."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from zoo import taps
from zoo.explain.score import as_inputs, score, select


def grad_cam(
    model: nn.Module,
    variables: Mapping[str, Any],
    x: jax.Array,
    *,
    target: int | jax.Array,
    layer: str,
    negative: bool = False,
    upsample: bool = True,
    **apply_kwargs: Any,
) -> jax.Array:
    """ReLU(Σ_c α_c A_c), α_c = mean over space of ∂y/∂A_c (Selvaraju+17, arXiv 1610.02391, eqs. 1 and 2).

    y (B,) is the logit of `target` (see `score`, which also takes the `apply_kwargs`) and A (B, …, C) the activation of
    `layer` (see `zoo.taps`), with any number of spatial axes: sequences, images, volumes. `negative` turns the sign of
    α, for the places that speak against the class (their "counterfactual explanation", §3.3).

    Returns (B, *spatial) ≥ 0, bilinearly resized to x's spatial shape when `upsample`, else in the layer's. Values
    are not normalised, so that maps of different images and classes can be compared.

    Raises ValueError for an unknown layer (with the closest names), an unreadable one, one without spatial axes, and,
    when `upsample`, one whose number of spatial axes is not x's; for a target out of range; for integer inputs.
    """
    x = as_inputs(x)
    f = score(model, variables, target, **apply_kwargs)
    f.func.check(*f.args, x)
    return _grad_cam(f, x, layer, negative, upsample)


@partial(jax.jit, static_argnames=("layer", "negative", "upsample"))
def _grad_cam(f: Partial, x: jax.Array, layer: str, negative: bool, upsample: bool) -> jax.Array:
    variables, target, arrays = f.args
    _, activations, gradients = taps.read_with_gradient(
        lambda outputs: select(outputs, target),
        f.func.module,
        variables,
        x,
        [layer],
        **dict(f.func.options),
        **arrays,
    )
    activation = _feature_map(activations[layer], x, layer, upsample)
    space = tuple(range(1, activation.ndim - 1))
    weights = jnp.mean(gradients[layer], space, keepdims=True)
    cam = jax.nn.relu(jnp.sum((-weights if negative else weights) * activation, -1))
    return jax.image.resize(cam, x.shape[:-1], "linear") if upsample else cam


def _feature_map(activation: Any, x: jax.Array, layer: str, upsample: bool) -> jax.Array:
    """The activation, checked to be (B, …, C) with spatial axes."""
    if isinstance(activation, tuple):
        raise ValueError(
            f"Layer '{layer}' is called several times or returns a tuple ({len(activation)} values); Grad-CAM needs"
            " one feature map (B, …, C): choose a layer that is called once and returns one array."
        )
    shape = jnp.shape(activation) if isinstance(activation, jax.Array) else jax.tree.structure(activation)
    if not isinstance(activation, jax.Array) or activation.ndim < 3 or shape[0] != x.shape[0]:
        raise ValueError(
            f"Layer '{layer}' has no spatial axes: Grad-CAM needs an activation (B, …, C) with B = {x.shape[0]} and at"
            f" least one axis between; got {shape}. Choose a layer before the pooling or flattening."
        )
    if upsample and activation.ndim != x.ndim:
        raise ValueError(
            f"Layer '{layer}' has shape {shape}, {activation.ndim - 2} spatial axes, where the inputs {x.shape} have"
            f" {x.ndim - 2}: it cannot be resized to them. Pass upsample=False and arrange the map yourself."
        )
    return activation
