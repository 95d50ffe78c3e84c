"""Optimisers against formulas written out, and against Optax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.errors import UnknownName, UserError
from zoo.train import OPTIMISERS, kernels_only, optimiser, warmup_cosine

PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.3, -0.7]), "scale": jnp.ones(2)}
GRADS = {"kernel": jnp.array([[0.2, 0.1], [-0.4, 0.3]]), "bias": jnp.array([0.5, -0.1]), "scale": jnp.array([0.0, 0.2])}


def run(transformation, params=PARAMS, grads=GRADS, steps=3):
    """Parameters after each of several steps with gradients grads, 2·grads, 3·grads …"""

    @jax.jit
    def step(params, state, n):
        updates, state = transformation.update(jax.tree.map(lambda g: n * g, grads), state, params)
        return optax.apply_updates(params, updates), state

    state, course = transformation.init(params), []
    for n in range(1, steps + 1):
        params, state = step(params, state, float(n))
        course.append(params)
    return course


def check_same(ours, theirs, rtol=1e-6):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7)


def test_schedule_by_hand():
    rate = warmup_cosine(0.1, steps=110, warmup=10, final=0.01)
    half = 0.1 * (0.01 + 0.99 * 0.5)
    quarter = 0.1 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi / 4)))
    expected = {0: 0.0, 5: 0.05, 10: 0.1, 35: quarter, 60: half, 110: 0.001, 500: 0.001}
    for step, value in expected.items():
        np.testing.assert_allclose(rate(step), value, rtol=1e-5, atol=1e-9, err_msg=str(step))


def test_schedule_without_warm_up_starts_at_the_peak():
    rate = warmup_cosine(0.2, steps=100)
    np.testing.assert_allclose([rate(0), rate(50), rate(100)], [0.2, 0.1, 0.0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("warmup", [10, 11, -1])
def test_a_warm_up_that_does_not_fit(warmup):
    with pytest.raises(UserError, match=rf"warm-up \({warmup} steps\).*\(10 steps\)"):
        warmup_cosine(0.1, steps=10, warmup=warmup)


@pytest.mark.parametrize("name", ["adamw", "lion", "rmsprop", "sgd"])
def test_decay_moves_kernels_only(name):
    zeros = jax.tree.map(jnp.zeros_like, GRADS)
    (after,) = run(optimiser(name, 0.1, weight_decay=0.5), grads=zeros, steps=1)
    np.testing.assert_allclose(after["kernel"], PARAMS["kernel"] * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(after["bias"], PARAMS["bias"])
    np.testing.assert_array_equal(after["scale"], PARAMS["scale"])
    assert kernels_only(PARAMS) == {"kernel": True, "bias": False, "scale": False}


def test_the_decay_of_adam_is_part_of_the_gradient():
    penalised = jax.tree.map(lambda g, p: g + (0.5 * p if p.ndim > 1 else 0.0), GRADS, PARAMS)
    (ours,) = run(optimiser("adam", 0.1, weight_decay=0.5), steps=1)
    (theirs,) = run(optax.adam(0.1), grads=penalised, steps=1)
    check_same(ours, theirs)
    # Its step knows the sign alone at first, however small the decay is.
    zeros = jax.tree.map(jnp.zeros_like, GRADS)
    (after,) = run(optimiser("adam", 0.1, weight_decay=1e-3), grads=zeros, steps=1)
    np.testing.assert_allclose(after["kernel"], PARAMS["kernel"] - 0.1 * np.sign(PARAMS["kernel"]), rtol=1e-4)
    np.testing.assert_array_equal(after["bias"], PARAMS["bias"])


def test_clipping_by_hand():
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in GRADS.values()))
    (clipped,) = run(optimiser("sgd", 0.1, momentum=0.0, clip=norm / 4), steps=1)
    (untouched,) = run(optimiser("sgd", 0.1, momentum=0.0, clip=norm * 1.01), steps=1)
    check_same(clipped, jax.tree.map(lambda p, g: p - 0.1 * g / 4, PARAMS, GRADS))
    check_same(untouched, jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, GRADS))


def test_nesterov_is_the_literal_formula():
    p, v, expected = np.asarray(PARAMS["kernel"], np.float64), 0.0, []
    for n in (1, 2, 3):
        g = n * np.asarray(GRADS["kernel"], np.float64)
        v = 0.9 * v + g
        p = p - 0.1 * (g + 0.9 * v)
        expected.append(p)
    got = [course["kernel"] for course in run(optimiser("sgd", 0.1))]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_adamw_is_the_literal_formula():
    p = np.asarray(PARAMS["kernel"], np.float64)
    m = v = np.zeros_like(p)
    for n in (1, 2, 3):
        g = n * np.asarray(GRADS["kernel"], np.float64)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - 0.01 * (m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8) + 0.2 * p)
    got = run(optimiser("adamw", 0.01, weight_decay=0.2))[-1]["kernel"]
    np.testing.assert_allclose(got, p, rtol=1e-5)  # float32: 1 − 0.999ⁿ keeps five digits


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("adamw", lambda: optax.adamw(0.01, weight_decay=0.2, mask=kernels_only)),
        ("lion", lambda: optax.lion(0.01, weight_decay=0.2, mask=kernels_only)),
        ("lamb", lambda: optax.lamb(0.01, weight_decay=0.2, mask=kernels_only)),
        (
            "sgd",
            lambda: optax.chain(
                optax.trace(0.9, nesterov=True), optax.add_decayed_weights(0.2, kernels_only), optax.scale(-0.01)
            ),
        ),
    ],
)
def test_the_same_as_optax(name, theirs):
    check_same(run(optimiser(name, 0.01, weight_decay=0.2)), run(theirs()))


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_every_optimiser_lowers_a_quadratic(name):
    target = jax.tree.map(lambda p: p + 1.0, PARAMS)

    def loss(params):
        return sum(jnp.sum((params[k] - target[k]) ** 2) for k in params)

    transformation = optimiser(name, warmup_cosine(0.05, steps=60, warmup=5), weight_decay=1e-3, clip=1.0)

    @jax.jit
    def step(_, carry):
        params, state = carry
        updates, state = transformation.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    params, _ = jax.lax.fori_loop(0, 60, step, (PARAMS, transformation.init(PARAMS)))
    assert loss(params) < 0.25 * loss(PARAMS)


def test_an_unknown_optimiser_gives_the_closest():
    with pytest.raises(UnknownName, match=r"no optimiser called 'adanw'.*'adamw'"):
        optimiser("adanw", 0.1)
