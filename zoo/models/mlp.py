"""MLP: all pixels in one vector, then dense layers. The baseline that knows nothing of space.

Rumelhart, Hinton & Williams 1986, https://doi.org/10.1038/323533a0, with rectifiers. Every pixel has weights of its
own, so that a pattern learned in one corner means nothing in another: what a convolutional network of the same size
gains over this one is what translation symmetry buys. Flattening ties the network to one input size. There is no
convolution, hence no `padding`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import Dropout, Tap, check_image
from zoo.models.card import Card


class MLP(nn.Module):
    """(B, …, C) → logits (B, num_classes): vectors (B, C), sequences, images or volumes, of one size.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels (the last axis), checked when given.
        widths: units of the hidden layers; none make a linear model.
        dropout: rate after each hidden layer.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input of another rank, another number of channels, or another size than at initialisation.
    """

    num_classes: int
    in_channels: int | None = None
    widths: tuple[int, ...] = (128, 64)
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        if min(self.widths, default=1) < 1:
            raise ValueError(f"All widths of an MLP must be at least 1, got {self.widths}.")
        check_image("MLP", inputs, ndims=(0, 1, 2, 3), channels=self.in_channels)
        names = [f"dense{i}" for i in range(1, len(self.widths) + 1)] + ["head"]
        self._check_size(names[0], inputs)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = inputs.reshape(inputs.shape[0], -1)
        for i, (name, units) in enumerate(zip(names[:-1], self.widths, strict=True), start=1):
            x = Tap(name=f"hidden{i}")(nn.relu(nn.Dense(units, name=name, **types)(x)))
            x = Dropout(self.dropout, axis_name=self.axis_name, name=f"dropout{i}")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)

    def _check_size(self, first: str, inputs: jax.Array) -> None:
        """Say it in pixels before Flax says it in shapes of kernels."""
        if not self.has_variable("params", first):
            return
        made, got = self.get_variable("params", first)["kernel"].shape[0], math.prod(inputs.shape[1:])
        if made != got:
            raise ValueError(
                f"This MLP was initialised for inputs of {made} numbers each, but got shape {tuple(inputs.shape)}, "
                f"{got} numbers each: an MLP takes one size only. Resize the inputs, or initialise anew."
            )


VARIANTS = {
    "mlp": Card(
        module=MLP,
        config={},
        title="dense layers on flattened pixels, the baseline without symmetry",
        paper="https://doi.org/10.1038/323533a0",
        inputs="(B, C), (B, T, C), (B, H, W, C) or (B, D, H, W, C), of one size",
        example=(1, 32, 32, 1),
        tiny={"num_classes": 3, "widths": (6, 5), "dropout": 0.25},
        tiny_example=(2, 4, 4, 2),
    )
}
