"""Filters made by hand, and the plain convolution of one image with one filter.

What a convolutional layer does, before anything is learned: slide a small picture over a large one and write down how
well they agree. As in every network it is a cross-correlation, the filter is not turned around.
"""

import jax
import jax.numpy as jnp


def conv2d(image: jax.Array, filter: jax.Array, *, stride: int = 1) -> jax.Array:
    """Sum of products of `filter` with every part of `image` that it fits on ("valid": nothing is padded).

    out[i, j] = Σ_ab image[i·stride + a, j·stride + b] · filter[a, b].

    Args:
        image: (H, W); integers are taken as floating-point numbers.
        filter: (h, w), no larger than the image.
        stride: step in pixels.

    Returns:
        (⌊(H − h) / stride⌋ + 1, ⌊(W − w) / stride⌋ + 1).

    Raises:
        ValueError: not two axes each, or a filter larger than the image.
    """
    image, filter = jnp.asarray(image), jnp.asarray(filter)
    if image.ndim != 2 or filter.ndim != 2:
        raise ValueError(f"conv2d takes an image (H, W) and a filter (h, w), got shapes {image.shape}, {filter.shape}.")
    if any(f > n for f, n in zip(filter.shape, image.shape, strict=True)):
        raise ValueError(f"A filter of {filter.shape} does not fit on an image of {image.shape}: it must be smaller.")
    dtype = jnp.promote_types(jnp.result_type(image, filter), jnp.float32)
    outputs = jax.lax.conv_general_dilated(
        image.astype(dtype)[None, None],
        filter.astype(dtype)[None, None],
        window_strides=(stride, stride),
        padding="VALID",
        precision=jax.lax.Precision.HIGHEST,
    )
    return outputs[0, 0]


def angle_filter(size: int = 11, *, foot: bool = True, on: float = 0.9, off: float = 0.1) -> jax.Array:
    """An angle of 45° as one would draw it: `on` on its strokes, `off` elsewhere; (size, size), float32.

    The strokes are the anti-diagonal, bottom left to top right with the first row on top, and its foot, the last row.
    `foot=False` leaves the line alone: of size 3 it is the filter that scores 2.49 = 3·0.9² + 6·0.1² on its own pattern
    and 1.21 = 0.9² + 4·0.9·0.1 + 4·0.1² on the mirrored one.
    """
    strokes = jnp.eye(size, dtype=bool)[:, ::-1]
    strokes = strokes.at[-1].set(True) if foot else strokes
    return jnp.where(strokes, on, off).astype(jnp.float32)


def edge_filter(size: int = 3, *, axis: int = 1) -> jax.Array:
    """Brightness on one side less brightness on the other: −1 … 0 … 1 along `axis`; (size, size), float32.

    `axis=1` finds vertical edges, positive where it gets brighter to the right; `axis=0` horizontal ones, positive
    where it gets brighter downwards. Both sides are `size // 2` pixels wide; between them odd sizes have a 0
    (Prewitt's operator for 3).
    """
    profile = jnp.sign(jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2)
    return jnp.broadcast_to(profile[None, :] if axis == 1 else profile[:, None], (size, size))
