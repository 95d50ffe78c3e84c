"""FilterNet: one trainable filter, the best match anywhere, and a threshold. The smallest network that looks.

p = σ(2z) with z = a · max over positions of (image ⋆ kernel + b) + c: an affine map of the strongest response. One
11×11 kernel on one channel makes 124 parameters: 121 weights, its bias, a and c. It learns what it is looking for from
labelled images, and the kernel can be looked at beside the one that a person would draw (`zoo.layers.angle_filter`).
Learning kernels by back-propagation is LeCun+89, https://doi.org/10.1162/neco.1989.1.4.541; one response per filter
and its maximum over positions is the network of Kim 2014, https://arxiv.org/abs/1408.5882, with a single filter.

The two logits are (−z, z), so that softmax gives e^z / (e^z + e^−z) = σ(2z) for class 1. b and c do the same
thing wherever a ≠ 0; both are kept, as a convolution and an affine map have them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import Conv, Padding, check_image, global_pool
from zoo.models.card import Card, Symmetry


class FilterNet(nn.Module):
    """(B, H, W, C) → logits (B, 2): is the pattern there (class 1) or not (class 0)?

    The map of responses, (B, H, W, 1), is the layer `filter`; the kernel is `params["filter"]["kernel"]`.

    Attributes:
        num_classes: 2, nothing else.
        in_channels: number of input channels, checked when given.
        kernel: side of the filter in pixels.
        padding: `"zero"` or `"circular"`; with the latter, any cyclic shift leaves the output as it is.
        axis_name: device axis of `pmap`, set by the training step; nothing here depends on it.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: other than two classes, or an image smaller than the filter.
    """

    num_classes: int = 2
    in_channels: int | None = None
    kernel: int = 11
    padding: Padding = "zero"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        if self.num_classes != 2:
            raise ValueError(
                f"FilterNet says whether its pattern is there, hence num_classes must be 2; got {self.num_classes}. "
                "For more classes take another model, such as 'convnet'."
            )
        if self.kernel < 1:
            raise ValueError(f"The kernel of FilterNet must be at least 1 pixel a side, got {self.kernel}.")
        check_image("FilterNet", inputs, channels=self.in_channels)
        if min(inputs.shape[1:-1]) < self.kernel:
            raise ValueError(
                f"FilterNet's filter is {self.kernel} pixels a side: every spatial axis needs at least {self.kernel} "
                f"pixels, got {tuple(inputs.shape[1:-1])}."
            )
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = Conv(1, kernel=self.kernel, padding=self.padding, name="filter", **types)(inputs)
        x = global_pool(x, mode="max")
        z = nn.Dense(1, name="affine", **types)(x)
        return jnp.concatenate([-z, z], axis=-1)


VARIANTS = {
    "filter_net": Card(
        module=FilterNet,
        config={},
        title="one trainable filter and its strongest response",
        paper="https://doi.org/10.1162/neco.1989.1.4.541",
        inputs="images (B, H, W, C), H and W ≥ 11",
        example=(1, 32, 32, 1),
        tiny={"kernel": 3},
        tiny_example=(2, 8, 8, 2),
        symmetries=(Symmetry("translation", "invariant", 1, {"padding": "circular"}),),
    )
}
