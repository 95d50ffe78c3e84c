"""Two tasks at once against each of them alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.train import joint, masks, regression


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


BATCH = {
    "masks": (normal(1, 4, 5, 6, 2) > 0).astype(jnp.uint8),
    "target": normal(2, 4, 3),
    "mask": jnp.array([1.0, 1.0, 1.0, 0.0]),
}
OUTPUTS = normal(3, 4, 5, 6, 2), normal(4, 4, 3)
PARTS = masks(), regression(centre=(0.0,) * 3, scale=(1.0,) * 3)


def mean(task, outputs, batch):
    values, weights = task.loss(outputs, batch)
    return jnp.sum(values * weights) / jnp.sum(weights)


def test_the_loss_is_the_weighted_sum_of_the_means():
    apart = [mean(task, said, BATCH) for task, said in zip(PARTS, OUTPUTS, strict=True)]
    for weights in ((1.0, 1.0), (0.25, 3.0)):
        both = jax.jit(lambda o, w=weights: mean(joint(*PARTS, weights=w), o, BATCH))(OUTPUTS)
        np.testing.assert_allclose(both, sum(w * one for w, one in zip(weights, apart, strict=True)), rtol=1e-6)


def test_numbers_and_predictions_are_those_of_both():
    task = joint(*PARTS)
    numbers = task.finalise(task.metrics(OUTPUTS, BATCH))
    for part, said in zip(PARTS[::-1], OUTPUTS[::-1], strict=True):
        alone = part.finalise(part.metrics(said, BATCH))
        shared = ("count",) if part is PARTS[1] else ()
        assert {name: numbers[name] for name in alone if name not in shared} == {
            name: value for name, value in alone.items() if name not in shared
        }
    for one, part, said in zip(task.predict(OUTPUTS), PARTS, OUTPUTS, strict=True):
        np.testing.assert_array_equal(one, part.predict(said))
    assert task.maps == ("masks", "valid") and task.truth == "masks"


def test_padding_does_not_count():
    task = joint(*PARTS)
    wild = jax.tree.map(lambda leaf: leaf.at[3].set(1e6), OUTPUTS)
    np.testing.assert_array_equal(mean(task, wild, BATCH), mean(task, OUTPUTS, BATCH))


def test_weights_must_fit():
    with pytest.raises(ValueError, match="2 tasks need as many weights, and at least one; got 1"):
        joint(*PARTS, weights=(1.0,))
    with pytest.raises(ValueError, match="0 tasks"):
        joint()
