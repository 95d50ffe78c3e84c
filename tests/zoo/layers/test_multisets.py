"""Pools tell apart exactly the multisets that theory says they do: bare, in set networks and in graph networks."""

import functools
import math
from collections import Counter
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jraph import GraphsTuple

import zoo
from zoo.layers import (
    POINT_POOLS,
    PointSet,
    masked_attention,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
)

NAMES = ("sum", "mean", "max", "attention")
# In double precision: what is equal is so but for rounding, and no case may lie between.
EQUAL, DIFFERENT = 1e-12, 1e-6
PAIRS = {"1 3 | 1 1 3": ((1, 3), (1, 1, 3)), "2 2 | 1 3": ((2, 2), (1, 3)), "1 3 | 1 1 3 3": ((1, 3), (1, 1, 3, 3))}


@functools.partial(jax.jit, static_argnums=0)
def by_mask(name, x, scores, mask):
    """Sets (S, n, C), scores and mask (S, n) → (S, C)."""
    return masked_attention(x, scores, mask) if name == "attention" else POINT_POOLS[name](x, mask)


@functools.partial(jax.jit, static_argnums=0)
def by_segment(name, x, scores, mask):
    """Likewise, all rows after each other; those whose mask is not set belong to no segment."""
    count, slots = mask.shape
    segments = jnp.where(mask, jnp.arange(count)[:, None], count).reshape(-1)
    x = x.reshape(count * slots, -1)
    if name == "attention":
        weights = segment_softmax(scores.reshape(-1), segments, count)
        return segment_sum(x * weights[:, None], segments, count)
    return {"sum": segment_sum, "mean": segment_mean, "max": segment_max}[name](x, segments, count)


POOLS = {"masks": by_mask, "segments": by_segment}
SLOTS = 12


def padded(multisets, loud):
    """Numbers (S, n) with `loud` where the mask (S, n) is not set."""
    numbers = np.full((len(multisets), SLOTS), loud)
    mask = np.zeros(numbers.shape, bool)
    for row, some in enumerate(multisets):
        numbers[row, : len(some)], mask[row, : len(some)] = some, True
    return numbers, mask


def told_apart(first, second):
    difference = float(np.max(np.abs(np.asarray(first) - np.asarray(second))))
    assert difference < EQUAL or difference > DIFFERENT, difference
    return difference > DIFFERENT


def should_tell(name, first, second):
    """Of features of their own, by counting: the sum knows multisets, mean and attention shares, the maximum what is
    there at all.
    """
    if name == "sum":
        return Counter(first) != Counter(second)
    if name == "max":
        return set(first) != set(second)
    shares = [{k: Fraction(n, len(some)) for k, n in Counter(some).items()} for some in (first, second)]
    return shares[0] != shares[1]


@pytest.mark.parametrize("made", POOLS)
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    first=st.lists(st.integers(0, 2), max_size=4),
    second=st.lists(st.integers(0, 2), max_size=4),
    times=st.integers(1, 3),
)
def test_of_features_of_their_own_exactly_the_multisets_of_theory(made, name, first, second, times):
    """One-hot features; a repetition and another order of the first multiset beside any second one."""
    others = (second, first * times, first[::-1])
    with jax.enable_x64(True):
        numbers, mask = padded((first, *others), 2)
        scores = np.array([0.3, -0.8, 0.5])[numbers]
        found = POOLS[made](name, np.eye(3)[numbers], scores, mask)
    for other, value in zip(others, found[1:], strict=True):
        assert told_apart(found[0], value) == should_tell(name, first, other), (first, other)


@pytest.mark.parametrize("made", POOLS)
@pytest.mark.parametrize(
    ("pair", "told_by"),
    [
        ("1 3 | 1 1 3", {"sum", "mean", "attention"}),
        ("2 2 | 1 3", {"max", "attention"}),
        ("1 3 | 1 1 3 3", {"sum"}),
    ],
)
def test_of_bare_numbers(made, pair, told_by, x64):
    numbers, mask = padded(PAIRS[pair], 9.0)
    found = {name: POOLS[made](name, numbers[..., None], numbers, mask) for name in NAMES}
    assert {name for name in NAMES if told_apart(*found[name])} == told_by


def test_values_of_bare_numbers_by_hand(x64):
    e = math.exp(2.0)  # of 3 against 1, when the numbers are the scores
    expected = {"sum": 5, "mean": 5 / 3, "max": 3, "attention": (2 + 3 * e) / (2 + e)}
    numbers, mask = padded([(1, 1, 3), ()], 9.0)
    for pool in POOLS.values():
        for name in NAMES:
            found = pool(name, numbers[..., None], numbers, mask)[:, 0].tolist()
            assert found == [pytest.approx(expected[name], rel=1e-14), 0]


