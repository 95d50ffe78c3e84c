"""MobileNetV2: inverted residuals, wide inside and narrow between, with depthwise convolutions.

Sandler+18, https://arxiv.org/abs/1801.04381, Table 2. A block widens its input by a 1×1 convolution, filters every
channel on its own, and projects to few channels without a rectifier (a "linear bottleneck", which a rectifier would rob
of information); where the shape stays the input is added. What differs: as in torchvision, whose weights fit, dropout
before the head and widths rounded to multiples of 8; `stem_stride=1` and the strides in `stages` are for small images.

The biases of the projections' normalisations get no gradient in training: nothing but 1×1 convolutions and sums stands
between them and the next normalisation, which takes a constant out.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import BatchNorm, Conv, Dropout, Padding, Tap, check_image, global_pool
from zoo.models.card import Card, Symmetry

# Sandler+18, Table 2: expansion t, channels c, blocks n, stride s of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def make_divisible(width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `width` (halves up), at least `divisor` and at least 0.9 · `width`."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * width else rounded + divisor


class InvertedResidual(nn.Module):
    """(B, H, W, C) → (B, H / stride, W / stride, width): 1×1 to `expansion`·C channels, 3×3 depthwise, 1×1 to `width`.

    With expansion 1 the first convolution is left out. The input is added where the shape stays.
    """

    width: int
    expansion: int
    stride: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None) -> jax.Array:
        inner = self.expansion * x.shape[-1]
        y = x
        if self.expansion != 1:
            y = self.conv(inner, kernel=1, name="expand")(y)
            y = nn.relu6(self.norm(name="expand_norm")(y, train=train, mask=mask))
        y = self.conv(inner, kernel=3, stride=self.stride, groups=inner, name="depthwise")(y)
        y = nn.relu6(self.norm(name="depthwise_norm")(y, train=train, mask=mask))
        y = self.conv(self.width, kernel=1, name="project")(y)
        y = self.norm(name="project_norm")(y, train=train, mask=mask)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """(B, H, W, C) → logits (B, num_classes).

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        width_mult: factor on the channels of the stem and of all stages, and, above 1, of the last convolution.
        stages: (expansion, channels, blocks, stride) of each stage; the stride is its first block's.
        stem_width: channels of the stem before `width_mult`.
        stem_stride: 2, or 1 for small images. The total stride is this times the stages' (32 as published).
        last_width: channels of the last 1×1 convolution.
        dropout: rate before the head.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.
    """

    num_classes: int = 1000
    in_channels: int | None = None
    width_mult: float = 1.0
    stages: tuple[tuple[int, int, int, int], ...] = STAGES
    stem_width: int = 32
    stem_stride: int = 2
    last_width: int = 1280
    dropout: float = 0.2
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        if self.stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, got {self.stem_stride!r}.")
        if not self.width_mult > 0:
            raise ValueError(f"width_mult must be above 0, got {self.width_mult!r}.")
        stride = self.stem_stride * math.prod(stride for *_, stride in self.stages)
        check_image("MobileNetV2", inputs, channels=self.in_channels, minimum=stride)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = functools.partial(Conv, padding=self.padding, use_bias=False, **types)
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, **types)

        x = conv(make_divisible(self.stem_width * self.width_mult), stride=self.stem_stride, name="stem")(inputs)
        x = nn.relu6(norm(name="stem_norm")(x, train=train, mask=mask))
        for stage, (expansion, width, depth, stride) in enumerate(self.stages, start=1):
            for i in range(depth):
                x = InvertedResidual(
                    width=make_divisible(width * self.width_mult),
                    expansion=expansion,
                    stride=stride if i == 0 else 1,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage}_block{i}",
                )(x, train=train, mask=mask)
            x = Tap(name=f"stage{stage}")(x)
        x = conv(make_divisible(self.last_width * max(1.0, self.width_mult)), kernel=1, name="last")(x)
        x = nn.relu6(norm(name="last_norm")(x, train=train, mask=mask))
        x = global_pool(x)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)


VARIANTS = {
    # Parameters with 1000 classes and 3 channels: 3,504,872.
    "mobilenet_v2": Card(
        module=MobileNetV2,
        config={},
        title="MobileNetV2, image classification",
        paper="https://arxiv.org/abs/1801.04381",
        inputs="images (B, H, W, C), H and W ≥ 32 (≥ 16 with stem_stride=1)",
        example=(1, 224, 224, 3),
        tiny={
            "num_classes": 3,
            "stages": ((1, 8, 1, 1), (3, 8, 2, 2), (2, 16, 1, 2)),
            "stem_width": 8,
            "stem_stride": 1,
            "last_width": 24,
        },
        tiny_example=(2, 8, 8, 2),
        symmetries=(Symmetry("translation", "invariant", 32, {"padding": "circular"}),),
        idle=(r"stage\d+_block\d+/project_norm/bias",),
        weights="torchvision's ImageNet weights, read by zoo.weights",
    )
}
