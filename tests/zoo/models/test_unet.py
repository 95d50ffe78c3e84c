"""U-Net: equal to loops over pixels in every variant, what its bridges carry, sizes, and refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import footprint, taps
from zoo.layers import fold_pixels
from zoo.models import UNet


def draw(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture
def build(key, randomise):
    """`build(model, x)` → random variables of the model's dtype."""

    def variables(model, x):
        return randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))

    return variables


def repeated(x):
    return np.repeat(np.repeat(x, 2, 1), 2, 2)


def interpolated(x):
    for axis in (1, 2):
        n = x.shape[axis]
        at = (np.arange(2 * n) + 0.5) / 2 - 0.5
        x = np.apply_along_axis(lambda line, at=at, n=n: np.interp(at, np.arange(n), line), axis, x)
    return x


def blocks(x):
    """(B, 2h, 2w, C) → (B, h, w, C, 4), pixels of a block in row-major order."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, channels, 4)


def unblocked(x):
    batch, height, width, channels, _ = x.shape
    x = x.reshape(batch, height, width, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, 2 * height, 2 * width, channels)


def normalised(x, layer, norm, variables):
    if norm == "none":
        return x
    params = variables["params"][layer]
    if norm == "batch":
        stats = variables["batch_stats"][layer]
        mean, variance = stats["mean"], stats["var"]
    else:
        # Widths 4 and 6: gcd(8, width) groups are 4 of one channel and 2 of three.
        groups = x.reshape(*x.shape[:3], {4: 4, 6: 2}[x.shape[-1]], -1)
        spread = np.broadcast_to(groups.var((1, 2, 4), keepdims=True), groups.shape).reshape(x.shape)
        centre = np.broadcast_to(groups.mean((1, 2, 4), keepdims=True), groups.shape).reshape(x.shape)
        mean, variance = centre, spread
    return (x - mean) / np.sqrt(variance + 1e-5) * params["scale"] + params["bias"]


def literal_unet(model, variables, x, literal_conv):
    """Two levels and one convolution in each, in evaluation mode, as loops."""
    params = variables["params"]

    def stage(x, name):
        x = literal_conv(x, **params[f"{name}_conv1"], padding=model.padding)
        return np.maximum(normalised(x, f"{name}_norm1", model.norm, variables), 0)

    bridge = stage(np.asarray(x), "down1")
    windows = blocks(bridge)
    x = stage(windows.max(-1) if model.pool == "max" else windows.mean(-1), "down2")
    enlarge = {"bias": 0.0, **params["up1_enlarge"]}
    if model.up == "transposed":
        # Every pixel becomes a block of its own: (a, b, K, C).
        x = np.einsum("bhwc,pqkc->bhwkpq", x, enlarge["kernel"]) + np.reshape(enlarge["bias"], (-1, 1, 1))
        x = unblocked(x.reshape(*x.shape[:4], 4))
    else:
        x = x @ enlarge["kernel"][0, 0] + enlarge["bias"]
        if model.up == "unpool":
            x = unblocked((windows.argmax(-1)[..., None] == np.arange(4)) * x[..., None])
        else:
            x = repeated(x) if model.up == "nearest" else interpolated(x)
    merged = {"concatenate": lambda: np.concatenate([bridge, x], -1), "sum": lambda: bridge + x, "none": lambda: x}
    x = stage(merged[model.skip](), "up1")
    return x @ params["head"]["kernel"][0, 0] + params["head"]["bias"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "group", "up": "nearest", "padding": "circular"},
        {"norm": "none", "up": "transposed", "skip": "sum", "pool": "avg"},
        {"up": "linear", "skip": "none", "kernel": 2},
        {"norm": "none", "up": "unpool", "skip": "sum"},
    ],
    ids=str,
)
def test_equals_loops_over_pixels(options, build, literal_conv, x64, close):
    model = UNet(num_classes=3, widths=(4, 6), depth=1, param_dtype=jnp.float64, **options)
    x = draw(2, 4, 6, 2)
    variables = build(model, x)
    has_bias = {name for name, layer in variables["params"].items() if "norm" not in name and "bias" in layer}
    plain = options.get("norm") == "none"
    assert has_bias == ({"down1_conv1", "down2_conv1", "up1_enlarge", "up1_conv1", "head"} if plain else {"head"})
    expected = literal_unet(model, jax.tree.map(np.asarray, variables), x, literal_conv)
    close(jax.jit(model.apply)(variables, x), expected, 1e-13)


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_an_image_of_any_size_is_padded_and_the_output_cropped(padding, build, x64, close):
    """As if it had been padded outside, the missing pixels half before and half behind."""
    model = UNet(num_classes=2, widths=(3, 4, 5), depth=1, padding=padding, param_dtype=jnp.float64)
    x = draw(2, 13, 10, 1)
    variables = build(model, x)
    mode = {"zero": "constant", "circular": "wrap"}[padding]
    padded = jnp.asarray(np.pad(x, [(0, 0), (1, 2), (1, 1), (0, 0)], mode=mode))
    expected = jax.jit(model.apply)(variables, padded)[:, 1:14, 1:11]
    close(jax.jit(model.apply)(variables, x), expected, 1e-12)


def test_unpooling_pads_by_the_mirror_image(build, x64, close):
    model = UNet(num_classes=2, widths=(3, 4), depth=1, up="unpool", param_dtype=jnp.float64)
    x = draw(2, 5, 6, 1)
    variables = build(model, x)
    padded = jnp.concatenate([x, x[:, -1:]], axis=1)
    close(model.apply(variables, x), model.apply(variables, padded)[:, :5], 1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_folded_pixels_come_back_to_their_places(ndim, build, x64, close):
    """On the folded image the same network without folding; its outputs dealt out to the pixels of each block."""
    options = {"widths": (3, 4), "depth": 1, "param_dtype": jnp.float64}
    model = UNet(num_classes=2, fold=2, **options)
    x = draw(2, *(8,) * ndim, 1)
    variables = build(model, x)
    folded = UNet(num_classes=2 * 2**ndim, **options).apply(variables, fold_pixels(x, 2))
    outputs = jax.jit(model.apply)(variables, x)
    assert outputs.shape == (2, *(8,) * ndim, 2)
    close(fold_pixels(outputs, 2), folded, 1e-12)
    # Sizes are padded to multiples of the total stride, 4.
    wide = jax.eval_shape(model.apply, variables, draw(1, *(7,) * ndim, 1))
    assert wide.shape == (1, *(7,) * ndim, 2)


def test_folding_moves_in_steps_of_its_own(build, x64, close):
    model = UNet(num_classes=2, widths=(3, 4), depth=1, fold=2, padding="circular", param_dtype=jnp.float64)
    x = draw(1, 8, 12, 1)
    variables = build(model, x)
    run = jax.jit(model.apply)
    close(run(variables, jnp.roll(x, (4, -4), (1, 2))), jnp.roll(run(variables, x), (4, -4), (1, 2)), 1e-12)


def test_numbers_of_the_whole_image_come_beside_the_maps(build, x64, close):
    model = UNet(num_classes=2, widths=(3, 4), depth=1, numbers=5, param_dtype=jnp.float64)
    x = draw(2, 8, 8, 1)
    variables = build(model, x)
    (maps, numbers), read = taps.read(model, variables, x, ["down2"])
    bottom, layer = np.asarray(read["down2"]), variables["params"]["numbers"]
    pooled = np.concatenate([bottom.mean((1, 2)), bottom.max((1, 2))], axis=-1)
    close(numbers, pooled @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 1e-13)
    params = {name: layer for name, layer in variables["params"].items() if name != "numbers"}
    close(maps, model.clone(numbers=0).apply({**variables, "params": params}, x), 1e-13)


@pytest.mark.parametrize(("skip", "survives"), [("concatenate", True), ("sum", True), ("none", False)])
def test_bridges_carry_what_the_bottom_loses(skip, survives, build):
    """With nothing coming up from below, the output still depends on the image exactly if there is a bridge."""
    model = UNet(num_classes=2, widths=(4, 6), depth=1, skip=skip)
    x = draw(2, 8, 8, 1).astype(jnp.float32)
    variables = build(model, x)
    bottom = variables["params"]["up1_enlarge"]
    params = {**variables["params"], "up1_enlarge": jax.tree.map(jnp.zeros_like, bottom)}
    outputs = model.apply({**variables, "params": params}, x)
    # Inside, where the padding of the convolutions is not seen.
    assert (np.ptp(outputs[:, 2:-2, 2:-2], axis=(0, 1, 2)).min() > 1e-3) == survives
    assert np.ptp(model.apply(variables, x)[:, 2:-2, 2:-2], axis=(0, 1, 2)).min() > 1e-3


def test_the_bottom_sees_far_and_the_bridge_near(key):
    """At pixel 16: the bridge's five convolutions alone see 16 ± …; with the bottom much more, on all sides."""
    shape, options = (32, 1), {"num_classes": 1, "widths": (3, 3), "depth": 1, "norm": "none"}
    seen = footprint.of_layer(UNet(**options), None, shape, (16,), key=key)
    # Bottom: blocks 7, 8 and 9 hold pixels 14 … 19, and those see one more on either side; the last convolution of
    # pixel 16 sees 15 … 17, in blocks 7 and 8, whose neighbours are 6 … 9: pixels 12 … 19, hence 11 … 20.
    assert footprint.extent(seen) == ((11, 20),)


