"""ConvNet: stages of convolution, normalisation and rectification, with pooling between them.

The plain convolutional network in the manner of VGG (Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556): 3×3
kernels, width doubled as the size is halved. What differs: batch normalisation after every convolution, global pooling
instead of flattening, hence one dense layer, any input size, and — with circular padding — exact invariance to shifts
by multiples of the total stride. The same module takes sequences (B, T, C), images (B, H, W, C) and volumes
(B, D, H, W, C). `fold=2` first moves blocks of 2×2 pixels into channels, which loses nothing and saves most of the
first stage's cost (the stem of TResNet, Ridnik+20, https://arxiv.org/abs/2003.13630).
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    BatchNorm,
    Conv,
    Dropout,
    Padding,
    Sequence,
    Tap,
    as_sequence,
    avg_pool,
    check_image,
    fold_pixels,
    global_pool,
    masked_mean,
    max_over,
    max_pool,
    valid_steps,
)
from zoo.models.card import Card, Symmetry

POOLS = {"max": max_pool, "avg": avg_pool}


class ConvNet(nn.Module):
    """(B, …, C) → logits (B, num_classes), for one to three spatial axes; or a `Sequence` of values (B, T, C).

    A sequence is continued by zeros up to a multiple of the total stride, whatever stands beyond its length, and only
    its own steps count in normalisation and at the end.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        widths: channels of each stage; the size is halved between stages.
        depths: convolutions of each stage.
        fold: side in pixels of the blocks moved into channels at the start; 1 for none. Sizes must be multiples of it.
        kernel: side of the kernels in pixels.
        pool: `"max"` or `"avg"` between stages.
        head_pool: `"mean"`, `"max"` or `"both"` (side by side) over what is left.
        dropout: rate before the head.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.
    """

    num_classes: int
    in_channels: int | None = None
    widths: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (1, 1, 1, 1)
    kernel: int = 3
    fold: int = 1
    pool: Literal["max", "avg"] = "max"
    head_pool: Literal["mean", "max", "both"] = "mean"
    dropout: float = 0.0
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: jax.Array | Sequence, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths {self.widths} and depths {self.depths} must name the same number of stages.")
        if min(self.kernel, self.fold, *self.widths, *self.depths) < 1:
            raise ValueError(
                f"kernel {self.kernel}, fold {self.fold}, widths {self.widths} and depths {self.depths} must all be at "
                "least 1."
            )
        if self.pool not in POOLS:
            raise ValueError(f"pool must be one of {sorted(POOLS)}, got {self.pool!r}.")
        if self.head_pool not in ("mean", "max", "both"):
            raise ValueError(f"head_pool must be 'mean', 'max' or 'both', got {self.head_pool!r}.")
        stride = self.fold * 2 ** (len(self.widths) - 1)
        lengths = None
        if isinstance(inputs, Sequence):
            if self.padding == "circular":
                raise ValueError("A Sequence has no border to be wrapped around: set padding='zero'.")
            sequence = as_sequence("ConvNet", inputs, channels=self.in_channels)
            inputs, lengths = sequence.values, -(-sequence.lengths // self.fold)
            inputs = jnp.pad(inputs, ((0, 0), (0, -inputs.shape[1] % stride), (0, 0)))
        check_image("ConvNet", inputs, ndims=(1, 2, 3), channels=self.in_channels, minimum=stride)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = functools.partial(Conv, kernel=self.kernel, padding=self.padding, use_bias=False, **types)
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, **types)

        x = fold_pixels(inputs, self.fold)
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            if stage > 1:
                x = POOLS[self.pool](x)
                lengths = lengths if lengths is None else -(-lengths // 2)
            for i in range(1, depth + 1):
                x = conv(width, name=f"stage{stage}_conv{i}")(x)
                x = norm(name=f"stage{stage}_norm{i}")(x, train=train, mask=_counted(x, lengths, mask))
                x = _own_steps(nn.relu(x), lengths)
            x = Tap(name=f"stage{stage}")(x)
        x = global_pool(x, mode=self.head_pool) if lengths is None else _pool_steps(x, lengths, self.head_pool)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)


def _own_steps(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Zeros beyond the length of each sequence (B, T, C); images as they are."""
    return x if lengths is None else jnp.where(valid_steps(lengths, x.shape[1])[..., None], x, 0)


def _counted(x: jax.Array, lengths: jax.Array | None, mask: jax.Array | None) -> jax.Array | None:
    """What counts in the statistics: the examples (B,) or, of sequences, their steps (B, T)."""
    if lengths is None:
        return mask
    valid = valid_steps(lengths, x.shape[1])
    return valid if mask is None else valid * mask[:, None]


def _pool_steps(x: jax.Array, lengths: jax.Array, mode: str) -> jax.Array:
    """`global_pool` over the valid steps of (B, T, C), which are not negative and 0 beyond."""
    parts = []
    if mode in ("mean", "both"):
        parts.append(masked_mean(x, valid_steps(lengths, x.shape[1])))
    if mode in ("max", "both"):
        parts.append(max_over(x, 1))
    return jnp.concatenate(parts, axis=-1)


_TINY = {"num_classes": 3, "widths": (4, 6), "depths": (1, 2), "dropout": 0.25}

VARIANTS = {
    "convnet": Card(
        module=ConvNet,
        config={},
        title="plain convolutional network, 4 stages, images",
        paper="https://arxiv.org/abs/1409.1556",
        inputs="images (B, H, W, C), H and W ≥ 8",
        example=(1, 64, 64, 1),
        tiny=_TINY,
        tiny_example=(2, 16, 16, 2),
        symmetries=(Symmetry("translation", "invariant", 8, {"padding": "circular"}),),
    ),
    "conv1d": Card(
        module=ConvNet,
        config={"widths": (32, 64, 128), "depths": (1, 1, 1), "kernel": 5},
        title="plain convolutional network, 3 stages, sequences",
        paper="https://arxiv.org/abs/1611.06455",
        inputs="sequences (B, T, C), T ≥ 4, or Sequence of values and lengths (B,)",
        example=(1, 128, 1),
        tiny=_TINY,
        tiny_example=(2, 16, 2),
        symmetries=(Symmetry("translation", "invariant", 4, {"padding": "circular"}),),
    ),
    "conv3d": Card(
        module=ConvNet,
        config={"widths": (16, 32, 64), "depths": (1, 1, 1)},
        title="plain convolutional network, 3 stages, volumes and videos",
        paper="https://arxiv.org/abs/1412.0767",
        inputs="volumes (B, D, H, W, C), D, H and W ≥ 4",
        example=(1, 32, 32, 32, 1),
        tiny=_TINY,
        tiny_example=(2, 8, 8, 8, 2),
        symmetries=(Symmetry("translation", "invariant", 4, {"padding": "circular"}),),
    ),
}
