"""Padding, pieces and directions never change what a recurrent network says of a sequence."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import explain, taps
from zoo.layers import Carry, Sequence, reverse_valid, zero_carry
from zoo.models import RecurrentNet

CELLS = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
READOUTS = ("last", "mean", "attention", "steps")
CHANNELS, STEPS = 2, 5
LENGTHS = np.array([5, 1, 3], np.int32)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture
def net(key, randomise):
    """`net(**options)` → model in float64 and random variables."""

    def build(**options):
        model = RecurrentNet(**{"num_classes": 3, "width": 4, "param_dtype": jnp.float64, **options})
        example = jnp.zeros((1, 2), jnp.int32) if model.symbols else jnp.zeros((1, 2, CHANNELS))
        return model, randomise(1, jax.eval_shape(model.init, key, example))

    return build


@functools.cache
def every_readout(model, readouts=READOUTS):
    """Jitted outputs of several read-outs for the same weights."""
    return jax.jit(
        lambda variables, inputs: {how: model.clone(readout=how).apply(variables, inputs) for how in readouts}
    )


@functools.cache
def gradients(model):
    """Jitted gradient of a sum over the outputs, with respect to the weights."""

    def loss(params, inputs):
        return jnp.sum(model.apply({"params": params}, inputs) ** 2)

    return jax.jit(lambda variables, inputs: jax.grad(loss)(variables["params"], inputs))


@pytest.mark.parametrize(
    ("layers", "bidirectional", "readouts"), [(1, False, ("mean", "steps")), (2, True, ("last", "attention"))]
)
@CELLS
def test_padding_is_never_seen(cell, layers, bidirectional, readouts, net, x64, close):
    model, variables = net(cell=cell, layers=layers, bidirectional=bidirectional, readout="attention")
    x = normal(2, 3, STEPS, CHANNELS)
    run, slopes = every_readout(model, readouts), gradients(model)
    outputs, gradient = run(variables, Sequence(x, LENGTHS)), slopes(variables, Sequence(x, LENGTHS))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((outputs, gradient)))

    # What stands beyond the end is no part of the sequence …
    beyond = np.arange(STEPS)[None, :, None] >= LENGTHS[:, None, None]
    for other in (1e6, np.nan):
        with jax.debug_nans(False):
            loud = Sequence(jnp.where(beyond, other, x), LENGTHS)
        jax.tree.map(np.testing.assert_array_equal, run(variables, loud), outputs)
        jax.tree.map(np.testing.assert_array_equal, slopes(variables, loud), gradient)

    # … nor is how much stands there,
    longer = Sequence(jnp.concatenate([x, normal(3, 3, 2, CHANNELS)], axis=1), LENGTHS)
    more = run(variables, longer)
    close({how: more[how][:, :STEPS] if how == "steps" else more[how] for how in readouts}, outputs, 1e-13)
    close(slopes(variables, longer), gradient, 1e-12)

    # and one by one, each as long as it is, they are what they are together.
    for example, length in enumerate(LENGTHS):
        together = {how: part[example : example + 1] for how, part in outputs.items()}
        if "steps" in together:
            together["steps"] = together["steps"][:, :length]
        close(together, run(variables, x[example : example + 1, :length]), 1e-13)


@CELLS
def test_pieces_with_the_state_carried_are_the_whole(cell, net, x64, close):
    model, variables = net(cell=cell, layers=2, readout="steps")
    x, lengths = normal(2, 3, 7, CHANNELS), np.array([7, 4, 5])
    run = lambda inputs, **options: model.apply(variables, inputs, return_carry=True, **options)
    whole, end = run(Sequence(x, lengths))
    first, carry = run(Sequence(x[:, :3], np.full(3, 3)))
    second, carry = run(Sequence(x[:, 3:], lengths - 3), carry=carry)
    pieces = jnp.concatenate([first, second], axis=1)
    for example, length in enumerate(lengths):
        close(pieces[example, :length], whole[example, :length], 1e-13)
    if cell != "lstm":
        assert all(state.cell.shape == (3, 0) for state in end)
        carry, end = ([state.hidden for state in states] for states in (carry, end))
    close(tuple(carry), tuple(end), 1e-13)
    # The other read-outs of the last piece: the state at the end is that of the whole.
    last = model.clone(readout="last")
    _, carry = last.apply(variables, x[:, :3], return_carry=True)
    close(
        last.apply(variables, Sequence(x[:, 3:], lengths - 3), carry=carry),
        last.apply(variables, Sequence(x, lengths)),
        1e-13,
    )
    # Without the state a piece is another sequence.
    assert not np.allclose(run(Sequence(x[:, 3:], lengths - 3))[0], second, rtol=0.01)


def exchanged(params, layers):
    """The weights of the two directions in each other's place, and halves of what the next layer takes with them."""
    swap_rows = lambda weights: jnp.concatenate(jnp.split(weights, 2)[::-1])
    params = dict(params)
    for layer in range(1, layers + 1):
        forward, backward = f"layer{layer}_forward", f"layer{layer}_backward"
        params[forward], params[backward] = params[backward], params[forward]
        for way in (forward, backward):
            if layer > 1:
                params[way] = {**params[way], "input": swap_rows(params[way]["input"])}
    params["head"] = {**params["head"], "kernel": swap_rows(params["head"]["kernel"])}
    if "attention" in params:
        params["attention"] = {"kernel": swap_rows(params["attention"]["kernel"])}
    return params


