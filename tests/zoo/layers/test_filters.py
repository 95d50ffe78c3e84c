import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import angle_filter, conv2d, edge_filter, max_pool


def literal(image, filter, stride=1):
    """The definition, as loops."""
    sizes = [(n - f) // stride + 1 for n, f in zip(image.shape, filter.shape, strict=True)]
    out = np.zeros(sizes)
    for i, j in itertools.product(*map(range, sizes)):
        for a, b in itertools.product(*map(range, filter.shape)):
            out[i, j] += image[i * stride + a, j * stride + b] * filter[a, b]
    return out


@settings(max_examples=10, deadline=None)
@given(
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    side=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_equals_the_loop(size, side, stride, seed):
    draw = np.random.default_rng(seed)
    image, filter = draw.integers(-5, 6, size), draw.integers(-5, 6, side)
    outputs = conv2d(jnp.asarray(image), jnp.asarray(filter), stride=stride)
    assert np.array_equal(outputs, literal(image, filter, stride))  # small whole numbers: exact
    assert outputs.dtype == jnp.float32


def test_the_edges_of_a_bright_stripe():
    stripe = jnp.broadcast_to(jnp.array([0, 0, 5, 5, 5, 0, 0]), (7, 7))
    filter = jnp.array([[-1, 0, 1]] * 3)
    assert np.array_equal(edge_filter(), filter)
    assert conv2d(stripe, filter).tolist() == [[15, 15, 0, -15, -15]] * 5
    # Turned with its image, the filter gives the turned answer.
    assert np.array_equal(conv2d(stripe.T, edge_filter(axis=0)), conv2d(stripe, filter).T)


def test_the_angle_scores_2_49_on_itself_and_1_21_on_its_mirror_image():
    angle = angle_filter(3, foot=False)
    assert np.allclose(angle, [[0.1, 0.1, 0.9], [0.1, 0.9, 0.1], [0.9, 0.1, 0.1]])
    # Three products of 0.9 · 0.9 and six of 0.1 · 0.1; the three alone are 2.43.
    assert conv2d(angle, angle).shape == (1, 1)
    assert conv2d(angle, angle).item() == pytest.approx(2.49, abs=1e-6)
    assert float(jnp.sum(jnp.diag(angle[:, ::-1]) ** 2)) == pytest.approx(2.43, abs=1e-6)
    # Mirrored: the centre, 0.81, four of 0.9 · 0.1 and four of 0.1 · 0.1.
    assert conv2d(angle[:, ::-1], angle).item() == pytest.approx(1.21, abs=1e-6)


def test_nine_products_make_16():
    image = jnp.array([[9, 4, 1], [1, 1, 1], [2, 1, 1]])
    filter = jnp.array([[0, 2, 4], [1, 0, 1], [0, 1, 1]])
    # 9·0 + 4·2 + 1·4 + 1·1 + 1·0 + 1·1 + 2·0 + 1·1 is 15; with the last term, 1·1, it is 16.
    assert conv2d(image, filter).item() == 16
    assert conv2d(image.at[2, 2].set(0), filter).item() == 15


def test_pooling_forgets_where_the_diagonal_was():
    falling, rising, blank = jnp.eye(3), jnp.eye(3)[:, ::-1], jnp.zeros((3, 3))
    image = jnp.block([[falling, rising], [blank, blank]])
    shifted = jnp.block([[blank, blank], [rising, falling]])
    assert np.array_equal(jnp.roll(image, (3, 3), (0, 1)), shifted)
    responses = conv2d(image, falling, stride=3), conv2d(shifted, falling, stride=3)
    assert [r.tolist() for r in responses] == [[[3, 1], [0, 0]], [[0, 0], [1, 3]]]
    assert [max_pool(r[None, ..., None]).item() for r in responses] == [3, 3]


@pytest.mark.parametrize("size", [3, 5, 11])
def test_hand_made_filters_have_their_strokes_where_they_are_said_to_be(size):
    line, angle = angle_filter(size, foot=False), angle_filter(size)
    assert line.shape == angle.shape == (size, size)
    strokes = {(size - 1 - i, i) for i in range(size)}
    assert set(map(tuple, np.argwhere(line > 0.5))) == strokes
    assert set(map(tuple, np.argwhere(angle > 0.5))) == strokes | {(size - 1, i) for i in range(size)}
    assert sorted(np.unique(angle).tolist()) == pytest.approx([0.1, 0.9])
    assert sorted(np.unique(angle_filter(size, on=1.0, off=-1.0)).tolist()) == [-1, 1]
    # The best match of an image that holds one angle is where the angle is.
    image = jnp.zeros((32, 32)).at[7 : 7 + size, 12 : 12 + size].set(angle_filter(size, on=1.0, off=0.0))
    matches = conv2d(image, angle - angle.mean())
    assert np.unravel_index(int(jnp.argmax(matches)), matches.shape) == (7, 12)


def test_edge_filters_of_other_sizes():
    assert edge_filter(4)[0].tolist() == [-1, -1, 1, 1]
    assert edge_filter(5)[0].tolist() == [-1, -1, 0, 1, 1]
    assert conv2d(jnp.ones((6, 6)), edge_filter(4)).tolist() == [[0] * 3] * 3


def test_jit_and_vmap_are_the_same(x64, close):
    images, filter = np.random.default_rng(0).normal(size=(3, 6, 5)), np.random.default_rng(1).normal(size=(3, 2))
    one_by_one = jnp.stack([conv2d(image, filter) for image in images])
    close(jax.jit(jax.vmap(conv2d, (0, None)))(images, filter), one_by_one, 1e-14)
    assert one_by_one.dtype == jnp.float64


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match=r"image \(H, W\) and a filter \(h, w\), got shapes \(1, 4, 4\), \(3, 3\)"):
        conv2d(jnp.ones((1, 4, 4)), jnp.ones((3, 3)))
    with pytest.raises(ValueError, match=r"filter of \(3, 5\) does not fit on an image of \(4, 4\): it must be"):
        conv2d(jnp.ones((4, 4)), jnp.ones((3, 5)))
