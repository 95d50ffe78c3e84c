"""A name for a place in a network that is not the output of a layer with weights."""

import jax
from flax import linen as nn


class Tap(nn.Module):
    """The identity: gives the activation of a stage a public name, for `zoo.taps` and Grad-CAM."""

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        return inputs