@CELLS
def test_time_turned_round_and_directions_exchanged_is_the_same(cell, net, x64, close):
    model, variables = net(cell=cell, layers=2, bidirectional=True, readout="attention")
    turned = {"params": exchanged(variables["params"], 2)}
    x = normal(2, 3, STEPS, CHANNELS)
    sequence = Sequence(x, LENGTHS)
    back = Sequence(reverse_valid(x, LENGTHS), LENGTHS)
    layers = ("layer1", "layer2")
    _, here = taps.read(model, variables, sequence, layers)
    _, there = taps.read(model, turned, back, layers)
    valid = np.asarray(sequence.valid)
    for layer in layers:
        forward, backward = jnp.split(here[layer], 2, axis=-1)
        expected = reverse_valid(jnp.concatenate([backward, forward], axis=-1), LENGTHS)
        if layer == "layer1":
            assert np.array_equal(there[layer][valid], expected[valid])
        # From the second layer on, halves of the inputs are added up in another order.
        close(there[layer][valid], expected[valid], 1e-14)
    outputs = every_readout(model)(variables, sequence)
    mirrored = every_readout(model)(turned, back)
    mirrored["steps"] = reverse_valid(mirrored["steps"], LENGTHS)
    for how in READOUTS:
        got, expected = (x[how][valid] if how == "steps" else x[how] for x in (mirrored, outputs))
        close(got, expected, 1e-14)
    # The exchange of the weights is needed.
    plain = every_readout(model)(variables, back)
    assert not np.allclose(plain["mean"], outputs["mean"], rtol=0.01)


@CELLS
def test_the_read_outs_by_hand(cell, net, x64, close):
    model, variables = net(cell=cell, bidirectional=True, readout="attention")
    sequence = Sequence(normal(2, 3, STEPS, CHANNELS), LENGTHS)
    outputs = every_readout(model)(variables, sequence)
    _, read = taps.read(model, variables, sequence, ["layer1"])
    head, steps = variables["params"]["head"], np.asarray(read["layer1"])
    for example, length in enumerate(LENGTHS):
        own = steps[example, :length]
        scores = np.exp(np.tanh(own) @ np.asarray(variables["params"]["attention"]["kernel"]))
        seen = {
            # Backward in time the last step is the first.
            "last": np.concatenate([own[-1, :4], own[0, 4:]]),
            "mean": own.mean(0),
            "attention": (own * scores / scores.sum()).sum(0),
            "steps": own,
        }
        for how, features in seen.items():
            got = outputs[how][example, :length] if how == "steps" else outputs[how][example]
            close(got, features @ np.asarray(head["kernel"]) + np.asarray(head["bias"]), 1e-13)


def test_symbols_are_rows_of_a_table(net, x64):
    model, variables = net(symbols=6, embedding=CHANNELS)
    symbols = np.random.default_rng(0).integers(0, 6, (3, STEPS))
    table = variables["params"]["embed"]["embedding"]
    assert table.shape == (6, CHANNELS)
    numbers = RecurrentNet(num_classes=3, width=4, param_dtype=jnp.float64)
    for lengths in (LENGTHS, np.full(3, STEPS)):
        expected = numbers.apply(variables, Sequence(table[symbols], lengths))
        assert np.array_equal(model.apply(variables, Sequence(symbols, lengths)), expected)
    # Beyond the length there may be what is no symbol; within there may not, as far as values are known.
    beyond = np.where(np.arange(STEPS)[None] < LENGTHS[:, None], symbols, -1)
    expected = model.apply(variables, Sequence(symbols, LENGTHS))
    assert np.array_equal(model.apply(variables, Sequence(beyond, LENGTHS)), expected)
    assert np.array_equal(jax.jit(model.apply)(variables, Sequence(beyond, LENGTHS)), expected)
    for bad in (-1, 6):
        with pytest.raises(ValueError, match=rf"in 0 … 5, the vocabulary; got {bad}"):
            model.apply(variables, symbols * 0 + bad)


