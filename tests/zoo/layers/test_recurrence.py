"""The loop against its equations written out step by step, in value and in every kind of derivative."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from zoo.layers import GATES, Carry, recur, zero_carry

# Unlike sizes, so that a shape tells what an array is.
STEPS, BATCH, FEATURES = 4, 3, 5
LENGTHS = (4, 2, 1)
KINDS = pytest.mark.parametrize(
    ("cell", "activation"), [("rnn", "tanh"), ("rnn", "relu"), ("lstm", "tanh"), ("gru", "tanh")]
)


def sigmoid(x):
    return 1 / (1 + jnp.exp(-x))


def literal_step(cell, activation, a, recurrent, bias, h, c):
    """The equations of `recur`, one block at a time."""
    n = h.shape[-1]
    u = [h @ recurrent[:, k * n : (k + 1) * n] for k in range(GATES[cell])]
    a = [a[:, k * n : (k + 1) * n] for k in range(GATES[cell])]
    if cell == "rnn":
        return (jnp.tanh(a[0] + u[0]) if activation == "tanh" else jnp.maximum(a[0] + u[0], 0)), c
    if cell == "lstm":
        i, f, o = (sigmoid(a[k] + u[k]) for k in (0, 1, 3))
        c = f * c + i * jnp.tanh(a[2] + u[2])
        return o * jnp.tanh(c), c
    r, z = (sigmoid(a[k] + u[k]) for k in (0, 1))
    new = jnp.tanh(a[2] + r * (u[2] + bias[None]))
    return (1 - z) * new + z * h, c


def literal(cell, activation, reverse, counts, projected, recurrent, bias, carry):
    """h of all steps and the state at the end; `counts` (T, B) is 1 where a step counts and 0 where it does not."""

    def body(state, step):
        (h, c), (a, count) = state, step
        new_h, new_c = literal_step(cell, activation, a, recurrent, bias, h, c)
        count = count[:, None]
        state = Carry(count * new_h + (1 - count) * h, count * new_c + (1 - count) * c)
        return state, state.hidden

    # Differentiated as any loop: nothing of how ours is differentiated is in here.
    end, outputs = jax.lax.scan(body, carry, (projected, counts), reverse=reverse)
    return outputs, end


def ours(cell, activation, reverse, valid, projected, recurrent, bias, carry):
    options = {"bias": bias, "valid": valid, "reverse": reverse, "activation": activation}
    return recur(cell, projected, recurrent, carry, **options)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def arguments(cell, steps=STEPS):
    width = GATES[cell] * FEATURES
    carry = Carry(normal(4, BATCH, FEATURES), normal(5, BATCH, FEATURES if cell == "lstm" else 0))
    return normal(1, steps, BATCH, width), 0.5 * normal(2, FEATURES, width), normal(3, FEATURES), carry


@functools.cache
def derivatives(function, *kind):
    """Jitted (mask, arguments) → outputs, their forward derivative, gradient, and product of Hessian and vector."""

    def compute(mask, args):
        run = lambda args: function(*kind, mask, *args)
        wave = lambda like: jnp.cos(jnp.arange(like.size)).reshape(like.shape).astype(like.dtype)
        directions = jax.tree.map(wave, args)

        def loss(args):
            outputs, end = run(args)
            return jnp.sum(outputs * wave(outputs)) + jnp.sum(end.hidden**2) + jnp.sum(end.cell**3)

        outputs, forward = jax.jvp(run, (args,), (directions,))
        # Without a mask the derivatives are those of a mask of ones, hence the second one is taken once only.
        if mask is None:
            return {"outputs": outputs, "forward": forward, "gradient": jax.grad(loss)(args)}
        gradient, product = jax.jvp(jax.grad(loss), (args,), (directions,))
        return {"outputs": outputs, "forward": forward, "gradient": gradient, "Hessian": product}

    return jax.jit(compute)


@pytest.mark.parametrize("reverse", [False, True])
@KINDS
def test_it_is_its_equations_with_all_derivatives(cell, activation, reverse, x64, close):
    args = arguments(cell)
    valid = jnp.arange(STEPS)[:, None] < jnp.array(LENGTHS)[None]
    for mask in (None, valid):
        counts = jnp.ones((STEPS, BATCH)) if mask is None else mask.astype(float)
        got = derivatives(ours, cell, activation, reverse)(mask, args)
        expected = derivatives(literal, cell, activation, reverse)(counts, args)
        expected = {name: expected[name] for name in got}
        if cell != "lstm":
            # Without a cell state there is nothing to compare.
            got, expected = (jax.tree.map(lambda leaf: leaf if leaf.size else jnp.zeros(1), x) for x in (got, expected))
        # Rounding of float64, 1e-16, in sums of some ten terms and over four steps.
        close(got, expected, 1e-12)


@KINDS
def test_the_loop_of_the_equations_is_step_after_step(cell, activation, x64, close):
    projected, recurrent, bias, (h, c) = arguments(cell)
    outputs, end = ours(cell, activation, False, None, projected, recurrent, bias, Carry(h, c))
    for t in range(STEPS):
        h, c = literal_step(cell, activation, projected[t], recurrent, bias, h, c)
        close(outputs[t], h, 1e-14)
    close(end.hidden, h, 1e-14)


@KINDS
def test_the_state_stays_where_no_step_counts(cell, activation, x64):
    args = arguments(cell)
    valid = jnp.arange(STEPS)[:, None] < jnp.array(LENGTHS)[None]
    outputs, end = ours(cell, activation, False, valid, *args)
    assert np.array_equal(end.hidden, outputs[jnp.array(LENGTHS) - 1, jnp.arange(BATCH)])
    assert np.array_equal(outputs[1:, 2], jnp.broadcast_to(outputs[:1, 2], (3, FEATURES)))
    outputs, end = ours(cell, activation, True, valid, *args)
    assert np.array_equal(outputs[1:, 2], jnp.broadcast_to(args[-1].hidden[2:], (3, FEATURES)))
    assert np.array_equal(end.hidden, outputs[0])
    # A sequence of which nothing counts gives back what it was given.
    _, end = ours(cell, activation, False, jnp.zeros_like(valid), *args)
    assert np.array_equal(end.hidden, args[-1].hidden)
    assert np.array_equal(end.cell, args[-1].cell)


@KINDS
def test_pieces_give_what_the_whole_gives(cell, activation, x64):
    projected, recurrent, bias, carry = arguments(cell, 7)
    whole, end = ours(cell, activation, False, None, projected, recurrent, bias, carry)
    parts = []
    for piece in (projected[:3], projected[3:4], projected[4:]):
        outputs, carry = ours(cell, activation, False, None, piece, recurrent, bias, carry)
        parts.append(outputs)
    assert np.array_equal(jnp.concatenate(parts), whole)
    assert np.array_equal(carry.hidden, end.hidden)
    assert np.array_equal(carry.cell, end.cell)


@KINDS
def test_vmap_is_the_loop_over_sequences(cell, activation, x64, close):
    projected, recurrent, bias, carry = arguments(cell)
    single = lambda projected, carry: ours(cell, activation, False, None, projected, recurrent, bias, carry)
    one = jax.tree.map(lambda leaf: leaf[:, None], carry)
    outputs, _ = jax.vmap(single, (1, 0), 1)(projected[:, :, None], one)
    close(outputs[:, :, 0], single(projected, carry)[0], 1e-14)


def carried_shapes(jaxpr):
    """Shapes of what the loops of a program carry from step to step."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            # What leaves the loop in the shape it has within is carried; the rest is stacked up over the steps.
            (body,) = jaxprs_in_params(equation.params)
            pairs = zip(equation.outvars, body.outvars, strict=True)
            yield {outer.aval.shape for outer, inner in pairs if outer.aval.shape == inner.aval.shape}
        for inner in jaxprs_in_params(equation.params):
            yield from carried_shapes(inner)


