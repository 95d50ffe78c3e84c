"""Occlusion: cover a window of the input and see how much of the score is lost."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.explain._batched import fold
from zoo.explain.score import ScoreFunction, broadcast_to_inputs, prepare


def occlusion(
    f: ScoreFunction,
    x: jax.Array,
    *,
    patch: int | tuple[int, ...],
    stride: int | tuple[int, ...],
    fill: float | jax.Array | Callable[[jax.Array], jax.Array] = 0.0,
    chunk: int = 8,
) -> jax.Array:
    """Mean drop of the score over the windows that cover a place (Zeiler & Fergus 14, arXiv 1311.2901, §4.2).

    M(p) = Σ_{w ∋ p} (f(x) − f(x with window w filled)) / #{w ∋ p}, positive where the place speaks for the score. This
    is Captum's convention (the sum of drops divided by the number of windows), as are the windows: one at every
    multiple of `stride`, the last of each axis cut off at the border, so that every place is covered.

    x is (B, *spatial, C), with any number of spatial axes; all channels are covered together. `patch` and `stride` are
    in pixels, one number or one per spatial axis. `fill` is a number, an array that broadcasts to x (grey, the mean
    image, the background), or a function x → such an array (a blur). `chunk` windows are evaluated at once.

    Returns (B, *spatial). Raises ValueError for a patch larger than the input, a stride that is < 1 or larger than the
    patch (places between windows would never be covered), a wrong number of either, and a fill of the wrong shape.
    """
    f, x = prepare(f, x)
    space = x.shape[1:-1]
    if not space:
        raise ValueError(f"Occlusion needs inputs (B, *spatial, C); got shape {x.shape}, without spatial axes.")
    patch, stride = _per_axis("patch", patch, space), _per_axis("stride", stride, space)
    if any(width > size for width, size in zip(patch, space, strict=True)):
        raise ValueError(f"patch {patch} is larger than the inputs' spatial shape {space}: choose a smaller one.")
    if any(step > width for step, width in zip(stride, patch, strict=True)):
        raise ValueError(
            f"stride {stride} is larger than patch {patch}: places between windows would never be covered."
        )
    fill = broadcast_to_inputs("fill", fill(x) if callable(fill) else fill, x)

    starts = [
        np.arange(-(-(size - width) // step) + 1) * step for size, width, step in zip(space, patch, stride, strict=True)
    ]
    windows = np.array(list(product(*starts)), np.int32)
    total = jnp.zeros(x.shape[:-1], jnp.promote_types(x.dtype, jnp.float32))
    total = fold(partial(_add_drops, patch=patch), total, (windows,), f, x, fill, _scores(f, x), chunk=chunk)
    return total / _coverage(starts, patch, space).astype(total.dtype)[None]


@partial(jax.jit, static_argnames="patch")
def _add_drops(
    total: jax.Array,
    items: tuple[jax.Array],
    valid: jax.Array,
    f: ScoreFunction,
    x: jax.Array,
    fill: jax.Array,
    scores: jax.Array,
    *,
    patch: tuple[int, ...],
) -> jax.Array:
    inside = jax.vmap(partial(_window, patch=patch, space=x.shape[1:-1]))(items[0])  # (n, *spatial)
    occluded = jnp.where(inside[:, None, ..., None], fill[None], x[None])
    drops = (scores[None] - jax.vmap(f)(occluded)).astype(total.dtype) * valid[:, None].astype(total.dtype)  # (n, B)
    return total + jnp.tensordot(drops.T, inside.astype(total.dtype), axes=1, precision="highest")


@jax.jit
def _scores(f: ScoreFunction, x: jax.Array) -> jax.Array:
    return f(x)


def _window(start: jax.Array, patch: tuple[int, ...], space: tuple[int, ...]) -> jax.Array:
    """Boolean mask (*spatial) of the window that begins at `start`."""
    inside = jnp.ones(space, bool)
    for axis, width in enumerate(patch):
        place = jax.lax.broadcasted_iota(jnp.int32, space, axis)
        inside &= (place >= start[axis]) & (place < start[axis] + width)
    return inside


def _coverage(starts: list[np.ndarray], patch: tuple[int, ...], space: tuple[int, ...]) -> np.ndarray:
    """Number of windows that cover each place, (*spatial)."""
    count = np.ones((), np.float64)
    for begin, width, size in zip(starts, patch, space, strict=True):
        place = np.arange(size)
        covered = (place[:, None] >= begin) & (place[:, None] < begin + width)
        count = np.multiply.outer(count, covered.sum(1))
    return count


def _per_axis(name: str, value: Any, space: tuple[int, ...]) -> tuple[int, ...]:
    values = (value,) * len(space) if isinstance(value, int) else tuple(value)
    if len(values) != len(space):
        raise ValueError(f"{name} must be one number or {len(space)}, one per spatial axis of {space}; got {value}.")
    if min(values) < 1:
        raise ValueError(f"{name} must be at least 1 pixel; got {value}.")
    return values
