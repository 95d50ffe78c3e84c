"""Sequences of unequal lengths in one array: what stands beyond the end of a sequence never changes a result."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class Sequence:
    """A batch of sequences, padded to one length.

    Attributes:
        values: (B, T, …): numbers (B, T, C), frames (B, T, H, W, C) or whole numbers (B, T) that stand for symbols.
            What stands in steps from a sequence's length on does not matter.
        lengths: (B,) whole numbers, 1 … T: how many steps each sequence has.
    """

    values: jax.Array
    lengths: jax.Array

    @property
    def valid(self) -> jax.Array:
        """(B, T) bool: the steps that belong to their sequence."""
        return valid_steps(self.lengths, self.values.shape[1])


def valid_steps(lengths: jax.Array, steps: int) -> jax.Array:
    """(B, steps) bool: step number below the length."""
    return jnp.arange(steps)[None] < jnp.asarray(lengths)[:, None]


def as_sequence(
    name: str, inputs: Sequence | jax.Array, *, ndim: int = 3, channels: int | None = None, symbols: int = 0
) -> Sequence:
    """`inputs` as a `Sequence` with zeros beyond the lengths; of an array all steps are taken.

    Args:
        name: of the network, for messages.
        inputs: a `Sequence`, or an array (B, T, …).
        ndim: number of axes that the values should have: 3 for numbers, 5 for frames.
        channels: number of channels it was made for, `None` for any.
        symbols: number of symbols of the vocabulary, of which the values (B, T) are then; 0 for numbers or frames.

    Raises:
        ValueError: another number of axes or channels, or no step at all; lengths that are not whole numbers (B,), or
            known to lie outside of 1 … T, or symbols outside of the vocabulary (under `jit` neither is known).
        TypeError: symbols that are not whole numbers.
    """
    ndim = 2 if symbols else ndim
    given = isinstance(inputs, Sequence)
    # An array of NumPy in double precision is cast here, as JAX casts it, and not with a warning further on.
    values = jnp.asarray(inputs.values if given else inputs)
    layout = {2: "(B, T)", 3: "(B, T, C)", 5: "(B, T, H, W, C)"}[ndim]
    if values.ndim != ndim:
        raise ValueError(f"{name} takes sequences {layout}; got shape {tuple(values.shape)}.")
    if ndim == 2 and not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"{name} takes symbols as whole numbers (B, T); got {values.dtype}.")
    if ndim > 2 and channels is not None and values.shape[-1] != channels:
        raise ValueError(
            f"{name} was made for in_channels={channels}, but the input has {values.shape[-1]} channels "
            f"(shape {tuple(values.shape)}, channels last)."
        )
    if values.shape[1] == 0:
        raise ValueError(f"{name} takes sequences of at least one step; got shape {tuple(values.shape)}.")
    lengths = jnp.full(values.shape[0], values.shape[1], jnp.int32)
    if given:
        lengths = _checked_lengths(name, inputs.lengths, *values.shape[:2])
        valid = valid_steps(lengths, values.shape[1]).reshape(*values.shape[:2], *[1] * (ndim - 2))
        values = jnp.where(valid, values, 0)
    if symbols and values.size and not isinstance(values, jax.core.Tracer):
        low, high = int(np.asarray(values).min()), int(np.asarray(values).max())
        if low < 0 or high >= symbols:
            raise ValueError(
                f"{name}: symbols should be in 0 … {symbols - 1}, the vocabulary; got {low if low < 0 else high}."
            )
    return Sequence(values, lengths)


def last_valid(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """The last valid step of each sequence: (B, T, …) → (B, …)."""
    index = jnp.maximum(lengths - 1, 0).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.take_along_axis(x, index, axis=1)[:, 0]


def reverse_valid(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """Turn the time of the valid steps of (B, T, …) round, and leave the others where they are."""
    steps = jnp.arange(x.shape[1])[None]
    length = jnp.asarray(lengths)[:, None]
    index = jnp.where(steps < length, length - 1 - steps, steps)
    return jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1)


def _checked_lengths(name: str, lengths: jax.Array, batch: int, steps: int) -> jax.Array:
    """`lengths` (B,) as int32: differences of unsigned ones would be wrong."""
    lengths = jnp.asarray(lengths)
    if lengths.shape != (batch,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"{name} takes one length, a whole number, for each of the {batch} sequences; got {lengths.dtype} of shape "
            f"{tuple(lengths.shape)}."
        )
    if not isinstance(lengths, jax.core.Tracer):
        wrong = np.flatnonzero((np.asarray(lengths) < 1) | (np.asarray(lengths) > steps))
        if len(wrong):
            raise ValueError(
                f"{name}: lengths should be in 1 … {steps}, the number of steps there are; sequence {wrong[0]} has "
                f"{int(lengths[wrong[0]])}. Leave out sequences without a step, or cut lengths to the array."
            )
    return lengths.astype(jnp.int32)
