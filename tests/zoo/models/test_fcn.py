"""FCN: starts as bilinear interpolation of the coarsest scores; scores add up; sizes and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import taps
from zoo.layers import ConvTranspose, max_pool, upsample_linear
from zoo.models import FCN
from zoo.models.fcn import bilinear


def draw(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_initial_kernel_interpolates(ndim, key, x64, close):
    x = draw(2, *(4,) * ndim, 3)
    for padding, inside in (("circular", slice(None)), ("zero", slice(1, -1))):
        layer = ConvTranspose(3, kernel=4, padding=padding, kernel_init=bilinear, param_dtype=jnp.float64)
        outputs = layer.apply(layer.init(key, x), x)
        expected = upsample_linear(x, padding=padding)
        index = (slice(None), *(inside,) * ndim)
        close(outputs[index], expected[index], 1e-14)


def test_between_two_pixels_by_hand(key):
    layer = ConvTranspose(1, kernel=4, kernel_init=bilinear)
    x = jnp.array([0.0, 4, 8])[None, :, None]
    # Beyond the border are zeros.
    assert layer.apply(layer.init(key, x), x)[0, :, 0].tolist() == [0, 1, 3, 5, 7, 6]


@pytest.mark.parametrize("skips", [0, 2])
def test_starts_as_the_coarsest_scores_interpolated(skips, key, x64, close):
    """Nothing but the head has a say; how often its scores are interpolated is all that `skips` changes."""
    model = FCN(
        num_classes=2, widths=(3, 4, 5), depths=(1,) * 3, dense=(4,), skips=skips, padding="circular",
        param_dtype=jnp.float64,
    )  # fmt: skip
    x = draw(2, 32, 40, 1)
    variables = jax.jit(model.init)(key, x)
    outputs, read = jax.jit(lambda variables, x: taps.read(model, variables, x, ["head"]))(variables, x)
    expected = read["head"]
    assert expected.shape == (2, 4, 5, 2)
    for factor in (*(2,) * skips, 2 ** (3 - skips)):
        expected = upsample_linear(expected, factor, padding="circular")
    assert np.std(expected) > 1e-3
    close(outputs, expected, 1e-12)


def test_scores_of_finer_stages_are_added(key, randomise, x64, close):
    model = FCN(
        num_classes=2, widths=(3, 4, 5), depths=(1,) * 3, dense=(4, 6), skips=2, norm="none", param_dtype=jnp.float64
    )
    x = draw(2, 16, 24, 1)
    variables = randomise(2, jax.eval_shape(model.init, key, x))
    layers = ["stage1", "stage2", "head", "enlarge1", "enlarge2"]
    outputs, read = jax.jit(lambda variables, x: taps.read(model, variables, x, layers))(variables, x)
    params = variables["params"]

    def scores(name, maps):
        return maps @ params[name]["kernel"][0, 0] + params[name]["bias"].reshape(1, 1, 1, -1)

    def enlarged(name, maps):
        return ConvTranspose(2, kernel=4, use_bias=False).apply({"params": params[name]}, maps)

    close(read["enlarge2"], enlarged("enlarge2", read["head"]), 1e-12)
    both = read["enlarge2"] + scores("score2", max_pool(read["stage2"]))
    close(read["enlarge1"], enlarged("enlarge1", both), 1e-12)
    close(outputs, upsample_linear(read["enlarge1"] + scores("score1", max_pool(read["stage1"])), 2), 1e-12)


def test_strides_are_those_of_the_paper(key):
    model = zoo.create("fcn", num_classes=4)
    x = jax.ShapeDtypeStruct((1, 96, 64, 1), jnp.float32)
    variables = jax.eval_shape(model.init, key, x)
    layers = ["head", "score4", "score3"]
    outputs, read = jax.eval_shape(lambda variables, x: taps.read(model, variables, x, layers), variables, x)
    assert [read[layer].shape for layer in layers] == [(1, 96 // s, 64 // s, 4) for s in (32, 16, 8)]
    assert outputs.shape == (1, 96, 64, 4)
    fine = jax.eval_shape(zoo.create("fcn", num_classes=4, skips=0).init, key, x)["params"]
    assert not [name for name in fine if name.startswith(("score", "enlarge"))]


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_an_image_of_any_size_is_padded_and_the_output_cropped(padding, key, randomise, x64, close):
    options = {"widths": (3, 4), "depths": (1, 1), "dense": (4,), "skips": 1}
    model = FCN(num_classes=2, padding=padding, param_dtype=jnp.float64, **options)
    x = draw(2, 13, 10, 1)
    variables = randomise(2, jax.eval_shape(model.init, key, x))
    mode = {"zero": "constant", "circular": "wrap"}[padding]
    padded = jnp.asarray(np.pad(x, [(0, 0), (1, 2), (1, 1), (0, 0)], mode=mode))
    expected = jax.jit(model.apply)(variables, padded)[:, 1:14, 1:11]
    close(jax.jit(model.apply)(variables, x), expected, 1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depths": (1,)}, "widths (3, 4) and depths (1,) must name the same number of stages"),
        ({"widths": (), "depths": (), "skips": 0}, "there must be a stage"),
        ({"dense": (0,)}, "dense (0,) must all be at least 1"),
        ({"skips": 2}, "skips must be 0 … 1, the stages before the last of 2; got 2"),
        ({"skips": -1}, "got -1"),
        ({"norm": "layer"}, "norm must be 'batch', 'group' or 'none', got 'layer'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words, key):
    model = FCN(**{"num_classes": 2, "widths": (3, 4), "depths": (1, 1), "skips": 1, **options})
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(model.init, key, jnp.ones((1, 4, 4, 1)))
    assert words in str(caught.value)
