"""Published weights: their names and layouts, turned into our tree, and the images that ImageNet's networks expect.

Nothing here touches a file: `zoo.weights.read` does. A network's published names follow from its fields, so that a
table of rules is made for the model at hand: one rule for every one of our arrays, nothing left over on either side.
"""

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.errors import WeightsError, unknown
from zoo.models import VGG, Braai, MobileNetV2, ResNet
from zoo.models.vgg import GRID

Layout = Literal["same", "conv", "dense", "flattened"]

# ImageNet's mean and standard deviation of the channels R, G and B, in units of full brightness.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# PyTorch counts batches beside each BatchNorm; no network reads the count.
_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Rule:
    """Where one published tensor goes.

    Attributes:
        source: its published name.
        path: of our array, such as `("params", "stage1_block0", "conv1", "kernel")`.
        layout: how it is stored there. `"same"`: as ours; `"conv"`: (out, in, …) instead of (…, in, out); `"dense"`:
            (out, in) instead of (in, out); `"flattened"`: (out, C·H·W) instead of (H·W·C, out), with H = W = 7.
    """

    source: str
    path: tuple[str, ...]
    layout: Layout = "same"


def convert(
    tensors: Mapping[str, np.ndarray],
    model: nn.Module,
    template: Any,
    *,
    without: Sequence[str] = (),
    ignore: Sequence[str] = (),
    rules: Sequence[Rule] | None = None,
) -> Any:
    """Variables of `model` with the values of published weights; all of them fit, or nothing is returned.

    Args:
        tensors: published name → array, from `zoo.weights.read` or a PyTorch `state_dict` turned into NumPy.
        model: the network, of a family whose published names are known (VGG, ResNet, MobileNetV2: torchvision's;
            braai: its Keras file's), or any with `rules`.
        template: variables of `model` from its `init`, or their shapes from `jax.eval_shape`; gives shapes and dtypes.
        without: modules that keep the template's values, such as `("head",)` for another number of classes; their
            published tensors may be there or not, in any shape.
        ignore: shell patterns of published names to leave aside, such as `("classifier.*",)`; each must meet one.
        rules: instead of the family's own, one for every array of the template.

    Returns:
        A tree like the template, in the template's dtypes.

    Raises:
        WeightsError: the weights are another variant's. The text lists every missing, unexpected and mis-shaped name.
        UnknownName: a name in `without` or a pattern in `ignore` meets nothing.
        TypeError: `without` with a template of shapes, which holds no values to keep.
    """
    rules = tuple(published_rules(model) if rules is None else rules)
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    ours = {tuple(_key(entry) for entry in path): leaf for path, leaf in leaves}
    _check_rules(rules, ours, type(model).__name__)
    tensors = _without_ignored(tensors, ignore)
    kept = _kept_paths(ours, without)
    wanted = [rule for rule in rules if rule.path not in kept]
    for path in kept:
        if isinstance(ours[path], jax.ShapeDtypeStruct):
            raise TypeError(
                f"without={tuple(without)} keeps the template's values, and the template holds shapes only. "
                "Pass the variables of model.init."
            )

    problems = []
    for rule in wanted:
        place, shape = "/".join(rule.path), _published_shape(rule.layout, ours[rule.path].shape)
        if rule.source not in tensors:
            problems.append(f"missing: {rule.source} {shape}, for {place}")
        elif (found := tuple(np.shape(tensors[rule.source]))) != shape:
            problems.append(f"mis-shaped: {rule.source} is {found}, and {place} needs {shape}")
        elif not jnp.issubdtype(tensors[rule.source].dtype, jnp.floating):
            problems.append(f"not floating: {rule.source} is {tensors[rule.source].dtype}, for {place}")
    expected = {rule.source for rule in rules}
    for name in tensors:
        if name not in expected:
            problems.append(f"unexpected: {name} {tuple(np.shape(tensors[name]))}")
    if problems:
        raise WeightsError(
            f"The weights do not fit this {type(model).__name__}; nothing was loaded. {len(problems)} names differ:\n  "
            + "\n  ".join(problems)
            + "\nCreate the variant and options that they were made with, keep a module's initial values with "
            'without=("head",), or leave published names aside with ignore=("classifier.*",).'
        )
    values = {rule.path: _to_ours(rule.layout, tensors[rule.source]) for rule in wanted}
    new = [leaf if path in kept else jnp.asarray(values[path], leaf.dtype) for path, leaf in ours.items()]
    return jax.tree_util.tree_unflatten(structure, new)


