"""Continue sequences of symbols: what a network says of the next one, drawn, fed back, and so on.

The state is carried from step to step, so that the cost of a symbol does not grow with what stands before it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def draw(key: jax.Array, logits: jax.Array, *, temperature: float | jax.Array = 1.0) -> jax.Array:
    """A symbol from softmax(logits / temperature); the likeliest one at temperature 0.

    Args:
        key: for the draw.
        logits: (…, V).
        temperature: 0 or above; below 1 the likely become likelier. May be traced.

    Returns:
        (…) int32.
    """
    cold = jnp.asarray(temperature) <= 0
    scaled = logits / jnp.where(cold, 1.0, temperature).astype(logits.dtype)
    return jnp.where(cold, jnp.argmax(logits, axis=-1), jax.random.categorical(key, scaled, axis=-1)).astype(jnp.int32)


def continued(
    model: nn.Module,
    variables: Any,
    prompt: jax.Array,
    *,
    key: jax.Array,
    steps: int,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """`steps` symbols that follow each prompt.

    Args:
        model: takes symbols (B, T), `carry` and `return_carry`, and gives logits of the next symbol at every step
            (B, T, V): a `RecurrentNet` with `readout="steps"`.
        variables: its variables.
        prompt: (B, T) whole numbers, T ≥ 1, all of one length.
        key: for the draws.
        steps: how many symbols, static.
        temperature: see `draw`.

    Returns:
        (B, steps) int32.

    Raises:
        ValueError: an empty prompt, or no steps.
    """
    if prompt.ndim != 2 or prompt.shape[1] < 1 or steps < 1:
        raise ValueError(
            f"A prompt (B, T) of one symbol or more and at least one step are needed; got the shape {prompt.shape} and "
            f"{steps} steps."
        )
    logits, carry = model.apply(variables, prompt, return_carry=True)

    def step(state: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        logits, carry = state
        symbol = draw(key, logits, temperature=temperature)
        logits, carry = model.apply(variables, symbol[:, None], carry=carry, return_carry=True)
        return (logits[:, -1], carry), symbol

    _, symbols = jax.lax.scan(step, (logits[:, -1], carry), jax.random.split(key, steps))
    return symbols.T
