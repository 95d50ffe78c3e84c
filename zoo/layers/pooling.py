"""Pooling in 1, 2 and 3 dimensions, written as maxima and sums of strided slices.

The gradient of `flax.linen.max_pool` is XLA's select-and-scatter, which on a CPU is 30 times slower than the gradient
of the maximum of strided slices. Rule for ties: where several entries of a window share the maximum, the gradient is
divided among them, half and half at each of the pairwise maxima the window is reduced by (equally, when all entries
of a window that holds a power of two of them are tied). Sizes that the stride does not divide lose their last rows, as
everywhere.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from zoo.layers.convolution import Padding, pad_spatial
from zoo.layers.maximum import max_over, maximum


def strided_windows(x: jax.Array, window: int, stride: int) -> list[jax.Array]:
    """The window^d strided slices of `x` (B, …, C): entry k of the list holds the k-th entry of every window."""
    sizes = [(n - window) // stride + 1 for n in x.shape[1:-1]]
    if min(sizes, default=1) < 1:
        raise ValueError(f"A window of {window} does not fit into an image of size {x.shape[1:-1]}.")
    slices = []
    for offset in itertools.product(range(window), repeat=x.ndim - 2):
        stops = [o + (n - 1) * stride + 1 for o, n in zip(offset, sizes, strict=True)]
        index = [slice(o, stop, stride) for o, stop in zip(offset, stops, strict=True)]
        slices.append(x[(slice(None), *index)])
    return slices


def _pairwise(function: Callable[[jax.Array, jax.Array], jax.Array], values: list[jax.Array]) -> jax.Array:
    while len(values) > 1:
        pairs = [function(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(values) - len(values) % 2 :]
    return values[0]


def max_pool(
    x: jax.Array, *, window: int = 2, stride: int | None = None, pad: int = 0, padding: Padding = "zero"
) -> jax.Array:
    """Maximum over windows of `window` pixels a side, every `stride` pixels (default: side by side).

    Args:
        x: (B, …, C), floating.
        window: side of the window in pixels.
        stride: step in pixels.
        pad: pixels added on every side; under zero padding they hold −∞, so that they never win.
        padding: `"zero"` or `"circular"`.

    Returns:
        (B, …, C) with sizes ⌊(n + 2·pad − window) / stride⌋ + 1.
    """
    x = pad_spatial(x, [(pad, pad)] * (x.ndim - 2), padding, value=-jnp.inf) if pad else x
    return _pairwise(maximum, strided_windows(x, window, stride or window))


def avg_pool(x: jax.Array, *, window: int = 2, stride: int | None = None) -> jax.Array:
    """Mean over windows of `window` pixels a side, every `stride` pixels (default: side by side); no padding."""
    slices = strided_windows(x, window, stride or window)
    return functools.reduce(jnp.add, slices) / len(slices)


def fold_pixels(x: jax.Array, side: int) -> jax.Array:
    """Move blocks of `side` pixels on every spatial axis into channels: (B, H, W, C) → (B, H/s, W/s, s²·C).

    Works in any dimension d, giving s^d·C channels: channel k·C + c is channel c of the block's pixel k, the last
    axis fastest.

    Raises:
        ValueError: a spatial size is not a multiple of `side`.
    """
    if side == 1:
        return x
    batch, *sizes, channels = x.shape
    if any(n % side for n in sizes):
        raise ValueError(f"fold={side} needs sizes that are multiples of {side}, got {tuple(sizes)}.")
    ndim = len(sizes)
    x = x.reshape(batch, *(m for n in sizes for m in (n // side, side)), channels)
    order = (0, *range(1, 2 * ndim, 2), *range(2, 2 * ndim + 1, 2), 2 * ndim + 1)
    return x.transpose(order).reshape(batch, *(n // side for n in sizes), channels * side**ndim)


def pad_to_multiple(x: jax.Array, step: int, *, padding: Literal["zero", "circular", "mirror"] = "zero") -> jax.Array:
    """Pad each spatial axis of (B, …, C) up to the next multiple of `step`, so that strides of it divide the image.

    Half of the pixels that are missing come before and half behind (of an odd number one more behind), so that an
    image which is its own mirror image stays one if the number is even. They hold zeros, the opposite border with
    `padding="circular"`, or with `padding="mirror"` the image behind its border, mirrored; where switches are made of
    them, a plain ground of zeros would tie, and rounding would decide. `crop_centre` takes them off again.
    """
    missing = [-n % step for n in x.shape[1:-1]]
    if not any(missing):
        return x
    pads = [(n // 2, n - n // 2) for n in missing]
    if padding == "mirror":
        return jnp.pad(x, [(0, 0), *pads, (0, 0)], mode="symmetric")
    return pad_spatial(x, pads, padding)


def crop_centre(x: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """The middle of (B, …, C), with `sizes` pixels on the spatial axes; of an odd rest one pixel more goes behind.

    `crop_centre(pad_to_multiple(x, step), x.shape[1:-1])` is `x`.
    """
    starts = [(have - want) // 2 for have, want in zip(x.shape[1:-1], sizes, strict=True)]
    return x[(slice(None), *(slice(start, start + want) for start, want in zip(starts, sizes, strict=True)))]


def unfold_pixels(x: jax.Array, side: int) -> jax.Array:
    """The inverse of `fold_pixels`: (B, n/side, …, side^d · C) → (B, n, …, C).

    Raises:
        ValueError: the channels are not a multiple of side^d.
    """
    if side == 1:
        return x
    batch, *sizes, channels = x.shape
    ndim = len(sizes)
    if channels % side**ndim:
        raise ValueError(f"Blocks of {side} pixels a side need a multiple of {side**ndim} channels, got {channels}.")
    x = x.reshape(batch, *sizes, *(side,) * ndim, -1)
    order = [0, *(axis for i in range(ndim) for axis in (1 + i, 1 + ndim + i)), 2 * ndim + 1]
    return x.transpose(order).reshape(batch, *(side * n for n in sizes), -1)


def global_pool(x: jax.Array, *, mode: str = "mean") -> jax.Array:
    """Pool over all spatial axes: (B, …, C) → (B, C) for `mode="mean" | "max"`, (B, 2C) for `"both"`, mean first.

    Pixels that tie share the gradient of the maximum as in `max_over`.
    """
    axes = tuple(range(1, x.ndim - 1))
    if mode not in ("mean", "max", "both"):
        raise ValueError(f"mode must be 'mean', 'max' or 'both', got {mode!r}.")
    parts = []
    if mode in ("mean", "both"):
        parts.append(jnp.mean(x, axis=axes))
    if mode in ("max", "both"):
        parts.append(max_over(x.reshape(x.shape[0], -1, x.shape[-1]), 1))
    return jnp.concatenate(parts, axis=-1)
