"""Group-equivariant networks: a ConvNet and a ResNet whose features turn and mirror with the image.

Cohen & Welling 2016, https://arxiv.org/abs/1602.07576: a lifting convolution, then group convolutions over C4 (quarter
turns) or D4 (quarter turns and mirrorings), normalisation shared by all elements of the group (`zoo.layers.group`).
Pooling over the group before the head makes the answer invariant, for any weights and at any moment of training.

Exactness needs a grid that is its own mirror image at every scale. 2×2 pooling has one when the side is even, so by
default, with S stages, the sides are multiples of 2^(S − 1); every second pixel has one when the side is odd, so with
`downsample="stride"` the sides are one more than such a multiple. `fold=f` multiplies these sides by f. Other sizes are
refused unless `strict=False`. With circular padding and pooling the networks are invariant to shifts by multiples of
f·2^(S − 1) too.

The default widths give the parameters of plain networks, not their cost: K fields over G elements cost what G·K plain
channels do with 1/G of the parameters, so at equal parameters a step takes about G times the arithmetic.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    BatchNorm,
    Dropout,
    Group,
    GroupConv,
    LiftingConv,
    Padding,
    Tap,
    avg_pool,
    check_exact_side,
    check_image,
    global_pool,
    group_order,
    group_pool,
    max_pool,
    merge_fields,
    split_fields,
)
from zoo.models.card import Card, Symmetry

POOLS = {"avg": avg_pool, "max": max_pool}
HEADS = ("dense", "invariant", "regular")

Downsample = Literal["max", "avg", "stride"]
Head = Literal["invariant", "dense", "regular"]


class _GroupNet(nn.Module):
    """Options of both networks, their checks, and what stands between the stages and at the end."""

    num_classes: int
    in_channels: int | None = None
    group: Group = "d4"
    widths: tuple[int, ...] = (12, 24, 48, 84)
    depths: tuple[int, ...] = (1, 1, 1, 1)
    fold: int = 1
    downsample: Downsample = "max"
    group_pool: Literal["max", "mean"] = "max"
    head: Head = "invariant"
    head_pool: Literal["mean", "max", "both"] = "mean"
    dropout: float = 0.0
    strict: bool = True
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def _check(self, family: str, inputs: jax.Array) -> None:
        group_order(self.group)
        if len(self.widths) != len(self.depths) or min(*self.widths, *self.depths) < 1:
            raise ValueError(
                f"widths {self.widths} and depths {self.depths} must name the same number of stages, each with at "
                "least 1 field and 1 layer."
            )
        if self.downsample not in ("max", "avg", "stride"):
            raise ValueError(f"downsample must be 'max', 'avg' or 'stride', got {self.downsample!r}.")
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {list(HEADS)}, got {self.head!r}.")
        if self.head_pool not in ("mean", "max", "both"):
            raise ValueError(f"head_pool must be 'mean', 'max' or 'both', got {self.head_pool!r}.")
        if self.fold < 1:
            raise ValueError(f"fold must be at least 1 pixel, got {self.fold}.")
        step = self.fold * 2 ** (len(self.widths) - 1)
        name = f"{self.group}_{family}"
        check_image(name, inputs, channels=self.in_channels, minimum=step)
        if self.strict:
            rest = self.fold if self.downsample == "stride" else 0
            check_exact_side(name, inputs.shape[1:3], step=step, rest=rest)

    def _types(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def _layers(self, **conv: Any) -> tuple[Callable, Callable, Callable]:
        """Lifting convolution, group convolution and normalisation with the options of this network."""
        options = {"group": self.group, "padding": self.padding, "use_bias": False, **self._types(), **conv}
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, **self._types())
        return functools.partial(LiftingConv, fold=self.fold, **options), functools.partial(GroupConv, **options), norm

    def _halve(self, x: jax.Array) -> jax.Array:
        if self.downsample == "stride":
            return x
        return split_fields(POOLS[self.downsample](merge_fields(x)), self.group)

    def _tap(self, x: jax.Array, stage: int) -> jax.Array:
        # Explainers know maps (B, H, W, C).
        return split_fields(Tap(name=f"stage{stage}")(merge_fields(x)), self.group)

    def _read_out(self, x: jax.Array, train: bool) -> jax.Array:
        dropout = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")
        if self.head == "regular":
            # A field is dropped everywhere and in all poses, or nowhere.
            keep = dropout(jnp.ones((x.shape[0], 1, 1, 1, x.shape[-1]), x.dtype), train=train)
            return GroupConv(self.num_classes, self.group, kernel=1, name="head", **self._types())(x * keep)
        x = group_pool(x, mode=self.group_pool)
        x = global_pool(x, mode=self.head_pool) if self.head == "invariant" else x
        return nn.Dense(self.num_classes, name="head", **self._types())(dropout(x, train=train))


class GroupConvNet(_GroupNet):
    """(B, H, W, C) → logits (B, num_classes) that do not change when the image is turned (or mirrored).

    `ConvNet` with group convolutions. Stage outputs are (B, H', W', G·K), G = 4 or 8, channel h·K + c being field c at
    element h.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        group: `"c4"` (4 turns) or `"d4"` (and their mirror images).
        widths: fields of each stage; the size is halved between stages.
        depths: convolutions of each stage.
        fold: side in pixels of the blocks over which the first convolution steps, as in `ConvNet`; 1 for pixels.
        downsample: `"max"` or `"avg"` over 2×2 pixels, or `"stride"` 2 in the first convolution of a stage.
        group_pool: `"max"` or `"mean"` over the elements, before the head.
        head: `"invariant"`: one vector of logits. `"dense"`: (B, H', W', num_classes), which moves with the image.
            `"regular"`: (B, H', W', G, num_classes), not pooled over the group, which moves by `turn_fields`.
        head_pool: `"mean"`, `"max"` or `"both"` (side by side) over the pixels, for the invariant head.
        dropout: rate before the head, on what is pooled; with the regular head, of whole fields.
        strict: refuse images on which the symmetry is not exact.
        padding: `"zero"` or `"circular"`; turns are exact with both.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.
        kernel: side of the kernels in pixels, odd.
    """

    kernel: int = 3

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        self._check("convnet", inputs)
        lift, conv, norm = self._layers(kernel=self.kernel)

        x = inputs
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            x = x if stage == 1 else self._halve(x)
            for i in range(1, depth + 1):
                stride = 2 if self.downsample == "stride" and stage > 1 and i == 1 else 1
                layer = lift if stage == i == 1 else conv
                x = layer(width, stride=stride, name=f"stage{stage}_conv{i}")(x)
                x = nn.relu(norm(name=f"stage{stage}_norm{i}")(x, train=train, mask=mask))
            x = self._tap(x, stage)
        return self._read_out(x, train)


class GroupBlock(nn.Module):
    """Residual block (B, H, W, G, C) → (B, H', W', G, K): two 3×3 group convolutions beside a shortcut.

    The shortcut is a 1×1 group convolution where the shape changes, the identity elsewhere.
    """

    width: int
    stride: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None) -> jax.Array:
        y = self.conv(self.width, stride=self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y, train=train, mask=mask))
        y = self.conv(self.width, name="conv2")(y)
        y = self.norm(scale_init=nn.initializers.zeros, name="norm2")(y, train=train, mask=mask)
        if x.shape != y.shape:
            x = self.conv(self.width, kernel=1, stride=self.stride, name="shortcut")(x)
            x = self.norm(name="shortcut_norm")(x, train=train, mask=mask)
        return nn.relu(x + y)


class GroupResNet(_GroupNet):
    """(B, H, W, C) → logits (B, num_classes) that do not change when the image is turned (or mirrored).

    ResNet-18 of group convolutions with the stem for small images. Strided convolutions are exact on odd sizes only:
    by default 2×2 pixels are averaged before the first block of a stage, as in the shortcut of ResNet-D (He+18,
    https://arxiv.org/abs/1812.01187).

    Attributes:
        widths: fields of each stage.
        depths: blocks of each stage.
        downsample: as in `GroupConvNet`, as are all other options.
    """

    widths: tuple[int, ...] = (6, 12, 23, 45)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    downsample: Downsample = "avg"

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        self._check("resnet", inputs)
        lift, conv, norm = self._layers()

        x = lift(self.widths[0], name="stem")(inputs)
        x = nn.relu(norm(name="stem_norm")(x, train=train, mask=mask))
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            x = x if stage == 1 else self._halve(x)
            for i in range(depth):
                stride = 2 if self.downsample == "stride" and stage > 1 and i == 0 else 1
                block = GroupBlock(width=width, stride=stride, conv=conv, norm=norm, name=f"stage{stage}_block{i}")
                x = block(x, train=train, mask=mask)
            x = self._tap(x, stage)
        return self._read_out(x, train)


def _symmetries(group: str) -> tuple[Symmetry, ...]:
    return (
        Symmetry(group, "invariant", 8),
        Symmetry(group, "equivariant", 8, {"head": "dense"}),
        Symmetry("translation", "invariant", 8, {"padding": "circular"}),
    )


_TINY = {"num_classes": 3, "widths": (3, 4), "depths": (1, 2)}

# Parameters at one input channel and 10 classes beside those of the plain networks: c4_convnet 388,986 and d4_convnet
# 395,278 to ConvNet's 390,890; d4_resnet 705,150 to the 701,178 of ResNet-18 with width=16 and stem="small".
VARIANTS = {
    "c4_convnet": Card(
        module=GroupConvNet,
        config={"group": "c4", "widths": (16, 32, 64, 128)},
        title="ConvNet that turns with the image, 4 stages",
        paper="https://arxiv.org/abs/1602.07576",
        inputs="square images (B, H, W, C), side a multiple of 8",
        example=(1, 64, 64, 1),
        tiny={**_TINY, "dropout": 0.25},
        tiny_example=(2, 16, 16, 2),
        symmetries=_symmetries("C4"),
    ),
    "d4_convnet": Card(
        module=GroupConvNet,
        config={"group": "d4"},
        title="ConvNet that turns and mirrors with the image, 4 stages",
        paper="https://arxiv.org/abs/1602.07576",
        inputs="square images (B, H, W, C), side a multiple of 8",
        example=(1, 64, 64, 1),
        tiny={**_TINY, "dropout": 0.25},
        tiny_example=(2, 16, 16, 2),
        symmetries=_symmetries("D4"),
    ),
    "d4_resnet": Card(
        module=GroupResNet,
        config={"group": "d4"},
        title="ResNet-18 that turns and mirrors with the image",
        paper="https://arxiv.org/abs/1602.07576",
        inputs="square images (B, H, W, C), side a multiple of 8",
        example=(1, 64, 64, 1),
        tiny=_TINY,
        tiny_example=(2, 8, 8, 2),
        symmetries=_symmetries("D4"),
    ),
}
