"""Deep sets: features of each point by itself, their sum, and features of the sum.

Zaheer+17, https://arxiv.org/abs/1703.06114: every function of a set can be written as ρ(Σ φ(x)), given enough channels.
The widths are those of the particle flow network (Komiske+19, https://arxiv.org/abs/1810.05165), 82,558 parameters with
four channels and two classes. What differs: other pools than the sum.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import POINT_POOLS, Dropout, PointSet, Tap, as_points, masked_attention
from zoo.models.card import Card, Symmetry


class DeepSets(nn.Module):
    """A `PointSet`, or an array (B, N, C) of which all points count, → (B, num_classes).

    Layers are `phi{i}`, `attention`, `rho{i}` and `head`; taps `points`, (B, N, phi[-1]), and `pool`, (B, phi[-1]).

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        phi: units of the dense layers for each point.
        rho: units of the dense layers for the set.
        pool: `"sum"`, which can count; `"mean"` or `"max"`, which cannot; or `"attention"`, a mean with learned
            weights (Bahdanau+14, https://arxiv.org/abs/1409.0473, with one query). Each gives 0 of an empty set.
        dropout: rate after each of the layers for the set.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    phi: tuple[int, ...] = (100, 100, 256)
    rho: tuple[int, ...] = (100, 100, 100)
    pool: Literal["sum", "mean", "max", "attention"] = "sum"
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: PointSet | jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        if not self.phi or min(*self.phi, *self.rho, self.num_classes) < 1:
            raise ValueError(
                f"phi {self.phi} needs at least one layer, and widths of phi and rho {self.rho} must be at least 1."
            )
        if self.pool not in (*POINT_POOLS, "attention"):
            raise ValueError(f"pool must be 'sum', 'mean', 'max' or 'attention', got {self.pool!r}.")
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        points = as_points("DeepSets", inputs, channels=self.in_channels)
        x = points.values
        for i, units in enumerate(self.phi, start=1):
            x = nn.relu(nn.Dense(units, name=f"phi{i}", **types)(x))
        x = Tap(name="points")(x)
        if self.pool == "attention":
            scores = nn.Dense(1, use_bias=False, name="attention", **types)(jnp.tanh(x))[..., 0]
            x = masked_attention(x, scores, points.mask)
        else:
            x = POINT_POOLS[self.pool](x, points.mask)
        x = Tap(name="pool")(x)
        for i, units in enumerate(self.rho, start=1):
            x = nn.relu(nn.Dense(units, name=f"rho{i}", **types)(x))
            x = Dropout(self.dropout, axis_name=self.axis_name, name=f"dropout{i}")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)


VARIANTS = {
    "deep_sets": Card(
        module=DeepSets,
        config={},
        title="deep sets: dense layers for each point, a sum, dense layers for the set",
        paper="https://arxiv.org/abs/1703.06114",
        inputs="PointSet of values (B, N, C) and mask (B, N), or (B, N, C)",
        example=(1, 100, 7),
        tiny={"num_classes": 3, "phi": (6, 5), "rho": (7,), "dropout": 0.25},
        tiny_example=(2, 7, 3),
        kind="points",
        symmetries=(Symmetry("permutation", "invariant"),),
    )
}
