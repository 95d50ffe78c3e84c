import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import Sequence, as_sequence, last_valid, masked_mean, reverse_valid, valid_steps

LENGTHS = np.array([5, 1, 3], np.int32)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def nan_allowed():
    """Here NaN is put in, to see that it does not come out."""
    with jax.debug_nans(False):
        yield


def refusal(error, *args, **kwargs):
    with pytest.raises(error) as caught:
        as_sequence("Net", *args, **kwargs)
    return str(caught.value)


def test_valid_steps_by_hand():
    assert valid_steps(np.array([0, 1, 3]), 3).tolist() == [[False] * 3, [True, False, False], [True] * 3]
    valid = Sequence(jnp.zeros((3, 5, 2)), LENGTHS).valid
    assert np.array_equal(valid, [[True] * 5, [True] + [False] * 4, [True] * 3 + [False] * 2])


@pytest.mark.parametrize(("ndim", "shape"), [(3, (3, 5, 2)), (5, (3, 5, 4, 3, 2)), (2, (3, 5))])
def test_what_stands_beyond_is_zero_and_the_rest_as_it_was(ndim, shape, nan_allowed):
    values = normal(0, *shape) if ndim > 2 else np.arange(1, 16).reshape(shape)
    loud = np.array(values)
    for example, length in enumerate(LENGTHS):
        loud[example, length:] = np.nan if ndim > 2 else -7
    sequence = as_sequence("Net", Sequence(jnp.asarray(loud), LENGTHS), ndim=ndim, symbols=16 * (ndim == 2))
    for example, length in enumerate(LENGTHS):
        assert np.array_equal(sequence.values[example, :length], values[example, :length])
        assert not np.any(sequence.values[example, length:])
    assert np.array_equal(sequence.lengths, LENGTHS)


def test_of_an_array_all_steps_are_taken():
    values = normal(0, 3, 5, 2)
    sequence = as_sequence("Net", values)
    assert np.array_equal(sequence.values, values)
    assert sequence.lengths.tolist() == [5, 5, 5]
    assert np.all(sequence.valid)


def test_nan_beyond_the_length_reaches_no_result_and_no_gradient(nan_allowed):
    values = normal(0, 3, 5, 2)
    loud = np.where(np.asarray(valid_steps(LENGTHS, 5))[..., None], values, np.nan)

    @jax.grad
    def gradient(weights, values):
        sequence = as_sequence("Net", Sequence(values, LENGTHS))
        return jnp.sum(masked_mean(jnp.exp(sequence.values @ weights), sequence.valid))

    weights = jnp.ones((2, 4))
    assert np.array_equal(gradient(weights, jnp.asarray(loud)), gradient(weights, jnp.asarray(values)))


def test_lengths_may_be_any_whole_numbers_and_values_any_of_numpy():
    values = normal(0, 3, 5, 2)
    for lengths in ([5, 1, 3], LENGTHS.astype(np.int64), LENGTHS.astype(np.uint8), jnp.asarray(LENGTHS, jnp.uint32)):
        # Double precision is cast without a warning, which would be an error here.
        sequence = as_sequence("Net", Sequence(values.astype(np.float64), lengths))
        assert sequence.lengths.dtype == jnp.int32
        assert sequence.values.dtype == jnp.float32
        assert sequence.lengths.tolist() == LENGTHS.tolist()
    symbols = as_sequence("Net", Sequence(np.ones((3, 5), np.int64), LENGTHS), symbols=2)
    assert jnp.sum(symbols.values) == 9


def test_under_jit_lengths_are_traced():
    run = jax.jit(lambda sequence: as_sequence("Net", sequence).values)
    values = normal(0, 3, 5, 2)
    expected = as_sequence("Net", Sequence(values, LENGTHS)).values
    assert np.array_equal(run(Sequence(values, LENGTHS)), expected)


