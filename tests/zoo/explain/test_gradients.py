from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import explain

pytestmark = pytest.mark.smoke

SHAPE = (3, 4, 5, 2)
SIZE = 40


class SmoothNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.softplus(nn.Conv(4, (3, 3), param_dtype=x.dtype)(x))
        return nn.Dense(3, param_dtype=x.dtype)(jnp.tanh(x.reshape(len(x), -1)))


@pytest.fixture
def x(key):
    return jax.random.normal(key, SHAPE)


@pytest.fixture
def weights(key):
    return jax.random.normal(jax.random.fold_in(key, 1), SHAPE[1:])


@pytest.fixture
def score(key, x):
    variables = SmoothNet().init(key, x)
    return explain.score(SmoothNet(), variables, jnp.array([0, 2, 1]))


def linear(weights):
    return lambda x: jnp.tensordot(x, weights, 3) + 7.0


def quadratic(matrix):
    """½ xᵀAx: its gradient is Ax."""
    return lambda x: jnp.einsum("bi,ij,bj->b", x.reshape(len(x), -1), matrix, x.reshape(len(x), -1)) / 2


def symmetric(key, dtype=jnp.float32):
    matrix = jax.random.normal(key, (SIZE, SIZE), dtype)
    return matrix + matrix.T


METHODS = {
    "saliency": explain.saliency,
    "absolute": partial(explain.saliency, absolute=True),
    "gradient_x_input": explain.gradient_x_input,
    "smooth_grad": partial(explain.smooth_grad, key=jax.random.key(3), samples=5, chunk=2),
    "var_grad": partial(explain.var_grad, key=jax.random.key(3), samples=5, chunk=2),
    "integrated_gradients": partial(explain.integrated_gradients, steps=5, chunk=2),
    "baselines": partial(explain.integrated_gradients, baseline=[0.0, np.ones(SHAPE[1:])], steps=40, chunk=2),
}


