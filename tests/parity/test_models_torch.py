"""Every network of the zoo against its twin in PyTorch, with the same weights: outputs, gradients, one step of SGD.

Conventions that differ: PyTorch keeps kernels as (out, in, …) and images channels first; its BatchNorm momentum 0.1 is
our 0.9; its running variance is divided by n − 1, ours (by default) by n. ε and padding are the same.

In float64 all tensors agree to 1e-10 of their norm: rounding is 1e-16, sums have up to some 10⁴ terms added in another
order, and fifty normalisations over few numbers multiply the difference by up to some hundred (ResNet-50 is the worst).
"""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo import taps
from zoo.errors import UserError, WeightsError
from zoo.layers import BatchNorm
from zoo_experiments.verbs.twins import TWINS, links, load_from_flax, to_flax, twin

pytestmark = pytest.mark.parity

TOLERANCE = 1e-10
RATE = 0.1

_VGG = {"num_classes": 3, "widths": (6, 6, 8, 8, 8), "dense": (8, 7), "dropout": 0.0}
_RESNET = {"num_classes": 3, "width": 4}
_GROUP = {"num_classes": 3, "widths": (3, 4), "depths": (1, 2)}
_CONVNET = {"num_classes": 3, "widths": (4, 6), "depths": (1, 2)}
_UNET = {"num_classes": 3, "widths": (4, 5, 6)}
_FCN = {"num_classes": 3, "widths": (4, 5, 6), "depths": (1, 1, 2), "dense": (7,)}
_GROUP_UNET = {"num_classes": 3, "widths": (2, 3, 3), "depth": 1}

_RECURRENT = {"num_classes": 3, "width": 5}

