"""U-Net: an encoder that halves the image, a decoder that doubles it again, and a bridge between them at every size.

Ronneberger+15, https://arxiv.org/abs/1505.04597, Fig. 1, and Çiçek+16, https://arxiv.org/abs/1606.06650, for volumes:
two 3×3 convolutions per level, 2×2 max-pooling down, 2×2 transposed convolution up that halves the channels, maps of
the encoder beside those of the decoder, 1×1 convolution to the outputs. What differs: convolutions are padded, so that
outputs are as large as inputs (the paper crops); they are normalised and have no bias (in Çiçek+16 both); a quarter of
the channels by default and one level less; in volumes both convolutions of a level have its full width.

Sizes are free. Inside, an image is padded on both sides up to a multiple of the total stride, 2^(levels − 1), by zeros
(by its mirror image where values are unpooled, as zeros would tie) or, with circular padding, by the opposite border;
outputs are cropped to the image. Padded pixels count in the statistics of batch normalisation. With circular padding
the network is exactly equivariant to shifts by multiples of the total stride, on sizes that it divides.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    Conv,
    ConvTranspose,
    Dropout,
    Norm,
    Padding,
    avg_pool,
    check_image,
    conv_stage,
    crop_centre,
    fold_pixels,
    global_pool,
    max_pool,
    max_pool_with_switches,
    max_unpool,
    pad_to_multiple,
    unfold_pixels,
    upsample_linear,
    upsample_nearest,
)
from zoo.models.card import Card, Symmetry

POOLS = {"max": max_pool, "avg": avg_pool}
UPS = ("transposed", "nearest", "linear", "unpool")
SKIPS = ("concatenate", "sum", "none")


class UNet(nn.Module):
    """(B, …, C) → (B, …, num_classes), one output vector per pixel, for one to three spatial axes of any size.

    Level l has widths[l − 1] channels and 2^(l − 1) times larger pixels. Layers are `down{l}_conv{i}` on the way down,
    the last level being the bottom; `up{l}_enlarge` and `up{l}_conv{i}` on the way up; `head`. Taps `down{l}`, `up{l}`.

    Attributes:
        num_classes: number of outputs per pixel: logits of classes or of masks, or any numbers.
        in_channels: number of input channels, checked when given.
        widths: channels of each level.
        depth: convolutions of each level, on either side.
        fold: side in pixels of the blocks moved into channels at the start, and back at the end; 1 for none. Fine for
            images sampled finely, and many times faster than a first level of few channels.
        kernel: side of the kernels in pixels.
        norm: `"batch"`, `"group"` (each example by itself, gcd(8, width) groups of channels) or `"none"`.
        pool: `"max"` or `"avg"` between levels on the way down.
        up: to the next finer level and its width: `"transposed"`, a transposed convolution with kernel and stride 2;
            `"nearest"` or `"linear"`, a 1×1 convolution, then pixels are repeated or interpolated; `"unpool"`, a 1×1
            convolution, then each value goes to the pixel that won the max-pooling.
        skip: encoder's maps are put beside the decoder's (`"concatenate"`), added to them (`"sum"`) or left out
            (`"none"`).
        dropout: rate at the bottom.
        numbers: how many numbers of the whole image are given beside the maps, from means and maxima at the bottom: the
            output is then the tuple (maps, (B, numbers)).
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    widths: tuple[int, ...] = (16, 32, 64, 128)
    depth: int = 2
    fold: int = 1
    kernel: int = 3
    norm: Norm = "batch"
    pool: Literal["max", "avg"] = "max"
    up: Literal["transposed", "nearest", "linear", "unpool"] = "transposed"
    skip: Literal["concatenate", "sum", "none"] = "concatenate"
    dropout: float = 0.0
    numbers: int = 0
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> Any:
        self._check(inputs)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        stage = functools.partial(
            conv_stage,
            kernel=self.kernel,
            norm=self.norm,
            padding=self.padding,
            axis_name=self.axis_name,
            train=train,
            mask=mask,
            **types,
        )

        levels = len(self.widths)
        fill = "mirror" if self.up == "unpool" and self.padding == "zero" else self.padding
        x = pad_to_multiple(inputs, self.fold * 2 ** (levels - 1), padding=fill)
        x = fold_pixels(x, self.fold)
        bridges = []
        for level, width in enumerate(self.widths, start=1):
            x = stage(x, (width,) * self.depth, name=f"down{level}")
            if level < levels:
                bridge, (x, switches) = x, self._halve(x)
                bridges.append((level, width, bridge, switches))
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        bottom = x
        for level, width, bridge, switches in reversed(bridges):
            x = self._enlarge(x, switches, width, f"up{level}_enlarge")
            if self.skip == "concatenate":
                x = jnp.concatenate([bridge, x], axis=-1)
            elif self.skip == "sum":
                x = bridge + x
            x = stage(x, (width,) * self.depth, name=f"up{level}")
        outputs = self.num_classes * self.fold ** (inputs.ndim - 2)
        x = Conv(outputs, kernel=1, kernel_init=nn.initializers.lecun_normal(), name="head", **types)(x)
        x = crop_centre(unfold_pixels(x, self.fold), inputs.shape[1:-1])
        if not self.numbers:
            return x
        return x, nn.Dense(self.numbers, name="numbers", **types)(global_pool(bottom, mode="both"))

    def _check(self, inputs: jax.Array) -> None:
        if min(self.depth, self.fold, self.kernel, *self.widths, len(self.widths)) < 1:
            raise ValueError(
                f"widths {self.widths} must name at least one level; they, depth {self.depth}, fold {self.fold} and "
                f"kernel {self.kernel} must all be at least 1."
            )
        for option, known in (("pool", POOLS), ("up", UPS), ("skip", SKIPS)):
            if (value := getattr(self, option)) not in known:
                raise ValueError(f"{option} must be one of {list(known)}, got {value!r}.")
        if self.up == "unpool" and self.pool != "max":
            raise ValueError(f"up='unpool' goes to the pixels that won: it needs pool='max', got {self.pool!r}.")
        check_image("UNet", inputs, ndims=(1, 2, 3), channels=self.in_channels)

    def _halve(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        if self.up == "unpool":
            return max_pool_with_switches(x)
        return POOLS[self.pool](x), None

    def _enlarge(self, x: jax.Array, switches: jax.Array | None, width: int, name: str) -> jax.Array:
        """(B, n, …, C) → (B, 2n, …, width)."""
        options = {"use_bias": self.norm == "none", "dtype": self.dtype, "param_dtype": self.param_dtype, "name": name}
        if self.up == "transposed":
            return ConvTranspose(width, kernel=2, stride=2, padding=self.padding, **options)(x)
        # Before the enlargement, with which it commutes: fewer pixels, and the channels that the switches have.
        x = Conv(width, kernel=1, **options)(x)
        if self.up == "unpool":
            return max_unpool(x, switches)
        return upsample_nearest(x) if self.up == "nearest" else upsample_linear(x, padding=self.padding)


def _card(title: str, paper: str, inputs: str, **rest: Any) -> Card:
    return Card(module=UNet, title=title, paper=paper, inputs=f"{inputs}, any size", outputs="pixels", **rest)


VARIANTS = {
    "unet": _card(
        "U-Net, 4 levels, images",
        "https://arxiv.org/abs/1505.04597",
        "images (B, H, W, C)",
        config={},
        example=(1, 64, 64, 1),
        tiny={"num_classes": 3, "widths": (4, 5, 6), "dropout": 0.25},
        tiny_example=(2, 14, 17, 2),
        symmetries=(Symmetry("translation", "equivariant", 8, {"padding": "circular"}),),
    ),
    "unet3d": _card(
        "U-Net, 3 levels, volumes",
        "https://arxiv.org/abs/1606.06650",
        "volumes (B, D, H, W, C)",
        config={"widths": (8, 16, 32)},
        example=(1, 32, 32, 32, 1),
        tiny={"num_classes": 3, "widths": (3, 4), "dropout": 0.25},
        tiny_example=(2, 6, 7, 8, 2),
        symmetries=(Symmetry("translation", "equivariant", 4, {"padding": "circular"}),),
    ),
}
