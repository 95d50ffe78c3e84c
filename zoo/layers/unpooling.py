"""Ways back up: max-unpooling with switches, nearest and linear up-sampling, transposed convolution.

Zeiler & Fergus 2013, https://arxiv.org/abs/1311.2901 (switches); Badrinarayanan+15, https://arxiv.org/abs/1511.00561
(SegNet decodes with them); Dumoulin & Visin 2016, https://arxiv.org/abs/1603.07285 (transposed convolution). All work
on (B, …, C) with one to three spatial axes. They are written as broadcasts, strided slices, reshapes and matrix
products, never as scatters, whose gradients are slow on a CPU.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.convolution import Conv, Padding, check_padding, convolve, pad_spatial
from zoo.layers.pooling import strided_windows


def max_pool_with_switches(x: jax.Array, *, window: int = 2, stride: int | None = None) -> tuple[jax.Array, jax.Array]:
    """Maximum over windows, and which of its pixels each window took.

    Rule for ties: the first in row-major order wins, and alone gets the gradient. (`max_pool` divides the gradient
    among the tied, but there a switch could not say who won.)

    Args:
        x: (B, …, C).
        window: side of the window in pixels.
        stride: step in pixels; default: side by side.

    Returns:
        values (B, …, C) with sizes ⌊(n − window) / stride⌋ + 1, and switches, int32 of the same shape: the number of
        the winner within its window, 0 … window^d − 1, the last axis fastest.

    Raises:
        ValueError: the window does not fit.
    """
    values, *others = strided_windows(x, window, stride or window)
    switches = jnp.zeros(values.shape, jnp.int32)
    for number, candidate in enumerate(others, start=1):
        better = (candidate > values) | jnp.isnan(candidate)  # a NaN stays visible, as in `max_pool`
        values = jnp.where(better, candidate, values)
        switches = jnp.where(better, number, switches)
    return values, switches


def max_unpool(
    values: jax.Array,
    switches: jax.Array,
    *,
    window: int = 2,
    stride: int | None = None,
    size: tuple[int, ...] | None = None,
) -> jax.Array:
    """Put each value where the switch of its window points; all other pixels are 0.

    A right inverse of pooling side by side: `max_pool(max_unpool(v, switches)) == v` for v ≥ 0. Where overlapping
    windows name the same pixel, the first window in row-major order is the one that writes.

    Args:
        values: (B, …, C), as pooled or anything of that shape.
        switches: integers of the same shape, from `max_pool_with_switches` with the same window and stride.
        window: side of the window in pixels.
        stride: step in pixels; default: side by side.
        size: pixels of the result along each axis; default: what the windows cover, (n − 1)·stride + window.

    Returns:
        (B, …, C).

    Raises:
        ValueError: values and switches of different shapes, or a `size` that does not pool to the shape of `values`.
    """
    stride = stride or window
    pooled, ndim = values.shape[1:-1], values.ndim - 2
    if values.shape != switches.shape:
        raise ValueError(f"Values and switches must have one shape, got {values.shape} and {switches.shape}.")
    covered = tuple((n - 1) * stride + window for n in pooled)
    size = covered if size is None else tuple(size)
    if len(size) != ndim or any((n - window) // stride + 1 != p for n, p in zip(size, pooled, strict=True)):
        raise ValueError(
            f"An image of size {size} does not pool to {pooled} with a window of {window} and a stride of {stride}; "
            f"the smallest that does is {covered}."
        )
    if stride == window:
        batch, channels = values.shape[0], values.shape[-1]
        narrow = (batch, *(n for p in pooled for n in (p, 1)), channels)
        numbers = jnp.arange(window**ndim).reshape(1, *(n for _ in pooled for n in (1, window)), 1)
        chosen = switches.reshape(narrow) == numbers
        x = jnp.where(chosen, values.reshape(narrow), jnp.zeros((), values.dtype)).reshape(batch, *covered, channels)
    else:
        x = jnp.zeros((values.shape[0], *covered, values.shape[-1]), values.dtype)
        # A window that comes earlier meets a pixel with a higher number: it writes later and stays.
        for number, offset in enumerate(itertools.product(range(window), repeat=ndim)):
            place = functools.partial(_spaced, stride=stride, offset=offset, size=covered)
            x = jnp.where(place(switches == number), place(values), x)
    return jnp.pad(x, [(0, 0), *((0, n - c) for n, c in zip(size, covered, strict=True)), (0, 0)])


def _spaced(x: jax.Array, *, stride: int, offset: tuple[int, ...], size: tuple[int, ...]) -> jax.Array:
    """`x` (B, …, C) with its pixels `stride` apart, the first at `offset`, in an image of zeros."""
    edges = [(o, n - o - (m - 1) * stride - 1, stride - 1) for o, n, m in zip(offset, size, x.shape[1:-1], strict=True)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def upsample_nearest(x: jax.Array, factor: int = 2) -> jax.Array:
    """Repeat every pixel `factor` times along each spatial axis: (B, n, …, C) → (B, factor·n, …, C).

    Its adjoint is `factor^d` times average pooling.
    """
    _check_factor(factor)
    batch, *sizes, channels = x.shape
    x = x.reshape(batch, *(n for size in sizes for n in (size, 1)), channels)
    x = jnp.broadcast_to(x, (batch, *(n for size in sizes for n in (size, factor)), channels))
    return x.reshape(batch, *(factor * size for size in sizes), channels)


def upsample_linear(x: jax.Array, factor: int = 2, *, padding: Padding = "zero") -> jax.Array:
    """Interpolate between pixels along each spatial axis (bilinear on images): (B, n, …, C) → (B, factor·n, …, C).

    Pixels are squares, hence output pixel i lies at (i + 1/2) / factor − 1/2 of the input (`align_corners=False`
    elsewhere). Beyond the border the last pixel goes on, or with `padding="circular"` the opposite border.

    Raises:
        ValueError: a factor below 1 or an unknown padding.
    """
    _check_factor(factor)
    check_padding(padding)
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        # Slices put together: the gradient of `jnp.pad` at the edge is twenty times slower on a CPU.
        part = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
        first, last = part(0, 1), part(size - 1, size)
        ends = (last, first) if padding == "circular" else (first, last)
        before = jnp.concatenate([ends[0], part(0, size - 1)], axis)
        after = jnp.concatenate([part(1, size), ends[1]], axis)
        phases = []
        for phase in range(factor):
            offset = (phase + 0.5) / factor - 0.5
            phases.append(x + abs(offset) * ((before if offset < 0 else after) - x))
        shape = (*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
        x = jnp.stack(phases, axis=axis + 1).reshape(shape)
    return x


def _check_factor(factor: int) -> None:
    if factor < 1:
        raise ValueError(f"The factor of an up-sampling must be at least 1, got {factor}.")


def conv_transpose(
    y: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: Padding = "zero",
    size: tuple[int, ...] | None = None,
) -> jax.Array:
    """The adjoint of `Conv` without bias: ⟨conv(x), y⟩ = ⟨x, conv_transpose(y)⟩ for all x and y, and the same kernel.

    Output pixel i sums kernel[a]ᵀ y[j] over all a and j with i = j·stride + a − (k − 1) // 2. Writing a = t·stride + r,
    the pixels of each phase r are a convolution of y itself with every stride-th entry of the kernel. So all phases are
    computed as channels of one convolution with stride 1 and then laid out side by side, which on a CPU is many times
    faster than convolving a y that has been spread out with zeros.

    Args:
        y: (B, m, …, C_out), something of the shape that the convolution gives.
        kernel: (k, …, k, C_in, C_out), the kernel of the convolution, one side on all axes.
        stride: its stride.
        padding: its padding.
        size: pixels of the convolution's input on each axis, any n with ⌊(n − 1) / stride⌋ + 1 = m (default m·stride).

    Returns:
        (B, n, …, C_in).

    Raises:
        ValueError: a `size` from which the convolution does not give the shape of `y`, unequal channels, or circular
            padding with another size than m·stride, where the convolution does not move with its input.
    """
    check_padding(padding)
    y, kernel = nn.dtypes.promote_dtype(y, kernel)
    batch, *sizes, channels = y.shape
    ndim, side = len(sizes), kernel.shape[0]
    if kernel.ndim != y.ndim or kernel.shape[-1] != channels or len(set(kernel.shape[:-2])) > 1:
        raise ValueError(
            f"An input of shape {y.shape} needs a kernel (k, …, k, C_in, {channels}) of {ndim} equal sides, got "
            f"{kernel.shape}."
        )
    full = tuple(m * stride for m in sizes)
    size = full if size is None else tuple(size)
    if len(size) != ndim or any((n - 1) // stride + 1 != m for n, m in zip(size, sizes, strict=True)):
        raise ValueError(
            f"A convolution with stride {stride} does not make {tuple(sizes)} out of size {size}: a size n becomes "
            "⌊(n − 1) / stride⌋ + 1."
        )
    if padding == "circular" and size != full:
        raise ValueError(f"padding='circular' with stride {stride} takes sizes that it divides: {full}, got {size}.")

    terms = -(-side // stride)
    before = (side - 1) // 2
    first = before // stride  # the place in y whose block holds output pixel 0
    pads = [(terms - 1 - first, (n - 1 + before) // stride - (m - 1)) for n, m in zip(size, sizes, strict=True)]
    y = pad_spatial(y, pads, padding)
    phases = _phases(kernel, stride, terms)
    blocks = convolve(y, phases, padding="valid")
    blocks = blocks.reshape(*blocks.shape[:-1], *(stride,) * ndim, -1)
    order = [0, *(axis for i in range(ndim) for axis in (1 + i, 1 + ndim + i)), 2 * ndim + 1]
    x = blocks.transpose(order).reshape(batch, *(stride * n for n in blocks.shape[1 : 1 + ndim]), -1)
    start = before - first * stride
    return x[(slice(None), *(slice(start, start + n) for n in size))]


def _phases(kernel: jax.Array, stride: int, terms: int) -> jax.Array:
    """(k, …, C_in, C_out) → (terms, …, C_out, stride^d · C_in): entry t·stride + r is entry t of phase r, turned."""
    *sides, inner, outer = kernel.shape
    ndim = len(sides)
    kernel = jnp.pad(kernel, [(0, terms * stride - k) for k in sides] + [(0, 0), (0, 0)])
    kernel = kernel.reshape(*(n for _ in sides for n in (terms, stride)), inner, outer)
    kernel = jnp.flip(kernel, range(0, 2 * ndim, 2))
    order = [*range(0, 2 * ndim, 2), 2 * ndim + 1, *range(1, 2 * ndim, 2), 2 * ndim]
    return kernel.transpose(order).reshape(*(terms,) * ndim, outer, stride**ndim * inner)


class ConvTranspose(nn.Module):
    """Transposed convolution (B, m, …, C) → (B, m·stride, …, features): the adjoint of `Conv`, and a bias.

    Its kernel has the shape of the convolution that it transposes, (k, …, k, features, C). Kernel and stride equal
    (the default) is one matrix product and gives no chequerboard (Odena+16, https://doi.org/10.23915/distill.00003); a
    kernel that the stride does not divide covers some pixels more often than others.

    Attributes:
        features: number of output channels.
        kernel: side of the kernel in pixels.
        stride: factor by which the size grows.
        padding: `"zero"` or `"circular"`.
        kernel_init: default: variance 2 / (C · (k / stride)^d), that of He+15 for the terms that an output pixel sums.
    """

    features: int
    kernel: int = 2
    stride: int = 2
    padding: Padding = "zero"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        ndim = inputs.ndim - 2
        init = self.kernel_init
        if init is None:
            init = nn.initializers.variance_scaling(2.0 * self.stride**ndim, "fan_out", "truncated_normal")
        shape = (*(self.kernel,) * ndim, self.features, inputs.shape[-1])
        kernel = self.param("kernel", init, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype) if self.use_bias else None
        inputs, kernel, bias = nn.dtypes.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = conv_transpose(inputs, kernel, stride=self.stride, padding=self.padding)
        return outputs if bias is None else outputs + bias.reshape((1,) * (ndim + 1) + (-1,))


class Decoder(nn.Module):
    """One step up: enlarge by `factor`, then a 3×3 convolution; (B, n, …, C) → (B, factor·n, …, features).

    Normalisation and activation are the caller's. `kind`:
    - `"unpool"`: each value goes back to the pixel that won the pooling; needs the encoder's switches, has no weights.
    - `"nearest"`: pixels are repeated. `"linear"`: pixels are interpolated. No weights either.
    - `"transposed"`: a transposed convolution of kernel and stride `factor`, with factor^d · C² + C parameters.

    Raises:
        ValueError: an unknown kind, or switches that are missing, not wanted or of another shape than the input.
    """

    features: int
    kind: Literal["unpool", "nearest", "linear", "transposed"] = "nearest"
    factor: int = 2
    padding: Padding = "zero"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, switches: jax.Array | None = None) -> jax.Array:
        kinds = ("unpool", "nearest", "linear", "transposed")
        if self.kind not in kinds:
            raise ValueError(f"kind must be one of {kinds}, got {self.kind!r}.")
        if (switches is None) == (self.kind == "unpool"):
            raise ValueError(
                f"Decoder(kind={self.kind!r}) got {'no ' if switches is None else ''}switches: they come from "
                "max_pool_with_switches, and kind='unpool' alone takes them."
            )
        types = {"padding": self.padding, "dtype": self.dtype, "param_dtype": self.param_dtype}
        if self.kind == "unpool":
            x = max_unpool(inputs, switches, window=self.factor)
        elif self.kind == "nearest":
            x = upsample_nearest(inputs, self.factor)
        elif self.kind == "linear":
            x = upsample_linear(inputs, self.factor, padding=self.padding)
        else:
            channels = inputs.shape[-1]
            x = ConvTranspose(channels, kernel=self.factor, stride=self.factor, name="up", **types)(inputs)
        return Conv(self.features, kernel=3, name="conv", **types)(x)
