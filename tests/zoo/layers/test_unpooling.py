import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import (
    Conv,
    ConvTranspose,
    Decoder,
    avg_pool,
    conv_transpose,
    max_pool,
    max_pool_with_switches,
    max_unpool,
    upsample_linear,
    upsample_nearest,
)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def literal_pool(x, window, stride):
    """Maxima and the first place of each in its window, loop by loop."""
    sizes = [(n - window) // stride + 1 for n in x.shape[1:-1]]
    values = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    switches = np.zeros(values.shape, np.int32)
    for b, c, *place in itertools.product(range(x.shape[0]), range(x.shape[-1]), *map(range, sizes)):
        corner = tuple(slice(p * stride, p * stride + window) for p in place)
        pixels = x[(b, *corner, c)].ravel()
        values[(b, *place, c)], switches[(b, *place, c)] = pixels.max(), pixels.argmax()  # argmax: the first
    return values, switches


def literal_unpool(values, switches, window, stride, size):
    x = np.zeros((values.shape[0], *size, values.shape[-1]), values.dtype)
    written = np.zeros(x.shape, bool)
    for index in np.ndindex(values.shape):
        b, *place, c = index
        offset = np.unravel_index(switches[index], (window,) * len(place))
        pixel = (b, *(p * stride + o for p, o in zip(place, offset, strict=True)), c)
        if not written[pixel]:
            x[pixel], written[pixel] = values[index], True
    return x


CASES = [((8,), 2, 2), ((9,), 3, 3), ((7, 6), 2, 2), ((7, 8), 3, 2), ((8, 7), 2, 3), ((6, 6), 3, 1), ((4, 5, 4), 2, 2)]


@pytest.mark.parametrize(("sizes", "window", "stride"), CASES)
def test_switches_equal_the_loop_with_and_without_ties(sizes, window, stride):
    pool = jax.jit(functools.partial(max_pool_with_switches, window=window, stride=stride))
    for x in (draw(2, *sizes, 2), np.round(draw(2, *sizes, 2)), np.zeros((2, *sizes, 2))):
        x = x.astype(np.float32)
        values, switches = pool(x)
        expected = literal_pool(x, window, stride)
        assert np.array_equal(values, expected[0])
        assert np.array_equal(switches, expected[1])
        assert switches.dtype == jnp.int32
        assert np.array_equal(values, max_pool(jnp.asarray(x), window=window, stride=stride))


@pytest.mark.parametrize(("sizes", "window", "stride"), CASES)
def test_unpooling_equals_the_loop(sizes, window, stride):
    pooled = [(n - window) // stride + 1 for n in sizes]
    values = draw(2, *pooled, 2).astype(np.float32)
    switches = np.random.default_rng(1).integers(0, window ** len(sizes), values.shape)
    unpool = jax.jit(functools.partial(max_unpool, window=window, stride=stride, size=sizes))
    assert np.array_equal(unpool(values, switches), literal_unpool(values, switches, window, stride, sizes))


def test_unpooling_by_hand():
    x = jnp.array([[1.0, 5, 2, 2], [3, 4, 2, 2]])[None, ..., None]
    values, switches = max_pool_with_switches(x)
    assert values.ravel().tolist() == [5, 2]
    assert switches.ravel().tolist() == [1, 0]  # of four equal pixels the first
    assert max_unpool(values, switches)[0, ..., 0].tolist() == [[0, 5, 2, 0], [0, 0, 0, 0]]


@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    window=st.integers(1, 3),
    rest=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_unpooling_is_a_right_inverse_of_pooling_for_what_is_not_negative(sizes, window, rest, seed):
    random = np.random.default_rng(seed)
    values = jnp.asarray(np.abs(random.normal(size=(2, *sizes, 2))), jnp.float32)
    switches = jnp.asarray(random.integers(0, window ** len(sizes), values.shape))
    size = tuple(window * n + min(rest, window - 1) for n in sizes)
    pool = jax.jit(functools.partial(max_pool_with_switches, window=window))
    unpool = jax.jit(functools.partial(max_unpool, window=window, size=size))
    x = unpool(values, switches)
    assert x.shape[1:-1] == size
    again, places = pool(x)
    assert np.array_equal(again, values)
    assert np.array_equal(np.where(values > 0, places, 0), np.where(values > 0, switches, 0))
    # And pooling, then unpooling, keeps the winners of an image and nothing else.
    image = jnp.asarray(random.normal(size=x.shape), jnp.float32)
    kept, image = np.asarray(unpool(*pool(image))), np.asarray(image)
    assert np.array_equal(kept[kept != 0], image[kept != 0])
    assert np.count_nonzero(kept) == values.size


def test_the_gradient_goes_to_the_winner_alone():
    x = jnp.array([[1.0, 1], [0, 1]])[None, ..., None]
    gradient = jax.grad(lambda x: jnp.sum(max_pool_with_switches(x)[0]))(x)
    assert gradient[0, ..., 0].tolist() == [[1, 0], [0, 0]]
    values, switches = jnp.array([[[[3.0]]]]), jnp.array([[[[2]]]])
    weights = jnp.array([[1.0, 2], [3, 4]])[None, ..., None]
    gradient = jax.grad(lambda values: jnp.sum(max_unpool(values, switches) * weights))(values)
    assert gradient.item() == 3


@pytest.mark.parametrize("window", [2, 3])
def test_gradient_of_pooling_is_unpooling_of_the_gradient(window):
    x = jnp.asarray(draw(2, 2 * window, 3 * window, 2), jnp.float32)
    values, switches = max_pool_with_switches(x, window=window)
    cotangent = jnp.asarray(draw(*values.shape, seed=1), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool_with_switches(x, window=window)[0] * cotangent)))(x)
    assert np.array_equal(gradient, max_unpool(cotangent, switches, window=window))


