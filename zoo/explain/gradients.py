"""Attribution by gradients of a score f: x (B, …) → (B,), f any JAX function.

Every function takes inputs x (B, …) of any floating-point type and returns an attribution of the same shape, channels
kept: their sum, their maximum of absolute values (as in Simonyan+14) or a map per channel is the reader's choice. What
is averaged over copies is accumulated, and returned, in float32 or better.

All work eagerly (compiled inside, once per function and shape) and inside `jax.jit` and `jax.vmap`. Common errors are
ValueErrors: inputs that are not floating point, a score that is not (B,), `chunk` < 1.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.explain._batched import fold
from zoo.explain.score import ScoreFunction, broadcast_to_inputs, prepare


def saliency(f: ScoreFunction, x: jax.Array, *, absolute: bool = False) -> jax.Array:
    """S = ∂f/∂x (Simonyan+14, arXiv 1312.6034, §3): to which inputs is the score sensitive? |S| when `absolute`."""
    f, x = prepare(f, x)
    gradient = _gradient(f, x)
    return jnp.abs(gradient) if absolute else gradient


def gradient_x_input(f: ScoreFunction, x: jax.Array) -> jax.Array:
    """x ⊙ ∂f/∂x (Shrikumar+16, arXiv 1605.01713): each input's first-order share, exact where f is linear."""
    f, x = prepare(f, x)
    return x * _gradient(f, x)


def smooth_grad(
    f: ScoreFunction, x: jax.Array, *, key: jax.Array, samples: int = 64, noise: float = 0.15, chunk: int = 8
) -> jax.Array:
    """Mean gradient in a neighbourhood: (1/n) Σₖ ∂f/∂x (x + εₖ), εₖ ~ N(0, σ²) (Smilkov+17, arXiv 1706.03825).

    σ is `noise` times the range max − min of each example. Noise of example i comes from `fold_in(key, i)`, whatever
    the batch size and `chunk`; `key` may instead be an array of B keys, one per example, which makes an example's
    result independent of its place in the batch. `chunk` copies of the batch are evaluated at once.

    Raises ValueError for samples < 1 and noise < 0.
    """
    f, x = prepare(f, x)
    return _noisy_moments(f, x, jnp.zeros_like(x), key, samples, noise, chunk)[0]


def var_grad(
    f: ScoreFunction, x: jax.Array, *, key: jax.Array, samples: int = 64, noise: float = 0.15, chunk: int = 8
) -> jax.Array:
    """Variance of the gradient in a neighbourhood: (1/n) Σₖ (gₖ − ḡ)², gₖ = ∂f/∂x (x + εₖ) (Adebayo+18, arXiv
    1810.03292).

    Noise, `key`, `chunk` and errors as in `smooth_grad`, which gives ḡ for the same key.
    """
    f, x = prepare(f, x)
    # Moments about the gradient at x itself: a variance from raw moments would lose its digits when noise is small.
    mean, square = _noisy_moments(f, x, _gradient(f, x), key, samples, noise, chunk)
    return jnp.maximum(square - mean**2, 0)


class Attribution(NamedTuple):
    """Values with the check that comes with them: `completeness_error` (B,) = Σ values − (f(x) − f(baseline))."""

    values: jax.Array
    completeness_error: jax.Array


def integrated_gradients(
    f: ScoreFunction,
    x: jax.Array,
    *,
    baseline: Any = 0.0,
    steps: int = 64,
    rule: Literal["gauss-legendre", "trapezoid"] = "gauss-legendre",
    chunk: int = 8,
) -> Attribution:
    """(x − b) ⊙ ∫₀¹ ∂f/∂x (b + α(x − b)) dα (Sundararajan+17, arXiv 1703.01365, eq. 1), by a rule with `steps` nodes.

    Completeness: the values of an example sum to f(x) − f(b). What the rule leaves over is returned; it shrinks with
    the number of steps, though not monotonically when f has kinks (ReLU). Gauss–Legendre with n nodes is exact for
    polynomials of degree 2n − 1 along the path; `trapezoid` has equidistant nodes, both ends included.

    `baseline` is a number or an array that broadcasts to x (the mean of the data, a blurred x, the background), or a
    tuple or list of such: values are then the average over the baselines, and sum to f(x) − mean f(b).
    `chunk` points of the path are evaluated at once.

    Raises ValueError for steps < 1 (< 2 for `trapezoid`), an unknown rule, no baseline or one of the wrong shape.
    """
    f, x = prepare(f, x)
    nodes, weights = _quadrature(rule, steps)
    several = isinstance(baseline, tuple | list)
    candidates = list(baseline) if several else [baseline]
    if not candidates:
        raise ValueError("baseline is empty: pass a number, an array, or a sequence of at least one.")
    candidates = [broadcast_to_inputs("baseline", value, x) for value in candidates]
    batch = max(value.shape[0] for value in candidates)
    baselines = jnp.stack([jnp.broadcast_to(value, (batch, *x.shape[1:])) for value in candidates])

    which = np.repeat(np.arange(len(candidates)), steps)
    path = (which, np.tile(nodes, len(candidates)), np.tile(weights, len(candidates)) / len(candidates))
    values = fold(_add_path_gradients, jnp.zeros(x.shape, _accumulator(x)), path, f, x, baselines, chunk=chunk)
    zeros = jnp.zeros(x.shape[:1], _accumulator(x))
    at_baselines = fold(_add_scores, zeros, (np.arange(len(candidates)),), f, x, baselines, chunk=chunk)
    return Attribution(values, _completeness_error(f, x, values, at_baselines / len(candidates)))


