"""Footprints: which input pixels an output depends on, read off the gradient of any function or model.

The receptive field that `zoo.layers.receptive_field` computes for a stack of windows is measured here, for anything
that can be differentiated (Luo+16, https://arxiv.org/abs/1701.04128): pixel i belongs to the footprint of an output
if ∂output / ∂x_i is not zero. Arithmetic zeros are exact in JAX, hence no threshold.

A gradient is that of one input and one set of weights, where a rectifier may be off and a maximum lies elsewhere. A
footprint is therefore the union over several draws of both. It never holds a pixel too many (but where a sum is
rounded differently, as by convolutions through Fourier transforms); it can lack pixels that no draw let through, and
more draws help. Draws are made to let much through: weights and inputs are positive in every other draw, so that no
rectifier is off, and the first image of each draw is constant, so that the maxima of `zoo.layers.max_pool` are tied and
share their gradient.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo import taps


def of_function(
    function: Callable[[jax.Array], jax.Array],
    shape: tuple[int, ...],
    position: tuple[int, ...],
    *,
    key: jax.Array,
    images: int = 16,
) -> np.ndarray:
    """Input pixels that `function` at `position` depends on, in any channel.

    Args:
        function: x (B, …, C) → y (B, …, K), each example on its own; differentiable.
        shape: spatial sizes and channels of one input, (H, W, C).
        position: place of the output, one index per spatial axis of y; `()` for y (B, K).
        key: for the random inputs, and random weights of the outputs' channels.
        images: random inputs of which the union is taken.

    Returns:
        Boolean mask over the pixels, (H, W) or whatever the spatial sizes are.

    Raises:
        ValueError: a position that the output does not have.
    """

    @jax.jit
    def seen(key: jax.Array) -> jax.Array:
        first, second = jax.random.split(key)
        return _seen(function, position, _images(first, (images, *shape), False), second)

    return np.asarray(seen(key))


def of_layer(
    model: nn.Module,
    layer: str | None,
    shape: tuple[int, ...],
    position: tuple[int, ...],
    *,
    key: jax.Array,
    images: int = 8,
    draws: int = 2,
    **kwargs: Any,
) -> np.ndarray:
    """Input pixels that a layer of `model` depends on at `position`, whatever the weights.

    Args:
        model: a Flax module x (B, …, C) → outputs.
        layer: one of `zoo.taps.names(model, x)`, with activations (B, …, K); `None` for the model's own output.
        shape: spatial sizes and channels of one input, (H, W, C).
        position: place in the activation, one index per spatial axis; `()` for activations (B, K).
        key: for random weights and inputs.
        images: random inputs per set of weights.
        draws: random sets of weights, in turn positive and of either sign.
        **kwargs: passed to the model, for example `train=False`.

    Returns:
        Boolean mask over the pixels, (H, W) or whatever the spatial sizes are.

    Raises:
        ValueError: a layer that the model does not call (with the closest names), or a position it does not have.
    """
    example = jax.ShapeDtypeStruct((images, *shape), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, **kwargs), key, example)

    @jax.jit
    def seen(key: jax.Array, positive: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 3)
        variables = _variables(keys[0], shapes, positive)

        def activation(x: jax.Array) -> jax.Array:
            if layer is None:
                return model.apply(variables, x, **kwargs)
            return taps.read(model, variables, x, [layer], **kwargs)[1][layer]

        return _seen(activation, position, _images(keys[1], example.shape, positive), keys[2])

    mask = np.zeros(shape[:-1], bool)
    for draw in range(draws):
        mask |= np.asarray(seen(jax.random.fold_in(key, draw), draw % 2 == 0))
    return mask


def extent(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """First and last pixel of a footprint along each axis, both included: the box around it.

    Raises:
        ValueError: the mask is empty.
    """
    mask = np.asarray(mask)
    if not mask.any():
        raise ValueError("The footprint is empty: the output depends on no pixel, or no draw of it did.")
    return tuple((int(places.min()), int(places.max())) for places in np.nonzero(mask))


def _seen(
    function: Callable[[jax.Array], jax.Array], position: tuple[int, ...], x: jax.Array, key: jax.Array
) -> jax.Array:
    y, pull = jax.vjp(function, x)
    sizes = y.shape[1:-1]
    if len(position) != len(sizes) or any(not 0 <= p < n for p, n in zip(position, sizes, strict=True)):
        raise ValueError(f"The output has the spatial sizes {sizes}: position must name a place there, got {position}.")
    # Channels get random weights of one sign, so that what they see in common does not cancel.
    weights = jax.random.uniform(key, y[:, *position].shape, y.dtype, 0.5, 1.5)
    (gradient,) = pull(jnp.zeros_like(y).at[:, *position].set(weights))
    return jnp.any(gradient != 0, axis=(0, -1))


def _images(key: jax.Array, shape: tuple[int, ...], positive: jax.Array | bool) -> jax.Array:
    x = jax.random.normal(key, shape)
    return jnp.where(positive, jnp.abs(x), x).at[0].set(1.0)


def _variables(key: jax.Array, shapes: Any, positive: jax.Array) -> Any:
    """Random parameters that neither blow up nor fade; statistics as they are for centred inputs."""
    leaves, tree = jax.tree.flatten_with_path(shapes)
    # One draw for all: a draw for each leaf would take longer to compile than the network.
    ends = np.cumsum([leaf.size for _, leaf in leaves])
    draws = jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1])

    def value(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct, draw: jax.Array) -> jax.Array:
        if path[0].key != "params" or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return (jnp.ones if path[-1].key == "var" else jnp.zeros)(leaf.shape, leaf.dtype)
        draw = draw.reshape(leaf.shape)
        incoming = max(1, math.prod(leaf.shape[:-1]))
        # Scales and biases stay away from zero.
        either = draw * math.sqrt(2 / incoming) if leaf.ndim > 1 else 1 + draw / 4
        return jnp.where(positive, jnp.abs(draw) / incoming, either).astype(leaf.dtype)

    return jax.tree.unflatten(tree, [value(path, leaf, draw) for (path, leaf), draw in zip(leaves, draws, strict=True)])
