"""Group U-Net: equal to a plain one with tied kernels, moving with the image at every level, in training too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import taps
from zoo.layers import group_kernel, group_order, lifted_kernel, split_fields, turn, turn_fields
from zoo.models import GroupUNet, UNet


@pytest.fixture
def build(key, randomise):
    """`build(model, x)` → random variables of the model's dtype."""

    def variables(model, x):
        return randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))

    return variables


def draw(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(("name", "count"), [("c4_unet", 483_509), ("d4_unet", 487_844)])
def test_parameters_match_those_of_the_plain_network(name, count):
    assert zoo.parameters(name, num_classes=10) == count
    assert abs(count / zoo.parameters("unet", num_classes=10) - 1) < 0.02


def tied(variables, group, widths):
    """Variables of the plain network with G·K channels that computes the same as the group network's."""
    order = group_order(group)

    def one(path, leaf):
        name = path[1].key
        if name == "head":
            # The mean over the elements is left to the head.
            return jnp.tile(leaf, (1, 1, order, 1)) / order if leaf.ndim == 4 else leaf
        if leaf.ndim == 1:
            return jnp.tile(leaf, order)
        if leaf.ndim == 4:
            return lifted_kernel(leaf, group)
        bank = group_kernel(leaf, group)
        if name == "up1_conv1":
            # Ours puts fields side by side, the plain network all channels of the bridge before those from below.
            inner = np.arange(order * 2 * widths[0]).reshape(order, 2, widths[0])
            bank = bank[:, :, inner.transpose(1, 0, 2).ravel()]
        return bank

    return jax.tree.map_with_path(one, variables)


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("group", ["c4", "d4"])
def test_is_a_plain_unet_with_tied_kernels(group, padding, build, x64, close):
    widths, order = (2, 3), group_order(group)
    shared = {"num_classes": 3, "depth": 1, "padding": padding, "param_dtype": jnp.float64}
    model = GroupUNet(group=group, widths=widths, group_pool="mean", **shared)
    x = draw(2, 6, 6, 2)
    variables = build(model, x)
    plain = UNet(widths=tuple(order * width for width in widths), up="nearest", **shared)
    expected = jax.jit(plain.apply)(tied(variables, group, widths), x)
    close(jax.jit(model.apply)(variables, x), expected, 1e-12)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"group": "c4", "pool": "avg"}, 8),
        ({"group": "d4", "padding": "circular", "group_pool": "mean"}, 8),
        ({"group": "d4", "kernel": 5}, 8),
        ({"group": "d4"}, 10),  # padded by one pixel on each side
        ({"group": "d4", "padding": "circular"}, 6),
    ],
    ids=str,
)
def test_every_level_moves_by_the_regular_representation(options, size, build, x64, close):
    model = GroupUNet(num_classes=3, widths=(3, 4, 4), depth=1, param_dtype=jnp.float64, **options)
    x, group = draw(1, size, size, 2), options["group"]
    variables, layers = build(model, x), ["down1", "down2", "down3", "up2", "up1"]
    poses = jnp.concatenate([turn(x, g) for g in range(group_order(group))])
    outputs, read = jax.jit(lambda variables, x: taps.read(model, variables, x, layers))(variables, poses)
    padded = -(-size // 4) * 4
    assert [read[layer].shape[1] for layer in layers] == [padded, padded // 2, padded // 4, padded // 2, padded]
    assert outputs.shape == (group_order(group), size, size, 3)
    for g in range(group_order(group)):
        close(outputs[g : g + 1], turn(outputs[:1], g), 1e-12)
        for layer in layers:
            maps = split_fields(read[layer], group)
            close(maps[g : g + 1], turn_fields(maps[:1], g), 1e-12)
    for maps in (outputs, *read.values()):
        # A constant would pass as well.
        assert np.ptp(maps[0], axis=(0, 1)).max() > 1e-2


def test_training_sees_a_turned_batch_as_the_batch(key, build, x64, close):
    """With the same key: outputs and the gradient with respect to the input turn along, all else stays."""
    model = GroupUNet(num_classes=2, widths=(2, 3), depth=1, dropout=0.4, param_dtype=jnp.float64)
    x, element = draw(3, 6, 6, 2), 7
    variables = build(model, x)

    @jax.jit
    def run(x):
        def loss(params, x):
            outputs, updates = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            return jnp.sum(jnp.sin(outputs)), (outputs, updates)

        (params, image), (outputs, updates) = jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)
        return image, outputs, (params, updates)

    image, outputs, rest = run(x)
    turned_image, turned_outputs, turned_rest = run(turn(x, element))
    close(turned_outputs, turn(outputs, element), 1e-12)
    close(turned_image, turn(image, element), 1e-11)
    close(turned_rest, rest, 1e-11)


def test_odd_sides_run_on_request_and_then_do_not_turn(build, x64):
    model = GroupUNet(num_classes=2, widths=(2, 3), depth=1, strict=False, param_dtype=jnp.float64)
    x = draw(1, 7, 7, 1)
    variables = build(model, x)
    outputs = model.apply(variables, jnp.concatenate([x, turn(x, 1)]))
    assert outputs.shape == (2, 7, 7, 2)
    assert np.max(np.abs(turn(outputs[:1], 1) - outputs[1:])) > 1e-3
    wide = jax.ShapeDtypeStruct((1, 7, 10, 1), jnp.float32)
    assert jax.eval_shape(model.apply, variables, wide).shape == (1, 7, 10, 2)


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({}, (31, 31), "d4_unet is exact on square images whose side is a multiple of 2; got (31, 31)"),
        ({}, (31, 31), "nearest are 30 and 32"),
        ({"group": "c4"}, (32, 24), "c4_unet is exact on square images"),
        ({"group": "c8"}, (32, 32), "group must be 'c4' or 'd4', got 'c8'"),
        ({"pool": "median"}, (32, 32), "pool must be one of ['avg', 'max'], got 'median'"),
        ({"group_pool": "sum"}, (32, 32), "group_pool must be 'max' or 'mean', got 'sum'"),
        ({"widths": ()}, (32, 32), "must name at least one level"),
        ({"depth": 0}, (32, 32), "depth 0 must all be at least 1"),
        ({"kernel": 4}, (32, 32), "expected an odd side, got 4"),
        ({"in_channels": 3}, (32, 32), "in_channels=3"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, shape, words, key):
    model = GroupUNet(**{"num_classes": 2, "widths": (2, 3), "depth": 1, **options})
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32))
    assert words in str(caught.value)
