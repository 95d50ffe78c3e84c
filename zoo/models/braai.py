"""braai: a small VGG that tells real transients from artefacts in alert cutouts of the Zwicky Transient Facility.

Duev+19, https://arxiv.org/abs/1907.11259. Two convolutions and a max-pool 2, two convolutions and a max-pool 4, one
hidden dense layer, one output; the input holds three stamps as channels: science, reference and difference image, each
divided by its row-wise norm (`normalise`). At 63×63×3 it has 312,081 parameters. What differs: the output is the logit
of "real"; the published score is its sigmoid. The convolutions pad nothing, as published; `padding="zero"` and
`"circular"` keep the size, and change the flattened layer with it. Flattening ties the network to one image size and
gives up translation symmetry. Dropout follows the published weights' architecture file: 0.25 after the pools, 0.5
after the hidden layer.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import Conv, Dropout, Tap, check_image, max_pool
from zoo.models.card import Card


def normalise(cutouts: jax.Array) -> jax.Array:
    """Divide each row of each stamp by its L2 norm, as the published network's inputs are; empty rows stay as they are.

    The norm runs over the columns of one row of one channel, not over the whole stamp.

    Args:
        cutouts: (…, H, W, C), floating, any unit; NaN (masked pixels) must be filled before, as in the alerts with 0.

    Returns:
        (…, H, W, C); every row that was not all zero has norm 1.
    """
    squares = jnp.sum(jnp.square(cutouts), axis=-2, keepdims=True)
    # Choosing before the root keeps the gradient of an empty row finite.
    return cutouts / jnp.sqrt(jnp.where(squares > 0, squares, 1))


class Braai(nn.Module):
    """(B, H, W, C) → logits (B, num_classes); published at H = W = 63, C = 3, one output.

    Attributes:
        num_classes: number of outputs; 1 gives the logit of "real" against "artefact".
        in_channels: number of input channels, checked when given.
        widths: channels of the two convolutions of each of the two stages.
        dense: units of the hidden dense layer.
        dropout: rate after the hidden dense layer; half of it after each of the two pools.
        padding: `"valid"` (none, as published), `"zero"` or `"circular"`.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.
    """

    num_classes: int = 1
    in_channels: int | None = None
    widths: tuple[int, int] = (16, 32)
    dense: int = 256
    dropout: float = 0.5
    padding: Literal["valid", "zero", "circular"] = "valid"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        valid = self.padding == "valid"
        if not valid and self.padding not in ("zero", "circular"):
            raise ValueError(f"padding must be 'zero' or 'circular', got {self.padding!r}; or 'valid', as published.")
        # Two 3×3 convolutions take 4 pixels before each of the pools 2 and 4.
        check_image("braai", inputs, channels=self.in_channels, minimum=20 if valid else 8)
        pads = {"pad": False} if valid else {"padding": self.padding}
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        x = inputs
        for stage, (width, window) in enumerate(zip(self.widths, (2, 4), strict=True), start=1):
            for i in (1, 2):
                x = nn.relu(Conv(width, **pads, name=f"stage{stage}_conv{i}", **types)(x))
            x = max_pool(Tap(name=f"stage{stage}")(x), window=window)
            x = Dropout(self.dropout / 2, axis_name=self.axis_name, name=f"stage{stage}_dropout")(x, train=train)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.dense, name="dense", **types)(x))
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)


VARIANTS = {
    "braai": Card(
        module=Braai,
        config={},
        title="braai, real or bogus transients",
        paper="https://arxiv.org/abs/1907.11259",
        inputs="cutouts (B, H, W, C) of one size, published 63×63×3, row-wise normalised",
        example=(1, 63, 63, 3),
        tiny={"widths": (4, 6), "dense": 8},
        tiny_example=(2, 22, 22, 2),
        weights="Duev+19's d6_m7 (Keras HDF5), read by zoo.weights",
    )
}
