"""SegNet: values go back where they came from; mirrored stages; sizes and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import taps
from zoo.layers import max_pool, max_pool_with_switches, max_unpool
from zoo.models import SegNet


def draw(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture
def build(key, randomise):
    """`build(model, x)` → random variables of the model's dtype."""

    def variables(model, x):
        return randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))

    return variables


def test_one_stage_equals_loops_over_pixels(build, literal_conv, x64, close):
    model = SegNet(num_classes=3, widths=(4,), depths=(1,), norm="none", param_dtype=jnp.float64)
    x = draw(2, 4, 6, 2)
    variables = build(model, x)
    params = jax.tree.map(np.asarray, variables["params"])
    maps = np.maximum(literal_conv(x, **params["down1_conv1"]), 0)
    kept = np.zeros_like(maps)
    for b, i, j, c in np.ndindex(2, 2, 3, 4):
        window = maps[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        row, column = np.unravel_index(window.argmax(), (2, 2))
        kept[b, 2 * i + row, 2 * j + column, c] = window.max()
    maps = np.maximum(literal_conv(kept, **params["up1_conv1"]), 0)
    expected = maps @ params["head"]["kernel"][0, 0] + params["head"]["bias"]
    close(jax.jit(model.apply)(variables, x), expected, 1e-13)


def test_the_switches_of_every_stage_are_used(build, x64, close):
    """The decoder is what its layers make of the encoder's maps, unpooled by its switches and not otherwise."""
    model = SegNet(num_classes=2, widths=(3, 4), depths=(1, 1), norm="none", param_dtype=jnp.float64)
    x = draw(2, 8, 12, 1)
    variables = build(model, x)
    layers = ["down1", "down2", "up2_conv1", "up2", "up1_conv1"]
    _, read = jax.jit(lambda variables, x: taps.read(model, variables, x, layers))(variables, x)
    values, switches = max_pool_with_switches(read["down2"])

    def convolved(x, name):
        layer = variables["params"][name]
        y = jax.lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return y + layer["bias"].reshape(1, 1, 1, -1)

    close(read["up2_conv1"], convolved(max_unpool(values, switches), "up2_conv1"), 1e-12)
    _, switches = max_pool_with_switches(read["down1"])
    close(read["up1_conv1"], convolved(max_unpool(read["up2"], switches), "up1_conv1"), 1e-12)
    other = convolved(max_unpool(read["up2"], jnp.zeros_like(switches)), "up1_conv1")
    assert np.max(np.abs(other - read["up1_conv1"])) > 0.1


def test_moving_the_winner_moves_the_output(build):
    """Two images whose pooled maps are equal: only the switches tell them apart."""
    model = SegNet(num_classes=1, widths=(1,), depths=(1,), kernel=1, norm="none")
    image = np.full((1, 4, 4, 1), 0.5, np.float32)
    image[0, 1, 1] = 1.0
    moved = np.full((1, 4, 4, 1), 0.5, np.float32)
    moved[0, 0, 0] = 1.0
    variables = jax.tree.map(jnp.ones_like, build(model, image))
    first, second = model.apply(variables, image), model.apply(variables, moved)
    assert np.array_equal(max_pool(jnp.asarray(image)), max_pool(jnp.asarray(moved)))
    # ReLU(x + 1), pooled, unpooled, ReLU(· + 1), then + 1: 4 where the winner was, 2 where nothing came back.
    assert first[0, 1, 1, 0] == second[0, 0, 0, 0] == 4
    assert first[0, 0, 0, 0] == second[0, 1, 1, 0] == 2


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_an_image_of_any_size_is_padded_and_the_output_cropped(padding, build, x64, close):
    model = SegNet(num_classes=2, widths=(3, 4), depths=(1, 1), padding=padding, param_dtype=jnp.float64)
    x = draw(2, 13, 10, 1)
    variables = build(model, x)
    mode = {"zero": "symmetric", "circular": "wrap"}[padding]
    padded = jnp.asarray(np.pad(x, [(0, 0), (1, 2), (1, 1), (0, 0)], mode=mode))
    expected = jax.jit(model.apply)(variables, padded)[:, 1:14, 1:11]
    close(jax.jit(model.apply)(variables, x), expected, 1e-12)


def test_the_decoder_mirrors_the_encoder(key):
    model = zoo.create("segnet", num_classes=5, widths=(4, 6, 8), depths=(1, 2, 3))
    x = jax.ShapeDtypeStruct((1, 16, 16, 2), jnp.float32)
    params = jax.eval_shape(model.init, key, x)["params"]
    kernels = {name: layer["kernel"].shape[2:] for name, layer in params.items() if "kernel" in layer}
    assert kernels == {
        "down1_conv1": (2, 4),
        "down2_conv1": (4, 6),
        "down2_conv2": (6, 6),
        "down3_conv1": (6, 8),
        "down3_conv2": (8, 8),
        "down3_conv3": (8, 8),
        "up3_conv1": (8, 8),
        "up3_conv2": (8, 8),
        "up3_conv3": (8, 6),
        "up2_conv1": (6, 6),
        "up2_conv2": (6, 4),
        "up1_conv1": (4, 4),
        "head": (4, 5),
    }


@pytest.mark.parametrize("ndim", [1, 3])
def test_sequences_and_volumes(ndim, build):
    model = SegNet(num_classes=2, widths=(3, 4), depths=(1, 1), norm="group")
    x = draw(2, *(6,) * ndim, 1).astype(jnp.float32)
    assert jax.eval_shape(model.apply, build(model, x), x).shape == (2, *(6,) * ndim, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depths": (1,)}, "widths (3, 4) and depths (1,) must name the same number of stages"),
        ({"widths": (), "depths": ()}, "there must be a stage"),
        ({"depths": (1, 0)}, "depths (1, 0) must all be at least 1"),
        ({"kernel": 0}, "kernel 0"),
        ({"norm": "layer"}, "norm must be 'batch', 'group' or 'none', got 'layer'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words, key):
    model = SegNet(**{"num_classes": 2, "widths": (3, 4), "depths": (1, 1), **options})
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(model.init, key, jnp.ones((1, 4, 4, 1)))
    assert words in str(caught.value)
