import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo import taps
from zoo.layers import angle_filter, conv2d
from zoo.models import FilterNet


def variables(kernel, bias=0.0, slope=1.0, offset=0.0):
    return {
        "params": {
            "filter": {"kernel": jnp.asarray(kernel)[..., None, None], "bias": jnp.array([bias])},
            "affine": {"kernel": jnp.array([[slope]]), "bias": jnp.array([offset])},
        }
    }


def planted(pattern, row, column, size=24):
    side = pattern.shape[0]
    return jnp.zeros((size, size)).at[row : row + side, column : column + side].set(pattern)[None, ..., None]


def test_124_parameters_for_one_channel_at_any_size():
    assert zoo.parameters("filter_net") == 124
    assert zoo.parameters("filter_net", (1, 11, 50, 1)) == 124
    assert zoo.parameters("filter_net", (1, 32, 32, 3)) == 124 + 2 * 121


def test_it_is_the_strongest_match_and_an_affine_map():
    x, kernel = np.random.default_rng(0).normal(size=(14, 12)).astype(np.float32), angle_filter(5)
    outputs = FilterNet(kernel=5).apply(variables(kernel, 0.5, -2.0, 3.0), x[None, ..., None])
    inside = float(conv2d(jnp.pad(x, 2), kernel).max())  # zero padding by two pixels on all sides
    z = -2 * (inside + 0.5) + 3
    assert outputs.shape == (1, 2)
    assert np.allclose(outputs[0], [-z, z], rtol=1e-5)


@pytest.mark.parametrize("z", [-3.0, -0.2, 0.0, 1.5])
def test_softmax_of_the_logits_is_sigmoid_of_2z(z):
    outputs = FilterNet(kernel=3).apply(variables(jnp.zeros((3, 3)), offset=z), jnp.ones((1, 4, 4, 1)))
    p = np.exp(z) / (np.exp(z) + np.exp(-z))
    assert jax.nn.softmax(outputs)[0, 1] == pytest.approx(p, rel=1e-6)
    assert jax.nn.sigmoid(2 * z) == pytest.approx(p, rel=1e-6)


def test_the_hand_made_filter_finds_its_angle_anywhere_and_says_where():
    kernel = angle_filter(11) - angle_filter(11).mean()
    model, weights = FilterNet(), variables(kernel)
    here = model.apply(weights, planted(angle_filter(11), 2, 9))
    there = model.apply(weights, planted(angle_filter(11), 11, 4))
    mirrored = model.apply(weights, planted(angle_filter(11)[:, ::-1], 11, 4))
    assert np.allclose(here, there, rtol=1e-5)
    assert here[0, 1] > 1.5 * mirrored[0, 1]
    _, read = taps.read(model, weights, planted(angle_filter(11), 2, 9), ["filter"])
    responses = read["filter"]
    assert responses.shape == (1, 24, 24, 1)
    assert np.unravel_index(int(jnp.argmax(responses)), responses.shape)[1:3] == (2 + 5, 9 + 5)


def test_circular_padding_makes_every_shift_exact(randomise, key):
    model = FilterNet(kernel=4, padding="circular")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 5, 1)), jnp.float32)
    weights = randomise(1, jax.eval_shape(model.init, key, x))
    every = jnp.concatenate([jnp.roll(x, (i, j), (1, 2)) for i in range(6) for j in range(5)])
    outputs = model.apply(weights, every)
    # The products of a window are the same numbers, summed in the same order or another.
    assert np.ptp(outputs, axis=0).max() <= 1e-6 * np.abs(outputs).max()


def test_it_learns_a_filter_for_a_pattern_anywhere(key):
    random = np.random.default_rng(0)
    pattern = np.asarray(angle_filter(5, on=1.0, off=0.0))
    images, labels = random.normal(0, 0.2, (256, 12, 12, 1)), np.arange(256) % 2
    for image, label in zip(images, labels, strict=True):
        i, j = random.integers(0, 8, 2)
        image[i : i + 5, j : j + 5, 0] += pattern if label else pattern[:, ::-1]
    images, model, adam = jnp.asarray(images, jnp.float32), FilterNet(kernel=5), optax.adam(0.05)
    params = model.init(key, images)["params"]

    @jax.jit
    def step(params, moments):
        def loss(params):
            logits = model.apply({"params": params}, images[:192])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[:192]).mean()

        updates, moments = adam.update(jax.grad(loss)(params), moments)
        return optax.apply_updates(params, updates), moments

    moments = adam.init(params)
    for _ in range(150):
        params, moments = step(params, moments)
    guesses = jnp.argmax(model.apply({"params": params}, images[192:]), axis=-1)
    assert np.mean(np.asarray(guesses) == labels[192:]) >= 0.95


@pytest.mark.parametrize(
    ("options", "shape", "parts"),
    [
        ({"num_classes": 3}, (1, 16, 16, 1), ["num_classes must be 2", "got 3", "'convnet'"]),
        ({}, (1, 10, 16, 1), ["11 pixels a side", "at least 11", "got (10, 16)"]),
        ({"kernel": 0}, (1, 16, 16, 1), ["at least 1 pixel a side", "got 0"]),
        ({"padding": "same"}, (1, 16, 16, 1), ["'zero' or 'circular'", "'same'"]),
        ({}, (1, 16, 16), ["(B, H, W, C)", "(1, 16, 16)"]),
    ],
)
def test_what_cannot_be_meant_is_refused(options, shape, parts, key):
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(zoo.create("filter_net", **options).init, key, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert [part for part in parts if part not in str(caught.value)] == []
