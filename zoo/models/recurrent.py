"""Recurrent networks: one state, the same rule at every step, so that a sequence may be of any length.

Plain (Elman 1990, https://doi.org/10.1207/s15516709cog1402_1), LSTM (Hochreiter & Schmidhuber 1997,
https://doi.org/10.1162/neco.1997.9.8.1735) and GRU (Cho+14, https://arxiv.org/abs/1406.1078); in both directions of
time on request (Schuster & Paliwal 1997, https://doi.org/10.1109/78.650093). What differs: one bias per block of the
products where the papers' libraries add two; the bias of the forget gate begins at one (Gers+00). Recurrent weights
begin orthogonal (Saxe+13, https://arxiv.org/abs/1312.6120), as the identity (Le+15, https://arxiv.org/abs/1504.00941:
with rectifiers the remedy of the plain cell for gradients that vanish) or normal.

What stands beyond the length of a sequence never changes a result, in either direction. The state can be carried from
one piece of a sequence to the next: pieces give what the whole gives, and truncated back-propagation through time is
training on pieces with the state carried over.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    GATES,
    Activation,
    Carry,
    CellName,
    Dropout,
    Sequence,
    Tap,
    as_sequence,
    masked_attention,
    masked_mean,
    recur,
    zero_carry,
)
from zoo.layers.recurrence_cudnn import check_cudnn, recur_cudnn
from zoo.models.card import Card

Readout = Literal["last", "mean", "attention", "steps"]
Start = Literal["orthogonal", "identity", "normal"]
Backend = Literal["scan", "cudnn"]


class RecurrentNet(nn.Module):
    """A `Sequence`, or an array (B, T, C) of which all steps count, → (B, num_classes), or (B, T, num_classes).

    Layers are `embed`, `layer{l}_forward` and `layer{l}_backward`, `attention`, `head`; taps `layer{l}`, (B, T, H) or
    (B, T, 2 H) with both directions.

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        cell: `"rnn"`, `"lstm"` or `"gru"`.
        width: units H of each layer and direction.
        layers: number of layers.
        bidirectional: whether each layer also runs backward in time; the outputs stand side by side.
        readout: what the head sees: `"last"`, the state after the last step of each direction; `"mean"` over the valid
            steps; `"attention"`, their mean with learned weights (Bahdanau+14, https://arxiv.org/abs/1409.0473, with
            one query); `"steps"`, every step by itself.
        symbols: number of symbols of the vocabulary: inputs are then whole numbers (B, T); 0 for numbers.
        embedding: channels of a symbol.
        dropout: rate between layers and before the head.
        activation: of the plain cell, `"tanh"` or `"relu"`.
        start: recurrent weights at the beginning: `"orthogonal"`, `"identity"` or `"normal"` of variance 1 / H, in
            each block of the products.
        forget_bias: bias of the LSTM's forget gate at the beginning.
        backend: `"scan"`, a loop that runs anywhere; `"cudnn"`, the same by NVIDIA's library, for the LSTM in float32
            on an NVIDIA GPU, without forward or second derivatives (`zoo.layers.recurrence_cudnn`).
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation, carries included; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    cell: CellName = "lstm"
    width: int = 64
    layers: int = 1
    bidirectional: bool = False
    readout: Readout = "last"
    symbols: int = 0
    embedding: int = 16
    dropout: float = 0.0
    activation: Activation = "tanh"
    start: Start = "orthogonal"
    forget_bias: float = 1.0
    backend: Backend = "scan"
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        inputs: Sequence | jax.Array,
        *,
        train: bool = False,
        mask: jax.Array | None = None,
        carry: tuple[Carry, ...] | None = None,
        return_carry: bool = False,
    ) -> Any:
        """Outputs; with `return_carry` the pair of outputs and the states after the last valid step.

        Args:
            inputs: values (B, T, C), or whole numbers (B, T) with a vocabulary.
            train: dropout acts.
            mask: (B,), ignored: examples have nothing in common.
            carry: state before the first step, one for each layer; zeros when not given. For one direction only.
            return_carry: return the state too.
        """
        self._check(carry, return_carry)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        sequence = as_sequence("RecurrentNet", inputs, channels=self.in_channels, symbols=self.symbols)
        x, valid, known = sequence.values, sequence.valid, isinstance(inputs, Sequence)
        if self.symbols:
            x = nn.Embed(self.symbols, self.embedding, name="embed", **types)(x)
        elif self.dtype is not None:
            x = x.astype(self.dtype)
        carries, ends = [], []
        for layer in range(1, self.layers + 1):
            outputs, ends = [], []
            for way in ("forward", "backward") if self.bidirectional else ("forward",):
                cell = Recurrence(
                    cell=self.cell,
                    width=self.width,
                    reverse=way == "backward",
                    activation=self.activation,
                    start=self.start,
                    forget_bias=self.forget_bias,
                    backend=self.backend,
                    name=f"layer{layer}_{way}",
                    **types,
                )
                first = None if carry is None else carry[layer - 1]
                steps, end = cell(x, valid if known else None, first)
                outputs.append(steps)
                ends.append(end.hidden)
                carries.append(end)
            x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=-1)
            x = Tap(name=f"layer{layer}")(x)
            if layer < self.layers:
                x = Dropout(self.dropout, axis_name=self.axis_name, name=f"dropout{layer}")(x, train=train)
        x = self._read(x, jnp.concatenate(ends, axis=-1), valid, types)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        x = nn.Dense(self.num_classes, name="head", **types)(x)
        return (x, tuple(carries)) if return_carry else x

    def _read(self, x: jax.Array, end: jax.Array, valid: jax.Array, types: dict[str, Any]) -> jax.Array:
        if self.readout == "last":
            return end
        if self.readout == "mean":
            return masked_mean(x, valid)
        if self.readout == "attention":
            scores = nn.Dense(1, use_bias=False, name="attention", **types)(jnp.tanh(x))[..., 0]
            return masked_attention(x, scores, valid)
        return x

    def _check(self, carry: Any, return_carry: bool) -> None:
        if min(self.width, self.layers, self.embedding) < 1 or self.symbols < 0:
            raise ValueError(
                f"width {self.width}, layers {self.layers} and embedding {self.embedding} must be at least 1, symbols "
                f"{self.symbols} at least 0."
            )
        if self.readout not in ("last", "mean", "attention", "steps"):
            raise ValueError(f"readout must be 'last', 'mean', 'attention' or 'steps', got {self.readout!r}.")
        if self.bidirectional and (carry is not None or return_carry):
            raise ValueError(
                "A state cannot be carried through a network that reads backward too: it would have to know the end. "
                "Set bidirectional=False."
            )
        if carry is not None and len(carry) != self.layers:
            raise ValueError(f"carry should hold a state for each of the {self.layers} layers, got {len(carry)}.")


