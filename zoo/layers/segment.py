"""Sums, means, maxima and softmax over segments: of the edges that arrive at a node, of the nodes of a graph.

Segments come in any order, and their number is a shape; of a segment without rows every one of them gives 0. Sums are
`jax.ops.segment_sum`, in single precision at least.
"""

import functools

import jax
import jax.numpy as jnp


def segment_sum(values: jax.Array, segments: jax.Array, count: int, *, mask: jax.Array | None = None) -> jax.Array:
    """Sums of the rows of each segment: (E, …) → (count, …); 0 for a segment without rows.

    Args:
        values: rows; added up in float32 at least, returned in their dtype.
        segments: (E,) which segment each row belongs to, in any order; rows with `count` or more belong to none.
        count: number of segments.
        mask: (E,) which rows count; those that do not may hold NaN.
    """
    wide = jnp.promote_types(values.dtype, jnp.float32)
    sums = jax.ops.segment_sum(values.astype(wide), nowhere(segments, count, mask), count)
    return sums.astype(values.dtype)


def segment_mean(values: jax.Array, segments: jax.Array, count: int, *, mask: jax.Array | None = None) -> jax.Array:
    """Means of the rows of each segment, 0 for a segment without rows; arguments as `segment_sum`."""
    segments = nowhere(segments, count, mask)
    wide = jnp.promote_types(values.dtype, jnp.float32)
    rows = jax.ops.segment_sum(jnp.ones(segments.shape, wide), segments, count)
    sums = jax.ops.segment_sum(values.astype(wide), segments, count)
    return (sums / column(jnp.maximum(rows, 1), sums.ndim)).astype(values.dtype)


def segment_max(values: jax.Array, segments: jax.Array, count: int, *, mask: jax.Array | None = None) -> jax.Array:
    """Largest entries of the rows of each segment, 0 for a segment without rows; arguments as `segment_sum`.

    Rows that are equally large share the gradient evenly.
    """
    return _largest(values, nowhere(segments, count, mask), count)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _largest(values: jax.Array, segments: jax.Array, count: int) -> jax.Array:
    rows = jax.ops.segment_sum(jnp.ones(segments.shape, jnp.int32), segments, count)
    largest = jax.ops.segment_max(values, segments, count)
    return jnp.where(column(rows > 0, values.ndim), largest, 0)


# JAX's own divides by the number of the largest rows, which is 0 for rows that belong to no segment.
@_largest.defjvp
def _largest_jvp(count: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    values, segments = primals
    largest = _largest(values, segments, count)
    wins = (values == _rows(largest, segments)) & column(segments < count, values.ndim)
    shares = wins / jnp.maximum(_rows(segment_sum(wins.astype(values.dtype), segments, count), segments), 1)
    tangent = jnp.where(wins, tangents[0], 0)
    return largest, segment_sum(tangent * shares.astype(values.dtype), segments, count)


def segment_softmax(values: jax.Array, segments: jax.Array, count: int, *, mask: jax.Array | None = None) -> jax.Array:
    """Softmax (E, …) of the rows within each segment, 0 for rows that belong to none; arguments as `segment_sum`."""
    segments = nowhere(segments, count, mask)
    inside = column(segments < count, values.ndim)
    # The shift leaves the result as it is, and hence the gradient too.
    largest = _largest(jax.lax.stop_gradient(values), segments, count)
    weights = jnp.where(inside, jnp.exp(jnp.where(inside, values - _rows(largest, segments), 0)), 0)
    total = segment_sum(weights, segments, count)
    return weights / jnp.where(inside, _rows(total, segments), 1)


def nowhere(index: jax.Array, count: int, mask: jax.Array | None) -> jax.Array:
    """`index` with `count`, one more than there are, where the mask is not set: sums over segments drop it."""
    return index if mask is None else jnp.where(jnp.asarray(mask) > 0, index, count)


def column(x: jax.Array, ndim: int) -> jax.Array:
    """(E,) as (E, 1, …) of `ndim` axes."""
    return x.reshape(*x.shape, *(1,) * (ndim - 1))


def _rows(x: jax.Array, index: jax.Array) -> jax.Array:
    """Rows of (N, …); of an index that leads nowhere the last one, or zeros where there is none."""
    return x[index] if x.shape[0] else jnp.zeros((*index.shape, *x.shape[1:]), x.dtype)
