"""Edge convolution against loops over points and neighbours; its statistics are those of the edges there are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from zoo.layers import EdgeConv, k_nearest

MASK = np.array([[True] * 6, [True, False, True, True, False, False], [False] * 6])
NUMPY = {"max": np.max, "mean": np.mean, "sum": np.sum}


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def near(x, mask, k=3):
    return k_nearest(x, k, mask=mask)


@functools.cache
def compiled(model, train=False):
    def run(variables, x, mask, sets):
        if not train:
            return model.apply(variables, x, near(x, mask))
        return model.apply(variables, x, near(x, mask), train=True, mask=sets, mutable=["batch_stats"])

    return jax.jit(run)


@pytest.fixture
def net(key, randomise):
    """`net(**options)` → model in float64 and random variables."""

    def build(**options):
        model = EdgeConv(**{"widths": (4, 5), "param_dtype": jnp.float64, **options})
        x = jax.ShapeDtypeStruct((3, 6, 2), jnp.float64)
        shapes = jax.eval_shape(lambda key, x: model.init(key, x, near(x, None)), key, x)
        return model, jax.tree.map(np.asarray, randomise(1, shapes))

    return build


@pytest.mark.parametrize(("pool", "widths"), [("max", (4,)), ("mean", (4, 5)), ("sum", (4, 5))])
def test_it_is_what_loops_give(pool, widths, net, x64, close, literal_edge_conv):
    model, variables = net(pool=pool, widths=widths)
    x = normal(2, 3, 6, 2)
    outputs = compiled(model)(variables, x, MASK, None)
    options = {"k": 3, "include_self": False, "pool": NUMPY[pool], "activation": functools.partial(np.maximum, 0)}
    for example, mask in enumerate(MASK):
        expected = literal_edge_conv(
            x[example], mask, variables["params"], variables["batch_stats"], places=x[example], **options
        )
        if np.any(mask):
            close(outputs[example][mask], expected[mask], 1e-13)
        # A point that is not there, and one without neighbours, gets 0.
        assert not np.any(outputs[example][~mask])
    assert variables["params"]["dense1"]["kernel"].shape == (4, widths[0])


def test_statistics_are_those_of_the_edges_of_the_sets_that_count(net, x64, close):
    model, variables = net(widths=(4,))
    x, sets = normal(2, 3, 6, 2), np.array([0.0, 1.0, 1.0])
    _, updates = compiled(model, train=True)(variables, x, MASK, sets)
    # The three points of the second set have each the two others: six edges.
    there = x[1][MASK[1]]
    edges = [np.concatenate([a, b - a]) for i, a in enumerate(there) for j, b in enumerate(there) if i != j]
    hidden = np.stack(edges) @ variables["params"]["dense1"]["kernel"]
    old, new = variables["batch_stats"]["norm1"], updates["batch_stats"]["norm1"]
    close(new["mean"], 0.9 * old["mean"] + 0.1 * hidden.mean(0), 1e-13)
    close(new["var"], 0.9 * old["var"] + 0.1 * hidden.var(0), 1e-13)


def test_its_gradient_is_that_of_the_plain_product(net, x64, close):
    model, variables = net(widths=(4,), pool="mean", activation=jnp.tanh)
    x, weights = normal(2, 3, 6, 2), normal(3, 3, 6, 4)
    index = near(x, None).index

    def plain(variables, x):
        own = jnp.broadcast_to(x[:, :, None], (3, 6, 3, 2))
        other = jnp.stack([x[b][index[b]] for b in range(3)])
        h = jnp.concatenate([own, other - own], -1) @ variables["params"]["dense1"]["kernel"]
        norm = nn.BatchNorm(use_running_average=True, epsilon=1e-5)
        scale = {name: variables[name]["norm1"] for name in ("params", "batch_stats")}
        return jnp.mean(jnp.tanh(norm.apply(scale, h)), axis=2)

    def ours(variables, x):
        return model.apply(variables, x, near(x, None))

    def gradients(function):
        return jax.jit(jax.grad(lambda variables, x: jnp.sum(function(variables, x) * weights), argnums=(0, 1)))

    close(gradients(ours)(variables, x), gradients(plain)(variables, x), 1e-12)


def test_the_dtype_is_kept(net, x64):
    model, variables = net(pool="mean")
    for x_dtype, dtype, expected in [(jnp.float64, None, jnp.float64), (jnp.float32, jnp.bfloat16, jnp.bfloat16)]:
        x = jax.ShapeDtypeStruct((3, 6, 2), x_dtype)
        model = model.clone(dtype=dtype)
        assert jax.eval_shape(lambda x, m=model: m.apply(variables, x, near(x, None)), x).dtype == expected
