"""Group convolutions against their sums written as loops over pixels and 2×2 matrices, and the laws of the group."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import augment
from zoo.layers import (
    GroupConv,
    LiftingConv,
    check_exact_side,
    d4_inverse,
    d4_product,
    group_order,
    group_pool,
    merge_fields,
    split_fields,
    turn,
    turn_fields,
)

# What an element does to a position (y, x) measured from the centre, rows downwards: first mirrored, then turned.
QUARTER, MIRROR = np.array([[0, -1], [1, 0]]), np.diag([1, -1])
MATRICES = [np.linalg.matrix_power(QUARTER, g % 4) @ np.linalg.matrix_power(MIRROR, g // 4) for g in range(8)]
GROUPS = st.sampled_from(["c4", "d4"])


def number(matrix):
    return next(g for g, other in enumerate(MATRICES) if np.array_equal(matrix, other))


def inverse(g):
    return MATRICES[g].T


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def literal(y, kernel, bias, order, stride, padding):
    """z[p, h] = bias + Σ_j Σ_u w[h⁻¹u, h⁻¹j] y[p + u, j] for y (B, N, N, J, C) and w (k, k, J, C, K); J = 1 lifts."""
    size, radius = y.shape[1], kernel.shape[0] // 2
    offsets = range(-radius, radius + 1)
    places = range(0, size, stride)
    z = np.zeros((y.shape[0], len(places), len(places), order, kernel.shape[-1]))
    for (a, row), (b, column), h in itertools.product(enumerate(places), enumerate(places), range(order)):
        for u, j in itertools.product(itertools.product(offsets, offsets), range(y.shape[3])):
            at = np.array([row, column]) + u
            if padding == "zero" and not all(0 <= i < size for i in at):
                continue
            v = inverse(h) @ u + radius
            pose = number(inverse(h) @ MATRICES[j]) if y.shape[3] > 1 else 0
            z[:, a, b, h] += y[:, at[0] % size, at[1] % size, j] @ kernel[v[0], v[1], pose]
    return z + bias


@pytest.mark.parametrize(("first", "second"), list(itertools.product(range(8), repeat=2)))
def test_product_and_inverse_are_those_of_the_matrices(first, second):
    assert d4_product(first, second) == number(MATRICES[first] @ MATRICES[second])
    assert d4_inverse(first) == number(inverse(first))


@pytest.mark.parametrize("element", range(8))
def test_turn_does_what_the_augmentation_and_the_matrices_do(element):
    x = draw(2, 5, 5, 3).astype(np.float32)
    expected = np.empty_like(x)
    for y in itertools.product(range(-2, 3), repeat=2):
        target = MATRICES[element] @ y
        expected[:, target[0] + 2, target[1] + 2] = x[:, y[0] + 2, y[1] + 2]
    assert np.array_equal(turn(jnp.asarray(x), element), expected)
    assert np.array_equal(jax.vmap(lambda image: augment.d4(image, element))(jnp.asarray(x)), expected)


@settings(max_examples=6, deadline=None)
@given(group=GROUPS, elements=st.tuples(st.integers(0, 7), st.integers(0, 7)), size=st.integers(1, 4))
def test_turning_fields_composes_as_the_group_does(group, elements, size):
    order = group_order(group)
    first, second = (g % order for g in elements)
    y = jnp.asarray(draw(1, size, size, order, 2), jnp.float32)
    once = turn_fields(y, d4_product(first, second))
    assert np.array_equal(turn_fields(turn_fields(y, second), first), once)
    assert np.array_equal(turn_fields(turn_fields(y, first), d4_inverse(first)), y)
    assert np.array_equal(turn_fields(y, 0), y)


def apply(layer, x, seed=5):
    """Outputs of a float64 layer with random parameters, and the parameters."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    params = {name: draw(*leaf.shape, seed=seed + i) for i, (name, leaf) in enumerate(sorted(shapes.items()))}
    return np.asarray(jax.jit(layer.apply)({"params": params}, x)), params