def test_equal_scores_make_attention_a_mean(x64):
    numbers, mask = padded([(2, 2), (1, 3)], 9.0)
    for pool in POOLS.values():
        assert not told_apart(*pool("attention", numbers[..., None], np.zeros(numbers.shape), mask))


def sets(*multisets):
    """A `PointSet` of sets of numbers, padded."""
    numbers, mask = padded(multisets, 0.0)
    return PointSet(jnp.asarray(numbers[..., None]), jnp.asarray(mask))


def bags(*multisets):
    """Graphs of nodes with one number each, without an edge."""
    return GraphsTuple(
        nodes=jnp.asarray(np.concatenate(multisets)[:, None], jnp.float64),
        edges=None,
        senders=jnp.zeros(0, jnp.int32),
        receivers=jnp.zeros(0, jnp.int32),
        globals=None,
        n_node=jnp.array([len(some) for some in multisets], jnp.int32),
        n_edge=jnp.zeros(len(multisets), jnp.int32),
    )


def stars(*multisets):
    """Graphs whose first node, with 0, hears all the others."""
    graph = bags(*[(0, *some) for some in multisets])
    starts = np.cumsum([0, *(1 + len(some) for some in multisets)])[:-1]
    sizes = [len(some) for some in multisets]
    return graph._replace(
        senders=jnp.asarray(np.concatenate([s + 1 + np.arange(n) for s, n in zip(starts, sizes, strict=True)]), int),
        receivers=jnp.asarray(np.repeat(starts, sizes)),
        n_edge=jnp.array(sizes, jnp.int32),
    ), starts


def outputs(model, inputs, randomise):
    variables = randomise(1, jax.eval_shape(model.init, jax.random.key(0), inputs))
    return np.asarray(jax.jit(model.apply)(variables, inputs))


EVERY = [some for pair in PAIRS.values() for some in pair]


@pytest.mark.parametrize("pool", NAMES)
@pytest.mark.parametrize("name", ["deep_sets", "gcn", "graphsage", "gat", "gin"])
def test_networks_of_features_of_each_point_are_bound_by_their_pool(name, pool, randomise, x64):
    """With any weights: what the pool cannot tell apart the network cannot. Features of each point by itself make the
    sum tell apart {2, 2} and {1, 3} as well.
    """
    if name == "deep_sets":
        model, inputs = zoo.create(name, num_classes=3, phi=(16, 8), rho=(), pool=pool), sets(*EVERY)
    else:
        model, inputs = zoo.create(name, num_classes=3, width=8, layers=2, jump=False, pool=pool), bags(*EVERY)
    found = outputs(model, inputs, randomise).reshape(len(PAIRS), 2, 3)
    for pair, (first, second) in zip(PAIRS.values(), found, strict=True):
        assert told_apart(first, second) == should_tell(pool, *pair), pair


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gin", {"1 3 | 1 1 3", "1 3 | 1 1 3 3"}),
        ("graphsage", {"1 3 | 1 1 3"}),
        # The square root of the number of neighbours is divided by, which leaves it to be seen.
        ("gcn", {"1 3 | 1 1 3", "1 3 | 1 1 3 3"}),
        # Each node is once among its own neighbours: shares of two of each are not those of one.
        ("gat", set(PAIRS)),
    ],
)
def test_one_layer_hears_its_neighbours_numbers_as_its_sum_does(name, told, randomise, x64):
    graph, centres = stars(*EVERY)
    options = {"heads": 2} if name == "gat" else {}
    model = zoo.create(name, num_classes=3, width=8, layers=1, readout="nodes", **options)
    found = outputs(model, graph, randomise)[centres].reshape(len(PAIRS), 2, 3)
    assert {pair for pair, both in zip(PAIRS, found, strict=True) if told_apart(*both)} == told


def test_gcn_takes_six_of_eight_for_four_of_three(randomise, x64):
    """Sums over neighbours divided by √(n + 1): 4 / 2 = 6 / 3, at a centre with 0. A plain sum knows better."""
    graph, centres = stars((1, 1, 2), (0, 0, 0, 1, 1, 1, 1, 2))
    found = {}
    for name in ("gcn", "gin"):
        model = zoo.create(name, num_classes=3, width=8, layers=1, readout="nodes")
        found[name] = told_apart(*outputs(model, graph, randomise)[centres])
    assert found == {"gcn": False, "gin": True}
