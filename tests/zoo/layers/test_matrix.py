import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import Conv, conv2d, conv_transpose, convolution_matrix

DECK = jnp.array([[1, 4, 1], [1, 4, 3], [3, 3, 1]])

CASES = [
    # sizes, kernel, stride, pad
    ((7,), (3,), 1, 0),
    ((8,), (4,), 2, 1),
    ((4, 4), (3, 3), 1, 0),
    ((5, 6), (3, 2), 2, 1),
    ((3, 4, 3), (2, 2, 3), 1, 1),
]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def literal(kernel, size, stride, pad, padding):
    """Matrix of kernel (…, C_in, C_out), entry by entry: where does each input pixel meet each output pixel?"""
    ndim = len(size)
    outputs = [(n + 2 * pad - k) // stride + 1 for n, k in zip(size, kernel.shape[:ndim], strict=True)]
    matrix = np.zeros((*outputs, kernel.shape[-1], *size, kernel.shape[-2]))
    for place in itertools.product(*map(range, outputs)):
        for offset in itertools.product(*map(range, kernel.shape[:ndim])):
            pixel = [p * stride + o - pad for p, o in zip(place, offset, strict=True)]
            if padding == "circular":
                pixel = [i % n for i, n in zip(pixel, size, strict=True)]
            if all(0 <= i < n for i, n in zip(pixel, size, strict=True)):
                for c, k in itertools.product(*map(range, kernel.shape[ndim:])):
                    matrix[(*place, k, *pixel, c)] += kernel[(*offset, c, k)]
    return matrix.reshape(np.prod(outputs) * kernel.shape[-1], -1)


def test_the_matrix_of_the_deck():
    matrix = convolution_matrix(DECK, (4, 4))
    assert matrix.astype(int).tolist() == [
        [1, 4, 1, 0, 1, 4, 3, 0, 3, 3, 1, 0, 0, 0, 0, 0],
        [0, 1, 4, 1, 0, 1, 4, 3, 0, 3, 3, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 4, 1, 0, 1, 4, 3, 0, 3, 3, 1, 0],
        [0, 0, 0, 0, 0, 1, 4, 1, 0, 1, 4, 3, 0, 3, 3, 1],
    ]
    image = jnp.arange(16.0).reshape(4, 4)
    assert (matrix @ image.ravel()).reshape(2, 2).tolist() == conv2d(image, DECK).tolist()


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("channels", [None, (1, 1), (2, 3)])
@pytest.mark.parametrize(("size", "sides", "stride", "pad"), CASES)
def test_equals_the_literal_matrix(size, sides, stride, pad, channels, padding, x64):
    kernel = draw(*sides, *(channels or ()))
    matrix = convolution_matrix(kernel, size, stride=stride, pad=pad, padding=padding)
    with_channels = kernel if channels else kernel[..., None, None]
    # Sums only where a kernel wraps around onto itself: two or three terms.
    assert np.allclose(matrix, literal(with_channels, size, stride, pad, padding), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize(("stride", "size"), [(1, (5, 4)), (2, (6, 4)), (2, (8,))])
def test_is_the_matrix_of_our_convolution_and_its_transpose_that_of_ours(stride, size, padding, x64, close):
    kernel, x = draw(*(3,) * len(size), 2, 3), draw(1, *size, 2, seed=1)
    matrix = convolution_matrix(kernel, size, stride=stride, pad=1, padding=padding)
    layer = Conv(3, kernel=3, stride=stride, padding=padding, use_bias=False)
    y = layer.apply({"params": {"kernel": jnp.asarray(kernel)}}, x)
    close(matrix @ x.ravel(), y.ravel(), 1e-13)
    back = conv_transpose(y, jnp.asarray(kernel), stride=stride, padding=padding, size=size)
    close(matrix.T @ y.ravel(), back.ravel(), 1e-13)


def test_the_transpose_is_the_adjoint_and_not_the_inverse(x64):
    matrix = convolution_matrix(DECK, (4, 4))
    x, y = draw(16), draw(4, seed=1)
    assert jnp.vdot(matrix @ x, y) == pytest.approx(float(jnp.vdot(x, matrix.T @ y)), rel=1e-13)
    # A 4×16 matrix loses 12 of 16 dimensions: no matrix brings them back, and the transpose not even the other four.
    assert np.linalg.matrix_rank(matrix.T @ matrix) == 4
    assert not np.allclose(matrix.T @ matrix, np.eye(16), atol=0.1)
    assert not np.allclose(matrix @ matrix.T, np.eye(4), atol=0.1)


def test_circular_convolutions_commute_with_shifts():
    matrix = convolution_matrix(DECK, (4, 5), pad=1, padding="circular")
    shift = jnp.stack([jnp.roll(e.reshape(4, 5), (1, 2), (0, 1)).ravel() for e in jnp.eye(20)], axis=1)
    assert np.array_equal(matrix @ shift, shift @ matrix)  # small whole numbers: exact
    zero = convolution_matrix(DECK, (4, 5), pad=1)
    assert not np.array_equal(zero @ shift, shift @ zero)


def test_jit_grad_and_vmap(x64, close):
    kernels = draw(3, 3, 3)

    def norm(kernel):
        return jnp.sum(convolution_matrix(kernel, (5, 5)) ** 2)

    # Every entry of the kernel stands in each of the nine rows once: the norm is 9 |k|².
    close(jax.jit(jax.vmap(jax.grad(norm)))(kernels), 18 * jnp.asarray(kernels), 1e-13)


def test_kernels_that_do_not_go_with_the_size_are_refused():
    with pytest.raises(ValueError, match=r"size \(4, 4\) needs a kernel of 2 axes, or 4 with channels.*shape \(3,\)"):
        convolution_matrix(jnp.ones(3), (4, 4))
    with pytest.raises(ValueError, match=r"kernel of \(3, 3\) does not fit into an image of \(2, 4\) with padding 0"):
        convolution_matrix(jnp.ones((3, 3)), (2, 4))
