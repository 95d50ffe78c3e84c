"""Group networks: equal to plain ones with tied kernels, moving with the image at every stage, in training too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import taps
from zoo.layers import group_kernel, group_order, lifted_kernel, split_fields, turn, turn_fields
from zoo.models import ConvNet, GroupConvNet, GroupResNet, ResNet


@pytest.fixture
def build(key, randomise):
    """`build(model, x)` → random variables in float64."""

    def variables(model, x):
        return randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))

    return variables


def draw(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(
    ("name", "count", "plain", "options"),
    [
        ("c4_convnet", 388_986, "convnet", {}),
        ("d4_convnet", 395_278, "convnet", {}),
        ("d4_resnet", 705_150, "resnet18", {"stem": "small", "width": 16}),
    ],
)
def test_parameters_match_those_of_the_plain_network(name, count, plain, options):
    assert zoo.parameters(name, num_classes=10) == count
    matched = zoo.parameters(plain, (1, 64, 64, 1), num_classes=10, **options)
    assert abs(count / matched - 1) < 0.05


def tied(variables, group):
    """Variables of the plain network with G·K channels that computes the same as the group network's."""
    order = group_order(group)

    def one(path, leaf):
        if path[1].key == "head":
            # The mean over the elements is left to the head.
            return jnp.tile(leaf, (order, 1)) / order if leaf.ndim == 2 else leaf
        if leaf.ndim == 1:
            return jnp.tile(leaf, order)
        return (lifted_kernel if leaf.ndim == 4 else group_kernel)(leaf, group)

    return jax.tree.map_with_path(one, variables)


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("group", ["c4", "d4"])
def test_convnet_is_a_plain_one_with_tied_kernels(group, padding, build, x64, close):
    shared = {"num_classes": 3, "depths": (1, 2), "padding": padding, "param_dtype": jnp.float64}
    model = GroupConvNet(group=group, widths=(2, 3), group_pool="mean", **shared)
    x = draw(2, 8, 8, 2)
    variables = build(model, x)
    plain = ConvNet(widths=tuple(group_order(group) * width for width in (2, 3)), **shared)
    expected = jax.jit(lambda variables, x: plain.apply(tied(variables, group), x))(variables, x)
    close(jax.jit(model.apply)(variables, x), expected, 1e-12)


def test_resnet_is_a_plain_one_with_tied_kernels(build, x64, close):
    shared = {"num_classes": 3, "depths": (1, 2), "param_dtype": jnp.float64}
    model = GroupResNet(group="d4", widths=(1, 2), group_pool="mean", downsample="stride", **shared)
    x = draw(2, 9, 9, 2)
    variables = build(model, x)
    plain = ResNet(width=8, stem="small", **shared)
    expected = jax.jit(lambda variables, x: plain.apply(tied(variables, "d4"), x))(variables, x)
    close(jax.jit(model.apply)(variables, x), expected, 1e-12)


CASES = [
    (GroupConvNet, {"group": "c4"}, 8),
    (GroupConvNet, {"group": "d4", "padding": "circular", "downsample": "avg"}, 8),
    (GroupConvNet, {"group": "d4", "downsample": "stride", "kernel": 5}, 9),
    (GroupConvNet, {"group": "d4", "downsample": "stride", "fold": 2}, 10),
    (GroupResNet, {"group": "d4", "downsample": "max"}, 8),
    (GroupResNet, {"group": "d4", "fold": 2}, 16),
    (GroupResNet, {"group": "c4", "downsample": "stride"}, 9),
]
IDS = [f"{module.__name__}-{'-'.join(map(str, options.values()))}" for module, options, _ in CASES]