@pytest.mark.parametrize(
    ("lengths", "parts"),
    [
        ([5, 0, 3], ["lengths should be in 1 … 5", "sequence 1 has 0", "Leave out sequences without a step"]),
        ([5, 1, -2], ["lengths should be in 1 … 5", "sequence 2 has -2"]),
        ([6, 1, 3], ["lengths should be in 1 … 5", "sequence 0 has 6", "cut lengths to the array"]),
        ([5, 1], ["one length, a whole number, for each of the 3 sequences", "int32 of shape (2,)"]),
        ([[5], [1], [3]], ["for each of the 3 sequences", "shape (3, 1)"]),
        ([5.0, 1.0, 3.0], ["a whole number", "float32 of shape (3,)"]),
        ([True, True, True], ["a whole number", "bool of shape (3,)"]),
    ],
)
def test_lengths_that_cannot_be_meant_are_refused(lengths, parts):
    message = refusal(ValueError, Sequence(jnp.ones((3, 5, 2)), jnp.asarray(lengths)))
    assert [part for part in parts if part not in message] == []
    assert message.startswith("Net")


@pytest.mark.parametrize(
    ("shape", "options", "parts"),
    [
        ((3, 5), {}, ["Net takes sequences (B, T, C)", "got shape (3, 5)"]),
        ((3, 5, 2), {"symbols": 4}, ["Net takes sequences (B, T)", "got shape (3, 5, 2)"]),
        ((3, 5, 2), {"ndim": 5}, ["Net takes sequences (B, T, H, W, C)", "got shape (3, 5, 2)"]),
        ((3, 5, 2), {"channels": 4}, ["in_channels=4", "2 channels", "(3, 5, 2)"]),
        ((3, 0, 2), {}, ["at least one step", "(3, 0, 2)"]),
    ],
)
def test_values_that_cannot_be_meant_are_refused(shape, options, parts):
    for inputs in (jnp.ones(shape), Sequence(jnp.ones(shape), LENGTHS)):
        message = refusal(ValueError, inputs, **options)
        assert [part for part in parts if part not in message] == []


def test_symbols_are_whole_numbers():
    assert "symbols as whole numbers (B, T); got float32" in refusal(TypeError, jnp.ones((3, 5)), symbols=4)
    for bad in (-1, 4):
        message = refusal(ValueError, jnp.full((3, 5), bad), symbols=4)
        assert f"symbols should be in 0 … 3, the vocabulary; got {bad}" in message
    # Without a sequence there is no symbol either.
    assert as_sequence("Net", jnp.zeros((0, 5), jnp.int32), symbols=4).values.shape == (0, 5)


def test_last_and_mean_of_the_valid_steps(nan_allowed):
    x = normal(0, 3, 5, 2)
    last, mean = last_valid(x, LENGTHS), masked_mean(x, valid_steps(LENGTHS, 5))
    for example, length in enumerate(LENGTHS):
        assert np.array_equal(last[example], x[example, length - 1])
        assert np.allclose(mean[example], x[example, :length].mean(0), rtol=1e-6)
    frames = normal(0, 3, 5, 4, 3, 2)
    assert np.array_equal(last_valid(frames, LENGTHS)[2], frames[2, 2])
    # Of nothing the mean is zero, and NaN beyond the length does not enter.
    none = masked_mean(jnp.where(valid_steps(LENGTHS, 5)[..., None], x, jnp.nan), jnp.zeros((3, 5), bool))
    assert not np.any(none)


def test_the_mean_keeps_its_dtype_and_its_gradient():
    x = jnp.asarray(normal(0, 3, 5, 2), jnp.bfloat16)
    assert masked_mean(x, valid_steps(LENGTHS, 5)).dtype == jnp.bfloat16
    gradient = jax.grad(lambda x: jnp.sum(masked_mean(x, valid_steps(LENGTHS, 5))))(x.astype(jnp.float32))
    expected = np.where(np.arange(5)[None] < LENGTHS[:, None], 1 / LENGTHS[:, None], 0)
    assert np.allclose(gradient, expected[..., None], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=3), st.integers(0, 2))
def test_time_turned_round_twice_is_time(lengths, more_axes):
    x = np.arange(3 * 6 * 2**more_axes).reshape(3, 6, *(2,) * more_axes)
    turned = reverse_valid(jnp.asarray(x), jnp.asarray(lengths))
    for example, length in enumerate(lengths):
        assert np.array_equal(turned[example, :length], x[example, :length][::-1])
        assert np.array_equal(turned[example, length:], x[example, length:])
    assert np.array_equal(reverse_valid(turned, jnp.asarray(lengths)), x)
