"""Sets of points: what is masked never counts, and what each pool can and cannot tell apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import (
    POINT_POOLS,
    PointSet,
    as_points,
    counted_points,
    leading_channels,
    masked_attention,
    masked_max,
    masked_mean,
    masked_sum,
)

MASK = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def attention(x, mask):
    return masked_attention(x, 2 * x[..., 0], mask)


POOLS = {**POINT_POOLS, "attention": attention}
COMPILED = {name: jax.jit(pool) for name, pool in POOLS.items()}


def literal_pool(name, x, mask):
    """(n, C), (n,) → (C,)."""
    x = x[mask].astype(np.float64)
    if not len(x):
        return np.zeros(x.shape[-1])
    if name == "attention":
        weights = np.exp(2 * x[:, 0])
        return weights @ x / weights.sum()
    return {"sum": np.sum, "mean": np.mean, "max": np.max}[name](x, axis=0)


@pytest.fixture
def nan_allowed():
    """Here NaN is put in, to see that it does not come out."""
    with jax.debug_nans(False):
        yield


def test_what_is_masked_is_zero_and_the_rest_as_it_was(nan_allowed):
    values = normal(0, 4, 5, 2)
    loud = np.where(MASK[..., None], values, np.float32(np.nan))
    for mask in (MASK, MASK.astype(np.uint8), MASK.astype(np.float32), MASK.tolist()):
        points = as_points("Net", PointSet(loud, jnp.asarray(mask)))
        assert np.array_equal(points.values, np.where(MASK[..., None], values, 0))
        assert points.mask.dtype == bool and np.array_equal(points.mask, MASK)


def test_of_an_array_all_points_are_taken():
    values = normal(0, 4, 5, 2)
    points = as_points("Net", values.astype(np.float64))
    # Double precision is cast without a warning, which would be an error here.
    assert points.values.dtype == jnp.float32
    assert np.array_equal(points.values, values) and np.all(points.mask) and points.mask.shape == (4, 5)


def test_under_jit_values_and_mask_are_traced(nan_allowed):
    values = normal(0, 4, 5, 2)
    run = jax.jit(lambda points: as_points("Net", points))
    points = run(PointSet(values, MASK))
    assert np.array_equal(points.values, np.where(MASK[..., None], values, 0))
    # What is not known cannot be refused.
    assert np.isnan(run(PointSet(values * np.nan, MASK)).values[0, 0, 0])


def test_points_count_where_their_set_does():
    points = PointSet(jnp.zeros((4, 5, 1)), jnp.asarray(MASK))
    assert np.array_equal(counted_points(points, None), MASK)
    some = np.array([1.0, 0.0, 1.0, 1.0])
    assert np.array_equal(counted_points(points, some), MASK * some[:, None])
    assert np.array_equal(counted_points(points, some > 0), MASK * some[:, None])


@pytest.mark.parametrize(
    ("inputs", "options", "parts"),
    [
        (np.ones((4, 5), np.float32), {}, ["Net takes sets of points (B, N, C)", "got shape (4, 5)"]),
        (np.ones((4, 5, 2), np.float32), {"channels": 3}, ["in_channels=3", "2 channels", "(4, 5, 2)"]),
        (np.ones((4, 0, 2), np.float32), {}, ["at least one point", "(4, 0, 2)", "mask is not set"]),
        (np.ones((4, 5, 0), np.float32), {}, ["one channel", "(4, 5, 0)"]),
        (np.ones((4, 5, 2), np.int32), {}, ["real numbers", "int32", "float32"]),
        (PointSet(np.ones((4, 5, 2), np.float32), MASK[:, :4]), {}, ["(B, N) = (4, 5)", "got shape (4, 4)"]),
        (PointSet(np.ones((4, 5, 2), np.float32), MASK[..., None]), {}, ["(4, 5)", "got shape (4, 5, 1)"]),
        (
            PointSet(np.full((4, 5, 2), np.nan, np.float32), MASK),
            {},
            ["finite", "point 0 of set 0", "one of 9", "False"],
        ),
        (np.full((4, 5, 2), np.inf, np.float32), {}, ["finite", "one of 20", "mask to False"]),
    ],
)
def test_points_that_cannot_be_meant_are_refused(inputs, options, parts, nan_allowed):
    with pytest.raises(ValueError) as caught:
        as_points("Net", inputs, **options)
    assert str(caught.value).startswith("Net")
    assert [part for part in parts if part not in str(caught.value)] == []


def test_leading_channels():
    values = normal(0, 4, 5, 3)
    assert np.array_equal(leading_channels("Net", values, 2), values[..., :2])
    assert leading_channels("Net", values, None).shape == (4, 5, 3)
    for count in (0, 4, -1):
        with pytest.raises(ValueError, match=f"Net: coordinates should be in 1 … 3.* got {count}"):
            leading_channels("Net", values, count)


@pytest.mark.parametrize("name", POOLS)
def test_pools_are_those_of_the_points_there_are_and_nought_of_none(name, nan_allowed):
    x = normal(0, 4, 5, 2)
    loud = np.where(MASK[..., None], x, np.float32(np.nan))
    pool = COMPILED[name]
    got = pool(loud, MASK)
    expected = np.stack([literal_pool(name, *example) for example in zip(x, MASK, strict=True)])
    assert np.allclose(got, expected, rtol=1e-5, atol=1e-6) and not np.any(got[3])
    # Points of points, as the neighbours of each, are pooled the same way.
    assert np.allclose(pool(loud[None], MASK[None]), expected[None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", POOLS)
def test_gradients_reach_the_points_there_are_and_no_others(name, nan_allowed, x64):
    x = np.where(MASK[..., None], normal(0, 4, 5, 2).astype(np.float64), np.nan)
    weights = normal(1, 4, 2).astype(np.float64)

    @jax.jit
    def total(x):
        return jnp.sum(POOLS[name](x, MASK) * weights)

    gradient = np.asarray(jax.grad(total)(x))
    assert not np.any(gradient[~MASK]) and np.any(gradient[MASK])
    for place in [(0, 1, 0), (1, 1, 1), (2, 3, 0)]:
        step = np.zeros_like(x)
        step[place] = 1e-6
        # Central differences: their error is the step squared, and rounding over the step.
        assert abs((total(x + step) - total(x - step)) / 2e-6 - gradient[place]) < 1e-8


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(5)), example=st.integers(0, 2))
def test_the_order_of_points_changes_no_more_than_rounding(order, example):
    x, mask = normal(0, 4, 5, 2)[example], MASK[example]
    for name, pool in COMPILED.items():
        expected = literal_pool(name, x, mask)
        assert np.allclose(pool(x[np.array(order)], mask[np.array(order)]), expected, rtol=1e-5, atol=1e-6)


def multiset(*numbers):
    """As (6, 1) with its mask."""
    x = np.zeros((6, 1), np.float32)
    x[: len(numbers), 0] = numbers
    return x, np.arange(6) < len(numbers)


@pytest.mark.parametrize(
    ("first", "second", "told_by"),
    [
        ((1, 3), (1, 1, 3), {"sum", "mean"}),
        ((2, 2), (1, 3), {"max"}),
        ((1, 3), (1, 1, 3, 3), {"sum"}),
        ((1, 3), (3, 1), set()),
    ],
)
def test_what_pools_tell_apart(first, second, told_by):
    pools = {"sum": masked_sum, "mean": masked_mean, "max": masked_max}
    different = {name for name, pool in pools.items() if pool(*multiset(*first)) != pool(*multiset(*second))}
    assert different == told_by


def test_attention_is_safe_from_large_scores_and_keeps_its_dtype():
    x = jnp.ones((1, 3, 2), jnp.bfloat16)
    scores, mask = jnp.array([[1e4, -1e4, 3e38]], jnp.bfloat16), jnp.array([[True, True, False]])
    got = masked_attention(x, scores, mask)
    assert got.dtype == jnp.bfloat16 and np.array_equal(got, np.ones((1, 2)))
    gradient = jax.grad(lambda scores: jnp.sum(masked_attention(x, scores, mask).astype(jnp.float32)))(scores)
    assert np.all(np.isfinite(gradient))
