"""Neighbours by a tree against all pairs, in and out of a periodic box.

That `zoo.layers` finds the same is tested there.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_datasets.loading.neighbours import k_nearest, within_radius
from zoo_datasets.loading.records import DataError

pytestmark = pytest.mark.smoke

BOXES = [None, 7.0, (5.0, np.inf)]
POINTS = st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=4, max_size=12).map(np.array)


def squares(positions, box):
    """(n, n), receiver by sender: the least over all images of whole-number positions."""
    total = 0
    for axis, side in zip(
        np.asarray(positions, float).T, np.broadcast_to(np.inf if box is None else box, 2), strict=True
    ):
        images = np.arange(-20, 21) * side if np.isfinite(side) else np.zeros(1)
        total = total + np.min((axis[:, None, None] - axis[None, :, None] + images) ** 2, axis=-1)
    return total


def expected_nearest(positions, k, box, include_self):
    edges = []
    for i, row in enumerate(squares(positions, box)):
        others = [j for j in range(len(row)) if include_self or j != i]
        edges += [(j, i) for j in sorted(others, key=lambda j, row=row: (row[j], j))[:k]]
    return edges


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("box", BOXES, ids=str)
@settings(max_examples=60, deadline=None)
@given(positions=POINTS, k=st.integers(1, 3))
def test_nearest_are_those_of_all_pairs_ties_included(box, include_self, positions, k):
    senders, receivers = k_nearest(positions, k, box=box, include_self=include_self)
    assert senders.dtype == receivers.dtype == np.int32
    assert list(zip(senders.tolist(), receivers.tolist(), strict=True)) == expected_nearest(
        positions, k, box, include_self
    )


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("box", BOXES, ids=str)
@settings(max_examples=60, deadline=None)
@given(positions=POINTS, square=st.integers(1, 6))
def test_edges_are_those_of_all_pairs_and_of_both_directions(box, include_self, positions, square):
    radius = min(np.sqrt(square) + 1e-6, 2.5)
    senders, receivers = within_radius(positions, radius, box=box, include_self=include_self)
    near = squares(positions, box) <= radius**2
    if not include_self:
        near &= ~np.eye(len(near), dtype=bool)
    assert senders.dtype == receivers.dtype == np.int32
    assert np.array_equal(np.stack([receivers, senders], axis=1), np.argwhere(near))
    assert set(zip(senders, receivers, strict=True)) == set(zip(receivers, senders, strict=True))

    senders, receivers = within_radius(positions, radius, box=box, include_self=include_self, k=2)
    nearest = [e for e in expected_nearest(positions, 12, box, include_self) if near[e[1], e[0]]]
    first = [edge for n, edge in enumerate(nearest) if [e[1] for e in nearest[:n]].count(edge[1]) < 2]
    assert list(zip(senders.tolist(), receivers.tolist(), strict=True)) == first


def test_images_shifts_and_turns_change_nothing():
    x = np.random.default_rng(0).random((200, 3)) * 10
    images = x + 10 * np.random.default_rng(1).integers(-3, 4, x.shape)
    shifted = x + 123.456
    for other in (images, shifted, x[:, [1, 2, 0]]):
        for function, size in ((k_nearest, 5), (within_radius, 1.5)):
            for got, expected in zip(function(other, size, box=10.0), function(x, size, box=10.0), strict=True):
                assert np.array_equal(got, expected)


def test_a_hair_below_zero_is_inside_the_box():
    # np.mod(-1e-20, 5) is 5, which is not inside.
    senders, _ = within_radius(np.array([[-1e-20], [4.5], [2.0]]), 1.0, box=5.0)
    assert senders.tolist() == [1, 0]


def test_points_in_one_place_are_neighbours_at_distance_zero():
    senders, receivers = k_nearest(np.zeros((4, 2)), 2)
    assert senders.tolist() == [1, 2, 0, 2, 0, 1, 0, 1]
    assert receivers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_no_point_and_one_point_are_legal_within_a_radius():
    for n in (0, 1):
        assert [part.shape for part in within_radius(np.zeros((n, 3)), 1.0)] == [(0,), (0,)]
    assert within_radius(np.zeros((1, 3)), 1.0, include_self=True)[0].tolist() == [0]


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (lambda x: k_nearest(x, 4), ["k should be in 1 … 3", "4 points", "excluded", "got 4", "leave out sets"]),
        (lambda x: k_nearest(x, 5, include_self=True), ["1 … 4", "included", "got 5"]),
        (lambda x: k_nearest(x, 0), ["got 0"]),
        (lambda x: k_nearest(x[:0], 1), ["0 points"]),
        (lambda x: k_nearest(x[0], 1), ["(n, D)", "(2,)"]),
        (lambda x: k_nearest([[0, 0], [np.nan, 0], [0, np.inf], [0, 0]], 1), ["finite", "point 1", "2 of 4"]),
        (lambda x: k_nearest(x, 1, box=(1, 2, 3)), ["each of the 2 axes", "(1, 2, 3)"]),
        (lambda x: k_nearest(x, 1, box=(1, np.nan)), ["positive period"]),
        (lambda x: k_nearest(x, 1, box=0), ["positive period", "got 0"]),
        (lambda x: within_radius(x, 0), ["positive", "got 0"]),
        (lambda x: within_radius(x, np.nan), ["positive", "got nan"]),
        (lambda x: within_radius(x, np.inf), ["finite", "got inf"]),
        (lambda x: within_radius(x, 2.1, box=(4, 9)), ["at most 2", "half the shortest side", "got 2.1"]),
        (lambda x: within_radius(x, 1, k=0), ["k should be at least 1", "got 0"]),
    ],
)
def test_what_cannot_be_meant_is_refused(function, parts):
    with pytest.raises(DataError) as caught:
        function(np.arange(8.0).reshape(4, 2))
    assert [part for part in parts if part not in str(caught.value)] == []