@KINDS
def test_the_gradient_of_the_weights_is_not_added_up_in_the_loop(cell, activation):
    """What makes the backward pass fast: one product for all steps, where automatic differentiation has one each."""
    projected, recurrent, bias, carry = arguments(cell)
    mask = jnp.ones((STEPS, BATCH))

    def loops(function):
        loss = lambda recurrent: jnp.sum(function(cell, activation, False, mask, projected, recurrent, bias, carry)[0])
        return list(carried_shapes(jax.make_jaxpr(jax.grad(loss))(recurrent).jaxpr))

    # The transposed weights may be carried as well as the weights.
    weights = {recurrent.shape, recurrent.shape[::-1], (FEATURES, FEATURES)}
    assert sum((BATCH, FEATURES) in carried for carried in loops(ours)) == 2, "one forward, one backward"
    assert not set.union(*loops(ours)) & weights
    assert set.union(*loops(literal)) & weights


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@KINDS
def test_the_dtype_is_kept(cell, activation, dtype):
    args = jax.tree.map(lambda leaf: leaf.astype(dtype), arguments(cell))
    valid = jnp.arange(STEPS)[:, None] < jnp.array(LENGTHS)[None]
    every = jax.eval_shape(lambda args: derivatives(ours, cell, activation, False)(valid, args), args)
    assert {leaf.dtype for leaf in jax.tree.leaves((every["outputs"], every["gradient"]))} == {jnp.dtype(dtype)}
    start = zero_carry(cell, BATCH, FEATURES, dtype)
    assert [(part.shape, part.dtype) for part in start] == [(part.shape, dtype) for part in args[-1]]


def test_a_rectifier_that_is_off_has_no_gradient():
    """At zero itself the derivative is 0, as PyTorch has it."""
    weights = jnp.ones((1, 1))
    outputs = lambda a: recur("rnn", a, weights, zero_carry("rnn", 1, 1), activation="relu")[0]
    gradient = jax.grad(lambda a: jnp.sum(outputs(a)))(jnp.array([[[0.0]], [[-1.0]], [[2.0]]]))
    assert gradient.ravel().tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "lstn"}, "cell must be one of ['gru', 'lstm', 'rnn'], got 'lstn'"),
        ({"activation": "gelu"}, "activation must be 'tanh' or 'relu', got 'gelu'"),
        ({"cell": "gru"}, "'gru' of 5 units needs products of 15 columns; got (4, 3, 20) from the inputs and (5, 20)"),
        ({"projected": jnp.ones((4, 3, 5))}, "needs products of 20 columns; got (4, 3, 5) from the inputs"),
        ({"carry": zero_carry("lstm", 2, 5)}, "carry.hidden of a cell 'lstm' should have shape (3, 5), got (2, 5)"),
        ({"carry": zero_carry("rnn", 3, 5)}, "carry.cell of a cell 'lstm' should have shape (3, 5), got (3, 0)"),
        ({"bias": jnp.ones(20)}, "bias of a cell 'lstm' should have shape (5,), got (20,)"),
        ({"valid": jnp.ones((3, 4), bool)}, "valid of a cell 'lstm' should have shape (4, 3), got (3, 4)"),
        ({"projected": jnp.ones((0, 3, 20))}, "at least one step"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    projected, recurrent, _, carry = arguments("lstm")
    options = {"cell": "lstm", "projected": projected, "recurrent": recurrent, "carry": carry, **change}
    with pytest.raises(ValueError) as caught:
        recur(**options)
    assert message in str(caught.value)
