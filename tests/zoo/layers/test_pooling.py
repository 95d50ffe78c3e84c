import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import avg_pool, fold_pixels, global_pool, max_pool


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def literal_pool(reduce, x, window, stride, pad=0, padding="zero"):
    """`reduce` over the pixels of each window that lie inside the image, or on its periodic continuation."""
    sizes = [(n + 2 * pad - window) // stride + 1 for n in x.shape[1:-1]]
    out = np.empty((x.shape[0], *sizes, x.shape[-1]))
    for place in itertools.product(*map(range, sizes)):
        pixels = []
        for offset in itertools.product(range(window), repeat=len(sizes)):
            at = [p * stride + o - pad for p, o in zip(place, offset, strict=True)]
            if padding == "circular":
                at = [i % n for i, n in zip(at, x.shape[1:-1], strict=True)]
            if all(0 <= i < n for i, n in zip(at, x.shape[1:-1], strict=True)):
                pixels.append(x[(slice(None), *at)])
        out[(slice(None), *place)] = reduce(pixels, axis=0)
    return out


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize(
    ("sizes", "window", "stride", "pad"),
    [
        ((8,), 2, None, 0),
        ((9,), 3, 1, 0),
        ((7, 6), 2, None, 0),
        ((8, 8), 3, 2, 1),
        ((7, 5), 3, 2, 1),
        ((4, 5, 6), 2, None, 0),
        ((4, 4, 4), 3, 2, 1),
    ],
)
def test_max_pool_equals_the_loop(sizes, window, stride, pad, padding):
    x = draw(2, *sizes, 2).astype(np.float32) - 3  # mostly negative: a padding of zeros would win
    expected = literal_pool(np.max, x, window, stride or window, pad, padding)
    pool = functools.partial(max_pool, window=window, stride=stride, pad=pad, padding=padding)
    assert np.array_equal(jax.jit(pool)(jnp.asarray(x)), expected)


@pytest.mark.parametrize(
    ("sizes", "window", "stride"), [((9,), 2, None), ((7, 6), 3, 2), ((6, 6), 2, None), ((5, 4, 4), 2, 1)]
)
def test_avg_pool_equals_the_loop(sizes, window, stride, x64, close):
    x = draw(2, *sizes, 2)
    expected = literal_pool(np.mean, x, window, stride or window)
    close(jax.jit(functools.partial(avg_pool, window=window, stride=stride))(jnp.asarray(x)), expected, 1e-14)


@pytest.mark.parametrize(("window", "stride", "pad"), [(2, 2, 0), (3, 2, 1)])
def test_max_pool_and_its_gradient_equal_flax_where_nothing_is_tied(window, stride, pad):
    x = jnp.asarray(np.random.default_rng(0).permutation(2 * 6 * 6 * 2).reshape(2, 6, 6, 2), jnp.float32)
    weights = jnp.arange(2 * 3 * 3 * 2.0).reshape(2, 3, 3, 2)

    def ours(x):
        return max_pool(x, window=window, stride=stride, pad=pad)

    def flax(x):
        return nn.max_pool(x, (window,) * 2, (stride,) * 2, [(pad, pad)] * 2)

    assert np.array_equal(ours(x), flax(x))
    gradients = [jax.jit(jax.grad(lambda x, f=f: jnp.sum(f(x) * weights)))(x) for f in (ours, flax)]
    assert np.array_equal(*gradients)  # small whole numbers: exact


@pytest.mark.parametrize(
    ("window", "values", "expected"),
    [
        (2, [[1, 1], [1, 1]], [[1 / 4, 1 / 4], [1 / 4, 1 / 4]]),
        (2, [[1, 1], [0, 0]], [[1 / 2, 1 / 2], [0, 0]]),
        (2, [[1, 0], [1, 0]], [[1 / 2, 0], [1 / 2, 0]]),
        # max(max(a, b), max(c, d)): d has its pair to itself.
        (2, [[1, 1], [0, 1]], [[1 / 4, 1 / 4], [0, 1 / 2]]),
        (3, [5, 5, 5], [1 / 4, 1 / 4, 1 / 2]),
    ],
)
def test_ties_share_the_gradient_half_and_half(window, values, expected):
    x = jnp.asarray(values, jnp.float32)[None, ..., None]
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x, window=window))))(x)
    assert gradient[0, ..., 0].tolist() == expected


def test_a_window_larger_than_the_image_is_refused():
    for pool in (max_pool, avg_pool):
        with pytest.raises(ValueError, match=r"window of 3 does not fit into an image of size \(4, 2\)"):
            pool(jnp.ones((1, 4, 2, 1)), window=3)


def test_circular_max_pool_moves_with_its_input():
    x = jnp.asarray(draw(1, 8, 8, 1), jnp.float32)

    def pool(x):
        return max_pool(x, window=3, stride=2, pad=1, padding="circular")

    assert np.array_equal(pool(jnp.roll(x, (2, -4), (1, 2))), jnp.roll(pool(x), (1, -2), (1, 2)))


@settings(max_examples=8, deadline=None)
@given(blocks=st.lists(st.integers(1, 3), min_size=1, max_size=3), side=st.integers(1, 3), channels=st.integers(1, 2))
def test_fold_pixels_only_moves_pixels(blocks, side, channels):
    shape = (2, *(side * n for n in blocks), channels)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    folded = np.asarray(fold_pixels(jnp.asarray(x), side))
    assert folded.shape == (2, *blocks, channels * side ** len(blocks))
    # The inverse by hand: each channel of a block goes back to its pixel.
    unfolded = np.full(shape, np.nan, np.float32)
    for place in itertools.product(*map(range, blocks)):
        for k, offset in enumerate(itertools.product(range(side), repeat=len(blocks))):
            pixel = tuple(side * p + o for p, o in zip(place, offset, strict=True))
            unfolded[(slice(None), *pixel)] = folded[(slice(None), *place)][:, k * channels : (k + 1) * channels]
    assert np.array_equal(unfolded, x)


def test_fold_pixels_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    assert fold_pixels(x, 2)[0, 0, 1].tolist() == [2, 3, 6, 7]
    assert fold_pixels(x, 1) is x
    with pytest.raises(ValueError, match=r"fold=3 needs sizes that are multiples of 3, got \(4, 4\)"):
        fold_pixels(x, 3)


def test_global_pool_by_hand():
    x = jnp.array([[[1.0, -1.0], [2.0, -4.0], [6.0, -1.0]]])
    assert global_pool(x).tolist() == [[3, -2]]
    assert global_pool(x, mode="max").tolist() == [[6, -1]]
    assert global_pool(x, mode="both").tolist() == [[3, -2, 6, -1]]
    assert global_pool(jnp.ones((2, 3, 4, 5, 6))).shape == (2, 6)
    with pytest.raises(ValueError, match="mode must be 'mean', 'max' or 'both', got 'sum'"):
        global_pool(x, mode="sum")
