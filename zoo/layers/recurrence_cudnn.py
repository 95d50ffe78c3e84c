"""The LSTM on NVIDIA's GPUs by cuDNN, with our weights and our results: `jax.experimental.rnn` behind the same call.

cuDNN runs all steps in one kernel where a loop launches several for each. It knows the LSTM alone, in float32, with a
weight matrix in one flat array; it has a gradient and no other derivative: `jvp` and second derivatives need the scan.
Steps that do not count are zero there; here, as in `zoo.layers.recur`, they hold the state of the step before.
"""

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from zoo.layers.recurrence import GATES, Carry
from zoo.layers.sequence import reverse_valid, valid_steps


def pack_lstm(kernel: jax.Array, recurrent: jax.Array, bias: jax.Array) -> jax.Array:
    """Weights of one layer and direction in cuDNN's flat layout: W_ih, W_hh, b_ih and b_hh, gates i, f, g, o.

    Args:
        kernel: (C, 4·H), of the inputs.
        recurrent: (H, 4·H), of the state.
        bias: (4·H,); cuDNN has two, which it adds up: the other is zero.

    Returns:
        (4·H·(C + H + 2),).
    """
    return jnp.concatenate([kernel.T.ravel(), recurrent.T.ravel(), bias, jnp.zeros_like(bias)])


def recur_cudnn(
    x: jax.Array,
    kernel: jax.Array,
    recurrent: jax.Array,
    bias: jax.Array,
    carry: Carry,
    *,
    lengths: jax.Array | None = None,
    reverse: bool = False,
) -> tuple[jax.Array, Carry]:
    """What `recur("lstm", x W + b, U, …)` gives, batch first.

    Args:
        x: (B, T, C), float32.
        kernel: (C, 4·H), W; blocks in the order i, f, g, o.
        recurrent: (H, 4·H), U.
        bias: (4·H,), b.
        carry: the state before the first step, (B, H) each.
        lengths: (B,), how many steps count; all when not given.
        reverse: run from the last step that counts to the first.

    Returns:
        h of all steps (B, T, H), and the state after the last one.

    Raises:
        ValueError: shapes that do not belong together, or another dtype than float32.
    """
    batch, steps, channels = x.shape
    features = recurrent.shape[0]
    width = GATES["lstm"] * features
    expected = {
        "kernel": (kernel, (channels, width)),
        "recurrent": (recurrent, (features, width)),
        "bias": (bias, (width,)),
        "carry.hidden": (carry.hidden, (batch, features)),
        "carry.cell": (carry.cell, (batch, features)),
    }
    for name, (array, shape) in {"x": (x, x.shape), **expected}.items():
        if array.shape != shape or array.dtype != jnp.float32:
            raise ValueError(f"cuDNN needs {name} float32 of shape {shape}, got {array.dtype} of {array.shape}.")
    lengths = jnp.full(batch, steps, jnp.int32) if lengths is None else jnp.asarray(lengths, jnp.int32)
    outputs, hidden, cell = rnn.lstm(
        reverse_valid(x, lengths) if reverse else x,
        carry.hidden[None],
        carry.cell[None],
        pack_lstm(kernel, recurrent, bias),
        lengths,
        input_size=channels,
        hidden_size=features,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )
    end = Carry(hidden[0], cell[0])
    outputs = reverse_valid(outputs, lengths) if reverse else outputs
    # Backward in time, what stands beyond the end comes first: the state is still that of the start.
    beyond = (carry if reverse else end).hidden[:, None]
    return jnp.where(valid_steps(lengths, steps)[..., None], outputs, beyond), end


def check_cudnn(cell: str, dtype: jnp.dtype) -> None:
    """Raise `ValueError` unless cuDNN can run this cell in this dtype on the device in use."""
    if cell != "lstm":
        raise ValueError(f"backend='cudnn' runs cell='lstm' alone, got {cell!r}: set backend='scan'.")
    if dtype != jnp.float32:
        raise ValueError(f"backend='cudnn' computes in float32, got {jnp.dtype(dtype).name}: set backend='scan'.")
    device = jax.devices()[0]
    if "cuda" not in device.client.platform_version.lower():
        raise ValueError(
            f"backend='cudnn' needs an NVIDIA GPU, and JAX runs on {device.platform}: set backend='scan', which gives "
            "the same with the same weights."
        )
