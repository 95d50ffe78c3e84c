"""A convolution written out as the matrix that it is.

A convolution is linear, hence a matrix A with A·vec(x) = vec(conv(x)): sparse, with the same few weights in every row.
Its transpose is the transposed convolution. That is the adjoint, ⟨A x, y⟩ = ⟨x, Aᵀ y⟩, and not the inverse: Aᵀ brings
back the shape of the image, not the image. With circular padding and stride 1 the matrix is (block-)circulant and
commutes with cyclic shifts.
"""

import math

import jax
import jax.numpy as jnp

from zoo.layers.convolution import Padding, pad_spatial


def convolution_matrix(
    kernel: jax.Array, size: tuple[int, ...], *, stride: int = 1, pad: int = 0, padding: Padding = "zero"
) -> jax.Array:
    """The dense matrix of a convolution, so that `matrix @ x.ravel()` is `conv(x).ravel()`.

    Args:
        kernel: (k, …), one channel, or (k, …, C_in, C_out) as in `Conv`; as many spatial axes as `size` names.
        size: pixels of the image along each axis, one to three.
        stride: step in pixels.
        pad: pixels added on every side.
        padding: what they hold, `"zero"` or `"circular"`.

    Returns:
        (outputs, inputs), both counted in the order of `ravel` of (…, C): the last spatial axis faster than the
        first, channels fastest. One channel: (Π m, Π n) with m = ⌊(n + 2·pad − k) / stride⌋ + 1.

    Raises:
        ValueError: a kernel with another number of axes than `size`, or larger than the padded image.
    """
    kernel, size = jnp.asarray(kernel), tuple(size)
    ndim = len(size)
    if ndim not in (1, 2, 3) or kernel.ndim not in (ndim, ndim + 2):
        raise ValueError(
            f"An image of size {size} needs a kernel of {ndim} axes, or {ndim + 2} with channels (…, C_in, C_out), and "
            f"one to three spatial axes; got a kernel of shape {kernel.shape}."
        )
    kernel = kernel if kernel.ndim == ndim + 2 else kernel[..., None, None]
    kernel = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    if any(k > n + 2 * pad for k, n in zip(kernel.shape, size, strict=False)):
        raise ValueError(
            f"A kernel of {kernel.shape[:ndim]} does not fit into an image of {size} with padding {pad}: it must not "
            "be larger."
        )
    inputs = math.prod(size) * kernel.shape[-2]
    letters = "DHW"[3 - ndim :]
    # Column i of the matrix is the response to the image whose pixel i is 1.
    columns = jax.lax.conv_general_dilated(
        pad_spatial(jnp.eye(inputs, dtype=kernel.dtype).reshape(inputs, *size, -1), [(pad, pad)] * ndim, padding),
        kernel,
        window_strides=(stride,) * ndim,
        padding="VALID",
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return columns.reshape(inputs, -1).T
