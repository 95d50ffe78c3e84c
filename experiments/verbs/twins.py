"""PyTorch twins: the networks of the zoo once more in `torch.nn`, to hold numbers and speed against.

A twin computes what `zoo.create(name, …)` does for the same options — kernels, padding, normalisation, pooling,
dropout, head — written as one would write it in PyTorch. It takes images channels first and flattens channels last,
so that its weights are ours but for the order of axes. Both make their layers in the same order: that is how weights
are matched (`links`), and nothing may be left over on either side. The group-equivariant networks expand their kernels
to all poses and convolve plainly, by tables that are worked out anew here. Recurrent layers are PyTorch's own, which
have a second bias: it is held at zero, but for the block inside the reset gate of the GRU, which we have too.

PyTorch is imported when a twin is made: it belongs to the extra `parity`.
"""

import functools
import math
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import zoo
from zoo import models
from zoo.errors import UserError, WeightsError
from zoo.layers.stage import GROUPS
from zoo.models.mobilenet import make_divisible
from zoo.models.vgg import GRID
from zoo_experiments.verbs.checks import extra

if TYPE_CHECKING:
    import torch

Layers = list["torch.nn.Module"]


def require_torch() -> types.ModuleType:
    """PyTorch.

    Raises:
        UserError: it is not installed; says how to get it.
    """
    return extra("torch", what="Comparisons with PyTorch", package="PyTorch", group="parity")


def twin(model: nn.Module, shape: tuple[int, ...]) -> "torch.nn.Module":
    """The twin of a model of the zoo, with PyTorch's initial weights, in float32 and training mode.

    Args:
        model: made by `zoo.create`.
        shape: of its inputs, (B, …, C); the twin takes (B, C, …).

    Raises:
        UserError: PyTorch is not installed, or the model or one of its options has no twin.
    """
    torch = require_torch()
    if type(model) not in _BUILDERS:
        raise UserError(f"{type(model).__name__} has no twin in PyTorch; there are twins of: {', '.join(TWINS)}.")
    return torch.nn.Sequential(*_BUILDERS[type(model)](model, shape)).train()


class Link(NamedTuple):
    """One of our arrays and the tensor of the twin that holds the same numbers.

    Attributes:
        path: ours, such as `("params", "stage1_conv1", "kernel")`.
        name: the twin's, as in its `state_dict`.
        first: row of the twin's tensor at which our array begins; what stands before is no weight of ours.
    """

    path: tuple[str, ...]
    name: str
    first: int = 0


def links(net: "torch.nn.Module", model: nn.Module, shape: tuple[int, ...]) -> tuple[Link, ...]:
    """Pairs of all arrays of a model and all tensors of its twin, found by the order in which layers are made.

    PyTorch's counters of batches are no part of the network and left out.

    Raises:
        WeightsError: a layer or an array is left over on one side, or shapes differ.
    """
    ours = list(_arrays_by_module(model, shape).items())
    theirs = [layer for name, module in net.named_modules() for layer in _layers_with_weights(name, module)]
    found, problems = [], []
    if len(ours) != len(theirs):
        problems.append(f"{len(ours)} layers with weights here, {len(theirs)} there")
    for (path, arrays), (name, tensors) in zip(ours, theirs, strict=False):
        there = {_our_name(key, arrays): tensor for key, tensor in tensors.items()}
        here = {key: array_shape for key, (_, array_shape) in arrays.items()}
        if here != {key: tensor.shape for key, tensor in there.items()}:
            problems.append(f"{'/'.join(path)} {here}, there {name} {there}")
            continue
        found += [Link((arrays[key][0], *path, key), f"{name}.{there[key].name}", there[key].first) for key in arrays]
    if problems:
        raise WeightsError(f"{type(model).__name__} and its twin differ:\n  " + "\n  ".join(problems))
    return tuple(found)


def load_from_flax(net: "torch.nn.Module", model: nn.Module, variables: Any, shape: tuple[int, ...]) -> None:
    """Copy `variables` of a model into its twin, in the twin's dtype: every array once, every tensor once.

    Raises:
        WeightsError: the twin is another network's, or `variables` are.
    """
    torch = require_torch()
    pairs = links(net, model, shape)
    flat = {_keys(path): leaf for path, leaf in jax.tree.leaves_with_path(variables)}
    if set(flat) != {link.path for link in pairs}:
        differ = sorted("/".join(path) for path in set(flat) ^ {link.path for link in pairs})
        raise WeightsError(f"The variables are not those of {type(model).__name__}: {', '.join(differ)}.")
    tensors = net.state_dict()
    with torch.no_grad():
        for link in pairs:
            value = np.asarray(flat[link.path])
            value = np.moveaxis(value, (-1, -2), (0, 1)) if value.ndim > 1 else value
            tensor = tensors[link.name][link.first :] if link.first else tensors[link.name]
            if value.shape != tuple(tensor.shape):
                raise WeightsError(f"{'/'.join(link.path)} is {value.shape}, {link.name} {tensor.shape}.")
            tensor.copy_(torch.from_numpy(np.array(value)))


