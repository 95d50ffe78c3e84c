from functools import partial
from itertools import product

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import explain


def slow_occlusion(f, x, patch, stride, fill):
    """Window after window, as written in the definition."""
    space = x.shape[1:-1]
    total, count = np.zeros(x.shape[:-1]), np.zeros(space)
    score = np.asarray(f(jnp.asarray(x)))
    starts = []
    for size, width, step in zip(space, patch, stride, strict=True):
        axis = [0]
        while axis[-1] + width < size:
            axis.append(axis[-1] + step)
        starts.append(axis)
    for corner in product(*starts):
        window = tuple(slice(start, start + width) for start, width in zip(corner, patch, strict=True))
        hidden = np.array(x)
        hidden[(slice(None), *window)] = np.broadcast_to(fill, x.shape)[(slice(None), *window)]
        drop = score - np.asarray(f(jnp.asarray(hidden)))
        total[(slice(None), *window)] += drop.reshape(-1, *(1,) * len(space))
        count[window] += 1
    assert (count > 0).all()
    return total / count


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        axes = tuple(range(1, x.ndim - 1))
        return nn.Dense(3)(jnp.tanh(nn.Conv(4, (3,) * len(axes))(x)).mean(axes))


CASES = [
    ((2, 11, 3), 3, 2),
    ((2, 11, 3), 11, 5),
    ((2, 6, 7, 2), 2, 2),
    ((2, 6, 7, 2), (3, 2), (2, 1)),
    ((2, 5, 4, 3, 1), (2, 3, 3), 2),
]


@pytest.mark.parametrize(("shape", "patch", "stride"), CASES)
@pytest.mark.parametrize("fill", [0.3, "mean image"])
def test_agrees_with_a_slow_loop(key, shape, patch, stride, fill):
    x = jax.random.normal(key, shape)
    fill = x.mean(0) if fill == "mean image" else fill
    f = explain.score(Net(), Net().init(key, x), jnp.array([0, 2]))
    got = explain.occlusion(f, x, patch=patch, stride=stride, fill=fill, chunk=3)
    axes = len(shape) - 2
    patch, stride = (np.broadcast_to(value, axes).tolist() for value in (patch, stride))
    expected = slow_occlusion(f, x, patch, stride, np.asarray(fill))
    assert got.shape == shape[:-1]
    np.testing.assert_allclose(got, expected, atol=1e-6)  # float32 rounding of logits of order 1


def test_of_a_sum_with_single_pixels_is_the_pixel(key):
    x = jax.random.normal(key, (2, 4, 5, 3))
    got = explain.occlusion(lambda x: x.sum((1, 2, 3)), x, patch=1, stride=1, fill=0.5)
    np.testing.assert_allclose(got, (x - 0.5).sum(-1), atol=1e-5)  # differences of float32 sums of 60 terms


def test_fill_may_be_a_function(key):
    x = jax.random.normal(key, (2, 6, 5, 1))
    f = lambda x: jnp.sum(x**2, (1, 2, 3))
    blurred = explain.occlusion(f, x, patch=2, stride=1, fill=lambda x: x.mean((1, 2), keepdims=True))
    np.testing.assert_array_equal(
        blurred, explain.occlusion(f, x, patch=2, stride=1, fill=x.mean((1, 2), keepdims=True))
    )
    np.testing.assert_array_equal(explain.occlusion(f, x, patch=2, stride=1, fill=lambda x: x), np.zeros((2, 6, 5)))


def test_jit_chunks_batches_and_vmap(key):
    x = jax.random.normal(key, (3, 6, 7, 2))
    variables = Net().init(key, x)
    target = jnp.array([0, 2, 1])
    method = partial(explain.occlusion, patch=3, stride=1)
    f = explain.score(Net(), variables, target)
    close = partial(np.testing.assert_allclose, atol=1e-6)  # float32 rounding of logits of order 1
    eager = method(f, x)
    for chunk in (1, 7, 100):  # 20 windows: inside jit a scan, three chunks, one
        close(method(f, x, chunk=chunk), eager)
        close(jax.jit(partial(method, chunk=chunk))(f, x), eager)

    def one(x, target):
        return method(explain.score(Net(), variables, target), x[None])[0]

    close(jnp.stack([one(x[i], target[i]) for i in range(3)]), eager)
    close(jax.vmap(one)(x, target), eager)


def test_bad_input(key):
    x = jnp.ones((2, 6, 7, 1))
    f = lambda x: x.reshape(2, -1).sum(1)
    with pytest.raises(ValueError, match=r"patch \(7, 7\) is larger than the inputs' spatial shape \(6, 7\)"):
        explain.occlusion(f, x, patch=7, stride=1)
    with pytest.raises(ValueError, match=r"stride \(3, 3\) is larger than patch \(2, 2\).*never be covered"):
        explain.occlusion(f, x, patch=2, stride=3)
    with pytest.raises(ValueError, match="patch must be at least 1 pixel; got 0"):
        explain.occlusion(f, x, patch=0, stride=1)
    with pytest.raises(ValueError, match=r"stride must be one number or 2.*got \(1, 1, 1\)"):
        explain.occlusion(f, x, patch=2, stride=(1, 1, 1))
    with pytest.raises(ValueError, match=r"fill must broadcast.*\(2, 6, 7, 1\); got \(6, 7\)"):
        explain.occlusion(f, x, patch=2, stride=1, fill=jnp.ones((6, 7)))
    with pytest.raises(ValueError, match=r"got shape \(2, 6\), without spatial axes"):
        explain.occlusion(f, x[:, :, 0, 0], patch=1, stride=1)
