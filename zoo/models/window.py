"""Fixed window: dense layers on the last few steps. What it has not in its window it cannot remember.

Bengio+03, https://www.jmlr.org/papers/v3/bengio03a.html, for any numbers instead of words. The baseline that recurrent
networks are held against: it sees the last `window` steps before each step, zeros before the first one.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import Dropout, Sequence, Tap, as_sequence, last_valid
from zoo.models.card import Card


class WindowNet(nn.Module):
    """A `Sequence`, or an array (B, T, C) of which all steps count, → (B, num_classes), or (B, T, num_classes).

    Attributes:
        num_classes: number of outputs.
        in_channels: number of input channels, checked when given.
        window: number of steps that are seen, the present one included.
        widths: units of the hidden layers.
        readout: `"last"`, the outputs at the last valid step, or `"steps"`, those of all.
        symbols: number of symbols of the vocabulary: inputs are then whole numbers (B, T); 0 for numbers.
        embedding: channels of a symbol.
        dropout: rate after each hidden layer.
        axis_name: device axis of `pmap`, set by the training step.
        dtype: dtype of the computation; `None` follows the input.

    Raises:
        ValueError: an input or options that cannot be meant.
    """

    num_classes: int
    in_channels: int | None = None
    window: int = 4
    widths: tuple[int, ...] = (64, 64)
    readout: Literal["last", "steps"] = "last"
    symbols: int = 0
    embedding: int = 16
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Sequence | jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        if min(self.window, self.embedding, *self.widths) < 1 or self.symbols < 0:
            raise ValueError(
                f"window {self.window}, widths {self.widths} and embedding {self.embedding} must be at least 1, "
                f"symbols {self.symbols} at least 0."
            )
        if self.readout not in ("last", "steps"):
            raise ValueError(f"readout must be 'last' or 'steps', got {self.readout!r}.")
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        sequence = as_sequence("WindowNet", inputs, channels=self.in_channels, symbols=self.symbols)
        x = sequence.values
        if self.symbols:
            x = nn.Embed(self.symbols, self.embedding, name="embed", **types)(x)
        x = past(x, self.window)
        if self.readout == "last":
            x = last_valid(x, sequence.lengths)
        for i, units in enumerate(self.widths, start=1):
            x = Tap(name=f"hidden{i}")(nn.relu(nn.Dense(units, name=f"dense{i}", **types)(x)))
            x = Dropout(self.dropout, axis_name=self.axis_name, name=f"dropout{i}")(x, train=train)
        return nn.Dense(self.num_classes, name="head", **types)(x)


def past(x: jax.Array, window: int) -> jax.Array:
    """Each step of (B, T, C) beside those before it: (B, T, window · C), the oldest first, zeros before the start."""
    padded = jnp.pad(x, ((0, 0), (window - 1, 0), (0, 0)))
    return jnp.concatenate([padded[:, i : i + x.shape[1]] for i in range(window)], axis=-1)


VARIANTS = {
    "window": Card(
        module=WindowNet,
        config={},
        title="dense layers on the last steps, the baseline without memory",
        paper="https://www.jmlr.org/papers/v3/bengio03a.html",
        inputs="Sequence of values (B, T, C) and lengths (B,), or (B, T, C)",
        example=(1, 100, 8),
        tiny={"num_classes": 3, "window": 3, "widths": (6, 5), "dropout": 0.25},
        tiny_example=(2, 7, 2),
    )
}
