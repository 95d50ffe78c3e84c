"""What the window network sees, and that it sees nothing else."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import taps
from zoo.layers import Sequence
from zoo.models import WindowNet
from zoo.models.window import past

LENGTHS = np.array([6, 1, 4], np.int32)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture
def net(key, randomise):
    """`net(**options)` → model in float64 and random variables."""

    def build(**options):
        model = WindowNet(**{"num_classes": 3, "window": 3, "widths": (5, 4), "param_dtype": jnp.float64, **options})
        example = jnp.zeros((1, 2), jnp.int32) if model.symbols else jnp.zeros((1, 2, 2))
        return model, randomise(1, jax.eval_shape(model.init, key, example))

    return build


def literal(params, x, window):
    """Outputs of all steps (T, K) of one sequence (T, C): the last `window` steps, the oldest first, and layers."""
    outputs = []
    for t in range(len(x)):
        seen = [x[s] if s >= 0 else np.zeros_like(x[0]) for s in range(t - window + 1, t + 1)]
        h = np.concatenate(seen)
        for i in itertools.count(1):
            if f"dense{i}" not in params:
                break
            h = np.maximum(h @ params[f"dense{i}"]["kernel"] + params[f"dense{i}"]["bias"], 0)
        outputs.append(h @ params["head"]["kernel"] + params["head"]["bias"])
    return np.stack(outputs)


@pytest.mark.parametrize(("window", "widths"), [(1, (5, 4)), (3, (5, 4)), (9, (5,)), (3, ())])
def test_it_is_dense_layers_on_the_last_steps(window, widths, net, x64, close):
    model, variables = net(window=window, widths=widths)
    x = normal(2, 3, 6, 2)
    params = jax.tree.map(np.asarray, variables["params"])
    last = model.apply(variables, Sequence(x, LENGTHS))
    steps = model.clone(readout="steps").apply(variables, Sequence(x, LENGTHS))
    for example, length in enumerate(LENGTHS):
        expected = literal(params, np.asarray(x[example, :length]), window)
        close(steps[example, :length], expected, 1e-13)
        close(last[example], expected[-1], 1e-13)
    # Of an array all steps count.
    close(model.apply(variables, x[:1]), last[:1], 1e-13)


def test_before_the_start_there_is_nothing():
    x = jnp.arange(1.0, 5).reshape(1, 4, 1)
    assert past(x, 3)[0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert np.array_equal(past(x, 1), x)
    assert past(x, 6).shape == (1, 4, 6)


@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_step_sees_its_window_and_nothing_else(window, net, x64):
    model, variables = net(window=window, readout="steps", widths=())
    slopes = jax.jacobian(lambda x: model.apply(variables, x)[0])(normal(2, 1, 6, 2))[:, :, 0]
    seen = np.any(np.asarray(slopes) != 0, axis=(1, 3))
    expected = [[t - window < s <= t for s in range(6)] for t in range(6)]
    assert seen.tolist() == expected


def test_padding_is_never_seen(net, x64, close):
    model, variables = net()
    x = normal(2, 3, 6, 2)
    expected = model.apply(variables, Sequence(x, LENGTHS))
    beyond = np.arange(6)[None, :, None] >= LENGTHS[:, None, None]
    with jax.debug_nans(False):
        loud = model.apply(variables, Sequence(jnp.where(beyond, np.nan, x), LENGTHS))
    assert np.array_equal(loud, expected)
    longer = jnp.concatenate([x, normal(3, 3, 4, 2)], axis=1)
    close(jax.jit(model.apply)(variables, Sequence(longer, LENGTHS)), expected, 1e-13)
    for example, length in enumerate(LENGTHS):
        close(model.apply(variables, x[example : example + 1, :length]), expected[example : example + 1], 1e-13)


def test_symbols_are_rows_of_a_table(net, x64):
    model, variables = net(symbols=6, embedding=2)
    symbols = np.random.default_rng(0).integers(0, 6, (3, 6))
    table = variables["params"]["embed"]["embedding"]
    expected = model.clone(symbols=0).apply(variables, Sequence(table[symbols], LENGTHS))
    # Before the start are zeros, and no symbol.
    assert np.array_equal(model.apply(variables, Sequence(symbols, LENGTHS)), expected)


def test_layers_have_their_names(net, x64):
    model, variables = net()
    x = normal(2, 2, 6, 2)
    outputs, read = taps.read(model, variables, x, ["dense1", "hidden1", "hidden2", "head"])
    assert [read[name].shape for name in ("dense1", "hidden1", "hidden2")] == [(2, 5), (2, 5), (2, 4)]
    assert np.array_equal(read["hidden1"], np.maximum(read["dense1"], 0))
    assert np.array_equal(read["head"], outputs)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"window": 0}, ["window 0", "at least 1"]),
        ({"widths": (4, 0)}, ["(4, 0)", "at least 1"]),
        ({"symbols": -1}, ["symbols -1 at least 0"]),
        ({"readout": "mean"}, ["readout must be 'last' or 'steps', got 'mean'"]),
        ({"in_channels": 3}, ["in_channels=3", "2 channels"]),
    ],
)
def test_what_cannot_be_meant_is_refused(options, parts, key):
    model = WindowNet(**{"num_classes": 2, **options})
    with pytest.raises(ValueError) as caught:
        model.init(key, jnp.zeros((2, 3, 2)))
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize("bad", [-1, 6])
def test_a_symbol_that_is_none_is_refused(bad, net):
    model, variables = net(symbols=6, embedding=2, param_dtype=jnp.float32)
    with pytest.raises(ValueError, match=rf"in 0 … 5, the vocabulary; got {bad}"):
        model.apply(variables, jnp.full((2, 3), bad))
