"""Neighbours within sets of points, found inside a compiled program: the k nearest, or all within a radius.

All distances of a set are looked at, N² of them: right for hundreds of points, on which a tree would not pay. Sizes are
static, what is missing is masked, and of points equally far those of lower index come first. Where no two distances
are equal to rounding, neighbours move along with the points under permutations; they stay under shifts and turns of
all coordinates and, in a periodic box, when points are replaced by their images. No gradient flows through the choice.

The same for whole data sets, while records are made: `zoo_datasets.loading.neighbours`.
"""

import math
from collections.abc import Sequence as Listing

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from zoo.layers.points import PointSet, as_points

Box = float | Listing[float] | jax.Array | np.ndarray

# Up to so many axes, differences are squared axis by axis; features, which have more, by a matrix product.
_FEW_AXES = 8


@struct.dataclass
class Neighbours:
    """The neighbours of each point of each set.

    Attributes:
        index: (B, N, k) int32, which points of the set, the nearest first; where there is none, the point itself.
        valid: (B, N, k) bool, where there is one; never so for a point that is masked.
    """

    index: jax.Array
    valid: jax.Array


@struct.dataclass
class RadiusEdges:
    """Edges between the points of each set, sorted by receiver and then by sender, padded to one number of them.

    Attributes:
        senders: (B, E) int32, in 0 … N−1.
        receivers: (B, E) int32.
        valid: (B, E) bool, where there is an edge; the edges come first, behind them all are from N−1 to N−1.
        overflow: (B,) int32, how many edges there are beyond the E that had room, and which are missing; 0 if none.
    """

    senders: jax.Array
    receivers: jax.Array
    valid: jax.Array
    overflow: jax.Array


def minimum_image(difference: jax.Array, box: Box | None) -> jax.Array:
    """Differences of positions (…, D) by the shortest way through a periodic box, each in −L/2 … L/2.

    Args:
        difference: of positions.
        box: period L of all axes, or (D,) of each, infinite for an open axis; `None` if all are open.
    """
    if box is None:
        return difference
    sides = jnp.asarray(box, difference.dtype)
    return jnp.stack(
        [_shortest(difference[..., d], sides[d] if sides.ndim else sides) for d in range(difference.shape[-1])], axis=-1
    )


def squared_distances(positions: jax.Array, *, box: Box | None = None) -> jax.Array:
    """Squares of the distances between all points of each set, (B, N, D) → (B, N, N), in float32 at least.

    Of up to 8 axes, or in a box, differences are taken axis by axis: no digit is lost however far the points are from
    the origin. Of more (features) it is |x|² + |y|² − 2 x·y about their mean, wrong by rounding of the largest |x|².
    """
    x = positions.astype(jnp.promote_types(positions.dtype, jnp.float32))
    if box is None and x.shape[-1] > _FEW_AXES:
        x = x - jnp.mean(x, axis=1, keepdims=True)
        square = jnp.sum(jnp.square(x), axis=-1)
        # Accelerators would round the factors to 10 bits.
        product = jnp.einsum("bnd,bmd->bnm", x, x, precision="highest")
        return jnp.maximum(square[:, :, None] + square[:, None] - 2 * product, 0)
    sides = None if box is None else jnp.broadcast_to(jnp.asarray(box, x.dtype), x.shape[-1:])
    total = jnp.zeros((*x.shape[:2], x.shape[1]), x.dtype)
    for d in range(x.shape[-1]):
        difference = x[:, :, None, d] - x[:, None, :, d]
        total = total + jnp.square(difference if sides is None else _shortest(difference, sides[d]))
    return total


def k_nearest(
    positions: jax.Array,
    k: int,
    *,
    mask: jax.Array | None = None,
    box: Box | None = None,
    include_self: bool = False,
) -> Neighbours:
    """The k nearest neighbours of each point within its set.

    Args:
        positions: (B, N, D) real numbers; in a periodic box any image of a point will do.
        k: static. A set with fewer points to choose from has fewer neighbours, the others are masked.
        mask: (B, N), true where there is a point; `None` if there is one everywhere.
        box: see `minimum_image`.
        include_self: whether a point, at distance zero, is a neighbour of itself.

    Raises:
        ValueError: k is less than one or more than the N places allow; positions, mask or box that cannot be meant.
    """
    points = _as_positions("k_nearest", positions, mask, box)
    size = points.values.shape[1]
    if not 1 <= k <= size - (not include_self):
        raise ValueError(
            f"k_nearest: k should be in 1 … {size - (not include_self)}, the number of points to choose from (arrays "
            f"of N = {size} points, the point itself {'included' if include_self else 'excluded'}); got k = {k}. Ask "
            "for fewer neighbours, or pad the arrays with masked points."
        )
    square = _candidates(points, box, include_self)
    nearest, index = jax.lax.top_k(-square, k)
    valid = jnp.isfinite(nearest)
    itself = jnp.arange(size, dtype=jnp.int32)[None, :, None]
    return Neighbours(jnp.where(valid, index.astype(jnp.int32), itself), valid)


