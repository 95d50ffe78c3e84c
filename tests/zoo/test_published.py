"""Published names and layouts: every tensor finds its place, and whatever does not fit is listed whole."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import weights
from zoo.weights import Rule, WeightsError, convert, published_rules


def shapes_of(model, size=32, channels=3):
    return jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, channels), model.param_dtype)
    )


def leaf(tree, path):
    for part in path:
        tree = tree[part]
    return tree


# Layout of PyTorch → shape there of ours.
SHAPES = {
    "same": lambda shape: shape,
    "dense": lambda shape: (shape[1], shape[0]),
    "flattened": lambda shape: (shape[1], shape[0]),
    "conv": lambda shape: (shape[3], shape[2], shape[0], shape[1]),
}


def published(model, template, seed=0):
    """Random tensors under the published names of a model."""
    draw = np.random.default_rng(seed)
    return {
        rule.source: draw.normal(size=SHAPES[rule.layout](leaf(template, rule.path).shape)).astype(np.float32)
        for rule in published_rules(model)
    }


@pytest.fixture
def vgg():
    model = zoo.create("vgg11", num_classes=3, depths=(1, 2), widths=(4, 5), dense=(6,))
    return model, shapes_of(model, 8)


# torchvision's numbers of the convolutions in `features`, copied from its state_dict.
VGG_FEATURES = {
    ("vgg11", False): (0, 3, 6, 8, 11, 13, 16, 18),
    ("vgg13", False): (0, 2, 5, 7, 10, 12, 15, 17, 20, 22),
    ("vgg16", False): (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    ("vgg11", True): (0, 4, 8, 11, 15, 18, 22, 25),
    ("vgg16", True): (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40),
}


@pytest.mark.parametrize(("name", "batch_norm"), VGG_FEATURES)
def test_vgg_s_names_are_torchvision_s(name, batch_norm):
    expected = set()
    for place in VGG_FEATURES[name, batch_norm]:
        expected |= {f"features.{place}.weight", f"features.{place}.bias"}
        if batch_norm:
            kinds = ("weight", "bias", "running_mean", "running_var")
            expected |= {f"features.{place + 1}.{kind}" for kind in kinds}
    expected |= {f"classifier.{i}.{kind}" for i in (0, 3, 6) for kind in ("weight", "bias")}
    assert {rule.source for rule in published_rules(zoo.create(name, batch_norm=batch_norm))} == expected


# Entries of torchvision's state_dicts without the counters of batches, and parameters with the running averages.
@pytest.mark.parametrize(
    ("name", "entries", "values"),
    [
        ("resnet18", 102, 11_689_512 + 9600),
        ("resnet34", 182, 21_797_672 + 17_024),
        ("resnet50", 267, 25_557_032 + 53_120),
        ("mobilenet_v2", 262, 3_504_872 + 34_112),
        ("vgg16", 32, 138_357_544),
        ("braai", 12, 312_081),
    ],
)
def test_full_size_rules_cover_every_array_once(name, entries, values):
    model = zoo.create(name)
    template = shapes_of(model, 63 if name == "braai" else 224)
    rules = published_rules(model)
    assert len({rule.source for rule in rules}) == len(rules) == entries
    assert sum(math.prod(leaf(template, rule.path).shape) for rule in rules) == values
    assert {rule.path for rule in rules} == {
        tuple(p.key for p in path) for path, _ in jax.tree.leaves_with_path(template)
    }


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        (
            "resnet50",
            {
                "conv1.weight": "params/stem/kernel",
                "bn1.running_mean": "batch_stats/stem_norm/mean",
                "layer1.0.downsample.0.weight": "params/stage1_block0/shortcut/kernel",
                "layer3.5.bn3.weight": "params/stage3_block5/norm3/scale",
                "layer4.0.downsample.1.running_var": "batch_stats/stage4_block0/shortcut_norm/var",
                "fc.bias": "params/head/bias",
            },
        ),
        (
            "mobilenet_v2",
            {
                "features.0.0.weight": "params/stem/kernel",
                "features.1.conv.0.0.weight": "params/stage1_block0/depthwise/kernel",
                "features.1.conv.2.bias": "params/stage1_block0/project_norm/bias",
                "features.3.conv.1.1.running_var": "batch_stats/stage2_block1/depthwise_norm/var",
                "features.17.conv.3.weight": "params/stage7_block0/project_norm/scale",
                "features.18.0.weight": "params/last/kernel",
                "classifier.1.weight": "params/head/kernel",
            },
        ),
        ("braai", {"conv3/conv3/kernel:0": "params/stage2_conv1/kernel", "fc_out/fc_out/bias:0": "params/head/bias"}),
    ],
)
def test_names_go_where_they_belong(name, pairs):
    places = {rule.source: "/".join(rule.path) for rule in published_rules(zoo.create(name))}
    assert {source: places[source] for source in pairs} == pairs


def test_names_of_the_pooled_vgg_are_its_own():
    rules = published_rules(zoo.create("vgg11", head="pool"))
    assert {rule.source for rule in rules if "features" not in rule.source} == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("groups", [1, 4])
def test_convolutions_are_turned_entry_by_entry(groups):
    tensor = np.random.default_rng(0).normal(size=(4, 8 // groups, 3, 3)).astype(np.float32)
    template = {"params": {"conv": {"kernel": jax.ShapeDtypeStruct((3, 3, 8 // groups, 4), jnp.float32)}}}
    rule = Rule("w", ("params", "conv", "kernel"), "conv")
    kernel = convert({"w": tensor}, zoo.create("convnet", num_classes=2), template, rules=[rule])["params"]["conv"][
        "kernel"
    ]
    for o, i, h, w in np.ndindex(tensor.shape):
        assert kernel[h, w, i, o] == tensor[o, i, h, w]


def test_first_dense_layer_sees_channels_last(vgg, x64):
    model, template = vgg
    tensors = published(model, template)
    params = convert(tensors, model, template)["params"]
    image = np.random.default_rng(1).normal(size=(7, 7, 5))
    channels_first = tensors["classifier.0.weight"].astype(np.float64) @ image.transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(image.ravel() @ np.asarray(params["dense1"]["kernel"], np.float64), channels_first)


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "mobilenet_v2", "braai"])
def test_values_arrive_and_the_counters_are_left_aside(name):
    card = zoo.card(name)
    model = zoo.create(name, **card.tiny)
    template = shapes_of(model, card.tiny_example[1])
    tensors = {**published(model, template), "features.1.num_batches_tracked": np.array(7)}
    variables = convert(tensors, model, template)
    assert jax.tree.structure(variables) == jax.tree.structure(template)
    for rule in published_rules(model):
        got, given = leaf(variables, rule.path), tensors[rule.source]
        assert got.dtype == jnp.float32
        assert np.array_equal(np.sort(got, axis=None), np.sort(given, axis=None))
        if rule.layout == "same":
            assert np.array_equal(got, given)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16])
def test_the_template_gives_the_dtype(dtype, vgg, x64):
    model, template = vgg
    wanted = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), template)
    variables = convert(published(model, template), model, wanted)
    assert {array.dtype for array in jax.tree.leaves(variables)} == {jnp.dtype(dtype)}


def refusal(*args, error=WeightsError, **kwargs):
    with pytest.raises(error) as caught:
        convert(*args, **kwargs)
    return str(caught.value)


def test_everything_that_does_not_fit_is_listed(vgg):
    model, template = vgg
    tensors = published(model, template)
    del tensors["features.0.bias"], tensors["classifier.3.weight"]
    tensors["features.3.weight"] = np.zeros((5, 4, 5, 5), np.float32)
    tensors["features.3.bias"] = np.zeros(5, np.int64)
    tensors["features.9.weight"] = np.zeros((2, 3), np.float32)
    lines = refusal(tensors, model, template).splitlines()
    assert "do not fit this VGG; nothing was loaded. 5 names differ" in lines[0]
    assert [line.strip() for line in lines[1:-1]] == [
        "missing: features.0.bias (4,), for params/stage1_conv1/bias",
        "mis-shaped: features.3.weight is (5, 4, 5, 5), and params/stage2_conv1/kernel needs (5, 4, 3, 3)",
        "not floating: features.3.bias is int64, for params/stage2_conv1/bias",
        "missing: classifier.3.weight (3, 6), for params/head/kernel",
        "unexpected: features.9.weight (2, 3)",
    ]
    assert 'without=("head",)' in lines[-1]


@pytest.mark.parametrize(
    ("theirs", "ours", "kinds"),
    [
        (("vgg16", {}), ("vgg13", {}), {"missing", "unexpected"}),
        (("vgg11", {"batch_norm": True}), ("vgg11", {}), {"missing", "mis-shaped", "unexpected"}),
        (("resnet34", {}), ("resnet18", {}), {"unexpected"}),
        (("resnet18", {}), ("resnet34", {}), {"missing"}),
        (("resnet50", {}), ("resnet18", {}), {"unexpected", "mis-shaped"}),
        (("resnet18", {"width": 3}), ("resnet18", {}), {"mis-shaped"}),
        (("resnet18", {"stem": "imagenet"}), ("resnet18", {}), {"mis-shaped"}),
        (("mobilenet_v2", {"width_mult": 2.0}), ("mobilenet_v2", {}), {"mis-shaped"}),
        (("vgg16", {}), ("resnet18", {}), {"missing", "unexpected"}),
    ],
)
def test_another_variant_is_refused(theirs, ours, kinds):
    def build(name, options):
        # The variant's own depths on narrow stages, so that nothing large is made.
        narrow = {"vgg": {"widths": (2,) * 5, "dense": (4,)}, "res": {"width": 2, "stem": "small"}, "mob": {}}[name[:3]]
        model = zoo.create(name, **{"num_classes": 3, **narrow, **options})
        return model, shapes_of(model)

    other, other_template = build(*theirs)
    model, template = build(*ours)
    message = refusal(published(other, other_template), model, template)
    assert set(re.findall(r"^  ([a-z-]+):", message, re.MULTILINE)) == kinds
    rules, others = ({rule.source for rule in published_rules(m)} for m in (model, other))
    for name in rules ^ others:
        assert f"{name} " in message


def test_going_without_the_head_keeps_the_initial_one(vgg, randomise):
    model, _ = vgg
    theirs = model.clone(num_classes=9)
    tensors = published(theirs, shapes_of(theirs, 8))
    variables = randomise(1, shapes_of(model, 8))
    assert "mis-shaped: classifier.3.weight is (9, 6)" in refusal(tensors, model, variables)
    converted = convert(tensors, model, variables, without=("head",))
    for name in ("kernel", "bias"):
        assert np.array_equal(converted["params"]["head"][name], variables["params"]["head"][name])
    assert np.array_equal(converted["params"]["stage1_conv1"]["bias"], tensors["features.0.bias"])
    # A file without any head will do, too.
    headless = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.3")}
    again = convert(headless, model, variables, without=("head",))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again, converted)))


def test_names_can_be_left_aside(vgg, randomise):
    model, template = vgg
    pooled = model.clone(head="pool")
    variables = randomise(1, shapes_of(pooled, 8))
    tensors = published(model, template)
    converted = convert(tensors, pooled, variables, without=("head",), ignore=("classifier.*",))
    assert np.array_equal(converted["params"]["stage2_conv2"]["bias"], tensors["features.5.bias"])
    assert "unexpected: classifier.0.weight" in refusal(tensors, pooled, variables, without=("head",))


def test_arguments_that_meet_nothing_are_refused(vgg, randomise):
    model, template = vgg
    tensors = published(model, template)
    variables = randomise(1, shapes_of(model, 8))
    message = refusal(tensors, model, variables, without=("haed",), error=zoo.UnknownName)
    assert "'haed'" in message
    assert "'head'" in message
    assert "'classifer.*'" in refusal(tensors, model, template, ignore=("classifer.*",), error=zoo.UnknownName)
    assert "without=('head',)" in refusal(tensors, model, variables, without="head", error=TypeError)
    assert "Pass the variables of model.init" in refusal(tensors, model, template, without=("head",), error=TypeError)


def test_a_template_of_another_model_and_double_rules_are_refused(vgg):
    model, template = vgg
    tensors = published(model, template)
    other = {"params": {**template["params"], "extra": {"bias": template["params"]["head"]["bias"]}}}
    assert "params/extra/bias on one side only" in refusal(tensors, model, other)
    rules = published_rules(model)
    assert "More than one rule for params/head/bias" in refusal(
        tensors, model, template, rules=[*rules, Rule("b", ("params", "head", "bias"))]
    )


def test_families_without_published_names_say_so():
    with pytest.raises(WeightsError, match="No published names are known for ConvNet, only for Braai, MobileNetV2"):
        published_rules(zoo.create("convnet", num_classes=2))


def test_preprocessing_of_a_constant_image_is_the_normalisation(x64):
    image = np.full((300, 450, 3), [10, 128, 255], np.uint8)
    out = weights.imagenet_preprocess(image)
    assert out.shape == (224, 224, 3)
    assert out.dtype == jnp.float32
    expected = (np.array([10, 128, 255]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(out, np.broadcast_to(expected, out.shape), atol=1e-5)
    assert weights.imagenet_preprocess(image / 255).dtype == jnp.float64


@pytest.mark.parametrize("size", [(300, 451), (600, 256), (200, 130), (512, 512)])
def test_preprocessing_is_pil_s_but_for_rounding(size):
    pil = pytest.importorskip("PIL.Image")
    rows, columns = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    waves = [np.sin(rows / 7 + columns / 11), np.cos(columns / 5), np.sin(rows * columns / 3000)]
    image = np.round(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
    height, width = (int(256 * n / min(size)) for n in size)
    resized = np.asarray(pil.fromarray(image).resize((width, height), pil.Resampling.BILINEAR))
    top, left = round((height - 224) / 2.0), round((width - 224) / 2.0)
    expected = resized[top : top + 224, left : left + 224] / 255
    got = np.asarray(weights.imagenet_preprocess(image)) * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
    # PIL rounds to whole grey levels after each of its two passes.
    assert np.abs(got - expected).max() <= 1.1 / 255


def test_preprocessing_under_jit_and_with_a_gradient():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    preprocess = lambda image: weights.imagenet_preprocess(image, size=28, shorter=32)
    np.testing.assert_allclose(jax.jit(preprocess)(image), preprocess(image), atol=1e-5)
    gradient = jax.grad(lambda image: jnp.sum(preprocess(image)))(image.astype(np.float32) / 255)
    # Every output is an average: the gradient sums to what the outputs sum to for an image of ones more.
    expected = sum(28 * 28 / std for std in (0.229, 0.224, 0.225))
    np.testing.assert_allclose(np.sum(gradient), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (np.zeros((8, 8), np.uint8), {}, "got shape (8, 8)"),
        (np.zeros((1, 8, 8, 3), np.uint8), {}, "got shape (1, 8, 8, 3)"),
        (np.zeros((8, 8, 4), np.uint8), {}, "got shape (8, 8, 4)"),
        (np.zeros((8, 8, 3), np.int32), {}, "got int32"),
        (np.zeros((8, 8, 3), np.uint8), {"size": 300}, "size 300 must be 1 to shorter=256"),
    ],
)
def test_preprocessing_refuses_what_is_no_colour_image(image, options, expected):
    with pytest.raises(ValueError) as caught:
        weights.imagenet_preprocess(image, **options)
    assert expected in str(caught.value)