def test_levels_have_their_sizes_and_widths(key):
    model = zoo.create("unet", num_classes=5, in_channels=2)
    x = jax.ShapeDtypeStruct((1, 60, 64, 2), jnp.float32)
    variables = jax.eval_shape(model.init, key, x)
    layers = ["down1", "down2", "down3", "down4", "up3", "up2", "up1"]
    outputs, read = jax.eval_shape(lambda variables, x: taps.read(model, variables, x, layers), variables, x)
    sizes = [(64, 16), (32, 32), (16, 64), (8, 128), (16, 64), (32, 32), (64, 16)]
    assert [read[layer].shape for layer in layers] == [(1, side, side, width) for side, width in sizes]
    assert outputs.shape == (1, 60, 64, 5)
    assert {"down1_conv1", "down1_conv2", "up3_enlarge", "up3_conv1", "up3_norm2", "head"} <= set(variables["params"])


def test_parameters_are_those_counted_by_hand():
    widths, levels = (16, 32, 64, 128), range(3)
    down = sum(9 * a * b + 9 * b * b + 4 * b for a, b in itertools.pairwise((1, *widths)))
    up = sum(4 * widths[i + 1] * widths[i] + 9 * 3 * widths[i] ** 2 + 4 * widths[i] for i in levels)
    assert zoo.parameters("unet", num_classes=10) == down + up + 16 * 10 + 10