def test_of_a_linear_function_everything_is_exact(x, weights, key):
    f = linear(weights)
    expected = np.broadcast_to(weights, SHAPE)
    np.testing.assert_allclose(explain.saliency(f, x), expected, rtol=1e-6)
    np.testing.assert_allclose(explain.saliency(f, x, absolute=True), abs(expected), rtol=1e-6)
    np.testing.assert_allclose(explain.gradient_x_input(f, x), expected * x, rtol=1e-6)
    np.testing.assert_allclose(explain.smooth_grad(f, x, key=key), expected, rtol=1e-6)
    np.testing.assert_allclose(explain.var_grad(f, x, key=key), np.zeros(SHAPE), atol=1e-12)
    baseline = x.mean(0)
    for rule, steps in [("gauss-legendre", 1), ("trapezoid", 2), ("trapezoid", 9)]:
        values, error = explain.integrated_gradients(f, x, baseline=baseline, rule=rule, steps=steps)
        np.testing.assert_allclose(values, expected * (x - baseline[None]), rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(error, np.zeros(3), atol=2e-5)  # float32, sums of 40 terms


def test_of_a_quadratic_integrated_gradients_are_the_midpoint(x, key):
    # ∫ A(b + α(x − b)) dα = A(x + b)/2; two Gauss nodes are more than enough.
    matrix = symmetric(key)
    baseline = jax.random.normal(jax.random.fold_in(key, 2), SHAPE)
    flat, base = x.reshape(3, -1), baseline.reshape(3, -1)
    expected = ((flat - base) * ((flat + base) / 2 @ matrix)).reshape(SHAPE)
    for rule, steps in [("gauss-legendre", 2), ("gauss-legendre", 64), ("trapezoid", 2)]:
        values, error = explain.integrated_gradients(quadratic(matrix), x, baseline=baseline, rule=rule, steps=steps)
        np.testing.assert_allclose(values, expected, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_allclose(error, np.zeros(3), atol=1e-6 * np.abs(expected).sum(axis=(1, 2, 3)).max())


def test_of_a_quadratic_in_float64(key, x64):
    matrix = symmetric(key, jnp.float64)
    x = jax.random.normal(key, SHAPE, jnp.float64)
    expected = (x.reshape(3, -1) * (x.reshape(3, -1) @ matrix) / 2).reshape(SHAPE)
    values, error = explain.integrated_gradients(quadratic(matrix), x, steps=8)
    assert values.dtype == jnp.float64
    np.testing.assert_allclose(values, expected, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(error, np.zeros(3), atol=1e-12 * np.abs(expected).sum())


@settings(max_examples=10, deadline=None)
@given(degree=st.integers(1, 9), start=st.floats(-1, 1))
def test_gauss_legendre_is_exact_to_degree_2n_minus_1(degree, start):
    # f = x^degree has a gradient of degree − 1 ≤ 2n − 1 along the path, n = ⌈degree / 2⌉.
    with jax.enable_x64(True):
        x = jnp.array([[1.3], [-0.7]], jnp.float64)
        _, error = explain.integrated_gradients(
            partial(_power, degree=degree), x, baseline=start, steps=(degree + 1) // 2
        )
    np.testing.assert_allclose(error, np.zeros(2), atol=1e-12 * 1.3**degree)


def _power(x, degree):
    return x[:, 0] ** degree


def test_completeness_error_shrinks_on_a_smooth_network(key, x64):
    x = jax.random.normal(key, SHAPE, jnp.float64)
    f = explain.score(SmoothNet(), SmoothNet().init(key, x), 1)

    def error(rule, steps):
        return np.abs(explain.integrated_gradients(f, x, baseline=-1.0, rule=rule, steps=steps)[1]).max()

    assert error("gauss-legendre", 4) < 0.1 * error("gauss-legendre", 2)
    assert error("gauss-legendre", 32) < 1e-6 * error("gauss-legendre", 2)
    # The trapezoid rule is of second order: 10 times the intervals, 100 times less.
    assert error("trapezoid", 101) == pytest.approx(error("trapezoid", 11) / 100, rel=0.2)


def test_the_error_returned_is_the_error(x, score):
    values, error = explain.integrated_gradients(score, x, baseline=0.5, steps=1)
    expected = values.sum((1, 2, 3)) - (score(x) - score(jnp.full_like(x, 0.5)))
    np.testing.assert_allclose(error, expected, atol=1e-5)
    assert np.abs(error).max() > 1e-3  # one step is not enough: a real error is seen


def test_several_baselines_are_averaged(x, score):
    baselines = [0.0, x[0], x[::-1], np.float32(-1)]
    average = explain.integrated_gradients(score, x, baseline=baselines, steps=7, chunk=3)
    single = [explain.integrated_gradients(score, x, baseline=baseline, steps=7) for baseline in baselines]
    expected = jax.tree.map(lambda *leaves: sum(leaves) / 4, *single)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), average, expected)
    one = explain.integrated_gradients(score, x, baseline=(x[0],), steps=7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, single[1])


def test_smooth_grad_of_a_quadratic_is_unbiased_with_the_right_noise(x, key):
    # Gradients A(x + ε) have mean Ax and covariance σ² AAᵀ, σ = 0.2 (max − min) of each example.
    matrix, samples = symmetric(key), 2000
    scaled = x * jnp.array([1.0, 5.0, 0.1])[:, None, None, None]
    f = quadratic(matrix)
    mean = explain.smooth_grad(f, scaled, key=key, samples=samples, noise=0.2, chunk=100)
    variance = explain.var_grad(f, scaled, key=key, samples=samples, noise=0.2, chunk=100)
    sigma = 0.2 * np.ptp(scaled.reshape(3, -1), axis=1)
    true_mean = scaled.reshape(3, -1) @ matrix
    true_variance = sigma[:, None] ** 2 * (np.asarray(matrix) ** 2).sum(1)[None]
    z = (mean.reshape(3, -1) - true_mean) / np.sqrt(true_variance / samples)
    assert np.abs(z).max() < 4.5  # 120 normal deviates: exceeded once in 1200 runs
    assert 0.7 < np.std(z) < 1.3
    # A variance from 2000 normal samples has a relative standard error of √(2/2000) = 3.2 %.
    assert np.abs(variance.reshape(3, -1) / true_variance - 1).max() < 4.5 * 0.032


def test_var_grad_is_numpys_variance(x, score, key):
    samples = [
        explain.smooth_grad(score, x, key=key, samples=n + 1, chunk=1) * (n + 1) for n in range(6)
    ]  # running sums: their differences are the single gradients
    gradients = np.diff(np.stack([np.zeros(SHAPE), *samples]), axis=0)
    got = explain.var_grad(score, x, key=key, samples=6)
    np.testing.assert_allclose(got, gradients.var(0), atol=1e-5 * np.abs(gradients).max() ** 2)


@pytest.mark.parametrize("name", ["smooth_grad", "var_grad"])
def test_noise_of_an_example_does_not_depend_on_its_batch(x, key, name):
    f = lambda x: jnp.sum(jnp.sin(x), (1, 2, 3))
    method = getattr(explain, name)
    batch = method(f, x, key=key, samples=4)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(method(f, x[:2], key=key, samples=4), batch[:2])
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(3))
    close(method(f, x, key=keys, samples=4), batch)
    for i in range(3):
        close(method(f, x[i : i + 1], key=keys[i : i + 1], samples=4)[0], batch[i])
    close(method(f, x, key=jax.random.key_data(key), samples=4), batch)
    twins = explain.smooth_grad(f, jnp.stack([x[0], x[0]]), key=key, samples=1)
    assert np.abs(twins[0] - twins[1]).max() > 1e-3  # each example has noise of its own


