"""Edge convolution: what a point learns from its differences to its neighbours.

Wang+19, https://arxiv.org/abs/1801.07829: x_i ← pool over neighbours j of h(x_i, x_j − x_i), with dense layers h. The
first of them is linear: (x_i, x_j − x_i) · (P; Q) = x_i (P − Q) + x_j Q, two products for each point instead of one for
each of its k neighbours, on half as many channels. What is lost is digits where points are much farther from the
origin than from each other: standardise the inputs.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.neighbours import Neighbours, gather_points
from zoo.layers.normalisation import BatchNorm
from zoo.layers.points import POINT_POOLS, PoolName


class EdgeConv(nn.Module):
    """Points (B, N, C) and their neighbours → (B, N, widths[-1]); 0 for a point without neighbours.

    Parameters: `dense1` has the kernel (2 C, widths[0]), first the rows of x_i and then those of x_j − x_i. No dense
    layer has a bias: each is followed by batch normalisation, over all edges there are.

    Attributes:
        widths: channels of the dense layers h.
        pool: over the neighbours, `"max"`, `"mean"` or `"sum"`.
        activation: after each normalisation.
        axis_name: device axis of `pmap` over which statistics are shared.
        dtype: dtype of the computation; `None` follows the input.
    """

    widths: tuple[int, ...]
    pool: PoolName = "max"
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, neighbours: Neighbours, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Features of the points; `mask` (B,) says which sets count in the statistics, `None` for all."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        counted = neighbours.valid if mask is None else neighbours.valid * jnp.asarray(mask)[:, None, None]
        for i, width in enumerate(self.widths, start=1):
            if i == 1:
                x = _FirstDense(width, name="dense1", **types)(x, neighbours.index)
            else:
                x = nn.Dense(width, use_bias=False, name=f"dense{i}", **types)(x)
            x = BatchNorm(axis_name=self.axis_name, name=f"norm{i}", **types)(x, train=train, mask=counted)
            x = self.activation(x)
        return POINT_POOLS[self.pool](x, neighbours.valid)


class _FirstDense(nn.Module):
    """(B, N, C) → (B, N, k, width): the product of (x_i, x_j − x_i) with one kernel (2 C, width)."""

    width: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, index: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        shape = (2 * channels, self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, self.param_dtype)
        dtype = self.dtype or jnp.promote_types(x.dtype, self.param_dtype)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        own, other = kernel[:channels] - kernel[channels:], kernel[channels:]
        own, other = jnp.split(x @ jnp.concatenate([own, other], axis=1), 2, axis=-1)
        return own[:, :, None] + gather_points(other, index)