# Full depth, little width: (name, options, shape of the inputs).
CASES = {
    "mlp": ("mlp", {"num_classes": 3, "widths": (6, 5)}, (4, 4, 5, 2)),
    "mlp of vectors": ("mlp", {"num_classes": 3, "widths": ()}, (4, 6)),
    "convnet": ("convnet", {"num_classes": 3, "widths": (4, 6, 7, 8)}, (4, 16, 24, 2)),
    "convnet, other options": (
        "convnet",
        {**_CONVNET, "fold": 2, "pool": "avg", "head_pool": "both", "kernel": 4, "padding": "circular"},
        (4, 16, 24, 2),
    ),
    "conv1d": ("conv1d", {"num_classes": 3, "widths": (4, 6, 8)}, (4, 16, 2)),
    "conv3d": ("conv3d", {"num_classes": 3, "widths": (4, 6, 8)}, (4, 8, 8, 12, 2)),
    "deepmerge": ("deepmerge", {"widths": (2, 3, 4), "dense": (6, 5), "dropout": 0.0}, (4, 17, 24, 2)),
    "deepmerge, relu": ("deepmerge", {"widths": (2, 3), "dense": (6,), "dropout": 0.0, "hidden": "relu"}, (4, 9, 8, 2)),
    "braai": ("braai", {"widths": (4, 6), "dense": 8, "dropout": 0.0}, (4, 22, 26, 2)),
    "braai, padded": ("braai", {"widths": (4, 6), "dense": 8, "dropout": 0.0, "padding": "zero"}, (4, 16, 17, 2)),
    "filter_net": ("filter_net", {"kernel": 5}, (4, 8, 9, 2)),
    "vgg11": ("vgg11", _VGG, (2, 64, 32, 3)),
    "vgg13": ("vgg13", _VGG, (2, 32, 32, 3)),
    "vgg16": ("vgg16", _VGG, (2, 32, 32, 3)),
    "vgg11, normalised": ("vgg11", {**_VGG, "batch_norm": True, "head": "pool"}, (4, 64, 64, 3)),
    "resnet18": ("resnet18", _RESNET, (4, 64, 64, 3)),
    "resnet34": ("resnet34", _RESNET, (4, 64, 64, 3)),
    "resnet50": ("resnet50", _RESNET, (4, 64, 64, 3)),
    "resnet18, small": ("resnet18", {**_RESNET, "stem": "small"}, (4, 16, 24, 2)),
    "resnet18, circular": ("resnet18", {**_RESNET, "depths": (1, 1), "padding": "circular"}, (4, 32, 32, 2)),
    "mobilenet_v2": (
        "mobilenet_v2",
        {"num_classes": 3, "width_mult": 0.1, "last_width": 24, "dropout": 0.0},
        (4, 64, 64, 3),
    ),
    "c4_convnet": ("c4_convnet", _GROUP, (4, 8, 8, 2)),
    "d4_convnet": ("d4_convnet", {**_GROUP, "head_pool": "both", "padding": "circular"}, (4, 8, 8, 2)),
    "d4_convnet, strides": ("d4_convnet", {**_GROUP, "downsample": "stride", "group_pool": "mean"}, (4, 9, 9, 2)),
    "d4_resnet": ("d4_resnet", _GROUP, (4, 8, 8, 2)),
    "d4_resnet, strides": ("d4_resnet", {**_GROUP, "downsample": "stride"}, (4, 9, 9, 2)),
    "unet": ("unet", {"num_classes": 3, "widths": (4, 5, 6, 7)}, (4, 19, 24, 2)),
    "unet, interpolated": (
        "unet",
        {**_UNET, "up": "linear", "skip": "sum", "padding": "circular", "pool": "avg", "kernel": 4},
        (4, 9, 12, 2),
    ),
    "unet, unpooled": ("unet", {**_UNET, "up": "unpool", "skip": "none", "depth": 1}, (4, 9, 12, 2)),
    "unet, repeated": ("unet", {**_UNET, "up": "nearest", "norm": "group", "fold": 2}, (4, 9, 12, 2)),
    "unet, plain": ("unet", {**_UNET, "norm": "none", "padding": "circular"}, (4, 9, 12, 2)),
    "unet of sequences": ("unet", {**_UNET, "up": "linear"}, (4, 19, 2)),
    "unet3d": ("unet3d", {"num_classes": 3, "widths": (3, 4, 5)}, (2, 6, 8, 9, 2)),
    "fcn": ("fcn", {"num_classes": 3, "widths": (4, 5, 6, 7, 8), "dense": (8, 7)}, (4, 39, 64, 2)),
    "fcn, circular": ("fcn", {**_FCN, "skips": 1, "padding": "circular"}, (4, 16, 21, 2)),
    "fcn, without skips": ("fcn", {**_FCN, "skips": 0, "norm": "group"}, (4, 16, 21, 2)),
    "segnet": ("segnet", {"num_classes": 3, "widths": (4, 5, 6, 7)}, (4, 19, 32, 2)),
    "segnet, circular": (
        "segnet",
        {"num_classes": 3, "widths": (4, 5), "depths": (2, 1), "padding": "circular"},
        (4, 9, 12, 2),
    ),
    "c4_unet": ("c4_unet", {**_GROUP_UNET, "depth": 2, "group_pool": "mean"}, (4, 10, 10, 2)),
    "d4_unet": ("d4_unet", _GROUP_UNET, (4, 10, 10, 2)),
    "rnn": ("rnn", _RECURRENT, (4, 7, 2)),
    "rnn, rectified": ("rnn", {**_RECURRENT, "activation": "relu", "layers": 2, "readout": "mean"}, (4, 7, 2)),
    "lstm": ("lstm", {**_RECURRENT, "layers": 2}, (4, 7, 2)),
    "lstm, bidirectional": (
        "lstm",
        {**_RECURRENT, "layers": 2, "bidirectional": True, "readout": "attention"},
        (4, 7, 2),
    ),
    "gru": ("gru", {**_RECURRENT, "layers": 2, "bidirectional": True}, (4, 7, 2)),
    "gru, steps": ("gru", {**_RECURRENT, "readout": "steps"}, (4, 7, 2)),
    "window": ("window", {"num_classes": 3, "window": 3, "widths": (6, 5)}, (4, 7, 2)),
    "window, steps": ("window", {"num_classes": 3, "window": 3, "readout": "steps"}, (4, 7, 2)),
    "conv_lstm": ("conv_lstm", {"num_classes": 3, "widths": (3, 4)}, (2, 4, 5, 6, 2)),
    "conv_lstm, steps": (
        "conv_lstm",
        {"num_classes": 3, "widths": (3,), "readout": "steps"},
        (2, 4, 5, 6, 2),
    ),
    "conv_lstm, frames": (
        "conv_lstm",
        {"num_classes": 3, "widths": (3,), "kernel": 4, "padding": "circular", "readout": "frames"},
        (2, 4, 5, 6, 2),
    ),
    "d4_unet, circular": ("d4_unet", {**_GROUP_UNET, "pool": "avg", "padding": "circular"}, (4, 10, 10, 2)),
}
# Beside those on the cards: a normalisation takes out the bias of the convolution before it.
IDLE = {"vgg11, normalised": (r"stage\d_conv\d/bias",)}