CASES = {
    "group": GROUPS,
    "size": st.integers(1, 5),
    "kernel": st.sampled_from([1, 3]),
    "stride": st.integers(1, 2),
    "padding": st.sampled_from(["zero", "circular"]),
}


@settings(max_examples=6, deadline=None)
@given(**CASES)
def test_convolutions_equal_the_loops(group, size, kernel, stride, padding):
    order = group_order(group)
    options = {"group": group, "kernel": kernel, "stride": stride, "padding": padding}
    with jax.enable_x64(True):
        x = draw(2, size, size, 2)
        got, params = apply(LiftingConv(3, **options, param_dtype=jnp.float64), x)
        assert params["kernel"].shape == (kernel, kernel, 2, 3)
        expected = literal(x[:, :, :, None], params["kernel"][:, :, None], params["bias"], order, stride, padding)
        # Rounding of some hundred terms of size 1.
        assert np.allclose(got, expected, rtol=0, atol=1e-12)

        y = draw(2, size, size, order, 2)
        got, params = apply(GroupConv(3, **options, param_dtype=jnp.float64), y)
        assert params["kernel"].shape == (kernel, kernel, order, 2, 3)
        expected = literal(y, params["kernel"], params["bias"], order, stride, padding)
        assert np.allclose(got, expected, rtol=0, atol=1e-12)