def to_flax(tensors: Mapping[str, "torch.Tensor"], pairs: tuple[Link, ...]) -> dict[str, Any]:
    """Tensors by their names in the twin, in our order of axes and our tree; pairs without a tensor are left out."""
    tree: dict[str, Any] = {}
    for link in pairs:
        if link.name in tensors:
            # A copy: PyTorch's optimisers write in place.
            value = np.array(tensors[link.name].detach().cpu().numpy())[link.first or None :]
            *parents, leaf = link.path
            node = functools.reduce(lambda node, key: node.setdefault(key, {}), parents, tree)
            node[leaf] = jnp.asarray(np.moveaxis(value, (0, 1), (-1, -2)) if value.ndim > 1 else value)
    return tree


def _arrays_by_module(model: nn.Module, shape: tuple[int, ...]) -> dict[tuple[str, ...], dict[str, tuple]]:
    """Path of each module with weights → name → (collection, shape), in the order in which they are made."""
    found: dict[tuple[str, ...], dict[str, tuple]] = {}

    def visit(collection: str, tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for key, value in tree.items():
            if isinstance(value, Mapping):
                visit(collection, value, (*path, key))
            else:
                found.setdefault(path, {})[key] = (collection, tuple(value.shape))

    def init(x: jax.Array) -> None:
        variables = model.init(jax.random.key(0), x)
        # Looked at inside: what a transformation returns has its keys sorted.
        for collection in ("params", *(key for key in variables if key != "params")):
            visit(collection, variables[collection], ())

    jax.eval_shape(init, jax.ShapeDtypeStruct(shape, jnp.float32))
    return found


class _Tensor(NamedTuple):
    """Part of a tensor that is an array of ours: name in its module, our order of axes, first row."""

    name: str
    shape: tuple[int, ...]
    first: int = 0


def _layers_with_weights(name: str, module: "torch.nn.Module") -> list[tuple[str, dict[str, _Tensor]]]:
    """Of one module, its name and tensors as our layers have them: a recurrent one has a layer for each direction."""
    tensors = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    shapes = {key: _our_shape(tensor.shape) for key, tensor in tensors.items()}
    if isinstance(module, require_torch().nn.RNNBase):
        return [(name, _recurrent_tensors(module, shapes, way)) for way in _directions(module)]
    own = {key: _Tensor(key, shape) for key, shape in shapes.items() if key not in ("num_batches_tracked", "places")}
    return [(name, own)] if own else []


def _directions(module: "torch.nn.RNNBase") -> tuple[str, ...]:
    """Endings of the names of a layer's tensors."""
    return ("_l0", "_l0_reverse") if module.bidirectional else ("_l0",)


def _recurrent_tensors(
    module: "torch.nn.RNNBase", shapes: Mapping[str, tuple[int, ...]], way: str
) -> dict[str, _Tensor]:
    theirs = {"input": f"weight_ih{way}", "recurrent": f"weight_hh{way}", "bias": f"bias_ih{way}"}
    found = {ours: _Tensor(key, shapes[key]) for ours, key in theirs.items()}
    if module.mode == "GRU":
        found["recurrent_bias"] = _Tensor(f"bias_hh{way}", (module.hidden_size,), 2 * module.hidden_size)
    return found


def _our_name(name: str, arrays: Mapping[str, Any]) -> str:
    names = {"weight": "kernel" if "kernel" in arrays else "scale", "running_mean": "mean", "running_var": "var"}
    return names.get(name, name)


def _our_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[2:], shape[1], shape[0]) if len(shape) > 1 else tuple(shape)


def _keys(path: tuple) -> tuple[str, ...]:
    return tuple(entry.key for entry in path)


