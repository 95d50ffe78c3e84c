"""cuDNN's LSTM behind our call: against its reference in JAX everywhere, on an NVIDIA GPU against the scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from zoo.layers import Carry, Sequence, recur
from zoo.layers.recurrence_cudnn import check_cudnn, pack_lstm, recur_cudnn
from zoo.models import RecurrentNet

BATCH, STEPS, CHANNELS, FEATURES = 3, 6, 2, 4
LENGTHS = np.array([6, 1, 4], np.int32)
# Rounding of float32, 6e-8, through six steps that amplify.
TOLERANCE = 2e-6


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def arguments():
    width = 4 * FEATURES
    carry = Carry(normal(5, BATCH, FEATURES), normal(6, BATCH, FEATURES))
    x = normal(1, BATCH, STEPS, CHANNELS)
    return x, normal(2, CHANNELS, width), 0.5 * normal(3, FEATURES, width), normal(4, width), carry


def scan(x, kernel, recurrent, bias, carry, *, lengths=None, reverse=False):
    valid = None if lengths is None else jnp.arange(x.shape[1])[:, None] < lengths[None]
    projected = jnp.swapaxes(x, 0, 1) @ kernel + bias[None, None]
    outputs, end = recur("lstm", projected, recurrent, carry, valid=valid, reverse=reverse)
    return jnp.swapaxes(outputs, 0, 1), end


def gradients(function, **options):
    """Outputs, and gradient with respect to inputs, weights and state."""

    def loss(args):
        outputs, end = function(*args, **options)
        return jnp.sum(outputs**2) + jnp.sum(end.hidden) + jnp.sum(end.cell**3), (outputs, end)

    return jax.jit(jax.grad(loss, has_aux=True))(arguments())


@pytest.fixture
def reference(monkeypatch):
    """`jax.experimental.rnn`'s own reference in the place of cuDNN, which takes its weights unpacked."""

    def lstm(x, h_0, c_0, weights, lengths, **options):
        sizes = [options[name] for name in ("input_size", "hidden_size", "num_layers")]
        unpacked = rnn.unpack_lstm_weights(weights, *sizes, options["bidirectional"])
        assert weights.shape == (rnn.get_num_params_in_lstm(*sizes, options["bidirectional"]),)
        return rnn.lstm_ref(
            x, h_0, c_0, *unpacked, lengths, *sizes, options["dropout"], options["bidirectional"]
        )  # fmt: skip

    monkeypatch.setattr(rnn, "lstm", lstm)


def test_weights_come_back_out_of_the_flat_array():
    _, kernel, recurrent, bias, _ = arguments()
    flat = pack_lstm(kernel, recurrent, bias)
    assert flat.shape == (4 * FEATURES * (CHANNELS + FEATURES + 2),)
    input_weights, state_weights, *biases = rnn.unpack_lstm_weights(flat, CHANNELS, FEATURES, 1, False)
    assert np.array_equal(input_weights[0], kernel.T)
    assert np.array_equal(state_weights[0], recurrent.T)
    assert np.array_equal(biases[0][0], bias)
    assert not np.any(biases[1][0])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_it_is_the_scan(lengths, reverse, reference, close):
    ours = gradients(recur_cudnn, lengths=lengths, reverse=reverse)
    # Steps that do not count included: the same outputs to the last one.
    close(ours, gradients(scan, lengths=lengths, reverse=reverse), TOLERANCE)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_network_gives_the_same_with_it(bidirectional, reference, monkeypatch, key, close):
    monkeypatch.setattr("zoo.models.recurrent.check_cudnn", lambda cell, dtype: None)
    model = RecurrentNet(num_classes=3, width=4, layers=2, bidirectional=bidirectional, readout="attention")
    sequence = Sequence(normal(1, BATCH, STEPS, CHANNELS), LENGTHS)
    variables = jax.jit(model.init)(key, sequence)
    other = model.clone(backend="cudnn")
    shapes = lambda model: jax.tree.map(jnp.shape, jax.eval_shape(model.init, key, sequence))
    assert shapes(other) == shapes(model)
    for inputs in (sequence, sequence.values):
        got, expected = (jax.jit(m.apply)(variables, inputs) for m in (other, model))
        close(got, expected, TOLERANCE)


@pytest.mark.parametrize(
    ("position", "array", "message"),
    [
        (0, normal(1, BATCH, STEPS, CHANNELS).astype(jnp.bfloat16), "x float32 of shape (3, 6, 2), got bfloat16"),
        (1, normal(1, CHANNELS + 1, 16), "kernel float32 of shape (2, 16), got float32 of (3, 16)"),
        (2, normal(1, FEATURES, 12), "recurrent float32 of shape (4, 16), got float32 of (4, 12)"),
        (3, normal(1, 4), "bias float32 of shape (16,), got float32 of (4,)"),
        (4, Carry(normal(1, BATCH, 3), normal(1, BATCH, 4)), "carry.hidden float32 of shape (3, 4), got float32 of (3"),
    ],
)
def test_other_arrays_are_refused(position, array, message):
    args = list(arguments())
    args[position] = array
    with pytest.raises(ValueError) as caught:
        recur_cudnn(*args)
    assert message in str(caught.value)


def on_nvidia():
    return "cuda" in jax.devices()[0].client.platform_version.lower()


def test_without_an_nvidia_gpu_it_says_so():
    if on_nvidia():
        pytest.skip("there is an NVIDIA GPU")
    with pytest.raises(ValueError, match="needs an NVIDIA GPU, and JAX runs on cpu: set backend='scan'"):
        check_cudnn("lstm", jnp.float32)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_cudnn_itself_is_the_scan(lengths, reverse, close):
    if not on_nvidia():
        pytest.skip("needs an NVIDIA GPU and JAX_PLATFORMS=cuda")
    with jax.default_matmul_precision("highest"):
        ours = gradients(recur_cudnn, lengths=lengths, reverse=reverse)
        # Its sums and its tanh are not XLA's.
        close(ours, gradients(scan, lengths=lengths, reverse=reverse), 10 * TOLERANCE)
