"""SegNet: an encoder in the manner of VGG, and a decoder that puts every maximum back where it came from.

Badrinarayanan+15, https://arxiv.org/abs/1511.00561: stages of 3×3 convolutions, each followed by max-pooling that
remembers which pixel won (switches); the decoder mirrors them, each stage first unpooling by the encoder's switches and
then filling the gaps by convolutions. Nothing else crosses from encoder to decoder, so that borders stay sharp at
little memory. What differs: any number of stages and widths (the paper has the 13 convolutions of VGG-16, of 64 to 512
channels, on either side); outputs come from a 1×1 convolution of their own (in the paper the last 3×3 convolution of
the decoder gives them).

Sizes are free: inside, an image is padded on both sides up to a multiple of the total stride, 2^stages, by its mirror
image or, with circular padding, by the opposite border; outputs are cropped to the image. Padded pixels count in the
statistics of batch normalisation. Of pixels that tie the first wins, and on a ground without any noise it is rounding
that decides which do. With circular padding the network is exactly equivariant to shifts by multiples of the total
stride, on sizes that it divides.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    Conv,
    Dropout,
    Norm,
    Padding,
    check_image,
    conv_stage,
    crop_centre,
    max_pool_with_switches,
    max_unpool,
    pad_to_multiple,
)
from zoo.models.card import Card, Symmetry


class SegNet(nn.Module):
    """(B, …, C) → (B, …, num_classes), one output vector per pixel, for one to three spatial axes of any size.

    Layers are `down{s}_conv{i}` in stage s of the encoder, `up{s}_conv{i}` in its mirror image and `head`. The last
    convolution of decoder stage s > 1 has the channels of stage s − 1. Taps `down{s}` and `up{s}`.

    Attributes:
        num_classes: number of outputs per pixel: logits of classes or of masks, or any numbers.
        in_channels: number of input channels, checked when given.
        widths: channels of each stage of the encoder.
        depths: convolutions of each stage, on either side.
        kernel: side of the kernels in pixels.
        norm: `"batch"`, `"group"` (each example by itself, gcd(8, width) groups of channels) or `"none"`.
        dropout: rate between encoder and decoder.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    widths: tuple[int, ...] = (16, 32, 64, 128)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    kernel: int = 3
    norm: Norm = "batch"
    dropout: float = 0.0
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths {self.widths} and depths {self.depths} must name the same number of stages.")
        if min(self.kernel, *self.widths, *self.depths, len(self.widths)) < 1:
            raise ValueError(
                f"kernel {self.kernel}, widths {self.widths} and depths {self.depths} must all be at least 1, and "
                "there must be a stage."
            )
        check_image("SegNet", inputs, ndims=(1, 2, 3), channels=self.in_channels)
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

        x = pad_to_multiple(inputs, 2 ** len(self.widths), padding="mirror" if self.padding == "zero" else self.padding)
        switches = []
        for number, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            x = stage(x, (width,) * depth, name=f"down{number}")
            x, winners = max_pool_with_switches(x)
            switches.append(winners)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        for number in range(len(self.widths), 0, -1):
            width, finer = self.widths[number - 1], self.widths[max(number - 2, 0)]
            x = max_unpool(x, switches[number - 1])
            x = stage(x, (*(width,) * (self.depths[number - 1] - 1), finer), name=f"up{number}")
        x = Conv(self.num_classes, kernel=1, kernel_init=nn.initializers.lecun_normal(), name="head", **types)(x)
        return crop_centre(x, inputs.shape[1:-1])


VARIANTS = {
    "segnet": Card(
        module=SegNet,
        config={},
        title="SegNet, 4 stages and their mirror images",
        paper="https://arxiv.org/abs/1511.00561",
        inputs="images (B, H, W, C), any size",
        example=(1, 64, 64, 1),
        tiny={"num_classes": 3, "widths": (4, 6), "depths": (1, 2), "dropout": 0.25},
        tiny_example=(2, 14, 17, 2),
        outputs="pixels",
        symmetries=(Symmetry("translation", "equivariant", 16, {"padding": "circular"}),),
    )
}
