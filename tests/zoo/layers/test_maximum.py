import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import max_over, maximum


def test_maximum_is_that_of_numpy_and_ties_share():
    a, b = jnp.array([1.0, 2.0, 3.0, -jnp.inf]), jnp.array([2.0, 2.0, -jnp.inf, 0.0])
    assert maximum(a, b).tolist() == [2, 2, 3, 0]
    first, second = jax.grad(lambda a, b: maximum(a, b) @ jnp.arange(1.0, 5.0), (0, 1))(a, b)
    assert first.tolist() == [0, 1, 3, 0]
    assert second.tolist() == [1, 1, 0, 4]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_over_an_axis_and_its_gradient_equal_those_of_jax_where_nothing_ties(axis, dtype):
    # Whole numbers below 256 are exact in bfloat16.
    x = jnp.asarray(np.random.default_rng(0).permutation(3 * 5 * 8).reshape(3, 5, 8), dtype)
    ours, theirs = functools.partial(max_over, axis=axis), functools.partial(jnp.max, axis=axis)
    assert ours(x).dtype == dtype
    assert np.array_equal(ours(x), theirs(x))
    weights = jnp.cos(theirs(x))
    gradients = [jax.jit(jax.grad(lambda x, f=f: jnp.sum(f(x) * weights)))(x) for f in (ours, theirs)]
    assert np.array_equal(*gradients)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([2, 2], [1 / 2, 1 / 2]), ([5] * 8, [1 / 8] * 8), ([1, 3, 1, 3], [0, 1 / 2, 0, 1 / 2]), ([4], [1])],
)
def test_tied_entries_share_the_gradient(values, expected):
    gradient = jax.grad(lambda x: max_over(x, 0))(jnp.asarray(values, jnp.float32))
    assert gradient.tolist() == expected
