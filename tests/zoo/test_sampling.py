"""Continuing sequences of symbols: draws follow the softmax, and a carried state is worth the whole past."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import sampling


@pytest.fixture(scope="module")
def network():
    """A small GRU over five symbols with random weights, and a prompt of two sequences."""
    model = zoo.create("gru", num_classes=5, symbols=5, embedding=4, width=6, layers=2, readout="steps")
    prompt = jnp.array([[0, 3, 1], [2, 2, 4]])
    variables = jax.jit(model.init)(jax.random.key(0), prompt)
    return model, jax.tree.map(lambda leaf: 3 * leaf, variables), prompt


def test_draws_follow_the_softmax():
    logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    symbols = sampling.draw(jax.random.key(0), jnp.tile(logits, (20_000, 1)))
    shares = np.bincount(symbols, minlength=3) / 20_000
    # Four standard deviations of a share of 20,000.
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=4 * np.sqrt(0.25 / 20_000))


def test_temperature_sharpens_and_zero_takes_the_likeliest():
    logits = jnp.tile(jnp.log(jnp.array([0.5, 0.3, 0.2])), (20_000, 1))
    cold = sampling.draw(jax.random.key(0), logits, temperature=0.5)
    squared = np.array([0.25, 0.09, 0.04])
    np.testing.assert_allclose(np.bincount(cold, minlength=3) / 20_000, squared / squared.sum(), atol=0.015)
    assert (sampling.draw(jax.random.key(0), logits, temperature=0) == 0).all()
    assert (jax.jit(sampling.draw)(jax.random.key(0), logits, temperature=0.0) == 0).all()


def test_the_likeliest_continuation_is_that_of_the_whole_sequence_read_again(network):
    model, variables, prompt = network
    symbols = sampling.continued(model, variables, prompt, key=jax.random.key(1), steps=6, temperature=0)
    whole = prompt
    for _ in range(6):
        logits = model.apply(variables, whole)
        whole = jnp.concatenate([whole, jnp.argmax(logits[:, -1], axis=-1)[:, None]], axis=1)
    np.testing.assert_array_equal(symbols, whole[:, 3:])


def test_jit_gives_the_same_and_another_key_something_else(network):
    model, variables, prompt = network

    def run(seed):
        return sampling.continued(model, variables, prompt, key=jax.random.key(seed), steps=20)

    np.testing.assert_array_equal(run(0), jax.jit(run)(0))
    assert not np.array_equal(run(0), run(1))
    assert set(np.unique(run(0))) <= set(range(5))


@pytest.mark.parametrize(("shape", "steps"), [((2, 0), 3), ((4,), 3), ((2, 2), 0)])
def test_an_empty_prompt_or_no_step_is_refused(network, shape, steps):
    model, variables, _ = network
    with pytest.raises(ValueError, match="one symbol or more and at least one step"):
        sampling.continued(model, variables, jnp.zeros(shape, int), key=jax.random.key(0), steps=steps)
