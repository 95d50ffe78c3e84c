"""What several tests of models and layers need: random variables, and a convolution written as loops."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def _randomise(seed, variables):
    # NumPy draws: jax.random would compile one program for every shape.
    draw = np.random.default_rng(seed)

    def one(path, leaf):
        kind = path[-1].key
        if kind in ("scale", "var"):
            value = draw.uniform(0.5, 1.5, leaf.shape)
        else:
            value = draw.normal(0, math.sqrt(2 / math.prod(leaf.shape[:-1])) if kind == "kernel" else 0.3, leaf.shape)
        return jnp.asarray(value, leaf.dtype)

    return jax.tree.map_with_path(one, variables)


@pytest.fixture(scope="session")
def randomise():
    """`randomise(seed, variables)`: random variables of their shapes and of sensible scale, no zero or one special."""
    return _randomise


def _literal_conv(x, kernel, bias=None, *, stride=1, padding="zero"):
    ndim, side = x.ndim - 2, kernel.shape[0]
    sizes = [(n - 1) // stride + 1 for n in x.shape[1:-1]]
    out = np.zeros((x.shape[0], *sizes, kernel.shape[-1]), np.float64)
    for place in itertools.product(*map(range, sizes)):
        for offset in itertools.product(range(side), repeat=ndim):
            source = [p * stride + o - (side - 1) // 2 for p, o in zip(place, offset, strict=True)]
            inside = all(0 <= i < n for i, n in zip(source, x.shape[1:-1], strict=True))
            if padding == "circular":
                source = [i % n for i, n in zip(source, x.shape[1:-1], strict=True)]
            elif not inside:
                continue
            out[(slice(None), *place)] += np.asarray(x)[(slice(None), *source)] @ np.asarray(kernel)[offset]
    return out if bias is None else out + np.asarray(bias)


@pytest.fixture(scope="session")
def literal_conv():
    """`literal_conv(x, kernel, bias, stride=…, padding=…)`: convolution (B, …, C) as loops over outputs and kernel."""
    return _literal_conv


def _literal_norm(x, params, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


@pytest.fixture(scope="session")
def literal_norm():
    """`literal_norm(x, params, stats)`: batch normalisation in evaluation, ε = 1e-5."""
    return _literal_norm


def _literal_edge_conv(x, mask, params, stats, *, places, k, include_self, pool, activation):
    out = np.zeros((len(x), params[f"dense{len(params) // 2}"]["kernel"].shape[1]))
    for i in np.flatnonzero(mask):
        others = [(np.sum((places[i] - places[j]) ** 2), j) for j in np.flatnonzero(mask) if include_self or j != i]
        messages = []
        for _, j in sorted(others)[:k]:
            h = np.concatenate([x[i], x[j] - x[i]])
            for layer in range(1, len(params) // 2 + 1):
                h = _literal_norm(h @ params[f"dense{layer}"]["kernel"], params[f"norm{layer}"], stats[f"norm{layer}"])
                h = activation(h)
            messages.append(h)
        if messages:
            out[i] = pool(messages, axis=0)
    return out


@pytest.fixture(scope="session")
def literal_edge_conv():
    """Edge convolution of one set (N, C) in evaluation, as loops over points, neighbours and layers.

    `literal_edge_conv(x, mask, params, stats, places=…, k=…, include_self=…, pool=np.max, activation=…)`: neighbours
    are nearest in `places` (N, D).
    """
    return _literal_edge_conv


@pytest.fixture(scope="session")
def close():
    """`close(got, expected, tolerance)` asserts max|got − expected| ≤ tolerance · max|expected|, tree by tree."""

    def check(got, expected, tolerance):
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
            name = jax.tree_util.keystr(path)
            assert jnp.shape(a) == jnp.shape(b), name
            error = np.max(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)))
            assert error <= tolerance * np.max(np.abs(np.asarray(b, np.float64))), (name, error)

    return check