@pytest.mark.parametrize(("module", "options", "size"), CASES, ids=IDS)
def test_every_stage_moves_by_the_regular_representation(module, options, size, build, x64, close):
    model = module(
        num_classes=3, widths=(2, 3, 2), depths=(1, 1, 2), head="regular", param_dtype=jnp.float64, **options
    )
    x, group = draw(1, size, size, 2), options["group"]
    variables, layers = build(model, x), ["stage1", "stage2", "stage3"]
    poses = jnp.concatenate([turn(x, g) for g in range(group_order(group))])
    outputs, read = jax.jit(lambda variables, x: taps.read(model, variables, x, layers))(variables, poses)
    side = -(-size // (4 * options.get("fold", 1)))
    assert outputs.shape == (group_order(group), side, side, group_order(group), 3)
    for maps in [outputs, *(split_fields(read[layer], group) for layer in layers)]:
        # A constant would pass as well.
        assert np.ptp(maps[0], axis=(0, 1, 2)).max() > 1e-2
        for g in range(group_order(group)):
            close(maps[g : g + 1], turn_fields(maps[:1], g), 1e-12)


@pytest.mark.parametrize("head", ["invariant", "dense", "regular"])
def test_training_sees_a_turned_batch_as_the_batch(head, key, build, x64, close):
    """With the same key: outputs, statistics and gradients, also with respect to the input, which turns along."""
    model = GroupConvNet(
        num_classes=2, widths=(2, 3), depths=(1, 1), head=head, head_pool="both", dropout=0.4, param_dtype=jnp.float64
    )
    x, element = draw(3, 8, 8, 2), 7
    variables = build(model, x)
    if head == "dense":
        # Each pixel is dropped on its own.
        model = model.clone(dropout=0.0)

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
    move = {"invariant": lambda y, g: y, "dense": turn, "regular": turn_fields}[head]
    close(turned_outputs, move(outputs, element), 1e-12)
    close(turned_image, turn(image, element), 1e-11)
    close(turned_rest, rest, 1e-11)


def test_the_regular_head_drops_whole_fields(key, build):
    model = GroupConvNet(num_classes=1, group="c4", widths=(40,), depths=(1,), head="regular", dropout=0.5)
    x = draw(2, 4, 4, 1).astype(jnp.float32)
    variables = build(model, x)

    def mask(train):
        _, state = model.apply(
            variables,
            x,
            train=train,
            rngs={"dropout": key},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: module.name == "dropout",
        )
        return np.asarray(state["intermediates"]["dropout"]["__call__"][0])

    assert mask(train=True).shape == (2, 1, 1, 1, 40), "one for all pixels and poses"
    assert set(np.unique(mask(train=True))) == {0, 2}
    assert not np.array_equal(*mask(train=True))
    assert np.all(mask(train=False) == 1)


def test_heads_and_sizes(key):
    x = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    for head, shape in [("invariant", (2, 5)), ("dense", (2, 8, 8, 5)), ("regular", (2, 8, 8, 8, 5))]:
        model = GroupConvNet(num_classes=5, widths=(2, 3), depths=(1, 1), head=head)
        assert jax.eval_shape(model.init_with_output, key, x)[0].shape == shape


@pytest.mark.parametrize(
    ("module", "options", "shape", "words"),
    [
        (
            GroupConvNet,
            {},
            (30, 30),
            "d4_convnet is exact on square images whose side is a multiple of 8; got (30, 30)",
        ),
        (GroupConvNet, {}, (30, 30), "nearest are 24 and 32"),
        (GroupResNet, {"group": "c4"}, (32, 24), "c4_resnet is exact on square images"),
        (
            GroupResNet,
            {"downsample": "stride"},
            (32, 32),
            "1 more than a multiple of 8; got (32, 32): nearest are 25 and",
        ),
        (GroupConvNet, {"group": "c8"}, (32, 32), "group must be 'c4' or 'd4', got 'c8'"),
        (GroupConvNet, {"downsample": "blur"}, (32, 32), "downsample must be 'max', 'avg' or 'stride', got 'blur'"),
        (
            GroupConvNet,
            {"head": "pixel"},
            (32, 32),
            "head must be one of ['dense', 'invariant', 'regular'], got 'pixel'",
        ),
        (GroupConvNet, {"head_pool": "sum"}, (32, 32), "head_pool must be 'mean', 'max' or 'both', got 'sum'"),
        (GroupConvNet, {"group_pool": "sum"}, (32, 32), "group_pool must be 'max' or 'mean', got 'sum'"),
        (GroupConvNet, {"widths": (2, 2)}, (32, 32), "widths (2, 2) and depths (1, 1, 1, 1) must name the same number"),
        (GroupResNet, {"depths": (1, 1, 1, 0)}, (32, 32), "each with at least 1"),
        (GroupConvNet, {"fold": 2}, (24, 24), "a multiple of 16; got (24, 24): nearest are 16 and 32"),
        (GroupConvNet, {"fold": 0}, (32, 32), "fold must be at least 1 pixel, got 0"),
        (GroupConvNet, {"kernel": 4}, (32, 32), "expected an odd side, got 4"),
    ],
)
def test_what_cannot_be_meant_is_refused(module, options, shape, words, key):
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(module(num_classes=2, **options).init, key, jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32))
    assert words in str(caught.value)


@pytest.mark.parametrize("shape", [(30, 30), (32, 24)])
def test_inexact_sizes_run_on_request(shape, key):
    model = GroupConvNet(num_classes=2, strict=False)
    x = jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32)
    assert jax.eval_shape(model.init_with_output, key, x)[0].shape == (1, 2)
