"""Convolutions one after the other, each normalised and rectified: what networks for images are made of.

As a function, called inside a compact module, so that the layers are the caller's own and have flat names.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.convolution import Conv, Padding
from zoo.layers.normalisation import BatchNorm
from zoo.layers.tap import Tap

Norm = Literal["batch", "group", "none"]

# Groups of channels that group normalisation takes together, where the width is a multiple (Wu & He 2018,
# https://arxiv.org/abs/1803.08494, have 32 in far wider networks).
GROUPS = 8


def conv_stage(
    x: jax.Array,
    widths: Sequence[int],
    *,
    name: str,
    kernel: int = 3,
    norm: Norm = "batch",
    padding: Padding = "zero",
    axis_name: str | None = None,
    train: bool = False,
    mask: jax.Array | None = None,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> jax.Array:
    """Convolve, normalise and rectify (B, …, C), once for each of `widths`: (B, …, widths[-1]).

    Makes the layers `{name}_conv1`, `{name}_norm1`, … and a tap `{name}` at the end, in the module whose compact
    `__call__` calls it. A convolution has a bias only where nothing is normalised.

    Args:
        x: input, one to three spatial axes, whose sizes stay.
        widths: output channels of each convolution.
        name: of the stage, unique in the module.
        kernel: side of the kernels in pixels.
        norm: `"batch"` (`BatchNorm`, examples masked out where `mask` is 0), `"group"` (each example by itself, over
            gcd(8, width) groups of channels) or `"none"`.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis over which batches share their statistics.
        train: normalise by the batch instead of the running averages.
        mask: (B,), 1 for examples that count.
        dtype: dtype of the computation; `None` follows the input.
        param_dtype: dtype of the parameters.

    Raises:
        ValueError: an unknown `norm` or `padding`.
    """
    check_norm(norm)
    types = {"dtype": dtype, "param_dtype": param_dtype}
    for i, width in enumerate(widths, start=1):
        conv = Conv(width, kernel=kernel, padding=padding, use_bias=norm == "none", name=f"{name}_conv{i}", **types)
        x = conv(x)
        if norm == "batch":
            x = BatchNorm(axis_name=axis_name, name=f"{name}_norm{i}", **types)(x, train=train, mask=mask)
        elif norm == "group":
            x = nn.GroupNorm(
                num_groups=math.gcd(GROUPS, width),
                epsilon=1e-5,
                # E[x²] − E[x]² loses all digits where the mean is large beside the spread.
                use_fast_variance=False,
                name=f"{name}_norm{i}",
                **types,
            )(x)
        x = nn.relu(x)
    return Tap(name=name)(x)


def check_norm(norm: str) -> None:
    """Raise `ValueError` unless `norm` is one that `conv_stage` knows."""
    if norm not in ("batch", "group", "none"):
        raise ValueError(f"norm must be 'batch', 'group' or 'none', got {norm!r}.")
