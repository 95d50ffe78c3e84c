"""Refuse inputs that a network cannot mean, in words that say what was expected and what came."""

import jax


def check_image(
    name: str, inputs: jax.Array, *, ndims: tuple[int, ...] = (2,), channels: int | None = None, minimum: int = 1
) -> None:
    """Check an input (B, …, C) of the network called `name`.

    Args:
        name: the network, for the message.
        inputs: what came.
        ndims: numbers of spatial axes that the network takes.
        channels: number of channels it was made for, `None` for any.
        minimum: smallest size in pixels of a spatial axis, the product of all strides.

    Raises:
        ValueError: naming what was expected and what came.
    """
    layouts = {0: "(B, C)", 1: "(B, T, C)", 2: "(B, H, W, C)", 3: "(B, D, H, W, C)"}
    if inputs.ndim - 2 not in ndims:
        expected = " or ".join(layouts[n] for n in ndims)
        raise ValueError(f"{name} takes arrays {expected}, channels last; got shape {tuple(inputs.shape)}.")
    if channels is not None and inputs.shape[-1] != channels:
        raise ValueError(
            f"{name} was made for in_channels={channels}, but the input has {inputs.shape[-1]} channels "
            f"(shape {tuple(inputs.shape)}, channels last)."
        )
    if min(inputs.shape[1:-1], default=minimum) < minimum:
        raise ValueError(
            f"{name} halves its input down to nothing: every spatial axis needs at least {minimum} pixels, "
            f"got {tuple(inputs.shape[1:-1])}."
        )
