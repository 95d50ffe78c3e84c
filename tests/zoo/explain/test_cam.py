import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import explain

pytestmark = pytest.mark.smoke


class Net(nn.Module):
    """conv → global mean → dense, for any number of spatial axes."""

    @nn.compact
    def __call__(self, x, *, train=False):
        axes = tuple(range(1, x.ndim - 1))
        h = nn.Conv(4, (3,) * len(axes), strides=2, padding="VALID", name="conv")(x)
        return nn.Dense(3, name="head")(h.mean(axes))


class Deep(nn.Module):
    """Two convolutions with a non-linear rest, the second called behind the layer of interest."""

    @nn.compact
    def __call__(self, x):
        h = nn.Conv(4, (3, 3), name="conv")(x)
        g = nn.softplus(nn.Conv(5, (3, 3), strides=2, name="after")(h))
        shared = nn.Dense(5, name="shared")
        return nn.Dense(3, name="head")(jnp.tanh(shared(shared(g))).mean((1, 2)))


SHAPES = [(2, 13, 2), (2, 9, 11, 2), (2, 7, 9, 5, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_of_a_linear_rest_are_known(key, shape):
    # y_k = Σ_c W_ck mean(A_c) + b_k: every ∂y_k/∂A_c is W_ck / N.
    x = jax.random.normal(key, shape)
    variables = Net().init(key, x)
    target = jnp.array([2, 0])
    conv = variables["params"]["conv"]
    activation = nn.Conv(4, conv["kernel"].shape[:-2], strides=2, padding="VALID").apply({"params": conv}, x)
    weights = variables["params"]["head"]["kernel"][:, target].T / np.prod(activation.shape[1:-1])
    raw = np.einsum("bc,b...c->b...", weights, activation)
    for negative, expected in [(False, np.maximum(raw, 0)), (True, np.maximum(-raw, 0))]:
        got = explain.grad_cam(Net(), variables, x, target=target, layer="conv", negative=negative, upsample=False)
        np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(raw).max())
        assert (got > 0).any() and (got == 0).any()
        full = explain.grad_cam(Net(), variables, x, target=target, layer="conv", negative=negative)
        assert full.shape == shape[:-1]
        np.testing.assert_allclose(full, interpolate(expected, shape[1:-1]), atol=1e-6 * np.abs(raw).max())


def interpolate(maps, space):
    """Separable linear interpolation between pixel centres, constant beyond the outer ones, with np.interp."""
    for axis, size in enumerate(space, start=1):
        old = maps.shape[axis]
        centres = (np.arange(size) + 0.5) * old / size - 0.5
        maps = np.apply_along_axis(lambda line, c=centres, n=old: np.interp(c, np.arange(n), line), axis, maps)
    return maps


def test_agrees_with_the_network_split_by_hand(key, x64):
    x = jax.random.normal(key, (3, 8, 10, 2), jnp.float64)
    model = Deep()
    variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.init(key, x))
    params = variables["params"]

    def rest(h):
        g = nn.softplus(nn.Conv(5, (3, 3), strides=2).apply({"params": params["after"]}, h))
        for _ in range(2):
            g = g @ params["shared"]["kernel"] + params["shared"]["bias"]
        return jnp.tanh(g).mean((1, 2)) @ params["head"]["kernel"] + params["head"]["bias"]

    with jax.numpy_rank_promotion("allow"):
        activation = nn.Conv(4, (3, 3)).apply({"params": params["conv"]}, x)
        np.testing.assert_allclose(rest(activation), model.apply(variables, x), rtol=1e-12)
        gradient = jax.grad(lambda h: rest(h)[:, 1].sum())(activation)
    alpha = gradient.mean((1, 2), keepdims=True)
    expected = np.maximum((alpha * activation).sum(-1), 0)
    got = explain.grad_cam(model, variables, x, target=1, layer="conv", upsample=False)
    np.testing.assert_allclose(got, expected, atol=1e-12 * expected.max())


def test_jit_batch_vmap_and_no_recompilation(key):
    x = jax.random.normal(key, (2, 9, 11, 2))
    variables = Net().init(key, x)
    target = jnp.array([2, 0])

    def cam(variables, x, target):
        return explain.grad_cam(Net(), variables, x, target=target, layer="conv")

    eager = cam(variables, x, target)
    tolerance = {"rtol": 1e-5, "atol": 1e-6 * float(eager.max())}
    np.testing.assert_allclose(jax.jit(cam)(variables, x, target), eager, **tolerance)
    loop = [cam(variables, x[i : i + 1], target[i])[0] for i in range(2)]
    np.testing.assert_allclose(eager, jnp.stack(loop), **tolerance)
    mapped = jax.vmap(lambda x, target: cam(variables, x[None], target)[0])(x, target)
    np.testing.assert_allclose(mapped, eager, **tolerance)

    traces = []

    class Counting(Net):
        @nn.compact
        def __call__(self, x, *, train=False):
            traces.append(train)
            return nn.Dense(3, name="head")(nn.Conv(4, (3, 3), name="conv")(x).mean((1, 2)))

    variables = Counting().init(key, x)
    explain.grad_cam(Counting(), variables, x, target=0, layer="conv")
    before = len(traces)
    explain.grad_cam(Counting(), jax.tree.map(jnp.sin, variables), x, target=1, layer="conv")
    assert len(traces) == before
    assert not any(traces)


def test_bad_input(key):
    x = jax.random.normal(key, (2, 8, 9, 2))
    model, variables = Deep(), Deep().init(key, x)

    def cam(layer, target=0, x=x, **kwargs):
        return explain.grad_cam(model, variables, x, target=target, layer=layer, **kwargs)

    with pytest.raises(ValueError, match=r"no layer 'cnv'\. Closest: conv"):
        cam("cnv")
    with pytest.raises(ValueError, match=r"'head' has no spatial axes.*B = 2.*got \(2, 3\).*before the pooling"):
        cam("head")
    with pytest.raises(ValueError, match=r"'shared' is called several times.*called once"):
        cam("shared")
    with pytest.raises(ValueError, match=r"target 3 is out of range: the model has 3 outputs, 0 … 2"):
        cam("conv", target=3)
    with pytest.raises(ValueError, match="got int32: cast to float"):
        cam("conv", x=x.astype(jnp.int32))


def test_a_layer_with_other_spatial_axes_is_not_resized(key):
    class Tokens(nn.Module):
        @nn.compact
        def __call__(self, x):
            tokens = nn.Dense(4, name="embed")(x.reshape(len(x), -1, x.shape[-1]))
            return nn.Dense(3)(jnp.tanh(tokens).mean(1))

    x = jax.random.normal(key, (2, 4, 5, 3))
    variables = Tokens().init(key, x)
    assert explain.grad_cam(Tokens(), variables, x, target=0, layer="embed", upsample=False).shape == (2, 20)
    with pytest.raises(ValueError, match=r"1 spatial axes, where the inputs \(2, 4, 5, 3\) have 2.*upsample=False"):
        explain.grad_cam(Tokens(), variables, x, target=0, layer="embed")
