"""Views of images over which outputs are averaged in evaluation."""

import jax
import jax.numpy as jnp

from zoo.augment import d4


def d4_views(images: jax.Array) -> jax.Array:
    """The 8 turns and mirrorings of square images (B, H, W, C) → (8, B, H, W, C), the identity first."""
    return jnp.stack([jax.vmap(lambda image, g=g: d4(image, g))(images) for g in range(8)])


def d4_unview(outputs: jax.Array) -> jax.Array:
    """Turn maps (8, B, H, W, K) of the views of `d4_views` back, so that all show the image as it was."""
    # A quarter turn is undone by three; mirrorings undo themselves.
    inverse = (0, 3, 2, 1, 4, 5, 6, 7)
    return jnp.stack([jax.vmap(lambda one, g=g: d4(one, g))(outputs[i]) for i, g in enumerate(inverse)])