def test_a_nan_stays_visible():
    with jax.debug_nans(False):
        for x in ([np.nan, 1, 2, 3], [1, np.nan, 3, 2]):
            assert np.isnan(max_pool_with_switches(jnp.array(x)[None, :, None], window=4)[0]).all()


def test_unpooling_to_a_size_that_does_not_pool_there_is_refused():
    values, switches = jnp.ones((1, 2, 3, 1)), jnp.zeros((1, 2, 3, 1), jnp.int32)
    with pytest.raises(ValueError, match=r"\(6, 6\) does not pool to \(2, 3\) with a window of 2 and a stride of 2.*"):
        max_unpool(values, switches, size=(6, 6))
    with pytest.raises(ValueError, match=r"one shape, got \(1, 2, 3, 1\) and \(1, 2, 3\)"):
        max_unpool(values, switches[..., 0])
    with pytest.raises(ValueError, match=r"window of 3 does not fit into an image of size \(2, 3\)"):
        max_pool_with_switches(values, window=3)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(4,), (3, 2), (2, 3, 2)])
def test_nearest_repeats_pixels_and_is_the_adjoint_of_a_mean(sizes, factor, x64, close):
    x = jnp.asarray(draw(2, *sizes, 2))
    expected = np.asarray(x)
    for axis in range(1, x.ndim - 1):
        expected = np.repeat(expected, factor, axis)
    assert np.array_equal(upsample_nearest(x, factor), expected)
    y = jnp.asarray(draw(*expected.shape, seed=1))
    mean = avg_pool(y, window=factor) * factor ** len(sizes)
    close(jnp.vdot(upsample_nearest(x, factor), y), jnp.vdot(x, mean), 1e-13)


def test_linear_by_hand():
    x = jnp.array([0.0, 4, 8])[None, :, None]
    assert upsample_linear(x)[0, :, 0].tolist() == [0, 1, 3, 5, 7, 8]
    assert upsample_linear(x, padding="circular")[0, :, 0].tolist() == [2, 1, 3, 5, 7, 6]
    assert np.allclose(upsample_linear(x, 3)[0, :, 0], [0, 0, 4 / 3, 8 / 3, 4, 16 / 3, 20 / 3, 8, 8])


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("sizes", [(4,), (3, 2), (2, 3, 2)])
def test_linear_equals_interpolation_with_clamped_borders(sizes, factor, x64, close):
    x = jnp.asarray(draw(2, *sizes, 2))
    shape = (2, *(factor * n for n in sizes), 2)
    expected = np.asarray(x)
    for axis, size in enumerate(sizes, start=1):
        at = (np.arange(factor * size) + 0.5) / factor - 0.5
        expected = np.apply_along_axis(lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, expected)
    close(jax.jit(upsample_linear, static_argnums=1)(x, factor), jnp.asarray(expected), 1e-14)
    close(jax.image.resize(x, shape, "linear"), jnp.asarray(expected), 1e-12)


