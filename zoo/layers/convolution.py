"""Convolution in 1, 2 and 3 dimensions with padding that is said, never guessed.

XLA's `SAME` pads unevenly when the stride is 2 and the size is even, so every convolution of the zoo pads
`((k − 1) // 2, k // 2)` on each axis, whatever the stride (the rule of `torch.nn.Conv2d(padding=k // 2)` for odd k).
`padding="circular"` wraps the image around: then, and only then, is a strided convolution exactly equivariant to
cyclic shifts by multiples of its stride. `padding="valid"` pads nothing.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.convolution_cpu import Geometry, convolve_cpu, convolve_xla

Padding = Literal["zero", "circular"]

# Variance scaling by fan-out, the initialisation of He+15 that ResNets use (arXiv 1512.03385, 1502.01852).
he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


def check_padding(padding: str) -> None:
    """Raise `ValueError` unless `padding` is one of the two rules the zoo knows."""
    if padding not in ("zero", "circular"):
        raise ValueError(f"padding must be 'zero' or 'circular', got {padding!r}.")


def same_pads(kernel: int, ndim: int) -> list[tuple[int, int]]:
    """Padding before and after each of `ndim` spatial axes that keeps the size at stride 1."""
    return [((kernel - 1) // 2, kernel // 2)] * ndim


def pad_spatial(x: jax.Array, pads: list[tuple[int, int]], padding: Padding, value: float = 0.0) -> jax.Array:
    """Pad the spatial axes of `x` (B, …, C) with `value` (zero padding) or with the opposite border (circular)."""
    check_padding(padding)
    widths = [(0, 0), *pads, (0, 0)]
    if padding == "circular":
        return jnp.pad(x, widths, mode="wrap")
    return jnp.pad(x, widths, constant_values=value)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: Padding | Literal["valid"] = "zero",
    groups: int = 1,
) -> jax.Array:
    """Convolution of (B, …, C_in) with a kernel (k, …, k, C_in / groups, C_out), in 1, 2 or 3 dimensions.

    Args:
        x: input, of the kernel's dtype.
        kernel: weights, the same number of spatial axes as `x`.
        stride: step between outputs in pixels.
        padding: `"zero"` or `"circular"`, by `(k − 1) // 2` pixels before and `k // 2` after; or `"valid"`, none.
        groups: C_in and C_out are split into so many convolutions side by side.

    Returns:
        (B, …, C_out), sizes ⌊(n − 1) / stride⌋ + 1 for odd k, ⌊(n − k) / stride⌋ + 1 without padding.
    """
    pads = [((k - 1) // 2, k // 2) for k in kernel.shape[:-2]]
    if padding != "valid":
        check_padding(padding)
    if padding == "circular":
        x = pad_spatial(x, pads, "circular")
    if padding != "zero":
        pads = [(0, 0)] * len(pads)
    geometry = Geometry(stride, tuple(pads), groups)
    # On other devices, and in half precision, XLA's own convolution and its own gradients are the best there are.
    if jax.default_backend() != "cpu" or x.dtype not in (jnp.float32, jnp.float64):
        return convolve_xla(x, kernel, geometry)
    return convolve_cpu(x, kernel, geometry)


class Conv(nn.Module):
    """Convolution over all spatial axes of (B, …, C): 1-D on (B, T, C), 2-D on (B, H, W, C), 3-D on (B, D, H, W, C).

    A size n becomes ⌊(n − 1) / stride⌋ + 1 for odd kernels, ⌊(n − k) / stride⌋ + 1 without padding. The kernel's shape
    is (k, …, k, C_in / groups, C_out).

    Attributes:
        features: number of output channels.
        kernel: side of the kernel in pixels, the same on all axes.
        stride: step between outputs in pixels.
        padding: `"zero"` or `"circular"`.
        pad: False pads nothing.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: Padding = "zero"
    pad: bool = True
    use_bias: bool = True
    groups: int = 1
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable[..., jax.Array] = he_normal

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        check_padding(self.padding)
        padding = self.padding if self.pad else "valid"
        ndim = inputs.ndim - 2
        shape = (*(self.kernel,) * ndim, inputs.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype) if self.use_bias else None
        inputs, kernel, bias = nn.dtypes.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = convolve(inputs, kernel, stride=self.stride, padding=padding, groups=self.groups)
        return outputs if bias is None else outputs + bias.reshape((1,) * (ndim + 1) + (-1,))