@pytest.mark.parametrize("options", [{"norm": "group"}, {"up": "unpool"}], ids=str)
def test_every_variant_is_one_function_of_one_example(options, build, x64, close):
    """In float64: jit is eager, a batch is its examples, examples that are masked out count for nothing."""
    model = UNet(num_classes=2, widths=(3, 4), depth=1, param_dtype=jnp.float64, **options)
    x = draw(3, 7, 6, 1)
    variables = build(model, x)
    outputs = jax.jit(model.apply)(variables, x)
    assert outputs.dtype == jnp.float64
    close(model.apply(variables, x), outputs, 1e-12)
    close(jax.vmap(lambda one: jax.jit(model.apply)(variables, one[None])[0])(x), outputs, 1e-12)
    mask = jnp.array([1.0, 1.0, 0.0])

    @jax.jit
    def trained(x, mask):
        return model.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])[0]

    close(trained(x.at[2].multiply(50.0), mask)[:2], trained(x[:2], mask[:2]), 1e-12)


def test_without_batch_statistics_there_are_none(key):
    for norm in ("group", "none"):
        model = UNet(num_classes=2, widths=(3, 4), depth=1, norm=norm)
        assert set(jax.eval_shape(model.init, key, jnp.ones((1, 4, 4, 1)))) == {"params"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": ()}, "must name at least one level"),
        ({"widths": (4, 0)}, "widths (4, 0) must name at least one level; they, depth 2, fold 1 and kernel 3 must all"),
        ({"depth": 0}, "depth 0"),
        ({"kernel": 0}, "kernel 0"),
        ({"fold": 0}, "fold 0"),
        ({"norm": "layer"}, "norm must be 'batch', 'group' or 'none', got 'layer'"),
        ({"pool": "median"}, "pool must be one of ['max', 'avg'], got 'median'"),
        ({"up": "cubic"}, "up must be one of ['transposed', 'nearest', 'linear', 'unpool'], got 'cubic'"),
        ({"skip": "product"}, "skip must be one of ['concatenate', 'sum', 'none'], got 'product'"),
        ({"up": "unpool", "pool": "avg"}, "up='unpool' goes to the pixels that won: it needs pool='max', got 'avg'"),
        ({"dropout": 1.0}, "dropout rate must lie in [0, 1), got 1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words, key):
    with pytest.raises(ValueError) as caught:
        model = UNet(**{"num_classes": 2, "widths": (3, 4), **options})
        # Dropout looks at its rate where it is called: in training, too.
        jax.eval_shape(lambda key, x: model.init(key, x, train=True), key, jnp.ones((1, 4, 4, 1)))
    assert words in str(caught.value)