@settings(max_examples=6, deadline=None)
@given(**CASES, element=st.integers(0, 7))
def test_convolutions_move_with_their_input(group, size, kernel, stride, padding, element):
    order = group_order(group)
    element, size = element % order, size if stride == 1 else 2 * (size // 2) + 1
    options = {"group": group, "kernel": kernel, "stride": stride, "padding": padding, "param_dtype": jnp.float64}
    with jax.enable_x64(True):
        for layer, x, act in [
            (LiftingConv(2, **options), draw(1, size, size, 2), turn),
            (GroupConv(2, **options), draw(1, size, size, order, 2), turn_fields),
        ]:
            outputs, _ = apply(layer, np.concatenate([x, act(jnp.asarray(x), element)]))
            assert np.allclose(outputs[1:], turn_fields(jnp.asarray(outputs[:1]), element), rtol=0, atol=1e-12)


@settings(max_examples=6, deadline=None)
@given(group=GROUPS, fold=st.integers(2, 3), padding=st.sampled_from(["zero", "circular"]), element=st.integers(0, 7))
def test_blocks_turn_pixel_by_pixel(group, fold, padding, element):
    """One kernel per block of pixels: the plain convolution of folded pixels in the first pose, and it turns."""
    order = group_order(group)
    with jax.enable_x64(True):
        layer = LiftingConv(2, group, fold=fold, padding=padding, param_dtype=jnp.float64)
        x = jnp.asarray(draw(1, 4 * fold, 4 * fold, 2))
        outputs, params = apply(layer, jnp.concatenate([x, turn(x, element % order)]))
        assert params["kernel"].shape == (3 * fold, 3 * fold, 2, 2)
        assert np.allclose(outputs[1:], turn_fields(jnp.asarray(outputs[:1]), element % order), rtol=0, atol=1e-12)
        around = [(0, 0), (fold, fold), (fold, fold), (0, 0)]
        padded = np.pad(x, around, **({"mode": "wrap"} if padding == "circular" else {}))
        for a, b in itertools.product(range(4), repeat=2):
            window = padded[0, a * fold : (a + 3) * fold, b * fold : (b + 3) * fold]
            expected = np.tensordot(window, params["kernel"], 3) + params["bias"]
            assert np.allclose(outputs[0, a, b, 0], expected, rtol=0, atol=1e-12)


def test_every_second_pixel_of_an_even_side_does_not_turn(x64):
    layer = LiftingConv(2, "c4", stride=2, param_dtype=jnp.float64)
    x = jnp.asarray(draw(1, 6, 6, 1))
    plain, _ = apply(layer, x)
    moved, _ = apply(layer, turn(x, 2))
    assert np.max(np.abs(moved - turn_fields(jnp.asarray(plain), 2))) > 1


@pytest.mark.parametrize("mode", ["max", "mean"])
@pytest.mark.parametrize("element", [1, 6])
def test_the_pooled_group_moves_like_an_image(mode, element, x64, close):
    y = jnp.asarray(draw(2, 3, 3, 8, 2))
    pool = functools.partial(group_pool, mode=mode)
    close(pool(y), getattr(np, mode)(np.asarray(y), axis=3), 1e-15)
    # The mean adds up in another order.
    close(pool(turn_fields(y, element)), turn(pool(y), element), 1e-15)


def test_fields_merge_into_channels_and_part_again():
    y = jnp.asarray(draw(2, 3, 3, 4, 2), jnp.float32)
    assert np.array_equal(merge_fields(y)[..., 2 * 3 + 1], y[..., 3, 1])
    assert np.array_equal(split_fields(merge_fields(y), "c4"), y)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: group_order("c8"), "group must be 'c4' or 'd4', got 'c8'"),
        (lambda: group_pool(jnp.ones((1, 2, 2, 4, 3)), mode="sum"), "group_pool must be 'max' or 'mean', got 'sum'"),
        (lambda: group_pool(jnp.ones((1, 2, 2, 3))), "(B, H, W, G, K) with G = 4 or 8; got shape (1, 2, 2, 3)"),
        (lambda: turn_fields(jnp.ones((1, 2, 2, 5, 3)), 1), "G = 4 or 8; got shape (1, 2, 2, 5, 3)"),
        (lambda: apply(LiftingConv(2, "c4", kernel=4), jnp.ones((1, 6, 6, 1))), "expected an odd side, got 4"),
        (lambda: apply(LiftingConv(2, "c6"), jnp.ones((1, 6, 6, 1))), "group must be 'c4' or 'd4', got 'c6'"),
        (lambda: apply(LiftingConv(2, "c4", padding="same"), jnp.ones((1, 6, 6, 1))), "padding must be 'zero' or"),
        (lambda: apply(LiftingConv(2, "c4"), jnp.ones((1, 6, 6))), "images (B, H, W, C); got shape (1, 6, 6)"),
        (lambda: apply(GroupConv(2, "d4"), jnp.ones((1, 6, 6, 4, 1))), "(B, H, W, 8, C); got shape (1, 6, 6, 4, 1)"),
        (lambda: apply(GroupConv(2, "c4"), jnp.ones((1, 6, 6, 3))), "lift an image by LiftingConv first"),
    ],
)
def test_what_cannot_be_meant_is_refused(function, words):
    with pytest.raises(ValueError) as caught:
        function()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "rest", "known", "near"),
    [
        ((30, 30), 0, "a multiple", "24 and 32"),
        ((32, 24), 0, "a multiple", "24 and 32"),
        ((9, 40), 0, "a multiple", "8 and 16 and 40"),
        ((32, 32), 1, "1 more than a multiple", "25 and 33"),
        ((32, 32), 2, "2 more than a multiple", "26 and 34"),
        ((9, 17), 1, "1 more than a multiple", "9 and 17"),
    ],
)
def test_a_size_that_is_not_exact_is_refused_with_the_nearest(sizes, rest, known, near):
    with pytest.raises(ValueError) as caught:
        check_exact_side("net", sizes, step=8, rest=rest)
    assert f"net is exact on square images whose side is {known} of 8; got {sizes}: nearest are {near}." in str(
        caught.value
    )


def test_exact_sizes_pass():
    for step, rest, sizes in [
        (8, 0, (8, 24)),
        (8, 1, (9, 25)),
        (1, 0, (1, 7)),
        (1, 1, (4,)),
    ]:
        for side in sizes:
            check_exact_side("net", (side, side), step=step, rest=rest)
