"""Neighbours within sets: against loops, in and out of a periodic box, and against their twin on the host."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import gather_points, k_nearest, minimum_image, squared_distances, within_radius
from zoo_datasets.loading import neighbours as host

SIZE = 6
# Odd sides, so that no difference of whole numbers is half a side, where either image would do.
BOXES = {"open": None, "closed": (5.0, 7.0), "half open": (np.inf, 5.0)}
WHOLE = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=SIZE, max_size=SIZE).map(np.array)
MASKS = st.lists(st.booleans(), min_size=SIZE, max_size=SIZE).map(np.array)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def literal_square(a, b, box):
    """Squared distance of two points: the least over all images near by."""
    if box is None:
        return np.sum((a - b) ** 2)
    shifts = [[m * side if np.isfinite(side) else 0.0 for m in range(-9, 10)] for side in box]
    return sum(min((x - y + shift) ** 2 for shift in axis) for x, y, axis in zip(a, b, shifts, strict=True))


def literal_nearest(positions, mask, box, include_self):
    """For each point that is there: all others (and itself), by distance and then by index, as (square, index)."""
    there = np.flatnonzero(mask)
    return {
        i: sorted((literal_square(positions[i], positions[j], box), j) for j in there if include_self or j != i)
        for i in there
    }


@functools.cache
def compiled_nearest(k, box, include_self):
    return jax.jit(lambda x, mask: k_nearest(x, k, mask=mask, box=box, include_self=include_self))


@functools.cache
def compiled_radius(max_edges, box, include_self):
    return jax.jit(
        lambda x, radius, mask: within_radius(
            x, radius, max_edges=max_edges, mask=mask, box=box, include_self=include_self
        )
    )


def test_neighbours_by_hand():
    # A line: points at 0, 1, 3, 7, and one that is not there at 2.
    x = jnp.array([[[0.0], [1.0], [3.0], [7.0], [2.0]]])
    mask = jnp.array([[True, True, True, True, False]])
    near = compiled_nearest(2, None, False)(x, mask)
    assert near.index[0, :4].tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert near.valid[0].tolist() == [[True] * 2] * 4 + [[False] * 2]
    # In a box of 8, seven is next to nought.
    near = compiled_nearest(2, 8.0, False)(x, mask)
    assert near.index[0, :4].tolist() == [[1, 3], [0, 2], [1, 0], [0, 1]]
    edges = compiled_radius(9, 8.0, False)(x, 2.0, mask)
    assert edges.receivers[0].tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 4]
    assert edges.senders[0].tolist() == [1, 3, 0, 2, 3, 1, 0, 1, 4]
    assert edges.valid[0].tolist() == [True] * 8 + [False] and edges.overflow[0] == 0


def test_missing_neighbours_are_masked_and_lead_to_the_point_itself():
    x = jnp.asarray(normal(0, 3, SIZE, 2), jnp.float32)
    mask = np.zeros((3, SIZE), bool)
    mask[1, 4] = mask[2, 1] = mask[2, 3] = True
    near = k_nearest(x, 3, mask=mask)
    assert np.array_equal(np.sum(near.valid, -1), np.where(mask, [[0], [0], [1]], 0))
    assert near.index[2, 1, 0] == 3 and near.index[2, 3, 0] == 1
    itself = np.arange(SIZE)[None, :, None]
    assert np.all(np.where(near.valid, True, near.index == itself))
    assert k_nearest(x, 3, mask=mask, include_self=True).valid[1, 4].tolist() == [True, False, False]


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@settings(max_examples=40, deadline=None)
@given(positions=WHOLE, mask=MASKS)
def test_nearest_are_those_of_loops_ties_included(box, include_self, positions, mask):
    near = compiled_nearest(3, box, include_self)(jnp.asarray(positions[None], jnp.float32), mask[None])
    expected = literal_nearest(positions, mask, box, include_self)
    for i in range(SIZE):
        found = np.asarray(near.index[0, i])[np.asarray(near.valid[0, i])]
        assert found.tolist() == [j for _, j in expected.get(i, [])[:3]]


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@settings(max_examples=40, deadline=None)
@given(positions=WHOLE, mask=MASKS, square=st.integers(1, 6))
def test_edges_within_a_radius_are_those_of_loops_and_what_has_no_room_is_counted(
    box, include_self, positions, mask, square
):
    every = literal_nearest(positions, mask, box, include_self)
    expected = [(i, j) for i in sorted(every) for s, j in sorted(every[i], key=lambda pair: pair[1]) if s <= square]
    # A little more than the root, so that whole squares are not decided by its rounding.
    radius = min(np.sqrt(square) + 1e-3, 2.5)
    for room in (4, 40):
        edges = compiled_radius(room, box, include_self)(jnp.asarray(positions[None], jnp.float32), radius, mask[None])
        found = np.stack([edges.receivers[0], edges.senders[0]], axis=1)[np.asarray(edges.valid[0])]
        assert found.tolist() == [list(edge) for edge in expected][:room]
        assert edges.overflow[0] == max(len(expected) - room, 0)
        assert np.all(np.asarray(edges.senders) < SIZE) and np.all(np.diff(edges.receivers) >= 0)


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@settings(max_examples=40, deadline=None)
@given(positions=WHOLE, square=st.integers(1, 6))
def test_the_twin_on_the_host_finds_the_same(box, include_self, positions, square):
    x, every = jnp.asarray(positions[None], jnp.float32), np.ones((1, SIZE), bool)
    near = compiled_nearest(3, box, include_self)(x, every)
    senders, receivers = host.k_nearest(positions, 3, box=box, include_self=include_self)
    assert np.array_equal(senders, np.ravel(near.index)) and np.array_equal(receivers, np.repeat(np.arange(SIZE), 3))

    radius = min(np.sqrt(square) + 1e-3, 2.5)
    edges = compiled_radius(40, box, include_self)(x, radius, every)
    senders, receivers = host.within_radius(positions, radius, box=box, include_self=include_self)
    valid = np.asarray(edges.valid[0])
    assert np.array_equal(senders, edges.senders[0][valid]) and np.array_equal(receivers, edges.receivers[0][valid])


def test_neighbours_move_along_with_the_points(x64):
    x, mask = normal(0, 1, 20, 3), np.random.default_rng(1).random((1, 20)) < 0.8
    order = np.random.default_rng(2).permutation(20)
    for box in (None, 3.0):
        find = compiled_nearest(4, box, False)
        near, moved = find(x, mask), find(x[:, order], mask[:, order])
        assert np.array_equal(moved.valid, near.valid[:, order])
        assert np.array_equal(
            np.where(moved.valid, order[moved.index], -1), np.where(moved.valid, near.index[:, order], -1)
        )


def test_neighbours_stay_under_shifts_turns_and_images(x64):
    x, everywhere = normal(0, 1, 20, 2), np.ones((1, 20), bool)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    images = 3.0 * np.random.default_rng(1).integers(-2, 3, x.shape)
    for box, changes in {None: [x + 17.3, x @ turn, -x], 3.0: [x + 17.3, x + images, -x]}.items():
        find = compiled_nearest(4, box, False)
        radius = functools.partial(compiled_radius(100, box, False), radius=0.7, mask=everywhere)
        edges = radius(x)
        assert edges.overflow[0] == 0 < jnp.sum(edges.valid)
        for changed in changes:
            assert np.array_equal(find(changed, everywhere).index, find(x, everywhere).index)
            assert jax.tree.all(jax.tree.map(np.array_equal, radius(changed), edges))
    # Without the box, images are other points.
    assert not np.array_equal(compiled_nearest(4, None, False)(x + images, everywhere).index, find(x, everywhere).index)


def test_far_from_the_origin_no_digit_is_lost():
    whole = np.random.default_rng(0).permutation(64)[:10].reshape(1, 10, 1).astype(np.float32)
    far = jnp.asarray(whole + 2**23)
    assert np.array_equal(k_nearest(far, 3).index, k_nearest(jnp.asarray(whole), 3).index)


def test_distances_of_many_axes_are_those_of_few(x64, close):
    x = normal(0, 2, 9, 12)
    expected = np.sum((x[:, :, None] - x[:, None]) ** 2, -1)
    close(squared_distances(jnp.asarray(x)), expected, 1e-14)
    close(squared_distances(jnp.asarray(x), box=np.full(12, np.inf)), expected, 1e-14)
    every = np.ones(9, bool)
    near = compiled_nearest(3, None, False)(x, np.ones((2, 9), bool))
    for example, i in itertools.product(range(2), range(9)):
        nearest = literal_nearest(x[example], every, None, False)[i][:3]
        assert near.index[example, i].tolist() == [j for _, j in nearest]


def test_minimum_image_is_the_shortest_way_and_differentiable():
    difference = jnp.array([[2.0, 2.0, 9.0], [-3.0, 4.0, -9.0]])
    expected = [[2.0, 2.0, 9.0], [2.0, -3.0, -9.0]]
    assert minimum_image(difference, (5.0, 7.0, np.inf)).tolist() == expected
    assert host.minimum_image(np.asarray(difference), (5.0, 7.0, np.inf)).tolist() == expected
    assert np.array_equal(minimum_image(difference, None), difference)
    assert minimum_image(difference, 5.0).tolist() == [[2.0, 2.0, -1.0], [2.0, -1.0, 1.0]]
    assert np.all(jax.grad(lambda d: jnp.sum(minimum_image(d, (5.0, 7.0, np.inf))))(difference) == 1)


@pytest.mark.parametrize("kind", ["nearest", "radius"])
def test_batch_one_by_one_vmap_and_jit_agree(kind):
    def find(x, mask, box):
        if kind == "nearest":
            return k_nearest(x, 3, mask=mask, box=box)
        return within_radius(x, 0.2 * box[0], max_edges=12, mask=mask, box=box)

    x, mask = jnp.asarray(normal(0, 3, 10, 2), jnp.float32), np.random.default_rng(1).random((3, 10)) < 0.7
    # Box and radius are traced.
    box, compiled = jnp.array([3.0, 2.0]), jax.jit(find)
    batch = compiled(x, mask, box)
    singles = [compiled(x[i : i + 1], mask[i : i + 1], box) for i in range(3)]
    mapped = jax.jit(jax.vmap(lambda x, mask: find(x[None], mask[None], box)))(x, mask)
    for other in (
        find(x, mask, box),
        jax.tree.map(lambda *parts: np.concatenate(parts), *singles),
        jax.tree.map(lambda leaf: leaf[:, 0], mapped),
    ):
        assert jax.tree.all(jax.tree.map(np.array_equal, batch, other))


def test_what_is_masked_may_be_anything():
    x, mask = normal(0, 1, 8, 2).astype(np.float32), np.array([[True] * 5 + [False] * 3])
    every = np.ones((1, 5), bool)
    expected = compiled_nearest(3, None, False)(x[:, :5], every)
    fewer = compiled_radius(20, None, False)(x[:, :5], 1.0, every)
    with jax.debug_nans(False):
        for loud in (np.nan, np.inf, 0.1):
            other = np.where(mask[..., None], x, np.float32(loud))
            near = compiled_nearest(3, None, False)(other, mask)
            assert np.array_equal(near.index[:, :5], expected.index) and not np.any(near.valid[:, 5:])
            edges = compiled_radius(20, None, False)(other, 1.0, mask)
            for got, want in ((edges.senders, fewer.senders), (edges.receivers, fewer.receivers)):
                assert np.array_equal(got[fewer.valid], want[fewer.valid])
            assert np.array_equal(edges.valid, fewer.valid)


def test_gathered_points_and_their_gradient():
    x = jnp.asarray(normal(0, 2, 5, 3), jnp.float32)
    index = k_nearest(x, 2).index
    got = gather_points(x, index)
    for b, i, n in itertools.product(range(2), range(5), range(2)):
        assert np.array_equal(got[b, i, n], x[b, index[b, i, n]])
    # No gradient through the choice: each point gets one for every time it is a neighbour.
    gradient = jax.grad(lambda x: jnp.sum(gather_points(x, k_nearest(x, 2).index)))(x)
    times = np.stack([np.bincount(np.ravel(index[b]), minlength=5) for b in range(2)])
    assert np.array_equal(gradient, np.broadcast_to(times[..., None], x.shape))


def test_half_precision_is_compared_in_single():
    # Squares of 257 and 258 are one number in bfloat16's 8 bits.
    x = jnp.array([[[0.0], [258.0], [-256.0]]], jnp.bfloat16)
    assert squared_distances(x).dtype == jnp.float32
    assert k_nearest(x, 1).index[0, 0, 0] == 2


X = np.zeros((2, 4, 2), np.float32)


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (
            lambda: k_nearest(X, 4),
            ["k should be in 1 … 3", "N = 4", "excluded", "got k = 4", "fewer neighbours, or pad"],
        ),
        (lambda: k_nearest(X, 5, include_self=True), ["k should be in 1 … 4", "included", "got k = 5"]),
        (lambda: k_nearest(X, 0), ["got k = 0"]),
        (lambda: k_nearest(X + np.nan, 2), ["k_nearest", "finite", "point 0 of set 0", "one of 8", "mask to False"]),
        (lambda: k_nearest(X, 2, mask=np.ones((2, 3))), ["(2, 4)", "(2, 3)"]),
        (lambda: k_nearest(X, 2, box=(1.0, 2.0, 3.0)), ["one for each of the 2 axes", "(1.0, 2.0, 3.0)"]),
        (lambda: k_nearest(X, 2, box=-1.0), ["positive period", "-1.0"]),
        (lambda: within_radius(X, 1.0, max_edges=0), ["max_edges should be at least 1, got 0"]),
        (lambda: within_radius(X, 0.0, max_edges=9), ["positive", "got 0"]),
        (lambda: within_radius(X, np.inf, max_edges=9), ["finite", "got inf"]),
        (
            lambda: within_radius(X, 2.1, max_edges=9, box=(4.0, 9.0)),
            ["at most 2", "half the shortest side", "got 2.1"],
        ),
        (lambda: within_radius(X[0], 1.0, max_edges=9), ["within_radius", "(B, N, C)", "(4, 2)"]),
    ],
)
def test_what_cannot_be_meant_is_refused(function, parts):
    with jax.debug_nans(False), pytest.raises(ValueError) as caught:
        function()
    assert [part for part in parts if part not in str(caught.value)] == []