def test_every_model_is_held_to_its_twin():
    arrays = {name for name in zoo.names() if zoo.card(name).kind == "array"}
    assert {name for name, _, _ in CASES.values()} == set(TWINS) == arrays


@pytest.fixture(params=CASES)
def case(request, x64):
    """Model, shape, twin, random variables, inputs and labels, in float64."""
    name, options, shape = CASES[request.param]
    model = zoo.create(name, **options, param_dtype=jnp.float64)
    draw = np.random.default_rng(0)

    def drawn(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            # He's scaling, so that neither outputs nor gradients vanish; heads as any other layer.
            return draw.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape)
        return draw.uniform(0.5, 1.5, leaf.shape) if kind in ("scale", "var") else draw.normal(0, 0.3, leaf.shape)

    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float64))
    variables = jax.tree.map_with_path(drawn, shapes)
    net = twin(model, shape).double()
    load_from_flax(net, model, variables, shape)
    places = jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct(shape, jnp.float64)).shape[:-1]
    labels = draw.integers(0, model.num_classes, places) if model.num_classes > 1 else draw.uniform(size=places)
    idle = (*zoo.card(name).idle, *IDLE.get(request.param, ()))
    return model, net, variables, draw.normal(size=shape), labels, idle


def channels_first(x):
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def channels_last(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def loss_of(outputs, labels):
    if outputs.shape[-1] == 1:
        return optax.sigmoid_binary_cross_entropy(outputs[:, 0], labels).mean()
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()


def torch_loss_of(outputs, labels):
    import torch

    if outputs.shape[-1] == 1:
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], torch.from_numpy(labels))
    return torch.nn.functional.cross_entropy(outputs, torch.from_numpy(labels))


def name_of(path):
    return "/".join(entry.key for entry in path)


def norm(x):
    return np.linalg.norm(np.ravel(x))