def blocks_of(cell, start, key, width=24):
    model = RecurrentNet(num_classes=2, cell=cell, width=width, start=start, forget_bias=2.0)
    layer = model.init(key, jnp.zeros((1, 2, CHANNELS)))["params"]["layer1_forward"]
    return np.split(np.asarray(layer["recurrent"]), layer["recurrent"].shape[1] // width, axis=1), layer


@CELLS
def test_recurrent_weights_begin_as_asked(cell, key):
    one = np.eye(24)
    blocks, layer = blocks_of(cell, "orthogonal", key)
    assert len(blocks) == {"rnn": 1, "lstm": 4, "gru": 3}[cell]
    for block in blocks:
        assert np.allclose(block.T @ block, one, atol=1e-5)
    assert all(not np.allclose(a, b, atol=0.1) for a, b in itertools.pairwise(blocks))
    assert all(np.array_equal(block, one) for block in blocks_of(cell, "identity", key)[0])
    for block in blocks_of(cell, "normal", key)[0]:
        # 576 draws: their variance is known to 6 per cent, five times that is asked for.
        assert np.isclose(block.var(), 1 / 24, rtol=0.3)
        assert not np.allclose(block.T @ block, one, atol=0.1)
    bias = np.asarray(layer["bias"]).reshape(-1, 24)
    assert np.array_equal(bias[:, 0], [0, 2, 0, 0] if cell == "lstm" else [0] * len(bias))
    assert np.array_equal(np.ptp(bias, axis=1), np.zeros(len(bias)))


def test_the_identity_with_rectifiers_keeps_what_it_is_given(key):
    """Le+15: without an input the state, and the gradient through it, stay what they are."""
    model = RecurrentNet(num_classes=2, cell="rnn", width=4, activation="relu", start="identity")
    variables = model.init(key, jnp.zeros((1, 2, CHANNELS)))
    state = Carry(jnp.array([[1.0, 2.0, 0.5, 3.0]]), jnp.zeros((1, 0)))

    def end(state):
        return model.apply(variables, jnp.zeros((1, 50, CHANNELS)), carry=(state,), return_carry=True)[1][0].hidden

    assert np.array_equal(end(state), state.hidden)
    gradient = jax.grad(lambda state: jnp.sum(end(state)))(state)
    assert np.array_equal(gradient.hidden, jnp.ones((1, 4)))


@CELLS
def test_nothing_recompiles_for_other_lengths(cell, key):
    model = RecurrentNet(num_classes=2, cell=cell, width=3, layers=2, bidirectional=True)
    x = jnp.ones((3, STEPS, CHANNELS))
    variables, traces = model.init(key, x), []

    @jax.jit
    def run(variables, sequence):
        traces.append(sequence)
        return model.apply(variables, sequence)

    for lengths in (LENGTHS, LENGTHS[::-1], np.array([1, 1, 1], np.int32)):
        got = run(variables, Sequence(x, lengths))
        assert np.allclose(got, model.apply(variables, Sequence(x, lengths)), atol=1e-6)
    assert len(traces) == 1


@CELLS
def test_truncated_back_propagation_stops_at_the_piece(cell, net, x64):
    """Training on pieces: what came before is remembered, and learns nothing."""
    model, variables = net(cell=cell, layers=2)
    first, second = normal(2, 2, 4, CHANNELS), normal(3, 2, 3, CHANNELS)

    def loss(first, second, stop):
        _, carry = model.apply(variables, first, return_carry=True)
        carry = jax.lax.stop_gradient(carry) if stop else carry
        return jnp.sum(model.apply(variables, second, carry=carry) ** 2)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)(first, second, True)
    assert np.array_equal(gradients[0], jnp.zeros_like(first))
    whole, through = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)(first, second, False)
    assert np.isclose(value, whole, rtol=1e-13)
    assert np.allclose(gradients[1], through[1], rtol=1e-12)
    assert np.all(np.any(through[0] != 0, axis=-1))


def test_layers_have_their_names(net, x64):
    model, variables = net(layers=2, bidirectional=True, readout="attention", symbols=4)
    symbols = np.array([[0, 3, 1]])
    layers = [f"layer{i}_{way}" for i in (1, 2) for way in ("forward", "backward")]
    found = taps.names(model, jax.ShapeDtypeStruct((1, 3), jnp.int32))
    assert {"embed", *layers, "layer1", "layer2", "attention", "head"} <= set(found)
    outputs, read = taps.read(model, variables, symbols, ["layer1_forward", "layer1_backward", "layer1", "head"])
    steps = [read[name][0] for name in layers[:2]]
    assert np.array_equal(read["layer1"], jnp.concatenate(steps, axis=-1))
    assert np.array_equal(read["layer1_forward"][1].hidden, steps[0][:, -1])
    assert np.array_equal(read["layer1_backward"][1].hidden, steps[1][:, 0])
    assert np.array_equal(read["head"], outputs)


