"""Group-equivariant U-Net: a map of outputs that turns and mirrors with the image, exactly, for any weights.

The U-Net of Ronneberger+15, https://arxiv.org/abs/1505.04597, out of the group convolutions of Cohen & Welling 2016,
https://arxiv.org/abs/1602.07576: features are fields over C4 (quarter turns) or D4 (and mirrorings), of which pooling
of 2×2 pixels, repetition of pixels and putting fields side by side keep the symmetry; at the end the maximum or the
mean over the group leaves maps that move like an image. Chidester+19 ("Enhanced rotation-equivariant U-Net for nuclear
segmentation", CVPR workshops) have a network of this kind.

Exactness needs windows of 2×2 pixels that tile the image as they tile its mirror image. Images are padded (by zeros,
or with circular padding by the opposite border) up to a multiple of the total stride, 2^(levels − 1), equally on all
four sides, which is possible if their sides are even. So square images of even side are taken, and others refused
unless `strict=False`; outputs are cropped to the image. With circular padding the network is exactly equivariant to
shifts by multiples of the total stride, too, on sizes that it divides.

As in the other group networks the default widths give the parameters of the plain network, not its cost.
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
    Group,
    GroupConv,
    LiftingConv,
    Padding,
    Tap,
    avg_pool,
    check_exact_side,
    check_image,
    crop_centre,
    group_order,
    group_pool,
    max_pool,
    merge_fields,
    pad_to_multiple,
    split_fields,
    upsample_nearest,
)
from zoo.models.card import Card, Symmetry

POOLS = {"avg": avg_pool, "max": max_pool}


class GroupUNet(nn.Module):
    """(B, H, W, C) → (B, H, W, num_classes), one output vector per pixel, which moves with the image.

    Layers have the names of `UNet`'s. Taps `down{l}` and `up{l}` are (B, H', W', G·K), G = 4 or 8, channel h·K + c
    being field c at element h.

    Attributes:
        num_classes: number of outputs per pixel: logits of classes or of masks, or any numbers.
        in_channels: number of input channels, checked when given.
        group: `"c4"` (4 turns) or `"d4"` (and their mirror images).
        widths: fields of each level.
        depth: convolutions of each level, on either side.
        kernel: side of the kernels in pixels, odd.
        pool: `"max"` or `"avg"` between levels on the way down.
        group_pool: `"max"` or `"mean"` over the elements, before the head.
        dropout: rate of whole fields at the bottom, everywhere and in all poses or nowhere.
        strict: refuse images on which the turns are not exact.
        padding: `"zero"` or `"circular"`; turns are exact with both.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    group: Group = "d4"
    widths: tuple[int, ...] = (6, 12, 24, 46)
    depth: int = 2
    kernel: int = 3
    pool: Literal["max", "avg"] = "max"
    group_pool: Literal["max", "mean"] = "max"
    dropout: float = 0.0
    strict: bool = True
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        self._check(inputs)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        options = {"group": self.group, "padding": self.padding, "use_bias": False, **types}
        conv = functools.partial(GroupConv, **options)
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, **types)

        def stage(x: jax.Array, width: int, name: str) -> jax.Array:
            for i in range(1, self.depth + 1):
                layer = conv if x.ndim == 5 else functools.partial(LiftingConv, **options)
                x = layer(width, kernel=self.kernel, name=f"{name}_conv{i}")(x)
                x = nn.relu(norm(name=f"{name}_norm{i}")(x, train=train, mask=mask))
            # Explainers know maps (B, H, W, C).
            return self._by_pixel(x, Tap(name=name))

        levels = len(self.widths)
        x = pad_to_multiple(inputs, 2 ** (levels - 1), padding=self.padding)
        bridges = []
        for level, width in enumerate(self.widths, start=1):
            x = stage(x, width, f"down{level}")
            if level < levels:
                bridges.append((level, width, x))
                x = self._by_pixel(x, POOLS[self.pool])
        x = x * self._kept(x, train)
        for level, width, bridge in reversed(bridges):
            # Before the enlargement, with which it commutes: a fourth of the pixels.
            x = conv(width, kernel=1, name=f"up{level}_enlarge")(x)
            x = jnp.concatenate([bridge, self._by_pixel(x, upsample_nearest)], axis=-1)
            x = stage(x, width, f"up{level}")
        x = group_pool(x, mode=self.group_pool)
        x = Conv(self.num_classes, kernel=1, kernel_init=nn.initializers.lecun_normal(), name="head", **types)(x)
        return crop_centre(x, inputs.shape[1:-1])

    def _check(self, inputs: jax.Array) -> None:
        group_order(self.group)
        if min(self.depth, *self.widths, len(self.widths)) < 1:
            raise ValueError(
                f"widths {self.widths} must name at least one level; they and depth {self.depth} must all be at least "
                "1."
            )
        if self.pool not in POOLS:
            raise ValueError(f"pool must be one of {sorted(POOLS)}, got {self.pool!r}.")
        name = f"{self.group}_unet"
        check_image(name, inputs, channels=self.in_channels)
        if self.strict:
            check_exact_side(name, inputs.shape[1:3], step=2 if len(self.widths) > 1 else 1)

    def _by_pixel(self, x: jax.Array, function: Any) -> jax.Array:
        """`function` of maps (B, H, W, C) that acts on all channels alike, on fields (B, H, W, G, K)."""
        return split_fields(function(merge_fields(x)), self.group)

    def _kept(self, x: jax.Array, train: bool) -> jax.Array:
        dropout = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")
        return dropout(jnp.ones((x.shape[0], 1, 1, 1, x.shape[-1]), x.dtype), train=train)


def _card(group: str, title: str, widths: tuple[int, ...]) -> Card:
    return Card(
        module=GroupUNet,
        config={"group": group, "widths": widths},
        title=title,
        paper="https://arxiv.org/abs/1602.07576",
        inputs="square images (B, H, W, C), side even",
        example=(1, 64, 64, 1),
        tiny={"num_classes": 3, "widths": (2, 3, 2), "depth": 1, "dropout": 0.25},
        tiny_example=(2, 14, 14, 2),
        outputs="pixels",
        symmetries=(
            Symmetry(group.upper(), "equivariant", 2),
            Symmetry("translation", "equivariant", 8, {"padding": "circular"}),
        ),
    )


# Parameters at one input channel and 10 outputs beside the 482,490 of `unet`: 483,509 and 487,844.
VARIANTS = {
    "c4_unet": _card("c4", "U-Net that turns with the image, 4 levels", (9, 17, 33, 66)),
    "d4_unet": _card("d4", "U-Net that turns and mirrors with the image, 4 levels", (6, 12, 24, 46)),
}
