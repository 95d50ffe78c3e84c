"""ConvNet in training: the gradient that a compiled step gets is the gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.models import ConvNet


def test_the_gradient_of_the_maximum_is_the_same_with_and_without_jit(randomise, key, x64, close):
    """XLA computes the normalised maps twice; a maximum that compares them with itself would lose its gradient."""
    model = ConvNet(num_classes=3, widths=(4, 6), depths=(1, 2), head_pool="both", param_dtype=jnp.float64)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 24, 2)))
    variables = randomise(0, jax.eval_shape(model.init, key, x))

    def loss(params):
        outputs, _ = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.sum(outputs[:, 0] ** 2)

    close(jax.jit(jax.grad(loss))(variables["params"]), jax.grad(loss)(variables["params"]), 1e-10)
