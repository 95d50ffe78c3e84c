"""The maximum, with a gradient that no compiler can lose.

JAX finds out which entry was the largest by comparing the entries with the stored maximum. XLA may compute the entries
a second time for this, inside another loop and rounded otherwise (a product and a sum contracted into one
instruction): then no entry equals the maximum and the gradient is lost without a sound, as happened to a maximum over
the group after batch normalisation. Here the entries are compared with each other, so that their shares always add up
to one.
"""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def maximum(a: jax.Array, b: jax.Array) -> jax.Array:
    """Larger of two floating-point arrays of one shape, entry by entry; ties share the gradient half and half."""
    return jnp.maximum(a, b)


@maximum.defjvp
def _maximum_jvp(values: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    a, b = values
    share = jnp.where(a > b, 1.0, jnp.where(a < b, 0.0, 0.5)).astype(a.dtype)
    return jnp.maximum(a, b), share * tangents[0] + (1 - share) * tangents[1]


def max_over(x: jax.Array, axis: int) -> jax.Array:
    """Maximum over one axis, as maxima of pairs: the first half of the entries against the second, and again.

    Entries that tie share the gradient half and half in each pair, equally if all of a power of two of them tie.
    """
    while x.shape[axis] > 1:
        half = x.shape[axis] // 2
        first, second, rest = jnp.split(x, [half, 2 * half], axis)
        x = jnp.concatenate([maximum(first, second), rest], axis) if rest.shape[axis] else maximum(first, second)
    return jnp.squeeze(x, axis)
