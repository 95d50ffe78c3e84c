"""The convolutional LSTM against loops, and what it owes to padding and to shifts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import taps
from zoo.layers import Sequence, convolve
from zoo.models import ConvLSTM
from zoo.models.conv_lstm import _convolve_in_loop

LENGTHS = np.array([4, 1, 2], np.int32)
READOUTS = ("last", "steps", "frames")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture
def net(key, randomise):
    """`net(**options)` → model in float64 and random variables."""

    def build(**options):
        model = ConvLSTM(**{"num_classes": 3, "widths": (3, 2), "param_dtype": jnp.float64, **options})
        return model, randomise(1, jax.eval_shape(model.init, key, jnp.zeros((1, 2, 5, 4, 2))))

    return build


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def literal(params, x, layers, padding, literal_conv):
    """States of the last layer at all steps (T, H, W, C) of one video, step by step."""
    for layer in range(1, layers + 1):
        name = f"layer{layer}"
        kernel, recurrent, bias = params[f"{name}_input"]["kernel"], params[f"{name}_recurrent"], params[f"{name}_bias"]
        width = recurrent.shape[2]
        h = c = np.zeros((1, *x.shape[1:-1], width))
        states = []
        for frame in x:
            products = literal_conv(frame[None], kernel, bias, padding=padding)
            products = products + literal_conv(h, recurrent, padding=padding)
            i, f, g, o = (products[..., k * width : (k + 1) * width] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            states.append(h[0])
        x = np.stack(states)
    return x


@pytest.mark.parametrize(("kernel", "padding"), [(3, "zero"), (2, "zero"), (3, "circular")])
def test_it_is_its_equations(kernel, padding, net, x64, close, literal_conv):
    model, variables = net(kernel=kernel, padding=padding)
    x = normal(2, 3, 4, 5, 4, 2)
    params = jax.tree.map(np.asarray, variables["params"])
    head = lambda features: features @ params["head"]["kernel"] + params["head"]["bias"]
    _, read = taps.read(model, variables, Sequence(x, LENGTHS), ["layer2"])
    last = model.apply(variables, Sequence(x, LENGTHS))
    steps = model.clone(readout="steps").apply(variables, Sequence(x, LENGTHS))
    for example, length in enumerate(LENGTHS):
        expected = literal(params, np.asarray(x[example, :length]), 2, padding, literal_conv)
        close(read["layer2"][example, :length], expected, 1e-13)
        features = np.concatenate([expected.mean((1, 2)), expected.max((1, 2))], axis=-1)
        close(steps[example, :length], head(features), 1e-13)
        close(last[example], head(features[-1]), 1e-13)


@pytest.mark.parametrize(("kernel", "padding"), [(3, "zero"), (2, "zero"), (3, "circular")])
def test_derivatives_of_the_convolution_in_the_loop_are_those_of_any(kernel, padding, x64, close):
    args = normal(1, 2, 5, 4, 3), normal(2, kernel, kernel, 3, 2)
    directions = normal(3, 2, 5, 4, 3), normal(4, kernel, kernel, 3, 2)

    def every(convolution):
        loss = lambda x, kernel: jnp.sum(jnp.sin(convolution(x, kernel)))
        gradient, product = jax.jvp(jax.grad(loss, (0, 1)), args, directions)
        return jax.jvp(convolution, args, directions), gradient, product

    got = jax.jit(every, static_argnums=0)(functools.partial(_convolve_in_loop, padding))
    # Rounding of float64 in sums of some twenty terms.
    close(got, jax.jit(every, static_argnums=0)(functools.partial(convolve, padding=padding)), 1e-12)


@pytest.mark.parametrize("readout", READOUTS)
def test_padding_is_never_seen(readout, net, x64, close):
    model, variables = net(widths=(3,))
    variables = {"params": {**variables["params"], "head": head_of(model, readout)}}
    model = model.clone(readout=readout)
    run = jax.jit(model.apply)
    x = normal(2, 3, 4, 5, 4, 2)
    expected = run(variables, Sequence(x, LENGTHS))
    assert expected.shape == {"last": (3, 3), "steps": (3, 4, 3), "frames": (3, 4, 5, 4, 3)}[readout]
    beyond = np.arange(4)[None, :, None, None, None] >= LENGTHS[:, None, None, None, None]

    @jax.jit
    @jax.grad
    def gradient(params, sequence):
        return jnp.sum(model.apply({"params": params}, sequence)[:, 0] ** 2)

    with jax.debug_nans(False):
        quiet, loud = (Sequence(jnp.where(beyond, other, x), LENGTHS) for other in (0, np.nan))
        assert np.array_equal(run(variables, loud), expected)
        slopes = [gradient(variables["params"], sequence) for sequence in (loud, quiet)]
    jax.tree.map(np.testing.assert_array_equal, *slopes)
    longer = run(variables, Sequence(jnp.concatenate([x, normal(3, 3, 2, 5, 4, 2)], axis=1), LENGTHS))
    close(longer if readout == "last" else longer[:, :4], expected, 1e-13)
    for example, length in enumerate(LENGTHS):
        single = run(variables, x[example : example + 1, :length])
        together = expected[example : example + 1]
        close(together if readout == "last" else together[:, :length], single, 1e-13)


def head_of(model, readout):
    features = model.widths[-1] * (1 if readout == "frames" else 2)
    return {"kernel": normal(4, features, 3), "bias": normal(5, 3)}


def test_shifts_of_all_frames_move_the_outputs_along_or_not_at_all(net, x64, close):
    """With circular padding; time is no such axis."""
    x = normal(2, 2, 3, 5, 4, 2)
    shift = lambda x: jnp.roll(x, (2, 1), (2, 3))
    for padding in ("circular", "zero"):
        model, variables = net(padding=padding)
        last = jax.jit(model.apply)
        frames = jax.jit(model.clone(readout="frames").apply)
        maps = {"params": {**variables["params"], "head": head_of(model, "frames")}}
        moved, expected = frames(maps, shift(x)), shift(frames(maps, x))
        if padding == "circular":
            close(moved, expected, 1e-13)
            close(last(variables, shift(x)), last(variables, x), 1e-13)
        else:
            assert not np.allclose(moved, expected, rtol=1e-3)
    assert not np.allclose(frames(maps, jnp.roll(x, 1, 1)), jnp.roll(frames(maps, x), 1, 1), rtol=1e-3)


def test_a_single_pixel_is_an_lstm_of_its_own(net, x64):
    """There is no stride: of one pixel, or of any number, the sizes stay."""
    model, variables = net(readout="frames")
    for size in ((1, 1), (1, 7)):
        outputs, read = taps.read(model, variables, normal(2, 1, 3, *size, 2), ["layer1", "layer2"])
        assert outputs.shape == (1, 3, *size, 3)
        assert [read[name].shape for name in ("layer1", "layer2")] == [(1, 3, *size, 3), (1, 3, *size, 2)]


def test_it_begins_by_keeping_its_state(key):
    params = jax.jit(ConvLSTM(num_classes=2, widths=(4,)).init)(key, jnp.zeros((1, 2, 5, 5, 1)))["params"]
    assert params["layer1_bias"].reshape(4, 4).tolist() == [[0] * 4, [1] * 4, [0] * 4, [0] * 4]
    columns = np.asarray(params["layer1_recurrent"]).reshape(-1, 16)
    assert np.allclose(columns.T @ columns, np.eye(16), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"widths": ()}, ["widths ()", "one layer or more"]),
        ({"widths": (3, 0)}, ["widths (3, 0)", "at least 1"]),
        ({"kernel": 0}, ["kernel 0", "at least 1"]),
        ({"readout": "mean"}, ["readout must be 'last', 'steps' or 'frames', got 'mean'"]),
        ({"padding": "same"}, ["padding must be 'zero' or 'circular', got 'same'"]),
        ({"in_channels": 3}, ["in_channels=3", "2 channels"]),
    ],
)
def test_what_cannot_be_meant_is_refused(options, parts, key):
    model = ConvLSTM(**{"num_classes": 2, **options})
    with pytest.raises(ValueError) as caught:
        model.init(key, jnp.zeros((1, 3, 5, 4, 2)))
    assert [part for part in parts if part not in str(caught.value)] == []
