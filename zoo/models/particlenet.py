"""ParticleNet: a jet as an unordered set of particles, read by edge convolutions.

Qu & Gouskos 2020, https://arxiv.org/abs/1902.08570. Blocks of three dense layers on the edges to the 16 nearest
particles — in the plane of the detector first, then in the features of the block before — their mean over the
neighbours, and a shortcut around them; mean over the jet. With the paper's seven channels and two classes it has
366,160 parameters, the lite variant 26,416. What differs: masked particles count for nothing, neither in normalisation
nor as neighbours, and a particle has fewer neighbours where there are fewer.

The order of particles does not matter, as long as no two distances from a particle are equal to rounding.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    BatchNorm,
    Dropout,
    EdgeConv,
    Neighbours,
    PointSet,
    Tap,
    as_points,
    counted_points,
    k_nearest,
    leading_channels,
    masked_mean,
)
from zoo.models.card import Card, Symmetry


class ParticleNet(nn.Module):
    """A `PointSet`, or an array (B, N, C) of which all particles count, → (B, num_classes), or (B, N, num_classes).

    The paper's channels: Δη, Δφ (radian, from the jet's axis), log pT, log E, log pT/pT(jet), log E/E(jet) (pT and E in
    GeV), ΔR. Layers are `input_norm`, `block{i}` with (B, N, widths[i][-1]), `dense`, `head`; tap `pool`.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        widths: channels of the dense layers of each block.
        k: neighbours of each particle, itself excluded; fewer than N, the particles there is room for.
        dense: units of the dense layer of the head.
        coordinates: the number of leading channels in which the first neighbours are nearest; `None` for all.
        periodic: whether the second of them is an angle in radian, so that π and −π are the same direction. That is for
            neighbours: as a feature the angle enters as it is.
        readout: `"set"`, the mean over the jet; or `"points"`, each particle by itself.
        dropout: rate before the head.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input. Distances are computed in float32 at least.

    Raises:
        ValueError: an input or options that cannot be meant, arrays with room for k particles or fewer among them.
    """

    num_classes: int
    in_channels: int | None = None
    widths: tuple[tuple[int, ...], ...] = ((64, 64, 64), (128, 128, 128), (256, 256, 256))
    k: int = 16
    dense: int = 256
    coordinates: int | None = 2
    periodic: bool = False
    readout: Literal["set", "points"] = "set"
    dropout: float = 0.1
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: PointSet | jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        if (
            not self.widths
            or not all(self.widths)
            or min(self.k, self.dense, *(min(block) for block in self.widths)) < 1
        ):
            raise ValueError(
                f"widths {self.widths} need at least one block of at least one layer, and they, k {self.k} and dense "
                f"{self.dense} must be at least 1."
            )
        if self.readout not in ("set", "points"):
            raise ValueError(f"readout must be 'set' or 'points', got {self.readout!r}.")
        points = as_points("ParticleNet", inputs, channels=self.in_channels)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        near = self._first_neighbours(points)
        x = BatchNorm(axis_name=self.axis_name, name="input_norm", **types)(
            points.values, train=train, mask=counted_points(points, mask)
        )
        for i, widths in enumerate(self.widths, start=1):
            if i > 1:
                near = k_nearest(x, self.k, mask=points.mask)
            block = ParticleBlock(tuple(widths), axis_name=self.axis_name, name=f"block{i}", **types)
            x = block(x, points, near, train=train, mask=mask)
        if self.readout == "set":
            x = Tap(name="pool")(masked_mean(x, points.mask))
        x = nn.relu(nn.Dense(self.dense, name="dense", **types)(x))
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)

    def _first_neighbours(self, points: PointSet) -> Neighbours:
        first = leading_channels("ParticleNet", points.values, self.coordinates)
        if self.periodic and first.shape[-1] < 2:
            raise ValueError(
                f"periodic=True needs an angle as the second coordinate; got {first.shape[-1]} coordinate. Set "
                "coordinates to at least 2, or periodic=False."
            )
        box = [math.inf, 2 * math.pi] + [math.inf] * (first.shape[-1] - 2) if self.periodic else None
        return k_nearest(first, self.k, mask=points.mask, box=box)


class ParticleBlock(nn.Module):
    """Edge convolution with a shortcut: (B, N, C) → (B, N, widths[-1])."""

    widths: tuple[int, ...]
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        points: PointSet,
        neighbours: Neighbours,
        *,
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        edges = EdgeConv(self.widths, pool="mean", axis_name=self.axis_name, name="edges", **types)
        shortcut = nn.Dense(self.widths[-1], use_bias=False, name="shortcut", **types)(x)
        shortcut = BatchNorm(axis_name=self.axis_name, name="shortcut_norm", **types)(
            shortcut, train=train, mask=counted_points(points, mask)
        )
        return nn.relu(shortcut + edges(x, neighbours, train=train, mask=mask))


_INPUTS = "PointSet of values (B, N, C) and mask (B, N), or (B, N, C), Δη and Δφ first"
_SYMMETRIES = (
    Symmetry("permutation", "invariant"),
    Symmetry("permutation", "equivariant", config={"readout": "points"}),
)
# The normalisations behind the first dense layers take out what shifts all particles.
_IDLE = ("input_norm/bias",)
_TINY = {"num_classes": 3, "widths": ((4, 5), (6,)), "k": 3, "dense": 5, "coordinates": 1, "dropout": 0.25}

VARIANTS = {
    "particlenet": Card(
        module=ParticleNet,
        config={},
        title="jets as sets of particles: edge convolutions with shortcuts",
        paper="https://arxiv.org/abs/1902.08570",
        inputs=f"{_INPUTS}; N ≥ 17",
        example=(1, 100, 7),
        tiny=_TINY,
        tiny_example=(2, 7, 4),
        kind="points",
        symmetries=_SYMMETRIES,
        idle=_IDLE,
    ),
    "particlenet_lite": Card(
        module=ParticleNet,
        config={"widths": ((32, 32, 32), (64, 64, 64)), "k": 7, "dense": 128},
        title="ParticleNet with two narrow blocks and 7 neighbours",
        paper="https://arxiv.org/abs/1902.08570",
        inputs=f"{_INPUTS}; N ≥ 8",
        example=(1, 100, 7),
        tiny=_TINY,
        tiny_example=(2, 7, 4),
        kind="points",
        symmetries=_SYMMETRIES,
        idle=_IDLE,
    ),
}