@jax.jit
def _gradient(f: ScoreFunction, x: jax.Array) -> jax.Array:
    # Examples do not mix, so the gradient of the sum holds each example's own.
    return jax.grad(lambda x: jnp.sum(f(x)))(x)


def _gradients(f: ScoreFunction, copies: jax.Array) -> jax.Array:
    """Gradients at copies (n, B, …) of a batch. `vmap`, not a longer batch: f may hold one target per example."""
    return jax.grad(lambda copies: jnp.sum(jax.vmap(f)(copies)))(copies)


def _accumulator(x: jax.Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)


def _per_copy(values: jax.Array, copies: jax.Array) -> jax.Array:
    """(n,) or (n, B) with axes of size 1 appended, to multiply copies (n, B, …)."""
    return values.reshape(*values.shape, *(1,) * (copies.ndim - values.ndim))


def _noisy_moments(
    f: ScoreFunction, x: jax.Array, centre: jax.Array, key: jax.Array, samples: int, noise: float, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """First and second moment of gradient − centre over noisy copies."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1; got {samples}.")
    if not isinstance(noise, jax.core.Tracer) and noise < 0:
        raise ValueError(f"noise is a fraction of the input's range and cannot be negative; got {noise}.")
    keys = _keys_per_example(key, x.shape[0])
    zeros = jnp.zeros(x.shape, _accumulator(x))
    noise = jnp.asarray(noise, x.dtype)
    total, square = fold(
        _add_noisy_gradients, (zeros, zeros), (np.arange(samples),), f, x, centre, keys, noise, chunk=chunk
    )
    return total / samples, square / samples


def _keys_per_example(key: jax.Array, batch: int) -> jax.Array:
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(batch))
    if key.shape != (batch,):
        raise ValueError(f"key must be one key or {batch} keys, one per example; got shape {key.shape}.")
    return key


@jax.jit
def _add_noisy_gradients(
    total: tuple[jax.Array, jax.Array],
    items: tuple[jax.Array],
    valid: jax.Array,
    f: ScoreFunction,
    x: jax.Array,
    centre: jax.Array,
    keys: jax.Array,
    noise: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    axes = tuple(range(1, x.ndim))
    sigma = noise * (jnp.max(x, axes, keepdims=True) - jnp.min(x, axes, keepdims=True))

    def draw(sample: jax.Array) -> jax.Array:
        def normal(key: jax.Array) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(key, sample), x.shape[1:], x.dtype)

        return jax.vmap(normal)(keys)

    copies = x[None] + sigma[None] * jax.vmap(draw)(items[0])
    deviations = (_gradients(f, copies) - centre[None]).astype(total[0].dtype)
    valid = _per_copy(valid, copies).astype(deviations.dtype)
    return total[0] + jnp.sum(valid * deviations, 0), total[1] + jnp.sum(valid * deviations**2, 0)


def _quadrature(rule: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1], float64."""
    least = {"gauss-legendre": 1, "trapezoid": 2}
    if rule not in least:
        raise ValueError(f"rule must be 'gauss-legendre' or 'trapezoid'; got {rule!r}.")
    if steps < least[rule]:
        raise ValueError(f"steps must be at least {least[rule]} for the {rule} rule; got {steps}.")
    if rule == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (nodes + 1) / 2, weights / 2
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


@jax.jit
def _add_path_gradients(
    total: jax.Array,
    items: tuple[jax.Array, jax.Array, jax.Array],
    valid: jax.Array,
    f: ScoreFunction,
    x: jax.Array,
    baselines: jax.Array,
) -> jax.Array:
    which, nodes, weights = items
    start = baselines[which].astype(total.dtype)  # (n, 1 or B, …)
    way = x[None].astype(total.dtype) - start
    points = start + _per_copy(nodes, start).astype(total.dtype) * way
    weights = _per_copy(weights * valid, points).astype(total.dtype)
    return total + jnp.sum(weights * way * _gradients(f, points.astype(x.dtype)).astype(total.dtype), 0)


@jax.jit
def _add_scores(
    total: jax.Array, items: tuple[jax.Array], valid: jax.Array, f: ScoreFunction, x: jax.Array, baselines: jax.Array
) -> jax.Array:
    (which,) = items
    points = jnp.broadcast_to(baselines[which], (len(which), *x.shape))
    return total + jnp.sum(valid[:, None].astype(total.dtype) * jax.vmap(f)(points).astype(total.dtype), 0)


@jax.jit
def _completeness_error(f: ScoreFunction, x: jax.Array, values: jax.Array, at_baseline: jax.Array) -> jax.Array:
    return jnp.sum(values, tuple(range(1, x.ndim))) - (f(x).astype(values.dtype) - at_baseline)