@CELLS
def test_attributions_add_up(cell, net, x64):
    model, variables = net(cell=cell, layers=2, bidirectional=True, readout="mean")
    x = normal(2, 2, STEPS, CHANNELS)
    found = explain.integrated_gradients(explain.score(model, variables, 1), x, steps=64)
    assert found.values.shape == x.shape
    change = model.apply(variables, x)[:, 1] - model.apply(variables, 0 * x)[:, 1]
    assert np.allclose(found.values.sum((1, 2)), change, rtol=1e-6)


@CELLS
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_the_state_has_the_dtype_of_the_computation(cell, dtype, x64):
    model = RecurrentNet(num_classes=2, cell=cell, layers=2, dtype=dtype)
    x = jax.ShapeDtypeStruct((2, 3, CHANNELS), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    outputs, carry = jax.eval_shape(functools.partial(model.apply, return_carry=True), variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, carry))} == {jnp.dtype(dtype)}
    # A state of single precision goes into a network of another.
    start = tuple(zero_carry(cell, 2, 64) for _ in range(2))
    _, carry = jax.eval_shape(functools.partial(model.apply, carry=start, return_carry=True), variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(carry)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
    ("options", "call", "parts"),
    [
        ({"width": 0}, {}, ["width 0", "at least 1"]),
        ({"layers": 0}, {}, ["layers 0", "at least 1"]),
        ({"symbols": -1}, {}, ["symbols -1 at least 0"]),
        ({"cell": "lstn"}, {}, ["cell must be one of ['gru', 'lstm', 'rnn'], got 'lstn'"]),
        ({"activation": "gelu"}, {}, ["activation must be 'tanh' or 'relu', got 'gelu'"]),
        ({"readout": "first"}, {}, ["readout must be 'last', 'mean', 'attention' or 'steps', got 'first'"]),
        ({"start": "zero"}, {}, ["start must be one of ['identity', 'normal', 'orthogonal'], got 'zero'"]),
        ({"backend": "cuda"}, {}, ["backend must be 'scan' or 'cudnn', got 'cuda'"]),
        ({"backend": "cudnn", "cell": "gru"}, {}, ["cell='lstm' alone, got 'gru'", "set backend='scan'"]),
        ({"backend": "cudnn", "dtype": jnp.bfloat16}, {}, ["float32, got bfloat16", "set backend='scan'"]),
        ({"in_channels": 3}, {}, ["in_channels=3", "2 channels"]),
        ({"bidirectional": True}, {"return_carry": True}, ["reads backward too", "bidirectional=False"]),
        ({"bidirectional": True}, {"carry": (zero_carry("lstm", 2, 4),)}, ["bidirectional=False"]),
        ({"layers": 2}, {"carry": (zero_carry("lstm", 2, 4),)}, ["each of the 2 layers, got 1"]),
        ({}, {"carry": (zero_carry("lstm", 3, 4),)}, ["carry.hidden", "should have shape (2, 4), got (3, 4)"]),
        ({}, {"carry": (zero_carry("gru", 2, 4),)}, ["carry.cell", "should have shape (2, 4), got (2, 0)"]),
    ],
)
def test_what_cannot_be_meant_is_refused(options, call, parts, key):
    model = RecurrentNet(**{"num_classes": 2, "width": 4, **options})
    with pytest.raises(ValueError) as caught:
        model.init(key, jnp.zeros((2, 3, CHANNELS)), **call)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_parameters_by_hand():
    inputs = (1, 9, 8)
    recurrent = lambda gates, channels, bias=0: gates * 64 * (channels + 64 + 1) + bias
    head = lambda features: (features + 1) * 5
    assert zoo.parameters("rnn", inputs, num_classes=5) == recurrent(1, 8) + head(64)
    assert zoo.parameters("lstm", inputs, num_classes=5) == recurrent(4, 8) + head(64)
    assert zoo.parameters("gru", inputs, num_classes=5) == recurrent(3, 8, 64) + head(64)
    deep = zoo.parameters("lstm", inputs, num_classes=5, layers=2, bidirectional=True)
    assert deep == 2 * recurrent(4, 8) + 2 * recurrent(4, 128) + head(128)
