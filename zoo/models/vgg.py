"""VGG: stages of 3×3 convolutions with a max-pool after each, and dense layers on top.

Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556, Table 1, columns A, B and D; our parameter counts are the
published ones. What differs: before the dense layers the image is averaged to 7×7 (as in torchvision, whose weights
fit), so that other sizes than the published 224 px are taken; `head="pool"` replaces the dense layers, which hold nine
tenths of the parameters, by the mean over the image and one dense layer, for small images; `batch_norm=True` normalises
after every convolution. Those convolutions keep their biases, as torchvision's do, although the normalisation takes
them out again: in training they get no gradient.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers import BatchNorm, Conv, Dropout, Padding, Tap, check_image, global_pool, max_pool
from zoo.models.card import Card, Symmetry

GRID = 7  # side of the grid that the dense head sees, in pixels


def adaptive_avg_pool(x: jax.Array, side: int) -> jax.Array:
    """Average (B, H, W, C) to (B, side, side, C); window i of an axis of n pixels is ⌊i·n/side⌋ … ⌈(i+1)·n/side⌉ − 1.

    The windows of `torch.nn.AdaptiveAvgPool2d`: they overlap where `side` does not divide n, and repeat pixels where
    n < side.
    """
    if x.shape[1:3] == (side, side):
        return x
    rows, columns = (jnp.asarray(averages(n, side), x.dtype) for n in x.shape[1:3])
    # The highest precision: an accelerator's short multiplications would show in an average.
    return jnp.einsum("bhwc,ih,jw->bijc", x, rows, columns, precision="highest")


def averages(size: int, side: int) -> np.ndarray:
    """Matrix (side, size) whose row i averages over window i of `adaptive_avg_pool`."""
    matrix = np.zeros((side, size))
    for i in range(side):
        start, stop = i * size // side, -((-(i + 1) * size) // side)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


class VGG(nn.Module):
    """(B, H, W, C) → logits (B, num_classes); H and W at least 2 to the number of stages (32).

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        depths: convolutions of each stage; every stage ends with a max-pool 2.
        widths: channels of each stage.
        head: `"dense"` (7×7 average, hidden dense layers, output) or `"pool"` (mean over the image, output).
        dense: units of the hidden layers of the dense head.
        batch_norm: normalise after every convolution.
        dropout: rate after each hidden dense layer, or before the output of the pooled head.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.
    """

    num_classes: int = 1000
    in_channels: int | None = None
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    head: Literal["dense", "pool"] = "dense"
    dense: tuple[int, ...] = (4096, 4096)
    batch_norm: bool = False
    dropout: float = 0.5
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths {self.widths} and depths {self.depths} must name the same number of stages.")
        if self.head not in ("dense", "pool"):
            raise ValueError(f"head must be 'dense' or 'pool', got {self.head!r}.")
        check_image("VGG", inputs, channels=self.in_channels, minimum=2 ** len(self.depths))
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = functools.partial(Conv, padding=self.padding, **types)
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, **types)
        dropout = functools.partial(Dropout, self.dropout, axis_name=self.axis_name)

        x = inputs
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            for i in range(1, depth + 1):
                x = conv(width, name=f"stage{stage}_conv{i}")(x)
                x = norm(name=f"stage{stage}_norm{i}")(x, train=train, mask=mask) if self.batch_norm else x
                x = nn.relu(x)
            x = max_pool(Tap(name=f"stage{stage}")(x))
        if self.head == "pool":
            x = dropout(name="dropout")(global_pool(x), train=train)
        else:
            x = adaptive_avg_pool(x, GRID)
            x = x.reshape(x.shape[0], -1)
            for i, units in enumerate(self.dense, start=1):
                x = nn.relu(nn.Dense(units, name=f"dense{i}", **types)(x))
                x = dropout(name=f"dropout{i}")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)


def _card(name: str, depths: tuple[int, ...]) -> Card:
    return Card(
        module=VGG,
        config={"depths": depths},
        title=f"{name}, image classification",
        paper="https://arxiv.org/abs/1409.1556",
        inputs="images (B, H, W, C), H and W ≥ 32",
        example=(1, 224, 224, 3),
        tiny={"num_classes": 3, "depths": (1, 1, 2, 1, 1), "widths": (6, 6, 8, 8, 8), "dense": (8, 8)},
        tiny_example=(2, 32, 32, 2),
        symmetries=(Symmetry("translation", "invariant", 32, {"padding": "circular", "head": "pool"}),),
    )


# Simonyan & Zisserman 2014, Table 1. Parameters with 1000 classes and 3 channels: 132,863,336, 133,047,848 and
# 138,357,544.
VARIANTS = {
    "vgg11": _card("VGG-11", (1, 1, 2, 2, 2)),
    "vgg13": _card("VGG-13", (2, 2, 2, 2, 2)),
    "vgg16": _card("VGG-16", (2, 2, 3, 3, 3)),
}
