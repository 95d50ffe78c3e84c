"""Our linen modules as NNX modules, by Flax's bridge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import zoo


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_bridge_gives_the_same_numbers(name, key):
    card = zoo.card(name)
    model = zoo.create(name, **card.tiny)
    x = jax.random.normal(key, card.tiny_example)
    wrapped = nnx.bridge.lazy_init(nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0)), x)
    variables = {
        "params": nnx.to_pure_dict(nnx.state(wrapped, nnx.Param)),
        "batch_stats": nnx.to_pure_dict(nnx.state(wrapped, nnx.BatchStat)),
    }
    np.testing.assert_array_equal(wrapped(x), model.apply(variables, x))


def test_bridge_trains(key):
    card = zoo.card("convnet")
    model = zoo.create("convnet", **{**card.tiny, "dropout": 0.0})
    x = jax.random.normal(key, card.tiny_example)
    wrapped = nnx.bridge.lazy_init(nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0)), x)
    before = jnp.array(jax.tree.leaves(nnx.state(wrapped, nnx.BatchStat))[0])

    def loss(module):
        return jnp.sum(jnp.square(module(x, train=True, mutable=["batch_stats"])))

    gradients = nnx.grad(loss)(wrapped)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradients))
    after = jax.tree.leaves(nnx.state(wrapped, nnx.BatchStat))[0]
    assert bool(jnp.any(before != after))