def within_radius(
    positions: jax.Array,
    radius: jax.Array | float,
    *,
    max_edges: int,
    mask: jax.Array | None = None,
    box: Box | None = None,
    include_self: bool = False,
) -> RadiusEdges:
    """Edges between all points of a set that are no farther apart than a radius, once in each direction.

    Args:
        positions: (B, N, D) real numbers; in a periodic box any image of a point will do.
        radius: in the unit of the positions, at most half the box.
        max_edges: static, room for the edges of one set. What finds no room is counted in `overflow`: look at it.
        mask: (B, N), true where there is a point; `None` if there is one everywhere.
        box: see `minimum_image`.
        include_self: whether a point is a neighbour of itself.

    Raises:
        ValueError: no room at all; a radius known not to be positive or to be more than half the box; positions, mask
            or box that cannot be meant.
    """
    points = _as_positions("within_radius", positions, mask, box)
    if max_edges < 1:
        raise ValueError(f"within_radius: max_edges should be at least 1, got {max_edges}.")
    if not isinstance(radius, jax.core.Tracer) and not isinstance(box, jax.core.Tracer):
        longest = math.inf if box is None else float(np.min(np.asarray(box))) / 2
        if not 0 < float(radius) <= longest or math.isinf(float(radius)):
            raise ValueError(
                f"within_radius: the radius should be positive, finite and at most {longest:g}, half the shortest side "
                f"of the box, beyond which two images of one point would be met; got {float(radius):g}."
            )
    size = points.values.shape[1]
    square = _candidates(points, box, include_self)
    near = square <= jnp.square(jnp.asarray(radius, square.dtype))
    # Row by row is receiver by receiver; what lies behind the last edge is filled with the last entry.
    (place,) = jax.vmap(lambda row: jnp.nonzero(row, size=max_edges, fill_value=size * size - 1))(
        near.reshape(near.shape[0], -1)
    )
    place, count = place.astype(jnp.int32), jnp.sum(near, axis=(1, 2), dtype=jnp.int32)
    valid = jnp.arange(max_edges)[None] < count[:, None]
    return RadiusEdges(place % size, place // size, valid, jnp.maximum(count - max_edges, 0))


def gather_points(x: jax.Array, index: jax.Array) -> jax.Array:
    """Values of the points that `index` (B, N, k) names within each set: (B, N, C) → (B, N, k, C)."""
    batch, size, channels = x.shape
    # Rows of one long table: its gradient is one scatter, several times faster on a CPU than one for each set.
    rows = index + size * jnp.arange(batch, dtype=index.dtype)[:, None, None]
    return x.reshape(batch * size, channels)[rows]


def _candidates(points: PointSet, box: Box | None, include_self: bool) -> jax.Array:
    """Squared distances (B, N, N), from row to column, infinite where the column is no neighbour for the row."""
    square = squared_distances(jax.lax.stop_gradient(points.values), box=box)
    itself = jnp.eye(square.shape[1], dtype=bool)[None]
    square = jnp.where(itself, 0 if include_self else jnp.inf, square)
    return jnp.where(points.mask[:, :, None] & points.mask[:, None, :], square, jnp.inf)


def _shortest(difference: jax.Array, side: jax.Array) -> jax.Array:
    return difference - jnp.where(jnp.isfinite(side), side, 0) * jnp.round(difference / side)


def _as_positions(name: str, positions: jax.Array, mask: jax.Array | None, box: Box | None) -> PointSet:
    points = as_points(name, positions if mask is None else PointSet(positions, mask))
    axes = points.values.shape[-1]
    if box is not None:
        known = not isinstance(box, jax.core.Tracer)
        if np.shape(box) not in ((), (axes,)) or (known and not np.all(np.asarray(box) > 0)):
            raise ValueError(
                f"{name}: box should be one positive period or one for each of the {axes} axes, infinite for an open "
                f"one; got {box}."
            )
    return points
