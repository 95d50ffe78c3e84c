import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import Conv, check_padding, he_normal, pad_spatial, same_pads


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def conv(x, kernel, bias=None, **options):
    params = {"kernel": jnp.asarray(kernel)} | ({} if bias is None else {"bias": jnp.asarray(bias)})
    layer = Conv(kernel.shape[-1], kernel=kernel.shape[0], use_bias=bias is not None, **options)
    return layer.apply({"params": params}, jnp.asarray(x))


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize(
    ("sizes", "kernel", "stride"),
    [
        ((7,), 3, 1),
        ((8,), 3, 2),
        ((9,), 5, 3),
        ((6,), 4, 1),
        ((6, 8), 3, 2),
        ((5, 4), 7, 2),
        ((4, 6), 2, 1),
        ((4, 4, 6), 3, 2),
        ((3, 4, 2), 3, 1),
    ],
)
def test_equals_the_loop(sizes, kernel, stride, padding, literal_conv, x64, close):
    x = draw(2, *sizes, 3)
    weights, bias = draw(*(kernel,) * len(sizes), 3, 2, seed=1), draw(2, seed=2)
    expected = literal_conv(x, weights, bias, stride=stride, padding=padding)
    # A few hundred products summed in another order.
    close(conv(x, weights, bias, stride=stride, padding=padding), expected, 1e-13)


def test_groups_are_convolutions_side_by_side(literal_conv, x64, close):
    x, weights = draw(2, 6, 6, 4), draw(3, 3, 2, 6, seed=1)
    halves = [literal_conv(x[..., 2 * i : 2 * i + 2], weights[..., 3 * i : 3 * i + 3]) for i in range(2)]
    close(conv(x, weights, groups=2), np.concatenate(halves, axis=-1), 1e-13)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [2, 3, 3, 2]),
        ({"padding": "circular"}, [3, 3, 3, 3]),
        # Windows are centred on pixels 0 and 2: XLA's SAME would centre them on 1 and 3 and give [3, 2].
        ({"stride": 2}, [2, 3]),
        ({"stride": 2, "padding": "circular"}, [3, 3]),
    ],
)
def test_ones_count_the_pixels_under_the_kernel(options, expected):
    outputs = conv(np.ones((1, 4, 1), np.float32), np.ones((3, 1, 1), np.float32), **options)
    assert outputs.ravel().tolist() == expected


@settings(max_examples=10, deadline=None)
@given(steps=st.integers(-3, 3), stride=st.sampled_from([1, 2]), seed=st.integers(0, 99))
def test_circular_convolution_moves_with_its_input(steps, stride, seed):
    x, weights = draw(1, 8, 8, 1, seed=seed).astype(np.float32), draw(3, 3, 1, 2).astype(np.float32)
    options = {"stride": stride, "padding": "circular"}
    moved = conv(np.roll(x, steps * stride, axis=(1, 2)), weights, **options)
    expected = np.roll(conv(x, weights, **options), steps, axis=(1, 2))
    assert np.max(np.abs(moved - expected)) <= 1e-6 * np.max(np.abs(expected))


def test_parameters_and_dtypes(key):
    layer = Conv(6, kernel=5, groups=2)
    shapes = jax.eval_shape(layer.init, key, jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32))
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == {"params": {"kernel": (5, 5, 2, 6), "bias": (6,)}}
    half = Conv(2, dtype=jnp.bfloat16, use_bias=False)
    outputs, variables = half.init_with_output(key, jnp.ones((1, 4, 1)))
    assert outputs.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert set(variables["params"]) == {"kernel"}


def test_initial_spread_is_that_of_he(key):
    kernel = he_normal(key, (3, 3, 32, 64), jnp.float32)
    # 18,432 draws: the spread is known to 0.5 %, so 3 % is six of its deviations.
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)


def test_pads_keep_the_size():
    assert same_pads(3, 2) == [(1, 1), (1, 1)]
    assert same_pads(4, 1) == [(1, 2)]
    assert same_pads(1, 3) == [(0, 0)] * 3


def test_pad_spatial_by_hand():
    x = jnp.arange(3.0).reshape(1, 3, 1)
    assert pad_spatial(x, [(1, 2)], "zero").ravel().tolist() == [0, 0, 1, 2, 0, 0]
    assert pad_spatial(x, [(1, 2)], "zero", value=-1.0).ravel().tolist() == [-1, 0, 1, 2, -1, -1]
    assert pad_spatial(x, [(1, 2)], "circular").ravel().tolist() == [2, 0, 1, 2, 0, 1]


def test_an_unknown_padding_is_refused(key):
    message = "padding must be 'zero' or 'circular', got 'same'"
    for call in [
        lambda: check_padding("same"),
        lambda: pad_spatial(jnp.ones((1, 3, 1)), [(1, 1)], "same"),
        lambda: Conv(2, padding="same").init(key, jnp.ones((1, 3, 1))),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
