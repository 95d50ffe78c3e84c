"""FCN: a classification network made fully convolutional, whose scores at several sizes are added up.

Long+15, https://arxiv.org/abs/1411.4038, Fig. 3: the stages of VGG, its dense layers turned into convolutions, scores
of the classes from 1×1 convolutions at stride 32 and, enlarged twice each time, added to those at stride 16 and 8
(FCN-32s, FCN-16s and FCN-8s are `skips` 0, 1 and 2). Enlargement by 2 is a transposed convolution that starts as
bilinear interpolation and is learnt; the last one, to the pixels, is bilinear and stays so (§4.3). The scores of the
finer sizes start from zero, so that training starts from the coarse answer (§4.2).

What differs: no weights of ImageNet to start from, hence batch normalisation, and coarsest scores that do not start
from zero; a quarter of the channels and the convolutions of VGG-11 by default; the dense layers become 3×3 and 1×1
convolutions of 128 channels (7×7 and 1×1 of 4,096 in the paper) so that images may be small; every convolution is
padded by what keeps the size (the paper pads the image by 100 pixels and crops).

Sizes are free: inside, an image is padded on both sides up to a multiple of the total stride, 2^stages, by zeros or,
with circular padding, by the opposite border; outputs are cropped to the image. Padded pixels count in the statistics
of batch normalisation. With circular padding the network is exactly equivariant to shifts by multiples of the total
stride, on sizes that it divides.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers import (
    Conv,
    ConvTranspose,
    Dropout,
    Norm,
    Padding,
    check_image,
    conv_stage,
    crop_centre,
    max_pool,
    pad_to_multiple,
    upsample_linear,
)
from zoo.models.card import Card, Symmetry


def bilinear(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Kernel (4, …, 4, K, K) with which a transposed convolution of stride 2 interpolates each channel by itself.

    An initialiser of Flax; `key` is not used. Along each axis a pixel gives 3/4 of itself to the two outputs inside it
    and 1/4 to their neighbours, as `upsample_linear` does, but beyond the border there are zeros.
    """
    *sides, outputs, inputs = shape
    profile = np.array([0.25, 0.75, 0.75, 0.25])
    kernel = functools.reduce(np.multiply.outer, [profile] * len(sides))
    return jnp.asarray(np.multiply.outer(kernel, np.eye(outputs, inputs)), dtype)


class FCN(nn.Module):
    """(B, …, C) → (B, …, num_classes), one output vector per pixel, for one to three spatial axes of any size.

    Stage s ends with a max-pool, after which pixels are 2^s times as large. Layers are `stage{s}_conv{i}`;
    `dense{i}_conv1` after the last stage S, and their scores `head`; then, for s = S − 1 and finer, `enlarge{s}` and
    the scores `score{s}`. Taps `stage{s}` (before the max-pool) and `dense{i}`.

    Attributes:
        num_classes: number of outputs per pixel: logits of classes or of masks, or any numbers.
        in_channels: number of input channels, checked when given.
        widths: channels of each stage.
        depths: convolutions of each stage.
        dense: channels of the convolutions after the last stage, the first 3×3, the others 1×1.
        skips: number of finer stages whose scores are added.
        kernel: side of the kernels of the stages in pixels.
        norm: `"batch"`, `"group"` (each example by itself, gcd(8, width) groups of channels) or `"none"`.
        dropout: rate after each of the `dense` convolutions.
        padding: `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    depths: tuple[int, ...] = (1, 1, 2, 2, 2)
    dense: tuple[int, ...] = (128, 128)
    skips: int = 2
    kernel: int = 3
    norm: Norm = "batch"
    dropout: float = 0.0
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        self._check(inputs)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        options = {"norm": self.norm, "padding": self.padding, "axis_name": self.axis_name, **types}
        stage = functools.partial(conv_stage, train=train, mask=mask, **options)
        score = functools.partial(Conv, self.num_classes, kernel=1, **types)

        stages = len(self.widths)
        x = pad_to_multiple(inputs, 2**stages, padding=self.padding)
        pooled = {}
        for number, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            x = stage(x, (width,) * depth, kernel=self.kernel, name=f"stage{number}")
            pooled[number] = x = max_pool(x)
        for i, width in enumerate(self.dense, start=1):
            x = stage(x, (width,), kernel=3 if i == 1 else 1, name=f"dense{i}")
            x = Dropout(self.dropout, axis_name=self.axis_name, name=f"dropout{i}")(x, train=train)
        x = score(kernel_init=nn.initializers.lecun_normal(), name="head")(x)
        for number in range(stages - 1, stages - 1 - self.skips, -1):
            x = ConvTranspose(
                self.num_classes,
                kernel=4,
                padding=self.padding,
                use_bias=False,
                kernel_init=bilinear,
                name=f"enlarge{number}",
                **types,
            )(x)
            x = x + score(kernel_init=nn.initializers.zeros, name=f"score{number}")(pooled[number])
        x = upsample_linear(x, 2 ** (stages - self.skips), padding=self.padding)
        return crop_centre(x, inputs.shape[1:-1])

    def _check(self, inputs: jax.Array) -> None:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths {self.widths} and depths {self.depths} must name the same number of stages.")
        if min(self.kernel, *self.widths, *self.depths, *self.dense, len(self.widths)) < 1:
            raise ValueError(
                f"kernel {self.kernel}, widths {self.widths}, depths {self.depths} and dense {self.dense} must all be "
                "at least 1, and there must be a stage."
            )
        if not 0 <= self.skips < len(self.widths):
            raise ValueError(
                f"skips must be 0 … {len(self.widths) - 1}, the stages before the last of {len(self.widths)}; got "
                f"{self.skips}."
            )
        check_image("FCN", inputs, ndims=(1, 2, 3), channels=self.in_channels)


VARIANTS = {
    "fcn": Card(
        module=FCN,
        config={},
        title="FCN-8s, 5 stages of VGG-11 and their scores added up",
        paper="https://arxiv.org/abs/1411.4038",
        inputs="images (B, H, W, C), any size",
        example=(1, 64, 64, 1),
        tiny={"num_classes": 3, "widths": (4, 5, 6), "depths": (1, 1, 2), "dense": (6, 7), "dropout": 0.25},
        tiny_example=(2, 14, 17, 2),
        outputs="pixels",
        symmetries=(Symmetry("translation", "equivariant", 32, {"padding": "circular"}),),
    )
}
