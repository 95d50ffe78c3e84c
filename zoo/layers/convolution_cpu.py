"""Convolution on a CPU, where XLA's gradients are several times slower than the convolution itself.

XLA turns the gradient with respect to the kernel into a convolution whose window is as large as the image, and
convolves depthwise in plain loops. A convolution is linear in the image and in the kernel, so that it is enough to say
how the tangent of each is computed, in a form whose transpose is fast: matrix products over few images at a time, so
that the copies of shifted pixels (im2col) stay in the cache.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Geometry(NamedTuple):
    """What a convolution of (B, …, C_in) with (k, …, k, C_in / groups, C_out) does; `pads` in pixels, with zeros."""

    stride: int
    pads: tuple[tuple[int, int], ...]
    groups: int

    def sizes(self, x: jax.Array, kernel: jax.Array) -> tuple[int, ...]:
        """Spatial sizes of the output."""
        padded = (n + sum(pad) for n, pad in zip(x.shape[1:-1], self.pads, strict=True))
        return tuple((n - k) // self.stride + 1 for n, k in zip(padded, kernel.shape[:-2], strict=True))


def convolve_xla(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """XLA's own convolution, with its own gradients."""
    letters = "DHW"[5 - x.ndim :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(geometry.stride,) * (x.ndim - 2),
        padding=geometry.pads,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=geometry.groups,
    )