def published_rules(model: nn.Module) -> tuple[Rule, ...]:
    """Rules for a model's published weights, from its fields.

    Raises:
        WeightsError: no published names are known for its family.
    """
    family = RULES.get(type(model))
    if family is None:
        known = ", ".join(sorted(cls.__name__ for cls in RULES))
        raise WeightsError(
            f"No published names are known for {type(model).__name__}, only for {known}. Pass rules=[zoo.weights.Rule("
            "published name, path of our array, layout), …]."
        )
    return tuple(family(model))


def imagenet_preprocess(image: jax.Array | np.ndarray, *, size: int = 224, shorter: int = 256) -> jax.Array:
    """What torchvision's ImageNet weights were evaluated on: resize, crop the centre, normalise the channels.

    Bilinear with antialiasing (a triangle as wide as an output pixel), in floating point where PIL rounds to whole
    grey levels. Pure and jit-able: explanations may be taken back to the full image through it.

    Args:
        image: (H, W, 3), uint8 from 0 to 255 or floating from 0 to 1.
        size: side of the crop in pixels.
        shorter: the shorter side after resizing, at least `size`; the longer one keeps the proportions, rounded down.

    Returns:
        (size, size, 3), about −2 to 2.6; float32, or the dtype of a floating input.

    Raises:
        ValueError: another shape or dtype, or `size` above `shorter`.
    """
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"imagenet_preprocess takes one colour image (H, W, 3); got shape {tuple(image.shape)}.")
    if not 0 < size <= shorter:
        raise ValueError(f"The crop must lie in the resized image: size {size} must be 1 to shorter={shorter}.")
    if image.dtype == np.uint8:
        image = jnp.asarray(image, jnp.float32) / 255
    elif not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"imagenet_preprocess takes uint8 (0 to 255) or floating (0 to 1) images; got {image.dtype}.")
    height, width = (n * shorter // min(image.shape[:2]) for n in image.shape[:2])
    resized = jax.image.resize(jnp.asarray(image), (height, width, 3), "linear", antialias=True)
    top, left = (round((n - size) / 2) for n in (height, width))
    crop = resized[top : top + size, left : left + size]
    mean, std = (jnp.asarray(c, crop.dtype).reshape(1, 1, 3) for c in (IMAGENET_MEAN, IMAGENET_STD))
    return (crop - mean) / std


def _key(entry: Any) -> str:
    return str(getattr(entry, "key", entry))


def _check_rules(rules: Sequence[Rule], ours: Mapping[tuple[str, ...], Any], name: str) -> None:
    paths = [rule.path for rule in rules]
    twice = sorted({"/".join(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise WeightsError(f"More than one rule for {', '.join(twice)}.")
    differ = sorted("/".join(path) for path in set(paths) ^ set(ours))
    if differ:
        raise WeightsError(
            f"The template and the rules of {name} do not hold the same arrays: {', '.join(differ)} on one side only. "
            "Make the template by the init of the same model."
        )


def _without_ignored(tensors: Mapping[str, np.ndarray], ignore: Sequence[str]) -> dict[str, np.ndarray]:
    _refuse_string("ignore", ignore)
    for pattern in ignore:
        if not fnmatch.filter(tensors, pattern):
            raise unknown("published name for the pattern in ignore", pattern, tensors)
    dropped = {name for pattern in ignore for name in fnmatch.filter(tensors, pattern)}
    return {name: value for name, value in tensors.items() if name not in dropped and not name.endswith(_COUNTER)}


def _kept_paths(ours: Mapping[tuple[str, ...], Any], without: Sequence[str]) -> set[tuple[str, ...]]:
    """Paths of the arrays inside the modules named in `without` (`"head"`, `"stage4_block1/conv1"`)."""
    _refuse_string("without", without)
    kept = set()
    for module in without:
        parts = tuple(module.split("/"))
        inside = {path for path in ours if path[1 : 1 + len(parts)] == parts}
        if not inside:
            raise unknown("module to go without", module, {"/".join(path[1:-1]) for path in ours})
        kept |= inside
    return kept


def _refuse_string(name: str, value: Sequence[str]) -> None:
    if isinstance(value, str):
        raise TypeError(f"{name} takes a tuple of names; write {name}=({value!r},).")


def _published_shape(layout: Layout, ours: tuple[int, ...]) -> tuple[int, ...]:
    if layout == "conv":
        return (ours[-1], ours[-2], *ours[:-2])
    return tuple(ours) if layout == "same" else tuple(ours[::-1])


def _to_ours(layout: Layout, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if layout == "conv":
        return np.moveaxis(array, (0, 1), (-1, -2))
    if layout == "dense":
        return array.T
    if layout == "flattened":
        units, features = array.shape
        grid = array.reshape(units, features // GRID**2, GRID, GRID)
        return grid.transpose(2, 3, 1, 0).reshape(features, units)
    return array


def _conv(source: str, *module: str, bias: bool = False) -> Iterator[Rule]:
    yield Rule(f"{source}.weight", ("params", *module, "kernel"), "conv")
    if bias:
        yield Rule(f"{source}.bias", ("params", *module, "bias"))


def _dense(source: str, *module: str, layout: Layout = "dense") -> Iterator[Rule]:
    yield Rule(f"{source}.weight", ("params", *module, "kernel"), layout)
    yield Rule(f"{source}.bias", ("params", *module, "bias"))


def _norm(source: str, *module: str) -> Iterator[Rule]:
    yield Rule(f"{source}.weight", ("params", *module, "scale"))
    yield Rule(f"{source}.bias", ("params", *module, "bias"))
    yield Rule(f"{source}.running_mean", ("batch_stats", *module, "mean"))
    yield Rule(f"{source}.running_var", ("batch_stats", *module, "var"))


def _vgg(model: VGG) -> Iterator[Rule]:
    # torchvision numbers the layers of one long Sequential: convolution (normalisation) ReLU …, pool.
    place = 0
    for stage, depth in enumerate(model.depths, start=1):
        for i in range(1, depth + 1):
            yield from _conv(f"features.{place}", f"stage{stage}_conv{i}", bias=True)
            if model.batch_norm:
                yield from _norm(f"features.{place + 1}", f"stage{stage}_norm{i}")
            place += 3 if model.batch_norm else 2
        place += 1
    if model.head == "pool":
        yield from _dense("classifier", "head")
        return
    # Linear, ReLU, Dropout, three times; the first sees the flattened grid.
    names = [*(f"dense{i}" for i in range(1, len(model.dense) + 1)), "head"]
    for i, name in enumerate(names):
        yield from _dense(f"classifier.{3 * i}", name, layout="dense" if i else "flattened")


def _resnet(model: ResNet) -> Iterator[Rule]:
    yield from _conv("conv1", "stem")
    yield from _norm("bn1", "stem_norm")
    for stage, depth in enumerate(model.depths, start=1):
        for b in range(depth):
            source, block = f"layer{stage}.{b}", f"stage{stage}_block{b}"
            for i in range(1, 4 if model.bottleneck else 3):
                yield from _conv(f"{source}.conv{i}", block, f"conv{i}")
                yield from _norm(f"{source}.bn{i}", block, f"norm{i}")
            if b == 0 and (stage > 1 or model.bottleneck):
                yield from _conv(f"{source}.downsample.0", block, "shortcut")
                yield from _norm(f"{source}.downsample.1", block, "shortcut_norm")
    yield from _dense("fc", "head")


def _mobilenet(model: MobileNetV2) -> Iterator[Rule]:
    yield from _conv("features.0.0", "stem")
    yield from _norm("features.0.1", "stem_norm")
    place = 1
    for stage, (expansion, _, depth, _) in enumerate(model.stages, start=1):
        for b in range(depth):
            source, block = f"features.{place}.conv", f"stage{stage}_block{b}"
            parts = ("depthwise",) if expansion == 1 else ("expand", "depthwise")
            for i, part in enumerate(parts):
                yield from _conv(f"{source}.{i}.0", block, part)
                yield from _norm(f"{source}.{i}.1", block, f"{part}_norm")
            yield from _conv(f"{source}.{len(parts)}", block, "project")
            yield from _norm(f"{source}.{len(parts) + 1}", block, "project_norm")
            place += 1
    yield from _conv(f"features.{place}.0", "last")
    yield from _norm(f"features.{place}.1", "last_norm")
    yield from _dense("classifier.1", "head")


def _braai(model: Braai) -> Iterator[Rule]:
    modules = {f"conv{2 * (s - 1) + i}": f"stage{s}_conv{i}" for s in (1, 2) for i in (1, 2)}
    for layer, module in {**modules, "fc_1": "dense", "fc_out": "head"}.items():
        for leaf in ("kernel", "bias"):
            yield Rule(f"{layer}/{layer}/{leaf}:0", ("params", module, leaf))


# Family → its rules: torchvision's names for VGG, ResNet and MobileNetV2, those of the Keras file for braai.
RULES: Mapping[type[nn.Module], Callable[[Any], Iterator[Rule]]] = {
    VGG: _vgg,
    ResNet: _resnet,
    MobileNetV2: _mobilenet,
    Braai: _braai,
}
