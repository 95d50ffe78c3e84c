"""DGCNN: edge convolutions on graphs of nearest neighbours that are built anew from the features of each layer.

Wang+19, https://arxiv.org/abs/1801.07829. Features of all layers side by side, one dense layer more for each point, its
maximum and mean over the set, and dense layers for the set: 1,809,320 parameters with 3 channels and 40 classes. As in
the authors' programs a point is its own first neighbour. What differs: masked points count for nothing; the second
dense layer of the head has no bias, which the normalisation behind it would take out. With `readout="points"` the
features of each point stand beside the pooled ones of its set, before the same dense layers.

The order of points does not matter, as long as no two distances from a point are equal to rounding. Shifting all
points changes no neighbour of the first layer, but it changes the output: a point's own coordinates are features.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    BatchNorm,
    Dropout,
    EdgeConv,
    PointSet,
    Tap,
    as_points,
    counted_points,
    k_nearest,
    leading_channels,
    masked_max,
    masked_mean,
)
from zoo.models.card import Card, Symmetry

_leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)


class DGCNN(nn.Module):
    """A `PointSet`, or an array (B, N, C) of which all points count, → (B, num_classes), or (B, N, num_classes).

    Layers are `edge{i}` with (B, N, widths[i]), `embed`, `dense{i}`, `head`; taps `points` (B, N, embedding) and `pool`
    (B, 2 · embedding), maximum first.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        widths: channels of each edge convolution.
        k: neighbours of each point, itself included; at most N, the points there is room for.
        embedding: channels before pooling.
        dense: units of the dense layers of the head.
        coordinates: the number of leading channels in which the first neighbours are nearest; `None` for all.
        dynamic: whether neighbours are found anew in the features of each layer, or once.
        readout: `"set"` or `"points"`.
        dropout: rate after each dense layer of the head.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input. Distances are computed in float32 at least.

    Raises:
        ValueError: an input or options that cannot be meant, arrays with room for fewer than k points among them.
    """

    num_classes: int
    in_channels: int | None = None
    widths: tuple[int, ...] = (64, 64, 128, 256)
    k: int = 20
    embedding: int = 1024
    dense: tuple[int, ...] = (512, 256)
    coordinates: int | None = None
    dynamic: bool = True
    readout: Literal["set", "points"] = "set"
    dropout: float = 0.5
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: PointSet | jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        if not self.widths or min(*self.widths, *self.dense, self.k, self.embedding, self.num_classes) < 1:
            raise ValueError(
                f"widths {self.widths} need at least one layer, and they, dense {self.dense}, k {self.k} and embedding "
                f"{self.embedding} must be at least 1."
            )
        if self.readout not in ("set", "points"):
            raise ValueError(f"readout must be 'set' or 'points', got {self.readout!r}.")
        points = as_points("DGCNN", inputs, channels=self.in_channels)
        counted = counted_points(points, mask)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, **types)

        x, features = points.values, []
        first = leading_channels("DGCNN", points.values, self.coordinates)
        near = k_nearest(first, self.k, mask=points.mask, include_self=True)
        for i, width in enumerate(self.widths, start=1):
            if i > 1 and self.dynamic:
                near = k_nearest(x, self.k, mask=points.mask, include_self=True)
            x = EdgeConv((width,), activation=_leaky_relu, axis_name=self.axis_name, name=f"edge{i}", **types)(
                x, near, train=train, mask=mask
            )
            features.append(x)
        features = jnp.concatenate(features, axis=-1)
        x = nn.Dense(self.embedding, use_bias=False, name="embed", **types)(features)
        x = _leaky_relu(norm(name="embed_norm")(x, train=train, mask=counted))
        x = Tap(name="points")(x)
        x = jnp.concatenate([masked_max(x, points.mask), masked_mean(x, points.mask)], axis=-1)
        x = Tap(name="pool")(x)
        if self.readout == "points":
            own = (*points.mask.shape, x.shape[-1])
            x = jnp.concatenate([features, jnp.broadcast_to(x[:, None], own)], axis=-1)
        for i, units in enumerate(self.dense, start=1):
            x = nn.Dense(units, use_bias=False, name=f"dense{i}", **types)(x)
            x = norm(name=f"norm{i}")(x, train=train, mask=mask if self.readout == "set" else counted)
            x = Dropout(self.dropout, axis_name=self.axis_name, name=f"dropout{i}")(_leaky_relu(x), train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)


VARIANTS = {
    "dgcnn": Card(
        module=DGCNN,
        config={},
        title="edge convolutions on neighbours found anew in each layer's features",
        paper="https://arxiv.org/abs/1801.07829",
        inputs="PointSet of values (B, N, C) and mask (B, N), or (B, N, C), N ≥ 20",
        example=(1, 1024, 3),
        tiny={"num_classes": 3, "widths": (4, 5), "k": 3, "embedding": 6, "dense": (7, 5), "dropout": 0.25},
        tiny_example=(2, 7, 3),
        kind="points",
        symmetries=(
            Symmetry("permutation", "invariant"),
            Symmetry("permutation", "equivariant", config={"readout": "points"}),
        ),
    )
}
