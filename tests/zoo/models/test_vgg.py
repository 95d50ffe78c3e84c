"""VGG against a slow twin in NumPy, and its adaptive pooling against PyTorch's definition."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.models import VGG
from zoo.models.vgg import adaptive_avg_pool, averages


@pytest.mark.parametrize(("name", "count"), [("vgg11", 132_863_336), ("vgg13", 133_047_848), ("vgg16", 138_357_544)])
def test_parameters_are_the_published_ones(name, count):
    assert zoo.parameters(name) == count


def test_normalisation_adds_what_torchvision_publishes():
    assert zoo.parameters("vgg16", batch_norm=True) == 138_365_992


def test_pooled_head_sees_the_last_stage_only():
    dense_layers = 25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    assert zoo.parameters("vgg16", (1, 32, 32, 3), head="pool", num_classes=10) == 138_357_544 - dense_layers + 5130


def literal_pool(x, side):
    """The definition: means from ⌊i·n/side⌋ to ⌈(i+1)·n/side⌉, as loops."""
    height, width = x.shape[1:3]
    out = np.empty((x.shape[0], side, side, x.shape[-1]))
    for i, j in itertools.product(range(side), repeat=2):
        rows = slice(math.floor(i * height / side), math.ceil((i + 1) * height / side))
        columns = slice(math.floor(j * width / side), math.ceil((j + 1) * width / side))
        out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


@given(size=st.integers(1, 50), side=st.integers(1, 8))
def test_windows_of_adaptive_pooling_are_their_definition(size, side):
    line = np.random.default_rng(size).normal(size=size)
    expected = literal_pool(np.broadcast_to(line[None, :, None, None], (1, size, side, 1)), side)[0, :, 0, 0]
    np.testing.assert_allclose(averages(size, side) @ line, expected, atol=1e-14)


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (3, 16), (15, 9)])
def test_adaptive_pooling_is_its_definition(size, x64):
    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    np.testing.assert_allclose(adaptive_avg_pool(x, 7), literal_pool(x, 7), atol=1e-14)


@pytest.mark.parity
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7), (7, 8), (10, 6), (14, 21), (15, 9)])
def test_adaptive_pooling_is_pytorch_s(size, x64):
    import torch

    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), 7)
    np.testing.assert_allclose(adaptive_avg_pool(x, 7), expected.numpy().transpose(0, 2, 3, 1), atol=1e-14)


def literal_vgg(variables, x, conv, *, depths, head, batch_norm, padding):
    params = jax.tree.map(np.asarray, variables["params"])
    relu = lambda x: np.maximum(x, 0)
    affine = lambda x, layer: x @ layer["kernel"] + layer["bias"]
    for stage, depth in enumerate(depths, start=1):
        for i in range(1, depth + 1):
            layer = params[f"stage{stage}_conv{i}"]
            x = conv(x, layer["kernel"], layer["bias"], padding=padding)
            if batch_norm:
                name = f"stage{stage}_norm{i}"
                norm, stats = params[name], jax.tree.map(np.asarray, variables["batch_stats"][name])
                x = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * norm["scale"] + norm["bias"]
            x = relu(x)
        height, width = (n // 2 * 2 for n in x.shape[1:3])
        x = np.max([x[:, i:height:2, j:width:2] for i, j in itertools.product((0, 1), repeat=2)], axis=0)
    if head == "pool":
        return affine(x.mean((1, 2)), params["head"])
    x = literal_pool(x, 7).reshape(len(x), -1)
    return affine(relu(affine(relu(affine(x, params["dense1"])), params["dense2"])), params["head"])


@pytest.mark.parametrize("sizes", [(8, 12), (9, 5)])
@pytest.mark.parametrize(
    ("head", "batch_norm", "padding"),
    [("dense", False, "zero"), ("dense", True, "circular"), ("pool", True, "zero"), ("pool", False, "circular")],
)
def test_equals_the_literal_twin(head, batch_norm, padding, sizes, key, randomise, literal_conv, close, x64):
    options = {"depths": (1, 2), "head": head, "batch_norm": batch_norm, "padding": padding}
    model = VGG(num_classes=3, widths=(4, 5), dense=(6, 7), param_dtype=jnp.float64, **options)
    x = np.random.default_rng(1).normal(size=(2, *sizes, 2))
    variables = randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))
    outputs = jax.jit(model.apply)(variables, x)
    close(outputs, literal_vgg(variables, x, literal_conv, **options), 1e-12)


def test_sizes_that_are_no_multiple_of_32_are_taken(key):
    model = zoo.create("vgg11", **zoo.card("vgg11").tiny)
    shapes = jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 33, 50, 3), jnp.float32))
    assert shapes["params"]["dense1"]["kernel"].shape[0] == 49 * 8


def test_pooled_head_moves_with_shifts_by_its_total_stride_and_no_less(key, randomise, x64):
    model = VGG(num_classes=3, depths=(1,) * 5, widths=(4,) * 5, head="pool", padding="circular")
    x = np.random.default_rng(1).normal(size=(1, 64, 64, 2))
    variables = randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))
    shifted = np.concatenate([x, np.roll(x, (32, 32), (1, 2)), np.roll(x, (16, 0), (1, 2))])
    still, moved, broken = jax.jit(model.apply)(variables, shifted)
    assert np.max(np.abs(moved - still)) <= 1e-12 * np.max(np.abs(still))
    assert np.max(np.abs(broken - still)) > 1e-4 * np.max(np.abs(still))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"head": "mean"}, "head must be 'dense' or 'pool', got 'mean'"),
        ({"widths": (3, 4)}, "widths (3, 4) and depths (1, 1, 2, 1, 1) must name the same number of stages"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, expected, key):
    model = zoo.create("vgg11", **{**zoo.card("vgg11").tiny, **options})
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    assert expected in str(caught.value)
