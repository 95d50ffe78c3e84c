import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import zoo
from zoo import footprint
from zoo.layers import Window, avg_pool, max_pool, output_size, receptive_field, seen_pixels

CONV, POOL = Window(3, pad=1), Window(2, stride=2)


def box(sizes, pixels):
    mask = np.zeros(sizes, bool)
    mask[np.ix_(*pixels)] = True
    return mask


def test_of_a_function_by_hand(key):
    def function(x):
        # Pixel (i, j) of the output: the pixel itself in channel 0 and the one two rows below in channel 1.
        return (x[:, :-2, :, :1] ** 2 + jnp.sin(x[:, 2:, :, 1:])) * jnp.array([1.0, -1.0]).reshape(1, 1, 1, 2)

    mask = footprint.of_function(function, (6, 5, 2), (1, 3), key=key)
    assert np.argwhere(mask).tolist() == [[1, 3], [3, 3]]
    assert footprint.extent(mask) == ((1, 3), (3, 3))


def test_a_maximum_needs_several_images(key):
    def pool(x):
        return max_pool(x * jnp.arange(1.0, 9)[None, :, None], window=4)

    # The tilt breaks the tie of the constant image: one image shows one pixel, many show all.
    assert footprint.of_function(pool, (8, 1), (1,), key=key, images=1).sum() == 1
    mask = footprint.of_function(pool, (8, 1), (1,), key=key, images=200)
    assert mask.tolist() == [False] * 4 + [True] * 4
    # Our own pooling shares the gradient of ties, hence the constant image alone shows everything.
    assert footprint.of_function(lambda x: max_pool(x, window=4), (8, 1), (1,), key=key, images=1).sum() == 4


def test_opposite_channels_do_not_hide_each_other(key):
    assert footprint.of_function(lambda x: jnp.concatenate([x, -x], -1), (4, 1), (2,), key=key).sum() == 1


def test_outputs_without_places_see_what_is_pooled(key):
    assert footprint.of_function(lambda x: x[:, 1:3].mean((1, 2)), (5, 4, 1), (), key=key).sum() == 2 * 4


@pytest.mark.parametrize(
    ("layer", "layers"),
    [
        ("stage1_conv1", [CONV]),
        ("stage1", [CONV]),
        ("stage2", [CONV, POOL, CONV]),
        ("stage3", [CONV, POOL, CONV, POOL, CONV]),
    ],
)
def test_a_named_layer_sees_what_the_arithmetic_says(layer, layers, key):
    model = zoo.create("convnet", num_classes=2, widths=(8,) * 3, depths=(1,) * 3)
    sizes = (24, 24)
    position = tuple(n // 2 for n in output_size(sizes, layers))
    mask = footprint.of_layer(model, layer, (*sizes, 1), position, key=key)
    assert np.array_equal(mask, box(sizes, seen_pixels(position, sizes, layers)))
    rows, columns = footprint.extent(mask)
    assert rows[1] - rows[0] + 1 == columns[1] - columns[0] + 1 == receptive_field(layers)


@pytest.mark.parametrize(("name", "shape"), [("conv1d", (32, 2)), ("conv3d", (8, 8, 8, 1))])
def test_sequences_and_volumes(name, shape, key):
    model = zoo.create(name, num_classes=2, widths=(4, 4), depths=(1, 1))
    window = Window(model.kernel, pad=model.kernel // 2)
    sizes = shape[:-1]
    position = (2,) * len(sizes)
    mask = footprint.of_layer(model, "stage2", shape, position, key=key)
    assert np.array_equal(mask, box(sizes, seen_pixels(position, sizes, [window, POOL, window])))


def test_a_residual_network_sees_through_its_blocks(key):
    # The last normalisation of each block starts at zero: at initialisation its convolutions would not be seen.
    model = zoo.create("resnet18", num_classes=2, width=4, depths=(1, 1), stem="small")
    mask = footprint.of_layer(model, "stage2", (17, 17, 1), (4, 4), key=key)
    layers = [CONV, CONV, CONV, Window(3, stride=2, pad=1), CONV]
    assert footprint.extent(mask) == ((8 - 6, 8 + 6),) * 2
    assert receptive_field(layers) == 13
    assert np.array_equal(mask, box((17, 17), seen_pixels((4, 4), (17, 17), layers)))


def test_the_output_of_a_model_and_circular_borders(key):
    model = zoo.create("convnet", num_classes=2, widths=(4,), depths=(1,), padding="circular")
    assert footprint.of_layer(model, None, (6, 6, 1), (), key=key).all()
    mask = footprint.of_layer(model, "stage1", (6, 6, 1), (0, 0), key=key)
    assert np.argwhere(mask.any(0)).ravel().tolist() == [0, 1, 5]


def test_two_runs_are_the_same(key):
    model = zoo.create("convnet", num_classes=2, widths=(2, 2), depths=(1, 1))
    first, second = (footprint.of_layer(model, "stage2", (8, 8, 1), (1, 1), key=key) for _ in range(2))
    assert np.array_equal(first, second)


def test_what_cannot_be_meant_is_refused(key):
    model = zoo.create("convnet", num_classes=2, widths=(2,), depths=(1,))
    with pytest.raises(ValueError, match=r"spatial sizes \(8, 8\): position must name a place there, got \(8, 0\)"):
        footprint.of_layer(model, "stage1", (8, 8, 1), (8, 0), key=key)
    with pytest.raises(ValueError, match=r"spatial sizes \(4,\): position must name a place there, got \(1, 1\)"):
        footprint.of_function(lambda x: avg_pool(x), (8, 1), (1, 1), key=key)
    with pytest.raises(ValueError, match="calls no layer 'stage9'"):
        footprint.of_layer(model, "stage9", (8, 8, 1), (0, 0), key=key)
    with pytest.raises(ValueError, match="The footprint is empty"):
        footprint.extent(np.zeros((3, 3), bool))


def test_layers_with_several_kinds_of_parameters(key):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.LayerNorm()(nn.Conv(4, (3,), padding="VALID")(x)))
            return nn.Conv(1, (3,), padding="VALID", name="last")(x)

    mask = footprint.of_layer(Net(), "last", (9, 1), (2,), key=key)
    assert footprint.extent(mask) == ((2, 6),)
    assert mask.sum() == 5
