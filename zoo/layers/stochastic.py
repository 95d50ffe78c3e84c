"""Dropout whose draw belongs to the example, not to the device.

Srivastava+14, https://jmlr.org/papers/v15/srivastava14a.html. `flax.linen.Dropout` draws one mask for the whole array,
so that a batch split over devices sees other masks than the batch on one device. Here example number i of the global
batch draws from `fold_in(key, i)`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn


def example_keys(key: jax.Array, size: int, axis_name: str | None = None) -> jax.Array:
    """One key (size,) per example of this device's share, made from the example's place in the global batch."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * size
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(size))


class Dropout(nn.Module):
    """Zero each entry with probability `rate` and scale the rest by 1 / (1 − rate); identity in evaluation.

    Needs the random stream `"dropout"` when `train=True` and `rate > 0`. The first axis of the input is the batch.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        if not 0 <= self.rate < 1:
            raise ValueError(f"A dropout rate must lie in [0, 1), got {self.rate}.")
        if not train or self.rate == 0 or self.is_initializing():
            return inputs
        keys = example_keys(self.make_rng("dropout"), inputs.shape[0], self.axis_name)
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, inputs.shape[1:]))(keys)
        return jnp.where(keep, inputs / (1 - self.rate), jnp.zeros_like(inputs))
