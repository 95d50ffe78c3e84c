"""Dynamic time warping against the literal double loop, its laws, and the nearest neighbour under it."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import UserError
from zoo_experiments.verbs.dtw import distances, nearest_neighbour


def literal(a, b, window):
    """Table of Sakoe & Chiba (1978), cell by cell; a (T, C), b (S, C)."""
    table = np.full((len(a) + 1, len(b) + 1), np.inf)
    table[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            if window is None or abs(i - j) <= window:
                least = min(table[i, j], table[i, j + 1], table[i + 1, j])
                table[i + 1, j + 1] = ((a[i] - b[j]) ** 2).sum() + least
    return np.sqrt(table[-1, -1])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.integers(1, 3),
    slack=st.none() | st.integers(0, 9),
)
def test_equal_to_the_table_cell_by_cell(seed, lengths, channels, slack):
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(n, length, channels)) for n, length in zip((3, 2), lengths, strict=True))
    window = None if slack is None else abs(lengths[0] - lengths[1]) + slack
    expected = [[literal(x, y, window) for y in b] for x in a]
    # Sums of at most 17 numbers, in another order of the channels at most.
    np.testing.assert_allclose(distances(a, b, window=window), expected, rtol=1e-12)


def test_example_by_hand():
    """0 1 1 2 against 0 1 2: the repeated 1 costs nothing. 0 0 3 against 0 1 3: one difference of 1."""
    assert distances(np.array([[0.0, 1, 1, 2]]), np.array([[0.0, 1, 2]])) == 0
    assert distances(np.array([[0.0, 0, 3]]), np.array([[0.0, 1, 3]])) == 1


def test_window_of_nothing_is_euclidean():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 12)), rng.normal(size=(5, 12))
    expected = np.sqrt(((a[:, None] - b) ** 2).sum(2))
    np.testing.assert_allclose(distances(a, b, window=0), expected, rtol=1e-12)


def test_wider_windows_are_never_farther():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 20, 2)), rng.normal(size=(4, 20, 2))
    found = [distances(a, b, window=window) for window in (0, 1, 3, 8, 19)]
    assert all((wide <= narrow).all() for narrow, wide in itertools.pairwise(found))
    np.testing.assert_array_equal(found[-1], distances(a, b))


def test_symmetric_and_the_same_forwards_and_backwards():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3, 11)), rng.normal(size=(4, 14))
    np.testing.assert_allclose(distances(a, b, window=5), distances(b, a, window=5).T, rtol=1e-12)
    # The same sums along the same paths, from the other end.
    np.testing.assert_allclose(distances(a, b), distances(a[:, ::-1], b[:, ::-1]), rtol=1e-12)
    assert (np.diag(distances(a, a)) == 0).all()


def test_many_pairs_are_computed_in_parts(monkeypatch):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(7, 6)), rng.normal(size=(5, 6))
    whole = distances(a, b)
    monkeypatch.setattr("zoo_experiments.verbs.dtw._AT_ONCE", 25)
    np.testing.assert_array_equal(distances(a, b), whole)


def test_nearest_neighbour_sees_through_a_shift():
    """A bump early or late against a dip: Euclid is nearer to the wrong one of the two, warping is not."""
    steps = np.arange(30)
    bump = lambda centre: np.exp(-0.5 * ((steps - centre) / 2) ** 2)
    train, labels = np.stack([bump(8), -0.3 * bump(20)]), np.array(["bump", "dip"])
    test = np.stack([bump(14), -0.9 * bump(12)])
    assert nearest_neighbour(train, labels, test).tolist() == ["bump", "dip"]
    assert nearest_neighbour(train, labels, test, window=0).tolist() == ["dip", "dip"]


def test_first_of_equally_near_ones_wins():
    train = np.zeros((3, 4))
    assert nearest_neighbour(train, np.array([2, 0, 1]), np.ones((1, 4))) == [2]


def test_as_many_pairs_as_gunpoint_has_take_seconds():
    """150 × 50 pairs of 150 steps: 0.7 s on one core (without a window 2 s); 30 s leave room for a busy machine."""
    rng = np.random.default_rng(4)
    start = time.perf_counter()
    assert distances(rng.normal(size=(150, 150)), rng.normal(size=(50, 150)), window=15).shape == (150, 50)
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
    ("a", "b", "window", "message"),
    [
        (np.zeros((2, 5)), np.zeros((2, 5, 2)), None, r"as many channels in a as in b, got 1 and 2"),
        (np.zeros(5), np.zeros((2, 5)), None, r"a should be series .* got the shape \(5,\)"),
        (np.zeros((2, 5)), np.zeros((0, 5)), None, r"b should be series .*at least one, got the shape \(0, 5\)"),
        (np.zeros((2, 5)), np.zeros((2, 8)), 2, r"at least 3, the difference of the lengths 5 and 8, got 2.*None"),
        (np.zeros((2, 5)), np.zeros((2, 5)), -1, r"at least 0.* got -1"),
        (np.array([[0, 1], [2, np.nan]]), np.zeros((2, 2)), None, r"NaN or Inf in a, series 1, step 1"),
    ],
)
def test_bad_input_is_refused(a, b, window, message):
    with pytest.raises(UserError, match=message):
        distances(a, b, window=window)


def test_other_number_of_labels_is_refused():
    with pytest.raises(UserError, match=r"\(3,\) series and labels of the shape \(2,\)"):
        nearest_neighbour(np.zeros((3, 4)), np.zeros(2), np.zeros((1, 4)))
