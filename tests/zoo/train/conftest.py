"""A network small enough to train hundreds of steps, and batches that depend on nothing but their number."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import zoo


class Perceptron(nn.Module):
    """(B, F) → (B, 3) without statistics, dropout, `mask` or `axis_name`: the plainest model there is."""

    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        x = jnp.tanh(nn.Dense(5, param_dtype=self.param_dtype, name="hidden")(inputs))
        return nn.Dense(3, param_dtype=self.param_dtype, name="head")(x)


@pytest.fixture(scope="session")
def perceptron():
    """`perceptron(param_dtype=…)`: a model of two dense layers."""
    return Perceptron


@pytest.fixture(scope="session")
def convnet():
    """`convnet(dropout=…, …)`: a ConvNet of one stage, with BatchNorm."""

    def make(**options):
        return zoo.create("convnet", num_classes=3, widths=(4,), depths=(1,), **options)

    return make


@pytest.fixture(scope="session")
def make_batch():
    """`make_batch(number, size, shape, dtype)`: {"image", "label", "mask"} of host arrays; every fifth one masked."""

    def make(number=0, *, size=8, shape=(4,), dtype=np.float32):
        rng = np.random.default_rng([7, number])
        image = rng.normal(size=(size, *shape)).astype(dtype)
        label = rng.integers(0, 3, size).astype(np.int32)
        return {"image": image, "label": label, "mask": (np.arange(size) % 5 != 4).astype(dtype)}

    return make


def _bits(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    leaf = np.asarray(leaf)
    return leaf.dtype, leaf.shape, leaf.tobytes()


@pytest.fixture(scope="session")
def bits():
    """`bits(tree)`: list of (path, dtype, shape, bytes), typed keys included; equal if and only if bitwise equal."""
    return lambda tree: [
        (jax.tree_util.keystr(path), *_bits(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


@pytest.fixture(scope="session")
def apart():
    """`apart(a, b)`: largest ‖a − b‖ / ‖b‖ over the arrays of two trees, keys and integers left out."""

    def measure(a, b):
        assert jax.tree.structure(a) == jax.tree.structure(b)
        worst = 0.0
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            if jnp.issubdtype(x.dtype, jnp.floating):
                x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
                worst = max(
                    worst, float(np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-300)) if x.any() or y.any() else 0
                )
        return worst

    return measure
