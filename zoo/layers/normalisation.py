"""Batch normalisation as sums divided by counts, so that it is the same on one device and on many.

Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167. What differs from `flax.linen.BatchNorm`: examples can be
masked out; over several devices the *sums and counts* are added up, so that devices holding different numbers of
real examples count as they should (a mean of means would not); statistics keep their dtype under x64; the convention of
the running variance is a field. `momentum` follows Flax: running ← momentum · running + (1 − momentum) · batch
(PyTorch's `momentum=0.1` is 0.9 here).
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn


def masked_moments(
    x: jax.Array, mask: jax.Array | None = None, *, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, biased variance and count over all axes of `x` (B, …, C) but the last.

    Args:
        x: values; reduced in float32 at least.
        mask: (B,) or any shape that broadcasts to `x.shape[:-1]` from the left; 1 counts, 0 does not.
        axis_name: device axis over which sums and counts are added up.

    Returns:
        mean (C,), variance (C,), count (): where nothing is counted, mean and variance are 0.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    if mask is None:
        weight = None
        count = jnp.asarray(x.size // x.shape[-1], x.dtype)
    else:
        weight = mask.astype(x.dtype).reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
        count = jnp.sum(jnp.broadcast_to(weight, (*x.shape[:-1], 1)))

    def total(values: jax.Array) -> jax.Array:
        sums = jnp.sum(values if weight is None else values * weight, axis=axes)
        return sums if axis_name is None else jax.lax.psum(sums, axis_name)

    if axis_name is not None:
        count = jax.lax.psum(count, axis_name)
    divisor = jnp.maximum(count, 1)
    mean = total(x) / divisor
    # Two passes: E[x²] − E[x]² loses all digits where the mean is large beside the spread.
    variance = total(jnp.square(x - mean.reshape((1,) * (x.ndim - 1) + (-1,)))) / divisor
    return mean, variance, count


class BatchNorm(nn.Module):
    """Normalise each channel of (B, …, C) by its mean and variance over the batch, or by their running averages.

    Attributes:
        momentum: weight of the old value in the running averages.
        epsilon: added to the variance.
        axis_name: device axis of `pmap` over which statistics are shared; `None` on one device and under sharded `jit`.
        running_variance: `"biased"` (divided by n, as Flax and Keras) or `"unbiased"` (by n − 1, as PyTorch). The
            batch itself is always normalised by the biased one.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    running_variance: Literal["biased", "unbiased"] = "biased"
    dtype: Any = None
    param_dtype: Any = jnp.float32
    scale_init: Callable[..., jax.Array] = nn.initializers.ones

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        if self.running_variance not in ("biased", "unbiased"):
            raise ValueError(f"running_variance must be 'biased' or 'unbiased', got {self.running_variance!r}.")
        features = (inputs.shape[-1],)
        scale = self.param("scale", self.scale_init, features, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, features, self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, features, self.param_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, features, self.param_dtype)
        if train:
            axis_name = None if self.is_initializing() else self.axis_name
            mean, variance, count = masked_moments(inputs, mask, axis_name=axis_name)
            if not self.is_initializing():
                bessel = count / jnp.maximum(count - 1, 1) if self.running_variance == "unbiased" else 1.0
                # A batch without a real example says nothing about the running averages.
                keep = jnp.where(count > 0, self.momentum, 1.0)
                running_mean.value = _blend(running_mean.value, mean, keep)
                running_var.value = _blend(running_var.value, variance * bessel, keep)
        else:
            mean, variance = running_mean.value, running_var.value
        dtype = self.dtype or jnp.promote_types(inputs.dtype, self.param_dtype)
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale
        row = (1,) * (inputs.ndim - 1) + features
        wide = jnp.promote_types(dtype, jnp.float32)
        outputs = (inputs.astype(wide) - mean.reshape(row)) * factor.reshape(row) + bias.reshape(row)
        return outputs.astype(dtype)


def _blend(old: jax.Array, new: jax.Array, keep: jax.Array) -> jax.Array:
    return (keep * old + (1 - keep) * new).astype(old.dtype)
