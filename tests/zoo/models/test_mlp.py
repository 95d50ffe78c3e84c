import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import taps
from zoo.models import MLP


@pytest.fixture
def net(key, randomise):
    def build(shape, **options):
        model = MLP(**{"num_classes": 3, "widths": (6, 5), **options})
        x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
        return model, randomise(1, jax.eval_shape(model.init, key, x)), x

    return build


@pytest.mark.parametrize("shape", [(2, 7), (2, 5, 3), (2, 4, 3, 2), (2, 3, 2, 2, 1)])
def test_it_is_products_and_rectifiers_on_the_flattened_input(shape, net):
    model, variables, x = net(shape)
    expected = np.asarray(x).reshape(2, -1)
    for name in ("dense1", "dense2"):
        layer = variables["params"][name]
        expected = np.maximum(expected @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    head = variables["params"]["head"]
    expected = expected @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    outputs, read = taps.read(model, variables, x, ["hidden1", "hidden2"])
    assert np.allclose(outputs, expected, atol=1e-5)
    assert [read[name].shape for name in ("hidden1", "hidden2")] == [(2, 6), (2, 5)]
    assert min(read["hidden1"].min(), read["hidden2"].min()) == 0


def test_without_hidden_layers_it_is_linear(net):
    model, variables, x = net((4, 3, 3, 1), widths=())
    assert set(variables["params"]) == {"head"}
    one, two = model.apply(variables, x), model.apply(variables, 2 * x)
    assert np.allclose(two, 2 * one - variables["params"]["head"]["bias"][None], atol=1e-5)


def test_parameters_by_hand():
    assert zoo.parameters("mlp", (1, 8, 8, 1), num_classes=2) == 65 * 128 + 129 * 64 + 65 * 2


def test_pixels_may_be_exchanged_if_their_weights_are_too(net, x64):
    """The MLP knows nothing of space: any order of the pixels is as good as any other."""
    model, variables, x = net((2, 4, 4, 1), param_dtype=jnp.float64)
    x = x.astype(jnp.float64)
    order = np.random.default_rng(1).permutation(16)
    params = variables["params"]
    turned = {**params, "dense1": {**params["dense1"], "kernel": params["dense1"]["kernel"][order]}}
    exchanged = x.reshape(2, 16)[:, order].reshape(x.shape)
    assert np.allclose(model.apply({"params": turned}, exchanged), model.apply(variables, x), rtol=1e-12)
    assert not np.allclose(model.apply(variables, exchanged), model.apply(variables, x), rtol=0.01)


def test_dropout_belongs_to_training(net, key):
    model, variables, x = net((2, 40), dropout=0.5)
    still = model.apply(variables, x)
    assert np.array_equal(still, net((2, 40))[0].apply(variables, x))
    noisy = model.apply(variables, x, train=True, rngs={"dropout": key})
    assert not np.allclose(noisy, still)


def test_another_size_than_at_initialisation_is_refused_in_pixels(net):
    model, variables, _ = net((2, 4, 4, 1))
    with pytest.raises(
        ValueError, match=r"initialised for inputs of 16 numbers each, but got shape \(2, 5, 4, 1\), 20 "
    ):
        model.apply(variables, jnp.ones((2, 5, 4, 1)))


@pytest.mark.parametrize(
    ("options", "shape", "parts"),
    [
        ({}, (4,), ["(B, C) or (B, T, C) or (B, H, W, C) or (B, D, H, W, C)", "got shape (4,)"]),
        ({"in_channels": 3}, (2, 4, 4, 1), ["in_channels=3", "1 channels"]),
        ({"in_channels": 3}, (2, 4), ["in_channels=3", "4 channels"]),
        ({"widths": (4, 0)}, (2, 4), ["at least 1", "(4, 0)"]),
    ],
)
def test_what_cannot_be_meant_is_refused(options, shape, parts, key):
    model = zoo.create("mlp", num_classes=2, **options)
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert [part for part in parts if part not in str(caught.value)] == []
