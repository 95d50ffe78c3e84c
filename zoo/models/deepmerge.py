"""DeepMerge: three convolutional blocks and three dense layers that tell merging galaxies from the rest.

Ćiprijanović+20, https://arxiv.org/abs/2004.11981. Blocks of convolution → ReLU → batch normalisation → max-pool 2 →
dropout with 8@5×5, 16@3×3 and 32@3×3 filters, then flatten and dense 64 → 32 → outputs. The published network has one
output (a logit of "merger") and, unusually, softmax as activation of the two hidden dense layers; `hidden="relu"` is
what one would choose today. Normalisation follows Keras (ε = 1e-3, momentum 0.99), in which it was written. At 75×75×3
with one output it has 174,593 trainable parameters. Flattening ties the network to one image size and gives up
translation symmetry.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import BatchNorm, Conv, Dropout, Padding, Tap, check_image, max_pool
from zoo.models.card import Card

HIDDEN = {"softmax": nn.softmax, "relu": nn.relu}


class DeepMerge(nn.Module):
    """(B, H, W, C) → logits (B, num_classes); published at H = W = 75, C = 3, one output.

    Attributes:
        num_classes: number of outputs; 1 gives the logit of one class against the other.
        in_channels: number of input channels, checked when given.
        widths: filters of the three blocks.
        dense: units of the hidden dense layers.
        hidden: activation of the hidden dense layers, `"softmax"` as published or `"relu"`.
        dropout: rate after each block.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.
    """

    num_classes: int = 1
    in_channels: int | None = None
    widths: tuple[int, ...] = (8, 16, 32)
    dense: tuple[int, ...] = (64, 32)
    hidden: Literal["softmax", "relu"] = "softmax"
    dropout: float = 0.5
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        if self.hidden not in HIDDEN:
            raise ValueError(f"hidden must be one of {sorted(HIDDEN)}, got {self.hidden!r}.")
        check_image("DeepMerge", inputs, channels=self.in_channels, minimum=2 ** len(self.widths))
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm = functools.partial(BatchNorm, momentum=0.99, epsilon=1e-3, axis_name=self.axis_name, **types)

        x = inputs
        for block, width in enumerate(self.widths, start=1):
            kernel = 5 if block == 1 else 3
            x = Conv(width, kernel=kernel, padding=self.padding, name=f"block{block}_conv", **types)(x)
            x = norm(name=f"block{block}_norm")(nn.relu(x), train=train, mask=mask)
            x = Tap(name=f"block{block}")(max_pool(x))
            x = Dropout(self.dropout, axis_name=self.axis_name, name=f"block{block}_dropout")(x, train=train)
        x = x.reshape(x.shape[0], -1)
        for i, units in enumerate(self.dense, start=1):
            x = HIDDEN[self.hidden](nn.Dense(units, name=f"dense{i}", **types)(x))
        return nn.Dense(self.num_classes, name="head", **types)(x)


VARIANTS = {
    "deepmerge": Card(
        module=DeepMerge,
        config={},
        title="DeepMerge, galaxy mergers",
        paper="https://arxiv.org/abs/2004.11981",
        inputs="images (B, H, W, C) of one size, published 75×75×3",
        example=(1, 75, 75, 3),
        tiny={"widths": (2, 3, 4), "dense": (6, 5)},
        tiny_example=(2, 16, 16, 2),
    )
}