@settings(max_examples=8, deadline=None)
@given(steps=st.tuples(st.integers(-3, 3), st.integers(-3, 3)), factor=st.integers(1, 3))
def test_up_sampling_moves_with_its_input(steps, factor):
    x = jnp.asarray(draw(1, 4, 5, 1), jnp.float32)
    far = tuple(factor * s for s in steps)
    for up in (upsample_nearest, functools.partial(upsample_linear, padding="circular")):
        moved = up(jnp.roll(x, steps, (1, 2)), factor)
        assert np.array_equal(moved, jnp.roll(up(x, factor), far, (1, 2)))


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [
        ((7,), 3, 1),
        ((7,), 3, 2),
        ((8,), 3, 2),
        ((8,), 4, 2),
        ((6,), 2, 2),  # side by side
        ((5,), 2, 2),
        ((6,), 3, 3),  # side by side, the first window starting outside
        ((8,), 4, 4),
        ((6,), 2, 3),
        ((4, 6), 2, 2),
        ((6, 3), 3, 3),
        ((5, 4), 5, 2),
        ((2, 4, 4), 2, 2),
        ((3, 4, 2), 3, 2),
    ],
)
def test_transposed_convolution_is_the_adjoint_of_ours(size, kernel, stride, padding, x64):
    if padding == "circular":
        size = tuple(-(-n // stride) * stride for n in size)
    weights, x = jnp.asarray(draw(*(kernel,) * len(size), 2, 3)), jnp.asarray(draw(2, *size, 2, seed=1))
    conv = Conv(3, kernel=kernel, stride=stride, padding=padding, use_bias=False)
    y = conv.apply({"params": {"kernel": weights}}, x)
    other = jnp.asarray(draw(*y.shape, seed=2))
    back = jax.jit(functools.partial(conv_transpose, stride=stride, padding=padding, size=size))(other, weights)
    assert back.shape == x.shape
    # The two sums have a few hundred terms of either sign: rounding beside the largest of them, not beside the sum.
    scale = float(jnp.linalg.norm(y.ravel()) * jnp.linalg.norm(other.ravel()))
    assert abs(float(jnp.vdot(y, other) - jnp.vdot(x, back))) <= 1e-14 * scale


def literal_transpose(y, kernel, stride, size):
    """Each pixel of `y` adds its weighted copy of the kernel to the image: zero padding."""
    out = np.zeros((y.shape[0], *size, kernel.shape[-2]))
    side, ndim = kernel.shape[0], len(size)
    for place in itertools.product(*map(range, y.shape[1:-1])):
        for offset in itertools.product(range(side), repeat=ndim):
            pixel = tuple(p * stride + o - (side - 1) // 2 for p, o in zip(place, offset, strict=True))
            if all(0 <= i < n for i, n in zip(pixel, size, strict=True)):
                out[(slice(None), *pixel)] += y[(slice(None), *place)] @ kernel[offset].T
    return out


@pytest.mark.parametrize(("sizes", "kernel", "stride"), [((3,), 3, 2), ((3, 2), 2, 2), ((2, 3), 4, 2), ((2, 2), 3, 3)])
def test_transposed_convolution_adds_copies_of_its_kernel(sizes, kernel, stride, x64, close):
    layer = ConvTranspose(2, kernel=kernel, stride=stride)
    weights, bias, y = draw(*(kernel,) * len(sizes), 2, 3), draw(2, seed=1), draw(2, *sizes, 3, seed=2)
    expected = literal_transpose(y, weights, stride, [stride * n for n in sizes]) + bias
    outputs = layer.apply({"params": {"kernel": jnp.asarray(weights), "bias": jnp.asarray(bias)}}, jnp.asarray(y))
    close(outputs, jnp.asarray(expected), 1e-13)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 3), (3, 2)])
def test_gradients_and_vmap_of_the_transposed_convolution(kernel, stride, x64, close):
    weights, y = jnp.asarray(draw(kernel, kernel, 2, 3)), jnp.asarray(draw(2, 3, 3, 3, seed=1))
    cotangent = jnp.asarray(draw(2, 3 * stride, 3 * stride, 2, seed=2))

    def score(y, weights):
        return jnp.vdot(conv_transpose(y, weights, stride=stride), cotangent)

    along_y, along_weights = jax.jit(jax.grad(score, argnums=(0, 1)))(y, weights)
    # Linear in each argument: the gradient with respect to y is the convolution of the cotangent …
    conv = Conv(3, kernel=kernel, stride=stride, use_bias=False)
    close(along_y, conv.apply({"params": {"kernel": weights}}, cotangent), 1e-13)
    # … and the score is its product with either argument.
    close(jnp.vdot(along_weights, weights), score(y, weights), 1e-12)
    batch = conv_transpose(y, weights, stride=stride)
    singles = jax.vmap(lambda one: conv_transpose(one[None], weights, stride=stride)[0])(y)
    close(singles, batch, 1e-13)


def test_transposed_convolution_with_circular_padding_moves_with_its_input():
    weights, y = jnp.asarray(draw(3, 3, 2, 2), jnp.float32), jnp.asarray(draw(1, 4, 4, 2), jnp.float32)
    for stride in (2, 3):
        up = functools.partial(conv_transpose, kernel=weights, stride=stride, padding="circular")
        moved = up(jnp.roll(y, (1, -2), (1, 2)))
        assert np.allclose(moved, jnp.roll(up(y), (stride, -2 * stride), (1, 2)), atol=1e-5)