@pytest.mark.parametrize("name", METHODS)
def test_jit_is_eager(x, score, name):
    eager = METHODS[name](score, x)
    jitted = jax.jit(METHODS[name])(score, x)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)  # float32, other fusions
    jax.tree.map(close, jitted, eager)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("smooth_grad", "var_grad")])
def test_batch_is_one_by_one_and_vmap_is_a_loop(key, x, name):
    variables = SmoothNet().init(key, x)
    target = jnp.array([0, 2, 1])

    def one(x, target):
        result = METHODS[name](explain.score(SmoothNet(), variables, target), x[None])
        return jax.tree.map(lambda leaf: leaf[0], result)

    batch = METHODS[name](explain.score(SmoothNet(), variables, target), x)
    loop = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[one(x[i], target[i]) for i in range(3)])
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)  # float32, other fusions
    jax.tree.map(close, batch, loop)
    jax.tree.map(close, jax.vmap(one)(x, target), loop)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunk_size_does_not_matter(x, score, key, chunk):
    # 20 copies: 20 chunks (a scan inside jit), 7 unequal, 3, and 1.
    for call in (
        lambda chunk: explain.integrated_gradients(score, x, steps=20, chunk=chunk),
        lambda chunk: explain.smooth_grad(score, x, key=key, samples=20, chunk=chunk),
        lambda chunk: jax.jit(lambda x: explain.smooth_grad(score, x, key=key, samples=20, chunk=chunk))(x),
    ):
        close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)  # float32, other sums
        jax.tree.map(close, call(chunk), call(20))


def test_low_precision_inputs_are_accumulated_in_float32(x, weights):
    low = x.astype(jnp.bfloat16)
    values, error = explain.integrated_gradients(linear(weights.astype(jnp.bfloat16)), low, steps=64)
    assert values.dtype == error.dtype == jnp.float32
    expected = np.float32(weights.astype(jnp.bfloat16))[None] * np.float32(low)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_bad_input(x, score, key):
    f = lambda x: x.sum((1, 2, 3))
    with pytest.raises(ValueError, match=r"baseline must broadcast.*\(3, 4, 5, 2\); got \(4, 5, 3\)"):
        explain.integrated_gradients(f, x, baseline=np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match=r"baseline must broadcast.*got \(2, 3, 4, 5, 2\)"):
        explain.integrated_gradients(f, x, baseline=np.zeros((2, *SHAPE)))
    with pytest.raises(ValueError, match="baseline is empty"):
        explain.integrated_gradients(f, x, baseline=())
    with pytest.raises(ValueError, match=r"steps must be at least 1.*got 0"):
        explain.integrated_gradients(f, x, steps=0)
    with pytest.raises(ValueError, match="steps must be at least 2 for the trapezoid rule; got 1"):
        explain.integrated_gradients(f, x, steps=1, rule="trapezoid")
    with pytest.raises(ValueError, match="'gauss-legendre' or 'trapezoid'; got 'simpson'"):
        explain.integrated_gradients(f, x, rule="simpson")
    with pytest.raises(ValueError, match=r"chunk .* at least 1; got 0"):
        explain.integrated_gradients(f, x, chunk=0)
    with pytest.raises(ValueError, match="samples must be at least 1; got 0"):
        explain.smooth_grad(f, x, key=key, samples=0)
    with pytest.raises(ValueError, match=r"cannot be negative; got -0\.1"):
        explain.var_grad(f, x, key=key, noise=-0.1)
    with pytest.raises(ValueError, match=r"one key or 3 keys.*got shape \(2,\)"):
        explain.smooth_grad(f, x, key=jax.random.split(key))
