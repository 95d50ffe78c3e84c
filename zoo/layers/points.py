"""Sets of points in one array: any number of them, in no order, and what is masked never changes a result.

The pools take (…, n, C) with a mask (…, n): the points of a set as well as the neighbours of a point. Each is a sum or
a maximum over all of them, so that their order changes no more than its rounding. Of no point at all each gives 0.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from zoo.layers.maximum import max_over

PoolName = Literal["sum", "mean", "max"]


@struct.dataclass
class PointSet:
    """A batch of sets of points, padded to one number of them.

    Attributes:
        values: (B, N, C) real numbers, coordinates first. What stands where the mask is not set does not matter.
        mask: (B, N), true where there is a point; a set may be empty, and points stand anywhere.
    """

    values: jax.Array
    mask: jax.Array


def as_points(name: str, inputs: PointSet | jax.Array, *, channels: int | None = None) -> PointSet:
    """`inputs` as a `PointSet` with a mask of booleans and zeros where it is not set; of an array all points are taken.

    Args:
        name: of the network or function, for messages.
        inputs: a `PointSet`, or an array (B, N, C).
        channels: number of channels it was made for, `None` for any.

    Raises:
        ValueError: another number of axes or channels, no place for a point or no channel at all; a mask of another
            shape; numbers that are not real or, where that is known (not under `jit`), points that are not finite.
    """
    given = isinstance(inputs, PointSet)
    # An array of NumPy in double precision is cast here, as JAX casts it, and not with a warning further on.
    values = jnp.asarray(inputs.values if given else inputs)
    shape = tuple(values.shape)
    if values.ndim != 3:
        raise ValueError(f"{name} takes sets of points (B, N, C); got shape {shape}.")
    if channels is not None and shape[-1] != channels:
        raise ValueError(
            f"{name} was made for in_channels={channels}, but the input has {shape[-1]} channels "
            f"(shape {shape}, channels last)."
        )
    if 0 in shape[1:]:
        raise ValueError(
            f"{name} takes arrays with room for at least one point and one channel; got shape {shape}. An empty set is "
            "a row of padding whose mask is not set."
        )
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(f"{name} takes points as real numbers; got {values.dtype}. Convert them to float32.")
    if not given:
        _check_finite(name, values, None)
        return PointSet(values, jnp.ones(shape[:2], bool))
    if jnp.shape(inputs.mask) != shape[:2]:
        raise ValueError(
            f"{name} takes one mask for each point, (B, N) = {shape[:2]}; got shape {tuple(jnp.shape(inputs.mask))}."
        )
    mask = jnp.asarray(inputs.mask) != 0
    _check_finite(name, values, mask)
    return PointSet(jnp.where(mask[..., None], values, 0), mask)


def leading_channels(name: str, values: jax.Array, count: int | None) -> jax.Array:
    """The first `count` channels of (B, N, C), the coordinates; all of them for `None`.

    Raises:
        ValueError: fewer than one, or more than there are; `name` is that of the network.
    """
    if count is not None and not 1 <= count <= values.shape[-1]:
        raise ValueError(
            f"{name}: coordinates should be in 1 … {values.shape[-1]}, the channels there are, or None for all; got "
            f"{count}."
        )
    return values[..., :count]


def counted_points(points: PointSet, mask: jax.Array | None) -> jax.Array:
    """(B, N), what counts in statistics: the points of the examples that do, by `mask` (B,); `None` for all."""
    return points.mask if mask is None else points.mask * jnp.asarray(mask)[:, None]


def masked_sum(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Sum over the points of (…, n, C) whose mask (…, n) is set: (…, C)."""
    return jnp.sum(jnp.where(mask[..., None], x, 0), axis=-2)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over the points of (…, n, C) whose mask (…, n) is set: (…, C); 0 of none."""
    count = jnp.sum(mask, axis=-1, dtype=x.dtype)
    return masked_sum(x, mask) / jnp.maximum(count, 1)[..., None]


def masked_max(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Maximum over the points of (…, n, C) whose mask (…, n) is set: (…, C); 0 of none.

    Points that tie share the gradient as in `zoo.layers.max_over`.
    """
    largest = max_over(jnp.where(mask[..., None], x, jnp.finfo(x.dtype).min), x.ndim - 2)
    return jnp.where(jnp.any(mask, axis=-1)[..., None], largest, 0)


def masked_attention(x: jax.Array, scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of (…, n, C) over the points whose mask (…, n) is set, weighed by the softmax of their scores (…, n).

    Returns:
        (…, C); 0 of none.
    """
    lowest = jnp.finfo(scores.dtype).min
    largest = jax.lax.stop_gradient(jnp.max(jnp.where(mask, scores, lowest), axis=-1, keepdims=True))
    # The difference is taken of real scores only: an overflow beside the mask would be NaN in the gradient.
    weights = jnp.where(mask, jnp.exp(jnp.where(mask, scores - largest, 0)), 0)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    weights = weights / jnp.where(total > 0, total, 1)
    return jnp.sum(jnp.where(mask[..., None], x, 0) * weights[..., None], axis=-2)


# Signature: x (…, n, C), mask (…, n) → (…, C).
POINT_POOLS: Mapping[PoolName, Callable[[jax.Array, jax.Array], jax.Array]] = MappingProxyType(
    {"sum": masked_sum, "mean": masked_mean, "max": masked_max}
)


def _check_finite(name: str, values: jax.Array, mask: jax.Array | None) -> None:
    """Refuse points that are not finite, where values and mask are known."""
    if isinstance(values, jax.core.Tracer) or isinstance(mask, jax.core.Tracer):
        return
    bad = ~np.all(np.isfinite(np.asarray(values, np.float64)), axis=-1)
    places = np.argwhere(bad if mask is None else bad & np.asarray(mask))
    if len(places):
        example, point = places[0]
        raise ValueError(
            f"{name}: points should be finite; point {point} of set {example} is {np.asarray(values)[example, point]}, "
            f"one of {len(places)} that are not. Leave such points out: set their mask to False."
        )