def assert_norm_wise(got, expected, *, idle=()):
    """Every tensor to `TOLERANCE` of its own norm, or of that of all where it should be zero."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    whole = np.sqrt(sum(norm(leaf) ** 2 for leaf in jax.tree.leaves(expected)))
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        scale = whole if any(re.fullmatch(pattern, name_of(path)) for pattern in idle) else norm(b)
        assert norm(a - b) <= TOLERANCE * scale, (name_of(path), norm(a - b) / scale)


def test_evaluation(case):
    import torch

    model, net, variables, x, *_ = case
    net.eval()
    with torch.no_grad():
        expected = channels_last(net(channels_first(x)))
        single = channels_last(net.float()(channels_first(x).float()))
    assert_norm_wise(jax.jit(model.apply)(variables, x), expected)
    outputs = jax.jit(model.clone(param_dtype=jnp.float32).apply)(
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), variables), x.astype(np.float32)
    )
    assert outputs.dtype == jnp.float32
    # Rounding is 6e-8; what fifty layers make of it is seen on PyTorch's own outputs.
    limit = max(1e-5 * np.max(np.abs(expected)), 2 * np.max(np.abs(single - expected)))
    assert np.max(np.abs(outputs - expected)) <= limit


def test_training_step(case):
    import torch

    model, net, variables, x, labels, idle = case
    before = {"batch_stats": {}, **variables}

    @jax.jit
    def step(variables):
        def loss(params):
            outputs, updates = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return loss_of(outputs, labels), (outputs, updates.get("batch_stats", {}))

        (value, (outputs, stats)), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        optimiser = optax.sgd(RATE, momentum=0.9)
        updates, _ = optimiser.update(gradients, optimiser.init(variables["params"]))
        return value, outputs, stats, gradients, optax.apply_updates(variables["params"], updates)

    value, outputs, stats, gradients, params = step(variables)

    pairs, counts = links(net, model, x.shape), {}
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            count = lambda module, inputs, output, name=name: counts.update(
                {f"{name}.running_var": output.numel() // module.num_features}
            )
            module.register_forward_hook(count)
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9)
    expected = net(channels_first(x))
    expected_value = torch_loss_of(expected, labels)
    expected_value.backward()
    expected_gradients = to_flax(
        {name: p.grad.clone() for name, p in net.named_parameters() if p.requires_grad}, pairs
    )["params"]
    optimiser.step()
    after = to_flax(net.state_dict(), pairs)

    assert_norm_wise(value, expected_value.detach().numpy())
    assert_norm_wise(outputs, channels_last(expected))
    assert_norm_wise(gradients, expected_gradients, idle=idle)
    assert_norm_wise(params, after["params"])
    # Ours keeps the biased variance of the batch: times n / (n − 1) it is PyTorch's.
    assert len(counts) == len(jax.tree.leaves(stats)) / 2
    for link in pairs:
        if link.path[0] == "batch_stats":
            ours, theirs, old = (
                np.asarray(lookup(tree, link.path[1:])) for tree in (stats, after["batch_stats"], before["batch_stats"])
            )
            keep = 0.99 if type(model).__name__ == "DeepMerge" else 0.9
            n = counts.get(link.name)
            unbiased = ours if n is None else keep * old + (ours - keep * old) * n / (n - 1)
            assert norm(unbiased - theirs) <= TOLERANCE * norm(theirs), link


def lookup(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def test_weights_go_both_ways_and_are_used_once(x64):
    shape = (2, 16, 16, 2)
    model = zoo.create("convnet", **_CONVNET, param_dtype=jnp.float64)
    variables = model.init(jax.random.key(1), jnp.zeros(shape))
    net = twin(model, shape).double()
    load_from_flax(net, model, variables, shape)
    pairs = links(net, model, shape)
    assert len({link.name for link in pairs}) == len({link.path for link in pairs}) == len(pairs)
    assert len(pairs) == len([name for name in net.state_dict() if not name.endswith("num_batches_tracked")])
    back = to_flax(net.state_dict(), pairs)
    jax.tree.map(np.testing.assert_array_equal, back, jax.device_get(variables))


def test_weights_of_another_network_are_refused():
    shape = (2, 16, 16, 2)
    make = lambda **options: zoo.create("convnet", **{**_CONVNET, **options})
    net = twin(make(), shape)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def refused(model, variables, text):
        with pytest.raises(WeightsError, match=text):
            load_from_flax(net, model, variables, shape)

    for options, text in (({"widths": (4, 7)}, "stage2_conv1"), ({"depths": (1, 1)}, "5 layers .* here, 7 there")):
        other = make(**options)
        refused(other, other.init(jax.random.key(0), jnp.zeros(shape)), text)
    variables = make().init(jax.random.key(0), jnp.zeros(shape))
    refused(make(), {"params": variables["params"]}, "not those of ConvNet: batch_stats/stage1_norm1/mean")
    more = {**variables, "params": {**variables["params"], "more": {"bias": jnp.zeros(1)}}}
    refused(make(), more, "params/more/bias")
    for name, tensor in net.state_dict().items():
        assert (tensor == before[name]).all(), name


def test_what_has_no_twin_says_so():
    from flax import linen as nn

    with pytest.raises(UserError, match=r"Dense has no twin .*there are twins of: braai, "):
        twin(nn.Dense(3), (2, 4))
    with pytest.raises(UserError, match="head='invariant', got 'dense'"):
        twin(zoo.create("d4_convnet", **_GROUP, head="dense"), (2, 8, 8, 2))
    for name in ("lstm", "window"):
        with pytest.raises(UserError, match="take numbers, symbols=0; got symbols=5"):
            twin(zoo.create(name, num_classes=2, symbols=5), (2, 8))
    with pytest.raises(UserError, match="numbers=0; got numbers=2"):
        twin(zoo.create("unet", **_UNET, numbers=2), (2, 8, 8, 2))


def recurrent_layers(tree, gru):
    """PyTorch's names → arrays of a recurrent network of two layers in both directions, as one tree of ours."""
    layers = {}
    for layer, way in itertools.product((1, 2), ("forward", "backward")):
        end = f"_l{layer - 1}" + ("_reverse" if way == "backward" else "")
        found = {"input": tree[f"weight_ih{end}"].T, "recurrent": tree[f"weight_hh{end}"].T}
        found["bias"] = tree[f"bias_ih{end}"]
        if gru:
            found["recurrent_bias"] = tree[f"bias_hh{end}"][-5:]
        layers[f"layer{layer}_{way}"] = found
    return layers


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_sequences_of_unequal_lengths_are_packed_ones(cell, x64):
    """PyTorch's own network of two layers in both directions on `pack_padded_sequence`."""
    import torch

    lengths, draw = np.array([6, 1, 4]), np.random.default_rng(0)
    theirs = getattr(torch.nn, cell.upper())(2, 5, num_layers=2, bidirectional=True, batch_first=True).double()
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            tensor.copy_(torch.from_numpy(draw.normal(0, 0.5, tensor.shape)))
            if name.startswith("bias_hh"):
                tensor[: -5 if cell == "gru" else None] = 0
    x, weights = draw.normal(size=(3, 6, 2)), draw.normal(size=(3, 6, 10))

    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(x), torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
    )
    steps, ends = theirs(packed)
    steps, _ = torch.nn.utils.rnn.pad_packed_sequence(steps, batch_first=True, total_length=6)
    (steps * torch.from_numpy(weights)).sum().backward()
    ends = ends if cell == "lstm" else (ends,)

    arrays = {name: tensor.detach().numpy() for name, tensor in theirs.named_parameters()}
    params = recurrent_layers(arrays, cell == "gru")
    # In PyTorch's order; a transformation sorts the keys.
    layers = list(params)
    model = zoo.create(cell, num_classes=1, width=5, layers=2, bidirectional=True, param_dtype=jnp.float64)
    head = {"kernel": jnp.zeros((10, 1)), "bias": jnp.zeros(1)}
    sequence = zoo.Sequence(jnp.asarray(x), lengths)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def ours(params):
        _, read = taps.read(model, {"params": {**params, "head": head}}, sequence, ["layer2", *layers])
        outputs = jnp.where(sequence.valid[..., None], read["layer2"], 0)
        return jnp.sum(outputs * weights), (outputs, [read[name][1] for name in layers])

    gradients, (outputs, carries) = ours(params)
    assert_norm_wise(outputs, steps.detach().numpy())
    for part, end in zip(("hidden", "cell"), ends, strict=False):
        got = jnp.stack([getattr(carry, part) for carry in carries])
        assert_norm_wise(got, end.detach().numpy())
    expected = {name: tensor.grad.numpy() for name, tensor in theirs.named_parameters()}
    assert_norm_wise(gradients, recurrent_layers(expected, cell == "gru"))


def test_unbiased_batch_norm_is_that_of_torch(x64):
    import torch

    x = np.random.default_rng(1).normal(2, 3, size=(2, 3, 3, 4))
    theirs = torch.nn.BatchNorm2d(4).double()
    expected = theirs(channels_first(x)).detach().numpy().transpose(0, 2, 3, 1)
    ours = BatchNorm(running_variance="unbiased", param_dtype=jnp.float64)
    variables = ours.init(jax.random.key(0), x, train=True)
    outputs, updates = ours.apply(variables, x, train=True, mutable=["batch_stats"])
    assert_norm_wise(outputs, expected)
    assert_norm_wise(updates["batch_stats"]["mean"], theirs.running_mean.numpy())
    assert_norm_wise(updates["batch_stats"]["var"], theirs.running_var.numpy())
