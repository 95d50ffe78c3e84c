import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import footprint
from zoo.layers import (
    Conv,
    Window,
    avg_pool,
    centre,
    conv_parameters,
    jump,
    max_pool,
    output_size,
    receptive_field,
    same_pads,
    seen_pixels,
)

DECK = [Window(3, stride=2, pad=1), Window(4)]


def apply(x, layers, *, weights=1.0):
    """The stack as XLA convolutions (B, …, 1) → (B, …, 1), every kernel entry of weight `weights`."""
    ndim = x.ndim - 2
    letters = "DHW"[3 - ndim :]

    def spread(value):
        return value if isinstance(value, tuple) else (value,) * ndim

    for layer in layers:
        x = jax.lax.conv_general_dilated(
            x,
            jnp.full((*spread(layer.kernel), 1, 1), weights, x.dtype),
            window_strides=spread(layer.stride),
            padding=[pad if isinstance(pad, tuple) else (pad, pad) for pad in spread(layer.pad)],
            rhs_dilation=spread(layer.dilation),
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        )
    return x


def shape_of(sizes, layers):
    """Spatial sizes of the stack's output by JAX's own shape rules."""
    return jax.eval_shape(lambda x: apply(x, layers), jax.ShapeDtypeStruct((1, *sizes, 1), jnp.float32)).shape[1:-1]


def windows(ndim):
    def per_axis(low, high):
        number = st.integers(low, high)
        return number | st.tuples(*(number,) * ndim)

    pair = st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2))
    pad = st.integers(0, 2) | st.tuples(*(pair,) * ndim)
    return st.builds(Window, kernel=per_axis(1, 4), stride=per_axis(1, 3), pad=pad, dilation=per_axis(1, 2))


def stacks(ndim):
    return st.lists(windows(ndim), max_size=3)


def test_the_example_of_the_deck():
    assert output_size(256, DECK) == 125
    assert output_size((256, 256), DECK) == (125, 125)
    assert output_size(256, DECK[:1]) == 128
    assert receptive_field(DECK) == 3 + 3 * 2
    assert jump(DECK) == 2
    assert shape_of((256, 256), DECK) == (125, 125)


def test_the_example_of_the_deck_with_our_own_layers(key):
    def network(x):
        return max_pool(Conv(1, kernel=3, stride=2).init_with_output(key, x)[0], window=4, stride=1)

    assert jax.eval_shape(network, jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)).shape == (1, 125, 125, 1)


@pytest.mark.parametrize(
    ("layers", "field", "step", "middle"),
    [
        ([], 1, 1, 0),
        ([Window(3, pad=1)] * 2, 5, 1, 0),  # two 3×3 see what a 5×5 sees
        ([Window(3, pad=1)] * 3, 7, 1, 0),
        ([Window(2, stride=2)] * 3, 8, 8, 3.5),
        ([Window(3, dilation=2, pad=2)], 5, 1, 0),
        ([Window(3, pad=1), Window(2, stride=2), Window(3, pad=1)], 8, 2, 0.5),
        ([Window(7, stride=2, pad=3), Window(3, stride=2, pad=1)], 11, 4, 0),  # stem of a ResNet
        ([Window((3, 1), stride=(2, 1))], (3, 1), (2, 1), (1, 0)),
    ],
)
def test_fields_jumps_and_centres_by_hand(layers, field, step, middle):
    assert receptive_field(layers) == field
    assert jump(layers) == step
    assert centre(layers) == middle


@settings(max_examples=40, deadline=None)
@given(data=st.data(), ndim=st.integers(1, 3))
def test_sizes_are_those_of_jax(data, ndim):
    layers, sizes = data.draw(stacks(ndim)), data.draw(st.tuples(*(st.integers(1, 12),) * ndim))
    try:
        ours = output_size(sizes, layers)
    except ValueError as refusal:
        assert "does not fit" in str(refusal)
        # JAX, asked the same, gives an image without pixels at that layer.
        assert any(0 in shape_of(sizes, layers[:n]) for n in range(1, len(layers) + 1))
    else:
        assert ours == shape_of(sizes, layers)


@settings(max_examples=12, deadline=None)
@given(data=st.data(), ndim=st.integers(1, 2))
def test_seen_pixels_are_the_footprint_of_the_gradient(data, ndim):
    layers, sizes = data.draw(stacks(ndim)), data.draw(st.tuples(*(st.integers(5, 12),) * ndim))
    try:
        outputs = output_size(sizes, layers)
    except ValueError:
        return
    position = tuple(data.draw(st.integers(0, n - 1)) for n in outputs)
    mask = footprint.of_function(lambda x: apply(x, layers), (*sizes, 1), position, key=jax.random.key(0), images=1)
    expected = np.zeros(sizes, bool)
    pixels = seen_pixels(position, sizes, layers)
    expected[np.ix_(*pixels)] = True
    assert np.array_equal(mask, expected)
    # The closed forms are about images without borders: all that is seen lies in the box that they give.
    count = ndim if any(isinstance(v, tuple) for w in layers for v in (w.kernel, w.stride, w.pad, w.dilation)) else 0
    boxes = [(f(layers) if count else (f(layers),) * ndim) for f in (centre, jump, receptive_field)]
    for place, seen, middle, step, field in zip(position, pixels, *boxes, strict=True):
        assert all(abs(pixel - (middle + place * step)) <= (field - 1) / 2 for pixel in seen)