@functools.cache
def _classes() -> types.SimpleNamespace:
    """The modules that `torch.nn` has not, made once PyTorch is known to be there."""
    torch = require_torch()

    class Apply(torch.nn.Module):
        """A function without weights."""

        def __init__(self, function: Callable) -> None:
            super().__init__()
            self.function = function

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return self.function(x)

    class Residual(torch.nn.Module):
        """body(x) + shortcut(x), rectified or not."""

        def __init__(self, body: Layers, shortcut: Layers, rectify: bool) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(*body)
            self.shortcut = torch.nn.Sequential(*shortcut)
            self.rectify = rectify

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            y = self.body(x)
            y += self.shortcut(x)
            return y.relu_() if self.rectify else y

    class PosedConv(torch.nn.Module):
        """Convolution with a kernel in every pose, (K, C, k, k) on images, (K, C, k, k, G) on fields (B, G·C, H, W)."""

        def __init__(self, shape: tuple[int, ...], *, order: int, stride: int, circular: bool) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(shape) * (2 / (shape[0] * shape[2] ** 2)) ** 0.5)
            self.stride, self.circular = stride, circular
            # Where each entry of the bank of plain kernels, (pose, row, column, element), stands in the weights.
            places = np.arange(np.prod(shape[2:])).reshape(*shape[2:4], -1)
            table = _quotients(order) if len(shape) == 5 else [[0]] * order
            places = np.stack([_turned(h, places)[:, :, table[h]] for h in range(order)])
            self.register_buffer("places", torch.from_numpy(places), persistent=False)

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            fields, before, side = self.weight.shape[:3]
            rows = self.weight.flatten(2).permute(2, 0, 1).flatten(1)
            bank = torch.nn.functional.embedding(self.places, rows).unflatten(-1, (fields, before))
            bank = bank.permute(0, 4, 3, 5, 1, 2).reshape(len(bank) * fields, -1, side, side)
            pad = side // 2
            if self.circular:
                x, pad = torch.nn.functional.pad(x, (pad,) * 4, mode="circular"), 0
            return torch.nn.functional.conv2d(x, bank, stride=self.stride, padding=pad)

    class FieldNorm(torch.nn.BatchNorm2d):
        """Batch normalisation of fields (B, G·K, H, W), the same for all elements of the group."""

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return super().forward(x.reshape(-1, self.num_features, *x.shape[2:])).reshape(x.shape)

    class Level(torch.nn.Module):
        """after(bridge(before(x), inner(before(x)))): a level of an encoder and decoder, `inner` being all below it."""

        def __init__(self, before: Layers, inner: Layers, after: Layers, bridge: Callable) -> None:
            super().__init__()
            self.before = torch.nn.Sequential(*before)
            self.inner = torch.nn.Sequential(*inner)
            self.after = torch.nn.Sequential(*after)
            self.bridge = bridge

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            x = self.before(x)
            return self.after(self.bridge(x, self.inner(x)))

    class Unpooled(torch.nn.Module):
        """Max-pooling, `inner`, and its result back at the pixels that won."""

        def __init__(self, inner: Layers, ndim: int) -> None:
            super().__init__()
            self.pool = getattr(torch.nn, f"MaxPool{ndim}d")(2, return_indices=True)
            self.inner = torch.nn.Sequential(*inner)
            self.unpool = getattr(torch.nn, f"MaxUnpool{ndim}d")(2)

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            x, places = self.pool(x)
            return self.unpool(self.inner(x), places)

    class Fitted(torch.nn.Module):
        """`body` on images padded to multiples of `step`, its output cropped to the image."""

        def __init__(self, body: Layers, step: int, mode: str) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(*body)
            self.step, self.mode = step, mode

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            sizes, missing = x.shape[2:], [-n % self.step for n in x.shape[2:]]
            # One axis after the other.
            for axis, (size, more) in enumerate(zip(sizes, missing, strict=True), start=2):
                line, pads = np.arange(size), (more // 2, more - more // 2)
                if more and self.mode != "zero":
                    places = np.pad(line, pads, mode={"circular": "wrap", "mirror": "symmetric"}[self.mode])
                    x = x.index_select(axis, torch.from_numpy(places))
                elif more:
                    x = torch.nn.functional.pad(x, (0, 0) * (x.ndim - 1 - axis) + pads)
            x = self.body(x)
            for axis, (size, more) in enumerate(zip(sizes, missing, strict=True), start=2):
                x = x.narrow(axis, more // 2, size)
            return x

    class Scores(torch.nn.Module):
        """score(x) + enlarge(inner(pool(x))): one skip of FCN; `score` is made after what `inner` holds."""

        def __init__(self, inner: Layers, enlarge: Layers, score: "torch.nn.Module") -> None:
            super().__init__()
            self.inner = torch.nn.Sequential(*inner)
            self.enlarge = torch.nn.Sequential(*enlarge)
            self.score = score

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return self.enlarge(self.inner(x)) + self.score(x)

    class Recurrent(torch.nn.Module):
        """One of PyTorch's recurrent layers: (B, T, C) → h of all steps (B, T, H), and at the end (B, H)."""

        def __init__(self, layer: "torch.nn.RNNBase") -> None:
            super().__init__()
            self.layer = layer
            for way in _directions(layer):
                bias = getattr(layer, f"bias_hh{way}")
                torch.nn.init.zeros_(bias)
                if layer.mode == "GRU":
                    inner = torch.arange(len(bias)) >= 2 * layer.hidden_size
                    bias.register_hook(lambda gradient, inner=inner: gradient * inner)
                else:
                    bias.requires_grad_(False)

        def forward(self, x: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
            steps, end = self.layer(x)
            end = end[0] if isinstance(end, tuple) else end
            return steps, end.movedim(0, 1).flatten(1)

    class RecurrentNet(torch.nn.Module):
        """Recurrent layers with dropout between them, and a read-out of (B, T, H): (B, C, T) → (B, H) or (B, T, H)."""

        def __init__(self, layers: Layers, dropout: float, readout: str) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(layers)
            self.dropout = torch.nn.Dropout(dropout)
            self.readout = readout
            if readout == "attention":
                last = layers[-1].layer
                self.attention = torch.nn.Linear(last.hidden_size * (1 + last.bidirectional), 1, bias=False)

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            x = x.movedim(1, 2)
            for i, layer in enumerate(self.layers):
                x, end = layer(self.dropout(x) if i else x)
            if self.readout == "attention":
                return (x * self.attention(x.tanh()).softmax(dim=1)).sum(1)
            return {"last": end, "mean": x.mean(1), "steps": x}[self.readout]

    class ConvStates(torch.nn.Module):
        """Layers of a convolutional LSTM: (B, C, T, H, W) → h of the last one at all steps."""

        def __init__(self, before: int, widths: tuple[int, ...], conv: Callable) -> None:
            super().__init__()
            self.widths, self.mode = widths, conv(1, 1).padding_mode
            for i, width in enumerate(widths, start=1):
                self.add_module(f"layer{i}_input", conv(before, 4 * width))
                if i == 1:
                    # Made after the first convolution, as ours are.
                    self.states = torch.nn.ParameterDict()
                recurrent = conv(width, 4 * width)
                self.states[f"layer{i}_recurrent"] = recurrent.weight
                self.states[f"layer{i}_bias"] = torch.nn.Parameter(torch.zeros(4 * width))
                before = width

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            functional, steps = torch.nn.functional, x.shape[2]
            frames = x.movedim(2, 0)
            for i, width in enumerate(self.widths, start=1):
                weight, bias = self.states[f"layer{i}_recurrent"], self.states[f"layer{i}_bias"]
                before, after = (weight.shape[-1] - 1) // 2, weight.shape[-1] // 2
                from_input = getattr(self, f"layer{i}_input")(frames.flatten(0, 1)) + bias[:, None, None]
                h = c = frames.new_zeros(frames.shape[1], width, *frames.shape[3:])
                states = []
                for products in from_input.unflatten(0, (steps, -1)):
                    mode = "constant" if self.mode == "zeros" else "circular"
                    padded = functional.pad(h, (before, after) * 2, mode=mode)
                    i, f, g, o = (products + functional.conv2d(padded, weight)).chunk(4, dim=1)
                    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                    h = o.sigmoid() * c.tanh()
                    states.append(h)
                frames = torch.stack(states)
            return frames.movedim(0, 2)

    made = (Apply, Residual, PosedConv, FieldNorm, Level, Unpooled, Fitted, Scores, RecurrentNet, Recurrent, ConvStates)
    return types.SimpleNamespace(**{kind.__name__: kind for kind in made})


def _turned(element: int, x: np.ndarray) -> np.ndarray:
    """Mirrored left-right if `element` is 4 or more, then turned by `element` % 4 quarters."""
    return np.rot90(x[:, ::-1] if element >= 4 else x, element % 4)


def _quotients(order: int) -> list[list[int]]:
    """Entry [h][j] is the element h⁻¹ j, whose action followed by that of h is that of j: tried out on four corners."""
    corners = np.arange(4).reshape(2, 2)
    posed = [_turned(j, corners).tolist() for j in range(order)]
    products = [[_turned(h, _turned(g, corners)).tolist() for g in range(order)] for h in range(order)]
    return [[products[h].index(posed[j]) for j in range(order)] for h in range(order)]


def _apply(function: Callable) -> "torch.nn.Module":
    return _classes().Apply(function)


def _relu() -> "torch.nn.Module":
    return require_torch().nn.ReLU(inplace=True)


def _conv(model: nn.Module, before: int, width: int, kernel: int = 3, *, ndim: int = 2, **options: Any) -> Any:
    stride = options.get("stride", 1)
    return getattr(require_torch().nn, f"Conv{ndim}d")(
        before,
        width,
        kernel,
        # Even kernels, of which there are none with a stride, pad one pixel less before than after.
        padding="same" if stride == 1 else kernel // 2,
        padding_mode="zeros" if model.padding == "zero" else "circular",
        **options,
    )


def _norm(width: int, ndim: int = 2, *, momentum: float = 0.9, epsilon: float = 1e-5) -> "torch.nn.Module":
    # PyTorch's momentum is the weight of the new value.
    return getattr(require_torch().nn, f"BatchNorm{ndim}d")(width, eps=epsilon, momentum=1 - momentum)


def _pool(kind: str, ndim: int = 2, window: int = 2) -> "torch.nn.Module":
    return getattr(require_torch().nn, f"{kind.capitalize()}Pool{ndim}d")(window)


def _global_pool(mode: str = "mean") -> "torch.nn.Module":
    torch = require_torch()
    functions = {"mean": [torch.mean], "max": [torch.amax], "both": [torch.mean, torch.amax]}[mode]
    return _apply(lambda x: torch.cat([f(x, dim=tuple(range(2, x.ndim))) for f in functions], dim=1))


def _flatten() -> "torch.nn.Module":
    return _apply(lambda x: x.movedim(1, -1).flatten(1))


def _features(layers: Layers, shape: tuple[int, ...]) -> int:
    """Length of the vectors that `layers` make of inputs (B, …, C)."""
    torch = require_torch()
    with torch.no_grad():
        return torch.nn.Sequential(*layers).eval()(torch.zeros(1, shape[-1], *shape[1:-1])).shape[1]


def _head(model: nn.Module, features: int) -> Layers:
    nn = require_torch().nn
    return [nn.Dropout(model.dropout), nn.Linear(features, model.num_classes)]


def _fold(side: int) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """Blocks of pixels into channels (B, s^d·C, …), the channels of one pixel side by side."""

    def fold(x: "torch.Tensor") -> "torch.Tensor":
        batch, channels, *sizes = x.shape
        x = x.reshape(batch, channels, *(m for n in sizes for m in (n // side, side)))
        order = (0, *range(3, x.ndim, 2), 1, *range(2, x.ndim, 2))
        return x.permute(order).reshape(batch, -1, *(n // side for n in sizes))

    return fold


def _unfold(side: int) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """Channels back into blocks of pixels: the inverse of `_fold`."""

    def unfold(x: "torch.Tensor") -> "torch.Tensor":
        batch, _, *sizes = x.shape
        ndim = len(sizes)
        x = x.reshape(batch, *(side,) * ndim, -1, *sizes)
        order = (0, 1 + ndim, *(axis for i in range(ndim) for axis in (2 + ndim + i, 1 + i)))
        return x.permute(order).reshape(batch, -1, *(side * n for n in sizes))

    return unfold


def _mlp(model: models.MLP, shape: tuple[int, ...]) -> Layers:
    nn = require_torch().nn
    layers, before = [_flatten()], int(np.prod(shape[1:]))
    for width in model.widths:
        layers += [nn.Linear(before, width), _relu(), nn.Dropout(model.dropout)]
        before = width
    return [*layers, nn.Linear(before, model.num_classes)]


def _convnet(model: models.ConvNet, shape: tuple[int, ...]) -> Layers:
    ndim = len(shape) - 2
    layers, before = [], shape[-1] * model.fold**ndim
    if model.fold > 1:
        layers.append(_apply(_fold(model.fold)))
    for stage, (width, depth) in enumerate(zip(model.widths, model.depths, strict=True)):
        layers += [_pool(model.pool, ndim)] if stage else []
        for _ in range(depth):
            conv = _conv(model, before, width, model.kernel, ndim=ndim, bias=False)
            layers += [conv, _norm(width, ndim), _relu()]
            before = width
    return [*layers, _global_pool(model.head_pool), *_head(model, before * (1 + (model.head_pool == "both")))]


def _deepmerge(model: models.DeepMerge, shape: tuple[int, ...]) -> Layers:
    nn = require_torch().nn
    layers, before = [], shape[-1]
    for block, width in enumerate(model.widths):
        conv = _conv(model, before, width, 3 if block else 5)
        layers += [conv, _relu(), _norm(width, momentum=0.99, epsilon=1e-3), _pool("max"), nn.Dropout(model.dropout)]
        before = width
    layers.append(_flatten())
    before = _features(layers, shape)
    for units in model.dense:
        layers += [nn.Linear(before, units), nn.Softmax(1) if model.hidden == "softmax" else _relu()]
        before = units
    return [*layers, nn.Linear(before, model.num_classes)]


def _braai(model: models.Braai, shape: tuple[int, ...]) -> Layers:
    nn = require_torch().nn
    layers, before = [], shape[-1]
    for width, window in zip(model.widths, (2, 4), strict=True):
        for _ in range(2):
            conv = nn.Conv2d(before, width, 3) if model.padding == "valid" else _conv(model, before, width)
            layers += [conv, _relu()]
            before = width
        layers += [_pool("max", window=window), nn.Dropout(model.dropout / 2)]
    layers.append(_flatten())
    return [*layers, nn.Linear(_features(layers, shape), model.dense), _relu(), *_head(model, model.dense)]


def _filter_net(model: models.FilterNet, shape: tuple[int, ...]) -> Layers:
    torch = require_torch()
    layers = [_conv(model, shape[-1], 1, model.kernel), _global_pool("max"), torch.nn.Linear(1, 1)]
    return [*layers, _apply(lambda z: torch.cat([-z, z], dim=1))]


def _vgg(model: models.VGG, shape: tuple[int, ...]) -> Layers:
    nn = require_torch().nn
    layers, before = [], shape[-1]
    for depth, width in zip(model.depths, model.widths, strict=True):
        for _ in range(depth):
            layers += [_conv(model, before, width), *([_norm(width)] if model.batch_norm else []), _relu()]
            before = width
        layers.append(_pool("max"))
    if model.head == "pool":
        return [*layers, _global_pool(), *_head(model, before)]
    layers += [nn.AdaptiveAvgPool2d(GRID), _flatten()]
    before *= GRID**2
    for units in model.dense:
        layers += [nn.Linear(before, units), _relu(), nn.Dropout(model.dropout)]
        before = units
    return [*layers, nn.Linear(before, model.num_classes)]


def _resnet(model: models.ResNet, shape: tuple[int, ...]) -> Layers:
    torch = require_torch()
    small, before = model.stem == "small", model.width
    stem = _conv(model, shape[-1], before, 3 if small else 7, stride=1 if small else 2, bias=False)
    layers = [stem, _norm(before), _relu()]
    if not small and model.padding == "circular":
        layers.append(_apply(lambda x: torch.nn.functional.pad(x, (1,) * 4, mode="circular")))
    if not small:
        layers.append(torch.nn.MaxPool2d(3, 2, padding=int(model.padding == "zero")))
    for stage, depth in enumerate(model.depths):
        for i in range(depth):
            width, stride = model.width * 2**stage, 2 if stage and i == 0 else 1
            after = width * (4 if model.bottleneck else 1)
            if model.bottleneck:
                sizes = [(before, width, 1, 1), (width, width, 3, stride), (width, after, 1, 1)]
            else:
                sizes = [(before, width, 3, stride), (width, width, 3, 1)]
            body = []
            for inner, outer, kernel, step in sizes:
                body += [_conv(model, inner, outer, kernel, stride=step, bias=False), _norm(outer), _relu()]
            shortcut = []
            if stride > 1 or before != after:
                shortcut = [_conv(model, before, after, 1, stride=stride, bias=False), _norm(after)]
            # The last rectifier comes after the sum.
            layers.append(_classes().Residual(body[:-1], shortcut, True))
            before = after
    return [*layers, _global_pool(), *_head(model, before)]


def _mobilenet(model: models.MobileNetV2, shape: tuple[int, ...]) -> Layers:
    nn = require_torch().nn

    def block(inner: int, outer: int, kernel: int, **options: int) -> Layers:
        return [_conv(model, inner, outer, kernel, bias=False, **options), _norm(outer), nn.ReLU6(inplace=True)]

    before = make_divisible(model.stem_width * model.width_mult)
    layers = block(shape[-1], before, 3, stride=model.stem_stride)
    for expansion, channels, depth, first_stride in model.stages:
        for i in range(depth):
            stride = first_stride if i == 0 else 1
            width, inner = make_divisible(channels * model.width_mult), before * expansion
            body = block(before, inner, 1) if expansion != 1 else []
            body += [*block(inner, inner, 3, stride=stride, groups=inner), *block(inner, width, 1)[:-1]]
            same = stride == 1 and before == width
            layers.append(_classes().Residual(body, [], False) if same else nn.Sequential(*body))
            before = width
    last = make_divisible(model.last_width * max(1.0, model.width_mult))
    return [*layers, *block(before, last, 1), _global_pool(), *_head(model, last)]


def _group_head(model: models.GroupConvNet | models.GroupResNet, fields: int) -> Layers:
    if model.head != "invariant":
        raise UserError(f"Twins of group-equivariant networks have head='invariant', got {model.head!r}.")
    torch, order = require_torch(), _order(model)
    pool = torch.amax if model.group_pool == "max" else torch.mean
    layers = [_apply(lambda x: pool(x.unflatten(1, (order, -1)), dim=1)), _global_pool(model.head_pool)]
    return [*layers, *_head(model, fields * (1 + (model.head_pool == "both")))]


def _order(model: models.GroupConvNet | models.GroupResNet | models.GroupUNet) -> int:
    return {"c4": 4, "d4": 8}[model.group]


def _posed(
    model: models.GroupConvNet | models.GroupResNet | models.GroupUNet, before: int, fields: int, *,
    kernel: int = 3, stride: int = 1, lift: bool = False,
) -> Layers:  # fmt: skip
    classes, order = _classes(), _order(model)
    shape = (fields, before, kernel, kernel, *(() if lift else (order,)))
    conv = classes.PosedConv(shape, order=order, stride=stride, circular=model.padding == "circular")
    return [conv, classes.FieldNorm(fields)]


def _group_convnet(model: models.GroupConvNet, shape: tuple[int, ...]) -> Layers:
    layers, before, by_stride = [], shape[-1], model.downsample == "stride"
    for stage, (fields, depth) in enumerate(zip(model.widths, model.depths, strict=True)):
        layers += [_pool(model.downsample)] if stage and not by_stride else []
        for i in range(depth):
            stride = 2 if by_stride and stage and i == 0 else 1
            posed = _posed(model, before, fields, kernel=model.kernel, stride=stride, lift=not stage and i == 0)
            layers += [*posed, _relu()]
            before = fields
    return [*layers, *_group_head(model, before)]


def _group_resnet(model: models.GroupResNet, shape: tuple[int, ...]) -> Layers:
    before, by_stride = model.widths[0], model.downsample == "stride"
    layers = [*_posed(model, shape[-1], before, lift=True), _relu()]
    for stage, (fields, depth) in enumerate(zip(model.widths, model.depths, strict=True)):
        layers += [_pool(model.downsample)] if stage and not by_stride else []
        for i in range(depth):
            stride = 2 if by_stride and stage and i == 0 else 1
            body = [*_posed(model, before, fields, stride=stride), _relu(), *_posed(model, fields, fields)]
            shortcut = []
            if stride > 1 or before != fields:
                shortcut = _posed(model, before, fields, kernel=1, stride=stride)
            layers.append(_classes().Residual(body, shortcut, True))
            before = fields
    return [*layers, *_group_head(model, before)]


def _stage(model: nn.Module, before: int, widths: tuple[int, ...], ndim: int, kernel: int | None = None) -> Layers:
    layers = []
    for width in widths:
        layers.append(_conv(model, before, width, kernel or model.kernel, ndim=ndim, bias=model.norm == "none"))
        if model.norm == "batch":
            layers.append(_norm(width, ndim))
        elif model.norm == "group":
            layers.append(require_torch().nn.GroupNorm(math.gcd(GROUPS, width), width))
        layers.append(_relu())
        before = width
    return layers


def _transposed(model: nn.Module, before: int, width: int, kernel: int, ndim: int, bias: bool) -> Layers:
    """Transposed convolution with stride 2: kernel 2, or 4 and one pixel less on either side."""
    torch = require_torch()
    wrap = model.padding == "circular" and kernel > 2
    layer = getattr(torch.nn, f"ConvTranspose{ndim}d")(
        before, width, kernel, stride=2, padding=(kernel - 2) // 2 + 2 * wrap, bias=bias
    )
    wrapped = _apply(lambda x: torch.nn.functional.pad(x, (1, 1) * ndim, mode="circular"))
    return [wrapped, layer] if wrap else [layer]


def _interpolated(model: nn.Module, factor: int, ndim: int) -> Layers:
    torch = require_torch()
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[ndim]
    up = torch.nn.Upsample(scale_factor=factor, mode=mode, align_corners=False)
    if model.padding == "zero":
        return [up]
    wrap = _apply(lambda x: torch.nn.functional.pad(x, (1, 1) * ndim, mode="circular"))
    crop = _apply(lambda x: x[(..., *(slice(factor, -factor),) * ndim)])
    return [wrap, up, crop]


def _bridge(skip: str) -> Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]:
    torch = require_torch()
    return {
        "concatenate": lambda x, y: torch.cat([x, y], dim=1),
        "sum": lambda x, y: x + y,
        "none": lambda x, y: y,
    }[skip]


def _pixel_head(model: nn.Module, before: int, ndim: int) -> "torch.nn.Module":
    return getattr(require_torch().nn, f"Conv{ndim}d")(before, model.num_classes, 1)


def _unet(model: models.UNet, shape: tuple[int, ...]) -> Layers:
    if model.numbers:
        raise UserError(f"Twins of U-Nets have maps for their only outputs, numbers=0; got numbers={model.numbers}.")
    torch, ndim, plain = require_torch(), len(shape) - 2, model.norm == "none"

    def enlarge(before: int, width: int) -> Layers:
        if model.up == "transposed":
            return _transposed(model, before, width, 2, ndim, plain)
        reduce = [getattr(torch.nn, f"Conv{ndim}d")(before, width, 1, bias=plain)]
        if model.up == "linear":
            return reduce + _interpolated(model, 2, ndim)
        return reduce + ([torch.nn.Upsample(scale_factor=2)] if model.up == "nearest" else [])

    def level(before: int, widths: tuple[int, ...]) -> Layers:
        width, *rest = widths
        down = _stage(model, before, (width,) * model.depth, ndim)
        if not rest:
            return [*down, torch.nn.Dropout(model.dropout)]
        inner = [*level(width, tuple(rest)), *enlarge(rest[0], width)]
        unpool = model.up == "unpool"
        inner = [_classes().Unpooled(inner, ndim)] if unpool else [_pool(model.pool, ndim), *inner]
        both = width * (1 + (model.skip == "concatenate"))
        up = _stage(model, both, (width,) * model.depth, ndim)
        return [_classes().Level(down, inner, up, _bridge(model.skip))]

    block = model.fold**ndim
    head = getattr(torch.nn, f"Conv{ndim}d")(model.widths[0], model.num_classes * block, 1)
    body = [*level(shape[-1] * block, model.widths), head]
    if model.fold > 1:
        body = [_apply(_fold(model.fold)), *body, _apply(_unfold(model.fold))]
    mode = "mirror" if model.up == "unpool" and model.padding == "zero" else model.padding
    return [_classes().Fitted(body, model.fold * 2 ** (len(model.widths) - 1), mode)]


def _segnet(model: models.SegNet, shape: tuple[int, ...]) -> Layers:
    ndim = len(shape) - 2
    layers: Layers = [require_torch().nn.Dropout(model.dropout)]
    before = (shape[-1], *model.widths)
    for stage in reversed(range(len(model.widths))):
        width, depth = model.widths[stage], model.depths[stage]
        down = _stage(model, before[stage], (width,) * depth, ndim)
        finer = model.widths[max(stage - 1, 0)]
        up = _stage(model, width, (*(width,) * (depth - 1), finer), ndim)
        layers = [*down, _classes().Unpooled(layers, ndim), *up]
    body = [*layers, _pixel_head(model, model.widths[0], ndim)]
    mode = "mirror" if model.padding == "zero" else model.padding
    return [_classes().Fitted(body, 2 ** len(model.widths), mode)]


def _fcn(model: models.FCN, shape: tuple[int, ...]) -> Layers:
    nn, ndim, stages = require_torch().nn, len(shape) - 2, len(model.widths)
    before = (shape[-1], *model.widths)
    layers, width = [], model.widths[-1]
    for i, units in enumerate(model.dense):
        layers += [*_stage(model, width, (units,), ndim, 1 if i else 3), nn.Dropout(model.dropout)]
        width = units
    layers.append(_pixel_head(model, width, ndim))
    for stage in reversed(range(stages)):
        body = _stage(model, before[stage], (model.widths[stage],) * model.depths[stage], ndim)
        layers = [*body, _pool("max", ndim), *layers]
        if stages - model.skips <= stage:
            enlarge = _transposed(model, model.num_classes, model.num_classes, 4, ndim, False)
            layers = [_classes().Scores(layers, enlarge, _pixel_head(model, before[stage], ndim))]
    body = [*layers, *_interpolated(model, 2 ** (stages - model.skips), ndim)]
    return [_classes().Fitted(body, 2**stages, model.padding)]


def _group_unet(model: models.GroupUNet, shape: tuple[int, ...]) -> Layers:
    torch, order = require_torch(), _order(model)

    def stage(before: int, fields: int, lift: bool) -> Layers:
        layers = []
        for i in range(model.depth):
            layers += [*_posed(model, before, fields, kernel=model.kernel, lift=lift and i == 0), _relu()]
            before = fields
        return layers

    def dropped(x: "torch.Tensor") -> "torch.Tensor":
        # Whole fields, in all poses.
        fields = x.unflatten(1, (order, -1))
        keep = torch.nn.functional.dropout(torch.ones_like(fields[:, :1, :, :1, :1]), model.dropout)
        return (fields * keep).flatten(1, 2)

    def both(x: "torch.Tensor", y: "torch.Tensor") -> "torch.Tensor":
        return torch.cat([x.unflatten(1, (order, -1)), y.unflatten(1, (order, -1))], dim=2).flatten(1, 2)

    def level(before: int, widths: tuple[int, ...], top: bool) -> Layers:
        width, *rest = widths
        down = stage(before, width, top)
        if not rest:
            return [*down, *([_apply(dropped)] if model.dropout else [])]
        enlarge = [_posed(model, rest[0], width, kernel=1)[0], torch.nn.Upsample(scale_factor=2)]
        inner = [_pool(model.pool), *level(width, tuple(rest), False), *enlarge]
        return [_classes().Level(down, inner, stage(2 * width, width, False), both)]

    pool = torch.amax if model.group_pool == "max" else torch.mean
    body = [
        *level(shape[-1], model.widths, True),
        _apply(lambda x: pool(x.unflatten(1, (order, -1)), dim=1)),
        _pixel_head(model, model.widths[0], 2),
    ]
    return [_classes().Fitted(body, 2 ** (len(model.widths) - 1), model.padding)]


def _numbers_only(model: models.RecurrentNet | models.WindowNet) -> None:
    if model.symbols:
        raise UserError(f"Twins of networks of sequences take numbers, symbols=0; got symbols={model.symbols}.")


def _recurrent(model: models.RecurrentNet, shape: tuple[int, ...]) -> Layers:
    _numbers_only(model)
    nn, before, layers = require_torch().nn, shape[-1], []
    for _ in range(model.layers):
        options = {"batch_first": True, "bidirectional": model.bidirectional}
        if model.cell == "rnn":
            options["nonlinearity"] = model.activation
        kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[model.cell]
        layers.append(_classes().Recurrent(kind(before, model.width, **options)))
        before = model.width * (1 + model.bidirectional)
    body = _classes().RecurrentNet(layers, model.dropout, model.readout)
    return [body, *_head(model, before), *_channels_first(model.readout == "steps")]


def _channels_first(steps: bool) -> Layers:
    """Outputs of steps (B, T, …, K) with the channels moved to where those of images are."""
    return [_apply(lambda x: x.movedim(-1, 1))] if steps else []


def _window(model: models.WindowNet, shape: tuple[int, ...]) -> Layers:
    _numbers_only(model)
    torch, before = require_torch(), shape[-1] * model.window

    def past(x: "torch.Tensor") -> "torch.Tensor":
        x = torch.nn.functional.pad(x, (model.window - 1, 0)).unfold(2, model.window, 1)
        x = x.permute(0, 2, 3, 1).flatten(2)
        return x[:, -1] if model.readout == "last" else x

    layers: Layers = [_apply(past)]
    for width in model.widths:
        layers += [torch.nn.Linear(before, width), _relu(), torch.nn.Dropout(model.dropout)]
        before = width
    return [*layers, torch.nn.Linear(before, model.num_classes), *_channels_first(model.readout == "steps")]


def _conv_lstm(model: models.ConvLSTM, shape: tuple[int, ...]) -> Layers:
    torch = require_torch()
    conv = functools.partial(_conv, model, kernel=model.kernel, bias=False)
    body = _classes().ConvStates(shape[-1], model.widths, conv)
    pools = {
        "last": lambda x: _both(x[:, :, -1], (-2, -1)),
        "steps": lambda x: _both(x, (-2, -1)).movedim(1, -1),
        "frames": lambda x: x.movedim(1, -1),
    }

    def _both(x: "torch.Tensor", axes: tuple[int, ...]) -> "torch.Tensor":
        return torch.cat([x.mean(axes), x.amax(axes)], dim=1)

    features = model.widths[-1] * (1 if model.readout == "frames" else 2)
    return [body, _apply(pools[model.readout]), *_head(model, features), *_channels_first(model.readout != "last")]


_BUILDERS: Mapping[type[nn.Module], Callable[[Any, tuple[int, ...]], Layers]] = {
    models.Braai: _braai,
    models.ConvLSTM: _conv_lstm,
    models.ConvNet: _convnet,
    models.DeepMerge: _deepmerge,
    models.FCN: _fcn,
    models.FilterNet: _filter_net,
    models.GroupConvNet: _group_convnet,
    models.GroupResNet: _group_resnet,
    models.GroupUNet: _group_unet,
    models.MLP: _mlp,
    models.MobileNetV2: _mobilenet,
    models.RecurrentNet: _recurrent,
    models.ResNet: _resnet,
    models.SegNet: _segnet,
    models.UNet: _unet,
    models.VGG: _vgg,
    models.WindowNet: _window,
}

# Names of the models that have a twin.
TWINS = tuple(name for name in zoo.names() if zoo.card(name).module in _BUILDERS)
