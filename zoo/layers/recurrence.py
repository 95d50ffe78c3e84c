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

The blocks of the products enter the loop as arrays of their own: cut out of one array inside, they keep XLA from
vectorising the activations on a CPU, which makes the loop twice as slow. On a CPU each block has its own product too;
elsewhere, where a step costs what its launches cost, there is one for all.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

CellName = Literal["rnn", "lstm", "gru"]
Activation = Literal["tanh", "relu"]
Blocks = tuple[jax.Array, ...]
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
    blocks = functools.partial(jnp.split, indices_or_sections=GATES[cell], axis=-1)
    weights = blocks(recurrent) if _one_product_each() else [recurrent]
    # A mask of all ones would cost a choice in every step.
    outputs, cells = _recur(kind, tuple(blocks(projected)), tuple(weights), bias, carry, valid)
    end = 0 if reverse else -1
    return outputs, Carry(outputs[end], cells[end])


def _one_product_each() -> bool:
    return jax.default_backend() == "cpu"


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _recur(
    kind: tuple, projected: Blocks, recurrent: Blocks, bias: jax.Array, carry: Carry, valid: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """h (T, B, H) and c (T, B, H or 0) of all steps."""
    return _run(kind, projected, recurrent, bias, carry, valid, keep=False)


def _run(
    kind: tuple,
    projected: Blocks,
    recurrent: Blocks,
    bias: jax.Array,
    carry: Carry,
    valid: jax.Array | None,
    *,
    keep: bool,
) -> tuple:
    """h and c of all steps, and with `keep` the activations (T, B, H) of which the coefficients are made."""
    cell, activation, reverse = kind

    def body(carry: Carry, step: tuple) -> tuple[Carry, tuple]:
        a, counts = step
        u = _products(carry.hidden, recurrent, len(a))
        new, kept = _CELLS[cell](a, u, bias, carry, activation)
        new = _where(counts, new, carry)
        return new, (*new, kept) if keep else tuple(new)

    return jax.lax.scan(body, carry, (projected, valid), reverse=reverse)[1]


def _products(x: jax.Array, weights: Blocks, gates: int) -> Blocks:
    """x U, cut into blocks."""
    if len(weights) == gates:
        return tuple(x @ block for block in weights)
    return tuple(jnp.split(x @ weights[0], gates, axis=-1))


@_recur.defjvp
def _recur_jvp(kind: tuple, primals: tuple, tangents: tuple) -> tuple:
    cell, activation, reverse = kind
    projected, recurrent, bias, carry, valid = primals
    d_projected, d_recurrent, d_bias, d_carry, _ = tangents
    hidden, cells, kept = _run(kind, projected, recurrent, bias, carry, valid, keep=True)

    def before(first: jax.Array, rest: jax.Array) -> jax.Array:
        if reverse:
            return jnp.concatenate([rest[1:], first[None]])
        return jnp.concatenate([first[None], rest[:-1]])

    previous = Carry(before(carry.hidden, hidden), before(carry.cell, cells))
    # One product for all steps: transposed it is the gradient with respect to the recurrent weights.
    d_products = _products(previous.hidden, d_recurrent, len(projected))
    coefficients = _COEFFICIENTS[cell](kept, previous, activation)
    given = _GIVEN[cell](d_projected, d_products, d_bias, coefficients)

    def body(d_carry: Carry, step: tuple) -> tuple[Carry, tuple]:
        given, coefficients, counts = step
        new = _TANGENTS[cell](given, _products(d_carry.hidden, recurrent, len(given)), d_carry, coefficients)
        new = _where(counts, new, d_carry)
        return new, tuple(new)

    _, (d_hidden, d_cells) = jax.lax.scan(body, d_carry, (given, coefficients, valid), reverse=reverse)
    return (hidden, cells), (d_hidden, d_cells)


def _where(counts: jax.Array | None, new: Carry, old: Carry) -> Carry:
    if counts is None:
        return new
    return Carry(*(jnp.where(counts[:, None], n, o) for n, o in zip(new, old, strict=True)))


def _rnn(a: Blocks, u: Blocks, bias: jax.Array, carry: Carry, activation: str) -> tuple[Carry, Blocks]:
    x = a[0] + u[0]
    h = jnp.tanh(x) if activation == "tanh" else jnp.maximum(x, 0)
    return Carry(h, carry.cell), (h,)


def _rnn_coefficients(kept: Blocks, previous: Carry, activation: str) -> Blocks:
    (h,) = kept
    return (1 - h * h if activation == "tanh" else (h > 0).astype(h.dtype),)


def _rnn_tangent(given: Blocks, d_u: Blocks, d_carry: Carry, coefficients: Blocks) -> Carry:
    return Carry(coefficients[0] * (given[0] + d_u[0]), d_carry.cell)


def _lstm(a: Blocks, u: Blocks, bias: jax.Array, carry: Carry, activation: str) -> tuple[Carry, Blocks]:
    i, f, g, o = (x + y for x, y in zip(a, u, strict=True))
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    cell = f * carry.cell + i * g
    return Carry(o * jnp.tanh(cell), cell), (i, f, g, o)


def _lstm_coefficients(kept: Blocks, previous: Carry, activation: str) -> Blocks:
    i, f, g, o = kept
    bent = jnp.tanh(f * previous.cell + i * g)
    of_cell = (i * (1 - i) * g, f * (1 - f) * previous.cell, i * (1 - g * g))
    return (*of_cell, f, o * (1 - o) * bent, o * (1 - bent * bent))


def _lstm_tangent(given: Blocks, d_u: Blocks, d_carry: Carry, coefficients: Blocks) -> Carry:
    by_i, by_f, by_g, forget, by_o, by_cell = coefficients
    d_i, d_f, d_g, d_o = (x + y for x, y in zip(given, d_u, strict=True))
    d_cell = forget * d_carry.cell + by_i * d_i + by_f * d_f + by_g * d_g
    return Carry(by_o * d_o + by_cell * d_cell, d_cell)


def _gru(a: Blocks, u: Blocks, bias: jax.Array, carry: Carry, activation: str) -> tuple[Carry, Blocks]:
    (a_r, a_z, a_n), (u_r, u_z, u_n) = a, u
    r, z = jax.nn.sigmoid(a_r + u_r), jax.nn.sigmoid(a_z + u_z)
    inner = u_n + bias[None]
    n = jnp.tanh(a_n + r * inner)
    return Carry((1 - z) * n + z * carry.hidden, carry.cell), (r, z, n, inner)


def _gru_coefficients(kept: Blocks, previous: Carry, activation: str) -> Blocks:
    r, z, n, inner = kept
    by_n = (1 - z) * (1 - n * n)
    return by_n * inner * r * (1 - r), (previous.hidden - n) * z * (1 - z), by_n, r, z


def _gru_tangent(given: Blocks, d_u: Blocks, d_carry: Carry, coefficients: Blocks) -> Carry:
    by_r, by_z, by_n, reset, keep = coefficients
    (g_r, g_z, g_n), (d_r, d_z, d_n) = given, d_u
    d_hidden = by_r * (g_r + d_r) + by_z * (g_z + d_z) + by_n * (g_n + reset * d_n) + keep * d_carry.hidden
    return Carry(d_hidden, d_carry.cell)


def _given(d_a: Blocks, d_u: Blocks, d_bias: jax.Array, coefficients: tuple) -> Blocks:
    """What comes from outside of the loop: changes of the inputs' and of the weights' part."""
    return tuple(x + y for x, y in zip(d_a, d_u, strict=True))


def _gru_given(d_a: Blocks, d_u: Blocks, d_bias: jax.Array, coefficients: tuple) -> Blocks:
    reset = coefficients[3]
    d_r, d_z, d_n = d_u
    return _given(d_a, (d_r, d_z, reset * (d_n + d_bias[None, None])), d_bias, coefficients)


_CELLS = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}
_COEFFICIENTS = {"rnn": _rnn_coefficients, "lstm": _lstm_coefficients, "gru": _gru_coefficients}
_TANGENTS = {"rnn": _rnn_tangent, "lstm": _lstm_tangent, "gru": _gru_tangent}
_GIVEN = {"rnn": _given, "lstm": _given, "gru": _gru_given}