@settings(max_examples=40, deadline=None)
@given(layers=stacks(1).filter(bool), data=st.data())
def test_far_from_borders_the_box_is_full_to_its_edges(layers, data):
    layers = [layer for layer in layers if not any(isinstance(v, tuple) for v in vars(layer).values())]
    size = 400
    place = output_size(size, layers) // 2
    pixels = seen_pixels(place, size, layers)
    assert pixels[-1] - pixels[0] + 1 == receptive_field(layers)
    assert (pixels[-1] + pixels[0]) / 2 == centre(layers) + place * jump(layers)
    following = seen_pixels(place + 1, size, layers)
    assert {p + jump(layers) for p in pixels} == set(following)


@settings(max_examples=30, deadline=None)
@given(first=stacks(1), second=stacks(1), size=st.integers(30, 60))
def test_stacks_compose(first, second, size):
    def one(values):
        return values if isinstance(values, int) else values[0]

    try:
        middle = output_size(size, first)
        last = output_size(middle, second)
    except ValueError:
        return
    assert one(output_size(size, first + second)) == one(last)
    assert one(jump(first + second)) == one(jump(first)) * one(jump(second))
    # Windows of the second stack are spread by the jump of the first.
    field = one(receptive_field(first)) + (one(receptive_field(second)) - 1) * one(jump(first))
    assert one(receptive_field(first + second)) == field


def test_positions_and_borders_by_hand():
    assert seen_pixels(0, 8, [Window(3, pad=1)]) == (0, 1)
    assert seen_pixels(3, 8, [Window(3, pad=1)]) == (2, 3, 4)
    assert seen_pixels(1, 8, [Window(2, dilation=3)]) == (1, 4)
    # The third window of the second layer reaches over the end of the first, whose last pixel (6) is never used.
    assert seen_pixels(1, 7, [Window(3, stride=3), Window(3, pad=1)]) == (0, 1, 2, 3, 4, 5)
    assert seen_pixels((0, 1), (4, 4), [Window(2, stride=2)]) == ((0, 1), (2, 3))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (4, 1), (2, 2)])
def test_our_convolution_has_the_size_that_same_pads_give(kernel, stride, key):
    window = Window(kernel, stride=stride, pad=same_pads(kernel, 2))
    for size in (5, 8):
        shape = jax.eval_shape(
            lambda x: Conv(1, kernel=kernel, stride=stride).init_with_output(key, x)[0],
            jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32),
        ).shape
        assert output_size((size, size), [window]) == shape[1:-1]
        assert output_size(size, [Window(kernel, stride=stride, pad=[same_pads(kernel, 1)[0]])]) == shape[1:2]


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (4, 1), (2, 3)])
def test_our_poolings_have_their_sizes_too(pool, window, stride):
    shape = pool(jnp.ones((1, 11, 8, 1)), window=window, stride=stride).shape
    assert output_size((11, 8), [Window(window, stride=stride)]) == shape[1:-1]


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_parameters_are_those_of_the_layer(ndim, groups, use_bias, key):
    layer = Conv(6, kernel=3, groups=groups, use_bias=use_bias)
    shapes = jax.eval_shape(layer.init, key, jax.ShapeDtypeStruct((1, *(4,) * ndim, 4), jnp.float32))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert conv_parameters(Window(3, groups=groups), 4, 6, ndim=ndim, use_bias=use_bias) == count


def test_parameters_by_hand():
    assert conv_parameters(Window(11), 1, 1) == 122
    assert conv_parameters(Window((3, 5)), 2, 4, use_bias=False) == 3 * 5 * 2 * 4
    with pytest.raises(ValueError, match="groups must divide the channels: got groups=2, 3 channels in, 4 out"):
        conv_parameters(Window(3, groups=2), 3, 4)


def test_a_window_that_does_not_fit_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match="does not fit") as caught:
        output_size(9, [Window(3, stride=2, pad=1), Window(3, dilation=3, pad=(0,))])
    message = str(caught.value)
    for part in (
        "Layer 2",
        "spans 7 pixels",
        "kernel 3, dilation 3",
        "has 5",
        "the image has 9",
        "Give a larger image",
    ):
        assert part in message
    with pytest.raises(ValueError, match=r"position must lie in 0 … 3, the outputs on an axis of 8; got 4"):
        seen_pixels(4, 8, [Window(2, stride=2)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 0}, "kernel of a window must be at least 1, got 0"),
        ({"kernel": 3, "stride": (1, 0)}, r"stride of a window must be at least 1, got \(1, 0\)"),
        ({"kernel": 3, "dilation": 0}, "dilation of a window must be at least 1, got 0"),
        ({"kernel": 3, "groups": 0}, "groups of a window must be at least 1, got 0"),
        ({"kernel": 3, "pad": -1}, "pad of a window must be at least 0, got -1"),
        ({"kernel": 3, "pad": ((0, -1),)}, r"pad of a window must be at least 0, got \(\(0, -1\),\)"),
        ({"kernel": (3, 3), "stride": (1, 1, 1)}, r"the same number of axes, got \(3, 3\), \(1, 1, 1\)"),
    ],
)
def test_windows_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Window(**options)


def test_sizes_and_windows_of_other_axes_are_refused():
    with pytest.raises(ValueError, match=r"the same number of axes, got \(3, 3\), \(8, 8, 8\)"):
        output_size((8, 8, 8), [Window((3, 3))])
