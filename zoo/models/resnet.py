"""ResNet: residual blocks x + F(x), so that depth does not stop the gradient.

He+15, https://arxiv.org/abs/1512.03385, Table 1. What differs: the bottleneck strides in its 3×3 convolution, not in
the first 1×1 ("v1.5", as in torchvision, whose parameter counts ours equal); the last normalisation of each block
starts at zero (Goyal+17, https://arxiv.org/abs/1706.02677), so that every block starts as the identity; `stem="small"`
replaces the 7×7-stride-2 convolution and the pooling by one 3×3 convolution, for images of up to about 100 pixels.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import BatchNorm, Conv, Dropout, Padding, Tap, check_image, global_pool, max_pool
from zoo.models.card import Card, Symmetry


class Block(nn.Module):
    """Residual block (B, H, W, C) → (B, H / stride, W / stride, width · expansion).

    `bottleneck=False`: two 3×3 convolutions (expansion 1). `bottleneck=True`: 1×1, 3×3, 1×1 (expansion 4). The
    shortcut is a 1×1 convolution where the shape changes, the identity elsewhere.
    """

    width: int
    stride: int
    bottleneck: bool
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None) -> jax.Array:
        if self.bottleneck:
            layers = [(self.width, 1, 1), (self.width, 3, self.stride), (4 * self.width, 1, 1)]
        else:
            layers = [(self.width, 3, self.stride), (self.width, 3, 1)]
        y = x
        for i, (width, kernel, stride) in enumerate(layers, start=1):
            last = i == len(layers)
            y = self.conv(width, kernel=kernel, stride=stride, name=f"conv{i}")(y)
            init = nn.initializers.zeros if last else nn.initializers.ones
            y = self.norm(scale_init=init, name=f"norm{i}")(y, train=train, mask=mask)
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            x = self.conv(y.shape[-1], kernel=1, stride=self.stride, name="shortcut")(x)
            x = self.norm(name="shortcut_norm")(x, train=train, mask=mask)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """(B, H, W, C) → logits (B, num_classes).

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        depths: blocks of each stage; every stage but the first halves the size.
        width: channels of the first stage, doubled by each further one.
        bottleneck: which block (`Block`).
        stem: `"imagenet"` (7×7 stride 2, max-pool 3 stride 2; total stride 32 with four stages) or `"small"`
            (3×3 stride 1; total stride 8).
        dropout: rate before the head.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.
    """

    num_classes: int = 1000
    in_channels: int | None = None
    depths: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    bottleneck: bool = False
    stem: Literal["imagenet", "small"] = "imagenet"
    dropout: float = 0.0
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        if self.stem not in ("imagenet", "small"):
            raise ValueError(f"stem must be 'imagenet' or 'small', got {self.stem!r}.")
        small = self.stem == "small"
        stride = 2 ** (len(self.depths) - 1) * (1 if small else 4)
        check_image("ResNet", inputs, channels=self.in_channels, minimum=stride)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = functools.partial(Conv, padding=self.padding, use_bias=False, **types)
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, **types)

        x = conv(self.width, kernel=3 if small else 7, stride=1 if small else 2, name="stem")(inputs)
        x = nn.relu(norm(name="stem_norm")(x, train=train, mask=mask))
        if not small:
            x = max_pool(x, window=3, stride=2, pad=1, padding=self.padding)
        for stage, depth in enumerate(self.depths, start=1):
            for i in range(depth):
                x = Block(
                    width=self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and i == 0 else 1,
                    bottleneck=self.bottleneck,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage}_block{i}",
                )(x, train=train, mask=mask)
            x = Tap(name=f"stage{stage}")(x)
        x = global_pool(x)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)


def _card(name: str, depths: tuple[int, ...], bottleneck: bool) -> Card:
    return Card(
        module=ResNet,
        config={"depths": depths, "bottleneck": bottleneck},
        title=f"{name}, image classification",
        paper="https://arxiv.org/abs/1512.03385",
        inputs="images (B, H, W, C), H and W ≥ 32 (≥ 8 with stem='small')",
        example=(1, 224, 224, 3),
        tiny={"num_classes": 3, "depths": (1, 2), "width": 4, "stem": "small"},
        tiny_example=(2, 8, 8, 2),
        symmetries=(Symmetry("translation", "invariant", 32, {"padding": "circular"}),),
    )


# He+15, Table 1. Parameters with 1000 classes and 3 channels: 11,689,512, 21,797,672 and 25,557,032.
VARIANTS = {
    "resnet18": _card("ResNet-18", (2, 2, 2, 2), False),
    "resnet34": _card("ResNet-34", (3, 4, 6, 3), False),
    "resnet50": _card("ResNet-50", (3, 4, 6, 3), True),
}
