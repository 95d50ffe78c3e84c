"""The fast convolution against XLA's own: values, both gradients, tangents and gradients of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import convolution_cpu
from zoo.layers.convolution_cpu import Geometry, convolve_cpu, convolve_xla

# input sizes, kernel sides, stride, padding on each side, channels in and out, groups
CASES = {
    "1x1": ((6, 5), (1, 1), 1, 0, 3, 4, 1),
    "1x1 strided": ((7, 6), (1, 1), 2, 0, 3, 4, 1),
    "3x3": ((12, 11), (3, 3), 1, 1, 2, 3, 1),
    "3x3 strided": ((24, 23), (3, 3), 2, 1, 2, 3, 1),
    "7x7 strided": ((30, 30), (7, 7), 2, 3, 2, 3, 1),
    "stride 3": ((40, 37), (5, 5), 3, 2, 2, 3, 1),
    "stride beyond the kernel": ((40, 40), (2, 2), 3, 0, 2, 3, 1),
    "rectangular": ((12, 12), (3, 5), 1, 2, 2, 3, 1),
    "many channels": ((12, 11), (3, 3), 1, 1, 9, 33, 1),
    "many channels strided": ((12, 11), (3, 3), 2, 1, 9, 33, 1),
    "many channels in 1-D": ((30,), (5,), 1, 2, 13, 33, 1),
    "many channels in 3-D": ((6, 5, 6), (3, 3, 3), 1, 1, 3, 33, 1),
    "even": ((11, 12), (4, 4), 1, 2, 2, 3, 1),
    "no padding": ((14, 14), (3, 3), 1, 0, 2, 3, 1),
    "small image": ((2, 2), (3, 3), 1, 1, 2, 3, 1),
    "small image strided": ((3, 2), (5, 5), 2, 2, 2, 3, 1),
    "few pixels": ((6, 6), (3, 3), 1, 1, 2, 3, 1),
    "grouped": ((12, 12), (3, 3), 1, 1, 4, 6, 2),
    "depthwise": ((12, 12), (3, 3), 1, 1, 4, 4, 4),
    "depthwise strided": ((12, 11), (3, 3), 2, 1, 4, 8, 4),
    "1-D": ((130,), (5,), 1, 2, 2, 3, 1),
    "1-D strided": ((260,), (4,), 2, 1, 2, 3, 1),
    "3-D": ((6, 5, 6), (3, 3, 3), 1, 1, 2, 3, 1),
    "3-D strided": ((12, 11, 12), (3, 3, 3), 2, 1, 2, 3, 1),
}


def draw(case, dtype, batch=6):
    sizes, sides, stride, pad, inner, outer, groups = CASES[case]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(batch, *sizes, inner)), dtype)
    kernel = jnp.asarray(rng.normal(size=(*sides, inner // groups, outer)), dtype)
    geometry = Geometry(stride, ((pad, pad),) * len(sizes), groups)
    tangents = tuple(jnp.asarray(rng.normal(size=a.shape), dtype) for a in (x, kernel))
    y = jax.eval_shape(lambda: convolve_xla(x, kernel, geometry))
    assert y.shape[1:-1] == geometry.sizes(x, kernel)
    return x, kernel, geometry, tangents, jnp.asarray(rng.normal(size=y.shape), dtype)


def everything(function, x, kernel, geometry, tangents, weights):
    """Value, tangent, both gradients, and the tangent of both gradients along `tangents`."""

    def energy(x, kernel):
        return jnp.sum(weights * jnp.sin(function(x, kernel, geometry)))

    gradients = jax.grad(energy, (0, 1))
    value, tangent = jax.jvp(lambda *a: function(*a, geometry), (x, kernel), tangents)
    return value, tangent, jax.jvp(gradients, (x, kernel), tangents)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_equals_xla_with_its_gradients(case, dtype, x64, monkeypatch):
    # So that small cases too are cut into groups of images.
    monkeypatch.setattr(convolution_cpu, "_CACHED", 5000)
    args = draw(case, dtype)
    ours, theirs = (jax.jit(everything, static_argnums=(0, 3))(f, *args) for f in (convolve_cpu, convolve_xla))
    # Sums of up to 6·400 products and their second derivatives, in another order.
    tolerance = {"float64": 1e-12, "float32": 2e-5}[dtype]
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        assert np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(b))


def test_cut_into_groups_or_whole_is_the_same(x64, monkeypatch, close):
    args = draw("3x3", "float64")
    whole = everything(convolve_cpu, *args)
    for cached in (1, 2000, 4000):
        monkeypatch.setattr(convolution_cpu, "_CACHED", cached)
        jax.tree.map(lambda a, b: close(a, b, 1e-13), everything(convolve_cpu, *args), whole)


def test_examples_apart_kernels_apart_and_no_example_at_all():
    x, kernel, geometry, _, weights = draw("3x3", "float32")
    apart = jax.vmap(lambda x: convolve_cpu(x[None], kernel, geometry)[0])(x)
    assert np.allclose(apart, convolve_cpu(x, kernel, geometry), atol=1e-5)
    kernels = jnp.stack([kernel, 2 * kernel])
    twice = jax.vmap(lambda k: convolve_cpu(x, k, geometry))(kernels)
    assert np.allclose(twice[1], 2 * twice[0], atol=1e-5)
    gradient = jax.grad(lambda k: jnp.sum(convolve_cpu(x[:0], k, geometry) * weights[:0]))(kernel)
    assert np.array_equal(gradient, np.zeros_like(kernel))


def test_the_images_of_a_training_step_get_no_gradient(x64):
    x, kernel, geometry, *_ = draw("3x3", "float64")
    program = jax.make_jaxpr(lambda k: jax.jvp(lambda k: convolve_cpu(x, k, geometry), (k,), (k,))[1])(kernel)
    # The only product is that of the kernel's tangent and, with it, the value.
    assert str(program).count("dot_general") == 2