def test_parameters_dtypes_and_spread_of_the_transposed_convolution(key):
    layer = ConvTranspose(64, kernel=2, stride=2)
    shapes = jax.eval_shape(layer.init, key, jax.ShapeDtypeStruct((1, 4, 4, 32), jnp.float32))
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == {"params": {"kernel": (2, 2, 64, 32), "bias": (64,)}}
    kernel = layer.init(key, jnp.ones((1, 1, 1, 32)))["params"]["kernel"]
    # Side by side, an output pixel sums 32 terms. 8,192 draws: the spread is known to 0.8 %.
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / 32), rel=0.04)
    half = ConvTranspose(2, kernel=3, dtype=jnp.bfloat16, use_bias=False)
    outputs, variables = half.init_with_output(key, jnp.ones((1, 4, 1)))
    assert outputs.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert set(variables["params"]) == {"kernel"}


def test_shapes_that_no_convolution_gives_are_refused():
    y, weights = jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 1, 2))
    with pytest.raises(ValueError, match=r"stride 2 does not make \(3, 3\) out of size \(8, 8\)"):
        conv_transpose(y, weights, stride=2, size=(8, 8))
    with pytest.raises(ValueError, match=r"with stride 2 takes sizes that it divides: \(6, 6\), got \(5, 5\)"):
        conv_transpose(y, weights, stride=2, size=(5, 5), padding="circular")
    with pytest.raises(ValueError, match=r"shape \(1, 3, 3, 2\) needs a kernel .*got \(3, 3, 2, 1\)"):
        conv_transpose(y, weights.transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match="padding must be 'zero' or 'circular', got 'same'"):
        conv_transpose(y, weights, padding="same")
    for up in (upsample_nearest, upsample_linear):
        with pytest.raises(ValueError, match="factor of an up-sampling must be at least 1, got 0"):
            up(y, 0)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("kind", "extra"), [("unpool", 0), ("nearest", 0), ("linear", 0), ("transposed", None)])
def test_decoders_enlarge_and_then_convolve(kind, extra, ndim, key, randomise, x64, close):
    x = jnp.asarray(draw(2, *(2,) * ndim, 3))
    switches = jnp.asarray(np.random.default_rng(1).integers(0, 2**ndim, x.shape))
    arguments = (x, switches) if kind == "unpool" else (x,)
    layer = Decoder(5, kind=kind, param_dtype=jnp.float64)
    variables = randomise(2, jax.eval_shape(layer.init, key, *arguments))
    outputs = jax.jit(layer.apply)(variables, *arguments)
    assert outputs.shape == (2, *(4,) * ndim, 5)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables))
    extra = 2**ndim * 9 + 3 if extra is None else extra
    assert count == 3**ndim * 3 * 5 + 5 + extra
    up = {
        "unpool": lambda: max_unpool(x, switches),
        "nearest": lambda: upsample_nearest(x),
        "linear": lambda: upsample_linear(x),
        "transposed": lambda: ConvTranspose(3).apply({"params": variables["params"]["up"]}, x),
    }[kind]()
    close(outputs, Conv(5).apply({"params": variables["params"]["conv"]}, up), 1e-13)


@pytest.mark.parametrize("kind", ["unpool", "nearest", "linear", "transposed"])
def test_decoders_with_circular_padding_move_with_their_input(kind, key, randomise):
    layer = Decoder(2, kind=kind, padding="circular")

    def arguments(image):
        x, switches = max_pool_with_switches(image)
        return (x, switches) if kind == "unpool" else (x,)

    image = jnp.asarray(draw(1, 8, 8, 2), jnp.float32)
    variables = randomise(1, jax.eval_shape(layer.init, key, *arguments(image)))
    run = jax.jit(lambda image: layer.apply(variables, *arguments(image)))
    moved = run(jnp.roll(image, (2, -4), (1, 2)))
    assert np.allclose(moved, jnp.roll(run(image), (2, -4), (1, 2)), atol=1e-5)


def test_decoders_refuse_what_they_cannot_mean(key):
    x, switches = jnp.ones((1, 4, 4, 1)), jnp.zeros((1, 4, 4, 1), jnp.int32)
    with pytest.raises(ValueError, match=r"kind must be one of .*'nearest', 'linear', 'transposed'.*got 'cubic'"):
        Decoder(2, kind="cubic").init(key, x)
    with pytest.raises(ValueError, match=r"kind='unpool'\) got no switches: they come from max_pool_with_switches"):
        Decoder(2, kind="unpool").init(key, x)
    with pytest.raises(ValueError, match=r"kind='nearest'\) got switches: .*kind='unpool' alone takes them"):
        Decoder(2).init(key, x, switches)