class Recurrence(nn.Module):
    """One layer in one direction: (B, T, C) → outputs of all steps (B, T, H) and the state after the last valid one.

    Parameters: `input` (C, G·H), `recurrent` (H, G·H), `bias` (G·H,), and `recurrent_bias` (H,) of the GRU; the blocks
    are in the order of `zoo.layers.recur`.
    """

    cell: CellName
    width: int
    reverse: bool = False
    activation: Activation = "tanh"
    start: Start = "orthogonal"
    forget_bias: float = 1.0
    backend: Backend = "scan"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, valid: jax.Array | None = None, carry: Carry | None = None
    ) -> tuple[jax.Array, Carry]:
        if self.cell not in GATES:
            raise ValueError(f"cell must be one of {sorted(GATES)}, got {self.cell!r}.")
        if self.backend not in ("scan", "cudnn"):
            raise ValueError(f"backend must be 'scan' or 'cudnn', got {self.backend!r}.")
        if self.start not in _STARTS:
            raise ValueError(f"start must be one of {sorted(_STARTS)}, got {self.start!r}.")
        gates, width = GATES[self.cell], self.width
        columns = gates * width
        kernel = self.param("input", nn.initializers.lecun_normal(), (x.shape[-1], columns), self.param_dtype)
        recurrent = self.param("recurrent", self._recurrent_init, (width, columns), self.param_dtype)
        bias = self.param("bias", self._bias_init, (columns,), self.param_dtype)
        inner = None
        if self.cell == "gru":
            inner = self.param("recurrent_bias", nn.initializers.zeros, (width,), self.param_dtype)
        dtype = self.dtype or jnp.promote_types(x.dtype, self.param_dtype)
        x, kernel, recurrent, bias = (a.astype(dtype) for a in (x, kernel, recurrent, bias))
        inner = None if inner is None else inner.astype(dtype)
        carry = zero_carry(self.cell, x.shape[0], width, dtype) if carry is None else carry
        carry = Carry(*(part.astype(dtype) for part in carry))
        if self.backend == "cudnn":
            check_cudnn(self.cell, dtype)
            lengths = None if valid is None else jnp.sum(valid, axis=1)
            return recur_cudnn(x, kernel, recurrent, bias, carry, lengths=lengths, reverse=self.reverse)
        projected = jnp.swapaxes(x, 0, 1) @ kernel + bias[None, None]
        steps, end = recur(
            self.cell,
            projected,
            recurrent,
            carry,
            bias=inner,
            valid=None if valid is None else valid.T,
            reverse=self.reverse,
            activation=self.activation,
        )
        return jnp.swapaxes(steps, 0, 1), end

    def _recurrent_init(self, key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
        keys = jax.random.split(key, GATES[self.cell])
        blocks = [_STARTS[self.start](key, (self.width, self.width), dtype) for key in keys]
        return jnp.concatenate(blocks, axis=1)

    def _bias_init(self, key: jax.Array, shape: tuple[int], dtype: Any) -> jax.Array:
        bias = jnp.zeros(shape, dtype)
        return bias.at[self.width : 2 * self.width].set(self.forget_bias) if self.cell == "lstm" else bias


def _identity(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    return jnp.eye(*shape, dtype=dtype)


_STARTS = {
    "orthogonal": nn.initializers.orthogonal(),
    "identity": _identity,
    "normal": nn.initializers.variance_scaling(1.0, "fan_in", "normal"),
}

_INPUTS = "Sequence of values (B, T, C) and lengths (B,), or (B, T, C)"
_TINY = {"num_classes": 3, "width": 5, "layers": 2, "dropout": 0.25}

VARIANTS = {
    "rnn": Card(
        module=RecurrentNet,
        config={"cell": "rnn"},
        title="plain recurrent network",
        paper="https://doi.org/10.1207/s15516709cog1402_1",
        inputs=_INPUTS,
        example=(1, 100, 8),
        tiny=_TINY,
        tiny_example=(2, 7, 2),
    ),
    "lstm": Card(
        module=RecurrentNet,
        config={"cell": "lstm"},
        title="long short-term memory",
        paper="https://doi.org/10.1162/neco.1997.9.8.1735",
        inputs=_INPUTS,
        example=(1, 100, 8),
        tiny={**_TINY, "bidirectional": True, "readout": "attention"},
        tiny_example=(2, 7, 2),
    ),
    "gru": Card(
        module=RecurrentNet,
        config={"cell": "gru"},
        title="gated recurrent units",
        paper="https://arxiv.org/abs/1406.1078",
        inputs=_INPUTS,
        example=(1, 100, 8),
        tiny={**_TINY, "readout": "mean"},
        tiny_example=(2, 7, 2),
    ),
}
