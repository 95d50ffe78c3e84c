"""Convolutional LSTM: the state is an image, and all products with it are convolutions.

Shi+15, https://arxiv.org/abs/1506.04214. What differs: no peepholes (the products of gates and cell state), as in most
later work; convolutions of frames are done for all steps at once before the loop; kernels of the state begin orthogonal
as matrices; the forget gate's bias begins at one.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    Conv,
    Dropout,
    Padding,
    Sequence,
    Tap,
    as_sequence,
    check_padding,
    convolve,
    global_pool,
    pad_spatial,
)
from zoo.models.card import Card


class ConvLSTM(nn.Module):
    """A `Sequence` of frames (B, T, H, W, C), or the array, → (B, num_classes), or one output per step or pixel.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        widths: channels of the state of each layer.
        kernel: side of the kernels in pixels.
        readout: `"last"`: means and maxima over the last state, (B, num_classes); `"steps"`: of each state,
            (B, T, num_classes); `"frames"`: an output for each pixel of each step, (B, T, H, W, num_classes).
        dropout: rate before the head.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    widths: tuple[int, ...] = (16,)
    kernel: int = 3
    readout: Literal["last", "steps", "frames"] = "last"
    dropout: float = 0.0
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Sequence | jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        if not self.widths or min(self.kernel, *self.widths) < 1:
            raise ValueError(
                f"kernel {self.kernel} and widths {self.widths}, of one layer or more, must be at least 1."
            )
        if self.readout not in ("last", "steps", "frames"):
            raise ValueError(f"readout must be 'last', 'steps' or 'frames', got {self.readout!r}.")
        check_padding(self.padding)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        sequence = as_sequence("ConvLSTM", inputs, ndim=5, channels=self.in_channels)
        x, valid = sequence.values, sequence.valid.T
        if self.dtype is not None:
            x = x.astype(self.dtype)
        for layer, width in enumerate(self.widths, start=1):
            x, last = self._layer(x, valid, width, layer, types)
            x = Tap(name=f"layer{layer}")(x)
        batch, steps = x.shape[:2]
        if self.readout == "last":
            x = global_pool(last, mode="both")
        elif self.readout == "steps":
            x = global_pool(x.reshape(-1, *x.shape[2:]), mode="both").reshape(batch, steps, -1)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)

    def _layer(
        self, x: jax.Array, valid: jax.Array, width: int, layer: int, types: dict[str, Any]
    ) -> tuple[jax.Array, jax.Array]:
        """States h of all steps (B, T, H, W, width), and the one after the last valid step."""
        batch, steps, *_ = x.shape
        # The loop takes steps first; the frames are smaller than what is made of them, and moved in less time.
        x = jnp.swapaxes(x, 0, 1)
        name = f"layer{layer}"
        conv = Conv(4 * width, kernel=self.kernel, padding=self.padding, use_bias=False, name=f"{name}_input", **types)
        projected = conv(x.reshape(-1, *x.shape[2:]))
        shape = (self.kernel, self.kernel, width, 4 * width)
        kernel = self.param(f"{name}_recurrent", nn.initializers.orthogonal(), shape, self.param_dtype)
        bias = self.param(f"{name}_bias", _forget_bias, (4 * width,), self.param_dtype)
        kernel, bias = kernel.astype(projected.dtype), bias.astype(projected.dtype)
        projected = projected.reshape(steps, batch, *projected.shape[1:])
        zeros = jnp.zeros((batch, *projected.shape[2:-1], width), projected.dtype)

        def body(carry: tuple, step: tuple) -> tuple[tuple, jax.Array]:
            hidden, cell = carry
            from_input, counts = step
            products = from_input + _convolve_in_loop(self.padding, hidden, kernel) + bias[None, None, None]
            i, f, g, o = jnp.split(products, 4, axis=-1)
            new_cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            new = nn.sigmoid(o) * jnp.tanh(new_cell)
            counts = counts[:, None, None, None]
            hidden, cell = jnp.where(counts, new, hidden), jnp.where(counts, new_cell, cell)
            return (hidden, cell), hidden

        (last, _), hidden = jax.lax.scan(body, (zeros, zeros), (projected, valid))
        return jnp.swapaxes(hidden, 0, 1), last


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _convolve_in_loop(padding: Padding, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolve(x, kernel, padding=padding)


@_convolve_in_loop.defjvp
def _convolve_in_loop_jvp(padding: Padding, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x, kernel), (dx, dk) = primals, tangents
    y, of_kernel = jax.jvp(lambda kernel: convolve(x, kernel, padding=padding), (kernel,), (dk,))
    return y, of_kernel + _convolve_tangent(padding, dx, kernel)


def _convolve_tangent(padding: Padding, dx: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution in a form whose transpose, which is the gradient with respect to x, is fast inside a loop.

    On a CPU XLA's own takes four times as long there as outside; a product of copies of every pixel (im2col) does not.
    """
    if jax.default_backend() != "cpu":
        return convolve(dx, kernel, padding=padding)
    side, (height, width) = len(kernel), dx.shape[1:3]
    dx = pad_spatial(dx, [((side - 1) // 2, side // 2)] * 2, padding)
    shifts = [dx[:, i : i + height, j : j + width] for i in range(side) for j in range(side)]
    return jnp.concatenate(shifts, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _forget_bias(key: jax.Array, shape: tuple[int], dtype: Any) -> jax.Array:
    """One for the forget gate, the second of four blocks, so that a state is kept at the beginning."""
    width = shape[0] // 4
    return jnp.zeros(shape, dtype).at[width : 2 * width].set(1.0)


VARIANTS = {
    "conv_lstm": Card(
        module=ConvLSTM,
        config={},
        title="convolutional LSTM, videos",
        paper="https://arxiv.org/abs/1506.04214",
        inputs="Sequence of frames (B, T, H, W, C) and lengths (B,), or (B, T, H, W, C)",
        example=(1, 16, 32, 32, 1),
        tiny={"num_classes": 3, "widths": (3, 4), "dropout": 0.25},
        tiny_example=(2, 3, 6, 6, 2),
    )
}
