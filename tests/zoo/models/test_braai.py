"""braai: its normalisation, a slow twin in NumPy, and the published scores of real cutouts."""

import itertools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo import weights
from zoo.models.braai import Braai, normalise


def test_parameters_are_the_published_ones():
    assert zoo.parameters("braai") == 312_081


def test_rows_are_divided_by_their_own_norm():
    stamp = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]], np.float32)[..., None]
    expected = np.array([[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]])
    np.testing.assert_allclose(normalise(stamp)[..., 0], expected, atol=1e-7)


# The first call of a shape compiles.
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), size=st.sampled_from([(1, 1), (3, 5), (5, 3)]), batch=st.sampled_from([(), (2,)]))
def test_normalising_is_a_loop_over_rows_of_channels(seed, size, batch):
    draw = np.random.default_rng(seed)
    cutouts = draw.normal(size=(*batch, *size, 3)).astype(np.float32) * 10 ** draw.uniform(-3, 4)
    cutouts[..., 0, :, 1] = 0
    expected = np.zeros(cutouts.shape)
    for place in itertools.product(*map(range, (*batch, size[0]))):
        for channel in range(3):
            row = cutouts[(*place, slice(None), channel)].astype(np.float64)
            norm = np.sqrt(np.sum(row**2))
            expected[(*place, slice(None), channel)] = row / norm if norm else row
    np.testing.assert_allclose(normalise(jnp.asarray(cutouts)), expected, atol=1e-6)


def test_normalising_has_a_gradient_where_a_row_is_empty():
    stamp = jnp.zeros((2, 3, 1)).at[0].set(1.0)
    gradient = jax.grad(lambda x: jnp.sum(normalise(x) * jnp.arange(3.0).reshape(1, 3, 1)))(stamp)
    # An empty row is left as it is, so its gradient is the weights'.
    np.testing.assert_allclose(gradient[1, :, 0], [0, 1, 2])
    assert np.all(np.isfinite(gradient))


def literal_braai(params, x, conv, *, padding):
    params = jax.tree.map(np.asarray, params)
    relu = lambda x: np.maximum(x, 0)
    for stage, window in ((1, 2), (2, 4)):
        for i in (1, 2):
            layer = params[f"stage{stage}_conv{i}"]
            if padding == "valid":
                height, width = (n - 2 for n in x.shape[1:3])
                y = np.zeros((len(x), height, width, layer["kernel"].shape[-1]))
                for h, w in itertools.product(range(3), repeat=2):
                    y += x[:, h : h + height, w : w + width] @ layer["kernel"][h, w]
                x = relu(y + layer["bias"])
            else:
                x = relu(conv(x, layer["kernel"], layer["bias"], padding=padding))
        height, width = (n // window for n in x.shape[1:3])
        x = x[:, : height * window, : width * window]
        x = x.reshape(len(x), height, window, width, window, -1).max((2, 4))
    x = relu(x.reshape(len(x), -1) @ params["dense"]["kernel"] + params["dense"]["bias"])
    return x @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.parametrize(
    ("padding", "sizes"), [("valid", (20, 27)), ("valid", (21, 22)), ("zero", (8, 17)), ("circular", (16, 9))]
)
def test_equals_the_literal_twin(padding, sizes, key, randomise, literal_conv, close, x64):
    model = Braai(num_classes=2, widths=(3, 4), dense=5, padding=padding, param_dtype=jnp.float64)
    x = np.random.default_rng(1).normal(size=(2, *sizes, 2))
    variables = randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))
    outputs = jax.jit(model.apply)(variables, x)
    close(outputs, literal_braai(variables["params"], x, literal_conv, padding=padding), 1e-12)


def test_images_too_small_for_the_padding_are_refused(key):
    for padding, least in (("valid", 20), ("zero", 8)):
        model = Braai(padding=padding)
        jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, least, least, 3), jnp.float32))
        with pytest.raises(ValueError, match=f"at least {least} pixels"):
            jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 63, least - 1, 3), jnp.float32))


@pytest.fixture
def ztf():
    """Folder of the published weights and cutouts."""
    root = os.environ.get("ZOO_MANUAL_DIR")
    folder = Path(root or "") / "ztf_braai"
    if not root or not folder.is_dir():
        pytest.skip("ztf_braai is not in ZOO_MANUAL_DIR")
    return folder


@pytest.mark.manual_data
def test_published_weights_give_the_published_scores(ztf, key):
    model = zoo.create("braai")
    shapes = jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 63, 63, 3), jnp.float32))
    variables = weights.convert(weights.read(ztf / "d6_m7.weights.h5"), model, shapes)
    with np.load(ztf / "ztf_alert_stamps_64.npz") as archive:
        stamps, published = archive["stamps_raw"], archive["drb"]
    score = jax.jit(lambda x: jax.nn.sigmoid(model.apply(variables, normalise(x))[:, 0]))
    errors = np.abs(np.asarray(score(stamps)) - published)
    assert stamps.shape == (64, 63, 63, 3)
    assert errors.max() <= 1e-5
    # The stamps' norms are the trap: of whole stamps, or of columns, they give other scores.
    turned = np.asarray(score(stamps.swapaxes(1, 2)))
    assert np.abs(turned - published).max() > 1e-3


@pytest.mark.manual_data
def test_published_weights_are_refused_by_another_padding(ztf, key):
    model = zoo.create("braai", padding="zero")
    shapes = jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 63, 63, 3), jnp.float32))
    with pytest.raises(weights.WeightsError) as caught:
        weights.convert(weights.read(ztf / "d6_m7.weights.h5"), model, shapes)
    assert "fc_1/fc_1/kernel:0 is (1152, 256), and params/dense/kernel needs (1568, 256)" in str(caught.value)
