"""Recurrence: the plain, LSTM and GRU cells run over time, fast forward and backward on any platform.

Elman 1990, https://doi.org/10.1207/s15516709cog1402_1; Hochreiter & Schmidhuber 1997,
https://doi.org/10.1162/neco.1997.9.8.1735, with the forget gate of Gers+00, https://doi.org/10.1162/089976600300015015;
Cho+14, https://arxiv.org/abs/1406.1078, in the form whose reset gate acts after the product, as in cuDNN and PyTorch.

What every step needs of the inputs alone, x_t W + b, is one product for all steps before the loop. In the loop remains
h_{t−1} U. Its gradient with respect to U is a sum over the steps, which automatic differentiation would add up inside
the loop, step by step; here it is one product for all steps after the loop. This is said by the forward derivative of
the loop (`jax.custom_jvp`): a loop that is linear in what changes, around coefficients that are computed for all steps
at once. JAX transposes it for the backward pass, so that `grad`, `jvp` and their compositions all work.

With valid steps given, a step that is not valid leaves the state as it is: in either direction of time the state after
the last valid step arrives at the end of the loop, and padding never enters.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

CellName = Literal["rnn", "lstm", "gru"]
Activation = Literal["tanh", "relu"]
# Blocks of the products for each cell: the state itself; input, forget, update, output; reset, keep, candidate.
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class Carry(NamedTuple):
    """State between two steps.

    Attributes:
        hidden: (B, H), h.
        cell: (B, H), c of the LSTM; empty (B, 0) for the others.
    """

    hidden: jax.Array
    cell: jax.Array


def zero_carry(cell: CellName, batch: int, features: int, dtype: jnp.dtype = jnp.float32) -> Carry:
    """The state before the first step: zeros."""
    return Carry(jnp.zeros((batch, features), dtype), jnp.zeros((batch, features if cell == "lstm" else 0), dtype))


def recur(
    cell: CellName,
    projected: jax.Array,
    recurrent: jax.Array,
    carry: Carry,
    *,
    bias: jax.Array | None = None,
    valid: jax.Array | None = None,
    reverse: bool = False,
    activation: Activation = "tanh",
) -> tuple[jax.Array, Carry]:
    """Run a cell over time.

    With a = projected_t and u = h_{t−1} · recurrent, cut into the blocks of the cell,

    - `"rnn"`: h_t = tanh(a + u), or max(a + u, 0);
    - `"lstm"`: i, f, o = σ(a + u), g = tanh(a + u) in the order i, f, g, o; c_t = f c_{t−1} + i g; h_t = o tanh(c_t);
    - `"gru"`: r, z = σ(a + u), n = tanh(a + r (u + bias)) in the order r, z, n; h_t = (1 − z) n + z h_{t−1}.

    Args:
        cell: which.
        projected: (T, B, G·H), x_t W + b of all steps, G = `GATES[cell]`.
        recurrent: (H, G·H), U.
        carry: the state before the first step, (B, H) each.
        bias: (H,), inside the reset gate, for the GRU; zero when not given.
        valid: (T, B) bool, steps that count; all when not given.
        reverse: run from the last step to the first.
        activation: of the plain cell.

    Returns:
        h of all steps (T, B, H), in the order of `projected`, and the state after the last one. In steps that do not
        count h is that of the step before.

    Raises:
        ValueError: shapes that do not belong together, or an unknown cell or activation.
    """
    if cell not in GATES:
        raise ValueError(f"cell must be one of {sorted(GATES)}, got {cell!r}.")
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation must be 'tanh' or 'relu', got {activation!r}.")
    features, width = recurrent.shape
    if width != GATES[cell] * features or projected.shape[-1] != width:
        raise ValueError(
            f"A cell {cell!r} of {features} units needs products of {GATES[cell] * features} columns; got "
            f"{projected.shape} from the inputs and {recurrent.shape} from the state."
        )
    bias = jnp.zeros(features, recurrent.dtype) if bias is None else bias
    steps, batch, _ = projected.shape
    if steps == 0:
        raise ValueError(f"A recurrence needs at least one step, got products of shape {projected.shape}.")
    expected = {
        "carry.hidden": (carry.hidden.shape, (batch, features)),
        "carry.cell": (carry.cell.shape, (batch, features if cell == "lstm" else 0)),
        "bias": (bias.shape, (features,)),
        "valid": ((steps, batch) if valid is None else valid.shape, (steps, batch)),
    }
    for name, (got, shape) in expected.items():
        if tuple(got) != shape:
            raise ValueError(f"{name} of a cell {cell!r} should have shape {shape}, got {tuple(got)}.")
    kind = (cell, activation, reverse)
    # A mask of all ones would cost a choice in every step.
    outputs, cells = _recur(kind, projected, recurrent, bias, carry, valid)
    end = 0 if reverse else -1
    return outputs, Carry(outputs[end], cells[end])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _recur(
    kind: tuple, projected: jax.Array, recurrent: jax.Array, bias: jax.Array, carry: Carry, valid: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """h (T, B, H) and c (T, B, H or 0) of all steps."""
    return _run(kind, projected, recurrent, bias, carry, valid, keep=False)


def _run(
    kind: tuple,
    projected: jax.Array,
    recurrent: jax.Array,
    bias: jax.Array,
    carry: Carry,
    valid: jax.Array | None,
    *,
    keep: bool,
) -> tuple:
    """h and c of all steps, and with `keep` the products h_{t−1} U (T, B, G·H) too."""
    cell, activation, reverse = kind

    def body(carry: Carry, step: tuple) -> tuple[Carry, tuple]:
        a, counts = step
        u = carry.hidden @ recurrent
        new = _CELLS[cell](a, u, bias, carry, activation)
        new = _where(counts, new, carry)
        return new, (*new, u) if keep else tuple(new)

    return jax.lax.scan(body, carry, (projected, valid), reverse=reverse)[1]


@_recur.defjvp
def _recur_jvp(kind: tuple, primals: tuple, tangents: tuple) -> tuple:
    cell, activation, reverse = kind
    projected, recurrent, bias, carry, valid = primals
    d_projected, d_recurrent, d_bias, d_carry, _ = tangents
    hidden, cells, products = _run(kind, projected, recurrent, bias, carry, valid, keep=True)

    def before(first: jax.Array, rest: jax.Array) -> jax.Array:
        if reverse:
            return jnp.concatenate([rest[1:], first[None]])
        return jnp.concatenate([first[None], rest[:-1]])

    previous = Carry(before(carry.hidden, hidden), before(carry.cell, cells))
    # One product for all steps: transposed it is the gradient with respect to the recurrent weights.
    d_products = previous.hidden @ d_recurrent
    coefficients = _COEFFICIENTS[cell](projected, products, bias, previous, activation)
    given = _GIVEN[cell](d_projected, d_products, d_bias, coefficients)

    def body(d_carry: Carry, step: tuple) -> tuple[Carry, tuple]:
        given, coefficients, counts = step
        new = _TANGENTS[cell](given, d_carry.hidden @ recurrent, d_carry, coefficients)
        new = _where(counts, new, d_carry)
        return new, tuple(new)

    _, (d_hidden, d_cells) = jax.lax.scan(body, d_carry, (given, coefficients, valid), reverse=reverse)
    return (hidden, cells), (d_hidden, d_cells)


def _where(counts: jax.Array | None, new: Carry, old: Carry) -> Carry:
    if counts is None:
        return new
    return Carry(*(jnp.where(counts[:, None], n, o) for n, o in zip(new, old, strict=True)))


def _rnn(a: jax.Array, u: jax.Array, bias: jax.Array, carry: Carry, activation: str) -> Carry:
    return Carry(jnp.tanh(a + u) if activation == "tanh" else jnp.maximum(a + u, 0), carry.cell)


def _rnn_coefficients(
    a: jax.Array, u: jax.Array, bias: jax.Array, carry: Carry, activation: str
) -> tuple[jax.Array, ...]:
    return (1 - jnp.tanh(a + u) ** 2 if activation == "tanh" else (a + u > 0).astype(a.dtype),)


def _rnn_tangent(given: jax.Array, d_u: jax.Array, d_carry: Carry, coefficients: tuple) -> Carry:
    return Carry(coefficients[0] * (given + d_u), d_carry.cell)


def _lstm_gates(a: jax.Array, u: jax.Array) -> tuple[jax.Array, ...]:
    i, f, g, o = jnp.split(a + u, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _lstm(a: jax.Array, u: jax.Array, bias: jax.Array, carry: Carry, activation: str) -> Carry:
    i, f, g, o = _lstm_gates(a, u)
    cell = f * carry.cell + i * g
    return Carry(o * jnp.tanh(cell), cell)


def _lstm_coefficients(
    a: jax.Array, u: jax.Array, bias: jax.Array, carry: Carry, activation: str
) -> tuple[jax.Array, ...]:
    i, f, g, o = _lstm_gates(a, u)
    bent = jnp.tanh(f * carry.cell + i * g)
    of_cell = (i * (1 - i) * g, f * (1 - f) * carry.cell, i * (1 - g * g))
    return (*of_cell, f, o * (1 - o) * bent, o * (1 - bent * bent))


def _lstm_tangent(given: jax.Array, d_u: jax.Array, d_carry: Carry, coefficients: tuple) -> Carry:
    by_i, by_f, by_g, forget, by_o, by_cell = coefficients
    d_i, d_f, d_g, d_o = jnp.split(given + d_u, 4, axis=-1)
    d_cell = forget * d_carry.cell + by_i * d_i + by_f * d_f + by_g * d_g
    return Carry(by_o * d_o + by_cell * d_cell, d_cell)


def _gru_gates(a: jax.Array, u: jax.Array, bias: jax.Array) -> tuple[jax.Array, ...]:
    (a_r, a_z, a_n), (u_r, u_z, u_n) = (jnp.split(x, 3, axis=-1) for x in (a, u))
    r, z = jax.nn.sigmoid(a_r + u_r), jax.nn.sigmoid(a_z + u_z)
    inner = u_n + bias.reshape((1,) * (u_n.ndim - 1) + (-1,))
    return r, z, jnp.tanh(a_n + r * inner), inner


def _gru(a: jax.Array, u: jax.Array, bias: jax.Array, carry: Carry, activation: str) -> Carry:
    _, z, n, _ = _gru_gates(a, u, bias)
    return Carry((1 - z) * n + z * carry.hidden, carry.cell)


def _gru_coefficients(
    a: jax.Array, u: jax.Array, bias: jax.Array, carry: Carry, activation: str
) -> tuple[jax.Array, ...]:
    r, z, n, inner = _gru_gates(a, u, bias)
    by_n = (1 - z) * (1 - n * n)
    return by_n * inner * r * (1 - r), (carry.hidden - n) * z * (1 - z), by_n, r, z


def _gru_tangent(given: jax.Array, d_u: jax.Array, d_carry: Carry, coefficients: tuple) -> Carry:
    by_r, by_z, by_n, reset, keep = coefficients
    (g_r, g_z, g_n), (d_r, d_z, d_n) = (jnp.split(x, 3, axis=-1) for x in (given, d_u))
    d_hidden = by_r * (g_r + d_r) + by_z * (g_z + d_z) + by_n * (g_n + reset * d_n) + keep * d_carry.hidden
    return Carry(d_hidden, d_carry.cell)


def _given(d_a: jax.Array, d_u: jax.Array, d_bias: jax.Array, coefficients: tuple) -> jax.Array:
    """What comes from outside of the loop: changes of the inputs' and of the weights' part."""
    return d_a + d_u


def _gru_given(d_a: jax.Array, d_u: jax.Array, d_bias: jax.Array, coefficients: tuple) -> jax.Array:
    reset = coefficients[3]
    gates, inner = jnp.split(d_u, [2 * reset.shape[-1]], axis=-1)
    return d_a + jnp.concatenate([gates, reset * (inner + d_bias[None, None])], axis=-1)


_CELLS = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}
_COEFFICIENTS = {"rnn": _rnn_coefficients, "lstm": _lstm_coefficients, "gru": _gru_coefficients}
_TANGENTS = {"rnn": _rnn_tangent, "lstm": _lstm_tangent, "gru": _gru_tangent}
_GIVEN = {"rnn": _given, "lstm": _given, "gru": _gru_given}