def convolve_cpu(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The same as `convolve_xla`, for float32 and float64 on a CPU; differentiable as often and in either mode."""
    if geometry.groups == 1 and set(kernel.shape[:-2]) == {1}:
        index = (slice(None), *(slice(None, None, geometry.stride),) * len(geometry.pads))
        return x[index] @ kernel.reshape(kernel.shape[-2:])
    return _on_cpu(x, kernel, geometry)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _on_cpu(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    return _forward(x, kernel, geometry)


@functools.partial(_on_cpu.defjvp, symbolic_zeros=True)
def _on_cpu_jvp(geometry: Geometry, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    # Linear in x and in the kernel: each tangent goes through the form whose transpose, which is the gradient, is fast.
    # A tangent that is zero by construction, as that of the images in training, costs nothing.
    (x, kernel), (dx, dk) = primals, tangents
    zero = jax.custom_derivatives.SymbolicZero
    parts = [] if isinstance(dx, zero) else [_forward(dx, kernel, geometry)]
    if not isinstance(dk, zero):
        parts.append(_forward_in_kernel(x, dk, geometry))
    return _on_cpu(x, kernel, geometry), functools.reduce(jnp.add, parts)


def _forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    if _depthwise(x, geometry):
        return _shifts(x, kernel, geometry)
    # XLA has fast convolutions for float32 only, and none for an image smaller than the kernel, in either direction:
    # there it exchanges the two and runs plain loops (2×2 pixels, batch 32, 512 channels: 400 ms, a product takes 8).
    sizes = map(min, x.shape[1:-1], geometry.sizes(x, kernel))
    if geometry.groups == 1 and min(n - k for n, k in zip(sizes, kernel.shape[:-2], strict=True)) < 0:
        return _by_groups(_im2col, x, kernel, geometry)
    # With few channels they run at a quarter of the speed: 1 → 8 channels of 64×64 pixels take 8 ms, a product takes 2.
    # In three dimensions they are slower throughout: 16 → 16 channels of 32³, batch 8: 225 ms, a product takes 56.
    few = x.shape[-1] <= 8 and kernel.shape[-1] <= 16
    if geometry.groups == 1 and (few or x.ndim == 5 or x.dtype == jnp.float64):
        return _by_groups(_products, x, kernel, geometry)
    return convolve_xla(x, kernel, geometry)


def _forward_in_kernel(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    if _depthwise(x, geometry):
        return _by_groups(_shifts, x, kernel, geometry)
    # In three dimensions too, but for few channels (1 → 16 of 32³, batch 8: 46 ms, a product takes 122).
    volume = x.ndim == 5 and x.shape[-1] >= 8
    if geometry.groups == 1 and (volume or x.dtype == jnp.float64):
        return _by_groups(_products, x, kernel, geometry)
    # The gradient of XLA's convolution with respect to the kernel is a convolution with a window as large as the image:
    # fast with few channels (16 → 16 of 64×64 pixels, batch 32: 17 ms, a product takes 27), and slow with many
    # (32 → 32: 270 ms, a product takes 94).
    many = kernel.shape[-1] >= 32 and math.prod(kernel.shape[:-1]) >= 64
    if geometry.groups == 1 and many:
        return _by_groups(_im2col, x, kernel, geometry)
    # That window is convolved fast only where it is padded: 16 → 16 of 61×61 pixels without padding, 55 ms; padded and
    # then cropped, 13.
    if geometry.stride == 1 and not any(map(any, geometry.pads)):
        padded = geometry._replace(pads=tuple(((k - 1) // 2, k // 2) for k in kernel.shape[:-2]))
        start = tuple(low for low, _ in padded.pads)
        return _strided(convolve_xla(x, kernel, padded), start, geometry.sizes(x, kernel), 1)
    return convolve_xla(x, kernel, geometry)


def _depthwise(x: jax.Array, geometry: Geometry) -> bool:
    return geometry.groups == x.shape[-1] > 1


def _by_groups(function: Callable, x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """`function(x, kernel, geometry)`, few images at a time, so that what it makes of them stays in the cache.

    Nothing of it is kept for the gradient but `x` and `kernel`: `jax.checkpoint` makes it anew.
    """
    pixels = math.prod(geometry.sizes(x, kernel)) * max(kernel.shape[:-2]) * (x.shape[-1] + kernel.shape[-1])
    at_once = _nearest_divisor(len(x), _CACHED / max(pixels, 1))
    if at_once >= len(x):
        return jax.checkpoint(functools.partial(function, geometry=geometry))(x, kernel)
    body = jax.checkpoint(functools.partial(function, geometry=geometry), prevent_cse=False)
    y = jax.lax.map(lambda images: body(images, kernel), x.reshape(-1, at_once, *x.shape[1:]))
    return y.reshape(len(x), *y.shape[2:])


# Numbers that `_by_groups` holds at a time: 2 MB of float32.
_CACHED = 2**19


def _nearest_divisor(n: int, wanted: float) -> int:
    """The divisor of `n` whose ratio to `wanted` is nearest to 1."""
    return min((d for d in range(1, max(n, 1) + 1) if n % d == 0), key=lambda d: abs(math.log(d / wanted)))


def _pad(x: jax.Array, geometry: Geometry) -> jax.Array:
    return jnp.pad(x, [(0, 0), *geometry.pads, (0, 0)])


def _strided(x: jax.Array, start: tuple[int, ...], sizes: tuple[int, ...], stride: int) -> jax.Array:
    index = [slice(o, o + (n - 1) * stride + 1, stride) for o, n in zip(start, sizes, strict=True)]
    return x[(slice(None), *index)]


def _shifts(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Depthwise convolution as the sum of shifted images, each times its weight."""
    sizes = geometry.sizes(x, kernel)
    each = kernel.shape[-1] // x.shape[-1]
    x = _pad(x, geometry)
    x = x if each == 1 else jnp.repeat(x, each, axis=-1)
    row = (1,) * (x.ndim - 1) + (-1,)
    offsets = itertools.product(*map(range, kernel.shape[:-2]))
    return functools.reduce(
        jnp.add, (_strided(x, o, sizes, geometry.stride) * kernel[(*o, 0)].reshape(row) for o in offsets)
    )


def _im2col(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Convolution as the product of copies of every pixel, one for each of the k^d shifts, with the kernel."""
    x, sizes = _pad(x, geometry), geometry.sizes(x, kernel)
    offsets = itertools.product(*map(range, kernel.shape[:-2]))
    x = jnp.concatenate([_strided(x, o, sizes, geometry.stride) for o in offsets], axis=-1)
    return x @ kernel.reshape(-1, kernel.shape[-1])


def _products(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Convolution as one matrix product: shifts along the last axis are made of its input, the others of its output.

    Copies of every pixel for all k^d shifts (im2col) would cost more time than the product; this way there are k before
    it and k^(d−1) after it, and as many in the gradient. With a stride s the input's rows are dealt out to s phases, of
    which those that k does not fill are multiplied by zeros.
    """
    stride, sizes, ndim = geometry.stride, geometry.sizes(x, kernel), x.ndim - 2
    *_, side, inner, outer = kernel.shape
    parts = [-(-k // stride) for k in kernel.shape[: ndim - 1]]
    rows = [n + part - 1 for n, part in zip(sizes, parts, strict=False)]
    lengths = [*(stride * n for n in rows), stride * (sizes[-1] - 1) + side]
    pads = [(low, m - n - low, 0) for n, m, (low, _) in zip(x.shape[1:-1], lengths, geometry.pads, strict=True)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    phases = itertools.product(*(range(stride) for _ in rows), range(side))
    x = jnp.concatenate([_strided(x, o, (*rows, sizes[-1]), stride) for o in phases], axis=-1)
    # (a₁ … , b, C_in, C_out) with aᵢ = partᵢ · stride + phaseᵢ → (phases, b, C_in; parts, C_out)
    kernel = jnp.pad(kernel, [*((0, p * stride - k) for p, k in zip(parts, kernel.shape, strict=False)), *[(0, 0)] * 3])
    kernel = kernel.reshape(*(n for part in parts for n in (part, stride)), side, inner, outer)
    last = 2 * len(parts)
    order = (*range(1, last, 2), last, last + 1, *range(0, last, 2), last + 2)
    y = x @ kernel.transpose(order).reshape(-1, math.prod(parts) * outer)
    starts = itertools.product(*map(range, parts))
    pieces = zip(starts, jnp.split(y, math.prod(parts), axis=-1), strict=True)
    return functools.reduce(jnp.add, (_strided(piece, (*start, 0), sizes, 1) for start, piece in pieces))
