"""ResNet against a slow twin in NumPy, written from the paper and reading our parameter tree."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import ResNet


class Twin:
    """Literal ResNet in float64: loops for convolution and pooling; `batch` normalises by the batch and records it."""

    def __init__(self, variables, conv, *, padding, batch):
        self.params, self.stats = variables["params"], variables["batch_stats"]
        self.literal_conv, self.padding, self.batch = conv, padding, batch
        self.moments = {}

    def at(self, tree, path):
        for part in path.split("/"):
            tree = tree[part]
        return tree

    def conv(self, x, path, stride=1):
        kernel = np.asarray(self.at(self.params, path)["kernel"])
        return self.literal_conv(x, kernel, stride=stride, padding=self.padding)

    def norm(self, x, path):
        mean, var = (np.asarray(self.at(self.stats, path)[k]) for k in ("mean", "var"))
        if self.batch:
            pixels = x.reshape(-1, x.shape[-1])
            mean = pixels.sum(0) / len(pixels)
            var = ((pixels - mean) ** 2).sum(0) / len(pixels)
            self.moments[path] = mean, var
        affine = self.at(self.params, path)
        return (x - mean) / np.sqrt(var + 1e-5) * np.asarray(affine["scale"]) + np.asarray(affine["bias"])

    def pool(self, x):
        height, width = x.shape[1:3]
        out = np.empty((x.shape[0], (height + 1) // 2, (width + 1) // 2, x.shape[-1]))
        for i, j in itertools.product(range(out.shape[1]), range(out.shape[2])):
            window = [
                x[:, a % height, b % width]
                for a, b in itertools.product(range(2 * i - 1, 2 * i + 2), range(2 * j - 1, 2 * j + 2))
                if self.padding == "circular" or (0 <= a < height and 0 <= b < width)
            ]
            out[:, i, j] = np.max(window, axis=0)
        return out

    def basic(self, x, path, stride):
        y = np.maximum(self.norm(self.conv(x, f"{path}/conv1", stride), f"{path}/norm1"), 0)
        return self.norm(self.conv(y, f"{path}/conv2"), f"{path}/norm2")

    def bottleneck(self, x, path, stride):
        y = np.maximum(self.norm(self.conv(x, f"{path}/conv1"), f"{path}/norm1"), 0)
        y = np.maximum(self.norm(self.conv(y, f"{path}/conv2", stride), f"{path}/norm2"), 0)
        return self.norm(self.conv(y, f"{path}/conv3"), f"{path}/norm3")

    def __call__(self, x, *, stem, depths, bottleneck):
        x = self.conv(x, "stem", 2 if stem == "imagenet" else 1)
        x = np.maximum(self.norm(x, "stem_norm"), 0)
        if stem == "imagenet":
            x = self.pool(x)
        for stage, depth in enumerate(depths, start=1):
            for i in range(depth):
                path = f"stage{stage}_block{i}"
                stride = 2 if stage > 1 and i == 0 else 1
                y = (self.bottleneck if bottleneck else self.basic)(x, path, stride)
                if "shortcut" in self.params[path]:
                    x = self.norm(self.conv(x, f"{path}/shortcut", stride), f"{path}/shortcut_norm")
                x = np.maximum(x + y, 0)
        head = self.params["head"]
        return x.mean((1, 2)) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])


CASES = [
    # stem, bottleneck, depths, padding, sizes
    ("imagenet", False, (1, 2), "zero", (16, 16)),
    ("small", False, (1, 1), "circular", (6, 8)),
    ("imagenet", True, (1, 1), "circular", (16, 8)),
    ("small", True, (2, 1), "zero", (5, 6)),
]


@pytest.mark.parametrize("train", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(("stem", "bottleneck", "depths", "padding", "sizes"), CASES)
def test_equals_the_literal_twin(
    stem, bottleneck, depths, padding, sizes, train, key, randomise, literal_conv, close, x64
):
    options = {"stem": stem, "bottleneck": bottleneck, "depths": depths}
    model = ResNet(num_classes=3, width=4, padding=padding, param_dtype=jnp.float64, **options)
    x = np.random.default_rng(1).normal(size=(3, *sizes, 2))
    variables = randomise(2, jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape, x.dtype)))

    twin = Twin(variables, literal_conv, padding=padding, batch=train)
    expected = twin(x, **options)
    outputs, updates = jax.jit(
        lambda variables, x: model.apply(variables, x, train=train, mutable=["batch_stats"] if train else [])
    )(variables, x)
    close(outputs, expected, 1e-9)
    assert len(twin.moments) == (len(jax.tree.leaves(variables["batch_stats"])) // 2 if train else 0)
    for path, (mean, var) in twin.moments.items():
        old, new = twin.at(variables["batch_stats"], path), twin.at(updates["batch_stats"], path)
        close(new["mean"], 0.9 * np.asarray(old["mean"]) + 0.1 * mean, 1e-9)
        close(new["var"], 0.9 * np.asarray(old["var"]) + 0.1 * var, 1e-9)


def test_parameters_have_stable_names(key):
    model = ResNet(num_classes=3, width=4, depths=(1, 1))
    shapes = jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((1, 16, 16, 1), jnp.float32))
    assert set(shapes["params"]) == {"stem", "stem_norm", "stage1_block0", "stage2_block0", "head"}
    assert set(shapes["params"]["stage1_block0"]) == {"conv1", "norm1", "conv2", "norm2"}
    assert set(shapes["params"]["stage2_block0"]) == {
        *("conv1", "norm1", "conv2", "norm2"),
        *("shortcut", "shortcut_norm"),
    }
